/* SPDX-License-Identifier: ISC */
/* cmd_mail.c - MAIL: begins a transaction (RFC 5321 4.1.1.2, RFC 6409 4.2). Who may send as whom is the owner's. */
#include "server_internal.h"

static enum pn_reply path_reply(enum pn_path_error e)
{
	switch (e) {
	case PN_PATH_OK: return PN_REPLY_NONE;
	case PN_PATH_SYNTAX: return PN_REPLY_SENDER_SYNTAX;
	case PN_PATH_TOO_LONG: return PN_REPLY_SENDER_TOO_LONG;
	case PN_PATH_NOT_QUALIFIED: return PN_REPLY_SENDER_NOT_QUALIFIED;
	}
	return PN_REPLY_SENDER_SYNTAX;
}

/* Fills *ret with slices of the line. */
static enum pn_reply mail_parse(const struct pn_smtp_server *s, struct pn_slice args, struct pn_envelope *ret)
{
	const struct pn_smtp_server_settings *o = s->settings;
	const struct pn_param_offer offer = { o->has_smtputf8, o->has_dsn, o->limits.message_size_max_bytes };
	struct pn_path path;

	if (!pn_slice_starts_nocase(args, PN_SLICE_LIT("FROM:")))
		return PN_REPLY_MAIL_SYNTAX;
	pn_slice_advance(&args, 5);
	/* RFC 5321 4.1.1.2 allows no blank here, but clients that send one are common */
	while (args.len > 0 && args.ptr[0] == ' ')
		pn_slice_advance(&args, 1);
	enum pn_reply reply = path_reply(pn_path_parse(&args, PN_PATH_REVERSE, &path));
	if (reply != PN_REPLY_NONE)
		return reply;
	/* parameters belong to EHLO sessions (RFC 5321 4.1.1.11) */
	if (args.len > 0 && !s->is_ehlo)
		return PN_REPLY_PARAM_UNKNOWN;
	reply = pn_mail_params_parse(args, &offer, ret);
	if (reply != PN_REPLY_NONE)
		return reply;
	ret->reverse_path = path.address;
	return path.has_8bit && !ret->is_smtputf8 ? PN_REPLY_ADDRESS_8BIT : PN_REPLY_NONE;
}

/* Copies what was parsed into the arena. */
static bool txn_new(struct pn_smtp_server *s, const struct pn_envelope *parsed)
{
	struct pn_arena *a = &s->arena;
	struct pn_smtp_txn *txn = pn_arena_zalloc(a, sizeof(*txn));

	if (!txn)
		return false;
	txn->envelope = *parsed;
	s->txn = txn;
	return pn_arena_dup(a, parsed->reverse_path, &txn->envelope.reverse_path) == 0 &&
	       pn_arena_dup(a, parsed->auth_param, &txn->envelope.auth_param) == 0 &&
	       pn_arena_dup(a, parsed->dsn_envid, &txn->envelope.dsn_envid) == 0 &&
	       pn_arena_dup(a, pn_smtp_server_helo(s), &txn->envelope.helo) == 0 &&
	       pn_arena_dup(a, pn_smtp_server_user(s), &txn->envelope.user) == 0;
}

bool pn_cmd_mail(struct pn_smtp_server *s, const struct pn_command *cmd, struct pn_smtp_step *st)
{
	struct pn_envelope parsed = { 0 };
	enum pn_reply refusal = PN_REPLY_NESTED_MAIL;

	if (!s->txn) {
		refusal = mail_parse(s, cmd->args, &parsed);
		if (refusal == PN_REPLY_NONE && txn_new(s, &parsed))
			return pn_srv_event(s, st, PN_SMTP_EV_MAIL, PN_WAITING_MAIL);
		if (refusal == PN_REPLY_NONE)
			refusal = PN_REPLY_MEMORY;
		pn_srv_txn_free(s);
		pn_srv_note_refusal(s);
	} else if (s->txn->is_bdat) {
		refusal = PN_REPLY_IN_BDAT;
	}
	pn_srv_refuse(s, st->out, refusal, false);
	return false;
}
