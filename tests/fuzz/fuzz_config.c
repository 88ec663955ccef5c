/* SPDX-License-Identifier: ISC */
/*
 * fuzz_config.c - any text as postern.conf: no crash, a bounded report, and what is accepted survives the
 * writer. Our scanner and libConfuse's agree: what passes the one is never refused by the other.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/config/config.h>

#include "fuzz.h"

#define PN_REPORT_MAX_BYTES (1u << 20)

/* By their beginning: what the input says stands further behind in a line. */
static void check_lines(const char *report)
{
	static const char disagreement[] = "libConfuse does not accept", memory[] = "out of memory";

	while (*report != '\0') {
		unsigned line;
		int prefix = 0;
		if (sscanf(report, "fuzz:%u: %n", &line, &prefix) == 1 &&
		    strncmp(report + prefix, disagreement, sizeof(disagreement) - 1) == 0)
			abort();
		if (strncmp(report, memory, sizeof(memory) - 1) == 0)
			abort();
		size_t len = strcspn(report, "\n");
		report += len + (report[len] == '\n');
	}
}

static struct pn_config *parse(const char *text, char **ret_report, size_t *ret_size)
{
	FILE *report = open_memstream(ret_report, ret_size);

	if (report == NULL)
		abort();
	struct pn_config *c = pn_config_parse(text, "fuzz", report);
	if (fclose(report) != 0)
		abort();
	check_lines(*ret_report);
	return c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *report, *text = malloc(size + 1);
	size_t report_size;

	if (text == NULL)
		return 0;
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	struct pn_config *c = parse(text, &report, &report_size);
	if (report_size > PN_REPORT_MAX_BYTES || (c == NULL && report_size == 0))
		abort();
	free(report);
	free(text);
	if (c == NULL)
		return 0;
	char *canonical = pn_config_canonical(c);
	if (canonical == NULL)
		abort();
	struct pn_config *again = parse(canonical, &report, &report_size);
	if (again == NULL)
		abort();
	char *canonical_again = pn_config_canonical(again);
	if (canonical_again == NULL || strcmp(canonical, canonical_again) != 0)
		abort();
	free(canonical_again);
	free(canonical);
	free(report);
	pn_config_free(again);
	pn_config_free(c);
	return 0;
}
