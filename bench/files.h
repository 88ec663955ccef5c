/* SPDX-License-Identifier: ISC */
/* files.h - command lines that name files beside their options. */
#ifndef PN_BENCH_FILES_H
#define PN_BENCH_FILES_H

#include "options.h"

#define PN_BENCH_FILES_MAX 64

struct pn_bench_files {
	size_t count;
	const char *paths[PN_BENCH_FILES_MAX]; /* borrowed from argv */
};

/* As pn_bench_options_parse(); words that are neither an option nor the value of one go to *ret, in order. Behind "--"
 * every word is a file. "-o FILE" means "--output FILE". */
int pn_bench_files_parse(const struct pn_bench_option_group *groups, size_t group_count,
			 const char *summary, int argc, char **argv,
			 struct pn_bench_files *ret) PN_MUST_CHECK;

#endif
