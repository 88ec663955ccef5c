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

/*
 * The largest is the largest size that jemalloc keeps in slabs and hands from thread to thread. Beyond it (16 KiB) each
 * block comes as pages of its own, often cold or given back to the kernel meanwhile: half a page fault for every
 * message of 4 KiB, two for one of 64 KiB.
 */
#define PN_BLOCK_SMALL_BYTES  4096u
#define PN_BLOCK_USUAL_BYTES  8192u
#define PN_BLOCK_LARGE_BYTES  14336u
#define PN_BLOCK_STREAM_BYTES 65536u
#define PN_BLOCK_LARGE_UNTIL_BYTES (256u << 10)

struct pn_block {
	struct pn_block *next;
	uint32_t len;
	uint32_t cap;
	uint8_t data[];
};

/* For what memory is taken: each may use a share of memory_max_bytes (README.md "Memory"). */
enum pn_budget { PN_BUDGET_CACHE, PN_BUDGET_INLINE, PN_BUDGET_STREAM, PN_BUDGET_COUNT };

bool pn_budget_take(struct pn_spool *spool, enum pn_budget budget, uint64_t bytes) PN_MUST_CHECK;
/* Counts without a limit: for small things of which something else bounds the number. */
void pn_budget_force(struct pn_spool *spool, uint64_t bytes);
void pn_budget_give(struct pn_spool *spool, uint64_t bytes);
/* Whether as much as that budget may have is in use already. */
bool pn_budget_is_over(struct pn_spool *spool, enum pn_budget budget);

/* size_bytes counts the struct. NULL: over budget or out of memory. */
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
/* Appends content as far as the budget for inline messages goes; returns how much was taken. */
size_t pn_blob_append(struct pn_spool_blob *b, struct pn_slice content, uint64_t inline_max);

#endif
