/* SPDX-License-Identifier: ISC */
/*
 * limit.c - the command `limit`: rounds over the rows, table, JSON.
 *
 * The rounds are interleaved (every row once, then all again), so that what else the machine does falls on all of them.
 */
#include "limit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "measure.h"
#include "options.h"
#include "results.h"

#define RESULTS_MAX      40u
#define ROUNDS           5u
#define QUICK_DIVISOR    40u
#define QUICK_ROUNDS     3u
#define QUICK_OPERATIONS 8u

struct limit {
	const char *dir, *only, *json_path, *figures_path;
	uint64_t rounds, server_cpu, client_cpu;
	bool is_quick;
	struct pn_bench_limit_place place;
	struct pn_bench_limit_result *results;
	size_t count;
	char folder[PN_BENCH_PATH_SIZE];
};

static const struct pn_bench_limit_row *const groups[] = {
	pn_bench_limit_tls,    pn_bench_limit_aead, pn_bench_limit_ring,
	pn_bench_limit_stream, pn_bench_limit_sync,
};

static void collect_rows(struct limit *l)
{
	for (size_t g = 0; g < PN_ARRAY_SIZE(groups); g++) {
		for (const struct pn_bench_limit_row *row = groups[g]; row->name; row++) {
			if (l->only && !strstr(row->name, l->only))
				continue;
			PN_ASSERT(l->count < RESULTS_MAX);
			uint64_t n = row->operations;
			if (l->is_quick)
				n = pn_max_size(n / QUICK_DIVISOR, QUICK_OPERATIONS);
			l->results[l->count].row = row;
			l->results[l->count].is_absent = row->is_here && !row->is_here();
			l->results[l->count++].operations = n;
		}
	}
}

static int measure_all(struct limit *l, struct pn_error *err)
{
	for (uint64_t round = 0; round < l->rounds; round++) {
		for (size_t i = 0; i < l->count; i++) {
			struct pn_bench_limit_result *result = &l->results[i];
			if (result->is_absent)
				continue;
			int r = result->row->measure(&l->place, result->row, result->operations,
						     &result->samples[result->rounds], err);
			if (r < 0)
				return r;
			result->rounds++;
		}
		fprintf(stderr, "round %llu of %llu\n", (unsigned long long)round + 1,
			(unsigned long long)l->rounds);
	}
	return 0;
}

/* ---- what came of it ---- */

static void stats_of(const struct pn_bench_limit_result *result, size_t offset,
		     struct pn_bench_stats *ret)
{
	double values[PN_BENCH_ROUNDS_MAX];

	for (size_t i = 0; i < result->rounds; i++)
		memcpy(&values[i], (const char *)&result->samples[i] + offset, sizeof(*values));
	pn_bench_stats_of(values, result->rounds, ret);
}

#define STATS(result, member, ret) \
	stats_of((result), offsetof(struct pn_bench_limit_sample, member), (ret))

double pn_bench_limit_cpu_us(const struct pn_bench_limit_result *results, size_t count,
			     const char *name)
{
	struct pn_bench_stats stats;

	for (size_t i = 0; i < count; i++) {
		if (results[i].is_absent || strcmp(results[i].row->name, name) != 0)
			continue;
		STATS(&results[i], cpu_us, &stats);
		return stats.median;
	}
	return 0;
}

static void print_row(const struct pn_bench_limit_result *result)
{
	struct pn_bench_stats cpu, wall, p50, p99;

	if (result->is_absent) {
		printf("%-16s %-38s not on this kernel\n", result->row->name, result->row->what);
		return;
	}
	STATS(result, cpu_us, &cpu);
	STATS(result, wall_us, &wall);
	STATS(result, p50_us, &p50);
	STATS(result, p99_us, &p99);
	printf("%-16s %-38s %9.2f  %9.2f .. %-9.2f %9.0f", result->row->name, result->row->what,
	       cpu.median, cpu.min, cpu.max, cpu.median > 0 ? 1e6 / cpu.median : 0);
	if (result->row->size_bytes > 0 && cpu.median > 0)
		printf(" %8.0f", (double)result->row->size_bytes / cpu.median);
	else
		printf(" %8s", "");
	if (wall.median > 0)
		printf(" %8.1f", wall.median);
	if (p50.median > 0)
		printf(" %8.1f %8.1f", p50.median, p99.median);
	putchar('\n');
}

/* Those that this kernel cannot do: a reader must not take them for forgotten. */
static json_t *absent_json(const struct limit *l)
{
	json_t *absent = json_array();

	for (size_t i = 0; i < l->count; i++) {
		const struct pn_bench_limit_row *row = l->results[i].row;
		if (l->results[i].is_absent)
			(void)json_array_append_new(
				absent, json_pack("{s:s, s:s, s:s}", "name", row->name, "what",
						  row->what, "reason", "not on this kernel"));
	}
	return absent;
}

static json_t *row_json(const struct pn_bench_limit_result *result)
{
	struct pn_bench_stats cpu;
	json_t *rounds = json_array();

	STATS(result, cpu_us, &cpu);
	for (size_t i = 0; i < result->rounds; i++) {
		const struct pn_bench_limit_sample *s = &result->samples[i];
		json_t *o = json_pack("{s:f}", "cpu_us", s->cpu_us);
		if (s->wall_us > 0)
			(void)json_object_set_new(o, "wall_us", json_real(s->wall_us));
		if (s->p50_us > 0) {
			(void)json_object_set_new(o, "p50_us", json_real(s->p50_us));
			(void)json_object_set_new(o, "p99_us", json_real(s->p99_us));
		}
		(void)json_array_append_new(rounds, o);
	}
	return json_pack("{s:s, s:s, s:I, s:I, s:f, s:f, s:f, s:f, s:o}", "name", result->row->name,
			 "what", result->row->what, "operations", (json_int_t)result->operations,
			 "size_bytes", (json_int_t)result->row->size_bytes, "cpu_us", cpu.median,
			 "cpu_us_min", cpu.min, "cpu_us_max", cpu.max, "cpu_us_mad", cpu.mad,
			 "rounds", rounds);
}

static int report(const struct limit *l, int argc, char **argv)
{
	json_t *document = l->json_path ? pn_bench_document_new(argc, argv) : NULL;
	json_t *rows = json_array();
	int r = 0;

	printf("%-16s %-38s %9s  %22s %9s %8s %8s %8s %8s\n", "row", "one operation", "CPU us",
	       "least .. greatest", "per s", "MB/s", "wall us", "p50 us", "p99 us");
	for (size_t i = 0; i < l->count; i++) {
		print_row(&l->results[i]);
		if (!l->results[i].is_absent)
			(void)json_array_append_new(rows, row_json(&l->results[i]));
	}
	printf("CPU of the measured side, medians of %llu rounds; per s and MB/s: of one CPU.%s\n",
	       (unsigned long long)l->rounds,
	       l->is_quick ? " --quick: too few operations to quote." : "");
	if (document) {
		(void)json_object_set(document, "rows", rows);
		(void)json_object_set_new(document, "absent", absent_json(l));
	}
	json_decref(rows);
	pn_bench_floors_report(l->results, l->count, document);
	if (l->figures_path)
		r = pn_bench_floors_compare(l->results, l->count, l->figures_path, document);
	if (document && !pn_bench_document_write(document, l->json_path))
		r = -EIO;
	return r;
}

static int run(struct limit *l, int argc, char **argv)
{
	struct pn_error err;
	int r = pn_bench_pin(l->server_cpu, &err);

	if (r == 0)
		r = pn_bench_folder_make(l->dir, l->folder, &err);
	if (r != 0) {
		fprintf(stderr, "postern-bench limit: %s\n", err.text);
		return PN_BENCH_EXIT_USAGE;
	}
	l->place = (struct pn_bench_limit_place){ l->folder, l->client_cpu };
	if (l->server_cpu == l->client_cpu)
		fprintf(stderr, "postern-bench limit: both ends of the sockets share CPU %llu\n",
			(unsigned long long)l->server_cpu);
	r = measure_all(l, &err);
	if (r < 0)
		fprintf(stderr, "postern-bench limit: %s\n", err.text);
	pn_bench_folder_remove(l->folder);
	if (r == 0)
		r = report(l, argc, argv);
	return r == 0 ? PN_BENCH_EXIT_OK : PN_BENCH_EXIT_FAILED;
}

static int parse(struct limit *l, int argc, char **argv)
{
	const struct pn_bench_option rows[] = {
		{ "dir", "DIR", PN_BENCH_TEXT, &l->dir, 0, 0,
		  "files to sync are written below it" },
		{ "only", "TEXT", PN_BENCH_TEXT, &l->only, 0, 0, "rows whose name holds it" },
		{ "rounds", "N", PN_BENCH_NUMBER, &l->rounds, 1, PN_BENCH_ROUNDS_MAX,
		  "interleaved rounds" },
		{ "quick", NULL, PN_BENCH_FLAG, &l->is_quick, 0, 0,
		  "3 short rounds, to see that all works; no figures to quote" },
		{ "server-cpu", "N", PN_BENCH_NUMBER, &l->server_cpu, 0, 4095,
		  "where all that is measured runs" },
		{ "client-cpu", "N", PN_BENCH_NUMBER, &l->client_cpu, 0, 4095,
		  "where the other end of the sockets runs" },
		{ "figures", "FILE", PN_BENCH_TEXT, &l->figures_path, 0, 0,
		  "JSON of the gateway's figures, to set beside the floors" },
		{ "json", "FILE", PN_BENCH_TEXT, &l->json_path, 0, 0, "write all of it there" },
	};
	const struct pn_bench_option_group table[] = { { "Options", rows, PN_ARRAY_SIZE(rows) } };

	l->dir = ".";
	l->rounds = ROUNDS;
	l->server_cpu = pn_bench_usable_cpu(0);
	l->client_cpu = pn_bench_usable_cpu(1);
	int r = pn_bench_options_parse(table, PN_ARRAY_SIZE(table),
				       "What this machine could do at best: handshakes, records, "
				       "durable writes and sockets, each alone and bare.",
				       argc, argv);
	if (l->is_quick)
		l->rounds = QUICK_ROUNDS;
	return r;
}

/* Known before minutes of measuring. */
static bool is_readable(const char *figures_path)
{
	struct pn_bench_results figures = { 0 };
	int r = pn_bench_results_load(&figures, figures_path);

	pn_bench_results_free(&figures);
	return r == 0;
}

int pn_bench_limit_main(int argc, char **argv)
{
	struct limit l = { 0 };
	int code = PN_BENCH_EXIT_USAGE;
	int r = parse(&l, argc, argv);

	if (r != 0)
		return r > 0 ? PN_BENCH_EXIT_OK : PN_BENCH_EXIT_USAGE;
	if (l.figures_path && !is_readable(l.figures_path))
		return PN_BENCH_EXIT_USAGE;
	l.results = calloc(RESULTS_MAX, sizeof(*l.results));
	if (l.results)
		collect_rows(&l);
	if (l.count > 0)
		code = run(&l, argc, argv);
	else
		fprintf(stderr, "postern-bench limit: no row has that in its name\n");
	free(l.results);
	return code;
}
