/* SPDX-License-Identifier: ISC */
/* test_buffers.c - which of the provided buffers are offered to the kernel: few, the last one returned
 * first, more for many small receives, no more for large ones. */
#include "net_test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/loop_internal.h"

#define CROWD      40
#define BUFFERS    64u
#define SIZE_BYTES 32768u
/* Of such buffers as many as make 256 KiB. */
#define OFFERED 8u

struct receiver {
	struct pn_op op;
	int fds[2];
	size_t len;
	unsigned enobufs;
	bool is_multishot, must_keep;
	bool must_stop; /* after the first that comes */
	uint16_t kept;
	unsigned kept_count;
	uint8_t used[BUFFERS];
};

static void on_recv(struct pn_loop *loop, struct pn_op *op, int res);

static void arm(struct pn_loop *loop, struct receiver *r)
{
	if (r->is_multishot)
		pn_loop_recv(loop, &r->op, on_recv, r->fds[1]);
	else
		pn_loop_recv_once(loop, &r->op, on_recv, r->fds[1]);
}

static void on_recv(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct receiver *r = pn_container_of(op, struct receiver, op);

	if (res == -ENOBUFS) {
		r->enobufs++;
		pn_loop_recv_retry(loop, op, on_recv, r->fds[1]);
		return;
	}
	if (res <= 0)
		return;
	r->len += (size_t)res;
	r->used[op->buffer_id] = 1;
	if (r->must_keep) {
		r->kept = op->buffer_id;
		r->kept_count++;
	} else {
		pn_loop_buffer_return(loop, op->buffer_id);
	}
	if (!r->must_stop && !op->has_more)
		arm(loop, r);
}

/* Skips where the kernel has no buffer ring, or may not use it: then all are offered. */
static struct pn_loop *loop_with_ring(uint32_t buffers)
{
	struct pn_loop_settings settings = net_test_settings();

	settings.buffer_count = buffers;
	settings.buffer_size_bytes = SIZE_BYTES;
	struct pn_loop *loop = net_test_loop(&settings);
	if (pn_loop_features(loop) & PN_NET_FEATURE(BUFFER_RING))
		return loop;
	assert_int_equal(loop->buffers.spare_count, 0);
	pn_loop_free(loop);
	skip();
	return NULL;
}

static struct receiver *crowd_new(struct pn_loop *loop, unsigned count)
{
	struct receiver *r = calloc(count, sizeof(*r));

	assert_non_null(r);
	for (unsigned i = 0; i < count; i++) {
		net_test_pair(r[i].fds);
		arm(loop, &r[i]);
	}
	/* Submits them, so that what is sent now finds them armed. */
	assert_int_equal(pn_loop_run_once(loop, 0), 0);
	return r;
}

static void send_to(struct receiver *r, size_t len)
{
	static const uint8_t octets[SIZE_BYTES];

	assert_int_equal(send(r->fds[0], octets, len, MSG_NOSIGNAL), len);
}

static void run_until(struct pn_loop *loop, const struct receiver *r, unsigned count, size_t len)
{
	for (unsigned i = 0; i < count; i++) {
		while (r[i].len < len)
			assert_int_equal(pn_loop_run_once(loop, UINT64_MAX), 0);
	}
}

static unsigned used_count(const struct receiver *r, unsigned count)
{
	unsigned used = 0;

	for (unsigned id = 0; id < BUFFERS; id++) {
		for (unsigned i = 0; i < count; i++) {
			if (r[i].used[id]) {
				used++;
				break;
			}
		}
	}
	return used;
}

static uint64_t counted(const struct pn_loop *loop, enum pn_loop_counter which)
{
	return pn_counter_get(&loop->counters[which]);
}

static void tear_down(struct pn_loop *loop, struct receiver *r, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		pn_loop_cancel(loop, &r[i].op);
	while (pn_loop_inflight(loop) > 0)
		assert_int_equal(pn_loop_run_once(loop, UINT64_MAX), 0);
	assert_int_equal(loop->buffers.held_count, 0);
	assert_int_equal(loop->buffers.offered_count + loop->buffers.spare_count,
			 loop->buffers.count);
	for (unsigned i = 0; i < count; i++) {
		close(r[i].fds[0]);
		close(r[i].fds[1]);
	}
	free(r);
	pn_loop_free(loop);
}

static void test_one_connection_uses_few_buffers_again_and_again(void **state)
{
	struct pn_loop *loop = loop_with_ring(BUFFERS);

	(void)state;
	struct receiver *r = crowd_new(loop, 1);
	assert_int_equal(loop->buffers.offered_count, OFFERED);
	for (size_t sent = 100; sent <= 100 * 100; sent += 100) {
		send_to(r, 100);
		run_until(loop, r, 1, sent);
	}
	/* The one that came back last follows those that were offered. */
	assert_in_range(used_count(r, 1), 1, OFFERED + 1);
	assert_int_equal(counted(loop, PN_LOOP_C_recv_again), 0);
	tear_down(loop, r, 1);
}

static void test_small_receives_get_more_at_a_time(void **state)
{
	struct pn_loop *loop = loop_with_ring(BUFFERS);
	size_t sent = 0;

	(void)state;
	struct receiver *r = crowd_new(loop, CROWD);
	for (int round = 0; round < 8; round++) {
		for (unsigned i = 0; i < CROWD; i++)
			send_to(&r[i], 10);
		sent += 10;
		run_until(loop, r, CROWD, sent);
	}
	/* 8, 16, 32, 64: then a round has enough for all of them. */
	uint64_t again = counted(loop, PN_LOOP_C_recv_again);
	assert_true(again >= CROWD - OFFERED);
	assert_int_equal(loop->buffers.offered_max, BUFFERS);
	for (unsigned i = 0; i < CROWD; i++)
		send_to(&r[i], 10);
	run_until(loop, r, CROWD, sent + 10);
	assert_int_equal(counted(loop, PN_LOOP_C_recv_again), again);
	assert_int_equal(counted(loop, PN_LOOP_C_recv_enobufs), 0);
	/* One connection alone does not need them. */
	for (size_t len = r[0].len + 1; loop->buffers.offered_count > OFFERED; len++) {
		assert_true(len < 10000);
		send_to(&r[0], 1);
		run_until(loop, r, 1, len);
	}
	assert_int_equal(loop->buffers.offered_max, OFFERED);
	tear_down(loop, r, CROWD);
}

static void test_a_round_takes_no_more_of_large_receives_than_a_cache_holds(void **state)
{
	struct pn_loop *loop = loop_with_ring(BUFFERS);

	(void)state;
	struct receiver *r = crowd_new(loop, CROWD);
	for (unsigned i = 0; i < CROWD; i++)
		send_to(&r[i], SIZE_BYTES);
	run_until(loop, r, CROWD, SIZE_BYTES);
	assert_true(counted(loop, PN_LOOP_C_recv_again) > 0);
	assert_int_equal(counted(loop, PN_LOOP_C_recv_enobufs), 0);
	assert_int_equal(loop->buffers.offered_max, OFFERED);
	/* More were offered for small ones: large ones take that back. */
	loop->buffers.offered_max = BUFFERS;
	for (int round = 2; round < 10; round++) {
		for (unsigned i = 0; i < CROWD; i++)
			send_to(&r[i], SIZE_BYTES);
		run_until(loop, r, CROWD, (size_t)round * SIZE_BYTES);
	}
	assert_in_range(loop->buffers.offered_max, OFFERED, 2 * OFFERED);
	tear_down(loop, r, CROWD);
}

/* Senders that always have more do not keep the others waiting: all are served in turn. */
static void test_nobody_starves_behind_those_who_send_without_end(void **state)
{
	struct pn_loop *loop = loop_with_ring(BUFFERS);
	static const uint8_t octets[SIZE_BYTES];
	size_t least = SIZE_MAX, most = 0;

	(void)state;
	struct receiver *r = crowd_new(loop, CROWD);
	for (int round = 0; round < 200; round++) {
		for (unsigned i = 0; i < CROWD; i++) {
			while (send(r[i].fds[0], octets, sizeof(octets),
				    MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
				;
		}
		assert_int_equal(pn_loop_run_once(loop, UINT64_MAX), 0);
	}
	for (unsigned i = 0; i < CROWD; i++) {
		least = pn_min_size(least, r[i].len);
		most = pn_max_size(most, r[i].len);
	}
	/* 200 rounds of at least eight are forty for each. */
	assert_true(least >= 20 * SIZE_BYTES);
	assert_true(least >= most / 2);
	tear_down(loop, r, CROWD);
}

/* A receive without data needs a buffer, too, where it is submitted: those that found none are armed in the end. */
static void test_receives_without_data_are_armed_behind_those_with_data(void **state)
{
	enum { COUNT = 16 };
	struct pn_loop *loop = loop_with_ring(COUNT);
	struct receiver *r = calloc(CROWD, sizeof(*r));

	(void)state;
	assert_non_null(r);
	for (unsigned i = 0; i < CROWD; i++) {
		net_test_pair(r[i].fds);
		if (i < OFFERED) {
			r[i].must_stop = true;
			send_to(&r[i], 1);
		}
		arm(loop, &r[i]);
	}
	run_until(loop, r, OFFERED, 1);
	assert_true(r[CROWD - 1].enobufs > 0);
	/* Nothing else happens on this loop: a wait before the last one is armed would never end. */
	send_to(&r[CROWD - 1], 1);
	run_until(loop, &r[CROWD - 1], 1, 1);
	tear_down(loop, r, CROWD);
}

static void test_multishot_receives_share_few_buffers(void **state)
{
	struct pn_loop *loop = loop_with_ring(BUFFERS);
	struct receiver *r = calloc(CROWD, sizeof(*r));

	(void)state;
	assert_non_null(r);
	for (unsigned i = 0; i < CROWD; i++) {
		net_test_pair(r[i].fds);
		r[i].is_multishot = true;
		arm(loop, &r[i]);
	}
	for (size_t sent = SIZE_BYTES; sent <= 10 * SIZE_BYTES; sent += SIZE_BYTES) {
		for (unsigned i = 0; i < CROWD; i++)
			send_to(&r[i], SIZE_BYTES);
		run_until(loop, r, CROWD, sent);
	}
	assert_true(counted(loop, PN_LOOP_C_recv_again) > 0);
	assert_int_equal(counted(loop, PN_LOOP_C_recv_enobufs), 0);
	tear_down(loop, r, CROWD);
}

/* Who keeps buffers takes none away from the others, as long as there are any. */
static void test_kept_buffers_are_replaced_by_spare_ones(void **state)
{
	struct pn_loop *loop = loop_with_ring(BUFFERS);
	uint16_t kept[BUFFERS];

	(void)state;
	struct receiver *r = crowd_new(loop, 2);
	r[0].must_keep = true;
	/* Two are left: one for each of the receives. */
	for (unsigned n = 0; n < BUFFERS; n++) {
		if (n == BUFFERS - 2) {
			send_to(&r[1], 1);
			run_until(loop, &r[1], 1, 1);
			assert_int_equal(counted(loop, PN_LOOP_C_recv_again), 0);
			assert_int_equal(counted(loop, PN_LOOP_C_recv_enobufs), 0);
		}
		send_to(&r[0], 1);
		run_until(loop, &r[0], 1, n + 1);
		kept[n] = r[0].kept;
		assert_int_equal(loop->buffers.offered_count,
				 pn_min_size(OFFERED, BUFFERS - 1 - n));
	}
	/* Now there is none, and that is said. */
	send_to(&r[1], 1);
	while (r[1].enobufs == 0)
		assert_int_equal(pn_loop_run_once(loop, UINT64_MAX), 0);
	assert_true(counted(loop, PN_LOOP_C_recv_enobufs) > 0);
	assert_int_equal(counted(loop, PN_LOOP_C_recv_again), 0);
	for (unsigned n = 0; n < BUFFERS; n++)
		pn_loop_buffer_return(loop, kept[n]);
	run_until(loop, &r[1], 1, 2);
	tear_down(loop, r, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_connection_uses_few_buffers_again_and_again),
		cmocka_unit_test(test_small_receives_get_more_at_a_time),
		cmocka_unit_test(test_a_round_takes_no_more_of_large_receives_than_a_cache_holds),
		cmocka_unit_test(test_nobody_starves_behind_those_who_send_without_end),
		cmocka_unit_test(test_receives_without_data_are_armed_behind_those_with_data),
		cmocka_unit_test(test_multishot_receives_share_few_buffers),
		cmocka_unit_test(test_kept_buffers_are_replaced_by_spare_ones),
	};
	return net_test_main("buffers", tests, PN_ARRAY_SIZE(tests));
}
