/* SPDX-License-Identifier: ISC */
/* Copy-forward: a stubborn message moves on, its old segment goes, and no crash makes two of it. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/fault.h>

/* Fills segments until message `keep` alone is left in the first; returns its entry. */
static struct pn_spool_entry *make_stubborn(struct harness *h, uint32_t keep)
{
	struct pn_spool_entry *e = NULL;
	struct h_commit c;
	for (uint32_t i = 0; i < 120; i++) {
		h_commit(h, &c, i, 3000);
		assert_int_equal(c.result, 0);
		if (i == keep)
			e = c.entry;
		else
			assert_int_equal(h_final(h, c.entry), 0);
	}
	assert_int_equal(h_defer(h, e, PN_RCPT_DELIVERED, 1), 0);
	return e;
}

static void test_only_stubborn_messages_want_it(void **state)
{
	struct harness h;
	struct h_commit c;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	h_commit(&h, &c, 500, 3000);
	assert_false(pn_spool_entry_wants_move(c.entry));
	h.entries[h.count++] = c.entry;
	h_commit(&h, &c, 501, 100000);
	assert_false(pn_spool_entry_wants_move(c.entry));
	assert_int_equal(h_move(&h, c.entry), -EINVAL);
	h.entries[h.count++] = c.entry;
	struct pn_spool_entry *e = make_stubborn(&h, 7);
	assert_true(pn_spool_entry_wants_move(e));
	h.entries[h.count++] = e;
	h_stop(&h);
	h_deinit(&h);
}

static void test_move_frees_the_old_segment(void **state)
{
	struct harness h;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	struct pn_spool_entry *e = make_stubborn(&h, 7);
	size_t before = h_files(&h, "segments", ".seg");
	struct pn_spool_file *old = e->file;
	assert_int_equal(h_move(&h, e), 0);
	assert_ptr_not_equal(e->file, old);
	h_wait_files(&h, "segments", ".seg", before - 1);
	assert_int_equal(h_check(&h, e, 7), 0);
	assert_int_equal(h_state_of(&h, e, 0), PN_RCPT_DELIVERED);
	assert_false(pn_spool_entry_wants_move(e));
	h.entries[h.count++] = e;
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 1);
	assert_int_equal(h.entries[0]->generation, 1);
	assert_int_equal(h_check(&h, h.entries[0], 7), 0);
	assert_int_equal(h_state_of(&h, h.entries[0], 0), PN_RCPT_DELIVERED);
	assert_int_equal(h_final(&h, h.entries[--h.count]), 0);
	h_stop(&h);
	assert_int_equal(h_files(&h, "segments", ""), 0);
	assert_int_equal(h_files(&h, "journals", ""), 0);
	h_deinit(&h);
}

/* Both copies on disk: one message, the newer copy. Finished: none, for as long as the older copy lies about. */
static void test_two_copies_are_one_message(void **state)
{
	struct harness h, copy;
	struct h_commit c;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	/* A neighbour in the old segment keeps it. */
	h_commit(&h, &c, 900, 2000);
	struct pn_spool_entry *neighbour = c.entry;
	struct pn_spool_entry *e = make_stubborn(&h, 7);
	assert_int_equal(h_move(&h, e), 0);
	h_copy(&h, &copy);
	h_start(&copy);
	assert_int_equal(copy.count, 2);
	assert_true(h_index(&copy, 900) >= 0);
	int at = h_index(&copy, 7);
	assert_int_equal(copy.entries[at]->generation, 1);
	assert_int_equal(h_check(&copy, copy.entries[at], 7), 0);
	/* Finish it here; the old copy is still beside the neighbour. Several lives. */
	struct pn_spool_entry *moved = copy.entries[at];
	copy.entries[at] = copy.entries[--copy.count];
	assert_int_equal(h_final(&copy, moved), 0);
	for (int life = 0; life < 3; life++) {
		h_stop(&copy);
		h_start(&copy);
		assert_int_equal(copy.count, 1);
		assert_int_equal(h_index(&copy, 7), -1);
	}
	h_stop(&copy);
	h_deinit(&copy);
	/* The same in the first life, while segments and journals come and go: "7 is finished" stands in a journal that says nothing else of
	 * the old segment. */
	for (uint32_t i = 1000; i < 2500; i++) {
		if (i == 1700)
			assert_int_equal(h_final(&h, e), 0);
		h_commit(&h, &c, i, 500);
		assert_int_equal(h_final(&h, c.entry), 0);
	}
	h.entries[h.count++] = neighbour;
	for (int life = 0; life < 3; life++) {
		h_stop(&h);
		h_start(&h);
		assert_int_equal(h.count, 1);
		assert_int_equal(h_index(&h, 7), -1);
	}
	h_stop(&h);
	h_deinit(&h);
}

static void test_damaged_record_is_not_moved(void **state)
{
	struct harness h;
	struct pn_spool_entry *e;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	e = make_stubborn(&h, 7);
	/* Whichever segment it is: spoil the place in all. */
	char command[600];
	snprintf(command, sizeof(command),
		 "for f in %s/segments/*.seg; do printf X | dd of=$f bs=1 seek=%llu conv=notrunc "
		 "status=none; done",
		 h.path, (unsigned long long)e->offset + 200);
	assert_int_equal(system(command), 0);
	struct pn_spool_file *old = e->file;
	assert_int_equal(h_move(&h, e), -EBADMSG);
	assert_ptr_equal(e->file, old);
	assert_int_equal(h_check(&h, e, 7), -EBADMSG);
	h.entries[h.count++] = e;
	h_stop(&h);
	h_deinit(&h);
}

#ifdef PN_FAULT_INJECTION
/* One message was moved from the old segment to the new one, the move of another one to it has failed: each knows
 * the other. */
static void test_failed_move_holds_nothing(void **state)
{
	struct harness h;
	struct h_commit c;
	struct pn_spool_entry *e[2];
	(void)state;
	h_init(&h, true);
	h_start(&h);
	h_commit(&h, &c, 900, 2000);
	e[0] = c.entry;
	e[1] = make_stubborn(&h, 7);
	assert_ptr_equal(e[0]->file, e[1]->file);
	assert_int_equal(h_move(&h, e[0]), 0);
	pn_fault_set_plan("spool.segment.fdatasync:1:5");
	assert_int_equal(h_move(&h, e[1]), -EIO);
	pn_fault_set_plan(NULL);
	for (int i = 0; i < 2; i++)
		assert_int_equal(h_final(&h, e[i]), 0);
	/* Both go, and with them the note; what is made next stays. */
	h_commit(&h, &c, 901, 2000);
	h_wait_files(&h, "segments", ".seg", 1);
	h_wait_files(&h, "segments", ".void", 0);
	h.entries[h.count++] = c.entry;
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 1);
	assert_int_equal(h_index(&h, 901), 0);
	h_stop(&h);
	h_deinit(&h);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_stubborn_messages_want_it),
		cmocka_unit_test(test_move_frees_the_old_segment),
		cmocka_unit_test(test_two_copies_are_one_message),
		cmocka_unit_test(test_damaged_record_is_not_moved),
#ifdef PN_FAULT_INJECTION
		cmocka_unit_test(test_failed_move_holds_nothing),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
