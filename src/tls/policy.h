/* SPDX-License-Identifier: ISC */
/* policy.h - versions, suites, groups and signature algorithms (RFC 9325): the same for server and
 * client side. */
#ifndef POSTERN_TLS_POLICY_H
#define POSTERN_TLS_POLICY_H

#include <openssl/ssl.h>

#include <postern/base/common.h>

/* A new SSL_CTX with the policy applied, or NULL when out of memory. */
SSL_CTX *pn_tls_policy_context_new(bool has_tls12);
/* A new SSL of ctx that keeps as little memory as possible after its handshake, or NULL when out of
 * memory. */
SSL *pn_tls_policy_ssl_new(SSL_CTX *ctx);
/* Whether the signature hash of a certificate is too weak (RFC 9325 4.5: no SHA-1, no MD5). */
bool pn_tls_policy_is_weak_signature(int signature_nid);
/* NULL when the public key is acceptable (RFC 9325 4.5), else what is wrong with it. */
const char *pn_tls_policy_key_problem(const EVP_PKEY *key);
/* The first reason in BoringSSL's error queue, static text, or `fallback`. Clears the queue (it is
 * per thread). */
const char *pn_tls_policy_reason(const char *fallback);

#endif
