/* SPDX-License-Identifier: ISC */
/* test_ids.c - ids, randomness, clocks and dates, secrets, counters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <postern/base/clock.h>
#include <postern/base/counters.h>
#include <postern/base/id.h>
#include <postern/base/prng.h>
#include <postern/base/secret.h>

static void test_id_text_round_trips(void **state)
{
	char text[PN_ID_TEXT_LEN + 1];
	struct pn_id id, back;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		id = pn_id_make((uint16_t)i, UINT64_C(1785000000000) + (uint64_t)i);
		pn_id_format(text, &id);
		assert_int_equal(strlen(text), PN_ID_TEXT_LEN);
		assert_true(pn_id_parse(pn_slice_str(text), &back));
		assert_true(pn_id_eq(&id, &back));
		assert_true(pn_id_time_ms(&back) == UINT64_C(1785000000000) + (uint64_t)i);
	}
	memset(&id, 0xff, sizeof(id));
	pn_id_format(text, &id);
	assert_string_equal(text, "7777777777777777777777777"
				  "4");
	assert_true(pn_id_parse(pn_slice_str(text), &back));
}

static void test_id_has_one_text_only(void **state)
{
	static const char *const wrong[] = {
		"",
		"aaaaaaaaaaaaaaaaaaaaaaaaa",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"Aaaaaaaaaaaaaaaaaaaaaaaaaa",
		"aaaaaaaaaaaaaaaaaaaaaaaaab", /* a bit behind the 128th */
		"aaaaaaaaaaaaaaaaaaaaaaaa1a",
		"aaaaaaaaaaaaaaaaaaaaaaaa8a",
		"../../../../../../../../..",
	};
	struct pn_id id;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(wrong); i++)
		assert_false(pn_id_parse(pn_slice_str(wrong[i]), &id));
}

static void test_id_octets_sort_by_time(void **state)
{
	(void)state;
	struct pn_id early = pn_id_make(9, 1000), late = pn_id_make(1, 1001);
	assert_true(memcmp(early.octets, late.octets, sizeof(early.octets)) < 0);
}

#define ID_THREADS 4
#define ID_COUNT   5000
static struct pn_id ids[ID_THREADS * ID_COUNT];

static void *make_ids(void *arg)
{
	struct pn_id *out = arg;

	for (int i = 0; i < ID_COUNT; i++)
		out[i] = pn_id_make(1, 5);
	return NULL;
}

static int compare_ids(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct pn_id));
}

static void test_ids_of_all_threads_differ(void **state)
{
	pthread_t threads[ID_THREADS];

	(void)state;
	for (int i = 0; i < ID_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, make_ids, &ids[i * ID_COUNT]),
				 0);
	for (int i = 0; i < ID_THREADS; i++)
		pthread_join(threads[i], NULL);
	qsort(ids, PN_ARRAY_SIZE(ids), sizeof(ids[0]), compare_ids);
	for (size_t i = 1; i < PN_ARRAY_SIZE(ids); i++)
		assert_false(pn_id_eq(&ids[i - 1], &ids[i]));
}

static void test_id_of_a_forked_child_differs(void **state)
{
	struct pn_id mine, child;
	int fds[2], status;

	(void)state;
	mine = pn_id_make(1, 1);
	assert_int_equal(pipe(fds), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		child = pn_id_make(1, 1);
		_exit(write(fds[1], &child, sizeof(child)) == sizeof(child) ? 0 : 1);
	}
	assert_int_equal(read(fds[0], &child, sizeof(child)), sizeof(child));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	mine = pn_id_make(1, 1);
	assert_false(pn_id_eq(&mine, &child));
	close(fds[0]);
	close(fds[1]);
}

static void test_prng_is_repeatable_and_stays_below(void **state)
{
	struct pn_prng a, b;
	unsigned seen[5] = { 0 };

	(void)state;
	pn_prng_init(&a, 42);
	pn_prng_init(&b, 42);
	for (int i = 0; i < 100; i++)
		assert_true(pn_prng_next(&a) == pn_prng_next(&b));
	for (int i = 0; i < 5000; i++)
		seen[pn_prng_below(&a, 5)]++;
	for (int i = 0; i < 5; i++)
		assert_in_range(seen[i], 800, 1200);
	assert_int_equal(pn_prng_below(&a, 1), 0);
	pn_prng_init(&a, 0);
	pn_prng_init(&b, 0);
	assert_true(pn_prng_next(&a) != pn_prng_next(&b));
}

static void test_random_bytes_fill_every_octet(void **state)
{
	uint8_t data[600], seen[600] = { 0 };

	(void)state;
	for (int round = 0; round < 20; round++) {
		memset(data, 0, sizeof(data));
		pn_random_bytes(data, sizeof(data));
		for (size_t i = 0; i < sizeof(data); i++)
			seen[i] |= data[i];
	}
	for (size_t i = 0; i < sizeof(data); i++)
		assert_int_not_equal(seen[i], 0);
}

static void use_zone(const char *zone)
{
	setenv("TZ", zone, 1);
	tzset();
}

static void test_dates_name_zone_and_day_without_the_locale(void **state)
{
	char out[PN_DATE_RFC5322_SIZE];

	(void)state;
	setlocale(LC_ALL, "");
	use_zone("UTC0");
	assert_int_equal(pn_date_rfc5322(out, 0), strlen("Thu, 1 Jan 1970 00:00:00 +0000"));
	assert_string_equal(out, "Thu, 1 Jan 1970 00:00:00 +0000");
	pn_date_rfc5322(out, UINT64_C(951782399999));
	assert_string_equal(out, "Mon, 28 Feb 2000 23:59:59 +0000");
	use_zone("IST-5:30");
	pn_date_rfc5322(out, UINT64_C(951782400000));
	assert_string_equal(out, "Tue, 29 Feb 2000 05:30:00 +0530");
	use_zone("XXX3:30");
	pn_date_rfc5322(out, UINT64_C(951782401000));
	assert_string_equal(out, "Mon, 28 Feb 2000 20:30:01 -0330");
	use_zone("UTC0");
	assert_true(pn_date_rfc5322(out, UINT64_MAX) < sizeof(out));
}

static void test_rfc3339_agrees_with_gmtime(void **state)
{
	char out[PN_DATE_RFC3339_SIZE], want[64];
	struct pn_prng prng;

	(void)state;
	pn_prng_init(&prng, 77);
	for (int i = 0; i < 20000; i++) {
		/* dense around now, and over all of four centuries */
		uint64_t ms = i % 2 ? UINT64_C(1785000000000) + (uint64_t)i * 86399
				    : pn_prng_below(&prng, UINT64_C(13000000000000));
		time_t seconds = (time_t)(ms / 1000);
		struct tm tm;
		gmtime_r(&seconds, &tm);
		size_t len = strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S", &tm);
		snprintf(want + len, sizeof(want) - len, ".%03uZ", (unsigned)(ms % 1000));
		assert_int_equal(pn_date_rfc3339(out, ms), PN_DATE_RFC3339_SIZE - 1);
		assert_string_equal(out, want);
	}
	assert_int_equal(pn_date_rfc3339(out, UINT64_MAX), PN_DATE_RFC3339_SIZE - 1);
}

static void test_clocks_run_forward(void **state)
{
	(void)state;
	uint64_t ms = pn_clock_mono_ms(), ns = pn_clock_mono_ns();
	assert_true(pn_clock_mono_ms() >= ms);
	assert_true(pn_clock_mono_ns() >= ns);
	assert_true(ns / 1000000 >= ms);
	assert_true(pn_clock_wall_ms() > UINT64_C(1700000000000));
}

static void test_secrets_compare_and_go(void **state)
{
	char secret[8] = "sesame!";

	(void)state;
	assert_true(pn_secret_eq(PN_SLICE_LIT("abc"), PN_SLICE_LIT("abc")));
	assert_false(pn_secret_eq(PN_SLICE_LIT("abc"), PN_SLICE_LIT("abd")));
	assert_false(pn_secret_eq(PN_SLICE_LIT("xbc"), PN_SLICE_LIT("abc")));
	assert_false(pn_secret_eq(PN_SLICE_LIT("abc"), PN_SLICE_LIT("ab")));
	assert_true(pn_secret_eq(PN_SLICE_NULL, PN_SLICE_LIT("")));
	pn_wipe(secret, sizeof(secret));
	for (size_t i = 0; i < sizeof(secret); i++)
		assert_int_equal(secret[i], 0);
	pn_wipe(NULL, 0);
}

static void note_block(const struct pn_counter_block *block, void *ctx)
{
	char *seen = ctx;

	strcat(seen, block->scope);
	strcat(seen, "/");
	strcat(seen, block->instance);
	strcat(seen, " ");
}

static void test_counters_are_walked_in_order_of_registration(void **state)
{
	static const char *const names[] = { "hits" };
	pn_counter value = 0;
	struct pn_counter_block blocks[3];
	char seen[128] = "";

	(void)state;
	for (int i = 0; i < 3; i++) {
		blocks[i] = (struct pn_counter_block){
			.scope = "test", .names = names, .values = &value, .count = 1
		};
		snprintf(blocks[i].instance, sizeof(blocks[i].instance), "%d", i);
		pn_counters_register(&blocks[i]);
	}
	pn_counters_unregister(&blocks[1]);
	pn_counters_for_each(note_block, seen);
	assert_string_equal(seen, "test/0 test/2 ");
	pn_counters_unregister(&blocks[0]);
	pn_counters_unregister(&blocks[2]);
	pn_counter_add(&value, 5);
	pn_counter_sub(&value, 2);
	pn_counter_add_shared(&value, 4);
	pn_counter_sub_shared(&value, 1);
	assert_int_equal(pn_counter_get(&value), 6);
	pn_counter_set(&value, 1);
	assert_int_equal(pn_counter_get(&value), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_id_text_round_trips),
		cmocka_unit_test(test_id_has_one_text_only),
		cmocka_unit_test(test_id_octets_sort_by_time),
		cmocka_unit_test(test_ids_of_all_threads_differ),
		cmocka_unit_test(test_id_of_a_forked_child_differs),
		cmocka_unit_test(test_prng_is_repeatable_and_stays_below),
		cmocka_unit_test(test_random_bytes_fill_every_octet),
		cmocka_unit_test(test_dates_name_zone_and_day_without_the_locale),
		cmocka_unit_test(test_rfc3339_agrees_with_gmtime),
		cmocka_unit_test(test_clocks_run_forward),
		cmocka_unit_test(test_secrets_compare_and_go),
		cmocka_unit_test(test_counters_are_walked_in_order_of_registration),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
