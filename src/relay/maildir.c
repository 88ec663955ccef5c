/* SPDX-License-Identifier: ISC */
/*
 * maildir.c - delivery into a Maildir through the ring: tmp/NAME is written and synced, renamed to
 * new/NAME, and new is synced once for all recipients (and all deliveries of the worker that wait
 * at that moment). Only then are they delivered.
 *
 * Lines end with LF in the file. Memory: one buffer for each delivery in progress. A recipient that
 * fails (disk full) does not stop the others.
 */
#include "maildir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/fault.h>

#include "job.h"
#include "worker.h"

#define MAILDIR_BUFFER_MAX_BYTES (160u << 10)
#define MAILDIR_WRITE_MIN_BYTES (64u << 10)

struct pn_maildir_delivery {
	struct pn_list node;        /* on a sync's list */
	struct pn_job *job;
	struct pn_maildir *maildir;
	struct pn_op op;
	struct pn_task next_task;
	uint32_t at;                /* recipient of the part */
	int fd;
	int error;                  /* of this recipient; -errno */
	const char *error_what;
	char name[PN_MAILDIR_NAME_SIZE];
	struct pn_buf out;
	uint64_t offset;
	bool is_cr_held;            /* a CR whose next octet has not come */
	bool is_content_end;
	bool is_writing;
	bool needs_sync;            /* something was renamed */
};

static void delivery_pump(struct pn_maildir_delivery *d);
static void delivery_finish_file(struct pn_maildir_delivery *d);

static struct pn_loop *delivery_loop(const struct pn_maildir_delivery *d)
{
	return d->job->worker->loop;
}

static struct pn_job_rcpt *delivery_rcpt(const struct pn_maildir_delivery *d)
{
	return &d->job->rcpts[d->job->part->first + d->at];
}

/* ---- results ---- */

static void rcpt_set(struct pn_job_rcpt *r, enum pn_verdict verdict, uint16_t detail, const char *text)
{
	r->verdict = (uint8_t)verdict;
	r->reply = (struct pn_smtp_reply_info){
		.enhanced = {verdict == PN_VERDICT_DELIVERED ? 2 : 4, verdict == PN_VERDICT_DELIVERED ? 0 : 3, detail},
		.text = pn_slice_str(text),
	};
	r->remote_mta = PN_SLICE_NULL;
}

static void rcpt_fail(struct pn_maildir_delivery *d, struct pn_job_rcpt *r, const char *what, int error)
{
	char text[128];
	struct pn_slice copy;
	/* RFC 3463 3.4: 4.3.1 mail system full. */
	uint16_t detail = error == -ENOSPC || error == -EDQUOT ? 1 : 0;
	snprintf(text, sizeof(text), "Maildir: %s: %s", what, strerror(-error));
	rcpt_set(r, PN_VERDICT_DEFERRED, detail, "Maildir: not delivered");
	if (pn_arena_dup(&d->job->arena, pn_slice_str(text), &copy) == 0)
		r->reply.text = copy;
}

/* ---- the end of a delivery ---- */

static void delivery_end(struct pn_maildir_delivery *d)
{
	struct pn_job *job = d->job;
	pn_part_log(job, job->part, NULL);
	pn_buf_free(&d->out);
	free(d);
	job->delivery = NULL;
	pn_job_part_end(job);
}

static void delivery_synced(struct pn_maildir_delivery *d, int result)
{
	const struct pn_part *part = d->job->part;
	for (uint32_t i = 0; i < part->count && result < 0; i++) {
		struct pn_job_rcpt *r = &d->job->rcpts[part->first + i];
		if (r->verdict == PN_VERDICT_DELIVERED)
			rcpt_fail(d, r, "sync of new", result);
	}
	delivery_end(d);
}

static void sync_start(struct pn_maildir_sync *s);

static void sync_on_done(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_maildir_sync *s = pn_container_of(op, struct pn_maildir_sync, op);
	struct pn_list *node;
	(void)loop;
	res = pn_fault_result("maildir.dirsync", res);
	while ((node = pn_list_pop_front(&s->running)) != NULL)
		delivery_synced(pn_container_of(node, struct pn_maildir_delivery, node), res);
	sync_start(s);
}

/* One sync at a time; whoever comes meanwhile shares the next. */
static void sync_start(struct pn_maildir_sync *s)
{
	struct pn_list *node;
	if (s->op.is_inflight || pn_list_is_empty(&s->waiting))
		return;
	while ((node = pn_list_pop_front(&s->waiting)) != NULL)
		pn_list_push_back(&s->running, node);
	pn_loop_fsync(s->loop, &s->op, sync_on_done, s->maildir->new_fd, false);
}

static void delivery_sync(struct pn_maildir_delivery *d)
{
	struct pn_maildir_sync *s = d->job->pool->maildir_sync;
	if (!d->needs_sync) {
		delivery_end(d);
		return;
	}
	pn_list_push_back(&s->waiting, &d->node);
	sync_start(s);
}

/* ---- one file ---- */

static void delivery_next(struct pn_maildir_delivery *d);

/* The recipient is decided; the next one is begun from the loop, so that many of them do not nest. */
static void delivery_rcpt_done(struct pn_maildir_delivery *d)
{
	struct pn_job_rcpt *r = delivery_rcpt(d);
	if (d->error < 0) {
		rcpt_fail(d, r, d->error_what, d->error);
	} else {
		d->needs_sync = true;
		rcpt_set(r, PN_VERDICT_DELIVERED, 0, "delivered to the Maildir");
	}
	d->at++;
	pn_loop_defer(delivery_loop(d), &d->next_task);
}

static void delivery_on_unlink(struct pn_loop *loop, struct pn_op *op, int res)
{
	(void)loop;
	(void)res; /* a leftover in tmp is overwritten by the next attempt */
	delivery_rcpt_done(pn_container_of(op, struct pn_maildir_delivery, op));
}

static void delivery_unlink(struct pn_maildir_delivery *d)
{
	pn_loop_unlinkat(delivery_loop(d), &d->op, delivery_on_unlink, d->maildir->tmp_fd, d->name, 0);
}

static void delivery_fail(struct pn_maildir_delivery *d, const char *what, int error)
{
	if (d->error == 0) {
		d->error = error;
		d->error_what = what;
	}
}

static void delivery_rename(struct pn_maildir_delivery *d, unsigned flags);

static void delivery_on_rename(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_maildir_delivery *d = pn_container_of(op, struct pn_maildir_delivery, op);
	(void)loop;
	res = pn_fault_result("maildir.rename", res);
	if (res == -EEXIST) {
		delivery_unlink(d); /* an earlier attempt got this far: that file is this message */
		return;
	}
	if (res == -EINVAL) {
		delivery_rename(d, 0); /* a file system without RENAME_NOREPLACE: replaces the same content */
		return;
	}
	if (res < 0) {
		delivery_fail(d, "rename to new", res);
		delivery_unlink(d);
		return;
	}
	delivery_rcpt_done(d);
}

static void delivery_rename(struct pn_maildir_delivery *d, unsigned flags)
{
	pn_loop_renameat(delivery_loop(d), &d->op, delivery_on_rename, d->maildir->tmp_fd, d->name,
	                 d->maildir->new_fd, d->name,
	                 flags);
}

static void delivery_on_close(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_maildir_delivery *d = pn_container_of(op, struct pn_maildir_delivery, op);
	(void)loop;
	(void)res; /* synced before: a late error of close has nothing more to say */
	d->fd = -1;
	if (d->error < 0)
		delivery_unlink(d);
	else
		delivery_rename(d, RENAME_NOREPLACE);
}

static void delivery_close(struct pn_maildir_delivery *d)
{
	pn_loop_close(delivery_loop(d), &d->op, delivery_on_close, d->fd);
}

static void delivery_on_fsync(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_maildir_delivery *d = pn_container_of(op, struct pn_maildir_delivery, op);
	(void)loop;
	res = pn_fault_result("maildir.fsync", res);
	if (res < 0)
		delivery_fail(d, "sync", res);
	delivery_close(d);
}

static void delivery_finish_file(struct pn_maildir_delivery *d)
{
	if (d->error < 0)
		delivery_close(d);
	else
		pn_loop_fsync(delivery_loop(d), &d->op, delivery_on_fsync, d->fd, false);
}

/* ---- content ---- */

/* CRLF becomes LF. A CR at the end of a piece waits for what follows. */
static int delivery_convert(struct pn_maildir_delivery *d, struct pn_slice piece)
{
	int rc = pn_buf_reserve(&d->out, piece.len + 1);
	if (rc < 0)
		return rc;
	uint8_t *to = pn_buf_tail(&d->out);
	size_t len = 0;
	if (d->is_cr_held && piece.len > 0 && piece.ptr[0] != '\n')
		to[len++] = '\r';
	if (piece.len > 0)
		d->is_cr_held = false;
	while (piece.len > 0) {
		const uint8_t *cr = memchr(piece.ptr, '\r', piece.len);
		size_t run = cr ? (size_t)(cr - piece.ptr) : piece.len;
		memcpy(to + len, piece.ptr, run);
		len += run;
		pn_slice_advance(&piece, run);
		if (!cr)
			break;
		pn_slice_advance(&piece, 1);
		if (piece.len == 0)
			d->is_cr_held = true;
		else if (piece.ptr[0] != '\n')
			to[len++] = '\r';
	}
	pn_buf_commit(&d->out, len);
	return 0;
}

static int delivery_end_content(struct pn_maildir_delivery *d)
{
	d->is_content_end = true;
	if (!d->is_cr_held)
		return 0;
	d->is_cr_held = false;
	return pn_buf_append(&d->out, "\r", 1);
}

static void delivery_on_piece(void *ctx, int result, struct pn_slice piece)
{
	struct pn_maildir_delivery *d = ctx;
	int rc;
	d->job->is_reading = false;
	if (result < 0)
		rc = result;
	else if (result == 0)
		rc = delivery_end_content(d);
	else
		rc = delivery_convert(d, piece);
	if (rc < 0)
		delivery_fail(d, "reading the message", rc);
	d->job->is_damaged = d->job->is_damaged || rc == -EBADMSG;
	delivery_pump(d);
}

static void delivery_on_write(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_maildir_delivery *d = pn_container_of(op, struct pn_maildir_delivery, op);
	(void)loop;
	res = pn_fault_result("maildir.write", res);
	d->is_writing = false;
	if (res <= 0) {
		delivery_fail(d, "write", res < 0 ? res : -EIO);
	} else {
		pn_buf_consume(&d->out, pn_min_size((size_t)res, pn_buf_len(&d->out)));
		d->offset += (uint64_t)res;
	}
	delivery_pump(d);
}

/* Reads until there is enough to write, writes, and so on to the end. One of the two is under way
 * at any time. */
static void delivery_pump(struct pn_maildir_delivery *d)
{
	struct pn_job *job = d->job;
	if (job->is_pumping)
		return;
	job->is_pumping = true;
	while (!d->error && !d->is_content_end && !job->is_reading && pn_buf_len(&d->out) < MAILDIR_WRITE_MIN_BYTES) {
		job->is_reading = true;
		pn_spool_reader_next(job->reader, delivery_on_piece, d);
	}
	job->is_pumping = false;
	if (job->is_reading || d->is_writing)
		return;
	if (d->error < 0 || pn_buf_len(&d->out) == 0) {
		delivery_finish_file(d);
		return;
	}
	d->is_writing = true;
	pn_loop_write(delivery_loop(d), &d->op, delivery_on_write, d->fd, pn_buf_ptr(&d->out),
	              (uint32_t)pn_buf_len(&d->out),
	              d->offset, false);
}

/* RFC 5321 4.4: the final delivery adds the reverse-path on top. */
static int delivery_head(struct pn_maildir_delivery *d)
{
	struct pn_slice from = d->job->message->envelope.reverse_path;
	struct pn_slice to = delivery_rcpt(d)->recipient->address;
	return pn_buf_printf(&d->out, "Return-Path: <%.*s>\nDelivered-To: %.*s\n", (int)from.len,
	                     (const char *)from.ptr,
	                     (int)to.len, (const char *)to.ptr);
}

static void delivery_on_open(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_maildir_delivery *d = pn_container_of(op, struct pn_maildir_delivery, op);
	(void)loop;
	if (res >= 0)
		d->fd = res;
	res = pn_fault_result("maildir.open", res);
	if (res < 0) {
		delivery_fail(d, "open in tmp", res);
		if (d->fd >= 0)
			delivery_close(d);
		else
			delivery_rcpt_done(d);
		return;
	}
	int rc = delivery_head(d);
	if (rc < 0)
		delivery_fail(d, "reading the message", rc);
	pn_spool_reader_rewind(d->job->reader, false);
	delivery_pump(d);
}

/* ---- the recipients, one after the other ---- */

static void delivery_next(struct pn_maildir_delivery *d)
{
	struct pn_job *job = d->job;
	const struct pn_known *known = &job->worker->relay->known;
	for (; d->at < job->part->count; d->at++) {
		struct pn_job_rcpt *r = delivery_rcpt(d);
		if (pn_known_has(known, &job->entry->id, d->maildir->known_kind, r->index)) {
			rcpt_set(r, PN_VERDICT_DELIVERED, 0, "delivered to the Maildir before a restart");
			d->needs_sync = true; /* the restart may have come before that */
			continue;
		}
		pn_maildir_name(d->name, &job->entry->id, r->index);
		d->error = 0;
		d->offset = 0;
		d->is_cr_held = d->is_content_end = false;
		pn_buf_clear(&d->out);
		pn_loop_openat(delivery_loop(d), &d->op, delivery_on_open, d->maildir->tmp_fd, d->name,
		               O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
		return;
	}
	delivery_sync(d);
}

static void delivery_on_next(struct pn_loop *loop, struct pn_task *task)
{
	(void)loop;
	delivery_next(pn_container_of(task, struct pn_maildir_delivery, next_task));
}

void pn_maildir_start(struct pn_job *job)
{
	static const struct pn_smtp_reply_info no_memory = {
		.enhanced = {4, 3, 0}, .text = {(const uint8_t *)"out of memory", sizeof("out of memory") - 1}};
	struct pn_maildir_delivery *d;
	if (job->is_cut || job->pool->is_retired) {
		pn_job_part_end(job);
		return;
	}
	d = calloc(1, sizeof(*d));
	if (!d) {
		pn_part_set_all(job, job->part, PN_VERDICT_DEFERRED, &no_memory, PN_SLICE_NULL);
		pn_part_log(job, job->part, NULL);
		pn_job_part_end(job);
		return;
	}
	job->state = PN_JOB_TRANSFER;
	job->delivery = d;
	d->job = job;
	d->maildir = job->pool->maildir;
	d->fd = -1;
	d->next_task.fn = delivery_on_next;
	pn_list_init(&d->node);
	pn_buf_init(&d->out, MAILDIR_BUFFER_MAX_BYTES);
	pn_pool_count(job->pool, PN_UPSTREAM_C_transactions, 1);
	delivery_next(d);
}
