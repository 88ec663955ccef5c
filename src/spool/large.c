/* SPDX-License-Identifier: ISC */
/*
 * large.c - a message in a file of its own, all on the ring. README.md L1-L5, LF.
 *
 * One write is in flight, of about four blocks, and as much again gathers behind it, whatever the size of the
 * message: each write is a hand-over to another thread and back. When memory is short each block goes as soon
 * as it is full. A file is ID.tmp until everything in it is durable; whatever fails before the rename is void by
 * that name. A file that failed is unlinked before anybody is told.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/clock.h>
#include <postern/base/fault.h>
#include <postern/base/log.h>
#include <postern/base/prng.h>

#include "spool/void.h"
#include "spool/writer.h"

#define LARGE_BATCH_BYTES  (4u * PN_BLOCK_STREAM_BYTES)
#define LARGE_BEHIND_BYTES (6u * PN_BLOCK_STREAM_BYTES)
#define LARGE_IOV_MAX      16u

enum large_state {
	LARGE_OPENING,
	LARGE_STREAMING,
	LARGE_TAIL,
	LARGE_RENAMING,
	LARGE_DIR_SYNC,
	LARGE_CLEANING
};

struct pn_large {
	struct pn_spool_writer *w;
	struct pn_spool_txn *txn; /* NULL: aborted */
	enum large_state state;
	uint64_t id;
	int fd;
	int error;                     /* sticks */
	struct pn_block *first, *last; /* filled or being filled, not submitted */
	size_t pending_bytes;          /* not yet written, with what is in flight */
	uint64_t write_offset;
	struct pn_block *flying; /* in the write that is on its way; NULL: none is */
	size_t flying_bytes;
	struct iovec iov[LARGE_IOV_MAX];
	unsigned ops_pending;
	bool wants_writable;
	bool is_commit_wanted;
	bool is_renamed; /* rename was tried */
	struct pn_rec_head head;
	struct pn_slice commit;
	uint8_t head_octets[PN_REC_HEAD_SIZE];
	struct iovec tail[2];
	struct pn_op op; /* open, write, tail, rename: one at a time */
	struct pn_list name_node; /* LARGE_DIR_SYNC: of w->names */
	struct pn_sync sync;
	int write_res, sync_res;
	char name_tmp[PN_FILE_NAME_SIZE];
	char name[PN_FILE_NAME_SIZE];
	struct pn_job cleanup;
};

static void pump(struct pn_large *l);

/* ---- the end ---- */

static void large_free(struct pn_large *l)
{
	pn_blocks_free(l->w->spool, l->first);
	l->w->larges--;
	free(l);
}

/* The name is there, or may be there again, though the message was answered with an error. README.md LF. */
static void make_void(struct pn_spool *spool, const struct pn_large *l, int why)
{
	if (pn_void_slot_take(spool, l->id, 0) == 0) {
		pn_spool_count(spool, PN_SPOOL_C_voids);
		return;
	}
	int err = l->fd >= 0 && ftruncate(l->fd, 0) < 0 ? -errno : 0;
	err = pn_fault_result("spool.file.cut", err);
	pn_spool_count(spool, PN_SPOOL_C_void_failures);
	pn_logf(PN_LOG_ERROR, "spool",
		"cannot unlink files/%s, which was answered with an error: %s (cut: %s); after a "
		"crash of "
		"the machine it may be delivered",
		l->name, strerror(-why), err < 0 ? strerror(-err) : "done");
}

static void cleanup_run(struct pn_spool *spool, struct pn_job *job)
{
	struct pn_large *l = pn_container_of(job, struct pn_large, cleanup);
	int tmp = pn_io_unlink("spool.file.unlink_tmp", spool->files_fd, l->name_tmp);
	int err = l->is_renamed ? pn_io_unlink("spool.file.unlink", spool->files_fd, l->name) : 0;
	err = err == -ENOENT ? 0 : err;
	if (err == 0)
		err = pn_io_sync("spool.files.fsync", spool->files_fd, false);
	if (tmp < 0 && tmp != -ENOENT)
		pn_logf(PN_LOG_INFO, "spool", "files/%s stays until the next start: %s",
			l->name_tmp, strerror(-tmp));
	if (err < 0 && l->is_renamed)
		make_void(spool, l, err);
	if (l->fd >= 0)
		close(l->fd);
}

static void cleanup_done(struct pn_loop *loop, struct pn_task *task)
{
	struct pn_large *l = pn_container_of(pn_container_of(task, struct pn_job, done),
					     struct pn_large, cleanup);
	struct pn_spool_txn *t = l->txn;
	int error = l->error;
	(void)loop;
	if (error < 0)
		pn_writer_count(l->w, PN_WRITER_C_large_failures);
	large_free(l);
	if (t)
		pn_txn_finish(t, error, NULL, 0);
}

static void clean_up(struct pn_large *l)
{
	l->state = LARGE_CLEANING;
	l->cleanup.run = cleanup_run;
	l->cleanup.loop = l->w->loop;
	l->cleanup.done.fn = cleanup_done;
	pn_helper_push(l->w->spool, &l->cleanup);
}

static void succeed(struct pn_large *l)
{
	struct pn_spool_txn *t = l->txn;
	struct pn_spool *spool = l->w->spool;
	uint64_t id = l->id;
	pn_writer_count(l->w, PN_WRITER_C_large_commits);
	/* Nothing to flush: it has been synced. */
	close(l->fd);
	large_free(l);
	pn_txn_finish(t, 0, &spool->large, id);
}

/* ---- tail, rename, directory ---- */

static void on_names_synced(struct pn_sync *sync, int res);

/* Those that come while a sync is on its way share the next one: their rename may be newer than it. */
static void names_sync(struct pn_spool_writer *w)
{
	struct pn_name_sync *names = &w->names;
	struct pn_list *node;
	if (!pn_list_is_empty(&names->flying) || pn_list_is_empty(&names->waiting))
		return;
	while ((node = pn_list_pop_front(&names->waiting)) != NULL)
		pn_list_push_back(&names->flying, node);
	pn_writer_count(w, PN_WRITER_C_name_syncs);
	pn_sync_start(w->loop, &names->sync, on_names_synced, w->spool->files_fd, false);
}

static void on_names_synced(struct pn_sync *sync, int res)
{
	struct pn_spool_writer *w = pn_container_of(sync, struct pn_spool_writer, names.sync);
	struct pn_list *node;
	int error = pn_fault_result("spool.files.fsync", res);

	/* An error is told once: the next sync may succeed without what this one failed to write for them. */
	while (error < 0 && (node = pn_list_pop_front(&w->names.waiting)) != NULL)
		pn_list_push_back(&w->names.flying, node);
	while ((node = pn_list_pop_front(&w->names.flying)) != NULL) {
		struct pn_large *l = pn_container_of(node, struct pn_large, name_node);
		l->ops_pending--;
		l->error = error;
		if (error < 0)
			clean_up(l);
		else
			succeed(l);
	}
	names_sync(w);
}

static void on_renamed(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_large *l = pn_container_of(op, struct pn_large, op);
	(void)loop;
	l->error = pn_fault_result("spool.file.rename", res);
	if (l->error < 0) {
		l->ops_pending--;
		clean_up(l);
		return;
	}
	l->state = LARGE_DIR_SYNC;
	pn_list_push_back(&l->w->names.waiting, &l->name_node);
	names_sync(l->w);
}

static void tail_done(struct pn_large *l)
{
	struct pn_spool *s = l->w->spool;
	int written = pn_fault_result("spool.file.tail_write", l->write_res);
	int synced = pn_fault_result("spool.file.fdatasync", l->sync_res);
	int want = (int)(l->commit.len + PN_REC_HEAD_SIZE);

	l->error = written < 0 ? written : written < want ? -EIO : synced;
	if (l->error < 0) {
		clean_up(l);
		return;
	}
	l->state = LARGE_RENAMING;
	l->is_renamed = true;
	l->ops_pending++;
	pn_loop_renameat(l->w->loop, &l->op, on_renamed, s->files_fd, l->name_tmp, s->files_fd,
			 l->name, 0);
}

static void on_tail_written(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_large *l = pn_container_of(op, struct pn_large, op);
	(void)loop;
	l->write_res = res;
	if (--l->ops_pending == 0)
		tail_done(l);
}

static void on_tail_synced(struct pn_sync *sync, int res)
{
	struct pn_large *l = pn_container_of(sync, struct pn_large, sync);
	l->sync_res = res;
	if (--l->ops_pending == 0)
		tail_done(l);
}

static void write_tail(struct pn_large *l)
{
	l->state = LARGE_TAIL;
	PN_ASSERT(l->write_offset == PN_FILE_HEADER_SIZE + l->head.content_len);
	l->head.offset = l->write_offset + l->commit.len;
	pn_rec_head_encode(l->head_octets, &l->head, l->id);
	/* writev does not change what it reads */
	l->tail[0] = (struct iovec){ .iov_base = (void *)(uintptr_t)l->commit.ptr,
				     .iov_len = l->commit.len };
	l->tail[1] = (struct iovec){ .iov_base = l->head_octets, .iov_len = PN_REC_HEAD_SIZE };
	l->ops_pending = 2;
	pn_loop_writev(l->w->loop, &l->op, on_tail_written, l->fd, l->tail, 2, l->write_offset,
		       PN_SYNC_LINKS);
	pn_sync_start(l->w->loop, &l->sync, on_tail_synced, l->fd, true);
}

/* ---- streaming ---- */

static void on_blocks(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_large *l = pn_container_of(op, struct pn_large, op);
	(void)loop;
	res = pn_fault_result("spool.file.write", res);
	if (l->error == 0 && (res < 0 || (size_t)res != l->flying_bytes))
		l->error = res < 0 ? res : -EIO;
	l->pending_bytes -= l->flying_bytes;
	pn_blocks_free(l->w->spool, l->flying);
	l->flying = NULL;
	l->ops_pending--;
	pump(l);
}

static bool is_block_due(const struct pn_large *l)
{
	return l->first &&
	       (l->first != l->last || l->first->end == l->first->cap || l->is_commit_wanted);
}

static bool is_batch_due(const struct pn_large *l)
{
	return !l->flying && is_block_due(l) &&
	       (l->is_commit_wanted || l->pending_bytes >= LARGE_BATCH_BYTES ||
		pn_budget_is_over(l->w->spool, PN_BUDGET_INLINE));
}

static void submit_blocks(struct pn_large *l)
{
	struct pn_block **end = &l->flying;
	unsigned count = 0;

	if (!is_batch_due(l))
		return;
	l->flying_bytes = 0;
	while (count < LARGE_IOV_MAX && is_block_due(l)) {
		struct pn_block *b = l->first;
		l->first = b->next;
		if (!l->first)
			l->last = NULL;
		b->next = NULL;
		*end = b;
		end = &b->next;
		l->iov[count++] = (struct iovec){ .iov_base = b->octets + b->begin,
						.iov_len = pn_block_len(b) };
		l->flying_bytes += pn_block_len(b);
	}
	l->ops_pending++;
	pn_loop_writev(l->w->loop, &l->op, on_blocks, l->fd, l->iov, count, l->write_offset, false);
	l->write_offset += l->flying_bytes;
}

/* Takes the next step that can be taken. */
static void pump(struct pn_large *l)
{
	if (l->state == LARGE_OPENING)
		return;
	if (l->error < 0 || !l->txn) {
		/* An open transaction hears of it with its next write, abort or commit. */
		if (l->ops_pending == 0 && (!l->txn || l->is_commit_wanted))
			clean_up(l);
	} else {
		submit_blocks(l);
		if (l->is_commit_wanted && !l->first && l->ops_pending == 0)
			write_tail(l);
	}
	if (l->wants_writable && l->txn && (l->error < 0 || l->pending_bytes < LARGE_BATCH_BYTES)) {
		l->wants_writable = false;
		pn_txn_writable(l->txn);
	}
}

static void on_opened(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_large *l = pn_container_of(op, struct pn_large, op);
	int err = pn_fault_result("spool.file.create", res < 0 ? res : 0);
	(void)loop;
	l->ops_pending--;
	l->fd = res >= 0 ? res : -1;
	l->error = err;
	l->state = LARGE_STREAMING;
	pump(l);
}

static void add_block(struct pn_large *l, struct pn_block *b)
{
	if (l->last)
		l->last->next = b;
	else
		l->first = b;
	l->last = b;
	l->pending_bytes += pn_block_len(b);
}

static struct pn_block *header_block(struct pn_large *l)
{
	struct pn_file_header h = { .kind = PN_FILE_LARGE,
				    .id = l->id,
				    .created_wall_ms = pn_clock_wall_ms() };
	struct pn_block *b = pn_block_new(l->w->spool, PN_BUDGET_STREAM,
					  PN_FILE_HEADER_SIZE);
	if (b) {
		pn_file_header_encode(b->octets, &h);
		b->end = PN_FILE_HEADER_SIZE;
	}
	return b;
}

struct pn_large *pn_large_new(struct pn_spool_writer *w, struct pn_spool_txn *t,
			      struct pn_spool_blob *blob)
{
	struct pn_large *l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->w = w;
	l->txn = t;
	l->fd = -1;
	pn_list_init(&l->name_node);
	do {
		pn_random_bytes(&l->id, sizeof(l->id));
	} while (l->id == 0);
	struct pn_block *header = header_block(l);
	if (!header) {
		free(l);
		return NULL;
	}
	add_block(l, header);
	for (struct pn_block *b = blob->first, *next; b; b = next) {
		next = b->next;
		b->next = NULL;
		add_block(l, b);
	}
	blob->first = blob->last = NULL;
	pn_file_name_tmp(l->name_tmp, l->id);
	pn_file_name(l->name, PN_FILE_LARGE, l->id);
	w->larges++;
	l->ops_pending = 1;
	pn_loop_openat(w->loop, &l->op, on_opened, w->spool->files_fd, l->name_tmp,
		       O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return l;
}

/* Short of memory, many slow senders shall rather write small blocks than be refused. */
static struct pn_block *stream_block(struct pn_large *l)
{
	bool is_short = pn_budget_is_over(l->w->spool, PN_BUDGET_INLINE);
	return pn_block_new(l->w->spool, PN_BUDGET_STREAM,
			    is_short ? PN_BLOCK_SMALL_BYTES : PN_BLOCK_STREAM_BYTES);
}

int pn_large_write(struct pn_large *l, struct pn_slice content)
{
	while (l->error == 0 && content.len > 0) {
		if (!l->last || l->last->end == l->last->cap) {
			struct pn_block *b = stream_block(l);
			if (!b) {
				l->error = -ENOBUFS;
				break;
			}
			add_block(l, b);
		}
		size_t n = pn_min_size(content.len, l->last->cap - l->last->end);
		memcpy(l->last->octets + l->last->end, content.ptr, n);
		l->last->end += (uint32_t)n;
		l->pending_bytes += n;
		pn_slice_advance(&content, n);
	}
	if (l->error < 0)
		return l->error;
	if (l->state == LARGE_STREAMING)
		submit_blocks(l);
	l->wants_writable = l->pending_bytes >= LARGE_BEHIND_BYTES;
	return l->wants_writable;
}

void pn_large_commit(struct pn_large *l, const struct pn_rec_head *head, struct pn_slice commit)
{
	l->head = *head;
	l->commit = commit;
	l->is_commit_wanted = true;
	pump(l);
}

void pn_large_abort(struct pn_large *l)
{
	l->txn = NULL;
	pump(l);
}
