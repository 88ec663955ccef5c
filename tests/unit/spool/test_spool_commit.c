/* SPDX-License-Identifier: ISC */
/* Inline messages: commit, read back from memory and from disk, recovery, abort, limits, rolling, damage. */
#include "harness.h"
#include "spool/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <postern/base/codec.h>
#include <postern/base/fault.h>

static void flip(const char *path, off_t at)
{
	uint8_t c;
	int fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, &c, 1, at), 1);
	c ^= 0x40;
	assert_int_equal(pwrite(fd, &c, 1, at), 1);
	close(fd);
}

static void test_commit_read_and_recover(void **state)
{
	struct harness h;
	struct h_commit c[20];
	struct pn_spool_stats stats;
	(void)state;
	h_init(&h, false);
	h_start(&h);
	for (uint32_t i = 0; i < 20; i++) {
		h_commit(&h, &c[i], i, i * 700);
		assert_int_equal(c[i].result, 0);
		h.entries[h.count++] = c[i].entry;
		assert_non_null(c[i].entry->blob);
		assert_int_equal(h_check(&h, c[i].entry, i), 0);
		assert_int_equal(h_check_stored(&h, c[i].entry, i), 0);
	}
	pn_spool_stats(h.spool, &stats);
	assert_int_equal(stats.messages, 20);
	assert_true(stats.memory_bytes > 0 && stats.free_bytes > 0 && stats.disk_bytes > 0);
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 20);
	for (uint32_t i = 0; i < 20; i++) {
		int at = h_index(&h, i);
		assert_true(at >= 0);
		assert_null(h.entries[at]->blob);
		assert_int_equal(h_check(&h, h.entries[at], i), 0);
		assert_int_equal(h_check_stored(&h, h.entries[at], i), 0);
	}
	h_stop(&h);
	h_deinit(&h);
}

static void test_gathered_commits_share_a_sync(void **state)
{
	struct harness h;
	struct h_commit c[200];
	(void)state;
	h_init(&h, true);
	h_start(&h);
	for (uint32_t i = 0; i < 200; i++)
		h_commit_start(&h, &c[i], i, 300, 300);
#ifdef PN_FAULT_INJECTION
	pn_fault_set_plan(NULL);
#endif
	for (uint32_t i = 0; i < 200; i++) {
		h_wait(&h, &c[i].is_done);
		assert_int_equal(c[i].result, 0);
		h.entries[h.count++] = c[i].entry;
	}
#ifdef PN_FAULT_INJECTION
	/* 200 messages of about 600 octets: one batch, or two where the segment ends. */
	assert_true(pn_fault_hits("spool.segment.fdatasync") <= 2);
#endif
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 200);
	h_stop(&h);
	h_deinit(&h);
}

static void test_the_largest_inline_message_fits_a_batch(void **state)
{
	struct harness h;
	struct h_commit c;
	(void)state;
	h_init(&h, true);
	h.settings.inline_max_bytes = 16u << 20;
	h.settings.segment_size_bytes = 64u << 20;
	h.settings.memory_max_bytes = 256u << 20;
	h_start(&h);
	h_commit(&h, &c, 0, 16u << 20);
	assert_int_equal(c.result, 0);
	h.entries[h.count++] = c.entry;
	assert_int_equal(h_files(&h, "files", ".msg"), 0);
	assert_int_equal(h_check(&h, c.entry, 0), 0);
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 1);
	assert_int_equal(h_check_stored(&h, h.entries[0], 0), 0);
	h_stop(&h);
	h_deinit(&h);
}

static void test_segments_roll(void **state)
{
	struct harness h;
	struct h_commit c;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	for (uint32_t i = 0; i < 120; i++) {
		h_commit(&h, &c, i, 10000);
		assert_int_equal(c.result, 0);
		h.entries[h.count++] = c.entry;
	}
	assert_true(h_files(&h, "segments", ".seg") >= 5);
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 120);
	for (uint32_t i = 0; i < 120; i++)
		assert_int_equal(h_check(&h, h.entries[i], h_number(&h.entries[i]->id)), 0);
	h_stop(&h);
	h_deinit(&h);
}

static void test_abort_before_and_during_commit(void **state)
{
	struct harness h;
	struct pn_spool_stats stats;
	int err;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	/* Nothing written, something written: gone. */
	struct pn_spool_txn *t = pn_spool_txn_begin(h.w, &err);
	pn_spool_txn_abort(t);
	t = pn_spool_txn_begin(h.w, &err);
	assert_int_equal(h_feed(&h, t, 1, 5000, 1000), 0);
	pn_spool_txn_abort(t);
	pn_spool_stats(h.spool, &stats);
	assert_int_equal(stats.messages, 0);
	assert_int_equal(stats.memory_bytes, 0);
	/* Commit pending: it goes on, and the entry comes as an orphan. */
	struct h_commit c;
	h_commit_start(&h, &c, 2, 5000, 1000);
	pn_spool_txn_abort(c.t);
	h_run_until_idle(&h);
	assert_false(c.is_done);
	assert_int_equal(h.orphans, 1);
	assert_int_equal(h.count, 1);
	assert_int_equal(h_check(&h, h.entries[0], 2), 0);
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 1);
	assert_true(h_index(&h, 2) >= 0);
	h_stop(&h);
	h_deinit(&h);
}

static void test_orphan_without_a_taker_stays_on_disk(void **state)
{
	struct harness h;
	struct h_commit c;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	pn_spool_on_orphan(h.spool, NULL, NULL);
	h_commit_start(&h, &c, 3, 100, 100);
	pn_spool_txn_abort(c.t);
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 1);
	h_stop(&h);
	h_deinit(&h);
}

static void test_queue_limit(void **state)
{
	struct harness h;
	struct h_commit c;
	int err = 0;
	(void)state;
	h_init(&h, true);
	h.settings.queue_messages_max = 3;
	h_start(&h);
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(pn_spool_admit(h.w), 0);
		h_commit(&h, &c, i, 10);
		h.entries[h.count++] = c.entry;
	}
	/* An open transaction counts too. */
	struct pn_spool_txn *t = pn_spool_txn_begin(h.w, &err);
	assert_non_null(t);
	assert_int_equal(pn_spool_admit(h.w), -EDQUOT);
	assert_null(pn_spool_txn_begin(h.w, &err));
	assert_int_equal(err, -EDQUOT);
	pn_spool_txn_abort(t);
	assert_int_equal(pn_spool_admit(h.w), 0);
	h_commit(&h, &c, 2, 10);
	h.entries[h.count++] = c.entry;
	assert_int_equal(pn_spool_admit(h.w), -EDQUOT);
	/* Another limit is in force at once; a lower one leaves what is there. */
	pn_spool_set_limits(h.spool, 4, 0);
	assert_int_equal(pn_spool_admit(h.w), 0);
	pn_spool_set_limits(h.spool, 2, 0);
	assert_int_equal(pn_spool_admit(h.w), -EDQUOT);
	pn_spool_set_limits(h.spool, 3, 0);
	/* What the gateway itself owes passes. */
	pn_spool_writer_set_internal(h.w);
	h_commit(&h, &c, 3, 10);
	assert_int_equal(c.result, 0);
	h.entries[h.count++] = c.entry;
	/* A finished message makes room. */
	assert_int_equal(h_final(&h, h.entries[--h.count]), 0);
	assert_int_equal(h_final(&h, h.entries[--h.count]), 0);
	assert_int_equal(pn_spool_admit(h.w), 0);
	h_stop(&h);
	h_deinit(&h);
}

static void test_free_space_limit(void **state)
{
	struct harness h;
	int err = 0;
	(void)state;
	h_init(&h, true);
	h.settings.free_space_min_bytes = UINT64_MAX / 2;
	h_start(&h);
	assert_int_equal(pn_spool_admit(h.w), -ENOSPC);
	assert_null(pn_spool_txn_begin(h.w, &err));
	assert_int_equal(err, -ENOSPC);
	pn_spool_set_limits(h.spool, 10, 0);
	assert_int_equal(pn_spool_admit(h.w), 0);
	h_stop(&h);
	h_deinit(&h);
}

static void test_memory_stays_under_its_limit(void **state)
{
	struct harness h;
	struct h_commit c[200];
	struct pn_spool_stats stats;
	(void)state;
	h_init(&h, true);
	h.settings.memory_max_bytes = 1u << 20;
	h_start(&h);
	/* Committed messages are cached up to half of it, then relay reads from disk. */
	size_t cached = 0;
	for (uint32_t i = 0; i < 200; i++) {
		h_commit(&h, &c[i], i, 10000);
		assert_int_equal(c[i].result, 0);
		h.entries[h.count++] = c[i].entry;
		pn_spool_stats(h.spool, &stats);
		assert_true(stats.memory_bytes <= (1u << 20));
		cached += c[i].entry->blob != NULL;
	}
	assert_true(cached > 10 && cached < 100);
	for (uint32_t i = 0; i < 200; i++)
		assert_int_equal(h_check(&h, c[i].entry, i), 0);
	/* Many at once, none of them finished: those that find no memory spill, and all come through. */
	for (uint32_t i = 0; i < 100; i++) {
		int err;
		c[i] = (struct h_commit){ .h = &h, .n = 1000 + i };
		c[i].t = pn_spool_txn_begin(h.w, &err);
		assert_non_null(c[i].t);
		if (h_feed(&h, c[i].t, 1000 + i, 9000, 3000) < 0) {
			pn_spool_txn_abort(c[i].t);
			c[i].t = NULL;
		}
		pn_spool_stats(h.spool, &stats);
		assert_true(stats.memory_bytes <= (1u << 20));
	}
	size_t spilled = 0, refused = 0;
	for (uint32_t i = 0; i < 100; i++) {
		if (!c[i].t) {
			refused++;
			continue;
		}
		h_commit_txn(&c[i], 9000);
		h_wait(&h, &c[i].is_done);
		assert_int_equal(c[i].result, 0);
		spilled += c[i].entry->blob == NULL;
		h.entries[h.count++] = c[i].entry;
		assert_int_equal(h_check(&h, c[i].entry, 1000 + i), 0);
	}
	assert_true(spilled > 0 && refused < 100);
	assert_true(pn_counter_get(&h.w->counters[PN_WRITER_C_spills]) > 0);
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 200 + 100 - refused);
	h_stop(&h);
	h_deinit(&h);
}

static void test_second_gateway_is_refused(void **state)
{
	struct harness h;
	struct pn_spool *second;
	struct pn_error err = { { 0 } };
	(void)state;
	h_init(&h, true);
	h_start(&h);
	assert_int_equal(pn_spool_open(&h.settings, &second, &err), -EWOULDBLOCK);
	assert_non_null(strstr(err.text, "in use"));
	h_stop(&h);
	/* And may have it afterwards. */
	h_start(&h);
	h_stop(&h);
	h_deinit(&h);
}

static void test_bad_settings_and_paths(void **state)
{
	struct harness h;
	struct pn_spool *s;
	struct pn_error err;
	(void)state;
	h_init(&h, true);
	h.settings.path = "/nonexistent/spool";
	assert_int_equal(pn_spool_open(&h.settings, &s, &err), -ENOENT);
	h.settings.path = h.path;
	h.settings.segment_size_bytes = 100;
	assert_int_equal(pn_spool_open(&h.settings, &s, &err), -EINVAL);
	h.settings.segment_size_bytes = 1u << 20;
	h.settings.memory_max_bytes = 1;
	assert_int_equal(pn_spool_open(&h.settings, &s, &err), -EINVAL);
	h_deinit(&h);
}

static void test_damage_in_the_middle_is_kept_and_the_rest_recovered(void **state)
{
	struct harness h;
	struct h_commit c[5];
	char path[256];
	uint64_t at = 0;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	for (uint32_t i = 0; i < 5; i++) {
		h_commit(&h, &c[i], i, 3000);
		h.entries[h.count++] = c[i].entry;
		if (i == 2)
			at = c[i].entry->offset;
	}
	h_stop(&h);
	h_find(&h, "segments", ".seg", path);
	flip(path, (off_t)at + 500);
	h_start(&h);
	assert_int_equal(h.count, 4);
	assert_int_equal(h_index(&h, 2), -1);
	assert_int_equal(h_files(&h, "damaged", ".rec"), 1);
	h_stop(&h);
	/* The next start finds the same and keeps it once. */
	h_start(&h);
	assert_int_equal(h.count, 4);
	assert_int_equal(h_files(&h, "damaged", ".rec"), 1);
	h_stop(&h);
	h_deinit(&h);
}

static void test_damaged_header_is_survived(void **state)
{
	struct harness h;
	struct h_commit c;
	char path[256];
	(void)state;
	h_init(&h, true);
	h_start(&h);
	for (uint32_t i = 0; i < 3; i++) {
		h_commit(&h, &c, i, 3000);
		h.entries[h.count++] = c.entry;
	}
	h_stop(&h);
	h_find(&h, "segments", ".seg", path);
	flip(path, 3);
	h_start(&h);
	assert_int_equal(h.count, 3);
	h_stop(&h);
	h_deinit(&h);
}

static void test_newer_format_stops_the_start(void **state)
{
	struct harness h;
	struct h_commit c;
	char path[256];
	uint8_t header[4096];
	struct pn_error err = { { 0 } };
	(void)state;
	h_init(&h, true);
	h_start(&h);
	h_commit(&h, &c, 0, 100);
	h.entries[h.count++] = c.entry;
	h_stop(&h);
	h_find(&h, "segments", ".seg", path);
	int fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, header, sizeof(header), 0), sizeof(header));
	header[8]++;
	uint32_t crc = pn_crc32c(0, header, 36);
	memcpy(header + 36, &crc, 4);
	assert_int_equal(pwrite(fd, header, sizeof(header), 0), sizeof(header));
	close(fd);
	assert_int_equal(pn_spool_open(&h.settings, &h.spool, &err), 0);
	assert_int_equal(pn_spool_recover(h.spool, NULL, NULL, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, "newer"));
	pn_spool_close(h.spool);
	h.spool = NULL;
	assert_int_equal(h_files(&h, "segments", ".seg"), 1);
	h_deinit(&h);
}

static void test_message_damaged_after_recovery_is_not_relayed(void **state)
{
	struct harness h;
	struct h_commit c;
	char path[256];
	(void)state;
	h_init(&h, true);
	h_start(&h);
	h_commit(&h, &c, 0, 8000);
	h.entries[h.count++] = c.entry;
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, 1);
	h_find(&h, "segments", ".seg", path);
	/* Find the right one: the recovered segment is the short one. */
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	if (st.st_size == (off_t)h.settings.segment_size_bytes) {
		char first[256];
		snprintf(first, sizeof(first), "%s", path);
		/* The new segment is empty: hide it for a moment. */
		char hidden[300];
		snprintf(hidden, sizeof(hidden), "%s.hidden", path);
		assert_int_equal(rename(path, hidden), 0);
		h_find(&h, "segments", ".seg", path);
		assert_int_equal(rename(hidden, first), 0);
	}
	flip(path, 4096 + 64 + 7999);
	assert_int_equal(h_check(&h, h.entries[0], 0), -EBADMSG);
	h_wait_files(&h, "damaged", ".rec", 1);
	h_stop(&h);
	h_deinit(&h);
}

static void test_huge_envelope_takes_a_file_of_its_own(void **state)
{
	struct harness h;
	struct h_commit c;
	struct pn_envelope e;
	struct pn_content_facts f = { .size_bytes = 3 };
	struct pn_recipient *many = calloc(5000, sizeof(*many));
	int err;
	(void)state;
	h_init(&h, true);
	h_start(&h);
	for (size_t i = 0; i < 5000; i++)
		many[i] = (struct pn_recipient){ .next = i < 4999 ? &many[i + 1] : NULL,
						 .address = PN_SLICE_LIT("someone@example.org") };
	e = h_envelope(0);
	e.recipients = many;
	e.recipient_count = 5000;
	h_commit(&h, &c, 1, 10);
	h.entries[h.count++] = c.entry;
	assert_int_equal(h_files(&h, "files", ".msg"), 0);
	struct h_commit big = { .h = &h, .n = 0 };
	big.t = pn_spool_txn_begin(h.w, &err);
	assert_int_equal(pn_spool_txn_write(big.t, PN_SLICE_LIT("abc")), 0);
	h_commit_envelope(&big, &e, &f);
	h_wait(&h, &big.is_done);
	assert_int_equal(big.result, 0);
	assert_int_equal(h_files(&h, "files", ".msg"), 1);
	h.entries[h.count++] = big.entry;
	free(many);
	h_stop(&h);
	h_deinit(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commit_read_and_recover),
		cmocka_unit_test(test_gathered_commits_share_a_sync),
		cmocka_unit_test(test_the_largest_inline_message_fits_a_batch),
		cmocka_unit_test(test_segments_roll),
		cmocka_unit_test(test_abort_before_and_during_commit),
		cmocka_unit_test(test_orphan_without_a_taker_stays_on_disk),
		cmocka_unit_test(test_queue_limit),
		cmocka_unit_test(test_free_space_limit),
		cmocka_unit_test(test_memory_stays_under_its_limit),
		cmocka_unit_test(test_second_gateway_is_refused),
		cmocka_unit_test(test_bad_settings_and_paths),
		cmocka_unit_test(test_damage_in_the_middle_is_kept_and_the_rest_recovered),
		cmocka_unit_test(test_damaged_header_is_survived),
		cmocka_unit_test(test_newer_format_stops_the_start),
		cmocka_unit_test(test_message_damaged_after_recovery_is_not_relayed),
		cmocka_unit_test(test_huge_envelope_takes_a_file_of_its_own),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
