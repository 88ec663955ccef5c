/* SPDX-License-Identifier: ISC */
/* test_bench_schedule.c - sizes, arrival times, the queue of what is due, and the histogram of the load generator. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "distribution.h"
#include "histogram.h"
#include "schedule.h"

#define DRAWS 20000u

static void test_sizes_are_parsed(void **state)
{
	static const char *const good[] = {
		"4K", "1024", "1K-64K", "2M-2M", "lognormal:8K:1.2", "2K*70,50K*25,5M*5", "1K*1"
	};
	static const char *const bad[] = { "",
					   "K",
					   "4k",
					   "1000",
					   "65M",
					   "64K-1K",
					   "4K-",
					   "4K x",
					   "lognormal:8K",
					   "lognormal:8K:0",
					   "lognormal:8K:9",
					   "lognormal:1:1",
					   "2K*0",
					   "2K*-1",
					   "2K*1,",
					   "2K*1,4K",
					   "2K*",
					   "-4K" };
	struct pn_bench_distribution d;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(good); i++) {
		if (!pn_bench_distribution_parse(&d, good[i]))
			fail_msg("%s", good[i]);
	}
	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++) {
		if (pn_bench_distribution_parse(&d, bad[i]))
			fail_msg("%s", bad[i]);
	}
}

static void test_draws_are_as_described(void **state)
{
	struct pn_bench_distribution d;
	struct pn_prng prng;
	uint64_t counts[3] = { 0 }, below = 0, sum = 0;

	(void)state;
	pn_prng_init(&prng, 5);
	assert_true(pn_bench_distribution_parse(&d, "4K"));
	assert_int_equal(pn_bench_distribution_draw(&d, &prng), 4096);
	assert_int_equal(pn_bench_distribution_max(&d), 4096);
	assert_true(pn_bench_distribution_parse(&d, "2K*70,50K*25,5M*5"));
	assert_int_equal(pn_bench_distribution_max(&d), 5u << 20);
	for (unsigned i = 0; i < DRAWS; i++) {
		uint64_t n = pn_bench_distribution_draw(&d, &prng);
		assert_true(n == 2048 || n == 51200 || n == 5u << 20);
		counts[n == 2048 ? 0 : n == 51200 ? 1 : 2]++;
	}
	assert_in_range(counts[0], DRAWS * 68 / 100, DRAWS * 72 / 100);
	assert_in_range(counts[1], DRAWS * 23 / 100, DRAWS * 27 / 100);
	assert_true(pn_bench_distribution_parse(&d, "lognormal:8K:1.2"));
	for (unsigned i = 0; i < DRAWS; i++) {
		uint64_t n = pn_bench_distribution_draw(&d, &prng);
		assert_in_range(n, 1024, pn_bench_distribution_max(&d));
		below += n < 8192;
	}
	assert_in_range(below, DRAWS * 48 / 100, DRAWS * 52 / 100);
	assert_true(pn_bench_distribution_parse(&d, "1K-3K"));
	for (unsigned i = 0; i < DRAWS; i++) {
		uint64_t n = pn_bench_distribution_draw(&d, &prng);
		assert_in_range(n, 1024, 3072);
		sum += n;
	}
	assert_in_range(sum / DRAWS, 2020, 2076);
}

static void test_constant_arrivals_are_even(void **state)
{
	struct pn_bench_schedule s;

	(void)state;
	pn_bench_schedule_init(&s, PN_BENCH_ARRIVALS_CONSTANT, 1000, 1);
	for (uint64_t i = 0; i < 5000; i++) {
		assert_int_equal(pn_bench_schedule_peek(&s), i * 1000000);
		assert_int_equal(pn_bench_schedule_take(&s), i * 1000000);
	}
}

static void test_poisson_arrivals_have_the_rate_and_follow_the_seed(void **state)
{
	struct pn_bench_schedule a, b, c;
	uint64_t last = 0, short_gaps = 0;
	bool differs = false;

	(void)state;
	pn_bench_schedule_init(&a, PN_BENCH_ARRIVALS_POISSON, 1000, 42);
	pn_bench_schedule_init(&b, PN_BENCH_ARRIVALS_POISSON, 1000, 42);
	pn_bench_schedule_init(&c, PN_BENCH_ARRIVALS_POISSON, 1000, 43);
	for (unsigned i = 0; i < DRAWS; i++) {
		uint64_t at = pn_bench_schedule_take(&a);
		assert_true(at >= last);
		assert_int_equal(at, pn_bench_schedule_take(&b));
		differs = differs || at != pn_bench_schedule_take(&c);
		short_gaps += at - last < 693147; /* ln 2 of the mean: half of them */
		last = at;
	}
	assert_true(differs);
	assert_in_range(last, UINT64_C(19500000000), UINT64_C(20500000000));
	assert_in_range(short_gaps, DRAWS * 48 / 100, DRAWS * 52 / 100);
}

static void test_what_is_due_is_bounded(void **state)
{
	struct pn_bench_due due;
	uint64_t at;

	(void)state;
	assert_int_equal(pn_bench_due_init(&due, 3), 0);
	for (uint64_t round = 0; round < 4; round++) {
		for (uint64_t i = 0; i < 5; i++)
			pn_bench_due_push(&due, 10 * round + i);
		assert_int_equal(due.dropped, 2 * (round + 1));
		for (uint64_t i = 0; i < 3; i++) {
			assert_true(pn_bench_due_pop(&due, &at));
			assert_int_equal(at, 10 * round + i);
		}
		assert_false(pn_bench_due_pop(&due, &at));
	}
	assert_int_equal(due.longest, 3);
	pn_bench_due_clear(&due);
	assert_int_equal(due.dropped, 0);
	pn_bench_due_deinit(&due);
}

static void test_histogram_is_within_three_percent(void **state)
{
	static struct pn_bench_histogram h;

	(void)state;
	assert_int_equal(pn_bench_histogram_quantile(&h, 0.5), 0);
	for (uint64_t ns = 1; ns <= 100000; ns++)
		pn_bench_histogram_add(&h, ns * 1000);
	for (int percent = 1; percent < 100; percent += 7) {
		uint64_t got = pn_bench_histogram_quantile(&h, percent / 100.0);
		assert_in_range(got, (uint64_t)percent * 1000000,
				(uint64_t)percent * 1000000 * 104 / 100);
	}
	assert_int_equal(pn_bench_histogram_quantile(&h, 1), 100000000);
	for (size_t i = 1; i < PN_BENCH_HISTOGRAM_BUCKETS / 2; i++)
		assert_true(pn_bench_histogram_bucket_end(i) >
			    pn_bench_histogram_bucket_end(i - 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes_are_parsed),
		cmocka_unit_test(test_draws_are_as_described),
		cmocka_unit_test(test_constant_arrivals_are_even),
		cmocka_unit_test(test_poisson_arrivals_have_the_rate_and_follow_the_seed),
		cmocka_unit_test(test_what_is_due_is_bounded),
		cmocka_unit_test(test_histogram_is_within_three_percent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
