/* SPDX-License-Identifier: ISC */
/*
 * loop.c - one round after the other: wait, completions, timers, tasks, hooks.
 *
 * All that a round prepares is submitted by the wait that begins the next. Each kind of work is
 * bounded within a round (the completions by the size of the queue, posted tasks by those present
 * when their turn comes, deferred ones by a number of passes), so that none starves another.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/clock.h>

#include "net/loop_internal.h"

/* More than the steps of any chain of ours; a task that defers itself for ever still lets the
 * others in. */
#define DEFERRED_PASSES_MAX 16

static const char *const counter_names[PN_LOOP_COUNTER_COUNT] = {
#define X(name) [PN_LOOP_C_##name] = #name,
	PN_LOOP_COUNTERS(X)
#undef X
};

static int pin_thread(int cpu, struct pn_error *err)
{
	cpu_set_t set;

	if (cpu < 0)
		return 0;
	CPU_ZERO(&set);
	if (cpu < CPU_SETSIZE)
		CPU_SET((size_t)cpu, &set);
	int r = pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	if (r != 0)
		pn_error_set(err, "cannot run on CPU %d: %s", cpu, strerrordesc_np(r));
	return -r;
}

static void register_counters(struct pn_loop *loop, const char *name)
{
	loop->counter_block = (struct pn_counter_block){
		.scope = "loop",
		.names = counter_names,
		.values = loop->counters,
		.count = PN_LOOP_COUNTER_COUNT,
	};
	(void)snprintf(loop->counter_block.instance, sizeof(loop->counter_block.instance), "%s",
		       name ? name : "");
	pn_counters_register(&loop->counter_block);
}

static struct pn_loop *loop_alloc(void)
{
	size_t size = (sizeof(struct pn_loop) + PN_CACHE_LINE - 1) / PN_CACHE_LINE * PN_CACHE_LINE;
	struct pn_loop *loop = aligned_alloc(PN_CACHE_LINE, size);

	if (!loop)
		return NULL;
	memset(loop, 0, size);
	loop->now_ms = pn_clock_mono_ms();
	pn_timer_wheel_init(&loop->timers, loop->now_ms);
	pn_list_init(&loop->hooks);
	pn_mpsc_init(&loop->posted);
	loop->deferred_tail = &loop->deferred_head;
	loop->wake.fd = -1;
	return loop;
}

/* What needs a ring. On failure nothing of it is left. */
static int set_up_ring(struct pn_loop *loop, const struct pn_loop_settings *settings,
		       struct pn_error *err)
{
	int r = pn_ring_init(loop, settings, err);

	if (r < 0)
		return r;
	r = pn_buffers_init(loop, settings, err);
	if (r == 0 && (r = pn_wake_init(loop)) < 0)
		pn_error_set(err, "cannot make an eventfd: %s", strerrordesc_np(-r));
	if (r == 0 && (r = pn_ring_enable(loop, settings)) < 0)
		pn_error_set(err, "cannot restrict the io_uring: %s", strerrordesc_np(-r));
	if (r < 0) {
		pn_ring_deinit(loop);
		pn_buffers_deinit(loop);
		pn_wake_deinit(loop);
		return r;
	}
	pn_buffers_start(loop);
	pn_wake_arm(loop);
	return 0;
}

int pn_loop_new(const struct pn_loop_settings *settings, struct pn_loop **ret, struct pn_error *err)
{
	uint32_t features;
	int r = pn_net_probe(&features, err);

	if (r < 0 || (r = pin_thread(settings->cpu, err)) < 0)
		return r;
	struct pn_loop *loop = loop_alloc();
	if (!loop) {
		pn_error_set(err, "no memory for a loop");
		return -ENOMEM;
	}
	loop->features = features & ~settings->features_disabled;
	r = set_up_ring(loop, settings, err);
	if (r < 0) {
		free(loop);
		return r;
	}
	if (settings->name) {
		char name[16];
		(void)snprintf(name, sizeof(name), "%s", settings->name);
		(void)pthread_setname_np(pthread_self(), name);
	}
	register_counters(loop, settings->name);
	*ret = loop;
	return 0;
}

uint32_t pn_loop_features(const struct pn_loop *loop)
{
	return loop->features;
}

size_t pn_loop_inflight(const struct pn_loop *loop)
{
	return loop->inflight_count - (loop->wake.op.is_inflight ? 1 : 0);
}

uint64_t pn_loop_now_ms(const struct pn_loop *loop)
{
	return loop->now_ms;
}

void pn_loop_timer_set(struct pn_loop *loop, struct pn_timer *timer, uint64_t delay_ms)
{
	uint64_t expires_ms = loop->now_ms + delay_ms;

	pn_timer_wheel_set(&loop->timers, timer, expires_ms < delay_ms ? UINT64_MAX : expires_ms);
}

void pn_loop_timer_cancel(struct pn_loop *loop, struct pn_timer *timer)
{
	pn_timer_wheel_cancel(&loop->timers, timer);
}

void pn_loop_defer(struct pn_loop *loop, struct pn_task *task)
{
	task->node.next = NULL;
	*loop->deferred_tail = &task->node;
	loop->deferred_tail = &task->node.next;
}

void pn_loop_hook_add(struct pn_loop *loop, struct pn_batch_hook *hook)
{
	pn_list_push_back(&loop->hooks, &hook->node);
}

void pn_loop_hook_remove(struct pn_loop *loop, struct pn_batch_hook *hook)
{
	if (loop->hook_next == &hook->node)
		loop->hook_next = hook->node.next;
	pn_list_remove(&hook->node);
}

static void complete_op(struct pn_loop *loop, const struct pn_cqe_copy *cqe)
{
	struct pn_op *op = (struct pn_op *)(uintptr_t)cqe->user_data;

	PN_ASSERT(op->is_inflight);
	op->has_more = (cqe->flags & IORING_CQE_F_MORE) != 0;
	op->is_inflight = op->has_more;
	op->has_buffer = (cqe->flags & IORING_CQE_F_BUFFER) != 0;
	op->is_nonempty = (cqe->flags & IORING_CQE_F_SOCK_NONEMPTY) != 0;
	if (!op->has_more)
		loop->inflight_count--;
	if (op->has_buffer) {
		op->buffer_id = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
		pn_buffers_hold(loop, op->buffer_id, cqe->res > 0 ? (size_t)cqe->res : 0);
		/* At the end of a stream the kernel may have picked a buffer and put nothing in. */
		if (cqe->res <= 0) {
			op->has_buffer = false;
			pn_loop_buffer_return(loop, op->buffer_id);
		}
	}
	if (op->is_recv && cqe->res == -ENOBUFS)
		pn_loop_count(loop,
			      loop->buffers.spare_count > 0 ? PN_LOOP_C_recv_again
							    : PN_LOOP_C_recv_enobufs,
			      1);
	op->fn(loop, op, cqe->res);
}

static void run_completions(struct pn_loop *loop)
{
	struct pn_cqe_copy cqe;
	uint64_t count = 0;

	while (count < loop->ring.cq.ring_entries && pn_ring_take(loop, &cqe)) {
		count++;
		if ((cqe.user_data & PN_TAG_MASK) == PN_TAG_OP)
			complete_op(loop, &cqe);
		else if ((cqe.user_data & PN_TAG_MASK) == PN_TAG_PROVIDE && cqe.res < 0)
			pn_buffers_provide(loop, (uint16_t)(cqe.user_data >> 2));
	}
	pn_loop_count(loop, PN_LOOP_C_cqes, count);
}

/* Runs a list of tasks; each may free or post itself again. */
static void run_list(struct pn_loop *loop, struct pn_mpsc_node *node)
{
	while (node) {
		struct pn_task *task = pn_container_of(node, struct pn_task, node);
		node = node->next;
		pn_loop_count(loop, PN_LOOP_C_tasks, 1);
		task->fn(loop, task);
	}
}

/* What a task defers runs in the same round: a chain of steps costs one wait, not one each. */
static void run_deferred(struct pn_loop *loop)
{
	for (int pass = 0; pass < DEFERRED_PASSES_MAX && loop->deferred_head; pass++) {
		struct pn_mpsc_node *first = loop->deferred_head;

		loop->deferred_head = NULL;
		loop->deferred_tail = &loop->deferred_head;
		run_list(loop, first);
	}
}

static void run_tasks(struct pn_loop *loop)
{
	run_deferred(loop);
	/* relaxed: only spares the exchange; what is missed here comes with its wake-up */
	if (atomic_load_explicit(&loop->posted.head, memory_order_relaxed))
		run_list(loop, pn_mpsc_take_all(&loop->posted));
	run_deferred(loop);
}

static void run_hooks(struct pn_loop *loop)
{
	struct pn_list *node = loop->hooks.next;

	while (node != &loop->hooks) {
		struct pn_batch_hook *hook = pn_container_of(node, struct pn_batch_hook, node);
		loop->hook_next = node->next;
		hook->fn(loop, hook);
		node = loop->hook_next;
	}
	loop->hook_next = NULL;
}

/* How long the next wait may be. */
static uint64_t wait_ms(struct pn_loop *loop, uint64_t limit_ms)
{
	if (loop->deferred_head || !pn_list_is_empty(&loop->buffers.cancelled) ||
	    pn_buffers_must_hurry(loop))
		return 0;
	uint64_t next_ms = pn_timer_wheel_next_ms(&loop->timers);
	if (next_ms == UINT64_MAX || next_ms == 0)
		return next_ms == 0 ? 0 : limit_ms;
	/* Callbacks took their time since the wheel last moved. */
	uint64_t spent_ms = pn_clock_mono_ms() - loop->timers.now_ms;
	next_ms = next_ms > spent_ms ? next_ms - spent_ms : 0;
	return next_ms < limit_ms ? next_ms : limit_ms;
}

static int run_round(struct pn_loop *loop, uint64_t limit_ms)
{
	/* Last of all before the wait: every buffer that is back counts, whoever returned it. */
	pn_buffers_arm_all(loop);
	int r = pn_ring_wait(loop, wait_ms(loop, limit_ms));
	if (r < 0)
		return r;
	loop->now_ms = pn_clock_mono_ms();
	run_completions(loop);
	pn_loop_count(loop, PN_LOOP_C_timers_fired,
		      pn_timer_wheel_advance(&loop->timers, loop->now_ms));
	run_tasks(loop);
	pn_buffers_answer_cancelled(loop);
	run_hooks(loop);
	return 0;
}

int pn_loop_run_once(struct pn_loop *loop, uint64_t timeout_ms)
{
	return run_round(loop, timeout_ms);
}

int pn_loop_run(struct pn_loop *loop)
{
	int r = 0;

	while (r == 0 && !loop->must_stop)
		r = run_round(loop, UINT64_MAX);
	loop->must_stop = false;
	return r;
}

void pn_loop_stop(struct pn_loop *loop)
{
	loop->must_stop = true;
}

void pn_loop_free(struct pn_loop *loop)
{
	if (!loop)
		return;
	PN_ASSERT(pn_loop_inflight(loop) == 0);
	pn_loop_cancel(loop, &loop->wake.op);
	while (loop->wake.op.is_inflight) {
		struct pn_cqe_copy cqe;
		/* A ring that fails now has nothing in flight that could still write to us. */
		if (pn_ring_wait(loop, UINT64_MAX) < 0)
			break;
		while (pn_ring_take(loop, &cqe)) {
			if (cqe.user_data == (uint64_t)(uintptr_t)&loop->wake.op)
				loop->wake.op.is_inflight = false;
		}
	}
	pn_counters_unregister(&loop->counter_block);
	pn_ring_deinit(loop);
	pn_buffers_deinit(loop);
	pn_wake_deinit(loop);
	free(loop);
}
