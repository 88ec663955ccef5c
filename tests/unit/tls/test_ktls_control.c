/* SPDX-License-Identifier: ISC */
/* test_ktls_control.c - after the move: data, alerts, KeyUpdates, tickets, and every error of the kernel. */
#include "ktls_mock.h"

#include <errno.h>
#include <string.h>

#include <openssl/err.h>

#define ALERT     21
#define HANDSHAKE 22

static struct pn_buf out;

static enum pn_record_status failed_with(struct end *e, int error)
{
	return pn_record_recv_failed(e->record, -error, &out);
}

/* The record that a receive stumbles over. */
static enum pn_record_status control(struct end *e, uint8_t type, const void *data, size_t len)
{
	mock_queue(type, data, len);
	return failed_with(e, EIO);
}

/* The connection has ended with this alert as its last word, and says it once. */
static void check_last_word(struct end *e, uint8_t level, uint8_t description)
{
	size_t before = mock.sent_count;

	(void)!pn_record_close(e->record, &out);
	assert_int_equal(pn_buf_len(&out), 0);
	assert_int_equal(mock.sent_count, before);
	pn_record_flushed(e->record);
	pn_record_flushed(e->record);
	assert_int_equal(mock.sent_count, before + 1);
	assert_int_equal(mock.sent[before].type, ALERT);
	assert_int_equal(mock.sent[before].len, 2);
	assert_int_equal(mock.sent[before].data[0], level);
	assert_int_equal(mock.sent[before].data[1], description);
}

static void check_silent_end(struct end *e)
{
	size_t before = mock.sent_count;

	(void)!pn_record_close(e->record, &out);
	pn_record_flushed(e->record);
	assert_int_equal(mock.sent_count, before);
}

static void test_data_passes_and_is_wiped(void **state)
{
	struct end client, server;
	uint8_t data[] = "AUTH PLAIN secret";
	const uint8_t zeros[sizeof(data)] = { 0 };
	struct pn_slice got;

	(void)state;
	mock_begin(false);
	ktls_moved(&client, &server, TLS1_3_VERSION, NULL);
	assert_int_equal(pn_record_open(server.record, &got, &out), PN_RECORD_WANT);
	pn_record_input(server.record, data, sizeof(data));
	assert_int_equal(pn_record_pending(server.record), sizeof(data));
	assert_int_equal(pn_record_open(server.record, &got, &out), PN_RECORD_OK);
	assert_ptr_equal(got.ptr, data); /* no copy */
	assert_int_equal(got.len, sizeof(data));
	assert_int_equal(pn_record_pending(server.record), 0);
	assert_int_equal(pn_record_open(server.record, &got, &out), PN_RECORD_WANT);
	assert_memory_equal(data, zeros, sizeof(data));
	/* Given back unseen: untouched. Given back seen: wiped. */
	memcpy(data, "unseen", 7);
	pn_record_input(server.record, data, 7);
	assert_int_equal(pn_record_take_back(server.record), 7);
	assert_string_equal(data, "unseen");
	pn_record_input(server.record, data, 7);
	assert_int_equal(pn_record_open(server.record, &got, &out), PN_RECORD_OK);
	assert_int_equal(pn_record_take_back(server.record), 0);
	assert_memory_equal(data, zeros, 7);
	assert_int_equal(pn_record_seal(server.record, PN_SLICE_LIT("250 ok"), &out), PN_RECORD_OK);
	assert_int_equal(pn_buf_len(&out), 6);
	assert_memory_equal(pn_buf_ptr(&out), "250 ok", 6);
	pn_buf_clear(&out);
	pn_record_idle(server.record);
	ktls_end(&client, &server);
}

static void test_close_notify(void **state)
{
	static const uint8_t close_notify[] = { 1, 0 };
	struct end client, server;
	struct pn_slice got;

	(void)state;
	for (int i = 0; i < 2; i++) {
		uint64_t lost = pn_ktls_counter_get(PN_KTLS_C_last_words_lost);
		mock_begin(false);
		ktls_moved(&client, &server, i ? TLS1_3_VERSION : TLS1_2_VERSION, NULL);
		assert_int_equal(control(&server, ALERT, close_notify, 2), PN_RECORD_CLOSED);
		assert_int_equal(failed_with(&server, EIO), PN_RECORD_CLOSED);
		assert_int_equal(pn_record_open(server.record, &got, &out), PN_RECORD_CLOSED);
		/* Half closed: sending goes on until we close too. */
		assert_int_equal(pn_record_seal(server.record, PN_SLICE_LIT("221"), &out),
				 PN_RECORD_OK);
		pn_buf_clear(&out);
		check_last_word(&server, 1, 0);
		assert_int_equal(pn_record_seal(server.record, PN_SLICE_LIT("x"), &out),
				 PN_RECORD_FAILED);
		assert_int_equal(pn_record_rekey(server.record, &out), PN_RECORD_FAILED);
		assert_int_equal(pn_ktls_counter_get(PN_KTLS_C_last_words_lost), lost);
		ktls_end(&client, &server);
	}
}

static void test_last_words_never_wait(void **state)
{
	static const int errors[] = { EAGAIN, EPIPE, ECONNRESET, ENOMEM };
	struct end client, server;

	(void)state;
	for (unsigned i = 0; i <= PN_ARRAY_SIZE(errors); i++) {
		uint64_t lost = pn_ktls_counter_get(PN_KTLS_C_last_words_lost);
		mock_begin(false);
		ktls_moved(&client, &server, TLS1_3_VERSION, NULL);
		mock.is_send_short = i == PN_ARRAY_SIZE(errors);
		mock.send_error = mock.is_send_short ? 0 : errors[i];
		assert_int_equal(pn_record_close(server.record, &out), PN_RECORD_OK);
		pn_record_flushed(server.record);
		assert_int_equal(pn_ktls_counter_get(PN_KTLS_C_last_words_lost), lost + 1);
		mock.send_error = 0;
		mock.is_send_short = false;
		pn_record_flushed(server.record);
		assert_int_equal(mock.sent_count, 0);
		ktls_end(&client, &server);
	}
}

static const struct {
	const char *what;
	int version; /* 2, 3; 0: both */
	uint8_t type;
	uint8_t data[8];
	size_t len;
	enum pn_record_status status;
	int alert; /* our last word; -1: none */
} controls[] = {
	{ "user_canceled", 3, ALERT, { 1, 90 }, 2, PN_RECORD_OK, 0 },
	{ "a warning", 2, ALERT, { 1, 41 }, 2, PN_RECORD_OK, 0 },
	{ "any alert of 1.3 is fatal", 3, ALERT, { 1, 41 }, 2, PN_RECORD_FAILED, -1 },
	{ "fatal alert", 0, ALERT, { 2, 40 }, 2, PN_RECORD_FAILED, -1 },
	{ "half an alert", 0, ALERT, { 2 }, 1, PN_RECORD_FAILED, 50 },
	{ "two alerts", 0, ALERT, { 1, 0, 1, 0 }, 4, PN_RECORD_FAILED, 50 },
	{ "ticket to a server", 3, HANDSHAKE, { 4, 0, 0, 1, 0 }, 5, PN_RECORD_FAILED, 10 },
	{ "ClientHello", 3, HANDSHAKE, { 1, 0, 0, 1, 0 }, 5, PN_RECORD_FAILED, 10 },
	{ "renegotiation", 2, HANDSHAKE, { 1, 0, 0, 1, 0 }, 5, PN_RECORD_FAILED, 100 },
	{ "Finished", 2, HANDSHAKE, { 20, 0, 0, 1, 0 }, 5, PN_RECORD_FAILED, 10 },
	{ "KeyUpdate in 1.2", 2, HANDSHAKE, { 24, 0, 0, 1, 0 }, 5, PN_RECORD_FAILED, 10 },
	{ "part of a header", 3, HANDSHAKE, { 24, 0, 0 }, 3, PN_RECORD_FAILED, 10 },
	{ "KeyUpdate without body", 3, HANDSHAKE, { 24, 0, 0, 0 }, 4, PN_RECORD_FAILED, 50 },
	{ "long KeyUpdate", 3, HANDSHAKE, { 24, 0, 0, 2, 0, 0 }, 6, PN_RECORD_FAILED, 10 },
	{ "KeyUpdate and more", 3, HANDSHAKE, { 24, 0, 0, 1, 0, 24 }, 6, PN_RECORD_FAILED, 10 },
	{ "unknown request", 3, HANDSHAKE, { 24, 0, 0, 1, 2 }, 5, PN_RECORD_FAILED, 47 },
	{ "ChangeCipherSpec", 0, 20, { 1 }, 1, PN_RECORD_FAILED, 10 },
	{ "heartbeat", 0, 24, { 1, 0, 0 }, 3, PN_RECORD_FAILED, 10 },
	{ "data out of place", 0, 23, { 'x' }, 1, PN_RECORD_FAILED, 10 },
};

static void test_each_kind_of_record(void **state)
{
	struct end client, server;
	struct pn_slice got;

	(void)state;
	for (unsigned i = 0; i < 2 * PN_ARRAY_SIZE(controls); i++) {
		unsigned c = i / 2;
		bool is_tls13 = i % 2;
		if (controls[c].version == (is_tls13 ? 2 : 3))
			continue;
		print_message("%s in 1.%d\n", controls[c].what, is_tls13 ? 3 : 2);
		mock_begin(true);
		ktls_moved(&client, &server, is_tls13 ? TLS1_3_VERSION : TLS1_2_VERSION, NULL);
		assert_int_equal(
			control(&server, controls[c].type, controls[c].data, controls[c].len),
			controls[c].status);
		if (controls[c].status == PN_RECORD_OK) {
			assert_int_equal(pn_record_open(server.record, &got, &out), PN_RECORD_WANT);
			check_last_word(&server, 1, 0);
		} else {
			assert_int_equal(pn_record_open(server.record, &got, &out),
					 PN_RECORD_FAILED);
			assert_int_equal(pn_record_seal(server.record, PN_SLICE_LIT("x"), &out),
					 PN_RECORD_FAILED);
			assert_int_equal(failed_with(&server, EIO), PN_RECORD_FAILED);
			if (controls[c].alert < 0)
				check_silent_end(&server);
			else
				check_last_word(&server, 2, (uint8_t)controls[c].alert);
		}
		ktls_end(&client, &server);
	}
}

static const struct {
	int error;
	enum pn_record_status status;
	int alert;
} errors[] = {
	{ EBADMSG, PN_RECORD_FAILED, 20 },  { EMSGSIZE, PN_RECORD_FAILED, 22 },
	{ EINVAL, PN_RECORD_FAILED, 70 },   { EKEYEXPIRED, PN_RECORD_FAILED, 80 },
	{ ECONNRESET, PN_RECORD_WANT, -1 }, { ETIMEDOUT, PN_RECORD_WANT, -1 },
	{ EPIPE, PN_RECORD_WANT, -1 },
};

/* Of the receive, and of the recvmsg that follows EIO. */
static void test_each_error(void **state)
{
	struct end client, server;

	(void)state;
	for (unsigned i = 0; i < 2 * PN_ARRAY_SIZE(errors); i++) {
		unsigned e = i / 2;
		mock_begin(true);
		ktls_moved(&client, &server, TLS1_3_VERSION, NULL);
		mock.receive_error = errors[e].error;
		assert_int_equal(failed_with(&server, i % 2 ? EIO : errors[e].error),
				 errors[e].status);
		assert_int_equal(mock.receive_calls, i % 2);
		if (errors[e].alert >= 0)
			check_last_word(&server, 2, (uint8_t)errors[e].alert);
		ktls_end(&client, &server);
	}
	for (int i = 0; i < 2; i++) {
		mock_begin(true);
		ktls_moved(&client, &server, TLS1_3_VERSION, NULL);
		mock.receive_error = i ? EAGAIN : EINTR; /* gone meanwhile */
		assert_int_equal(failed_with(&server, EIO), PN_RECORD_OK);
		mock.receive_error = 0;
		assert_int_equal(control(&server, ALERT, "", 0),
				 PN_RECORD_OK); /* end of the stream */
		mock.is_type_missing = true;
		assert_int_equal(control(&server, ALERT, "\1\0", 2), PN_RECORD_FAILED);
		check_last_word(&server, 2, 80);
		ktls_end(&client, &server);
	}
}

static void test_floods_end(void **state)
{
	struct end client, server;
	uint8_t data[] = "x";
	struct pn_slice got;

	(void)state;
	mock_begin(true);
	ktls_moved(&client, &server, TLS1_3_VERSION, NULL);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 32; i++) {
			mock.queue_first = mock.queue_end = 0;
			assert_int_equal(control(&server, ALERT, "\1\x5a", 2), PN_RECORD_OK);
		}
		if (round == 0) { /* data between them: counted anew */
			pn_record_input(server.record, data, 1);
			assert_int_equal(pn_record_open(server.record, &got, &out), PN_RECORD_OK);
			assert_int_equal(pn_record_open(server.record, &got, &out), PN_RECORD_WANT);
		}
	}
	mock.queue_first = mock.queue_end = 0;
	assert_int_equal(control(&server, ALERT, "\1\x5a", 2), PN_RECORD_FAILED);
	check_last_word(&server, 2, 10);
	ktls_end(&client, &server);
}

/* ---- changing keys ---- */

/* The client changes its key; returns what the server makes of its KeyUpdate. "X" under the new key stays in. */
static enum pn_record_status update(struct end *client, struct end *server, int request)
{
	uint8_t plain[64];
	size_t len;

	assert_int_equal(SSL_key_update(client->ssl, request), 1);
	raw_write(client, server, "X", 1);
	assert_int_equal(mock_open(&mock.rx, &server->in, plain, &len), HANDSHAKE);
	return control(server, HANDSHAKE, plain, len);
}

static void expect_x(struct end *server)
{
	uint8_t plain[64];
	size_t len;

	assert_int_equal(mock_open(&mock.rx, &server->in, plain, &len), 23);
	assert_int_equal(len, 1);
	assert_int_equal(plain[0], 'X');
}

/* What was sent as control record reaches the client under `info`. */
static void pass_on(struct end *client, union pn_ktls_crypto_info *info, size_t index)
{
	mock_seal(info, mock.sent[index].type, mock.sent[index].data, mock.sent[index].len,
		  &client->in);
}

static void test_key_updates(void **state)
{
	struct end client, server;
	union pn_ktls_crypto_info tx;

	(void)state;
	mock_begin(true);
	ktls_moved(&client, &server, TLS1_3_VERSION, NULL);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(update(&client, &server, SSL_KEY_UPDATE_NOT_REQUESTED),
				 PN_RECORD_OK);
		assert_int_equal(mock.sent_count, 0);
		expect_x(&server);
	}
	for (size_t i = 0; i < 3; i++) {
		tx = mock.tx;
		assert_int_equal(update(&client, &server, SSL_KEY_UPDATE_REQUESTED), PN_RECORD_OK);
		expect_x(&server);
		assert_int_equal(mock.sent_count, i + 1);
		assert_int_equal(mock.sent[i].type, HANDSHAKE);
		assert_memory_equal(mock.sent[i].data, "\x18\0\0\1\0", 5);
		pass_on(&client, &tx, i);
		mock_seal(&mock.tx, 23, "250", 3, &client.in);
		raw_expect(&client, "250");
	}
	/* Our own. */
	tx = mock.tx;
	assert_int_equal(pn_record_rekey(server.record, &out), PN_RECORD_OK);
	pass_on(&client, &tx, 3);
	mock_seal(&mock.tx, 23, "251", 3, &client.in);
	raw_expect(&client, "251");
	assert_int_equal(pn_buf_len(&out), 0);
	ktls_end(&client, &server);
}

static void test_old_kernels_refuse_key_updates(void **state)
{
	uint64_t before = pn_ktls_counter_get(PN_KTLS_C_key_updates_refused);
	struct end client, server;

	(void)state;
	mock_begin(false);
	ktls_moved(&client, &server, TLS1_3_VERSION, NULL);
	assert_int_equal(pn_record_rekey(server.record, &out), PN_RECORD_OK); /* nothing is done */
	assert_int_equal(mock.sent_count, 0);
	assert_int_equal(update(&client, &server, SSL_KEY_UPDATE_REQUESTED), PN_RECORD_FAILED);
	assert_int_equal(mock.rx_calls, 1);
	check_last_word(&server, 2, 10);
	assert_int_equal(pn_ktls_counter_get(PN_KTLS_C_key_updates_refused), before + 1);
	ktls_end(&client, &server);
}

static void test_refused_new_keys(void **state)
{
	struct end client, server;

	(void)state;
	for (int i = 0; i < 4; i++) {
		mock_begin(true);
		ktls_moved(&client, &server, TLS1_3_VERSION, NULL);
		mock.rx_error = i == 0 ? EBUSY : 0;
		mock.tx_error = i == 1 ? ENOMEM : 0;
		mock.send_error = i == 2 ? EPIPE : 0;
		mock.is_send_short = i == 3;
		assert_int_equal(update(&client, &server, SSL_KEY_UPDATE_REQUESTED),
				 PN_RECORD_FAILED);
		mock.send_error = 0;
		mock.is_send_short = false;
		if (i == 0)
			check_last_word(&server, 2, 80);
		else
			check_silent_end(&server);
		ktls_end(&client, &server);
	}
}

/* A socket that is full when the answer is due: it goes in front of the next data, or the connection ends. */
static void test_answer_waits_for_room(void **state)
{
	struct end client, server;
	union pn_ktls_crypto_info tx;

	(void)state;
	for (int i = 0; i < 2; i++) {
		mock_begin(true);
		ktls_moved(&client, &server, TLS1_3_VERSION, NULL);
		tx = mock.tx;
		mock.send_error = EAGAIN;
		assert_int_equal(update(&client, &server, SSL_KEY_UPDATE_REQUESTED), PN_RECORD_OK);
		expect_x(&server);
		/* One answer for several requests (RFC 8446 4.6.3). */
		assert_int_equal(control(&server, HANDSHAKE, "\x18\0\0\1\1", 5), PN_RECORD_OK);
		assert_int_equal(mock.sent_count, 0);
		assert_int_equal(mock.tx_calls, 1);
		if (i == 1) {
			assert_int_equal(pn_record_seal(server.record, PN_SLICE_LIT("250"), &out),
					 PN_RECORD_FAILED);
			ktls_end(&client, &server);
			continue;
		}
		mock.send_error = 0;
		assert_int_equal(pn_record_seal(server.record, PN_SLICE_LIT("250"), &out),
				 PN_RECORD_OK);
		assert_int_equal(mock.sent_count, 1);
		assert_int_equal(mock.tx_calls, 2);
		pn_buf_clear(&out);
		pass_on(&client, &tx, 0);
		mock_seal(&mock.tx, 23, "250", 3, &client.in);
		raw_expect(&client, "250");
		ktls_end(&client, &server);
	}
}

/* RFC 9325 4.4 */
static void test_keys_are_used_up(void **state)
{
	struct end client, server;

	(void)state;
	for (int has_rekey = 0; has_rekey < 2; has_rekey++) {
		mock_begin(has_rekey);
		ktls_moved(&client, &server, TLS1_3_VERSION, NULL);
		pn_record_ktls_set_sent(server.record, UINT64_C(1) << 23);
		assert_int_equal(pn_record_seal(server.record, PN_SLICE_LIT("250"), &out),
				 PN_RECORD_OK);
		assert_int_equal(mock.sent_count, has_rekey);
		assert_int_equal(mock.tx_calls, 1 + has_rekey);
		pn_record_ktls_set_sent(server.record, UINT64_C(1) << 24);
		mock.send_error = has_rekey ? EPIPE : 0;
		assert_int_equal(pn_record_seal(server.record, PN_SLICE_LIT("250"), &out),
				 PN_RECORD_FAILED);
		pn_buf_clear(&out);
		ktls_end(&client, &server);
	}
}

/* A client of ours: tickets come as records of their own, in pieces too. */
static void test_tickets_are_skipped(void **state)
{
	static const uint8_t two[] = { 4, 0, 0, 2, 1, 2, 4, 0, 0, 3, 1, 2, 3 };
	static const uint8_t begin[] = { 4, 0, 0, 20, 1, 2 };
	static const uint8_t rest[18] = { 24 };
	uint64_t before = pn_ktls_counter_get(PN_KTLS_C_tickets_skipped);
	struct pn_tls_server *s =
		tls_server("ecdsa", (struct pn_tls_server_settings){ .has_tls12 = true });
	struct pn_tls_client *c = tls_client(true);
	struct end client, server;

	(void)state;
	mock_begin(true);
	end_init_client(&client, c, "mx.example.test");
	end_init_server(&server, s);
	pn_tls_server_unref(s);
	pn_tls_client_unref(c);
	pn_tls_conn_set_socket(client.conn, MOCK_FD, true);
	shake(&client, &server, WHOLE);
	end_finish(&client, &server);
	end_finish(&server, &client);
	ktls_quiet(&client, &server);
	assert_string_equal(client.record->ops->name, "kernel");
	assert_int_equal(control(&client, HANDSHAKE, two, sizeof(two)), PN_RECORD_OK);
	assert_int_equal(control(&client, HANDSHAKE, begin, sizeof(begin)), PN_RECORD_OK);
	assert_int_equal(control(&client, HANDSHAKE, rest, sizeof(rest)), PN_RECORD_OK);
	assert_int_equal(pn_ktls_counter_get(PN_KTLS_C_tickets_skipped), before + 3);
	assert_int_equal(mock.rx_calls, 1); /* what looked like a KeyUpdate was none */
	assert_int_equal(control(&client, HANDSHAKE, begin, sizeof(begin)), PN_RECORD_OK);
	assert_int_equal(control(&client, ALERT, "\1\0", 2), PN_RECORD_FAILED); /* RFC 8446 5.1 */
	check_last_word(&client, 2, 10);
	ktls_end(&client, &server);
}

static int setup(void **state)
{
	pn_buf_init(&out, 1024);
	return tls_setup(state);
}

static int teardown(void **state)
{
	pn_buf_free(&out);
	return tls_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_data_passes_and_is_wiped),
		cmocka_unit_test(test_close_notify),
		cmocka_unit_test(test_last_words_never_wait),
		cmocka_unit_test(test_each_kind_of_record),
		cmocka_unit_test(test_each_error),
		cmocka_unit_test(test_floods_end),
		cmocka_unit_test(test_key_updates),
		cmocka_unit_test(test_old_kernels_refuse_key_updates),
		cmocka_unit_test(test_refused_new_keys),
		cmocka_unit_test(test_answer_waits_for_room),
		cmocka_unit_test(test_keys_are_used_up),
		cmocka_unit_test(test_tickets_are_skipped),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
