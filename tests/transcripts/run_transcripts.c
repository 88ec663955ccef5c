/* SPDX-License-Identifier: ISC */
/*
 * run_transcripts.c - plays transcripts against the server side and compares what comes out, line by line.
 *
 *	run_transcripts FILE...          PN_TRANSCRIPT_SEED=n repeats a run with other random cuts
 *
 * Each file is played with its input whole, octet by octet, and at random cuts with verdicts that come late;
 * the result must be the same every time. Each piece of input lies in its own allocation that is freed when the
 * server is done with it, so that ASan sees every octet used too long. Verdicts with a wrong token are tried at
 * every turn.
 */
#include <stdio.h>
#include <stdlib.h>

#include <postern/base/codec.h>
#include <postern/base/prng.h>
#include <postern/smtp/server_types.h>

#include "transcript.h"

#define RANDOM_RUNS 24
#define LOG_MAX_BYTES ((size_t)64 << 20)

enum cut_mode { CUT_WHOLE, CUT_OCTETS, CUT_RANDOM };

struct play {
	const struct transcript *t;
	struct pn_smtp_server server;
	struct pn_buf out;
	struct pn_buf content; /* run together, so that cuts do not show */
	struct pn_buf log;     /* lines ended by NUL */
	size_t line_count;
	size_t verdicts_used;
	enum cut_mode mode;
	struct pn_prng *prng;
	struct pn_slice rest; /* of the piece being taken */
	bool is_closed;
	bool is_quiet; /* while logging in */
};

static PN_NORETURN void fail(const struct play *p, const char *what)
{
	(void)fprintf(stderr, "%s: %s\n", p->t->path, what);
	exit(1);
}

static void must(int result)
{
	if (result != 0)
		abort();
}

static void log_line(struct play *p, char kind, struct pn_slice text)
{
	if (p->is_quiet)
		return;
	must(pn_buf_printf(&p->log, "%c: ", kind));
	transcript_escape(&p->log, text);
	must(pn_buf_append(&p->log, "", 1));
	p->line_count++;
}

/* Logs content as lines. */
static void flush_content(struct play *p)
{
	struct pn_slice left = pn_buf_slice(&p->content);

	if (left.len > 4096) {
		char text[48];
		int len = snprintf(text, sizeof(text), "(%zu octets)", left.len);
		log_line(p, 'D', pn_slice(text, (size_t)len));
		left.len = 0;
	}
	while (left.len > 0) {
		const uint8_t *end = memmem(left.ptr, left.len, "\r\n", 2);
		size_t len = end ? (size_t)(end - left.ptr) : left.len;
		log_line(p, 'D', pn_slice(left.ptr, len));
		pn_slice_advance(&left, end ? len + 2 : len);
	}
	pn_buf_clear(&p->content);
}

/* Logs replies and checks their form (RFC 5321 4.2, RFC 2034 4). */
static void flush_out(struct play *p)
{
	struct pn_slice left = pn_buf_slice(&p->out);

	while (left.len > 0) {
		const uint8_t *end = memmem(left.ptr, left.len, "\r\n", 2);
		if (!end || end - left.ptr < 4 || end - left.ptr + 2 > PN_REPLY_LINE_MAX_BYTES)
			fail(p, "reply is not a line of 6 to 512 octets");
		log_line(p, 'S', pn_slice(left.ptr, (size_t)(end - left.ptr)));
		pn_slice_advance(&left, (size_t)(end - left.ptr) + 2);
	}
	pn_buf_clear(&p->out);
}

static void put_text(struct pn_buf *b, const char *before, struct pn_slice s)
{
	must(pn_buf_append_str(b, before));
	must(pn_buf_append_slice(b, s));
}

static void put_mail(struct pn_buf *b, const struct pn_envelope *e)
{
	put_text(b, "MAIL <", e->reverse_path);
	must(pn_buf_append_str(b, ">"));
	if (e->size_declared)
		must(pn_buf_printf(b, " size=%llu", (unsigned long long)e->size_declared));
	if (e->body == PN_BODY_8BITMIME)
		must(pn_buf_append_str(b, " 8bitmime"));
	if (e->is_smtputf8)
		must(pn_buf_append_str(b, " smtputf8"));
	if (e->auth_param.len)
		put_text(b, " auth=", e->auth_param);
	if (e->dsn_ret != PN_DSN_RET_UNSET)
		must(pn_buf_append_str(b, e->dsn_ret == PN_DSN_RET_FULL ? " ret=full" : " ret=hdrs"));
	if (e->dsn_envid.len)
		put_text(b, " envid=", e->dsn_envid);
	put_text(b, " user=", e->user);
	put_text(b, " helo=", e->helo);
}

static void put_rcpt(struct pn_buf *b, const struct pn_recipient *r)
{
	put_text(b, "RCPT <", r->address);
	must(pn_buf_append_str(b, ">"));
	if (r->notify)
		must(pn_buf_printf(b, " notify=%s%s%s%s", r->notify & PN_DSN_NOTIFY_NEVER ? "N" : "",
				   r->notify & PN_DSN_NOTIFY_SUCCESS ? "S" : "",
				   r->notify & PN_DSN_NOTIFY_FAILURE ? "F" : "",
				   r->notify & PN_DSN_NOTIFY_DELAY ? "D" : ""));
	if (r->orcpt.len)
		put_text(b, " orcpt=", r->orcpt);
}

static void put_end(struct pn_buf *b, const struct pn_smtp_server *s)
{
	const struct pn_content_facts *f = pn_smtp_server_content_facts(s);
	unsigned count = 0;

	for (const struct pn_recipient *r =
		     s->txn ? pn_smtp_server_envelope((struct pn_smtp_server *)s)->recipients : NULL;
	     r; r = r->next)
		count++;
	must(pn_buf_printf(b, "DATA_END size=%llu rcpts=%u%s%s%s%s", (unsigned long long)f->size_bytes, count,
			   f->has_8bit_header ? " 8bit-header" : "", f->has_8bit_body ? " 8bit-body" : "",
			   f->needs_smtputf8 ? " smtputf8" : "", f->has_final_crlf ? "" : " no-final-crlf"));
}

static void put_auth(struct pn_buf *b, const struct pn_smtp_event *ev)
{
	put_text(b, "AUTH ", ev->mechanism);
	if (ev->has_initial)
		put_text(b, " initial=", ev->data);
}

static void log_event(struct play *p, const struct pn_smtp_event *ev)
{
	struct pn_buf b;

	pn_buf_init(&b, 1 << 20);
	switch (ev->type) {
	case PN_SMTP_EV_STARTTLS: must(pn_buf_append_str(&b, "STARTTLS")); break;
	case PN_SMTP_EV_AUTH: put_auth(&b, ev); break;
	case PN_SMTP_EV_AUTH_RESPONSE: put_text(&b, "AUTH_RESPONSE ", ev->data); break;
	case PN_SMTP_EV_AUTH_CANCEL: must(pn_buf_append_str(&b, "AUTH_CANCEL")); break;
	case PN_SMTP_EV_MAIL: put_mail(&b, pn_smtp_server_envelope(&p->server)); break;
	case PN_SMTP_EV_RCPT: put_rcpt(&b, ev->recipient); break;
	case PN_SMTP_EV_DATA_BEGIN: must(pn_buf_append_str(&b, "DATA_BEGIN")); break;
	case PN_SMTP_EV_CONTENT: break;
	case PN_SMTP_EV_DATA_END: put_end(&b, &p->server); break;
	case PN_SMTP_EV_DATA_ABORT: must(pn_buf_append_str(&b, "DATA_ABORT")); break;
	case PN_SMTP_EV_RESET: must(pn_buf_append_str(&b, "RESET")); break;
	}
	log_line(p, 'E', pn_buf_slice(&b));
	pn_buf_free(&b);
}

static void check_questions(const struct play *p, const struct pn_smtp_event *ev)
{
	const struct pn_smtp_server *s = &p->server;
	bool in_content = ev->type == PN_SMTP_EV_CONTENT;

	if (in_content && (!pn_smtp_server_is_receiving(s) || ev->data.len == 0))
		fail(p, "content outside of a transfer, or an empty run");
	if (ev->type == PN_SMTP_EV_RESET && pn_smtp_server_is_in_transaction(s))
		fail(p, "a transaction goes on after RESET");
	if (pn_smtp_server_is_idle(s) && (pn_smtp_server_is_in_transaction(s) || ev->needs_verdict))
		fail(p, "idle in a transaction");
	if (ev->needs_verdict != (ev->type == PN_SMTP_EV_AUTH || ev->type == PN_SMTP_EV_AUTH_RESPONSE ||
				  ev->type == PN_SMTP_EV_MAIL || ev->type == PN_SMTP_EV_RCPT ||
				  ev->type == PN_SMTP_EV_DATA_BEGIN || ev->type == PN_SMTP_EV_DATA_END))
		fail(p, "needs_verdict does not fit the event");
}

static void resolve(struct play *p, uint32_t token)
{
	const struct transcript_verdict *tv;
	struct pn_smtp_verdict v, wrong = { .reply = PN_REPLY_OK };

	if (p->verdicts_used == p->t->verdict_count)
		fail(p, "no verdict left (V: line missing)");
	tv = &p->t->verdicts[p->verdicts_used++];
	v = tv->verdict;
	struct pn_slice arg = pn_slice(tv->arg, tv->arg_len);
	if (v.reply == PN_REPLY_AUTH_CHALLENGE || v.reply == PN_REPLY_AUTH_OK)
		v.challenge = arg;
	else
		v.text = arg;
	if (pn_smtp_server_resolve(&p->server, token + 1, &wrong, &p->out) ||
	    pn_smtp_server_resolve(&p->server, token - 1, &wrong, &p->out))
		fail(p, "a wrong token was taken");
	if (!pn_smtp_server_resolve(&p->server, token, &v, &p->out))
		fail(p, "the right token was not taken");
	if (pn_smtp_server_resolve(&p->server, token, &v, &p->out))
		fail(p, "a token was taken twice");
	flush_out(p);
}

static void handle_event(struct play *p, const struct pn_smtp_event *ev)
{
	struct pn_smtp_event again;

	check_questions(p, ev);
	flush_out(p);
	if (ev->type == PN_SMTP_EV_CONTENT) {
		must(pn_buf_append_slice(&p->content, ev->data));
		return;
	}
	/* how much of an aborted message was given depends on the cuts, and on nothing else */
	if (ev->type == PN_SMTP_EV_DATA_ABORT)
		pn_buf_clear(&p->content);
	flush_content(p);
	log_event(p, ev);
	if (!ev->needs_verdict)
		return;
	while (p->mode == CUT_RANDOM && pn_prng_next(p->prng) % 2)
		if (pn_smtp_server_step(&p->server, &p->rest, &again, &p->out) != PN_SMTP_WAIT)
			fail(p, "step did not wait for the verdict");
	resolve(p, ev->token);
}

static void log_close(struct play *p)
{
	char text[64];
	int len = snprintf(text, sizeof(text), "CLOSE %s",
			   pn_smtp_close_reason_name(pn_smtp_server_close_reason(&p->server)));

	p->is_closed = true;
	flush_out(p);
	flush_content(p);
	log_line(p, 'E', pn_slice(text, (size_t)len));
}

/* Lets the server take all of the piece. */
static void take(struct play *p, struct pn_slice piece)
{
	p->rest = piece;
	while (!p->is_closed) {
		struct pn_smtp_event ev;
		switch (pn_smtp_server_step(&p->server, &p->rest, &ev, &p->out)) {
		case PN_SMTP_EVENT: handle_event(p, &ev); break;
		case PN_SMTP_AGAIN:
			if (p->rest.len > 0)
				fail(p, "AGAIN with input left");
			flush_out(p);
			return;
		case PN_SMTP_WAIT:
			/* no verdict is missing here: it can only be the output that is full */
			if (p->out.max - pn_buf_len(&p->out) >= PN_SMTP_OUT_ROOM_BYTES)
				fail(p, "waits for nothing");
			flush_out(p);
			break;
		case PN_SMTP_CLOSE: log_close(p); break;
		}
	}
}

static size_t cut_size(struct play *p, size_t left)
{
	switch (p->mode) {
	case CUT_WHOLE: return left;
	case CUT_OCTETS: return 1;
	case CUT_RANDOM: break;
	}
	/* small pieces mostly, large ones sometimes */
	size_t max = (size_t)1 << (pn_prng_next(p->prng) % 12);
	return pn_min_size(left, 1 + (size_t)(pn_prng_next(p->prng) % max));
}

static void play_input(struct play *p, struct pn_slice input)
{
	while (input.len > 0 && !p->is_closed) {
		size_t n = cut_size(p, input.len);
		uint8_t *piece = malloc(n);
		if (!piece)
			abort();
		memcpy(piece, input.ptr, n);
		take(p, pn_slice(piece, n));
		free(piece);
		pn_slice_advance(&input, n);
	}
}

static void play_login(struct play *p)
{
	static const char lines[] = "EHLO client.example\r\nAUTH PLAIN AA==\r\n";
	struct pn_slice in = pn_slice(lines, sizeof(lines) - 1);
	struct pn_smtp_event ev;
	struct pn_smtp_verdict v = { .reply = PN_REPLY_AUTH_OK, .challenge = pn_slice_str(p->t->login) };

	if (pn_smtp_server_step(&p->server, &in, &ev, &p->out) != PN_SMTP_EVENT || ev.type != PN_SMTP_EV_AUTH ||
	    !pn_smtp_server_resolve(&p->server, ev.token, &v, &p->out) ||
	    !pn_smtp_server_is_authenticated(&p->server))
		fail(p, "cannot log in");
	pn_buf_clear(&p->out);
}

static void play_op(struct play *p, const struct transcript_op *op)
{
	switch (op->kind) {
	case OP_INPUT: play_input(p, pn_buf_slice(&op->input)); break;
	case OP_HANDSHAKE:
		pn_smtp_server_tls_started(&p->server);
		if (pn_smtp_server_helo(&p->server).len > 0 || pn_smtp_server_is_authenticated(&p->server))
			fail(p, "something is remembered from before TLS");
		break;
	case OP_ABORT:
		pn_smtp_server_abort(&p->server, op->reply, &p->out);
		take(p, PN_SLICE_NULL);
		break;
	}
}

static bool compare(const struct play *p, const char *mode)
{
	const struct transcript *t = p->t;
	const char *got = (const char *)pn_buf_ptr(&p->log);
	size_t i = 0;

	for (; i < p->line_count && i < t->expected_count && strcmp(got, t->expected[i]) == 0; i++)
		got += strlen(got) + 1;
	if (i == p->line_count && i == t->expected_count && p->verdicts_used == t->verdict_count)
		return true;
	(void)fprintf(stderr,
		      "%s: differs (%s) at expected line %zu of %zu; %zu of %zu verdicts used\n  wanted %s\n",
		      t->path, mode, i + 1, t->expected_count, p->verdicts_used, t->verdict_count,
		      i < t->expected_count ? t->expected[i] : "(nothing more)");
	(void)fprintf(stderr, "  got    %s\n", i < p->line_count ? got : "(nothing more)");
	if (!getenv("PN_TRANSCRIPT_SHOW"))
		return false;
	for (; i < p->line_count; i++, got += strlen(got) + 1)
		(void)fprintf(stderr, "%s\n", got);
	return false;
}

static bool play_once(const struct transcript *t, enum cut_mode mode, struct pn_prng *prng,
		      const char *mode_name)
{
	struct play p = { .t = t, .mode = mode, .prng = prng };

	pn_buf_init(&p.out, 16384);
	pn_buf_init(&p.content, LOG_MAX_BYTES);
	pn_buf_init(&p.log, LOG_MAX_BYTES);
	pn_smtp_server_init(&p.server, &t->settings, t->is_tls);
	must(pn_smtp_server_greet(&p.server, &p.out));
	if (t->login)
		play_login(&p);
	flush_out(&p);
	for (size_t i = 0; i < t->op_count; i++)
		play_op(&p, &t->ops[i]);
	flush_content(&p);
	bool is_same = compare(&p, mode_name);
	pn_smtp_server_deinit(&p.server);
	pn_buf_free(&p.out);
	pn_buf_free(&p.content);
	pn_buf_free(&p.log);
	return is_same;
}

static bool play_all(const struct transcript *t, uint64_t seed)
{
	bool is_same = play_once(t, CUT_WHOLE, NULL, "whole");

	if (t->is_uncut)
		return is_same;
	is_same = play_once(t, CUT_OCTETS, NULL, "octet by octet") && is_same;
	for (unsigned i = 0; i < RANDOM_RUNS && is_same; i++) {
		struct pn_prng prng;
		char name[64];
		(void)snprintf(name, sizeof(name), "random cuts, PN_TRANSCRIPT_SEED=%llu",
			       (unsigned long long)seed + i);
		pn_prng_init(&prng, seed + i);
		is_same = play_once(t, CUT_RANDOM, &prng, name);
	}
	return is_same;
}

int main(int argc, char **argv)
{
	const char *seed_text = getenv("PN_TRANSCRIPT_SEED");
	uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : 1;
	unsigned failed = 0;

	for (int i = 1; i < argc; i++) {
		struct transcript t;
		transcript_read(&t, argv[i]);
		failed += !play_all(&t, seed);
		transcript_free(&t);
	}
	(void)printf("%d transcripts, %u failed\n", argc - 1, failed);
	return failed > 0 || argc < 2;
}
