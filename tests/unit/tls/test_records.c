/* SPDX-License-Identifier: ISC */
/* test_records.c - the record layers after the handshake, ours and BoringSSL's: sizes and cuts, damage, close,
 * floods, rekeying, limits. */
#include "tls_support.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/aead.h>
#include <openssl/err.h>
#include <openssl/rand.h>

#include "tls/conn.h"
#include "tls/record_aead.h"

/* Which layer the group is about. */
static bool is_library;

static const struct pn_tls_server_settings with_tls12 = { .has_tls12 = true };

static void connect_pair(struct end *client, struct end *server)
{
	struct pn_tls_server *s = tls_server("ecdsa", with_tls12);
	struct pn_tls_client *c = tls_client(true);

	end_init_client(client, c, "mx.example.test");
	end_init_server(server, s);
	pn_tls_server_unref(s);
	pn_tls_client_unref(c);
	shake(client, server, WHOLE);
	if (is_library) {
		pn_tls_conn_keep_library(client->conn);
		pn_tls_conn_keep_library(server->conn);
	}
	end_finish(client, server);
	end_finish(server, client);
}

/* A raw client of one version; it stays raw. */
static void connect_raw_with(struct end *client, struct end *server, uint16_t version,
			     const char *suites)
{
	struct pn_tls_server *s = tls_server("ecdsa", with_tls12);
	SSL_CTX *ctx = raw_context(version, version);

	if (suites)
		assert_int_equal(SSL_CTX_set_strict_cipher_list(ctx, suites), 1);
	end_init_raw(client, SSL_new(ctx));
	SSL_CTX_free(ctx);
	end_init_server(server, s);
	pn_tls_server_unref(s);
	shake(client, server, WHOLE);
	assert_int_equal(client->status, PN_RECORD_OK);
	if (is_library)
		pn_tls_conn_keep_library(server->conn);
	end_finish(server, client);
}

static void connect_raw(struct end *client, struct end *server, uint16_t version)
{
	connect_raw_with(client, server, version, NULL);
}

/* What a raw client writes goes to the server. */
static void raw_write(struct end *client, struct end *server, const void *data, size_t len)
{
	client->io.out = &server->in;
	assert_int_equal(SSL_write(client->ssl, data, (int)len), (int)len);
	client->io.out = NULL;
}

/* What the server has sent, read by a raw client: SSL_read's result, SSL_get_error in *error. */
static int raw_read(struct end *client, void *data, size_t len, int *error)
{
	struct pn_buf drop;
	int n;

	pn_buf_init(&drop, 65536);
	ERR_clear_error();
	client->io.in = pn_buf_slice(&client->in);
	client->io.out = &drop;
	n = SSL_read(client->ssl, data, (int)len);
	*error = SSL_get_error(client->ssl, n);
	client->raw_error = ERR_reason_error_string(ERR_peek_error());
	pn_buf_consume(&client->in, pn_buf_len(&client->in) - client->io.in.len);
	client->io = (struct pn_tls_io){ .in = PN_SLICE_NULL,
					 .record_have = client->io.record_have,
					 .record_need = client->io.record_need };
	pn_buf_free(&drop);
	ERR_clear_error();
	return n;
}

static void set_sealed(struct end *e, uint64_t count)
{
	if (is_library)
		pn_record_boringssl_set_sealed(e->record, count);
	else
		pn_record_aead_set_sealed(e->record, count);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void test_all_sizes_and_random_cuts(void **state)
{
	static const size_t sizes[] = { 0,     1,     2,     15,    16,    17,    100,   511,
					512,   1000,  4096,  16383, 16384, 16385, 20000, 32768,
					32769, 49152, 65535, 65536, 99999, 102400 };
	uint8_t *data = malloc(102400);
	uint32_t seed = 1;
	struct end client;
	struct end server;

	(void)state;
	assert_non_null(data);
	RAND_bytes(data, 102400);
	connect_pair(&client, &server);
	for (size_t i = 0; i < PN_ARRAY_SIZE(sizes); i++) {
		end_send(&client, &server, data, sizes[i]);
		while (pn_buf_len(&server.in) > 0)
			assert_int_equal(
				end_receive(&server, &client, 1 + next_random(&seed) % 5000),
				PN_RECORD_WANT);
		assert_int_equal(pn_buf_len(&server.plain), sizes[i]);
		assert_int_equal(
			memcmp(pn_buf_ptr(&server.plain) ? pn_buf_ptr(&server.plain) : data, data,
			       sizes[i]),
			0);
		assert_int_equal(pn_record_pending(server.record), 0);
		pn_buf_clear(&server.plain);
		/* And back, in one piece. */
		end_send(&server, &client, data, sizes[i]);
		assert_int_equal(end_receive(&client, &server, WHOLE), PN_RECORD_WANT);
		assert_int_equal(pn_buf_len(&client.plain), sizes[i]);
		pn_buf_clear(&client.plain);
	}
	free(data);
	end_free(&client);
	end_free(&server);
}

static void test_byte_by_byte_and_pending(void **state)
{
	static const char text[] = "MAIL FROM:<a@example.test>\r\n";
	struct end client;
	struct end server;
	struct pn_slice got;
	size_t len;

	(void)state;
	connect_pair(&client, &server);
	end_send(&client, &server, text, sizeof(text) - 1);
	len = pn_buf_len(&server.in);
	for (size_t i = 0; i + 1 < len; i++) {
		uint8_t octet = pn_buf_ptr(&server.in)[i];

		assert_int_equal(pn_record_pending(server.record), i);
		pn_record_input(server.record, &octet, 1);
		assert_int_equal(pn_record_pending(server.record), i + 1);
		assert_int_equal(pn_record_open(server.record, &got, &client.in), PN_RECORD_WANT);
	}
	{
		uint8_t last = pn_buf_ptr(&server.in)[len - 1];

		pn_record_input(server.record, &last, 1);
		assert_int_equal(pn_record_open(server.record, &got, &client.in), PN_RECORD_OK);
		assert_int_equal(got.len, sizeof(text) - 1);
		assert_memory_equal(got.ptr, text, got.len);
		assert_int_equal(pn_record_open(server.record, &got, &client.in), PN_RECORD_WANT);
	}
	assert_int_equal(pn_record_pending(server.record), 0);
	pn_record_idle(server.record);
	end_free(&client);
	end_free(&server);
}

/* The owner pauses after the first record and hands the rest in again later. */
static void test_input_can_be_taken_back(void **state)
{
	struct end client;
	struct end server;
	struct pn_slice got;
	size_t len;
	size_t rest;

	(void)state;
	connect_pair(&client, &server);
	end_send(&client, &server, "first", 5);
	len = pn_buf_len(&server.in);
	end_send(&client, &server, "second", 6);
	/* With the beginning of a third record in the same input. */
	end_send(&client, &server, "third", 5);
	pn_record_input(server.record, server.in.data, pn_buf_len(&server.in) - 3);
	assert_int_equal(pn_record_open(server.record, &got, &client.in), PN_RECORD_OK);
	assert_memory_equal(got.ptr, "first", 5);
	rest = pn_record_take_back(server.record);
	assert_int_equal(rest, pn_buf_len(&server.in) - 3 - len);
	assert_int_equal(pn_record_pending(server.record), 0);
	assert_int_equal(pn_record_take_back(server.record), 0);
	assert_int_equal(pn_record_open(server.record, &got, &client.in), PN_RECORD_WANT);
	pn_record_input(server.record, server.in.data + len, rest);
	assert_int_equal(pn_record_open(server.record, &got, &client.in), PN_RECORD_OK);
	assert_memory_equal(got.ptr, "second", 6);
	assert_int_equal(pn_record_open(server.record, &got, &client.in), PN_RECORD_WANT);
	assert_int_equal(pn_record_take_back(server.record), 0);
	assert_true(pn_record_pending(server.record) > 0);
	pn_record_input(server.record, server.in.data + pn_buf_len(&server.in) - 3, 3);
	assert_int_equal(pn_record_open(server.record, &got, &client.in), PN_RECORD_OK);
	assert_memory_equal(got.ptr, "third", 5);
	assert_int_equal(pn_record_open(server.record, &got, &client.in), PN_RECORD_WANT);
	end_free(&client);
	end_free(&server);
}

/* Plaintext (passwords among it) does not stay where it was opened. */
static void test_plaintext_is_wiped(void **state)
{
	static const char text[] = "AUTH PLAIN AHVzZXIAc2VjcmV0\r\n";
	struct end client;
	struct end server;
	struct pn_slice got;
	struct pn_slice kept;

	(void)state;
	connect_pair(&client, &server);
	end_send(&client, &server, text, sizeof(text) - 1);
	pn_record_input(server.record, server.in.data, pn_buf_len(&server.in));
	assert_int_equal(pn_record_open(server.record, &got, &client.in), PN_RECORD_OK);
	kept = got;
	assert_memory_equal(kept.ptr, text, kept.len);
	assert_int_equal(pn_record_open(server.record, &got, &client.in), PN_RECORD_WANT);
	for (size_t i = 0; i < kept.len; i++)
		assert_int_equal(kept.ptr[i], 0);
	/* Nor when the owner pauses with input left. */
	pn_buf_clear(&server.in);
	end_send(&client, &server, text, sizeof(text) - 1);
	end_send(&client, &server, text, sizeof(text) - 1);
	pn_record_input(server.record, server.in.data, pn_buf_len(&server.in));
	assert_int_equal(pn_record_open(server.record, &got, &client.in), PN_RECORD_OK);
	assert_memory_equal(got.ptr, text, got.len);
	assert_true(pn_record_take_back(server.record) > 0);
	for (size_t i = 0; i < got.len; i++)
		assert_int_equal(got.ptr[i], 0);
	end_free(&client);
	end_free(&server);
}

static void check_damage(uint16_t version, size_t at, const char *alert)
{
	struct end client;
	struct end server;
	struct pn_slice got;
	uint8_t more = 'x';
	char data[64];
	int error;

	connect_raw(&client, &server, version);
	raw_write(&client, &server, "0123456789", 10);
	server.in.data[server.in.head + at] ^= 1;
	assert_int_equal(end_receive(&server, &client, WHOLE), PN_RECORD_FAILED);
	assert_int_equal(pn_buf_len(&server.plain), 0);
	assert_int_equal(raw_read(&client, data, sizeof(data), &error), -1);
	assert_string_equal(client.raw_error, alert);
	/* Nothing works any more, and input is not kept. */
	pn_record_input(server.record, &more, 1);
	assert_int_equal(pn_record_open(server.record, &got, &client.in), PN_RECORD_FAILED);
	assert_int_equal(pn_record_seal(server.record, PN_SLICE_LIT("x"), &client.in),
			 PN_RECORD_FAILED);
	assert_int_equal(pn_record_close(server.record, &client.in), PN_RECORD_FAILED);
	assert_int_equal(pn_record_rekey(server.record, &client.in), PN_RECORD_FAILED);
	end_free(&client);
	end_free(&server);
}

static void test_damaged_records_fail_with_an_alert(void **state)
{
	(void)state;
	check_damage(0x0303, 12, "SSLV3_ALERT_BAD_RECORD_MAC");
	check_damage(0x0303, 20, "SSLV3_ALERT_BAD_RECORD_MAC");
	check_damage(0x0304, 7, "SSLV3_ALERT_BAD_RECORD_MAC");
	check_damage(0x0304, 25, "SSLV3_ALERT_BAD_RECORD_MAC");
	/* The type of the record is under the MAC too. */
	check_damage(0x0304, 0, "SSLV3_ALERT_BAD_RECORD_MAC");
}

static void test_too_long_record_is_refused_at_its_header(void **state)
{
	uint8_t header[] = { 23, 3, 3, 0xff, 0xff };
	struct end client;
	struct end server;
	struct pn_slice got;

	(void)state;
	connect_pair(&client, &server);
	pn_record_input(server.record, header, sizeof(header));
	assert_int_equal(pn_record_open(server.record, &got, &client.in), PN_RECORD_FAILED);
	end_free(&client);
	end_free(&server);
}

static void test_close_notify_both_ways(void **state)
{
	struct end client;
	struct end server;
	struct pn_slice got;
	uint8_t more[] = "after the end";

	(void)state;
	connect_pair(&client, &server);
	end_send(&client, &server, "QUIT\r\n", 6);
	assert_int_equal(pn_record_close(client.record, &server.in), PN_RECORD_OK);
	/* Once only; and nothing more can be sealed. */
	{
		size_t before = pn_buf_len(&server.in);

		assert_int_equal(pn_record_close(client.record, &server.in), PN_RECORD_OK);
		assert_int_equal(pn_record_seal(client.record, PN_SLICE_LIT("x"), &server.in),
				 PN_RECORD_FAILED);
		assert_int_equal(pn_record_rekey(client.record, &server.in), PN_RECORD_FAILED);
		assert_int_equal(pn_buf_len(&server.in), before);
	}
	assert_int_equal(end_receive(&server, &client, WHOLE), PN_RECORD_CLOSED);
	assert_int_equal(pn_buf_len(&server.plain), 6);
	pn_record_input(server.record, more, sizeof(more));
	assert_int_equal(pn_record_open(server.record, &got, &client.in), PN_RECORD_CLOSED);
	/* The other direction is still open (RFC 8446 6.1). */
	end_send(&server, &client, "221 2.0.0 Bye\r\n", 15);
	assert_int_equal(pn_record_close(server.record, &client.in), PN_RECORD_OK);
	assert_int_equal(end_receive(&client, &server, WHOLE), PN_RECORD_CLOSED);
	assert_int_equal(pn_buf_len(&client.plain), 15);
	end_free(&client);
	end_free(&server);
}

/* Seals a record of any type as the TLS 1.2 client with AES-128-GCM (RFC 5288 3), which BoringSSL
 * would never send. */
static void forge_tls12_record(const SSL *ssl, uint8_t type, uint64_t sequence, const uint8_t *data,
			       uint8_t len, struct pn_buf *out)
{
	uint8_t block[2 * 16 + 2 * 4]; /* client key, server key, client IV, server IV */
	uint8_t nonce[12];
	uint8_t aad[13];
	uint8_t sealed[64];
	size_t sealed_len;
	EVP_AEAD_CTX aead;

	assert_int_equal(SSL_get_key_block_len(ssl), sizeof(block));
	assert_int_equal(SSL_generate_key_block(ssl, block, sizeof(block)), 1);
	memcpy(nonce, block + 32, 4);
	for (size_t i = 0; i < 8; i++)
		nonce[4 + i] = aad[i] = (uint8_t)(sequence >> (56 - 8 * i));
	memcpy(aad + 8, (const uint8_t[]){ type, 3, 3, 0, len }, 5);
	assert_int_equal(EVP_AEAD_CTX_init(&aead, EVP_aead_aes_128_gcm(), block, 16, 16, NULL), 1);
	assert_int_equal(EVP_AEAD_CTX_seal(&aead, sealed, &sealed_len, sizeof(sealed), nonce, 12,
					   data, len, aad, 13),
			 1);
	EVP_AEAD_CTX_cleanup(&aead);
	assert_int_equal(
		pn_buf_append(out, (const uint8_t[]){ type, 3, 3, 0, (uint8_t)(8 + sealed_len) },
			      5),
		0);
	assert_int_equal(pn_buf_append(out, nonce + 4, 8), 0);
	assert_int_equal(pn_buf_append(out, sealed, sealed_len), 0);
}

/* RFC 9325 3.5: a TLS 1.2 client that wants to renegotiate draws an alert. */
static void test_renegotiation_is_refused(void **state)
{
	static const uint8_t client_hello[] = { 1, 0, 0, 2, 3, 3 };
	struct end client;
	struct end server;
	char data[64];
	int error;

	(void)state;
	connect_raw_with(&client, &server, 0x0303, "ECDHE-ECDSA-AES128-GCM-SHA256");
	/* That the forgery is right: a data record is taken. Finished had number 0. */
	forge_tls12_record(client.ssl, 23, 1, (const uint8_t *)"hello", 5, &server.in);
	assert_int_equal(end_receive(&server, &client, WHOLE), PN_RECORD_WANT);
	assert_int_equal(pn_buf_len(&server.plain), 5);
	forge_tls12_record(client.ssl, 22, 2, client_hello, sizeof(client_hello), &server.in);
	assert_int_equal(end_receive(&server, &client, WHOLE), PN_RECORD_FAILED);
	assert_int_equal(raw_read(&client, data, sizeof(data), &error), -1);
	assert_string_equal(client.raw_error, "TLSV1_ALERT_NO_RENEGOTIATION");
	end_free(&client);
	end_free(&server);
}

static void test_flood_of_empty_records_is_cut_off(void **state)
{
	struct end client;
	struct end server;

	(void)state;
	connect_raw_with(&client, &server, 0x0303, "ECDHE-ECDSA-AES128-GCM-SHA256");
	for (uint64_t i = 1; i <= 40; i++)
		forge_tls12_record(client.ssl, 23, i, NULL, 0, &server.in);
	assert_int_equal(end_receive(&server, &client, WHOLE), PN_RECORD_FAILED);
	end_free(&client);
	end_free(&server);
}

static void test_key_updates_are_followed(void **state)
{
	struct end client;
	struct end server;
	char data[64];
	int error;

	(void)state;
	connect_raw(&client, &server, 0x0304);
	for (int round = 0; round < 100; round++) {
		assert_int_equal(SSL_key_update(client.ssl, round % 2
								    ? SSL_KEY_UPDATE_REQUESTED
								    : SSL_KEY_UPDATE_NOT_REQUESTED),
				 1);
		raw_write(&client, &server, "ping", 4);
		assert_int_equal(end_receive(&server, &client, 3), PN_RECORD_WANT);
		assert_int_equal(pn_buf_len(&server.plain), 4);
		pn_buf_clear(&server.plain);
		end_send(&server, &client, "pong", 4);
		assert_int_equal(raw_read(&client, data, sizeof(data), &error), 4);
	}
	end_free(&client);
	end_free(&server);
}

static void test_flood_of_key_updates_is_cut_off(void **state)
{
	struct end client;
	struct end server;
	size_t answered;

	(void)state;
	connect_raw(&client, &server, 0x0304);
	for (int round = 0; round < 40; round++) {
		assert_int_equal(SSL_key_update(client.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		raw_write(&client, &server, "", 0);
	}
	answered = pn_buf_len(&client.in);
	assert_int_equal(end_receive(&server, &client, WHOLE), PN_RECORD_FAILED);
	/* One answer at most for all of them, and the alert. */
	assert_true(pn_buf_len(&client.in) - answered < 100);
	end_free(&client);
	end_free(&server);
}

static void test_rekey_by_us(void **state)
{
	static const uint16_t versions[] = { 0x0303, 0x0304 };
	char data[64];
	int error;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct end client;
		struct end server;

		connect_raw(&client, &server, versions[i]);
		/* The first write lets the tickets out (there are none here) and nothing else. */
		for (int round = 0; round < 10; round++) {
			size_t before = pn_buf_len(&client.in);

			assert_int_equal(pn_record_rekey(server.record, &client.in), PN_RECORD_OK);
			/* TLS 1.2 cannot: nothing is sent. */
			assert_int_equal(pn_buf_len(&client.in) > before, versions[i] == 0x0304);
			end_send(&server, &client, "data", 4);
			assert_int_equal(raw_read(&client, data, sizeof(data), &error), 4);
		}
		end_free(&client);
		end_free(&server);
	}
}

/* RFC 9325 4.4: TLS 1.3 changes its keys by itself; TLS 1.2 ends before its limit. */
static void test_keys_are_not_used_up(void **state)
{
	char data[64];
	struct end client;
	struct end server;
	size_t plain_len;
	int error;

	(void)state;
	connect_raw(&client, &server, 0x0304);
	end_send(&server, &client, "data", 4);
	plain_len = pn_buf_len(&client.in);
	assert_int_equal(raw_read(&client, data, sizeof(data), &error), 4);
	set_sealed(&server, UINT64_C(1) << 23);
	end_send(&server, &client, "data", 4);
	assert_true(pn_buf_len(&client.in) > plain_len);
	assert_int_equal(raw_read(&client, data, sizeof(data), &error), 4);
	end_send(&server, &client, "data", 4);
	assert_int_equal(pn_buf_len(&client.in), plain_len);
	assert_int_equal(raw_read(&client, data, sizeof(data), &error), 4);
	end_free(&client);
	end_free(&server);

	connect_raw(&client, &server, 0x0303);
	set_sealed(&server, (UINT64_C(1) << 24) - 1);
	end_send(&server, &client, "data", 4);
	assert_int_equal(pn_record_seal(server.record, PN_SLICE_LIT("data"), &client.in),
			 PN_RECORD_FAILED);
	/* Ours still has a key for its last word. */
	assert_int_equal(pn_record_close(server.record, &client.in),
			 is_library ? PN_RECORD_FAILED : PN_RECORD_OK);
	end_free(&client);
	end_free(&server);
}

static void test_full_output_buffer(void **state)
{
	struct end client;
	struct end server;
	struct pn_buf small;
	uint8_t data[2000] = { 0 };

	(void)state;
	connect_pair(&client, &server);
	pn_buf_init(&small, 1000);
	assert_int_equal(pn_record_seal(server.record, pn_slice(data, sizeof(data)), &small),
			 PN_RECORD_FAILED);
	assert_int_equal(pn_buf_len(&small), 0);
	/* Nothing was lost: what fits can still be sent, and the peer reads on. */
	assert_int_equal(pn_record_seal(server.record, pn_slice(data, 500), &small), PN_RECORD_OK);
	assert_int_equal(pn_buf_append_slice(&client.in, pn_buf_slice(&small)), 0);
	assert_int_equal(end_receive(&client, &server, WHOLE), PN_RECORD_WANT);
	assert_int_equal(pn_buf_len(&client.plain), 500);
	pn_buf_free(&small);
	/* No room even for close_notify. */
	pn_buf_init(&small, 8);
	assert_int_equal(pn_record_close(server.record, &small), PN_RECORD_FAILED);
	pn_buf_free(&small);
	end_free(&client);
	end_free(&server);
}

static void test_record_has_a_name(void **state)
{
	struct end client;
	struct end server;

	(void)state;
	connect_pair(&client, &server);
	assert_string_equal(server.record->ops->name, is_library ? "boringssl" : "aead");
	end_free(&client);
	end_free(&server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_sizes_and_random_cuts),
		cmocka_unit_test(test_byte_by_byte_and_pending),
		cmocka_unit_test(test_input_can_be_taken_back),
		cmocka_unit_test(test_plaintext_is_wiped),
		cmocka_unit_test(test_damaged_records_fail_with_an_alert),
		cmocka_unit_test(test_too_long_record_is_refused_at_its_header),
		cmocka_unit_test(test_close_notify_both_ways),
		cmocka_unit_test(test_renegotiation_is_refused),
		cmocka_unit_test(test_flood_of_empty_records_is_cut_off),
		cmocka_unit_test(test_key_updates_are_followed),
		cmocka_unit_test(test_flood_of_key_updates_is_cut_off),
		cmocka_unit_test(test_rekey_by_us),
		cmocka_unit_test(test_keys_are_not_used_up),
		cmocka_unit_test(test_full_output_buffer),
		cmocka_unit_test(test_record_has_a_name),
	};

	int failed = cmocka_run_group_tests_name("ours", tests, tls_setup, tls_teardown);

	is_library = true;
	return failed + cmocka_run_group_tests_name("BoringSSL's", tests, tls_setup, tls_teardown);
}
