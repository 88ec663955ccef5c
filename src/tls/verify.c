/* SPDX-License-Identifier: ISC */
/*
 * verify.c - is the upstream's certificate what the configuration asks for? (RFC 7817 3, RFC 6125
 * 6, RFC 9325 4.5)
 *
 * The reference identity is the configured name alone; names that came out of the DNS are none (RFC
 * 9325 7.1). Where the configuration does not require a match the handshake goes on, and the facts
 * say that nothing was verified.
 */
#include "tls/client.h"

#include <openssl/err.h>
#include <openssl/pool.h>

#include "tls/conn.h"
#include "tls/policy.h"

struct verdict {
	const char *problem; /* NULL: all is well; static text */
	uint8_t alert;
};

static struct verdict verdict_bad(const char *problem, int alert)
{
	return (struct verdict){ .problem = problem, .alert = (uint8_t)alert };
}

static struct verdict verify_name(const struct pn_tls_conn *conn, X509 *leaf)
{
	struct pn_tls_names names;
	bool is_match;

	if (conn->ip_len > 0) {
		is_match = pn_tls_names_match_ip(leaf, conn->ip, conn->ip_len);
	} else {
		if (pn_tls_names_read(leaf, true, &names) != 0)
			return verdict_bad("out of memory", SSL_AD_INTERNAL_ERROR);
		is_match = pn_tls_names_match(&names, conn->name);
		pn_tls_names_free(&names);
	}
	return is_match ? verdict_bad(NULL, 0)
			: verdict_bad("certificate name mismatch", SSL_AD_BAD_CERTIFICATE);
}

/* Key sizes and hashes of everything below the root. */
static struct verdict verify_strength(X509_STORE_CTX *store_ctx)
{
	STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(store_ctx);
	size_t count = sk_X509_num(chain);

	for (size_t i = 0; i < count; i++) {
		X509 *x = sk_X509_value(chain, i);
		EVP_PKEY *key;
		const char *problem;

		/* The root, and a leaf that is itself a root, are trusted as they are. */
		if (i + 1 == count && i > 0)
			break;
		if (count > 1 && pn_tls_policy_is_weak_signature(X509_get_signature_nid(x)))
			return verdict_bad("certificate signed with a broken hash",
					   SSL_AD_BAD_CERTIFICATE);
		if (i > 0)
			continue;
		key = X509_get_pubkey(x);
		problem = key ? pn_tls_policy_key_problem(key) : "its key cannot be read";
		EVP_PKEY_free(key);
		if (problem)
			return verdict_bad("certificate with an unacceptable key",
					   SSL_AD_BAD_CERTIFICATE);
	}
	return verdict_bad(NULL, 0);
}

static struct verdict verify_chain(const struct pn_tls_client *c, X509 *leaf,
				   STACK_OF(X509) * others)
{
	X509_STORE_CTX *store_ctx = X509_STORE_CTX_new();
	struct verdict verdict = verdict_bad("out of memory", SSL_AD_INTERNAL_ERROR);

	if (store_ctx && X509_STORE_CTX_init(store_ctx, c->roots, leaf, others) &&
	    X509_STORE_CTX_set_default(store_ctx, "ssl_server")) {
		if (X509_verify_cert(store_ctx) == 1) {
			verdict = verify_strength(store_ctx);
		} else {
			int error = X509_STORE_CTX_get_error(store_ctx);

			verdict = verdict_bad(X509_verify_cert_error_string(error),
					      SSL_alert_from_verify_result(error));
		}
	}
	X509_STORE_CTX_free(store_ctx);
	return verdict;
}

/* The peer's certificates, leaf first; NULL when one does not decode. */
static STACK_OF(X509) * peer_chain(const SSL *ssl)
{
	const STACK_OF(CRYPTO_BUFFER) *ders = SSL_get0_peer_certificates(ssl);
	STACK_OF(X509) *chain = sk_X509_new_null();

	for (size_t i = 0; chain && i < sk_CRYPTO_BUFFER_num(ders); i++) {
		X509 *x = X509_parse_from_buffer(sk_CRYPTO_BUFFER_value(ders, i));

		if (!x || !sk_X509_push(chain, x)) {
			X509_free(x);
			sk_X509_pop_free(chain, X509_free);
			return NULL;
		}
	}
	return chain;
}

static struct verdict verify(const struct pn_tls_conn *conn)
{
	struct verdict verdict = verdict_bad("certificate does not decode", SSL_AD_BAD_CERTIFICATE);
	STACK_OF(X509) * chain;

	if (!conn->client->roots)
		return verdict_bad("no trusted roots", SSL_AD_UNKNOWN_CA);
	chain = peer_chain(conn->ssl);
	if (chain && sk_X509_num(chain) > 0) {
		verdict = verify_chain(conn->client, sk_X509_value(chain, 0), chain);
		if (!verdict.problem)
			verdict = verify_name(conn, sk_X509_value(chain, 0));
	}
	sk_X509_pop_free(chain, X509_free);
	return verdict;
}

enum ssl_verify_result_t pn_tls_verify_peer(SSL *ssl, uint8_t *out_alert)
{
	struct pn_tls_conn *conn = pn_tls_io_of(ssl)->conn;
	struct verdict verdict = verify(conn);

	ERR_clear_error();
	conn->is_verified = !verdict.problem;
	if (conn->is_verified || !conn->client->is_verify_required)
		return ssl_verify_ok;
	conn->error = verdict.problem;
	*out_alert = verdict.alert;
	return ssl_verify_invalid;
}
