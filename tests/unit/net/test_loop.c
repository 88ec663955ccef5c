/* SPDX-License-Identifier: ISC */
/* test_loop.c - rounds, timers, tasks, hooks, posts from threads, full queues. */
#include "net_test.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <postern/base/clock.h>

#include "net/loop_internal.h"

static char order[64];

static void note(char c)
{
	size_t len = strlen(order);

	assert_true(len + 1 < sizeof(order));
	order[len] = c;
	order[len + 1] = '\0';
}

struct test_timer {
	struct pn_timer timer;
	char name;
	unsigned fired;
};

static void on_timer(struct pn_timer *timer)
{
	struct test_timer *t = pn_container_of(timer, struct test_timer, timer);

	t->fired++;
	note(t->name);
}

static void test_timers_fire_in_order_and_not_early(void **state)
{
	struct pn_loop_settings settings = net_test_settings();
	struct pn_loop *loop = net_test_loop(&settings);
	struct test_timer timers[4] = {
		{ .name = 'a' }, { .name = 'b' }, { .name = 'c' }, { .name = 'd' }
	};

	(void)state;
	order[0] = '\0';
	for (int i = 0; i < 4; i++)
		pn_timer_init(&timers[i].timer, on_timer);
	uint64_t start_ms = pn_loop_now_ms(loop);
	pn_loop_timer_set(loop, &timers[2].timer, 30);
	pn_loop_timer_set(loop, &timers[0].timer, 5);
	pn_loop_timer_set(loop, &timers[1].timer, 12);
	pn_loop_timer_set(loop, &timers[3].timer, 8);
	pn_loop_timer_cancel(loop, &timers[3].timer);
	net_test_run_until(loop, &timers[2].fired, 1);
	assert_true(pn_clock_mono_ms() - start_ms >= 30);
	assert_string_equal(order, "abc");
	assert_int_equal(pn_counter_get(&loop->counters[PN_LOOP_C_timers_fired]), 3);
	/* So far away that the sum would overflow. */
	pn_loop_timer_set(loop, &timers[3].timer, UINT64_MAX);
	assert_int_equal(pn_loop_run_once(loop, 1), 0);
	pn_loop_timer_set(loop, &timers[3].timer, 0);
	net_test_run_until(loop, &timers[3].fired, 1);
	pn_loop_free(loop);
}

struct test_task {
	struct pn_task task;
	char name;
	struct test_task *then;
	unsigned done;
};

static void on_task(struct pn_loop *loop, struct pn_task *task)
{
	struct test_task *t = pn_container_of(task, struct test_task, task);

	t->done++;
	note(t->name);
	if (t->then)
		pn_loop_defer(loop, &t->then->task);
}

struct test_hook {
	struct pn_batch_hook hook;
	char name;
	struct test_hook *removes;
	unsigned ran;
};

static void on_hook(struct pn_loop *loop, struct pn_batch_hook *hook)
{
	struct test_hook *h = pn_container_of(hook, struct test_hook, hook);

	h->ran++;
	note(h->name);
	if (h->removes) {
		pn_loop_hook_remove(loop, &h->removes->hook);
		h->removes = NULL;
	}
}

static void test_a_round_is_completions_timers_tasks_hooks(void **state)
{
	struct pn_loop_settings settings = net_test_settings();
	struct pn_loop *loop = net_test_loop(&settings);
	struct test_task second = { .task.fn = on_task, .name = 's' };
	struct test_task first = { .task.fn = on_task, .name = 'f', .then = &second };
	struct test_task posted = { .task.fn = on_task, .name = 'p' };
	struct test_hook hooks[3] = { { .name = '1' }, { .name = '2' }, { .name = '3' } };
	struct test_timer timer = { .name = 't' };

	(void)state;
	order[0] = '\0';
	pn_timer_init(&timer.timer, on_timer);
	for (int i = 0; i < 3; i++) {
		hooks[i].hook.fn = on_hook;
		pn_loop_hook_add(loop, &hooks[i].hook);
	}
	pn_loop_defer(loop, &first.task);
	pn_loop_post(loop, &posted.task);
	pn_loop_timer_set(loop, &timer.timer, 0);
	assert_int_equal(pn_loop_run_once(loop, 1000), 0);
	/* What a task deferred runs in the same round. */
	assert_string_equal(order, "tfsp123");
	/* A hook may remove the next one and itself. */
	order[0] = '\0';
	hooks[0].removes = &hooks[1];
	hooks[2].removes = &hooks[2];
	assert_int_equal(pn_loop_run_once(loop, 0), 0);
	assert_string_equal(order, "13");
	order[0] = '\0';
	assert_int_equal(pn_loop_run_once(loop, 0), 0);
	assert_string_equal(order, "1");
	pn_loop_hook_remove(loop, &hooks[0].hook);
	pn_loop_free(loop);
}

static void test_a_task_that_defers_itself_lets_the_others_in(void **state)
{
	struct pn_loop_settings settings = net_test_settings();
	struct pn_loop *loop = net_test_loop(&settings);
	struct test_task ever = { .task.fn = on_task, .name = 'e' };
	struct test_hook hook = { .hook.fn = on_hook, .name = 'h' };

	(void)state;
	order[0] = '\0';
	ever.then = &ever;
	pn_loop_hook_add(loop, &hook.hook);
	pn_loop_defer(loop, &ever.task);
	for (unsigned round = 1; round <= 3; round++) {
		order[0] = '\0';
		assert_int_equal(pn_loop_run_once(loop, UINT64_MAX), 0);
		assert_int_equal(hook.ran, round);
	}
	ever.then = NULL;
	order[0] = '\0';
	assert_int_equal(pn_loop_run_once(loop, UINT64_MAX), 0);
	pn_loop_hook_remove(loop, &hook.hook);
	pn_loop_free(loop);
}

static void stop_loop(struct pn_loop *loop, struct pn_task *task)
{
	(void)task;
	pn_loop_stop(loop);
}

static void test_stop_ends_run_and_it_can_run_again(void **state)
{
	struct pn_loop_settings settings = net_test_settings();
	struct pn_loop *loop = net_test_loop(&settings);
	struct pn_task task = { .fn = stop_loop };

	(void)state;
	for (int i = 0; i < 3; i++) {
		pn_loop_post(loop, &task);
		assert_int_equal(pn_loop_run(loop), 0);
	}
	pn_loop_free(loop);
	pn_loop_free(NULL);
}

#define POSTERS 4
#define POSTS   5000

struct counted_task {
	struct pn_task task;
	unsigned poster, number;
};

static unsigned posted_count, next_number[POSTERS];

static void on_counted(struct pn_loop *loop, struct pn_task *task)
{
	struct counted_task *t = pn_container_of(task, struct counted_task, task);

	(void)loop;
	assert_int_equal(t->number, next_number[t->poster]++);
	posted_count++;
	free(t);
}

struct poster {
	pthread_t thread;
	struct pn_loop *loop;
	unsigned index;
};

static void *post_many(void *arg)
{
	struct poster *p = arg;

	for (unsigned i = 0; i < POSTS; i++) {
		struct counted_task *t = malloc(sizeof(*t));
		*t = (struct counted_task){ .task.fn = on_counted,
					    .poster = p->index,
					    .number = i };
		pn_loop_post(p->loop, &t->task);
		/* Gives the loop the chance to sleep between posts. */
		if (i % 64 == 0)
			usleep(50);
		else if (i % 16 == 0)
			sched_yield();
	}
	return NULL;
}

/* A lost wake-up would leave the loop asleep with tasks on its list, until the test's time is over.
 */
static void test_posts_of_many_threads_all_run_in_order(void **state)
{
	struct pn_loop_settings settings = net_test_settings();
	struct pn_loop *loop = net_test_loop(&settings);
	struct poster posters[POSTERS];

	(void)state;
	posted_count = 0;
	memset(next_number, 0, sizeof(next_number));
	for (unsigned i = 0; i < POSTERS; i++) {
		posters[i] = (struct poster){ .loop = loop, .index = i };
		assert_int_equal(pthread_create(&posters[i].thread, NULL, post_many, &posters[i]),
				 0);
	}
	while (posted_count < POSTERS * POSTS)
		assert_int_equal(pn_loop_run_once(loop, UINT64_MAX), 0);
	for (unsigned i = 0; i < POSTERS; i++)
		pthread_join(posters[i].thread, NULL);
	assert_true(pn_counter_get(&loop->counters[PN_LOOP_C_wakeups]) <= POSTERS * POSTS);
	assert_int_equal(pn_counter_get(&loop->counters[PN_LOOP_C_tasks]), POSTERS * POSTS);
	pn_loop_free(loop);
}

static void *wake_it(void *arg)
{
	pn_loop_wake(arg);
	return NULL;
}

static void test_wake_ends_a_wait_without_end(void **state)
{
	struct pn_loop_settings settings = net_test_settings();
	struct pn_loop *loop = net_test_loop(&settings);
	pthread_t thread;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(pthread_create(&thread, NULL, wake_it, loop), 0);
		while (pn_counter_get(&loop->counters[PN_LOOP_C_wakeups]) <= i)
			assert_int_equal(pn_loop_run_once(loop, UINT64_MAX), 0);
		pthread_join(thread, NULL);
	}
	/* Wakes before a wait are one wake. */
	for (unsigned i = 0; i < 100; i++)
		pn_loop_wake(loop);
	assert_int_equal(pn_loop_run_once(loop, UINT64_MAX), 0);
	assert_int_equal(pn_loop_run_once(loop, 0), 0);
	assert_int_equal(pn_counter_get(&loop->counters[PN_LOOP_C_wakeups]), 101);
	pn_loop_free(loop);
}

#define MANY 1000

/* Far more ops than SQEs and CQEs, all of which end at once: none is lost, and the overflow is
 * counted. */
static void test_more_ops_than_entries_all_complete(void **state)
{
	struct pn_loop_settings settings = net_test_settings();
	static struct net_test_op ops[MANY];
	static uint64_t values[MANY];
	uint64_t one = 1;
	unsigned done = 0;

	(void)state;
	settings.sq_entries = settings.cq_entries = 16;
	struct pn_loop *loop = net_test_loop(&settings);
	int fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE | EFD_NONBLOCK);
	memset(ops, 0, sizeof(ops));
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
		pn_loop_read(loop, &ops[i].op, net_test_on_done, fd, &values[i], sizeof(values[i]),
			     0);
	}
	assert_int_equal(pn_loop_inflight(loop), MANY);
	while (pn_loop_inflight(loop) != 0)
		assert_int_equal(pn_loop_run_once(loop, UINT64_MAX), 0);
	for (unsigned i = 0; i < MANY; i++) {
		done += ops[i].done;
		assert_int_equal(ops[i].res, sizeof(uint64_t));
		assert_false(ops[i].op.is_inflight);
	}
	assert_int_equal(done, MANY);
	assert_true(pn_counter_get(&loop->counters[PN_LOOP_C_sq_full]) >= MANY / 16 - 1);
	assert_true(pn_counter_get(&loop->counters[PN_LOOP_C_cq_overflows]) > 0);
	assert_true(pn_counter_get(&loop->counters[PN_LOOP_C_cqes]) >= MANY);
	close(fd);
	pn_loop_free(loop);
}

static unsigned next_result;

static void expect_next(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct net_test_op *t = pn_container_of(op, struct net_test_op, op);

	(void)loop;
	(void)res;
	assert_int_equal((unsigned)t->res, next_result++);
	t->done++;
}

/* What a submission set aside comes first and in order; when the backlog is full the rest stays in
 * the queue. */
static void test_completions_set_aside_keep_their_order(void **state)
{
	struct pn_loop_settings settings = net_test_settings();
	static struct net_test_op ops[24];
	uint64_t one = 1, values[24];
	struct pn_loop *loop;

	(void)state;
	settings.sq_entries = settings.cq_entries = 16;
	loop = net_test_loop(&settings);
	int fd = eventfd(24, EFD_CLOEXEC | EFD_SEMAPHORE | EFD_NONBLOCK);
	memset(ops, 0, sizeof(ops));
	next_result = 0;
	for (int turn = 0; turn < 3; turn++) {
		for (unsigned i = 0; i < 8; i++) {
			struct net_test_op *t = &ops[turn * 8 + (int)i];
			t->res = turn * 8 + (int)i;
			pn_loop_read(loop, &t->op, expect_next, fd, &values[i], sizeof(one), 0);
		}
		assert_true(io_uring_submit(&loop->ring) >= 0);
		(void)io_uring_get_events(&loop->ring);
		pn_ring_set_aside(loop);
		assert_true(loop->backlog.tail - loop->backlog.head <= 16);
	}
	assert_int_equal(loop->backlog.tail - loop->backlog.head, 16);
	while (pn_loop_inflight(loop) != 0)
		assert_int_equal(pn_loop_run_once(loop, UINT64_MAX), 0);
	assert_int_equal(next_result, 24);
	close(fd);
	pn_loop_free(loop);
}

struct counter_check {
	const char *scope, *instance;
	unsigned found;
};

static void find_block(const struct pn_counter_block *block, void *ctx)
{
	struct counter_check *check = ctx;

	if (strcmp(block->scope, check->scope) == 0 &&
	    strcmp(block->instance, check->instance) == 0) {
		check->found++;
		assert_int_equal(block->count, PN_LOOP_COUNTER_COUNT);
		assert_string_equal(block->names[PN_LOOP_C_enters], "enters");
	}
}

static void test_counters_are_registered_while_the_loop_lives(void **state)
{
	struct pn_loop_settings settings = net_test_settings();
	struct pn_loop *loop = net_test_loop(&settings);
	struct counter_check check = { "loop", "loop/test", 0 };

	(void)state;
	pn_counters_for_each(find_block, &check);
	assert_int_equal(check.found, 1);
	pn_loop_free(loop);
	pn_counters_for_each(find_block, &check);
	assert_int_equal(check.found, 1);
}

static void test_wrong_settings_are_refused(void **state)
{
	struct pn_loop_settings settings = net_test_settings();
	struct pn_loop *loop = NULL;
	struct pn_error err = { "" };

	(void)state;
	settings.buffer_count = 3;
	assert_int_equal(pn_loop_new(&settings, &loop, &err), -EINVAL);
	assert_non_null(strstr(err.text, "power of two"));
	settings.buffer_count = 65536;
	assert_int_equal(pn_loop_new(&settings, &loop, &err), -EINVAL);
	settings = net_test_settings();
	settings.buffer_size_bytes = 0;
	assert_int_equal(pn_loop_new(&settings, &loop, &err), -EINVAL);
	settings = net_test_settings();
	settings.cpu = 100000;
	assert_int_equal(pn_loop_new(&settings, &loop, &err), -EINVAL);
	assert_non_null(strstr(err.text, "CPU 100000"));
	assert_null(loop);
}

static void *run_pinned(void *arg)
{
	struct pn_loop_settings settings = net_test_settings();
	struct pn_loop *loop;
	cpu_set_t set;
	char name[16];

	(void)arg;
	settings.cpu = sched_getcpu();
	settings.name = "loop/a name that is longer than a thread's";
	loop = net_test_loop(&settings);
	pthread_getaffinity_np(pthread_self(), sizeof(set), &set);
	pthread_getname_np(pthread_self(), name, sizeof(name));
	bool is_right = CPU_COUNT(&set) == 1 && sched_getcpu() == settings.cpu &&
			strcmp(name, "loop/a name tha") == 0;
	pn_loop_free(loop);
	return is_right ? arg : NULL;
}

static void test_loop_is_pinned_and_named(void **state)
{
	pthread_t thread;
	void *answer;
	int something;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, run_pinned, &something), 0);
	pthread_join(thread, &answer);
	assert_ptr_equal(answer, &something);
}

/* Without buffers, features or restriction: the smallest loop. */
static void test_smallest_loop_works(void **state)
{
	struct pn_loop_settings settings = {
		.sq_entries = 1, .cq_entries = 1, .cpu = -1, .features_disabled = net_test_mask
	};
	struct pn_loop *loop = net_test_loop(&settings);
	struct pn_task task = { .fn = stop_loop };

	(void)state;
	pn_loop_post(loop, &task);
	assert_int_equal(pn_loop_run(loop), 0);
	pn_loop_free(loop);
}

/* The kernel refuses, as an ordinary result, what the loop does not offer. */
static void test_restricted_ring_refuses_other_operations(void **state)
{
	struct pn_loop_settings settings = net_test_settings();
	struct pn_loop *loop = net_test_loop(&settings);
	struct net_test_op t = { 0 };

	(void)state;
	struct io_uring_sqe *sqe = pn_op_sqe(loop, &t.op, net_test_on_done, -1, false);
	io_uring_prep_nop(sqe);
	pn_op_seal(sqe, &t.op, 0);
	net_test_run_until(loop, &t.done, 1);
	assert_int_equal(t.res, -EACCES);
	pn_loop_free(loop);
	settings.is_restricted = false;
	loop = net_test_loop(&settings);
	sqe = pn_op_sqe(loop, &t.op, net_test_on_done, -1, false);
	io_uring_prep_nop(sqe);
	pn_op_seal(sqe, &t.op, 0);
	net_test_run_until(loop, &t.done, 2);
	assert_int_equal(t.res, 0);
	pn_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timers_fire_in_order_and_not_early),
		cmocka_unit_test(test_a_round_is_completions_timers_tasks_hooks),
		cmocka_unit_test(test_a_task_that_defers_itself_lets_the_others_in),
		cmocka_unit_test(test_stop_ends_run_and_it_can_run_again),
		cmocka_unit_test(test_posts_of_many_threads_all_run_in_order),
		cmocka_unit_test(test_wake_ends_a_wait_without_end),
		cmocka_unit_test(test_more_ops_than_entries_all_complete),
		cmocka_unit_test(test_completions_set_aside_keep_their_order),
		cmocka_unit_test(test_counters_are_registered_while_the_loop_lives),
		cmocka_unit_test(test_wrong_settings_are_refused),
		cmocka_unit_test(test_loop_is_pinned_and_named),
		cmocka_unit_test(test_smallest_loop_works),
		cmocka_unit_test(test_restricted_ring_refuses_other_operations),
	};
	return net_test_main("loop", tests, PN_ARRAY_SIZE(tests));
}
