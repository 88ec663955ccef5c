/* SPDX-License-Identifier: ISC */
/*
 * options.h - command lines as tables: a row for each option, from which parsing and --help are made.
 *
 *	struct pn_bench_option rows[] = { { "port", "N", PN_BENCH_NUMBER, &port, 1, 65535, "where it listens" } };
 *	struct pn_bench_option_group groups[] = { { "Target", rows, PN_ARRAY_SIZE(rows) } };
 */
#ifndef PN_BENCH_OPTIONS_H
#define PN_BENCH_OPTIONS_H

#include <postern/base/common.h>

enum pn_bench_option_kind {
	PN_BENCH_FLAG,    /* bool */
	PN_BENCH_NUMBER,  /* uint64_t, between min and max */
	PN_BENCH_SIZE,    /* uint64_t of octets: K and M are understood */
	PN_BENCH_SECONDS, /* uint64_t of milliseconds: "10", "0.5" */
	PN_BENCH_TEXT,    /* const char *, borrowed from argv */
};

struct pn_bench_option {
	const char *name; /* without -- */
	const char *arg;  /* its name in --help; NULL for flags */
	enum pn_bench_option_kind kind;
	void *value; /* holds the default before */
	uint64_t min, max;
	const char *help;
};

struct pn_bench_option_group {
	const char *title;
	const struct pn_bench_option *options;
	size_t count;
};

/* 0: go on; 1: --help was printed; -EINVAL: wrong, and said so on stderr. argv[0] is the command. */
int pn_bench_options_parse(const struct pn_bench_option_group *groups, size_t group_count,
			   const char *summary, int argc, char **argv) PN_MUST_CHECK;

#endif
