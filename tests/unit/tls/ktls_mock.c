/* SPDX-License-Identifier: ISC */
/* ktls_mock.c - see ktls_mock.h. */
#include "ktls_mock.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include <openssl/aead.h>
#include <openssl/err.h>

#include "tls/conn.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

struct mock mock;

static int answer(int error)
{
	errno = error;
	return error ? -1 : 0;
}

static int mock_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	assert_int_equal(fd, MOCK_FD);
	if (level == IPPROTO_TCP) {
		assert_int_equal(name, TCP_ULP);
		assert_string_equal(value, "tls");
		mock.ulp_calls++;
		return answer(mock.ulp_error);
	}
	assert_int_equal(level, SOL_TLS);
	if (name == TLS_RX_EXPECT_NO_PAD) {
		mock.no_pad_calls++;
		return 0;
	}
	assert_true(name == TLS_RX || name == TLS_TX);
	assert_true(len <= sizeof(mock.rx));
	if (name == TLS_RX)
		mock.rx_calls++;
	else
		mock.tx_calls++;
	if (name == TLS_RX ? mock.rx_error : mock.tx_error)
		return answer(name == TLS_RX ? mock.rx_error : mock.tx_error);
	memcpy(name == TLS_RX ? &mock.rx : &mock.tx, value, len);
	return 0;
}

static ssize_t mock_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
	struct mock_record *r = &mock.sent[mock.sent_count];

	assert_int_equal(fd, MOCK_FD);
	assert_int_equal(flags, MSG_DONTWAIT | MSG_NOSIGNAL);
	assert_int_equal(cmsg->cmsg_level, SOL_TLS);
	assert_int_equal(cmsg->cmsg_type, TLS_SET_RECORD_TYPE);
	if (mock.send_error)
		return answer(mock.send_error);
	if (mock.is_send_short)
		return 1;
	assert_true(mock.sent_count < MOCK_LIMIT && msg->msg_iov->iov_len <= sizeof(r->data));
	r->type = *CMSG_DATA(cmsg);
	r->len = msg->msg_iov->iov_len;
	memcpy(r->data, msg->msg_iov->iov_base, r->len);
	mock.sent_count++;
	return (ssize_t)r->len;
}

static ssize_t mock_recvmsg(int fd, struct msghdr *msg, int flags)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
	const struct mock_record *r = &mock.queue[mock.queue_first];

	assert_int_equal(fd, MOCK_FD);
	assert_int_equal(flags, MSG_DONTWAIT);
	mock.receive_calls++;
	if (mock.receive_error)
		return answer(mock.receive_error);
	if (mock.queue_first == mock.queue_end)
		return answer(EAGAIN);
	mock.queue_first++;
	if (mock.is_type_missing) {
		msg->msg_controllen = 0;
	} else {
		cmsg->cmsg_level = SOL_TLS;
		cmsg->cmsg_type = TLS_GET_RECORD_TYPE;
		cmsg->cmsg_len = CMSG_LEN(1);
		*CMSG_DATA(cmsg) = r->type;
	}
	memcpy(msg->msg_iov->iov_base, r->data, r->len);
	return (ssize_t)r->len;
}

void mock_begin(bool has_rekey)
{
	static const struct pn_ktls_kernel kernel = { mock_setsockopt, mock_sendmsg, mock_recvmsg };
	struct pn_ktls_support support = { .has_no_pad = true, .has_rekey = has_rekey };

	memset(&mock, 0, sizeof(mock));
	for (unsigned i = 0; i < PN_KTLS_VERSION_COUNT * PN_KTLS_CIPHER_COUNT; i++)
		support.ciphers[i / PN_KTLS_CIPHER_COUNT][i % PN_KTLS_CIPHER_COUNT] =
			(struct pn_ktls_ability){ true, true };
	pn_ktls_probe_set(&support);
	pn_ktls_kernel = &kernel;
}

void mock_queue(uint8_t type, const void *data, size_t len)
{
	struct mock_record *r = &mock.queue[mock.queue_end++];

	assert_true(mock.queue_end <= MOCK_LIMIT && len <= sizeof(r->data));
	r->type = type;
	r->len = len;
	memcpy(r->data, data, len);
}

/* ---- what a kernel does with the keys ---- */

struct parts {
	const EVP_AEAD *aead;
	const uint8_t *key;
	size_t key_len;
	uint8_t iv[12];
	uint8_t *sequence;
	uint8_t *explicit_iv; /* GCM of TLS 1.2, else NULL */
	bool is_tls13;
};

static struct parts parts_of(union pn_ktls_crypto_info *i)
{
	struct parts p = { .is_tls13 = i->info.version == TLS_1_3_VERSION };

	switch (i->info.cipher_type) {
	case TLS_CIPHER_AES_GCM_128:
		p.aead = EVP_aead_aes_128_gcm();
		p.key = i->aes_128_gcm.key;
		p.key_len = sizeof(i->aes_128_gcm.key);
		memcpy(p.iv, i->aes_128_gcm.salt, 4);
		memcpy(p.iv + 4, i->aes_128_gcm.iv, 8);
		p.sequence = i->aes_128_gcm.rec_seq;
		p.explicit_iv = p.is_tls13 ? NULL : i->aes_128_gcm.iv;
		break;
	case TLS_CIPHER_AES_GCM_256:
		p.aead = EVP_aead_aes_256_gcm();
		p.key = i->aes_256_gcm.key;
		p.key_len = sizeof(i->aes_256_gcm.key);
		memcpy(p.iv, i->aes_256_gcm.salt, 4);
		memcpy(p.iv + 4, i->aes_256_gcm.iv, 8);
		p.sequence = i->aes_256_gcm.rec_seq;
		p.explicit_iv = p.is_tls13 ? NULL : i->aes_256_gcm.iv;
		break;
	default:
		assert_int_equal(i->info.cipher_type, TLS_CIPHER_CHACHA20_POLY1305);
		p.aead = EVP_aead_chacha20_poly1305();
		p.key = i->chacha20_poly1305.key;
		p.key_len = sizeof(i->chacha20_poly1305.key);
		memcpy(p.iv, i->chacha20_poly1305.iv, 12);
		p.sequence = i->chacha20_poly1305.rec_seq;
		break;
	}
	return p;
}

static void count_on(uint8_t number[8])
{
	for (int i = 7; i >= 0 && ++number[i] == 0; i--)
		continue;
}

/* Nonce and additional data of the next record; explicit: of the record at hand. */
static size_t prepare(const struct parts *p, const uint8_t *explicit_iv, uint8_t type,
		      size_t plain_len, size_t sealed_len, uint8_t nonce[12], uint8_t ad[13])
{
	size_t len = p->is_tls13 ? sealed_len : plain_len;
	size_t used = 0;

	memcpy(nonce, p->iv, 12);
	if (explicit_iv) {
		memcpy(nonce + 4, explicit_iv, 8);
	} else {
		for (int i = 0; i < 8; i++)
			nonce[4 + i] ^= p->sequence[i];
	}
	if (!p->is_tls13) {
		memcpy(ad, p->sequence, 8);
		used = 8;
	}
	ad[used++] = type;
	ad[used++] = 3;
	ad[used++] = 3;
	ad[used++] = (uint8_t)(len >> 8);
	ad[used++] = (uint8_t)len;
	return used;
}

uint8_t mock_open(union pn_ktls_crypto_info *info, struct pn_buf *in, uint8_t *ret, size_t *ret_len)
{
	struct parts p = parts_of(info);
	const uint8_t *record = pn_buf_ptr(in);
	size_t explicit_len = p.explicit_iv ? 8 : 0;
	size_t body = (size_t)record[3] << 8 | record[4];
	size_t sealed = body - explicit_len;
	uint8_t type = record[0];
	uint8_t nonce[12], ad[13];
	EVP_AEAD_CTX ctx;
	size_t ad_len;

	assert_true(pn_buf_len(in) >= 5 + body);
	ad_len = prepare(&p, explicit_len ? record + 5 : NULL, type, sealed - 16, body, nonce, ad);
	assert_int_equal(EVP_AEAD_CTX_init(&ctx, p.aead, p.key, p.key_len, 16, NULL), 1);
	assert_int_equal(EVP_AEAD_CTX_open(&ctx, ret, ret_len, sealed, nonce, 12,
					   record + 5 + explicit_len, sealed, ad, ad_len),
			 1);
	EVP_AEAD_CTX_cleanup(&ctx);
	count_on(p.sequence);
	pn_buf_consume(in, 5 + body);
	if (p.is_tls13)
		type = ret[--*ret_len];
	return type;
}

void mock_seal(union pn_ktls_crypto_info *info, uint8_t type, const void *data, size_t len,
	       struct pn_buf *out)
{
	struct parts p = parts_of(info);
	size_t explicit_len = p.explicit_iv ? 8 : 0;
	uint8_t plain[256], sealed[300], nonce[12], ad[13], header[5];
	size_t plain_len = len, sealed_len, ad_len;
	EVP_AEAD_CTX ctx;

	assert_true(len < sizeof(plain));
	memcpy(plain, data, len);
	if (p.is_tls13)
		plain[plain_len++] = type;
	ad_len = prepare(&p, p.explicit_iv, p.is_tls13 ? 23 : type, len, plain_len + 16, nonce, ad);
	assert_int_equal(EVP_AEAD_CTX_init(&ctx, p.aead, p.key, p.key_len, 16, NULL), 1);
	assert_int_equal(EVP_AEAD_CTX_seal(&ctx, sealed, &sealed_len, sizeof(sealed), nonce, 12,
					   plain, plain_len, ad, ad_len),
			 1);
	EVP_AEAD_CTX_cleanup(&ctx);
	memcpy(header,
	       (uint8_t[]){ p.is_tls13 ? 23 : type, 3, 3,
			    (uint8_t)((sealed_len + explicit_len) >> 8),
			    (uint8_t)(sealed_len + explicit_len) },
	       5);
	assert_int_equal(pn_buf_append(out, header, 5), 0);
	if (explicit_len)
		assert_int_equal(pn_buf_append(out, p.explicit_iv, 8), 0);
	assert_int_equal(pn_buf_append(out, sealed, sealed_len), 0);
	count_on(p.sequence);
	if (p.explicit_iv)
		count_on(p.explicit_iv);
}

/* ---- two ends ---- */

void raw_write(struct end *client, struct end *server, const void *data, size_t len)
{
	client->io.out = &server->in;
	assert_int_equal(SSL_write(client->ssl, data, (int)len), (int)len);
	client->io.out = NULL;
}

void raw_expect(struct end *client, const char *text)
{
	char got[256];
	struct pn_buf drop;
	int n;

	pn_buf_init(&drop, 65536);
	client->io.in = pn_buf_slice(&client->in);
	client->io.out = &drop;
	n = SSL_read(client->ssl, got, sizeof(got));
	pn_buf_consume(&client->in, pn_buf_len(&client->in) - client->io.in.len);
	client->io.in = PN_SLICE_NULL;
	client->io.out = NULL;
	pn_buf_free(&drop);
	ERR_clear_error();
	assert_int_equal(n, strlen(text));
	assert_memory_equal(got, text, strlen(text));
}

void ktls_connect(struct end *client, struct end *server, uint16_t version, const char *suites)
{
	struct pn_tls_server *s =
		tls_server("ecdsa", (struct pn_tls_server_settings){ .has_tls12 = true });
	SSL_CTX *ctx = raw_context(version, version);

	if (suites)
		assert_int_equal(SSL_CTX_set_strict_cipher_list(ctx, suites), 1);
	end_init_raw(client, SSL_new(ctx));
	SSL_CTX_free(ctx);
	end_init_server(server, s);
	pn_tls_server_unref(s);
	pn_tls_conn_set_socket(server->conn, MOCK_FD, true);
	shake(client, server, WHOLE);
	assert_int_equal(client->status, PN_RECORD_OK);
	end_finish(server, client);
	/* Not before the server has said something: its tickets ride with that. */
	assert_false(server->record->wants_quiet);
	end_send(server, client, "hello", 5);
	raw_expect(client, "hello");
}

void ktls_quiet(struct end *e, struct end *peer)
{
	e->record = pn_record_quiet(e->record, &peer->in);
}

void ktls_moved(struct end *client, struct end *server, uint16_t version, const char *suites)
{
	ktls_connect(client, server, version, suites);
	assert_true(server->record->wants_quiet);
	ktls_quiet(server, client);
	assert_string_equal(server->record->ops->name, "kernel");
	assert_false(server->record->wants_quiet);
}

void ktls_end(struct end *client, struct end *server)
{
	end_free(client);
	end_free(server);
	assert_int_equal(pn_ktls_counter_get(PN_KTLS_C_sessions), 0);
}
