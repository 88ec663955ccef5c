/* SPDX-License-Identifier: ISC */
/*
 * results.h - reading back what postern-bench and the scripts over it have written as JSON.
 *
 * Three forms are understood: one run of a load command; "rows", each with "rounds" that are such runs
 * (run-figures and its like); and the rows of `limit` and `micro`. Each becomes rows of rounds. A file is
 * untrusted input: every key may be missing or of another type.
 */
#ifndef PN_BENCH_RESULTS_H
#define PN_BENCH_RESULTS_H

#include <jansson.h>

#include <postern/base/common.h>

#include "stats.h"

#define PN_BENCH_RESULT_ROWS_MAX 128
#define PN_BENCH_ROW_NAME_SIZE   160

struct pn_bench_row {
	char name[PN_BENCH_ROW_NAME_SIZE];
	size_t count;
	json_t *rounds[PN_BENCH_ROUNDS_MAX]; /* borrowed from the documents */
};

#define PN_BENCH_DOCUMENTS_MAX 64

/* Zeroed = empty. */
struct pn_bench_results {
	size_t count;
	struct pn_bench_row *rows; /* room for PN_BENCH_RESULT_ROWS_MAX */
	size_t document_count;
	json_t *documents[PN_BENCH_DOCUMENTS_MAX];
};

/* What can be compared: a number in each round. */
struct pn_bench_metric {
	const char *name, *what, *unit;
	bool is_more_better;
};

/* Adds a file: rounds of a row that is there already are appended to it. 0, or -errno after saying on stderr why. */
int pn_bench_results_load(struct pn_bench_results *results, const char *path) PN_MUST_CHECK;
void pn_bench_results_free(struct pn_bench_results *results);
/* NULL when there is none. */
const struct pn_bench_row *pn_bench_results_find(const struct pn_bench_results *results,
						 const char *name);
/* Whether a round says of itself that something was lost, refused or broken. */
bool pn_bench_row_has_failed(const struct pn_bench_row *row);

/* Any of pn_bench_metric_names(); NULL for others. */
const struct pn_bench_metric *pn_bench_metric_find(const char *name);
/* All names, in one line, for messages. */
const char *pn_bench_metric_names(void);
/* False when the round does not have it. */
bool pn_bench_metric_get(const struct pn_bench_metric *m, const json_t *round,
			 double *ret) PN_MUST_CHECK;
/* The values of the rounds that have it; how many. */
size_t pn_bench_row_values(const struct pn_bench_row *row, const struct pn_bench_metric *m,
			   double out[PN_BENCH_ROUNDS_MAX]);

/* Reading JSON that may be anything: NULL, "", false or `otherwise` when it is not there or of another type. `o` may
 * be NULL. */
json_t *pn_bench_json_at(const json_t *o, const char *key);
const char *pn_bench_json_text(const json_t *o, const char *key);
bool pn_bench_json_flag(const json_t *o, const char *key);
double pn_bench_json_number(const json_t *o, const char *key, double otherwise);

#endif
