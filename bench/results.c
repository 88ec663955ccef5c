/* SPDX-License-Identifier: ISC */
/* results.c - see results.h. */
#include "results.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- JSON that may be anything ---- */

json_t *pn_bench_json_at(const json_t *o, const char *key)
{
	return json_object_get(o, key);
}

const char *pn_bench_json_text(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "";
}

bool pn_bench_json_flag(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

double pn_bench_json_number(const json_t *o, const char *key, double otherwise)
{
	const json_t *n = json_object_get(o, key);

	return json_is_number(n) ? json_number_value(n) : otherwise;
}

/* ---- rows ---- */

static struct pn_bench_row *row_for(struct pn_bench_results *results, const char *name)
{
	for (size_t i = 0; i < results->count; i++) {
		if (strcmp(results->rows[i].name, name) == 0)
			return &results->rows[i];
	}
	if (results->count == PN_BENCH_RESULT_ROWS_MAX)
		return NULL;
	struct pn_bench_row *row = &results->rows[results->count++];
	memset(row, 0, sizeof(*row));
	(void)snprintf(row->name, sizeof(row->name), "%s", name);
	return row;
}

static int add_round(struct pn_bench_results *results, const char *name, json_t *round)
{
	struct pn_bench_row *row = row_for(results, name);

	if (!row || row->count == PN_BENCH_ROUNDS_MAX)
		return -E2BIG;
	row->rounds[row->count++] = round;
	return 0;
}

/* The options that make one load another one; ports, pids and paths do not. */
static void name_of_run(const json_t *run, char *out, size_t size)
{
	static const char *const telling[] = {
		"starttls",  "chunking", "size",   "parallel", "messages-per-connection",
		"open-rate", "tls",      "resume", "rate"
	};
	const json_t *arguments = json_object_get(run, "arguments");
	size_t used = (size_t)snprintf(out, size, "%s", pn_bench_json_text(run, "command"));

	for (size_t i = 1; i < json_array_size(arguments) && used < size; i++) {
		const char *word = json_string_value(json_array_get(arguments, i));
		const char *next = json_string_value(json_array_get(arguments, i + 1));
		if (!word || strncmp(word, "--", 2) != 0)
			continue;
		size_t len = strcspn(word + 2, "=");
		bool has_value = next && word[2 + len] == '\0' && strncmp(next, "--", 2) != 0;
		for (size_t t = 0; t < PN_ARRAY_SIZE(telling) && used < size; t++) {
			if (strlen(telling[t]) == len && memcmp(telling[t], word + 2, len) == 0)
				used += (size_t)snprintf(out + used, size - used, " %s%s%s", word,
							 has_value ? " " : "",
							 has_value ? next : "");
		}
	}
}

static int add_rows(struct pn_bench_results *results, const json_t *rows)
{
	size_t i;
	json_t *row;
	int r = 0;

	json_array_foreach(rows, i, row)
	{
		const json_t *rounds = json_object_get(row, "rounds");
		for (size_t n = 0; r == 0 && n < json_array_size(rounds); n++)
			r = add_round(results, pn_bench_json_text(row, "name"),
				      json_array_get(rounds, n));
	}
	return r;
}

static int add_document(struct pn_bench_results *results, json_t *document)
{
	char name[PN_BENCH_ROW_NAME_SIZE];
	const json_t *rows = json_object_get(document, "rows");

	if (rows)
		return add_rows(results, rows);
	if (!json_object_get(document, "operations"))
		return -EINVAL;
	name_of_run(document, name, sizeof(name));
	return add_round(results, name, document);
}

int pn_bench_results_load(struct pn_bench_results *results, const char *path)
{
	json_error_t error;
	json_t *document = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
	int r = document ? 0 : -EINVAL;

	if (!document) {
		fprintf(stderr, "postern-bench: %s: %s\n", path, error.text);
		return r;
	}
	if (!results->rows)
		results->rows = calloc(PN_BENCH_RESULT_ROWS_MAX, sizeof(*results->rows));
	if (!results->rows || results->document_count == PN_BENCH_DOCUMENTS_MAX) {
		json_decref(document);
		return results->rows ? -E2BIG : -ENOMEM;
	}
	results->documents[results->document_count++] = document;
	r = add_document(results, document);
	if (r == -EINVAL)
		fprintf(stderr, "postern-bench: %s: not a result of postern-bench\n", path);
	else if (r < 0)
		fprintf(stderr, "postern-bench: %s: too many rows or rounds\n", path);
	return r;
}

void pn_bench_results_free(struct pn_bench_results *results)
{
	for (size_t i = 0; i < results->document_count; i++)
		json_decref(results->documents[i]);
	free(results->rows);
	*results = (struct pn_bench_results){ 0 };
}

const struct pn_bench_row *pn_bench_results_find(const struct pn_bench_results *results,
						 const char *name)
{
	for (size_t i = 0; i < results->count; i++) {
		if (strcmp(results->rows[i].name, name) == 0)
			return &results->rows[i];
	}
	return NULL;
}

bool pn_bench_row_has_failed(const struct pn_bench_row *row)
{
	for (size_t i = 0; i < row->count; i++) {
		if (json_is_false(json_object_get(row->rounds[i], "is_good")))
			return true;
	}
	return false;
}

/* ---- metrics ---- */

/* Where a number may stand: an object in the round ("" = the round itself) and its key. The first that is there
 * counts. */
struct place {
	const char *object, *key;
	double factor;
};

#define PLACES_MAX 3

static const struct {
	struct pn_bench_metric metric;
	struct place places[PLACES_MAX];
} metrics[] = {
	{ { "cpu", "server CPU per operation", "us", false },
	  { { "server", "cpu_us_per_operation", 1 },
	    { "", "cpu_us", 1 },
	    { "", "ns_per_operation", 0.001 } } },
	{ { "rate", "operations per second", "1/s", true },
	  { { "", "operations_per_second", 1 } } },
	{ { "p50", "latency, median", "us", false },
	  { { "latency_us", "p50", 1 }, { "", "p50_us", 1 } } },
	{ { "p99", "latency, 99th percentile", "us", false },
	  { { "latency_us", "p99", 1 }, { "", "p99_us", 1 } } },
	{ { "client", "client CPU per operation", "us", false },
	  { { "client", "cpu_us_per_operation", 1 } } },
	{ { "wall", "time per operation", "us", false },
	  { { "", "wall_us", 1 }, { "", "wall_ns_per_operation", 0.001 } } },
	{ { "instructions", "instructions per operation", "", false },
	  { { "", "instructions_per_operation", 1 } } },
};

const struct pn_bench_metric *pn_bench_metric_find(const char *name)
{
	for (size_t i = 0; i < PN_ARRAY_SIZE(metrics); i++) {
		if (strcmp(metrics[i].metric.name, name) == 0)
			return &metrics[i].metric;
	}
	return NULL;
}

const char *pn_bench_metric_names(void)
{
	return "cpu, rate, p50, p99, client, wall, instructions";
}

bool pn_bench_metric_get(const struct pn_bench_metric *m, const json_t *round, double *ret)
{
	size_t index = 0;

	while (&metrics[index].metric != m)
		index++;
	for (size_t i = 0; i < PLACES_MAX && metrics[index].places[i].key; i++) {
		const struct place *p = &metrics[index].places[i];
		const json_t *o = *p->object ? json_object_get(round, p->object) : round;
		const json_t *n = json_object_get(o, p->key);
		double value = json_number_value(n) * p->factor;
		if (json_is_number(n) && isfinite(value)) {
			*ret = value;
			return true;
		}
	}
	return false;
}

size_t pn_bench_row_values(const struct pn_bench_row *row, const struct pn_bench_metric *m,
			   double out[PN_BENCH_ROUNDS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < row->count; i++)
		n += pn_bench_metric_get(m, row->rounds[i], &out[n]) ? 1 : 0;
	return n;
}
