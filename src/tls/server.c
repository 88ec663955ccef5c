/* SPDX-License-Identifier: ISC */
/*
 * server.c - what a listener offers: certificates, tickets, ALPN. Built by set-up code, then shared
 * by all threads.
 *
 * A client certificate is never asked for (RFC 8314 4.2). Early data is never accepted (RFC
 * 9325 3.10).
 */
#include "tls/server.h"

#include <stdlib.h>

#include <openssl/err.h>

#include <postern/base/clock.h>
#include <postern/tls/crypto.h>

#include "tls/conn.h"
#include "tls/gcm.h"
#include "tls/policy.h"
#include "tls/tickets.h"

/* RFC 9325 3.4: sessions of TLS 1.2 have no forward secrecy against their ticket key, so theirs are
 * short. */
#define TLS12_SESSION_MAX_S (2 * 60 * 60)

/* RFC 9325 3.8: a client that offers protocols must offer ours. The list is well-formed: BoringSSL
 * has checked it. */
static int server_select_alpn(SSL *ssl, const uint8_t **out, uint8_t *out_len, const uint8_t *in,
			      unsigned in_len, void *arg)
{
	static const uint8_t smtp[] = { 's', 'm', 't', 'p' };

	(void)ssl;
	(void)arg;
	for (unsigned at = 0; at < in_len && in[at] < in_len - at; at += 1U + in[at]) {
		if (in[at] == sizeof(smtp) && memcmp(in + at + 1, smtp, sizeof(smtp)) == 0) {
			*out = smtp;
			*out_len = sizeof(smtp);
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/*
 * Sessions resume between servers with the same settings, also across SNI names and reloads (the
 * certificates are left out), and between no others.
 */
static bool server_set_session_context(SSL_CTX *ctx, const struct pn_tls_server_settings *settings)
{
	uint8_t description[] = { 'p', 'n', '1', settings->has_tls12, settings->sni_strict };
	uint8_t id[PN_SHA256_LEN];

	_Static_assert(PN_SHA256_LEN <= SSL_MAX_SID_CTX_LENGTH, "session id context");
	pn_sha256(id, pn_slice(description, sizeof(description)));
	return SSL_CTX_set_session_id_context(ctx, id, sizeof(id)) == 1;
}

static void server_set_tickets(SSL_CTX *ctx, const struct pn_tls_server *s)
{
	uint32_t lifetime_s;

	if (!s->tickets) {
		SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
		return;
	}
	lifetime_s = pn_tls_tickets_ticket_lifetime_s(s->tickets);
	SSL_CTX_set_ticket_aead_method(ctx, &pn_tls_ticket_method);
	SSL_CTX_set_session_psk_dhe_timeout(ctx, lifetime_s);
	SSL_CTX_set_timeout(ctx,
			    lifetime_s < TLS12_SESSION_MAX_S ? lifetime_s : TLS12_SESSION_MAX_S);
	/* A mail client opens one connection after another and gets a new ticket with each. */
	SSL_CTX_set_num_tickets(ctx, 1);
}

static int server_make_context(struct pn_tls_server *s, struct pn_tls_certificate *c,
			       const struct pn_tls_server_settings *settings, struct pn_error *err)
{
	c->ctx = pn_tls_policy_context_new(settings->has_tls12);
	if (!c->ctx || !server_set_session_context(c->ctx, settings))
		return pn_error_set(err, "out of memory");
	if (!SSL_CTX_set_chain_and_key(c->ctx, c->chain, c->chain_count, c->key, NULL))
		return pn_error_set(err, "%s: certificate and key cannot be used: %s",
				    c->chain_path, pn_tls_policy_reason("out of memory"));
	server_set_tickets(c->ctx, s);
	SSL_CTX_set_alpn_select_cb(c->ctx, server_select_alpn, NULL);
	pn_tls_sni_install(c->ctx);
	return 0;
}

static void server_free(struct pn_tls_server *s)
{
	pn_tls_sni_clear(s);
	for (size_t i = 0; i < s->certificate_count; i++)
		pn_tls_certificate_clear(&s->certificates[i]);
	free(s->certificates);
	free(s);
}

static int server_load(struct pn_tls_server *s, const struct pn_tls_server_settings *settings,
		       struct pn_error *err)
{
	int64_t now_s = (int64_t)(pn_clock_wall_ms() / 1000);

	for (size_t i = 0; i < settings->certificate_count; i++) {
		struct pn_tls_certificate *c = &s->certificates[i];

		if (pn_tls_certificate_load(c, &settings->certificates[i], now_s, err) != 0)
			return -1;
		s->certificate_count++;
		if (server_make_context(s, c, settings, err) != 0)
			return -1;
	}
	if (pn_tls_sni_build(s) != 0)
		return pn_error_set(err, "out of memory");
	return 0;
}

struct pn_tls_server *pn_tls_server_new(const struct pn_tls_server_settings *settings,
					struct pn_error *err)
{
	struct pn_tls_server *s;

	/* Here, not in the first handshake of a loop. */
	(void)pn_gcm_is_usable();
	if (settings->certificate_count == 0) {
		(void)pn_error_set(err, "no TLS certificate is configured");
		return NULL;
	}
	s = calloc(1, sizeof(*s));
	if (s)
		s->certificates = calloc(settings->certificate_count, sizeof(*s->certificates));
	if (!s || !s->certificates) {
		free(s);
		(void)pn_error_set(err, "out of memory");
		return NULL;
	}
	atomic_init(&s->references, 1);
	s->is_sni_strict = settings->sni_strict;
	s->tickets = settings->has_tickets ? settings->tickets : NULL;
	if (server_load(s, settings, err) != 0) {
		server_free(s);
		ERR_clear_error();
		return NULL;
	}
	return s;
}

struct pn_tls_server *pn_tls_server_ref(struct pn_tls_server *s)
{
	/* Relaxed: the caller has a reference already, nothing is published here. */
	atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);
	return s;
}

void pn_tls_server_unref(struct pn_tls_server *s)
{
	/* Release and acquire: what other threads did with s is over before the last one frees it.
	 * Pairs with itself. */
	if (s && atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) == 1)
		server_free(s);
}

size_t pn_tls_server_certificate_count(const struct pn_tls_server *s)
{
	return s->certificate_count;
}

void pn_tls_server_certificate_info(const struct pn_tls_server *s, size_t index,
				    struct pn_tls_certificate_info *ret)
{
	const struct pn_tls_certificate *c;

	PN_ASSERT(index < s->certificate_count);
	c = &s->certificates[index];
	*ret = (struct pn_tls_certificate_info){
		.path = c->chain_path,
		.key_kind = pn_tls_key_kind_name(c->kind),
		.first_name = c->names.count > 0 ? c->names.list[0] : "",
		.name_count = c->names.count,
		.not_after_s = c->not_after_s,
		.warning = c->warning,
	};
}

/* The context that a connection starts with: of the certificate that most clients will get. */
SSL_CTX *pn_tls_server_context(const struct pn_tls_server *s)
{
	const struct pn_tls_certificate *ecdsa = s->defaults.by_kind[PN_TLS_KEY_ECDSA];

	return ecdsa ? ecdsa->ctx : s->defaults.by_kind[PN_TLS_KEY_RSA]->ctx;
}
