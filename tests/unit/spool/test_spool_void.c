/* SPDX-License-Identifier: ISC */
/* What was answered with 451 does not come back, whatever fails beside it: note, slot, cut. README.md V1-V6, LF. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <postern/base/fault.h>

#ifdef PN_FAULT_INJECTION

struct counted {
	const char *name;
	uint64_t value;
};

static void look(const struct pn_counter_block *block, void *ctx)
{
	struct counted *c = ctx;
	for (size_t i = 0; i < block->count; i++) {
		if (strcmp(block->names[i], c->name) == 0)
			c->value += pn_counter_get(&block->values[i]);
	}
}

static uint64_t counter(const char *name)
{
	struct counted c = { .name = name };
	pn_counters_for_each(look, &c);
	return c.value;
}

/* Four messages are taken, four more fail with that plan. */
static void fail_some(struct harness *h, const char *plan, size_t size)
{
	struct h_commit c[4];
	h_init(h, true);
	h_start(h);
	for (uint32_t n = 0; n < 4; n++) {
		h_commit(h, &c[n], n, 1000);
		assert_int_equal(c[n].result, 0);
		h->entries[h->count++] = c[n].entry;
	}
	pn_fault_set_plan(plan);
	for (uint32_t n = 4; n < 8; n++)
		h_commit_start(h, &c[n - 4], n, size, size);
	for (uint32_t n = 4; n < 8; n++) {
		h_wait(h, &c[n - 4].is_done);
		assert_true(c[n - 4].result < 0);
	}
}

/* The next lives have the first four and `more` of the others. */
static void expect_lives(struct harness *h, size_t more)
{
	h_stop(h);
	pn_fault_set_plan(NULL);
	for (int life = 0; life < 3; life++) {
		h_start(h);
		assert_int_equal(h->count, 4 + more);
		for (uint32_t n = 0; n < 4; n++)
			assert_int_equal(h_check(h, h->entries[h_index(h, n)], n), 0);
		h_stop(h);
	}
}

static void expect_gone(struct harness *h)
{
	h_start(h);
	while (h->count > 0)
		assert_int_equal(h_final(h, h->entries[--h->count]), 0);
	h_stop(h);
	assert_int_equal(h_files(h, "segments", ""), 0);
	assert_int_equal(h_files(h, "files", ""), 0);
	h_deinit(h);
}

static void test_note(void **state)
{
	struct harness h;
	(void)state;
	fail_some(&h, "spool.segment.fdatasync:1:5", 1000);
	assert_int_equal(h_files(&h, "segments", ".void"), 1);
	expect_lives(&h, 0);
	expect_gone(&h);
}

static void test_slot_when_no_note_can_be_made(void **state)
{
	struct harness h;
	(void)state;
	fail_some(&h,
		  "spool.segment.fdatasync:1:5,spool.void.create:1:28:0,spool.segment.cut:1:5:0",
		  1000);
	assert_int_equal(counter("voids"), 1);
	assert_int_equal(counter("void_failures"), 0);
	assert_int_equal(pn_fault_hits("spool.segment.cut"), 0);
	expect_lives(&h, 0);
	expect_gone(&h);
}

static void test_cut_when_there_is_no_slot_either(void **state)
{
	static const char *const plans[] = {
		"spool.segment.fdatasync:1:5,spool.void.create:1:28:0,spool.voids.write:1:5",
		"spool.segment.write:1:28,spool.void.create:1:28:0,spool.voids.fdatasync:1:5",
		"spool.segment.fdatasync:1:5,spool.segments.fsync:1:28:0,spool.voids.write:1:5",
	};
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(plans); i++) {
		struct harness h;
		fail_some(&h, plans[i], 1000);
		assert_int_equal(counter("void_failures"), 1);
		expect_lives(&h, 0);
		expect_gone(&h);
	}
}

static void test_note_is_tried_again(void **state)
{
	struct harness h;
	(void)state;
	fail_some(&h,
		  "spool.segment.fdatasync:1:5,spool.void.create:1:28:2,spool.voids.write:1:5,"
		  "spool.segment.cut:1:5:0",
		  1000);
	h_wait_files(&h, "segments", ".void", 1);
	expect_lives(&h, 0);
	expect_gone(&h);
}

/* The disk takes nothing at all: nothing acknowledged is lost. The injected failure has cut the file all the same,
 * so all that can be seen here is that it is counted. */
static void test_nothing_helps(void **state)
{
	struct harness h;
	(void)state;
	fail_some(&h,
		  "spool.segment.fdatasync:1:5,spool.void.create:1:30:0,spool.voids.write:1:30:0,"
		  "spool.segment.cut:1:30:0",
		  1000);
	assert_int_equal(counter("void_failures"), 1);
	expect_lives(&h, 0);
	expect_gone(&h);
}

/* A large message whose directory entry may be there, and cannot be removed. */
static void large(const char *more)
{
	struct harness h;
	char plan[256];
	struct h_commit c;
	h_init(&h, true);
	h_start(&h);
	snprintf(plan, sizeof(plan), "spool.files.fsync:1:5,%s", more);
	pn_fault_set_plan(plan);
	h_commit(&h, &c, 0, 50000);
	assert_true(c.result < 0);
	h_stop(&h);
	pn_fault_set_plan(NULL);
	for (int life = 0; life < 3; life++) {
		h_start(&h);
		assert_int_equal(h.count, 0);
		h_stop(&h);
	}
	h_deinit(&h);
}

/* The injected failure of an unlink has unlinked it, so it is put back, as a power loss would. */
static void test_large_that_comes_back(void **state)
{
	static const char *const more[] = { "spool.files.fsync:2:5:0",
					    "spool.files.fsync:2:5:0,spool.voids.write:1:5" };
	struct harness h;
	char path[256], saved[300], command[800];
	(void)state;
	large("spool.file.unlink:1:5:0");
	for (size_t i = 0; i < PN_ARRAY_SIZE(more); i++) {
		struct h_commit c;
		char plan[256];
		h_init(&h, true);
		h_start(&h);
		h_commit(&h, &c, 0, 50000);
		assert_int_equal(c.result, 0);
		h.entries[h.count++] = c.entry;
		snprintf(plan, sizeof(plan), "spool.files.fsync:1:5,%s", more[i]);
		pn_fault_set_plan(plan);
		/* A second name for whatever appears in files/ until the cleanup is through: here, a hard link
		 * made while the fsync is known to fail. */
		h_commit_start(&h, &c, 1, 50000, 50000);
		snprintf(saved, sizeof(saved), "%s/saved", h.path);
		assert_int_equal(mkdir(saved, 0700), 0);
		while (!c.is_done) {
			snprintf(command, sizeof(command), "ln %s/files/* %s/ 2>/dev/null", h.path,
				 saved);
			(void)!system(command);
			assert_int_equal(pn_loop_run_once(h.loop, 1), 0);
		}
		assert_true(c.result < 0);
		h_stop(&h);
		pn_fault_set_plan(NULL);
		snprintf(command, sizeof(command),
			 "cd %s/saved && for f in *; do ln -f $f ../files/${f%%.*}.msg; done; cd "
			 ".. && rm -rf saved",
			 h.path);
		assert_int_equal(system(command), 0);
		h_find(&h, "files", ".msg", path);
		assert_int_equal(h_files(&h, "files", ".msg"), 2);
		h_start(&h);
		assert_int_equal(h.count, 1);
		assert_int_equal(h_index(&h, 0), 0);
		assert_int_equal(h_check(&h, h.entries[0], 0), 0);
		h_stop(&h);
		h_deinit(&h);
	}
}

/* More failures than slots, and slots that become free when their segment goes. */
static void test_slots_run_out_and_come_back(void **state)
{
	enum { ROUNDS = 80 };
	struct harness h;
	struct h_commit c;
	(void)state;
	h_init(&h, true);
	h.settings.segment_size_bytes = 64u << 10;
	h_start(&h);
	for (uint32_t n = 0; n < ROUNDS; n++) {
		/* One that keeps the segment, one that fails. */
		pn_fault_set_plan("spool.void.create:1:28:0");
		h_commit(&h, &c, 2 * n, 100);
		assert_int_equal(c.result, 0);
		h.entries[h.count++] = c.entry;
		pn_fault_set_plan("spool.segment.fdatasync:1:5,spool.void.create:1:28:0");
		h_commit(&h, &c, 2 * n + 1, 100);
		assert_true(c.result < 0);
	}
	uint64_t voids = counter("voids");
	assert_int_equal(voids, 64);
	assert_int_equal(counter("void_failures"), ROUNDS - 64);
	h_stop(&h);
	pn_fault_set_plan(NULL);
	h_start(&h);
	assert_int_equal(h.count, ROUNDS);
	for (uint32_t n = 0; n < ROUNDS; n++)
		assert_true(h_index(&h, 2 * n) >= 0);
	while (h.count > 0)
		assert_int_equal(h_final(&h, h.entries[--h.count]), 0);
	h_wait_files(&h, "segments", ".seg", 1);
	pn_fault_set_plan("spool.segment.fdatasync:1:5,spool.void.create:1:28:0");
	h_commit(&h, &c, 1000, 100);
	assert_true(c.result < 0);
	assert_int_equal(counter("voids"), 1);
	pn_fault_set_plan(NULL);
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 0);
	h_stop(&h);
	h_deinit(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_note),
		cmocka_unit_test(test_slot_when_no_note_can_be_made),
		cmocka_unit_test(test_cut_when_there_is_no_slot_either),
		cmocka_unit_test(test_note_is_tried_again),
		cmocka_unit_test(test_nothing_helps),
		cmocka_unit_test(test_large_that_comes_back),
		cmocka_unit_test(test_slots_run_out_and_come_back),
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
