/* SPDX-License-Identifier: ISC */
/*
 * Reports prove outcomes that no journal has: whoever was told is settled, whatever crashes and however often.
 * README.md B1-B5.
 */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/fault.h>

enum { ORIGINAL = 2 /* three recipients */, REPORT = 4 };

/* Commits a report about the original. */
static struct pn_spool_entry *commit_report(struct harness *h, uint32_t n, size_t size,
					    uint8_t flags, uint32_t count)
{
	struct h_commit c = { .h = h, .n = n };
	struct pn_id original = h_id(ORIGINAL);
	int err;
	c.t = pn_spool_txn_begin(h->w, &err);
	assert_non_null(c.t);
	assert_int_equal(h_feed(h, c.t, n, size, 4000), 0);
	pn_spool_txn_prove(c.t, &original, flags);
	for (uint32_t i = 0; i < count; i++)
		pn_spool_txn_prove_rcpt(c.t, i, PN_RCPT_BOUNCED);
	h_commit_txn(&c, size);
	h_wait(h, &c.is_done);
	assert_int_equal(c.result, 0);
	return c.entry;
}

static struct pn_spool_entry *commit(struct harness *h, uint32_t n)
{
	struct h_commit c;
	h_commit(h, &c, n, 1000);
	assert_int_equal(c.result, 0);
	return c.entry;
}

/* A spool as the crash leaves it: the original and, durable, a report about `count` of its recipients. */
static void crash_between(struct harness *h, size_t size, uint8_t flags, uint32_t count)
{
	h_init(h, true);
	h_start(h);
	h->entries[h->count++] = commit(h, ORIGINAL);
	h->entries[h->count++] = commit_report(h, REPORT, size, flags, count);
	h_stop(h);
	h_start(h);
	assert_int_equal(h->count, 2);
}

static struct pn_spool_entry *entry_of(struct harness *h, uint32_t n)
{
	int at = h_index(h, n);
	assert_true(at >= 0);
	return h->entries[at];
}

static struct pn_spool_entry *take(struct harness *h, uint32_t n)
{
	struct pn_spool_entry *e = entry_of(h, n);
	size_t last = h->count - 1;
	h->entries[h_index(h, n)] = h->entries[last];
	h->count = last;
	return e;
}

static void expect_told(struct harness *h)
{
	assert_int_equal(h_state_of(h, entry_of(h, ORIGINAL), 0), PN_RCPT_BOUNCED);
	assert_int_equal(h_state_of(h, entry_of(h, ORIGINAL), 1), PN_RCPT_PENDING);
}

/* The report leaves while the original waits without a new outcome, through several lives. */
static void survive(size_t size)
{
	struct harness h;
	crash_between(&h, size, 0, 1);
	expect_told(&h);
	assert_int_equal(h_check(&h, entry_of(&h, REPORT), REPORT), 0);
	assert_int_equal(h_final(&h, take(&h, REPORT)), 0);
	for (int life = 0; life < 3; life++) {
		h_stop(&h);
		h_start(&h);
		assert_int_equal(h.count, 1);
		expect_told(&h);
	}
	/* Once it is recorded the proof may go. */
	assert_int_equal(h_defer(&h, entry_of(&h, ORIGINAL), PN_RCPT_BOUNCED, 1), 0);
	for (int life = 0; life < 3; life++) {
		h_stop(&h);
		h_start(&h);
		assert_int_equal(h.count, 1);
		expect_told(&h);
	}
	assert_int_equal(h_final(&h, take(&h, ORIGINAL)), 0);
	h_stop(&h);
	h_start(&h);
	h_stop(&h);
	assert_int_equal(h_files(&h, "segments", ""), 0);
	assert_int_equal(h_files(&h, "files", ""), 0);
	assert_int_equal(h_files(&h, "journals", ""), 0);
	h_deinit(&h);
}

static void test_report_that_leaves_still_proves(void **state)
{
	(void)state;
	survive(1000);
}

static void test_large_report_that_leaves_still_proves(void **state)
{
	(void)state;
	survive(50000);
}

static void test_report_about_all_makes_it_due(void **state)
{
	struct harness h;
	(void)state;
	crash_between(&h, 1000, 0, 3);
	struct pn_spool_entry *e = entry_of(&h, ORIGINAL);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(h_state_of(&h, e, i), PN_RCPT_BOUNCED);
	assert_int_equal(e->next_attempt_wall_ms, 0);
	h_stop(&h);
	h_deinit(&h);
}

/* What journals know is not undone, and what they do not know is added to it. */
static void test_proof_adds_to_progress(void **state)
{
	struct harness h, copy;
	char reply[64];
	(void)state;
	h_init(&h, true);
	h_start(&h);
	struct pn_spool_entry *e = commit(&h, ORIGINAL);
	uint8_t states[3] = { PN_RCPT_PENDING, PN_RCPT_PENDING, PN_RCPT_DELIVERED };
	int result = H_PENDING;
	struct pn_outcome o = { .entry = e,
				.rcpt_states = states,
				.recipient_count = 3,
				.attempts = 7,
				.next_attempt_wall_ms = 5000,
				.last_reply = PN_SLICE_LIT("451 wait") };
	pn_journal_record(h.j, &o, h_on_recorded, &result);
	h_wait_int(&h, &result, H_PENDING);
	h.entries[h.count++] = e;
	h.entries[h.count++] = commit_report(&h, REPORT, 1000, PN_ENTRY_DELAY_SENT, 1);
	h_copy(&h, &copy);
	h_stop(&h);
	h_deinit(&h);
	h_start(&copy);
	e = entry_of(&copy, ORIGINAL);
	expect_told(&copy);
	assert_int_equal(h_state_of(&copy, e, 2), PN_RCPT_DELIVERED);
	assert_int_equal(e->attempts, 7);
	assert_int_equal(e->next_attempt_wall_ms, 5000);
	assert_int_equal(e->flags, PN_ENTRY_DELAY_SENT);
	h_reply_of(&copy, e, reply, sizeof(reply));
	assert_string_equal(reply, "451 wait");
	h_stop(&copy);
	h_deinit(&copy);
}

/* A finished original is not brought back, and its report proves nothing. */
static void test_finished_original_stays_finished(void **state)
{
	struct harness h;
	(void)state;
	crash_between(&h, 1000, 0, 3);
	assert_int_equal(h_final(&h, take(&h, ORIGINAL)), 0);
	for (int life = 0; life < 2; life++) {
		h_stop(&h);
		h_start(&h);
		assert_int_equal(h.count, 1);
		assert_int_equal(h_index(&h, REPORT), 0);
	}
	assert_int_equal(h_final(&h, take(&h, REPORT)), 0);
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 0);
	h_stop(&h);
	assert_int_equal(h_files(&h, "segments", ""), 0);
	h_deinit(&h);
}

/* A report from which no original can be told, or whose numbers are none of it. */
static void test_nonsense_proves_nothing(void **state)
{
	struct harness h;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	h.entries[h.count++] = commit(&h, ORIGINAL);
	h.entries[h.count++] = commit_report(&h, REPORT, 1000, 0, 0);
	h.entries[h.count++] = commit_report(&h, REPORT + 1, 1000, 0, 0);
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(h_state_of(&h, entry_of(&h, ORIGINAL), i), PN_RCPT_PENDING);
	h_stop(&h);
	h_deinit(&h);
}

#ifdef PN_FAULT_INJECTION
/* The original cannot be read in the life in which its report leaves. */
static void test_unreadable_original(void **state)
{
	struct harness h;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	h.entries[h.count++] = commit(&h, ORIGINAL);
	h_stop(&h);
	h_start(&h);
	h.entries[h.count++] = commit_report(&h, REPORT, 50000, 0, 1);
	h_stop(&h);
	pn_fault_set_plan("spool.segment.open:1:5:0");
	h_start(&h);
	pn_fault_set_plan(NULL);
	assert_int_equal(h.count, 1);
	assert_int_equal(h_final(&h, take(&h, REPORT)), 0);
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 1);
	expect_told(&h);
	h_stop(&h);
	h_deinit(&h);
}
#endif

/* In one life: the outcome cannot be recorded, the report leaves all the same; its holder keeps it. */
static void keep(size_t size)
{
	struct harness h, copy;
	h_init(&h, true);
	h_start(&h);
	h.entries[h.count++] = commit(&h, ORIGINAL);
	struct pn_spool_entry *report = commit_report(&h, REPORT, size, 0, 1);
	pn_spool_entry_keep(report);
	pn_spool_entry_keep(report);
	assert_int_equal(h_final(&h, report), 0);
	/* Enough that segment and journal would have gone. */
	for (uint32_t n = 1000; n < 2500; n++)
		assert_int_equal(h_final(&h, commit(&h, n)), 0);
	h_copy(&h, &copy);
	h_stop(&h);
	h_deinit(&h);
	h_start(&copy);
	assert_int_equal(copy.count, 1);
	expect_told(&copy);
	h_stop(&copy);
	h_deinit(&copy);
}

static void test_kept_report_stays(void **state)
{
	(void)state;
	keep(1000);
	keep(50000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_report_that_leaves_still_proves),
		cmocka_unit_test(test_large_report_that_leaves_still_proves),
		cmocka_unit_test(test_report_about_all_makes_it_due),
		cmocka_unit_test(test_proof_adds_to_progress),
		cmocka_unit_test(test_finished_original_stays_finished),
		cmocka_unit_test(test_nonsense_proves_nothing),
#ifdef PN_FAULT_INJECTION
		cmocka_unit_test(test_unreadable_original),
#endif
		cmocka_unit_test(test_kept_report_stays),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
