/* SPDX-License-Identifier: ISC */
/* stats.c - figures of the whole spool. */
#include <stdio.h>

#include "spool/internal.h"
#include "spool/stats.h"

static const char *const counter_names[] = {
#define X(name) #name,
	PN_SPOOL_COUNTERS(X)
#undef X
};

void pn_spool_counters_register(struct pn_spool *spool)
{
	spool->counter_block.scope = "spool";
	snprintf(spool->counter_block.instance, sizeof(spool->counter_block.instance), "all");
	spool->counter_block.names = counter_names;
	spool->counter_block.values = spool->counters;
	spool->counter_block.count = PN_SPOOL_COUNTER_COUNT;
	pn_counters_register(&spool->counter_block);
}

void pn_spool_stats(struct pn_spool *spool, struct pn_spool_stats *ret)
{
	/* relaxed: a moment's figures, not consistent with each other */
	ret->messages = atomic_load_explicit(&spool->messages, memory_order_relaxed);
	ret->segments = atomic_load_explicit(&spool->segment_count, memory_order_relaxed);
	ret->files = atomic_load_explicit(&spool->file_count, memory_order_relaxed);
	ret->disk_bytes = atomic_load_explicit(&spool->disk_bytes, memory_order_relaxed);
	ret->memory_bytes = atomic_load_explicit(&spool->memory_bytes, memory_order_relaxed);
	ret->free_bytes = atomic_load_explicit(&spool->free_bytes, memory_order_relaxed);
}
