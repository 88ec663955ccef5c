/* SPDX-License-Identifier: ISC */
/*
 * Several loops store while several relay workers read, defer, move and finish; entries cross threads through a
 * queue. Under TSan this is the proof of the ownership rules; in every build nothing may be lost, doubled or
 * left over.
 */
#include "harness.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/mpmc.h>

#define WRITERS    2
#define RELAYS     2
#define PER_WRITER 400u

struct shared {
	struct harness h;
	struct pn_mpmc queue;
	_Atomic uint32_t finished;
	_Atomic uint32_t kept;
	_Atomic uint32_t seen[WRITERS * PER_WRITER];
};

struct worker {
	struct shared *s;
	uint32_t index;
	pthread_t thread;
};

/* A harness of its own for each thread, on the spool that they share. */
static void join_spool(struct harness *h, struct shared *s, const char *name)
{
	struct pn_loop_settings settings = {
		.name = name, .sq_entries = 256, .cq_entries = 1024, .cpu = -1
	};
	struct pn_error err = { { 0 } };
	memset(h, 0, sizeof(*h));
	h->settings = s->h.settings;
	h->spool = s->h.spool;
	if (pn_loop_new(&settings, &h->loop, &err) != 0)
		fail_msg("%s", err.text);
	h->w = pn_spool_writer_new(h->spool, h->loop, name, &err);
	h->j = pn_journal_new(h->spool, h->loop, name, &err);
	h->r = pn_spool_reader_new(h->spool, h->loop);
	assert_true(h->w && h->j && h->r);
}

static void leave_spool(struct harness *h)
{
	h_run_until_idle(h);
	pn_spool_reader_free(h->r);
	pn_journal_free(h->j);
	pn_spool_writer_free(h->w);
	pn_loop_free(h->loop);
}

static void *run_writer(void *arg)
{
	struct worker *w = arg;
	struct harness h;
	struct h_commit c[4];
	join_spool(&h, w->s, "writer");
	for (uint32_t i = 0; i < PER_WRITER; i += 4) {
		for (uint32_t k = 0; k < 4; k++) {
			uint32_t n = w->index * PER_WRITER + i + k;
			h_commit_start(&h, &c[k], n, n % 16 == 0 ? 40000 : n % 7000, 5000);
		}
		for (uint32_t k = 0; k < 4; k++) {
			h_wait(&h, &c[k].is_done);
			assert_int_equal(c[k].result, 0);
			while (!pn_mpmc_push(&w->s->queue, c[k].entry))
				usleep(100);
		}
	}
	leave_spool(&h);
	return NULL;
}

static void relay_one(struct worker *w, struct harness *h, struct pn_spool_entry *e)
{
	uint32_t n = h_number(&e->id);
	if (e->attempts == 0)
		assert_int_equal(atomic_fetch_add_explicit(&w->s->seen[n], 1, memory_order_relaxed),
				 0);
	assert_int_equal(h_check(h, e, n), 0);
	/* Every third is deferred once and goes back to the queue, perhaps to another thread. */
	if (n % 3 == 0 && e->attempts == 0) {
		assert_int_equal(h_defer(h, e, PN_RCPT_DELIVERED, 1), 0);
		if (pn_spool_entry_wants_move(e) || n % 9 == 0) {
			int res = h_move(h, e);
			assert_true(res == 0 || res == -EINVAL);
		}
		while (!pn_mpmc_push(&w->s->queue, e))
			usleep(100);
		return;
	}
	if (e->attempts > 0)
		assert_int_equal(h_state_of(h, e, 0), PN_RCPT_DELIVERED);
	if (n % 50 == 1) {
		pn_spool_entry_free(h->spool, e);
		atomic_fetch_add_explicit(&w->s->kept, 1, memory_order_relaxed);
	} else {
		assert_int_equal(h_final(h, e), 0);
	}
	/* release: pairs with the acquire in run_relay */
	atomic_fetch_add_explicit(&w->s->finished, 1, memory_order_release);
}

static void *run_relay(void *arg)
{
	struct worker *w = arg;
	struct harness h;
	join_spool(&h, w->s, "relay");
	while (atomic_load_explicit(&w->s->finished, memory_order_acquire) < WRITERS * PER_WRITER) {
		struct pn_spool_entry *e = pn_mpmc_pop(&w->s->queue);
		if (e)
			relay_one(w, &h, e);
		else
			usleep(200);
	}
	leave_spool(&h);
	return NULL;
}

static void test_writers_and_relays(void **state)
{
	static struct shared s;
	struct worker workers[WRITERS + RELAYS];
	(void)state;
	h_init(&s.h, true);
	h_start_bare(&s.h);
	assert_int_equal(pn_mpmc_init(&s.queue, 1024), 0);
	for (uint32_t i = 0; i < WRITERS + RELAYS; i++) {
		workers[i] = (struct worker){ .s = &s, .index = i };
		assert_int_equal(pthread_create(&workers[i].thread, NULL,
						i < WRITERS ? run_writer : run_relay, &workers[i]),
				 0);
	}
	for (uint32_t i = 0; i < WRITERS + RELAYS; i++)
		pthread_join(workers[i].thread, NULL);
	pn_mpmc_deinit(&s.queue);
	struct pn_spool_stats stats;
	pn_spool_stats(s.h.spool, &stats);
	assert_int_equal(stats.messages, 0);
	assert_int_equal(stats.memory_bytes, 0);
	h_stop(&s.h);
	/* What was only forgotten is back, nothing else. */
	h_start(&s.h);
	assert_int_equal(s.h.count, s.kept);
	for (size_t i = 0; i < s.h.count; i++) {
		uint32_t n = h_number(&s.h.entries[i]->id);
		assert_int_equal(n % 50, 1);
		assert_int_equal(h_check(&s.h, s.h.entries[i], n), 0);
		assert_int_equal(h_final(&s.h, s.h.entries[i]), 0);
	}
	s.h.count = 0;
	h_stop(&s.h);
	assert_int_equal(h_files(&s.h, "segments", ""), 0);
	assert_int_equal(h_files(&s.h, "files", ""), 0);
	assert_int_equal(h_files(&s.h, "journals", ""), 0);
	h_deinit(&s.h);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_writers_and_relays) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
