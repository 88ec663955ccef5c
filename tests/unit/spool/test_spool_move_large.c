/* SPDX-License-Identifier: ISC */
/* Copy-forward of records of all sizes, of this version and of earlier ones, with O_DIRECT and without. */
#include "sized.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/codec.h>

#include "spool/record.h"
#include "spool/writer.h"

/* Messages whose numbers differ by this have envelopes of the same length. */
#define ALIKE 15u

struct move {
	bool is_done;
	int result;
};

static void on_moved(void *ctx, int result, struct pn_spool_entry *e)
{
	(void)e;
	*(struct move *)ctx = (struct move){ .is_done = true, .result = result };
}

/* All at once, so that several are of one write. */
static void move_all(struct harness *h, struct sized *m, size_t count)
{
	struct move moves[S_MESSAGES_MAX] = { { .is_done = false } };
	for (size_t i = 0; i < count; i++)
		pn_spool_entry_move(h->w, m[i].entry, on_moved, &moves[i]);
	for (size_t i = 0; i < count; i++) {
		h_wait(h, &moves[i].is_done);
		assert_int_equal(moves[i].result, 0);
		assert_int_equal(m[i].entry->generation, 1);
		assert_ptr_equal(m[i].entry->file, h->w->append.current);
		s_expect_placed(m[i].entry);
	}
}

static void new_records_moved(const char *plan, bool is_together)
{
	static const size_t sizes[] = { 3000, 33000, 65536, 200000, 1u << 20, 20000 };
	struct sized m[PN_ARRAY_SIZE(sizes)];
	struct harness h;
	char first[256];
	s_start(&h, plan);
	for (uint32_t i = 0; i < PN_ARRAY_SIZE(sizes); i++)
		m[i] = (struct sized){ .n = i, .size = sizes[i] };
	(void)s_commit_all(&h, m, PN_ARRAY_SIZE(m), is_together);
	/* Read by an earlier life and moved by the next: nothing is in memory. */
	h_find(&h, "segments", ".seg", first);
	s_expect_after_restart(&h, m, PN_ARRAY_SIZE(m));
	for (uint32_t i = 0; i < PN_ARRAY_SIZE(m); i++)
		m[i].entry = h.entries[h_index(&h, i)];
	move_all(&h, m, PN_ARRAY_SIZE(m));
	for (uint32_t i = 0; i < PN_ARRAY_SIZE(m); i++) {
		assert_null(m[i].entry->blob);
		assert_int_equal(h_check(&h, m[i].entry, i), 0);
	}
	h_wait_files(&h, "segments", strrchr(first, '/') + 1, 0);
	s_expect_after_restart(&h, m, PN_ARRAY_SIZE(m));
	s_finish_all(&h);
}

/* A segment of an earlier version: records behind each other, padded to 16 octets however large. */
static void write_old_segment(const struct harness *h, uint64_t id, struct sized *m, size_t count)
{
	size_t at = PN_FILE_HEADER_SIZE, cap = S_SEGMENT_BYTES;
	struct pn_file_header header = { .kind = PN_FILE_SEGMENT, .id = id };
	uint8_t *octets = calloc(1, cap);
	char name[PN_FILE_NAME_SIZE], path[256];
	pn_file_header_encode(octets, &header);
	for (size_t i = 0; i < count; i++) {
		struct pn_envelope e = h_envelope(m[i].n);
		struct pn_content_facts f = { .size_bytes = m[i].size, .has_final_crlf = true };
		uint8_t *content = h_content(m[i].n, m[i].size);
		struct pn_buf commit;
		pn_buf_init(&commit, PN_COMMIT_MAX_BYTES);
		assert_int_equal(pn_commit_encode(&commit, m[i].size, &e, &f, NULL, NULL), 0);
		struct pn_slice c = pn_buf_slice(&commit);
		struct pn_rec_head head = { .kind = PN_REC_MESSAGE,
					    .offset = at,
					    .content_len = m[i].size,
					    .content_crc = pn_crc32c(0, content, m[i].size),
					    .commit_len = (uint32_t)c.len,
					    .commit_crc = pn_crc32c(0, c.ptr, c.len),
					    .synced_until = PN_FILE_HEADER_SIZE };
		assert_true(at + pn_rec_size(m[i].size, c.len) <= cap);
		pn_rec_head_encode(octets + at, &head, id);
		memcpy(octets + at + PN_REC_HEAD_SIZE, content, m[i].size);
		memcpy(octets + at + PN_REC_HEAD_SIZE + m[i].size, c.ptr, c.len);
		at += pn_rec_size(m[i].size, c.len);
		pn_buf_free(&commit);
		free(content);
	}
	pn_file_name(name, PN_FILE_SEGMENT, id);
	snprintf(path, sizeof(path), "%s/segments/%s", h->path, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, octets, at), (ssize_t)at);
	close(fd);
	free(octets);
}

static size_t old_content_for(uint64_t total)
{
	struct pn_envelope e = h_envelope(0);
	struct pn_content_facts f = { .size_bytes = 1000, .has_final_crlf = true };
	struct pn_buf commit;
	pn_buf_init(&commit, PN_COMMIT_MAX_BYTES);
	assert_int_equal(pn_commit_encode(&commit, 1000, &e, &f, NULL, NULL), 0);
	size_t size = (size_t)(1000 + total - pn_rec_size(1000, pn_buf_len(&commit)));
	pn_buf_free(&commit);
	return size;
}

static void old_records_moved(const char *plan, bool is_together)
{
	/* Octets of the whole record: staged; padded by 16 to 4080 octets; not at all; to a block of the pool. */
	static const uint64_t totals[] = { 1600,  32768, 32784, 36864,         36880,    40944,
					   65520, 65536, 65552, 131072 - 4080, 1u << 20, 1040016 };
	struct sized m[PN_ARRAY_SIZE(totals)];
	struct harness h;
	const uint64_t id = UINT64_C(0x0123456789abcdef);
	size_t unaligned = 0;
	s_start(&h, plan);
	h_stop(&h);
	for (uint32_t i = 0; i < PN_ARRAY_SIZE(m); i++)
		m[i] = (struct sized){ .n = i * ALIKE, .size = old_content_for(totals[i]) };
	write_old_segment(&h, id, m, PN_ARRAY_SIZE(m));
	h_start(&h);
	assert_int_equal(h.count, PN_ARRAY_SIZE(m));
	assert_int_equal(h_files(&h, "damaged", ""), 0);
	for (size_t i = 0; i < PN_ARRAY_SIZE(m); i++) {
		m[i].entry = h.entries[h_index(&h, m[i].n)];
		assert_int_equal(pn_rec_size(m[i].entry->size_bytes, m[i].entry->commit_len),
				 totals[i]);
		unaligned += m[i].entry->offset % PN_DIRECT_ALIGN != 0;
		assert_int_equal(h_check_stored(&h, m[i].entry, m[i].n), 0);
	}
	assert_true(unaligned > PN_ARRAY_SIZE(m) / 2);
	for (size_t i = 0; i < PN_ARRAY_SIZE(m) && !is_together; i++)
		move_all(&h, &m[i], 1);
	if (is_together)
		move_all(&h, m, PN_ARRAY_SIZE(m));
	for (int life = 0; life < 2; life++) {
		for (size_t i = 0; i < PN_ARRAY_SIZE(m); i++) {
			struct pn_spool_entry *e = h.entries[h_index(&h, m[i].n)];
			assert_int_equal(e->generation, 1);
			s_expect_placed(e);
			assert_int_equal(h_check_stored(&h, e, m[i].n), 0);
		}
		h_wait_files(&h, "segments", "0123456789abcdef.seg", 0);
		if (life == 1)
			break;
		h_stop(&h);
		h_start(&h);
		assert_int_equal(h.count, PN_ARRAY_SIZE(m));
	}
	s_finish_all(&h);
}

static void test_alone(void **state)
{
	(void)state;
	new_records_moved(NULL, false);
	old_records_moved(NULL, false);
}

static void test_together(void **state)
{
	(void)state;
	new_records_moved(NULL, true);
	old_records_moved(NULL, true);
}

#ifdef PN_FAULT_INJECTION
static void test_by_way_of_the_page_cache(void **state)
{
	(void)state;
	for (int is_together = 0; is_together < 2; is_together++) {
		new_records_moved("spool.direct.probe:1:22:0", is_together);
		old_records_moved("spool.segment.open_direct:1:22:0", is_together);
	}
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_together),
#ifdef PN_FAULT_INJECTION
		cmocka_unit_test(test_by_way_of_the_page_cache),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
