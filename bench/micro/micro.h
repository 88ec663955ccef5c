/* SPDX-License-Identifier: ISC */
/*
 * micro.h - one small piece of the gateway in a tight loop, always with the same input, warm in the caches.
 */
#ifndef PN_BENCH_MICRO_H
#define PN_BENCH_MICRO_H

#include <postern/base/common.h>
#include <postern/base/slice.h>

struct pn_bench_micro {
	const char *name;
	const char *what; /* one operation */
	/* NULL with err when it cannot be set up. */
	void *(*open)(const struct pn_bench_micro *m, const char *dir, struct pn_error *err);
	/* False when the work came out wrong: then its time means nothing. */
	bool (*run)(void *state, uint64_t iterations);
	void (*close)(void *state);
	uint64_t size_bytes; /* octets that one operation goes over; 0 = nothing to count */
	unsigned kind;       /* meaning known to `open` */
	uint64_t iterations_min, iterations_max; /* in a round; 0 = no limit */
};

/* smtp.c, base.c, queue.c, records.c, store.c, and ck.c where Concurrency Kit was found: ended by one without a
 * name. */
extern const struct pn_bench_micro pn_bench_micro_smtp[];
extern const struct pn_bench_micro pn_bench_micro_base[];
extern const struct pn_bench_micro pn_bench_micro_queue[];
extern const struct pn_bench_micro pn_bench_micro_records[];
extern const struct pn_bench_micro pn_bench_micro_store[];
extern const struct pn_bench_micro pn_bench_micro_ck[];

/* The compiler must believe that somebody looks at what p points to. */
static inline void pn_bench_keep(const void *p)
{
	__asm__ volatile("" : : "r"(p) : "memory");
}

/* A message of `size` octets: header fields, an empty line, lines of 76 octets; ends in CRLF. `line_start` begins each
 * line of the body. malloc'd, NULL when out of memory. */
uint8_t *pn_bench_micro_text(size_t size, char line_start);

/* queue.c: `threads` producers and as many consumers pass `iterations` pointers through a bounded queue; false when
 * one was lost or came twice. */
struct pn_bench_micro_queue {
	bool (*push)(void *queue, void *ptr);
	void *(*pop)(void *queue); /* NULL = empty */
	void *queue;
};
bool pn_bench_micro_contend(const struct pn_bench_micro_queue *q, unsigned threads,
			    uint64_t iterations);

#endif
