/* SPDX-License-Identifier: ISC */
/*
 * mpmc.h - bounded lock-free multi-producer multi-consumer queue of pointers, C11 atomics only.
 *
 * After D. Vyukov's bounded MPMC algorithm: every cell carries a sequence number that says whose
 * turn it is. push and pop are wait-free for an uncontended caller and never block; full and empty
 * are answers. Acquire/release ordering lives inside: what the producer wrote before push is
 * visible after pop.
 */
#ifndef POSTERN_BASE_MPMC_H
#define POSTERN_BASE_MPMC_H

#include <stdatomic.h>

#include <postern/base/common.h>

struct pn_mpmc_cell;

struct pn_mpmc {
	struct pn_mpmc_cell *cells;
	size_t mask;
	_Alignas(PN_CACHE_LINE) _Atomic size_t enqueue_pos;
	_Alignas(PN_CACHE_LINE) _Atomic size_t dequeue_pos;
};

/* `capacity` is rounded up to a power of two, at least 2. 0 or -ENOMEM. One thread. */
int pn_mpmc_init(struct pn_mpmc *q, size_t capacity) PN_MUST_CHECK;
/* Frees the cells, not what they point to. No other thread may use q any more. */
void pn_mpmc_deinit(struct pn_mpmc *q);
/* False when full. `ptr` is not NULL; the queue borrows it until popped. Any thread. */
bool pn_mpmc_push(struct pn_mpmc *q, void *ptr) PN_MUST_CHECK;
/* NULL when empty. Any thread. */
void *pn_mpmc_pop(struct pn_mpmc *q);
/* A moment's estimate, for counters only. Any thread. */
size_t pn_mpmc_len(const struct pn_mpmc *q);

#endif
