/* SPDX-License-Identifier: ISC */
/*
 * session_tls.c - the handshake, on 465 at once and on 587 after STARTTLS.
 */
#include <stdlib.h>
#include <string.h>

#include "session_internal.h"

void pn_session_handshake_over(struct pn_session *s)
{
	if (!s->is_handshake_counted)
		return;
	s->is_handshake_counted = false;
	atomic_fetch_sub_explicit(&s->svc->shared->handshakes, 1, memory_order_relaxed);
}

int pn_session_tls_start(struct pn_session *s)
{
	PN_ASSERT(!s->tls_conn && !s->tls);
	s->tls_conn = pn_tls_conn_new_server(s->profile->tls);
	if (!s->tls_conn)
		return -1;
	pn_tls_conn_set_socket(s->tls_conn, s->fd, s->listener->is_kernel_tls);
	s->state = PN_SESSION_HANDSHAKE;
	pn_session_set_deadline(s, s->profile->handshake_timeout_ms);
	return 0;
}

static void handshake_failed(struct pn_session *s)
{
	struct pn_log_line l;
	PN_COUNT(s->svc, handshakes_failed);
	pn_log_begin(&l, PN_LOG_SESSION, "handshake_failed");
	pn_log_id(&l, "session", &s->id);
	pn_log_str(&l, "client", pn_session_peer_text(s));
	pn_log_str(&l, "listener", s->listener->name);
	pn_log_str(&l, "reason", pn_tls_conn_error(s->tls_conn));
	pn_log_end(&l);
	pn_session_close(s, "handshake_failed", true); /* the alert is in out */
}

static bool handshake_done(struct pn_session *s)
{
	s->tls = malloc(sizeof(*s->tls));
	s->record = s->tls ? pn_tls_conn_finish(s->tls_conn, s->tls) : NULL;
	if (!s->record) {
		pn_session_kill(s, "memory");
		return false;
	}
	pn_tls_conn_free(s->tls_conn);
	s->tls_conn = NULL;
	pn_session_handshake_over(s);
	if (s->tls->is_resumed)
		PN_COUNT(s->svc, handshakes_resumed);
	else
		PN_COUNT(s->svc, handshakes_full);
	s->is_tls = true;
	s->state = PN_SESSION_OPEN;
	s->smtp_settings.auth_mechanisms = pn_auth_mechanisms(s->svc->shared->auth);
	pn_session_set_deadline(s, s->profile->idle_timeout_ms);
	if (!s->listener->is_implicit_tls) {
		/* RFC 3207 4.2: nothing learned before TLS survives it */
		pn_smtp_server_tls_started(&s->smtp);
		return true;
	}
	if (pn_smtp_server_greet(&s->smtp, &s->svc->replies) != 0) {
		pn_session_kill(s, "memory");
		return false;
	}
	/* Sealed at once, so that tickets and greeting leave in one send with the last handshake
	 * flight. */
	pn_session_flush(s);
	return s->state == PN_SESSION_OPEN;
}

bool pn_session_tls_input(struct pn_session *s, struct pn_slice *in)
{
	switch (pn_tls_handshake(s->tls_conn, in, &s->out)) {
	case PN_RECORD_OK:
		return handshake_done(s);
	case PN_RECORD_WANT:
		pn_session_send(s);
		return false;
	case PN_RECORD_CLOSED:
	case PN_RECORD_FAILED:
		break;
	}
	handshake_failed(s);
	return false;
}
