/* SPDX-License-Identifier: ISC */
/* move.c - copy-forward: rewrites a stubborn message into the current segment. README.md "Copy-forward". */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/codec.h>
#include <postern/base/fault.h>

#include "spool/writer.h"

#define MOVE_LIVE_SHARE 8u

struct pn_move {
	struct pn_spool_writer *w;
	struct pn_spool_entry *entry;
	pn_spool_move_fn fn;
	void *ctx;
	struct pn_op op;
	struct pn_task fail_task;
	int error;
	struct pn_block *block; /* the record, alone in it */
	size_t len, done;
	struct pn_append_item item;
	struct pn_file_hold *hold;
};

bool pn_spool_entry_wants_move(const struct pn_spool_entry *entry)
{
	const struct pn_spool_file *f = entry->file;
	/* acquire: pairs with the release when the writer left the file; size_bytes is final then */
	if (f->kind != PN_FILE_SEGMENT ||
	    !atomic_load_explicit(&f->is_closed, memory_order_acquire))
		return false;
	/* relaxed: an estimate */
	return atomic_load_explicit(&f->live_bytes, memory_order_relaxed) * MOVE_LIVE_SHARE <
	       f->size_bytes;
}

static void move_end(struct pn_move *m, int result)
{
	struct pn_spool_writer *w = m->w;
	struct pn_spool_entry *e = m->entry;
	pn_spool_move_fn fn = m->fn;
	void *ctx = m->ctx;
	pn_block_free(w->spool, m->block);
	pn_file_hold_free(m->hold);
	free(m);
	w->moves--;
	pn_writer_count(w, result < 0 ? PN_WRITER_C_move_failures : PN_WRITER_C_moves);
	fn(ctx, result, e);
}

static void on_appended(struct pn_append_item *item, int result)
{
	struct pn_move *m = pn_container_of(item, struct pn_move, item);
	struct pn_spool_entry *e = m->entry;
	struct pn_spool_file *old = e->file;

	if (result == 0) {
		pn_file_hold_file(old, item->file, m->hold);
		pn_file_ref(item->file);
		atomic_fetch_sub_explicit(&old->live_bytes, pn_entry_disk_bytes(e),
					  memory_order_relaxed);
		e->commit_len = item->head.commit_len;
		atomic_fetch_add_explicit(&item->file->live_bytes, pn_entry_disk_bytes(e),
					  memory_order_relaxed);
		e->file = item->file;
		e->offset = item->head.offset;
		e->generation = item->head.generation;
		pn_file_unref(old);
		m->hold = NULL;
	} else if (item->file && !item->file->is_voided) {
		/* Its void note is impossible: the copy must not outlive the journal that will say
		 * final: that one is held by the old segment. */
		pn_file_hold_file(item->file, old, m->hold);
		m->hold = NULL;
	}
	move_end(m, result);
}

/* A record of an earlier version: padded anew, with zeros as it is padded already. */
static void pad(const struct pn_move *m, struct pn_rec_head *head)
{
	uint8_t *commit = m->block->octets + PN_REC_HEAD_SIZE + head->content_len;
	uint32_t rest = (uint32_t)(m->len % PN_DIRECT_ALIGN);

	if (rest == 0)
		return;
	memset(commit + head->commit_len, 0, PN_DIRECT_ALIGN - rest);
	head->commit_len += PN_DIRECT_ALIGN - rest;
	head->commit_crc = pn_crc32c(0, commit, head->commit_len);
}

static void record_read(struct pn_move *m)
{
	const struct pn_spool_entry *e = m->entry;
	const uint8_t *content = m->block->octets + PN_REC_HEAD_SIZE;
	struct pn_rec_head head;

	if (!pn_rec_head_decode(m->block->octets, e->file->id, e->offset, &head) ||
	    head.content_len != e->size_bytes || head.commit_len != e->commit_len ||
	    pn_crc32c(0, content, (size_t)head.content_len) != head.content_crc ||
	    pn_crc32c(0, content + head.content_len, head.commit_len) != head.commit_crc) {
		move_end(m, -EBADMSG);
		return;
	}
	m->item.is_whole = pn_append_wants_whole(m->len);
	if (m->item.is_whole)
		pad(m, &head);
	head.generation++;
	m->block->begin = PN_REC_HEAD_SIZE;
	m->block->end = PN_REC_HEAD_SIZE + (uint32_t)head.content_len;
	m->item.head = head;
	m->item.blocks = m->block;
	m->item.commit = pn_slice(content + head.content_len, head.commit_len);
	m->item.fn = on_appended;
	pn_append_add(&m->w->append, &m->item);
}

static void on_read(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_move *m = pn_container_of(op, struct pn_move, op);
	res = pn_fault_result("spool.segment.read", res);
	if (res <= 0) {
		move_end(m, res < 0 ? res : -EBADMSG);
		return;
	}
	m->done += (size_t)res;
	if (m->done == m->len)
		record_read(m);
	else
		pn_loop_read(loop, &m->op, on_read, m->entry->file->fd, m->block->octets + m->done,
			     (uint32_t)(m->len - m->done), m->entry->offset + m->done);
}

static void on_fail_task(struct pn_loop *loop, struct pn_task *task)
{
	struct pn_move *m = pn_container_of(task, struct pn_move, fail_task);
	(void)loop;
	move_end(m, m->error);
}

void pn_spool_entry_move(struct pn_spool_writer *w, struct pn_spool_entry *entry,
			 pn_spool_move_fn fn, void *ctx)
{
	struct pn_move *m = calloc(1, sizeof(*m));
	if (!m) {
		/* The one failure that is told from inside: there is nothing to tell it later with. */
		fn(ctx, -ENOMEM, entry);
		return;
	}
	m->w = w;
	m->entry = entry;
	m->fn = fn;
	m->ctx = ctx;
	w->moves++;
	pn_writer_trim_later(w);
	m->fail_task.fn = on_fail_task;
	m->len = (size_t)pn_rec_size(entry->size_bytes, entry->commit_len);
	if (pn_entry_is_large(entry))
		m->error = -EINVAL;
	else if (m->len > (w->spool->settings.segment_size_bytes - PN_FILE_HEADER_SIZE) / 2)
		m->error = -E2BIG; /* the setting was larger when it came */
	else if (!(m->hold = pn_file_hold_new()))
		m->error = -ENOMEM;
	else if (!(m->block = pn_block_new(w->spool, PN_BUDGET_STREAM,
					  (uint32_t)(m->len + (0 - m->len) % PN_DIRECT_ALIGN))))
		m->error = -ENOBUFS;
	if (m->error < 0)
		pn_loop_defer(w->loop, &m->fail_task);
	else
		pn_loop_read(w->loop, &m->op, on_read, entry->file->fd, m->block->octets, (uint32_t)m->len,
			     entry->offset);
}
