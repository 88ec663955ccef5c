/* SPDX-License-Identifier: ISC */
/*
 * connection_io.c - octets in and out of a connection: receive, open, feed the SMTP client, act on
 * its events; seal and send.
 *
 * conn_drive() is the only caller of pn_smtp_client_step. Output is sealed and sent by the batch
 * hook (pn_conn_flush), never while a slice that a record gave is in use. Events of a closing
 * connection are dropped: the loops below look at the state after each call.
 */
#include <errno.h>
#include <string.h>

#include "connection.h"
#include "job.h"
#include "worker.h"

#define CONN_SEAL_CHUNK_BYTES 65536u
#define CONN_SEALED_HIGH_BYTES 131072u
/* Content up to this size comes from memory all at once (pn_conn_body_expect). */
#define CONN_BODY_WHOLE_BYTES 139264u

static void conn_drive(struct pn_conn *conn, struct pn_slice in);
static void conn_receive(struct pn_conn *conn, uint8_t *data, size_t len);
static void conn_arm_recv(struct pn_conn *conn);

static struct pn_loop *conn_loop(const struct pn_conn *conn)
{
	return conn->pool->worker->loop;
}

void pn_conn_flush_later(struct pn_conn *conn)
{
	if (conn->state != PN_CONN_CLOSING && !pn_list_is_linked(&conn->flush_node))
		pn_list_push_back(&conn->pool->worker->flush_list, &conn->flush_node);
}

size_t pn_conn_backlog(const struct pn_conn *conn)
{
	return pn_buf_len(&conn->plain) + pn_buf_len(&conn->next) + pn_buf_len(&conn->wire) + conn->lent_bytes;
}

/* ---- TLS ---- */

/* RFC 4954 14: who asks for the password must have proved its name. */
static bool conn_is_auth_unsafe(const struct pn_conn *conn)
{
	const struct pn_upstream_settings *u = conn->pool->settings;
	return u->auth_user && !u->auth_without_tls && !conn->facts.is_verified;
}

static void conn_handshake_done(struct pn_conn *conn, struct pn_slice rest)
{
	bool is_starttls = conn->record != NULL;
	struct pn_record *record = pn_tls_conn_finish(conn->tls, &conn->facts);
	pn_tls_conn_free(conn->tls);
	conn->tls = NULL;
	if (!record) {
		pn_conn_fail(conn, 3, 0, false, "out of memory");
		return;
	}
	pn_record_free(conn->record);
	conn->record = record;
	conn->state = PN_CONN_SETUP;
	pn_pool_count(conn->pool, PN_UPSTREAM_C_tls_handshakes, 1);
	if (conn_is_auth_unsafe(conn)) {
		pn_conn_fail(conn, 7, 5, true, "the certificate of %s is not verified: no password is sent there",
		             conn->address_text);
		return;
	}
	if (is_starttls)
		pn_smtp_client_tls_started(conn->client, &conn->plain);
	pn_conn_timer_update(conn, true);
	/* The receive buffer is ours to change until it is returned: records are opened in place. */
	if (rest.len > 0)
		conn_receive(conn, (uint8_t *)(uintptr_t)rest.ptr, rest.len);
	else
		pn_conn_flush_later(conn);
}

static void conn_handshake(struct pn_conn *conn, struct pn_slice in)
{
	enum pn_record_status status = pn_tls_handshake(conn->tls, &in, &conn->next);
	pn_conn_flush_later(conn);
	switch (status) {
	case PN_RECORD_OK:
		conn_handshake_done(conn, in);
		return;
	case PN_RECORD_WANT:
		return;
	case PN_RECORD_CLOSED:
	case PN_RECORD_FAILED:
		break;
	}
	pn_conn_fail(conn, 7, 5, true, "TLS with %s failed: %s", conn->address_text, pn_tls_conn_error(conn->tls));
}

static void conn_start_tls(struct pn_conn *conn)
{
	const struct pn_upstream_settings *u = conn->pool->settings;
	conn->tls = pn_tls_conn_new_client(u->tls_client, u->verify_name ? u->verify_name : conn->host->host);
	if (!conn->tls) {
		pn_conn_fail(conn, 3, 0, false, "out of memory");
		return;
	}
	pn_tls_conn_set_socket(conn->tls, conn->fd, u->is_kernel_tls);
	conn->state = PN_CONN_HANDSHAKE;
	pn_conn_timer_update(conn, true);
	conn_handshake(conn, PN_SLICE_NULL);
}

/* ---- in ---- */

static void conn_client_failed(struct pn_conn *conn)
{
	const struct pn_smtp_reply_info *why = pn_smtp_client_failure(conn->client);
	enum pn_conn_state state = conn->state;
	conn->failure = *why; /* its text is copied by pn_conn_fail */
	if (state == PN_CONN_SETUP && why->code >= 400)
		pn_smtp_client_quit(conn->client, &conn->plain);
	if (why->code != 0)
		pn_conn_fail(conn, 0, 0, true, "%.*s", (int)why->text.len, (const char *)why->text.ptr);
	else
		pn_conn_fail(conn, 5, 0, true, "%s: %.*s", conn->address_text, (int)why->text.len,
		             (const char *)why->text.ptr);
}

/* Returns false when the loop must not go on. */
static bool conn_event(struct pn_conn *conn, enum pn_smtp_client_event event)
{
	switch (event) {
	case PN_CLIENT_EV_STARTTLS:
		conn_start_tls(conn);
		return false;
	case PN_CLIENT_EV_READY:
		pn_conn_ready(conn);
		break;
	case PN_CLIENT_EV_BODY:
		pn_part_body(conn->job);
		break;
	case PN_CLIENT_EV_DONE:
		pn_part_done(pn_container_of(conn->open.next, struct pn_job, open_node));
		break;
	case PN_CLIENT_EV_FAILED:
		conn_client_failed(conn);
		return false;
	case PN_CLIENT_EV_CLOSED:
		if (conn->state == PN_CONN_QUITTING)
			pn_conn_close(conn);
		else
			pn_conn_fail(conn, 4, 2, false, "%s closed the session", conn->address_text);
		return false;
	}
	return conn->state != PN_CONN_CLOSING;
}

static void conn_drive(struct pn_conn *conn, struct pn_slice in)
{
	enum pn_smtp_client_event event;
	if (conn->state != PN_CONN_SETUP && conn->state != PN_CONN_IDLE && conn->state != PN_CONN_BUSY &&
	    conn->state != PN_CONN_QUITTING)
		return;
	while (pn_smtp_client_step(conn->client, &in, &event, &conn->plain) == PN_CLIENT_EVENT) {
		if (!conn_event(conn, event))
			return;
	}
	pn_conn_timer_update(conn, false);
	if (pn_buf_len(&conn->plain) > 0)
		pn_conn_flush_later(conn);
}

void pn_conn_drive(struct pn_conn *conn)
{
	conn_drive(conn, PN_SLICE_NULL);
}

static void conn_record_ended(struct pn_conn *conn, enum pn_record_status status)
{
	pn_conn_fail(conn, 4, 2, true,
	             status == PN_RECORD_CLOSED ? "%s closed the TLS connection" : "TLS record from %s was wrong",
	             conn->address_text);
}

static void conn_receive(struct pn_conn *conn, uint8_t *data, size_t len)
{
	struct pn_record *record = conn->record;
	struct pn_slice plain;
	pn_record_input(record, data, len);
	while (conn->state != PN_CONN_CLOSING && conn->record == record && conn->state != PN_CONN_HANDSHAKE) {
		enum pn_record_status status = pn_record_open(record, &plain, &conn->next);
		if (pn_buf_len(&conn->next) > 0)
			pn_conn_flush_later(conn);
		switch (status) {
		case PN_RECORD_OK:
			conn_drive(conn, plain);
			break;
		case PN_RECORD_WANT:
			return;
		case PN_RECORD_CLOSED:
		case PN_RECORD_FAILED:
			conn_record_ended(conn, status);
			return;
		}
	}
}

static void conn_lost(struct pn_conn *conn, int res)
{
	bool was_handshake = conn->state == PN_CONN_HANDSHAKE;
	if (conn->state == PN_CONN_QUITTING || (conn->state == PN_CONN_IDLE && !conn->job)) {
		pn_conn_close(conn);
		return;
	}
	pn_conn_fail(conn, 4, 2, true, "%s %s: %s", conn->address_text, was_handshake ? "in TLS handshake" : "hung up",
	             res == 0 ? "connection closed" : strerror(-res));
}

/* Records that are not data come as errors where the kernel opens them. */
static void conn_recv_failed(struct pn_conn *conn, int error)
{
	enum pn_record_status status = PN_RECORD_WANT;
	if (conn->record && conn->state != PN_CONN_HANDSHAKE)
		status = pn_record_recv_failed(conn->record, error, &conn->next);
	if (status == PN_RECORD_WANT)
		conn_lost(conn, error);
	else if (status != PN_RECORD_OK)
		conn_record_ended(conn, status);
	else if (pn_buf_len(&conn->next) > 0)
		pn_conn_flush_later(conn);
}

static void conn_on_recv(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_conn *conn = pn_container_of(op, struct pn_conn, op_recv);
	if (res > 0) {
		uint16_t buffer_id = op->buffer_id;
		uint8_t *data = pn_loop_buffer(loop, buffer_id);
		if (conn->state == PN_CONN_HANDSHAKE)
			conn_handshake(conn, pn_slice(data, (size_t)res));
		else if (conn->state != PN_CONN_CLOSING)
			conn_receive(conn, data, (size_t)res);
		pn_loop_buffer_return(loop, buffer_id);
	} else if (conn->state != PN_CONN_CLOSING && res == 0) {
		conn_lost(conn, res);
	} else if (conn->state != PN_CONN_CLOSING && res != -ENOBUFS) {
		conn_recv_failed(conn, res);
	}
	if (conn->state == PN_CONN_CLOSING) {
		pn_conn_try_finish(conn);
		return;
	}
	if (op->is_inflight)
		return;
	if (res == -ENOBUFS)
		pn_loop_recv_retry(loop, op, conn_on_recv, conn->fd);
	else
		conn_arm_recv(conn);
}

/*
 * The record wants a moment in which nothing is under way. Before the first transaction the next
 * receive waits until what is being sent is sent, watched by the phase's timer; later the moment
 * must come by itself.
 */
static bool conn_is_held_back(struct pn_conn *conn)
{
	if (!conn->record || !conn->record->wants_quiet || conn->state == PN_CONN_HANDSHAKE || conn->is_send_broken)
		return false;
	if (!conn->is_sending && pn_conn_backlog(conn) == 0)
		conn->record = pn_record_quiet(conn->record, &conn->next);
	if (pn_conn_backlog(conn) > 0)
		pn_conn_flush_later(conn);
	return conn->state == PN_CONN_SETUP && (conn->is_sending || pn_conn_backlog(conn) > 0);
}

/* Multishot once no more change of the record is to come: a change needs a moment without receive. */
static void conn_arm_recv(struct pn_conn *conn)
{
	const struct pn_upstream_settings *u = conn->pool->settings;
	bool is_tls_to_come = u->is_kernel_tls && u->tls != PN_UPSTREAM_TLS_NONE && conn->facts.version == 0;
	if (conn_is_held_back(conn))
		return;
	if (is_tls_to_come || (conn->record && conn->record->wants_quiet))
		pn_loop_recv_once(conn_loop(conn), &conn->op_recv, conn_on_recv, conn->fd);
	else
		pn_loop_recv(conn_loop(conn), &conn->op_recv, conn_on_recv, conn->fd);
}

void pn_conn_connected(struct pn_conn *conn)
{
	conn_arm_recv(conn);
	if (conn->pool->settings->tls == PN_UPSTREAM_TLS_IMPLICIT) {
		conn_start_tls(conn);
		return;
	}
	conn->record = pn_record_plain_new();
	if (!conn->record) {
		pn_conn_fail(conn, 3, 0, false, "out of memory");
		return;
	}
	conn->state = PN_CONN_SETUP;
	pn_conn_timer_update(conn, true);
}

/* ---- out ---- */

void pn_conn_body_expect(struct pn_conn *conn, uint64_t size_bytes)
{
	/* A little more, for doubled dots. Without memory it grows piece by piece, or fails there. */
	uint64_t want = size_bytes + size_bytes / 64 + 64;
	(void)!pn_buf_reserve(&conn->plain, (size_t)(want <= CONN_BODY_WHOLE_BYTES ? want : CONN_SEAL_CHUNK_BYTES));
}

int pn_conn_body(struct pn_conn *conn, struct pn_slice content)
{
	PN_ASSERT(conn->state == PN_CONN_BUSY);
	int rc = pn_smtp_client_body(conn->client, content, &conn->plain);
	pn_conn_flush_later(conn);
	return rc;
}

int pn_conn_body_end(struct pn_conn *conn)
{
	PN_ASSERT(conn->state == PN_CONN_BUSY);
	int rc = pn_smtp_client_body_end(conn->client, &conn->plain);
	if (rc == 0) {
		conn->is_body_ended = true;
		pn_conn_offer_ride(conn);
	}
	pn_conn_flush_later(conn);
	return rc;
}

/* Moves protected octets from `plain` to `next`, unless something is to go between. False: the record layer failed. */
static bool conn_seal(struct pn_conn *conn)
{
	if (conn->state == PN_CONN_HANDSHAKE || !conn->record || conn->lent_count > 0)
		return true;
	while (pn_buf_len(&conn->plain) > 0 && pn_buf_len(&conn->next) < CONN_SEALED_HIGH_BYTES) {
		if (pn_record_seal_buf(conn->record, &conn->plain, CONN_SEAL_CHUNK_BYTES, &conn->next) != PN_RECORD_OK)
			return false;
	}
	return true;
}

static void conn_on_send(struct pn_loop *loop, struct pn_op *op, int res);

static void conn_send(struct pn_conn *conn)
{
	if (conn->is_lent_flying) {
		pn_conn_lent_vector(conn);
		pn_loop_sendmsg(conn_loop(conn), &conn->op_send, conn_on_send, conn->fd, &conn->msg, 0);
	} else {
		pn_loop_send(conn_loop(conn), &conn->op_send, conn_on_send, conn->fd, pn_buf_ptr(&conn->wire),
		             pn_buf_len(&conn->wire), 0);
	}
}

static void conn_sent_all(struct pn_conn *conn)
{
	conn->is_sending = false;
	if (conn->state == PN_CONN_BUSY && conn->job)
		pn_part_writable(conn->job);
	if (conn->state == PN_CONN_CLOSING)
		return;
	if (!conn->op_recv.is_inflight && conn->record && conn->record->wants_quiet)
		conn_arm_recv(conn);
	if (pn_conn_backlog(conn) == 0 && conn->state == PN_CONN_IDLE) {
		pn_buf_free(&conn->plain);
		pn_buf_free(&conn->next);
		pn_buf_free(&conn->wire);
	}
	pn_conn_flush_later(conn);
}

/*
 * Replies may have come before the end: a 250 among them is a message that must not be sent again. So
 * what has come is read to its end, which tells that the connection is lost. Nothing is sent any more.
 */
static void conn_send_broke(struct pn_conn *conn)
{
	conn->is_send_broken = true;
	(void)shutdown(conn->fd, SHUT_RD); /* what has come stays readable */
	if (!conn->op_recv.is_inflight)
		conn_arm_recv(conn);
}

static void conn_on_send(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_conn *conn = pn_container_of(op, struct pn_conn, op_send);
	(void)loop;
	if (conn->state == PN_CONN_CLOSING) {
		pn_conn_try_finish(conn);
		return;
	}
	if (res <= 0) {
		conn_send_broke(conn);
		return;
	}
	pn_pool_count(conn->pool, PN_UPSTREAM_C_bytes_sent, (uint64_t)res);
	size_t from_wire = pn_min_size((size_t)res, pn_buf_len(&conn->wire));
	pn_buf_consume(&conn->wire, from_wire);
	pn_conn_lent_sent(conn, (size_t)res - from_wire);
	if (pn_buf_len(&conn->wire) > 0 || conn->is_lent_flying) {
		conn_send(conn);
	} else {
		conn_sent_all(conn);
		if (conn->state == PN_CONN_CLOSING)
			return;
	}
	/* Content that the peer takes is progress; anything else has its phase's time. */
	if (conn->state == PN_CONN_BUSY && pn_smtp_client_stage(conn->client) == PN_STAGE_BODY)
		pn_conn_timer_update(conn, true);
}

void pn_conn_flush(struct pn_conn *conn)
{
	/* What the client could not append while the buffer was full, or has become due without input. */
	if (conn->state == PN_CONN_BUSY)
		conn_drive(conn, PN_SLICE_NULL);
	if (conn->state == PN_CONN_CLOSING || conn->is_sending || conn->fd < 0)
		return;
	if (!conn_seal(conn)) {
		pn_conn_fail(conn, 4, 2, false, "TLS to %s failed while sending", conn->address_text);
		return;
	}
	if (pn_buf_len(&conn->next) == 0 && conn->lent_count == 0)
		return;
	struct pn_buf empty = conn->wire;
	conn->wire = conn->next;
	conn->next = empty;
	conn->is_sending = true;
	conn->is_lent_flying = conn->lent_count > 0;
	conn_send(conn);
}

void pn_conn_send_last(struct pn_conn *conn)
{
	if (conn->fd < 0 || conn->is_sending || conn->op_connect.is_inflight)
		return;
	if (conn->lent_count > 0 || !conn_seal(conn))
		return;
	/* RFC 8446 6.1: close_notify before the end. A handshake's alert is in `next` already. */
	if (conn->record && !conn->tls)
		(void)!pn_record_close(conn->record, &conn->next);
	if (pn_buf_len(&conn->next) > 0)
		(void)!send(conn->fd, pn_buf_ptr(&conn->next), pn_buf_len(&conn->next), MSG_DONTWAIT | MSG_NOSIGNAL);
	if (conn->record && !conn->tls)
		pn_record_flushed(conn->record);
}
