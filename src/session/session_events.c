/* SPDX-License-Identifier: ISC */
/*
 * session_events.c - what the protocol asks of us: STARTTLS, MAIL, RCPT and the message itself.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <postern/base/clock.h>
#include <postern/smtp/reply.h>

#include "session_internal.h"

void pn_session_resolve(struct pn_session *s, enum pn_reply reply, struct pn_slice text)
{
	struct pn_smtp_verdict v = { .reply = reply, .text = text };
	(void)pn_smtp_server_resolve(&s->smtp, s->token, &v, &s->svc->replies);
}

void pn_session_drop_message(struct pn_session *s)
{
	if (!s->txn)
		return;
	pn_session_rescue(s);
	pn_spool_txn_abort(s->txn);
	s->txn = NULL;
}

/* The 220 is the last thing in the replies; behind it only TLS may come. */
static void on_starttls(struct pn_session *s)
{
	if (pn_buf_len(&s->plain_backlog) > 0 || pn_buf_len(&s->cipher_backlog) > 0) {
		PN_COUNT(s->svc, starttls_injections);
		pn_buf_clear(&s->svc->replies);
		pn_session_close(s, "starttls_injection", true);
		return;
	}
	struct pn_session_shared *shared = s->svc->shared;
	if (atomic_fetch_add_explicit(&shared->handshakes, 1, memory_order_relaxed) >=
	    s->profile->handshakes_max) {
		atomic_fetch_sub_explicit(&shared->handshakes, 1, memory_order_relaxed);
		PN_COUNT(s->svc, refused_handshakes_max);
		/* The 220 has not left; its place takes a refusal. */
		pn_buf_clear(&s->svc->replies);
		if (pn_reply_format(PN_REPLY_TOO_MANY_SESSIONS, PN_SLICE_NULL, true,
				    &s->svc->replies) != 0)
			pn_session_kill(s, "memory");
		pn_session_close(s, "handshakes_max", true);
		return;
	}
	s->is_handshake_counted = true;
	pn_session_flush(s);
	if (s->state != PN_SESSION_OPEN)
		return;
	pn_record_free(s->record);
	s->record = NULL;
	if (pn_session_tls_start(s) != 0)
		pn_session_kill(s, "memory");
}

/* RFC 6409 6.1: the reverse-path must belong to the authenticated user; <> is always allowed (RFC
 * 6409 3.2). */
static enum pn_reply judge_mail(struct pn_session *s)
{
	const struct pn_envelope *e = pn_smtp_server_envelope(&s->smtp);
	if (e->reverse_path.len > 0 && !pn_auth_user_may_send_as(s->user, e->reverse_path)) {
		PN_COUNT(s->svc, senders_not_owned);
		return PN_REPLY_SENDER_NOT_OWNED;
	}
	int rc = pn_spool_admit(s->svc->writer);
	if (rc != 0) {
		PN_COUNT(s->svc, spool_refusals);
		return rc == -EDQUOT ? PN_REPLY_QUEUE_FULL : PN_REPLY_STORAGE_FULL;
	}
	return PN_REPLY_OK_MAIL;
}

static enum pn_reply begin_message(struct pn_session *s)
{
	int rc = 0;
	s->storage_error = 0;
	s->txn = pn_spool_txn_begin(s->svc->writer, &rc);
	s->data_started_ms = pn_loop_now_ms(s->svc->loop);
	if (s->txn)
		return PN_REPLY_OK_DATA_GO;
	PN_COUNT(s->svc, spool_refusals);
	return rc == -ENOMEM ? PN_REPLY_MEMORY : PN_REPLY_STORAGE_FULL;
}

static void on_writable(struct pn_spool_txn *txn, void *ctx)
{
	struct pn_session *s = ctx;
	PN_ASSERT(s->txn == txn);
	if (s->wait != PN_WAIT_SPOOL)
		return;
	s->wait = PN_WAIT_NONE;
	pn_session_resume(s);
}

static void on_content(struct pn_session *s, struct pn_slice data)
{
	pn_counter_add(&s->svc->counters[PN_SESSION_C_content_bytes], data.len);
	pn_session_touch(s);
	if (!s->txn)
		return; /* storing failed before; the rest is consumed and answered at the end */
	int rc = pn_spool_txn_write(s->txn, data);
	if (rc < 0) {
		s->storage_error = rc;
		pn_session_drop_message(s);
	} else if (rc == 1) {
		s->wait = PN_WAIT_SPOOL;
		pn_spool_txn_on_writable(s->txn, on_writable, s);
	}
}

enum pn_reply pn_session_storage_reply(int error)
{
	return error == -ENOSPC || error == -EDQUOT ? PN_REPLY_STORAGE_FULL
						    : PN_REPLY_STORAGE_FAILED;
}

static void fail_message(struct pn_session *s, const struct pn_envelope *e, enum pn_reply reply,
			 int error)
{
	struct pn_session_message m;
	PN_COUNT(s->svc, messages_failed);
	pn_session_message_fill(&m, s, e, pn_smtp_server_content_facts(&s->smtp)->size_bytes);
	pn_session_log_message(s, &m, reply, error);
	pn_session_resolve(s, reply, PN_SLICE_NULL);
}

/* Completes the envelope and the header edits, and asks the spool for its promise. */
static void end_message(struct pn_session *s)
{
	struct pn_envelope *e = pn_smtp_server_envelope(&s->smtp);
	struct pn_arena *arena = pn_smtp_server_arena(&s->smtp);
	struct pn_edit_list edits = { 0 };

	e->received_wall_ms = pn_clock_wall_ms();
	e->id = s->message_id = pn_id_make(s->profile->node, e->received_wall_ms);
	e->client_address = pn_slice_str(pn_session_peer_text(s));
	e->tls_suite = pn_slice_str(s->tls->suite);
	e->tls_version = s->tls->version;
	if (!s->txn) {
		fail_message(s, e, pn_session_storage_reply(s->storage_error), s->storage_error);
		return;
	}
	struct pn_trace trace = { .hostname = s->profile->hostname,
				  .envelope = e,
				  .tls_group = s->tls->group,
				  .has_client_address = s->profile->has_client_address,
				  .is_ehlo = pn_smtp_server_is_ehlo(&s->smtp) };
	if (pn_content_plan_edits(pn_smtp_server_content_scan(&s->smtp), &trace, arena, &edits) !=
		    0 ||
	    !pn_session_commit(s, &edits)) {
		pn_session_drop_message(s);
		fail_message(s, e, PN_REPLY_MEMORY, -ENOMEM);
	}
}

void pn_session_on_event(struct pn_session *s, const struct pn_smtp_event *ev)
{
	if (ev->needs_verdict)
		s->token = ev->token;
	switch (ev->type) {
	case PN_SMTP_EV_STARTTLS:
		on_starttls(s);
		break;
	case PN_SMTP_EV_AUTH:
	case PN_SMTP_EV_AUTH_RESPONSE:
		pn_session_on_auth(s, ev);
		break;
	case PN_SMTP_EV_AUTH_CANCEL:
		pn_session_auth_drop(s);
		break;
	case PN_SMTP_EV_MAIL:
		pn_session_resolve(s, judge_mail(s), PN_SLICE_NULL);
		break;
	case PN_SMTP_EV_RCPT:
		pn_session_resolve(s, PN_REPLY_OK_RCPT, PN_SLICE_NULL);
		break;
	case PN_SMTP_EV_DATA_BEGIN:
		pn_session_resolve(s, begin_message(s), PN_SLICE_NULL);
		break;
	case PN_SMTP_EV_CONTENT:
		on_content(s, ev->data);
		break;
	case PN_SMTP_EV_DATA_END:
		end_message(s);
		break;
	case PN_SMTP_EV_DATA_ABORT:
		PN_COUNT(s->svc, messages_rejected);
		pn_session_drop_message(s);
		break;
	case PN_SMTP_EV_RESET:
		pn_session_drop_message(s);
		break;
	}
}
