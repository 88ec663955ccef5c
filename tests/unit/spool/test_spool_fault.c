/* SPDX-License-Identifier: ISC */
/*
 * The fault loop: at every site fail the 1st, 2nd, ... result until the workload passes it untouched, with
 * several kinds of failure. After each: what was acknowledged is there once, what was answered with an error is
 * not, what is finished does not come back, and the spool has healed.
 */
#include "harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/fault.h>

#ifdef PN_FAULT_INJECTION

enum fate { UNUSED, ACKED, FAILED, FINISHED, EITHER };

#define MODEL_MAX 256

struct model {
	enum fate fate[MODEL_MAX];
	struct pn_spool_entry *entry[MODEL_MAX];
	uint8_t state0[MODEL_MAX]; /* of the last durable or memory outcome */
	size_t acked, failed;
};

static void note(struct harness *h, struct model *m, struct h_commit *c)
{
	(void)h;
	m->fate[c->n] = c->result == 0 ? ACKED : FAILED;
	m->entry[c->n] = c->entry;
	m->acked += c->result == 0;
	m->failed += c->result != 0;
}

static void commit_group(struct harness *h, struct model *m, uint32_t from, uint32_t count,
			 size_t size)
{
	struct h_commit c[16];
	for (uint32_t i = 0; i < count; i++)
		h_commit_start(h, &c[i], from + i, size, size ? size : 1);
	for (uint32_t i = 0; i < count; i++) {
		h_wait(h, &c[i].is_done);
		note(h, m, &c[i]);
	}
}

static void finish(struct harness *h, struct model *m, uint32_t n)
{
	if (m->fate[n] != ACKED)
		return;
	/* After an error it may still become durable: it goes on trying. */
	m->fate[n] = h_final(h, m->entry[n]) == 0 ? FINISHED : EITHER;
	m->entry[n] = NULL;
}

static void defer(struct harness *h, struct model *m, uint32_t n, uint8_t state0)
{
	if (m->fate[n] != ACKED)
		return;
	(void)h_defer(h, m->entry[n], state0, 1);
	m->state0[n] = state0;
}

/* Reading may be what fails. */
static void expect_state(struct harness *h, struct pn_spool_entry *e, uint8_t want)
{
	uint8_t state = want;
	(void)h_load_state(h, e, 0, &state);
	assert_int_equal(state, want);
}

/* A bit of everything. */
static void workload(struct harness *h, struct model *m)
{
	commit_group(h, m, 0, 8, 3000);
	commit_group(h, m, 8, 2, 40000);
	for (uint32_t n = 10; n < 30; n++)
		commit_group(h, m, n, 1, 12000); /* rolls the segment */
	defer(h, m, 1, PN_RCPT_DELIVERED);
	defer(h, m, 8, PN_RCPT_BOUNCED);
	finish(h, m, 0);
	finish(h, m, 9);
	for (uint32_t n = 10; n < 29; n++)
		finish(h, m, n);
	defer(h, m, 1, PN_RCPT_BOUNCED);
	/* Its journal says so however often it was interrupted. */
	if (m->fate[1] == ACKED) {
		expect_state(h, m->entry[1], PN_RCPT_BOUNCED);
		(void)h_move(h, m->entry[1]);
		expect_state(h, m->entry[1], PN_RCPT_BOUNCED);
	}
	commit_group(h, m, 30, 4, 3000);
	/* A client that leaves in the middle of a large one. */
	int err;
	struct pn_spool_txn *t = pn_spool_txn_begin(h->w, &err);
	if (t) {
		(void)h_feed(h, t, 99, 50000, 10000);
		pn_spool_txn_abort(t);
	}
	h_run_until_idle(h);
}

static void keep_entries(struct harness *h, struct model *m)
{
	for (uint32_t n = 0; n < MODEL_MAX; n++) {
		if (m->entry[n])
			h->entries[h->count++] = m->entry[n];
	}
}

static void check_after_restart(struct harness *h, struct model *m, const char *site)
{
	h_start(h);
	for (uint32_t n = 0; n < MODEL_MAX; n++) {
		int at = h_index(h, n); /* fails if it is there twice */
		switch (m->fate[n]) {
		case ACKED:
			if (at < 0)
				fail_msg("%s: message %u was acknowledged and is lost", site, n);
			assert_int_equal(h_check(h, h->entries[at], n), 0);
			break;
		case FAILED:
			if (at >= 0)
				fail_msg("%s: message %u was answered with an error and is back",
					 site, n);
			break;
		case FINISHED:
			if (at >= 0)
				fail_msg("%s: message %u was finished and is back", site, n);
			break;
		case UNUSED:
			assert_int_equal(at, -1);
			break;
		case EITHER:
			break;
		}
	}
	h_stop(h);
}

/* One run. Returns whether the failure was met. */
static bool run(const char *site, unsigned nth, const char *what, bool for_ever, size_t *failed)
{
	struct harness h;
	struct model m;
	char plan[128];
	memset(&m, 0, sizeof(m));
	h_init(&h, true);
	h.settings.segment_size_bytes = 64u << 10;
	pn_fault_set_plan(NULL);
	h_start(&h);
	snprintf(plan, sizeof(plan), "%s:%u:%s%s", site, nth, what, for_ever ? ":0" : "");
	pn_fault_set_plan(plan);
	workload(&h, &m);
	bool was_met = pn_fault_hits(site) >= nth;
	if (!for_ever) {
		/* It heals: in the end a message comes through. */
		struct h_commit c;
		for (int i = 0; i < 3000; i++) {
			h_commit(&h, &c, 200, 1000);
			if (c.result == 0)
				break;
			assert_int_equal(pn_loop_run_once(h.loop, 5), 0);
		}
		note(&h, &m, &c);
		assert_int_equal(c.result, 0);
		assert_int_equal(pn_spool_admit(h.w), 0);
	}
	*failed += m.failed;
	keep_entries(&h, &m);
	h_stop(&h);
	was_met |= pn_fault_hits(site) >= nth;
	pn_fault_set_plan(NULL);
	check_after_restart(&h, &m, site);
	h_deinit(&h);
	return was_met;
}

struct site {
	const char *name;
	bool is_sized;     /* its result is a length: may be short */
	bool must_fail;    /* some waiter has to hear of it */
	bool may_be_unmet; /* only on the way of another failure */
};

static const struct site sites[] = {
	{ "spool.segment.write", true, true, false },
	{ "spool.segment.fdatasync", false, true, false },
	{ "spool.segment.create", false, false, false },
	{ "spool.segment.fallocate", false, false, false },
	{ "spool.segment.header_write", true, false, false },
	{ "spool.segment.header_fdatasync", false, false, false },
	{ "spool.segments.fsync", false, false, false },
	{ "spool.segment.unlink", false, false, false },
	{ "spool.segment.read", true, false, false },
	{ "spool.file.create", false, true, false },
	{ "spool.file.write", true, true, false },
	{ "spool.file.tail_write", true, true, false },
	{ "spool.file.fdatasync", false, true, false },
	{ "spool.file.rename", false, true, false },
	{ "spool.files.fsync", false, true, false },
	{ "spool.file.unlink", false, false, false },
	{ "spool.file.unlink_tmp", false, false, false },
	{ "spool.journal.write", true, false, false },
	{ "spool.journal.fdatasync", false, false, false },
	{ "spool.journal.create", false, false, true },
	{ "spool.journals.fsync", false, false, true },
	{ "spool.journal.unlink", false, false, true },
	{ "spool.dir.statvfs", false, false, true },
};

static void fault_loop(const struct site *s, const char *what)
{
	size_t failed = 0;
	unsigned nth = 1;
	while (run(s->name, nth, what, false, &failed)) {
		/* The first ones, then larger steps: they are all alike. */
		nth += nth < 6 ? 1 : nth / 2;
		assert_true(nth < 1000);
	}
	if (!s->may_be_unmet && nth == 1)
		fail_msg("%s was never passed", s->name);
	if (s->must_fail && failed == 0)
		fail_msg("%s failed and nobody heard of it", s->name);
}

static void test_every_site_eio(void **state)
{
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(sites); i++)
		fault_loop(&sites[i], "5");
}

static void test_every_sized_site_short(void **state)
{
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(sites); i++) {
		if (sites[i].is_sized)
			fault_loop(&sites[i], "short");
	}
}

static void test_every_site_for_ever(void **state)
{
	size_t failed = 0;
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(sites); i++) {
		run(sites[i].name, 1, "28", true, &failed);
		run(sites[i].name, 3, "28", true, &failed);
	}
	assert_true(failed > 0);
}

static void test_no_new_segment_says_no_space_and_heals(void **state)
{
	struct harness h;
	struct h_commit c;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	pn_fault_set_plan("spool.segment.write:1:5,spool.segment.create:1:28:2");
	h_commit(&h, &c, 0, 100);
	assert_int_equal(c.result, -EIO);
	h_commit(&h, &c, 1, 100);
	assert_true(c.result < 0);
	assert_int_equal(pn_spool_admit(h.w), -ENOSPC);
	for (int i = 0; i < 1000 && pn_spool_admit(h.w) != 0; i++)
		assert_int_equal(pn_loop_run_once(h.loop, 10), 0);
	assert_int_equal(pn_spool_admit(h.w), 0);
	h_commit(&h, &c, 2, 100);
	assert_int_equal(c.result, 0);
	h.entries[h.count++] = c.entry;
	pn_fault_set_plan(NULL);
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 1);
	assert_int_equal(h_index(&h, 2), 0);
	h_stop(&h);
	h_deinit(&h);
}

/* The journal fails twice: the entry goes on with its progress in memory; the final outcome is recorded when it
 * can be. */
static void test_outcomes_survive_a_failing_journal(void **state)
{
	struct harness h;
	struct h_commit c[2];
	(void)state;
	h_init(&h, true);
	h_start(&h);
	h_commit(&h, &c[0], 0, 100);
	h_commit(&h, &c[1], 1, 100);
	assert_int_equal(h_defer(&h, c[1].entry, PN_RCPT_PENDING, 1), 0);
	pn_fault_set_plan("spool.journal.fdatasync:1:5:4");
	assert_int_equal(h_defer(&h, c[1].entry, PN_RCPT_DELIVERED, 2), -EIO);
	assert_int_equal(h_state_of(&h, c[1].entry, 0), PN_RCPT_DELIVERED);
	assert_int_equal(h_final(&h, c[0].entry), -EIO);
	/* Again and again in the background: it gets there. */
	struct pn_spool_stats stats;
	for (int i = 0; i < 1000; i++) {
		pn_spool_stats(h.spool, &stats);
		if (stats.messages == 1)
			break;
		assert_int_equal(pn_loop_run_once(h.loop, 10), 0);
	}
	assert_int_equal(stats.messages, 1);
	assert_int_equal(h_defer(&h, c[1].entry, PN_RCPT_BOUNCED, 3), 0);
	assert_int_equal(h_state_of(&h, c[1].entry, 0), PN_RCPT_BOUNCED);
	h.entries[h.count++] = c[1].entry;
	pn_fault_set_plan(NULL);
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 1);
	assert_int_equal(h_index(&h, 1), 0);
	assert_int_equal(h_state_of(&h, h.entries[0], 0), PN_RCPT_BOUNCED);
	h_stop(&h);
	h_deinit(&h);
}

/* The journal fails and no new one can be made: the same, and it heals. */
static void test_no_new_journal(void **state)
{
	struct harness h;
	struct h_commit c[2];
	struct pn_spool_stats stats;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	h_commit(&h, &c[0], 0, 100);
	h_commit(&h, &c[1], 1, 100);
	pn_fault_set_plan("spool.journal.write:1:5,spool.journal.create:1:28:2");
	assert_true(h_defer(&h, c[1].entry, PN_RCPT_DELIVERED, 2) < 0);
	assert_int_equal(h_state_of(&h, c[1].entry, 0), PN_RCPT_DELIVERED);
	assert_true(h_defer(&h, c[1].entry, PN_RCPT_BOUNCED, 3) < 0);
	assert_int_equal(h_state_of(&h, c[1].entry, 0), PN_RCPT_BOUNCED);
	assert_true(h_final(&h, c[0].entry) < 0);
	stats.messages = 2;
	for (int i = 0; i < 1000 && stats.messages == 2; i++) {
		assert_int_equal(pn_loop_run_once(h.loop, 10), 0);
		pn_spool_stats(h.spool, &stats);
	}
	assert_int_equal(stats.messages, 1);
	h.entries[h.count++] = c[1].entry;
	pn_fault_set_plan(NULL);
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 1);
	assert_int_equal(h_index(&h, 1), 0);
	h_stop(&h);
	h_deinit(&h);
}

/* It never heals: what is owed is owed after the restart. */
static void test_journal_gone_for_good(void **state)
{
	struct harness h;
	struct h_commit c[2];
	(void)state;
	h_init(&h, true);
	h_start(&h);
	h_commit(&h, &c[0], 0, 100);
	h_commit(&h, &c[1], 1, 50000);
	pn_fault_set_plan("spool.journal.write:1:5:0");
	assert_int_equal(h_final(&h, c[0].entry), -EIO);
	assert_int_equal(h_final(&h, c[1].entry), -EIO);
	h_run_until_idle(&h);
	h_stop(&h);
	pn_fault_set_plan(NULL);
	h_start(&h);
	/* The injected failure wrote the records all the same: either is right, but not two of one. */
	assert_true(h.count <= 2);
	(void)h_index(&h, 0);
	(void)h_index(&h, 1);
	h_stop(&h);
	h_deinit(&h);
}

/* Recovery meets each failure in turn: it ends or it says no, and the next start has everything. */
static void test_recovery_under_failures(void **state)
{
	static const char *const names[] = {
		"spool.segment.open",   "spool.segment.read",      "spool.segment.unlink",
		"spool.segments.fsync", "spool.file.open",         "spool.file.read",
		"spool.file.unlink",    "spool.file.unlink_tmp",   "spool.files.fsync",
		"spool.journal.open",   "spool.journal.read",      "spool.journal.unlink",
		"spool.journals.fsync", "spool.void.unlink",       "spool.damaged.create",
		"spool.damaged.write",  "spool.damaged.fdatasync", "spool.damaged.fsync",
	};
	static const char *const errors[] = { "5", "24", "short" };
	struct harness h;
	struct model m;
	(void)state;
	memset(&m, 0, sizeof(m));
	h_init(&h, true);
	pn_fault_set_plan(NULL);
	h_start(&h);
	pn_fault_set_plan("spool.segment.fdatasync:5:5");
	workload(&h, &m);
	pn_fault_set_plan(NULL);
	keep_entries(&h, &m);
	h_stop(&h);
	for (size_t i = 0; i < PN_ARRAY_SIZE(names); i++) {
		for (size_t e = 0; e < PN_ARRAY_SIZE(errors); e++) {
			struct harness copy;
			struct pn_error err;
			char plan[128];
			h_copy(&h, &copy);
			copy.settings.path = copy.path;
			assert_int_equal(pn_spool_open(&copy.settings, &copy.spool, &err), 0);
			snprintf(plan, sizeof(plan), "%s:1:%s", names[i], errors[e]);
			pn_fault_set_plan(plan);
			int res = pn_spool_recover(copy.spool, h_collect, &copy, &err);
			if (res < 0)
				assert_true(strlen(err.text) > 0);
			for (size_t n = 0; n < copy.count; n++)
				pn_spool_entry_free(copy.spool, copy.entries[n]);
			copy.count = 0;
			pn_spool_close(copy.spool);
			copy.spool = NULL;
			pn_fault_set_plan(NULL);
			check_after_restart(&copy, &m, names[i]);
			h_deinit(&copy);
		}
	}
	h_deinit(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_site_eio),
		cmocka_unit_test(test_every_sized_site_short),
		cmocka_unit_test(test_every_site_for_ever),
		cmocka_unit_test(test_no_new_segment_says_no_space_and_heals),
		cmocka_unit_test(test_outcomes_survive_a_failing_journal),
		cmocka_unit_test(test_no_new_journal),
		cmocka_unit_test(test_journal_gone_for_good),
		cmocka_unit_test(test_recovery_under_failures),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
	puts("skipped: this build has no fault injection");
	return 77;
}

#endif
