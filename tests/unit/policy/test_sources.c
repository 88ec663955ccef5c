/* SPDX-License-Identifier: ISC */
/* test_sources.c - per-source session counts and rates, prefixes, slot take-over, and use from several threads. */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <postern/policy/sources.h>

static struct sockaddr_storage address(const char *text)
{
	struct sockaddr_storage ss = { 0 };
	struct sockaddr_in *in = (struct sockaddr_in *)&ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss;
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1)
		ss.ss_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1)
		ss.ss_family = AF_INET6;
	else
		fail_msg("bad address %s", text);
	return ss;
}

static enum pn_source_verdict enter(struct pn_sources *t, const char *text, uint32_t sessions,
				    uint32_t rate, uint64_t now_ms, uint32_t *ticket)
{
	struct sockaddr_storage ss = address(text);
	return pn_sources_enter(t, (const struct sockaddr *)&ss, sessions, rate, now_ms, ticket);
}

static void test_sessions_are_limited_per_source(void **state)
{
	(void)state;
	struct pn_sources *t = pn_sources_new(1024);
	assert_non_null(t);
	uint32_t a = 0, b = 0, c = 0;
	assert_int_equal(enter(t, "127.0.0.1", 2, 0, 0, &a), PN_SOURCE_OK);
	assert_int_equal(enter(t, "127.0.0.1", 2, 0, 0, &b), PN_SOURCE_OK);
	assert_int_equal(a, b);
	assert_int_equal(enter(t, "127.0.0.1", 2, 0, 0, &c), PN_SOURCE_TOO_MANY_SESSIONS);
	assert_int_equal(enter(t, "127.0.0.2", 2, 0, 0, &c), PN_SOURCE_OK);
	pn_sources_leave(t, a);
	assert_int_equal(enter(t, "127.0.0.1", 2, 0, 0, &a), PN_SOURCE_OK);
	pn_sources_free(t);
}

static void test_ipv6_counts_by_64_and_mapped_as_ipv4(void **state)
{
	(void)state;
	struct pn_sources *t = pn_sources_new(1024);
	uint32_t k = 0;
	assert_int_equal(enter(t, "2001:db8:0:1::1", 1, 0, 0, &k), PN_SOURCE_OK);
	assert_int_equal(enter(t, "2001:db8:0:1:ffff::2", 1, 0, 0, &k),
			 PN_SOURCE_TOO_MANY_SESSIONS);
	assert_int_equal(enter(t, "2001:db8:0:2::1", 1, 0, 0, &k), PN_SOURCE_OK);
	assert_int_equal(enter(t, "192.0.2.7", 1, 0, 0, &k), PN_SOURCE_OK);
	assert_int_equal(enter(t, "::ffff:192.0.2.7", 1, 0, 0, &k), PN_SOURCE_TOO_MANY_SESSIONS);
	pn_sources_free(t);
}

static void test_rate_is_limited_within_a_minute(void **state)
{
	(void)state;
	struct pn_sources *t = pn_sources_new(64);
	uint32_t k = 0;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(enter(t, "192.0.2.1", 0, 3, 1000, &k), PN_SOURCE_OK);
		pn_sources_leave(t, k);
	}
	assert_int_equal(enter(t, "192.0.2.1", 0, 3, 59999, &k), PN_SOURCE_TOO_FAST);
	assert_int_equal(enter(t, "192.0.2.1", 0, 3, 60000, &k), PN_SOURCE_OK);
	pn_sources_free(t);
}

/* 0 means any number, also where the slot can count no further. */
static void test_no_limit_is_no_limit(void **state)
{
	(void)state;
	struct pn_sources *t = pn_sources_new(64);
	uint32_t k = 0;
	for (uint64_t i = 0; i < 65535; i++) /* a new minute before the rate's field is full */
		assert_int_equal(enter(t, "192.0.2.1", 0, 0, i * 10, &k), PN_SOURCE_OK);
	assert_int_equal(enter(t, "192.0.2.1", 0, 0, 655350, &k), PN_SOURCE_UNTRACKED);
	/* A limit holds as ever. */
	assert_int_equal(enter(t, "192.0.2.1", 65534, 0, 655350, &k), PN_SOURCE_TOO_MANY_SESSIONS);
	pn_sources_leave(t, k);
	assert_int_equal(enter(t, "192.0.2.1", 0, 0, 655350, &k), PN_SOURCE_OK);
	pn_sources_free(t);
}

static void test_full_table_admits_untracked_and_old_slots_are_reused(void **state)
{
	(void)state;
	struct pn_sources *t = pn_sources_new(16);
	uint32_t tickets[64];
	int tracked = 0, untracked = 0;
	for (int i = 0; i < 64; i++) {
		char text[32];
		(void)snprintf(text, sizeof(text), "10.0.0.%d", i);
		uint32_t k = 0;
		if (enter(t, text, 5, 0, 0, &k) == PN_SOURCE_OK)
			tickets[tracked++] = k;
		else
			untracked++;
	}
	assert_int_equal(tracked, 16);
	assert_int_equal(untracked, 48);
	for (int i = 0; i < tracked; i++)
		pn_sources_leave(t, tickets[i]);
	uint32_t k = 0;
	assert_int_equal(enter(t, "10.9.9.9", 5, 0, 0, &k),
			 PN_SOURCE_UNTRACKED); /* same minute: rates are still held */
	assert_int_equal(enter(t, "10.9.9.9", 5, 0, 120000, &k), PN_SOURCE_OK);
	pn_sources_free(t);
}

#define THREADS 4
#define ROUNDS  20000

static void *hammer(void *arg)
{
	struct pn_sources *t = arg;
	struct sockaddr_storage ss = address("192.0.2.9");
	long ok = 0;
	for (int i = 0; i < ROUNDS; i++) {
		uint32_t k = 0;
		if (pn_sources_enter(t, (const struct sockaddr *)&ss, 2, 0, (uint64_t)i, &k) ==
		    PN_SOURCE_OK) {
			ok++;
			pn_sources_leave(t, k);
		}
	}
	return (void *)ok;
}

static void test_counts_return_to_zero_under_threads(void **state)
{
	(void)state;
	struct pn_sources *t = pn_sources_new(64);
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hammer, t), 0);
	long total = 0;
	for (int i = 0; i < THREADS; i++) {
		void *ok = NULL;
		pthread_join(threads[i], &ok);
		total += (long)ok;
	}
	assert_true(total > 0);
	uint32_t a = 0, b = 0, c = 0; /* exactly two places are free again */
	assert_int_equal(enter(t, "192.0.2.9", 2, 0, 600000, &a), PN_SOURCE_OK);
	assert_int_equal(enter(t, "192.0.2.9", 2, 0, 600000, &b), PN_SOURCE_OK);
	assert_int_equal(enter(t, "192.0.2.9", 2, 0, 600000, &c), PN_SOURCE_TOO_MANY_SESSIONS);
	pn_sources_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sessions_are_limited_per_source),
		cmocka_unit_test(test_ipv6_counts_by_64_and_mapped_as_ipv4),
		cmocka_unit_test(test_rate_is_limited_within_a_minute),
		cmocka_unit_test(test_no_limit_is_no_limit),
		cmocka_unit_test(test_full_table_admits_untracked_and_old_slots_are_reused),
		cmocka_unit_test(test_counts_return_to_zero_under_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
