/* SPDX-License-Identifier: ISC */
/*
 * test_sasl_scram.c - SCRAM-SHA-256: the example of RFC 7677 3, every refusal, and no difference for unknown
 * users.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <postern/base/codec.h>

#include "sasl_harness.h"

#define SERVER_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define FULL_NONCE "rOprNGfwEbeRWgbNEkqO" SERVER_NONCE
#define SERVER_FIRST "r=" FULL_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"

static struct pn_sasl_scram_key example_key(void)
{
	uint8_t salt[32];
	ptrdiff_t len = pn_base64_decode(salt, PN_SLICE_LIT("W22ZaJ0SNY7soEsUEjb6gQ=="));
	assert_int_equal(len, 16);
	return harness_key("pencil", pn_slice(salt, (size_t)len), 4096);
}

static void assert_slice_is(struct pn_slice s, const char *text)
{
	assert_int_equal(s.len, strlen(text));
	assert_memory_equal(s.ptr, text, s.len);
}

static void begin(struct pn_sasl *s)
{
	harness_set_nonce(SERVER_NONCE);
	pn_sasl_init(s, PN_SASL_SCRAM_SHA_256, &harness_ops);
}

static void test_example_of_rfc7677(void **state)
{
	struct pn_sasl_scram_key key = example_key();

	(void)state;
	for (int has_initial = 0; has_initial < 2; has_initial++) {
		struct pn_sasl s;
		struct pn_slice data;

		begin(&s);
		if (!has_initial) {
			assert_int_equal(pn_sasl_step(&s, false, PN_SLICE_NULL, &data), PN_SASL_CHALLENGE);
			assert_int_equal(data.len, 0);
		}
		assert_int_equal(pn_sasl_step(&s, true, PN_SLICE_LIT("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"), &data),
		                 PN_SASL_NEED_SCRAM_KEY);
		assert_slice_is(pn_sasl_name(&s), "user");
		assert_int_equal(pn_sasl_scram_key(&s, &key, &data), PN_SASL_CHALLENGE);
		assert_slice_is(data, SERVER_FIRST);
		assert_int_equal(pn_sasl_step(&s, true,
		                              PN_SLICE_LIT("c=biws,r=" FULL_NONCE
		                                           ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="),
		                              &data),
		                 PN_SASL_CHALLENGE);
		assert_slice_is(data, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
		assert_int_equal(pn_sasl_step(&s, true, PN_SLICE_NULL, &data), PN_SASL_OK);
		pn_sasl_deinit(&s);
	}
}

struct first_case {
	const char *message;
	enum pn_sasl_status status;
	const char *data; /* name, or error */
};

static const struct first_case first_cases[] = {
	{ "y,,n=user,r=abc", PN_SASL_NEED_SCRAM_KEY, "user" },
	{ "n,a=User,n=user,r=abc", PN_SASL_NEED_SCRAM_KEY, "user" },
	{ "n,,n=a=2Cb=3Dc,r=abc", PN_SASL_NEED_SCRAM_KEY, "a,b=c" },
	{ "n,a=a=2Cb,n=a=2Cb,r=abc", PN_SASL_NEED_SCRAM_KEY, "a,b" },
	{ "n,,n=user,r=abc,x=1,y=a=b", PN_SASL_NEED_SCRAM_KEY, "user" },
	{ "n,,n=U~SER,r=abc", PN_SASL_NEED_SCRAM_KEY, "user" },
	{ "n,a=bob,n=user,r=abc", PN_SASL_BAD, "e=other-error" },
	{ "n,a=~,n=user,r=abc", PN_SASL_BAD, "e=other-error" },
	{ "p=tls-exporter,,n=user,r=abc", PN_SASL_BAD, "e=channel-binding-not-supported" },
	{ "p,,n=user,r=abc", PN_SASL_MALFORMED, "e=other-error" },
	{ "p=,,n=user,r=abc", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,m=x,n=user,r=abc", PN_SASL_BAD, "e=extensions-not-supported" },
	{ "n,,n=user,r=abc,m=x", PN_SASL_BAD, "e=extensions-not-supported" },
	{ "n,,n=user,r=abc,x=1,m=x", PN_SASL_BAD, "e=extensions-not-supported" },
	{ "n,,n=~,r=abc", PN_SASL_BAD, "e=unknown-user" },
	{ "n,,n=us\001er,r=abc", PN_SASL_BAD, "e=unknown-user" },
	{ "n,,n=us=er,r=abc", PN_SASL_MALFORMED, "e=invalid-username-encoding" },
	{ "n,,n=user=2,r=abc", PN_SASL_MALFORMED, "e=invalid-username-encoding" },
	{ "n,,n=user=2c,r=abc", PN_SASL_MALFORMED, "e=invalid-username-encoding" },
	{ "n,,n=user=,r=abc", PN_SASL_MALFORMED, "e=invalid-username-encoding" },
	{ "n,a=u=s,n=user,r=abc", PN_SASL_MALFORMED, "e=invalid-username-encoding" },
	{ "n,a=,n=user,r=abc", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,b=user,n=user,r=abc", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,user,n=user,r=abc", PN_SASL_MALFORMED, "e=other-error" },
	{ "", PN_SASL_MALFORMED, "e=invalid-encoding" },
	{ "n,,n=us\xffr,r=abc", PN_SASL_MALFORMED, "e=invalid-encoding" },
	{ "n", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,", PN_SASL_MALFORMED, "e=other-error" },
	{ ",,n=user,r=abc", PN_SASL_MALFORMED, "e=other-error" },
	{ "x,,n=user,r=abc", PN_SASL_MALFORMED, "e=other-error" },
	{ "nn,,n=user,r=abc", PN_SASL_MALFORMED, "e=other-error" },
	{ "N,,n=user,r=abc", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,N=user,r=abc", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,n=,r=abc", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,n=user", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,n=user,", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,n=user,r=", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,n=user,r=a c", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,n=user,r=a\xc3\xa4", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,n=user,r=abc,", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,n=user,r=abc,x", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,n=user,r=abc,1=x", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,r=abc,n=user", PN_SASL_MALFORMED, "e=other-error" },
};

static void test_first_messages(void **state)
{
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(first_cases); i++) {
		const struct first_case *c = &first_cases[i];
		struct pn_sasl s;
		struct pn_slice data;

		begin(&s);
		enum pn_sasl_status status = pn_sasl_step(&s, true, pn_slice_str(c->message), &data);
		if (status != c->status)
			print_error("case %zu: %s\n", i, c->message);
		assert_int_equal(status, c->status);
		assert_slice_is(status == PN_SASL_NEED_SCRAM_KEY ? pn_sasl_name(&s) : data, c->data);
		pn_sasl_deinit(&s);
	}
}

static void test_first_message_with_nul_or_too_long(void **state)
{
	struct pn_sasl s;
	struct pn_slice data;
	char long_message[PN_SASL_MESSAGE_MAX + 2];
	int len = snprintf(long_message, sizeof(long_message), "n,,n=user,r=");

	(void)state;
	begin(&s);
	assert_int_equal(pn_sasl_step(&s, true, pn_slice("n,,n=us\0r,r=abc", 15), &data), PN_SASL_MALFORMED);
	pn_sasl_deinit(&s);

	memset(long_message + len, 'a', sizeof(long_message) - (size_t)len);
	begin(&s);
	assert_int_equal(pn_sasl_step(&s, true, pn_slice(long_message, PN_SASL_MESSAGE_MAX), &data),
	                 PN_SASL_NEED_SCRAM_KEY);
	struct pn_sasl_scram_key key = example_key();
	assert_int_equal(pn_sasl_scram_key(&s, &key, &data), PN_SASL_CHALLENGE);
	assert_true(data.len > PN_SASL_MESSAGE_MAX);
	pn_sasl_deinit(&s);

	begin(&s);
	assert_int_equal(pn_sasl_step(&s, true, pn_slice(long_message, PN_SASL_MESSAGE_MAX + 1), &data),
	                 PN_SASL_MALFORMED);
	pn_sasl_deinit(&s);
}

static void test_name_of_255_octets(void **state)
{
	char message[400];

	(void)state;
	for (int len = 255; len <= 256; len++) {
		struct pn_sasl s;
		struct pn_slice data;
		snprintf(message, sizeof(message), "n,,n=%0*d,r=abc", len, 1);
		begin(&s);
		assert_int_equal(pn_sasl_step(&s, true, pn_slice_str(message), &data),
		                 len == 255 ? PN_SASL_NEED_SCRAM_KEY : PN_SASL_MALFORMED);
		pn_sasl_deinit(&s);
	}
}

/*
 * Runs up to client-final, whose text is `final` with %s standing for a right proof; the exchange is left to
 * the caller.
 */
static enum pn_sasl_status run_final(struct pn_sasl *s, const char *gs2, const char *final_without_proof,
                                     const char *tail, const char *password, const struct pn_sasl_scram_key *key,
                                     struct pn_slice *ret_data)
{
	char first[256], auth_message[1024], proof[64], final[1024];
	struct pn_slice data;
	const char *bare = "n=user,r=rOprNGfwEbeRWgbNEkqO";

	begin(s);
	snprintf(first, sizeof(first), "%s%s", gs2, bare);
	assert_int_equal(pn_sasl_step(s, true, pn_slice_str(first), &data), PN_SASL_NEED_SCRAM_KEY);
	assert_int_equal(pn_sasl_scram_key(s, key, &data), PN_SASL_CHALLENGE);
	assert_slice_is(data, SERVER_FIRST);
	snprintf(auth_message, sizeof(auth_message), "%s,%s,%s", bare, SERVER_FIRST, final_without_proof);
	harness_proof(proof, password, key, auth_message);
	snprintf(final, sizeof(final), tail ? "%s,p=%s%s" : "%s", final_without_proof, proof, tail);
	return pn_sasl_step(s, true, pn_slice_str(final), ret_data);
}

struct final_case {
	const char *gs2, *without_proof, *tail;
	enum pn_sasl_status status;
	const char *error;
};

static const struct final_case final_cases[] = {
	{ "n,,", "c=biws,r=" FULL_NONCE, "", PN_SASL_CHALLENGE, NULL },
	{ "y,,", "c=eSws,r=" FULL_NONCE, "", PN_SASL_CHALLENGE, NULL },
	{ "n,a=user,", "c=bixhPXVzZXIs,r=" FULL_NONCE, "", PN_SASL_CHALLENGE, NULL },
	{ "n,,", "c=biws,r=" FULL_NONCE ",x=1,z=2", "", PN_SASL_CHALLENGE, NULL },
	{ "y,,", "c=biws,r=" FULL_NONCE, "", PN_SASL_BAD, "e=channel-bindings-dont-match" },
	{ "n,,", "c=eSws,r=" FULL_NONCE, "", PN_SASL_BAD, "e=channel-bindings-dont-match" },
	{ "n,,", "c=biwsAAAA,r=" FULL_NONCE, "", PN_SASL_BAD, "e=channel-bindings-dont-match" },
	{ "n,,", "c=bi,r=" FULL_NONCE, "", PN_SASL_MALFORMED, "e=invalid-encoding" },
	{ "n,,", "c=b!ws,r=" FULL_NONCE, "", PN_SASL_MALFORMED, "e=invalid-encoding" },
	{ "n,,", "c=biws,r=" FULL_NONCE "x", "", PN_SASL_BAD, "e=other-error" },
	{ "n,,", "c=biws,r=rOprNGfwEbeRWgbNEkqO", "", PN_SASL_BAD, "e=other-error" },
	{ "n,,", "c=biws,r=xOprNGfwEbeRWgbNEkqO" SERVER_NONCE, "", PN_SASL_BAD, "e=other-error" },
	{ "n,,", "c=biws,r=" FULL_NONCE ",m=1", "", PN_SASL_BAD, "e=extensions-not-supported" },
	{ "n,,", "m=1,c=biws,r=" FULL_NONCE, "", PN_SASL_BAD, "e=extensions-not-supported" },
	{ "n,,", "r=" FULL_NONCE ",c=biws", "", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,", "c=biws", "", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,", "c=,r=" FULL_NONCE, "", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,", "c=biws,r=", "", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,", "c=biws,r=" FULL_NONCE ",", "", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,", "c=biws,r=" FULL_NONCE, ",x=1", PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,", "c=biws,r=" FULL_NONCE, "A", PN_SASL_MALFORMED, "e=invalid-encoding" },
	{ "n,,", "c=biws,r=" FULL_NONCE, NULL, PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,", "c=biws", NULL, PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,", "", NULL, PN_SASL_MALFORMED, "e=invalid-encoding" },
	{ "n,,", "c=biws,r=" FULL_NONCE ",p=", NULL, PN_SASL_MALFORMED, "e=other-error" },
	{ "n,,", "c=biws,r=" FULL_NONCE ",p=AAAA", NULL, PN_SASL_MALFORMED, "e=invalid-encoding" },
	{ "n,,", "c=biws,r=" FULL_NONCE ",p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
	  NULL, PN_SASL_BAD, "e=invalid-proof" },
};

static void test_final_messages(void **state)
{
	struct pn_sasl_scram_key key = example_key();

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(final_cases); i++) {
		const struct final_case *c = &final_cases[i];
		struct pn_sasl s;
		struct pn_slice data;
		enum pn_sasl_status status = run_final(&s, c->gs2, c->without_proof, c->tail, "pencil", &key, &data);

		if (status != c->status)
			print_error("case %zu: %s %s\n", i, c->gs2, c->without_proof);
		assert_int_equal(status, c->status);
		if (c->error) {
			assert_slice_is(data, c->error);
		} else {
			assert_memory_equal(data.ptr, "v=", 2);
			assert_int_equal(pn_sasl_step(&s, true, PN_SLICE_NULL, &data), PN_SASL_OK);
		}
		pn_sasl_deinit(&s);
	}
}

static void test_wrong_password(void **state)
{
	struct pn_sasl_scram_key key = example_key();
	struct pn_sasl s;
	struct pn_slice data;

	(void)state;
	assert_int_equal(run_final(&s, "n,,", "c=biws,r=" FULL_NONCE, "", "pencil2", &key, &data), PN_SASL_BAD);
	assert_slice_is(data, "e=invalid-proof");
	pn_sasl_deinit(&s);
}

/* A made-up key fails even at a proof that would be right, with the words of a wrong password. */
static void test_made_up_key_never_matches(void **state)
{
	struct pn_sasl_scram_key key = example_key();
	struct pn_sasl s;
	struct pn_slice data;

	(void)state;
	key.is_real = false;
	assert_int_equal(run_final(&s, "n,,", "c=biws,r=" FULL_NONCE, "", "pencil", &key, &data), PN_SASL_BAD);
	assert_slice_is(data, "e=invalid-proof");
	pn_sasl_deinit(&s);
}

static void test_last_response_is_empty(void **state)
{
	struct pn_sasl_scram_key key = example_key();
	struct pn_sasl s;
	struct pn_slice data;

	(void)state;
	assert_int_equal(run_final(&s, "n,,", "c=biws,r=" FULL_NONCE, "", "pencil", &key, &data), PN_SASL_CHALLENGE);
	assert_int_equal(pn_sasl_step(&s, true, PN_SLICE_LIT("x"), &data), PN_SASL_MALFORMED);
	pn_sasl_deinit(&s);
}

static void test_nonce_is_printable_for_any_randomness(void **state)
{
	static const char all[] =
	    "!\"#$%&'()*+-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~";
	struct pn_sasl_scram_key key = example_key();

	(void)state;
	assert_int_equal(sizeof(all) - 1, 93);
	for (size_t i = 0; i + PN_SASL_SCRAM_NONCE_LEN < sizeof(all); i++) {
		char nonce[PN_SASL_SCRAM_NONCE_LEN + 1], expected[128];
		struct pn_sasl s;
		struct pn_slice data;

		memcpy(nonce, all + i, PN_SASL_SCRAM_NONCE_LEN);
		nonce[PN_SASL_SCRAM_NONCE_LEN] = '\0';
		harness_set_nonce(nonce);
		pn_sasl_init(&s, PN_SASL_SCRAM_SHA_256, &harness_ops);
		assert_int_equal(pn_sasl_step(&s, true, PN_SLICE_LIT("n,,n=u,r=x"), &data), PN_SASL_NEED_SCRAM_KEY);
		assert_int_equal(pn_sasl_scram_key(&s, &key, &data), PN_SASL_CHALLENGE);
		snprintf(expected, sizeof(expected), "r=x%s,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", nonce);
		assert_slice_is(data, expected);
		pn_sasl_deinit(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_example_of_rfc7677),
		cmocka_unit_test(test_first_messages),
		cmocka_unit_test(test_first_message_with_nul_or_too_long),
		cmocka_unit_test(test_name_of_255_octets),
		cmocka_unit_test(test_final_messages),
		cmocka_unit_test(test_wrong_password),
		cmocka_unit_test(test_made_up_key_never_matches),
		cmocka_unit_test(test_last_response_is_empty),
		cmocka_unit_test(test_nonce_is_printable_for_any_randomness),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
