/* SPDX-License-Identifier: ISC */
/* loop_internal.h - the insides of a loop, for the files of src/net and their tests only. */
#ifndef NET_LOOP_INTERNAL_H
#define NET_LOOP_INTERNAL_H

#include <liburing.h>

#include <postern/net/loop.h>

/* IORING_ACCEPT_DONTWAIT (Linux 6.10), which headers of Debian 12 do not have yet. */
#define PN_ACCEPT_DONTWAIT (1u << 1)

/*
 * The low bits of user_data, which an op's address leaves free. A CQE tagged IGNORE is of a
 * cancellation or a returned buffer, both of which complete silently unless they fail.
 */
#define PN_TAG_MASK    UINT64_C(3)
#define PN_TAG_OP      UINT64_C(0)
#define PN_TAG_IGNORE  UINT64_C(1)
#define PN_TAG_PROVIDE UINT64_C(2) /* the buffer id stands above */

/* A CQE set aside by a submission that found the completion queue full. */
struct pn_cqe_copy {
	uint64_t user_data;
	int32_t res;
	uint32_t flags;
};

struct pn_cqe_backlog {
	struct pn_cqe_copy *items;
	uint32_t mask;
	uint32_t head, tail; /* free-running */
};

/* The provided buffers; without PN_NET_FEATURE(BUFFER_RING) `ring` is NULL and buffers go back by
 * an operation. */
struct pn_loop_buffers {
	void *map;
	size_t map_size;
	struct io_uring_buf_ring *ring;
	uint8_t *memory;
	uint8_t *is_held; /* one for each buffer: with its user */
	uint32_t count;
	uint32_t size_bytes;
	uint32_t held_count;
	/* With a ring: of those that nobody holds up to offered_max are in it, the rest here, the last one
	 * returned on top. */
	uint16_t *spare;
	uint32_t spare_count;
	uint32_t offered_count, offered_max;
	uint32_t taken;      /* buffers that came with the CQEs of this round ... */
	size_t taken_bytes;  /* ... and what was in them */
	uint32_t taken_peak; /* the most in a round of the last window_rounds */
	uint32_t window_rounds;
	struct pn_list waiting;   /* recv ops without a buffer, oldest first */
	struct pn_list arming;    /* recv ops of this round */
	struct pn_list cancelled; /* of both, the cancelled */
};

/* Another thread's way in. */
struct pn_loop_wake {
	int fd;
	struct pn_op op;
	uint64_t value;
	_Atomic bool is_pending;  /* the eventfd was written and not yet read */
	_Atomic unsigned posters; /* threads inside pn_loop_post */
};

struct pn_loop {
	struct io_uring ring;
	uint32_t features;
	bool must_stop;
	bool is_in_chain; /* the last SQE prepared has IOSQE_IO_LINK */
	bool has_overflow;
	size_t inflight_count;
	uint64_t now_ms;
	struct pn_timer_wheel timers;
	struct pn_cqe_backlog backlog;
	struct pn_loop_buffers buffers;
	struct pn_mpsc_node *deferred_head; /* only the node type is shared with `posted` */
	struct pn_mpsc_node **deferred_tail;
	struct pn_list hooks;
	struct pn_list *hook_next; /* where the walk over the hooks goes on; moved when that hook is
				      removed */
	struct pn_loop_wake wake;
	pn_counter counters[PN_LOOP_COUNTER_COUNT];
	struct pn_counter_block counter_block;
	/* on a line of its own: other threads write here */
	_Alignas(PN_CACHE_LINE) struct pn_mpsc posted;
};

static inline void pn_loop_count(struct pn_loop *loop, enum pn_loop_counter c, uint64_t n)
{
	pn_counter_add(&loop->counters[c], n);
}

/* ring.c */
int pn_ring_init(struct pn_loop *loop, const struct pn_loop_settings *settings,
		 struct pn_error *err) PN_MUST_CHECK;
void pn_ring_deinit(struct pn_loop *loop);
/* Lets a ring that was made restricted run. 0 or -errno. */
int pn_ring_enable(struct pn_loop *loop, const struct pn_loop_settings *settings) PN_MUST_CHECK;
/* A free SQE, never NULL; submits when none is left. is_linked: the next one must go to the kernel
 * together with it. */
struct io_uring_sqe *pn_ring_sqe(struct pn_loop *loop, bool is_linked);
/* Submits, then waits for a completion: not at all (0), at most so long, or for ever (UINT64_MAX).
 * 0 or -errno. */
int pn_ring_wait(struct pn_loop *loop, uint64_t timeout_ms) PN_MUST_CHECK;
/* Moves CQEs from the ring to the backlog until one of the two is done. */
void pn_ring_set_aside(struct pn_loop *loop);
/* Takes the oldest CQE; false when there is none. */
bool pn_ring_take(struct pn_loop *loop, struct pn_cqe_copy *ret);

/* op.c */
/* Claims `op` and gives it an SQE whose user_data names it. */
struct io_uring_sqe *pn_op_sqe(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd,
			       bool is_linked);
/* After the prep function (which overwrites both): sets user_data and the flags. */
void pn_op_seal(struct io_uring_sqe *sqe, struct pn_op *op, unsigned flags);

/* bufring.c */
int pn_buffers_init(struct pn_loop *loop, const struct pn_loop_settings *settings,
		    struct pn_error *err) PN_MUST_CHECK;
/* The part that needs a running ring. */
void pn_buffers_start(struct pn_loop *loop);
void pn_buffers_deinit(struct pn_loop *loop);
/* Notes that the kernel has put `len` octets into the buffer and its user holds it. */
void pn_buffers_hold(struct pn_loop *loop, uint16_t buffer_id, size_t len);
/* Offers a buffer to the kernel (again). */
void pn_buffers_provide(struct pn_loop *loop, uint16_t buffer_id);
/* Arms the op before the next wait, behind those that wait for a buffer. */
void pn_buffers_arm_later(struct pn_loop *loop, struct pn_op *op);
/* Arms it once there is a buffer. */
void pn_buffers_wait(struct pn_loop *loop, struct pn_op *op);
/* Ends the wait of an op, which is answered -ECANCELED with the others at
 * pn_buffers_answer_cancelled. */
void pn_buffers_cancel(struct pn_loop *loop, struct pn_op *op);
void pn_buffers_answer_cancelled(struct pn_loop *loop);
/* Before each wait: arms the waiting ops there are buffers for, and the others if none waits behind them. */
void pn_buffers_arm_all(struct pn_loop *loop);
/* Some wait that there are buffers for: the next round must come at once. */
bool pn_buffers_must_hurry(const struct pn_loop *loop);
/* Arms a receive; the op is claimed already. */
void pn_recv_arm(struct pn_loop *loop, struct pn_op *op);

/* wake.c */
int pn_wake_init(struct pn_loop *loop) PN_MUST_CHECK;
void pn_wake_arm(struct pn_loop *loop);
void pn_wake_deinit(struct pn_loop *loop);

/* features.c */
/* Says what to do about a refused io_uring_setup. `sysctl_disabled`: kernel.io_uring_disabled, or
 * -1. */
void pn_net_explain(int error, int sysctl_disabled, uint64_t memlock_bytes, struct pn_error *err);
/* The same, having asked the system. */
void pn_net_explain_here(int error, struct pn_error *err);

#endif
