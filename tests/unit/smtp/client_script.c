/* SPDX-License-Identifier: ISC */
#include "client_script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <postern/base/prng.h>

static const char *const event_names[] = {
	[PN_CLIENT_EV_STARTTLS] = "STARTTLS", [PN_CLIENT_EV_READY] = "READY",
	[PN_CLIENT_EV_BODY] = "BODY",         [PN_CLIENT_EV_DONE] = "DONE",
	[PN_CLIENT_EV_FAILED] = "FAILED",     [PN_CLIENT_EV_CLOSED] = "CLOSED",
};
static const char *const stage_names[] = {
	[PN_STAGE_CONNECT] = "CONNECT", [PN_STAGE_GREETING] = "GREETING", [PN_STAGE_EHLO] = "EHLO",
	[PN_STAGE_TLS] = "TLS",         [PN_STAGE_AUTH] = "AUTH",         [PN_STAGE_MAIL] = "MAIL",
	[PN_STAGE_RCPT] = "RCPT",       [PN_STAGE_DATA] = "DATA",         [PN_STAGE_BODY] = "BODY",
};

enum cut { CUT_WHOLE, CUT_OCTETS, CUT_RANDOM_FIRST };

struct player {
	const struct script *script;
	unsigned int cut;
	size_t step;
	struct pn_prng prng;
	struct pn_smtp_client *client;
	struct pn_smtp_transaction t;
	const struct pn_recipient *recipients[SCRIPT_RECIPIENTS_MAX];
	struct pn_smtp_rcpt_result results[SCRIPT_RECIPIENTS_MAX];
	struct pn_smtp_transaction ahead[SCRIPT_AHEAD_MAX];
	struct pn_smtp_rcpt_result ahead_results[SCRIPT_AHEAD_MAX][SCRIPT_RECIPIENTS_MAX];
	size_t ahead_count;
	struct pn_arena arena;
	struct pn_buf in, out;
	bool has_event;
	enum pn_smtp_client_event event;
};

static void player_fail(const struct player *p, const char *what, const char *detail)
{
	fail_msg("%s, cut %u, step %zu (%s): %s %s", p->script->name, p->cut, p->step,
		 p->script->steps[p->step], what, detail);
}

static size_t next_piece(struct player *p, size_t len)
{
	if (p->cut == CUT_WHOLE || len == 0)
		return len;
	return p->cut == CUT_OCTETS ? 1 : 1 + pn_prng_below(&p->prng, len);
}

/* Feeds what the server said until there is an event or nothing more to feed. */
static void pump(struct player *p)
{
	do {
		size_t n = next_piece(p, pn_buf_len(&p->in));
		uint8_t *copy = malloc(n + 1);
		struct pn_slice piece = pn_slice(copy, n);

		assert_non_null(copy);
		if (n != 0)
			memcpy(copy, pn_buf_ptr(&p->in), n);
		p->has_event = pn_smtp_client_step(p->client, &piece, &p->event, &p->out) ==
			       PN_CLIENT_EVENT;
		if (!p->has_event)
			assert_int_equal(piece.len, 0);
		pn_buf_consume(&p->in, n - piece.len);
		free(copy);
	} while (!p->has_event && pn_buf_len(&p->in) != 0);
}

static void expect_line(struct player *p, const char *want)
{
	size_t n = strlen(want);

	if (pn_buf_len(&p->out) == 0 && !p->has_event)
		pump(p);
	if (pn_buf_len(&p->out) < n + 2 || memcmp(pn_buf_ptr(&p->out), want, n) != 0 ||
	    memcmp(pn_buf_ptr(&p->out) + n, "\r\n", 2) != 0) {
		char said[300];

		snprintf(said, sizeof(said), "%.*s", (int)pn_buf_len(&p->out),
			 pn_buf_len(&p->out) ? (const char *)pn_buf_ptr(&p->out) : "");
		player_fail(p, "the client said", said);
	}
	pn_buf_consume(&p->out, n + 2);
}

static void expect_event(struct player *p, const char *want)
{
	if (!p->has_event)
		pump(p);
	if (!p->has_event)
		player_fail(p, "no event", "");
	if (strcmp(event_names[p->event], want) != 0)
		player_fail(p, "the event was", event_names[p->event]);
	p->has_event = false;
}

static void send_body(struct player *p, const char *text)
{
	char content[512];
	size_t len = 0;

	for (; *text; text++) {
		if (*text == '\n')
			content[len++] = '\r';
		content[len++] = *text;
	}
	for (size_t at = 0; at < len;) {
		size_t n = next_piece(p, len - at);

		assert_int_equal(pn_smtp_client_body(p->client, pn_slice(content + at, n), &p->out),
				 0);
		at += n;
	}
}

static void begin_ahead(struct player *p)
{
	struct pn_smtp_transaction *t = &p->ahead[p->ahead_count];

	assert_true(p->ahead_count < SCRIPT_AHEAD_MAX && pn_smtp_client_may_begin(p->client));
	*t = p->t;
	t->results = p->ahead_results[p->ahead_count++];
	assert_int_equal(pn_smtp_client_begin(p->client, t, &p->out), 0);
}

static void play_step(struct player *p, const char *step)
{
	if (step[1] == ':' && step[0] == 'S') {
		assert_int_equal(pn_buf_printf(&p->in, "%s\r\n", step + 2), 0);
	} else if (step[1] == ':' && step[0] == 'C') {
		expect_line(p, step + 2);
	} else if (step[1] == ':' && step[0] == 'E') {
		expect_event(p, step + 2);
	} else if (step[1] == ':' && step[0] == 'B') {
		send_body(p, step + 2);
	} else if (strcmp(step, "G") == 0) {
		assert_int_equal(pn_smtp_client_begin(p->client, &p->t, &p->out),
				 p->script->begin_rc);
	} else if (strcmp(step, "G+") == 0) {
		begin_ahead(p);
	} else if (strcmp(step, "!G") == 0) {
		assert_false(pn_smtp_client_may_begin(p->client));
	} else if (strcmp(step, "END") == 0) {
		assert_int_equal(pn_smtp_client_body_end(p->client, &p->out), 0);
	} else if (strcmp(step, "T") == 0) {
		pn_smtp_client_tls_started(p->client, &p->out);
	} else if (strcmp(step, "Q") == 0) {
		pn_smtp_client_quit(p->client, &p->out);
	} else if (strcmp(step, "N") == 0) {
		pn_smtp_client_noop(p->client, &p->out);
	} else if (strcmp(step, "L") == 0) {
		if (pn_buf_len(&p->in) != 0)
			pump(p);
		if (p->has_event)
			player_fail(p, "an event before the loss:", event_names[p->event]);
		pn_smtp_client_lost(p->client, "connection lost");
	} else {
		player_fail(p, "unknown step", "");
	}
}

static size_t print_results(const struct pn_smtp_transaction *t, char *out, size_t size)
{
	size_t len = 0;

	for (uint32_t i = 0; i < t->recipient_count; i++) {
		const struct pn_smtp_rcpt_result *r = &t->results[i];

		len += (size_t)snprintf(out + len, size - len, "%s%s %u %u.%u.%u %.*s",
					i ? "|" : "", stage_names[r->stage], r->reply.code,
					r->reply.enhanced[0], r->reply.enhanced[1],
					r->reply.enhanced[2], (int)r->reply.text.len,
					(const char *)r->reply.text.ptr);
	}
	return len;
}

static void check_results(struct player *p)
{
	char got[2048] = "";
	size_t len = print_results(&p->t, got, sizeof(got));

	for (size_t i = 0; i < p->ahead_count; i++) {
		len += (size_t)snprintf(got + len, sizeof(got) - len, "%s / ",
					i == 0 && p->t.is_in_doubt ? "?" : "");
		len += print_results(&p->ahead[i], got + len, sizeof(got) - len);
		len += (size_t)snprintf(got + len, sizeof(got) - len, "%s",
					p->ahead[i].is_in_doubt ? "?" : "");
	}
	if (strcmp(got, p->script->results) != 0)
		player_fail(p, "results:", got);
}

static void check_failure(struct player *p)
{
	const struct pn_smtp_reply_info *f = pn_smtp_client_failure(p->client);
	char got[700];

	snprintf(got, sizeof(got), "%s %u %.*s", stage_names[pn_smtp_client_stage(p->client)],
		 f->code, (int)f->text.len, (const char *)f->text.ptr);
	if (strcmp(got, p->script->failure) != 0)
		player_fail(p, "failure:", got);
}

static void player_init(struct player *p, const struct script *s, unsigned int cut,
			struct pn_smtp_client_settings *settings)
{
	*p = (struct player){ .script = s, .cut = cut, .t = s->transaction };
	*settings = s->settings;
	settings->helo_name = "me.example";
	pn_prng_init(&p->prng, 1000 + cut);
	pn_arena_init(&p->arena, 1024, 1 << 16);
	pn_buf_init(&p->in, 1 << 20);
	pn_buf_init(&p->out, 1 << 16);
	p->client = pn_smtp_client_new(settings, s->is_tls);
	assert_non_null(p->client);
	while (p->t.recipient_count < SCRIPT_RECIPIENTS_MAX &&
	       s->recipients[p->t.recipient_count].address.len != 0) {
		p->recipients[p->t.recipient_count] = &s->recipients[p->t.recipient_count];
		p->t.recipient_count++;
	}
	p->t.envelope = &s->envelope;
	p->t.recipients = p->recipients;
	p->t.results = p->results;
	p->t.arena = &p->arena;
}

static void play(const struct script *s, unsigned int cut)
{
	struct pn_smtp_client_settings settings;
	struct player p;

	player_init(&p, s, cut, &settings);
	for (p.step = 0; p.step < SCRIPT_STEPS_MAX && s->steps[p.step]; p.step++)
		play_step(&p, s->steps[p.step]);
	p.step--;
	if (pn_buf_len(&p.out) != 0) {
		char more[300];

		snprintf(more, sizeof(more), "%.*s", (int)pn_buf_len(&p.out),
			 (const char *)pn_buf_ptr(&p.out));
		player_fail(&p, "the client said more:", more);
	}
	if (s->results)
		check_results(&p);
	if (s->failure)
		check_failure(&p);
	assert_int_equal(pn_smtp_client_is_in_doubt(p.client), s->is_in_doubt);
	assert_int_equal(p.t.is_dsn_dropped, s->is_dsn_dropped);
	pn_smtp_client_free(p.client);
	pn_arena_reset(&p.arena);
	pn_buf_free(&p.in);
	pn_buf_free(&p.out);
}

void script_run(const struct script *s)
{
	for (unsigned int cut = CUT_WHOLE; cut < CUT_RANDOM_FIRST + 20; cut++)
		play(s, cut);
}
