/* SPDX-License-Identifier: ISC */
/*
 * fuzz_server_session.c - whole sessions of the server side.
 *
 * The first 12 octets of the input choose the settings (1), the verdicts (8, used in turn) and the cuts (3);
 * the rest is what the client sends. Each session is played whole and in pieces; both must give the same
 * replies, events and content. Checked besides: replies are well-formed lines, memory stays under the limits,
 * nothing happens before TLS and authentication, content comes only inside a transfer, CLOSE is final.
 */
#include <stdio.h>
#include <stdlib.h>

#include <postern/base/codec.h>
#include <postern/smtp/server_types.h>

#include "fuzz.h"

#define HEAD_BYTES 12
#define LOG_MAX_BYTES ((size_t)64 << 20)
#define MUST(x) PN_ASSERT(x)

struct run {
	const uint8_t *head;
	struct pn_smtp_server server;
	struct pn_buf out;
	struct pn_buf log;
	uint32_t content_crc;
	uint64_t content_len;
	unsigned verdict_count;
	bool is_tls, is_logged_in, is_receiving;
};

static struct pn_smtp_server_settings make_settings(uint8_t flags)
{
	bool is_small = flags & 1;

	return (struct pn_smtp_server_settings){
		.hostname = "mx.example.org",
		.limits = {
			.command_line_max_bytes = is_small ? 512 : 4096,
			.auth_line_max_bytes = is_small ? 600 : 12288,
			.text_line_max_bytes = is_small ? 40 : 65536,
			.recipients_max = is_small ? 3 : 100,
			.message_size_max_bytes = is_small ? 200 : 1 << 20,
			.header_size_max_bytes = is_small ? 100 : 65536,
			.received_max = is_small ? 2 : 50,
			.bad_commands_max = is_small ? 5 : 50,
			.auth_failures_max = 3,
			.transaction_memory_max_bytes = is_small ? 4096 : 65536,
		},
		.line_policy = flags & 2 ? PN_LINE_NORMALIZE : PN_LINE_REJECT,
		.has_smtputf8 = !(flags & 4),
		.has_chunking = !(flags & 8),
		.has_dsn = !(flags & 16),
		.auth_mechanisms = "SCRAM-SHA-256 PLAIN LOGIN",
	};
}

static void check_line(const uint8_t *line, size_t len)
{
	MUST(len >= 4 && len + 2 <= PN_REPLY_LINE_MAX_BYTES);
	MUST(line[0] >= '2' && line[0] <= '5' && line[1] >= '0' && line[1] <= '5' && line[2] >= '0' &&
	     line[2] <= '9');
	MUST(line[3] == ' ' || line[3] == '-');
	for (size_t i = 0; i < len; i++)
		MUST(line[i] >= 0x20 && line[i] < 0x7f);
}

static void take_out(struct run *r)
{
	struct pn_slice left = pn_buf_slice(&r->out);

	MUST(pn_buf_append_slice(&r->log, left) == 0);
	while (left.len > 0) {
		const uint8_t *end = memmem(left.ptr, left.len, "\r\n", 2);
		MUST(end != NULL);
		check_line(left.ptr, (size_t)(end - left.ptr));
		pn_slice_advance(&left, (size_t)(end - left.ptr) + 2);
	}
	pn_buf_clear(&r->out);
}

static void check_memory(const struct run *r)
{
	const struct pn_smtp_server *s = &r->server;
	const struct pn_smtp_limits *l = &s->settings->limits;

	MUST(s->arena.used_bytes <= l->transaction_memory_max_bytes);
	MUST(s->line.cap <= pn_max_size(l->command_line_max_bytes, l->auth_line_max_bytes));
	MUST(!pn_smtp_server_is_idle(s) || (!s->exchange && !s->line.data && (!s->txn || s->is_txn_over)));
}

static void check_event(struct run *r, const struct pn_smtp_event *ev)
{
	struct pn_envelope *e = pn_smtp_server_envelope(&r->server);

	switch (ev->type) {
	case PN_SMTP_EV_STARTTLS: MUST(!r->is_tls); break;
	case PN_SMTP_EV_AUTH:
	case PN_SMTP_EV_AUTH_RESPONSE: MUST(r->is_tls && !r->is_logged_in); break;
	case PN_SMTP_EV_AUTH_CANCEL: MUST(r->is_tls); break;
	case PN_SMTP_EV_MAIL: MUST(r->is_logged_in && e && e->user.len > 0 && e->helo.len > 0); break;
	case PN_SMTP_EV_RCPT: MUST(r->is_logged_in && e && ev->recipient->address.len > 0); break;
	case PN_SMTP_EV_DATA_BEGIN:
		MUST(r->is_logged_in && e && e->recipient_count > 0 && !r->is_receiving);
		break;
	case PN_SMTP_EV_CONTENT: MUST(r->is_receiving && ev->data.len > 0); break;
	case PN_SMTP_EV_DATA_END:
		MUST(r->is_receiving && pn_smtp_server_content_facts(&r->server)->size_bytes == r->content_len);
		MUST(r->content_len <= r->server.settings->limits.message_size_max_bytes);
		r->is_receiving = false;
		break;
	case PN_SMTP_EV_DATA_ABORT:
		MUST(r->is_receiving);
		r->is_receiving = false;
		break;
	case PN_SMTP_EV_RESET: MUST(!r->is_receiving && !pn_smtp_server_is_in_transaction(&r->server)); break;
	}
}

static struct pn_smtp_verdict make_verdict(struct run *r, const struct pn_smtp_event *ev)
{
	uint8_t octet = r->head[1 + r->verdict_count++ % 8];
	struct pn_smtp_verdict v = { .text = octet & 0x80 ? PN_SLICE_LIT("a text\r\n\xff") : PN_SLICE_NULL };

	/* an odd octet is any reply at all, an even one says yes */
	if (octet & 1) {
		v.reply = (enum pn_reply)(octet >> 1 & 0x7f) < PN_REPLY_COUNT
				  ? (enum pn_reply)(octet >> 1 & 0x7f)
				  : PN_REPLY_NONE;
		v.forwarded_code = (uint16_t)(200 + octet);
		v.forwarded_enhanced[0] = 4;
	} else if (ev->type == PN_SMTP_EV_AUTH || ev->type == PN_SMTP_EV_AUTH_RESPONSE) {
		v.reply = octet & 2 ? PN_REPLY_AUTH_CHALLENGE : PN_REPLY_AUTH_OK;
	} else {
		v.reply = PN_REPLY_OK;
	}
	if (v.reply == PN_REPLY_AUTH_OK || v.reply == PN_REPLY_AUTH_CHALLENGE)
		v.challenge = PN_SLICE_LIT("alice");
	return v;
}

/* Content is logged by its sum, and only when it is whole: how much of a refused message was given depends on
 * the cuts. */
static void handle_event(struct run *r, const struct pn_smtp_event *ev)
{
	check_event(r, ev);
	take_out(r);
	if (ev->type == PN_SMTP_EV_CONTENT) {
		r->content_crc = pn_crc32c(r->content_crc, ev->data.ptr, ev->data.len);
		r->content_len += ev->data.len;
		return;
	}
	MUST(pn_buf_printf(&r->log, "event %d", (int)ev->type) == 0);
	if (ev->type == PN_SMTP_EV_DATA_END)
		MUST(pn_buf_printf(&r->log, " %u %llu", r->content_crc, (unsigned long long)r->content_len) ==
		     0);
	if (ev->type == PN_SMTP_EV_AUTH || ev->type == PN_SMTP_EV_AUTH_RESPONSE)
		MUST(pn_buf_printf(&r->log, " %u", pn_crc32c(0, ev->data.ptr, ev->data.len)) == 0);
	MUST(pn_buf_append_str(&r->log, "\n") == 0);
	if (!ev->needs_verdict)
		return;
	struct pn_smtp_verdict v = make_verdict(r, ev);
	MUST(!pn_smtp_server_resolve(&r->server, ev->token + 1, &v, &r->out));
	MUST(pn_smtp_server_resolve(&r->server, ev->token, &v, &r->out));
	take_out(r);
	r->is_logged_in = pn_smtp_server_is_authenticated(&r->server);
	if (ev->type == PN_SMTP_EV_DATA_BEGIN) {
		r->is_receiving = pn_smtp_server_is_receiving(&r->server);
		r->content_crc = 0;
		r->content_len = 0;
	}
}

/* Returns false when the session is closed. */
static bool take_piece(struct run *r, struct pn_slice piece)
{
	for (;;) {
		struct pn_smtp_event ev;
		enum pn_smtp_status status = pn_smtp_server_step(&r->server, &piece, &ev, &r->out);
		check_memory(r);
		if (status == PN_SMTP_EVENT) {
			handle_event(r, &ev);
			if (ev.type != PN_SMTP_EV_STARTTLS)
				continue;
			MUST(piece.len == 0);
			pn_smtp_server_tls_started(&r->server);
			r->is_tls = true;
			return true;
		}
		take_out(r);
		if (status == PN_SMTP_WAIT)
			continue; /* the output was full and is not any more */
		if (status == PN_SMTP_AGAIN) {
			MUST(piece.len == 0);
			return true;
		}
		MUST(pn_smtp_server_close_reason(&r->server) != PN_SMTP_CLOSE_NONE);
		MUST(pn_buf_printf(&r->log, "close %d\n", (int)pn_smtp_server_close_reason(&r->server)) == 0);
		MUST(pn_smtp_server_step(&r->server, &piece, &ev, &r->out) == PN_SMTP_CLOSE);
		return false;
	}
}

/* Plays the stream; `in_pieces` cuts it as the head says. */
static void play(struct run *r, const struct pn_smtp_server_settings *settings, struct pn_slice stream,
		 bool in_pieces)
{
	unsigned cut = 0;
	bool is_open = true;

	r->is_tls = !(r->head[0] & 32);
	pn_buf_init(&r->out, 4096);
	pn_buf_init(&r->log, LOG_MAX_BYTES);
	pn_smtp_server_init(&r->server, settings, r->is_tls);
	MUST(pn_smtp_server_greet(&r->server, &r->out) == 0);
	if (r->is_tls && r->head[0] & 64)
		(void)take_piece(r, PN_SLICE_LIT("EHLO c.example\r\nAUTH PLAIN =\r\n"));
	while (is_open && stream.len > 0) {
		size_t n = in_pieces ? pn_min_size(stream.len, 1 + (size_t)(r->head[9 + cut++ % 3] % 32))
				     : stream.len;
		/* an allocation of its own, so that ASan sees every octet used too long */
		uint8_t *piece = malloc(n);
		MUST(piece != NULL);
		memcpy(piece, stream.ptr, n);
		is_open = take_piece(r, pn_slice(piece, n));
		free(piece);
		pn_slice_advance(&stream, n);
	}
	pn_smtp_server_deinit(&r->server);
	pn_buf_free(&r->out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run whole = { .head = data }, pieces = { .head = data };

	if (size < HEAD_BYTES)
		return 0;
	struct pn_smtp_server_settings settings = make_settings(data[0]);
	struct pn_slice stream = pn_slice(data + HEAD_BYTES, size - HEAD_BYTES);
	play(&whole, &settings, stream, false);
	play(&pieces, &settings, stream, true);
	/* behind STARTTLS what arrives together matters (RFC 3207 6): only sessions in TLS must be the same for
	 * every cut */
	if (!(data[0] & 32))
		MUST(pn_slice_eq(pn_buf_slice(&whole.log), pn_buf_slice(&pieces.log)));
	pn_buf_free(&whole.log);
	pn_buf_free(&pieces.log);
	return 0;
}
