/* SPDX-License-Identifier: ISC */
/* session_log.c - the one line of each session and of each message. No password, no message text. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "session_internal.h"

/* "192.0.2.1" for IPv4 (also v4-mapped), "2001:db8::1" for IPv6. */
const char *pn_session_peer_text(struct pn_session *s)
{
	if (s->peer_text[0] != '\0')
		return s->peer_text;
	if (s->peer.sin6_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&s->peer.sin6_addr)) {
		(void)inet_ntop(AF_INET, &s->peer.sin6_addr.s6_addr[12], s->peer_text,
				sizeof(s->peer_text));
	} else if (s->peer.sin6_family == AF_INET6) {
		(void)inet_ntop(AF_INET6, &s->peer.sin6_addr, s->peer_text, sizeof(s->peer_text));
	} else {
		struct sockaddr_in in;
		memcpy(&in, &s->peer, sizeof(in));
		(void)inet_ntop(AF_INET, &in.sin_addr, s->peer_text, sizeof(s->peer_text));
	}
	return s->peer_text;
}

static void log_tls(struct pn_log_line *l, const struct pn_tls_facts *tls)
{
	if (!tls)
		return;
	pn_log_str(l, "tls", tls->version == 0x0304 ? "TLSv1.3" : "TLSv1.2");
	pn_log_str(l, "suite", tls->suite);
	if (tls->group[0] != '\0')
		pn_log_str(l, "group", tls->group);
	if (tls->sni[0] != '\0')
		pn_log_str(l, tls->is_sni_unknown ? "sni_unknown" : "sni", tls->sni);
	pn_log_str(l, "resumed", tls->is_resumed ? "yes" : "no");
}

void pn_session_log_closed(const struct pn_session *s)
{
	struct pn_log_line l;
	pn_log_begin(&l, PN_LOG_SESSION, "session");
	pn_log_id(&l, "session", &s->id);
	pn_log_str(&l, "listener", s->listener->name);
	pn_log_str(&l, "client", pn_session_peer_text((struct pn_session *)s));
	log_tls(&l, s->tls);
	if (s->user)
		pn_log_slice(&l, "user", pn_auth_user_name(s->user));
	pn_log_u64(&l, "messages", s->messages);
	pn_log_u64(&l, "recipients", s->recipients);
	pn_log_u64(&l, "bytes_in", s->bytes_in);
	pn_log_u64(&l, "bytes_out", s->bytes_out);
	pn_log_u64(&l, "ms", pn_loop_now_ms(s->svc->loop) - s->started_ms);
	pn_log_str(&l, "reason", s->close_reason ? s->close_reason : "");
	pn_log_end(&l);
}

static uint16_t copy(char out[PN_PATH_MAX_BYTES], struct pn_slice text)
{
	size_t len = pn_min_size(text.len, PN_PATH_MAX_BYTES);
	if (len > 0)
		memcpy(out, text.ptr, len);
	return (uint16_t)len;
}

void pn_session_message_fill(struct pn_session_message *m, const struct pn_session *s,
			     const struct pn_envelope *e, uint64_t size_bytes)
{
	m->id = s->message_id;
	m->size_bytes = size_bytes;
	m->started_ms = s->data_started_ms;
	m->recipient_count = e->recipient_count;
	m->from_len = copy(m->from, e->reverse_path);
	m->to_len = copy(m->to, e->recipients ? e->recipients->address : PN_SLICE_NULL);
}

void pn_session_log_message(struct pn_session *s, const struct pn_session_message *m,
			    enum pn_reply reply, int error)
{
	struct pn_log_line l;
	pn_log_begin(&l, PN_LOG_MESSAGE, "message");
	pn_log_id(&l, "id", &m->id);
	pn_log_id(&l, "session", &s->id);
	pn_log_slice(&l, "user", pn_smtp_server_user(&s->smtp));
	pn_log_str(&l, "client", pn_session_peer_text(s));
	pn_log_slice(&l, "from", pn_slice(m->from, m->from_len));
	pn_log_u64(&l, "recipients", m->recipient_count);
	if (m->to_len > 0)
		pn_log_slice(&l, "to", pn_slice(m->to, m->to_len));
	pn_log_u64(&l, "size", m->size_bytes);
	log_tls(&l, s->tls);
	pn_log_u64(&l, "ms", pn_loop_now_ms(s->svc->loop) - m->started_ms);
	pn_log_u64(&l, "reply", (uint64_t)pn_reply_code(reply));
	if (error != 0)
		pn_log_str(&l, "error", strerror(-error));
	pn_log_end(&l);
}
