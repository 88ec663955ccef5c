/* SPDX-License-Identifier: ISC */
/*
 * Fuzzes what recovery reads: the first octet picks the commit part, the outcome record, a raw segment, or a
 * segment built of good records and garbage as the rest says. What decodes is encoded and decoded again and
 * must be the same; every good record must be found.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include <postern/base/codec.h>

#include "spool/layout.h"
#include "spool/record.h"
#include "spool/scan.h"

#define FILE_ID     UINT64_C(0x0123456789abcdef)
#define BUILT_MAX   65536u
#define RECORDS_MAX 512u

static void fuzz_commit(struct pn_slice in)
{
	struct pn_arena a, b;
	struct pn_commit first, second;
	struct pn_buf out;
	uint64_t content_len = 0;

	for (int i = 0; i < 3 && in.len > 0; i++) {
		content_len = content_len << 8 | in.ptr[0];
		pn_slice_advance(&in, 1);
	}
	pn_arena_init(&a, 1024, pn_commit_arena_max(in.len));
	if (pn_commit_decode(in, content_len, &a, &first) == 0) {
		pn_buf_init(&out, PN_COMMIT_MAX_BYTES);
		PN_ASSERT(pn_commit_encode(&out, content_len, &first.envelope, &first.facts,
					   &first.edits,
					   first.has_proof ? &first.proof : NULL) == 0);
		pn_arena_init(&b, 1024, pn_commit_arena_max(pn_buf_len(&out)));
		PN_ASSERT(pn_commit_decode(pn_buf_slice(&out), content_len, &b, &second) == 0);
		PN_ASSERT(pn_id_eq(&first.envelope.id, &second.envelope.id));
		PN_ASSERT(first.envelope.recipient_count == second.envelope.recipient_count);
		PN_ASSERT(pn_slice_eq(first.envelope.reverse_path, second.envelope.reverse_path));
		PN_ASSERT(first.edits.count == second.edits.count);
		PN_ASSERT(first.has_proof == second.has_proof);
		PN_ASSERT(pn_id_eq(&first.proof.original, &second.proof.original));
		PN_ASSERT(first.proof.flags == second.proof.flags);
		PN_ASSERT(pn_slice_eq(first.proof.rcpts, second.proof.rcpts));
		PN_ASSERT(memcmp(&first.facts, &second.facts, sizeof(first.facts)) == 0);
		pn_arena_reset(&b);
		pn_buf_free(&out);
	}
	pn_arena_reset(&a);
}

static void fuzz_outcome(struct pn_slice in)
{
	struct pn_outcome_state first, second;
	struct pn_buf out;
	if (pn_outcome_decode(in, &first) != 0)
		return;
	pn_buf_init(&out, PN_COMMIT_MAX_BYTES);
	PN_ASSERT(pn_outcome_encode(&out, &first) == 0);
	PN_ASSERT(pn_outcome_decode(pn_buf_slice(&out), &second) == 0);
	PN_ASSERT(pn_id_eq(&first.id, &second.id) && first.seq == second.seq &&
		  first.is_final == second.is_final);
	PN_ASSERT(first.is_final || pn_slice_eq(first.rcpt_states, second.rcpt_states));
	pn_buf_free(&out);
}

/* Goes over all items and returns the number of records; their offsets must rise. */
static size_t scan_all(const uint8_t *data, size_t len, uint64_t id, uint64_t *offsets)
{
	struct pn_scan s;
	struct pn_scan_item item;
	size_t count = 0;
	uint64_t last = 0;
	pn_scan_init(&s, data, len, id);
	while (pn_scan_next(&s, &item)) {
		PN_ASSERT(item.offset >= last && item.len > 0 && item.len <= len - item.offset);
		last = item.offset + item.len;
		if (item.is_record && count < RECORDS_MAX)
			offsets[count++] = item.offset;
	}
	return count;
}

static void fuzz_raw(struct pn_slice in)
{
	uint64_t offsets[RECORDS_MAX];
	struct pn_file_header h;
	uint64_t id = FILE_ID;
	if (in.len >= PN_FILE_HEADER_SIZE && pn_file_header_decode(in.ptr, &h) == 0)
		id = h.id;
	scan_all(in.ptr, in.len, id, offsets);
}

static size_t build_record(uint8_t *file, size_t at, struct pn_slice octets)
{
	size_t content_len = octets.len / 2, commit_len = octets.len - content_len;
	struct pn_rec_head h = {
		.kind = PN_REC_MESSAGE,
		.offset = at,
		.content_len = content_len,
		.commit_len = (uint32_t)commit_len,
		.content_crc = pn_crc32c(0, octets.ptr, content_len),
		.commit_crc = pn_crc32c(0, octets.ptr + content_len, commit_len),
	};
	pn_rec_head_encode(file + at, &h, FILE_ID);
	if (octets.len > 0)
		memcpy(file + at + PN_REC_HEAD_SIZE, octets.ptr, octets.len);
	return PN_REC_HEAD_SIZE + octets.len;
}

/* Steps: kind, length, octets. Even kinds are records, odd ones garbage. */
static void fuzz_built(struct pn_slice in)
{
	uint64_t want[RECORDS_MAX], got[RECORDS_MAX];
	size_t count = 0, at = PN_FILE_HEADER_SIZE;
	uint8_t *file = calloc(1, BUILT_MAX);
	if (!file)
		return;
	while (in.len >= 2 && count < RECORDS_MAX) {
		uint8_t kind = in.ptr[0];
		size_t len = in.ptr[1];
		pn_slice_advance(&in, 2);
		len = pn_min_size(len, in.len);
		if (at + PN_REC_HEAD_SIZE + len + PN_REC_ALIGN > BUILT_MAX)
			break;
		if (kind % 2 == 0) {
			want[count++] = at;
			at += build_record(file, at, pn_slice(in.ptr, len));
		} else if (len > 0) {
			memcpy(file + at, in.ptr, len);
			at += len;
		}
		pn_slice_advance(&in, len);
		at = (at + PN_REC_ALIGN - 1) / PN_REC_ALIGN * PN_REC_ALIGN;
	}
	/* Garbage that forges a CRC would be a discovery. */
	PN_ASSERT(scan_all(file, BUILT_MAX, FILE_ID, got) == count);
	PN_ASSERT(count == 0 || memcmp(want, got, count * sizeof(*want)) == 0);
	free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	struct pn_slice rest = pn_slice(data + 1, size - 1);
	switch (data[0] % 4) {
	case 0:
		fuzz_commit(rest);
		break;
	case 1:
		fuzz_outcome(rest);
		break;
	case 2:
		fuzz_raw(rest);
		break;
	default:
		fuzz_built(rest);
		break;
	}
	return 0;
}
