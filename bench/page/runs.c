/* SPDX-License-Identifier: ISC */
/* runs.c - see runs.h. */
#include "runs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool pn_bench_report_is_load(const json_t *round)
{
	return json_is_number(json_object_get(round, "operations"));
}

double pn_bench_report_number(const json_t *round, const char *object, const char *key)
{
	const json_t *o = *object ? json_object_get(round, object) : round;

	return pn_bench_json_number(o, key, NAN);
}

/* The round whose CPU is in the middle; the last where none was measured. */
static const json_t *median_round(const struct pn_bench_row *row)
{
	const struct pn_bench_metric *cpu = pn_bench_metric_find("cpu");
	double values[PN_BENCH_ROUNDS_MAX];
	double wanted = pn_bench_median(values, pn_bench_row_values(row, cpu, values));
	const json_t *best = row->rounds[row->count - 1];
	double distance = INFINITY;

	for (size_t i = 0; i < row->count; i++) {
		double value;
		if (pn_bench_metric_get(cpu, row->rounds[i], &value) &&
		    fabs(value - wanted) < distance) {
			distance = fabs(value - wanted);
			best = row->rounds[i];
		}
	}
	return best;
}

/* Whether runs of several files stand beside each other: then the file is part of their names. */
static bool has_several_files(const struct pn_bench_report *report)
{
	size_t count = 0;

	for (size_t f = 0; f < report->file_count; f++) {
		const struct pn_bench_results *results = &report->files[f].results;
		if (results->count > 0 && pn_bench_report_is_load(results->rows[0].rounds[0]))
			count++;
	}
	return count > 1;
}

void pn_bench_report_collect(struct pn_bench_report *report)
{
	bool is_file_named = has_several_files(report);

	for (size_t f = 0; f < report->file_count; f++) {
		const struct pn_bench_report_file *file = &report->files[f];
		for (size_t i = 0; i < file->results.count; i++) {
			const struct pn_bench_row *row = &file->results.rows[i];
			if (!pn_bench_report_is_load(row->rounds[0])) {
				report->single_count++;
				continue;
			}
			if (report->run_count == PN_BENCH_RUNS_MAX) {
				report->left_out++;
				continue;
			}
			struct pn_bench_report_run *run = &report->runs[report->run_count++];
			run->row = row;
			run->round = median_round(row);
			if (is_file_named)
				(void)snprintf(run->name, sizeof(run->name), "%.24s: %s",
					       file->base, row->name);
			else
				(void)snprintf(run->name, sizeof(run->name), "%s", row->name);
		}
	}
}

void pn_bench_report_command(const json_t *o, char *out, size_t size)
{
	const json_t *arguments = json_object_get(o, "arguments");
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < json_array_size(arguments) && used < size; i++) {
		const char *word = json_string_value(json_array_get(arguments, i));
		used += (size_t)snprintf(out + used, size - used, "%s%s", i > 0 ? " " : "",
					 word ? word : "?");
	}
}

bool pn_bench_series_init(struct pn_bench_series *s, const struct pn_bench_report *report,
			  size_t run, size_t room)
{
	*s = (struct pn_bench_series){ .name = report->runs[run].name, .colour = (unsigned)run };
	s->x = calloc(room + 1, sizeof(*s->x));
	s->y = calloc(room + 1, sizeof(*s->y));
	if (s->x && s->y)
		return true;
	pn_bench_series_deinit(s);
	return false;
}

void pn_bench_series_add(struct pn_bench_series *s, double x, double y)
{
	if (!isfinite(x) || !isfinite(y))
		return;
	s->x[s->count] = x;
	s->y[s->count++] = y;
}

void pn_bench_series_deinit(struct pn_bench_series *s)
{
	free(s->x);
	free(s->y);
	s->x = s->y = NULL;
	s->count = 0;
}
