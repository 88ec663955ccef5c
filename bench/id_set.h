/* SPDX-License-Identifier: ISC */
/* id_set.h - a growing set of message ids (run and number), and how often each was added. One thread. */
#ifndef PN_BENCH_ID_SET_H
#define PN_BENCH_ID_SET_H

#include <postern/base/common.h>

/* What stands behind "X-Postern-Bench: " in a message: who sent it, the how-manieth, and what its body must be. */
struct pn_bench_id {
	uint64_t run;
	uint32_t number;
};

struct pn_bench_id_slot {
	struct pn_bench_id id;
	uint32_t count; /* 0: free */
};

/* Zeroed = empty. */
struct pn_bench_id_set {
	struct pn_bench_id_slot *slots;
	size_t size; /* power of two, or 0 */
	size_t count;
};

/* How often it has been added, this time included; 0: out of memory. */
uint32_t pn_bench_id_set_add(struct pn_bench_id_set *set, struct pn_bench_id id) PN_MUST_CHECK;
void pn_bench_id_set_free(struct pn_bench_id_set *set);

#endif
