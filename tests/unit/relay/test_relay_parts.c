/* SPDX-License-Identifier: ISC */
/* The relay's pure pieces: entry lists, queue, schedule, backoff, routes, Maildir names, what is
 * known, verdicts, report ids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/fault.h>

#include "relay/backoff.h"
#include "relay/job.h"
#include "relay/known.h"
#include "relay/maildir.h"
#include "relay/queue.h"
#include "relay/report.h"
#include "relay/route.h"
#include "relay/schedule.h"

static struct pn_id id_of(uint8_t n)
{
	struct pn_id id = {{0}};
	id.octets[5] = n;
	id.octets[15] = n;
	return id;
}

/* ---- lists and queue ---- */

static void test_entry_list_keeps_order_and_takes_by_id(void **state)
{
	struct pn_spool_entry e[4] = {{.id = id_of(1)}, {.id = id_of(2)}, {.id = id_of(3)}, {.id = id_of(4)}};
	struct pn_entry_list a = {0}, b = {0};
	struct pn_id none = id_of(9);
	(void)state;
	pn_entry_list_push(&a, &e[0]);
	pn_entry_list_push(&a, &e[1]);
	pn_entry_list_push(&b, &e[2]);
	pn_entry_list_push(&b, &e[3]);
	pn_entry_list_append(&a, &b);
	assert_int_equal(a.count, 4);
	assert_int_equal(b.count, 0);
	assert_null(pn_entry_list_take(&a, &none));
	assert_ptr_equal(pn_entry_list_take(&a, &e[3].id), &e[3]); /* the last */
	assert_ptr_equal(pn_entry_list_take(&a, &e[1].id), &e[1]); /* in the middle */
	pn_entry_list_push(&a, &e[3]);
	assert_ptr_equal(pn_entry_list_take(&a, &e[0].id), &e[0]); /* the first */
	assert_ptr_equal(pn_entry_list_pop(&a), &e[2]);
	assert_ptr_equal(pn_entry_list_pop(&a), &e[3]);
	assert_null(pn_entry_list_pop(&a));
	assert_int_equal(a.count, 0);
	pn_entry_list_append(&a, &b);
	assert_null(pn_entry_list_pop(&a));
}

static void test_queue_overflow_comes_before_the_ring(void **state)
{
	struct pn_relay_queue q;
	struct pn_entry_list backlog = {0};
	struct pn_spool_entry e[7];
	(void)state;
	memset(e, 0, sizeof(e));
	assert_int_equal(pn_queue_init(&q, 4), 0);
	for (size_t i = 0; i < 7; i++)
		assert_int_equal(pn_queue_push(&q, &e[i]), -1); /* nobody sleeps */
	assert_int_equal(pn_counter_get(&q.counters[PN_RELAY_QUEUE_C_submitted]), 7);
	assert_int_equal(pn_counter_get(&q.counters[PN_RELAY_QUEUE_C_overflowed]), 3);
	assert_ptr_equal(pn_queue_pop(&q, &backlog), &e[4]);
	assert_int_equal(backlog.count, 2);
	assert_ptr_equal(pn_queue_pop(&q, &backlog), &e[5]);
	assert_ptr_equal(pn_queue_pop(&q, &backlog), &e[6]);
	assert_ptr_equal(pn_queue_pop(&q, &backlog), &e[0]);
	pn_queue_take_all(&q, &backlog);
	assert_int_equal(backlog.count, 3);
	assert_int_equal(atomic_load(&q.pending), 0);
	pn_queue_deinit(&q);
}

static void test_queue_wakes_a_sleeper_once(void **state)
{
	struct pn_relay_queue q;
	struct pn_entry_list backlog = {0};
	struct pn_spool_entry e[3];
	bool is_taken;
	(void)state;
	memset(e, 0, sizeof(e));
	assert_int_equal(pn_queue_init(&q, 2), 0);
	assert_true(pn_queue_sleep(&q, 5));
	assert_true(pn_queue_has_sleepers(&q));
	assert_int_equal(pn_queue_nudge(&q), -1); /* nothing is pending */
	assert_int_equal(pn_queue_push(&q, &e[0]), 5);
	assert_int_equal(pn_queue_push(&q, &e[1]), -1);
	assert_false(pn_queue_sleep(&q, 5)); /* something is pending: stay awake */
	assert_false(pn_queue_has_sleepers(&q));
	assert_int_equal(pn_queue_offer(&q, &e[2], &is_taken), -1);
	assert_false(is_taken);
	assert_ptr_equal(pn_queue_pop(&q, &backlog), &e[0]);
	assert_int_equal(pn_queue_offer(&q, &e[2], &is_taken), -1);
	assert_true(is_taken);
	assert_ptr_equal(pn_queue_pop(&q, &backlog), &e[1]);
	assert_ptr_equal(pn_queue_pop(&q, &backlog), &e[2]);
	assert_null(pn_queue_pop(&q, &backlog));
	assert_true(pn_queue_sleep(&q, 3));
	pn_queue_deinit(&q);
}

#define STRESS_ENTRIES 20000
#define STRESS_THREADS 2

struct stress {
	struct pn_relay_queue queue;
	struct pn_spool_entry *entries;
	_Atomic uint32_t next, popped;
	_Atomic uint32_t wakes[STRESS_THREADS];
};

struct stress_thread {
	struct stress *s;
	uint32_t index;
};

static void *stress_producer(void *ctx)
{
	struct stress *s = ctx;
	uint32_t i;
	while ((i = atomic_fetch_add(&s->next, 1)) < STRESS_ENTRIES) {
		int index = pn_queue_push(&s->queue, &s->entries[i]);
		if (index >= 0)
			atomic_fetch_add(&s->wakes[index], 1);
	}
	return NULL;
}

/* Sleeps for real (spinning on its wake count) whenever the queue says so: a lost wake-up would hang it. */
static void *stress_consumer(void *ctx)
{
	struct stress_thread *t = ctx;
	struct stress *s = t->s;
	struct pn_entry_list backlog = {0};
	struct pn_spool_entry *e;
	uint32_t seen = 0;
	while (atomic_load(&s->popped) < STRESS_ENTRIES) {
		while ((e = pn_queue_pop(&s->queue, &backlog)) != NULL) {
			e->attempts++;
			atomic_fetch_add(&s->popped, 1);
		}
		if (!pn_queue_sleep(&s->queue, t->index))
			continue;
		while (atomic_load(&s->wakes[t->index]) == seen && atomic_load(&s->popped) < STRESS_ENTRIES)
			sched_yield();
		seen = atomic_load(&s->wakes[t->index]);
	}
	return NULL;
}

static void test_queue_loses_nothing_between_threads(void **state)
{
	struct stress s = {.entries = calloc(STRESS_ENTRIES, sizeof(struct pn_spool_entry))};
	pthread_t producers[2], consumers[STRESS_THREADS];
	struct stress_thread threads[STRESS_THREADS];
	(void)state;
	assert_non_null(s.entries);
	assert_int_equal(pn_queue_init(&s.queue, 64), 0);
	for (uint32_t i = 0; i < STRESS_THREADS; i++) {
		threads[i] = (struct stress_thread){&s, i};
		assert_int_equal(pthread_create(&consumers[i], NULL, stress_consumer, &threads[i]), 0);
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&producers[i], NULL, stress_producer, &s), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(producers[i], NULL);
	for (uint32_t i = 0; i < STRESS_THREADS; i++)
		pthread_join(consumers[i], NULL);
	for (uint32_t i = 0; i < STRESS_ENTRIES; i++)
		assert_int_equal(s.entries[i].attempts, 1);
	pn_queue_deinit(&s.queue);
	free(s.entries);
}

/* ---- schedule ---- */

static void test_schedule_gives_entries_in_order_of_time(void **state)
{
	enum { COUNT = 500 };
	struct pn_spool_entry *e = calloc(COUNT, sizeof(*e));
	struct pn_schedule s;
	struct pn_prng prng;
	uint64_t last = 0;
	(void)state;
	pn_schedule_init(&s);
	pn_prng_init(&prng, 42);
	for (uint32_t i = 0; i < COUNT; i++) {
		memcpy(e[i].id.octets, &i, sizeof(i));
		e[i].next_attempt_wall_ms = 1000 + pn_prng_below(&prng, 10000);
		pn_schedule_add(&s, &e[i], 0);
		assert_ptr_equal(s.heap[e[i].heap_index], &e[i]);
	}
	for (uint32_t i = 0; i < COUNT; i += 3)
		assert_ptr_equal(pn_schedule_take(&s, &e[i].id), &e[i]);
	assert_null(pn_schedule_take(&s, &e[0].id));
	assert_null(pn_schedule_pop_due(&s, 999));
	size_t left = pn_schedule_count(&s), popped = 0;
	struct pn_spool_entry *got;
	while ((got = pn_schedule_pop_due(&s, 20000)) != NULL) {
		assert_true(got->next_attempt_wall_ms >= last);
		last = got->next_attempt_wall_ms;
		popped++;
	}
	assert_int_equal(popped, left);
	assert_true(pn_schedule_next_ms(&s) == UINT64_MAX);
	pn_schedule_deinit(&s);
	free(e);
}

static void test_schedule_never_gives_held_entries(void **state)
{
	struct pn_spool_entry held = {.id = id_of(1), .flags = PN_ENTRY_HELD}, due = {.id = id_of(2),
	                .next_attempt_wall_ms = 5};
	struct pn_schedule s;
	(void)state;
	pn_schedule_init(&s);
	pn_schedule_add(&s, &held, 0);
	pn_schedule_add(&s, &due, 0);
	assert_int_equal(s.held_count, 1);
	assert_int_equal(pn_schedule_next_ms(&s), 5);
	assert_ptr_equal(pn_schedule_pop_due(&s, UINT64_MAX - 1), &due);
	assert_null(pn_schedule_pop_due(&s, UINT64_MAX - 1));
	assert_ptr_equal(pn_schedule_pop_any(&s), &held);
	assert_int_equal(s.held_count, 0);
	assert_null(pn_schedule_pop_any(&s));
	pn_schedule_deinit(&s);
}

static void turn_round(struct pn_spool_entry *e, void *ctx)
{
	(*(int *)ctx)++;
	e->next_attempt_wall_ms = 10000 - e->next_attempt_wall_ms;
}

static void test_schedule_sorts_anew_when_times_change(void **state)
{
	enum { COUNT = 500 };
	static struct pn_spool_entry e[COUNT];
	struct pn_spool_entry *got;
	struct pn_schedule s;
	int seen = 0;
	(void)state;
	pn_schedule_init(&s);
	for (int i = 0; i < COUNT; i++) {
		e[i] = (struct pn_spool_entry){.next_attempt_wall_ms = (uint64_t)(i * 37 % 9973)};
		pn_schedule_add(&s, &e[i], 0);
	}
	pn_schedule_update(&s, turn_round, &seen);
	assert_int_equal(seen, COUNT);
	for (uint32_t i = 0; i < COUNT; i++)
		assert_int_equal(s.heap[i]->heap_index, i);
	uint64_t before = 0;
	size_t popped = 0;
	for (; (got = pn_schedule_pop_due(&s, UINT64_MAX - 1)) != NULL; popped++) {
		assert_true(got->next_attempt_wall_ms >= before);
		before = got->next_attempt_wall_ms;
	}
	assert_int_equal(popped, COUNT);
	pn_schedule_deinit(&s);
}

static void test_schedule_without_memory_keeps_entries_on_a_list(void **state)
{
#ifdef PN_FAULT_INJECTION
	struct pn_spool_entry a = {.id = id_of(1), .next_attempt_wall_ms = 10},
			      b = {.id = id_of(2), .flags = PN_ENTRY_HELD},
			      c = {.id = id_of(3), .next_attempt_wall_ms = 20};
	struct pn_schedule s;
	(void)state;
	pn_schedule_init(&s);
	pn_fault_set_plan("relay.schedule.grow:1:12:3");
	pn_schedule_add(&s, &a, 100);
	pn_schedule_add(&s, &b, 100);
	pn_schedule_add(&s, &c, 100);
	pn_fault_set_plan(NULL);
	assert_int_equal(pn_schedule_count(&s), 3);
	assert_int_equal(s.unsorted.count, 3);
	assert_int_equal(s.held_count, 1);
	assert_null(pn_schedule_pop_due(&s, 200));
	assert_true(pn_schedule_next_ms(&s) > 200);
	assert_ptr_equal(pn_schedule_take(&s, &c.id), &c);
	assert_ptr_equal(pn_schedule_pop_due(&s, pn_schedule_next_ms(&s)),
	                 &a); /* sorted in after its time on the list */
	assert_int_equal(s.unsorted.count, 0);
	assert_ptr_equal(pn_schedule_take(&s, &b.id), &b);
	assert_int_equal(s.held_count, 0);
	pn_schedule_deinit(&s);
#else
	(void)state;
	skip();
#endif
}

/* ---- backoff ---- */

static void test_backoff_grows_to_its_maximum(void **state)
{
	static const uint64_t want[] = {1000, 2000, 4000, 8000, 10000, 10000};
	struct pn_backoff b = {.first_ms = 1000, .max_ms = 10000, .factor_percent = 200};
	struct pn_prng prng;
	(void)state;
	pn_prng_init(&prng, 1);
	for (uint32_t i = 0; i < PN_ARRAY_SIZE(want); i++)
		assert_int_equal(pn_backoff_delay_ms(&b, i + 1, &prng), want[i]);
	assert_int_equal(pn_backoff_delay_ms(&b, 0, &prng), 1000);
	assert_int_equal(pn_backoff_delay_ms(&b, 65535, &prng), 10000);
	b.factor_percent = 100;
	assert_int_equal(pn_backoff_delay_ms(&b, 65535, &prng), 1000);
	b = (struct pn_backoff){.first_ms = UINT64_MAX / 2, .max_ms = UINT64_MAX, .factor_percent = 300};
	assert_true(pn_backoff_delay_ms(&b, 10, &prng) == UINT64_MAX);
}

static void test_backoff_jitter_stays_in_its_share(void **state)
{
	struct pn_backoff b = {.first_ms = 10000, .max_ms = 100000, .factor_percent = 200, .jitter_percent = 20};
	struct pn_prng prng;
	uint64_t low = UINT64_MAX, high = 0;
	(void)state;
	pn_prng_init(&prng, 7);
	for (int i = 0; i < 2000; i++) {
		uint64_t d = pn_backoff_delay_ms(&b, 1, &prng);
		low = d < low ? d : low;
		high = d > high ? d : high;
	}
	assert_in_range(low, 8000, 8200);
	assert_in_range(high, 11800, 12000);
}

/* ---- routes ---- */

static const char *const domains_a[] = {"example.org", ".example.org"};
static const char *const domains_b[] = {"Example.NET", ".deep.example.org"};

static size_t route(const struct pn_route *r, const char *address)
{
	return pn_route_find(r, pn_slice_str(address));
}

static void test_route_nearest_domain_wins(void **state)
{
	struct pn_upstream_settings u[] = {
		{.name = "default"},
		{.name = "a", .domains = domains_a, .domain_count = 2},
		{.name = "b", .domains = domains_b, .domain_count = 2},
	};
	struct pn_route r;
	struct pn_error err;
	(void)state;
	assert_int_equal(pn_route_init(&r, u, 3, &err), 0);
	assert_int_equal(route(&r, "x@example.org"), 1);
	assert_int_equal(route(&r, "x@EXAMPLE.ORG"), 1);
	assert_int_equal(route(&r, "x@sub.example.org"), 1);
	assert_int_equal(route(&r, "x@deep.example.org"), 1);
	assert_int_equal(route(&r, "x@very.deep.example.org"), 2);
	assert_int_equal(route(&r, "x@example.net"), 2);
	assert_int_equal(route(&r, "x@sub.example.net"), 0);
	assert_int_equal(route(&r, "x@notexample.org"), 0);
	assert_int_equal(route(&r, "postmaster"), 0);
	assert_int_equal(route(&r, "\"odd@example.org\"@example.com"), 0);
	assert_int_equal(route(&r, "x@[192.0.2.1]"), 0);
	assert_int_equal(route(&r, "x@"), 0);
	assert_int_equal(route(&r, "x@.."), 0);
	pn_route_deinit(&r);
}

static void test_route_refuses_ambiguous_settings(void **state)
{
	struct pn_upstream_settings none[] = {{.name = "a", .domains = domains_a, .domain_count = 2}};
	struct pn_upstream_settings two[] = {{.name = "one"}, {.name = "two"}};
	struct pn_upstream_settings twice[] = {
		{.name = "default"},
		{.name = "a", .domains = domains_a, .domain_count = 2},
		{.name = "b", .domains = domains_a, .domain_count = 1},
	};
	struct pn_route r;
	struct pn_error err;
	(void)state;
	assert_int_equal(pn_route_init(&r, none, 1, &err), -EINVAL);
	assert_non_null(strstr(err.text, "default"));
	assert_int_equal(pn_route_init(&r, two, 2, &err), -EINVAL);
	assert_non_null(strstr(err.text, "one and two"));
	assert_int_equal(pn_route_init(&r, twice, 3, &err), -EINVAL);
	assert_non_null(strstr(err.text, "example.org is routed already"));
}

/* ---- names and what is known ---- */

static void test_maildir_name_round_trip(void **state)
{
	static const char *const bad[] = {"", "x", "1.", "1.M", "1.Mzzz", "1700000000.Mabcdefghijklmnopqrstuvwxyzz",
	                                  "1.M!!!!!!!!!!!!!!!!!!!!!!!!!!R1.postern"};
	struct pn_id id = pn_id_make(7, 1700000000123), got;
	char name[PN_MAILDIR_NAME_SIZE], moved[PN_MAILDIR_NAME_SIZE + 8];
	uint32_t index = 0;
	(void)state;
	pn_maildir_name(name, &id, 4294967295u);
	assert_int_equal(strncmp(name, "1700000000.M", 12), 0);
	assert_null(strchr(name, '/'));
	assert_true(pn_maildir_name_parse(name, &got, &index));
	assert_true(pn_id_eq(&id, &got));
	assert_true(index == 4294967295u);
	snprintf(moved, sizeof(moved), "%s:2,RS", name);
	assert_true(pn_maildir_name_parse(moved, &got, &index));
	snprintf(moved, sizeof(moved), "%sx", name);
	assert_false(pn_maildir_name_parse(moved, &got, &index));
	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++)
		assert_false(pn_maildir_name_parse(bad[i], &got, &index));
}

static void test_known_finds_and_prunes(void **state)
{
	struct pn_known k = {0};
	struct pn_id id;
	(void)state;
	id = id_of(1);
	assert_false(pn_known_has(&k, &id, 0, 0));
	for (uint8_t i = 0; i < 200; i++) {
		struct pn_known_item item = {.id = id_of((uint8_t)(255 - i)), .kind = i % 2 ? 1 : 0, .index = i};
		pn_known_add(&k, &item);
	}
	pn_known_sort(&k);
	id = id_of(254);
	assert_true(pn_known_has(&k, &id, 1, 1));
	assert_false(pn_known_has(&k, &id, 1, 2));
	assert_false(pn_known_has(&k, &id, 2, 1));
	id = id_of(255);
	assert_true(pn_known_has(&k, &id, 0, 0));
	pn_known_prune(&k);
	assert_int_equal(k.count, 100);
	assert_false(pn_known_has(&k, &id, 0, 0));
	pn_known_deinit(&k);
	struct pn_known_item item = {.id = id};
	pn_known_add(&k, &item);
	pn_known_sort(&k);
	pn_known_prune(&k);
	assert_int_equal(k.count, 0);
	assert_false(pn_known_has(&k, &id, 0, 0));
}

/* ---- verdicts and report ids ---- */

static void test_verdict_is_the_first_digit(void **state)
{
	static const struct {
		uint16_t code, class;
		enum pn_verdict want;
	} cases[] = {
		{250, 2, PN_VERDICT_DELIVERED}, {251, 0, PN_VERDICT_DELIVERED}, {450, 4, PN_VERDICT_DEFERRED},
		{421, 0, PN_VERDICT_DEFERRED},  {550, 5, PN_VERDICT_FAILED},    {599, 0, PN_VERDICT_FAILED},
		{0, 0, PN_VERDICT_DEFERRED},    {0, 4, PN_VERDICT_DEFERRED},    {0, 5, PN_VERDICT_FAILED},
		{354, 0, PN_VERDICT_DEFERRED},  {650, 5, PN_VERDICT_DEFERRED},  {199, 0, PN_VERDICT_DEFERRED},
	};
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
		struct pn_smtp_reply_info reply = {.code = cases[i].code, .enhanced = {cases[i].class, 0, 0}};
		assert_int_equal(pn_verdict_of_reply(&reply), cases[i].want);
		assert_string_not_equal(pn_verdict_name(cases[i].want), "?");
	}
}

static void test_report_id_depends_on_all_that_it_tells(void **state)
{
	struct pn_recipient a = {.address = PN_SLICE_LIT("a@example.org")},
			b = {.address = PN_SLICE_LIT("b@example.org")};
	struct pn_job_rcpt ra = {.recipient = &a, .index = 0}, rb = {.recipient = &b, .index = 1},
			ra2 = {.recipient = &a, .index = 2};
	const struct pn_job_rcpt *both[] = {&ra, &rb}, *swapped[] = {&rb, &ra}, *one[] = {&ra}, *other[] = {&ra2};
	struct pn_id original = pn_id_make(3, 1700000000123), second = pn_id_make(3, 1700000000123);
	struct pn_id ids[7];
	(void)state;
	ids[0] = pn_report_id(&original, PN_DSN_FAILED, both, 2);
	ids[1] = pn_report_id(&original, PN_DSN_FAILED, swapped, 2);
	ids[2] = pn_report_id(&original, PN_DSN_FAILED, one, 1);
	ids[3] = pn_report_id(&original, PN_DSN_FAILED, other, 1);
	ids[4] = pn_report_id(&original, PN_DSN_DELAYED, both, 2);
	ids[5] = pn_report_id(&second, PN_DSN_FAILED, both, 2);
	ids[6] = original;
	for (size_t i = 0; i < PN_ARRAY_SIZE(ids); i++) {
		assert_int_equal(pn_id_time_ms(&ids[i]), 1700000000123);
		for (size_t j = 0; j < i; j++)
			assert_false(pn_id_eq(&ids[i], &ids[j]));
	}
	struct pn_id again = pn_report_id(&original, PN_DSN_FAILED, both, 2);
	assert_true(pn_id_eq(&again, &ids[0]));
	assert_int_equal(again.octets[6], 0xff);
	assert_int_equal(again.octets[7], 0xff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entry_list_keeps_order_and_takes_by_id),
		cmocka_unit_test(test_queue_overflow_comes_before_the_ring),
		cmocka_unit_test(test_queue_wakes_a_sleeper_once),
		cmocka_unit_test(test_queue_loses_nothing_between_threads),
		cmocka_unit_test(test_schedule_gives_entries_in_order_of_time),
		cmocka_unit_test(test_schedule_never_gives_held_entries),
		cmocka_unit_test(test_schedule_sorts_anew_when_times_change),
		cmocka_unit_test(test_schedule_without_memory_keeps_entries_on_a_list),
		cmocka_unit_test(test_backoff_grows_to_its_maximum),
		cmocka_unit_test(test_backoff_jitter_stays_in_its_share),
		cmocka_unit_test(test_route_nearest_domain_wins),
		cmocka_unit_test(test_route_refuses_ambiguous_settings),
		cmocka_unit_test(test_maildir_name_round_trip),
		cmocka_unit_test(test_known_finds_and_prunes),
		cmocka_unit_test(test_verdict_is_the_first_digit),
		cmocka_unit_test(test_report_id_depends_on_all_that_it_tells),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
