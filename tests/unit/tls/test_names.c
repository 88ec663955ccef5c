/* SPDX-License-Identifier: ISC */
/* test_names.c - host names: normal form and matching (RFC 6125 6.4, RFC 7817 3). */
#include "tls_support.h"

#include <stdio.h>
#include <string.h>

#include "tls/certificate.h"
#include "tls/names.h"

static void test_normal_form(void **state)
{
	static const struct {
		const char *in;
		const char *out; /* NULL: refused */
	} cases[] = {
		{ "mx.example.test", "mx.example.test" },
		{ "MX.Example.TEST", "mx.example.test" },
		{ "mx.example.test.", "mx.example.test" },
		{ "*.example.test", "*.example.test" },
		{ "localhost", "localhost" },
		{ "a_b.example", "a_b.example" },
		{ "xn--bcher-kva.example", "xn--bcher-kva.example" },
		{ "", NULL },
		{ ".", NULL },
		{ "..", NULL },
		{ "a..b", NULL },
		{ ".a", NULL },
		{ "*", NULL },
		{ "*.", NULL },
		{ "*a.example", NULL },
		{ "a.*.example", NULL },
		{ "f*o.example", NULL },
		{ "a b.example", NULL },
		{ "b\xc3\xbc"
		  "cher.example",
		  NULL },
		{ "[127.0.0.1]", NULL },
		{ "2001:db8::1", NULL },
	};
	char out[PN_TLS_NAME_SIZE];

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
		bool ok = pn_tls_name_normalize(out, cases[i].in, strlen(cases[i].in));

		if (ok != (cases[i].out != NULL))
			fail_msg("%s: %d", cases[i].in, ok);
		if (ok)
			assert_string_equal(out, cases[i].out);
	}
	assert_false(pn_tls_name_normalize(out, "a\0b.example", 11));
}

static void test_normal_form_has_a_limit(void **state)
{
	char in[300];
	char out[PN_TLS_NAME_SIZE];

	(void)state;
	memset(in, 'a', sizeof(in));
	assert_true(pn_tls_name_normalize(out, in, 255));
	assert_int_equal(strlen(out), 255);
	assert_false(pn_tls_name_normalize(out, in, 256));
}

static void test_matching(void **state)
{
	static const struct {
		const char *pattern;
		const char *host;
		bool is_match;
	} cases[] = {
		{ "mx.example.test", "mx.example.test", true },
		{ "mx.example.test", "mx2.example.test", false },
		{ "*.example.test", "mx.example.test", true },
		{ "*.example.test", "example.test", false },
		{ "*.example.test", "a.b.example.test", false },
		{ "*.example.test", ".example.test", false },
		{ "*.test", "example.test", false },
		{ "*.example.test", "mxexample.test", false },
	};

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
		char pattern[64];
		char *list[] = { pattern };
		struct pn_tls_names names = { list, 1 };

		(void)snprintf(pattern, sizeof(pattern), "%s", cases[i].pattern);
		if (pn_tls_names_match(&names, cases[i].host) != cases[i].is_match)
			fail_msg("%s for %s", cases[i].pattern, cases[i].host);
	}
	assert_false(pn_tls_names_match(&(struct pn_tls_names){ NULL, 0 }, "a"));
}

static int parse_one(void *arg, CRYPTO_BUFFER *der)
{
	*(X509 **)arg = X509_parse_from_buffer(der);
	return 1;
}

static X509 *x509_of(const char *file)
{
	X509 *x = NULL;

	assert_int_equal(pn_tls_pem_each(tls_file(file), parse_one, &x), 1);
	assert_non_null(x);
	return x;
}

static void check_names(const char *options, const char *made_for, bool may_use_cn,
			const char *expected)
{
	struct pn_tls_names names;
	char all[256] = "";
	char full[256];
	X509 *x;

	(void)snprintf(full, sizeof(full), "--type p256 --out names %s", options);
	tls_make(full, made_for);
	x = x509_of("names.pem");
	assert_int_equal(pn_tls_names_read(x, may_use_cn, &names), 0);
	for (size_t i = 0; i < names.count; i++)
		(void)snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s ", names.list[i]);
	assert_string_equal(all, expected);
	pn_tls_names_free(&names);
	X509_free(x);
}

static void test_names_of_a_certificate(void **state)
{
	(void)state;
	check_names("", "MX.example.test '*.example.test' 127.0.0.1", false,
		    "mx.example.test *.example.test ");
	/* RFC 6125 6.4.4: the CN only when no other identifier is there. */
	check_names("--cn cn.example.test", "a.example.test", true, "a.example.test ");
	check_names("--cn cn.example.test --no-san", "", true, "cn.example.test ");
	check_names("--cn cn.example.test --no-san", "", false, "");
	check_names("--cn cn.example.test", "127.0.0.1", true, "cn.example.test ");
	check_names("--cn cn.example.test --san URI:https://example.test/", "", true, "");
	check_names(
		"--cn cn.example.test --san 'otherName:1.3.6.1.5.5.7.8.7;IA5:_smtp.example.test'",
		"", true, "");
	check_names("--cn cn.example.test --san 'otherName:1.2.3.4;UTF8:x'", "", true,
		    "cn.example.test ");
	check_names("--cn 'no host name'  --no-san", "", true, "");
	/* Names that are none are skipped. */
	check_names("--san 'DNS:f*o.example.test,DNS:ok.example.test'", "", false,
		    "ok.example.test ");
}

static void test_addresses_of_a_certificate(void **state)
{
	static const uint8_t v4[] = { 192, 0, 2, 1 };
	static const uint8_t v6[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 };
	static const uint8_t other[] = { 192, 0, 2, 2 };
	X509 *x;

	(void)state;
	tls_make("--type p256 --out address", "192.0.2.1 2001:db8::1 mx.example.test");
	x = x509_of("address.pem");
	assert_true(pn_tls_names_match_ip(x, v4, sizeof(v4)));
	assert_true(pn_tls_names_match_ip(x, v6, sizeof(v6)));
	assert_false(pn_tls_names_match_ip(x, other, sizeof(other)));
	assert_false(pn_tls_names_match_ip(x, v6, 4));
	X509_free(x);
	x = x509_of("ca.pem");
	assert_false(pn_tls_names_match_ip(x, v4, sizeof(v4)));
	X509_free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_normal_form),
		cmocka_unit_test(test_normal_form_has_a_limit),
		cmocka_unit_test(test_matching),
		cmocka_unit_test(test_names_of_a_certificate),
		cmocka_unit_test(test_addresses_of_a_certificate),
	};

	return cmocka_run_group_tests(tests, tls_setup, tls_teardown);
}
