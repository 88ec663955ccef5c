/* SPDX-License-Identifier: ISC */
/*
 * reader_pieces.c - gives the content of a loaded message piece by piece, with its edits applied.
 *
 * A large message is read through in order, deleted ranges too, so that its CRC is known when its last octet
 * has been read: the piece with the last octets, and the end, are given only when it is right.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/codec.h>
#include <postern/base/fault.h>
#include <postern/base/log.h>

#include "spool/reader.h"

/* ---- damaged messages ---- */

struct aside_job {
	struct pn_job job;
	char name[PN_FILE_NAME_SIZE];
	uint8_t *octets; /* NULL: read from `file`, or, without it, a file of that name is linked */
	struct pn_spool_file *file; /* with a reference */
	uint64_t offset;
	size_t len;
};

static int aside_read(struct aside_job *a)
{
	a->octets = malloc(a->len);
	if (!a->octets)
		return -ENOMEM;
	ptrdiff_t n = pn_io_read("spool.damaged.read", a->file->fd, a->octets, a->len, a->offset);
	if (n < 0)
		return (int)n;
	a->len = (size_t)n;
	return 0;
}

static void aside_run(struct pn_spool *spool, struct pn_job *job)
{
	struct aside_job *a = pn_container_of(job, struct aside_job, job);
	int err = a->file ? aside_read(a) : 0;
	if (err == 0 && a->octets)
		err = pn_damaged_save(spool, a->name, a->octets, a->len);
	else if (err == 0 && linkat(spool->files_fd, a->name, spool->damaged_fd, a->name, 0) < 0 &&
		 errno != EEXIST)
		err = -errno;
	pn_spool_count(spool, PN_SPOOL_C_damaged);
	if (err < 0)
		pn_logf(PN_LOG_ERROR, "spool", "cannot keep damaged/%s: %s", a->name,
			strerror(-err));
	if (a->file)
		pn_file_unref(a->file);
	free(a->octets);
	free(a);
}

void pn_reader_set_aside(struct pn_spool_reader *r)
{
	struct aside_job *a = r->source == PN_READER_BLOB ? NULL : calloc(1, sizeof(*a));
	if (!a)
		return;
	a->job.run = aside_run;
	if (r->file)
		snprintf(a->name, sizeof(a->name), "%016llx-%016llx.rec",
			 (unsigned long long)r->file->id, (unsigned long long)r->offset);
	if (r->source == PN_READER_FAR_RECORD) {
		a->file = r->file;
		pn_file_ref(a->file);
		a->offset = r->offset;
		a->len = (size_t)pn_rec_size(r->size_bytes, r->commit_len);
	} else if (r->source == PN_READER_RECORD) {
		a->octets = r->octets;
		a->len = r->octets_done;
		pn_budget_give(r->spool, r->octets_len);
		r->octets = NULL;
	} else {
		memcpy(a->name, r->name, sizeof(a->name));
	}
	pn_helper_push(r->spool, &a->job);
}

/* ---- pieces ---- */

static void give_piece(struct pn_spool_reader *r, int result, struct pn_slice piece, bool is_of_blob)
{
	pn_spool_piece_fn fn = r->piece_fn;
	r->is_busy = false;
	r->is_piece_of_blob = is_of_blob;
	fn(r->ctx, result, piece);
}

static void give(struct pn_spool_reader *r, int result, struct pn_slice piece)
{
	give_piece(r, result, piece, false);
}

struct pn_spool_blob *pn_spool_reader_hold_piece(const struct pn_spool_reader *r)
{
	if (!r->is_piece_of_blob)
		return NULL;
	pn_blob_ref(r->blob);
	return r->blob;
}

void pn_spool_blob_release(struct pn_spool_blob *blob)
{
	pn_blob_unref(blob);
}

/* The stored content from pos up to `limit`, as much as lies in one place of memory. */
static struct pn_slice content_at(struct pn_spool_reader *r, uint64_t limit)
{
	size_t want = (size_t)pn_min_size(limit - r->pos, PN_STREAM_BYTES);
	if (r->source == PN_READER_RECORD)
		return pn_slice(r->octets + PN_REC_HEAD_SIZE + r->pos, want);
	while (r->pos >= r->block_start + pn_block_len(r->block)) {
		r->block_start += pn_block_len(r->block);
		r->block = r->block->next;
	}
	size_t skip = (size_t)(r->pos - r->block_start);
	return pn_slice(r->block->octets + r->block->begin + skip,
			pn_min_size(want, pn_block_len(r->block) - skip));
}

static void next_step(struct pn_spool_reader *r);

static void stream_read(struct pn_spool_reader *r);

static void on_stream(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_spool_reader *r = pn_container_of(op, struct pn_spool_reader, op);
	(void)loop;
	res = pn_fault_result(r->file ? "spool.segment.read" : "spool.file.read", res);
	if (res <= 0) {
		give(r, res < 0 ? res : -EBADMSG, PN_SLICE_NULL);
		return;
	}
	r->crc = pn_crc32c(r->crc, r->stream + r->stream_len, (size_t)res);
	r->stream_len += (uint32_t)res;
	if (r->stream_len < r->stream_want) {
		stream_read(r);
		return;
	}
	if (r->stream_start + r->stream_len == r->size_bytes && r->crc != r->content_crc) {
		char text[PN_ID_TEXT_LEN + 1];
		pn_id_format(text, &r->id);
		pn_logf(PN_LOG_ERROR, "spool",
			"message %s is damaged on disk (%s %016llx); it is kept in damaged/", text,
			r->file ? "segment" : "file",
			(unsigned long long)(r->file ? r->file->id : r->offset));
		pn_reader_set_aside(r);
		give(r, -EBADMSG, PN_SLICE_NULL);
		return;
	}
	next_step(r);
}

static void stream_read(struct pn_spool_reader *r)
{
	uint64_t start = r->file ? r->offset + PN_REC_HEAD_SIZE : PN_FILE_HEADER_SIZE;
	pn_loop_read(r->loop, &r->op, on_stream, r->file ? r->file->fd : r->fd,
		     r->stream + r->stream_len, r->stream_want - r->stream_len,
		     start + r->stream_start + r->stream_len);
}

/* Reads the block behind the one in memory. */
static void stream_next(struct pn_spool_reader *r)
{
	if (!r->stream) {
		r->stream = malloc(PN_STREAM_BYTES);
		if (!r->stream) {
			give(r, -ENOMEM, PN_SLICE_NULL);
			return;
		}
		pn_budget_force(r->spool, PN_STREAM_BYTES);
	}
	r->stream_start += r->stream_len;
	r->stream_len = 0;
	r->stream_want =
		(uint32_t)pn_min_size((size_t)(r->size_bytes - r->stream_start), PN_STREAM_BYTES);
	stream_read(r);
}

static bool is_read_through(const struct pn_spool_reader *r)
{
	return !pn_reader_is_streamed(r->source) || r->stream_start + r->stream_len == r->size_bytes;
}

/* Text to be inserted here, or the jump over what is deleted. True: a piece was given. */
static bool apply_edit(struct pn_spool_reader *r)
{
	while (r->edit && r->edit->at == r->pos) {
		struct pn_slice text = r->edit->insert;
		if (!r->is_inserted && text.len > 0) {
			r->is_inserted = true;
			give(r, (int)text.len, text);
			return true;
		}
		r->is_inserted = false;
		r->pos += r->edit->delete_len;
		r->edit = r->edit->next;
	}
	return false;
}

static void next_step(struct pn_spool_reader *r)
{
	/* What the edits put behind the last octet waits for the CRC like the last octet. */
	bool is_at_end = r->pos == r->size_bytes;
	if (is_at_end && !is_read_through(r)) {
		stream_next(r);
		return;
	}
	if (!r->as_stored && apply_edit(r))
		return;
	uint64_t limit = !r->as_stored && r->edit ? r->edit->at : r->size_bytes;
	if (r->pos == r->size_bytes) {
		if (is_read_through(r))
			give(r, 0, PN_SLICE_NULL);
		else
			stream_next(r);
		return;
	}
	struct pn_slice piece;
	if (pn_reader_is_streamed(r->source)) {
		uint64_t end = r->stream_start + r->stream_len;
		if (r->pos >= end) {
			stream_next(r);
			return;
		}
		piece = pn_slice(r->stream + (r->pos - r->stream_start),
				 pn_min_size((size_t)(limit - r->pos), (size_t)(end - r->pos)));
	} else {
		piece = content_at(r, limit);
	}
	r->pos += piece.len;
	give_piece(r, (int)piece.len, piece, r->source == PN_READER_BLOB);
}

void pn_spool_reader_rewind(struct pn_spool_reader *r, bool as_stored)
{
	PN_ASSERT(r->is_loaded && !r->is_busy);
	r->as_stored = as_stored;
	r->pos = 0;
	r->edit = r->message.edits.first;
	r->is_inserted = false;
	r->block = r->blob ? r->blob->first : NULL;
	r->block_start = 0;
	r->stream_start = 0;
	r->stream_len = 0;
	r->crc = 0;
}

void pn_spool_reader_next(struct pn_spool_reader *r, pn_spool_piece_fn fn, void *ctx)
{
	PN_ASSERT(r->is_loaded && !r->is_busy);
	r->is_busy = true;
	r->piece_fn = fn;
	r->ctx = ctx;
	next_step(r);
}
