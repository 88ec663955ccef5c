/* SPDX-License-Identifier: ISC */
/* schedule.c - see schedule.h. */
#include "schedule.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "distribution.h"

static double gap(struct pn_bench_schedule *s)
{
	if (s->arrivals == PN_BENCH_ARRIVALS_CONSTANT)
		return s->gap_ns;
	return -log(pn_bench_unit_draw(&s->prng)) * s->gap_ns;
}

void pn_bench_schedule_init(struct pn_bench_schedule *s, enum pn_bench_arrivals arrivals,
			    double rate, uint64_t seed)
{
	s->arrivals = arrivals;
	s->gap_ns = 1e9 / rate;
	pn_prng_init(&s->prng, seed);
	s->next_ns = arrivals == PN_BENCH_ARRIVALS_CONSTANT ? 0 : gap(s);
}

bool pn_bench_arrivals_parse(const char *text, enum pn_bench_arrivals *ret)
{
	bool is_constant = strcmp(text, "constant") == 0;

	*ret = is_constant ? PN_BENCH_ARRIVALS_CONSTANT : PN_BENCH_ARRIVALS_POISSON;
	return is_constant || strcmp(text, "poisson") == 0;
}

uint64_t pn_bench_schedule_take(struct pn_bench_schedule *s)
{
	uint64_t start_ns = (uint64_t)s->next_ns;

	s->next_ns += gap(s);
	return start_ns;
}

int pn_bench_due_init(struct pn_bench_due *due, size_t size)
{
	memset(due, 0, sizeof(*due));
	due->starts_ns = calloc(size, sizeof(*due->starts_ns));
	due->size = size;
	return due->starts_ns ? 0 : -ENOMEM;
}

void pn_bench_due_deinit(struct pn_bench_due *due)
{
	free(due->starts_ns);
	memset(due, 0, sizeof(*due));
}

void pn_bench_due_clear(struct pn_bench_due *due)
{
	due->first = due->count = due->longest = 0;
	due->dropped = 0;
}

void pn_bench_due_push(struct pn_bench_due *due, uint64_t start_ns)
{
	if (due->count == due->size) {
		due->dropped++;
		return;
	}
	due->starts_ns[(due->first + due->count++) % due->size] = start_ns;
	due->longest = pn_max_size(due->longest, due->count);
}

bool pn_bench_due_pop(struct pn_bench_due *due, uint64_t *ret_start_ns)
{
	if (due->count == 0)
		return false;
	*ret_start_ns = due->starts_ns[due->first];
	due->first = (due->first + 1) % due->size;
	due->count--;
	return true;
}
