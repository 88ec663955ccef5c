/* SPDX-License-Identifier: ISC */
/*
 * counters.h - named counters, one block per thread or object, written by one thread and read by
 * any.
 *
 * A module lists its counters in an X-macro, embeds an array of pn_counter in its per-thread object
 * and registers the block; `postern status` walks the registry. One writer per block:
 * pn_counter_add is a relaxed load and store, no locked instruction. Gauges are counters that also
 * go down (pn_counter_sub).
 */
#ifndef POSTERN_BASE_COUNTERS_H
#define POSTERN_BASE_COUNTERS_H

#include <stdatomic.h>

#include <postern/base/common.h>
#include <postern/base/list.h>

typedef _Atomic uint64_t pn_counter;

static inline void pn_counter_add(pn_counter *c, uint64_t n)
{
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static inline void pn_counter_sub(pn_counter *c, uint64_t n)
{
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) - n,
			      memory_order_relaxed);
}

static inline void pn_counter_set(pn_counter *c, uint64_t v)
{
	atomic_store_explicit(c, v, memory_order_relaxed);
}

static inline uint64_t pn_counter_get(const pn_counter *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

/* For the rare counter with several writers. */
static inline void pn_counter_add_shared(pn_counter *c, uint64_t n)
{
	atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static inline void pn_counter_sub_shared(pn_counter *c, uint64_t n)
{
	atomic_fetch_sub_explicit(c, n, memory_order_relaxed);
}

/* A run of counters with names: e.g. scope "loop", instance "0". The memory is the registrant's. */
struct pn_counter_block {
	struct pn_list node;
	const char *scope;
	char instance[64];
	const char *const *names;
	const pn_counter *values;
	size_t count;
};

/* Any thread; a mutex guards the registry. The block stays registered until unregistered. */
void pn_counters_register(struct pn_counter_block *block);
void pn_counters_unregister(struct pn_counter_block *block);
/* Calls fn for each block in registration order, under the registry's mutex. */
void pn_counters_for_each(void (*fn)(const struct pn_counter_block *block, void *ctx), void *ctx);

#endif
