/* SPDX-License-Identifier: ISC */
/* test_auth_cache.c - tags, lifetime, size; and many threads at one table. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auth/cache.h"

static void tag_of(struct pn_cred_cache *c, uint8_t tag[PN_CACHE_TAG_LEN], const char *name, const char *stored,
                   const char *password)
{
	pn_cred_cache_tag(c, tag, pn_slice_str(name), pn_slice_str(stored), pn_slice_str(password));
}

static void test_every_part_counts(void **state)
{
	static const char *const triples[][3] = {
		{ "tim", "hash", "secret" }, { "tin", "hash", "secret" }, { "tim", "hasi", "secret" },
		{ "tim", "hash", "secreu" }, { "timh", "ash", "secret" }, { "tim", "hashs", "ecret" },
		{ "tim", "hash", "" },       { "", "timhash", "secret" },
	};
	struct pn_cred_cache *c = pn_cred_cache_new(64, 1000);
	struct pn_cred_cache *other = pn_cred_cache_new(64, 1000);
	uint8_t tag[PN_CACHE_TAG_LEN], foreign[PN_CACHE_TAG_LEN];

	(void)state;
	assert_non_null(c);
	assert_non_null(other);
	for (size_t i = 0; i < PN_ARRAY_SIZE(triples); i++) {
		tag_of(c, tag, triples[i][0], triples[i][1], triples[i][2]);
		assert_false(pn_cred_cache_has(c, tag, 10));
		pn_cred_cache_add(c, tag, 10);
		assert_true(pn_cred_cache_has(c, tag, 10));
		/* Another process has another key. */
		tag_of(other, foreign, triples[i][0], triples[i][1], triples[i][2]);
		assert_memory_not_equal(tag, foreign, sizeof(tag));
	}
	pn_cred_cache_free(c);
	pn_cred_cache_free(other);
	pn_cred_cache_free(NULL);
}

static void test_lifetime_is_not_prolonged_by_hits(void **state)
{
	struct pn_cred_cache *c = pn_cred_cache_new(16, 1000);
	uint8_t tag[PN_CACHE_TAG_LEN];

	(void)state;
	tag_of(c, tag, "tim", "hash", "secret");
	assert_false(pn_cred_cache_add(c, tag, 5000));
	assert_true(pn_cred_cache_has(c, tag, 5000));
	assert_true(pn_cred_cache_has(c, tag, 5999));
	assert_false(pn_cred_cache_has(c, tag, 6000));
	assert_false(pn_cred_cache_add(c, tag, 6000));
	assert_true(pn_cred_cache_has(c, tag, 6999));
	pn_cred_cache_free(c);
}

static void test_size_is_kept_and_the_least_used_goes(void **state)
{
	struct pn_cred_cache *c = pn_cred_cache_new(4, 100000); /* one set of four */
	uint8_t tags[5][PN_CACHE_TAG_LEN];

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		char name[8];
		snprintf(name, sizeof(name), "u%zu", i);
		tag_of(c, tags[i], name, "hash", "secret");
	}
	for (size_t i = 0; i < 4; i++)
		assert_false(pn_cred_cache_add(c, tags[i], 10 + i));
	assert_true(pn_cred_cache_has(c, tags[0], 20)); /* now tags[1] is the oldest in use */
	assert_true(pn_cred_cache_add(c, tags[4], 30));
	assert_false(pn_cred_cache_has(c, tags[1], 31));
	assert_true(pn_cred_cache_has(c, tags[0], 31));
	assert_true(pn_cred_cache_has(c, tags[2], 31));
	assert_true(pn_cred_cache_has(c, tags[3], 31));
	assert_true(pn_cred_cache_has(c, tags[4], 31));
	/* Adding what is there takes nobody's place. */
	assert_false(pn_cred_cache_add(c, tags[3], 32));
	assert_true(pn_cred_cache_has(c, tags[2], 33));
	pn_cred_cache_free(c);
}

static void test_expired_goes_before_used(void **state)
{
	struct pn_cred_cache *c = pn_cred_cache_new(2, 100);
	uint8_t a[PN_CACHE_TAG_LEN], b[PN_CACHE_TAG_LEN], n[PN_CACHE_TAG_LEN];

	(void)state;
	tag_of(c, a, "a", "h", "p");
	tag_of(c, b, "b", "h", "p");
	tag_of(c, n, "n", "h", "p");
	pn_cred_cache_add(c, a, 0);
	pn_cred_cache_add(c, b, 50);
	assert_true(pn_cred_cache_has(c, a, 99)); /* used later than b, but over first */
	assert_false(pn_cred_cache_add(c, n, 120));
	assert_true(pn_cred_cache_has(c, b, 120));
	assert_true(pn_cred_cache_has(c, n, 120));
	pn_cred_cache_free(c);
}

static void test_one_entry(void **state)
{
	struct pn_cred_cache *c = pn_cred_cache_new(1, 100);
	uint8_t a[PN_CACHE_TAG_LEN], b[PN_CACHE_TAG_LEN];

	(void)state;
	tag_of(c, a, "a", "h", "p");
	tag_of(c, b, "b", "h", "p");
	assert_false(pn_cred_cache_add(c, a, 0));
	assert_true(pn_cred_cache_add(c, b, 0));
	assert_false(pn_cred_cache_has(c, a, 0));
	assert_true(pn_cred_cache_has(c, b, 0));
	pn_cred_cache_free(c);
}

#define THREADS 4
#define ROUNDS 3000

static struct pn_cred_cache *shared;

static void *use_cache(void *arg)
{
	unsigned seed = *(unsigned *)arg;
	size_t hits = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint8_t tag[PN_CACHE_TAG_LEN];
		char name[16];
		snprintf(name, sizeof(name), "u%u", (seed + i * 7) % 97);
		tag_of(shared, tag, name, "hash", "secret");
		pn_cred_cache_add(shared, tag, i);
		hits += pn_cred_cache_has(shared, tag, i);
	}
	return (void *)(uintptr_t)hits;
}

static void test_threads(void **state)
{
	pthread_t threads[THREADS];
	unsigned seeds[THREADS] = { 1, 20, 40, 60 };

	(void)state;
	shared = pn_cred_cache_new(64, 100000);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, use_cache, &seeds[i]), 0);
	for (size_t i = 0; i < THREADS; i++) {
		void *hits;
		pthread_join(threads[i], &hits);
		assert_true((uintptr_t)hits > 0);
	}
	pn_cred_cache_free(shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_part_counts),
		cmocka_unit_test(test_lifetime_is_not_prolonged_by_hits),
		cmocka_unit_test(test_size_is_kept_and_the_least_used_goes),
		cmocka_unit_test(test_expired_goes_before_used),
		cmocka_unit_test(test_one_entry),
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
