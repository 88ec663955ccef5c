/* SPDX-License-Identifier: ISC */
/*
 * micro.c - the command `micro`: finds how many operations make a round long enough, runs interleaved rounds, prints
 * nanoseconds of CPU for each.
 *
 * With --iterations the work is fixed instead, for counters from outside (count-instructions).
 */
#include "micro.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/clock.h>
#include <postern/base/log.h>

#include "command.h"
#include "measure.h"
#include "options.h"
#include "stats.h"

#define BENCHES_MAX    64u
#define ROUNDS         7u
#define ROUND_NS       UINT64_C(50000000)
#define QUICK_ROUNDS   3u
#define QUICK_ROUND_NS UINT64_C(1000000)

struct bench {
	const struct pn_bench_micro *micro;
	void *state;
	uint64_t iterations;
	size_t rounds;
	double cpu_ns[PN_BENCH_ROUNDS_MAX], wall_ns[PN_BENCH_ROUNDS_MAX]; /* for one operation */
};

struct command {
	const char *dir, *only, *json_path;
	uint64_t rounds, iterations;
	bool is_quick, is_list, is_exact;
	size_t count;
	struct bench *benches;
};

static const struct pn_bench_micro *const groups[] = {
	pn_bench_micro_smtp,    pn_bench_micro_base,  pn_bench_micro_queue,
	pn_bench_micro_records, pn_bench_micro_store,
#if PN_HAVE_CK
	pn_bench_micro_ck,
#endif
};

static bool is_wanted(const struct command *c, const char *name)
{
	if (!c->only)
		return true;
	return c->is_exact ? strcmp(name, c->only) == 0 : strstr(name, c->only) != NULL;
}

static void collect(struct command *c)
{
	for (size_t g = 0; g < PN_ARRAY_SIZE(groups); g++) {
		for (const struct pn_bench_micro *m = groups[g]; m->name; m++) {
			PN_ASSERT(c->count < BENCHES_MAX);
			if (is_wanted(c, m->name))
				c->benches[c->count++].micro = m;
		}
	}
}

/* CPU of the whole process: some have threads of their own, or the kernel's. False when the work came out wrong. */
static bool time_one(const struct bench *b, uint64_t *cpu_ns, uint64_t *wall_ns)
{
	uint64_t cpu = pn_bench_process_cpu_ns();
	uint64_t wall = pn_clock_mono_ns();
	bool ok = b->micro->run(b->state, b->iterations);

	*wall_ns = pn_clock_mono_ns() - wall;
	*cpu_ns = pn_bench_process_cpu_ns() - cpu;
	if (!ok)
		fprintf(stderr, "postern-bench micro: %s: wrong result\n", b->micro->name);
	return ok;
}

static bool calibrate(const struct command *c, struct bench *b)
{
	uint64_t wanted_ns = c->is_quick ? QUICK_ROUND_NS : ROUND_NS;
	uint64_t max = b->micro->iterations_max ? b->micro->iterations_max : UINT64_C(1) << 28;
	uint64_t cpu_ns = 0;
	uint64_t wall_ns = 0;

	b->iterations = c->iterations ? c->iterations : pn_max_size(1, b->micro->iterations_min);
	if (c->iterations)
		return true;
	while (time_one(b, &cpu_ns, &wall_ns)) {
		/* What mostly waits is not made to wait for long. */
		if (cpu_ns >= wanted_ns || wall_ns >= 10 * wanted_ns || b->iterations >= max)
			return true;
		b->iterations *= 2;
		if (b->iterations > max)
			b->iterations = max;
	}
	return false;
}

static bool measure_all(struct command *c)
{
	for (uint64_t round = 0; round < c->rounds; round++) {
		for (size_t i = 0; i < c->count; i++) {
			struct bench *b = &c->benches[i];
			uint64_t cpu_ns;
			uint64_t wall_ns;
			if (!time_one(b, &cpu_ns, &wall_ns))
				return false;
			b->cpu_ns[b->rounds] = (double)cpu_ns / (double)b->iterations;
			b->wall_ns[b->rounds++] = (double)wall_ns / (double)b->iterations;
		}
	}
	return true;
}

static bool open_all(struct command *c)
{
	for (size_t i = 0; i < c->count; i++) {
		struct bench *b = &c->benches[i];
		struct pn_error err;
		b->state = b->micro->open(b->micro, c->dir, &err);
		if (!b->state) {
			fprintf(stderr, "postern-bench micro: %s: %s\n", b->micro->name, err.text);
			return false;
		}
		if (!calibrate(c, b))
			return false;
	}
	return true;
}

/* ---- what came of it ---- */

static json_t *bench_json(const struct bench *b, const struct pn_bench_stats *cpu)
{
	json_t *rounds = json_array();

	for (size_t i = 0; i < b->rounds; i++)
		(void)json_array_append_new(rounds, json_pack("{s:f, s:f}", "ns_per_operation",
							      b->cpu_ns[i], "wall_ns_per_operation",
							      b->wall_ns[i]));
	return json_pack("{s:s, s:s, s:I, s:I, s:f, s:f, s:f, s:f, s:o}", "name", b->micro->name,
			 "what", b->micro->what, "iterations", (json_int_t)b->iterations,
			 "size_bytes", (json_int_t)b->micro->size_bytes, "ns_per_operation",
			 cpu->median, "ns_min", cpu->min, "ns_max", cpu->max, "ns_mad", cpu->mad,
			 "rounds", rounds);
}

static void print_bench(const struct bench *b, const struct pn_bench_stats *cpu)
{
	struct pn_bench_stats wall;

	pn_bench_stats_of(b->wall_ns, b->rounds, &wall);
	printf("%-18s %-46s %10.1f  %9.1f .. %-9.1f %10.1f", b->micro->name, b->micro->what,
	       cpu->median, cpu->min, cpu->max, wall.median);
	if (b->micro->size_bytes > 0 && cpu->median > 0)
		printf(" %8.0f", (double)b->micro->size_bytes / cpu->median * 1000);
	putchar('\n');
}

static bool report(const struct command *c, int argc, char **argv)
{
	json_t *document = c->json_path ? pn_bench_document_new(argc, argv) : NULL;
	json_t *rows = json_array();

	printf("%-18s %-46s %10s  %22s %10s %8s\n", "bench", "one operation", "CPU ns",
	       "least .. greatest", "wall ns", "MB/s");
	for (size_t i = 0; i < c->count; i++) {
		struct pn_bench_stats cpu;
		pn_bench_stats_of(c->benches[i].cpu_ns, c->benches[i].rounds, &cpu);
		print_bench(&c->benches[i], &cpu);
		(void)json_array_append_new(rows, bench_json(&c->benches[i], &cpu));
	}
	printf("medians of %llu rounds; MB/s by CPU.%s\n", (unsigned long long)c->rounds,
	       c->is_quick ? " --quick: too short to quote." : "");
	if (document)
		(void)json_object_set(document, "rows", rows);
	json_decref(rows);
	return !c->json_path || pn_bench_document_write(document, c->json_path);
}

static int parse(struct command *c, int argc, char **argv)
{
	const struct pn_bench_option rows[] = {
		{ "only", "TEXT", PN_BENCH_TEXT, &c->only, 0, 0, "those whose name holds it" },
		{ "exact", NULL, PN_BENCH_FLAG, &c->is_exact, 0, 0, "--only is a whole name" },
		{ "list", NULL, PN_BENCH_FLAG, &c->is_list, 0, 0,
		  "print the names and do nothing" },
		{ "rounds", "N", PN_BENCH_NUMBER, &c->rounds, 1, PN_BENCH_ROUNDS_MAX,
		  "interleaved rounds" },
		{ "iterations", "N", PN_BENCH_NUMBER, &c->iterations, 1, UINT64_C(1) << 40,
		  "operations in a round, instead of what takes 50 ms" },
		{ "quick", NULL, PN_BENCH_FLAG, &c->is_quick, 0, 0,
		  "3 rounds of 1 ms, to see that all works; no figures to quote" },
		{ "dir", "DIR", PN_BENCH_TEXT, &c->dir, 0, 0, "the spool is made below it" },
		{ "json", "FILE", PN_BENCH_TEXT, &c->json_path, 0, 0, "write all of it there" },
	};
	const struct pn_bench_option_group table[] = { { "Options", rows, PN_ARRAY_SIZE(rows) } };

	c->dir = ".";
	c->rounds = ROUNDS;
	int r = pn_bench_options_parse(table, PN_ARRAY_SIZE(table),
				       "Small pieces of the gateway in tight loops.", argc, argv);
	if (c->is_quick)
		c->rounds = QUICK_ROUNDS;
	return r;
}

static int run(struct command *c, int argc, char **argv)
{
	bool ok;

	if (c->is_list) {
		for (size_t i = 0; i < c->count; i++)
			printf("%s\n", c->benches[i].micro->name);
		return PN_BENCH_EXIT_OK;
	}
	ok = open_all(c) && measure_all(c);
	for (size_t i = 0; i < c->count; i++) {
		if (c->benches[i].state)
			c->benches[i].micro->close(c->benches[i].state);
	}
	return ok && report(c, argc, argv) ? PN_BENCH_EXIT_OK : PN_BENCH_EXIT_FAILED;
}

int pn_bench_micro_main(int argc, char **argv)
{
	struct command c = { 0 };
	int code = PN_BENCH_EXIT_USAGE;
	int r = parse(&c, argc, argv);

	if (r != 0)
		return r > 0 ? PN_BENCH_EXIT_OK : PN_BENCH_EXIT_USAGE;
	pn_log_configure(&(struct pn_log_settings){ .level_min = PN_LOG_ERROR });
	c.benches = calloc(BENCHES_MAX, sizeof(*c.benches));
	if (c.benches)
		collect(&c);
	if (c.count > 0)
		code = run(&c, argc, argv);
	else
		fprintf(stderr, "postern-bench micro: nothing has that name\n");
	free(c.benches);
	return code;
}
