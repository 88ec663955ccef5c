/* SPDX-License-Identifier: ISC */
/*
 * connection.c - the life of a connection: making, timing, ending. What goes over it is in
 * connection_io.c.
 *
 * Each phase has a timer that the peer's octets do not restart (only a change of phase, or content
 * that it takes, does), so a peer that sends or reads one octet now and then is bounded too; a
 * transaction as a whole has a deadline.
 */
#include "connection.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <postern/base/log.h>

#include "job.h"
#include "worker.h"

#define CONN_PLAIN_MAX_BYTES (1u << 20)
#define CONN_SEALED_MAX_BYTES (512u << 10)
#define CONN_ADDRESSES_TRIED_MAX 4u
#define CONN_QUIT_TIMEOUT_MS 2000u
/* One more command timeout for each so many recipients whose replies are awaited. */
#define CONN_RCPTS_PER_TIMEOUT 50u
#define CONN_TLS_BROKEN_MS 600000u

static void conn_connect(struct pn_conn *conn);

static struct pn_loop *conn_loop(const struct pn_conn *conn)
{
	return conn->pool->worker->loop;
}

/* ---- time ---- */

static void conn_on_timer(struct pn_timer *timer)
{
	static const char *const what[] = {
		[PN_STAGE_CONNECT] = "connect", [PN_STAGE_GREETING] = "greeting", [PN_STAGE_EHLO] = "EHLO",
		[PN_STAGE_TLS] = "STARTTLS",    [PN_STAGE_AUTH] = "AUTH",         [PN_STAGE_MAIL] = "MAIL",
		[PN_STAGE_RCPT] = "RCPT",       [PN_STAGE_DATA] = "DATA",         [PN_STAGE_BODY] = "content",
	};
	struct pn_conn *conn = pn_container_of(timer, struct pn_conn, timer);
	switch (conn->state) {
	case PN_CONN_IDLE:
		if (!conn->job) /* else it has just been taken */
			pn_conn_quit(conn);
		return;
	case PN_CONN_QUITTING:
		pn_conn_close(conn);
		return;
	case PN_CONN_RESOLVING:
		pn_dns_cancel(&conn->dns);
		pn_pool_count(conn->pool, PN_UPSTREAM_C_timeouts, 1);
		pn_conn_fail(conn, 4, 3, true, "no answer from the name service for %s", conn->host->host);
		return;
	case PN_CONN_CONNECTING:
		pn_pool_count(conn->pool, PN_UPSTREAM_C_timeouts, 1);
		pn_loop_cancel(conn_loop(conn), &conn->op_connect); /* its completion tries the next address */
		return;
	case PN_CONN_HANDSHAKE:
		pn_pool_count(conn->pool, PN_UPSTREAM_C_timeouts, 1);
		pn_conn_fail(conn, 4, 2, true, "TLS handshake with %s timed out", conn->address_text);
		return;
	case PN_CONN_SETUP:
	case PN_CONN_BUSY:
		pn_pool_count(conn->pool, PN_UPSTREAM_C_timeouts, 1);
		pn_conn_fail(conn, 4, 2, true, "%s timed out while waiting for the reply to %s", conn->address_text,
		             what[pn_smtp_client_stage(conn->client)]);
		return;
	case PN_CONN_CLOSING:
		return;
	}
}

static void conn_on_deadline(struct pn_timer *timer)
{
	struct pn_conn *conn = pn_container_of(timer, struct pn_conn, deadline);
	pn_pool_count(conn->pool, PN_UPSTREAM_C_timeouts, 1);
	pn_conn_fail(conn, 4, 2, false, "%s is too slow: the whole transaction timed out", conn->address_text);
}

static uint64_t conn_busy_timeout_s(const struct pn_conn *conn)
{
	const struct pn_upstream_settings *u = conn->pool->settings;
	enum pn_smtp_stage stage = pn_smtp_client_stage(conn->client);
	const struct pn_job *oldest =
		conn->open_count > 0 ? pn_container_of(conn->open.next, const struct pn_job, open_node) : conn->job;
	uint32_t rcpts = oldest ? oldest->transaction.recipient_count : 0;
	/* Whoever has begun behind it did so at its end: what is left to send may be theirs. If the peer stops reading
	 * while some of the first is left (64 KiB at most), it has the longer time, too. */
	bool is_all_sent = conn->open_count > 1 || (conn->is_body_ended && pn_conn_backlog(conn) == 0);
	if (stage == PN_STAGE_RCPT || (stage == PN_STAGE_BODY && conn->pool->settings->kind == PN_UPSTREAM_LMTP))
		return (uint64_t)u->command_timeout_s * (1 + rcpts / CONN_RCPTS_PER_TIMEOUT) +
		       (stage == PN_STAGE_BODY ? u->data_end_timeout_s : 0);
	if (stage == PN_STAGE_DATA)
		return u->data_start_timeout_s;
	if (stage == PN_STAGE_BODY)
		return is_all_sent ? u->data_end_timeout_s : u->data_block_timeout_s;
	return u->command_timeout_s;
}

void pn_conn_timer_update(struct pn_conn *conn, bool is_progress)
{
	const struct pn_upstream_settings *u = conn->pool->settings;
	uint64_t timeout_s = 0;
	enum pn_smtp_stage stage = conn->client ? pn_smtp_client_stage(conn->client) : PN_STAGE_CONNECT;
	if (stage == conn->stage && !is_progress)
		return;
	conn->stage = stage;
	switch (conn->state) {
	case PN_CONN_RESOLVING:
	case PN_CONN_CONNECTING:
		timeout_s = u->connect_timeout_s;
		break;
	case PN_CONN_HANDSHAKE:
		timeout_s = u->tls_timeout_s;
		break;
	case PN_CONN_SETUP:
		timeout_s = stage == PN_STAGE_GREETING ? u->greeting_timeout_s : u->command_timeout_s;
		break;
	case PN_CONN_IDLE:
		timeout_s = u->idle_timeout_s;
		break;
	case PN_CONN_BUSY:
		timeout_s = conn_busy_timeout_s(conn);
		break;
	case PN_CONN_QUITTING:
		pn_loop_timer_set(conn_loop(conn), &conn->timer, CONN_QUIT_TIMEOUT_MS);
		return;
	case PN_CONN_CLOSING:
		return;
	}
	pn_loop_timer_set(conn_loop(conn), &conn->timer, timeout_s * 1000);
}

/* ---- making ---- */

static void conn_on_connect(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_conn *conn = pn_container_of(op, struct pn_conn, op_connect);
	(void)loop;
	if (conn->state == PN_CONN_CLOSING) {
		pn_conn_try_finish(conn);
		return;
	}
	if (res == 0) {
		pn_conn_connected(conn);
		return;
	}
	if (res == -ECANCELED)
		res = -ETIMEDOUT;
	snprintf(conn->failure_text, sizeof(conn->failure_text), "connect to %s: %s", conn->address_text,
	         strerror(-res));
	close(conn->fd);
	conn->fd = -1;
	conn_connect(conn);
}

/* ThreadSanitizer keeps in mind who made a descriptor, and does not see io_uring close it: the thread that gets the
 * number next would race with us in its eyes. So it does not see this either. */
static int conn_socket(int family)
{
#if defined(__SANITIZE_THREAD__)
	return (int)syscall(SYS_socket, family, SOCK_STREAM | SOCK_CLOEXEC, 0);
#else
	return socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
#endif
}

/* Goes to the next address, or gives up. */
static void conn_connect(struct pn_conn *conn)
{
	struct pn_dns_name *name = &conn->host->name;
	int one = 1;
	while (conn->addresses_tried < name->count && conn->addresses_tried < CONN_ADDRESSES_TRIED_MAX) {
		conn->address_index = (conn->host->address_next + conn->addresses_tried++) % name->count;
		conn->address = name->addresses[conn->address_index];
		socklen_t len = pn_address_set_port(&conn->address, conn->host->port);
		pn_address_format(conn->address_text, &conn->address);
		conn->fd = conn_socket(conn->address.ss_family);
		if (conn->fd < 0) {
			snprintf(conn->failure_text, sizeof(conn->failure_text), "socket for %s: %s",
			         conn->address_text,
			         strerror(errno));
			continue;
		}
		(void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		conn->state = PN_CONN_CONNECTING;
		pn_conn_timer_update(conn, true);
		pn_loop_connect(conn_loop(conn), &conn->op_connect, conn_on_connect, conn->fd,
		                (struct sockaddr *)&conn->address, len);
		return;
	}
	pn_conn_fail(conn, 4, 1, true, "%s", conn->failure_text);
}

static void conn_resolved(struct pn_conn *conn)
{
	if (conn->host->name.count == 0) {
		pn_conn_fail(conn, 4, 3, true, "host %s: %s", conn->host->host,
		             conn->host->name.error ? conn->host->name.error : "no address");
		return;
	}
	conn_connect(conn);
}

static void conn_on_resolved(struct pn_dns_request *request)
{
	struct pn_conn *conn = pn_container_of(request, struct pn_conn, dns);
	if (conn->state == PN_CONN_RESOLVING)
		conn_resolved(conn);
}

static void conn_on_finish_task(struct pn_loop *loop, struct pn_task *task)
{
	struct pn_conn *conn = pn_container_of(task, struct pn_conn, finish_task);
	(void)loop;
	conn->is_finish_posted = false;
	if (conn->state == PN_CONN_RESOLVING) {
		/* The start: never from inside pn_conn_new, whose caller does not expect events yet. */
		if (pn_dns_resolve(&conn->host->name, &conn->dns, conn_on_resolved))
			conn_resolved(conn);
		return;
	}
	pn_conn_try_finish(conn);
}

static void conn_post_finish(struct pn_conn *conn)
{
	if (conn->is_finish_posted)
		return;
	conn->is_finish_posted = true;
	pn_loop_defer(conn_loop(conn), &conn->finish_task);
}

struct pn_conn *pn_conn_new(struct pn_pool *pool, struct pn_host *host, struct pn_job *job)
{
	struct pn_conn *conn = calloc(1, sizeof(*conn));
	const struct pn_smtp_client_settings *cs = &pool->client_settings;
	bool is_tls = pool->settings->tls == PN_UPSTREAM_TLS_IMPLICIT;
	if (!conn)
		return NULL;
	conn->is_plain_forced = host->tls_broken_until_ms > pn_loop_now_ms(pool->worker->loop);
	conn->client = pn_smtp_client_new(conn->is_plain_forced ? &pool->client_settings_plain : cs, is_tls);
	if (!conn->client) {
		free(conn);
		return NULL;
	}
	conn->pool = pool;
	conn->host = host;
	conn->job = job;
	conn->fd = -1;
	conn->state = PN_CONN_RESOLVING;
	conn->finish_task.fn = conn_on_finish_task;
	pn_list_init(&conn->idle_node);
	pn_list_init(&conn->ride_node);
	pn_list_init(&conn->open);
	pn_list_init(&conn->flush_node);
	pn_list_init(&conn->dns.node);
	pn_timer_init(&conn->timer, conn_on_timer);
	pn_timer_init(&conn->deadline, conn_on_deadline);
	pn_buf_init(&conn->plain, CONN_PLAIN_MAX_BYTES);
	pn_buf_init(&conn->next, CONN_SEALED_MAX_BYTES);
	pn_buf_init(&conn->wire, CONN_SEALED_MAX_BYTES);
	snprintf(conn->address_text, sizeof(conn->address_text), "%.63s", host->host);
	snprintf(conn->failure_text, sizeof(conn->failure_text), "host %s has no usable address", host->host);
	pn_list_push_back(&pool->conns, &conn->node);
	pool->conn_count++;
	pn_pool_count(pool, PN_UPSTREAM_C_connections, 1);
	pn_conn_timer_update(conn, true);
	conn_post_finish(conn);
	return conn;
}

void pn_conn_ready(struct pn_conn *conn)
{
	struct pn_job *job = conn->job;
	conn->state = PN_CONN_IDLE;
	conn->host->address_next = conn->address_index;
	conn->host->tls_broken_until_ms = conn->is_plain_forced ? conn->host->tls_broken_until_ms : 0;
	pn_pool_count(conn->pool, PN_UPSTREAM_C_connections_made, 1);
	pn_host_worked(conn->pool, conn->host);
	pn_conn_timer_update(conn, true);
	if (job)
		pn_part_ready(job, conn);
	else
		pn_conn_release(conn, NULL);
}

/* ---- use ---- */

bool pn_conn_is_used(const struct pn_conn *conn)
{
	return conn->job || conn->open_count > 0;
}

/* Of the oldest transaction: each has its own time, counted from when it is the next to be answered. */
static void conn_deadline_set(struct pn_conn *conn)
{
	pn_loop_timer_set(conn_loop(conn), &conn->deadline,
	                  (uint64_t)conn->pool->settings->transaction_timeout_s * 1000);
	pn_conn_timer_update(conn, true);
}

int pn_conn_begin(struct pn_conn *conn, struct pn_job *job)
{
	bool is_first = conn->open_count == 0;
	PN_ASSERT((conn->state == PN_CONN_IDLE || !is_first) && conn->job == job);
	int rc = pn_smtp_client_begin(conn->client, &job->transaction, &conn->plain);
	conn->messages++;
	pn_pool_count(conn->pool, PN_UPSTREAM_C_transactions, 1);
	if (rc < 0)
		return rc;
	conn->is_body_ended = false;
	pn_list_push_back(&conn->open, &job->open_node);
	conn->open_count++;
	conn->state = PN_CONN_BUSY;
	if (is_first)
		conn_deadline_set(conn);
	else
		pn_pool_count(conn->pool, PN_UPSTREAM_C_transactions_pipelined, 1);
	pn_conn_flush_later(conn);
	pn_conn_drive(conn);
	return 0;
}

static void conn_leave_rideable(struct pn_conn *conn)
{
	if (pn_list_is_linked(&conn->ride_node))
		pn_list_remove(&conn->ride_node);
}

void pn_conn_offer_ride(struct pn_conn *conn)
{
	const struct pn_pool *pool = conn->pool;
	if (conn->state != PN_CONN_BUSY || pn_list_is_linked(&conn->ride_node) || !conn->is_body_ended ||
	    conn->open_count >= pool->settings->pipeline_messages_max ||
	    conn->messages >= pool->settings->messages_per_connection_max ||
	    pool->worker->state != PN_WORKER_SERVING || !pn_smtp_client_may_begin(conn->client))
		return;
	pn_list_push_front(&conn->pool->rideable, &conn->ride_node);
	pn_pool_dispatch(conn->pool);
}

/* Others of its transactions are still open. */
static void conn_go_on(struct pn_conn *conn)
{
	conn_deadline_set(conn);
	pn_conn_offer_ride(conn);
}

void pn_conn_release(struct pn_conn *conn, struct pn_job *job)
{
	struct pn_pool *pool = conn->pool;
	if (job && pn_list_is_linked(&job->open_node)) {
		pn_list_remove(&job->open_node);
		conn->open_count--;
	}
	if (conn->job == job)
		conn->job = NULL;
	if (conn->state == PN_CONN_CLOSING)
		return;
	if (conn->open_count > 0) {
		conn_go_on(conn);
		return;
	}
	PN_ASSERT(conn->state == PN_CONN_IDLE || conn->state == PN_CONN_BUSY);
	pn_loop_timer_cancel(conn_loop(conn), &conn->deadline);
	conn_leave_rideable(conn);
	conn->state = PN_CONN_IDLE;
	if (conn->messages >= pool->settings->messages_per_connection_max ||
	    pool->worker->state != PN_WORKER_SERVING || pool->is_retired) {
		pn_conn_quit(conn);
		return;
	}
	pn_list_push_front(&pool->idle, &conn->idle_node);
	pn_pool_count(pool, PN_UPSTREAM_C_connections_idle, 1);
	pn_conn_timer_update(conn, true);
	if (conn->record)
		pn_record_idle(conn->record);
	/* After an early refusal the rest of a chunk is still on its way: the peer counts on it (RFC 3030 2). */
	if (pn_buf_len(&conn->plain) == 0)
		pn_buf_free(&conn->plain);
	pn_conn_flush_later(conn);
	pn_pool_dispatch(pool);
}

static void conn_leave_idle(struct pn_conn *conn)
{
	if (!pn_list_is_linked(&conn->idle_node))
		return;
	pn_list_remove(&conn->idle_node);
	pn_counter_sub(&conn->pool->counters[PN_UPSTREAM_C_connections_idle], 1);
}

/* ---- ending ---- */

void pn_conn_quit(struct pn_conn *conn)
{
	PN_ASSERT(conn->state == PN_CONN_IDLE && !conn->job);
	conn_leave_idle(conn);
	conn->state = PN_CONN_QUITTING;
	pn_smtp_client_quit(conn->client, &conn->plain);
	pn_conn_timer_update(conn, true);
	pn_conn_flush_later(conn);
}

void pn_conn_close(struct pn_conn *conn)
{
	struct pn_loop *loop = conn_loop(conn);
	if (conn->state == PN_CONN_CLOSING)
		return;
	conn_leave_idle(conn);
	conn_leave_rideable(conn);
	/* What is left of a transaction stays here: a final dot sent now would deliver what was
	 * declared lost. */
	if (conn->state != PN_CONN_BUSY)
		pn_conn_send_last(conn);
	else if (conn->record && !conn->is_sending)
		pn_record_flushed(conn->record); /* an alert that the kernel's records owe goes alone */
	conn->state = PN_CONN_CLOSING;
	conn->job = NULL;
	conn->pool->closing_count++;
	pn_list_remove(&conn->flush_node);
	pn_loop_timer_cancel(loop, &conn->timer);
	pn_loop_timer_cancel(loop, &conn->deadline);
	pn_dns_cancel(&conn->dns);
	pn_loop_cancel(loop, &conn->op_connect);
	pn_loop_cancel(loop, &conn->op_recv);
	pn_loop_cancel(loop, &conn->op_send);
	conn_post_finish(conn);
}

static void conn_on_close(struct pn_loop *loop, struct pn_op *op, int res)
{
	(void)loop;
	(void)res;
	pn_conn_try_finish(pn_container_of(op, struct pn_conn, op_close));
}

void pn_conn_try_finish(struct pn_conn *conn)
{
	struct pn_pool *pool = conn->pool;
	PN_ASSERT(conn->state == PN_CONN_CLOSING);
	if (conn->is_finish_posted || conn->op_connect.is_inflight || conn->op_recv.is_inflight ||
	    conn->op_send.is_inflight || conn->op_close.is_inflight)
		return;
	if (conn->fd >= 0) {
		int fd = conn->fd;
		conn->fd = -1;
		pn_loop_close(conn_loop(conn), &conn->op_close, conn_on_close, fd);
		return;
	}
	pn_conn_lent_drop(conn);
	pn_smtp_client_free(conn->client);
	pn_tls_conn_free(conn->tls);
	pn_record_free(conn->record);
	pn_buf_free(&conn->plain);
	pn_buf_free(&conn->next);
	pn_buf_free(&conn->wire);
	pn_list_remove(&conn->node);
	free(conn);
	pool->conn_count--;
	pool->closing_count--;
	pn_counter_sub(&pool->counters[PN_UPSTREAM_C_connections], 1);
	pn_pool_dispatch(pool);
	pn_worker_progress(pool->worker);
}

/* Before a session was made: tells the host's health and the job. */
static void conn_refused(struct pn_conn *conn, bool is_host_failure)
{
	struct pn_job *job = conn->job;
	bool is_tls_fallback = conn->state == PN_CONN_HANDSHAKE &&
			conn->pool->settings->tls == PN_UPSTREAM_TLS_OPPORTUNISTIC;
	if (is_tls_fallback) {
		/* RFC 7435 3: with opportunistic security plaintext is better than no mail. */
		conn->host->tls_broken_until_ms = pn_loop_now_ms(conn_loop(conn)) + CONN_TLS_BROKEN_MS;
		pn_host_undecided(conn->host);
	} else if (is_host_failure) {
		pn_host_failed(conn->pool, conn->host);
	} else {
		pn_host_undecided(conn->host);
	}
	pn_logf(PN_LOG_DEBUG, "upstream", "%s: %s", conn->pool->settings->name, conn->failure_text);
	if (job)
		pn_part_refused(job, conn, is_tls_fallback);
}

/* All that were begun and not answered. */
static void conn_lose_open(struct pn_conn *conn)
{
	struct pn_list *node;
	pn_smtp_client_lost(conn->client, conn->failure_text);
	conn_leave_rideable(conn);
	conn->job = NULL;
	while ((node = pn_list_pop_front(&conn->open)) != NULL) {
		struct pn_job *job = pn_container_of(node, struct pn_job, open_node);
		conn->open_count--;
		if (job->transaction.is_in_doubt)
			pn_worker_count(conn->pool->worker, PN_RELAY_C_in_doubt, 1);
		pn_part_lost(job);
	}
}

void pn_conn_fail(struct pn_conn *conn, uint16_t subject, uint16_t detail, bool is_host_failure, const char *fmt, ...)
{
	char text[sizeof(conn->failure_text)];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (conn->state == PN_CONN_CLOSING)
		return;
	memcpy(conn->failure_text, text, sizeof(text));
	if (conn->failure.code == 0) {
		conn->failure.enhanced[0] = 4;
		conn->failure.enhanced[1] = subject;
		conn->failure.enhanced[2] = detail;
	}
	conn->failure.text = pn_slice_str(conn->failure_text);
	struct pn_job *job = conn->job;
	switch (conn->state) {
	case PN_CONN_RESOLVING:
	case PN_CONN_CONNECTING:
	case PN_CONN_HANDSHAKE:
	case PN_CONN_SETUP:
		conn_refused(conn, is_host_failure);
		break;
	case PN_CONN_BUSY:
		conn_lose_open(conn);
		break;
	case PN_CONN_IDLE:
		if (job)
			pn_part_refused(job, conn, true);
		break;
	case PN_CONN_QUITTING:
	case PN_CONN_CLOSING:
		break;
	}
	pn_conn_close(conn);
}
