/* SPDX-License-Identifier: ISC */
/*
 * server.c - the server side of a submission session: life, step, dispatch.
 *
 * step() takes one thing at a time from the input (a line, a run of content) and stops at the first event. What
 * a verb may do, and when, stands in one table; the checks are made in the order TLS, greeting, authentication,
 * so that a client before TLS learns nothing else (RFC 8314 4.1).
 */
#include "server_internal.h"

#include <stdlib.h>

#include <postern/base/secret.h>

#define VERB_PRE_TLS 1u  /* allowed before TLS (RFC 3207 4) */
#define VERB_GREETED 2u  /* needs EHLO or HELO */
#define VERB_EXTENDED 4u /* needs EHLO: it belongs to an extension */
#define VERB_AUTHED 8u   /* needs authentication (RFC 6409 4.3) */
#define VERB_UTF8 16u    /* addresses may be UTF-8 (RFC 6531 3.7.4) */
#define VERB_ALONE 32u   /* takes no arguments (RFC 5321 4.3.2) */
#define VERB_FOLLOWS 64u /* is pipelined behind MAIL */

static const struct verb_row {
	pn_srv_handler *handler;
	unsigned flags;
} verb_rows[PN_VERB_COUNT] = {
	[PN_VERB_EHLO] = { pn_cmd_ehlo, VERB_PRE_TLS },
	[PN_VERB_HELO] = { pn_cmd_helo, VERB_PRE_TLS },
	[PN_VERB_STARTTLS] = { pn_cmd_starttls, VERB_PRE_TLS | VERB_GREETED | VERB_EXTENDED | VERB_ALONE },
	[PN_VERB_AUTH] = { pn_cmd_auth, VERB_GREETED | VERB_EXTENDED },
	[PN_VERB_MAIL] = { pn_cmd_mail, VERB_GREETED | VERB_AUTHED | VERB_UTF8 },
	[PN_VERB_RCPT] = { pn_cmd_rcpt, VERB_GREETED | VERB_AUTHED | VERB_UTF8 | VERB_FOLLOWS },
	[PN_VERB_DATA] = { pn_cmd_data, VERB_GREETED | VERB_AUTHED | VERB_ALONE | VERB_FOLLOWS },
	[PN_VERB_BDAT] = { NULL, VERB_GREETED | VERB_EXTENDED | VERB_AUTHED | VERB_FOLLOWS },
	[PN_VERB_RSET] = { pn_cmd_rset, VERB_ALONE },
	[PN_VERB_NOOP] = { pn_cmd_noop, VERB_PRE_TLS },
	[PN_VERB_VRFY] = { pn_cmd_vrfy, VERB_UTF8 },
	[PN_VERB_EXPN] = { pn_cmd_expn, VERB_UTF8 },
	[PN_VERB_HELP] = { pn_cmd_help, 0 },
	[PN_VERB_QUIT] = { pn_cmd_quit, VERB_PRE_TLS | VERB_ALONE },
};

void pn_smtp_server_init(struct pn_smtp_server *s, const struct pn_smtp_server_settings *settings, bool is_tls)
{
	const struct pn_smtp_limits *limits = &settings->limits;

	/* RFC 5321 4.5.3.1.4 and room for every verb; the configuration has the same lower ends */
	PN_ASSERT(limits->command_line_max_bytes >= 512 && limits->auth_line_max_bytes >= 512);
	PN_ASSERT(limits->bad_commands_max > 0 && limits->auth_failures_max > 0);
	memset(s, 0, sizeof(*s));
	s->settings = settings;
	s->is_tls = is_tls;
	pn_arena_init(&s->arena, PN_TXN_CHUNK_BYTES, limits->transaction_memory_max_bytes);
	/* a line may be a password */
	pn_buf_init_secret(&s->line, pn_max_size(limits->command_line_max_bytes, limits->auth_line_max_bytes));
}

void pn_srv_exchange_free(struct pn_smtp_server *s)
{
	if (!s->exchange)
		return;
	pn_buf_wipe(&s->exchange->data);
	free(s->exchange);
	s->exchange = NULL;
}

void pn_srv_txn_free(struct pn_smtp_server *s)
{
	s->txn = NULL;
	s->is_txn_over = false;
	pn_arena_reset(&s->arena);
}

void pn_smtp_server_deinit(struct pn_smtp_server *s)
{
	pn_srv_exchange_free(s);
	pn_srv_txn_free(s);
	pn_srv_line_done(s);
	s->waiting = PN_WAITING_NONE;
}

int pn_smtp_server_greet(struct pn_smtp_server *s, struct pn_buf *out)
{
	char text[PN_REPLY_LINE_MAX_BYTES];
	size_t len = pn_min_size(strlen(s->settings->hostname), PN_DOMAIN_MAX_BYTES);

	memcpy(text, s->settings->hostname, len);
	memcpy(text + len, " ESMTP", 6);
	s->last_reply = PN_REPLY_GREETING;
	return pn_reply_format(PN_REPLY_GREETING, pn_slice(text, len + 6), true, out);
}

bool pn_srv_event(struct pn_smtp_server *s, struct pn_smtp_step *st, enum pn_smtp_event_type type,
		  enum pn_smtp_waiting waiting)
{
	st->ev->type = type;
	if (waiting != PN_WAITING_NONE) {
		s->waiting = (uint8_t)waiting;
		st->ev->needs_verdict = true;
		st->ev->token = ++s->token;
	}
	return true;
}

bool pn_srv_txn_drop(struct pn_smtp_server *s, struct pn_smtp_step *st)
{
	if (!s->txn || s->is_txn_over)
		return false;
	enum pn_smtp_event_type type = s->txn->is_receiving ? PN_SMTP_EV_DATA_ABORT : PN_SMTP_EV_RESET;
	/* the owner may look at the envelope while it handles the event */
	s->is_txn_over = true;
	return pn_srv_event(s, st, type, PN_WAITING_NONE);
}

/* What forbids the verb now, before its handler looks at the arguments. */
static enum pn_reply verb_gate(const struct pn_smtp_server *s, const struct pn_command *cmd)
{
	unsigned flags = verb_rows[cmd->verb].flags;

	if (cmd->has_bad_octet)
		return PN_REPLY_LINE_BAD_OCTET;
	if (cmd->verb == PN_VERB_UNKNOWN)
		return PN_REPLY_UNKNOWN_COMMAND;
	if (cmd->has_8bit && !((flags & VERB_UTF8) && s->settings->has_smtputf8))
		return PN_REPLY_LINE_8BIT;
	if (!s->is_tls && !(flags & VERB_PRE_TLS))
		return PN_REPLY_TLS_REQUIRED;
	if ((flags & VERB_ALONE) && cmd->args.len > 0)
		return PN_REPLY_NO_ARGUMENTS;
	if ((flags & VERB_GREETED) && s->helo_len == 0)
		return PN_REPLY_NEED_EHLO;
	if ((flags & VERB_EXTENDED) && !s->is_ehlo)
		return PN_REPLY_NEED_EHLO;
	if ((flags & VERB_AUTHED) && !s->is_authenticated)
		return PN_REPLY_AUTH_REQUIRED;
	return PN_REPLY_NONE;
}

static bool run_command(struct pn_smtp_server *s, struct pn_slice line, struct pn_smtp_step *st)
{
	struct pn_command cmd;

	pn_command_parse(line, &cmd);
	enum pn_reply refusal = verb_gate(s, &cmd);
	bool is_follower = (verb_rows[cmd.verb].flags & VERB_FOLLOWS) != 0;
	if (cmd.verb == PN_VERB_BDAT)
		return pn_cmd_bdat(s, &cmd, st, refusal);
	if (refusal != PN_REPLY_NONE) {
		pn_srv_refuse(s, st->out, refusal, is_follower);
		return false;
	}
	if (!is_follower)
		s->is_after_refusal = false;
	return verb_rows[cmd.verb].handler(s, &cmd, st);
}

static bool line_overlong(struct pn_smtp_server *s, struct pn_smtp_step *st, bool is_auth)
{
	if (s->phase == PN_PHASE_AUTH)
		return pn_cmd_auth_overlong(s, st);
	pn_srv_refuse(s, st->out, is_auth ? PN_REPLY_AUTH_LINE_TOO_LONG : PN_REPLY_LINE_TOO_LONG, false);
	return false;
}

/* Takes one line. */
static enum pn_smtp_status line_step(struct pn_smtp_server *s, struct pn_smtp_step *st, bool *ret_again)
{
	struct pn_slice line = PN_SLICE_NULL;
	bool is_auth = false, has_event = false;
	enum pn_line_status status = pn_srv_line_next(s, st->in, &line, &is_auth);

	switch (status) {
	case PN_LINE_MORE: return PN_SMTP_AGAIN;
	case PN_LINE_ENDLESS:
		pn_srv_close(s, st->out, PN_SMTP_CLOSE_LINE_ENDLESS, PN_REPLY_LINE_ENDLESS);
		break;
	case PN_LINE_MEMORY: pn_srv_close(s, st->out, PN_SMTP_CLOSE_MEMORY, PN_REPLY_SESSION_MEMORY); break;
	case PN_LINE_OVERLONG:
		s->stats.commands++;
		has_event = line_overlong(s, st, is_auth);
		break;
	case PN_LINE_READY:
		s->stats.commands++;
		has_event = s->phase == PN_PHASE_AUTH ? pn_cmd_auth_response(s, line, st)
						      : run_command(s, line, st);
		break;
	}
	pn_srv_line_done(s);
	*ret_again = !has_event;
	return PN_SMTP_EVENT;
}

/* Between STARTTLS and the end of the handshake no plaintext is ours (RFC 3207 6). */
static enum pn_smtp_status tls_step(struct pn_smtp_server *s, struct pn_smtp_step *st, bool *ret_again)
{
	if (st->in->len == 0)
		return PN_SMTP_AGAIN;
	s->stats.injections++;
	pn_srv_close(s, st->out, PN_SMTP_CLOSE_STARTTLS_INJECTION, PN_REPLY_NONE);
	*ret_again = true;
	return PN_SMTP_AGAIN;
}

static enum pn_smtp_status phase_step(struct pn_smtp_server *s, struct pn_smtp_step *st, bool *ret_again)
{
	switch ((enum pn_smtp_phase)s->phase) {
	case PN_PHASE_COMMAND:
	case PN_PHASE_AUTH: return line_step(s, st, ret_again);
	case PN_PHASE_TLS: return tls_step(s, st, ret_again);
	case PN_PHASE_DATA: return pn_srv_data_step(s, st, ret_again);
	case PN_PHASE_CHUNK: return pn_srv_chunk_step(s, st, ret_again);
	case PN_PHASE_SWALLOW: return pn_srv_swallow_step(s, st, ret_again);
	}
	pn_assert_failed("a known phase", __FILE__, __LINE__);
}

enum pn_smtp_status pn_smtp_server_step(struct pn_smtp_server *s, struct pn_slice *in, struct pn_smtp_event *ev,
					struct pn_buf *out)
{
	struct pn_smtp_step st = { .in = in, .ev = ev, .out = out };

	*ev = (struct pn_smtp_event){ 0 };
	if (s->is_txn_over)
		pn_srv_txn_free(s);
	for (;;) {
		bool again = false;
		if (s->close_reason != PN_SMTP_CLOSE_NONE)
			return pn_srv_txn_drop(s, &st) ? PN_SMTP_EVENT : PN_SMTP_CLOSE;
		if (s->waiting != PN_WAITING_NONE)
			return PN_SMTP_WAIT;
		if (in->len > 0 && out->max - pn_buf_len(out) < PN_SMTP_OUT_ROOM_BYTES)
			return PN_SMTP_WAIT;
		enum pn_smtp_status status = phase_step(s, &st, &again);
		if (!again)
			return status;
	}
}

void pn_smtp_server_tls_started(struct pn_smtp_server *s)
{
	PN_ASSERT(s->phase == PN_PHASE_TLS && !s->txn && !s->exchange && pn_buf_len(&s->line) == 0);
	/* RFC 3207 4.2: nothing learned before TLS is kept */
	pn_wipe(s->helo, sizeof(s->helo));
	s->helo_len = 0;
	s->is_ehlo = false;
	s->is_after_refusal = false;
	s->error_count = 0;
	s->phase = PN_PHASE_COMMAND;
	s->is_tls = true;
}

void pn_smtp_server_abort(struct pn_smtp_server *s, enum pn_reply reply, struct pn_buf *out)
{
	if (s->close_reason != PN_SMTP_CLOSE_NONE)
		return;
	/* between STARTTLS and the end of the handshake a plaintext reply would only disturb the peer's TLS */
	pn_srv_close(s, out, PN_SMTP_CLOSE_BY_OWNER, s->phase == PN_PHASE_TLS ? PN_REPLY_NONE : reply);
	s->waiting = PN_WAITING_NONE;
	s->is_txn_over = s->txn != NULL;
	pn_srv_exchange_free(s);
	pn_srv_line_done(s);
}
