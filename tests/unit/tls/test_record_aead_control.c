/* SPDX-License-Identifier: ISC */
/* test_record_aead_control.c - what our own records do with everything that is not an ordinary data record. */
#include "aead_peer.h"

#include <stdlib.h>
#include <string.h>

#define TLS12   0x0303
#define TLS13   0x0304
#define MUTE    (-1) /* no alert */
#define SUITE12 "ECDHE-ECDSA-AES128-GCM-SHA256"

struct record {
	uint8_t type;
	const char *data;
	size_t len;
	size_t zeros;
};

/* Sent one behind the other; then the status, and the last record of ours. */
struct step {
	uint16_t version;
	bool is_client; /* we are */
	struct record records[4];
	enum pn_record_status status;
	int alert;
	size_t plain_len;
};

static const struct step steps[] = {
	/* ---- padding (RFC 8446 5.4) ---- */
	{ TLS13, false, { { 23, "data", 4, 1 } }, PN_RECORD_WANT, MUTE, 4 },
	{ TLS13, false, { { 23, "data", 4, 1000 }, { 23, "x", 1, 3 } }, PN_RECORD_WANT, MUTE, 5 },
	{ TLS13, false, { { 23, "", 0, 10 } }, PN_RECORD_WANT, MUTE, 0 },
	{ TLS13, false, { { 0, "", 0, 0 } }, PN_RECORD_FAILED, 10, 0 },
	{ TLS13, false, { { 0, "", 0, 100 } }, PN_RECORD_FAILED, 10, 0 },
	/* ---- types ---- */
	{ TLS13, false, { { 20, "\1", 1, 0 } }, PN_RECORD_FAILED, 10, 0 },
	{ TLS13, false, { { 24, "x", 1, 0 } }, PN_RECORD_FAILED, 10, 0 },
	{ TLS12, false, { { 20, "\1", 1, 0 } }, PN_RECORD_FAILED, 10, 0 },
	{ TLS12, false, { { 99, "x", 1, 0 } }, PN_RECORD_FAILED, 10, 0 },
	/* ---- alerts ---- */
	{ TLS13, false, { { 21, "\1\0", 2, 0 }, { 23, "x", 1, 0 } }, PN_RECORD_CLOSED, MUTE, 0 },
	{ TLS13, false, { { 23, "x", 1, 0 }, { 21, "\1\0", 2, 5 } }, PN_RECORD_CLOSED, MUTE, 1 },
	{ TLS12, false, { { 21, "\1\0", 2, 0 } }, PN_RECORD_CLOSED, MUTE, 0 },
	{ TLS13, false, { { 21, "\2\x28", 2, 0 } }, PN_RECORD_FAILED, MUTE, 0 },
	{ TLS12, false, { { 21, "\2\x28", 2, 0 } }, PN_RECORD_FAILED, MUTE, 0 },
	{ TLS13, false, { { 21, "\1", 1, 0 } }, PN_RECORD_FAILED, 50, 0 },
	{ TLS13, false, { { 21, "\1\0\0", 3, 0 } }, PN_RECORD_FAILED, 50, 0 },
	{ TLS12, false, { { 21, "", 0, 0 } }, PN_RECORD_FAILED, 50, 0 },
	{ TLS13, false, { { 21, "\3\0", 2, 0 } }, PN_RECORD_FAILED, 47, 0 },
	{ TLS13, false, { { 21, "\1\x5a", 2, 0 }, { 23, "x", 1, 0 } }, PN_RECORD_WANT, MUTE, 1 },
	{ TLS13, false, { { 21, "\1\x29", 2, 0 } }, PN_RECORD_FAILED, 50, 0 },
	{ TLS12, false, { { 21, "\1\x29", 2, 0 }, { 23, "x", 1, 0 } }, PN_RECORD_WANT, MUTE, 1 },
	/* ---- handshake messages ---- */
	{ TLS13, false, { { 22, "", 0, 0 } }, PN_RECORD_FAILED, 10, 0 },
	{ TLS13, false, { { 22, "\1\0\0\2\3\3", 6, 0 } }, PN_RECORD_FAILED, 10, 0 },
	{ TLS13, false, { { 22, "\0\0\0\0", 4, 0 } }, PN_RECORD_FAILED, 10, 0 },
	{ TLS13, false, { { 22, "\4\0\0\2\1\2", 6, 0 } }, PN_RECORD_FAILED, 10, 0 },
	{ TLS13, false, { { 22, "\x18\0\0\2\0\0", 6, 0 } }, PN_RECORD_FAILED, 50, 0 },
	{ TLS13, false, { { 22, "\x18\0\0\0", 4, 0 } }, PN_RECORD_FAILED, 50, 0 },
	{ TLS13, false, { { 22, "\x18\0\0\1\2", 5, 0 } }, PN_RECORD_FAILED, 47, 0 },
	{ TLS13, false, { { 22, "\x18\0\0\1\0\x18", 6, 0 } }, PN_RECORD_FAILED, 10, 0 },
	{ TLS13, false, { { 22, "\x18\0", 2, 0 }, { 23, "x", 1, 0 } }, PN_RECORD_FAILED, 10, 0 },
	{ TLS13, false, { { 22, "\x18\0", 2, 0 }, { 23, "", 0, 0 } }, PN_RECORD_FAILED, 10, 0 },
	{ TLS13,
	  false,
	  { { 22, "\x18\0", 2, 0 }, { 21, "\1\x5a", 2, 0 } },
	  PN_RECORD_WANT,
	  MUTE,
	  0 },
	{ TLS13, false, { { 22, "\5\0\0\1", 4, 0 }, { 22, "\1", 1, 0 } }, PN_RECORD_FAILED, 10, 0 },
	{ TLS13,
	  true,
	  { { 22, "\4\0\0\2\1\2", 6, 0 }, { 23, "x", 1, 0 } },
	  PN_RECORD_WANT,
	  MUTE,
	  1 },
	{ TLS13,
	  true,
	  { { 22, "\4\0\0\2\1\2\4\0\0\3\1", 11, 0 }, { 22, "\2\3", 2, 0 }, { 23, "x", 1, 0 } },
	  PN_RECORD_WANT,
	  MUTE,
	  1 },
	{ TLS13, true, { { 22, "\4\0\0\3\1", 5, 0 }, { 23, "x", 1, 0 } }, PN_RECORD_FAILED, 10, 0 },
	{ TLS13, true, { { 22, "\4\1\0\0", 4, 0 } }, PN_RECORD_FAILED, 10, 0 },
	{ TLS13, true, { { 22, "\x0d\0\0\2\0\0", 6, 0 } }, PN_RECORD_FAILED, 10, 0 },
	/* Renegotiation (RFC 9325 3.5). */
	{ TLS12, false, { { 22, "\1\0\0\2\3\3", 6, 0 } }, PN_RECORD_FAILED, 100, 0 },
	{ TLS12, false, { { 22, "", 0, 0 } }, PN_RECORD_FAILED, 100, 0 },
	{ TLS12, true, { { 22, "\0\0\0\0", 4, 0 } }, PN_RECORD_FAILED, 100, 0 },
	{ TLS12, true, { { 22, "\4\0\0\0", 4, 0 } }, PN_RECORD_FAILED, 10, 0 },
};

static void check_ended(struct link *l)
{
	size_t before = pn_buf_len(&l->peer.in);

	assert_int_equal(pn_record_seal(l->us.record, PN_SLICE_LIT("x"), &l->peer.in),
			 PN_RECORD_FAILED);
	assert_int_equal(pn_record_close(l->us.record, &l->peer.in), PN_RECORD_FAILED);
	assert_int_equal(pn_buf_len(&l->peer.in), before);
}

static void test_each_kind_of_record(void **state)
{
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(steps); i++) {
		const struct step *s = &steps[i];
		enum pn_record_status status;
		struct link l;
		int alert;

		link_open(&l, !s->is_client, s->version, s->version == TLS12 ? SUITE12 : NULL);
		for (size_t n = 0; n < PN_ARRAY_SIZE(s->records) && s->records[n].data; n++)
			forge(&l, s->records[n].type, s->records[n].data, s->records[n].len,
			      s->records[n].zeros);
		status = receive(&l);
		if (status == PN_RECORD_FAILED)
			check_ended(&l);
		alert = last_alert(&l);
		if (status != s->status || alert != s->alert ||
		    pn_buf_len(&l.us.plain) != s->plain_len)
			fail_msg("step %zu: status %d, alert %d, %zu octets", i, (int)status, alert,
				 pn_buf_len(&l.us.plain));
		link_close(&l);
	}
}

static void check_raw(uint16_t version, const void *data, size_t len, int alert)
{
	struct link l;

	link_open(&l, true, version, version == TLS12 ? SUITE12 : NULL);
	forge_raw(&l, data, len);
	assert_int_equal(receive(&l), PN_RECORD_FAILED);
	assert_int_equal(last_alert(&l), alert);
	link_close(&l);
}

static void test_wrong_headers(void **state)
{
	static const uint16_t versions[] = { TLS12, TLS13 };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		check_raw(versions[i], "\x17\3\1\0\x20", 5, PN_ALERT_PROTOCOL_VERSION);
		check_raw(versions[i], "GET / HTTP", 10, PN_ALERT_PROTOCOL_VERSION);
		check_raw(versions[i], "\x17\3\3\x41\1", 5, PN_ALERT_RECORD_OVERFLOW);
		check_raw(versions[i], "\x17\3\3\0\0", 5, PN_ALERT_BAD_RECORD_MAC);
		check_raw(versions[i],
			  "\x17\3\3\0\x0f"
			  "0123456789abcde",
			  20, PN_ALERT_BAD_RECORD_MAC);
		check_raw(versions[i],
			  "\x17\3\3\0\x10"
			  "0123456789abcdef",
			  21, PN_ALERT_BAD_RECORD_MAC);
	}
	/* RFC 8446 5: in the clear, after the handshake. */
	check_raw(TLS13, "\x14\3\3\0\1\1", 6, PN_ALERT_UNEXPECTED_MESSAGE);
	check_raw(TLS12, "\x14\3\3\0\1\1", 6, PN_ALERT_BAD_RECORD_MAC);
}

static void test_sizes_have_a_limit(void **state)
{
	static uint8_t data[16386];

	(void)state;
	for (int i = 0; i < 6; i++) {
		bool is_tls13 = i % 2;
		struct link l;

		link_open(&l, true, is_tls13 ? TLS13 : TLS12, is_tls13 ? NULL : SUITE12);
		switch (i / 2) {
		case 0: /* the largest */
			forge(&l, 23, data, 16384, 0);
			assert_int_equal(receive(&l), PN_RECORD_WANT);
			assert_int_equal(pn_buf_len(&l.us.plain), 16384);
			break;
		case 1:
			forge(&l, 23, data, 16385, 0);
			assert_int_equal(receive(&l), PN_RECORD_FAILED);
			assert_int_equal(last_alert(&l), PN_ALERT_RECORD_OVERFLOW);
			break;
		default: /* padding counts (RFC 8446 5.4) */
			if (is_tls13) {
				forge(&l, 23, data, 16380, 4);
				assert_int_equal(receive(&l), PN_RECORD_WANT);
				forge(&l, 23, data, 16380, 5);
				assert_int_equal(receive(&l), PN_RECORD_FAILED);
				assert_int_equal(last_alert(&l), PN_ALERT_RECORD_OVERFLOW);
			}
			break;
		}
		link_close(&l);
	}
}

/* `count` times the record, then one octet of data, then the same again and one more. */
static void check_flood(uint16_t version, const struct record *r, int count)
{
	struct link l;

	link_open(&l, true, version, version == TLS12 ? SUITE12 : NULL);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < count; i++)
			forge(&l, r->type, r->data, r->len, r->zeros);
		assert_int_equal(receive(&l), PN_RECORD_WANT);
		if (round == 0)
			forge(&l, 23, "x", 1, 0);
	}
	forge(&l, r->type, r->data, r->len, r->zeros);
	assert_int_equal(receive(&l), PN_RECORD_FAILED);
	assert_int_equal(last_alert(&l), PN_ALERT_UNEXPECTED_MESSAGE);
	link_close(&l);
}

static void test_floods_end(void **state)
{
	(void)state;
	check_flood(TLS12, &(struct record){ 23, "", 0, 0 }, 32);
	check_flood(TLS13, &(struct record){ 23, "", 0, 9 }, 32);
	check_flood(TLS12, &(struct record){ 21, "\1\x29", 2, 0 }, 4);
	check_flood(TLS13, &(struct record){ 21, "\1\x5a", 2, 0 }, 4);
}

static void test_flood_of_key_updates(void **state)
{
	struct link l;

	(void)state;
	link_open(&l, true, TLS13, NULL);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 32; i++)
			forge_update(&l, 1);
		assert_int_equal(receive(&l), PN_RECORD_WANT);
		if (round == 0)
			forge(&l, 23, "x", 1, 0);
	}
	/* Nothing was sent yet, and one answer goes in front of the data. */
	assert_int_equal(last_alert(&l), -1);
	forge_update(&l, 0);
	assert_int_equal(receive(&l), PN_RECORD_FAILED);
	link_close(&l);
}

/* RFC 8446 4.6.3: one answer for several requests, before the next data. */
static void test_one_answer(void **state)
{
	struct link l;
	size_t alone, with_answer;

	(void)state;
	link_open(&l, true, TLS13, NULL);
	end_send(&l.us, &l.peer, "220", 3);
	peer_expect(&l, "220", 3);
	end_send(&l.us, &l.peer, "250", 3);
	alone = pn_buf_len(&l.peer.in);
	peer_expect(&l, "250", 3);
	for (int i = 0; i < 3; i++) {
		peer_update(&l, SSL_KEY_UPDATE_REQUESTED);
		peer_write(&l, "x", 1);
	}
	assert_int_equal(receive(&l), PN_RECORD_WANT);
	assert_int_equal(pn_buf_len(&l.us.plain), 3);
	assert_int_equal(pn_buf_len(&l.peer.in), 0);
	end_send(&l.us, &l.peer, "250", 3);
	with_answer = pn_buf_len(&l.peer.in);
	assert_int_equal(with_answer, alone + 5 + 5 + 1 + 16);
	peer_expect(&l, "250", 3);
	end_send(&l.us, &l.peer, "250", 3);
	assert_int_equal(pn_buf_len(&l.peer.in), alone);
	peer_expect(&l, "250", 3);
	link_close(&l);
}

/* Messages may be cut anywhere (RFC 8446 5.1). */
static void test_key_update_in_pieces(void **state)
{
	static const uint8_t message[] = { 24, 0, 0, 1, 1 };
	struct link l;

	(void)state;
	link_open(&l, true, TLS13, NULL);
	for (size_t i = 0; i < sizeof(message); i++)
		forge(&l, PN_TLS_TYPE_HANDSHAKE, message + i, 1, 0);
	assert_int_equal(pn_tls_secret_update(&l.keys.suite, &l.keys.send), 0);
	forge(&l, 23, "under the new key", 17, 0);
	assert_int_equal(receive(&l), PN_RECORD_WANT);
	assert_int_equal(pn_buf_len(&l.us.plain), 17);
	link_close(&l);
}

/* After our close_notify the peer may still speak; what it does wrong then is not answered. */
static void test_silence_after_close(void **state)
{
	struct link l;

	(void)state;
	link_open(&l, true, TLS13, NULL);
	assert_int_equal(pn_record_close(l.us.record, &l.peer.in), PN_RECORD_OK);
	assert_int_equal(last_alert(&l), 0);
	forge_update(&l, 1);
	forge(&l, 23, "still here", 10, 0);
	assert_int_equal(receive(&l), PN_RECORD_WANT);
	assert_int_equal(pn_buf_len(&l.us.plain), 10);
	forge(&l, 99, "x", 1, 0);
	assert_int_equal(receive(&l), PN_RECORD_FAILED);
	assert_int_equal(pn_buf_len(&l.peer.in), 0);
	link_close(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_kind_of_record),
		cmocka_unit_test(test_wrong_headers),
		cmocka_unit_test(test_sizes_have_a_limit),
		cmocka_unit_test(test_floods_end),
		cmocka_unit_test(test_flood_of_key_updates),
		cmocka_unit_test(test_one_answer),
		cmocka_unit_test(test_key_update_in_pieces),
		cmocka_unit_test(test_silence_after_close),
	};

	return cmocka_run_group_tests(tests, tls_setup, tls_teardown);
}
