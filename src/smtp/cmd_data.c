/* SPDX-License-Identifier: ISC */
/*
 * cmd_data.c - DATA (RFC 5321 4.1.1.4) and BDAT (RFC 3030 2): begin of the content.
 *
 * A BDAT is followed by its octets whatever we think of it; so a refused one is remembered, its octets are
 * swallowed, and then it is answered. A BDAT whose length cannot be read ends the session: message text must
 * never be taken for commands.
 */
#include "server_internal.h"

static enum pn_reply data_check(struct pn_smtp_server *s)
{
	if (!s->txn)
		return PN_REPLY_NEED_MAIL;
	/* RFC 3030 2: never both in one transaction */
	if (s->txn->is_bdat)
		return PN_REPLY_IN_BDAT;
	/* RFC 5321 3.3, RFC 2920 3.1: no 354 when nobody would get the message */
	if (s->txn->envelope.recipient_count == 0)
		return PN_REPLY_NEED_RCPT;
	return pn_srv_body_begin(s, false) ? PN_REPLY_NONE : PN_REPLY_MEMORY;
}

bool pn_cmd_data(struct pn_smtp_server *s, const struct pn_command *cmd PN_UNUSED, struct pn_smtp_step *st)
{
	enum pn_reply refusal = data_check(s);

	if (refusal != PN_REPLY_NONE) {
		pn_srv_refuse(s, st->out, refusal, true);
		return false;
	}
	return pn_srv_event(s, st, PN_SMTP_EV_DATA_BEGIN, PN_WAITING_DATA);
}

/* bdat-cmd ::= "BDAT" SP chunk-size [ SP end-marker ]. False when the length is unknown. */
static bool bdat_parse(struct pn_slice args, uint64_t *ret_size, bool *ret_is_last, bool *ret_is_good)
{
	struct pn_slice size = pn_word_next(&args);

	*ret_is_last = pn_slice_eq_nocase(args, PN_SLICE_LIT("LAST"));
	*ret_is_good = args.len == 0 || *ret_is_last;
	return size.len > 0 && pn_slice_to_u64(size, UINT64_MAX, ret_size);
}

/* The chunk will be swallowed, then `reply` given. Nothing of the transaction may survive: a later chunk would
 * continue a message with a hole in it. */
static bool bdat_fail(struct pn_smtp_server *s, struct pn_smtp_step *st, enum pn_reply reply)
{
	s->phase = PN_PHASE_SWALLOW;
	s->swallow_reply = (uint8_t)reply;
	return pn_srv_txn_drop(s, st);
}

static enum pn_reply bdat_check(struct pn_smtp_server *s)
{
	const struct pn_smtp_server_settings *o = s->settings;
	uint64_t room = o->limits.message_size_max_bytes;

	if (!o->has_chunking)
		return PN_REPLY_NOT_IMPLEMENTED;
	if (!s->txn)
		return PN_REPLY_BDAT_SEQUENCE;
	if (s->txn->envelope.recipient_count == 0)
		return PN_REPLY_NEED_RCPT;
	if (s->txn->is_bdat)
		room -= pn_min_size(room, s->txn->body->chunked_bytes);
	if (s->chunk_left_bytes > room)
		return PN_REPLY_MESSAGE_TOO_BIG;
	if (!s->txn->is_bdat && !pn_srv_body_begin(s, true))
		return PN_REPLY_MEMORY;
	return PN_REPLY_NONE;
}

bool pn_cmd_bdat(struct pn_smtp_server *s, const struct pn_command *cmd, struct pn_smtp_step *st,
		 enum pn_reply refusal)
{
	uint64_t size = 0;
	bool is_last = false, is_good = false;

	if (!bdat_parse(cmd->args, &size, &is_last, &is_good)) {
		pn_srv_refuse(s, st->out, refusal != PN_REPLY_NONE ? refusal : PN_REPLY_BDAT_SYNTAX, false);
		if (s->close_reason == PN_SMTP_CLOSE_NONE)
			pn_srv_close(s, st->out, PN_SMTP_CLOSE_BDAT_LOST, PN_REPLY_BDAT_LOST);
		return false;
	}
	s->chunk_left_bytes = size;
	if (refusal == PN_REPLY_NONE && !is_good)
		refusal = PN_REPLY_BDAT_SYNTAX;
	if (refusal == PN_REPLY_NONE)
		refusal = bdat_check(s);
	if (refusal != PN_REPLY_NONE)
		return bdat_fail(s, st, refusal);

	struct pn_smtp_txn *txn = s->txn;
	txn->body->is_last = is_last;
	txn->body->chunked_bytes += size;
	if (txn->is_bdat) {
		s->phase = PN_PHASE_CHUNK;
		return false;
	}
	txn->is_bdat = true;
	return pn_srv_event(s, st, PN_SMTP_EV_DATA_BEGIN, PN_WAITING_BDAT);
}
