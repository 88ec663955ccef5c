/* SPDX-License-Identifier: ISC */
/*
 * stream.c - messages of any size over kept connections, received or sent, with a reply of 64 octets the other way.
 * Plain liburing: a multishot receive into a ring of provided buffers, which go back unread, and sends out of one
 * buffer. With records of the kernel in the rows that say so.
 *
 * The other end is a process on another CPU, which works on all connections in turn. CPU is that of this process.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <postern/base/clock.h>

#include "ktls.h"
#include "limit.h"
#include "measure.h"
#include "peer.h"

#define AT_A_TIME       8u
#define BUFFERS         64u /* a power of two */
#define BUFFER_SIZE     32768u
#define BUFFER_GROUP    0
#define MESSAGE_MAX     (1u << 20)
#define REPLY_SIZE      PN_BENCH_REPLY_SIZE
#define ACCEPT_ROUND_MS 1000

enum kind { KIND_SEND = 1, KIND_KTLS = 2 }; /* bits; without KIND_SEND messages are received */
enum step { STEP_RECEIVE, STEP_SEND };

struct plan {
	struct sockaddr_in address;
	size_t size; /* of a message */
	bool is_send, is_ktls;
	uint64_t exchanges; /* in each connection */
};

struct connection {
	int fd; /* -1: none */
	size_t received, sent;
	bool is_sending;
	uint64_t exchanges;
};

struct buffers {
	struct io_uring_buf_ring *ring;
	size_t map_size; /* the ring is a page, the buffers lie behind it */
	uint8_t *memory;
};

struct server {
	struct io_uring ring;
	struct buffers buffers;
	struct plan plan;
	size_t in_size, out_size;
	uint64_t inflight, finished; /* operations; exchanges */
	struct connection connections[AT_A_TIME];
};

static uint8_t content[MESSAGE_MAX];

/* ---- the peer ---- */

static bool send_all(int fd, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = send(fd, content + done, size - done, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

static bool receive_all(int fd, size_t size)
{
	static uint8_t into[4 * BUFFER_SIZE];

	while (size > 0) {
		ssize_t n = recv(fd, into, pn_min_size(size, sizeof(into)), MSG_WAITALL);
		if (n <= 0)
			return false;
		size -= (size_t)n;
	}
	return true;
}

/* Each does its half of an exchange with all connections before it does the other half. */
static bool peer_work(void *arg)
{
	const struct plan *plan = arg;
	int fds[AT_A_TIME];
	bool ok = true;

	for (size_t i = 0; ok && i < AT_A_TIME; i++) {
		fds[i] = pn_bench_peer_connect(&plan->address);
		ok = fds[i] >= 0 &&
		     (!plan->is_ktls ||
		      pn_bench_ktls_install(fds[i], plan->is_send ? TLS_RX : TLS_TX) == 0);
	}
	for (uint64_t e = 0; ok && e < plan->exchanges; e++) {
		for (size_t i = 0; ok && i < AT_A_TIME; i++)
			ok = plan->is_send ? receive_all(fds[i], plan->size) &&
						     send_all(fds[i], REPLY_SIZE)
					   : send_all(fds[i], plan->size);
		for (size_t i = 0; ok && !plan->is_send && i < AT_A_TIME; i++)
			ok = receive_all(fds[i], REPLY_SIZE);
	}
	return ok;
}

/* ---- the ring of buffers ---- */

static void give_buffer(struct buffers *b, unsigned id)
{
	io_uring_buf_ring_add(b->ring, b->memory + (size_t)id * BUFFER_SIZE, BUFFER_SIZE,
			      (unsigned short)id, io_uring_buf_ring_mask(BUFFERS), 0);
	io_uring_buf_ring_advance(b->ring, 1);
}

static int buffers_init(struct server *s)
{
	struct buffers *b = &s->buffers;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t head = (BUFFERS * sizeof(struct io_uring_buf) + page - 1) / page * page;

	b->map_size = head + (size_t)BUFFERS * BUFFER_SIZE;
	void *map =
		mmap(NULL, b->map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	b->ring = map;
	b->memory = (uint8_t *)map + head;
	struct io_uring_buf_reg reg = { .ring_addr = (uint64_t)(uintptr_t)map,
					.ring_entries = BUFFERS,
					.bgid = BUFFER_GROUP };
	int r = io_uring_register_buf_ring(&s->ring, &reg, 0);
	if (r < 0) {
		(void)munmap(map, b->map_size);
		return r;
	}
	io_uring_buf_ring_init(b->ring);
	for (unsigned id = 0; id < BUFFERS; id++)
		give_buffer(b, id);
	return 0;
}

/* ---- the server ---- */

static void prepare(struct server *s, enum step step, size_t index)
{
	struct connection *c = &s->connections[index];
	struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);

	PN_ASSERT(sqe);
	if (step == STEP_RECEIVE) {
		io_uring_prep_recv_multishot(sqe, c->fd, NULL, 0, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = BUFFER_GROUP;
	} else {
		/* Whole messages in one operation; a kernel's records do not know the flag. */
		io_uring_prep_send(sqe, c->fd, content + c->sent, s->out_size - c->sent,
				   MSG_NOSIGNAL | (s->plan.is_ktls ? 0 : MSG_WAITALL));
		c->is_sending = true;
	}
	sqe->user_data = index << 1 | step;
	s->inflight++;
}

/* What has to be done next, if anything. */
static void turn(struct server *s, size_t index)
{
	struct connection *c = &s->connections[index];

	if (c->is_sending)
		return;
	if (c->sent > 0 && c->sent < s->out_size) {
		prepare(s, STEP_SEND, index);
		return;
	}
	if (c->received >= s->in_size && c->sent == s->out_size) {
		c->received -= s->in_size;
		c->sent = 0;
		c->exchanges++;
		s->finished++;
	}
	if (c->sent == 0 && c->exchanges < s->plan.exchanges &&
	    (s->plan.is_send || c->received >= s->in_size))
		prepare(s, STEP_SEND, index);
}

static int on_receive(struct server *s, const struct io_uring_cqe *cqe, size_t index)
{
	if (cqe->flags & IORING_CQE_F_BUFFER)
		give_buffer(&s->buffers, cqe->flags >> IORING_CQE_BUFFER_SHIFT);
	if (cqe->res == 0)
		return s->connections[index].exchanges == s->plan.exchanges ? 0 : -ECONNABORTED;
	if (cqe->res < 0 && cqe->res != -ENOBUFS)
		return cqe->res;
	if (cqe->res > 0)
		s->connections[index].received += (size_t)cqe->res;
	if (!(cqe->flags & IORING_CQE_F_MORE))
		prepare(s, STEP_RECEIVE, index);
	return 0;
}

static int on_cqe(struct server *s, const struct io_uring_cqe *cqe)
{
	size_t index = cqe->user_data >> 1;
	struct connection *c = &s->connections[index];
	int r = 0;

	if (!(cqe->flags & IORING_CQE_F_MORE))
		s->inflight--;
	if ((enum step)(cqe->user_data & 1) == STEP_RECEIVE) {
		r = on_receive(s, cqe, index);
	} else {
		c->is_sending = false;
		if (cqe->res <= 0)
			return cqe->res < 0 ? cqe->res : -EIO;
		c->sent += (size_t)cqe->res;
	}
	if (r == 0)
		turn(s, index);
	return r;
}

static int serve(struct server *s, struct pn_bench_peer *peer)
{
	int r = 0;

	for (size_t i = 0; i < AT_A_TIME; i++) {
		prepare(s, STEP_RECEIVE, i);
		turn(s, i);
	}
	while (r == 0 && s->finished < AT_A_TIME * s->plan.exchanges) {
		struct __kernel_timespec second = { .tv_sec = 1 };
		struct io_uring_cqe *cqe;
		unsigned head;
		unsigned seen = 0;
		r = io_uring_submit_and_wait_timeout(&s->ring, &cqe, 1, &second, NULL);
		if (r == -ETIME || r == -EINTR)
			r = pn_bench_peer_check(peer);
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
	return r;
}

/* The kernel may write into the buffers until the last completion has come. */
static void drain(struct server *s)
{
	struct io_uring_cqe *cqe;

	for (size_t i = 0; i < AT_A_TIME; i++)
		(void)shutdown(s->connections[i].fd, SHUT_RDWR);
	while (s->inflight > 0 && io_uring_submit_and_wait(&s->ring, 1) >= 0) {
		while (io_uring_peek_cqe(&s->ring, &cqe) == 0) {
			if (!(cqe->flags & IORING_CQE_F_MORE))
				s->inflight--;
			io_uring_cqe_seen(&s->ring, cqe);
		}
	}
}

static int serve_measured(struct server *s, struct pn_bench_peer *peer, uint64_t *cpu_ns)
{
	/* Each connection has a receive and a send on its way, and one of each to be submitted. */
	int r = pn_bench_ring_init(&s->ring, 8 * AT_A_TIME);

	if (r < 0)
		return r;
	r = buffers_init(s);
	if (r == 0) {
		uint64_t begin_ns = pn_bench_process_cpu_ns();
		r = serve(s, peer);
		*cpu_ns = pn_bench_process_cpu_ns() - begin_ns;
		drain(s);
	}
	io_uring_queue_exit(&s->ring);
	if (s->buffers.memory)
		(void)munmap(s->buffers.ring, s->buffers.map_size);
	return r;
}

/* All connections of the peer. */
static int accept_all(struct server *s, int listener, struct pn_bench_peer *peer)
{
	struct pollfd ready = { .fd = listener, .events = POLLIN };
	size_t i = 0;

	while (i < AT_A_TIME) {
		int r = poll(&ready, 1, ACCEPT_ROUND_MS);
		if (r <= 0) {
			r = r == 0 || errno == EINTR ? pn_bench_peer_check(peer) : -errno;
			if (r < 0)
				return r;
			continue;
		}
		int fd = accept(listener, NULL, NULL);
		if (fd < 0)
			return -errno;
		s->connections[i++].fd = fd;
		r = s->plan.is_ktls ? pn_bench_ktls_install(fd, s->plan.is_send ? TLS_TX : TLS_RX)
				    : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static int run(struct server *s, int listener, uint64_t client_cpu, uint64_t *cpu_ns)
{
	struct pn_bench_peer peer;
	int r = pn_bench_peer_start(&peer, client_cpu, peer_work, &s->plan);

	if (r < 0)
		return r;
	r = accept_all(s, listener, &peer);
	if (r == 0)
		r = serve_measured(s, &peer, cpu_ns);
	for (size_t i = 0; i < AT_A_TIME; i++) {
		if (s->connections[i].fd >= 0)
			(void)close(s->connections[i].fd);
	}
	return pn_bench_peer_end(&peer, r);
}

static int measure(const struct pn_bench_limit_place *place, const struct pn_bench_limit_row *row,
		   uint64_t operations, struct pn_bench_limit_sample *ret, struct pn_error *err)
{
	struct server s = { .plan = { .size = (size_t)row->size_bytes,
				      .is_send = (row->kind & KIND_SEND) != 0,
				      .is_ktls = (row->kind & KIND_KTLS) != 0,
				      .exchanges = (operations + AT_A_TIME - 1) / AT_A_TIME } };
	uint64_t cpu_ns = 0;
	int listener = pn_bench_peer_listen(&s.plan.address, AT_A_TIME);
	int r = listener;

	PN_ASSERT(row->size_bytes <= sizeof(content));
	memset(content, 'm', sizeof(content));
	s.in_size = s.plan.is_send ? REPLY_SIZE : s.plan.size;
	s.out_size = s.plan.is_send ? s.plan.size : REPLY_SIZE;
	for (size_t i = 0; i < AT_A_TIME; i++)
		s.connections[i].fd = -1;
	if (r >= 0) {
		uint64_t begin_ns = pn_clock_mono_ns();
		r = run(&s, listener, place->client_cpu, &cpu_ns);
		double done = (double)(AT_A_TIME * s.plan.exchanges);
		ret->cpu_us = (double)cpu_ns / 1000 / done;
		ret->wall_us = (double)(pn_clock_mono_ns() - begin_ns) / 1000 / done;
		(void)close(listener);
	}
	if (r < 0)
		(void)pn_error_set(err, "%s: %s", row->name, strerror(-r));
	return r;
}

#define KIB   1024u
#define IN_K  KIND_KTLS
#define OUT_K (KIND_KTLS | KIND_SEND)
const struct pn_bench_limit_row pn_bench_limit_stream[] = {
	{ "ring_receive_64k", "receive 64 KiB, send 64", measure, 0, 64 * KIB, 4000, NULL },
	{ "ring_receive_1m", "receive 1 MiB, send 64", measure, 0, 1024 * KIB, 400, NULL },
	{ "ring_send_4k", "send 4 KiB, receive 64", measure, KIND_SEND, 4 * KIB, 16000, NULL },
	{ "ring_send_64k", "send 64 KiB, receive 64", measure, KIND_SEND, 64 * KIB, 4000, NULL },
	{ "ring_send_1m", "send 1 MiB, receive 64", measure, KIND_SEND, 1024 * KIB, 400, NULL },
	{ "ktls_receive_4k", "receive 4 KiB, kernel's records", measure, IN_K, 4 * KIB, 8000,
	  pn_bench_ktls_is_here },
	{ "ktls_receive_1m", "receive 1 MiB, kernel's records", measure, IN_K, 1024 * KIB, 400,
	  pn_bench_ktls_is_here },
	{ "ktls_send_4k", "send 4 KiB, kernel's records", measure, OUT_K, 4 * KIB, 8000,
	  pn_bench_ktls_is_here },
	{ "ktls_send_1m", "send 1 MiB, kernel's records", measure, OUT_K, 1024 * KIB, 400,
	  pn_bench_ktls_is_here },
	{ 0 },
};
