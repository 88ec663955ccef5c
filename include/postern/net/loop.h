/* SPDX-License-Identifier: ISC */
/*
 * loop.h - one thread's io_uring event loop: operations, timers, tasks, provided buffers.
 *
 * Who may call: everything except pn_loop_post() and pn_loop_wake() belongs to the loop's own
 * thread (the one that called pn_loop_new; SINGLE_ISSUER). Callbacks run on that thread, never
 * nested inside a submitting call.
 *
 * In-flight rule: an op and every octet of memory that its SQE names belong to the kernel until its
 * last CQE (the one without IORING_CQE_F_MORE). op->is_inflight says so and is asserted. To close a
 * descriptor: cancel its ops, wait for their last CQEs, then close. user_data is the op's address,
 * so an op is never freed in flight.
 *
 * One io_uring_enter serves each batch: CQEs are reaped, callbacks run, then timers, tasks and the
 * batch hooks, then one submit-and-wait. An op whose last CQE has come is idle before its callback
 * is called, which may arm it again or free its owner.
 *
 * Descriptors are blocking ones (no O_NONBLOCK): on a non-blocking one io_uring answers -EAGAIN
 * instead of waiting.
 */
#ifndef POSTERN_NET_LOOP_H
#define POSTERN_NET_LOOP_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <postern/base/common.h>
#include <postern/base/counters.h>
#include <postern/base/list.h>
#include <postern/base/mpsc.h>
#include <postern/base/timer_wheel.h>

struct pn_loop;
struct pn_op;

/* `res` is the CQE's result (-errno on failure). For a multishot op `has_more` tells whether more
 * CQEs come. */
typedef void (*pn_op_fn)(struct pn_loop *loop, struct pn_op *op, int res);

/* One kernel operation, embedded in its owner. Zeroed = idle. */
struct pn_op {
	pn_op_fn fn;
	bool is_inflight;
	bool has_more;   /* in the callback: another CQE of this op will come */
	bool has_buffer; /* in the callback: `buffer_id` names a buffer, to be given back */
	bool is_nonempty; /* in the callback of an accept: more connections wait (Linux 6.10) */
	uint16_t buffer_id;
	/* the loop's own */
	bool is_recv;
	bool is_single; /* pn_loop_recv_once */
	bool is_waiting; /* to be armed, or for a provided buffer (pn_loop_recv_retry) */
	int fd;
	struct pn_list wait_node;
};

/* Work to run on a loop: posted from any thread, or deferred by the loop's own thread. Embedded in
 * its owner, which must not free or re-post it before it ran. */
struct pn_task;
typedef void (*pn_task_fn)(struct pn_loop *loop, struct pn_task *task);
struct pn_task {
	struct pn_mpsc_node node;
	pn_task_fn fn;
};

/* Runs after each batch of completions, before the loop submits: the place for group commit and for
 * flushing. */
struct pn_batch_hook {
	struct pn_list node;
	void (*fn)(struct pn_loop *loop, struct pn_batch_hook *hook);
};

struct pn_loop_settings {
	const char *name;      /* thread name and counter instance, e.g. "loop/0" */
	uint32_t sq_entries;   /* power of two */
	uint32_t cq_entries;   /* power of two, >= sq_entries */
	uint32_t buffer_count; /* provided buffers, power of two <= 32768; 0 = none */
	uint32_t buffer_size_bytes;
	int cpu;                    /* pin the thread to this CPU; -1 = not pinned */
	uint32_t features_disabled; /* PN_NET_FEATURE_* bits masked by io_uring.disable */
	bool is_restricted; /* the kernel refuses every operation that this header does not offer */
};

/* Optional kernel features; each is probed once (pn_net_probe) and can be masked. */
#define PN_NET_FEATURES(X)                  \
	X(SINGLE_ISSUER, "single-issuer")   \
	X(DEFER_TASKRUN, "defer-taskrun")   \
	X(COOP_TASKRUN, "coop-taskrun")     \
	X(RECV_MULTISHOT, "recv-multishot") \
	X(BUFFER_RING, "buffer-ring")       \
	X(MSG_RING, "msg-ring")             \
	X(SEND_ZC, "send-zc")               \
	X(REGISTERED_RING_FD, "registered-ring-fd") \
	X(ACCEPT_DONTWAIT, "accept-dontwait")
enum pn_net_feature_index {
#define X(sym, name) PN_NET_FEATURE_INDEX_##sym,
	PN_NET_FEATURES(X)
#undef X
		PN_NET_FEATURE_COUNT
};
#define PN_NET_FEATURE(sym) (1u << PN_NET_FEATURE_INDEX_##sym)

/* Finds what the running kernel offers. 0 and *ret_features as a bit mask; or -errno with a remedy
 * in err (io_uring denied by sysctl kernel.io_uring_disabled or a seccomp profile, or kernel too
 * old). Any thread. */
int pn_net_probe(uint32_t *ret_features, struct pn_error *err) PN_MUST_CHECK;
/* The features this loop uses: those found and not masked. */
uint32_t pn_loop_features(const struct pn_loop *loop);
const char *pn_net_feature_name(enum pn_net_feature_index index);
/* Reads a comma- or space-separated list of feature names ("all" for every one). 0 or -EINVAL with
 * err. */
int pn_net_features_parse(const char *list, uint32_t *ret_mask, struct pn_error *err) PN_MUST_CHECK;

/* clang-format off */
#define PN_LOOP_COUNTERS(X)                                                                 \
	X(enters) X(cqes) X(sq_full) X(cq_overflows) X(recv_enobufs) X(recv_again) X(tasks)   \
	X(timers_fired) X(wakeups)
/* clang-format on */
enum pn_loop_counter {
#define X(name) PN_LOOP_C_##name,
	PN_LOOP_COUNTERS(X)
#undef X
		PN_LOOP_COUNTER_COUNT
};

/* The longest chain of linked ops (see pn_loop_write): that many, the last one included, go to the
 * kernel together. */
#define PN_LOOP_LINK_MAX 8

/* Makes the ring on the calling thread. 0 or -errno with err. */
int pn_loop_new(const struct pn_loop_settings *settings, struct pn_loop **ret,
		struct pn_error *err) PN_MUST_CHECK;
/* The loop must have nothing in flight. NULL is fine. */
void pn_loop_free(struct pn_loop *loop);
/* Runs until pn_loop_stop. 0 or -errno when the ring itself failed. */
int pn_loop_run(struct pn_loop *loop) PN_MUST_CHECK;
/* One round: waits at most timeout_ms (0 = poll) and runs what is ready. For tests and for
 * start-up. */
int pn_loop_run_once(struct pn_loop *loop, uint64_t timeout_ms) PN_MUST_CHECK;
void pn_loop_stop(struct pn_loop *loop);
/* Ops now in the kernel or waiting for a buffer. */
size_t pn_loop_inflight(const struct pn_loop *loop);

/* Monotonic milliseconds, read once a batch. */
uint64_t pn_loop_now_ms(const struct pn_loop *loop);
void pn_loop_timer_set(struct pn_loop *loop, struct pn_timer *timer, uint64_t delay_ms);
void pn_loop_timer_cancel(struct pn_loop *loop, struct pn_timer *timer);

/* Any thread: runs task->fn on the loop soon. Wakes it (eventfd) only from empty to non-empty. The
 * task may run before this returns; the loop must live until it has, so join the posting threads
 * before pn_loop_free. */
void pn_loop_post(struct pn_loop *loop, struct pn_task *task);
/* Own thread: runs task->fn after the current batch of completions, in the same round. */
void pn_loop_defer(struct pn_loop *loop, struct pn_task *task);
/* Any thread: makes the loop go round once. */
void pn_loop_wake(struct pn_loop *loop);
void pn_loop_hook_add(struct pn_loop *loop, struct pn_batch_hook *hook);
void pn_loop_hook_remove(struct pn_loop *loop, struct pn_batch_hook *hook);

/*
 * Operations. Each takes an idle op (asserted), sets op->fn, and cannot fail: when the submission
 * queue is full it is submitted first. Results come to op->fn as -errno. Descriptors and memory
 * stay the caller's until the last CQE.
 */
void pn_loop_accept(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd,
		    struct sockaddr *addr,
		    socklen_t *addr_len); /* single shot; res = new fd (SOCK_CLOEXEC) */
/* The same for a connection that is there already; -EAGAIN: there is none. Only with the feature ACCEPT_DONTWAIT. */
void pn_loop_accept_now(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd,
			struct sockaddr *addr, socklen_t *addr_len);
void pn_loop_connect(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd,
		     const struct sockaddr *addr, socklen_t addr_len);
/* Receives into the loop's provided buffers until cancelled (multishot where the kernel has it,
 * otherwise the callback sees has_more = false and the owner re-arms). On res > 0 the octets are at
 * pn_loop_buffer(loop, op->buffer_id) and the callback owner returns the buffer with
 * pn_loop_buffer_return before or after leaving the callback. -ENOBUFS: none was on offer (few are at a
 * time; it does not say that the socket has data); re-arm through pn_loop_recv_retry. */
void pn_loop_recv(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd);
/*
 * As pn_loop_recv, but one receive: at most one buffer comes, and nothing more is taken from the
 * socket until
 * the owner asks again. For connections whose peer must be held back by TCP's own flow control.
 */
void pn_loop_recv_once(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd);
/* As pn_loop_recv, but armed once some buffer has come back. */
void pn_loop_recv_retry(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd);
uint8_t *pn_loop_buffer(struct pn_loop *loop, uint16_t buffer_id);
void pn_loop_buffer_return(struct pn_loop *loop, uint16_t buffer_id);
/* res may be short. flags as for send(2); MSG_NOSIGNAL is always added. */
void pn_loop_send(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd, const void *data,
		  size_t len, int flags);
/* The same for octets in several places; `msg`, its vector and they stay as they are until the callback. */
void pn_loop_sendmsg(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd,
		     const struct msghdr *msg, int flags);
void pn_loop_poll(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd, uint32_t poll_mask);
void pn_loop_shutdown(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd, int how);
void pn_loop_close(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd);
/* Asks the kernel to cancel `target` (any op in flight); its own callback still comes, with
 * -ECANCELED or its result. No-op when target is idle. Needs no op of its own. Not between the ops
 * of a linked chain. */
void pn_loop_cancel(struct pn_loop *loop, struct pn_op *target);
/* Files. `link_next`: the next op prepared on this loop starts only after this one succeeded in
 * full (IOSQE_IO_LINK); otherwise its result is -ECANCELED. The ops of a chain are prepared back to
 * back, at most PN_LOOP_LINK_MAX of them. */
void pn_loop_read(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd, void *data,
		  uint32_t len, uint64_t offset);
void pn_loop_write(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd, const void *data,
		   uint32_t len, uint64_t offset, bool link_next);
void pn_loop_writev(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd,
		    const struct iovec *iov, unsigned iov_count, uint64_t offset, bool link_next);
/* The same, and what was written is durable before it succeeds (RWF_DSYNC: as fdatasync would make these octets). */
void pn_loop_writev_durable(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd,
			    const struct iovec *iov, unsigned iov_count, uint64_t offset);
void pn_loop_fsync(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd, bool data_only);
void pn_loop_openat(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int dir_fd,
		    const char *path, int flags, mode_t mode);
void pn_loop_renameat(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int old_dir_fd,
		      const char *old_path, int new_dir_fd, const char *new_path, unsigned flags);
void pn_loop_unlinkat(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int dir_fd,
		      const char *path, int flags);
void pn_loop_linkat(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int old_dir_fd,
		    const char *old_path, int new_dir_fd, const char *new_path, int flags);
void pn_loop_fallocate(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd, int mode,
		       uint64_t offset, uint64_t len);

#endif
