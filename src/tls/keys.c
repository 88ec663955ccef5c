/* SPDX-License-Identifier: ISC */
/* keys.c - from a finished handshake to the keys of its records (RFC 5246 6.3, RFC 8446 7). */
#include "tls/keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/digest.h>
#include <openssl/hkdf.h>
#include <openssl/tls1.h>

#include <postern/base/secret.h>

#define KEY_BLOCK_MAX (2 * (32 + 12))

size_t pn_tls_key_len(enum pn_ktls_cipher cipher)
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

bool pn_tls_suite_of(const SSL *ssl, struct pn_tls_suite *ret)
{
	const SSL_CIPHER *c = SSL_get_current_cipher(ssl);

	ret->version = (uint16_t)SSL_version(ssl);
	if (!c || (ret->version != TLS1_2_VERSION && ret->version != TLS1_3_VERSION) ||
	    !cipher_of(SSL_CIPHER_get_protocol_id(c), &ret->cipher))
		return false;
	ret->digest = EVP_get_digestbynid(SSL_CIPHER_get_prf_nid(c));
	return ret->digest && EVP_MD_size(ret->digest) <= PN_TLS_SECRET_MAX_BYTES;
}

/* HKDF-Expand-Label with an empty context (RFC 8446 7.1). */
static bool expand_label(const struct pn_tls_suite *suite, const uint8_t *secret, const char *label,
			 uint8_t *ret, size_t len)
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
static int expand_keys(const struct pn_tls_suite *suite, struct pn_tls_secret *s)
{
	if (!expand_label(suite, s->data, "key", s->key, pn_tls_key_len(suite->cipher)) ||
	    !expand_label(suite, s->data, "iv", s->iv, sizeof(s->iv)))
		return -ENOMEM;
	return 0;
}

int pn_tls_secret_update(const struct pn_tls_suite *suite, struct pn_tls_secret *secret)
{
	uint8_t next[PN_TLS_SECRET_MAX_BYTES];
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

static int secrets_tls13(const SSL *ssl, struct pn_tls_keys *keys)
{
	const uint8_t *receive_secret;
	const uint8_t *send_secret;
	size_t len;

	if (!pn_tls_traffic_secrets(ssl, &receive_secret, &send_secret, &len) ||
	    len != EVP_MD_size(keys->suite.digest))
		return -EINVAL;
	memcpy(keys->receive.data, receive_secret, len);
	memcpy(keys->send.data, send_secret, len);
	if (expand_keys(&keys->suite, &keys->receive) != 0 ||
	    expand_keys(&keys->suite, &keys->send) != 0)
		return -EINVAL;
	return 0;
}

/* The block: client key, server key, client IV, server IV (RFC 5246 6.3; the suites have no MAC). */
static int secrets_tls12(const SSL *ssl, struct pn_tls_keys *keys)
{
	uint8_t block[KEY_BLOCK_MAX];
	size_t key = pn_tls_key_len(keys->suite.cipher);
	size_t iv = keys->suite.cipher == PN_KTLS_CHACHA20_POLY1305 ? 12 : PN_TLS_GCM_FIXED_IV;
	size_t len = SSL_get_key_block_len(ssl);
	struct pn_tls_secret *client = keys->is_server ? &keys->receive : &keys->send;
	struct pn_tls_secret *server = keys->is_server ? &keys->send : &keys->receive;

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

int pn_tls_keys_of(const SSL *ssl, struct pn_tls_keys *ret)
{
	memset(&ret->receive, 0, sizeof(ret->receive));
	memset(&ret->send, 0, sizeof(ret->send));
	ret->receive.sequence = SSL_get_read_sequence(ssl);
	ret->send.sequence = SSL_get_write_sequence(ssl);
	return ret->suite.version == TLS1_3_VERSION ? secrets_tls13(ssl, ret)
						    : secrets_tls12(ssl, ret);
}
