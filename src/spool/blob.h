/* SPDX-License-Identifier: ISC */
/*
 * blob.h - message octets in memory: blocks under the process-wide budget, and the blob that keeps a committed
 * message for the relay.
 *
 * A block belongs to one owner. A blob is reference counted (entry, reader, write in flight) and immutable once
 * committed; any thread may drop the last reference.
 */
#ifndef PN_SPOOL_BLOB_H
#define PN_SPOOL_BLOB_H

#include <stdatomic.h>

#include <postern/base/buf.h>
#include <postern/spool/spool.h>

#include "spool/pool.h"

/*
 * Small, usual and large ones have whole pages, in sizes that jemalloc keeps in slabs and hands to other threads. From
 * 16 KiB on its blocks are pages of their own, often cold or given back to the kernel meanwhile (half a page fault for
 * every message of 4 KiB): those come out of the pool's huge pages instead.
 */
#define PN_BLOCK_SMALL_BYTES  4096u
#define PN_BLOCK_USUAL_BYTES  8192u
#define PN_BLOCK_LARGE_BYTES  12288u
#define PN_BLOCK_STREAM_BYTES PN_POOL_BLOCK_BYTES
#define PN_BLOCK_LARGE_UNTIL_BYTES (16u << 10)

/*
 * The blocks of a blob can become its record in a segment, octet for octet, so that a large one is written from where
 * it lies: room for the head in front of the first one's content, each filled up before the next, the commit part
 * behind the content (pn_blob_seal). Memory and sizes suit O_DIRECT.
 */
struct pn_block {
	struct pn_block *next;
	uint8_t *octets;
	uint32_t cap;
	uint32_t begin, end; /* content lies in octets[begin, end) */
};

static inline uint32_t pn_block_len(const struct pn_block *b)
{
	return b->end - b->begin;
}

/* For what memory is taken: each may use a share of memory_max_bytes (README.md "Memory"). */
enum pn_budget { PN_BUDGET_CACHE, PN_BUDGET_INLINE, PN_BUDGET_STREAM, PN_BUDGET_FORCED };

bool pn_budget_take(struct pn_spool *spool, enum pn_budget budget, uint64_t bytes) PN_MUST_CHECK;
/* Counts without a limit: for small things of which something else bounds the number. */
void pn_budget_force(struct pn_spool *spool, uint64_t bytes);
void pn_budget_give(struct pn_spool *spool, uint64_t bytes);
/* Whether as much as that budget may have is in use already. */
bool pn_budget_is_over(struct pn_spool *spool, enum pn_budget budget);

/* An empty block; size_bytes is a multiple of PN_DIRECT_ALIGN. NULL: over budget or out of memory. */
struct pn_block *pn_block_new(struct pn_spool *spool, enum pn_budget budget, uint32_t size_bytes);
void pn_block_free(struct pn_spool *spool, struct pn_block *b);
void pn_blocks_free(struct pn_spool *spool, struct pn_block *first);

struct pn_spool_blob {
	_Atomic uint32_t refs;
	struct pn_spool *spool;
	struct pn_block *first, *last;
	uint64_t size_bytes;     /* content */
	struct pn_buf commit;    /* TLVs */
	uint64_t commit_counted; /* in the budget */
};

struct pn_spool_blob *pn_blob_new(struct pn_spool *spool);
void pn_blob_ref(struct pn_spool_blob *b);
/* NULL is fine. */
void pn_blob_unref(struct pn_spool_blob *b);
/* Where content has room without another block; see pn_spool_txn_room(). */
size_t pn_blob_room(const struct pn_spool_blob *b, uint64_t inline_max, uint8_t **ret);
/* Appends content (which may lie in that room already) as far as the budget for inline messages goes; returns how much
 * was taken. */
size_t pn_blob_append(struct pn_spool_blob *b, struct pn_slice content, uint64_t inline_max);
/* Puts a copy of the commit part behind the content: now the blocks want only the head. 0 or -ENOMEM. */
int pn_blob_seal(struct pn_spool_blob *b, struct pn_slice commit) PN_MUST_CHECK;

#endif
