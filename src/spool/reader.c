/* SPDX-License-Identifier: ISC */
/*
 * reader.c - loads a message for delivery: commit part, content source, progress.
 *
 * From memory when the octets are still there, else from the segment (the whole record, checked) or from the
 * message's own file (commit and head; the content is checked while it streams, see reader_pieces.c).
 */
#include "spool/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/codec.h>
#include <postern/base/fault.h>
#include <postern/base/log.h>

static void reader_reset(struct pn_spool_reader *r)
{
	if (r->octets)
		pn_budget_give(r->spool, r->octets_len);
	if (r->stream)
		pn_budget_give(r->spool, PN_STREAM_BYTES);
	free(r->octets);
	free(r->stream);
	free(r->progress_octets);
	r->octets = r->stream = r->progress_octets = NULL;
	if (r->file)
		pn_file_unref(r->file);
	if (r->journal)
		pn_file_unref(r->journal);
	r->file = r->journal = NULL;
	pn_blob_unref(r->blob);
	r->blob = NULL;
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
	r->source = PN_READER_NONE;
	r->is_loaded = false;
	pn_arena_reset(&r->arena);
}

static void load_failed(struct pn_spool_reader *r, int err)
{
	pn_spool_load_fn fn = r->load_fn;
	void *ctx = r->ctx;
	if (err == -EBADMSG) {
		char text[PN_ID_TEXT_LEN + 1];
		pn_id_format(text, &r->id);
		pn_logf(PN_LOG_ERROR, "spool",
			"message %s is damaged on disk (%s %016" PRIx64
			"); it is copied to damaged/",
			text, r->file ? "segment" : "file", r->file ? r->file->id : r->offset);
		pn_reader_set_aside(r);
	}
	reader_reset(r);
	r->is_busy = false;
	fn(ctx, err, NULL);
}

/* ---- the last step ---- */

static void load_finish(struct pn_spool_reader *r, const struct pn_outcome_state *state)
{
	struct pn_spool_message *m = &r->message;
	pn_spool_load_fn fn = r->load_fn;
	void *ctx = r->ctx;
	uint32_t count = r->commit.envelope.recipient_count;

	*m = (struct pn_spool_message){ .envelope = r->commit.envelope,
					.facts = r->commit.facts,
					.edits = r->commit.edits };
	m->rcpt_states = pn_arena_zalloc(&r->arena, pn_max_size(count, 1));
	if (!m->rcpt_states) {
		load_failed(r, -ENOMEM);
		return;
	}
	if (state) {
		for (uint32_t i = 0; i < count && i < state->rcpt_states.len; i++)
			m->rcpt_states[i] = state->rcpt_states.ptr[i];
		m->last_reply = state->last_reply;
	}
	m->size_bytes = pn_edit_result_size(&m->edits, r->size_bytes);
	r->is_busy = false;
	r->is_loaded = true;
	pn_spool_reader_rewind(r, false);
	fn(ctx, 0, m);
}

/* ---- progress ---- */

static void progress_lost(struct pn_spool_reader *r, const char *why)
{
	char text[PN_ID_TEXT_LEN + 1];
	pn_id_format(text, &r->id);
	/* Rather twice than never. */
	pn_logf(PN_LOG_ERROR, "spool",
		"the progress of message %s cannot be used (%s); all its recipients are tried "
		"again",
		text, why);
	load_finish(r, NULL);
}

/* All octets of the record are there. */
static void progress_parse(struct pn_spool_reader *r, const struct pn_rec_head *head)
{
	struct pn_slice text = pn_slice(r->progress_octets + PN_REC_HEAD_SIZE, head->commit_len);
	struct pn_outcome_state state;
	if (head->kind != PN_REC_OUTCOME || head->content_len != 0 ||
	    pn_crc32c(0, text.ptr, text.len) != head->commit_crc ||
	    pn_outcome_decode(text, &state) < 0 || !pn_id_eq(&state.id, &r->id))
		progress_lost(r, "damaged");
	else
		load_finish(r, &state);
}

static void on_progress(struct pn_loop *loop, struct pn_op *op, int res);

static void progress_read(struct pn_spool_reader *r)
{
	pn_loop_read(r->loop, &r->op, on_progress, r->journal->fd,
		     r->progress_octets + r->progress_done,
		     (uint32_t)(r->progress_len - r->progress_done),
		     pn_progress_offset(r->progress) + r->progress_done);
}

static void on_progress(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_spool_reader *r = pn_container_of(op, struct pn_spool_reader, op);
	struct pn_rec_head head;
	(void)loop;
	res = pn_fault_result("spool.journal.read", res);
	if (res < 0) {
		load_failed(r, res);
		return;
	}
	r->progress_done += (size_t)res;
	if (r->progress_done < PN_REC_HEAD_SIZE && res > 0) {
		progress_read(r);
		return;
	}
	if (r->progress_done < PN_REC_HEAD_SIZE ||
	    !pn_rec_head_decode(r->progress_octets, r->journal->id, pn_progress_offset(r->progress),
				&head)) {
		progress_lost(r, "damaged");
		return;
	}
	size_t len = PN_REC_HEAD_SIZE + head.commit_len;
	if (r->progress_done >= len) {
		progress_parse(r, &head);
		return;
	}
	if (res == 0 || len > PN_COMMIT_MAX_BYTES + PN_REC_HEAD_SIZE) {
		progress_lost(r, "cut");
		return;
	}
	if (len > r->progress_len) {
		uint8_t *more = realloc(r->progress_octets, len);
		if (!more) {
			load_failed(r, -ENOMEM);
			return;
		}
		r->progress_octets = more;
		r->progress_len = len;
	}
	progress_read(r);
}

static void load_progress(struct pn_spool_reader *r)
{
	struct pn_outcome_state state;
	if (r->progress == 0) {
		load_finish(r, NULL);
		return;
	}
	if (pn_progress_is_memory(r->progress)) {
		struct pn_slice text = PN_SLICE_NULL;
		/* Copied: the entry may get a newer one while the message is in use. */
		if (pn_arena_dup(&r->arena, pn_progress_memory(r->progress), &text) < 0)
			load_failed(r, -ENOMEM);
		else
			load_finish(r, pn_outcome_decode(text, &state) == 0 ? &state : NULL);
		return;
	}
	r->progress_len = PN_PROGRESS_READ_BYTES;
	r->progress_done = 0;
	r->progress_octets = malloc(r->progress_len);
	if (!r->progress_octets) {
		load_failed(r, -ENOMEM);
		return;
	}
	progress_read(r);
}

/* ---- the commit part ---- */

static void load_commit(struct pn_spool_reader *r, struct pn_slice commit)
{
	size_t progress_max =
		pn_progress_is_memory(r->progress) ? pn_progress_memory(r->progress).len : 0;
	pn_arena_init(&r->arena, 4096, pn_commit_arena_max(commit.len) + progress_max);
	int err = pn_commit_decode(commit, r->size_bytes, &r->arena, &r->commit);
	if (err == 0 && !pn_id_eq(&r->commit.envelope.id, &r->id))
		err = -EBADMSG;
	if (err < 0)
		load_failed(r, err);
	else
		load_progress(r);
}

/* Where head and commit part are in the octets that were read. */
static void find_parts(const struct pn_spool_reader *r, const uint8_t **head, const uint8_t **commit)
{
	switch (r->source) {
	case PN_READER_FILE:
		*commit = r->octets;
		*head = r->octets + r->commit_len;
		return;
	case PN_READER_FAR_RECORD:
		*head = r->octets;
		*commit = r->octets + PN_REC_HEAD_SIZE;
		return;
	case PN_READER_NONE:
	case PN_READER_BLOB:
	case PN_READER_RECORD:
		break;
	}
	*head = r->octets;
	*commit = r->octets + PN_REC_HEAD_SIZE + r->size_bytes;
}

/* The record of an inline message, or what stands around the content of a large one, has been read. */
static void record_read(struct pn_spool_reader *r)
{
	const uint64_t file_id = r->file ? r->file->id : r->offset;
	const uint8_t *head_at, *commit;
	struct pn_rec_head head;

	find_parts(r, &head_at, &commit);
	uint64_t head_offset = r->octets_offset + (uint64_t)(head_at - r->octets);
	bool is_good = pn_rec_head_decode(head_at, file_id, head_offset, &head) &&
		       head.kind == PN_REC_MESSAGE && head.content_len == r->size_bytes &&
		       head.commit_len == r->commit_len &&
		       pn_crc32c(0, commit, r->commit_len) == head.commit_crc;
	if (is_good && r->source == PN_READER_RECORD)
		is_good = pn_crc32c(0, r->octets + PN_REC_HEAD_SIZE, (size_t)r->size_bytes) ==
			  head.content_crc;
	if (!is_good) {
		load_failed(r, -EBADMSG);
		return;
	}
	r->content_crc = head.content_crc;
	load_commit(r, pn_slice(commit, r->commit_len));
}

static void on_octets(struct pn_loop *loop, struct pn_op *op, int res);

static void octets_read(struct pn_spool_reader *r)
{
	uint64_t offset = r->octets_offset + r->octets_done;
	size_t end = r->octets_len;
	if (r->source == PN_READER_FAR_RECORD) {
		/* Content lies between the two. */
		if (r->octets_done < PN_REC_HEAD_SIZE)
			end = PN_REC_HEAD_SIZE;
		else
			offset += r->size_bytes;
	}
	pn_loop_read(r->loop, &r->op, on_octets, r->file ? r->file->fd : r->fd,
		     r->octets + r->octets_done, (uint32_t)(end - r->octets_done), offset);
}

static void on_octets(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_spool_reader *r = pn_container_of(op, struct pn_spool_reader, op);
	(void)loop;
	res = pn_fault_result(r->file ? "spool.segment.read" : "spool.file.read", res);
	if (res <= 0) {
		/* The end of the file in the middle of a record */
		load_failed(r, res < 0 ? res : -EBADMSG);
		return;
	}
	r->octets_done += (size_t)res;
	if (r->octets_done < r->octets_len)
		octets_read(r);
	else
		record_read(r);
}

static void load_octets(struct pn_spool_reader *r, uint64_t offset, size_t len)
{
	r->octets_offset = offset;
	r->octets_done = 0;
	r->octets = malloc(len);
	if (!r->octets) {
		load_failed(r, -ENOMEM);
		return;
	}
	r->octets_len = len;
	/* As many of these as there are readers. */
	pn_budget_force(r->spool, len);
	octets_read(r);
}

static void on_opened(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_spool_reader *r = pn_container_of(op, struct pn_spool_reader, op);
	int err = pn_fault_result("spool.file.open", res < 0 ? res : 0);
	(void)loop;
	r->fd = res >= 0 ? res : -1;
	if (err < 0)
		load_failed(r, err);
	else
		load_octets(r, PN_FILE_HEADER_SIZE + r->size_bytes,
			    r->commit_len + PN_REC_HEAD_SIZE);
}

/* ---- the interface ---- */

struct pn_spool_reader *pn_spool_reader_new(struct pn_spool *spool, struct pn_loop *loop)
{
	struct pn_spool_reader *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->spool = spool;
	r->loop = loop;
	r->fd = -1;
	pn_arena_init(&r->arena, 4096, 0);
	return r;
}

void pn_spool_reader_free(struct pn_spool_reader *r)
{
	if (!r)
		return;
	PN_ASSERT(!r->is_busy);
	reader_reset(r);
	free(r);
}

void pn_spool_reader_load(struct pn_spool_reader *r, struct pn_spool_entry *entry,
			  pn_spool_load_fn fn, void *ctx)
{
	PN_ASSERT(!r->is_busy && !r->is_loaded);
	r->is_busy = true;
	r->load_fn = fn;
	r->ctx = ctx;
	r->id = entry->id;
	r->size_bytes = entry->size_bytes;
	r->commit_len = entry->commit_len;
	r->offset = entry->offset;
	r->progress = entry->progress;
	if (r->progress != 0 && !pn_progress_is_memory(r->progress)) {
		r->journal = pn_journal_file_at(r->spool, pn_progress_slot(r->progress));
		pn_file_ref(r->journal);
	}
	if (entry->blob) {
		r->blob = entry->blob;
		pn_blob_ref(r->blob);
		r->source = PN_READER_BLOB;
		load_commit(r, pn_buf_slice(&r->blob->commit));
	} else if (pn_entry_is_large(entry)) {
		r->source = PN_READER_FILE;
		pn_file_name(r->name, PN_FILE_LARGE, r->offset);
		pn_loop_openat(r->loop, &r->op, on_opened, r->spool->files_fd, r->name,
			       O_RDONLY | O_CLOEXEC, 0);
	} else {
		r->file = entry->file;
		pn_file_ref(r->file);
		bool is_far = r->size_bytes > PN_READER_WHOLE_MAX_BYTES;
		r->source = is_far ? PN_READER_FAR_RECORD : PN_READER_RECORD;
		load_octets(r, r->offset,
			    (size_t)pn_rec_size(is_far ? 0 : r->size_bytes, r->commit_len));
	}
}

bool pn_spool_reader_is_busy(const struct pn_spool_reader *r)
{
	return r->is_busy;
}

void pn_spool_reader_done(struct pn_spool_reader *r)
{
	PN_ASSERT(!r->is_busy);
	reader_reset(r);
}
