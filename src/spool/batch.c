/* SPDX-License-Identifier: ISC */
/* batch.c - see batch.h. */
#include "spool/batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "spool/append.h"

int pn_batch_init(struct pn_batch *b, enum pn_file_kind kind)
{
	void *stage = NULL;
	*b = (struct pn_batch){ .kind = kind };
	b->iov = calloc(PN_BATCH_IOV_MAX, sizeof(*b->iov));
	if (!b->iov)
		return -ENOMEM;
	if (kind == PN_FILE_SEGMENT && posix_memalign(&stage, PN_DIRECT_ALIGN, PN_STAGE_BYTES) != 0) {
		pn_batch_deinit(b);
		return -ENOMEM;
	}
	b->stage = stage;
	return 0;
}

void pn_batch_deinit(struct pn_batch *b)
{
	free(b->iov);
	free(b->stage);
	b->iov = NULL;
	b->stage = NULL;
}

void pn_batch_reset(struct pn_batch *b)
{
	b->iov_count = 0;
	b->len = 0;
	b->stage_len = b->run_start = 0;
}

static size_t padding(uint64_t len)
{
	return (size_t)((0 - len) % PN_DIRECT_ALIGN);
}

/* At most. */
static unsigned iov_count(const struct pn_append_item *item)
{
	unsigned count = 2;
	for (const struct pn_block *b = item->is_whole ? item->blocks : NULL; b; b = b->next)
		count++;
	return count;
}

bool pn_batch_has_room(const struct pn_batch *b, const struct pn_append_item *item)
{
	uint64_t size = pn_append_item_size(item);
	if (b->len == 0)
		return true;
	/* One for the run that may be open, which closing may pad. */
	if (b->iov_count + 1 + iov_count(item) > PN_BATCH_IOV_MAX ||
	    b->len + PN_DIRECT_ALIGN + size > PN_BATCH_MAX_BYTES)
		return false;
	return b->kind != PN_FILE_SEGMENT || item->is_whole ||
	       b->stage_len + size + PN_DIRECT_ALIGN <= PN_STAGE_BYTES;
}

static void add_piece(struct pn_batch *b, const void *data, size_t len)
{
	PN_ASSERT(b->iov_count < PN_BATCH_IOV_MAX);
	/* writev does not change what it reads */
	b->iov[b->iov_count++] =
		(struct iovec){ .iov_base = (void *)(uintptr_t)data, .iov_len = len };
}

static void close_run(struct pn_batch *b)
{
	size_t pad = padding(b->len);
	if (b->run_start == b->stage_len)
		return;
	memset(b->stage + b->stage_len, 0, pad);
	b->stage_len += pad;
	b->len += pad;
	add_piece(b, b->stage + b->run_start, b->stage_len - b->run_start);
	b->run_start = b->stage_len;
}

static void stage(struct pn_batch *b, const void *data, size_t len)
{
	if (len > 0) /* memcpy takes no NULL, even for nothing */
		memcpy(b->stage + b->stage_len, data, len);
	b->stage_len += len;
}

static void add_staged(struct pn_batch *b, const struct pn_append_item *item, const uint8_t *head)
{
	PN_ASSERT(b->stage_len + pn_append_item_size(item) + padding(pn_append_item_size(item)) <=
		  PN_STAGE_BYTES);
	stage(b, head, PN_REC_HEAD_SIZE);
	for (const struct pn_block *k = item->blocks; k; k = k->next)
		stage(b, k->octets + k->begin, pn_block_len(k));
	stage(b, item->commit.ptr, item->commit.len);
}

static void add_whole(struct pn_batch *b, const struct pn_append_item *item)
{
	size_t left = (size_t)pn_append_item_size(item);
	PN_ASSERT(left % PN_DIRECT_ALIGN == 0);
	for (const struct pn_block *k = item->blocks; k; k = k->next) {
		size_t n = pn_min_size(left, k->cap);
		add_piece(b, k->octets, n);
		left -= n;
	}
	PN_ASSERT(left == 0);
}

void pn_batch_add(struct pn_batch *b, struct pn_append_item *item, uint64_t file_id, uint64_t start)
{
	uint8_t *head = item->is_whole ? item->blocks->octets : item->head_octets;

	if (item->is_whole)
		close_run(b);
	item->head.offset = start + b->len;
	item->head.synced_until = start;
	pn_rec_head_encode(head, &item->head, file_id);
	if (item->is_whole) {
		add_whole(b, item);
	} else if (b->kind == PN_FILE_SEGMENT) {
		add_staged(b, item, head);
	} else {
		add_piece(b, head, PN_REC_HEAD_SIZE);
		if (item->commit.len > 0)
			add_piece(b, item->commit.ptr, item->commit.len);
	}
	b->len += pn_append_item_size(item);
}

void pn_batch_finish(struct pn_batch *b)
{
	if (b->kind == PN_FILE_SEGMENT)
		close_run(b);
}
