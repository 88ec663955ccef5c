/* SPDX-License-Identifier: ISC */
/* ck.c - Concurrency Kit's ring in the place of ours, for comparison; built only where the library is installed. */
#include <stdlib.h>

#include <ck_ring.h>

#include "micro.h"

#define CAPACITY 1024u

struct ring {
	ck_ring_t ring;
	unsigned threads; /* 0 = one thread */
	ck_ring_buffer_t cells[CAPACITY];
};

static bool push(void *queue, void *ptr)
{
	struct ring *r = queue;

	return ck_ring_enqueue_mpmc(&r->ring, r->cells, ptr);
}

static void *pop(void *queue)
{
	struct ring *r = queue;
	void *ptr = NULL;

	return ck_ring_dequeue_mpmc(&r->ring, r->cells, &ptr) ? ptr : NULL;
}

static void *ring_open(const struct pn_bench_micro *m, const char *dir, struct pn_error *err)
{
	struct ring *r = aligned_alloc(PN_CACHE_LINE, (sizeof(*r) + PN_CACHE_LINE - 1) /
							      PN_CACHE_LINE * PN_CACHE_LINE);

	(void)dir;
	if (!r) {
		(void)pn_error_set(err, "out of memory");
		return NULL;
	}
	ck_ring_init(&r->ring, CAPACITY);
	r->threads = m->kind;
	return r;
}

static bool ring_run(void *state, uint64_t iterations)
{
	struct ring *r = state;
	const struct pn_bench_micro_queue q = { push, pop, r };
	bool ok = true;

	if (r->threads > 0)
		return pn_bench_micro_contend(&q, r->threads, iterations);
	for (uint64_t i = 0; i < iterations; i++)
		ok &= push(r, r) && pop(r) == r;
	return ok;
}

const struct pn_bench_micro pn_bench_micro_ck[] = {
	{ "queue_ck_alone", "ck_ring: one thread", ring_open, ring_run, free, 0, 0, 4096, 0 },
	{ "queue_ck_1x1", "ck_ring: 1 producer, 1 consumer", ring_open, ring_run, free, 0, 1, 4096,
	  0 },
	{ "queue_ck_2x2", "ck_ring: 2 producers, 2 consumers", ring_open, ring_run, free, 0, 2,
	  4096, 0 },
	{ "queue_ck_4x4", "ck_ring: 4 producers, 4 consumers", ring_open, ring_run, free, 0, 4,
	  4096, 0 },
	{ 0 },
};
