/* SPDX-License-Identifier: ISC */
/* files.c - see files.h. */
#include "files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool takes_value(const struct pn_bench_option_group *groups, size_t group_count,
			const char *name)
{
	for (size_t g = 0; g < group_count; g++) {
		for (size_t i = 0; i < groups[g].count; i++) {
			if (strcmp(groups[g].options[i].name, name) == 0)
				return groups[g].options[i].kind != PN_BENCH_FLAG;
		}
	}
	return false;
}

/* Sorts argv into *ret and `kept`, which has room for all of it; how many were kept, or -E2BIG. */
static int sort_words(const struct pn_bench_option_group *groups, size_t group_count, int argc,
		      char **argv, char **kept, struct pn_bench_files *ret)
{
	static char output[] = "--output";
	bool is_open = true; /* options may still come */
	int count = 0;

	kept[count++] = argv[0];
	for (int i = 1; i < argc; i++) {
		if (is_open && strcmp(argv[i], "--") == 0) {
			is_open = false;
		} else if (is_open && argv[i][0] == '-') {
			char *word = strcmp(argv[i], "-o") == 0 ? output : argv[i];
			kept[count++] = word;
			if (i + 1 < argc && word[1] == '-' &&
			    takes_value(groups, group_count, word + 2))
				kept[count++] = argv[++i];
		} else if (ret->count == PN_BENCH_FILES_MAX) {
			return -E2BIG;
		} else {
			ret->paths[ret->count++] = argv[i];
		}
	}
	return count;
}

int pn_bench_files_parse(const struct pn_bench_option_group *groups, size_t group_count,
			 const char *summary, int argc, char **argv, struct pn_bench_files *ret)
{
	char **kept = calloc((size_t)argc + 1, sizeof(*kept));

	ret->count = 0;
	if (!kept)
		return -ENOMEM;
	int r = sort_words(groups, group_count, argc, argv, kept, ret);
	if (r < 0)
		fprintf(stderr, "postern-bench %s: more than %d files\n", argv[0],
			PN_BENCH_FILES_MAX);
	else
		r = pn_bench_options_parse(groups, group_count, summary, r, kept);
	free(kept);
	return r;
}
