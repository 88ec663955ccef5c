/* SPDX-License-Identifier: ISC */
/* options.c - see options.h. Options are --name VALUE or --name=VALUE; nothing else stands in a command line. */
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_default(const struct pn_bench_option *o)
{
	switch (o->kind) {
	case PN_BENCH_FLAG:
		break;
	case PN_BENCH_NUMBER:
	case PN_BENCH_SIZE:
		if (*(const uint64_t *)o->value != UINT64_MAX &&
		    *(const uint64_t *)o->value >= o->min)
			printf(" (default %llu)", (unsigned long long)*(const uint64_t *)o->value);
		break;
	case PN_BENCH_SECONDS:
		if (*(const uint64_t *)o->value != 0)
			printf(" (default %g)", (double)*(const uint64_t *)o->value / 1000);
		break;
	case PN_BENCH_TEXT:
		if (*(const char *const *)o->value)
			printf(" (default %s)", *(const char *const *)o->value);
		break;
	}
}

static void print_help(const struct pn_bench_option_group *groups, size_t group_count,
		       const char *summary, const char *command)
{
	printf("Usage: postern-bench %s [OPTION...]\n\n%s\n", command, summary);
	for (size_t g = 0; g < group_count; g++) {
		printf("\n%s:\n", groups[g].title);
		for (size_t i = 0; i < groups[g].count; i++) {
			const struct pn_bench_option *o = &groups[g].options[i];
			char left[64];
			(void)snprintf(left, sizeof(left), "--%s%s%s", o->name, o->arg ? " " : "",
				       o->arg ? o->arg : "");
			printf("  %-30s %s", left, o->help);
			print_default(o);
			putchar('\n');
		}
	}
}

static const struct pn_bench_option *find(const struct pn_bench_option_group *groups,
					  size_t group_count, const char *name, size_t len)
{
	for (size_t g = 0; g < group_count; g++) {
		for (size_t i = 0; i < groups[g].count; i++) {
			const struct pn_bench_option *o = &groups[g].options[i];
			if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
				return o;
		}
	}
	return NULL;
}

static bool parse_integer(const struct pn_bench_option *o, const char *text)
{
	char *end;
	uint64_t unit = 1;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);

	if (end == text || *text == '-' || errno != 0)
		return false;
	if (o->kind == PN_BENCH_SIZE && (*end == 'K' || *end == 'M')) {
		unit = *end == 'K' ? 1024 : 1024 * 1024;
		end++;
	}
	if (*end || n > UINT64_MAX / unit || n * unit < o->min || n * unit > o->max)
		return false;
	*(uint64_t *)o->value = n * unit;
	return true;
}

static bool parse_value(const struct pn_bench_option *o, const char *text)
{
	char *end;
	double seconds;

	switch (o->kind) {
	case PN_BENCH_FLAG:
		*(bool *)o->value = true;
		return true;
	case PN_BENCH_NUMBER:
	case PN_BENCH_SIZE:
		return parse_integer(o, text);
	case PN_BENCH_SECONDS:
		seconds = strtod(text, &end);
		if (end == text || *end || !isfinite(seconds) || seconds < 0 || seconds > 1e6)
			return false;
		*(uint64_t *)o->value = (uint64_t)(seconds * 1000);
		return true;
	case PN_BENCH_TEXT:
		*(const char **)o->value = text;
		return true;
	}
	return false;
}

int pn_bench_options_parse(const struct pn_bench_option_group *groups, size_t group_count,
			   const char *summary, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *text = argv[i];
		const char *equals = strchr(text, '=');
		if (strcmp(text, "--help") == 0 || strcmp(text, "-h") == 0) {
			print_help(groups, group_count, summary, argv[0]);
			return 1;
		}
		size_t len = equals ? (size_t)(equals - text) : strlen(text);
		const struct pn_bench_option *o =
			strncmp(text, "--", 2) == 0 ? find(groups, group_count, text + 2, len - 2)
						    : NULL;
		if (!o || (o->kind == PN_BENCH_FLAG && equals)) {
			fprintf(stderr, "postern-bench %s: unknown argument: %s (see --help)\n",
				argv[0], text);
			return -EINVAL;
		}
		const char *value = o->kind == PN_BENCH_FLAG ? "" : equals ? equals + 1 : argv[++i];
		if (!value || !parse_value(o, value)) {
			fprintf(stderr, "postern-bench %s: --%s takes %s: %s\n", argv[0], o->name,
				o->arg, o->help);
			return -EINVAL;
		}
	}
	return 0;
}
