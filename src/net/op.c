/* SPDX-License-Identifier: ISC */
/* op.c - preparing socket operations, and cancelling. File operations are in op_file.c. */
#include <errno.h>

#include "net/loop_internal.h"

static void claim(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd)
{
	PN_ASSERT(!op->is_inflight);
	op->fn = fn;
	op->fd = fd;
	op->is_inflight = true;
	op->has_more = op->has_buffer = op->is_recv = op->is_waiting = false;
	loop->inflight_count++;
}

struct io_uring_sqe *pn_op_sqe(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd,
			       bool is_linked)
{
	claim(loop, op, fn, fd);
	return pn_ring_sqe(loop, is_linked);
}

void pn_op_seal(struct io_uring_sqe *sqe, struct pn_op *op, unsigned flags)
{
	uint64_t user_data = (uint64_t)(uintptr_t)op;

	PN_ASSERT((user_data & PN_TAG_MASK) == PN_TAG_OP);
	io_uring_sqe_set_flags(sqe, flags);
	sqe->user_data = user_data;
}

void pn_loop_accept(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd,
		    struct sockaddr *addr, socklen_t *addr_len)
{
	struct io_uring_sqe *sqe = pn_op_sqe(loop, op, fn, fd, false);

	io_uring_prep_accept(sqe, fd, addr, addr_len, SOCK_CLOEXEC);
	pn_op_seal(sqe, op, 0);
}

void pn_loop_accept_now(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd,
			struct sockaddr *addr, socklen_t *addr_len)
{
	struct io_uring_sqe *sqe = pn_op_sqe(loop, op, fn, fd, false);

	io_uring_prep_accept(sqe, fd, addr, addr_len, SOCK_CLOEXEC);
	sqe->ioprio = PN_ACCEPT_DONTWAIT;
	pn_op_seal(sqe, op, 0);
}

void pn_loop_connect(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd,
		     const struct sockaddr *addr, socklen_t addr_len)
{
	struct io_uring_sqe *sqe = pn_op_sqe(loop, op, fn, fd, false);

	io_uring_prep_connect(sqe, fd, addr, addr_len);
	pn_op_seal(sqe, op, 0);
}

void pn_recv_arm(struct pn_loop *loop, struct pn_op *op)
{
	struct io_uring_sqe *sqe = pn_ring_sqe(loop, false);

	if ((loop->features & PN_NET_FEATURE(RECV_MULTISHOT)) && !op->is_single)
		io_uring_prep_recv_multishot(sqe, op->fd, NULL, 0, 0);
	else
		io_uring_prep_recv(sqe, op->fd, NULL, loop->buffers.size_bytes, 0);
	pn_op_seal(sqe, op, IOSQE_BUFFER_SELECT);
	sqe->buf_group = 0;
}

void pn_loop_recv(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd)
{
	PN_ASSERT(loop->buffers.count != 0);
	claim(loop, op, fn, fd);
	op->is_recv = true;
	op->is_single = false;
	pn_buffers_arm_later(loop, op);
}

void pn_loop_recv_once(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd)
{
	PN_ASSERT(loop->buffers.count != 0);
	claim(loop, op, fn, fd);
	op->is_recv = true;
	op->is_single = true;
	pn_buffers_arm_later(loop, op);
}

void pn_loop_recv_retry(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd)
{
	PN_ASSERT(loop->buffers.count != 0);
	claim(loop, op, fn, fd);
	op->is_recv = true;
	pn_buffers_wait(loop, op);
}

void pn_loop_send(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd, const void *data,
		  size_t len, int flags)
{
	struct io_uring_sqe *sqe = pn_op_sqe(loop, op, fn, fd, false);

	/* The SQE's length has 32 bits; more than this is a short result. */
	io_uring_prep_send(sqe, fd, data, pn_min_size(len, INT32_MAX), flags | MSG_NOSIGNAL);
	pn_op_seal(sqe, op, 0);
}

void pn_loop_sendmsg(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd,
		     const struct msghdr *msg, int flags)
{
	struct io_uring_sqe *sqe = pn_op_sqe(loop, op, fn, fd, false);

	io_uring_prep_sendmsg(sqe, fd, msg, (unsigned)(flags | MSG_NOSIGNAL));
	pn_op_seal(sqe, op, 0);
}

void pn_loop_poll(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd, uint32_t poll_mask)
{
	struct io_uring_sqe *sqe = pn_op_sqe(loop, op, fn, fd, false);

	io_uring_prep_poll_add(sqe, fd, poll_mask);
	pn_op_seal(sqe, op, 0);
}

void pn_loop_shutdown(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd, int how)
{
	struct io_uring_sqe *sqe = pn_op_sqe(loop, op, fn, fd, false);

	io_uring_prep_shutdown(sqe, fd, how);
	pn_op_seal(sqe, op, 0);
}

void pn_loop_close(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd)
{
	struct io_uring_sqe *sqe = pn_op_sqe(loop, op, fn, fd, false);

	io_uring_prep_close(sqe, fd);
	pn_op_seal(sqe, op, 0);
}

void pn_loop_cancel(struct pn_loop *loop, struct pn_op *target)
{
	if (!target->is_inflight)
		return;
	if (target->is_waiting) {
		pn_buffers_cancel(loop, target);
		return;
	}
	/* Inside a chain it would become a link of it. */
	PN_ASSERT(!loop->is_in_chain);
	/* Submission order makes this exact: an op that ended and was armed again since stands
	 * behind this SQE. */
	struct io_uring_sqe *sqe = pn_ring_sqe(loop, false);
	io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)target, 0);
	io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
	sqe->user_data = PN_TAG_IGNORE;
}
