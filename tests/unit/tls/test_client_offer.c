/* SPDX-License-Identifier: ISC */
/*
 * test_client_offer.c - a client that offers less than the policy has, and one that resumes with
 * the tickets it got.
 */
#include "tls_support.h"

#include <string.h>

static struct pn_tls_client *client_with(struct pn_tls_client_settings settings)
{
	struct pn_error err = { "" };
	struct pn_tls_client *c = pn_tls_client_new(&settings, &err);

	if (!c)
		fail_msg("%s", err.text);
	return c;
}

/* One connection; the greeting travels, and with it the tickets of TLS 1.3. */
static struct pn_tls_facts connect_once(struct pn_tls_server *s, struct pn_tls_client *c,
					bool wants_resumption)
{
	struct end client;
	struct end server;
	struct pn_tls_facts facts;

	end_init_client(&client, c, "mx.example.test");
	end_init_server(&server, s);
	if (wants_resumption)
		assert_true(pn_tls_conn_resume(client.conn));
	shake(&client, &server, WHOLE);
	assert_int_equal(client.status, PN_RECORD_OK);
	assert_int_equal(server.status, PN_RECORD_OK);
	end_finish(&server, &client);
	end_finish(&client, &server);
	end_send(&server, &client, "220 hello\r\n", 11);
	assert_int_equal(end_receive(&client, &server, WHOLE), PN_RECORD_WANT);
	assert_int_equal(pn_buf_len(&client.plain), 11);
	assert_int_equal(client.facts.is_resumed, server.facts.is_resumed);
	facts = client.facts;
	end_free(&client);
	end_free(&server);
	return facts;
}

static void test_narrow_offers_are_what_is_negotiated(void **state)
{
	static const struct {
		uint16_t version;
		enum pn_tls_key_wish wish;
		const char *groups, *group, *signature;
	} cases[] = {
		{ 0x0303, PN_TLS_WANT_ECDSA, NULL, "x25519", "ecdsa_secp256r1_sha256" },
		{ 0x0304, PN_TLS_WANT_ECDSA, "secp256r1:secp384r1", "secp256r1",
		  "ecdsa_secp256r1_sha256" },
		{ 0x0303, PN_TLS_WANT_RSA, "secp384r1", "secp384r1", "rsa_pss_rsae_sha256" },
		{ 0x0304, PN_TLS_WANT_RSA, "X25519", "x25519", "rsa_pss_rsae_sha256" },
		{ 0, PN_TLS_WANT_ANY_KEY, NULL, "x25519", "ecdsa_secp256r1_sha256" },
	};
	struct pn_tls_server *s =
		tls_server("ecdsa rsa", (struct pn_tls_server_settings){ .has_tls12 = true });

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
		struct pn_tls_client *c =
			client_with((struct pn_tls_client_settings){ .version = cases[i].version,
								     .key_wish = cases[i].wish,
								     .groups = cases[i].groups });
		struct pn_tls_facts facts = connect_once(s, c, false);

		assert_int_equal(facts.version, cases[i].version ? cases[i].version : 0x0304);
		assert_string_equal(facts.group, cases[i].group);
		assert_string_equal(facts.signature, cases[i].signature);
		pn_tls_client_unref(c);
	}
	pn_tls_server_unref(s);
}

static void test_bad_groups_are_named(void **state)
{
	static const char *const lists[] = { "", "x25519:", "curve", "x25519,secp256r1",
					     "x25519:secp256r1:secp384r1:x25519:secp256r1" };

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(lists); i++) {
		struct pn_tls_client_settings settings = { .groups = lists[i] };
		struct pn_error err = { "" };

		assert_null(pn_tls_client_new(&settings, &err));
		assert_non_null(strstr(err.text, "groups: '"));
	}
}

static void check_resumption(uint16_t version)
{
	struct pn_tls_tickets *t = pn_tls_tickets_new(1000);
	struct pn_tls_server *s =
		tls_server("ecdsa", (struct pn_tls_server_settings){
					    .has_tls12 = true, .has_tickets = true, .tickets = t });
	struct pn_tls_client *c = client_with(
		(struct pn_tls_client_settings){ .version = version, .sessions_max = 2 });

	assert_int_equal(pn_tls_client_session_count(c), 0);
	for (int i = 0; i < 3; i++)
		assert_false(connect_once(s, c, false).is_resumed);
	/* The oldest went. */
	assert_int_equal(pn_tls_client_session_count(c), 2);
	for (int i = 0; i < 5; i++) {
		struct pn_tls_facts facts = connect_once(s, c, true);

		assert_true(facts.is_resumed);
		assert_string_equal(facts.signature, "");
		assert_int_equal(pn_tls_client_session_count(c), 2);
	}
	pn_tls_client_unref(c);
	pn_tls_server_unref(s);
	pn_tls_tickets_free(t);
}

static void test_tickets_are_kept_and_used(void **state)
{
	(void)state;
	check_resumption(0x0303);
	check_resumption(0x0304);
}

static void test_without_tickets_nothing_is_resumed(void **state)
{
	struct pn_tls_server *s =
		tls_server("ecdsa", (struct pn_tls_server_settings){ .has_tls12 = true });
	struct end client;

	(void)state;
	for (uint16_t version = 0x0303; version <= 0x0304; version++) {
		struct pn_tls_client *c = client_with(
			(struct pn_tls_client_settings){ .version = version, .sessions_max = 2 });

		(void)connect_once(s, c, false);
		assert_int_equal(pn_tls_client_session_count(c), 0);
		end_init_client(&client, c, "mx.example.test");
		assert_false(pn_tls_conn_resume(client.conn));
		end_free(&client);
		pn_tls_client_unref(c);
	}
	pn_tls_server_unref(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_narrow_offers_are_what_is_negotiated),
		cmocka_unit_test(test_bad_groups_are_named),
		cmocka_unit_test(test_tickets_are_kept_and_used),
		cmocka_unit_test(test_without_tickets_nothing_is_resumed),
	};
	return cmocka_run_group_tests(tests, tls_setup, tls_teardown);
}
