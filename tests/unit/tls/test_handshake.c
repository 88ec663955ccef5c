/* SPDX-License-Identifier: ISC */
/* test_handshake.c - handshakes in memory: versions, facts, ALPN, refusals, cuts, what is left
 * behind Finished. */
#include "tls_support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <openssl/err.h>

static const struct pn_tls_server_settings with_tls12 = { .has_tls12 = true };
static const size_t chunks[] = { WHOLE, 1, 7 };

static void test_handshake_tls13_any_cut(void **state)
{
	struct pn_tls_server *s = tls_server("ecdsa rsa", with_tls12);
	struct pn_tls_client *c = tls_client(true);

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(chunks); i++) {
		struct end client;
		struct end server;

		end_init_client(&client, c, "MX.example.test");
		end_init_server(&server, s);
		shake(&client, &server, chunks[i]);
		end_finish(&client, &server);
		end_finish(&server, &client);
		assert_int_equal(server.facts.version, 0x0304);
		assert_int_equal(server.facts.suite_id, client.facts.suite_id);
		assert_true(strncmp(server.facts.suite, "TLS_", 4) == 0);
		assert_string_equal(server.facts.suite, client.facts.suite);
		assert_string_equal(server.facts.group, "x25519");
		assert_string_equal(client.facts.group, "x25519");
		assert_string_equal(server.facts.sni, "mx.example.test");
		assert_string_equal(client.facts.sni, "mx.example.test");
		assert_false(server.facts.is_sni_unknown);
		assert_false(server.facts.is_resumed);
		assert_false(server.facts.is_verified);
		assert_true(client.facts.is_verified);
		/* RFC 9266: both ends know the same binding. */
		assert_true(server.facts.has_exporter && client.facts.has_exporter);
		assert_memory_equal(server.facts.exporter, client.facts.exporter,
				    sizeof(server.facts.exporter));
		end_free(&client);
		end_free(&server);
	}
	pn_tls_server_unref(s);
	pn_tls_client_unref(c);
}

/* Our server with a raw client of certain versions, algorithms and groups. */
static void check_raw(const char *certificates, uint16_t version, const uint16_t *algorithms,
		      size_t algorithm_count, size_t chunk, const char *suite_prefix)
{
	struct pn_tls_server *s = tls_server(certificates, with_tls12);
	SSL_CTX *ctx = raw_context(version, version);
	struct end client;
	struct end server;

	if (algorithms)
		assert_int_equal(
			SSL_CTX_set_verify_algorithm_prefs(ctx, algorithms, algorithm_count), 1);
	end_init_raw(&client, SSL_new(ctx));
	end_init_server(&server, s);
	shake(&client, &server, chunk);
	assert_int_equal(client.status, PN_RECORD_OK);
	end_finish(&server, &client);
	assert_int_equal(server.facts.version, version);
	if (strncmp(server.facts.suite, suite_prefix, strlen(suite_prefix)) != 0)
		fail_msg("%s", server.facts.suite);
	assert_string_equal(server.facts.sni, "");
	assert_int_equal(server.facts.has_exporter, version == 0x0304);
	end_free(&client);
	end_free(&server);
	SSL_CTX_free(ctx);
	pn_tls_server_unref(s);
}

static const uint16_t only_rsa[] = { SSL_SIGN_RSA_PSS_RSAE_SHA256, SSL_SIGN_RSA_PKCS1_SHA256 };
static const uint16_t only_pkcs1[] = { SSL_SIGN_RSA_PKCS1_SHA256 };
static const uint16_t only_p384[] = { SSL_SIGN_ECDSA_SECP384R1_SHA384,
				      SSL_SIGN_RSA_PSS_RSAE_SHA256 };

static void test_tls12_ecdsa_and_rsa(void **state)
{
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(chunks); i++) {
		check_raw("ecdsa rsa", 0x0303, NULL, 0, chunks[i], "TLS_ECDHE_ECDSA_WITH_");
		check_raw("rsa", 0x0303, NULL, 0, chunks[i], "TLS_ECDHE_RSA_WITH_");
	}
}

static void test_certificate_follows_signature_algorithms(void **state)
{
	(void)state;
	/* The order of the configuration does not matter; ECDSA is preferred. */
	check_raw("rsa ecdsa", 0x0303, NULL, 0, WHOLE, "TLS_ECDHE_ECDSA_WITH_");
	check_raw("ecdsa rsa", 0x0303, only_rsa, PN_ARRAY_SIZE(only_rsa), WHOLE,
		  "TLS_ECDHE_RSA_WITH_");
	check_raw("ecdsa rsa", 0x0303, only_pkcs1, 1, WHOLE, "TLS_ECDHE_RSA_WITH_");
	check_raw("ecdsa rsa", 0x0304, only_rsa, PN_ARRAY_SIZE(only_rsa), WHOLE, "TLS_AES_");
	/* A P-256 certificate is of no use to who verifies P-384 only. */
	check_raw("ecdsa rsa", 0x0304, only_p384, PN_ARRAY_SIZE(only_p384), WHOLE, "TLS_AES_");
}

/* Shakes a raw client that shall fail; the reason at the server and the alert that the client got.
 */
static void check_refused(SSL_CTX *ctx, const char *certificates,
			  struct pn_tls_server_settings settings, const char *error, uint8_t alert)
{
	struct pn_tls_server *s = tls_server(certificates, settings);
	struct end client;
	struct end server;

	end_init_raw(&client, SSL_new(ctx));
	end_init_server(&server, s);
	pn_tls_server_unref(s); /* the conn keeps its own reference */
	while (server.status == PN_RECORD_WANT && client.status == PN_RECORD_WANT) {
		struct pn_slice in;

		if (pn_buf_len(&server.in) == 0) {
			client.io.in = pn_buf_slice(&client.in);
			client.io.out = &server.in;
			(void)SSL_do_handshake(client.ssl);
			pn_buf_clear(&client.in);
			ERR_clear_error();
			if (pn_buf_len(&server.in) == 0)
				break;
		}
		in = pn_buf_slice(&server.in);
		server.status = pn_tls_handshake(server.conn, &in, &client.in);
		pn_buf_clear(&server.in);
	}
	assert_int_equal(server.status, PN_RECORD_FAILED);
	assert_string_equal(pn_tls_conn_error(server.conn), error);
	if (!end_ends_with_alert(&client, alert))
		fail_msg("no alert %d", alert);
	/* And it stays failed. */
	{
		struct pn_slice in = PN_SLICE_LIT("x");

		assert_int_equal(pn_tls_handshake(server.conn, &in, &client.in), PN_RECORD_FAILED);
		assert_int_equal(in.len, 1);
	}
	end_free(&client);
	end_free(&server);
	SSL_CTX_free(ctx);
}

/* RFC 8996 4, 5; RFC 9325 3.1.1 */
static void test_old_versions_are_refused(void **state)
{
	(void)state;
	check_refused(raw_context(TLS1_VERSION, TLS1_1_VERSION), "ecdsa rsa", with_tls12,
		      "UNSUPPORTED_PROTOCOL", 70);
	check_refused(raw_context(TLS1_VERSION, TLS1_VERSION), "ecdsa rsa", with_tls12,
		      "UNSUPPORTED_PROTOCOL", 70);
	check_refused(raw_context(TLS1_2_VERSION, TLS1_2_VERSION), "ecdsa rsa",
		      (struct pn_tls_server_settings){ 0 }, "UNSUPPORTED_PROTOCOL", 70);
}

static void test_weak_suites_are_refused(void **state)
{
	static const char *const suites[] = { "AES128-SHA", "AES128-GCM-SHA256",
					      "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA" };

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(suites); i++) {
		SSL_CTX *ctx = raw_context(TLS1_2_VERSION, TLS1_2_VERSION);

		assert_int_equal(SSL_CTX_set_strict_cipher_list(ctx, suites[i]), 1);
		check_refused(ctx, "ecdsa rsa", with_tls12, "NO_SHARED_CIPHER", 40);
	}
}

/* RFC 9155 4: no SHA-1, even when the client knows nothing else. */
static void test_sha1_signatures_are_refused(void **state)
{
	static const uint16_t sha1[] = { SSL_SIGN_RSA_PKCS1_SHA1, SSL_SIGN_ECDSA_SHA1 };
	SSL_CTX *ctx = raw_context(TLS1_2_VERSION, TLS1_2_VERSION);

	(void)state;
	assert_int_equal(SSL_CTX_set_verify_algorithm_prefs(ctx, sha1, 2), 1);
	check_refused(ctx, "ecdsa rsa", with_tls12, "NO_COMMON_SIGNATURE_ALGORITHMS", 40);
}

static void test_alpn_smtp_is_accepted(void **state)
{
	static const uint8_t protocols[] = "\x02h2\x04smtp";
	static const uint16_t versions[] = { 0x0303, 0x0304 };

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(versions); i++) {
		struct pn_tls_server *s = tls_server("ecdsa", with_tls12);
		SSL_CTX *ctx = raw_context(versions[i], versions[i]);
		const uint8_t *chosen;
		unsigned chosen_len;
		struct end client;
		struct end server;

		assert_int_equal(SSL_CTX_set_alpn_protos(ctx, protocols, sizeof(protocols) - 1), 0);
		end_init_raw(&client, SSL_new(ctx));
		end_init_server(&server, s);
		shake(&client, &server, WHOLE);
		assert_int_equal(client.status, PN_RECORD_OK);
		SSL_get0_alpn_selected(client.ssl, &chosen, &chosen_len);
		assert_int_equal(chosen_len, 4);
		assert_memory_equal(chosen, "smtp", 4);
		end_free(&client);
		end_free(&server);
		SSL_CTX_free(ctx);
		pn_tls_server_unref(s);
	}
}

/* RFC 7301 3.2, RFC 9325 3.8 */
static void test_alpn_mismatch_is_refused(void **state)
{
	static const uint8_t protocols[] = "\x02h2\x08http/1.1";
	static const uint16_t versions[] = { 0x0303, 0x0304 };

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(versions); i++) {
		SSL_CTX *ctx = raw_context(versions[i], versions[i]);

		assert_int_equal(SSL_CTX_set_alpn_protos(ctx, protocols, sizeof(protocols) - 1), 0);
		check_refused(ctx, "ecdsa", with_tls12, "NO_APPLICATION_PROTOCOL", 120);
	}
}

static void test_plain_text_is_refused(void **state)
{
	static const char *const inputs[] = { "EHLO client.example.test\r\n",
					      "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
					      "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\x00" };
	struct pn_tls_server *s = tls_server("ecdsa", with_tls12);

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(inputs); i++) {
		struct end server;
		struct pn_buf out;
		size_t len = i < 2 ? strlen(inputs[i]) : 11;
		struct pn_slice in = pn_slice(inputs[i], len);

		pn_buf_init(&out, 4096);
		end_init_server(&server, s);
		assert_int_equal(pn_tls_handshake(server.conn, &in, &out), PN_RECORD_FAILED);
		assert_string_not_equal(pn_tls_conn_error(server.conn), "no error");
		/* An HTTP client would not understand an alert. */
		assert_int_equal(pn_buf_len(&out), i == 1 ? 0 : 7);
		/* Nothing of it is left for the next connection of this thread. */
		assert_int_equal(ERR_peek_error(), 0);
		pn_buf_free(&out);
		end_free(&server);
	}
	pn_tls_server_unref(s);
}

static void test_full_output_buffer_fails(void **state)
{
	struct pn_tls_server *s = tls_server("ecdsa", with_tls12);
	struct pn_tls_client *c = tls_client(true);
	struct pn_slice nothing = PN_SLICE_NULL;
	struct end client;
	struct end server;
	struct pn_slice in;
	struct pn_buf small;

	(void)state;
	pn_buf_init(&small, 100);
	end_init_client(&client, c, "mx.example.test");
	end_init_server(&server, s);
	assert_int_equal(pn_tls_handshake(client.conn, &nothing, &server.in), PN_RECORD_WANT);
	in = pn_buf_slice(&server.in);
	assert_int_equal(pn_tls_handshake(server.conn, &in, &small), PN_RECORD_FAILED);
	assert_string_equal(pn_tls_conn_error(server.conn), "output buffer full");
	pn_buf_free(&small);
	end_free(&client);
	end_free(&server);
	pn_tls_server_unref(s);
	pn_tls_client_unref(c);
}

/* Octets behind Finished belong to the record layer, at whatever place the input was cut. */
static void test_leftover_behind_finished_stays(void **state)
{
	static const char hello[] = "EHLO client.example.test\r\nNOOP\r\n";
	struct pn_tls_server *s = tls_server("ecdsa", with_tls12);
	struct pn_tls_client *c = tls_client(true);

	(void)state;
	for (size_t extra = 0; extra < 60; extra += 3) {
		struct pn_slice nothing = PN_SLICE_NULL;
		struct end client;
		struct end server;
		struct pn_slice in;
		struct pn_buf flight;
		size_t finished_len;
		size_t all_len;

		pn_buf_init(&flight, OUT_MAX);
		end_init_client(&client, c, "mx.example.test");
		end_init_server(&server, s);
		assert_int_equal(pn_tls_handshake(client.conn, &nothing, &flight), PN_RECORD_WANT);
		in = pn_buf_slice(&flight);
		assert_int_equal(pn_tls_handshake(server.conn, &in, &client.in), PN_RECORD_WANT);
		assert_int_equal(in.len, 0);
		pn_buf_clear(&flight);
		in = pn_buf_slice(&client.in);
		client.status = pn_tls_handshake(client.conn, &in, &flight);
		assert_int_equal(in.len, 0);
		pn_buf_clear(&client.in);
		finished_len = pn_buf_len(&flight);
		end_finish(&client, &server);
		assert_int_equal(pn_record_seal(client.record, pn_slice_str(hello), &flight),
				 PN_RECORD_OK);
		all_len = pn_buf_len(&flight);

		in = pn_slice(pn_buf_ptr(&flight), pn_min_size(finished_len + extra, all_len));
		server.status = pn_tls_handshake(server.conn, &in, &client.in);
		assert_int_equal(in.len, pn_min_size(extra, all_len - finished_len));
		end_finish(&server, &client);
		assert_int_equal(pn_buf_append_slice(&server.in, in), 0);
		assert_int_equal(end_receive(&server, &client, WHOLE), PN_RECORD_WANT);
		assert_int_equal(pn_record_pending(server.record),
				 pn_buf_len(&server.plain) > 0 ? 0 : in.len);
		assert_int_equal(
			pn_buf_append(&server.in, in.ptr + in.len, all_len - finished_len - in.len),
			0);
		assert_int_equal(end_receive(&server, &client, WHOLE), PN_RECORD_WANT);
		assert_int_equal(pn_buf_len(&server.plain), sizeof(hello) - 1);
		assert_memory_equal(pn_buf_ptr(&server.plain), hello, sizeof(hello) - 1);
		pn_buf_free(&flight);
		end_free(&client);
		end_free(&server);
	}
	pn_tls_server_unref(s);
	pn_tls_client_unref(c);
}

static void test_conn_may_be_dropped_at_any_time(void **state)
{
	struct pn_tls_server *s = tls_server("ecdsa", with_tls12);
	struct pn_tls_client *c = tls_client(true);
	struct pn_slice nothing = PN_SLICE_NULL;
	struct end client;
	struct end server;
	struct pn_slice in;

	(void)state;
	pn_tls_conn_free(NULL);
	end_init_client(&client, c, "mx.example.test");
	end_init_server(&server, s);
	/* Contexts go first: connections have their own references. */
	pn_tls_server_unref(s);
	pn_tls_client_unref(c);
	assert_int_equal(pn_tls_handshake(client.conn, &nothing, &server.in), PN_RECORD_WANT);
	in = pn_slice(pn_buf_ptr(&server.in), pn_buf_len(&server.in) / 2);
	assert_int_equal(pn_tls_handshake(server.conn, &in, &client.in), PN_RECORD_WANT);
	assert_string_equal(pn_tls_conn_error(server.conn), "no error");
	end_free(&client);
	end_free(&server);
	assert_true(strncmp(pn_tls_library_version(), "BoringSSL", 9) == 0);
}

#define THREADS 4
#define ROUNDS  20

struct crowd {
	struct pn_tls_server *server;
	struct pn_tls_client *client;
	atomic_uint failures;
};

/* One handshake and one record, without cmocka (which knows one thread only). */
static bool crowd_round(struct crowd *crowd)
{
	struct pn_tls_conn *client = pn_tls_conn_new_client(crowd->client, "mx.example.test");
	struct pn_tls_conn *server = pn_tls_conn_new_server(crowd->server);
	enum pn_record_status at_client = PN_RECORD_WANT;
	enum pn_record_status at_server = PN_RECORD_WANT;
	struct pn_record *record = NULL;
	struct pn_tls_facts facts;
	struct pn_buf up;
	struct pn_buf down;
	struct pn_slice in;
	bool ok = client && server;

	pn_buf_init(&up, OUT_MAX);
	pn_buf_init(&down, OUT_MAX);
	for (int step = 0; ok && step < 4 && at_server == PN_RECORD_WANT; step++) {
		in = pn_buf_slice(&down);
		if (at_client == PN_RECORD_WANT)
			at_client = pn_tls_handshake(client, &in, &up);
		pn_buf_clear(&down);
		in = pn_buf_slice(&up);
		at_server = pn_tls_handshake(server, &in, &down);
		pn_buf_clear(&up);
	}
	ok = ok && at_client == PN_RECORD_OK && at_server == PN_RECORD_OK;
	if (ok)
		record = pn_tls_conn_finish(server, &facts);
	ok = ok && record && pn_record_seal(record, PN_SLICE_LIT("220\r\n"), &down) == PN_RECORD_OK;
	pn_record_free(record);
	pn_tls_conn_free(client);
	pn_tls_conn_free(server);
	pn_buf_free(&up);
	pn_buf_free(&down);
	return ok;
}

static void *crowd_run(void *arg)
{
	struct crowd *crowd = arg;

	for (int i = 0; i < ROUNDS; i++)
		if (!crowd_round(crowd))
			/* Relaxed: read after the threads were joined. */
			atomic_fetch_add_explicit(&crowd->failures, 1, memory_order_relaxed);
	pn_tls_server_unref(crowd->server);
	pn_tls_client_unref(crowd->client);
	return NULL;
}

static void test_threads_share_contexts(void **state)
{
	struct pn_tls_tickets *t = pn_tls_tickets_new(3600);
	struct pn_tls_server_settings settings = { .has_tls12 = true,
						   .has_tickets = true,
						   .tickets = t };
	struct crowd crowd = { tls_server("ecdsa rsa", settings), tls_client(true), 0 };
	pthread_t threads[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++) {
		pn_tls_server_ref(crowd.server);
		pn_tls_client_ref(crowd.client);
		assert_int_equal(pthread_create(&threads[i], NULL, crowd_run, &crowd), 0);
	}
	/* As a reload does: the threads' own references keep both alive. */
	pn_tls_server_unref(crowd.server);
	pn_tls_client_unref(crowd.client);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(atomic_load_explicit(&crowd.failures, memory_order_relaxed), 0);
	pn_tls_tickets_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handshake_tls13_any_cut),
		cmocka_unit_test(test_tls12_ecdsa_and_rsa),
		cmocka_unit_test(test_certificate_follows_signature_algorithms),
		cmocka_unit_test(test_old_versions_are_refused),
		cmocka_unit_test(test_weak_suites_are_refused),
		cmocka_unit_test(test_sha1_signatures_are_refused),
		cmocka_unit_test(test_alpn_smtp_is_accepted),
		cmocka_unit_test(test_alpn_mismatch_is_refused),
		cmocka_unit_test(test_plain_text_is_refused),
		cmocka_unit_test(test_full_output_buffer_fails),
		cmocka_unit_test(test_leftover_behind_finished_stays),
		cmocka_unit_test(test_conn_may_be_dropped_at_any_time),
		cmocka_unit_test(test_threads_share_contexts),
	};

	return cmocka_run_group_tests(tests, tls_setup, tls_teardown);
}
