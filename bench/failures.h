/* SPDX-License-Identifier: ISC */
/*
 * failures.h - what went wrong in a run, by the stage where it did, the reply code, and how long it
 * took to say so.
 */
#ifndef PN_BENCH_FAILURES_H
#define PN_BENCH_FAILURES_H

#include <jansson.h>

#include "connection.h"
#include "histogram.h"

#define PN_BENCH_FAILURES_MAX 24

struct pn_bench_failure_row {
	const char *stage;
	uint16_t code;                   /* 0: no reply */
	char text[120];                  /* of the first */
	struct pn_bench_histogram times; /* since the connect */
};

/* Zeroed = empty. What finds no row is in `others` alone. */
struct pn_bench_failures {
	struct pn_bench_failure_row *rows[PN_BENCH_FAILURES_MAX];
	size_t row_count;
	uint64_t others;
};

void pn_bench_failures_add(struct pn_bench_failures *f, const struct pn_bench_failure *failure,
			   uint64_t elapsed_ns);
void pn_bench_failures_clear(struct pn_bench_failures *f);
/* [{"stage", "code", "count", "p50_us", "p99_us", "text"}], a new reference. */
json_t *pn_bench_failures_json(const struct pn_bench_failures *f);
/* A line of text for each, as rows of the report. */
void pn_bench_failures_print(const struct pn_bench_failures *f);

#endif
