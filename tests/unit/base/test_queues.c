/* SPDX-License-Identifier: ISC */
/* test_queues.c - the lock-free queues, alone and under threads (the tsan build looks at their
 * ordering). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include <postern/base/list.h>
#include <postern/base/mpmc.h>
#include <postern/base/mpsc.h>

#define PRODUCERS 3
#define CONSUMERS 3
#define ITEMS     20000

struct item {
	struct pn_mpsc_node node;
	unsigned producer;
	unsigned value;
};

static void test_mpmc_answers_full_and_empty(void **state)
{
	struct pn_mpmc q;
	int things[8];

	(void)state;
	assert_int_equal(pn_mpmc_init(&q, SIZE_MAX), -ENOMEM);
	assert_int_equal(pn_mpmc_init(&q, 3), 0);
	assert_null(pn_mpmc_pop(&q));
	for (int turn = 0; turn < 10; turn++) {
		for (int i = 0; i < 4; i++)
			assert_true(pn_mpmc_push(&q, &things[i]));
		assert_false(pn_mpmc_push(&q, &things[4]));
		assert_int_equal(pn_mpmc_len(&q), 4);
		assert_ptr_equal(pn_mpmc_pop(&q), &things[0]);
		assert_true(pn_mpmc_push(&q, &things[5]));
		for (int i = 1; i < 4; i++)
			assert_ptr_equal(pn_mpmc_pop(&q), &things[i]);
		assert_ptr_equal(pn_mpmc_pop(&q), &things[5]);
		assert_null(pn_mpmc_pop(&q));
		assert_int_equal(pn_mpmc_len(&q), 0);
	}
	pn_mpmc_deinit(&q);
	assert_int_equal(pn_mpmc_init(&q, 0), 0);
	assert_true(pn_mpmc_push(&q, things));
	assert_true(pn_mpmc_push(&q, things));
	assert_false(pn_mpmc_push(&q, things));
	pn_mpmc_deinit(&q);
}

static struct pn_mpmc shared_queue;
static _Atomic unsigned taken_count;
static unsigned char taken[PRODUCERS][ITEMS];

static void *produce(void *arg)
{
	unsigned producer = (unsigned)(uintptr_t)arg;

	for (unsigned i = 0; i < ITEMS; i++) {
		struct item *item = malloc(sizeof(*item));
		item->producer = producer;
		item->value = i;
		while (!pn_mpmc_push(&shared_queue, item))
			sched_yield();
	}
	return NULL;
}

/* Each consumer must see the items of one producer in their order. */
static void *consume(void *arg)
{
	long last[PRODUCERS];

	for (unsigned i = 0; i < PRODUCERS; i++)
		last[i] = -1;
	(void)arg;
	while (atomic_load(&taken_count) < PRODUCERS * ITEMS) {
		struct item *item = pn_mpmc_pop(&shared_queue);
		if (!item) {
			sched_yield();
			continue;
		}
		atomic_fetch_add(&taken_count, 1);
		if ((long)item->value <= last[item->producer] ||
		    taken[item->producer][item->value]++ != 0)
			return "wrong";
		last[item->producer] = (long)item->value;
		free(item);
	}
	return NULL;
}

static void test_mpmc_loses_and_doubles_nothing_between_threads(void **state)
{
	pthread_t threads[PRODUCERS + CONSUMERS];

	(void)state;
	assert_int_equal(pn_mpmc_init(&shared_queue, 64), 0);
	for (uintptr_t i = 0; i < PRODUCERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, produce, (void *)i), 0);
	for (unsigned i = 0; i < CONSUMERS; i++)
		assert_int_equal(pthread_create(&threads[PRODUCERS + i], NULL, consume, NULL), 0);
	for (unsigned i = 0; i < PRODUCERS + CONSUMERS; i++) {
		void *answer;
		assert_int_equal(pthread_join(threads[i], &answer), 0);
		assert_null(answer);
	}
	for (unsigned p = 0; p < PRODUCERS; p++) {
		for (unsigned i = 0; i < ITEMS; i++)
			assert_int_equal(taken[p][i], 1);
	}
	pn_mpmc_deinit(&shared_queue);
}

static void test_mpsc_is_first_in_first_out(void **state)
{
	struct pn_mpsc q;
	struct item items[3];

	(void)state;
	pn_mpsc_init(&q);
	assert_null(pn_mpsc_take_all(&q));
	assert_true(pn_mpsc_push(&q, &items[0].node));
	assert_false(pn_mpsc_push(&q, &items[1].node));
	assert_false(pn_mpsc_push(&q, &items[2].node));
	struct pn_mpsc_node *node = pn_mpsc_take_all(&q);
	for (int i = 0; i < 3; i++, node = node->next)
		assert_ptr_equal(node, &items[i].node);
	assert_null(node);
	assert_true(pn_mpsc_push(&q, &items[0].node));
}

static struct pn_mpsc shared_stack;
static _Atomic unsigned wakes;

static void *push_all(void *arg)
{
	struct item *items = arg;

	for (unsigned i = 0; i < ITEMS; i++) {
		if (pn_mpsc_push(&shared_stack, &items[i].node))
			atomic_fetch_add(&wakes, 1);
	}
	return NULL;
}

static void test_mpsc_loses_nothing_and_wakes_once_a_batch(void **state)
{
	pthread_t threads[PRODUCERS];
	struct item *items[PRODUCERS];
	unsigned next[PRODUCERS] = { 0 }, count = 0, batches = 0;

	(void)state;
	pn_mpsc_init(&shared_stack);
	for (unsigned p = 0; p < PRODUCERS; p++) {
		items[p] = calloc(ITEMS, sizeof(struct item));
		for (unsigned i = 0; i < ITEMS; i++)
			items[p][i] = (struct item){ .producer = p, .value = i };
		assert_int_equal(pthread_create(&threads[p], NULL, push_all, items[p]), 0);
	}
	while (count < PRODUCERS * ITEMS) {
		struct pn_mpsc_node *node = pn_mpsc_take_all(&shared_stack);
		batches += node != NULL;
		for (; node; node = node->next, count++) {
			struct item *item = pn_container_of(node, struct item, node);
			assert_int_equal(item->value, next[item->producer]++);
		}
	}
	for (unsigned p = 0; p < PRODUCERS; p++) {
		pthread_join(threads[p], NULL);
		free(items[p]);
	}
	assert_int_equal(atomic_load(&wakes), batches);
}

static void test_list_keeps_order_and_knows_its_nodes(void **state)
{
	struct pn_list head, nodes[4];
	size_t i = 0;

	(void)state;
	pn_list_init(&head);
	assert_true(pn_list_is_empty(&head));
	assert_null(pn_list_pop_front(&head));
	for (i = 0; i < 4; i++)
		pn_list_init(&nodes[i]);
	pn_list_push_back(&head, &nodes[1]);
	pn_list_push_back(&head, &nodes[3]);
	pn_list_push_front(&head, &nodes[0]);
	pn_list_insert_before(&nodes[2], &nodes[3]);
	i = 0;
	PN_LIST_FOR_EACH(it, &head)
	assert_ptr_equal(it, &nodes[i++]);
	assert_int_equal(i, 4);
	PN_LIST_FOR_EACH_SAFE(it, tmp, &head)
	{
		if (it == &nodes[1] || it == &nodes[2])
			pn_list_remove(it);
	}
	assert_false(pn_list_is_linked(&nodes[1]));
	pn_list_remove(&nodes[1]);
	assert_ptr_equal(pn_list_pop_front(&head), &nodes[0]);
	assert_ptr_equal(pn_list_pop_front(&head), &nodes[3]);
	assert_true(pn_list_is_empty(&head));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mpmc_answers_full_and_empty),
		cmocka_unit_test(test_mpmc_loses_and_doubles_nothing_between_threads),
		cmocka_unit_test(test_mpsc_is_first_in_first_out),
		cmocka_unit_test(test_mpsc_loses_nothing_and_wakes_once_a_batch),
		cmocka_unit_test(test_list_keeps_order_and_knows_its_nodes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
