/* SPDX-License-Identifier: ISC */
/* test_sasl_password.c - PLAIN and LOGIN: every message that is taken, and every one that is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sasl_harness.h"

static void assert_slice_is(struct pn_slice s, const char *text)
{
	assert_int_equal(s.len, strlen(text));
	assert_memory_equal(s.ptr, text, s.len);
}

static void test_names_are_found_in_any_case(void **state)
{
	(void)state;
	assert_int_equal(pn_sasl_mechanism_find(PN_SLICE_LIT("PLAIN")), PN_SASL_PLAIN);
	assert_int_equal(pn_sasl_mechanism_find(PN_SLICE_LIT("login")), PN_SASL_LOGIN);
	assert_int_equal(pn_sasl_mechanism_find(PN_SLICE_LIT("Scram-Sha-256")), PN_SASL_SCRAM_SHA_256);
	assert_int_equal(pn_sasl_mechanism_find(PN_SLICE_LIT("SCRAM-SHA-256-PLUS")), PN_SASL_MECHANISM_COUNT);
	assert_int_equal(pn_sasl_mechanism_find(PN_SLICE_LIT("PLAI")), PN_SASL_MECHANISM_COUNT);
	assert_int_equal(pn_sasl_mechanism_find(PN_SLICE_NULL), PN_SASL_MECHANISM_COUNT);
	assert_string_equal(pn_sasl_mechanism_name(PN_SASL_SCRAM_SHA_256), "SCRAM-SHA-256");
}

#define R(s) PN_SLICE_LIT(s)

struct plain_case {
	struct pn_slice message;
	enum pn_sasl_status status;
	const char *name, *password; /* with NEED_VERIFY */
};

static const struct plain_case plain_cases[] = {
	{ { (const uint8_t *)"\0tim\0tanstaaftanstaaf", 21 }, PN_SASL_NEED_VERIFY, "tim", "tanstaaftanstaaf" },
	{ { (const uint8_t *)"\0Tim\0Pass~", 10 }, PN_SASL_NEED_VERIFY, "tim", "pass" },
	{ { (const uint8_t *)"tim\0tim\0p", 9 }, PN_SASL_NEED_VERIFY, "tim", "p" },
	{ { (const uint8_t *)"T~im\0tim\0p", 10 }, PN_SASL_NEED_VERIFY, "tim", "p" }, /* equal once prepared */
	{ { (const uint8_t *)"bob\0tim\0p", 9 }, PN_SASL_BAD, NULL, NULL },
	{ { (const uint8_t *)"ti\0tim\0p", 8 }, PN_SASL_BAD, NULL, NULL },
	{ { (const uint8_t *)"~\0tim\0p", 7 }, PN_SASL_BAD, NULL, NULL }, /* an authzid that is empty once prepared */
	{ { (const uint8_t *)"\0\0p", 3 }, PN_SASL_BAD, NULL, NULL },
	{ { (const uint8_t *)"\0tim\0", 5 }, PN_SASL_BAD, NULL, NULL },
	{ { (const uint8_t *)"\0~\0p", 4 }, PN_SASL_BAD, NULL, NULL },
	{ { (const uint8_t *)"\0tim\0~~", 7 }, PN_SASL_BAD, NULL, NULL },
	{ { (const uint8_t *)"\0ti\1m\0p", 7 }, PN_SASL_BAD, NULL, NULL },
	{ { (const uint8_t *)"\0tim\0p\1", 7 }, PN_SASL_BAD, NULL, NULL },
	{ { NULL, 0 }, PN_SASL_MALFORMED, NULL, NULL },
	{ { (const uint8_t *)"tim", 3 }, PN_SASL_MALFORMED, NULL, NULL },
	{ { (const uint8_t *)"\0tim", 4 }, PN_SASL_MALFORMED, NULL, NULL },
	{ { (const uint8_t *)"\0tim\0p\0", 7 }, PN_SASL_MALFORMED, NULL, NULL }, /* NUL inside the password */
	{ { (const uint8_t *)"\0tim\0p\0q", 8 }, PN_SASL_MALFORMED, NULL, NULL },
};

/* Every case with and without initial response: the same end. */
static void test_plain_messages(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2 * PN_ARRAY_SIZE(plain_cases); i++) {
		const struct plain_case *c = &plain_cases[i / 2];
		struct pn_sasl s;
		struct pn_slice data = R("x");

		pn_sasl_init(&s, PN_SASL_PLAIN, &harness_ops);
		if (i % 2) {
			assert_int_equal(pn_sasl_step(&s, false, PN_SLICE_NULL, &data), PN_SASL_CHALLENGE);
			assert_int_equal(data.len, 0);
		}
		assert_int_equal(pn_sasl_step(&s, true, c->message, &data), c->status);
		assert_int_equal(data.len, 0);
		if (c->name) {
			assert_slice_is(pn_sasl_name(&s), c->name);
			assert_slice_is(pn_sasl_password(&s), c->password);
		} else {
			assert_int_equal(pn_sasl_password(&s).len, 0);
		}
		pn_sasl_deinit(&s);
	}
}

/* authzid, name and password of the lengths given. */
static enum pn_sasl_status plain_of_lengths(size_t authzid, size_t name, size_t password)
{
	size_t len = authzid + name + password + 2;
	uint8_t *m = malloc(len);
	struct pn_sasl s;
	struct pn_slice data;

	assert_non_null(m);
	memset(m, 'a', len);
	m[authzid] = m[authzid + 1 + name] = 0;
	pn_sasl_init(&s, PN_SASL_PLAIN, &harness_ops);
	enum pn_sasl_status status = pn_sasl_step(&s, true, pn_slice(m, len), &data);
	pn_sasl_deinit(&s);
	free(m);
	return status;
}

static void test_plain_lengths(void **state)
{
	(void)state;
	assert_int_equal(plain_of_lengths(255, 255, 255), PN_SASL_NEED_VERIFY);
	assert_int_equal(plain_of_lengths(0, 255, 255), PN_SASL_NEED_VERIFY);
	assert_int_equal(plain_of_lengths(256, 255, 255), PN_SASL_MALFORMED);
	assert_int_equal(plain_of_lengths(0, 256, 255), PN_SASL_MALFORMED);
	assert_int_equal(plain_of_lengths(0, 255, 256), PN_SASL_MALFORMED);
	assert_int_equal(plain_of_lengths(0, 5000, 5), PN_SASL_MALFORMED);
}

static void test_verdict_ends_and_wipes(void **state)
{
	(void)state;
	for (int is_right = 0; is_right < 2; is_right++) {
		struct pn_sasl s;
		struct pn_slice data;
		static const char secret[] = "tanstaaf";

		pn_sasl_init(&s, PN_SASL_PLAIN, &harness_ops);
		assert_int_equal(pn_sasl_step(&s, true, pn_slice("\0tim\0tanstaaf", 13), &data), PN_SASL_NEED_VERIFY);
		assert_non_null(memmem(&s, sizeof(s), secret, 8));
		assert_int_equal(pn_sasl_verified(&s, is_right), is_right ? PN_SASL_OK : PN_SASL_BAD);
		assert_null(memmem(&s, sizeof(s), secret, 8));
		assert_slice_is(pn_sasl_name(&s), "tim");
		pn_sasl_deinit(&s);
		assert_null(memmem(&s, sizeof(s), "tim", 3));
		pn_sasl_deinit(&s);
	}
}

static void test_login_dialogue(void **state)
{
	struct pn_sasl s;
	struct pn_slice data;

	(void)state;
	for (int has_initial = 0; has_initial < 2; has_initial++) {
		pn_sasl_init(&s, PN_SASL_LOGIN, &harness_ops);
		if (!has_initial) {
			assert_int_equal(pn_sasl_step(&s, false, PN_SLICE_NULL, &data), PN_SASL_CHALLENGE);
			assert_slice_is(data, "Username:");
		}
		assert_int_equal(pn_sasl_step(&s, true, R("Tim"), &data), PN_SASL_CHALLENGE);
		assert_slice_is(data, "Password:");
		assert_int_equal(pn_sasl_step(&s, true, R("Secret"), &data), PN_SASL_NEED_VERIFY);
		assert_slice_is(pn_sasl_name(&s), "tim");
		assert_slice_is(pn_sasl_password(&s), "secret");
		assert_int_equal(pn_sasl_verified(&s, true), PN_SASL_OK);
		pn_sasl_deinit(&s);
	}
}

static enum pn_sasl_status login_end(struct pn_slice name, struct pn_slice password)
{
	struct pn_sasl s;
	struct pn_slice data;

	pn_sasl_init(&s, PN_SASL_LOGIN, &harness_ops);
	enum pn_sasl_status status = pn_sasl_step(&s, true, name, &data);
	if (status == PN_SASL_CHALLENGE)
		status = pn_sasl_step(&s, true, password, &data);
	pn_sasl_deinit(&s);
	return status;
}

static void test_login_refusals(void **state)
{
	static uint8_t a[5000];

	(void)state;
	memset(a, 'a', sizeof(a));
	assert_int_equal(login_end(pn_slice(a, 255), pn_slice(a, 255)), PN_SASL_NEED_VERIFY);
	assert_int_equal(login_end(pn_slice(a, 256), R("p")), PN_SASL_MALFORMED);
	assert_int_equal(login_end(pn_slice(a, 5000), R("p")), PN_SASL_MALFORMED);
	assert_int_equal(login_end(R("tim"), pn_slice(a, 256)), PN_SASL_MALFORMED);
	assert_int_equal(login_end(pn_slice("t\0m", 3), R("p")), PN_SASL_MALFORMED);
	assert_int_equal(login_end(R("tim"), pn_slice("p\0", 2)), PN_SASL_MALFORMED);
	assert_int_equal(login_end(PN_SLICE_NULL, R("p")), PN_SASL_BAD);
	assert_int_equal(login_end(R("~"), R("p")), PN_SASL_BAD);
	assert_int_equal(login_end(R("tim"), PN_SLICE_NULL), PN_SASL_BAD);
	assert_int_equal(login_end(R("tim"), R("p\1")), PN_SASL_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_are_found_in_any_case),
		cmocka_unit_test(test_plain_messages),
		cmocka_unit_test(test_plain_lengths),
		cmocka_unit_test(test_verdict_ends_and_wipes),
		cmocka_unit_test(test_login_dialogue),
		cmocka_unit_test(test_login_refusals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
