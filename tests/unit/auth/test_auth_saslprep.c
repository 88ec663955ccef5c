/* SPDX-License-Identifier: ISC */
/* test_auth_saslprep.c - the examples of RFC 4013 3, and what never reaches the library. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auth/saslprep.h"

struct prep_case {
	const char *in, *query, *stored; /* NULL: refused */
};

static const struct prep_case cases[] = {
	{ "I\xc2\xadX", "IX", "IX" },          /* RFC 4013 3: SOFT HYPHEN mapped to nothing */
	{ "user", "user", "user" },
	{ "USER", "USER", "USER" },
	{ "\xc2\xaa", "a", "a" },              /* output is NFKC */
	{ "\xe2\x85\xa8", "IX", "IX" },
	{ "\x07", NULL, NULL },                /* prohibited character */
	{ "\xd8\xa7\x31", NULL, NULL },        /* bidirectional check */
	{ "", NULL, NULL },
	{ "\xc2\xad", NULL, NULL },            /* empty once prepared */
	{ "a b", "a b", "a b" },
	{ "a\xc2\xa0""b", "a b", "a b" },      /* non-ASCII space to space */
	{ "\x7f", NULL, NULL },
	{ "a\nb", NULL, NULL },
	{ "\xc3\xa9", "\xc3\xa9", "\xc3\xa9" },
	{ "e\xcc\x81", "\xc3\xa9", "\xc3\xa9" },
	{ "\xc8\xa1", "\xc8\xa1", NULL },      /* U+0221: unassigned in Unicode 3.2, for queries only */
	{ "\xef\xbf\xbe", NULL, NULL },        /* noncharacter */
	{ "\xee\x80\x80", NULL, NULL },        /* private use */
	{ "a\xff", NULL, NULL },               /* not UTF-8 */
	{ "\xc3", NULL, NULL },
	{ "\xed\xa0\x80", NULL, NULL },        /* surrogate */
	{ "\xc0\x80", NULL, NULL },            /* overlong */
};

static void check(ptrdiff_t (*prep)(char *, size_t, struct pn_slice), const char *in, const char *expected)
{
	char out[64];
	/* An allocation of exactly its size, so that a read past the end is seen. */
	size_t len = strlen(in);
	char *copy = malloc(len > 0 ? len : 1);
	assert_non_null(copy);
	memcpy(copy, in, len);
	ptrdiff_t n = prep(out, sizeof(out), pn_slice(copy, len));
	free(copy);
	if (!expected) {
		assert_true(n < 0);
		return;
	}
	assert_int_equal(n, strlen(expected));
	assert_memory_equal(out, expected, strlen(expected));
}

static void test_examples(void **state)
{
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
		check(pn_saslprep_query, cases[i].in, cases[i].query);
		check(pn_saslprep_stored, cases[i].in, cases[i].stored);
	}
}

static void test_limits(void **state)
{
	char out[256], in[4096];

	(void)state;
	memset(in, 'a', sizeof(in));
	assert_int_equal(pn_saslprep_query(out, 255, pn_slice(in, 255)), 255);
	assert_true(pn_saslprep_query(out, 255, pn_slice(in, 256)) < 0);
	assert_true(pn_saslprep_query(out, 255, pn_slice(in, sizeof(in))) < 0);
	assert_true(pn_saslprep_query(out, 255, pn_slice("a\0b", 3)) < 0);
	assert_true(pn_saslprep_query(out, 255, pn_slice("\xc3\xa9\0b", 4)) < 0);
	/* U+FDFA becomes 18 characters: what grows past the room fails. */
	for (size_t i = 0; i + 3 <= 255; i += 3)
		memcpy(in + i, "\xef\xb7\xba", 3);
	assert_true(pn_saslprep_query(out, 255, pn_slice(in, 255)) < 0);
	assert_true(pn_saslprep_query(out, 255, pn_slice(in, 3)) > 18);
	assert_true(pn_saslprep_query(out, 20, pn_slice(in, 3)) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
