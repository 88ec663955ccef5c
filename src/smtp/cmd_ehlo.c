/* SPDX-License-Identifier: ISC */
/*
 * cmd_ehlo.c - EHLO, HELO, STARTTLS.
 *
 * A keyword is offered only where it is honoured (RFC 5321 4.2.4): before TLS no mail can be sent, so the
 * keywords about mail and AUTH come after it (RFC 8314 4.1, RFC 3207 4.2).
 */
#include "server_internal.h"

/* RFC 5321 4.1.4: a good EHLO or HELO in a session does what RSET does; a bad one changes nothing. */
static bool take_name(struct pn_smtp_server *s, const struct pn_command *cmd, struct pn_smtp_step *st,
		      bool is_ehlo)
{
	if (!pn_helo_name_is_valid(cmd->args)) {
		pn_srv_refuse(s, st->out, PN_REPLY_BAD_HELO, false);
		return false;
	}
	memcpy(s->helo, cmd->args.ptr, cmd->args.len);
	s->helo_len = (uint8_t)cmd->args.len;
	s->is_ehlo = is_ehlo;
	s->error_count = 0;
	return true;
}

static bool put_keyword(struct pn_buf *out, const char *keyword, const char *value, bool is_last)
{
	return pn_buf_printf(out, "250%c%s%s%s\r\n", is_last ? ' ' : '-', keyword, value ? " " : "",
			     value ? value : "") == 0;
}

/* ENHANCEDSTATUSCODES closes the list, so that every line before it is a middle one. */
static bool put_ehlo_reply(const struct pn_smtp_server *s, struct pn_buf *out)
{
	const struct pn_smtp_server_settings *o = s->settings;
	bool is_good =
		put_keyword(out, o->hostname, NULL, false) && put_keyword(out, "PIPELINING", NULL, false);

	if (!s->is_tls)
		return is_good && put_keyword(out, "STARTTLS", NULL, false) &&
		       put_keyword(out, "ENHANCEDSTATUSCODES", NULL, true);
	is_good = is_good &&
		  pn_buf_printf(out, "250-SIZE %llu\r\n",
				(unsigned long long)o->limits.message_size_max_bytes) == 0 &&
		  put_keyword(out, "8BITMIME", NULL, false);
	if (o->has_chunking)
		is_good = is_good && put_keyword(out, "CHUNKING", NULL, false);
	if (o->has_smtputf8)
		is_good = is_good && put_keyword(out, "SMTPUTF8", NULL, false);
	if (o->has_dsn)
		is_good = is_good && put_keyword(out, "DSN", NULL, false);
	/* RFC 4954 4: after success AUTH would only be refused */
	if (o->auth_mechanisms[0] && !s->is_authenticated)
		is_good = is_good && put_keyword(out, "AUTH", o->auth_mechanisms, false);
	return is_good && put_keyword(out, "ENHANCEDSTATUSCODES", NULL, true);
}

bool pn_cmd_ehlo(struct pn_smtp_server *s, const struct pn_command *cmd, struct pn_smtp_step *st)
{
	if (!take_name(s, cmd, st, true))
		return false;
	if (!put_ehlo_reply(s, st->out))
		pn_srv_close(s, st->out, PN_SMTP_CLOSE_MEMORY, PN_REPLY_NONE);
	s->last_reply = PN_REPLY_OK_HELO;
	return pn_srv_txn_drop(s, st);
}

bool pn_cmd_helo(struct pn_smtp_server *s, const struct pn_command *cmd, struct pn_smtp_step *st)
{
	if (!take_name(s, cmd, st, false))
		return false;
	pn_srv_reply_text(s, st->out, PN_REPLY_OK_HELO, pn_slice_str(s->settings->hostname));
	return pn_srv_txn_drop(s, st);
}

bool pn_cmd_starttls(struct pn_smtp_server *s, const struct pn_command *cmd PN_UNUSED, struct pn_smtp_step *st)
{
	if (s->is_tls) {
		pn_srv_refuse(s, st->out, PN_REPLY_TLS_ACTIVE, false);
		return false;
	}
	/* RFC 3207 6: what came in plaintext behind STARTTLS may be another's; it is neither run nor kept for
	 * after the handshake. */
	if (st->in->len > 0) {
		s->stats.injections++;
		pn_srv_close(s, st->out, PN_SMTP_CLOSE_STARTTLS_INJECTION, PN_REPLY_STARTTLS_INJECTION);
		return false;
	}
	pn_srv_accept(s, st->out, PN_REPLY_STARTTLS_GO);
	s->phase = PN_PHASE_TLS;
	return pn_srv_event(s, st, PN_SMTP_EV_STARTTLS, PN_WAITING_NONE);
}
