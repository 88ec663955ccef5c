/* SPDX-License-Identifier: ISC */
/* sync.c - fsync on a loop, in one place so that PN_NOSYNC can turn all of it off. */
#include "spool/internal.h"

#ifdef PN_NOSYNC
static void on_task(struct pn_loop *loop, struct pn_task *task)
{
	struct pn_sync *sync = pn_container_of(task, struct pn_sync, task);
	(void)loop;
	sync->fn(sync, 0);
}
#else
static void on_synced(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_sync *sync = pn_container_of(op, struct pn_sync, op);
	(void)loop;
	sync->fn(sync, res);
}
#endif

void pn_sync_start(struct pn_loop *loop, struct pn_sync *sync,
		   void (*fn)(struct pn_sync *sync, int res), int fd, bool data_only)
{
	sync->fn = fn;
#ifdef PN_NOSYNC
	(void)fd;
	(void)data_only;
	sync->task.fn = on_task;
	pn_loop_defer(loop, &sync->task);
#else
	pn_loop_fsync(loop, &sync->op, on_synced, fd, data_only);
#endif
}
