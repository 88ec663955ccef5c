/* SPDX-License-Identifier: ISC */
/* server_query.c - what the owner may ask about a session. Nothing here changes anything. */
#include "server_internal.h"

bool pn_smtp_server_is_in_transaction(const struct pn_smtp_server *s)
{
	return s->txn && !s->is_txn_over;
}

bool pn_smtp_server_is_idle(const struct pn_smtp_server *s)
{
	return s->phase == PN_PHASE_COMMAND && s->waiting == PN_WAITING_NONE &&
	       s->close_reason == PN_SMTP_CLOSE_NONE && !pn_smtp_server_is_in_transaction(s) &&
	       pn_buf_len(&s->line) == 0 && !s->is_line_overlong;
}

bool pn_smtp_server_is_receiving(const struct pn_smtp_server *s)
{
	return pn_smtp_server_is_in_transaction(s) && s->txn->is_receiving;
}

bool pn_smtp_server_is_storing_in_place(const struct pn_smtp_server *s)
{
	return (s->phase == PN_PHASE_DATA || s->phase == PN_PHASE_CHUNK) &&
	       pn_smtp_server_is_receiving(s) && !s->txn->body->is_aborted &&
	       pn_data_is_shrinking(&s->txn->body->scanner);
}

bool pn_smtp_server_is_in_content(const struct pn_smtp_server *s)
{
	return s->phase == PN_PHASE_DATA || s->phase == PN_PHASE_CHUNK || s->phase == PN_PHASE_SWALLOW;
}

bool pn_smtp_server_is_authenticated(const struct pn_smtp_server *s)
{
	return s->is_authenticated;
}

struct pn_slice pn_smtp_server_helo(const struct pn_smtp_server *s)
{
	return pn_slice(s->helo, s->helo_len);
}

bool pn_smtp_server_is_ehlo(const struct pn_smtp_server *s)
{
	return s->is_ehlo;
}

struct pn_slice pn_smtp_server_user(const struct pn_smtp_server *s)
{
	return pn_slice(s->user, s->user_len);
}

enum pn_smtp_close_reason pn_smtp_server_close_reason(const struct pn_smtp_server *s)
{
	return (enum pn_smtp_close_reason)s->close_reason;
}

const char *pn_smtp_close_reason_name(enum pn_smtp_close_reason reason)
{
	static const char *const names[PN_SMTP_CLOSE_COUNT] = {
		[PN_SMTP_CLOSE_NONE] = "none",
		[PN_SMTP_CLOSE_QUIT] = "quit",
		[PN_SMTP_CLOSE_TOO_MANY_ERRORS] = "too-many-errors",
		[PN_SMTP_CLOSE_LINE_ENDLESS] = "line-endless",
		[PN_SMTP_CLOSE_AUTH_FAILURES] = "auth-failures",
		[PN_SMTP_CLOSE_STARTTLS_INJECTION] = "starttls-injection",
		[PN_SMTP_CLOSE_BDAT_LOST] = "bdat-lost",
		[PN_SMTP_CLOSE_BY_OWNER] = "by-owner",
		[PN_SMTP_CLOSE_MEMORY] = "memory",
	};

	PN_ASSERT((unsigned)reason < PN_SMTP_CLOSE_COUNT);
	return names[reason];
}

const struct pn_smtp_server_stats *pn_smtp_server_stats(const struct pn_smtp_server *s)
{
	return &s->stats;
}

enum pn_reply pn_smtp_server_last_reply(const struct pn_smtp_server *s)
{
	return (enum pn_reply)s->last_reply;
}

struct pn_envelope *pn_smtp_server_envelope(struct pn_smtp_server *s)
{
	return s->txn ? &s->txn->envelope : NULL;
}

struct pn_arena *pn_smtp_server_arena(struct pn_smtp_server *s)
{
	return &s->arena;
}

const struct pn_content_facts *pn_smtp_server_content_facts(const struct pn_smtp_server *s)
{
	return s->txn && s->txn->body ? &s->txn->body->content.facts : NULL;
}

const struct pn_content_scan *pn_smtp_server_content_scan(const struct pn_smtp_server *s)
{
	return s->txn && s->txn->body ? &s->txn->body->content : NULL;
}
