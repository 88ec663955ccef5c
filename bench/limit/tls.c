/* SPDX-License-Identifier: ISC */
/*
 * tls.c - the server's half of a TLS 1.3 handshake in BoringSSL, over memory: no socket, no event loop, no callback.
 *
 * Many handshakes go in step, so that two readings of the thread's CPU clock stand around many calls and no call finds
 * the caches still warm from its own previous one, as on a busy server. Counted: SSL_new, both flights, sealing a short
 * greeting (which lets the two session tickets out), SSL_free. Not counted: everything of the client.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "certificate.h"
#include "limit.h"
#include "measure.h"

#define IN_STEP 32u

enum kind { KIND_ECDSA, KIND_RSA, KIND_RESUMED };

struct pair {
	SSL *client, *server;
	BIO *to_server, *to_client; /* a reference of our own until the server has its */
};

struct world {
	struct pn_bench_certificate certificate;
	SSL_CTX *server, *client;
	SSL_SESSION *session; /* the newest ticket */
	bool is_resuming;
	uint64_t cpu_ns;
	struct pair pairs[IN_STEP];
};

static const char greeting[] = "220 gateway.bench.invalid ESMTP\r\n";

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	struct world *w = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	SSL_SESSION_free(w->session);
	w->session = session;
	return 1;
}

static bool world_init(struct world *w, enum kind kind)
{
	if (!pn_bench_certificate_make(&w->certificate, kind == KIND_RSA))
		return false;
	w->server = SSL_CTX_new(TLS_method());
	w->client = SSL_CTX_new(TLS_method());
	if (!w->server || !w->client || !SSL_CTX_set_min_proto_version(w->server, TLS1_3_VERSION) ||
	    !SSL_CTX_set_min_proto_version(w->client, TLS1_3_VERSION) ||
	    !SSL_CTX_use_certificate(w->server, w->certificate.x509) ||
	    !SSL_CTX_use_PrivateKey(w->server, w->certificate.key) ||
	    !SSL_CTX_set1_curves_list(w->client, "X25519"))
		return false;
	SSL_CTX_set_mode(w->server, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_verify(w->client, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_session_cache_mode(w->client,
				       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(w->client, keep_session);
	SSL_CTX_set_app_data(w->client, w);
	return true;
}

static void world_deinit(struct world *w)
{
	for (size_t i = 0; i < IN_STEP; i++) {
		SSL_free(w->pairs[i].client);
		SSL_free(w->pairs[i].server);
		BIO_free(w->pairs[i].to_server);
		BIO_free(w->pairs[i].to_client);
	}
	SSL_SESSION_free(w->session);
	SSL_CTX_free(w->server);
	SSL_CTX_free(w->client);
	pn_bench_certificate_free(&w->certificate);
}

static bool client_start(struct world *w, struct pair *p)
{
	p->client = SSL_new(w->client);
	p->to_server = BIO_new(BIO_s_mem());
	p->to_client = BIO_new(BIO_s_mem());
	if (!p->client || !p->to_server || !p->to_client)
		return false;
	(void)BIO_up_ref(p->to_server);
	(void)BIO_up_ref(p->to_client);
	SSL_set_bio(p->client, p->to_client, p->to_server);
	SSL_set_connect_state(p->client);
	if (w->is_resuming && !SSL_set_session(p->client, w->session))
		return false;
	return SSL_get_error(p->client, SSL_do_handshake(p->client)) == SSL_ERROR_WANT_READ;
}

static bool server_start(struct world *w, struct pair *p)
{
	p->server = SSL_new(w->server);
	if (!p->server)
		return false;
	SSL_set_bio(p->server, p->to_server, p->to_client);
	p->to_server = p->to_client = NULL;
	SSL_set_accept_state(p->server);
	return SSL_get_error(p->server, SSL_do_handshake(p->server)) == SSL_ERROR_WANT_READ;
}

static bool client_finish(struct world *w, struct pair *p)
{
	(void)w;
	return SSL_do_handshake(p->client) == 1;
}

static bool server_finish(struct world *w, struct pair *p)
{
	return SSL_do_handshake(p->server) == 1 &&
	       SSL_write(p->server, greeting, sizeof(greeting) - 1) == sizeof(greeting) - 1 &&
	       (SSL_session_reused(p->server) == 1) == w->is_resuming;
}

static bool client_greeted(struct world *w, struct pair *p)
{
	char text[sizeof(greeting)];
	bool ok = SSL_read(p->client, text, sizeof(text)) == sizeof(greeting) - 1;

	(void)w;
	SSL_free(p->client);
	p->client = NULL;
	return ok;
}

static bool server_end(struct world *w, struct pair *p)
{
	(void)w;
	SSL_free(p->server);
	p->server = NULL;
	return true;
}

static bool shake(struct world *w, size_t count)
{
	static const struct {
		bool (*fn)(struct world *w, struct pair *p);
		bool is_server;
	} steps[] = { { client_start, false }, { server_start, true },    { client_finish, false },
		      { server_finish, true }, { client_greeted, false }, { server_end, true } };

	for (size_t s = 0; s < PN_ARRAY_SIZE(steps); s++) {
		uint64_t begin_ns = pn_bench_thread_cpu_ns();
		for (size_t i = 0; i < count; i++) {
			if (!steps[s].fn(w, &w->pairs[i]))
				return false;
		}
		if (steps[s].is_server)
			w->cpu_ns += pn_bench_thread_cpu_ns() - begin_ns;
	}
	return true;
}

static bool measure_world(struct world *w, enum kind kind, uint64_t operations)
{
	/* The first one fetches a ticket and warms up. */
	if (!world_init(w, kind) || !shake(w, 1))
		return false;
	w->is_resuming = kind == KIND_RESUMED;
	w->cpu_ns = 0;
	for (uint64_t done = 0; done < operations;) {
		size_t count = pn_min_size(IN_STEP, (size_t)(operations - done));
		if (!shake(w, count))
			return false;
		done += count;
	}
	return true;
}

static int measure(const struct pn_bench_limit_place *place, const struct pn_bench_limit_row *row,
		   uint64_t operations, struct pn_bench_limit_sample *ret, struct pn_error *err)
{
	struct world *w = calloc(1, sizeof(*w));
	int r = -ENOMEM;

	(void)place;
	if (w && measure_world(w, (enum kind)row->kind, operations)) {
		ret->cpu_us = (double)w->cpu_ns / 1000 / (double)operations;
		r = 0;
	} else if (w) {
		char text[128];
		ERR_error_string_n(ERR_get_error(), text, sizeof(text));
		(void)pn_error_set(err, "a handshake in memory failed: %s", text);
		r = -EIO;
	}
	if (w)
		world_deinit(w);
	free(w);
	return r;
}

const struct pn_bench_limit_row pn_bench_limit_tls[] = {
	{ "tls_full_ecdsa", "full handshake, X25519, ECDSA P-256", measure, KIND_ECDSA, 0, 1500,
	  NULL },
	{ "tls_full_rsa", "full handshake, X25519, RSA 2048", measure, KIND_RSA, 0, 400, NULL },
	{ "tls_resumed", "resumed handshake, PSK with X25519", measure, KIND_RESUMED, 0, 1500,
	  NULL },
	{ 0 },
};
