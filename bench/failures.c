/* SPDX-License-Identifier: ISC */
/* failures.c - see failures.h. */
#include "failures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct pn_bench_failure_row *find_row(struct pn_bench_failures *f,
					     const struct pn_bench_failure *failure)
{
	struct pn_bench_failure_row *row;

	for (size_t i = 0; i < f->row_count; i++) {
		if (f->rows[i]->code == failure->code &&
		    strcmp(f->rows[i]->stage, failure->stage) == 0)
			return f->rows[i];
	}
	row = f->row_count < PN_BENCH_FAILURES_MAX ? calloc(1, sizeof(*row)) : NULL;
	if (!row)
		return NULL;
	row->stage = failure->stage;
	row->code = failure->code;
	(void)snprintf(row->text, sizeof(row->text), "%.*s", (int)sizeof(row->text) - 1,
		       failure->text);
	f->rows[f->row_count++] = row;
	return row;
}

void pn_bench_failures_add(struct pn_bench_failures *f, const struct pn_bench_failure *failure,
			   uint64_t elapsed_ns)
{
	struct pn_bench_failure_row *row = find_row(f, failure);

	if (row)
		pn_bench_histogram_add(&row->times, elapsed_ns);
	else
		f->others++;
}

void pn_bench_failures_clear(struct pn_bench_failures *f)
{
	while (f->row_count > 0)
		free(f->rows[--f->row_count]);
	f->others = 0;
}

static double us(const struct pn_bench_histogram *h, double quantile)
{
	return (double)pn_bench_histogram_quantile(h, quantile) / 1000;
}

json_t *pn_bench_failures_json(const struct pn_bench_failures *f)
{
	json_t *list = json_array();

	for (size_t i = 0; i < f->row_count; i++) {
		const struct pn_bench_failure_row *row = f->rows[i];
		(void)json_array_append_new(
			list, json_pack("{s:s, s:i, s:I, s:f, s:f, s:s}", "stage", row->stage,
					"code", row->code, "count", (json_int_t)row->times.count,
					"p50_us", us(&row->times, 0.5), "p99_us",
					us(&row->times, 0.99), "text", row->text));
	}
	return list;
}

void pn_bench_failures_print(const struct pn_bench_failures *f)
{
	for (size_t i = 0; i < f->row_count; i++) {
		const struct pn_bench_failure_row *row = f->rows[i];
		printf("  %-28s %llu at %s after p50 %.2f ms, p99 %.2f ms: %s\n",
		       i == 0 ? "failed or refused" : "", (unsigned long long)row->times.count,
		       row->stage, us(&row->times, 0.5) / 1000, us(&row->times, 0.99) / 1000,
		       row->text);
	}
}
