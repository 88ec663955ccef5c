/* SPDX-License-Identifier: ISC */
/* test_html.c - what a result says stays text; ticks are where people count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "page/chart.h"
#include "page/html.h"

#define BAD "\xEF\xBF\xBD" /* U+FFFD */

static void check(const char *text, const char *expected)
{
	char *got = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&got, &len);

	assert_non_null(out);
	pn_bench_html_text(out, text);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(got, expected);
	free(got);
}

static void test_markup_is_escaped(void **state)
{
	(void)state;
	check("plain text, 1.5 us", "plain text, 1.5 us");
	check("<script>alert(\"1\")</script>", "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;");
	check("' onload='x", "&#39; onload=&#39;x");
	check("a & b &amp; c", "a &amp; b &amp;amp; c");
	check("]]>", "]]&gt;");
	check("", "");
}

static void test_octets_that_are_no_text(void **state)
{
	(void)state;
	check("tab\tline\nend", "tab\tline\nend");
	check("bell\a escape\x1b return\r delete\x7f",
	      "bell" BAD " escape" BAD " return" BAD " delete" BAD);
	check("m\xC3\xBC\xE2\x82\xAC\xF0\x9F\x93\xA8", "m\xC3\xBC\xE2\x82\xAC\xF0\x9F\x93\xA8");
	/* overlong, surrogate, beyond Unicode, lone and missing continuations */
	check("\xC0\xBC", BAD BAD);
	check("\xE0\x80\xBC", BAD BAD BAD);
	check("\xED\xA0\x80", BAD BAD BAD);
	check("\xF4\x90\x80\x80", BAD BAD BAD BAD);
	check("\x80", BAD);
	check("\xE2\x82", BAD BAD);
	check("\xE2<", BAD "&lt;");
	check("\xEF\xBF\xBF", BAD);
}

static void test_formatted_text_is_escaped_too(void **state)
{
	char *got = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&got, &len);
	char longer[3000];

	(void)state;
	memset(longer, '<', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	pn_bench_html_textf(out, "%s: %d", "<b>", 7);
	assert_int_equal(fflush(out), 0);
	assert_string_equal(got, "&lt;b&gt;: 7");
	pn_bench_html_textf(out, "%s", longer);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(len, strlen("&lt;b&gt;: 7") + 1023 * strlen("&lt;"));
	free(got);
}

static void test_linear_ticks(void **state)
{
	(void)state;
	struct pn_bench_axis axis = { .label = "x", .min = 0, .max = 87 };

	pn_bench_axis_fit(&axis);
	assert_float_equal(axis.max, 100, 1e-9);
	assert_int_equal(axis.tick_count, 6);
	assert_string_equal(axis.ticks[1].label, "20");
	assert_float_equal(pn_bench_axis_place(&axis, 25), 0.25, 1e-9);
	assert_float_equal(pn_bench_axis_place(&axis, -5), 0, 1e-9);
	assert_float_equal(pn_bench_axis_place(&axis, 500), 1, 1e-9);
	/* One value only, and none above zero. */
	axis = (struct pn_bench_axis){ .label = "x" };
	pn_bench_axis_fit(&axis);
	assert_true(axis.max > axis.min && axis.tick_count >= 2);
	axis = (struct pn_bench_axis){ .label = "x", .min = 5, .max = 5 };
	pn_bench_axis_fit(&axis);
	assert_true(axis.max > 5 && axis.min <= 5);
}

static void test_log_ticks(void **state)
{
	(void)state;
	struct pn_bench_axis axis = { .label = "x", .min = 0.3, .max = 90, .is_log = true };

	pn_bench_axis_fit(&axis);
	assert_float_equal(axis.min, 0.1, 1e-9);
	assert_float_equal(axis.max, 100, 1e-9);
	assert_int_equal(axis.tick_count, 10); /* 1, 2, 5 of three decades, and the end */
	assert_string_equal(axis.ticks[2].label, "0.5");
	assert_float_equal(pn_bench_axis_place(&axis, 1), 1.0 / 3, 1e-9);
	assert_float_equal(pn_bench_axis_place(&axis, 0), 0, 1e-9);
	axis = (struct pn_bench_axis){ .label = "x", .min = 1e-9, .max = 1e300, .is_log = true };
	pn_bench_axis_fit(&axis);
	assert_true(axis.tick_count <= PN_BENCH_TICKS_MAX);
}

static void test_number_labels(void **state)
{
	(void)state;
	static const struct {
		double value;
		const char *label;
	} rows[] = {
		{ 0, "0" },         { 0.25, "0.25" },    { 9999, "9999" }, { 10000, "10k" },
		{ 250000, "250k" }, { 1500000, "1.5M" }, { 2e9, "2G" },    { -20000, "-20k" }
	};

	for (size_t i = 0; i < PN_ARRAY_SIZE(rows); i++) {
		char label[24];
		pn_bench_number_label(rows[i].value, label);
		assert_string_equal(label, rows[i].label);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_markup_is_escaped),
		cmocka_unit_test(test_octets_that_are_no_text),
		cmocka_unit_test(test_formatted_text_is_escaped_too),
		cmocka_unit_test(test_linear_ticks),
		cmocka_unit_test(test_log_ticks),
		cmocka_unit_test(test_number_labels),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
