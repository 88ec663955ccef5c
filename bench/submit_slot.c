/* SPDX-License-Identifier: ISC */
/*
 * submit_slot.c - one place for a connection that logs in and sends messages, as many ahead as the server's replies
 * allow.
 *
 * A slot takes operations from the run: one for each message. Messages that are on their way stand in a ring in the
 * order in which they were begun, which is the order of their replies.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/clock.h>

#include "submit.h"

struct outgoing {
	struct pn_smtp_transaction transaction;
	struct pn_smtp_rcpt_result *results;
	struct pn_arena arena;
	struct pn_envelope envelope;
	uint64_t start_ns;
	uint64_t content_ns; /* when the last of the content was handed over */
	uint32_t number;
};

struct pn_bench_submit_slot {
	struct pn_bench_conn conn;
	struct pn_bench_worker worker;
	struct pn_bench_submit *submit;
	struct pn_bench_user *user;
	struct pn_bench_scram scram;
	struct outgoing *ring; /* depth of them */
	uint32_t first, count;
	uint64_t sent_on_connection;
	bool is_ready, is_waiting;
};

static void open_next(struct pn_bench_submit_slot *slot);

static struct outgoing *outgoing_at(struct pn_bench_submit_slot *slot, uint32_t age)
{
	return &slot->ring[(slot->first + age) % slot->submit->depth];
}

/* ---- one message ---- */

/* Takes the next message from the run; it stands at the end of the ring then. */
static bool take(struct pn_bench_submit_slot *slot)
{
	struct pn_bench_submit *s = slot->submit;
	struct outgoing *m = outgoing_at(slot, slot->count);

	if (!pn_bench_run_take(&s->run, &m->start_ns))
		return false;
	if (pn_bench_account_next(&s->account, &m->number) != 0) {
		pn_bench_run_failed(&s->run, NULL, 0, "out of memory");
		return false;
	}
	slot->count++;
	return true;
}

static void begin(struct pn_bench_submit_slot *slot, struct outgoing *m)
{
	struct pn_bench_submit *s = slot->submit;
	const char *from = s->from ? s->from : slot->user->name;

	memset(m->results, 0, s->recipient_count * sizeof(*m->results));
	pn_arena_reset(&m->arena);
	m->envelope = (struct pn_envelope){ .reverse_path = pn_slice_str(from) };
	m->transaction = (struct pn_smtp_transaction){
		.envelope = &m->envelope,
		.recipients = s->recipients.pointers,
		.recipient_count = (uint32_t)s->recipient_count,
		.results = m->results,
		.arena = &m->arena,
		.size_bytes = pn_bench_distribution_draw(&s->size, &s->prng),
	};
	slot->sent_on_connection++;
	if (pn_bench_conn_begin(&slot->conn, &m->transaction) != 0)
		pn_bench_conn_fail(&slot->conn, "the server does not offer what the message needs");
}

static void send_body(struct pn_bench_submit_slot *slot)
{
	struct pn_bench_submit *s = slot->submit;
	struct outgoing *m = outgoing_at(slot, slot->count - 1);
	struct pn_bench_content_pieces content;

	pn_bench_message_make(&s->message, m->number, s->from ? s->from : slot->user->name,
			      (size_t)m->transaction.size_bytes, &content);
	int r = pn_bench_conn_body(&slot->conn, content.pieces, PN_BENCH_MESSAGE_PIECES);
	if (r < 0)
		pn_bench_conn_fail(&slot->conn, "sending the content: %s", strerror(-r));
	m->content_ns = pn_clock_mono_ns();
}

/* Begins what may begin now; with nothing under way it waits for work or says goodbye. */
static void fill(struct pn_bench_submit_slot *slot)
{
	struct pn_bench_submit *s = slot->submit;

	if (!slot->is_ready)
		return;
	while (slot->count < s->depth && slot->sent_on_connection < s->messages_per_connection &&
	       pn_bench_conn_may_begin(&slot->conn) && take(slot))
		begin(slot, outgoing_at(slot, slot->count - 1));
	if (slot->count > 0 || slot->is_waiting)
		return;
	if (slot->sent_on_connection < s->messages_per_connection &&
	    !pn_bench_run_is_over(&s->run)) {
		slot->is_waiting = true;
		pn_bench_run_wait(&s->run, &slot->worker, true);
	} else {
		slot->is_ready = false;
		pn_bench_conn_quit(&slot->conn);
	}
}

static void drop_oldest(struct pn_bench_submit_slot *slot)
{
	slot->first = (slot->first + 1) % (uint32_t)slot->submit->depth;
	slot->count--;
}

/* The recipients whose final word is 250, and their sum. */
static uint16_t count_accepted(const struct pn_bench_submit *s, const struct outgoing *m,
			       uint32_t *ret_sum)
{
	uint16_t count = 0;

	*ret_sum = 0;
	for (uint64_t i = 0; i < s->recipient_count; i++) {
		if (m->results[i].reply.code == 250) {
			count++;
			*ret_sum += s->recipients.sums[i];
		}
	}
	return count;
}

/* All recipients must be taken: one refusal makes the message a failure, but the others' promise counts. */
static void message_done(struct pn_bench_submit_slot *slot)
{
	struct pn_bench_submit *s = slot->submit;
	struct outgoing *m = outgoing_at(slot, 0);
	uint32_t sum;
	uint16_t accepted = count_accepted(s, m, &sum);
	const struct pn_smtp_rcpt_result *r = m->results;

	while (r < m->results + s->recipient_count - 1 && r->reply.code == 250)
		r++;
	pn_bench_account_set(&s->account, m->number,
			     accepted > 0 ? PN_BENCH_ACCEPTED : PN_BENCH_REFUSED, r->reply.text,
			     accepted, sum);
	if (accepted == s->recipient_count) {
		pn_bench_run_done(&s->run, m->start_ns);
		pn_bench_histogram_add(&s->run.promise, s->run.end_ns - m->content_ns);
	} else {
		struct pn_bench_failure failure = { .stage = pn_bench_stage_name(r->stage),
						    .code = r->reply.code };
		(void)snprintf(failure.text, sizeof(failure.text), "%u %u.%u.%u %.*s",
			       r->reply.code, r->reply.enhanced[0], r->reply.enhanced[1],
			       r->reply.enhanced[2], (int)pn_min_size(r->reply.text.len, 200),
			       (const char *)r->reply.text.ptr);
		pn_bench_run_failed(&s->run, &failure, m->start_ns, "message %u: %s", m->number,
				    failure.text);
	}
	drop_oldest(slot);
	fill(slot);
}

/* ---- one connection ---- */

/* The share of connections that resume, spread evenly. */
static bool draws_resumption(struct pn_bench_submit *s)
{
	s->resume_credit += s->resume_share;
	if (s->resume_credit < 100)
		return false;
	s->resume_credit -= 100;
	s->resumed_wanted++;
	return true;
}

static void connection_failed(struct pn_bench_submit_slot *slot)
{
	struct pn_bench_submit *s = slot->submit;
	struct pn_bench_conn *conn = &slot->conn;
	uint32_t sum = pn_bench_recipients_sum(&s->recipients, s->recipients.count);

	if (slot->count == 0)
		pn_bench_run_failed(&s->run, &conn->failure, conn->opened_ns,
				    "after the last message: %s", conn->failure.text);
	for (; slot->count > 0; drop_oldest(slot)) {
		struct outgoing *m = outgoing_at(slot, 0);
		/* One that was taken for a connection that never got ready has not begun. */
		bool is_in_doubt = m->transaction.results && m->transaction.is_in_doubt;
		pn_bench_account_set(&s->account, m->number,
				     is_in_doubt ? PN_BENCH_DOUBTFUL : PN_BENCH_REFUSED,
				     PN_SLICE_NULL, is_in_doubt ? (uint16_t)s->recipient_count : 0,
				     is_in_doubt ? sum : 0);
		pn_bench_run_failed(&s->run, &conn->failure, conn->opened_ns, "message %u: %s",
				    m->number, conn->failure.text);
	}
}

static void on_event(struct pn_bench_conn *conn, enum pn_bench_conn_event event)
{
	struct pn_bench_submit_slot *slot =
		pn_container_of(conn, struct pn_bench_submit_slot, conn);
	struct pn_bench_run *run = &slot->submit->run;

	switch (event) {
	case PN_BENCH_CONN_GREETED:
		break;
	case PN_BENCH_CONN_READY:
		pn_bench_negotiated_add(&run->negotiated, &conn->facts);
		slot->is_ready = true;
		begin(slot, outgoing_at(slot, 0));
		break;
	case PN_BENCH_CONN_BODY:
		send_body(slot);
		fill(slot);
		break;
	case PN_BENCH_CONN_DONE:
		message_done(slot);
		break;
	case PN_BENCH_CONN_FAILED:
		slot->is_ready = false;
		connection_failed(slot);
		break;
	case PN_BENCH_CONN_CLOSED:
		slot->is_ready = false;
		if (slot->is_waiting) {
			slot->is_waiting = false;
			pn_list_remove(&slot->worker.node);
		}
		run->open_count--;
		open_next(slot);
		break;
	}
}

/* Out of memory for sockets or of ports: the message that was taken is not sent. */
static void cannot_open(struct pn_bench_submit_slot *slot, int error)
{
	struct pn_bench_submit *s = slot->submit;

	pn_bench_account_set(&s->account, outgoing_at(slot, 0)->number, PN_BENCH_REFUSED,
			     PN_SLICE_NULL, 0, 0);
	drop_oldest(slot);
	pn_bench_run_failed(&s->run, NULL, 0, "cannot open a connection: %s", strerror(error));
}

static void open_next(struct pn_bench_submit_slot *slot)
{
	struct pn_bench_submit *s = slot->submit;

	if (!take(slot)) {
		if (!pn_bench_run_is_over(&s->run)) {
			slot->is_waiting = true;
			pn_bench_run_wait(&s->run, &slot->worker, false);
		}
		return;
	}
	outgoing_at(slot, 0)->transaction = (struct pn_smtp_transaction){ .results = NULL };
	slot->sent_on_connection = 0;
	slot->conn.wants_resumption = draws_resumption(s);
	slot->user = pn_bench_users_take(&s->users);
	if (slot->user) {
		slot->conn.auth_user = slot->user->name;
		slot->conn.auth_password = slot->user->password;
		pn_bench_scram_init(&slot->scram, slot->user->name, slot->user->password,
				    &slot->user->keys);
		slot->conn.sasl = &slot->scram.sasl;
	}
	int r = pn_bench_conn_open(&slot->conn);
	if (r < 0) {
		cannot_open(slot, -r);
		return;
	}
	s->run.open_count++;
	s->run.connections++;
}

static void go(struct pn_bench_worker *worker)
{
	struct pn_bench_submit_slot *slot =
		pn_container_of(worker, struct pn_bench_submit_slot, worker);

	slot->is_waiting = false;
	if (slot->is_ready)
		fill(slot);
	else
		open_next(slot);
}

/* ---- all of them ---- */

int pn_bench_submit_slots_new(struct pn_bench_submit *s)
{
	s->slots = calloc(s->run.parallel, sizeof(*s->slots));
	if (!s->slots)
		return -ENOMEM;
	for (uint64_t i = 0; i < s->run.parallel; i++) {
		struct pn_bench_submit_slot *slot = &s->slots[i];
		slot->submit = s;
		slot->worker.go = go;
		pn_list_init(&slot->worker.node);
		slot->conn.endpoint = &s->run.endpoint;
		slot->conn.fn = on_event;
		slot->ring = calloc(s->depth, sizeof(*slot->ring));
		if (!slot->ring)
			return -ENOMEM;
		for (uint64_t k = 0; k < s->depth; k++) {
			pn_arena_init(&slot->ring[k].arena, 2048, 1u << 20);
			slot->ring[k].results =
				calloc(s->recipient_count, sizeof(*slot->ring[k].results));
			if (!slot->ring[k].results)
				return -ENOMEM;
		}
	}
	return 0;
}

void pn_bench_submit_slots_free(struct pn_bench_submit *s)
{
	for (uint64_t i = 0; i < s->run.parallel; i++) {
		struct pn_bench_submit_slot *slot = &s->slots[i];
		for (uint64_t k = 0; k < s->depth; k++) {
			pn_arena_reset(&slot->ring[k].arena);
			free(slot->ring[k].results);
		}
		free(slot->ring);
		pn_bench_conn_deinit(&slot->conn);
	}
	free(s->slots);
}

void pn_bench_submit_slots_start(void *arg)
{
	struct pn_bench_submit *s = arg;

	for (uint64_t i = 0; i < s->run.parallel; i++)
		open_next(&s->slots[i]);
}
