/* SPDX-License-Identifier: ISC */
/* server_verdict.c - what the owner's answer to an event changes. Replies are written before memory is freed:
 * their text may lie in the arena. */
#include "server_internal.h"

#include <postern/base/codec.h>
#include <postern/base/secret.h>

/* Longest challenge whose line surely fits the room that step made sure of. */
#define CHALLENGE_MAX_BYTES 1024u

static void auth_failed(struct pn_smtp_server *s, const struct pn_smtp_verdict *v, struct pn_buf *out)
{
	pn_srv_exchange_free(s);
	s->phase = PN_PHASE_COMMAND;
	pn_srv_verdict_reply(s, out, v);
	if (pn_reply_class(v->reply) != 5)
		return;
	/* RFC 4954 9: a limit on attempts, no fewer than three; a temporary failure is none */
	if (++s->stats.auth_failures >= s->settings->limits.auth_failures_max)
		pn_srv_close(s, out, PN_SMTP_CLOSE_AUTH_FAILURES, PN_REPLY_AUTH_TOO_MANY);
}

static void auth_tempfail(struct pn_smtp_server *s, struct pn_buf *out)
{
	auth_failed(s, &(struct pn_smtp_verdict){ .reply = PN_REPLY_AUTH_TEMPFAIL }, out);
}

/* RFC 4954 4: "334 " and base64, the blank also before an empty challenge. */
static void auth_challenge(struct pn_smtp_server *s, const struct pn_smtp_verdict *v, struct pn_buf *out)
{
	char line[4 + PN_BASE64_ENCODED_SIZE(CHALLENGE_MAX_BYTES) + 2];

	if (v->challenge.len > CHALLENGE_MAX_BYTES) {
		auth_tempfail(s, out);
		return;
	}
	memcpy(line, "334 ", 4);
	size_t len = 4 + pn_base64_encode(line + 4, v->challenge);
	memcpy(line + len, "\r\n", 2);
	pn_buf_wipe(&s->exchange->data);
	s->phase = PN_PHASE_AUTH;
	s->last_reply = PN_REPLY_AUTH_CHALLENGE;
	if (pn_buf_append(out, line, len + 2) != 0)
		pn_srv_close(s, out, PN_SMTP_CLOSE_MEMORY, PN_REPLY_NONE);
}

static void auth_ok(struct pn_smtp_server *s, const struct pn_smtp_verdict *v, struct pn_buf *out)
{
	/* RFC 4616 2: names have at most 255 octets; one without a name would own nothing */
	if (v->challenge.len == 0 || v->challenge.len > sizeof(s->user)) {
		auth_tempfail(s, out);
		return;
	}
	memcpy(s->user, v->challenge.ptr, v->challenge.len);
	s->user_len = (uint8_t)v->challenge.len;
	s->is_authenticated = true;
	s->phase = PN_PHASE_COMMAND;
	pn_srv_exchange_free(s);
	pn_srv_verdict_reply(s, out, v);
}

static void resolve_auth(struct pn_smtp_server *s, const struct pn_smtp_verdict *v, struct pn_buf *out)
{
	if (v->reply == PN_REPLY_AUTH_CHALLENGE)
		auth_challenge(s, v, out);
	else if (v->reply == PN_REPLY_AUTH_OK)
		auth_ok(s, v, out);
	else if (v->reply != PN_REPLY_FORWARDED && pn_reply_class(v->reply) >= 4)
		auth_failed(s, v, out);
	else
		auth_tempfail(s, out);
}

static void resolve_mail(struct pn_smtp_server *s, const struct pn_smtp_verdict *v, struct pn_buf *out)
{
	pn_srv_verdict_reply(s, out, v);
	if (pn_srv_verdict_accepts(v))
		return;
	pn_srv_note_refusal(s);
	pn_srv_txn_free(s);
}

static void resolve_rcpt(struct pn_smtp_server *s, const struct pn_smtp_verdict *v, struct pn_buf *out)
{
	struct pn_smtp_txn *txn = s->txn;

	pn_srv_verdict_reply(s, out, v);
	if (!pn_srv_verdict_accepts(v))
		return;
	pn_envelope_link_recipient(&txn->envelope, txn->candidate);
	txn->candidate = NULL;
	txn->candidate_room_bytes = 0;
}

static bool begin_accepted(const struct pn_smtp_verdict *v)
{
	return v->reply == PN_REPLY_OK_DATA_GO || pn_srv_verdict_accepts(v);
}

static void resolve_data(struct pn_smtp_server *s, const struct pn_smtp_verdict *v, struct pn_buf *out)
{
	if (!begin_accepted(v)) {
		pn_srv_verdict_reply(s, out, v);
		return;
	}
	s->txn->is_receiving = true;
	s->phase = PN_PHASE_DATA;
	pn_srv_accept(s, out, PN_REPLY_OK_DATA_GO);
}

/* RFC 3030 2: whether yes or no, first the octets of the chunk. */
static void resolve_bdat(struct pn_smtp_server *s, const struct pn_smtp_verdict *v)
{
	struct pn_smtp_txn *txn = s->txn;

	if (begin_accepted(v)) {
		txn->is_receiving = true;
		s->phase = PN_PHASE_CHUNK;
		return;
	}
	txn->refusal = *v;
	if (pn_arena_dup(&s->arena, v->text, &txn->refusal.text) != 0)
		txn->refusal.text = PN_SLICE_NULL;
	s->phase = PN_PHASE_SWALLOW;
}

static void resolve_end(struct pn_smtp_server *s, const struct pn_smtp_verdict *v, struct pn_buf *out)
{
	pn_srv_verdict_reply(s, out, v);
	pn_srv_txn_free(s);
}

bool pn_smtp_server_resolve(struct pn_smtp_server *s, uint32_t token, const struct pn_smtp_verdict *v,
			    struct pn_buf *out)
{
	enum pn_smtp_waiting waiting = (enum pn_smtp_waiting)s->waiting;

	if (waiting == PN_WAITING_NONE || token != s->token) {
		s->stats.late_verdicts++;
		return false;
	}
	s->waiting = PN_WAITING_NONE;
	switch (waiting) {
	case PN_WAITING_NONE: break;
	case PN_WAITING_AUTH: resolve_auth(s, v, out); break;
	case PN_WAITING_MAIL: resolve_mail(s, v, out); break;
	case PN_WAITING_RCPT: resolve_rcpt(s, v, out); break;
	case PN_WAITING_DATA: resolve_data(s, v, out); break;
	case PN_WAITING_BDAT: resolve_bdat(s, v); break;
	case PN_WAITING_END: resolve_end(s, v, out); break;
	}
	return true;
}
