/* SPDX-License-Identifier: ISC */
/*
 * compare.c - the command `compare`: what changed from A to B, and whether that is more than the noise (stats.h says
 * how it is judged).
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "files.h"
#include "measure.h"
#include "results.h"

struct compare {
	const char *metric_name, *fail_above, *only, *json_path;
	double fail_above_percent; /* < 0: never */
	const struct pn_bench_metric *metric;
	struct pn_bench_results a, b;
	bool is_failed;
};

/* ---- one row ---- */

struct line {
	const char *name;
	struct pn_bench_stats a, b;
	struct pn_bench_difference difference;
	double worse_percent; /* how much worse B is; negative when better */
};

static void judge(const struct compare *c, const struct pn_bench_row *a,
		  const struct pn_bench_row *b, struct line *ret)
{
	double values_a[PN_BENCH_ROUNDS_MAX];
	double values_b[PN_BENCH_ROUNDS_MAX];
	size_t count_a = pn_bench_row_values(a, c->metric, values_a);
	size_t count_b = pn_bench_row_values(b, c->metric, values_b);

	ret->name = a->name;
	pn_bench_stats_of(values_a, count_a, &ret->a);
	pn_bench_stats_of(values_b, count_b, &ret->b);
	pn_bench_difference_of(values_a, values_b, pn_min_size(count_a, count_b),
			       c->metric->is_more_better, &ret->difference);
	ret->worse_percent = (ret->difference.ratio - 1) * 100;
	if (c->metric->is_more_better)
		ret->worse_percent = -ret->worse_percent;
}

static void print_stats(const struct pn_bench_stats *s)
{
	int digits = s->median < 10 ? 4 : 2;

	printf("  %10.*f  (%.*f .. %.*f, MAD %.*f)", digits, s->median, digits, s->min, digits,
	       s->max, digits, s->mad);
}

static void print_line(const struct compare *c, const struct line *l)
{
	const struct pn_bench_difference *d = &l->difference;

	printf("%s\n", l->name);
	printf("  A");
	print_stats(&l->a);
	printf(" of %zu\n  B", l->a.count);
	print_stats(&l->b);
	printf(" of %zu\n", l->b.count);
	printf("  B/A %10.4f  (%.4f .. %.4f, %zu pairs): %s", d->ratio, d->ratio_min, d->ratio_max,
	       d->pairs, pn_bench_verdict_text(d->verdict));
	if (d->verdict == PN_BENCH_FASTER || d->verdict == PN_BENCH_SLOWER)
		printf(", %+.1f %% %s", (d->ratio - 1) * 100, c->metric->what);
	putchar('\n');
}

static json_t *stats_json(const struct pn_bench_stats *s)
{
	return json_pack("{s:I, s:f, s:f, s:f, s:f}", "rounds", (json_int_t)s->count, "median",
			 s->median, "min", s->min, "max", s->max, "mad", s->mad);
}

static json_t *line_json(const struct line *l)
{
	const struct pn_bench_difference *d = &l->difference;

	return json_pack("{s:s, s:o, s:o, s:I, s:f, s:f, s:f, s:s}", "name", l->name, "a",
			 stats_json(&l->a), "b", stats_json(&l->b), "pairs", (json_int_t)d->pairs,
			 "ratio", d->ratio, "ratio_min", d->ratio_min, "ratio_max", d->ratio_max,
			 "verdict", pn_bench_verdict_text(d->verdict));
}

/* ---- all rows ---- */

static void fail(struct compare *c, const char *row, const char *why)
{
	fprintf(stderr, "postern-bench compare: %s: %s\n", row, why);
	c->is_failed = true;
}

/* A gate that a vanished row could pass would be none. */
static void missing(struct compare *c, const char *row, const char *where)
{
	printf("%s\n  %s\n", row, where);
	if (c->fail_above_percent >= 0)
		fail(c, row, "cannot be judged, and --fail-above is given");
}

static bool is_wanted(const struct compare *c, const char *name)
{
	return !c->only || strstr(name, c->only);
}

static json_t *compare_row(struct compare *c, const struct pn_bench_row *a)
{
	const struct pn_bench_row *b = pn_bench_results_find(&c->b, a->name);
	struct line line;

	if (!b) {
		missing(c, a->name, "only in A");
		return NULL;
	}
	if (pn_bench_row_has_failed(a) || pn_bench_row_has_failed(b)) {
		fail(c, a->name, "a round says is_good = false: what it measured is no figure");
		return NULL;
	}
	judge(c, a, b, &line);
	if (line.a.count == 0 || line.b.count == 0) {
		missing(c, a->name,
			line.a.count > 0   ? "only in A"
			: line.b.count > 0 ? "only in B"
					   : "recorded in neither");
		return NULL;
	}
	print_line(c, &line);
	if (c->fail_above_percent >= 0) {
		if (line.difference.verdict == PN_BENCH_TOO_FEW)
			fail(c, line.name, "too few rounds for --fail-above");
		if (line.difference.verdict == PN_BENCH_SLOWER &&
		    line.worse_percent > c->fail_above_percent)
			fail(c, line.name, "slower by more than --fail-above");
	}
	return line_json(&line);
}

static json_t *compare_all(struct compare *c)
{
	json_t *rows = json_array();

	printf("%s, %s; each: median (least .. greatest, median absolute deviation)\n",
	       c->metric->what, *c->metric->unit ? c->metric->unit : "count");
	for (size_t i = 0; i < c->a.count; i++) {
		if (!is_wanted(c, c->a.rows[i].name))
			continue;
		json_t *row = compare_row(c, &c->a.rows[i]);
		if (row)
			(void)json_array_append_new(rows, row);
	}
	for (size_t i = 0; i < c->b.count; i++) {
		const char *name = c->b.rows[i].name;
		if (is_wanted(c, name) && !pn_bench_results_find(&c->a, name))
			missing(c, name, "only in B");
	}
	return rows;
}

/* ---- where they come from ---- */

static const json_t *machine_of(const struct pn_bench_results *r)
{
	const json_t *machine =
		r->document_count > 0 ? pn_bench_json_at(r->documents[0], "machine") : NULL;

	return machine || r->count == 0 ? machine
					: pn_bench_json_at(r->rows[0].rounds[0], "machine");
}

static void warn_of_differences(const struct compare *c)
{
	static const char *const keys[] = { "cpu",      "kernel",      "tcp_congestion_control",
					    "compiler", "tls_library", "aes_gcm" };
	const json_t *a = machine_of(&c->a);
	const json_t *b = machine_of(&c->b);

	for (size_t i = 0; a && b && i < PN_ARRAY_SIZE(keys); i++) {
		const char *left = pn_bench_json_text(a, keys[i]);
		const char *right = pn_bench_json_text(b, keys[i]);
		if (strcmp(left, right) != 0)
			printf("note: %s is '%s' in A and '%s' in B\n", keys[i], left, right);
	}
}

static int load(struct compare *c, const struct pn_bench_files *files)
{
	int r = 0;

	if (files->count < 2 || files->count % 2 != 0) {
		fprintf(stderr, "postern-bench compare: takes files in pairs: A B [A2 B2 ...]\n");
		return -EINVAL;
	}
	for (size_t i = 0; r == 0 && i < files->count; i++)
		r = pn_bench_results_load(i % 2 ? &c->b : &c->a, files->paths[i]);
	return r;
}

static int check_options(struct compare *c)
{
	char *end = NULL;

	c->metric = pn_bench_metric_find(c->metric_name);
	if (!c->metric) {
		fprintf(stderr, "postern-bench compare: --metric takes one of: %s\n",
			pn_bench_metric_names());
		return -EINVAL;
	}
	c->fail_above_percent = -1;
	if (!c->fail_above)
		return 0;
	c->fail_above_percent = strtod(c->fail_above, &end);
	if (end != c->fail_above && !*end && isfinite(c->fail_above_percent) &&
	    c->fail_above_percent >= 0)
		return 0;
	fprintf(stderr, "postern-bench compare: --fail-above takes a percentage\n");
	return -EINVAL;
}

static int run(struct compare *c, int argc, char **argv, const struct pn_bench_files *files)
{
	int code = PN_BENCH_EXIT_USAGE;

	if (check_options(c) == 0 && load(c, files) == 0) {
		warn_of_differences(c);
		json_t *rows = compare_all(c);
		json_t *document = c->json_path ? pn_bench_document_new(argc, argv) : NULL;
		if (document)
			(void)json_object_set(document, "comparison", rows);
		json_decref(rows);
		if (c->json_path && !pn_bench_document_write(document, c->json_path))
			c->is_failed = true;
		code = c->is_failed ? PN_BENCH_EXIT_FAILED : PN_BENCH_EXIT_OK;
	}
	pn_bench_results_free(&c->a);
	pn_bench_results_free(&c->b);
	return code;
}

int pn_bench_compare_main(int argc, char **argv)
{
	struct compare c = { .metric_name = "cpu" };
	struct pn_bench_files files;
	const struct pn_bench_option rows[] = {
		{ "metric", "NAME", PN_BENCH_TEXT, &c.metric_name, 0, 0,
		  "cpu, rate, p50, p99, client, wall, instructions" },
		{ "only", "TEXT", PN_BENCH_TEXT, &c.only, 0, 0, "rows whose name holds it" },
		{ "fail-above", "PERCENT", PN_BENCH_TEXT, &c.fail_above, 0, 0,
		  "exit code 1 when a row is slower, beyond the noise and by more than this" },
		{ "json", "FILE", PN_BENCH_TEXT, &c.json_path, 0, 0, "write it there as well" },
	};
	const struct pn_bench_option_group table[] = { { "Options", rows, PN_ARRAY_SIZE(rows) } };
	int r = pn_bench_files_parse(
		table, PN_ARRAY_SIZE(table),
		"A.json B.json [A2.json B2.json ...]: what changed from A to B, and the noise.",
		argc, argv, &files);

	if (r != 0)
		return r > 0 ? PN_BENCH_EXIT_OK : PN_BENCH_EXIT_USAGE;
	return run(&c, argc, argv, &files);
}
