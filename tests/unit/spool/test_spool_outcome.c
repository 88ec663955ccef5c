/* SPDX-License-Identifier: ISC */
/* Outcomes: progress, finish, merging of journals, removal of segments and journals, bounces, clamping. */
#include "harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/clock.h>

#include <postern/base/fault.h>

static void test_progress_survives(void **state)
{
	struct harness h;
	struct h_commit c;
	(void)state;
	h_init(&h, false);
	h_start(&h);
	h_commit(&h, &c, 2, 3000); /* three recipients */
	assert_int_equal(h_defer(&h, c.entry, PN_RCPT_DELIVERED, 1), 0);
	assert_null(c.entry->blob);
	assert_int_equal(h_check(&h, c.entry, 2), 0);
	assert_int_equal(h_state_of(&h, c.entry, 0), PN_RCPT_DELIVERED);
	assert_int_equal(h_state_of(&h, c.entry, 1), PN_RCPT_PENDING);
	assert_int_equal(h_defer(&h, c.entry, PN_RCPT_BOUNCED, 2), 0);
	h.entries[h.count++] = c.entry;
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 1);
	assert_int_equal(h.entries[0]->attempts, 2);
	assert_int_equal(h.entries[0]->next_attempt_wall_ms, 1002);
	assert_int_equal(h_state_of(&h, h.entries[0], 0), PN_RCPT_BOUNCED);
	assert_int_equal(h_check(&h, h.entries[0], 2), 0);
	h_stop(&h);
	h_deinit(&h);
}

static void test_newest_outcome_wins_across_lives(void **state)
{
	struct harness h;
	struct h_commit c;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	h_commit(&h, &c, 0, 3000);
	h.entries[h.count++] = c.entry;
	for (uint16_t life = 1; life <= 10; life++) {
		assert_int_equal(h_defer(&h, h.entries[0], life % 2, life), 0);
		h_stop(&h);
		h_start(&h);
		assert_int_equal(h.count, 1);
		assert_int_equal(h.entries[0]->attempts, life);
		assert_int_equal(h_state_of(&h, h.entries[0], 0), life % 2);
		/* Only the journal with the newest progress is kept, and the one in use. */
		assert_true(h_files(&h, "journals", ".jnl") <= 2);
	}
	assert_int_equal(h_final(&h, h.entries[0]), 0);
	h.count = 0;
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 0);
	assert_int_equal(h_files(&h, "segments", ".seg"), 1);
	assert_int_equal(h_files(&h, "journals", ".jnl"), 1);
	h_stop(&h);
	assert_int_equal(h_files(&h, "segments", ".seg"), 0);
	assert_int_equal(h_files(&h, "journals", ".jnl"), 0);
	h_deinit(&h);
}

static void test_next_attempt_is_clamped(void **state)
{
	struct harness h;
	struct h_commit c;
	int result = H_PENDING;
	uint8_t states[3] = { 0 };
	(void)state;
	h_init(&h, true);
	h_start(&h);
	h_commit(&h, &c, 0, 100);
	h.entries[h.count++] = c.entry;
	struct pn_outcome o = {
		.entry = c.entry,
		.rcpt_states = states,
		.recipient_count = 1,
		.next_attempt_wall_ms = UINT64_MAX,
		.flags = PN_ENTRY_HELD,
	};
	pn_journal_record(h.j, &o, h_on_recorded, &result);
	h_wait_int(&h, &result, H_PENDING);
	h_stop(&h);
	h_start(&h);
	uint64_t now = pn_clock_wall_ms();
	assert_true(h.entries[0]->next_attempt_wall_ms > now);
	assert_true(h.entries[0]->next_attempt_wall_ms <= now + 24u * 3600 * 1000);
	assert_int_equal(h.entries[0]->flags, PN_ENTRY_HELD);
	h_stop(&h);
	h_deinit(&h);
}

/* Many messages through small segments and journals: everything goes in the end, and what remains stays. */
static void test_segments_and_journals_are_removed(void **state)
{
	struct harness h;
	struct h_commit c;
	struct pn_spool_entry *stubborn = NULL;
	struct pn_spool_stats stats;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	for (uint32_t i = 0; i < 800; i++) {
		h_commit(&h, &c, i, 3000);
		assert_int_equal(c.result, 0);
		if (i == 100) {
			stubborn = c.entry;
			assert_int_equal(h_defer(&h, stubborn, PN_RCPT_DELIVERED, 1), 0);
		} else {
			assert_int_equal(h_final(&h, c.entry), 0);
		}
	}
	/* The segment with the stubborn one, the current, the one made ahead. */
	h_run_until_idle(&h);
	for (int i = 0; i < 3000 && h_files(&h, "segments", ".seg") > 3; i++)
		usleep(1000);
	assert_true(h_files(&h, "segments", ".seg") <= 3);
	pn_spool_stats(h.spool, &stats);
	assert_int_equal(stats.messages, 1);
	assert_true(stats.disk_bytes < 8 * h.settings.segment_size_bytes);
	h.entries[h.count++] = stubborn;
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 1);
	assert_int_equal(h_check(&h, h.entries[0], 100), 0);
	assert_int_equal(h_state_of(&h, h.entries[0], 0), PN_RCPT_DELIVERED);
	/* With it goes the rest. */
	assert_int_equal(h_final(&h, h.entries[--h.count]), 0);
	h_wait_files(&h, "segments", ".seg", 1);
	h_stop(&h);
	assert_int_equal(h_files(&h, "segments", ""), 0);
	assert_int_equal(h_files(&h, "journals", ""), 0);
	h_deinit(&h);
}

/* A finished message in a segment that is kept must not come back when its journal is old. */
static void test_finished_stays_finished_while_its_segment_stays(void **state)
{
	struct harness h;
	struct h_commit c[3];
	(void)state;
	h_init(&h, true);
	h_start(&h);
	for (uint32_t i = 0; i < 3; i++)
		h_commit(&h, &c[i], i, 1000);
	assert_int_equal(h_final(&h, c[0].entry), 0);
	h.entries[h.count++] = c[1].entry;
	h.entries[h.count++] = c[2].entry;
	for (int life = 0; life < 4; life++) {
		h_stop(&h);
		h_start(&h);
		assert_int_equal(h.count, 2);
		assert_int_equal(h_index(&h, 0), -1);
		/* New journals fill up and go; the one that says "0 is finished" must stay. */
		for (int i = 0; i < 300; i++)
			assert_int_equal(h_defer(&h, h.entries[1], 0, (uint16_t)i), 0);
	}
	h_stop(&h);
	h_deinit(&h);
}

static void test_reply_text_comes_back(void **state)
{
	struct harness h;
	struct h_commit c;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	h_commit(&h, &c, 0, 1000);
	assert_int_equal(h_defer(&h, c.entry, 0, 1), 0);
	h.entries[h.count++] = c.entry;
	char reply[64];
	h_reply_of(&h, c.entry, reply, sizeof(reply));
	assert_string_equal(reply, "451 4.3.2 not now");
	h_stop(&h);
	h_start(&h);
	h_reply_of(&h, h.entries[0], reply, sizeof(reply));
	assert_string_equal(reply, "451 4.3.2 not now");
	h_stop(&h);
	h_deinit(&h);
}

static void test_damaged_progress_is_ignored(void **state)
{
	struct harness h;
	struct h_commit c;
	char path[256];
	(void)state;
	h_init(&h, true);
	h_start(&h);
	h_commit(&h, &c, 0, 1000);
	assert_int_equal(h_defer(&h, c.entry, PN_RCPT_DELIVERED, 1), 0);
	h_find(&h, "journals", ".jnl", path);
	assert_int_equal(truncate(path, 4096 + 70), 0);
	assert_int_equal(h_state_of(&h, c.entry, 0), PN_RCPT_PENDING);
	assert_int_equal(h_check(&h, c.entry, 0), 0);
	h.entries[h.count++] = c.entry;
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 1);
	h_stop(&h);
	h_deinit(&h);
}

static void test_outcomes_share_a_sync(void **state)
{
	struct harness h;
	struct h_commit c[100];
	int results[100];
	(void)state;
	h_init(&h, true);
	h.settings.outcome_sync_ms = 20;
	h_start(&h);
	for (uint32_t i = 0; i < 100; i++) {
		h_commit_start(&h, &c[i], i, 100, 100);
		results[i] = H_PENDING;
	}
	h_run_until_idle(&h);
	for (uint32_t i = 0; i < 100; i++) {
		struct pn_outcome o = { .entry = c[i].entry, .is_final = true };
		pn_journal_record(h.j, &o, h_on_recorded, &results[i]);
	}
	assert_true(pn_journal_is_busy(h.j));
	for (uint32_t i = 0; i < 100; i++) {
		h_wait_int(&h, &results[i], H_PENDING);
		assert_int_equal(results[i], 0);
	}
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 0);
	h_stop(&h);
	h_deinit(&h);
}

#ifdef PN_FAULT_INJECTION
/* One start cannot read the segment, so nothing refers to its journals: they stay, for the next one can. */
static void unreadable_segment(const char *plan)
{
	struct harness h;
	struct h_commit c[2];
	h_init(&h, true);
	h_start(&h);
	h_commit(&h, &c[0], 0, 1000);
	h_commit(&h, &c[1], 1, 1000);
	assert_int_equal(h_final(&h, c[0].entry), 0);
	assert_int_equal(h_defer(&h, c[1].entry, PN_RCPT_DELIVERED, 1), 0);
	h.entries[h.count++] = c[1].entry;
	h_stop(&h);
	for (int life = 0; life < 2; life++) {
		pn_fault_set_plan(plan);
		h_start(&h);
		assert_int_equal(h.count, 0);
		h_stop(&h);
		pn_fault_set_plan(NULL);
	}
	h_start(&h);
	assert_int_equal(h.count, 1);
	assert_int_equal(h_index(&h, 1), 0);
	assert_int_equal(h_state_of(&h, h.entries[0], 0), PN_RCPT_DELIVERED);
	assert_int_equal(h_final(&h, h.entries[--h.count]), 0);
	h_stop(&h);
	h_start(&h);
	h_stop(&h);
	assert_int_equal(h_files(&h, "segments", ""), 0);
	assert_int_equal(h_files(&h, "journals", ""), 0);
	h_deinit(&h);
}

static void test_journals_outlive_an_unreadable_segment(void **state)
{
	(void)state;
	unreadable_segment("spool.segment.open:1:5:0");
	unreadable_segment("spool.segment.read:1:5:0");
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifdef PN_FAULT_INJECTION
		cmocka_unit_test(test_journals_outlive_an_unreadable_segment),
#endif
		cmocka_unit_test(test_progress_survives),
		cmocka_unit_test(test_newest_outcome_wins_across_lives),
		cmocka_unit_test(test_next_attempt_is_clamped),
		cmocka_unit_test(test_segments_and_journals_are_removed),
		cmocka_unit_test(test_finished_stays_finished_while_its_segment_stays),
		cmocka_unit_test(test_reply_text_comes_back),
		cmocka_unit_test(test_damaged_progress_is_ignored),
		cmocka_unit_test(test_outcomes_share_a_sync),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
