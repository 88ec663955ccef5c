/* SPDX-License-Identifier: ISC */
/*
 * queue.c - the ring between loops and relay workers: alone, and under contention by threads that do nothing else (the
 * worst that can be done to it; real loops push once in a while).
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include <postern/base/mpmc.h>

#include "micro.h"

#define CAPACITY    1024u
#define THREADS_MAX 4u

struct contest {
	const struct pn_bench_micro_queue *q;
	uint64_t iterations;
	unsigned threads;
	_Alignas(PN_CACHE_LINE) _Atomic uint64_t popped;
	_Atomic uint64_t sum;
};

struct worker {
	struct contest *contest;
	uint64_t first, count; /* producers: the numbers they push, beginning with 1 */
	pthread_t thread;
};

static void *produce(void *arg)
{
	struct worker *w = arg;
	const struct pn_bench_micro_queue *q = w->contest->q;

	for (uint64_t n = w->first; n < w->first + w->count; n++) {
		/* Numbers travel as pointers that nobody follows. */
		while (!q->push(q->queue, (void *)(uintptr_t)n))
			(void)sched_yield();
	}
	return NULL;
}

static void *consume(void *arg)
{
	struct worker *w = arg;
	struct contest *c = w->contest;
	uint64_t sum = 0;
	uint64_t count = 0;

	for (;;) {
		void *ptr = c->q->pop(c->q->queue);
		if (ptr) {
			sum += (uintptr_t)ptr;
			count++;
			continue;
		}
		/* relaxed: only says when to stop; the join orders the sums */
		uint64_t all =
			atomic_fetch_add_explicit(&c->popped, count, memory_order_relaxed) + count;
		count = 0;
		if (all >= c->iterations)
			break;
		(void)sched_yield();
	}
	(void)atomic_fetch_add_explicit(&c->sum, sum, memory_order_relaxed);
	return NULL;
}

bool pn_bench_micro_contend(const struct pn_bench_micro_queue *q, unsigned threads,
			    uint64_t iterations)
{
	struct contest c = { .q = q, .iterations = iterations, .threads = threads };
	struct worker workers[2 * THREADS_MAX] = { 0 };
	uint64_t next = 1;

	PN_ASSERT(threads >= 1 && threads <= THREADS_MAX);
	for (unsigned i = 0; i < 2 * threads; i++) {
		struct worker *w = &workers[i];
		bool is_producer = i < threads;
		w->contest = &c;
		if (is_producer) {
			w->first = next;
			w->count = i + 1 < threads ? iterations / threads : iterations + 1 - next;
			next += w->count;
		}
		PN_ASSERT(pthread_create(&w->thread, NULL, is_producer ? produce : consume, w) ==
			  0);
	}
	for (unsigned i = 0; i < 2 * threads; i++)
		PN_ASSERT(pthread_join(workers[i].thread, NULL) == 0);
	return atomic_load(&c.popped) == iterations &&
	       atomic_load(&c.sum) == iterations * (iterations + 1) / 2;
}

struct ring {
	struct pn_mpmc mpmc;
	unsigned threads; /* 0 = one thread, push then pop */
};

static bool push(void *queue, void *ptr)
{
	return pn_mpmc_push(queue, ptr);
}

static void *pop(void *queue)
{
	return pn_mpmc_pop(queue);
}

static void *ring_open(const struct pn_bench_micro *m, const char *dir, struct pn_error *err)
{
	struct ring *r = aligned_alloc(PN_CACHE_LINE, (sizeof(*r) + PN_CACHE_LINE - 1) /
							      PN_CACHE_LINE * PN_CACHE_LINE);

	(void)dir;
	if (r && pn_mpmc_init(&r->mpmc, CAPACITY) == 0) {
		r->threads = m->kind;
		return r;
	}
	free(r);
	(void)pn_error_set(err, "out of memory");
	return NULL;
}

static bool ring_run(void *state, uint64_t iterations)
{
	struct ring *r = state;
	const struct pn_bench_micro_queue q = { push, pop, &r->mpmc };
	bool ok = true;

	if (r->threads > 0)
		return pn_bench_micro_contend(&q, r->threads, iterations);
	for (uint64_t i = 0; i < iterations; i++)
		ok &= pn_mpmc_push(&r->mpmc, r) && pn_mpmc_pop(&r->mpmc) == r;
	return ok;
}

static void ring_close(void *state)
{
	struct ring *r = state;

	pn_mpmc_deinit(&r->mpmc);
	free(r);
}

const struct pn_bench_micro pn_bench_micro_queue[] = {
	{ "queue_alone", "push and pop, one thread", ring_open, ring_run, ring_close, 0, 0, 4096,
	  0 },
	{ "queue_1x1", "push and pop, 1 producer, 1 consumer", ring_open, ring_run, ring_close, 0,
	  1, 4096, 0 },
	{ "queue_2x2", "push and pop, 2 producers, 2 consumers", ring_open, ring_run, ring_close, 0,
	  2, 4096, 0 },
	{ "queue_4x4", "push and pop, 4 producers, 4 consumers", ring_open, ring_run, ring_close, 0,
	  4, 4096, 0 },
	{ 0 },
};
