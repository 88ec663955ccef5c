/* SPDX-License-Identifier: ISC */
/*
 * runs.h - what the charts are drawn from: one run for each row of the results, with the file that it came from.
 *
 * Of a row with several rounds the median one (by server CPU per operation) is drawn. Rows of `limit` and `micro` are
 * no runs of a load; they come as tables only.
 */
#ifndef PN_BENCH_RUNS_H
#define PN_BENCH_RUNS_H

#include <jansson.h>

#include "chart.h"
#include "results.h"

#define PN_BENCH_RUNS_MAX     24u
#define PN_BENCH_RUN_NAME_MAX 192

struct pn_bench_report_run {
	char name[PN_BENCH_RUN_NAME_MAX];
	const struct pn_bench_row *row;
	const json_t *round; /* the one that is drawn */
};

struct pn_bench_report_file {
	const char *path, *base; /* base: without folders */
	struct pn_bench_results results;
};

struct pn_bench_report {
	const char *title;
	size_t file_count, run_count;
	size_t single_count; /* rows that are no runs of a load */
	size_t left_out;     /* runs beyond PN_BENCH_RUNS_MAX */
	struct pn_bench_report_file files[PN_BENCH_DOCUMENTS_MAX];
	struct pn_bench_report_run runs[PN_BENCH_RUNS_MAX];
};

/* Fills runs from files. */
void pn_bench_report_collect(struct pn_bench_report *report);
/* Whether a round is of a load command (and not of `limit`, `micro` or count-instructions). */
bool pn_bench_report_is_load(const json_t *round);
/* A number of the round, or NAN; `object` "" is the round itself. */
double pn_bench_report_number(const json_t *round, const char *object, const char *key);
/* "command --and its arguments" of a run or a document. Cut to `size`. */
void pn_bench_report_command(const json_t *o, char *out, size_t size);

/* Memory for the points of one series; x and y are malloc'd. False when out of memory. */
bool pn_bench_series_init(struct pn_bench_series *s, const struct pn_bench_report *report,
			  size_t run, size_t room) PN_MUST_CHECK;
void pn_bench_series_add(struct pn_bench_series *s, double x, double y);
void pn_bench_series_deinit(struct pn_bench_series *s);

/* sections.c, load_charts.c: the parts of the page, in order. */
void pn_bench_section_summary(FILE *out, const struct pn_bench_report *report);
void pn_bench_section_rounds(FILE *out, const struct pn_bench_report *report);
void pn_bench_section_rows(FILE *out, const struct pn_bench_report *report);
void pn_bench_section_origin(FILE *out, const struct pn_bench_report *report);
void pn_bench_chart_latency(FILE *out, const struct pn_bench_report *report);
void pn_bench_charts_time(FILE *out, const struct pn_bench_report *report);
void pn_bench_chart_cpu(FILE *out, const struct pn_bench_report *report);
void pn_bench_charts_loops(FILE *out, const struct pn_bench_report *report);
void pn_bench_chart_memory(FILE *out, const struct pn_bench_report *report);

#endif
