/* SPDX-License-Identifier: ISC */
/*
 * ring.c - the least that a TCP server over io_uring does: take a connection, receive a request, send a reply, see the
 * end, close. Plain liburing, one operation at a time for each connection, no timers, no TLS, no parsing.
 *
 * The other end is a process of its own on another CPU, which works on many connections at once, so that the server
 * finds several completions in each batch. CPU is that of the server's process.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <postern/base/clock.h>

#include "limit.h"
#include "measure.h"
#include "peer.h"

#define AT_A_TIME   32u
#define REQUEST_MAX 4096u
#define REPLY_SIZE  PN_BENCH_REPLY_SIZE

enum kind { KIND_CONNECTIONS, KIND_MESSAGES };
enum step { STEP_ACCEPT, STEP_RECEIVE, STEP_SEND, STEP_CLOSE };

struct plan {
	struct sockaddr_in address;
	size_t request_size;
	uint64_t connections, exchanges; /* in each connection */
};

struct connection {
	int fd; /* -1 = free */
	size_t received;
	uint8_t request[REQUEST_MAX];
};

struct server {
	struct io_uring ring;
	int listener;
	uint64_t accepted, closed, answered;
	uint64_t inflight; /* operations whose completion has not come */
	struct plan plan;
	struct connection connections[2 * AT_A_TIME];
};

static const uint8_t reply[REPLY_SIZE] = "250 2.0.0 taken\r\n";

/* ---- the client ---- */

static bool client_batch(const struct plan *plan, size_t count)
{
	static uint8_t request[REQUEST_MAX];
	uint8_t answer[REPLY_SIZE];
	int fds[AT_A_TIME];

	for (size_t i = 0; i < count; i++) {
		fds[i] = pn_bench_peer_connect(&plan->address);
		if (fds[i] < 0)
			return false;
	}
	for (uint64_t e = 0; e < plan->exchanges; e++) {
		for (size_t i = 0; i < count; i++) {
			if (send(fds[i], request, plan->request_size, MSG_NOSIGNAL) !=
			    (ssize_t)plan->request_size)
				return false;
		}
		for (size_t i = 0; i < count; i++) {
			if (recv(fds[i], answer, sizeof(answer), MSG_WAITALL) != REPLY_SIZE)
				return false;
		}
	}
	for (size_t i = 0; i < count; i++)
		(void)close(fds[i]);
	return true;
}

static bool client_work(void *arg)
{
	const struct plan *plan = arg;
	bool ok = true;

	for (uint64_t done = 0; ok && done < plan->connections;) {
		size_t count = pn_min_size(AT_A_TIME, (size_t)(plan->connections - done));
		ok = client_batch(plan, count);
		done += count;
	}
	return ok;
}

/* ---- the server ---- */

static struct io_uring_sqe *sqe_for(struct server *s, enum step step, size_t index)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);

	if (!sqe) {
		(void)io_uring_submit(&s->ring);
		sqe = io_uring_get_sqe(&s->ring);
		PN_ASSERT(sqe);
	}
	sqe->user_data = index << 2 | step;
	return sqe;
}

static void prepare(struct server *s, enum step step, size_t index)
{
	struct connection *c = &s->connections[index];
	struct io_uring_sqe *sqe = sqe_for(s, step, index);
	uint64_t data = sqe->user_data;

	switch (step) {
	case STEP_ACCEPT:
		io_uring_prep_accept(sqe, s->listener, NULL, NULL, SOCK_CLOEXEC);
		break;
	case STEP_RECEIVE:
		io_uring_prep_recv(sqe, c->fd, c->request + c->received,
				   s->plan.request_size - c->received, 0);
		break;
	case STEP_SEND:
		io_uring_prep_send(sqe, c->fd, reply, sizeof(reply), MSG_NOSIGNAL);
		break;
	case STEP_CLOSE:
		io_uring_prep_close(sqe, c->fd);
		break;
	}
	sqe->user_data = data;
	s->inflight++;
}

static int on_accept(struct server *s, int fd)
{
	size_t i = 0;

	if (fd < 0)
		return fd;
	s->accepted++;
	while (i < PN_ARRAY_SIZE(s->connections) && s->connections[i].fd >= 0)
		i++;
	PN_ASSERT(i < PN_ARRAY_SIZE(s->connections));
	s->connections[i].fd = fd;
	s->connections[i].received = 0;
	prepare(s, STEP_RECEIVE, i);
	if (s->accepted < s->plan.connections)
		prepare(s, STEP_ACCEPT, 0);
	return 0;
}

static int on_cqe(struct server *s, const struct io_uring_cqe *cqe)
{
	size_t index = cqe->user_data >> 2;
	struct connection *c = &s->connections[index];

	s->inflight--;
	switch ((enum step)(cqe->user_data & 3)) {
	case STEP_ACCEPT:
		return on_accept(s, cqe->res);
	case STEP_RECEIVE:
		if (cqe->res <= 0) {
			prepare(s, STEP_CLOSE, index);
			return cqe->res;
		}
		c->received += (size_t)cqe->res;
		prepare(s, c->received == s->plan.request_size ? STEP_SEND : STEP_RECEIVE, index);
		return 0;
	case STEP_SEND:
		s->answered++;
		c->received = 0;
		prepare(s, STEP_RECEIVE, index);
		return cqe->res == REPLY_SIZE ? 0 : cqe->res < 0 ? cqe->res : -EIO;
	case STEP_CLOSE:
		c->fd = -1;
		s->closed++;
		return cqe->res;
	}
	return -EINVAL;
}

static int serve(struct server *s, struct pn_bench_peer *client)
{
	int r = 0;

	prepare(s, STEP_ACCEPT, 0);
	while (r == 0 && s->closed < s->plan.connections) {
		struct __kernel_timespec second = { .tv_sec = 1 };
		struct io_uring_cqe *cqe;
		unsigned head;
		unsigned seen = 0;
		r = io_uring_submit_and_wait_timeout(&s->ring, &cqe, 1, &second, NULL);
		if (r == -ETIME || r == -EINTR)
			r = pn_bench_peer_check(client);
		if (r < 0)
			break;
		r = 0;
		io_uring_for_each_cqe(&s->ring, head, cqe)
		{
			int one = on_cqe(s, cqe);
			r = r < 0 ? r : one;
			seen++;
		}
		io_uring_cq_advance(&s->ring, seen);
	}
	if (r == 0 && s->answered != s->plan.connections * s->plan.exchanges)
		r = -EPROTO;
	return r < 0 ? r : 0;
}

/* The kernel may write into what a pending operation names until its completion has come. */
static void drain(struct server *s)
{
	struct io_uring_cqe *cqe;

	(void)shutdown(s->listener, SHUT_RDWR);
	for (size_t i = 0; i < PN_ARRAY_SIZE(s->connections); i++) {
		if (s->connections[i].fd >= 0)
			(void)shutdown(s->connections[i].fd, SHUT_RDWR);
	}
	while (s->inflight > 0 && io_uring_submit_and_wait(&s->ring, 1) >= 0) {
		while (io_uring_peek_cqe(&s->ring, &cqe) == 0) {
			if ((cqe->user_data & 3) == STEP_CLOSE)
				s->connections[cqe->user_data >> 2].fd = -1;
			io_uring_cqe_seen(&s->ring, cqe);
			s->inflight--;
		}
	}
}

static int serve_measured(struct server *s, struct pn_bench_peer *client, uint64_t *cpu_ns)
{
	int r = pn_bench_ring_init(&s->ring, 4 * AT_A_TIME);

	if (r < 0)
		return r;
	uint64_t begin_ns = pn_bench_process_cpu_ns();
	r = serve(s, client);
	*cpu_ns = pn_bench_process_cpu_ns() - begin_ns;
	drain(s);
	io_uring_queue_exit(&s->ring);
	return r;
}

static int measure(const struct pn_bench_limit_place *place, const struct pn_bench_limit_row *row,
		   uint64_t operations, struct pn_bench_limit_sample *ret, struct pn_error *err)
{
	struct server *s = calloc(1, sizeof(*s));
	struct pn_bench_peer client;
	uint64_t cpu_ns = 0;
	int r = -ENOMEM;

	if (s) {
		s->plan = (struct plan){ .request_size = (size_t)row->size_bytes,
					 .connections = operations,
					 .exchanges = 1 };
		if (row->kind == KIND_MESSAGES) {
			s->plan.connections = AT_A_TIME;
			s->plan.exchanges = (operations + AT_A_TIME - 1) / AT_A_TIME;
		}
		for (size_t i = 0; i < PN_ARRAY_SIZE(s->connections); i++)
			s->connections[i].fd = -1;
		r = s->listener = pn_bench_peer_listen(&s->plan.address, 2 * AT_A_TIME);
	}
	if (r >= 0) {
		uint64_t begin_ns = pn_clock_mono_ns();
		r = pn_bench_peer_start(&client, place->client_cpu, client_work, &s->plan);
		if (r == 0)
			r = pn_bench_peer_end(&client, serve_measured(s, &client, &cpu_ns));
		double done = (double)(s->plan.connections * s->plan.exchanges);
		ret->cpu_us = (double)cpu_ns / 1000 / done;
		ret->wall_us = (double)(pn_clock_mono_ns() - begin_ns) / 1000 / done;
		(void)close(s->listener);
	}
	for (size_t i = 0; s && i < PN_ARRAY_SIZE(s->connections); i++) {
		if (s->connections[i].fd >= 0)
			(void)close(s->connections[i].fd);
	}
	free(s);
	if (r < 0)
		(void)pn_error_set(err, "%s: %s", row->name, strerror(-r));
	return r;
}

const struct pn_bench_limit_row pn_bench_limit_ring[] = {
	{ "ring_connection", "accept, receive 256, send 64, close", measure, KIND_CONNECTIONS, 256,
	  4000, NULL },
	{ "ring_exchange", "receive 256, send 64", measure, KIND_MESSAGES, 256, 16000, NULL },
	{ "ring_message", "receive 4 KiB, send 64", measure, KIND_MESSAGES, 4096, 16000, NULL },
	{ 0 },
};
