/* SPDX-License-Identifier: ISC */
/*
 * session_auth.c - carries SASL exchanges between the protocol and auth, and holds back the
 * answers to failures.
 *
 * A failed AUTH is answered after a delay that doubles with each failure of the session, so that
 * guessing is slow; the delay holds only this
 * session. Unknown users and wrong passwords look and take the same (see auth).
 */
#include "session_internal.h"

static void on_result(void *ctx, enum pn_auth_result result, struct pn_slice data,
		      struct pn_auth_user *user);

void pn_session_auth_drop(struct pn_session *s)
{
	if (!s->auth)
		return;
	pn_auth_exchange_free(s->auth);
	s->auth = NULL;
}

void pn_session_on_auth(struct pn_session *s, const struct pn_smtp_event *ev)
{
	s->wait = PN_WAIT_VERDICT;
	s->is_auth_challenged = false;
	if (ev->type == PN_SMTP_EV_AUTH_RESPONSE && s->auth) {
		pn_auth_exchange_respond(s->auth, ev->data);
		return;
	}
	pn_session_auth_drop(s);
	/* The answer may come from inside the call, when s->auth is not set yet: see on_result. */
	struct pn_auth_exchange *ex =
		pn_auth_exchange_start(s->svc->shared->auth, s->svc->loop, ev->mechanism,
				       ev->has_initial, ev->data, on_result, s);
	if (!ex) {
		on_result(s, PN_AUTH_TEMPFAIL, PN_SLICE_NULL, NULL);
		return;
	}
	if (s->is_auth_challenged || s->wait == PN_WAIT_VERDICT)
		s->auth = ex; /* challenged already, or a helper works on it */
	else
		pn_auth_exchange_free(ex); /* decided from inside the call */
}

static uint64_t failure_delay_ms(const struct pn_session *s)
{
	uint64_t delay = s->profile->auth_failure_delay_ms;
	for (uint32_t i = 1; i < s->auth_failures && delay < s->profile->auth_failure_delay_max_ms;
	     i++)
		delay *= 2;
	return delay < s->profile->auth_failure_delay_max_ms
		       ? delay
		       : s->profile->auth_failure_delay_max_ms;
}

static void log_auth(struct pn_session *s, const char *result)
{
	struct pn_log_line l;
	pn_log_begin(&l, PN_LOG_SESSION, "auth");
	pn_log_id(&l, "session", &s->id);
	pn_log_str(&l, "client", pn_session_peer_text(s));
	pn_log_str(&l, "result", result);
	pn_log_u64(&l, "failures", s->auth_failures);
	pn_log_end(&l);
}

static void failed(struct pn_session *s)
{
	s->auth_failures++;
	PN_COUNT(s->svc, auth_failed);
	log_auth(s, "failed");
	uint64_t delay = failure_delay_ms(s);
	s->delayed_reply = PN_REPLY_AUTH_BAD;
	if (delay == 0) {
		pn_session_resolve(s, s->delayed_reply, PN_SLICE_NULL);
		s->wait = PN_WAIT_NONE;
		return;
	}
	PN_COUNT(s->svc, auth_delays);
	s->wait = PN_WAIT_DELAY;
	pn_session_set_deadline(s, delay);
}

void pn_session_auth_delay_over(struct pn_session *s)
{
	s->wait = PN_WAIT_NONE;
	pn_session_set_deadline(s, s->profile->idle_timeout_ms);
	pn_session_resolve(s, s->delayed_reply, PN_SLICE_NULL);
	pn_session_resume(s);
}

static void succeeded(struct pn_session *s, struct pn_auth_user *user)
{
	PN_COUNT(s->svc, auth_ok);
	s->user = user;
	struct pn_smtp_verdict v = { .reply = PN_REPLY_AUTH_OK,
				     .challenge = pn_auth_user_name(user) };
	(void)pn_smtp_server_resolve(&s->smtp, s->token, &v, &s->svc->replies);
	s->wait = PN_WAIT_NONE;
}

static void on_result(void *ctx, enum pn_auth_result result, struct pn_slice data,
		      struct pn_auth_user *user)
{
	struct pn_session *s = ctx;
	struct pn_smtp_verdict v = { .reply = PN_REPLY_AUTH_TEMPFAIL };

	switch (result) {
	case PN_AUTH_CHALLENGE:
		s->is_auth_challenged = true;
		v.reply = PN_REPLY_AUTH_CHALLENGE;
		v.challenge = data;
		break;
	case PN_AUTH_OK:
		succeeded(s, user);
		pn_session_auth_drop(s);
		pn_session_resume(s);
		return;
	case PN_AUTH_BAD:
		failed(s);
		pn_session_auth_drop(s);
		if (s->wait == PN_WAIT_NONE)
			pn_session_resume(s);
		return;
	case PN_AUTH_MALFORMED:
		v.reply = PN_REPLY_AUTH_MALFORMED;
		break;
	case PN_AUTH_UNSUPPORTED:
		v.reply = PN_REPLY_AUTH_MECH_UNKNOWN;
		break;
	case PN_AUTH_TEMPFAIL:
		PN_COUNT(s->svc, auth_tempfailed);
		log_auth(s, "tempfail");
		break;
	}
	(void)pn_smtp_server_resolve(&s->smtp, s->token, &v, &s->svc->replies);
	s->wait = PN_WAIT_NONE;
	if (result != PN_AUTH_CHALLENGE)
		pn_session_auth_drop(s);
	pn_session_resume(s);
}
