/* SPDX-License-Identifier: ISC */
/* test_client.c - our client side: whose certificates it takes (RFC 7817 3, RFC 6125 6, RFC
 * 9325 4.5). */
#include "tls_support.h"

#include <stdio.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

static const struct pn_tls_server_settings with_tls12 = { .has_tls12 = true };

/* One client against a server that shows the certificate `base` (any certificate, also one that
 * ours would refuse). */
struct verify_case {
	const char *options; /* for make-certs */
	const char *names;
	const char *reached_as;
	const char *error; /* NULL: verified */
	const char *alert; /* what the server gets to see */
};

/* A bare BoringSSL server, because ours would not start with these certificates. */
static SSL_CTX *raw_server_context(const char *base)
{
	struct pn_tls_certificate_pem pem = tls_pem(base);
	SSL_CTX *ctx = SSL_CTX_new(TLS_method());
	BIO *bio = BIO_new_mem_buf(pem.chain_pem.ptr, (int)pem.chain_pem.len);
	X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	X509 *extra;
	EVP_PKEY *key;

	assert_non_null(ctx);
	assert_non_null(x);
	assert_int_equal(SSL_CTX_use_certificate(ctx, x), 1);
	X509_free(x);
	while ((extra = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
		assert_int_equal(SSL_CTX_add0_chain_cert(ctx, extra), 1);
	BIO_free(bio);
	bio = BIO_new_mem_buf(pem.key_pem.ptr, (int)pem.key_pem.len);
	key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	BIO_free(bio);
	assert_non_null(key);
	assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return ctx;
}

static void shake_with_raw_server(struct end *client, struct end *server, SSL_CTX *ctx)
{
	end_init_raw(server, SSL_new(ctx));
	SSL_set_accept_state(server->ssl);
	shake(client, server, WHOLE);
}

static void check_verify(const struct verify_case *test)
{
	char options[256];
	SSL_CTX *ctx;

	(void)snprintf(options, sizeof(options), "--out peer %s", test->options);
	tls_make(options, test->names);
	ctx = raw_server_context("peer");
	for (int required = 0; required <= 1; required++) {
		struct pn_tls_client *c = tls_client(required == 1);
		struct end client;
		struct end server;

		end_init_client(&client, c, test->reached_as);
		pn_tls_client_unref(c);
		shake_with_raw_server(&client, &server, ctx);
		if (required && test->error) {
			assert_int_equal(client.status, PN_RECORD_FAILED);
			if (strcmp(pn_tls_conn_error(client.conn), test->error) != 0)
				fail_msg("%s %s: %s", test->options, test->names,
					 pn_tls_conn_error(client.conn));
			assert_int_equal(server.status, PN_RECORD_FAILED);
			assert_string_equal(server.raw_error, test->alert);
		} else {
			if (client.status != PN_RECORD_OK)
				fail_msg("%s %s: %s", test->options, test->names,
					 pn_tls_conn_error(client.conn));
			end_finish(&client, &server);
			assert_int_equal(client.facts.is_verified, !test->error);
		}
		end_free(&client);
		end_free(&server);
	}
	SSL_CTX_free(ctx);
}

#define BAD      "SSLV3_ALERT_BAD_CERTIFICATE"
#define MISMATCH "certificate name mismatch"

static void test_identities(void **state)
{
	static const struct verify_case cases[] = {
		{ "--type p256", "mx.example.test", "mx.example.test", NULL, NULL },
		{ "--type p256", "mx.example.test", "MX.Example.Test.", NULL, NULL },
		{ "--type rsa", "a.example mx.example.test", "mx.example.test", NULL, NULL },
		{ "--type p384 --chain", "mx.example.test", "mx.example.test", NULL, NULL },
		{ "--type p256", "mx.example.test", "mx2.example.test", MISMATCH, BAD },
		{ "--type p256", "'*.example.test'", "mx.example.test", NULL, NULL },
		{ "--type p256", "'*.example.test'", "example.test", MISMATCH, BAD },
		{ "--type p256", "'*.example.test'", "a.b.example.test", MISMATCH, BAD },
		{ "--type p256 --san 'DNS:m*.example.test'", "", "mx.example.test", MISMATCH, BAD },
		/* CN-ID: only when there is no DNS-ID. */
		{ "--type p256 --cn mx.example.test --no-san", "", "mx.example.test", NULL, NULL },
		{ "--type p256 --cn mx.example.test", "other.example.test", "mx.example.test",
		  MISMATCH, BAD },
		/* Addresses by iPAddress alone. */
		{ "--type p256", "192.0.2.7", "192.0.2.7", NULL, NULL },
		{ "--type p256", "192.0.2.7", "[192.0.2.7]", NULL, NULL },
		{ "--type p256", "2001:db8::7", "2001:db8:0::7", NULL, NULL },
		{ "--type p256", "2001:db8::7", "[2001:db8::7]", NULL, NULL },
		{ "--type p256", "192.0.2.7", "192.0.2.8", MISMATCH, BAD },
		{ "--type p256 --san DNS:192.0.2.7", "", "192.0.2.7", MISMATCH, BAD },
		{ "--type p256 --cn 192.0.2.7 --no-san", "", "192.0.2.7", MISMATCH, BAD },
	};

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++)
		check_verify(&cases[i]);
}

static void test_trust(void **state)
{
	static const struct verify_case cases[] = {
		{ "--type p256 --days -1", "mx.example.test", "mx.example.test",
		  "certificate has expired", "SSLV3_ALERT_CERTIFICATE_EXPIRED" },
		{ "--type p256 --self-signed", "mx.example.test", "mx.example.test",
		  "self signed certificate", "TLSV1_ALERT_UNKNOWN_CA" },
		{ "--type p256 --sha1", "mx.example.test", "mx.example.test",
		  "certificate signed with a broken hash", BAD },
		{ "--type rsa1024", "mx.example.test", "mx.example.test",
		  "certificate with an unacceptable key", BAD },
	};

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++)
		check_verify(&cases[i]);
}

static struct pn_tls_client *client_with(struct pn_slice ca, bool is_required, struct pn_error *err)
{
	struct pn_tls_client_settings settings = { .ca_pem = ca,
						   .ca_path = "roots.pem",
						   .is_verify_required = is_required };

	return pn_tls_client_new(&settings, err);
}

static void test_unknown_ca(void **state)
{
	struct pn_tls_server *s = tls_server("ecdsa", with_tls12);
	struct pn_tls_client *c;
	struct end client;
	struct end server;

	(void)state;
	/* Trusts another CA: a self-signed certificate stands for it. */
	tls_make("--type p256 --out stranger --self-signed", "ca.example.org");
	c = client_with(tls_file("stranger.pem"), true, NULL);
	assert_non_null(c);
	end_init_client(&client, c, "mx.example.test");
	end_init_server(&server, s);
	shake(&client, &server, WHOLE);
	assert_int_equal(client.status, PN_RECORD_FAILED);
	assert_string_equal(pn_tls_conn_error(client.conn),
			    "unable to get local issuer certificate");
	assert_int_equal(server.status, PN_RECORD_FAILED);
	assert_string_equal(pn_tls_conn_error(server.conn), "TLSV1_ALERT_UNKNOWN_CA");
	end_free(&client);
	end_free(&server);
	pn_tls_client_unref(c);
	pn_tls_server_unref(s);
}

/* The operator may trust one self-signed server by naming its certificate. */
static void test_pinned_self_signed(void **state)
{
	struct pn_tls_client *c;
	SSL_CTX *ctx;
	struct end client;
	struct end server;

	(void)state;
	tls_make("--type p256 --out pinned --self-signed", "mx.example.test");
	ctx = raw_server_context("pinned");
	c = client_with(tls_file("pinned.pem"), true, NULL);
	assert_non_null(c);
	end_init_client(&client, c, "mx.example.test");
	shake_with_raw_server(&client, &server, ctx);
	if (client.status != PN_RECORD_OK)
		fail_msg("%s", pn_tls_conn_error(client.conn));
	end_free(&client);
	end_free(&server);
	SSL_CTX_free(ctx);
	pn_tls_client_unref(c);
}

static void test_no_roots(void **state)
{
	struct pn_tls_server *s = tls_server("ecdsa", with_tls12);
	struct pn_error err = { "" };
	struct pn_tls_client *c;
	struct end client;
	struct end server;

	(void)state;
	assert_null(client_with(PN_SLICE_NULL, true, &err));
	assert_non_null(strstr(err.text, "no trusted roots"));
	c = client_with(PN_SLICE_NULL, false, &err);
	assert_non_null(c);
	end_init_client(&client, c, "mx.example.test");
	end_init_server(&server, s);
	shake(&client, &server, WHOLE);
	end_finish(&client, &server);
	assert_false(client.facts.is_verified);
	end_free(&client);
	end_free(&server);
	pn_tls_client_unref(c);
	pn_tls_server_unref(s);
}

static void test_bad_root_files(void **state)
{
	struct pn_error err = { "" };

	(void)state;
	assert_null(client_with(tls_file("ca.key"), true, &err));
	assert_non_null(strstr(err.text, "roots.pem: no certificate found"));
	assert_null(client_with(
		PN_SLICE_LIT("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"),
		false, &err));
	assert_non_null(strstr(err.text, "roots.pem: a certificate does not decode"));
}

static void test_impossible_names_fail(void **state)
{
	static const char *const names[] = { "", "two words", "*.example.test", "a..b" };
	struct pn_tls_client *c = tls_client(false);

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(names); i++) {
		struct pn_slice nothing = PN_SLICE_NULL;
		struct end client;
		struct pn_buf out;

		pn_buf_init(&out, 4096);
		end_init_client(&client, c, names[i]);
		assert_int_equal(pn_tls_handshake(client.conn, &nothing, &out), PN_RECORD_FAILED);
		assert_non_null(strstr(pn_tls_conn_error(client.conn),
				       "neither a host name nor an address"));
		assert_int_equal(pn_buf_len(&out), 0);
		pn_buf_free(&out);
		end_free(&client);
	}
	pn_tls_client_unref(c);
}

/* RFC 6066 3: names are sent, addresses are not. */
static void test_sni_is_sent_for_names_only(void **state)
{
	struct pn_tls_server *s = tls_server("ecdsa", with_tls12);
	struct pn_tls_client *c = tls_client(false);
	static const char *const reached_as[] = { "mx.example.test", "192.0.2.1", "[2001:db8::1]" };

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(reached_as); i++) {
		struct end client;
		struct end server;

		end_init_client(&client, c, reached_as[i]);
		end_init_server(&server, s);
		shake(&client, &server, WHOLE);
		end_finish(&server, &client);
		assert_string_equal(server.facts.sni, i == 0 ? reached_as[0] : "");
		end_free(&client);
		end_free(&server);
	}
	pn_tls_client_unref(c);
	pn_tls_server_unref(s);
}

static void test_old_servers_are_refused(void **state)
{
	SSL_CTX *ctx = raw_server_context("ecdsa");
	struct pn_tls_client *c = tls_client(false);
	struct end client;
	struct end server;

	(void)state;
	assert_int_equal(SSL_CTX_set_max_proto_version(ctx, TLS1_1_VERSION), 1);
	end_init_client(&client, c, "mx.example.test");
	shake_with_raw_server(&client, &server, ctx);
	assert_int_equal(client.status, PN_RECORD_FAILED);
	assert_string_equal(pn_tls_conn_error(client.conn), "TLSV1_ALERT_PROTOCOL_VERSION");
	end_free(&client);
	end_free(&server);
	pn_tls_client_unref(c);
	SSL_CTX_free(ctx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identities),
		cmocka_unit_test(test_trust),
		cmocka_unit_test(test_unknown_ca),
		cmocka_unit_test(test_pinned_self_signed),
		cmocka_unit_test(test_no_roots),
		cmocka_unit_test(test_bad_root_files),
		cmocka_unit_test(test_impossible_names_fail),
		cmocka_unit_test(test_sni_is_sent_for_names_only),
		cmocka_unit_test(test_old_servers_are_refused),
	};

	return cmocka_run_group_tests(tests, tls_setup, tls_teardown);
}
