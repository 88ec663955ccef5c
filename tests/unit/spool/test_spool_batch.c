/* SPDX-License-Identifier: ISC */
/* The pieces of one write: octet for octet the records, aligned for O_DIRECT, and not more than a write may have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <postern/base/prng.h>

#include "spool/append.h"
#include "spool/record.h"

#define FILE_ID UINT64_C(0x1122334455667788)
#define ITEMS   1200u

/* Records as a writer makes them, and what they have to be on disk. */
struct fixture {
	struct pn_spool spool; /* only its budget and pool */
	struct pn_batch b;
	struct pn_append_item items[ITEMS];
	struct pn_spool_blob *blobs[ITEMS];
	size_t count;
	uint64_t start;
	bool is_one_piece; /* content comes at once, not in pieces of any length */
	uint8_t *want;
	size_t want_len, want_cap;
};

static struct fixture *fixture_new(enum pn_file_kind kind, uint64_t start)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	f->spool.settings.memory_max_bytes = 256u << 20;
	f->start = start;
	f->want_cap = 32u << 20;
	f->want = calloc(1, f->want_cap);
	assert_non_null(f->want);
	pn_pool_init(&f->spool.pool, 0);
	assert_int_equal(pn_batch_init(&f->b, kind), 0);
	return f;
}

static void drop_items(struct fixture *f)
{
	for (size_t i = 0; i < f->count; i++)
		pn_blob_unref(f->blobs[i]);
	f->count = 0;
	memset(f->want, 0, f->want_len);
	f->want_len = 0;
}

static void fixture_free(struct fixture *f)
{
	drop_items(f);
	assert_int_equal(f->spool.memory_bytes, 0);
	pn_batch_deinit(&f->b);
	pn_pool_deinit(&f->spool.pool);
	free(f->want);
	free(f);
}

static void random_octets(struct pn_prng *r, uint8_t *out, size_t len)
{
	/* No zeros: they are the padding. */
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(1 + pn_prng_below(r, 255));
}

static struct pn_append_item *next_item(struct fixture *f)
{
	assert_true(f->count < ITEMS);
	struct pn_append_item *item = &f->items[f->count];
	f->blobs[f->count] = pn_blob_new(&f->spool);
	assert_non_null(f->blobs[f->count]);
	*item = (struct pn_append_item){ .head = { .kind = PN_REC_MESSAGE, .generation = 3 } };
	return item;
}

/* A record of content and commit part of any length; the commit part is padded as a transaction pads it. */
static struct pn_append_item *make_item(struct fixture *f, struct pn_prng *r, size_t content_len,
					size_t commit_len)
{
	struct pn_append_item *item = next_item(f);
	struct pn_spool_blob *blob = f->blobs[f->count];
	uint8_t *octets = malloc(content_len + commit_len + 1);
	assert_non_null(octets);
	random_octets(r, octets, content_len + commit_len);
	for (size_t at = 0; at < content_len;) {
		size_t n = f->is_one_piece ? content_len : 1 + (size_t)pn_prng_below(r, 20000);
		n = pn_min_size(n, content_len - at);
		assert_int_equal(pn_blob_append(blob, pn_slice(octets + at, n), UINT64_MAX), n);
		at += n;
	}
	assert_int_equal(pn_buf_append(&blob->commit, octets + content_len, commit_len), 0);
	free(octets);
	assert_int_equal(pn_commit_pad(&blob->commit, content_len, PN_REC_ALIGN), 0);
	item->is_whole = pn_append_wants_whole(pn_rec_size(content_len, pn_buf_len(&blob->commit)));
	item->commit = pn_buf_slice(&blob->commit);
	if (item->is_whole) {
		assert_int_equal(pn_commit_pad(&blob->commit, content_len, PN_DIRECT_ALIGN), 0);
		item->commit = pn_buf_slice(&blob->commit);
		assert_int_equal(pn_blob_seal(blob, item->commit), 0);
	}
	item->blocks = blob->first;
	item->head.content_len = content_len;
	item->head.commit_len = (uint32_t)item->commit.len;
	return item;
}

static void want_octets(struct fixture *f, const void *data, size_t len)
{
	assert_true(f->want_len + len <= f->want_cap);
	memcpy(f->want + f->want_len, data, len);
	f->want_len += len;
}

static void want_aligned(struct fixture *f)
{
	f->want_len += (0 - f->want_len) % PN_DIRECT_ALIGN;
}

/* Adds the item made last and notes what has to be there. */
static void add(struct fixture *f)
{
	struct pn_append_item *item = &f->items[f->count];
	uint8_t head[PN_REC_HEAD_SIZE];
	if (item->is_whole)
		want_aligned(f);
	struct pn_rec_head h = item->head;
	h.offset = f->start + f->want_len;
	h.synced_until = f->start;
	pn_rec_head_encode(head, &h, FILE_ID);
	want_octets(f, head, sizeof(head));
	uint64_t left = h.content_len;
	for (const struct pn_block *k = item->blocks; k && left > 0; k = k->next) {
		want_octets(f, k->octets + k->begin, pn_block_len(k));
		left -= pn_block_len(k);
	}
	assert_int_equal(left, 0);
	if (item->commit.len > 0)
		want_octets(f, item->commit.ptr, item->commit.len);
	pn_batch_add(&f->b, item, FILE_ID, f->start);
	assert_int_equal(item->head.offset, h.offset);
	assert_int_equal(item->head.synced_until, f->start);
	f->count++;
}

/* No more follow: everything that has to hold of the batch. */
static void check(struct fixture *f)
{
	const struct pn_batch *b = &f->b;
	const bool is_segment = b->kind == PN_FILE_SEGMENT;
	size_t at = 0;
	pn_batch_finish(&f->b);
	if (is_segment)
		want_aligned(f);
	assert_int_equal(b->len, f->want_len);
	assert_true(b->iov_count <= PN_BATCH_IOV_MAX);
	assert_true(b->stage_len <= PN_STAGE_BYTES);
	for (unsigned i = 0; i < b->iov_count; i++) {
		const struct iovec *v = &b->iov[i];
		assert_true(v->iov_len > 0 && v->iov_len <= f->want_len - at);
		if (is_segment) {
			assert_int_equal((uintptr_t)v->iov_base % PN_DIRECT_ALIGN, 0);
			assert_int_equal(v->iov_len % PN_DIRECT_ALIGN, 0);
		}
		assert_memory_equal(v->iov_base, f->want + at, v->iov_len);
		at += v->iov_len;
	}
	assert_int_equal(at, f->want_len);
	/* Each is found where its owner is told that it is. */
	for (size_t i = 0; i < f->count; i++) {
		struct pn_rec_head head;
		const struct pn_rec_head *of = &f->items[i].head;
		assert_true(pn_rec_head_decode(f->want + (of->offset - f->start), FILE_ID,
					       of->offset, &head));
		assert_int_equal(
			of->offset % (f->items[i].is_whole ? PN_DIRECT_ALIGN : PN_REC_ALIGN), 0);
	}
	pn_batch_reset(&f->b);
	drop_items(f);
}

/* Adds what was made last if there is room; else forgets it. */
static bool add_if_room(struct fixture *f)
{
	if (pn_batch_has_room(&f->b, &f->items[f->count])) {
		add(f);
		return true;
	}
	pn_blob_unref(f->blobs[f->count]);
	return false;
}

/* ---- what is written ---- */

static void test_runs_and_whole_records(void **state)
{
	/* Sizes of content; 40000 is whole. */
	static const size_t cases[][6] = {
		{ 100, 200, 300 },
		{ 40000 },
		{ 40000, 40000 },
		{ 100, 40000, 100 },
		{ 40000, 100, 100, 40000, 5000 },
		{ 100, 40000, 100, 40000, 100, 40000 },
		/* A run that ends at a multiple of 4096 by itself: 64 + 3968 + 64. */
		{ 3968, 40000, 3968 },
	};
	struct fixture *f = fixture_new(PN_FILE_SEGMENT, 5 * PN_DIRECT_ALIGN);
	struct pn_prng r;
	(void)state;
	pn_prng_init(&r, 1);
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
		unsigned runs = 0, pieces = 0;
		bool is_open = false;
		for (size_t k = 0; k < 6 && cases[i][k] > 0; k++) {
			struct pn_append_item *item = make_item(f, &r, cases[i][k], 64);
			assert_int_equal(item->is_whole, cases[i][k] == 40000);
			runs += !item->is_whole && !is_open;
			is_open = !item->is_whole;
			for (const struct pn_block *b = item->is_whole ? item->blocks : NULL; b;
			     b = b->next)
				pieces++;
			assert_true(pn_batch_has_room(&f->b, item));
			add(f);
		}
		pn_batch_finish(&f->b);
		assert_int_equal(f->b.iov_count, runs + pieces);
		check(f);
	}
	fixture_free(f);
}

static void test_sizes_around_what_is_staged(void **state)
{
	struct fixture *f = fixture_new(PN_FILE_SEGMENT, PN_FILE_HEADER_SIZE);
	struct pn_prng r;
	(void)state;
	pn_prng_init(&r, 2);
	static const size_t commits[] = { 16, 80, 4096, 4112, 65536, 131072 - 64, 200000 };
	for (size_t i = 0; i < PN_ARRAY_SIZE(commits); i++) {
		size_t least = PN_REC_HEAD_SIZE + commits[i];
		for (size_t total = 32768 - 33; total <= 32768 + 33; total++) {
			size_t content_len = total < least ? 0 : total - least;
			const struct pn_append_item *item =
				make_item(f, &r, content_len, commits[i]);
			assert_int_equal(item->is_whole,
					 pn_max_size(total, least) > PN_STAGED_MAX_BYTES);
			assert_true(add_if_room(f));
			if (f->count == 4)
				check(f);
		}
		check(f);
		/* The content fills its blocks to the last octet, or begins one more. */
		f->is_one_piece = true;
		for (uint32_t k = 1; k <= 2; k++) {
			size_t full = 2 * PN_BLOCK_LARGE_BYTES - PN_REC_HEAD_SIZE +
				      k * PN_BLOCK_STREAM_BYTES;
			for (size_t size = full - 1; size <= full + 1; size++) {
				const struct pn_append_item *item =
					make_item(f, &r, size, commits[i]);
				const struct pn_block *b = item->blocks;
				for (uint32_t n = 0; n < k + 1; n++)
					b = b->next;
				assert_int_equal(b->end, size < full ? b->cap - 1 : b->cap);
				assert_true(add_if_room(f));
			}
		}
		f->is_one_piece = false;
		check(f);
	}
	fixture_free(f);
}

static void test_random_mixes(void **state)
{
	struct fixture *f = fixture_new(PN_FILE_SEGMENT, 77 * PN_DIRECT_ALIGN);
	struct pn_prng r;
	size_t batches = 0;
	(void)state;
	pn_prng_init(&r, 3);
	for (size_t i = 0; i < 3000; i++) {
		bool is_small = pn_prng_below(&r, 4) != 0;
		size_t content = (size_t)pn_prng_below(&r, is_small ? 5000 : 150000);
		size_t commit =
			1 + (size_t)pn_prng_below(&r, pn_prng_below(&r, 20) == 0 ? 90000 : 500);
		make_item(f, &r, content, commit);
		if (add_if_room(f) && f->count < 300 && pn_prng_below(&r, 150) != 0)
			continue;
		check(f);
		batches++;
	}
	check(f);
	assert_true(batches > 10);
	fixture_free(f);
}

/* ---- limits ---- */

static size_t fill_batch(struct fixture *f, struct pn_prng *r, size_t content_len,
			 size_t commit_len)
{
	size_t count = 0;
	do {
		make_item(f, r, content_len, commit_len);
		count++;
	} while (add_if_room(f));
	return count - 1;
}

static void test_the_stage_ends(void **state)
{
	struct fixture *f = fixture_new(PN_FILE_SEGMENT, PN_FILE_HEADER_SIZE);
	struct pn_prng r;
	(void)state;
	pn_prng_init(&r, 4);
	/* 32 KiB each, and room for the padding is kept. */
	assert_int_equal(fill_batch(f, &r, 32768 - 64 - 512, 512), PN_STAGE_BYTES / 32768 - 1);
	/* What is not staged goes on, with a run behind it that still fits. */
	make_item(f, &r, 100000, 512);
	assert_true(add_if_room(f));
	make_item(f, &r, 10000, 512);
	assert_true(add_if_room(f));
	check(f);
	assert_int_equal(fill_batch(f, &r, 1024 - 64 - 32, 32),
			 (PN_STAGE_BYTES - PN_DIRECT_ALIGN) / 1024);
	check(f);
	/* Each run is padded: it costs the stage 4 KiB, however little is in it. */
	size_t runs = 0;
	for (;; runs++) {
		make_item(f, &r, 100, 100);
		if (!add_if_room(f))
			break;
		make_item(f, &r, 40000, 100);
		assert_true(add_if_room(f));
	}
	assert_int_equal(runs, PN_STAGE_BYTES / PN_DIRECT_ALIGN - 1);
	check(f);
	fixture_free(f);
}

static void test_the_octets_end(void **state)
{
	struct fixture *f = fixture_new(PN_FILE_SEGMENT, PN_FILE_HEADER_SIZE);
	struct pn_prng r;
	(void)state;
	pn_prng_init(&r, 5);
	assert_int_equal(fill_batch(f, &r, (1u << 20) - 64 - 512, 512),
			 PN_BATCH_MAX_BYTES / (1u << 20) - 1);
	assert_int_equal(f->b.len, 7u << 20);
	/* The rest but 4 KiB, to the octet. */
	size_t rest = (1u << 20) - PN_DIRECT_ALIGN;
	make_item(f, &r, rest - 64 - 512 + 1, 512);
	assert_false(add_if_room(f));
	make_item(f, &r, rest - 64 - 512, 512);
	assert_true(add_if_room(f));
	assert_int_equal(f->b.len, PN_BATCH_MAX_BYTES - PN_DIRECT_ALIGN);
	make_item(f, &r, 10, 10);
	assert_false(add_if_room(f));
	check(f);
	/* Alone every record is written. */
	make_item(f, &r, PN_BATCH_MAX_BYTES + 100000, 3u << 20);
	assert_true(add_if_room(f));
	make_item(f, &r, 10, 10);
	assert_false(add_if_room(f));
	check(f);
	fixture_free(f);
}

/* A whole record in blocks of 4 KiB; pieces are what it has most of. */
static void make_item_of_pieces(struct fixture *f, unsigned pieces)
{
	struct pn_append_item *item = next_item(f);
	struct pn_spool_blob *blob = f->blobs[f->count];
	for (unsigned i = 0; i < pieces; i++) {
		struct pn_block *b =
			pn_block_new(&f->spool, PN_BUDGET_INLINE, PN_BLOCK_SMALL_BYTES);
		assert_non_null(b);
		memset(b->octets, (int)(i + 1), b->cap);
		b->begin = i == 0 ? PN_REC_HEAD_SIZE : 0;
		b->end = b->cap;
		if (blob->last)
			blob->last->next = b;
		else
			blob->first = b;
		blob->last = b;
	}
	item->is_whole = true;
	item->blocks = blob->first;
	item->head.content_len = (uint64_t)pieces * PN_BLOCK_SMALL_BYTES - PN_REC_HEAD_SIZE;
}

static void test_the_vector_ends(void **state)
{
	struct fixture *f = fixture_new(PN_FILE_SEGMENT, PN_FILE_HEADER_SIZE);
	struct pn_prng r;
	(void)state;
	pn_prng_init(&r, 6);
	size_t count = 0;
	for (;; count++) {
		make_item_of_pieces(f, 9);
		if (!add_if_room(f))
			break;
		if (count % 20 != 0)
			continue;
		make_item(f, &r, 100, 100);
		assert_true(add_if_room(f));
	}
	assert_true(f->b.iov_count <= PN_BATCH_IOV_MAX && f->b.iov_count > PN_BATCH_IOV_MAX - 12);
	assert_true(f->b.len < PN_BATCH_MAX_BYTES / 2 + PN_BATCH_MAX_BYTES / 8);
	check(f);
	/* To the last one. */
	make_item_of_pieces(f, PN_BATCH_IOV_MAX);
	assert_true(add_if_room(f));
	assert_int_equal(f->b.iov_count, PN_BATCH_IOV_MAX);
	make_item(f, &r, 10, 10);
	assert_false(add_if_room(f));
	check(f);
	fixture_free(f);
}

/* ---- a journal ---- */

static void make_outcome(struct fixture *f, struct pn_prng *r, size_t len)
{
	struct pn_append_item *item = next_item(f);
	struct pn_spool_blob *blob = f->blobs[f->count];
	uint8_t octets[600];
	random_octets(r, octets, len);
	assert_int_equal(pn_buf_append(&blob->commit, octets, len), 0);
	item->commit = pn_buf_slice(&blob->commit);
	item->head.kind = PN_REC_OUTCOME;
	item->head.commit_len = (uint32_t)len;
}

static void test_a_journal_is_not_padded(void **state)
{
	/* Where its records lie is not aligned to anything but their own. */
	struct fixture *f = fixture_new(PN_FILE_JOURNAL, PN_FILE_HEADER_SIZE + 208);
	struct pn_prng r;
	size_t sum = 0;
	(void)state;
	pn_prng_init(&r, 7);
	assert_null(f->b.stage);
	for (size_t i = 0; i < 50; i++) {
		size_t len = i % 10 == 0 ? 0 : 16 * (size_t)(1 + pn_prng_below(&r, 37));
		make_outcome(f, &r, len);
		assert_true(add_if_room(f));
		sum += PN_REC_HEAD_SIZE + len;
		assert_int_equal(f->b.len, sum);
	}
	/* Head and text; five had none. */
	assert_int_equal(f->b.iov_count, 2 * 50 - 5);
	pn_batch_finish(&f->b);
	assert_int_equal(f->b.len, sum);
	check(f);
	/* Two pieces each; one is kept for a run that here never is. */
	size_t count = 0;
	for (;; count++) {
		make_outcome(f, &r, 48);
		if (!add_if_room(f))
			break;
	}
	assert_int_equal(count, (PN_BATCH_IOV_MAX - 1) / 2);
	check(f);
	fixture_free(f);
}

static void test_deinit_of_nothing(void **state)
{
	struct pn_batch b = { .iov = NULL };
	(void)state;
	pn_batch_deinit(&b);
	assert_int_equal(pn_batch_init(&b, PN_FILE_SEGMENT), 0);
	assert_int_equal((uintptr_t)b.stage % PN_DIRECT_ALIGN, 0);
	/* An empty one has nothing to be closed. */
	pn_batch_finish(&b);
	assert_int_equal(b.iov_count, 0);
	assert_int_equal(b.len, 0);
	pn_batch_deinit(&b);
	pn_batch_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs_and_whole_records),
		cmocka_unit_test(test_sizes_around_what_is_staged),
		cmocka_unit_test(test_random_mixes),
		cmocka_unit_test(test_the_stage_ends),
		cmocka_unit_test(test_the_octets_end),
		cmocka_unit_test(test_the_vector_ends),
		cmocka_unit_test(test_a_journal_is_not_padded),
		cmocka_unit_test(test_deinit_of_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
