/* SPDX-License-Identifier: ISC */
/* aead_peer.c - see aead_peer.h. */
#include "aead_peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

static SSL *raw_server(SSL_CTX *ctx)
{
	char path[512];
	SSL *ssl;

	(void)snprintf(path, sizeof(path), "%s/ecdsa.pem", tls_folder());
	assert_int_equal(SSL_CTX_use_certificate_chain_file(ctx, path), 1);
	(void)snprintf(path, sizeof(path), "%s/ecdsa.key", tls_folder());
	assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM), 1);
	ssl = SSL_new(ctx);
	return ssl;
}

static void shake_as_server(struct link *l, SSL_CTX *ctx)
{
	struct pn_tls_server *s =
		tls_server("ecdsa", (struct pn_tls_server_settings){ .has_tls12 = true });

	end_init_raw(&l->peer, SSL_new(ctx));
	end_init_server(&l->us, s);
	pn_tls_server_unref(s);
	shake(&l->peer, &l->us, WHOLE);
}

static void shake_as_client(struct link *l, SSL_CTX *ctx)
{
	struct pn_tls_client *c = tls_client(true);

	end_init_raw(&l->peer, raw_server(ctx));
	SSL_set_accept_state(l->peer.ssl);
	end_init_client(&l->us, c, "mx.example.test");
	pn_tls_client_unref(c);
	shake(&l->us, &l->peer, WHOLE);
}

void link_open(struct link *l, bool is_server, uint16_t version, const char *suites)
{
	SSL_CTX *ctx = raw_context(version, version);

	if (suites)
		assert_int_equal(SSL_CTX_set_strict_cipher_list(ctx, suites), 1);
	if (is_server)
		shake_as_server(l, ctx);
	else
		shake_as_client(l, ctx);
	SSL_CTX_free(ctx);
	assert_int_equal(l->peer.status, PN_RECORD_OK);
	end_finish(&l->us, &l->peer);
	assert_string_equal(l->us.record->ops->name, "aead");
	peer_write(l, "", 0);
	l->keys.is_server = !is_server;
	assert_true(pn_tls_suite_of(l->peer.ssl, &l->keys.suite));
	assert_int_equal(pn_tls_keys_of(l->peer.ssl, &l->keys), 0);
}

void link_close(struct link *l)
{
	end_free(&l->us);
	end_free(&l->peer);
}

void peer_write(struct link *l, const void *data, size_t len)
{
	l->peer.io.out = &l->us.in;
	assert_int_equal(SSL_write(l->peer.ssl, data, (int)len), (int)len);
	l->peer.io.out = NULL;
}

void peer_update(struct link *l, int request)
{
	assert_int_equal(SSL_key_update(l->peer.ssl, request), 1);
}

void peer_expect(struct link *l, const void *data, size_t len)
{
	uint8_t *got = malloc(len + 1);
	size_t have = 0;

	assert_non_null(got);
	l->peer.io.in = pn_buf_slice(&l->peer.in);
	l->peer.io.out = &l->us.in;
	while (have < len) {
		int n = SSL_read(l->peer.ssl, got + have, (int)(len - have));

		assert_true(n > 0);
		have += (size_t)n;
	}
	assert_memory_equal(got, data, len);
	free(got);
	pn_buf_consume(&l->peer.in, pn_buf_len(&l->peer.in) - l->peer.io.in.len);
	l->peer.io.in = PN_SLICE_NULL;
	l->peer.io.out = NULL;
	ERR_clear_error();
}

void forge_raw(struct link *l, const void *data, size_t len)
{
	assert_int_equal(pn_buf_append(&l->us.in, data, len), 0);
}

void forge(struct link *l, uint8_t type, const void *data, size_t len, size_t zeros)
{
	size_t inner = len + zeros;
	uint8_t *plain = calloc(1, inner + 1);
	size_t size = inner + pn_aead_overhead(&l->keys.suite);

	assert_non_null(plain);
	if (len > 0)
		memcpy(plain, data, len);
	/* The seal puts the last zero where it means to put the type. */
	if (zeros > 0)
		plain[len] = type;
	assert_int_equal(pn_buf_reserve(&l->us.in, size), 0);
	assert_true(pn_aead_seal(&l->keys.suite, &l->keys.send, zeros > 0 ? 0 : type,
				 pn_slice(plain, inner), pn_buf_tail(&l->us.in)));
	pn_buf_commit(&l->us.in, size);
	free(plain);
}

void forge_update(struct link *l, uint8_t request)
{
	const uint8_t message[] = { 24, 0, 0, 1, request };

	forge(l, PN_TLS_TYPE_HANDSHAKE, message, sizeof(message), 0);
	assert_int_equal(pn_tls_secret_update(&l->keys.suite, &l->keys.send), 0);
}

int last_alert(struct link *l)
{
	bool is_tls13 = l->keys.suite.version == TLS1_3_VERSION;
	int description = -1;

	while (pn_buf_len(&l->peer.in) > 0) {
		uint8_t *record = l->peer.in.data + l->peer.in.head;
		size_t record_len = 5 + ((size_t)record[3] << 8 | record[4]);
		uint8_t type = record[0];
		uint8_t *plain;
		size_t len;

		assert_true(record_len <= pn_buf_len(&l->peer.in));
		assert_true(pn_aead_open(&l->keys.suite, &l->keys.receive, record, record_len,
					 &plain, &len));
		if (is_tls13)
			type = plain[--len];
		description = -1;
		if (type == PN_TLS_TYPE_ALERT) {
			assert_int_equal(len, 2);
			assert_int_equal(plain[0], plain[1] == 0 ? 1 : 2);
			description = plain[1];
		}
		pn_buf_consume(&l->peer.in, record_len);
	}
	return description;
}

enum pn_record_status receive(struct link *l)
{
	return end_receive(&l->us, &l->peer, WHOLE);
}
