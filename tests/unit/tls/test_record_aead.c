/* SPDX-License-Identifier: ISC */
/* test_record_aead.c - our own records against BoringSSL: every suite and role, every cut, where plaintext
 * lies, what is held back, which connections stay on BoringSSL's records. */
#include "aead_peer.h"

#include <stdlib.h>
#include <string.h>

#include "tls/conn.h"
#include "tls/record_aead.h"

static const struct {
	uint16_t version;
	const char *suites;
} kinds[] = {
	{ 0x0303, "ECDHE-ECDSA-AES128-GCM-SHA256" },
	{ 0x0303, "ECDHE-ECDSA-AES256-GCM-SHA384" },
	{ 0x0303, "ECDHE-ECDSA-CHACHA20-POLY1305" },
	{ 0x0304, NULL },
};

static uint8_t *pattern(size_t len)
{
	uint8_t *data = malloc(len);

	assert_non_null(data);
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	return data;
}

/* What the peer wrote arrives, cut into pieces of `chunk`. */
static void check_arrival(struct link *l, const uint8_t *data, size_t len, size_t chunk)
{
	pn_buf_clear(&l->us.plain);
	assert_int_equal(end_receive(&l->us, &l->peer, chunk), PN_RECORD_WANT);
	assert_int_equal(pn_buf_len(&l->us.plain), len);
	if (len > 0)
		assert_memory_equal(pn_buf_ptr(&l->us.plain), data, len);
	assert_int_equal(pn_record_pending(l->us.record), 0);
}

static void exchange(struct link *l)
{
	static const size_t sizes[] = { 1, 2, 15, 16, 17, 1000, 16383, 16384, 16385, 50000 };
	uint8_t *data = pattern(50000);

	for (size_t i = 0; i < PN_ARRAY_SIZE(sizes); i++) {
		peer_write(l, data, sizes[i]);
		check_arrival(l, data, sizes[i], i % 2 ? WHOLE : 777);
		end_send(&l->us, &l->peer, data, sizes[i]);
		peer_expect(l, data, sizes[i]);
	}
	free(data);
}

static void test_every_suite_and_role(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2 * PN_ARRAY_SIZE(kinds); i++) {
		struct link l;

		link_open(&l, i % 2, kinds[i / 2].version, kinds[i / 2].suites);
		exchange(&l);
		if (kinds[i / 2].version == 0x0304) {
			for (int round = 0; round < 3; round++) {
				peer_update(&l, round % 2 ? SSL_KEY_UPDATE_REQUESTED
							  : SSL_KEY_UPDATE_NOT_REQUESTED);
				assert_int_equal(pn_record_rekey(l.us.record, &l.peer.in),
						 PN_RECORD_OK);
				exchange(&l);
			}
		}
		assert_int_equal(pn_record_close(l.us.record, &l.peer.in), PN_RECORD_OK);
		l.peer.io.out = &l.us.in;
		(void)SSL_shutdown(l.peer.ssl);
		assert_int_equal(receive(&l), PN_RECORD_CLOSED);
		link_close(&l);
	}
}

/* BoringSSL's peers always choose the first suite of TLS 1.3; the other two between two ends of ours. */
static void check_tls13_suite(enum pn_ktls_cipher cipher, const EVP_MD *digest)
{
	struct pn_tls_suite suite = { .version = 0x0304, .cipher = cipher, .digest = digest };
	struct pn_tls_secret from = { .sequence = 5 };
	uint8_t record[300], text[] = "text", nothing[] = "";
	struct pn_tls_secret to;
	uint8_t *plain;
	size_t len;

	memset(from.data, 7, sizeof(from.data));
	assert_int_equal(pn_tls_secret_update(&suite, &from), 0);
	to = from;
	for (int i = 0; i < 3; i++) {
		assert_true(pn_aead_seal(&suite, &from, 23, pn_slice(text, 4), record));
		assert_true(pn_aead_open(&suite, &to, record, 4 + pn_aead_overhead(&suite), &plain,
					 &len));
		assert_int_equal(len, 5);
		assert_memory_equal(plain, "text\x17", 5);
		assert_true(pn_aead_seal(&suite, &from, 21, pn_slice(nothing, 0), record));
		assert_true(
			pn_aead_open(&suite, &to, record, pn_aead_overhead(&suite), &plain, &len));
		assert_int_equal(len, 1);
	}
	assert_true(pn_aead_seal(&suite, &from, 23, pn_slice(text, 4), record));
	record[7] ^= 1;
	assert_false(pn_aead_open(&suite, &to, record, 4 + pn_aead_overhead(&suite), &plain, &len));
	pn_aead_forget(&suite, &to);
}

static void test_other_suites_of_tls13(void **state)
{
	(void)state;
	check_tls13_suite(PN_KTLS_AES_128_GCM, EVP_sha256());
	check_tls13_suite(PN_KTLS_AES_256_GCM, EVP_sha384());
	check_tls13_suite(PN_KTLS_CHACHA20_POLY1305, EVP_sha256());
}

/* Three records in two inputs, for every place of the cut; and one octet at a time. */
static void test_every_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(kinds); i++) {
		struct link l;
		size_t len = SIZE_MAX;

		link_open(&l, true, kinds[i].version, kinds[i].suites);
		for (size_t cut = 1; cut < len; cut++) {
			struct pn_buf rest;

			pn_buf_clear(&l.us.plain);
			peer_write(&l, "MAIL", 4);
			peer_write(&l, "R", 1);
			peer_write(&l, "DATA\r\n", 6);
			len = pn_buf_len(&l.us.in);
			pn_buf_init(&rest, len);
			assert_int_equal(
				pn_buf_append(&rest, pn_buf_ptr(&l.us.in) + cut, len - cut), 0);
			l.us.in.tail = l.us.in.head + cut;
			assert_int_equal(receive(&l), PN_RECORD_WANT);
			assert_int_equal(pn_buf_append_slice(&l.us.in, pn_buf_slice(&rest)), 0);
			assert_int_equal(receive(&l), PN_RECORD_WANT);
			assert_int_equal(pn_buf_len(&l.us.plain), 11);
			assert_memory_equal(pn_buf_ptr(&l.us.plain), "MAILRDATA\r\n", 11);
			pn_buf_free(&rest);
		}
		peer_write(&l, "one at a time", 13);
		check_arrival(&l, (const uint8_t *)"one at a time", 13, 1);
		link_close(&l);
	}
}

/* A whole record is opened where it lies, without a buffer of ours; a cut one is not kept after its use. */
static void test_whole_records_stay_where_they_are(void **state)
{
	struct link l;
	struct pn_slice got;
	struct pn_aead_record *a;
	uint8_t *in;

	(void)state;
	link_open(&l, true, 0x0304, NULL);
	a = pn_aead_record_of(l.us.record);
	peer_write(&l, "first", 5);
	peer_write(&l, "second", 6);
	in = l.us.in.data + l.us.in.head;
	pn_record_input(l.us.record, in, pn_buf_len(&l.us.in) - 1);
	assert_int_equal(pn_record_open(l.us.record, &got, &l.peer.in), PN_RECORD_OK);
	assert_ptr_equal(got.ptr, in + 5);
	assert_int_equal(a->partial.cap, 0);
	assert_int_equal(pn_record_open(l.us.record, &got, &l.peer.in), PN_RECORD_WANT);
	assert_true(pn_record_pending(l.us.record) > 0);
	in = l.us.in.data + l.us.in.tail - 1;
	pn_record_input(l.us.record, in, 1);
	assert_int_equal(pn_record_open(l.us.record, &got, &l.peer.in), PN_RECORD_OK);
	assert_memory_equal(got.ptr, "second", 6);
	assert_int_equal(pn_record_pending(l.us.record), 0);
	assert_int_equal(pn_record_open(l.us.record, &got, &l.peer.in), PN_RECORD_WANT);
	assert_int_equal(a->partial.cap, 0);
	link_close(&l);
}

/* Memory of the owner's takes the plaintext where it has room for all of it, type and padding too; and data alone is
 * said to be there. */
static void check_into(uint16_t version, const char *suites)
{
	struct link l;
	struct pn_slice got;
	uint8_t *data = pattern(3000), place[4000];
	size_t type_len = version == 0x0304;

	link_open(&l, true, version, suites);
	for (int i = 0; i < 4; i++) {
		/* Whole, cut in two, without room by one octet, without any. */
		size_t room = i == 2 ? 3000 + type_len - 1 : i == 3 ? 0 : 3000 + type_len;
		struct pn_buf *in = &l.us.in;
		size_t first;

		memset(place, 0xee, sizeof(place));
		peer_write(&l, data, 3000);
		first = i == 1 ? 1000 : pn_buf_len(in);
		pn_record_input(l.us.record, in->data + in->head, first);
		if (i == 1) {
			assert_int_equal(pn_record_open_into(l.us.record, place + 1, room, &got,
							     &l.peer.in),
					 PN_RECORD_WANT);
			pn_record_input(l.us.record, in->data + in->head + first,
					pn_buf_len(in) - first);
		}
		assert_int_equal(pn_record_open_into(l.us.record, place + 1, room, &got, &l.peer.in),
				 PN_RECORD_OK);
		assert_true((got.ptr == place + 1) == (i < 2));
		assert_int_equal(got.len, 3000);
		assert_memory_equal(got.ptr, data, 3000);
		assert_int_equal(place[0], 0xee);
		assert_int_equal(place[1 + room], 0xee);
		/* What the owner lent is not wiped, what it did not is. */
		const uint8_t *was = got.ptr;
		assert_int_equal(pn_record_open(l.us.record, &got, &l.peer.in), PN_RECORD_WANT);
		if (i < 2)
			assert_memory_equal(was, data, 3000);
		else
			assert_int_equal(was[0] | was[2999], 0);
		pn_buf_consume(in, pn_buf_len(in));
		/* What a cut one was put together in is kept for the next, but not by an idle connection. */
		struct pn_aead_record *a = pn_aead_record_of(l.us.record);
		assert_true((a->partial.cap > 0) == (i == 1));
		pn_record_idle(l.us.record);
		assert_int_equal(a->partial.cap, 0);
	}
	peer_write(&l, data, 3000);
	l.us.in.data[l.us.in.tail - 1] ^= 1;
	pn_record_input(l.us.record, l.us.in.data + l.us.in.head, pn_buf_len(&l.us.in));
	memset(place, 0xee, sizeof(place));
	assert_int_equal(pn_record_open_into(l.us.record, place, sizeof(place), &got, &l.peer.in),
			 PN_RECORD_FAILED);
	for (size_t i = 0; i < 3000; i++)
		assert_int_equal(place[i], 0);
	pn_buf_consume(&l.us.in, pn_buf_len(&l.us.in));
	free(data);
	link_close(&l);
}

static void test_into_memory_of_the_owner(void **state)
{
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(kinds); i++)
		check_into(kinds[i].version, kinds[i].suites);
}

/* What ciphers make of keys lies in fewer places of a thread than there are connections. */
static void test_many_connections_in_turn(void **state)
{
	enum { COUNT = 40 };
	struct link *links = calloc(COUNT, sizeof(*links));

	(void)state;
	assert_non_null(links);
	for (size_t i = 0; i < COUNT; i++)
		link_open(&links[i], i % 2, kinds[i % PN_ARRAY_SIZE(kinds)].version,
			  kinds[i % PN_ARRAY_SIZE(kinds)].suites);
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < COUNT; i++) {
			peer_write(&links[i], "EHLO", 4);
			check_arrival(&links[i], (const uint8_t *)"EHLO", 4, WHOLE);
			end_send(&links[i].us, &links[i].peer, "250", 3);
		}
		for (size_t i = 0; i < COUNT; i++)
			peer_expect(&links[i], "250", 3);
	}
	for (size_t i = 0; i < COUNT; i++)
		link_close(&links[i]);
	free(links);
}

/* Tickets ride with the first words, whatever these are. */
static void test_tickets_come_first(void **state)
{
	(void)state;
	for (int what = 0; what < 4; what++) {
		struct link l;
		uint8_t record[5] = { 23, 3, 3, 0xff, 0xff };

		link_open(&l, true, 0x0304, NULL);
		switch (what) {
		case 0:
			end_send(&l.us, &l.peer, "220", 3);
			peer_expect(&l, "220", 3);
			assert_int_equal(pn_aead_record_of(l.us.record)->held.cap, 0);
			break;
		case 1:
			assert_int_equal(pn_record_close(l.us.record, &l.peer.in), PN_RECORD_OK);
			assert_int_equal(last_alert(&l), 0);
			break;
		case 2:
			assert_int_equal(pn_record_rekey(l.us.record, &l.peer.in), PN_RECORD_OK);
			end_send(&l.us, &l.peer, "220", 3);
			peer_expect(&l, "220", 3);
			break;
		default:
			forge_raw(&l, record, sizeof(record));
			assert_int_equal(receive(&l), PN_RECORD_FAILED);
			assert_int_equal(last_alert(&l), PN_ALERT_RECORD_OVERFLOW);
			break;
		}
		link_close(&l);
	}
}

/* An end of ours that stays on BoringSSL's records, for a reason that is counted. */
static void test_who_stays_with_boringssl(void **state)
{
	uint64_t tickets = pn_record_counter_get(PN_RECORD_C_kept_tickets);
	uint64_t keys = pn_record_counter_get(PN_RECORD_C_kept_keys);
	struct pn_tls_client_settings settings = { .ca_pem = tls_file("ca.pem"),
						   .ca_path = "ca.pem",
						   .sessions_max = 4 };
	struct pn_tls_server *s =
		tls_server("ecdsa", (struct pn_tls_server_settings){ .has_tls12 = true });
	struct pn_error err;
	struct pn_tls_client *c = pn_tls_client_new(&settings, &err);
	struct end client, server;

	(void)state;
	assert_non_null(c);
	end_init_client(&client, c, "mx.example.test");
	end_init_server(&server, s);
	shake(&client, &server, WHOLE);
	server.conn->io.record_have = 1; /* as if a record had begun in the handshake */
	end_finish(&client, &server);
	end_finish(&server, &client);
	assert_string_equal(client.record->ops->name, "boringssl");
	assert_string_equal(server.record->ops->name, "boringssl");
	assert_int_equal(pn_record_counter_get(PN_RECORD_C_kept_tickets), tickets + 1);
	assert_int_equal(pn_record_counter_get(PN_RECORD_C_kept_keys), keys + 1);
	assert_int_equal(pn_record_counter_get(PN_RECORD_C_sessions_boringssl), 2);
	end_free(&client);
	end_free(&server);
	pn_tls_server_unref(s);
	pn_tls_client_unref(c);
	assert_int_equal(pn_record_counter_get(PN_RECORD_C_sessions_boringssl), 0);
	assert_int_equal(pn_record_counter_get(PN_RECORD_C_sessions_aead), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_suite_and_role),
		cmocka_unit_test(test_other_suites_of_tls13),
		cmocka_unit_test(test_every_cut),
		cmocka_unit_test(test_whole_records_stay_where_they_are),
		cmocka_unit_test(test_into_memory_of_the_owner),
		cmocka_unit_test(test_many_connections_in_turn),
		cmocka_unit_test(test_tickets_come_first),
		cmocka_unit_test(test_who_stays_with_boringssl),
	};

	return cmocka_run_group_tests(tests, tls_setup, tls_teardown);
}
