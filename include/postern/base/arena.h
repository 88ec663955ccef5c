/* SPDX-License-Identifier: ISC */
/*
 * arena.h - bump allocation for one transaction: many small pieces, freed together, under a
 * maximum.
 *
 * pn_arena_reset() keeps nothing by default, so an idle session owns no chunk. Not thread-safe.
 */
#ifndef POSTERN_BASE_ARENA_H
#define POSTERN_BASE_ARENA_H

#include <postern/base/common.h>
#include <postern/base/slice.h>

struct pn_arena_chunk;

struct pn_arena {
	struct pn_arena_chunk *chunks; /* newest first */
	size_t chunk_size_bytes;       /* of an ordinary chunk */
	size_t used_bytes;             /* sum of all chunk sizes */
	size_t max_bytes;
};

/* Makes an empty arena; allocates nothing. */
void pn_arena_init(struct pn_arena *a, size_t chunk_size_bytes, size_t max_bytes);
/* 16-byte aligned, uninitialised memory that lives until reset; NULL over max_bytes or out of
 * memory. */
void *pn_arena_alloc(struct pn_arena *a, size_t size) PN_MUST_CHECK;
/* Zeroed. */
void *pn_arena_zalloc(struct pn_arena *a, size_t size) PN_MUST_CHECK;
/* Copies `s` (adding a NUL behind it) and points *ret at the copy. 0 or -ENOMEM. */
int pn_arena_dup(struct pn_arena *a, struct pn_slice s, struct pn_slice *ret) PN_MUST_CHECK;
/* Frees every chunk. */
void pn_arena_reset(struct pn_arena *a);

#endif
