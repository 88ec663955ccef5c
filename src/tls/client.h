/* SPDX-License-Identifier: ISC */
/* client.h - the inside of pn_tls_client, shared by its files. Immutable after creation,
 * except for the tickets (then one thread's). */
#ifndef POSTERN_TLS_CLIENT_H
#define POSTERN_TLS_CLIENT_H

#include <stdatomic.h>

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <postern/tls/tls.h>

struct pn_tls_client {
	atomic_uint references;
	SSL_CTX *ctx;
	X509_STORE *roots; /* NULL: nothing can be verified */
	bool is_verify_required;
	/* A ring of tickets; session_first is the oldest. */
	SSL_SESSION **sessions;
	uint32_t sessions_max, session_first, session_count;
};

/* client_offer.c: applies version, kind of key and groups of the settings. 0 or -EINVAL with err. */
int pn_tls_client_narrow(SSL_CTX *ctx, const struct pn_tls_client_settings *settings,
			 struct pn_error *err) PN_MUST_CHECK;

/* client_sessions.c: keeps the tickets that come. 0 or -ENOMEM. */
int pn_tls_client_sessions_init(struct pn_tls_client *c, uint32_t sessions_max) PN_MUST_CHECK;
void pn_tls_client_sessions_deinit(struct pn_tls_client *c);

/* verify.c: BoringSSL's question whether the peer's certificate will do. */
enum ssl_verify_result_t pn_tls_verify_peer(SSL *ssl, uint8_t *out_alert);

#endif
