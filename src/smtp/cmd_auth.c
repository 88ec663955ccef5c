/* SPDX-License-Identifier: ISC */
/*
 * cmd_auth.c - AUTH and the lines of its exchange (RFC 4954 4).
 *
 * The server knows the framing: base64, "=" for an empty initial response, "*" to cancel. What a mechanism says
 * is the owner's. Decoded octets live in the exchange, which exists only while one runs and is wiped when it
 * ends.
 */
#include "server_internal.h"

#include <stdlib.h>

#include <postern/base/codec.h>

/* Whether `word` is one of the words of `list`. */
static bool list_has(const char *list, struct pn_slice word)
{
	struct pn_slice rest = pn_slice_str(list);

	while (rest.len > 0) {
		struct pn_slice item = pn_word_next(&rest);
		if (item.len > 0 && pn_slice_eq_nocase(item, word))
			return true;
	}
	return false;
}

static struct pn_smtp_exchange *exchange_new(const struct pn_smtp_server *s, struct pn_slice mechanism)
{
	struct pn_smtp_exchange *x = malloc(sizeof(*x));

	if (!x)
		return NULL;
	/* RFC 4954 8: mechanism names are case-insensitive; the owner gets them in upper case */
	for (size_t i = 0; i < mechanism.len; i++) {
		uint8_t c = mechanism.ptr[i];
		x->mechanism[i] = (char)(c >= 'a' && c <= 'z' ? c & 0xdf : c);
	}
	x->mechanism_len = (uint8_t)mechanism.len;
	pn_buf_init_secret(&x->data, s->settings->limits.auth_line_max_bytes);
	return x;
}

/* Decodes into the exchange. PN_REPLY_NONE, or what to refuse with. */
static enum pn_reply decode(struct pn_smtp_exchange *x, struct pn_slice base64)
{
	pn_buf_wipe(&x->data);
	if (base64.len == 0)
		return PN_REPLY_NONE;
	/* the decoder needs its room even for input that is no base64 */
	if (pn_buf_reserve(&x->data, PN_BASE64_DECODED_SIZE_MAX(base64.len) + 1) != 0)
		return PN_REPLY_AUTH_TEMPFAIL;
	ptrdiff_t len = pn_base64_decode(pn_buf_tail(&x->data), base64);
	if (len < 0)
		return PN_REPLY_AUTH_BASE64;
	pn_buf_commit(&x->data, (size_t)len);
	return PN_REPLY_NONE;
}

static bool auth_event(struct pn_smtp_server *s, struct pn_smtp_step *st, enum pn_smtp_event_type type,
		       bool has_initial)
{
	st->ev->mechanism = pn_slice(s->exchange->mechanism, s->exchange->mechanism_len);
	st->ev->has_initial = has_initial;
	st->ev->data = pn_buf_slice(&s->exchange->data);
	return pn_srv_event(s, st, type, PN_WAITING_AUTH);
}

static enum pn_reply auth_begin(struct pn_smtp_server *s, struct pn_slice args, bool *ret_has_initial)
{
	struct pn_slice mechanism = pn_word_next(&args);
	struct pn_slice initial = pn_word_next(&args);

	if (mechanism.len == 0 || args.len > 0)
		return PN_REPLY_AUTH_SYNTAX;
	if (mechanism.len > PN_MECHANISM_MAX_BYTES || !list_has(s->settings->auth_mechanisms, mechanism))
		return PN_REPLY_AUTH_MECH_UNKNOWN;
	s->exchange = exchange_new(s, mechanism);
	if (!s->exchange)
		return PN_REPLY_AUTH_TEMPFAIL;
	*ret_has_initial = initial.len > 0;
	/* RFC 4954 4: a single "=" is an empty initial response */
	if (pn_slice_eq(initial, PN_SLICE_LIT("=")))
		initial.len = 0;
	return decode(s->exchange, initial);
}

bool pn_cmd_auth(struct pn_smtp_server *s, const struct pn_command *cmd, struct pn_smtp_step *st)
{
	enum pn_reply refusal = PN_REPLY_NONE;
	bool has_initial = false;

	/* RFC 4954 4: nor in a transaction; but nobody has one without authentication */
	if (s->is_authenticated)
		refusal = PN_REPLY_AUTH_ALREADY;
	else
		refusal = auth_begin(s, cmd->args, &has_initial);
	if (refusal == PN_REPLY_NONE)
		return auth_event(s, st, PN_SMTP_EV_AUTH, has_initial);
	pn_srv_exchange_free(s);
	pn_srv_refuse(s, st->out, refusal, false);
	return false;
}

static bool auth_cancel(struct pn_smtp_server *s, struct pn_smtp_step *st, enum pn_reply reply)
{
	pn_srv_exchange_free(s);
	s->phase = PN_PHASE_COMMAND;
	pn_srv_refuse(s, st->out, reply, false);
	return pn_srv_event(s, st, PN_SMTP_EV_AUTH_CANCEL, PN_WAITING_NONE);
}

bool pn_cmd_auth_response(struct pn_smtp_server *s, struct pn_slice line, struct pn_smtp_step *st)
{
	if (pn_slice_eq(line, PN_SLICE_LIT("*")))
		return auth_cancel(s, st, PN_REPLY_AUTH_CANCELLED);
	enum pn_reply refusal = decode(s->exchange, line);
	if (refusal != PN_REPLY_NONE)
		return auth_cancel(s, st, refusal);
	return auth_event(s, st, PN_SMTP_EV_AUTH_RESPONSE, false);
}

bool pn_cmd_auth_overlong(struct pn_smtp_server *s, struct pn_smtp_step *st)
{
	return auth_cancel(s, st, PN_REPLY_AUTH_LINE_TOO_LONG);
}
