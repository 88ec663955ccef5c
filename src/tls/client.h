/* SPDX-License-Identifier: ISC */
/* client.h - the inside of pn_tls_client, for verify.c. Immutable after creation. */
#ifndef POSTERN_TLS_CLIENT_H
#define POSTERN_TLS_CLIENT_H

#include <stdatomic.h>

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <postern/tls/crypto.h>
#include <postern/tls/tls.h>

struct pn_tls_client {
	atomic_uint references;
	SSL_CTX *ctx;
	X509_STORE *roots; /* NULL: nothing can be verified */
	bool is_verify_required;
	uint8_t roots_digest[PN_SHA256_LEN]; /* of the PEM text */
};

/* verify.c: BoringSSL's question whether the peer's certificate will do. */
enum ssl_verify_result_t pn_tls_verify_peer(SSL *ssl, uint8_t *out_alert);

#endif
