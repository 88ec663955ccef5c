/* SPDX-License-Identifier: ISC */
/* ktls_keys.c - from a finished handshake to what the kernel wants to know (RFC 5246 6.3, RFC 8446 7). */
#include "tls/ktls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/digest.h>
#include <openssl/hkdf.h>
#include <openssl/tls1.h>

#include <postern/base/secret.h>

#define KEY_BLOCK_MAX (2 * (32 + 12))
#define GCM_FIXED_IV  4

static size_t key_len(enum pn_ktls_cipher cipher)
{
	return cipher == PN_KTLS_AES_128_GCM ? 16 : 32;
}

static bool cipher_of(uint16_t suite_id, enum pn_ktls_cipher *ret)
{
	switch (suite_id) {
	case TLS1_CK_AES_128_GCM_SHA256 & 0xffff:
	case TLS1_CK_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 & 0xffff:
	case TLS1_CK_ECDHE_RSA_WITH_AES_128_GCM_SHA256 & 0xffff:
		*ret = PN_KTLS_AES_128_GCM;
		return true;
	case TLS1_CK_AES_256_GCM_SHA384 & 0xffff:
	case TLS1_CK_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 & 0xffff:
	case TLS1_CK_ECDHE_RSA_WITH_AES_256_GCM_SHA384 & 0xffff:
		*ret = PN_KTLS_AES_256_GCM;
		return true;
	case TLS1_CK_CHACHA20_POLY1305_SHA256 & 0xffff:
	case TLS1_CK_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 & 0xffff:
	case TLS1_CK_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 & 0xffff:
		*ret = PN_KTLS_CHACHA20_POLY1305;
		return true;
	default:
		return false;
	}
}

bool pn_ktls_suite_of(const SSL *ssl, struct pn_ktls_suite *ret)
{
	const SSL_CIPHER *c = SSL_get_current_cipher(ssl);

	ret->version = (uint16_t)SSL_version(ssl);
	if (!c || (ret->version != TLS1_2_VERSION && ret->version != TLS1_3_VERSION) ||
	    !cipher_of(SSL_CIPHER_get_protocol_id(c), &ret->cipher))
		return false;
	ret->digest = EVP_get_digestbynid(SSL_CIPHER_get_prf_nid(c));
	return ret->digest && EVP_MD_size(ret->digest) <= PN_KTLS_SECRET_MAX_BYTES;
}

struct pn_ktls_ability pn_ktls_suite_ability(const struct pn_ktls_suite *suite)
{
	return pn_ktls_probe()->ciphers[suite->version == TLS1_3_VERSION][suite->cipher];
}

/* HKDF-Expand-Label with an empty context (RFC 8446 7.1). */
static bool expand_label(const struct pn_ktls_suite *suite, const uint8_t *secret,
			 const char *label, uint8_t *ret, size_t len)
{
	uint8_t info[64];
	size_t label_len = strlen(label);
	size_t used = 0;

	info[used++] = 0;
	info[used++] = (uint8_t)len;
	info[used++] = (uint8_t)(6 + label_len);
	memcpy(info + used, "tls13 ", 6);
	used += 6;
	memcpy(info + used, label, label_len);
	used += label_len;
	info[used++] = 0;
	return HKDF_expand(ret, len, suite->digest, secret, EVP_MD_size(suite->digest), info,
			   used) == 1;
}

/* Key and IV of the traffic secret (RFC 8446 7.3). */
static int expand_keys(const struct pn_ktls_suite *suite, struct pn_ktls_secret *s)
{
	if (!expand_label(suite, s->data, "key", s->key, key_len(suite->cipher)) ||
	    !expand_label(suite, s->data, "iv", s->iv, sizeof(s->iv)))
		return -ENOMEM;
	return 0;
}

int pn_ktls_secret_update(const struct pn_ktls_suite *suite, struct pn_ktls_secret *secret)
{
	uint8_t next[PN_KTLS_SECRET_MAX_BYTES];
	size_t len = EVP_MD_size(suite->digest);

	if (suite->version != TLS1_3_VERSION)
		return -EINVAL;
	if (!expand_label(suite, secret->data, "traffic upd", next, len))
		return -ENOMEM;
	memcpy(secret->data, next, len);
	pn_wipe(next, sizeof(next));
	secret->sequence = 0;
	return expand_keys(suite, secret);
}

static int secrets_tls13(const SSL *ssl, const struct pn_ktls_suite *suite,
			 struct pn_ktls_secret *receive, struct pn_ktls_secret *send)
{
	const uint8_t *receive_secret;
	const uint8_t *send_secret;
	size_t len;

	if (!pn_ktls_traffic_secrets(ssl, &receive_secret, &send_secret, &len) ||
	    len != EVP_MD_size(suite->digest))
		return -EINVAL;
	memcpy(receive->data, receive_secret, len);
	memcpy(send->data, send_secret, len);
	if (expand_keys(suite, receive) != 0 || expand_keys(suite, send) != 0)
		return -EINVAL;
	return 0;
}

/* The block: client key, server key, client IV, server IV (RFC 5246 6.3; the suites have no MAC). */
static int secrets_tls12(const SSL *ssl, const struct pn_ktls_suite *suite, bool is_server,
			 struct pn_ktls_secret *receive, struct pn_ktls_secret *send)
{
	uint8_t block[KEY_BLOCK_MAX];
	size_t key = key_len(suite->cipher);
	size_t iv = suite->cipher == PN_KTLS_CHACHA20_POLY1305 ? 12 : GCM_FIXED_IV;
	size_t len = SSL_get_key_block_len(ssl);
	struct pn_ktls_secret *client = is_server ? receive : send;
	struct pn_ktls_secret *server = is_server ? send : receive;

	if (len != 2 * (key + iv) || !SSL_generate_key_block(ssl, block, len)) {
		pn_wipe(block, sizeof(block));
		return -EINVAL;
	}
	memcpy(client->key, block, key);
	memcpy(server->key, block + key, key);
	memcpy(client->iv, block + 2 * key, iv);
	memcpy(server->iv, block + 2 * key + iv, iv);
	pn_wipe(block, sizeof(block));
	return 0;
}

int pn_ktls_secrets_of(const SSL *ssl, const struct pn_ktls_suite *suite, bool is_server,
		       struct pn_ktls_secret *receive, struct pn_ktls_secret *send)
{
	memset(receive, 0, sizeof(*receive));
	memset(send, 0, sizeof(*send));
	receive->sequence = SSL_get_read_sequence(ssl);
	send->sequence = SSL_get_write_sequence(ssl);
	return suite->version == TLS1_3_VERSION
		       ? secrets_tls13(ssl, suite, receive, send)
		       : secrets_tls12(ssl, suite, is_server, receive, send);
}

static void put_sequence(uint8_t ret[8], uint64_t sequence)
{
	for (int i = 7; i >= 0; i--) {
		ret[i] = (uint8_t)sequence;
		sequence >>= 8;
	}
}

/* What the kernel calls salt and IV: 1.3 splits the IV; 1.2 has the fixed octets and sends the rest
 * with each record, for which the sequence number serves (RFC 5288 3), as in BoringSSL. */
static void put_gcm_nonce(const struct pn_ktls_suite *suite, const struct pn_ktls_secret *secret,
			  uint8_t salt[4], uint8_t iv[8])
{
	memcpy(salt, secret->iv, GCM_FIXED_IV);
	if (suite->version == TLS1_3_VERSION)
		memcpy(iv, secret->iv + GCM_FIXED_IV, 8);
	else
		put_sequence(iv, secret->sequence);
}

socklen_t pn_ktls_crypto_info_make(const struct pn_ktls_suite *suite,
				   const struct pn_ktls_secret *secret,
				   union pn_ktls_crypto_info *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->info.version = suite->version == TLS1_3_VERSION ? TLS_1_3_VERSION : TLS_1_2_VERSION;
	switch (suite->cipher) {
	case PN_KTLS_AES_128_GCM:
		ret->info.cipher_type = TLS_CIPHER_AES_GCM_128;
		memcpy(ret->aes_128_gcm.key, secret->key, sizeof(ret->aes_128_gcm.key));
		put_gcm_nonce(suite, secret, ret->aes_128_gcm.salt, ret->aes_128_gcm.iv);
		put_sequence(ret->aes_128_gcm.rec_seq, secret->sequence);
		return sizeof(ret->aes_128_gcm);
	case PN_KTLS_AES_256_GCM:
		ret->info.cipher_type = TLS_CIPHER_AES_GCM_256;
		memcpy(ret->aes_256_gcm.key, secret->key, sizeof(ret->aes_256_gcm.key));
		put_gcm_nonce(suite, secret, ret->aes_256_gcm.salt, ret->aes_256_gcm.iv);
		put_sequence(ret->aes_256_gcm.rec_seq, secret->sequence);
		return sizeof(ret->aes_256_gcm);
	case PN_KTLS_CHACHA20_POLY1305:
	case PN_KTLS_CIPHER_COUNT:
		break;
	}
	ret->info.cipher_type = TLS_CIPHER_CHACHA20_POLY1305;
	memcpy(ret->chacha20_poly1305.key, secret->key, sizeof(ret->chacha20_poly1305.key));
	memcpy(ret->chacha20_poly1305.iv, secret->iv, sizeof(ret->chacha20_poly1305.iv));
	put_sequence(ret->chacha20_poly1305.rec_seq, secret->sequence);
	return sizeof(ret->chacha20_poly1305);
}
