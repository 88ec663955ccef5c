/* SPDX-License-Identifier: ISC */
/*
 * append.c - see append.h. One batch: gather records, one durable writev, answer everybody.
 *
 * Invariants: everything in front of `end` is durable; a file that failed once is dropped at once (its
 * reference goes when its void note is settled); the waiters of a failed batch are answered only after the void
 * note was tried (README.md V1-V4).
 */
#include "spool/append.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/fault.h>
#include <postern/base/log.h>

#include "spool/void.h"

struct pn_append_void {
	struct pn_job job;
	struct pn_append *append;
	struct pn_spool_file *file;
	struct pn_list items;
	uint64_t from;
	int result; /* for the waiters */
};

static const char *object_of(const struct pn_append *a)
{
	return a->kind == PN_FILE_SEGMENT ? "segment" : "journal";
}

static void move_list(struct pn_list *to, struct pn_list *from)
{
	struct pn_list *node;
	while ((node = pn_list_pop_front(from)) != NULL)
		pn_list_push_back(to, node);
}

/* Answers every item of a list. The fns may add new items. */
static void answer(struct pn_list *items, struct pn_spool_file *file, int result)
{
	struct pn_list todo;
	struct pn_list *node;
	pn_list_init(&todo);
	move_list(&todo, items);
	while ((node = pn_list_pop_front(&todo)) != NULL) {
		struct pn_append_item *item = pn_container_of(node, struct pn_append_item, node);
		item->file = file;
		item->fn(item, result);
	}
}

/* ---- making files ---- */

static void create_run(struct pn_spool *spool, struct pn_job *job)
{
	struct pn_append *a = pn_container_of(job, struct pn_append, create_job);
	a->created = NULL;
	a->create_result = pn_file_create(spool, a->kind, a->size_bytes, &a->created);
}

static void request_file(struct pn_append *a)
{
	if (a->is_creating || a->next || a->is_closing || pn_timer_is_armed(&a->retry_timer))
		return;
	a->is_creating = true;
	pn_helper_push(a->spool, &a->create_job);
}

static void create_done(struct pn_loop *loop, struct pn_task *task)
{
	struct pn_append *a = pn_container_of(pn_container_of(task, struct pn_job, done),
					      struct pn_append, create_job);
	int before = a->create_error;
	a->is_creating = false;
	a->create_error = a->create_result;
	if (a->create_result == 0) {
		a->next = a->created;
		a->files++;
		if (before != 0)
			pn_logf(PN_LOG_INFO, "spool", "a new %s could be made again", object_of(a));
		pn_append_kick(a);
		return;
	}
	if (before != a->create_error)
		pn_logf(PN_LOG_ERROR, "spool", "cannot make a new %s: %s; tried again each second",
			object_of(a), strerror(-a->create_error));
	pn_loop_timer_set(loop, &a->retry_timer, PN_RETRY_MS);
	/* Nothing of theirs was written anywhere. */
	if (!a->current) {
		a->waiting_bytes = 0;
		answer(&a->waiting, NULL, a->create_error);
	}
}

static void on_retry(struct pn_timer *timer)
{
	request_file(pn_container_of(timer, struct pn_append, retry_timer));
}

/* Nobody writes to the current file any more. */
static struct pn_spool_file *retire_current(struct pn_append *a)
{
	struct pn_spool_file *f = a->current;
	a->current = NULL;
	pn_file_written(f);
	/* release: pairs with the acquire in pn_spool_entry_wants_move */
	atomic_store_explicit(&f->is_closed, true, memory_order_release);
	return f;
}

/* How far the current file may be filled. A journal grows on while the next one cannot be had: outcomes are
 * worth more than a tidy size. */
static uint64_t file_limit(const struct pn_append *a)
{
	return a->kind == PN_FILE_JOURNAL && !a->next ? UINT64_MAX : a->size_bytes;
}

/* Makes sure that the first waiting record fits the current file. False: not now (then it waits, or was answered). */
static bool ensure_file(struct pn_append *a)
{
	const struct pn_append_item *first =
		pn_container_of(a->waiting.next, struct pn_append_item, node);

	if (a->current && a->end + pn_append_item_size(first) <= file_limit(a))
		return true;
	if (a->current)
		pn_file_unref(retire_current(a));
	if (a->next) {
		a->current = a->next;
		a->next = NULL;
		a->end = PN_FILE_HEADER_SIZE;
		return true;
	}
	request_file(a);
	if (!a->is_creating) {
		a->waiting_bytes = 0;
		answer(&a->waiting, NULL, a->create_error ? a->create_error : -EIO);
	}
	return false;
}

/* ---- a batch ---- */

static void fail_without_note(struct pn_append *a, struct pn_spool_file *f, int result)
{
	answer(&a->flying, f, result);
	pn_file_unref(f);
}

static void void_run(struct pn_spool *spool, struct pn_job *job)
{
	struct pn_append_void *v = pn_container_of(job, struct pn_append_void, job);
	/* Whether it worked or not: the waiters learn that their messages were not taken (README.md V6). */
	v->file->is_voided = pn_void_note(spool, v->file, v->from) == 0;
}

static void void_done(struct pn_loop *loop, struct pn_task *task)
{
	struct pn_append_void *v = pn_container_of(pn_container_of(task, struct pn_job, done),
						   struct pn_append_void, job);
	(void)loop;
	v->append->voids_pending--;
	answer(&v->items, v->file, v->result);
	pn_file_unref(v->file);
	free(v);
}

static void batch_failed(struct pn_append *a, int result)
{
	uint64_t from = a->end;
	if (result == -EINVAL && a->current->direct_fd >= 0)
		pn_direct_failed(a->spool);
	struct pn_spool_file *f = retire_current(a);

	a->failures++;
	pn_logf(PN_LOG_ERROR, "spool",
		"%s %016llx failed at offset %llu: %s; it is not written any more", object_of(a),
		(unsigned long long)f->id, (unsigned long long)from, strerror(-result));
	if (a->kind != PN_FILE_SEGMENT) {
		fail_without_note(a, f, result);
		return;
	}
	/* relaxed: ordered by the reference count, see file_finish */
	atomic_store_explicit(&f->void_from, from, memory_order_relaxed);
	struct pn_append_void *v = calloc(1, sizeof(*v));
	if (!v) {
		pn_spool_count(a->spool, PN_SPOOL_C_void_failures);
		fail_without_note(a, f, result);
		return;
	}
	v->job.run = void_run;
	v->job.loop = a->loop;
	v->job.done.fn = void_done;
	v->append = a;
	v->file = f;
	v->from = from;
	v->result = result;
	pn_list_init(&v->items);
	move_list(&v->items, &a->flying);
	a->voids_pending++;
	pn_helper_push(a->spool, &v->job);
}

static void batch_done(struct pn_append *a)
{
	bool is_segment = a->kind == PN_FILE_SEGMENT;
	int written = pn_fault_result(is_segment ? "spool.segment.write" : "spool.journal.write",
				      a->write_res);
	int synced = pn_fault_result(
		is_segment ? "spool.segment.fdatasync" : "spool.journal.fdatasync", 0);
	int result = written < 0 ? written : (uint64_t)written < a->batch.len ? -EIO : synced;

	if (result < 0) {
		batch_failed(a, result);
	} else {
		struct pn_spool_file *f = a->current;
		a->end += a->batch.len;
		a->batches++;
		a->bytes += a->batch.len;
		if (a->end > a->size_bytes / 2)
			request_file(a);
		pn_file_ref(f);
		answer(&a->flying, f, 0);
		pn_file_unref(f);
	}
	pn_append_kick(a);
}

static void on_written(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_append *a = pn_container_of(op, struct pn_append, write_op);
	(void)loop;
	a->write_res = res;
	a->ops_pending = 0;
	batch_done(a);
}

/* One request for both: an fdatasync linked behind the write is handed to a kernel thread of its own only when the
 * loop has heard of the write. */
static void write_batch(struct pn_append *a)
{
	int fd = a->current->direct_fd >= 0 ? a->current->direct_fd : a->current->fd;
	a->ops_pending = 1;
#ifdef PN_NOSYNC
	pn_loop_writev(a->loop, &a->write_op, on_written, fd, a->batch.iov, a->batch.iov_count,
		       a->end, false);
#else
	pn_loop_writev_durable(a->loop, &a->write_op, on_written, fd, a->batch.iov,
			       a->batch.iov_count, a->end);
#endif
}

void pn_append_kick(struct pn_append *a)
{
	if (a->ops_pending > 0 || pn_list_is_empty(&a->waiting) || !ensure_file(a))
		return;
	pn_batch_reset(&a->batch);
	while (!pn_list_is_empty(&a->waiting)) {
		struct pn_append_item *item =
			pn_container_of(a->waiting.next, struct pn_append_item, node);
		uint64_t size = pn_append_item_size(item);
		/* The first one always fits (ensure_file); a batch ends where the file, the vector or a
		 * sensible write ends. */
		if (a->batch.len > 0 &&
		    (a->end + a->batch.len + PN_DIRECT_ALIGN + size > file_limit(a) ||
		     !pn_batch_has_room(&a->batch, item)))
			break;
		pn_list_remove(&item->node);
		pn_list_push_back(&a->flying, &item->node);
		a->waiting_bytes -= size;
		pn_batch_add(&a->batch, item, a->current->id, a->end);
	}
	pn_batch_finish(&a->batch);
	write_batch(a);
}

void pn_append_add(struct pn_append *a, struct pn_append_item *item)
{
	PN_ASSERT(a->kind != PN_FILE_SEGMENT ||
		  item->is_whole == pn_append_wants_whole(pn_append_item_size(item)));
	pn_list_push_back(&a->waiting, &item->node);
	a->waiting_bytes += pn_append_item_size(item);
}

/* ---- life ---- */

int pn_append_init(struct pn_append *a, struct pn_spool *spool, struct pn_loop *loop,
		   enum pn_file_kind kind, uint64_t size_bytes)
{
	*a = (struct pn_append){
		.spool = spool, .loop = loop, .kind = kind, .size_bytes = size_bytes
	};
	pn_list_init(&a->waiting);
	pn_list_init(&a->flying);
	pn_timer_init(&a->retry_timer, on_retry);
	a->create_job.run = create_run;
	a->create_job.loop = loop;
	a->create_job.done.fn = create_done;
	if (pn_batch_init(&a->batch, kind) < 0)
		return -ENOMEM;
	int err = pn_file_create(spool, kind, size_bytes, &a->current);
	if (err == -ENOSPC || err == -EDQUOT) {
		/* What is queued must get out even so: serve without a file, as if the last one had failed. */
		a->create_error = err;
		pn_logf(PN_LOG_ERROR, "spool", "cannot make a new %s: %s; tried again each second",
			object_of(a), strerror(-err));
		request_file(a);
		return 0;
	}
	if (err < 0) {
		pn_batch_deinit(&a->batch);
		return err;
	}
	a->end = PN_FILE_HEADER_SIZE;
	a->files = 1;
	return 0;
}

/* The unused rest of a file goes back to the disk; an empty file goes altogether (nothing refers to it). */
static void close_file(struct pn_append *a, struct pn_spool_file *f, uint64_t end)
{
	if (!f)
		return;
	pn_file_written(f);
	if (end > PN_FILE_HEADER_SIZE && end < f->size_bytes && ftruncate(f->fd, (off_t)end) == 0) {
		atomic_fetch_sub_explicit(&a->spool->disk_bytes, f->size_bytes - end,
					  memory_order_relaxed);
		f->size_bytes = end;
	}
	/* release: pairs with the acquire in pn_spool_entry_wants_move */
	atomic_store_explicit(&f->is_closed, true, memory_order_release);
	pn_file_unref(f);
}

void pn_append_deinit(struct pn_append *a)
{
	if (!a->batch.iov)
		return;
	PN_ASSERT(!pn_append_is_busy(a));
	a->is_closing = true;
	pn_loop_timer_cancel(a->loop, &a->retry_timer);
	close_file(a, a->current, a->end);
	close_file(a, a->next, PN_FILE_HEADER_SIZE);
	pn_batch_deinit(&a->batch);
}

bool pn_append_is_busy(const struct pn_append *a)
{
	return a->ops_pending > 0 || a->is_creating || a->voids_pending > 0 ||
	       !pn_list_is_empty(&a->waiting);
}

int pn_append_state(const struct pn_append *a)
{
	return a->current || a->next ? 0 : a->create_error;
}
