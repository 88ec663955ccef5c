/* SPDX-License-Identifier: ISC */
/* blob.c - see blob.h. */
#include "spool/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "spool/internal.h"

static uint64_t budget_limit(const struct pn_spool *spool, enum pn_budget budget)
{
	uint64_t max = spool->settings.memory_max_bytes;
	switch (budget) {
	case PN_BUDGET_CACHE:
		return max / 2;
	case PN_BUDGET_INLINE:
		return max / 4 * 3;
	case PN_BUDGET_STREAM:
		break;
	case PN_BUDGET_FORCED:
		return UINT64_MAX;
	}
	return max;
}

bool pn_budget_take(struct pn_spool *spool, enum pn_budget budget, uint64_t bytes)
{
	/* Only a sum: orders nothing, so relaxed is enough here and in the three functions below. */
	uint64_t before =
		atomic_fetch_add_explicit(&spool->memory_bytes, bytes, memory_order_relaxed);
	if (before + bytes <= budget_limit(spool, budget))
		return true;
	atomic_fetch_sub_explicit(&spool->memory_bytes, bytes, memory_order_relaxed);
	return false;
}

void pn_budget_force(struct pn_spool *spool, uint64_t bytes)
{
	atomic_fetch_add_explicit(&spool->memory_bytes, bytes, memory_order_relaxed);
}

void pn_budget_give(struct pn_spool *spool, uint64_t bytes)
{
	atomic_fetch_sub_explicit(&spool->memory_bytes, bytes, memory_order_relaxed);
}

bool pn_budget_is_over(struct pn_spool *spool, enum pn_budget budget)
{
	return atomic_load_explicit(&spool->memory_bytes, memory_order_relaxed) >
	       budget_limit(spool, budget);
}

struct pn_block *pn_block_new(struct pn_spool *spool, enum pn_budget budget, uint32_t size_bytes)
{
	PN_ASSERT(size_bytes > 0 && size_bytes % PN_DIRECT_ALIGN == 0);
	if (!pn_budget_take(spool, budget, size_bytes))
		return NULL;
	struct pn_block *b = malloc(sizeof(*b));
	void *octets = NULL;
	if (b && size_bytes == PN_POOL_BLOCK_BYTES)
		octets = pn_pool_take(&spool->pool);
	else if (b && posix_memalign(&octets, PN_DIRECT_ALIGN, size_bytes) != 0)
		octets = NULL;
	if (!octets) {
		pn_budget_give(spool, size_bytes);
		free(b);
		return NULL;
	}
	*b = (struct pn_block){ .octets = octets, .cap = size_bytes };
	return b;
}

void pn_block_free(struct pn_spool *spool, struct pn_block *b)
{
	if (!b)
		return;
	pn_budget_give(spool, b->cap);
	if (b->cap == PN_POOL_BLOCK_BYTES)
		pn_pool_give(&spool->pool, b->octets);
	else
		free(b->octets);
	free(b);
}

void pn_blocks_free(struct pn_spool *spool, struct pn_block *first)
{
	while (first) {
		struct pn_block *next = first->next;
		pn_block_free(spool, first);
		first = next;
	}
}

struct pn_spool_blob *pn_blob_new(struct pn_spool *spool)
{
	struct pn_spool_blob *b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	atomic_init(&b->refs, 1);
	b->spool = spool;
	pn_buf_init(&b->commit, PN_COMMIT_MAX_BYTES);
	return b;
}

void pn_blob_ref(struct pn_spool_blob *b)
{
	/* The caller has a reference, so nothing is ordered by taking another one. */
	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
}

void pn_blob_unref(struct pn_spool_blob *b)
{
	/* acq_rel: the last one sees what every other holder did before its own decrement */
	if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
		return;
	pn_blocks_free(b->spool, b->first);
	pn_budget_give(b->spool, b->commit_counted);
	pn_buf_free(&b->commit);
	free(b);
}

/* Small first, so that a short message costs little. */
static uint32_t next_block_size(const struct pn_spool_blob *b, size_t wanted)
{
	if (!b->first && wanted <= PN_BLOCK_SMALL_BYTES - PN_REC_HEAD_SIZE)
		return PN_BLOCK_SMALL_BYTES;
	if (!b->first && wanted <= PN_BLOCK_USUAL_BYTES - PN_REC_HEAD_SIZE)
		return PN_BLOCK_USUAL_BYTES;
	/* Of the largest inline messages few blocks must do: a batch has PN_BATCH_IOV_MAX pieces. */
	return b->size_bytes < PN_BLOCK_LARGE_UNTIL_BYTES ? PN_BLOCK_LARGE_BYTES : PN_BLOCK_STREAM_BYTES;
}

static bool add_block(struct pn_spool_blob *b, enum pn_budget budget, uint32_t size_bytes)
{
	struct pn_block *block = pn_block_new(b->spool, budget, size_bytes);
	if (!block)
		return false;
	if (b->last) {
		b->last->next = block;
	} else {
		b->first = block;
		block->begin = block->end = PN_REC_HEAD_SIZE;
	}
	b->last = block;
	return true;
}

size_t pn_blob_room(const struct pn_spool_blob *b, uint64_t inline_max, uint8_t **ret)
{
	if (!b->last || b->size_bytes >= inline_max)
		return 0;
	*ret = b->last->octets + b->last->end;
	return pn_min_size(b->last->cap - b->last->end, (size_t)(inline_max - b->size_bytes));
}

size_t pn_blob_append(struct pn_spool_blob *b, struct pn_slice content, uint64_t inline_max)
{
	size_t taken = 0;
	while (content.len > 0 && b->size_bytes < inline_max) {
		if ((!b->last || b->last->end == b->last->cap) &&
		    !add_block(b, PN_BUDGET_INLINE, next_block_size(b, content.len)))
			break;
		size_t n = pn_min_size(content.len, b->last->cap - b->last->end);
		n = pn_min_size(n, (size_t)(inline_max - b->size_bytes));
		/* It is there already, or behind it, as far as the owner had it put there. */
		if (content.ptr != b->last->octets + b->last->end)
			memmove(b->last->octets + b->last->end, content.ptr, n);
		b->last->end += (uint32_t)n;
		b->size_bytes += n;
		taken += n;
		pn_slice_advance(&content, n);
	}
	return taken;
}

int pn_blob_seal(struct pn_spool_blob *b, struct pn_slice commit)
{
	uint32_t at = b->last ? b->last->end : 0;
	while (commit.len > 0) {
		if (!b->last || at == b->last->cap) {
			uint32_t size = commit.len <= PN_BLOCK_SMALL_BYTES ? PN_BLOCK_SMALL_BYTES :
									    PN_BLOCK_STREAM_BYTES;
			/* One small block as a rule: the message is not refused for that. */
			if (!add_block(b, PN_BUDGET_FORCED, size))
				return -ENOMEM;
			at = b->last->end;
		}
		size_t n = pn_min_size(commit.len, b->last->cap - at);
		memcpy(b->last->octets + at, commit.ptr, n);
		at += (uint32_t)n;
		pn_slice_advance(&commit, n);
	}
	return 0;
}
