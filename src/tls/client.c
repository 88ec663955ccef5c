/* SPDX-License-Identifier: ISC */
/*
 * client.c - how an upstream is reached: trusted roots, policy, and the name that is asked for.
 *
 * Sessions are not resumed towards upstreams: their connections are kept open and reused instead. The load generator
 * asks for tickets (client_sessions.c).
 */
#include "tls/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "tls/certificate.h"
#include "tls/conn.h"
#include "tls/policy.h"

struct root_count {
	X509_STORE *store;
	size_t count;
};

static int client_add_root(void *arg, CRYPTO_BUFFER *der)
{
	struct root_count *roots = arg;
	X509 *x = X509_parse_from_buffer(der);
	int ok;

	/* Bundles carry an odd certificate now and then: it is no reason to lose the others. */
	if (!x)
		return 0;
	ok = X509_STORE_add_cert(roots->store, x);
	X509_free(x);
	roots->count += ok ? 1 : 0;
	return ok ? 0 : -ENOMEM;
}

static int client_load_roots(struct pn_tls_client *c, const struct pn_tls_client_settings *settings,
			     struct pn_error *err)
{
	const char *path = settings->ca_path ? settings->ca_path : "CA file";
	struct root_count roots = { .store = NULL };
	int result;

	if (settings->ca_pem.len == 0) {
		if (settings->is_verify_required)
			return pn_error_set(err, "certificates shall be verified, but there are no "
						 "trusted roots; name a CA file");
		return 0;
	}
	c->roots = X509_STORE_new();
	if (!c->roots)
		return pn_error_set(err, "out of memory");
	roots.store = c->roots;
	result = pn_tls_pem_each(settings->ca_pem, client_add_root, &roots);
	if (result != 0)
		return pn_error_set(err, "%s: a certificate does not decode (%s)", path,
				    pn_tls_policy_reason("out of memory"));
	if (roots.count == 0)
		return pn_error_set(
			err, "%s: no certificate found; expected trusted roots in PEM format",
			path);
	return 0;
}

struct pn_tls_client *pn_tls_client_new(const struct pn_tls_client_settings *settings,
					struct pn_error *err)
{
	struct pn_tls_client *c = calloc(1, sizeof(*c));

	if (!c) {
		(void)pn_error_set(err, "out of memory");
		return NULL;
	}
	atomic_init(&c->references, 1);
	c->is_verify_required = settings->is_verify_required;
	c->ctx = pn_tls_policy_context_new(true);
	if (!c->ctx) {
		(void)pn_error_set(err, "out of memory");
		pn_tls_client_unref(c);
		return NULL;
	}
	SSL_CTX_set_custom_verify(c->ctx, SSL_VERIFY_PEER, pn_tls_verify_peer);
	if (settings->sessions_max > 0 &&
	    pn_tls_client_sessions_init(c, settings->sessions_max) != 0) {
		(void)pn_error_set(err, "out of memory");
		pn_tls_client_unref(c);
		return NULL;
	}
	if (pn_tls_client_narrow(c->ctx, settings, err) != 0 ||
	    client_load_roots(c, settings, err) != 0) {
		pn_tls_client_unref(c);
		c = NULL;
	}
	ERR_clear_error();
	return c;
}

struct pn_tls_client *pn_tls_client_ref(struct pn_tls_client *c)
{
	/* Relaxed: the caller has a reference already, nothing is published here. */
	atomic_fetch_add_explicit(&c->references, 1, memory_order_relaxed);
	return c;
}

void pn_tls_client_unref(struct pn_tls_client *c)
{
	/* Release and acquire: what other threads did with c is over before the last one frees it.
	 * Pairs with itself. */
	if (!c || atomic_fetch_sub_explicit(&c->references, 1, memory_order_acq_rel) != 1)
		return;
	pn_tls_client_sessions_deinit(c);
	SSL_CTX_free(c->ctx);
	X509_STORE_free(c->roots);
	free(c);
}

SSL_CTX *pn_tls_client_context(const struct pn_tls_client *c)
{
	return c->ctx;
}

/* Octets of an address in text, with or without brackets; 0 when it is none. */
static uint8_t address_parse(const char *name, uint8_t ip[16])
{
	char text[INET6_ADDRSTRLEN];
	size_t len = strlen(name);

	if (len >= 2 && name[0] == '[' && name[len - 1] == ']') {
		name++;
		len -= 2;
	}
	if (len == 0 || len >= sizeof(text))
		return 0;
	memcpy(text, name, len);
	text[len] = '\0';
	if (inet_pton(AF_INET, text, ip) == 1)
		return 4;
	return inet_pton(AF_INET6, text, ip) == 1 ? 16 : 0;
}

int pn_tls_client_set_name(struct pn_tls_conn *conn, const char *name)
{
	conn->ip_len = address_parse(name, conn->ip);
	if (conn->ip_len > 0)
		return 0;
	if (!pn_tls_name_normalize(conn->name, name, strlen(name)) || conn->name[0] == '*')
		return -EINVAL;
	/* RFC 6066 3: the name without a final dot, never an address. */
	if (!SSL_set_tlsext_host_name(conn->ssl, conn->name)) {
		ERR_clear_error();
		return -EINVAL;
	}
	return 0;
}
