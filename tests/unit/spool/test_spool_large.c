/* SPDX-License-Identifier: ISC */
/* Messages in files of their own: spill, bounded memory, abort at each stage, recovery, damage, finish. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/loop_internal.h"
#include "spool/writer.h"

static void flip_in(struct harness *h, off_t at)
{
	char path[256];
	uint8_t c;
	struct stat st;
	h_find(h, "files", ".msg", path);
	int fd = open(path, O_RDWR);
	assert_int_equal(fstat(fd, &st), 0);
	at = at < 0 ? st.st_size + at : at;
	assert_int_equal(pread(fd, &c, 1, at), 1);
	c ^= 0x20;
	assert_int_equal(pwrite(fd, &c, 1, at), 1);
	close(fd);
}

static void test_sizes_around_the_inline_limit(void **state)
{
	static const size_t sizes[] = { 16383, 16384,  16385,  65535,  65536,
					65537, 131072, 131073, 1000000 };
	struct harness h;
	struct h_commit c;
	(void)state;
	h_init(&h, false);
	h_start(&h);
	for (uint32_t i = 0; i < PN_ARRAY_SIZE(sizes); i++) {
		h_commit(&h, &c, i, sizes[i]);
		assert_int_equal(c.result, 0);
		h.entries[h.count++] = c.entry;
		assert_int_equal(h_check(&h, c.entry, i), 0);
	}
	assert_int_equal(h_files(&h, "files", ".msg"), 7);
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, PN_ARRAY_SIZE(sizes));
	for (uint32_t i = 0; i < PN_ARRAY_SIZE(sizes); i++) {
		int at = h_index(&h, i);
		assert_int_equal(h.entries[at]->size_bytes, sizes[i]);
		assert_int_equal(h_check(&h, h.entries[at], i), 0);
		assert_int_equal(h_check_stored(&h, h.entries[at], i), 0);
	}
	h_stop(&h);
	h_deinit(&h);
}

/* Large blocks stay for the next message, and go when there is none for a while. */
static void test_memory_of_large_blocks_goes_back_some_time(void **state)
{
	struct harness h;
	struct h_commit c;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	h_commit(&h, &c, 1, 1000000);
	assert_int_equal(c.result, 0);
	assert_int_equal(h_final(&h, c.entry), 0);
	h_run_until_idle(&h);
	assert_int_equal(h.spool->pool.chunks, 1);
	assert_int_equal(h.spool->pool.spare, 1);
	assert_true(pn_timer_is_armed(&h.w->trim_timer));
	for (int i = 0; i < 2; i++) {
		h.loop->now_ms += PN_POOL_TRIM_MS;
		(void)pn_timer_wheel_advance(&h.loop->timers, h.loop->now_ms);
	}
	assert_int_equal(h.spool->pool.chunks, 0);
	assert_false(pn_timer_is_armed(&h.w->trim_timer));
	/* The next one starts it again. */
	h_commit(&h, &c, 2, 1000000);
	assert_int_equal(c.result, 0);
	assert_true(pn_timer_is_armed(&h.w->trim_timer));
	h.entries[h.count++] = c.entry;
	h_stop(&h);
	h_deinit(&h);
}

static void on_writable(struct pn_spool_txn *t, void *ctx)
{
	(void)t;
	*(bool *)ctx = true;
}

static void test_a_message_of_50_mib_costs_little_memory(void **state)
{
	struct harness h;
	struct h_commit c = { .n = 0 };
	struct pn_spool_stats stats;
	uint64_t most = 0;
	size_t size = 50u << 20;
	bool is_writable = false;
	int err;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	uint8_t *content = h_content(0, size);
	c.t = pn_spool_txn_begin(h.w, &err);
	pn_spool_txn_on_writable(c.t, on_writable, &is_writable);
	for (size_t at = 0; at < size; at += 16384) {
		int res = pn_spool_txn_write(c.t,
					     pn_slice(content + at, pn_min_size(16384, size - at)));
		assert_true(res >= 0);
		pn_spool_stats(h.spool, &stats);
		most = stats.memory_bytes > most ? stats.memory_bytes : most;
		if (res == 1)
			h_wait(&h, &is_writable);
		is_writable = false;
	}
	pn_spool_txn_on_writable(c.t, NULL, NULL);
	free(content);
	assert_true(most < (1u << 19));
	h_commit_txn(&c, size);
	h_wait(&h, &c.is_done);
	assert_int_equal(c.result, 0);
	h.entries[h.count++] = c.entry;
	assert_int_equal(h_check(&h, c.entry, 0), 0);
	h_stop(&h);
	h_deinit(&h);
}

static void test_backpressure_is_told_and_lifted(void **state)
{
	struct harness h;
	struct h_commit c;
	bool is_writable = false;
	int err, res = 0, stops = 0;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	c = (struct h_commit){ .h = &h, .n = 9 };
	c.t = pn_spool_txn_begin(h.w, &err);
	uint8_t *content = h_content(9, 1500000);
	pn_spool_txn_on_writable(c.t, on_writable, &is_writable);
	/* Without the loop running nothing can be written: it has to say stop soon. */
	for (size_t at = 0; at < 1500000; at += 10000) {
		res = pn_spool_txn_write(c.t, pn_slice(content + at, 10000));
		assert_true(res >= 0);
		if (res == 0)
			continue;
		if (stops++ == 0)
			assert_true(at < 500000);
		assert_false(is_writable);
		h_wait(&h, &is_writable);
		is_writable = false;
	}
	free(content);
	assert_true(stops > 1);
	pn_spool_txn_on_writable(c.t, NULL, NULL);
	h_commit_txn(&c, 1500000);
	h_wait(&h, &c.is_done);
	assert_int_equal(c.result, 0);
	h.entries[h.count++] = c.entry;
	assert_int_equal(h_check(&h, c.entry, 9), 0);
	h_stop(&h);
	h_deinit(&h);
}

static void test_many_names_share_a_sync(void **state)
{
	static struct h_commit c[60];
	struct harness h;
	(void)state;
	h_init(&h, false);
	h_start(&h);
	for (uint32_t i = 0; i < PN_ARRAY_SIZE(c); i++)
		h_commit_start(&h, &c[i], i, 20000, 16384);
	for (uint32_t i = 0; i < PN_ARRAY_SIZE(c); i++) {
		h_wait(&h, &c[i].is_done);
		assert_int_equal(c[i].result, 0);
		h.entries[h.count++] = c[i].entry;
	}
	assert_int_equal(pn_counter_get(&h.w->counters[PN_WRITER_C_large_commits]),
			 PN_ARRAY_SIZE(c));
	assert_in_range(pn_counter_get(&h.w->counters[PN_WRITER_C_name_syncs]), 1,
			PN_ARRAY_SIZE(c) - 1);
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, PN_ARRAY_SIZE(c));
	h_stop(&h);
	h_deinit(&h);
}

static void test_abort_at_each_stage(void **state)
{
	struct harness h;
	struct pn_spool_stats stats;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	for (int rounds = 0; rounds < 12; rounds++) {
		int err;
		uint8_t *content = h_content(1, 100000);
		struct pn_spool_txn *t = pn_spool_txn_begin(h.w, &err);
		assert_true(pn_spool_txn_write(t, pn_slice(content, 100000)) >= 0);
		for (int i = 0; i < rounds; i++)
			assert_int_equal(pn_loop_run_once(h.loop, 1), 0);
		pn_spool_txn_abort(t);
		free(content);
		h_run_until_idle(&h);
		pn_spool_stats(h.spool, &stats);
		assert_int_equal(stats.memory_bytes, 0);
		assert_int_equal(stats.files, 0);
	}
	h_wait_files(&h, "files", "", 0);
	/* While the commit is on its way: it goes on. */
	for (int rounds = 0; rounds < 12; rounds++) {
		struct h_commit c;
		h_commit_start(&h, &c, (uint32_t)(100 + rounds), 100000, 20000);
		for (int i = 0; i < rounds && !c.is_done; i++)
			assert_int_equal(pn_loop_run_once(h.loop, 1), 0);
		if (c.is_done)
			h.entries[h.count++] = c.entry;
		else
			pn_spool_txn_abort(c.t);
		h_run_until_idle(&h);
	}
	assert_int_equal(h.count, 12);
	assert_true(h.orphans > 0);
	for (uint32_t i = 0; i < 12; i++)
		assert_int_equal(h_check(&h, h.entries[i], 100 + i), 0);
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 12);
	h_stop(&h);
	h_deinit(&h);
}

static void test_unfinished_files_are_unlinked_at_start(void **state)
{
	struct harness h;
	struct h_commit c;
	char path[256], tmp[260];
	(void)state;
	h_init(&h, true);
	h_start(&h);
	h_commit(&h, &c, 0, 50000);
	h.entries[h.count++] = c.entry;
	h_stop(&h);
	/* Whole and good, but it never got its name. */
	h_find(&h, "files", ".msg", path);
	snprintf(tmp, sizeof(tmp), "%.*s.tmp", (int)strlen(path) - 4, path);
	assert_int_equal(rename(path, tmp), 0);
	h_start(&h);
	assert_int_equal(h.count, 0);
	assert_int_equal(h_files(&h, "files", ""), 0);
	h_stop(&h);
	h_deinit(&h);
}

static void test_damaged_content_is_never_completed(void **state)
{
	static const off_t places[] = { 4096, 4096 + 70000, 4096 + 199999 };
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(places); i++) {
		struct harness h;
		struct h_commit c;
		h_init(&h, true);
		h_start(&h);
		h_commit(&h, &c, 0, 200000);
		h.entries[h.count++] = c.entry;
		flip_in(&h, places[i]);
		assert_int_equal(h_check_stored(&h, c.entry, 0), -EBADMSG);
		h_wait_files(&h, "damaged", ".msg", 1);
		h_stop(&h);
		h_deinit(&h);
	}
}

static void test_damaged_end_is_set_aside_at_start(void **state)
{
	static const off_t places[] = { -1, -30, -64, -65, -200 };
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(places); i++) {
		struct harness h;
		struct h_commit c;
		h_init(&h, true);
		h_start(&h);
		h_commit(&h, &c, 0, 100000);
		h.entries[h.count++] = c.entry;
		flip_in(&h, places[i]);
		/* While it runs the reader notices. */
		assert_int_equal(h_check(&h, c.entry, 0), -EBADMSG);
		h_stop(&h);
		h_start(&h);
		assert_int_equal(h.count, 0);
		assert_int_equal(h_files(&h, "damaged", ".msg"), 1);
		assert_int_equal(h_files(&h, "files", ""), 0);
		h_stop(&h);
		h_deinit(&h);
	}
}

static void test_vanished_file_is_an_error(void **state)
{
	struct harness h;
	struct h_commit c;
	char path[256];
	(void)state;
	h_init(&h, true);
	h_start(&h);
	h_commit(&h, &c, 0, 100000);
	h.entries[h.count++] = c.entry;
	h_find(&h, "files", ".msg", path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(h_check(&h, c.entry, 0), -ENOENT);
	h_stop(&h);
	h_deinit(&h);
}

static void test_finished_file_is_unlinked_and_not_found_again(void **state)
{
	struct harness h;
	struct h_commit c;
	struct pn_spool_stats stats;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	h_commit(&h, &c, 0, 100000);
	assert_int_equal(h_defer(&h, c.entry, PN_RCPT_DELIVERED, 1), 0);
	assert_int_equal(h_state_of(&h, c.entry, 0), PN_RCPT_DELIVERED);
	assert_int_equal(h_final(&h, c.entry), 0);
	h_wait_files(&h, "files", "", 0);
	pn_spool_stats(h.spool, &stats);
	assert_int_equal(stats.messages, 0);
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 0);
	h_stop(&h);
	h_deinit(&h);
}

static void test_finished_file_still_there_is_removed_at_start(void **state)
{
	struct harness h, copy;
	struct h_commit c;
	char path[256], saved[300];
	(void)state;
	h_init(&h, true);
	h_start(&h);
	h_commit(&h, &c, 0, 100000);
	h_find(&h, "files", ".msg", path);
	snprintf(saved, sizeof(saved), "%s.saved", path);
	assert_int_equal(link(path, saved), 0);
	assert_int_equal(h_final(&h, c.entry), 0);
	h_wait_files(&h, "files", ".msg", 0);
	/* As after a crash between the outcome and the unlink. */
	assert_int_equal(rename(saved, path), 0);
	h_copy(&h, &copy);
	h_stop(&h);
	h_deinit(&h);
	h_start(&copy);
	assert_int_equal(copy.count, 0);
	assert_int_equal(h_files(&copy, "files", ".msg"), 0);
	h_stop(&copy);
	h_deinit(&copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_of_large_blocks_goes_back_some_time),
		cmocka_unit_test(test_sizes_around_the_inline_limit),
		cmocka_unit_test(test_a_message_of_50_mib_costs_little_memory),
		cmocka_unit_test(test_backpressure_is_told_and_lifted),
		cmocka_unit_test(test_many_names_share_a_sync),
		cmocka_unit_test(test_abort_at_each_stage),
		cmocka_unit_test(test_unfinished_files_are_unlinked_at_start),
		cmocka_unit_test(test_damaged_content_is_never_completed),
		cmocka_unit_test(test_damaged_end_is_set_aside_at_start),
		cmocka_unit_test(test_vanished_file_is_an_error),
		cmocka_unit_test(test_finished_file_is_unlinked_and_not_found_again),
		cmocka_unit_test(test_finished_file_still_there_is_removed_at_start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
