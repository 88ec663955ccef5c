/* SPDX-License-Identifier: ISC */
/*
 * Records of all sizes on their way to a segment and back, from memory and from disk: written with O_DIRECT, by way of
 * the page cache where that is refused.
 */
#include "sized.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <postern/base/fault.h>

#include "spool/writer.h"

/* Messages whose numbers differ by this have envelopes of the same length. */
#define ALIKE 15u

/* Content of a message numbered as a multiple of ALIKE, so that its record, but for what O_DIRECT wants, has `total`
 * octets. */
static size_t content_for(struct harness *h, uint64_t total)
{
	struct h_commit c;
	h_commit(h, &c, 1000000 * ALIKE, 1000);
	assert_int_equal(c.result, 0);
	uint64_t has = pn_rec_size(1000, c.entry->commit_len);
	assert_int_equal(h_final(h, c.entry), 0);
	return (size_t)(1000 + total - has);
}

/* ---- sizes ---- */

static void usual_sizes(const char *plan, bool is_together)
{
	static const size_t sizes[] = { 0,     1,     31000,          32767,    32768,
					32769, 33000, 65535,          65536,    65537,
					90000, 500,   (1u << 20) - 1, 1u << 20, (1u << 20) + 1,
					777 };
	struct sized m[PN_ARRAY_SIZE(sizes)];
	struct harness h;
	s_start(&h, plan);
	for (uint32_t i = 0; i < PN_ARRAY_SIZE(sizes); i++)
		m[i] = (struct sized){ .n = i, .size = sizes[i] };
	uint64_t writes = s_commit_all(&h, m, PN_ARRAY_SIZE(m), is_together);
	assert_int_equal(writes, is_together ? 1 : PN_ARRAY_SIZE(m));
	for (size_t i = 0; i < PN_ARRAY_SIZE(m); i++) {
		s_expect_placed(m[i].entry);
		s_expect_readable(&h, &m[i]);
	}
	s_expect_after_restart(&h, m, PN_ARRAY_SIZE(m));
	s_finish_all(&h);
}

/* A record of exactly PN_STAGED_MAX_BYTES is copied; one octet of content more is too much. */
static void around_the_stage(const char *plan, bool is_together)
{
	struct sized m[33];
	struct harness h;
	size_t staged = 0, whole = 0;
	s_start(&h, plan);
	size_t size = content_for(&h, PN_STAGED_MAX_BYTES);
	for (uint32_t i = 0; i < PN_ARRAY_SIZE(m); i++)
		m[i] = (struct sized){ .n = i * ALIKE, .size = size - 16 + i };
	uint64_t writes = s_commit_all(&h, m, PN_ARRAY_SIZE(m), is_together);
	if (is_together)
		assert_in_range(writes, 2, PN_ARRAY_SIZE(m) / 2);
	for (size_t i = 0; i < PN_ARRAY_SIZE(m); i++) {
		uint64_t total = pn_rec_size(m[i].size, m[i].entry->commit_len);
		staged += total == PN_STAGED_MAX_BYTES;
		whole += total == PN_STAGED_MAX_BYTES + PN_DIRECT_ALIGN;
		s_expect_placed(m[i].entry);
		s_expect_readable(&h, &m[i]);
	}
	/* Sixteen lengths of content are padded to the same record. */
	assert_int_equal(staged, 16);
	assert_in_range(whole, 1, 16);
	s_expect_after_restart(&h, m, PN_ARRAY_SIZE(m));
	s_finish_all(&h);
}

/* What takes more than half of a segment gets a file. */
static void near_half_a_segment(const char *plan, bool is_together)
{
	uint64_t most =
		(S_SEGMENT_BYTES - PN_FILE_HEADER_SIZE) / 2 / PN_DIRECT_ALIGN * PN_DIRECT_ALIGN;
	struct sized m[4];
	struct harness h;
	s_start(&h, plan);
	size_t size = content_for(&h, most);
	for (uint32_t i = 0; i < PN_ARRAY_SIZE(m); i++)
		m[i] = (struct sized){ .n = i * ALIKE, .size = size - 1 + i / 2 };
	m[3].size = size + 16;
	(void)s_commit_all(&h, m, PN_ARRAY_SIZE(m), is_together);
	for (size_t i = 0; i < 3; i++) {
		s_expect_placed(m[i].entry);
		assert_int_equal(pn_rec_size(m[i].size, m[i].entry->commit_len), most);
		s_expect_readable(&h, &m[i]);
	}
	assert_int_equal(m[3].entry->file->kind, PN_FILE_LARGE);
	assert_int_equal(h_check(&h, m[3].entry, m[3].n), 0);
	assert_int_equal(h_files(&h, "files", ".msg"), 1);
	s_expect_after_restart(&h, m, PN_ARRAY_SIZE(m));
	s_finish_all(&h);
}

/* ---- many recipients ---- */

#define RECIPIENTS  2500u
#define ADDRESS_LEN 63

struct crowd {
	struct pn_recipient recipients[RECIPIENTS];
	char addresses[RECIPIENTS][ADDRESS_LEN + 1];
};

static struct pn_envelope crowd_envelope(struct crowd *crowd, uint32_t n)
{
	struct pn_envelope e = h_envelope(n);
	for (uint32_t i = 0; i < RECIPIENTS; i++) {
		struct pn_recipient *r = &crowd->recipients[i];
		snprintf(crowd->addresses[i], ADDRESS_LEN + 1,
			 "number-%06u-of-message-%06u@dept.example.org", i, n);
		*r = (struct pn_recipient){ .address = pn_slice_str(crowd->addresses[i]) };
		r->next = i + 1 < RECIPIENTS ? r + 1 : NULL;
	}
	e.recipients = crowd->recipients;
	e.recipients_last = &crowd->recipients[RECIPIENTS - 1];
	e.recipient_count = RECIPIENTS;
	return e;
}

struct got {
	bool is_done;
	int result;
	struct pn_spool_message *m;
	struct pn_slice piece;
};

static void on_load(void *ctx, int result, struct pn_spool_message *m)
{
	*(struct got *)ctx = (struct got){ .is_done = true, .result = result, .m = m };
}

static void on_piece(void *ctx, int result, struct pn_slice piece)
{
	*(struct got *)ctx = (struct got){ .is_done = true, .result = result, .piece = piece };
}

static void expect_crowd(struct harness *h, struct pn_spool_entry *e, uint32_t n, size_t size)
{
	struct crowd *crowd = calloc(1, sizeof(*crowd));
	uint8_t *content = h_content(n, size);
	struct pn_envelope want = crowd_envelope(crowd, n);
	struct got g = { .is_done = false };
	size_t at = 0;
	pn_spool_reader_load(h->r, e, on_load, &g);
	h_wait(h, &g.is_done);
	assert_int_equal(g.result, 0);
	assert_int_equal(g.m->envelope.recipient_count, RECIPIENTS);
	assert_true(pn_slice_eq(g.m->envelope.reverse_path, want.reverse_path));
	const struct pn_recipient *r = g.m->envelope.recipients;
	for (uint32_t i = 0; i < RECIPIENTS; i++, r = r->next)
		assert_true(pn_slice_eq(r->address, crowd->recipients[i].address));
	assert_null(r);
	do {
		g.is_done = false;
		pn_spool_reader_next(h->r, on_piece, &g);
		h_wait(h, &g.is_done);
		assert_in_range(g.result, 0, size - at);
		assert_memory_equal(g.piece.ptr ? g.piece.ptr : content, content + at,
				    (size_t)g.result);
		at += (size_t)g.result;
	} while (g.result > 0);
	assert_int_equal(at, size);
	pn_spool_reader_done(h->r);
	free(content);
	free(crowd);
}

static void many_recipients(const char *plan, bool is_together)
{
	static const size_t sizes[] = { 0, 1, 100, 32768, 70000, 1000000 };
	struct h_commit c[PN_ARRAY_SIZE(sizes)];
	struct crowd *crowd = calloc(1, sizeof(*crowd));
	struct harness h;
	int err;
	s_start(&h, plan);
	uint64_t before = h.w->append.batches;
	for (uint32_t i = 0; i < PN_ARRAY_SIZE(sizes); i++) {
		struct pn_envelope e = crowd_envelope(crowd, i);
		struct pn_content_facts f = { .size_bytes = sizes[i] };
		c[i] = (struct h_commit){ .h = &h, .n = i };
		c[i].t = pn_spool_txn_begin(h.w, &err);
		assert_int_equal(h_feed(&h, c[i].t, i, sizes[i], 10000), 0);
		h_commit_envelope(&c[i], &e, &f);
		if (!is_together)
			h_wait(&h, &c[i].is_done);
	}
	for (uint32_t i = 0; i < PN_ARRAY_SIZE(sizes); i++) {
		h_wait(&h, &c[i].is_done);
		assert_int_equal(c[i].result, 0);
		h.entries[h.count++] = c[i].entry;
		assert_true(c[i].entry->commit_len > 100000);
		s_expect_placed(c[i].entry);
		expect_crowd(&h, c[i].entry, i, sizes[i]);
		s_drop_from_memory(c[i].entry);
		expect_crowd(&h, c[i].entry, i, sizes[i]);
	}
	assert_int_equal(h.w->append.batches - before, is_together ? 1 : PN_ARRAY_SIZE(sizes));
	h_stop(&h);
	h_start(&h);
	assert_int_equal(h.count, PN_ARRAY_SIZE(sizes));
	for (uint32_t i = 0; i < PN_ARRAY_SIZE(sizes); i++)
		expect_crowd(&h, h.entries[h_index(&h, i)], i, sizes[i]);
	free(crowd);
	s_finish_all(&h);
}

/* ---- the ways ---- */

static void each_case(const char *plan, bool is_together)
{
	usual_sizes(plan, is_together);
	around_the_stage(plan, is_together);
	near_half_a_segment(plan, is_together);
	many_recipients(plan, is_together);
}

static void test_direct_alone(void **state)
{
	(void)state;
	each_case(NULL, false);
}

static void test_direct_together(void **state)
{
	(void)state;
	each_case(NULL, true);
}

#ifdef PN_FAULT_INJECTION
static void test_no_direct_writes_here(void **state)
{
	(void)state;
	each_case("spool.direct.probe:1:22:0", true);
}

static void test_segments_not_opened_for_it(void **state)
{
	(void)state;
	each_case("spool.segment.open_direct:1:22:0", false);
}

/* One segment is refused, the next is not. */
static void test_from_one_segment_to_the_next(void **state)
{
	struct sized m[40];
	struct harness h;
	size_t direct = 0, cached = 0, direct_again = 0;
	(void)state;
	s_start(&h, NULL);
	bool works = s_writes_direct(&h);
	pn_fault_set_plan("spool.segment.open_direct:1:22");
	for (uint32_t i = 0; i < PN_ARRAY_SIZE(m); i++) {
		m[i] = (struct sized){ .n = i, .size = i % 3 ? 1000000 + i : 5000 };
		(void)s_commit_all(&h, &m[i], 1, false);
		if (!s_writes_direct(&h))
			cached++;
		else if (cached == 0)
			direct++;
		else
			direct_again++;
		s_expect_readable(&h, &m[i]);
	}
	assert_true(cached > 0);
	assert_int_equal(direct > 0 && direct_again > 0, works);
	s_expect_after_restart(&h, m, PN_ARRAY_SIZE(m));
	s_finish_all(&h);
}

/* A write that fails takes all of its records with it, staged and whole, and their memory comes back. */
static void test_a_failed_write(void **state)
{
	static const char *const plans[] = { "spool.segment.write:1:short",
					     "spool.segment.write:1:5",
					     "spool.segment.fdatasync:1:5" };
	static const size_t sizes[] = { 100, 100000, 5000, 1u << 20, 40000 };
	(void)state;
	for (size_t p = 0; p < PN_ARRAY_SIZE(plans); p++) {
		struct h_commit c[PN_ARRAY_SIZE(sizes)], after;
		struct pn_spool_stats before, now;
		struct harness h;
		s_start(&h, NULL);
		pn_spool_stats(h.spool, &before);
		pn_fault_set_plan(plans[p]);
		for (uint32_t i = 0; i < PN_ARRAY_SIZE(sizes); i++)
			h_commit_start(&h, &c[i], i, sizes[i], 30000);
		for (uint32_t i = 0; i < PN_ARRAY_SIZE(sizes); i++) {
			h_wait(&h, &c[i].is_done);
			assert_int_equal(c[i].result, -EIO);
		}
		pn_fault_set_plan(NULL);
		h_run_until_idle(&h);
		pn_spool_stats(h.spool, &now);
		assert_int_equal(now.memory_bytes, before.memory_bytes);
		h_commit(&h, &after, 99, 200000);
		assert_int_equal(after.result, 0);
		h.entries[h.count++] = after.entry;
		struct sized m = { .n = 99, .size = 200000, .entry = after.entry };
		s_expect_readable(&h, &m);
		s_expect_after_restart(&h, &m, 1);
		s_finish_all(&h);
	}
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_direct_alone),
		cmocka_unit_test(test_direct_together),
#ifdef PN_FAULT_INJECTION
		cmocka_unit_test(test_no_direct_writes_here),
		cmocka_unit_test(test_segments_not_opened_for_it),
		cmocka_unit_test(test_from_one_segment_to_the_next),
		cmocka_unit_test(test_a_failed_write),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
