/* SPDX-License-Identifier: ISC */
/*
 * txn.c - one message on its way in: content in memory (or, spilled, in a file of its own), then the commit.
 * README.md I1-I5, L1-L4.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/codec.h>

#include "spool/record.h"
#include "spool/writer.h"

struct pn_spool_txn {
	struct pn_spool_writer *w;
	struct pn_spool_blob
		*blob;          /* content in memory; of a spilled message only the commit part */
	struct pn_large *large; /* NULL: inline */
	uint64_t size_bytes;
	uint32_t crc;
	int error; /* sticks */
	bool is_committing;
	bool is_aborted; /* while committing: nobody waits for the answer */
	pn_spool_txn_fn on_writable;
	void *on_writable_ctx;
	pn_spool_commit_fn fn;
	void *ctx;
	struct pn_spool_entry *entry; /* made in front, so that nothing can fail behind the sync */
	struct pn_append_item item;
	struct pn_task fail_task;
	bool has_proof;
	struct pn_commit_proof proof;
	struct pn_buf proof_rcpts;
};

static bool take_slot(struct pn_spool_writer *w)
{
	struct pn_spool *s = w->spool;
	/* relaxed: only a number */
	uint64_t used = atomic_fetch_add_explicit(&s->slots_used, 1, memory_order_relaxed);
	if (w->is_internal || used < atomic_load_explicit(&s->queue_messages_max, memory_order_relaxed))
		return true;
	atomic_fetch_sub_explicit(&s->slots_used, 1, memory_order_relaxed);
	return false;
}

struct pn_spool_txn *pn_spool_txn_begin(struct pn_spool_writer *w, int *ret_err)
{
	int err = pn_spool_admit(w);
	struct pn_spool_txn *t = err == 0 ? calloc(1, sizeof(*t)) : NULL;
	struct pn_spool_blob *blob = t ? pn_blob_new(w->spool) : NULL;
	if (err == 0 && !blob)
		err = -ENOMEM;
	if (err == 0 && !take_slot(w))
		err = -EDQUOT;
	*ret_err = err;
	if (err < 0) {
		pn_writer_count(w, PN_WRITER_C_refused);
		pn_blob_unref(blob);
		free(t);
		return NULL;
	}
	t->w = w;
	t->blob = blob;
	pn_buf_init(&t->proof_rcpts, PN_COMMIT_MAX_BYTES);
	w->txns++;
	pn_writer_trim_later(w);
	return t;
}

static void txn_free(struct pn_spool_txn *t)
{
	pn_blob_unref(t->blob);
	pn_buf_free(&t->proof_rcpts);
	free(t->entry);
	t->w->txns--;
	free(t);
}

/* Content goes to a file of its own from now on. */
static int spill(struct pn_spool_txn *t)
{
	t->large = pn_large_new(t->w, t, t->blob);
	if (!t->large)
		return -ENOMEM;
	pn_writer_count(t->w, PN_WRITER_C_spills);
	return 0;
}

size_t pn_spool_txn_room(const struct pn_spool_txn *t, uint8_t **ret)
{
	PN_ASSERT(!t->is_committing);
	if (t->error < 0 || t->large)
		return 0;
	return pn_blob_room(t->blob, t->w->spool->settings.inline_max_bytes, ret);
}

int pn_spool_txn_write(struct pn_spool_txn *t, struct pn_slice content)
{
	int res = 0;
	PN_ASSERT(!t->is_committing);
	if (t->error < 0 || content.len == 0)
		return t->error;
	t->crc = pn_crc32c(t->crc, content.ptr, content.len);
	t->size_bytes += content.len;
	if (!t->large) {
		pn_slice_advance(&content, pn_blob_append(t->blob, content,
							  t->w->spool->settings.inline_max_bytes));
		if (content.len == 0)
			return 0;
		res = spill(t);
	}
	if (res == 0)
		res = pn_large_write(t->large, content);
	if (res < 0)
		t->error = res;
	return res;
}

void pn_spool_txn_on_writable(struct pn_spool_txn *t, pn_spool_txn_fn fn, void *ctx)
{
	t->on_writable = fn;
	t->on_writable_ctx = ctx;
}

void pn_txn_writable(struct pn_spool_txn *t)
{
	if (t->on_writable && !t->is_committing)
		t->on_writable(t, t->on_writable_ctx);
}

void pn_spool_txn_abort(struct pn_spool_txn *t)
{
	pn_writer_count(t->w, PN_WRITER_C_aborts);
	if (t->is_committing) {
		t->is_aborted = true;
		return;
	}
	if (t->large)
		pn_large_abort(t->large);
	atomic_fetch_sub_explicit(&t->w->spool->slots_used, 1, memory_order_relaxed);
	txn_free(t);
}

void pn_spool_txn_prove(struct pn_spool_txn *t, const struct pn_id *original, uint8_t flags)
{
	t->has_proof = true;
	t->proof.original = *original;
	t->proof.flags = flags;
}

void pn_spool_txn_prove_rcpt(struct pn_spool_txn *t, uint32_t index, enum pn_rcpt_state state)
{
	int err = pn_proof_rcpt_put(&t->proof_rcpts, index, (uint8_t)state);
	if (err < 0 && t->error == 0)
		t->error = err;
}

/* ---- commit ---- */

static void entry_fill(struct pn_spool_txn *t, struct pn_spool_file *file, uint64_t offset)
{
	struct pn_spool *s = t->w->spool;
	struct pn_spool_entry *e = t->entry;
	e->file = file;
	e->offset = offset;
	if (file->kind == PN_FILE_LARGE) {
		atomic_fetch_add_explicit(&s->file_count, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&s->disk_bytes, pn_entry_disk_bytes(e),
					  memory_order_relaxed);
	} else {
		pn_file_ref(file);
		atomic_fetch_add_explicit(&file->live_bytes, pn_entry_disk_bytes(e),
					  memory_order_relaxed);
		if (!pn_budget_is_over(s, PN_BUDGET_CACHE)) {
			e->blob = t->blob;
			t->blob = NULL;
		}
	}
	atomic_fetch_add_explicit(&s->messages, 1, memory_order_relaxed);
}

void pn_txn_finish(struct pn_spool_txn *t, int result, struct pn_spool_file *file, uint64_t offset)
{
	struct pn_spool_writer *w = t->w;
	struct pn_spool *s = w->spool;
	struct pn_spool_entry *e = NULL;
	pn_spool_commit_fn fn = t->is_aborted ? NULL : t->fn;
	bool is_aborted = t->is_aborted;
	void *ctx = t->ctx;

	if (result == 0) {
		entry_fill(t, file, offset);
		e = t->entry;
		t->entry = NULL;
		pn_writer_count(w, PN_WRITER_C_commits);
	} else {
		atomic_fetch_sub_explicit(&s->slots_used, 1, memory_order_relaxed);
		pn_writer_count(w, PN_WRITER_C_failures);
	}
	txn_free(t);
	if (fn) {
		fn(ctx, result, e);
	} else if (e && is_aborted) {
		pn_writer_count(w, PN_WRITER_C_orphans);
		if (s->orphan_fn)
			s->orphan_fn(e, s->orphan_ctx);
		else
			pn_spool_entry_free(s, e);
	}
}

static void on_appended(struct pn_append_item *item, int result)
{
	struct pn_spool_txn *t = pn_container_of(item, struct pn_spool_txn, item);
	pn_txn_finish(t, result, item->file, item->head.offset);
}

static void on_fail_task(struct pn_loop *loop, struct pn_task *task)
{
	struct pn_spool_txn *t = pn_container_of(task, struct pn_spool_txn, fail_task);
	(void)loop;
	pn_txn_finish(t, t->error, NULL, 0);
}

/* Copies what the caller gave. 0 or -errno. */
static int prepare(struct pn_spool_txn *t, const struct pn_envelope *envelope,
		   const struct pn_content_facts *facts, const struct pn_edit_list *edits,
		   struct pn_rec_head *head)
{
	struct pn_spool_blob *blob = t->blob;
	if (t->error < 0)
		return t->error;
	t->entry = calloc(1, sizeof(*t->entry));
	if (!t->entry)
		return -ENOMEM;
	t->proof.rcpts = pn_buf_slice(&t->proof_rcpts);
	int err = pn_commit_encode(&blob->commit, t->size_bytes, envelope, facts, edits,
				   t->has_proof ? &t->proof : NULL);
	bool is_whole = !t->large && pn_append_wants_whole(pn_rec_size(t->size_bytes, pn_buf_len(&blob->commit)));
	if (err == 0 && is_whole)
		err = pn_commit_pad(&blob->commit, t->size_bytes, PN_DIRECT_ALIGN);
	if (err < 0)
		return err;
	blob->commit_counted = blob->commit.cap;
	pn_budget_force(t->w->spool, blob->commit_counted);
	struct pn_slice commit = pn_buf_slice(&blob->commit);
	*head = (struct pn_rec_head){
		.kind = PN_REC_MESSAGE,
		.content_len = t->size_bytes,
		.content_crc = t->crc,
		.commit_len = (uint32_t)commit.len,
		.commit_crc = pn_crc32c(0, commit.ptr, commit.len),
	};
	t->entry->id = envelope->id;
	t->entry->size_bytes = t->size_bytes;
	t->entry->commit_len = head->commit_len;
	/* A record must leave room for others in its segment. */
	uint64_t room = (t->w->spool->settings.segment_size_bytes - PN_FILE_HEADER_SIZE) / 2;
	if (!t->large && pn_rec_size(head->content_len, head->commit_len) > room)
		return spill(t);
	return !t->large && is_whole ? pn_blob_seal(blob, commit) : 0;
}

void pn_spool_txn_commit(struct pn_spool_txn *t, const struct pn_envelope *envelope,
			 const struct pn_content_facts *facts, const struct pn_edit_list *edits,
			 pn_spool_commit_fn fn, void *ctx)
{
	struct pn_rec_head head;
	PN_ASSERT(!t->is_committing);
	t->fn = fn;
	t->ctx = ctx;
	int err = prepare(t, envelope, facts, edits, &head);
	t->is_committing = true;
	if (err < 0) {
		t->error = err;
		if (t->large)
			pn_large_abort(t->large);
		t->fail_task.fn = on_fail_task;
		pn_loop_defer(t->w->loop, &t->fail_task);
	} else if (t->large) {
		pn_large_commit(t->large, &head, pn_buf_slice(&t->blob->commit));
	} else {
		t->item.head = head;
		t->item.blocks = t->blob->first;
		t->item.is_whole = pn_append_wants_whole(pn_append_item_size(&t->item));
		t->item.commit = pn_buf_slice(&t->blob->commit);
		t->item.fn = on_appended;
		pn_append_add(&t->w->append, &t->item);
	}
}
