/* SPDX-License-Identifier: ISC */
/*
 * schedule.h - when the operations of an open loop are to start, and those that are due and wait for a free slot.
 *
 * Times are nanoseconds since the schedule began. A schedule is decided by its seed alone: a server that stalls
 * does not put it off, so that latencies count from the intended start. Pure; one owner.
 */
#ifndef PN_BENCH_SCHEDULE_H
#define PN_BENCH_SCHEDULE_H

#include <postern/base/common.h>
#include <postern/base/prng.h>

enum pn_bench_arrivals {
	PN_BENCH_ARRIVALS_CONSTANT,
	PN_BENCH_ARRIVALS_POISSON, /* exponential gaps */
};

struct pn_bench_schedule {
	enum pn_bench_arrivals arrivals;
	double gap_ns; /* mean */
	struct pn_prng prng;
	double next_ns;
};

/* rate: per second, over 0. */
void pn_bench_schedule_init(struct pn_bench_schedule *s, enum pn_bench_arrivals arrivals,
			    double rate, uint64_t seed);
/* "constant" or "poisson". */
bool pn_bench_arrivals_parse(const char *text, enum pn_bench_arrivals *ret) PN_MUST_CHECK;
static inline uint64_t pn_bench_schedule_peek(const struct pn_bench_schedule *s)
{
	return (uint64_t)s->next_ns;
}
/* The next start; moves on. */
uint64_t pn_bench_schedule_take(struct pn_bench_schedule *s);

/* A bounded ring of intended starts. Zeroed = without room. */
struct pn_bench_due {
	uint64_t *starts_ns;
	size_t size, first, count;
	uint64_t dropped; /* came when it was full */
	size_t longest;
};

int pn_bench_due_init(struct pn_bench_due *due, size_t size) PN_MUST_CHECK;
void pn_bench_due_deinit(struct pn_bench_due *due);
void pn_bench_due_clear(struct pn_bench_due *due);
void pn_bench_due_push(struct pn_bench_due *due, uint64_t start_ns);
/* The oldest; false: none. */
bool pn_bench_due_pop(struct pn_bench_due *due, uint64_t *ret_start_ns);

#endif
