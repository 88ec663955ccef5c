/* SPDX-License-Identifier: ISC */
/* test_sni.c - the certificate follows the name that the client asks for (RFC 6066 3, RFC
 * 9325 3.7). */
#include "tls_support.h"

#include <stdio.h>
#include <string.h>

#include <openssl/pool.h>
#include <openssl/x509.h>

static const struct pn_tls_server_settings lenient = { .has_tls12 = true };
static const struct pn_tls_server_settings strict = { .has_tls12 = true, .sni_strict = true };

static int sni_setup(void **state)
{
	if (tls_setup(state) != 0)
		return -1;
	tls_make("--type p256 --out one-ecdsa --cn one-ecdsa",
		 "one.example.test 'shared.example.test'");
	tls_make("--type rsa --out one-rsa --cn one-rsa", "one.example.test");
	tls_make("--type p256 --out wild-ecdsa --cn wild-ecdsa",
		 "'*.example.test' shared.example.test");
	tls_make("--type rsa --out wild-rsa --cn wild-rsa", "'*.example.test'");
	tls_make("--type p384 --out far --cn far", "far.example.org");
	return 0;
}

#define ALL "ecdsa rsa one-ecdsa one-rsa wild-ecdsa wild-rsa far"

/* Shakes a raw client that asks for sni (or NULL) with our server. */
static void shake_raw(struct end *client, struct end *server, struct pn_tls_server *s, SSL_CTX *ctx,
		      const char *sni)
{
	SSL *ssl = SSL_new(ctx);

	assert_non_null(ssl);
	if (sni)
		assert_int_equal(SSL_set_tlsext_host_name(ssl, sni), 1);
	end_init_raw(client, ssl);
	end_init_server(server, s);
	shake(client, server, WHOLE);
}

static void assert_common_name(const SSL *ssl, const char *expected)
{
	X509 *x = SSL_get_peer_certificate(ssl);
	char cn[128] = "";

	assert_non_null(x);
	assert_true(X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, cn,
					      sizeof(cn)) > 0);
	X509_free(x);
	assert_string_equal(cn, expected);
}

static void test_certificate_follows_name(void **state)
{
	static const struct {
		const char *sni;
		bool only_rsa;
		const char *cn;
		bool is_unknown;
	} cases[] = {
		{ NULL, false, "mx.example.test", false },
		{ NULL, true, "mx.example.test", false },
		{ "mx.example.test", false, "mx.example.test", false },
		{ "one.example.test", false, "one-ecdsa", false },
		{ "ONE.Example.Test", false, "one-ecdsa", false },
		{ "one.example.test.", false, "one-ecdsa", false },
		{ "one.example.test", true, "one-rsa", false },
		{ "any.example.test", false, "wild-ecdsa", false },
		{ "any.example.test", true, "wild-rsa", false },
		/* In two certificates: the first configured. It has no RSA, the wildcard above it
		   has. */
		{ "shared.example.test", false, "one-ecdsa", false },
		{ "shared.example.test", true, "wild-rsa", false },
		{ "far.example.org", false, "far", false },
		/* One label only, and none. */
		{ "a.b.example.test", false, "mx.example.test", true },
		{ "example.test", false, "mx.example.test", true },
		{ "other.example", false, "mx.example.test", true },
		{ "*.example.test", false, "mx.example.test", true },
		{ "127.0.0.1", false, "mx.example.test", true },
		{ "not a name", false, "mx.example.test", true },
	};
	static const uint16_t rsa[] = { SSL_SIGN_RSA_PSS_RSAE_SHA256, SSL_SIGN_RSA_PKCS1_SHA256 };
	static const uint16_t versions[] = { 0x0303, 0x0304 };
	struct pn_tls_server *s = tls_server(ALL, lenient);

	(void)state;
	for (size_t i = 0; i < 2 * PN_ARRAY_SIZE(cases); i++) {
		SSL_CTX *ctx = raw_context(versions[i % 2], versions[i % 2]);
		struct end client;
		struct end server;

		if (cases[i / 2].only_rsa)
			assert_int_equal(SSL_CTX_set_verify_algorithm_prefs(ctx, rsa, 2), 1);
		shake_raw(&client, &server, s, ctx, cases[i / 2].sni);
		if (client.status != PN_RECORD_OK)
			fail_msg("%s: %s", cases[i / 2].sni, client.raw_error);
		assert_common_name(client.ssl, cases[i / 2].cn);
		end_finish(&server, &client);
		assert_int_equal(server.facts.is_sni_unknown, cases[i / 2].is_unknown);
		end_free(&client);
		end_free(&server);
		SSL_CTX_free(ctx);
	}
	pn_tls_server_unref(s);
}

static void test_sni_in_facts(void **state)
{
	static const struct {
		const char *sni;
		const char *fact;
	} cases[] = {
		{ "Any.Example.TEST", "any.example.test" },
		{ "stranger.example", "stranger.example" },
		{ "not a name", "" },
		{ NULL, "" },
	};
	struct pn_tls_server *s = tls_server(ALL, lenient);
	SSL_CTX *ctx = raw_context(0x0303, 0x0304);

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
		struct end client;
		struct end server;

		shake_raw(&client, &server, s, ctx, cases[i].sni);
		end_finish(&server, &client);
		assert_string_equal(server.facts.sni, cases[i].fact);
		end_free(&client);
		end_free(&server);
	}
	SSL_CTX_free(ctx);
	pn_tls_server_unref(s);
}

static void test_strict_refuses_unknown_names_only(void **state)
{
	static const struct {
		const char *sni;
		bool is_ok;
	} cases[] = {
		{ "one.example.test", true },
		{ "any.example.test", true },
		/* RFC 8314 4.4: clients that name no host must be served. */
		{ NULL, true },
		{ "stranger.example", false },
		{ "example.test", false },
	};
	static const uint16_t versions[] = { 0x0303, 0x0304 };
	struct pn_tls_server *s = tls_server(ALL, strict);

	(void)state;
	for (size_t i = 0; i < 2 * PN_ARRAY_SIZE(cases); i++) {
		SSL_CTX *ctx = raw_context(versions[i % 2], versions[i % 2]);
		struct end client;
		struct end server;

		shake_raw(&client, &server, s, ctx, cases[i / 2].sni);
		assert_int_equal(server.status,
				 cases[i / 2].is_ok ? PN_RECORD_OK : PN_RECORD_FAILED);
		assert_int_equal(client.status,
				 cases[i / 2].is_ok ? PN_RECORD_OK : PN_RECORD_FAILED);
		if (!cases[i / 2].is_ok)
			assert_string_equal(client.raw_error, "TLSV1_ALERT_UNRECOGNIZED_NAME");
		end_free(&client);
		end_free(&server);
		SSL_CTX_free(ctx);
	}
	pn_tls_server_unref(s);
}

/* A client that can use none of a name's certificates does not get another host's. */
static void test_no_usable_certificate_fails(void **state)
{
	static const uint16_t rsa[] = { SSL_SIGN_RSA_PSS_RSAE_SHA256 };
	struct pn_tls_server *s = tls_server(ALL, lenient);
	SSL_CTX *ctx = raw_context(0x0304, 0x0304);
	struct end client;
	struct end server;

	(void)state;
	assert_int_equal(SSL_CTX_set_verify_algorithm_prefs(ctx, rsa, 1), 1);
	shake_raw(&client, &server, s, ctx, "far.example.org");
	assert_int_equal(server.status, PN_RECORD_FAILED);
	assert_string_equal(pn_tls_conn_error(server.conn), "NO_COMMON_SIGNATURE_ALGORITHMS");
	end_free(&client);
	end_free(&server);
	SSL_CTX_free(ctx);
	pn_tls_server_unref(s);
}

/* RFC 8422 5.1: a TLS 1.2 client without P-384 cannot use the P-384 certificate and gets RSA. */
static void test_tls12_groups_limit_ecdsa(void **state)
{
	static const int groups[] = { NID_X25519, NID_X9_62_prime256v1 };
	struct pn_tls_server *s = tls_server("far rsa", lenient);
	SSL_CTX *ctx = raw_context(0x0303, 0x0303);
	struct end client;
	struct end server;

	(void)state;
	assert_int_equal(SSL_CTX_set1_curves(ctx, groups, 2), 1);
	shake_raw(&client, &server, s, ctx, NULL);
	assert_int_equal(client.status, PN_RECORD_OK);
	assert_common_name(client.ssl, "mx.example.test");
	end_free(&client);
	end_free(&server);
	SSL_CTX_free(ctx);
	pn_tls_server_unref(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_certificate_follows_name),
		cmocka_unit_test(test_sni_in_facts),
		cmocka_unit_test(test_strict_refuses_unknown_names_only),
		cmocka_unit_test(test_no_usable_certificate_fails),
		cmocka_unit_test(test_tls12_groups_limit_ecdsa),
	};

	return cmocka_run_group_tests(tests, sni_setup, tls_teardown);
}
