/* SPDX-License-Identifier: ISC */
/*
 * certificate.h - one certificate chain with its key, parsed and checked.
 *
 * Errors name the file and the remedy. What only will become a problem (expires soon, an odd order
 * of the chain) is a warning: the certificate is used and the text is kept.
 */
#ifndef POSTERN_TLS_CERTIFICATE_H
#define POSTERN_TLS_CERTIFICATE_H

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <postern/tls/tls.h>

#include "tls/names.h"

#define PN_TLS_CHAIN_MAX 16
/* Days before the end of a certificate from which on there is a warning. */
#define PN_TLS_EXPIRY_WARNING_DAYS 14

enum pn_tls_key_kind {
	PN_TLS_KEY_ECDSA,
	PN_TLS_KEY_RSA,
	PN_TLS_KEY_KIND_COUNT,
};

struct pn_tls_certificate {
	CRYPTO_BUFFER *chain[PN_TLS_CHAIN_MAX]; /* DER, leaf first */
	size_t chain_count;
	EVP_PKEY *key;
	enum pn_tls_key_kind kind;
	uint16_t ecdsa_algorithm; /* the one signature algorithm of an ECDSA key in TLS 1.3 */
	uint16_t ecdsa_group;     /* its curve, which TLS 1.2 clients must support */
	struct pn_tls_names names;
	int64_t not_before_s; /* of the leaf, seconds since 1970 */
	int64_t not_after_s;
	char *chain_path;
	char warning[256]; /* "" when there is none */
	SSL_CTX *ctx;      /* set by server.c */
};

/* Parses and checks. 0, or -1 with err. On failure *ret is empty. */
int pn_tls_certificate_load(struct pn_tls_certificate *ret,
			    const struct pn_tls_certificate_pem *pem, int64_t now_s,
			    struct pn_error *err) PN_MUST_CHECK;
void pn_tls_certificate_clear(struct pn_tls_certificate *c);
/* 0, or -1 with err when the leaf is not valid at now_s; sets the warning when it will soon be
 * over. */
int pn_tls_certificate_check_dates(struct pn_tls_certificate *c, int64_t now_s,
				   struct pn_error *err) PN_MUST_CHECK;
/* "ECDSA" or "RSA" */
const char *pn_tls_key_kind_name(enum pn_tls_key_kind kind);

/* Gets one certificate of a PEM text; borrows der. 0 goes on, anything else stops. */
typedef int (*pn_tls_pem_fn)(void *arg, CRYPTO_BUFFER *der);
/* Calls fn for each CERTIFICATE block. 0, what fn stopped with, or -EBADMSG when a block does not
 * decode (the reason is in BoringSSL's error queue). */
int pn_tls_pem_each(struct pn_slice pem, pn_tls_pem_fn fn, void *arg) PN_MUST_CHECK;

#endif
