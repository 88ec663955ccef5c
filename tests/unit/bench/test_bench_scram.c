/* SPDX-License-Identifier: ISC */
/* test_bench_scram.c - the load generator's SCRAM client against the gateway's own server side, and against liars. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <postern/base/prng.h>
#include <postern/sasl/sasl.h>

#include "scram.h"

#define ITERATIONS 4096

static ptrdiff_t prepare(char *out, size_t out_size, struct pn_slice in)
{
	if (in.len == 0 || in.len > out_size)
		return -EINVAL;
	memcpy(out, in.ptr, in.len);
	return (ptrdiff_t)in.len;
}

static const struct pn_sasl_ops ops = { .sha256 = pn_sha256,
					.hmac_sha256 = pn_hmac_sha256,
					.random_bytes = pn_random_bytes,
					.saslprep = prepare };

static struct pn_sasl_scram_key key_of(const char *password)
{
	struct pn_sasl_scram_key key = { .iterations = ITERATIONS, .salt_len = 8, .is_real = true };
	uint8_t salted[PN_SHA256_LEN], client[PN_SHA256_LEN];

	memcpy(key.salt, "saltsalt", 8);
	assert_int_equal(pn_pbkdf2_sha256(salted, pn_slice_str(password), PN_SLICE_LIT("saltsalt"),
					  ITERATIONS),
			 0);
	pn_hmac_sha256(client, pn_slice(salted, sizeof(salted)), PN_SLICE_LIT("Client Key"));
	pn_sha256(key.stored_key, pn_slice(client, sizeof(client)));
	pn_hmac_sha256(key.server_key, pn_slice(salted, sizeof(salted)),
		       PN_SLICE_LIT("Server Key"));
	return key;
}

/* Asks the client; its answer is in `out`. */
static int ask(struct pn_bench_scram *c, const struct pn_slice *challenge, struct pn_buf *out)
{
	pn_buf_clear(out);
	return c->sasl.respond(c->sasl.arg, challenge, out);
}

static enum pn_sasl_status log_in(const char *user, const char *password,
				  struct pn_bench_scram_keys *keys)
{
	struct pn_sasl_scram_key key = key_of("right");
	struct pn_bench_scram c;
	struct pn_sasl s;
	struct pn_slice data;
	struct pn_buf out;
	enum pn_sasl_status status;

	pn_buf_init(&out, 1024);
	pn_bench_scram_init(&c, user, password, keys);
	pn_sasl_init(&s, PN_SASL_SCRAM_SHA_256, &ops);
	assert_int_equal(ask(&c, NULL, &out), 0);
	assert_int_equal(pn_sasl_step(&s, true, pn_buf_slice(&out), &data), PN_SASL_NEED_SCRAM_KEY);
	assert_true(pn_slice_eq(pn_sasl_name(&s), pn_slice_str(user)));
	assert_int_equal(pn_sasl_scram_key(&s, &key, &data), PN_SASL_CHALLENGE);
	assert_int_equal(ask(&c, &data, &out), 0);
	status = pn_sasl_step(&s, true, pn_buf_slice(&out), &data);
	if (status == PN_SASL_CHALLENGE) {
		assert_int_equal(ask(&c, &data, &out), 0);
		assert_int_equal(pn_buf_len(&out), 0);
		status = pn_sasl_step(&s, true, PN_SLICE_NULL, &data);
	}
	pn_sasl_deinit(&s);
	pn_buf_free(&out);
	return status;
}

static void test_logs_in_with_the_right_password_only(void **state)
{
	struct pn_bench_scram_keys keys = { .iterations = 0 }, wrong = { .iterations = 0 };

	(void)state;
	assert_int_equal(log_in("user@x.example", "right", &keys), PN_SASL_OK);
	assert_int_equal(keys.iterations, ITERATIONS);
	assert_int_equal(log_in("user@x.example", "right", &keys), PN_SASL_OK);
	assert_int_equal(log_in("odd,=name", "right", &keys), PN_SASL_OK);
	assert_int_equal(log_in("user@x.example", "wrong", &wrong), PN_SASL_BAD);
}

static void test_a_server_that_lies_is_not_believed(void **state)
{
	static const char *const first[] = { "", "r=other,s=c2FsdA==,i=4096", "s=c2FsdA==,i=4096",
					     "e=other-error" };
	struct pn_bench_scram_keys keys = { .iterations = 0 };
	struct pn_bench_scram c;
	struct pn_slice data;
	struct pn_buf out, text;

	(void)state;
	pn_buf_init(&out, 1024);
	pn_buf_init(&text, 1024);
	for (size_t i = 0; i < PN_ARRAY_SIZE(first); i++) {
		pn_bench_scram_init(&c, "u", "p", &keys);
		assert_int_equal(ask(&c, NULL, &out), 0);
		data = pn_slice_str(first[i]);
		assert_true(ask(&c, &data, &out) < 0);
	}
	/* The right nonce, extended, but a salt, a count or a signature that is none. */
	for (int i = 0; i < 4; i++) {
		pn_bench_scram_init(&c, "u", "p", &keys);
		assert_int_equal(ask(&c, NULL, &out), 0);
		pn_buf_clear(&text);
		assert_int_equal(pn_buf_printf(&text, "r=%sX,s=%s,i=%s", c.nonce,
					       i == 0 ? "*" : "c2FsdA==",
					       i == 1   ? "0"
					       : i == 2 ? "99999999"
							: "1"),
				 0);
		data = pn_buf_slice(&text);
		assert_int_equal(ask(&c, &data, &out) < 0, i < 3);
	}
	data = PN_SLICE_LIT("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
	assert_true(ask(&c, &data, &out) < 0);
	pn_buf_free(&out);
	pn_buf_free(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_logs_in_with_the_right_password_only),
		cmocka_unit_test(test_a_server_that_lies_is_not_believed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
