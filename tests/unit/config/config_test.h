/* SPDX-License-Identifier: ISC */
/* config_test.h - what the tests of config share: a least config, and reading with the report as text. */
#ifndef PN_TESTS_CONFIG_TEST_H
#define PN_TESTS_CONFIG_TEST_H

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_internal.h"

/* On one line, so that what a test adds begins on line 2. */
#define LEAST_SECTIONS                                                                                             \
	"listener \"l\" { addresses = { \"[::]:465\" } } "                                                         \
	"certificate \"c\" { chain_file = \"/c.pem\" key_file = \"/k.pem\" } "                                     \
	"upstream \"u\" { hosts = { \"mx.example.org\" } } "
#define LEAST "hostname = \"mail.example.org\" " LEAST_SECTIONS "\n"

/* Parses; *ret_report is the caller's to free. */
static inline struct pn_config *parse_with_report(const char *text, char **ret_report)
{
	size_t size;
	FILE *report = open_memstream(ret_report, &size);

	assert_non_null(report);
	struct pn_config *c = pn_config_parse(text, "test.conf", report);
	fclose(report);
	/* Mistakes have lines, and only mistakes refuse. */
	bool has_mistake = false;
	for (const char *line = *ret_report; *line != '\0';) {
		size_t len = strcspn(line, "\n");
		has_mistake |= memmem(line, len, ": warning: ", 11) == NULL;
		line += len + (line[len] == '\n');
	}
	if ((c == NULL) != has_mistake)
		fprintf(stderr, "config %p with report:\n%s", (void *)c, *ret_report);
	assert_true((c == NULL) == has_mistake);
	return c;
}

static inline struct pn_config *parse_fine(const char *text)
{
	char *report;
	struct pn_config *c = parse_with_report(text, &report);

	if (c == NULL || *report != '\0')
		fprintf(stderr, "report:\n%s", report);
	assert_non_null(c);
	assert_string_equal(report, "");
	free(report);
	return c;
}

#endif
