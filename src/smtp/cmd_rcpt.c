/* SPDX-License-Identifier: ISC */
/*
 * cmd_rcpt.c - RCPT: a recipient for the transaction (RFC 5321 4.1.1.3).
 *
 * The candidate is copied into the arena before the owner is asked, so that accepting it cannot fail; the block
 * of a refused one is used again, so that a client which tries recipients without end costs no memory.
 */
#include "server_internal.h"

#define CANDIDATE_ROOM_MIN_BYTES 64u

static enum pn_reply path_reply(enum pn_path_error e)
{
	switch (e) {
	case PN_PATH_OK: return PN_REPLY_NONE;
	case PN_PATH_SYNTAX: return PN_REPLY_RCPT_ADDRESS_SYNTAX;
	case PN_PATH_TOO_LONG: return PN_REPLY_RCPT_TOO_LONG;
	case PN_PATH_NOT_QUALIFIED: return PN_REPLY_RCPT_NOT_QUALIFIED;
	}
	return PN_REPLY_RCPT_ADDRESS_SYNTAX;
}

/* Fills *ret with slices of the line. */
static enum pn_reply rcpt_parse(const struct pn_smtp_server *s, struct pn_slice args, struct pn_recipient *ret)
{
	const struct pn_smtp_server_settings *o = s->settings;
	const struct pn_param_offer offer = { o->has_smtputf8, o->has_dsn, o->limits.message_size_max_bytes };
	bool is_smtputf8 = s->txn->envelope.is_smtputf8;
	struct pn_path path;

	if (!pn_slice_starts_nocase(args, PN_SLICE_LIT("TO:")))
		return PN_REPLY_RCPT_SYNTAX;
	pn_slice_advance(&args, 3);
	while (args.len > 0 && args.ptr[0] == ' ')
		pn_slice_advance(&args, 1);
	enum pn_reply reply = path_reply(pn_path_parse(&args, PN_PATH_FORWARD, &path));
	if (reply != PN_REPLY_NONE)
		return reply;
	if (args.len > 0 && !s->is_ehlo)
		return PN_REPLY_PARAM_UNKNOWN;
	reply = pn_rcpt_params_parse(args, &offer, is_smtputf8, ret);
	if (reply != PN_REPLY_NONE)
		return reply;
	ret->address = path.address;
	/* RFC 6531 3.4: allowed by the SMTPUTF8 of MAIL */
	return path.has_8bit && !is_smtputf8 ? PN_REPLY_ADDRESS_8BIT : PN_REPLY_NONE;
}

static struct pn_slice copy_to(uint8_t **at, struct pn_slice from)
{
	struct pn_slice copy = pn_slice(*at, from.len);

	if (from.len > 0)
		memcpy(*at, from.ptr, from.len);
	*at += from.len;
	return copy;
}

/* Rooms double, so that refused candidates of growing size leave at most a few blocks behind. */
static bool candidate_reserve(struct pn_smtp_server *s, size_t need)
{
	struct pn_smtp_txn *txn = s->txn;
	size_t room = CANDIDATE_ROOM_MIN_BYTES;

	if (txn->candidate && txn->candidate_room_bytes >= need)
		return true;
	while (room < need)
		room *= 2;
	struct pn_recipient *r = pn_arena_alloc(&s->arena, sizeof(*r) + room);
	if (!r)
		return false;
	txn->candidate = r;
	txn->candidate_room_bytes = room;
	return true;
}

static bool candidate_set(struct pn_smtp_server *s, const struct pn_recipient *parsed)
{
	if (!candidate_reserve(s, parsed->address.len + parsed->orcpt.len))
		return false;
	struct pn_recipient *r = s->txn->candidate;
	uint8_t *at = (uint8_t *)(r + 1);
	*r = *parsed;
	r->address = copy_to(&at, parsed->address);
	r->orcpt = copy_to(&at, parsed->orcpt);
	return true;
}

static enum pn_reply rcpt_check(struct pn_smtp_server *s, struct pn_slice args)
{
	struct pn_recipient parsed = { 0 };

	if (!s->txn)
		return PN_REPLY_NEED_MAIL;
	if (s->txn->is_bdat)
		return PN_REPLY_IN_BDAT;
	enum pn_reply reply = rcpt_parse(s, args, &parsed);
	if (reply != PN_REPLY_NONE)
		return reply;
	/* RFC 5321 4.5.3.1.10: over the limit 452, and those accepted stay */
	if (s->txn->envelope.recipient_count >= s->settings->limits.recipients_max)
		return PN_REPLY_TOO_MANY_RECIPIENTS;
	return candidate_set(s, &parsed) ? PN_REPLY_NONE : PN_REPLY_MEMORY;
}

bool pn_cmd_rcpt(struct pn_smtp_server *s, const struct pn_command *cmd, struct pn_smtp_step *st)
{
	enum pn_reply refusal = rcpt_check(s, cmd->args);

	if (refusal != PN_REPLY_NONE) {
		pn_srv_refuse(s, st->out, refusal, true);
		return false;
	}
	st->ev->recipient = s->txn->candidate;
	return pn_srv_event(s, st, PN_SMTP_EV_RCPT, PN_WAITING_RCPT);
}
