/* SPDX-License-Identifier: ISC */
/*
 * server_reply.c - replies of a session, the count of errors, and the end of a session.
 *
 * step() makes sure of PN_SMTP_OUT_ROOM_BYTES before it takes input, so a reply that does not fit means an
 * owner that broke the contract or no memory: the session is closed, the process goes on.
 */
#include "server_internal.h"

static void put_failed(struct pn_smtp_server *s)
{
	if (s->close_reason == PN_SMTP_CLOSE_NONE)
		s->close_reason = PN_SMTP_CLOSE_MEMORY;
}

void pn_srv_reply_text(struct pn_smtp_server *s, struct pn_buf *out, enum pn_reply reply, struct pn_slice text)
{
	/* RFC 2034 4: enhanced codes whether or not EHLO was used; the table leaves them out where they must be */
	if (pn_reply_format(reply, text, true, out) != 0)
		put_failed(s);
	s->last_reply = (uint8_t)reply;
	if (s->settings->reply_counts)
		pn_counter_add(&s->settings->reply_counts[reply], 1);
}

void pn_srv_reply(struct pn_smtp_server *s, struct pn_buf *out, enum pn_reply reply)
{
	pn_srv_reply_text(s, out, reply, PN_SLICE_NULL);
}

void pn_srv_accept(struct pn_smtp_server *s, struct pn_buf *out, enum pn_reply reply)
{
	s->error_count = 0;
	pn_srv_reply(s, out, reply);
}

void pn_srv_close(struct pn_smtp_server *s, struct pn_buf *out, enum pn_smtp_close_reason reason,
		  enum pn_reply reply)
{
	if (reply != PN_REPLY_NONE)
		pn_srv_reply(s, out, reply);
	if (s->close_reason == PN_SMTP_CLOSE_NONE)
		s->close_reason = (uint8_t)reason;
}

void pn_srv_note_refusal(struct pn_smtp_server *s)
{
	/* only somebody who may send mail pipelines in good faith */
	if (!s->is_authenticated || s->is_after_refusal)
		return;
	s->is_after_refusal = true;
	s->follower_count = 0;
}

void pn_srv_refuse(struct pn_smtp_server *s, struct pn_buf *out, enum pn_reply reply, bool is_follower)
{
	const struct pn_smtp_limits *limits = &s->settings->limits;

	s->stats.errors++;
	/*
	 * RFC 2920 3.1: a client that pipelines sends RCPT after RCPT behind a MAIL that we refuse. That is one
	 * mistake, not many, and no reason to close; but only as many as a good transaction could have.
	 */
	if (is_follower && s->is_after_refusal && s->follower_count <= limits->recipients_max)
		s->follower_count++;
	else if (pn_reply_class(reply) == 5 && ++s->error_count >= limits->bad_commands_max) {
		pn_srv_close(s, out, PN_SMTP_CLOSE_TOO_MANY_ERRORS, PN_REPLY_TOO_MANY_ERRORS);
		return;
	}
	pn_srv_reply(s, out, reply);
}

/* 0 for what is no reply code (RFC 5321 4.2: the second digit is 0 to 5): it neither accepts nor is passed on. */
static unsigned verdict_code(const struct pn_smtp_verdict *v)
{
	unsigned code = v->reply == PN_REPLY_FORWARDED ? v->forwarded_code : pn_reply_code(v->reply);

	return code >= 200 && code <= 559 && code / 10 % 10 <= 5 ? code : 0;
}

bool pn_srv_verdict_accepts(const struct pn_smtp_verdict *v)
{
	return verdict_code(v) / 100 == 2;
}

void pn_srv_verdict_reply(struct pn_smtp_server *s, struct pn_buf *out, const struct pn_smtp_verdict *v)
{
	unsigned code = verdict_code(v);
	bool is_answer = code / 100 == 2 || code / 100 == 4 || code / 100 == 5;

	if (pn_srv_verdict_accepts(v))
		s->error_count = 0;
	if (v->reply == PN_REPLY_FORWARDED && is_answer) {
		if (pn_reply_format_code(code, v->forwarded_enhanced, v->text, out) != 0)
			put_failed(s);
		s->last_reply = PN_REPLY_FORWARDED;
	} else {
		pn_srv_reply_text(s, out, is_answer ? v->reply : PN_REPLY_LOCAL_ERROR, v->text);
	}
	/* RFC 5321 3.8: whoever says 421 closes */
	if (code == 421)
		pn_srv_close(s, out, PN_SMTP_CLOSE_BY_OWNER, PN_REPLY_NONE);
}
