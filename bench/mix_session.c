/* SPDX-License-Identifier: ISC */
/*
 * mix_session.c - one client of a mix: what it does step by step, and whether it ended as its class is meant to.
 *
 * Sessions are kept on their class's free list and used again. Whatever a session waits for by itself (pauses, the next
 * piece of a slow body, NOOP) is its one timer.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/clock.h>

#include "mix.h"

/* A slow writer's pieces: so many in a second. */
#define PIECES_PER_S 5u
/* A client that hangs up in the middle lets the first half go out before. */
#define HANGUP_AFTER_MS 20u

struct pn_bench_mix_session {
	struct pn_bench_conn conn;
	struct pn_list node;
	struct pn_bench_mix_class *in;
	struct pn_bench_scram scram;
	struct pn_bench_user *user;
	char wrong_password[64];
	struct pn_bench_scram_keys wrong_keys;
	struct pn_timer timer;
	void (*on_time)(struct pn_bench_mix_session *s);
	struct pn_envelope envelope;
	struct pn_smtp_transaction transaction;
	struct pn_smtp_rcpt_result *results;
	struct pn_arena arena;
	struct pn_bench_content_pieces content;
	size_t piece;
	uint64_t start_ns, messages;
	uint32_t number;
	bool has_message, has_logged_in, is_asking, is_leaving, is_judged;
};

static struct pn_bench_mix *mix_of(struct pn_bench_mix_session *s)
{
	return s->in->mix;
}

static void wait_ms(struct pn_bench_mix_session *s, uint64_t ms,
		    void (*then)(struct pn_bench_mix_session *s))
{
	s->on_time = then;
	pn_loop_timer_set(mix_of(s)->run.endpoint.loop, &s->timer, ms);
}

static void on_timer(struct pn_timer *timer)
{
	struct pn_bench_mix_session *s = pn_container_of(timer, struct pn_bench_mix_session, timer);

	s->on_time(s);
}

/* ---- the end of a session ---- */

static void as_expected(struct pn_bench_mix_session *s)
{
	if (!s->is_judged)
		s->in->as_expected++;
	s->is_judged = true;
}

static void wrong(struct pn_bench_mix_session *s, const struct pn_bench_failure *failure)
{
	if (!s->is_judged) {
		s->in->wrong++;
		pn_bench_run_failed(&mix_of(s)->run, failure, s->conn.opened_ns, "%s: at %s: %s",
				    s->in->class->name, failure->stage, failure->text);
	}
	s->is_judged = true;
}

static void settle_message(struct pn_bench_mix_session *s, enum pn_bench_outcome outcome,
			   struct pn_slice reply, uint16_t count, uint32_t sum)
{
	if (s->has_message)
		pn_bench_account_set(&mix_of(s)->account, s->number, outcome, reply, count, sum);
	s->has_message = false;
}

static void leave(struct pn_bench_mix_session *s)
{
	s->is_leaving = true;
	as_expected(s);
	pn_bench_conn_quit(&s->conn);
}

static void hang_up(struct pn_bench_mix_session *s)
{
	/* Half of a message was promised to nobody. */
	settle_message(s, PN_BENCH_REFUSED, PN_SLICE_NULL, 0, 0);
	as_expected(s);
	s->is_leaving = true;
	pn_bench_conn_hang_up(&s->conn);
}

/* ---- messages ---- */

static void begin_message(struct pn_bench_mix_session *s)
{
	const struct pn_bench_class *class = s->in->class;
	struct pn_bench_mix *mix = mix_of(s);
	const char *from = mix->from ? mix->from : s->user->name;

	if (pn_bench_account_next(&mix->account, &s->number) != 0) {
		pn_bench_conn_fail(&s->conn, "out of memory");
		return;
	}
	s->has_message = true;
	s->messages++;
	s->start_ns = pn_clock_mono_ns();
	memset(s->results, 0, class->recipients * sizeof(*s->results));
	pn_arena_reset(&s->arena);
	s->envelope = (struct pn_envelope){ .reverse_path = pn_slice_str(from) };
	s->transaction = (struct pn_smtp_transaction){
		.envelope = &s->envelope,
		.recipients = mix->recipients.pointers,
		.recipient_count = (uint32_t) class->recipients,
		.results = s->results,
		.arena = &s->arena,
		.size_bytes = pn_bench_distribution_draw(&class->size, &mix->prng),
	};
	pn_bench_message_make(&mix->message, s->number, from, (size_t)s->transaction.size_bytes,
			      &s->content);
	if (pn_bench_conn_begin(&s->conn, &s->transaction) != 0)
		pn_bench_conn_fail(&s->conn, "the server does not offer what the message needs");
}

/* The next piece of a slow writer's content, or its end. */
static void write_piece(struct pn_bench_mix_session *s)
{
	uint64_t len = s->in->class->write_bytes_per_s / PIECES_PER_S;
	struct pn_slice *piece = &s->content.pieces[s->piece];
	int r;

	while (s->piece < PN_BENCH_MESSAGE_PIECES && piece->len == 0)
		piece = &s->content.pieces[++s->piece];
	if (s->piece == PN_BENCH_MESSAGE_PIECES) {
		r = pn_bench_conn_body_end(&s->conn);
	} else {
		len = pn_min_size(len, piece->len);
		r = pn_bench_conn_body_some(&s->conn, pn_slice(piece->ptr, len));
		pn_slice_advance(piece, len);
		wait_ms(s, 1000 / PIECES_PER_S, write_piece);
	}
	if (r < 0)
		pn_bench_conn_fail(&s->conn, "sending the content: %s", strerror(-r));
}

static void send_body(struct pn_bench_mix_session *s)
{
	const struct pn_bench_class *class = s->in->class;
	struct pn_slice *most = &s->content.pieces[1];
	int r;

	if (class->kind == PN_BENCH_CLASS_HANGUP) {
		r = pn_bench_conn_body_some(&s->conn, pn_slice(most->ptr, most->len / 2));
		wait_ms(s, HANGUP_AFTER_MS, hang_up);
	} else if (class->write_bytes_per_s > 0) {
		s->piece = 0;
		write_piece(s);
		return;
	} else {
		r = pn_bench_conn_body(&s->conn, s->content.pieces, PN_BENCH_MESSAGE_PIECES);
	}
	if (r < 0)
		pn_bench_conn_fail(&s->conn, "sending the content: %s", strerror(-r));
}

static void next_message(struct pn_bench_mix_session *s)
{
	const struct pn_bench_class *class = s->in->class;

	if (s->messages == class->messages || mix_of(s)->is_ending)
		leave(s);
	else if (class->pause_ms > 0)
		wait_ms(s, class->pause_ms, begin_message);
	else
		begin_message(s);
}

static void message_done(struct pn_bench_mix_session *s)
{
	struct pn_bench_mix *mix = mix_of(s);
	uint32_t recipients = s->transaction.recipient_count;
	struct pn_bench_failure failure = { .stage = "content" };
	uint32_t sum = 0;
	uint16_t accepted = 0;

	for (uint32_t i = 0; i < recipients; i++) {
		const struct pn_smtp_rcpt_result *r = &s->results[i];
		if (r->reply.code == 250) {
			accepted++;
			sum += mix->recipients.sums[i];
		} else {
			failure.stage = pn_bench_stage_name(r->stage);
			failure.code = r->reply.code;
			(void)snprintf(failure.text, sizeof(failure.text), "%u %.*s", r->reply.code,
				       (int)pn_min_size(r->reply.text.len, 200),
				       (const char *)r->reply.text.ptr);
		}
	}
	settle_message(s, accepted > 0 ? PN_BENCH_ACCEPTED : PN_BENCH_REFUSED,
		       s->results[0].reply.text, accepted, sum);
	if (accepted == recipients) {
		s->in->messages++;
		pn_bench_histogram_add(&s->in->message, pn_clock_mono_ns() - s->start_ns);
		pn_bench_run_done(&mix->run, s->start_ns);
	} else {
		wrong(s, &failure);
	}
	next_message(s);
}

/* ---- events ---- */

static void say_noop(struct pn_bench_mix_session *s)
{
	s->is_asking = true;
	pn_bench_conn_noop(&s->conn);
}

static void stay_idle(struct pn_bench_mix_session *s)
{
	s->is_asking = false;
	if (mix_of(s)->is_ending) {
		leave(s);
		return;
	}
	pn_bench_conn_idle(&s->conn);
	if (s->in->class->noop_ms > 0)
		wait_ms(s, s->in->class->noop_ms, say_noop);
}

static void is_ready(struct pn_bench_mix_session *s)
{
	static const struct pn_bench_failure let_in = { .stage = "AUTH",
							.text = "a wrong password was accepted" };
	const struct pn_bench_class *class = s->in->class;

	if (!s->has_logged_in) {
		s->has_logged_in = true;
		pn_bench_histogram_add(&s->in->login, pn_clock_mono_ns() - s->start_ns);
		pn_bench_negotiated_add(&mix_of(s)->run.negotiated, &s->conn.facts);
	}
	switch (class->kind) {
	case PN_BENCH_CLASS_IDLE:
		stay_idle(s);
		break;
	case PN_BENCH_CLASS_WRONG_PASSWORD:
		wrong(s, &let_in);
		leave(s);
		break;
	case PN_BENCH_CLASS_HANGUP:
		if (class->hangup_at == PN_BENCH_HANGUP_LOGIN)
			hang_up(s);
		else
			begin_message(s);
		break;
	case PN_BENCH_CLASS_SUBMIT:
		next_message(s);
		break;
	}
}

static void has_failed(struct pn_bench_mix_session *s)
{
	const struct pn_bench_failure *failure = &s->conn.failure;
	struct pn_bench_mix *mix = mix_of(s);
	size_t count = s->in->class->recipients;
	bool is_in_doubt = s->has_message && s->transaction.is_in_doubt;

	settle_message(s, is_in_doubt ? PN_BENCH_DOUBTFUL : PN_BENCH_REFUSED, PN_SLICE_NULL,
		       is_in_doubt ? (uint16_t)count : 0,
		       is_in_doubt ? pn_bench_recipients_sum(&mix->recipients, count) : 0);
	if (s->in->class->kind == PN_BENCH_CLASS_WRONG_PASSWORD && failure->code == 535) {
		pn_bench_histogram_add(&s->in->login, pn_clock_mono_ns() - s->start_ns);
		as_expected(s);
	} else {
		wrong(s, failure);
	}
}

static void has_closed(struct pn_bench_mix_session *s)
{
	struct pn_bench_mix_class *c = s->in;
	struct pn_bench_mix *mix = c->mix;

	pn_loop_timer_cancel(mix->run.endpoint.loop, &s->timer);
	pn_list_remove(&s->node);
	pn_list_push_back(&c->free, &s->node);
	c->open--;
	mix->run.open_count--;
	/* Of a class with a count so many are there at any time. */
	if (c->class->count > 0 && !mix->is_ending)
		pn_bench_mix_session_begin(c, pn_clock_mono_ns());
}

static void on_event(struct pn_bench_conn *conn, enum pn_bench_conn_event event)
{
	struct pn_bench_mix_session *s = pn_container_of(conn, struct pn_bench_mix_session, conn);

	switch (event) {
	case PN_BENCH_CONN_GREETED:
		if (s->in->class->kind == PN_BENCH_CLASS_HANGUP &&
		    s->in->class->hangup_at == PN_BENCH_HANGUP_GREETING)
			hang_up(s);
		break;
	case PN_BENCH_CONN_READY:
		is_ready(s);
		break;
	case PN_BENCH_CONN_BODY:
		send_body(s);
		break;
	case PN_BENCH_CONN_DONE:
		message_done(s);
		break;
	case PN_BENCH_CONN_FAILED:
		pn_loop_timer_cancel(mix_of(s)->run.endpoint.loop, &s->timer);
		if (!s->is_leaving)
			has_failed(s);
		break;
	case PN_BENCH_CONN_CLOSED:
		has_closed(s);
		break;
	}
}

/* ---- the beginning ---- */

/* One that has ended, or a new one; NULL: the class has as many as it may. */
static struct pn_bench_mix_session *get_session(struct pn_bench_mix_class *c)
{
	struct pn_list *node = pn_list_pop_front(&c->free);
	struct pn_bench_mix_session *s;

	if (node)
		return pn_container_of(node, struct pn_bench_mix_session, node);
	if (c->session_count >= (c->class->count ? c->class->count : c->class->parallel_max))
		return NULL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->results = calloc(c->class->recipients, sizeof(*s->results));
	if (!s->results) {
		free(s);
		return NULL;
	}
	s->in = c;
	pn_list_init(&s->node);
	pn_timer_init(&s->timer, on_timer);
	pn_arena_init(&s->arena, 2048, 1u << 20);
	s->conn.endpoint = &c->mix->run.endpoint;
	s->conn.fn = on_event;
	s->conn.own_settings = &c->client;
	s->conn.read_delay_ms = c->class->read_delay_ms;
	c->session_count++;
	return s;
}

static void log_in_as(struct pn_bench_mix_session *s, struct pn_bench_user *user)
{
	struct pn_bench_scram_keys *keys = &user->keys;
	const char *password = user->password;

	s->user = user;
	if (s->in->class->kind == PN_BENCH_CLASS_WRONG_PASSWORD) {
		(void)snprintf(s->wrong_password, sizeof(s->wrong_password), "not this %llu",
			       (unsigned long long)s->in->sessions);
		password = s->wrong_password;
		s->wrong_keys = (struct pn_bench_scram_keys){ .iterations = 0 };
		keys = &s->wrong_keys;
	}
	s->conn.auth_user = user->name;
	s->conn.auth_password = password;
	pn_bench_scram_init(&s->scram, user->name, password, keys);
	s->conn.sasl = &s->scram.sasl;
}

void pn_bench_mix_session_begin(struct pn_bench_mix_class *c, uint64_t start_ns)
{
	struct pn_bench_run *run = &c->mix->run;
	struct pn_bench_mix_session *s = get_session(c);

	if (!s) {
		c->dropped++;
		return;
	}
	c->sessions++;
	s->start_ns = start_ns;
	s->messages = 0;
	s->has_message = s->has_logged_in = s->is_asking = s->is_leaving = s->is_judged = false;
	c->resume_credit += c->class->resume_percent;
	s->conn.wants_resumption = c->resume_credit >= 100;
	if (s->conn.wants_resumption)
		c->resume_credit -= 100;
	log_in_as(s, pn_bench_users_take(&c->mix->users));
	int r = pn_bench_conn_open(&s->conn);
	if (r < 0) {
		pn_list_push_back(&c->free, &s->node);
		c->wrong++;
		pn_bench_run_failed(run, NULL, 0, "%s: cannot open a connection: %s",
				    c->class->name, strerror(-r));
		return;
	}
	pn_list_push_back(&c->active, &s->node);
	c->open++;
	run->open_count++;
	run->connections++;
}

void pn_bench_mix_sessions_leave(struct pn_bench_mix_class *c)
{
	PN_LIST_FOR_EACH_SAFE(node, next, &c->active)
	{
		struct pn_bench_mix_session *s =
			pn_container_of(node, struct pn_bench_mix_session, node);
		if (c->class->kind == PN_BENCH_CLASS_IDLE && s->has_logged_in && !s->is_leaving &&
		    !s->is_asking)
			leave(s);
	}
}

void pn_bench_mix_sessions_free(struct pn_bench_mix_class *c)
{
	struct pn_list *node;

	while ((node = pn_list_pop_front(&c->free)) != NULL) {
		struct pn_bench_mix_session *s =
			pn_container_of(node, struct pn_bench_mix_session, node);
		pn_arena_reset(&s->arena);
		free(s->results);
		pn_bench_conn_deinit(&s->conn);
		free(s);
	}
}
