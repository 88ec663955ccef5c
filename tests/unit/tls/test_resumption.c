/* SPDX-License-Identifier: ISC */
/* test_resumption.c - session tickets end to end: which sessions resume, and which must not (RFC
 * 9325 3.4). */
#include "tls_support.h"

#include <string.h>

#include <openssl/err.h>

#include "tls/tickets.h"

#define KEY_LIFE_S 1000

static uint64_t fake_now_ms;

static uint64_t fake_clock(void *arg)
{
	(void)arg;
	return fake_now_ms;
}

static struct pn_tls_tickets *fake_tickets(void)
{
	struct pn_tls_tickets *t = pn_tls_tickets_new(KEY_LIFE_S);

	assert_non_null(t);
	fake_now_ms = 1;
	pn_tls_tickets_set_clock(t, fake_clock, NULL);
	return t;
}

/* The last ticket that the client got. */
static SSL_SESSION *got_session;

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(got_session);
	got_session = session;
	return 1;
}

static SSL_CTX *session_context(uint16_t version)
{
	SSL_CTX *ctx = raw_context(version, version);

	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT);
	SSL_CTX_sess_set_new_cb(ctx, keep_session);
	return ctx;
}

/* One connection that offers `session` (or none). Returns the ticket it got, or NULL; *is_resumed
 * as the server says. */
static SSL_SESSION *connect_once(struct pn_tls_server *s, SSL_CTX *ctx, const char *sni,
				 SSL_SESSION *session, bool *is_resumed)
{
	SSL *ssl = SSL_new(ctx);
	SSL_SESSION *result;
	struct end client;
	struct end server;
	char data[64];

	got_session = NULL;
	assert_non_null(ssl);
	if (session)
		assert_int_equal(SSL_set_session(ssl, session), 1);
	if (sni)
		assert_int_equal(SSL_set_tlsext_host_name(ssl, sni), 1);
	end_init_raw(&client, ssl);
	end_init_server(&server, s);
	shake(&client, &server, WHOLE);
	assert_int_equal(client.status, PN_RECORD_OK);
	end_finish(&server, &client);
	*is_resumed = server.facts.is_resumed;
	assert_int_equal(SSL_session_reused(client.ssl), *is_resumed);
	/* The tickets of TLS 1.3 travel with the first write, here the greeting. */
	end_send(&server, &client, "220 hello\r\n", 11);
	client.io.in = pn_buf_slice(&client.in);
	client.io.out = &server.in;
	assert_int_equal(SSL_read(client.ssl, data, sizeof(data)), 11);
	client.io = (struct pn_tls_io){ .in = PN_SLICE_NULL };
	ERR_clear_error();
	end_free(&client);
	end_free(&server);
	result = got_session;
	got_session = NULL;
	return result;
}

static const uint16_t versions[] = { 0x0303, 0x0304 };

static struct pn_tls_server_settings with_tickets(struct pn_tls_tickets *t)
{
	return (struct pn_tls_server_settings){ .has_tls12 = true,
						.has_tickets = true,
						.tickets = t };
}

static void test_sessions_resume(void **state)
{
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(versions); i++) {
		struct pn_tls_tickets *t = fake_tickets();
		struct pn_tls_server *s = tls_server("ecdsa rsa", with_tickets(t));
		SSL_CTX *ctx = session_context(versions[i]);
		SSL_SESSION *session;
		SSL_SESSION *next;
		bool is_resumed;

		session = connect_once(s, ctx, "mx.example.test", NULL, &is_resumed);
		assert_false(is_resumed);
		assert_non_null(session);
		assert_int_equal(SSL_SESSION_has_ticket(session), 1);
		/* RFC 9325 3.4: a ticket lives no longer than half its key. */
		if (versions[i] == 0x0303)
			assert_in_range(SSL_SESSION_get_ticket_lifetime_hint(session), 1,
					KEY_LIFE_S / 2);
		else
			assert_in_range(SSL_SESSION_get_timeout(session), 1, KEY_LIFE_S / 2);
		for (int round = 0; round < 3; round++) {
			next = connect_once(s, ctx, "mx.example.test", session, &is_resumed);
			assert_true(is_resumed);
			/* TLS 1.3 gives a new ticket with each connection. */
			assert_int_equal(next != NULL, versions[i] == 0x0304);
			if (next) {
				SSL_SESSION_free(session);
				session = next;
			}
		}
		SSL_SESSION_free(session);
		SSL_CTX_free(ctx);
		pn_tls_server_unref(s);
		pn_tls_tickets_free(t);
	}
}

/* What a session made with `first` does at `second`. */
static bool resumes_at(struct pn_tls_server *first, struct pn_tls_server *second, uint16_t version,
		       const char *sni)
{
	SSL_CTX *ctx = session_context(version);
	SSL_SESSION *session;
	SSL_SESSION *next;
	bool is_resumed;

	session = connect_once(first, ctx, "mx.example.test", NULL, &is_resumed);
	assert_false(is_resumed);
	assert_non_null(session);
	next = connect_once(second, ctx, sni, session, &is_resumed);
	SSL_SESSION_free(next);
	SSL_SESSION_free(session);
	SSL_CTX_free(ctx);
	return is_resumed;
}

static void test_sessions_survive_reload_and_new_certificates(void **state)
{
	struct pn_tls_tickets *t = fake_tickets();
	struct pn_tls_server *old = tls_server("ecdsa", with_tickets(t));
	struct pn_tls_server *new;

	(void)state;
	tls_make("--type p256 --out renewed", "mx.example.test");
	new = tls_server("renewed rsa", with_tickets(t));
	for (size_t i = 0; i < PN_ARRAY_SIZE(versions); i++)
		assert_true(resumes_at(old, new, versions[i], "mx.example.test"));
	pn_tls_server_unref(old);
	pn_tls_server_unref(new);
	pn_tls_tickets_free(t);
}

static void test_sessions_resume_across_contexts_of_one_server(void **state)
{
	struct pn_tls_tickets *t = fake_tickets();
	struct pn_tls_server *s;

	(void)state;
	tls_make("--type p256 --out other", "other.example.test");
	s = tls_server("ecdsa other", with_tickets(t));
	for (size_t i = 0; i < PN_ARRAY_SIZE(versions); i++)
		assert_true(resumes_at(s, s, versions[i], "other.example.test"));
	pn_tls_server_unref(s);
	pn_tls_tickets_free(t);
}

static void test_sessions_do_not_cross_settings_or_keys(void **state)
{
	struct pn_tls_tickets *t = fake_tickets();
	struct pn_tls_tickets *other_keys = pn_tls_tickets_new(KEY_LIFE_S);
	struct pn_tls_server_settings strict = with_tickets(t);
	struct pn_tls_server *a = tls_server("ecdsa", with_tickets(t));
	struct pn_tls_server *b = tls_server("ecdsa", with_tickets(other_keys));
	struct pn_tls_server *c;
	struct pn_tls_server *d =
		tls_server("ecdsa", (struct pn_tls_server_settings){ .has_tls12 = true });

	(void)state;
	strict.sni_strict = true;
	c = tls_server("ecdsa", strict);
	for (size_t i = 0; i < PN_ARRAY_SIZE(versions); i++) {
		assert_false(resumes_at(a, b, versions[i], "mx.example.test"));
		assert_false(resumes_at(a, c, versions[i], "mx.example.test"));
		assert_false(resumes_at(a, d, versions[i], "mx.example.test"));
	}
	pn_tls_server_unref(a);
	pn_tls_server_unref(b);
	pn_tls_server_unref(c);
	pn_tls_server_unref(d);
	pn_tls_tickets_free(t);
	pn_tls_tickets_free(other_keys);
}

static void test_no_tickets_when_switched_off(void **state)
{
	struct pn_tls_tickets *t = fake_tickets();
	struct pn_tls_server *s = tls_server(
		"ecdsa", (struct pn_tls_server_settings){ .has_tls12 = true, .tickets = t });

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(versions); i++) {
		SSL_CTX *ctx = session_context(versions[i]);
		bool is_resumed;
		SSL_SESSION *session = connect_once(s, ctx, NULL, NULL, &is_resumed);

		assert_true(!session || !SSL_SESSION_has_ticket(session));
		SSL_SESSION_free(session);
		SSL_CTX_free(ctx);
	}
	pn_tls_server_unref(s);
	pn_tls_tickets_free(t);
}

static void test_tickets_end_with_their_key(void **state)
{
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(versions); i++) {
		struct pn_tls_tickets *t = fake_tickets();
		struct pn_tls_server *s = tls_server("ecdsa", with_tickets(t));
		SSL_CTX *ctx = session_context(versions[i]);
		SSL_SESSION *session;
		bool is_resumed;

		session = connect_once(s, ctx, NULL, NULL, &is_resumed);
		assert_non_null(session);
		/* Its key seals no more, but still opens. */
		fake_now_ms += KEY_LIFE_S * 1000 - 1;
		SSL_SESSION_free(connect_once(s, ctx, NULL, session, &is_resumed));
		assert_true(is_resumed);
		/* Its key's life is over: a full handshake, no error. */
		fake_now_ms += 1;
		SSL_SESSION_free(connect_once(s, ctx, NULL, session, &is_resumed));
		assert_false(is_resumed);
		SSL_SESSION_free(session);
		SSL_CTX_free(ctx);
		pn_tls_server_unref(s);
		pn_tls_tickets_free(t);
	}
}

static SSL_SESSION *session_copy(const SSL_SESSION *session, const SSL_CTX *ctx)
{
	SSL_SESSION *copy;
	uint8_t *data;
	size_t len;

	assert_int_equal(SSL_SESSION_to_bytes(session, &data, &len), 1);
	copy = SSL_SESSION_from_bytes(data, len, ctx);
	OPENSSL_free(data);
	assert_non_null(copy);
	return copy;
}

/* Flips each octet of a ticket in turn: a full handshake, never a failure. */
static void test_forged_tickets_are_ignored(void **state)
{
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(versions); i++) {
		struct pn_tls_tickets *t = fake_tickets();
		struct pn_tls_server *s = tls_server("ecdsa", with_tickets(t));
		SSL_CTX *ctx = session_context(versions[i]);
		bool is_resumed;
		SSL_SESSION *session = connect_once(s, ctx, NULL, NULL, &is_resumed);
		const uint8_t *ticket;
		size_t len;

		assert_non_null(session);
		SSL_SESSION_get0_ticket(session, &ticket, &len);
		for (size_t at = 0; at <= len; at += at < 60 ? 4 : 30) {
			uint8_t forged[1024];
			SSL_SESSION *copy;

			assert_true(len <= sizeof(forged));
			memcpy(forged, ticket, len);
			if (at < len)
				forged[at] ^= 0x40;
			copy = session_copy(session, ctx);
			/* The last round cuts the ticket instead. */
			assert_int_equal(SSL_SESSION_set_ticket(copy, forged, at < len ? len : 20),
					 1);
			SSL_SESSION_free(connect_once(s, ctx, NULL, copy, &is_resumed));
			assert_false(is_resumed);
			SSL_SESSION_free(copy);
		}
		SSL_SESSION_free(session);
		SSL_CTX_free(ctx);
		pn_tls_server_unref(s);
		pn_tls_tickets_free(t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sessions_resume),
		cmocka_unit_test(test_sessions_survive_reload_and_new_certificates),
		cmocka_unit_test(test_sessions_resume_across_contexts_of_one_server),
		cmocka_unit_test(test_sessions_do_not_cross_settings_or_keys),
		cmocka_unit_test(test_no_tickets_when_switched_off),
		cmocka_unit_test(test_tickets_end_with_their_key),
		cmocka_unit_test(test_forged_tickets_are_ignored),
	};

	return cmocka_run_group_tests(tests, tls_setup, tls_teardown);
}
