/* SPDX-License-Identifier: ISC */
/*
 * pool.h - memory of large blocks: PN_POOL_BLOCK_BYTES each, out of chunks of a huge page.
 *
 * Content is written by the loop, read by the disk and by the relay's socket. With pages of 4 KiB each of them pays
 * for each page (TLB, page faults of fresh memory, pinning for O_DIRECT); a huge page is paid for once. Any thread.
 */
#ifndef PN_SPOOL_POOL_H
#define PN_SPOOL_POOL_H

#include <pthread.h>

#include <postern/base/common.h>
#include <postern/base/list.h>

#define PN_POOL_BLOCK_BYTES 65536u
#define PN_POOL_CHUNK_BYTES (2u << 20)
#define PN_POOL_TRIM_MS     60000u
#define PN_POOL_TRIM_CHUNKS 16u

struct pn_pool {
	pthread_mutex_t lock;
	struct pn_list partial; /* chunks with a free block; those wholly free are last */
	size_t chunks, spare;   /* all of them; those wholly free */
	size_t spare_max;       /* beyond it a chunk goes back to the kernel at once */
	size_t spare_least;     /* since trimmed_ms */
	uint64_t trimmed_ms;
};

/* Keeps about spare_max_bytes without a block in use, until they are trimmed. */
void pn_pool_init(struct pn_pool *p, uint64_t spare_max_bytes);
/* Every block must have come back. */
void pn_pool_deinit(struct pn_pool *p);
/* PN_POOL_BLOCK_BYTES, aligned to as much; not zeros. NULL: out of memory. */
void *pn_pool_take(struct pn_pool *p);
void pn_pool_give(struct pn_pool *p, void *block);
/*
 * Gives chunks back to the kernel that were spare for PN_POOL_TRIM_MS, a few of them in each such time; does nothing
 * in between. now_ms: of the monotonic clock. Whether there is anything left to trim some time.
 */
bool pn_pool_trim(struct pn_pool *p, uint64_t now_ms);

#endif
