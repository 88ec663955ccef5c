/* SPDX-License-Identifier: ISC */
/* test_ktls.c - the move to the kernel's records: keys and sequences of every suite, the right
 * moment, every failure. */
#include "ktls_mock.h"

#include <errno.h>
#include <string.h>

#include "tls/conn.h"

static const char *const suites_tls12[] = { "ECDHE-ECDSA-AES128-GCM-SHA256",
					    "ECDHE-ECDSA-AES256-GCM-SHA384",
					    "ECDHE-ECDSA-CHACHA20-POLY1305" };

/* What the kernel was given opens what the client sends, and seals what it reads. */
static void check_keys(struct end *client, struct end *server)
{
	uint8_t plain[256];
	size_t len;

	for (int i = 0; i < 3; i++) {
		raw_write(client, server, "EHLO", 4);
		assert_int_equal(mock_open(&mock.rx, &server->in, plain, &len), 23);
		assert_int_equal(len, 4);
		assert_memory_equal(plain, "EHLO", 4);
		mock_seal(&mock.tx, 23, "250 ok", 6, &client->in);
		raw_expect(client, "250 ok");
	}
}

static void test_keys_and_sequences_are_right(void **state)
{
	struct end client, server;

	(void)state;
	for (unsigned i = 0; i <= PN_ARRAY_SIZE(suites_tls12); i++) {
		bool is_tls13 = i == PN_ARRAY_SIZE(suites_tls12);
		mock_begin(false);
		ktls_connect(&client, &server, is_tls13 ? TLS1_3_VERSION : TLS1_2_VERSION,
			     is_tls13 ? NULL : suites_tls12[i]);
		/* Some records more, so that the sequences are not those of the start. */
		for (int n = 0; n < 5; n++) {
			raw_write(&client, &server, "NOOP", 4);
			assert_int_equal(end_receive(&server, &client, WHOLE), PN_RECORD_WANT);
		}
		ktls_quiet(&server, &client);
		assert_string_equal(server.record->ops->name, "kernel");
		assert_int_equal(mock.ulp_calls, 1);
		assert_int_equal(mock.no_pad_calls, is_tls13 ? 1 : 0);
		check_keys(&client, &server);
		ktls_end(&client, &server);
	}
}

/* Our client against our server: both move. */
static void test_both_ends_move(void **state)
{
	struct pn_tls_server *s =
		tls_server("ecdsa", (struct pn_tls_server_settings){ .has_tls12 = true });
	struct pn_tls_client *c = tls_client(true);
	union pn_ktls_crypto_info server_rx, server_tx;
	struct end client, server;

	(void)state;
	mock_begin(true);
	end_init_client(&client, c, "mx.example.test");
	end_init_server(&server, s);
	pn_tls_server_unref(s);
	pn_tls_client_unref(c);
	pn_tls_conn_set_socket(client.conn, MOCK_FD, true);
	pn_tls_conn_set_socket(server.conn, MOCK_FD, true);
	shake(&client, &server, WHOLE);
	end_finish(&client, &server);
	end_finish(&server, &client);
	assert_true(client.record->wants_quiet);
	end_send(&server, &client, "220", 3);
	assert_int_equal(end_receive(&client, &server, WHOLE), PN_RECORD_WANT);
	ktls_quiet(&server, &client);
	server_rx = mock.rx;
	server_tx = mock.tx;
	ktls_quiet(&client, &server);
	assert_string_equal(client.record->ops->name, "kernel");
	assert_memory_equal(&server_rx, &mock.tx, sizeof(server_rx));
	assert_memory_equal(&server_tx, &mock.rx, sizeof(server_tx));
	assert_int_equal(pn_ktls_counter_get(PN_KTLS_C_sessions), 2);
	ktls_end(&client, &server);
}

static void test_not_in_the_middle_of_a_record(void **state)
{
	struct end client, server;
	struct pn_buf rest;

	(void)state;
	mock_begin(false);
	ktls_connect(&client, &server, TLS1_3_VERSION, NULL);
	raw_write(&client, &server, "NOOP", 4);
	pn_buf_init(&rest, 1024);
	assert_int_equal(
		pn_buf_append(&rest, pn_buf_ptr(&server.in) + 7, pn_buf_len(&server.in) - 7), 0);
	server.in.tail = server.in.head + 7;
	assert_int_equal(end_receive(&server, &client, WHOLE), PN_RECORD_WANT);
	ktls_quiet(&server, &client);
	assert_string_equal(server.record->ops->name, "aead");
	assert_true(server.record->wants_quiet);
	assert_int_equal(mock.rx_calls, 0);
	assert_int_equal(pn_buf_append_slice(&server.in, pn_buf_slice(&rest)), 0);
	pn_buf_free(&rest);
	assert_int_equal(end_receive(&server, &client, WHOLE), PN_RECORD_WANT);
	ktls_quiet(&server, &client);
	assert_string_equal(server.record->ops->name, "kernel");
	check_keys(&client, &server);
	ktls_end(&client, &server);
}

static void test_tries_are_bounded(void **state)
{
	uint64_t before = pn_ktls_counter_get(PN_KTLS_C_not_moved_never_quiet);
	struct end client, server;
	int tries = 0;

	(void)state;
	mock_begin(false);
	ktls_connect(&client, &server, TLS1_2_VERSION, NULL);
	raw_write(&client, &server, "NOOP", 4);
	server.in.tail = server.in.head + 3;
	assert_int_equal(end_receive(&server, &client, WHOLE), PN_RECORD_WANT);
	for (; server.record->wants_quiet; tries++) {
		assert_true(tries < 1000);
		ktls_quiet(&server, &client);
	}
	assert_true(tries > 1);
	assert_string_equal(server.record->ops->name, "aead");
	assert_int_equal(pn_ktls_counter_get(PN_KTLS_C_not_moved_never_quiet), before + 1);
	ktls_quiet(&server, &client); /* asked for no more, and harmless */
	assert_int_equal(mock.rx_calls, 0);
	ktls_end(&client, &server);
}

/* A KeyUpdate that the client wants answered is held back until something is sent: first it leaves, then the keys
 * that go to the kernel are the new ones. */
static void test_what_is_held_back_leaves_first(void **state)
{
	struct end client, server;

	(void)state;
	mock_begin(true);
	ktls_connect(&client, &server, TLS1_3_VERSION, NULL);
	assert_int_equal(SSL_key_update(client.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
	raw_write(&client, &server, "NOOP", 4);
	assert_int_equal(end_receive(&server, &client, WHOLE), PN_RECORD_WANT);
	ktls_quiet(&server, &client);
	assert_string_equal(server.record->ops->name, "aead");
	assert_true(pn_buf_len(&client.in) > 0);
	assert_true(server.record->wants_quiet);
	/* The client reads it together with what the kernel seals. */
	struct pn_buf none;
	pn_buf_init(&none, 1024);
	server.record = pn_record_quiet(server.record, &none);
	assert_int_equal(pn_buf_len(&none), 0);
	pn_buf_free(&none);
	assert_string_equal(server.record->ops->name, "kernel");
	check_keys(&client, &server);
	ktls_end(&client, &server);
}

static void check_user_space_goes_on(struct end *client, struct end *server)
{
	assert_string_equal(server->record->ops->name, "aead");
	assert_false(server->record->wants_quiet);
	raw_write(client, server, "NOOP", 4);
	pn_buf_clear(&server->plain);
	assert_int_equal(end_receive(server, client, WHOLE), PN_RECORD_WANT);
	assert_int_equal(pn_buf_len(&server->plain), 4);
	end_send(server, client, "250", 3);
	raw_expect(client, "250");
}

static const struct {
	int error;
	enum pn_ktls_counter counter;
} failures[] = {
	{ ENOENT, PN_KTLS_C_not_moved_no_ulp },
	{ ENOPROTOOPT, PN_KTLS_C_not_moved_no_ulp },
	{ ENOTCONN, PN_KTLS_C_not_moved_not_connected },
	{ ENOMEM, PN_KTLS_C_not_moved_memory },
	{ ENOBUFS, PN_KTLS_C_not_moved_memory },
	{ EBUSY, PN_KTLS_C_not_moved_busy },
	{ EEXIST, PN_KTLS_C_not_moved_busy },
	{ EINVAL, PN_KTLS_C_not_moved_other },
	{ EPERM, PN_KTLS_C_not_moved_other },
};

static void test_no_ulp_no_move(void **state)
{
	struct end client, server;

	(void)state;
	for (unsigned i = 0; i < PN_ARRAY_SIZE(failures); i++) {
		uint64_t before = pn_ktls_counter_get(failures[i].counter);
		mock_begin(false);
		mock.ulp_error = failures[i].error;
		ktls_connect(&client, &server, TLS1_3_VERSION, NULL);
		check_user_space_goes_on(&client, &server);
		assert_int_equal(mock.rx_calls + mock.tx_calls, 0);
		assert_int_equal(pn_ktls_counter_get(failures[i].counter), before + 1);
		ktls_end(&client, &server);
	}
}

static void test_receiving_side_refused(void **state)
{
	struct end client, server;

	(void)state;
	for (unsigned i = 0; i < 2 * PN_ARRAY_SIZE(failures); i++) {
		enum pn_ktls_counter counter = failures[i / 2].counter;
		uint64_t before = pn_ktls_counter_get(counter);
		mock_begin(true);
		mock.rx_error = failures[i / 2].error;
		ktls_connect(&client, &server, i % 2 ? TLS1_3_VERSION : TLS1_2_VERSION, NULL);
		ktls_quiet(&server, &client);
		check_user_space_goes_on(&client, &server);
		assert_int_equal(mock.rx_calls, 1);
		assert_int_equal(mock.tx_calls, 0);
		assert_int_equal(pn_ktls_counter_get(counter), before + 1);
		ktls_end(&client, &server);
	}
}

/* Then the kernel opens and our own record seals. */
static void test_sending_side_refused(void **state)
{
	struct end client, server;
	uint8_t plain[64];
	size_t len;

	(void)state;
	for (unsigned i = 0; i < 2 * PN_ARRAY_SIZE(failures); i++) {
		uint64_t before = pn_ktls_counter_get(PN_KTLS_C_moved_receive_only);
		mock_begin(true);
		mock.tx_error = failures[i / 2].error;
		ktls_connect(&client, &server, i % 2 ? TLS1_3_VERSION : TLS1_2_VERSION, NULL);
		ktls_quiet(&server, &client);
		assert_string_equal(server.record->ops->name, "kernel");
		assert_int_equal(pn_ktls_counter_get(PN_KTLS_C_moved_receive_only), before + 1);
		raw_write(&client, &server, "NOOP", 4);
		assert_int_equal(mock_open(&mock.rx, &server.in, plain, &len), 23);
		end_send(&server, &client, "250", 3);
		raw_expect(&client, "250");
		assert_int_equal(pn_record_rekey(server.record, &client.in), PN_RECORD_OK);
		end_send(&server, &client, "251", 3);
		raw_expect(&client, "251");
		assert_int_equal(pn_record_close(server.record, &client.in), PN_RECORD_OK);
		pn_record_flushed(server.record);
		assert_int_equal(mock.sent_count, 0);
		assert_true(pn_buf_len(&client.in) > 0); /* close_notify too */
		ktls_end(&client, &server);
	}
}

static void test_suite_that_the_kernel_lacks(void **state)
{
	uint64_t before = pn_ktls_counter_get(PN_KTLS_C_not_moved_suite);
	struct pn_ktls_support support;
	struct end client, server;

	(void)state;
	mock_begin(false);
	support = *pn_ktls_probe();
	support.ciphers[0][PN_KTLS_CHACHA20_POLY1305].can_receive = false;
	pn_ktls_probe_set(&support);
	ktls_connect(&client, &server, TLS1_2_VERSION, suites_tls12[2]);
	check_user_space_goes_on(&client, &server);
	assert_int_equal(mock.rx_calls, 0);
	assert_int_equal(pn_ktls_counter_get(PN_KTLS_C_not_moved_suite), before + 1);
	ktls_end(&client, &server);
}

static void test_kernel_without_ktls_is_left_alone(void **state)
{
	struct pn_ktls_support support = { .error = ENOENT };
	struct end client, server;
	char text[256];

	(void)state;
	mock_begin(false);
	pn_ktls_probe_set(&support);
	assert_false(pn_ktls_is_usable(&support));
	pn_ktls_describe(&support, text, sizeof(text));
	assert_non_null(strstr(text, "modprobe tls"));
	ktls_connect(&client, &server, TLS1_3_VERSION, NULL);
	check_user_space_goes_on(&client, &server);
	assert_int_equal(mock.ulp_calls, 0);
	ktls_end(&client, &server);
}

static void test_not_after_the_end(void **state)
{
	struct end client, server;

	(void)state;
	for (int is_peer = 0; is_peer < 2; is_peer++) {
		mock_begin(false);
		ktls_connect(&client, &server, TLS1_3_VERSION, NULL);
		if (is_peer) {
			client.io.out = &server.in;
			(void)SSL_shutdown(client.ssl);
			client.io.out = NULL;
			assert_int_equal(end_receive(&server, &client, WHOLE), PN_RECORD_CLOSED);
		} else {
			assert_int_equal(pn_record_close(server.record, &client.in), PN_RECORD_OK);
		}
		ktls_quiet(&server, &client);
		assert_string_equal(server.record->ops->name, "aead");
		assert_false(server.record->wants_quiet);
		assert_int_equal(mock.rx_calls, 0);
		ktls_end(&client, &server);
	}
}

static void test_description(void **state)
{
	char text[256];

	(void)state;
	mock_begin(true);
	assert_true(pn_ktls_is_usable(pn_ktls_probe()));
	pn_ktls_describe(pn_ktls_probe(), text, sizeof(text));
	assert_string_equal(text,
			    "TLSv1.3 aes-128-gcm aes-256-gcm chacha20-poly1305 TLSv1.2 aes-128-gcm "
			    "aes-256-gcm chacha20-poly1305 no-pad rekey");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys_and_sequences_are_right),
		cmocka_unit_test(test_both_ends_move),
		cmocka_unit_test(test_not_in_the_middle_of_a_record),
		cmocka_unit_test(test_tries_are_bounded),
		cmocka_unit_test(test_what_is_held_back_leaves_first),
		cmocka_unit_test(test_no_ulp_no_move),
		cmocka_unit_test(test_receiving_side_refused),
		cmocka_unit_test(test_sending_side_refused),
		cmocka_unit_test(test_suite_that_the_kernel_lacks),
		cmocka_unit_test(test_kernel_without_ktls_is_left_alone),
		cmocka_unit_test(test_not_after_the_end),
		cmocka_unit_test(test_description),
	};

	return cmocka_run_group_tests(tests, tls_setup, tls_teardown);
}
