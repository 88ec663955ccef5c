/* SPDX-License-Identifier: ISC */
/*
 * A random workload against a model: commits of all sizes, aborts, deferrals, finishes, moves and restarts, a
 * bounded number of steps. After every restart the spool has exactly what the model says. PN_TEST_FULL=1 runs
 * more of it; PN_TEST_SEED repeats one.
 */
#include "harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODEL_MAX 20000

struct item {
	bool is_there;
	bool has_progress;
	uint8_t state0;
	uint16_t attempts;
	size_t size;
};

static struct item model[MODEL_MAX];

struct soak {
	struct harness h;
	struct pn_prng p;
	uint32_t next;
};

static size_t random_size(struct pn_prng *p)
{
	switch (pn_prng_below(p, 10)) {
	case 0:
		return 0;
	case 1:
		return 16384 + pn_prng_below(p, 200000);
	case 2:
		return 16383 + pn_prng_below(p, 3);
	default:
		return pn_prng_below(p, 8000);
	}
}

static void step_commit(struct soak *s)
{
	struct h_commit c[8];
	uint64_t count = 1 + pn_prng_below(&s->p, 8);
	for (uint64_t i = 0; i < count; i++) {
		uint32_t n = s->next++;
		model[n].size = random_size(&s->p);
		h_commit_start(&s->h, &c[i], n, model[n].size, 1 + pn_prng_below(&s->p, 30000));
	}
	for (uint64_t i = 0; i < count; i++) {
		h_wait(&s->h, &c[i].is_done);
		assert_int_equal(c[i].result, 0);
		model[c[i].n].is_there = true;
		s->h.entries[s->h.count++] = c[i].entry;
	}
}

static void step_abort(struct soak *s)
{
	int err;
	uint32_t n = s->next++;
	struct pn_spool_txn *t = pn_spool_txn_begin(s->h.w, &err);
	assert_non_null(t);
	assert_int_equal(h_feed(&s->h, t, n, random_size(&s->p), 5000), 0);
	if (pn_prng_below(&s->p, 2) == 0)
		assert_int_equal(pn_loop_run_once(s->h.loop, 0), 0);
	pn_spool_txn_abort(t);
}

static void step_orphan(struct soak *s)
{
	struct h_commit c;
	uint32_t n = s->next++;
	model[n].size = random_size(&s->p);
	h_commit_start(&s->h, &c, n, model[n].size, 30000);
	pn_spool_txn_abort(c.t);
	h_run_until_idle(&s->h);
	model[n].is_there = true;
}

static size_t pick(struct soak *s)
{
	return (size_t)pn_prng_below(&s->p, s->h.count);
}

static void step_finish(struct soak *s)
{
	for (uint64_t i = pn_prng_below(&s->p, 12); i > 0 && s->h.count > 0; i--) {
		size_t at = pick(s);
		struct pn_spool_entry *e = s->h.entries[at];
		model[h_number(&e->id)].is_there = false;
		s->h.entries[at] = s->h.entries[--s->h.count];
		assert_int_equal(h_final(&s->h, e), 0);
	}
}

static void step_defer(struct soak *s)
{
	if (s->h.count == 0)
		return;
	struct pn_spool_entry *e = s->h.entries[pick(s)];
	struct item *m = &model[h_number(&e->id)];
	m->has_progress = true;
	m->state0 = (uint8_t)pn_prng_below(&s->p, 5);
	m->attempts++;
	assert_int_equal(h_defer(&s->h, e, m->state0, m->attempts), 0);
	if (pn_spool_entry_wants_move(e))
		assert_int_equal(h_move(&s->h, e), 0);
}

static void check_one(struct soak *s, struct pn_spool_entry *e)
{
	uint32_t n = h_number(&e->id);
	const struct item *m = &model[n];
	assert_int_equal(e->size_bytes, m->size);
	assert_int_equal(e->attempts, m->attempts);
	assert_int_equal(h_check(&s->h, e, n), 0);
	assert_int_equal(h_state_of(&s->h, e, 0), m->has_progress ? m->state0 : PN_RCPT_PENDING);
}

static void step_restart(struct soak *s)
{
	size_t want = 0;
	h_stop(&s->h);
	h_start(&s->h);
	for (uint32_t n = 0; n < s->next; n++)
		want += model[n].is_there;
	assert_int_equal(s->h.count, want);
	for (size_t i = 0; i < s->h.count; i++) {
		assert_true(model[h_number(&s->h.entries[i]->id)].is_there);
		check_one(s, s->h.entries[i]);
	}
}

static void soak(uint64_t seed, int steps)
{
	struct soak s = { .next = 0 };
	memset(model, 0, sizeof(model));
	pn_prng_init(&s.p, seed);
	print_message("seed %llu\n", (unsigned long long)seed);
	h_init(&s.h, true);
	s.h.settings.segment_size_bytes = 128u << 10;
	h_start(&s.h);
	for (int i = 0; i < steps; i++) {
		uint64_t what = pn_prng_below(&s.p, 100);
		if (what < 40 && s.h.count < 300 && s.next < MODEL_MAX - 20)
			step_commit(&s);
		else if (what < 80)
			step_finish(&s);
		else if (what < 90)
			step_defer(&s);
		else if (what < 93 && s.next < MODEL_MAX - 20)
			step_abort(&s);
		else if (what < 95 && s.next < MODEL_MAX - 20)
			step_orphan(&s);
		else if (what < 98 && s.h.count > 0)
			check_one(&s, s.h.entries[pick(&s)]);
		else
			step_restart(&s);
	}
	step_restart(&s);
	while (s.h.count > 0)
		step_finish(&s);
	h_stop(&s.h);
	/* Everything finished: nothing is left. */
	assert_int_equal(h_files(&s.h, "segments", ""), 0);
	assert_int_equal(h_files(&s.h, "files", ""), 0);
	assert_int_equal(h_files(&s.h, "journals", ""), 0);
	assert_int_equal(h_files(&s.h, "damaged", ""), 0);
	h_deinit(&s.h);
}

static void test_soak(void **state)
{
	const char *seed = getenv("PN_TEST_SEED");
	const char *full = getenv("PN_TEST_FULL");
	(void)state;
	if (seed) {
		soak(strtoull(seed, NULL, 10), 600);
		return;
	}
	for (uint64_t i = 1; i <= (full ? 30 : 4); i++)
		soak(i, 600);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_soak) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
