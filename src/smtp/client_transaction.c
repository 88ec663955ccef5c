/* SPDX-License-Identifier: ISC */
/*
 * client_transaction.c - one mail transaction: which command may go, what its reply means for each
 * recipient.
 *
 * Commands have places: RSET (when the last transaction left something open), MAIL, each RCPT, then
 * the payload command (DATA or BDAT n LAST), then the replies to the content. next_send and
 * next_reply run over the same places; with PIPELINING (RFC 2920) the first runs ahead, without it
 * they go in lock-step. A recipient is open until it was refused or the content was answered.
 *
 * With PIPELINING the next transaction may follow the final dot or the last chunk (RFC 2920 3.1,
 * RFC 3030 4.2) before that is answered: replies go to the oldest, commands are the newest's.
 */
#include "client_internal.h"

#include <errno.h>

#include <postern/base/codec.h>

/*
 * What `out` may hold of commands before replies are waited for: a thousand recipients do not need
 * a big buffer.
 */
#define SEND_AHEAD_MAX_BYTES (12 * 1024)
/*
 * A bigger message waits for the recipients' replies before its BDAT: the round trip costs less
 * than a body sent for nothing.
 */
#define EARLY_BDAT_MAX_BYTES (64 * 1024)
/* What `out` may hold before one more transaction is begun behind those that wait for replies. */
#define TRANSACTIONS_AHEAD_MAX_BYTES (256 * 1024)

enum pn_smtp_stage pn_client_transaction_stage(const struct client_tx *tx)
{
	if (tx->next_reply <= CLIENT_AT_MAIL)
		return PN_STAGE_MAIL;
	if (tx->next_reply < tx->at_payload)
		return PN_STAGE_RCPT;
	return tx->next_reply == tx->at_payload ? PN_STAGE_DATA : PN_STAGE_BODY;
}

/* ---- results ---- */

static bool is_open(const struct pn_smtp_rcpt_result *r)
{
	return r->reply.code < 400 && !(r->stage == PN_STAGE_BODY && r->reply.code != 0);
}

/*
 * The copy of a reply that outlives the parser; its text is shared by all recipients that it
 * decides.
 */
static struct pn_smtp_reply_info keep(const struct client_tx *tx,
				      const struct pn_smtp_reply_info *reply)
{
	struct pn_smtp_reply_info kept = *reply;

	if (reply->text.len == 0 || pn_arena_dup(tx->t->arena, reply->text, &kept.text))
		kept.text = PN_SLICE_NULL; /* no memory: the codes say enough */
	return kept;
}

void pn_client_transaction_settle(const struct client_tx *tx, enum pn_smtp_stage stage,
				  const struct pn_smtp_reply_info *reply)
{
	struct pn_smtp_reply_info kept = keep(tx, reply);

	for (uint32_t i = 0; i < tx->t->recipient_count; i++) {
		struct pn_smtp_rcpt_result *r = &tx->t->results[i];

		if (is_open(r))
			*r = (struct pn_smtp_rcpt_result){ .stage = stage, .reply = kept };
	}
}

bool pn_client_transaction_is_done(const struct client_tx *tx)
{
	if (tx->is_over)
		return true;
	if (tx->next_reply > tx->at_payload)
		return tx->body == CLIENT_BODY_ENDED && tx->final_seen == tx->final_count;
	if (tx->next_reply != tx->next_send)
		return false;
	return tx->is_mail_refused || (tx->next_reply == tx->at_payload && tx->accepted_count == 0);
}

bool pn_client_transaction_is_in_doubt(const struct client_tx *tx)
{
	if (tx->body != CLIENT_BODY_ENDED || tx->final_seen == tx->final_count)
		return false;
	/* With a pipelined BDAT the recipients may not have been answered yet. */
	return tx->accepted_count != 0 || (!tx->is_mail_refused && tx->next_reply < tx->at_payload);
}

void pn_client_transaction_finish(struct pn_smtp_client *c)
{
	const struct client_tx *tx = pn_client_oldest(c);

	/* Without an answered content the server may still hold the reverse-path. */
	if (tx->is_mail_accepted && tx->next_reply <= tx->at_payload)
		c->needs_rset = true;
	c->tx_first = (c->tx_first + 1) % PN_SMTP_CLIENT_AHEAD_MAX;
	if (--c->tx_count == 0)
		c->phase = CLIENT_READY;
}

/* ---- commands ---- */

struct command {
	struct pn_buf *out;
	int rc; /* the first failure */
};

static void add(struct command *cmd, struct pn_slice s)
{
	if (cmd->rc == 0)
		cmd->rc = pn_buf_append_slice(cmd->out, s);
}

static void add_str(struct command *cmd, const char *s)
{
	add(cmd, pn_slice_str(s));
}

static void add_param(struct command *cmd, const char *keyword, struct pn_slice value)
{
	if (value.len == 0)
		return;
	add_str(cmd, keyword);
	add(cmd, value);
}

static bool is_utf8_needed(const struct pn_smtp_transaction *t)
{
	if (t->needs_smtputf8 || pn_slice_has_8bit(t->envelope->reverse_path))
		return true;
	for (uint32_t i = 0; i < t->recipient_count; i++) {
		if (pn_slice_has_8bit(t->recipients[i]->address))
			return true;
	}
	return false;
}

static void add_mail(struct pn_smtp_client *c, struct command *cmd)
{
	const struct pn_smtp_transaction *t = pn_client_newest(c)->t;
	const struct pn_envelope *e = t->envelope;

	add_str(cmd, "MAIL FROM:<");
	add(cmd, e->reverse_path);
	add_str(cmd, ">");
	if ((c->caps & PN_CAP_SIZE) && t->size_bytes != 0 && cmd->rc == 0)
		cmd->rc = pn_buf_printf(cmd->out, " SIZE=%llu", (unsigned long long)t->size_bytes);
	if (t->has_8bit)
		add_str(cmd, " BODY=8BITMIME");
	/* RFC 6531 3.2: only when something needs it. */
	if (is_utf8_needed(t))
		add_str(cmd, " SMTPUTF8");
	if (c->caps & PN_CAP_DSN) {
		if (e->dsn_ret != PN_DSN_RET_UNSET)
			add_str(cmd, e->dsn_ret == PN_DSN_RET_FULL ? " RET=FULL" : " RET=HDRS");
		add_param(cmd, " ENVID=", e->dsn_envid);
	}
	/* RFC 4954 5: passed on, "<>" above all, to a server that we authenticated to. */
	if (c->is_authenticated)
		add_param(cmd, " AUTH=", e->auth_param);
	add_str(cmd, "\r\n");
}

/* RFC 3461 4.1 */
static void add_notify(struct command *cmd, uint32_t notify)
{
	static const struct {
		uint32_t flag;
		const char *name;
	} names[] = { { PN_DSN_NOTIFY_SUCCESS, "SUCCESS" },
		      { PN_DSN_NOTIFY_FAILURE, "FAILURE" },
		      { PN_DSN_NOTIFY_DELAY, "DELAY" } };
	const char *before = " NOTIFY=";

	if (notify & PN_DSN_NOTIFY_NEVER) {
		add_str(cmd, " NOTIFY=NEVER");
		return;
	}
	for (size_t i = 0; i < PN_ARRAY_SIZE(names); i++) {
		if (!(notify & names[i].flag))
			continue;
		add_str(cmd, before);
		add_str(cmd, names[i].name);
		before = ",";
	}
}

static void add_rcpt(struct pn_smtp_client *c, struct command *cmd, const struct pn_recipient *r)
{
	add_str(cmd, "RCPT TO:<");
	add(cmd, r->address);
	add_str(cmd, ">");
	if (c->caps & PN_CAP_DSN) {
		add_notify(cmd, r->notify);
		add_param(cmd, " ORCPT=", r->orcpt);
	}
	add_str(cmd, "\r\n");
}

static void add_payload(const struct client_tx *tx, struct command *cmd)
{
	if (!tx->is_chunked)
		add_str(cmd, "DATA\r\n");
	else if (cmd->rc == 0)
		cmd->rc = pn_buf_printf(cmd->out, "BDAT %llu LAST\r\n",
					(unsigned long long)tx->t->size_bytes);
}

/* All of the command at tx->next_send, or nothing of it. */
static int send_command(struct pn_smtp_client *c, struct client_tx *tx, struct pn_buf *out)
{
	struct command cmd = { .out = out };
	size_t before = pn_buf_len(out);
	uint32_t at = tx->next_send;

	if (at == CLIENT_AT_RSET)
		add_str(&cmd, "RSET\r\n");
	else if (at == CLIENT_AT_MAIL)
		add_mail(c, &cmd);
	else if (at < tx->at_payload)
		add_rcpt(c, &cmd, tx->t->recipients[at - CLIENT_AT_RCPT]);
	else
		add_payload(tx, &cmd);
	if (cmd.rc) {
		pn_client_out_rollback(out, before);
		return cmd.rc;
	}
	if (at == tx->at_payload && tx->is_chunked)
		tx->body = CLIENT_BODY_OFFERED;
	tx->next_send++;
	return 0;
}

static bool may_send(const struct pn_smtp_client *c, const struct client_tx *tx)
{
	bool may_pipeline = c->caps & PN_CAP_PIPELINING;
	uint32_t at = tx->next_send;

	if (tx->is_over || tx->is_mail_refused || at > tx->at_payload)
		return false;
	if (at == tx->next_reply)
		return at != tx->at_payload || tx->accepted_count != 0;
	if (at == tx->at_payload && tx->is_chunked && tx->t->size_bytes > EARLY_BDAT_MAX_BYTES)
		return false;
	return may_pipeline;
}

/*
 * BDAT has no reply before the content's: with the last RCPT answered, what comes next are the
 * final replies.
 */
static void expect_final(const struct pn_smtp_client *c, struct client_tx *tx)
{
	if (!tx->is_chunked || tx->next_reply != tx->at_payload || tx->next_send <= tx->next_reply)
		return;
	tx->next_reply++;
	/* RFC 2033 4.2: one for each accepted recipient; one refusal when there is none. */
	tx->final_count = c->settings->is_lmtp && tx->accepted_count != 0 ? tx->accepted_count : 1;
}

void pn_client_transaction_send(struct pn_smtp_client *c, struct pn_buf *out)
{
	struct client_tx *tx = pn_client_newest(c);
	bool is_ahead = c->tx_count > 1;
	size_t out_max = is_ahead ? TRANSACTIONS_AHEAD_MAX_BYTES : SEND_AHEAD_MAX_BYTES;

	while (may_send(c, tx)) {
		bool is_waiting = is_ahead || tx->next_reply < tx->next_send;

		if (is_waiting && pn_buf_len(out) > out_max)
			break;
		if (send_command(c, tx, out)) {
			if (!is_waiting)
				pn_client_fail_local(c, "no room for a command");
			break;
		}
	}
	if (c->phase == CLIENT_TRANSACTION)
		expect_final(c, tx);
}

/* ---- begin ---- */

static int refuse(struct pn_smtp_transaction *t, uint16_t code, uint16_t subject, uint16_t detail,
		  const char *text)
{
	struct pn_smtp_reply_info reply = { .code = code,
					    .enhanced = { 5, subject, detail },
					    .text = pn_slice_str(text) };

	for (uint32_t i = 0; i < t->recipient_count; i++)
		t->results[i] =
			(struct pn_smtp_rcpt_result){ .stage = PN_STAGE_EHLO, .reply = reply };
	return -EPROTONOSUPPORT;
}

static bool has_control(struct pn_slice s, bool may_have_space)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] < 0x20 || s.ptr[i] == 0x7f || (s.ptr[i] == ' ' && !may_have_space))
			return true;
	}
	return false;
}

/*
 * The parser that made these let nothing like it through; this is the last fence before the wire.
 */
static bool is_unsendable(const struct pn_smtp_transaction *t)
{
	const struct pn_envelope *e = t->envelope;

	if (has_control(e->reverse_path, true) || has_control(e->dsn_envid, false) ||
	    has_control(e->auth_param, false))
		return true;
	for (uint32_t i = 0; i < t->recipient_count; i++) {
		const struct pn_recipient *r = t->recipients[i];

		if (r->address.len == 0 || has_control(r->address, true) ||
		    has_control(r->orcpt, false))
			return true;
	}
	return false;
}

bool pn_smtp_client_may_begin(const struct pn_smtp_client *c)
{
	if (c->phase != CLIENT_TRANSACTION)
		return c->phase == CLIENT_READY;
	return (c->caps & PN_CAP_PIPELINING) && c->tx_count < PN_SMTP_CLIENT_AHEAD_MAX &&
	       c->txs[(c->tx_first + c->tx_count - 1) % PN_SMTP_CLIENT_AHEAD_MAX].body ==
		       CLIENT_BODY_ENDED;
}

int pn_smtp_client_begin(struct pn_smtp_client *c, struct pn_smtp_transaction *t,
			 struct pn_buf *out)
{
	struct client_tx *tx;

	PN_ASSERT(pn_smtp_client_may_begin(c) && t->recipient_count != 0 &&
		  t->recipient_count < UINT32_MAX - 8);
	c->is_ready_due = false;
	if (is_unsendable(t))
		return refuse(t, 553, 1, 3, "an address or parameter cannot be sent");
	/* RFC 6152 3, RFC 6531 3.2: there is no conversion. */
	if (t->has_8bit && !(c->caps & PN_CAP_8BITMIME))
		return refuse(t, 554, 6, 3, "the next hop does not offer 8BITMIME");
	if (is_utf8_needed(t) && !(c->caps & PN_CAP_SMTPUTF8))
		return refuse(t, 553, 6, 7, "the next hop does not offer SMTPUTF8");
	if (c->size_max_bytes != 0 && t->size_bytes > c->size_max_bytes)
		return refuse(t, 552, 3, 4, "the message is bigger than the next hop takes");
	memset(t->results, 0, t->recipient_count * sizeof(*t->results));
	t->is_dsn_dropped = !(c->caps & PN_CAP_DSN);
	t->is_in_doubt = false;
	c->tx_count++;
	tx = pn_client_newest(c);
	*tx = (struct client_tx){
		.t = t,
		.at_payload = CLIENT_AT_RCPT + t->recipient_count,
		.is_chunked = c->settings->is_chunking_used && (c->caps & PN_CAP_CHUNKING) &&
			      !t->is_size_estimate,
		.next_send = c->needs_rset ? CLIENT_AT_RSET : CLIENT_AT_MAIL,
		.next_reply = c->needs_rset ? CLIENT_AT_RSET : CLIENT_AT_MAIL,
		.body = CLIENT_BODY_NONE,
		.final_count = 1,
		.chunk_left_bytes = t->size_bytes,
		.body_last = '\n',
	};
	c->phase = CLIENT_TRANSACTION;
	pn_client_transaction_send(c, out);
	return 0;
}

/* ---- replies ---- */

static void mail_reply(struct client_tx *tx, const struct pn_smtp_reply_info *reply)
{
	if (reply->code < 300) {
		tx->is_mail_accepted = true;
	} else {
		tx->is_mail_refused = true;
		pn_client_transaction_settle(tx, PN_STAGE_MAIL, reply);
	}
}

static void rcpt_reply(struct client_tx *tx, struct pn_smtp_rcpt_result *r,
		       const struct pn_smtp_reply_info *reply)
{
	if (tx->is_mail_refused)
		return; /* decided already; the server only says 503 */
	*r = (struct pn_smtp_rcpt_result){ .stage = PN_STAGE_RCPT, .reply = *reply };
	if (reply->code < 300) {
		r->reply.text = PN_SLICE_NULL; /* a stopover, nobody will read it */
		tx->accepted_count++;
	} else {
		r->reply = keep(tx, reply);
	}
}

static void data_reply(struct pn_smtp_client *c, const struct pn_smtp_reply_info *reply,
		       struct pn_buf *out)
{
	struct client_tx *tx = pn_client_oldest(c);

	if (reply->code >= 400) {
		pn_client_transaction_settle(tx, PN_STAGE_DATA, reply);
		tx->is_over = true;
		return;
	}
	if (reply->code != 354) {
		pn_client_fail_local(c, "unexpected reply to DATA");
		return;
	}
	tx->next_reply++;
	if (tx->accepted_count != 0) {
		tx->body = CLIENT_BODY_OFFERED;
		tx->final_count = c->settings->is_lmtp ? tx->accepted_count : 1;
		return;
	}
	/*
	 * RFC 2920 3.1: all recipients were refused, and yet the server wants content: a single
	 * dot. RFC 2033 4.2 lets LMTP do no such thing.
	 */
	tx->body = CLIENT_BODY_ENDED;
	if (c->settings->is_lmtp || pn_buf_append_str(out, ".\r\n"))
		pn_client_fail_local(c, "DATA accepted without recipients");
}

/*
 * A reply to content that is still being sent. RFC 3030 4.2: a chunk is counted, so its refusal may
 * come early; after DATA nobody can tell what the server takes the rest for. Returns false when the
 * session has failed.
 */
static bool early_reply(struct pn_smtp_client *c, const struct pn_smtp_reply_info *reply)
{
	if (reply->code >= 400 && pn_client_oldest(c)->is_chunked)
		return true;
	if (reply->code >= 400)
		pn_client_fail(c, reply);
	else
		pn_client_fail_local(c, "reply before the end of the content");
	return false;
}

static void final_reply(struct pn_smtp_client *c, const struct pn_smtp_reply_info *reply)
{
	struct client_tx *tx = pn_client_oldest(c);
	struct pn_smtp_transaction *t = tx->t;

	if (tx->final_seen == tx->final_count) {
		pn_client_fail_local(c, "reply out of turn");
		return;
	}
	if (tx->body != CLIENT_BODY_ENDED && !early_reply(c, reply))
		return;
	tx->final_seen++;
	if (reply->code >= 400 && tx->is_chunked)
		c->needs_rset = true;
	if (!c->settings->is_lmtp) {
		pn_client_transaction_settle(tx, PN_STAGE_BODY, reply);
		return;
	}
	while (tx->final_recipient < t->recipient_count) {
		struct pn_smtp_rcpt_result *r = &t->results[tx->final_recipient++];

		if (!is_open(r))
			continue;
		*r = (struct pn_smtp_rcpt_result){ .stage = PN_STAGE_BODY,
						   .reply = keep(tx, reply) };
		break;
	}
}

void pn_client_transaction_reply(struct pn_smtp_client *c, const struct pn_smtp_reply_info *reply,
				 struct pn_buf *out)
{
	struct client_tx *tx = pn_client_oldest(c);
	uint32_t at = tx->next_reply, payload = tx->at_payload;

	if (at == tx->next_send && at <= payload) {
		pn_client_fail_local(c, "reply out of turn");
		return;
	}
	/* Only DATA has an intermediate reply. */
	if (reply->code / 100 == 3 && at != payload) {
		pn_client_fail_local(c, "unexpected reply");
		return;
	}
	if (at >= payload) {
		if (at == payload)
			data_reply(c, reply, out);
		else
			final_reply(c, reply);
		return;
	}
	if (at == CLIENT_AT_RSET) {
		if (reply->code >= 300) {
			/* No word about this message: not for its recipients' results. */
			pn_client_fail_local(c, "RSET was refused");
			return;
		}
		c->needs_rset = false;
	} else if (at == CLIENT_AT_MAIL) {
		mail_reply(tx, reply);
	} else {
		rcpt_reply(tx, &tx->t->results[at - CLIENT_AT_RCPT], reply);
	}
	tx->next_reply++;
	expect_final(c, tx);
}
