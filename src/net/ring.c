/* SPDX-License-Identifier: ISC */
/*
 * ring.c - setting up the io_uring, getting SQEs, submitting, taking CQEs.
 *
 * An SQE is always to be had: a full submission queue is submitted first. Should the kernel answer
 * that it takes no more before its completion queue was emptied, the CQEs are set aside (callbacks
 * never run inside a submitting call) and taken from there by the next round, in order.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "net/loop_internal.h"

#define SQ_ENTRIES_MIN 16u
/* 5 seconds of a kernel without memory for one more request. */
#define SUBMIT_TRIES_MAX 5000

static unsigned setup_flags(uint32_t features, bool is_restricted)
{
	unsigned flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL;

	if (features & PN_NET_FEATURE(SINGLE_ISSUER)) {
		flags |= IORING_SETUP_SINGLE_ISSUER;
		/* Needs SINGLE_ISSUER, so it goes with it when that is masked. */
		if (features & PN_NET_FEATURE(DEFER_TASKRUN))
			flags |= IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
	}
	if (features & PN_NET_FEATURE(COOP_TASKRUN))
		flags |= IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
	if (is_restricted)
		flags |= IORING_SETUP_R_DISABLED;
	return flags;
}

static int backlog_init(struct pn_cqe_backlog *backlog, uint32_t cq_entries)
{
	backlog->items = calloc(cq_entries, sizeof(*backlog->items));
	if (!backlog->items)
		return -ENOMEM;
	backlog->mask = cq_entries - 1;
	return 0;
}

int pn_ring_init(struct pn_loop *loop, const struct pn_loop_settings *settings,
		 struct pn_error *err)
{
	/* Tried in turn when a flag that was probed is refused all the same. */
	static const uint32_t given_up[] = {
		0,
		PN_NET_FEATURE(DEFER_TASKRUN),
		PN_NET_FEATURE(DEFER_TASKRUN) | PN_NET_FEATURE(SINGLE_ISSUER),
		PN_NET_FEATURE(DEFER_TASKRUN) | PN_NET_FEATURE(SINGLE_ISSUER) |
			PN_NET_FEATURE(COOP_TASKRUN),
	};
	uint32_t wanted = loop->features;
	int r = -EINVAL;

	for (size_t i = 0; i < PN_ARRAY_SIZE(given_up) && r == -EINVAL; i++) {
		loop->features = wanted & ~given_up[i];
		struct io_uring_params params = {
			.flags = setup_flags(loop->features, settings->is_restricted),
			.cq_entries = settings->cq_entries > SQ_ENTRIES_MIN ? settings->cq_entries
									    : SQ_ENTRIES_MIN,
		};
		unsigned sq_entries = settings->sq_entries > SQ_ENTRIES_MIN ? settings->sq_entries
									    : SQ_ENTRIES_MIN;
		if (params.cq_entries < sq_entries)
			params.cq_entries = sq_entries;
		r = io_uring_queue_init_params(sq_entries, &loop->ring, &params);
	}
	if (r < 0) {
		pn_net_explain_here(-r, err);
		return r;
	}
	/* A child that the process might fork has no business with the ring. */
	(void)io_uring_ring_dontfork(&loop->ring);
	r = backlog_init(&loop->backlog, loop->ring.cq.ring_entries);
	if (r < 0) {
		io_uring_queue_exit(&loop->ring);
		pn_error_set(err, "no memory for a loop's completion backlog");
		return r;
	}
	if ((loop->features & PN_NET_FEATURE(REGISTERED_RING_FD)) &&
	    io_uring_register_ring_fd(&loop->ring) != 1)
		loop->features &= ~PN_NET_FEATURE(REGISTERED_RING_FD);
	return 0;
}

void pn_ring_deinit(struct pn_loop *loop)
{
	io_uring_queue_exit(&loop->ring);
	free(loop->backlog.items);
	loop->backlog.items = NULL;
}

/* liburing 2.3 declares wrappers for these two commands and does not export them. */
static int register_ring(const struct pn_loop *loop, unsigned command, void *arg, unsigned count)
{
	long r = syscall(__NR_io_uring_register, loop->ring.ring_fd, command, arg, count);

	return r < 0 ? -errno : (int)r;
}

int pn_ring_enable(struct pn_loop *loop, const struct pn_loop_settings *settings)
{
	static const uint8_t ops[] = {
		IORING_OP_ACCEPT,       IORING_OP_CONNECT,  IORING_OP_RECV,
		IORING_OP_SEND,         IORING_OP_SENDMSG,  IORING_OP_POLL_ADD,
		IORING_OP_SHUTDOWN,
		IORING_OP_ASYNC_CANCEL, IORING_OP_READ,     IORING_OP_WRITE,
		IORING_OP_FALLOCATE,    IORING_OP_OPENAT,   IORING_OP_RENAMEAT,
		IORING_OP_UNLINKAT,     IORING_OP_LINKAT,   IORING_OP_FSYNC,
		IORING_OP_CLOSE,        IORING_OP_WRITEV,   IORING_OP_PROVIDE_BUFFERS,
	};
	struct io_uring_restriction rules[PN_ARRAY_SIZE(ops) + 2];

	if (!settings->is_restricted)
		return 0;
	memset(rules, 0, sizeof(rules));
	for (size_t i = 0; i < PN_ARRAY_SIZE(ops); i++) {
		rules[i].opcode = IORING_RESTRICTION_SQE_OP;
		rules[i].sqe_op = ops[i];
	}
	rules[PN_ARRAY_SIZE(ops)].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	rules[PN_ARRAY_SIZE(ops)].sqe_flags =
		IOSQE_IO_LINK | IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS;
	/* The end of the ring gives its registered descriptor back. */
	rules[PN_ARRAY_SIZE(ops) + 1].opcode = IORING_RESTRICTION_REGISTER_OP;
	rules[PN_ARRAY_SIZE(ops) + 1].register_op = IORING_UNREGISTER_RING_FDS;
	int r = register_ring(loop, IORING_REGISTER_RESTRICTIONS, rules, PN_ARRAY_SIZE(rules));
	return r < 0 ? r : register_ring(loop, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

void pn_ring_set_aside(struct pn_loop *loop)
{
	struct pn_cqe_backlog *backlog = &loop->backlog;
	struct io_uring_cqe *cqe;

	while (backlog->tail - backlog->head <= backlog->mask &&
	       io_uring_cq_ready(&loop->ring) != 0) {
		PN_ASSERT(io_uring_peek_cqe(&loop->ring, &cqe) == 0);
		backlog->items[backlog->tail++ & backlog->mask] = (struct pn_cqe_copy){
			.user_data = cqe->user_data, .res = cqe->res, .flags = cqe->flags
		};
		io_uring_cq_advance(&loop->ring, 1);
	}
}

static bool is_transient(int error)
{
	return error == -EINTR || error == -EAGAIN || error == -EBUSY;
}

/* Empties the submission queue in the middle of a batch. */
static void submit_all(struct pn_loop *loop)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	int r = 0;

	for (int tries = 0; tries < SUBMIT_TRIES_MAX && io_uring_sq_ready(&loop->ring) != 0;
	     tries++) {
		r = io_uring_submit(&loop->ring);
		pn_loop_count(loop, PN_LOOP_C_enters, 1);
		if (r >= 0 || r == -EINTR)
			continue;
		/* Anything else means that the ring is broken or used by the wrong thread. */
		PN_ASSERT(is_transient(r));
		pn_ring_set_aside(loop);
		(void)io_uring_get_events(&loop->ring);
		if (tries > 2)
			(void)nanosleep(&pause, NULL);
	}
	PN_ASSERT(io_uring_sq_ready(&loop->ring) == 0);
}

struct io_uring_sqe *pn_ring_sqe(struct pn_loop *loop, bool is_linked)
{
	/* The kernel ends a chain where a submission ends: its rest would not wait. So the first
	 * link makes room for all. */
	unsigned needed = is_linked && !loop->is_in_chain ? PN_LOOP_LINK_MAX : 1;

	if (io_uring_sq_space_left(&loop->ring) < needed) {
		PN_ASSERT(!loop->is_in_chain);
		pn_loop_count(loop, PN_LOOP_C_sq_full, 1);
		submit_all(loop);
	}
	loop->is_in_chain = is_linked;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);
	PN_ASSERT(sqe != NULL);
	return sqe;
}

/* The kernel kept CQEs that found no room; they come when the queue has room and the kernel is
 * entered. */
static void flush_overflow(struct pn_loop *loop)
{
	bool has_overflow = io_uring_cq_has_overflow(&loop->ring);

	if (has_overflow && !loop->has_overflow)
		pn_loop_count(loop, PN_LOOP_C_cq_overflows, 1);
	loop->has_overflow = has_overflow;
	if (has_overflow && io_uring_cq_ready(&loop->ring) == 0) {
		(void)io_uring_get_events(&loop->ring);
		pn_loop_count(loop, PN_LOOP_C_enters, 1);
	}
}

int pn_ring_wait(struct pn_loop *loop, uint64_t timeout_ms)
{
	struct __kernel_timespec ts;
	struct io_uring_cqe *cqe;
	unsigned ready = io_uring_cq_ready(&loop->ring);
	bool has_backlog = loop->backlog.head != loop->backlog.tail;
	bool may_wait = timeout_ms != 0 && ready == 0 && !has_backlog;

	PN_ASSERT(!loop->is_in_chain);
	if (io_uring_sq_ready(&loop->ring) != 0 || ready == 0)
		pn_loop_count(loop, PN_LOOP_C_enters, 1);
	ts.tv_sec = (long long)(timeout_ms / 1000);
	ts.tv_nsec = (long long)(timeout_ms % 1000 * 1000000);
	int r;
	/* The kernel runs a part of what became ready at each wait, and none where there is no wait: those
	 * who can be served at once must not keep it from the others. */
	if (!may_wait && pn_buffers_must_hurry(loop))
		r = io_uring_submit_and_get_events(&loop->ring);
	else
		r = io_uring_submit_and_wait_timeout(
			&loop->ring, &cqe, may_wait ? 1 : 0,
			may_wait && timeout_ms != UINT64_MAX ? &ts : NULL, NULL);
	flush_overflow(loop);
	return r >= 0 || r == -ETIME || is_transient(r) ? 0 : r;
}

bool pn_ring_take(struct pn_loop *loop, struct pn_cqe_copy *ret)
{
	struct pn_cqe_backlog *backlog = &loop->backlog;
	struct io_uring_cqe *cqe;

	if (backlog->head != backlog->tail) {
		*ret = backlog->items[backlog->head++ & backlog->mask];
		return true;
	}
	if (io_uring_cq_ready(&loop->ring) == 0)
		return false;
	PN_ASSERT(io_uring_peek_cqe(&loop->ring, &cqe) == 0);
	*ret = (struct pn_cqe_copy){ .user_data = cqe->user_data,
				     .res = cqe->res,
				     .flags = cqe->flags };
	io_uring_cq_advance(&loop->ring, 1);
	return true;
}
