/* SPDX-License-Identifier: ISC */
/*
 * client.c - the client's life: construction, the step that turns octets into events, failure and
 * farewell.
 *
 * step() alternates between what is due without input (commands to send, events to give) and one
 * whole reply. Where a reply goes is decided by the phase: client_setup.c until READY,
 * client_transaction.c inside a transaction. A reply that nobody waits for ends the session.
 */
#include <stdlib.h>

#include "client_internal.h"

struct pn_smtp_client *pn_smtp_client_new(const struct pn_smtp_client_settings *settings,
					  bool is_tls)
{
	struct pn_smtp_client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->settings = settings;
	c->is_tls = is_tls;
	c->phase = CLIENT_GREETING;
	pn_reply_parser_init(&c->reply, settings->reply_line_max_bytes, settings->reply_lines_max);
	return c;
}

void pn_smtp_client_free(struct pn_smtp_client *c)
{
	if (!c)
		return;
	pn_reply_parser_deinit(&c->reply);
	free(c);
}

void pn_client_out_rollback(struct pn_buf *out, size_t len)
{
	out->tail -= pn_buf_len(out) - len;
}

/* ---- failure ---- */

void pn_client_fail(struct pn_smtp_client *c, const struct pn_smtp_reply_info *why)
{
	struct client_tx *tx;
	size_t len;

	if (c->phase == CLIENT_FAILED || c->phase == CLIENT_CLOSED)
		return;
	c->failure_stage = pn_smtp_client_stage(c);
	c->failure = *why;
	len = pn_reply_text_clean(c->failure_text, 0, why->text);
	c->failure.text = pn_slice(c->failure_text, len);
	/* A reply that refuses leaves no doubt; silence and nonsense do. */
	if (why->code >= 400 && c->tx_count != 0)
		pn_client_oldest(c)->body = CLIENT_BODY_NONE;
	for (uint32_t i = 0; i < c->tx_count; i++) {
		tx = pn_client_tx(c, i);
		tx->t->is_in_doubt = pn_client_transaction_is_in_doubt(tx);
		pn_client_transaction_settle(
			tx, i == 0 ? c->failure_stage : pn_client_transaction_stage(tx),
			&c->failure);
	}
	c->phase = CLIENT_FAILED;
}

void pn_client_fail_local(struct pn_smtp_client *c, const char *why)
{
	struct pn_smtp_reply_info info = { .code = 0, .text = pn_slice_str(why) };

	pn_client_fail(c, &info);
}

void pn_smtp_client_lost(struct pn_smtp_client *c, const char *reason)
{
	pn_client_fail_local(c, reason);
}

/* ---- step ---- */

static bool take_transaction_event(struct pn_smtp_client *c, enum pn_smtp_client_event *ret_ev,
				   struct pn_buf *out)
{
	pn_client_transaction_send(c, out);
	if (c->phase != CLIENT_TRANSACTION)
		return false;
	if (pn_client_newest(c)->body == CLIENT_BODY_OFFERED) {
		pn_client_newest(c)->body = CLIENT_BODY_OPEN;
		*ret_ev = PN_CLIENT_EV_BODY;
		return true;
	}
	if (pn_client_transaction_is_done(pn_client_oldest(c))) {
		pn_client_transaction_finish(c);
		*ret_ev = PN_CLIENT_EV_DONE;
		return true;
	}
	return false;
}

/* What is due without any input. */
static bool take_event(struct pn_smtp_client *c, enum pn_smtp_client_event *ret_ev,
		       struct pn_buf *out)
{
	if (c->phase == CLIENT_TRANSACTION && take_transaction_event(c, ret_ev, out))
		return true;
	if (c->phase == CLIENT_FAILED || c->phase == CLIENT_CLOSED) {
		if (c->is_end_told)
			return false;
		c->is_end_told = true;
		*ret_ev = c->phase == CLIENT_FAILED ? PN_CLIENT_EV_FAILED : PN_CLIENT_EV_CLOSED;
		return true;
	}
	if (!c->is_ready_due)
		return false;
	c->is_ready_due = false;
	*ret_ev = c->phase == CLIENT_TLS ? PN_CLIENT_EV_STARTTLS : PN_CLIENT_EV_READY;
	return true;
}

static void handle_reply(struct pn_smtp_client *c, struct pn_buf *out)
{
	struct pn_smtp_reply_info reply = pn_reply_parser_info(&c->reply);

	switch (c->phase) {
	case CLIENT_READY:
		if (reply.code == 421)
			c->phase = CLIENT_CLOSED; /* RFC 5321 3.8: the server shuts down */
		else
			pn_client_fail_local(c, "reply out of turn");
		return;
	case CLIENT_NOOP:
		if (reply.code == 421) {
			c->phase = CLIENT_CLOSED;
		} else if (reply.code >= 400) {
			pn_client_fail(c, &reply);
		} else {
			c->phase = CLIENT_READY;
			c->is_ready_due = true;
		}
		return;
	case CLIENT_QUIT:
		c->phase = CLIENT_CLOSED;
		return;
	case CLIENT_TRANSACTION:
		if (reply.code == 421)
			pn_client_fail(c, &reply);
		else
			pn_client_transaction_reply(c, &reply, out);
		return;
	case CLIENT_GREETING:
	case CLIENT_EHLO:
	case CLIENT_HELO:
	case CLIENT_STARTTLS:
	case CLIENT_AUTH:
		pn_client_setup_reply(c, &reply, out);
		return;
	case CLIENT_TLS:
	case CLIENT_FAILED:
	case CLIENT_CLOSED:
		return;
	}
}

/* Reads up to one whole reply. Returns false when the input is used up before. */
static bool take_reply(struct pn_smtp_client *c, struct pn_slice *in, struct pn_buf *out)
{
	struct pn_slice text;

	if (c->is_end_told)
		pn_slice_advance(in, in->len); /* nothing that comes now has a meaning */
	while (in->len != 0) {
		enum client_reply_status status;

		if (c->phase == CLIENT_TLS) {
			pn_client_fail_local(c, "octets in the clear behind STARTTLS");
			return true;
		}
		status = pn_reply_parser_feed(&c->reply, in, &text);
		if (status == CLIENT_REPLY_MORE)
			break;
		if (status == CLIENT_REPLY_BAD) {
			pn_client_fail_local(c, "malformed or oversized reply");
			return true;
		}
		if (c->phase == CLIENT_EHLO && c->reply.code == 250 && c->reply.line_count > 1)
			pn_client_ehlo_line(c, text);
		if (status == CLIENT_REPLY_LAST) {
			handle_reply(c, out);
			/*
			 * RFC 3207 6: what was injected behind the 220 must not be taken for the
			 * server's word under TLS.
			 */
			if (c->phase == CLIENT_TLS && in->len != 0)
				pn_client_fail_local(c, "octets in the clear behind STARTTLS");
			return true;
		}
	}
	return false;
}

enum pn_smtp_client_status pn_smtp_client_step(struct pn_smtp_client *c, struct pn_slice *in,
					       enum pn_smtp_client_event *ret_ev,
					       struct pn_buf *out)
{
	while (!take_event(c, ret_ev, out)) {
		if (!take_reply(c, in, out))
			return PN_CLIENT_AGAIN;
	}
	return PN_CLIENT_EVENT;
}

void pn_smtp_client_tls_started(struct pn_smtp_client *c, struct pn_buf *out)
{
	PN_ASSERT(c->phase == CLIENT_TLS || c->phase == CLIENT_FAILED);
	if (c->phase == CLIENT_FAILED)
		return;
	c->is_tls = true;
	c->is_ready_due = false;
	pn_client_send_ehlo(c, out); /* RFC 3207 4.2: forgets what was learned before */
}

/* RFC 5321 4.1.1.10: QUIT before closing, wherever the server can still understand it. */
void pn_smtp_client_quit(struct pn_smtp_client *c, struct pn_buf *out)
{
	bool was_refused = c->phase == CLIENT_FAILED && c->tx_count == 0 &&
			   c->failure.code >= 400 && c->failure.code != 421;

	if (c->phase != CLIENT_READY && !was_refused)
		return;
	if (pn_buf_append_str(out, "QUIT\r\n"))
		return;
	c->phase = CLIENT_QUIT;
	c->is_end_told = false;
}

void pn_smtp_client_noop(struct pn_smtp_client *c, struct pn_buf *out)
{
	if (c->phase != CLIENT_READY || pn_buf_append_str(out, "NOOP\r\n"))
		return;
	c->is_ready_due = false;
	c->phase = CLIENT_NOOP;
}

/* ---- questions ---- */

const struct pn_smtp_reply_info *pn_smtp_client_failure(const struct pn_smtp_client *c)
{
	return &c->failure;
}

enum pn_smtp_stage pn_smtp_client_stage(const struct pn_smtp_client *c)
{
	switch (c->phase) {
	case CLIENT_GREETING:
		return PN_STAGE_GREETING;
	case CLIENT_STARTTLS:
	case CLIENT_TLS:
		return PN_STAGE_TLS;
	case CLIENT_AUTH:
		return PN_STAGE_AUTH;
	case CLIENT_TRANSACTION:
		return pn_client_transaction_stage(&c->txs[c->tx_first]);
	case CLIENT_FAILED:
		return c->failure_stage;
	case CLIENT_EHLO:
	case CLIENT_HELO:
	case CLIENT_READY:
	case CLIENT_NOOP:
	case CLIENT_QUIT:
	case CLIENT_CLOSED:
		break;
	}
	return PN_STAGE_EHLO;
}

uint32_t pn_smtp_client_caps(const struct pn_smtp_client *c)
{
	return c->caps;
}

bool pn_smtp_client_is_in_doubt(const struct pn_smtp_client *c)
{
	for (uint32_t i = 0; i < c->tx_count; i++) {
		if (pn_client_transaction_is_in_doubt(
			    &c->txs[(c->tx_first + i) % PN_SMTP_CLIENT_AHEAD_MAX]))
			return true;
	}
	return false;
}
