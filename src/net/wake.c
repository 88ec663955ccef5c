/* SPDX-License-Identifier: ISC */
/*
 * wake.c - how other threads reach a loop.
 *
 * A task goes on the posted list; the list alone carries it and its ordering. The eventfd, whose
 * read is always armed in the ring, only ends the loop's wait. It is written when the list was
 * empty and no earlier write is still unread: a loop that reads it clears the mark first and looks
 * at the list afterwards, so a poster that saw the mark knows that its task will be seen.
 */
#include <errno.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "net/loop_internal.h"

static void on_wake(struct pn_loop *loop, struct pn_op *op, int res)
{
	if (res == -ECANCELED)
		return;
	pn_loop_count(loop, PN_LOOP_C_wakeups, 1);
	/* acq_rel: acquire pairs with the exchange in pn_loop_wake, so that what was posted before
	 * it is seen by the take_all of this round */
	(void)atomic_exchange_explicit(&loop->wake.is_pending, false, memory_order_acq_rel);
	(void)op;
	pn_wake_arm(loop);
}

void pn_wake_arm(struct pn_loop *loop)
{
	pn_loop_read(loop, &loop->wake.op, on_wake, loop->wake.fd, &loop->wake.value,
		     sizeof(loop->wake.value), 0);
}

int pn_wake_init(struct pn_loop *loop)
{
	atomic_init(&loop->wake.is_pending, false);
	atomic_init(&loop->wake.posters, 0);
	/* Blocking: a read on a non-blocking one would come back at once with -EAGAIN instead of
	 * waiting. */
	loop->wake.fd = eventfd(0, EFD_CLOEXEC);
	return loop->wake.fd < 0 ? -errno : 0;
}

void pn_wake_deinit(struct pn_loop *loop)
{
	/* acquire: pairs with the release in pn_loop_post */
	while (atomic_load_explicit(&loop->wake.posters, memory_order_acquire) != 0)
		(void)sched_yield();
	if (loop->wake.fd >= 0)
		close(loop->wake.fd);
	loop->wake.fd = -1;
}

void pn_loop_wake(struct pn_loop *loop)
{
	uint64_t one = 1;

	/* acq_rel: release pairs with the exchange in on_wake */
	if (atomic_exchange_explicit(&loop->wake.is_pending, true, memory_order_acq_rel))
		return;
	ssize_t n;
	do {
		n = write(loop->wake.fd, &one, sizeof(one));
	} while (n < 0 && errno == EINTR);
	PN_ASSERT(n == (ssize_t)sizeof(one));
}

void pn_loop_post(struct pn_loop *loop, struct pn_task *task)
{
	/* The task may run, and the loop end, while this thread is still about to wake it: pn_loop_free waits for us.
	 * relaxed: whoever takes the task (acquire of the list) sees this count, as the push below is a release */
	atomic_fetch_add_explicit(&loop->wake.posters, 1, memory_order_relaxed);
	if (pn_mpsc_push(&loop->posted, &task->node))
		pn_loop_wake(loop);
	/* release: pairs with the acquire in pn_wake_deinit; nothing of the loop is touched afterwards */
	atomic_fetch_sub_explicit(&loop->wake.posters, 1, memory_order_release);
}
