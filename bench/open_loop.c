/* SPDX-License-Identifier: ISC */
/*
 * open_loop.c - lets operations become due by the schedule and hands them to slots that wait.
 *
 * A timerfd, read through the ring, wakes us: the loop's own timers count milliseconds. Starts that lie within
 * SLACK_NS of each other are handed out together, so that a high rate does not mean a wake-up for each. One thread.
 */
#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <postern/base/clock.h>

#include "run.h"

#define SLACK_NS 200000u
/*
 * Behind the end of the schedule, for what is due and has no slot yet, where more than the server can do is
 * expected; otherwise the time limit of a connection.
 */
#define DRAIN_MS 1000u

static void on_timer(struct pn_loop *loop, struct pn_op *op, int res);

static uint64_t now_ns(const struct pn_bench_run *run)
{
	return pn_clock_mono_ns() - run->begin_ns;
}

static bool is_schedule_over(const struct pn_bench_run *run)
{
	const struct pn_bench_open_loop *o = &run->open_loop;

	return run->is_stopped ||
	       (run->operations_max > 0 && o->scheduled >= run->operations_max) ||
	       (run->duration_ms > 0 &&
		pn_bench_schedule_peek(&o->schedule) >= run->duration_ms * 1000000);
}

static void arm(struct pn_bench_run *run)
{
	struct pn_bench_open_loop *o = &run->open_loop;
	uint64_t at_ns = run->begin_ns + pn_bench_schedule_peek(&o->schedule) + SLACK_NS;
	const struct itimerspec spec = { .it_value = { .tv_sec = (time_t)(at_ns / 1000000000),
						       .tv_nsec = (long)(at_ns % 1000000000) } };

	if (o->op.is_inflight || is_schedule_over(run))
		return;
	(void)timerfd_settime(o->fd, TFD_TIMER_ABSTIME, &spec, NULL);
	pn_loop_read(run->endpoint.loop, &o->op, on_timer, o->fd, &o->expirations,
		     sizeof(o->expirations), 0);
}

static void on_timer(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_bench_open_loop *o = pn_container_of(op, struct pn_bench_open_loop, op);

	(void)loop;
	(void)res;
	pn_bench_open_loop_turn(pn_container_of(o, struct pn_bench_run, open_loop));
}

static void wake_all(struct pn_bench_open_loop *o)
{
	struct pn_list *node;

	while ((node = pn_list_pop_front(&o->waiting)) != NULL) {
		struct pn_bench_worker *w = pn_container_of(node, struct pn_bench_worker, node);
		w->go(w);
	}
}

void pn_bench_open_loop_turn(struct pn_bench_run *run)
{
	struct pn_bench_open_loop *o = &run->open_loop;
	struct pn_list *node;
	uint64_t now = now_ns(run);

	while (!is_schedule_over(run) && pn_bench_schedule_peek(&o->schedule) <= now) {
		pn_bench_due_push(&o->due, pn_bench_schedule_take(&o->schedule));
		o->scheduled++;
	}
	while (o->due.count > 0 && !run->is_stopped &&
	       (node = pn_list_pop_front(&o->waiting)) != NULL) {
		struct pn_bench_worker *w = pn_container_of(node, struct pn_bench_worker, node);
		w->go(w);
	}
	if (!is_schedule_over(run)) {
		arm(run);
		return;
	}
	if (o->end_ms == 0)
		o->end_ms = pn_clock_mono_ms() +
			    (run->is_failure_expected ? DRAIN_MS : run->timeout_ms);
	if (o->due.count > 0 && (run->is_stopped || pn_clock_mono_ms() >= o->end_ms)) {
		o->unstarted += o->due.count;
		o->due.count = 0;
	}
	if (o->due.count == 0)
		wake_all(o);
}

int pn_bench_open_loop_begin(struct pn_bench_run *run)
{
	struct pn_bench_open_loop *o = &run->open_loop;
	enum pn_bench_arrivals arrivals;

	if (run->rate == 0)
		return 0;
	if (o->fd == 0) {
		o->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
		if (o->fd < 0 || pn_bench_due_init(&o->due, run->due_max) != 0)
			return -ENOMEM;
	}
	pn_bench_due_clear(&o->due);
	o->scheduled = o->unstarted = o->end_ms = 0;
	if (!pn_bench_arrivals_parse(run->arrivals, &arrivals))
		return -EINVAL;
	pn_bench_schedule_init(&o->schedule, arrivals, (double)run->rate, run->seed);
	return 0;
}

void pn_bench_open_loop_stop(struct pn_bench_run *run)
{
	pn_loop_cancel(run->endpoint.loop, &run->open_loop.op);
}

void pn_bench_open_loop_deinit(struct pn_bench_run *run)
{
	if (run->open_loop.fd > 0)
		(void)close(run->open_loop.fd);
	pn_bench_due_deinit(&run->open_loop.due);
}
