/* SPDX-License-Identifier: ISC */
/*
 * client_sessions.c - the tickets that a client has got, in a ring, and how a new connection takes one.
 *
 * Only the load generator asks for them: what a provider's phones do all day is resume.
 */
#include <errno.h>
#include <stdlib.h>

#include <openssl/err.h>

#include "tls/client.h"
#include "tls/conn.h"

static SSL_SESSION *take_oldest(struct pn_tls_client *c)
{
	SSL_SESSION *session = c->sessions[c->session_first];

	c->session_first = (c->session_first + 1) % c->sessions_max;
	c->session_count--;
	return session;
}

/* Takes the session. */
static void put_newest(struct pn_tls_client *c, SSL_SESSION *session)
{
	if (c->session_count == c->sessions_max)
		SSL_SESSION_free(take_oldest(c));
	c->sessions[(c->session_first + c->session_count++) % c->sessions_max] = session;
}

/* BoringSSL's callback; 1: the reference is ours now. */
static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
	struct pn_tls_client *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	if (!SSL_SESSION_is_resumable(session))
		return 0;
	put_newest(c, session);
	return 1;
}

int pn_tls_client_sessions_init(struct pn_tls_client *c, uint32_t sessions_max)
{
	c->sessions = calloc(sessions_max, sizeof(SSL_SESSION *));
	if (!c->sessions || !SSL_CTX_set_app_data(c->ctx, c))
		return -ENOMEM;
	c->sessions_max = sessions_max;
	SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(c->ctx, on_new_session);
	return 0;
}

void pn_tls_client_sessions_deinit(struct pn_tls_client *c)
{
	if (!c->sessions)
		return;
	/* An SSL of a connection that outlives us may still get a ticket. */
	SSL_CTX_sess_set_new_cb(c->ctx, NULL);
	while (c->session_count > 0)
		SSL_SESSION_free(take_oldest(c));
	free(c->sessions);
}

size_t pn_tls_client_session_count(const struct pn_tls_client *c)
{
	return c->session_count;
}

bool pn_tls_conn_resume(struct pn_tls_conn *conn)
{
	struct pn_tls_client *c = conn->client;
	SSL_SESSION *session;
	bool is_set;

	if (c->session_count == 0)
		return false;
	session = take_oldest(c);
	is_set = SSL_set_session(conn->ssl, session) == 1;
	if (c->session_count > 0 && SSL_SESSION_should_be_single_use(session))
		SSL_SESSION_free(session);
	else
		put_newest(c, session);
	ERR_clear_error();
	return is_set;
}
