/* SPDX-License-Identifier: ISC */
/*
 * connection.c - see connection.h.
 *
 * Buffers are kept from one opening to the next: what the load generator spends is not spent on the server, but it
 * stands on the same machine.
 */
#include "connection.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/clock.h>

/* With so much to be sent no further message is begun. */
#define AHEAD_MAX_BYTES (256u * 1024)

static void on_recv(struct pn_loop *loop, struct pn_op *op, int res);
static void receive(struct pn_bench_conn *conn, uint8_t *data, size_t len);

static void flush_later(struct pn_bench_conn *conn)
{
	if (conn->state != PN_BENCH_CONN_CLOSING && !pn_list_is_linked(&conn->flush_node))
		pn_list_push_back(&conn->endpoint->flush_list, &conn->flush_node);
}

static void restart_timer(struct pn_bench_conn *conn)
{
	pn_loop_timer_set(conn->endpoint->loop, &conn->timer, conn->endpoint->timeout_ms);
}

/* ---- the end ---- */

static void finish(struct pn_bench_conn *conn);

static void on_close(struct pn_loop *loop, struct pn_op *op, int res)
{
	(void)loop;
	(void)res;
	finish(pn_container_of(op, struct pn_bench_conn, op_close));
}

/* Once nothing of it is in the kernel: closes the descriptor, then tells the owner. */
static void finish(struct pn_bench_conn *conn)
{
	if (conn->is_finish_posted || conn->op_connect.is_inflight || conn->op_recv.is_inflight ||
	    conn->op_send.is_inflight || conn->op_close.is_inflight)
		return;
	if (conn->fd >= 0) {
		int fd = conn->fd;
		conn->fd = -1;
		pn_loop_close(conn->endpoint->loop, &conn->op_close, on_close, fd);
		return;
	}
	pn_smtp_client_free(conn->client);
	pn_tls_conn_free(conn->tls);
	pn_record_free(conn->record);
	conn->client = NULL;
	conn->tls = NULL;
	conn->record = NULL;
	pn_buf_clear(&conn->plain);
	pn_buf_clear(&conn->next);
	pn_buf_clear(&conn->wire);
	conn->state = PN_BENCH_CONN_CLOSED_STATE;
	conn->fn(conn, PN_BENCH_CONN_CLOSED);
}

static void on_finish_task(struct pn_loop *loop, struct pn_task *task)
{
	struct pn_bench_conn *conn = pn_container_of(task, struct pn_bench_conn, finish_task);

	(void)loop;
	conn->is_finish_posted = false;
	finish(conn);
}

/* RFC 8446 6.1: close_notify before the end; a failed handshake has its alert in `next`. */
static void send_last(struct pn_bench_conn *conn)
{
	if (conn->is_sending || conn->op_connect.is_inflight || conn->is_abrupt)
		return;
	if (conn->record && !conn->tls)
		(void)!pn_record_close(conn->record, &conn->next);
	if (pn_buf_len(&conn->next) > 0)
		(void)!send(conn->fd, pn_buf_ptr(&conn->next), pn_buf_len(&conn->next),
			    MSG_DONTWAIT | MSG_NOSIGNAL);
}

void pn_bench_conn_close(struct pn_bench_conn *conn)
{
	struct pn_loop *loop = conn->endpoint->loop;

	if (conn->state == PN_BENCH_CONN_CLOSING || conn->state == PN_BENCH_CONN_CLOSED_STATE)
		return;
	send_last(conn);
	conn->state = PN_BENCH_CONN_CLOSING;
	pn_list_remove(&conn->flush_node);
	pn_loop_timer_cancel(loop, &conn->timer);
	pn_loop_timer_cancel(loop, &conn->read_timer);
	pn_loop_cancel(loop, &conn->op_connect);
	pn_loop_cancel(loop, &conn->op_recv);
	pn_loop_cancel(loop, &conn->op_send);
	/* Never from here: the caller stands inside an event of this connection. */
	conn->is_finish_posted = true;
	pn_loop_defer(loop, &conn->finish_task);
}

static const char *stage_name(const struct pn_bench_conn *conn)
{
	if (conn->state == PN_BENCH_CONN_HANDSHAKE)
		return "TLS handshake";
	if (conn->state == PN_BENCH_CONN_CONNECTING)
		return "connect";
	return pn_bench_stage_name(pn_smtp_client_stage(conn->client));
}

static void fail(struct pn_bench_conn *conn, uint16_t code, const char *fmt, va_list args)
{
	if (conn->state == PN_BENCH_CONN_CLOSING || conn->state == PN_BENCH_CONN_CLOSED_STATE)
		return;
	conn->failure.code = code;
	conn->failure.stage = stage_name(conn);
	(void)vsnprintf(conn->failure.text, sizeof(conn->failure.text), fmt, args);
	/* Nothing happens when it was the client that failed. */
	pn_smtp_client_lost(conn->client, conn->failure.text);
	conn->is_over = true;
	conn->fn(conn, PN_BENCH_CONN_FAILED);
	pn_bench_conn_close(conn);
}

void pn_bench_conn_fail(struct pn_bench_conn *conn, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fail(conn, 0, fmt, args);
	va_end(args);
}

static void refused(struct pn_bench_conn *conn, uint16_t code, const char *fmt, ...)
	PN_PRINTF(3, 4);
static void refused(struct pn_bench_conn *conn, uint16_t code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fail(conn, code, fmt, args);
	va_end(args);
}

static void on_timer(struct pn_timer *timer)
{
	struct pn_bench_conn *conn = pn_container_of(timer, struct pn_bench_conn, timer);

	pn_bench_conn_fail(conn, "no answer in time (%s)", stage_name(conn));
}

/* ---- TLS ---- */

static void handshake_done(struct pn_bench_conn *conn, struct pn_slice rest)
{
	bool is_starttls = conn->record != NULL;
	struct pn_record *record = pn_tls_conn_finish(conn->tls, &conn->facts);

	pn_tls_conn_free(conn->tls);
	conn->tls = NULL;
	if (!record) {
		pn_bench_conn_fail(conn, "out of memory");
		return;
	}
	pn_record_free(conn->record);
	conn->record = record;
	conn->state = PN_BENCH_CONN_SESSION;
	if (is_starttls)
		pn_smtp_client_tls_started(conn->client, &conn->plain);
	/* The receive buffer is ours until it is returned: records are opened in place. */
	if (rest.len > 0)
		receive(conn, (uint8_t *)(uintptr_t)rest.ptr, rest.len);
	flush_later(conn);
}

static void handshake(struct pn_bench_conn *conn, struct pn_slice in)
{
	switch (pn_tls_handshake(conn->tls, &in, &conn->next)) {
	case PN_RECORD_OK:
		handshake_done(conn, in);
		return;
	case PN_RECORD_WANT:
		flush_later(conn);
		return;
	case PN_RECORD_CLOSED:
	case PN_RECORD_FAILED:
		break;
	}
	pn_bench_conn_fail(conn, "TLS: %s", pn_tls_conn_error(conn->tls));
}

static void start_tls(struct pn_bench_conn *conn)
{
	conn->tls = pn_tls_conn_new_client(conn->endpoint->tls, conn->endpoint->tls_name);
	if (!conn->tls) {
		pn_bench_conn_fail(conn, "out of memory");
		return;
	}
	conn->state = PN_BENCH_CONN_HANDSHAKE;
	if (conn->wants_resumption)
		(void)pn_tls_conn_resume(conn->tls);
	handshake(conn, PN_SLICE_NULL);
}

/* ---- in ---- */

/* False: the connection is not to be stepped any further now. */
static bool take_event(struct pn_bench_conn *conn, enum pn_smtp_client_event event)
{
	const struct pn_smtp_reply_info *why;

	switch (event) {
	case PN_CLIENT_EV_STARTTLS:
		start_tls(conn);
		return false;
	case PN_CLIENT_EV_READY:
		conn->fn(conn, PN_BENCH_CONN_READY);
		break;
	case PN_CLIENT_EV_BODY:
		conn->fn(conn, PN_BENCH_CONN_BODY);
		break;
	case PN_CLIENT_EV_DONE:
		restart_timer(conn);
		conn->fn(conn, PN_BENCH_CONN_DONE);
		break;
	case PN_CLIENT_EV_FAILED:
		why = pn_smtp_client_failure(conn->client);
		refused(conn, why->code, "%u %.*s", why->code, (int)why->text.len,
			(const char *)why->text.ptr);
		return false;
	case PN_CLIENT_EV_CLOSED:
		if (conn->is_over)
			pn_bench_conn_close(conn);
		else
			pn_bench_conn_fail(conn, "the server ended the session");
		return false;
	}
	return conn->state == PN_BENCH_CONN_SESSION;
}

static void drive(struct pn_bench_conn *conn, struct pn_slice in)
{
	enum pn_smtp_client_event event;

	if (conn->state != PN_BENCH_CONN_SESSION)
		return;
	while (pn_smtp_client_step(conn->client, &in, &event, &conn->plain) == PN_CLIENT_EVENT) {
		if (!take_event(conn, event))
			return;
	}
	if (!conn->is_greeted && conn->endpoint->is_implicit_tls &&
	    pn_smtp_client_stage(conn->client) == PN_STAGE_EHLO) {
		conn->is_greeted = true;
		conn->fn(conn, PN_BENCH_CONN_GREETED);
	}
	if (pn_buf_len(&conn->plain) > 0)
		flush_later(conn);
}

static void receive(struct pn_bench_conn *conn, uint8_t *data, size_t len)
{
	struct pn_record *record = conn->record;
	struct pn_slice plain;

	pn_record_input(record, data, len);
	while (conn->state == PN_BENCH_CONN_SESSION && conn->record == record) {
		switch (pn_record_open(record, &plain, &conn->next)) {
		case PN_RECORD_OK:
			drive(conn, plain);
			break;
		case PN_RECORD_WANT:
			return;
		case PN_RECORD_CLOSED:
			pn_bench_conn_fail(conn, "the server closed the TLS connection");
			return;
		case PN_RECORD_FAILED:
			pn_bench_conn_fail(conn, "a TLS record was wrong");
			return;
		}
	}
}

static void on_recv(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_bench_conn *conn = pn_container_of(op, struct pn_bench_conn, op_recv);

	if (res > 0) {
		uint16_t buffer_id = op->buffer_id;
		uint8_t *data = pn_loop_buffer(loop, buffer_id);
		if (conn->state == PN_BENCH_CONN_HANDSHAKE)
			handshake(conn, pn_slice(data, (size_t)res));
		else if (conn->state == PN_BENCH_CONN_SESSION)
			receive(conn, data, (size_t)res);
		pn_loop_buffer_return(loop, buffer_id);
	} else if (conn->state != PN_BENCH_CONN_CLOSING && res != -ENOBUFS) {
		pn_bench_conn_fail(conn, "%s: %s",
				   conn->state == PN_BENCH_CONN_HANDSHAKE ? "TLS handshake"
									  : "connection",
				   res == 0 ? "the server hung up" : strerror(-res));
	}
	if (conn->state == PN_BENCH_CONN_CLOSING)
		finish(conn);
	else if (!op->is_inflight && res == -ENOBUFS)
		pn_loop_recv_retry(loop, op, on_recv, conn->fd);
	else if (!op->is_inflight && conn->read_delay_ms > 0)
		pn_loop_timer_set(loop, &conn->read_timer, conn->read_delay_ms);
	else if (!op->is_inflight)
		pn_loop_recv(loop, op, on_recv, conn->fd);
}

/* A slow reader takes one buffer, and the next one later. */
static void on_read_timer(struct pn_timer *timer)
{
	struct pn_bench_conn *conn = pn_container_of(timer, struct pn_bench_conn, read_timer);

	pn_loop_recv_once(conn->endpoint->loop, &conn->op_recv, on_recv, conn->fd);
}

/* ---- out ---- */

static void on_send(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_bench_conn *conn = pn_container_of(op, struct pn_bench_conn, op_send);

	if (conn->state == PN_BENCH_CONN_CLOSING) {
		finish(conn);
		return;
	}
	if (res <= 0) {
		pn_bench_conn_fail(conn, "send: %s", strerror(-res));
		return;
	}
	pn_buf_consume(&conn->wire, (size_t)res);
	if (pn_buf_len(&conn->wire) > 0) {
		pn_loop_send(loop, &conn->op_send, on_send, conn->fd, pn_buf_ptr(&conn->wire),
			     pn_buf_len(&conn->wire), 0);
		return;
	}
	conn->is_sending = false;
	flush_later(conn);
}

static void flush(struct pn_bench_conn *conn)
{
	/* Events may be due without input: the body of a pipelined BDAT. */
	drive(conn, PN_SLICE_NULL);
	if (conn->is_sending || conn->state == PN_BENCH_CONN_CLOSING ||
	    conn->state == PN_BENCH_CONN_CLOSED_STATE)
		return;
	if (conn->state == PN_BENCH_CONN_SESSION && conn->record && pn_buf_len(&conn->plain) > 0) {
		if (pn_record_seal(conn->record, pn_buf_slice(&conn->plain), &conn->next) !=
		    PN_RECORD_OK) {
			pn_bench_conn_fail(conn, "sealing failed");
			return;
		}
		pn_buf_clear(&conn->plain);
	}
	if (pn_buf_len(&conn->next) == 0)
		return;
	struct pn_buf empty = conn->wire;
	conn->wire = conn->next;
	conn->next = empty;
	conn->is_sending = true;
	pn_loop_send(conn->endpoint->loop, &conn->op_send, on_send, conn->fd,
		     pn_buf_ptr(&conn->wire), pn_buf_len(&conn->wire), 0);
}

static void flush_all(struct pn_loop *loop, struct pn_batch_hook *hook)
{
	struct pn_bench_endpoint *e = pn_container_of(hook, struct pn_bench_endpoint, hook);
	struct pn_list *node;

	(void)loop;
	while ((node = pn_list_pop_front(&e->flush_list)) != NULL)
		flush(pn_container_of(node, struct pn_bench_conn, flush_node));
}

void pn_bench_endpoint_start(struct pn_bench_endpoint *e)
{
	pn_list_init(&e->flush_list);
	e->hook.fn = flush_all;
	pn_loop_hook_add(e->loop, &e->hook);
}

void pn_bench_endpoint_stop(struct pn_bench_endpoint *e)
{
	pn_loop_hook_remove(e->loop, &e->hook);
}

/* ---- the beginning ---- */

static void on_connect(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_bench_conn *conn = pn_container_of(op, struct pn_bench_conn, op_connect);

	if (conn->state == PN_BENCH_CONN_CLOSING) {
		finish(conn);
		return;
	}
	if (res < 0) {
		pn_bench_conn_fail(conn, "connect: %s", strerror(-res));
		return;
	}
	if (conn->read_delay_ms > 0)
		pn_loop_recv_once(loop, &conn->op_recv, on_recv, conn->fd);
	else
		pn_loop_recv(loop, &conn->op_recv, on_recv, conn->fd);
	if (conn->endpoint->is_implicit_tls) {
		start_tls(conn);
		return;
	}
	conn->record = pn_record_plain_new();
	if (!conn->record) {
		pn_bench_conn_fail(conn, "out of memory");
		return;
	}
	conn->state = PN_BENCH_CONN_SESSION;
}

static void init(struct pn_bench_conn *conn)
{
	size_t max = conn->endpoint->buffer_max_bytes;

	if (conn->is_initialised)
		return;
	conn->is_initialised = true;
	conn->finish_task.fn = on_finish_task;
	pn_list_init(&conn->flush_node);
	pn_timer_init(&conn->timer, on_timer);
	pn_timer_init(&conn->read_timer, on_read_timer);
	pn_buf_init(&conn->plain, max);
	pn_buf_init(&conn->next, max);
	pn_buf_init(&conn->wire, max);
}

int pn_bench_conn_open(struct pn_bench_conn *conn)
{
	struct pn_bench_endpoint *e = conn->endpoint;

	PN_ASSERT(conn->state == PN_BENCH_CONN_CLOSED_STATE);
	init(conn);
	conn->is_greeted = conn->is_sending = conn->is_over = conn->is_abrupt = false;
	conn->failure.text[0] = '\0';
	conn->opened_ns = pn_clock_mono_ns();
	conn->settings = conn->own_settings ? *conn->own_settings : e->client;
	conn->settings.auth_user = conn->auth_user;
	conn->settings.auth_password = conn->auth_password;
	conn->settings.sasl = conn->sasl;
	conn->client = pn_smtp_client_new(&conn->settings, e->is_implicit_tls);
	if (!conn->client)
		return -ENOMEM;
	conn->fd = pn_bench_endpoint_socket(e);
	if (conn->fd < 0) {
		pn_smtp_client_free(conn->client);
		conn->client = NULL;
		return conn->fd;
	}
	conn->state = PN_BENCH_CONN_CONNECTING;
	restart_timer(conn);
	pn_loop_connect(e->loop, &conn->op_connect, on_connect, conn->fd,
			(struct sockaddr *)&e->address, e->address_len);
	return 0;
}

/* ---- use ---- */

int pn_bench_conn_begin(struct pn_bench_conn *conn, struct pn_smtp_transaction *t)
{
	int r = pn_smtp_client_begin(conn->client, t, &conn->plain);

	flush_later(conn);
	return r;
}

bool pn_bench_conn_may_begin(const struct pn_bench_conn *conn)
{
	return conn->state == PN_BENCH_CONN_SESSION && !conn->is_over &&
	       pn_buf_len(&conn->plain) < AHEAD_MAX_BYTES && pn_smtp_client_may_begin(conn->client);
}

int pn_bench_conn_body(struct pn_bench_conn *conn, const struct pn_slice *pieces, size_t count)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++)
		r = pn_smtp_client_body(conn->client, pieces[i], &conn->plain);
	if (r == 0)
		r = pn_smtp_client_body_end(conn->client, &conn->plain);
	flush_later(conn);
	return r;
}

int pn_bench_conn_body_some(struct pn_bench_conn *conn, struct pn_slice piece)
{
	restart_timer(conn);
	flush_later(conn);
	return pn_smtp_client_body(conn->client, piece, &conn->plain);
}

int pn_bench_conn_body_end(struct pn_bench_conn *conn)
{
	flush_later(conn);
	return pn_smtp_client_body_end(conn->client, &conn->plain);
}

void pn_bench_conn_idle(struct pn_bench_conn *conn)
{
	pn_loop_timer_cancel(conn->endpoint->loop, &conn->timer);
	if (pn_buf_len(&conn->plain) == 0)
		pn_buf_free(&conn->plain);
	if (pn_buf_len(&conn->next) == 0)
		pn_buf_free(&conn->next);
	if (!conn->is_sending)
		pn_buf_free(&conn->wire);
}

void pn_bench_conn_noop(struct pn_bench_conn *conn)
{
	pn_smtp_client_noop(conn->client, &conn->plain);
	restart_timer(conn);
	flush_later(conn);
}

void pn_bench_conn_quit(struct pn_bench_conn *conn)
{
	conn->is_over = true;
	restart_timer(conn);
	pn_smtp_client_quit(conn->client, &conn->plain);
	flush_later(conn);
}

void pn_bench_conn_hang_up(struct pn_bench_conn *conn)
{
	conn->is_abrupt = true;
	pn_bench_conn_close(conn);
}

void pn_bench_conn_deinit(struct pn_bench_conn *conn)
{
	PN_ASSERT(conn->state == PN_BENCH_CONN_CLOSED_STATE);
	if (!conn->is_initialised)
		return;
	pn_buf_free(&conn->plain);
	pn_buf_free(&conn->next);
	pn_buf_free(&conn->wire);
}
