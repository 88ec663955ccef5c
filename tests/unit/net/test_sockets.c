/* SPDX-License-Identifier: ISC */
/* test_sockets.c - real sockets on loopback: accept, connect, receive with provided buffers, send,
 * cancel. */
#include "net_test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/prng.h>

#include "net/loop_internal.h"

/* A receiver that re-arms itself as an owner does. */
struct receiver {
	struct pn_op op;
	int fd;
	bool must_keep;   /* holds its buffers instead of returning them */
	bool is_finished; /* no callback will come any more */
	unsigned ended;
	unsigned enobufs;
	int last_error;
	size_t len;
	uint8_t next; /* the stream is 0, 1, 2, ... */
	uint16_t kept[64];
	unsigned kept_count;
};

static void on_recv(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct receiver *r = pn_container_of(op, struct receiver, op);

	assert_int_equal(op->has_buffer, res > 0);
	if (res > 0) {
		const uint8_t *data = pn_loop_buffer(loop, op->buffer_id);
		for (int i = 0; i < res; i++)
			assert_int_equal(data[i], r->next++);
		r->len += (size_t)res;
		if (r->must_keep)
			r->kept[r->kept_count++] = op->buffer_id;
		else
			pn_loop_buffer_return(loop, op->buffer_id);
		if (!op->has_more)
			pn_loop_recv(loop, op, on_recv, r->fd);
		return;
	}
	assert_false(op->has_more);
	if (res == -ENOBUFS) {
		r->enobufs++;
		pn_loop_recv_retry(loop, op, on_recv, r->fd);
		return;
	}
	r->is_finished = true;
	r->ended++;
	r->last_error = res;
}

static void send_stream(int fd, size_t from, size_t len)
{
	uint8_t data[4096];

	while (len != 0) {
		size_t n = pn_min_size(len, sizeof(data));
		for (size_t i = 0; i < n; i++)
			data[i] = (uint8_t)(from + i);
		assert_int_equal(send(fd, data, n, MSG_NOSIGNAL), n);
		from += n;
		len -= n;
	}
}

static void test_recv_delivers_a_stream_and_its_end(void **state)
{
	struct pn_loop_settings settings = net_test_settings();
	struct pn_loop *loop = net_test_loop(&settings);
	struct receiver r = { 0 };
	int fds[2];

	(void)state;
	net_test_pair(fds);
	r.fd = fds[1];
	pn_loop_recv(loop, &r.op, on_recv, r.fd);
	for (size_t sent = 0; sent < 200000; sent += 5000) {
		send_stream(fds[0], sent, 5000);
		while (r.len < sent + 5000)
			assert_int_equal(pn_loop_run_once(loop, UINT64_MAX), 0);
	}
	shutdown(fds[0], SHUT_WR);
	net_test_run_until(loop, &r.ended, 1);
	assert_int_equal(r.last_error, 0);
	assert_int_equal(pn_loop_inflight(loop), 0);
	assert_int_equal(loop->buffers.held_count, 0);
	close(fds[0]);
	close(fds[1]);
	pn_loop_free(loop);
}

#define CROWD 8

/* Two buffers for eight connections: all streams arrive whole, whoever has to wait. */
static void test_enobufs_waits_for_a_buffer_and_loses_nothing(void **state)
{
	struct pn_loop_settings settings = net_test_settings();
	static struct receiver r[CROWD];
	int fds[CROWD][2];

	(void)state;
	settings.buffer_count = 2;
	settings.buffer_size_bytes = 512;
	struct pn_loop *loop = net_test_loop(&settings);
	memset(r, 0, sizeof(r));
	for (int i = 0; i < CROWD; i++) {
		net_test_pair(fds[i]);
		r[i].fd = fds[i][1];
		r[i].must_keep = i < 2;
		pn_loop_recv(loop, &r[i].op, on_recv, r[i].fd);
	}
	/* The first two take a buffer each and keep it. */
	for (int i = 0; i < 2; i++) {
		send_stream(fds[i][0], 0, 100);
		while (r[i].kept_count == 0)
			assert_int_equal(pn_loop_run_once(loop, UINT64_MAX), 0);
	}
	for (int i = 2; i < CROWD; i++) {
		send_stream(fds[i][0], 0, 20000);
		while (r[i].enobufs == 0)
			assert_int_equal(pn_loop_run_once(loop, UINT64_MAX), 0);
		assert_int_equal(r[i].len, 0);
	}
	assert_true(pn_counter_get(&loop->counters[PN_LOOP_C_recv_enobufs]) >= CROWD - 2);
	/* None comes back: nothing spins and nothing is armed. */
	uint64_t enobufs = pn_counter_get(&loop->counters[PN_LOOP_C_recv_enobufs]);
	for (int i = 0; i < 10; i++)
		assert_int_equal(pn_loop_run_once(loop, 1), 0);
	assert_int_equal(pn_counter_get(&loop->counters[PN_LOOP_C_recv_enobufs]), enobufs);
	/* One that waits is cancelled like any other, and not in the middle of the call. */
	pn_loop_cancel(loop, &r[7].op);
	pn_loop_cancel(loop, &r[7].op);
	assert_int_equal(r[7].ended, 0);
	assert_true(r[7].op.is_inflight);
	assert_int_equal(pn_loop_run_once(loop, UINT64_MAX), 0);
	assert_int_equal(r[7].ended, 1);
	assert_int_equal(r[7].last_error, -ECANCELED);
	assert_false(r[7].op.is_inflight);
	for (int i = 0; i < 2; i++) {
		r[i].must_keep = false;
		pn_loop_buffer_return(loop, r[i].kept[0]);
	}
	for (int i = 0; i < CROWD - 1; i++) {
		size_t want = i < 2 ? 100 : 20000;
		shutdown(fds[i][0], SHUT_WR);
		while (!r[i].is_finished)
			assert_int_equal(pn_loop_run_once(loop, UINT64_MAX), 0);
		assert_int_equal(r[i].len, want);
	}
	for (int i = 0; i < CROWD; i++) {
		close(fds[i][0]);
		close(fds[i][1]);
	}
	assert_int_equal(pn_loop_inflight(loop), 0);
	assert_int_equal(loop->buffers.held_count, 0);
	pn_loop_free(loop);
}

static void test_send_connect_shutdown_and_poll(void **state)
{
	struct pn_loop_settings settings = net_test_settings();
	struct pn_loop *loop = net_test_loop(&settings);
	struct net_test_op accepting = { 0 }, connecting = { 0 }, t = { 0 };
	struct sockaddr_in addr, peer;
	socklen_t peer_len = sizeof(peer);
	char data[8] = "";

	(void)state;
	int listener = net_test_listen(&addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pn_loop_accept(loop, &accepting.op, net_test_on_done, listener, (struct sockaddr *)&peer,
		       &peer_len);
	pn_loop_connect(loop, &connecting.op, net_test_on_done, fd, (struct sockaddr *)&addr,
			sizeof(addr));
	net_test_run_until(loop, &accepting.done, 1);
	net_test_run_until(loop, &connecting.done, 1);
	assert_int_equal(connecting.res, 0);
	assert_true(accepting.res >= 0);
	assert_int_equal(peer.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	assert_int_equal(fcntl(accepting.res, F_GETFD), FD_CLOEXEC);
	pn_loop_send(loop, &t.op, net_test_on_done, fd, "EHLO", 4, 0);
	net_test_run_until(loop, &t.done, 1);
	assert_int_equal(t.res, 4);
	pn_loop_poll(loop, &t.op, net_test_on_done, accepting.res, POLLIN);
	net_test_run_until(loop, &t.done, 2);
	assert_true(t.res & POLLIN);
	assert_int_equal(recv(accepting.res, data, sizeof(data), 0), 4);
	pn_loop_shutdown(loop, &t.op, net_test_on_done, fd, SHUT_WR);
	net_test_run_until(loop, &t.done, 3);
	assert_int_equal(t.res, 0);
	assert_int_equal(recv(accepting.res, data, sizeof(data), 0), 0);
	/* A peer that is gone makes an error, not a signal. */
	struct linger hard = { .l_onoff = 1 };
	setsockopt(accepting.res, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	pn_loop_close(loop, &t.op, net_test_on_done, accepting.res);
	net_test_run_until(loop, &t.done, 4);
	pn_loop_send(loop, &t.op, net_test_on_done, fd, "QUIT", 4, 0);
	net_test_run_until(loop, &t.done, 5);
	assert_true(t.res == -EPIPE || t.res == -ECONNRESET);
	close(fd);
	/* Nobody listens there any more. */
	close(listener);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pn_loop_connect(loop, &connecting.op, net_test_on_done, fd, (struct sockaddr *)&addr,
			sizeof(addr));
	net_test_run_until(loop, &connecting.done, 2);
	assert_int_equal(connecting.res, -ECONNREFUSED);
	close(fd);
	pn_loop_free(loop);
}

/* An accept that does not wait: who is there is taken, with the news whether others are; nobody is no error. */
static void test_accept_now(void **state)
{
	struct pn_loop_settings settings = net_test_settings();
	struct pn_loop *loop = net_test_loop(&settings);
	struct net_test_op t = { 0 };
	struct sockaddr_in addr;
	int listener = net_test_listen(&addr);
	int fds[2];

	(void)state;
	if (!(pn_loop_features(loop) & PN_NET_FEATURE(ACCEPT_DONTWAIT))) {
		close(listener);
		pn_loop_free(loop);
		skip();
	}
	pn_loop_accept_now(loop, &t.op, net_test_on_done, listener, NULL, NULL);
	net_test_run_until(loop, &t.done, 1);
	assert_int_equal(t.res, -EAGAIN);
	for (int i = 0; i < 2; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(fds[i], (struct sockaddr *)&addr, sizeof(addr)), 0);
	}
	for (int i = 0; i < 2; i++) {
		pn_loop_accept_now(loop, &t.op, net_test_on_done, listener, NULL, NULL);
		net_test_run_until(loop, &t.done, (unsigned)i + 2);
		assert_true(t.res >= 0);
		assert_true(t.op.is_nonempty == (i == 0));
		assert_int_equal(fcntl(t.res, F_GETFD), FD_CLOEXEC);
		close(t.res);
		close(fds[i]);
	}
	close(listener);
	pn_loop_free(loop);
}

static void test_cancel_ends_every_kind_of_wait(void **state)
{
	struct pn_loop_settings settings = net_test_settings();
	struct pn_loop *loop = net_test_loop(&settings);
	struct net_test_op ops[3] = { 0 };
	struct receiver r = { 0 };
	struct sockaddr_in addr;
	int fds[2], listener = net_test_listen(&addr);

	(void)state;
	net_test_pair(fds);
	r.fd = fds[0];
	pn_loop_cancel(loop, &r.op); /* idle: nothing */
	pn_loop_accept(loop, &ops[0].op, net_test_on_done, listener, NULL, NULL);
	pn_loop_poll(loop, &ops[1].op, net_test_on_done, fds[0], POLLIN);
	pn_loop_recv(loop, &r.op, on_recv, r.fd);
	/* one in the same batch as its op, the others after it */
	pn_loop_cancel(loop, &ops[0].op);
	assert_int_equal(pn_loop_run_once(loop, 0), 0);
	pn_loop_cancel(loop, &ops[1].op);
	pn_loop_cancel(loop, &r.op);
	pn_loop_cancel(loop, &r.op);
	net_test_run_until(loop, &ops[0].done, 1);
	net_test_run_until(loop, &ops[1].done, 1);
	net_test_run_until(loop, &r.ended, 1);
	assert_int_equal(ops[0].res, -ECANCELED);
	assert_int_equal(ops[1].res, -ECANCELED);
	assert_int_equal(r.last_error, -ECANCELED);
	for (int i = 0; i < 5; i++)
		assert_int_equal(pn_loop_run_once(loop, 0), 0);
	assert_int_equal(ops[0].done + ops[1].done + r.ended, 3);
	assert_int_equal(pn_loop_inflight(loop), 0);
	close(listener);
	close(fds[0]);
	close(fds[1]);
	pn_loop_free(loop);
}

/* Cancels at random moments while data, its end, and buffers come and go: each op ends exactly
 * once. */
static void test_cancel_races_end_each_op_once(void **state)
{
	struct pn_loop_settings settings = net_test_settings();
	struct pn_prng prng;

	(void)state;
	pn_prng_init(&prng, 99);
	settings.buffer_count = 4;
	settings.sq_entries = 16;
	struct pn_loop *loop = net_test_loop(&settings);
	for (int round = 0; round < 300; round++) {
		struct receiver r = { 0 };
		size_t sent = 0;
		int fds[2];
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		r.fd = fds[1];
		pn_loop_recv(loop, &r.op, on_recv, r.fd);
		for (uint64_t steps = pn_prng_below(&prng, 6); steps > 0; steps--) {
			size_t len = (size_t)pn_prng_below(&prng, 9000);
			send_stream(fds[0], sent, len);
			sent += len;
			if (pn_prng_below(&prng, 2) == 0)
				assert_int_equal(pn_loop_run_once(loop, 0), 0);
		}
		if (pn_prng_below(&prng, 2) == 0)
			shutdown(fds[0], SHUT_WR);
		/* A multishot op may end by itself between the cancellation and its execution, and
		 * be armed again. */
		while (!r.is_finished) {
			pn_loop_cancel(loop, &r.op);
			assert_int_equal(pn_loop_run_once(loop, 1000), 0);
		}
		assert_true(r.last_error == -ECANCELED || r.last_error == 0);
		assert_true(r.len <= sent);
		assert_int_equal(pn_loop_inflight(loop), 0);
		close(fds[0]);
		close(fds[1]);
	}
	assert_int_equal(loop->buffers.held_count, 0);
	pn_loop_free(loop);
}

/* The owner may go in its op's last callback. */
struct mortal {
	struct pn_op op;
	unsigned *gone;
};

static void on_last(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct mortal *m = pn_container_of(op, struct mortal, op);

	(void)loop;
	(void)res;
	assert_false(op->is_inflight);
	(*m->gone)++;
	memset(m, 0xff, sizeof(*m));
	free(m);
}

static void test_owner_may_be_freed_in_the_last_callback(void **state)
{
	struct pn_loop_settings settings = net_test_settings();
	struct pn_loop *loop = net_test_loop(&settings);
	unsigned gone = 0;
	int fds[2];

	(void)state;
	net_test_pair(fds);
	for (int i = 0; i < 50; i++) {
		struct mortal *m = calloc(1, sizeof(*m));
		m->gone = &gone;
		pn_loop_poll(loop, &m->op, on_last, fds[0], POLLIN);
		if (i % 2)
			pn_loop_cancel(loop, &m->op);
	}
	send_stream(fds[1], 0, 1);
	net_test_run_until(loop, &gone, 50);
	assert_int_equal(pn_loop_inflight(loop), 0);
	close(fds[0]);
	close(fds[1]);
	pn_loop_free(loop);
}

#define SHARED_CONNECTIONS 1000

struct acceptor {
	pthread_t thread;
	int listener;
	struct pn_op op;
	struct pn_loop *loop;
	struct pn_task stop;
	unsigned accepted;
	_Atomic bool is_ready;
	_Atomic bool may_free;
};

static void on_accept(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct acceptor *a = pn_container_of(op, struct acceptor, op);

	if (res >= 0) {
		a->accepted++;
		close(res);
		pn_loop_accept(loop, op, on_accept, a->listener, NULL, NULL);
	} else {
		assert_int_equal(res, -ECANCELED);
		pn_loop_stop(loop);
	}
}

static void stop_acceptor(struct pn_loop *loop, struct pn_task *task)
{
	struct acceptor *a = pn_container_of(task, struct acceptor, stop);

	pn_loop_cancel(loop, &a->op);
}

static void *run_acceptor(void *arg)
{
	struct acceptor *a = arg;
	struct pn_loop_settings settings = net_test_settings();

	a->loop = net_test_loop(&settings);
	pn_loop_accept(a->loop, &a->op, on_accept, a->listener, NULL, NULL);
	assert_int_equal(pn_loop_run_once(a->loop, 0), 0);
	atomic_store(&a->is_ready, true);
	assert_int_equal(pn_loop_run(a->loop), 0);
	/* The poster may still be inside the wake-up. */
	while (!atomic_load(&a->may_free))
		usleep(1000);
	pn_loop_free(a->loop);
	return NULL;
}

/* Two rings share a listener by single-shot accepts: both get connections, and together they get
 * all. */
static void test_two_rings_share_a_listener(void **state)
{
	static struct acceptor a[2];
	struct sockaddr_in addr;
	int listener = net_test_listen(&addr);

	(void)state;
	memset(a, 0, sizeof(a));
	for (int i = 0; i < 2; i++) {
		a[i].listener = listener;
		a[i].stop.fn = stop_acceptor;
		assert_int_equal(pthread_create(&a[i].thread, NULL, run_acceptor, &a[i]), 0);
		while (!atomic_load(&a[i].is_ready))
			usleep(1000);
	}
	for (int i = 0; i < SHARED_CONNECTIONS; i++) {
		char octet;
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
		assert_int_equal(recv(fd, &octet, 1, 0), 0);
		close(fd);
	}
	for (int i = 0; i < 2; i++) {
		pn_loop_post(a[i].loop, &a[i].stop);
		atomic_store(&a[i].may_free, true);
		pthread_join(a[i].thread, NULL);
		assert_true(a[i].accepted > SHARED_CONNECTIONS / 10);
	}
	assert_int_equal(a[0].accepted + a[1].accepted, SHARED_CONNECTIONS);
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recv_delivers_a_stream_and_its_end),
		cmocka_unit_test(test_enobufs_waits_for_a_buffer_and_loses_nothing),
		cmocka_unit_test(test_send_connect_shutdown_and_poll),
		cmocka_unit_test(test_accept_now),
		cmocka_unit_test(test_cancel_ends_every_kind_of_wait),
		cmocka_unit_test(test_cancel_races_end_each_op_once),
		cmocka_unit_test(test_owner_may_be_freed_in_the_last_callback),
		cmocka_unit_test(test_two_rings_share_a_listener),
	};
	return net_test_main("sockets", tests, PN_ARRAY_SIZE(tests));
}
