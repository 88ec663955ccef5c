/* SPDX-License-Identifier: ISC */
/* test_stats.c - medians, spreads and verdicts, against numbers worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "stats.h"

#define NEAR 1e-9

static void test_median(void **state)
{
	(void)state;
	const double odd[] = { 5, 1, 9 };
	const double even[] = { 4, 1, 3, 10 };

	assert_float_equal(pn_bench_median(odd, 3), 5, NEAR);
	assert_float_equal(pn_bench_median(even, 4), 3.5, NEAR);
	assert_float_equal(pn_bench_median(odd, 1), 5, NEAR);
	assert_float_equal(pn_bench_median(NULL, 0), 0, NEAR);
	/* The input stays as it was. */
	assert_float_equal(odd[0], 5, NEAR);
}

static void test_spread(void **state)
{
	(void)state;
	/* Deviations from 4: 3 2 0 1 96; their median is 2, whatever the outlier. */
	const double values[] = { 1, 2, 4, 5, 100 };
	struct pn_bench_stats s;

	pn_bench_stats_of(values, 5, &s);
	assert_int_equal(s.count, 5);
	assert_float_equal(s.median, 4, NEAR);
	assert_float_equal(s.min, 1, NEAR);
	assert_float_equal(s.max, 100, NEAR);
	assert_float_equal(s.mad, 2, NEAR);
	pn_bench_stats_of(values, 0, &s);
	assert_int_equal(s.count, 0);
	assert_float_equal(s.mad, 0, NEAR);
}

static void test_too_many_values_are_cut(void **state)
{
	(void)state;
	static double values[PN_BENCH_ROUNDS_MAX + 3];
	struct pn_bench_stats s;

	for (size_t i = 0; i < PN_ARRAY_SIZE(values); i++)
		values[i] = 1;
	values[PN_BENCH_ROUNDS_MAX] = 1e9;
	pn_bench_stats_of(values, PN_ARRAY_SIZE(values), &s);
	assert_int_equal(s.count, PN_BENCH_ROUNDS_MAX);
	assert_float_equal(s.max, 1, NEAR);
}

static enum pn_bench_verdict verdict(const double *a, const double *b, size_t n,
				     bool is_more_better)
{
	struct pn_bench_difference d;

	pn_bench_difference_of(a, b, n, is_more_better, &d);
	return d.verdict;
}

static void test_verdicts(void **state)
{
	(void)state;
	const double a[] = { 100, 102, 98, 101, 99, 100, 103 };
	const double fast[] = { 80, 82, 79, 80, 81, 80, 84 };
	const double mixed[] = { 99, 104, 97, 103, 98, 102, 101 };

	assert_int_equal(verdict(a, fast, 7, false), PN_BENCH_FASTER);
	assert_int_equal(verdict(fast, a, 7, false), PN_BENCH_SLOWER);
	/* A rate: less is worse. */
	assert_int_equal(verdict(a, fast, 7, true), PN_BENCH_SLOWER);
	assert_int_equal(verdict(fast, a, 7, true), PN_BENCH_FASTER);
	assert_int_equal(verdict(a, mixed, 7, false), PN_BENCH_SAME);
	assert_int_equal(verdict(a, a, 7, false), PN_BENCH_SAME);
	assert_int_equal(verdict(a, fast, 3, false), PN_BENCH_FASTER);
	assert_int_equal(verdict(a, fast, 2, false), PN_BENCH_TOO_FEW);
	assert_int_equal(verdict(a, fast, 0, false), PN_BENCH_TOO_FEW);
}

/* Each pair agrees, but the machine wandered further than they differ: three pairs are no proof. */
static void test_few_pairs_need_disjoint_ranges(void **state)
{
	(void)state;
	const double a[] = { 100, 120, 140, 160, 180, 200 };
	const double b[] = { 98, 117, 137, 156, 176, 195 };

	assert_int_equal(verdict(a, b, 5, false), PN_BENCH_SAME);
	/* Six of six on one side: 1 in 32 by chance. */
	assert_int_equal(verdict(a, b, 6, false), PN_BENCH_FASTER);
}

/* With nine pairs one may disagree at each end (binomial tail 2 * (1 + 9) / 512 = 3.9 %), with eight none. */
static void test_interval_of_the_sign_test(void **state)
{
	(void)state;
	const double a[] = { 100, 100, 100, 100, 100, 100, 100, 100, 100 };
	const double b[] = { 130, 80, 81, 82, 83, 84, 85, 86, 87 };
	struct pn_bench_difference d;

	pn_bench_difference_of(a, b, 9, false, &d);
	assert_int_equal(d.pairs, 9);
	assert_float_equal(d.ratio, 0.84, NEAR);
	assert_float_equal(d.ratio_min, 0.81, NEAR);
	assert_float_equal(d.ratio_max, 0.87, NEAR);
	assert_int_equal(d.verdict, PN_BENCH_FASTER);
	pn_bench_difference_of(a, b, 8, false, &d);
	assert_float_equal(d.ratio_max, 1.3, NEAR);
	assert_int_equal(d.verdict, PN_BENCH_SAME);
}

static void test_zero_is_no_base(void **state)
{
	(void)state;
	const double a[] = { 0, 100, 100, 100 };
	const double b[] = { 50, 50, 50, 50 };
	struct pn_bench_difference d;

	pn_bench_difference_of(a, b, 4, false, &d);
	assert_int_equal(d.pairs, 3);
	assert_float_equal(d.ratio, 0.5, NEAR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_median),
		cmocka_unit_test(test_spread),
		cmocka_unit_test(test_too_many_values_are_cut),
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_few_pairs_need_disjoint_ranges),
		cmocka_unit_test(test_interval_of_the_sign_test),
		cmocka_unit_test(test_zero_is_no_base),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
