/* SPDX-License-Identifier: ISC */
/*
 * keys.h - the keys of the records after a handshake, for whoever protects these in BoringSSL's place:
 * the kernel (ktls.h) or ourselves (record_aead.h).
 */
#ifndef TLS_KEYS_H
#define TLS_KEYS_H

#include <endian.h>
#include <string.h>

#include <openssl/ssl.h>

#include <postern/tls/ktls.h>

#define PN_TLS_SECRET_MAX_BYTES 48
#define PN_TLS_KEY_SIZE         32
#define PN_TLS_IV_LEN           12
#define PN_TLS_GCM_FIXED_IV     4

/* One direction. Secret. */
struct pn_tls_secret {
	uint8_t data[PN_TLS_SECRET_MAX_BYTES]; /* TLS 1.3: the traffic secret */
	uint8_t key[PN_TLS_KEY_SIZE];
	uint8_t iv[PN_TLS_IV_LEN]; /* GCM of TLS 1.2: the four fixed octets */
	uint64_t sequence;         /* of the next record: also how many the key has protected */
};

struct pn_tls_suite {
	uint16_t version; /* TLS1_2_VERSION or TLS1_3_VERSION */
	enum pn_ktls_cipher cipher;
	const EVP_MD *digest; /* of the key schedule */
};

struct pn_tls_keys {
	struct pn_tls_suite suite;
	bool is_server;
	struct pn_tls_secret receive;
	struct pn_tls_secret send;
};

size_t pn_tls_key_len(enum pn_ktls_cipher cipher);
/* Big-endian, as records have it. */
static inline void pn_tls_put_sequence(uint8_t ret[8], uint64_t sequence)
{
	sequence = htobe64(sequence);
	memcpy(ret, &sequence, sizeof(sequence));
}

/* Of a finished handshake. False: none that is known here. */
bool pn_tls_suite_of(const SSL *ssl, struct pn_tls_suite *ret);
/* Keys and sequence numbers of both directions as they are now; ret->suite and is_server are given. 0 or
 * -EINVAL; wiped by the caller. */
int pn_tls_keys_of(const SSL *ssl, struct pn_tls_keys *ret) PN_MUST_CHECK;
/* The next traffic secret with its key (RFC 8446 7.2, 7.3), sequence 0. 0 or -ENOMEM, -EINVAL. */
int pn_tls_secret_update(const struct pn_tls_suite *suite,
			 struct pn_tls_secret *secret) PN_MUST_CHECK;
/* The TLS 1.3 traffic secrets, borrowed from ssl. BoringSSL offers them to C++ only. */
bool pn_tls_traffic_secrets(const SSL *ssl, const uint8_t **receive, const uint8_t **send,
			    size_t *len);

#endif
