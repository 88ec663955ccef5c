/* SPDX-License-Identifier: ISC */
/* The octets of the spool: envelope and outcome round trips, every flipped octet noticed, records found over gaps. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <postern/base/codec.h>
#include <postern/base/prng.h>

#include "spool/id_set.h"
#include "spool/layout.h"
#include "spool/record.h"
#include "spool/scan.h"
#include "spool/tlv.h"

#define FILE_ID UINT64_C(0x1122334455667788)

static struct pn_recipient rcpts[3] = {
	{ .next = &rcpts[1],
	  .address = { (const uint8_t *)"a@example.org", 13 },
	  .notify = PN_DSN_NOTIFY_NEVER },
	{ .next = &rcpts[2],
	  .address = { (const uint8_t *)"b@example.org", 13 },
	  .orcpt = { (const uint8_t *)"rfc822;b+2B@example.org", 23 } },
	{ .address = { (const uint8_t *)"postmaster", 10 } },
};

static void fill(struct pn_envelope *e, struct pn_content_facts *f, struct pn_edit_list *l,
		 struct pn_edit edits[3])
{
	*e = (struct pn_envelope){
		.received_wall_ms = 1700000000123u,
		.user = PN_SLICE_LIT("demo@example.org"),
		.client_address = PN_SLICE_LIT("2001:db8::1"),
		.helo = PN_SLICE_LIT("client.example.net"),
		.tls_suite = PN_SLICE_LIT("TLS_AES_128_GCM_SHA256"),
		.tls_version = 0x0304,
		.reverse_path = PN_SLICE_LIT("demo@example.org"),
		.body = PN_BODY_8BITMIME,
		.is_smtputf8 = true,
		.size_declared = 12345,
		.dsn_ret = PN_DSN_RET_HDRS,
		.dsn_envid = PN_SLICE_LIT("QQ314159"),
		.auth_param = PN_SLICE_LIT("<>"),
		.recipient_count = 3,
		.recipients = &rcpts[0],
		.recipients_last = &rcpts[2],
	};
	e->id = pn_id_make(7, e->received_wall_ms);
	*f = (struct pn_content_facts){
		.size_bytes = 100,
		.header_size_bytes = 40,
		.line_max_bytes = 78,
		.received_count = 2,
		.has_8bit_body = true,
		.has_final_crlf = true,
	};
	edits[0] = (struct pn_edit){ .next = &edits[1],
				     .at = 0,
				     .insert = PN_SLICE_LIT("Received: x\r\n") };
	edits[1] = (struct pn_edit){ .next = &edits[2], .at = 10, .delete_len = 7 };
	edits[2] = (struct pn_edit){ .at = 100, .insert = PN_SLICE_LIT("end") };
	*l = (struct pn_edit_list){ .first = &edits[0], .last = &edits[2], .count = 3 };
}

static void assert_slice(struct pn_slice a, struct pn_slice b)
{
	assert_true(pn_slice_eq(a, b));
}

static void test_commit_round_trip(void **state)
{
	struct pn_envelope e;
	struct pn_content_facts f;
	struct pn_edit_list l;
	struct pn_edit edits[3];
	struct pn_buf buf;
	struct pn_arena a;
	struct pn_commit c;
	(void)state;

	fill(&e, &f, &l, edits);
	pn_buf_init(&buf, 65536);
	assert_int_equal(pn_commit_encode(&buf, 101, &e, &f, &l, NULL), 0);
	assert_int_equal((pn_buf_len(&buf) + 101 + PN_REC_HEAD_SIZE) % PN_REC_ALIGN, 0);
	pn_arena_init(&a, 1024, pn_commit_arena_max(pn_buf_len(&buf)));
	assert_int_equal(pn_commit_decode(pn_buf_slice(&buf), 101, &a, &c), 0);
	assert_true(pn_id_eq(&c.envelope.id, &e.id));
	assert_int_equal(c.envelope.received_wall_ms, e.received_wall_ms);
	assert_slice(c.envelope.user, e.user);
	assert_slice(c.envelope.client_address, e.client_address);
	assert_slice(c.envelope.helo, e.helo);
	assert_slice(c.envelope.tls_suite, e.tls_suite);
	assert_int_equal(c.envelope.tls_version, e.tls_version);
	assert_slice(c.envelope.reverse_path, e.reverse_path);
	assert_int_equal(c.envelope.body, e.body);
	assert_true(c.envelope.is_smtputf8);
	assert_int_equal(c.envelope.size_declared, 12345);
	assert_int_equal(c.envelope.dsn_ret, PN_DSN_RET_HDRS);
	assert_slice(c.envelope.dsn_envid, e.dsn_envid);
	assert_slice(c.envelope.auth_param, e.auth_param);
	assert_int_equal(c.envelope.recipient_count, 3);
	const struct pn_recipient *r = c.envelope.recipients;
	for (size_t i = 0; i < 3; i++, r = r->next) {
		assert_slice(r->address, rcpts[i].address);
		assert_slice(r->orcpt, rcpts[i].orcpt);
		assert_int_equal(r->notify, rcpts[i].notify);
	}
	assert_null(r);
	assert_memory_equal(&c.facts.size_bytes, &f.size_bytes, sizeof(uint64_t));
	assert_int_equal(c.facts.header_size_bytes, 40);
	assert_int_equal(c.facts.line_max_bytes, 78);
	assert_int_equal(c.facts.received_count, 2);
	assert_true(c.facts.has_8bit_body && c.facts.has_final_crlf);
	assert_false(c.facts.has_8bit_header || c.facts.needs_smtputf8);
	assert_int_equal(c.edits.count, 3);
	assert_slice(c.edits.first->insert, edits[0].insert);
	assert_int_equal(c.edits.first->next->at, 10);
	assert_int_equal(c.edits.first->next->delete_len, 7);
	assert_int_equal(c.edits.last->at, 100);
	pn_arena_reset(&a);
	/* An edit behind the content is not believed. */
	assert_int_equal(pn_commit_decode(pn_buf_slice(&buf), 99, &a, &c), -EBADMSG);
	pn_arena_reset(&a);
	pn_buf_free(&buf);
}

static void test_proof_comes_back(void **state)
{
	struct pn_envelope e;
	struct pn_content_facts f;
	struct pn_edit_list l;
	struct pn_edit edits[3];
	struct pn_buf buf, told;
	struct pn_arena a;
	struct pn_commit c;
	struct pn_commit_proof proof = { .original = { { 1, 2, 3 } }, .flags = 2 };
	uint32_t index;
	uint8_t rcpt_state;
	(void)state;

	fill(&e, &f, &l, edits);
	pn_buf_init(&buf, 65536);
	pn_buf_init(&told, 65536);
	assert_int_equal(pn_proof_rcpt_put(&told, 0, 3), 0);
	assert_int_equal(pn_proof_rcpt_put(&told, 70000, 2), 0);
	proof.rcpts = pn_buf_slice(&told);
	assert_int_equal(pn_commit_encode(&buf, 100, &e, &f, &l, &proof), 0);
	pn_arena_init(&a, 1024, pn_commit_arena_max(pn_buf_len(&buf)));
	assert_int_equal(pn_commit_decode(pn_buf_slice(&buf), 100, &a, &c), 0);
	assert_true(c.has_proof);
	assert_true(pn_id_eq(&c.proof.original, &proof.original));
	assert_int_equal(c.proof.flags, 2);
	assert_true(pn_proof_rcpt_next(&c.proof.rcpts, &index, &rcpt_state));
	assert_true(index == 0 && rcpt_state == 3);
	assert_true(pn_proof_rcpt_next(&c.proof.rcpts, &index, &rcpt_state));
	assert_true(index == 70000 && rcpt_state == 2);
	assert_false(pn_proof_rcpt_next(&c.proof.rcpts, &index, &rcpt_state));
	pn_arena_reset(&a);
	/* Half a recipient. */
	pn_buf_clear(&buf);
	proof.rcpts.len--;
	assert_int_equal(pn_commit_encode(&buf, 100, &e, &f, &l, &proof), 0);
	pn_arena_init(&a, 1024, pn_commit_arena_max(pn_buf_len(&buf)));
	assert_int_equal(pn_commit_decode(pn_buf_slice(&buf), 100, &a, &c), -EBADMSG);
	pn_arena_reset(&a);
	pn_buf_free(&buf);
	pn_buf_free(&told);
}

static void test_commit_skips_unknown_and_refuses_damage(void **state)
{
	struct pn_envelope e;
	struct pn_content_facts f;
	struct pn_edit_list l;
	struct pn_edit edits[3];
	struct pn_buf buf;
	struct pn_arena a;
	struct pn_commit c;
	(void)state;

	fill(&e, &f, &l, edits);
	pn_buf_init(&buf, 65536);
	struct pn_tlv_out o = { .buf = &buf };
	pn_tlv_slice(&o, 999, PN_SLICE_LIT("of a newer version"));
	assert_int_equal(o.err, 0);
	assert_int_equal(pn_commit_encode(&buf, 100, &e, &f, &l, NULL), 0);
	pn_arena_init(&a, 1024, 1u << 20);
	assert_int_equal(pn_commit_decode(pn_buf_slice(&buf), 100, &a, &c), 0);
	assert_int_equal(c.envelope.recipient_count, 3);
	/* Cut anywhere: an error, or (at a field's end) fewer fields, never more than there is. */
	for (size_t len = 0; len < pn_buf_len(&buf); len++) {
		uint8_t *exact = malloc(len ? len : 1);
		memcpy(exact, pn_buf_ptr(&buf), len);
		pn_arena_reset(&a);
		int res = pn_commit_decode(pn_slice(exact, len), 100, &a, &c);
		assert_true(res == 0 || res == -EBADMSG);
		free(exact);
	}
	/* No id. */
	assert_int_equal(pn_commit_decode(PN_SLICE_NULL, 100, &a, &c), -EBADMSG);
	/* A number of the wrong length. */
	static const uint8_t bad[] = { 2, 0, 3, 0, 0, 0, 1, 2, 3 };
	assert_int_equal(pn_commit_decode(pn_slice(bad, sizeof(bad)), 100, &a, &c), -EBADMSG);
	pn_arena_reset(&a);
	pn_buf_free(&buf);
}

static void test_commit_over_the_maximum_is_refused(void **state)
{
	struct pn_envelope e;
	struct pn_content_facts f;
	struct pn_edit_list l;
	struct pn_edit edits[3];
	struct pn_buf buf;
	(void)state;
	fill(&e, &f, &l, edits);
	pn_buf_init(&buf, 128);
	assert_int_equal(pn_commit_encode(&buf, 100, &e, &f, &l, NULL), -ENOBUFS);
	pn_buf_free(&buf);
}

static void test_outcome_round_trip(void **state)
{
	static const uint8_t states[] = { 1, 0, 2 };
	struct pn_outcome_state in = {
		.seq = 77,
		.flags = 3,
		.attempts = 9,
		.next_attempt_wall_ms = 1700000000999u,
		.rcpt_states = { states, sizeof(states) },
		.last_reply = PN_SLICE_LIT("451 4.3.0 later"),
	};
	struct pn_outcome_state out;
	struct pn_buf buf;
	(void)state;
	in.id = pn_id_make(1, 1);
	pn_buf_init(&buf, 4096);
	assert_int_equal(pn_outcome_encode(&buf, &in), 0);
	assert_int_equal((pn_buf_len(&buf) + PN_REC_HEAD_SIZE) % PN_REC_ALIGN, 0);
	assert_int_equal(pn_outcome_decode(pn_buf_slice(&buf), &out), 0);
	assert_true(pn_id_eq(&in.id, &out.id));
	assert_int_equal(out.seq, 77);
	assert_int_equal(out.flags, 3);
	assert_int_equal(out.attempts, 9);
	assert_int_equal(out.next_attempt_wall_ms, in.next_attempt_wall_ms);
	assert_slice(out.rcpt_states, in.rcpt_states);
	assert_slice(out.last_reply, in.last_reply);
	assert_false(out.is_final);
	pn_buf_clear(&buf);
	in.is_final = true;
	assert_int_equal(pn_outcome_encode(&buf, &in), 0);
	assert_int_equal(pn_outcome_decode(pn_buf_slice(&buf), &out), 0);
	assert_true(out.is_final);
	assert_int_equal(out.rcpt_states.len, 0);
	pn_buf_free(&buf);
}

static void test_outcome_reply_is_cut(void **state)
{
	uint8_t reply[2000];
	struct pn_outcome_state in = { .last_reply = { reply, sizeof(reply) } }, out;
	struct pn_buf buf;
	(void)state;
	memset(reply, 'x', sizeof(reply));
	in.id = pn_id_make(1, 1);
	pn_buf_init(&buf, 4096);
	assert_int_equal(pn_outcome_encode(&buf, &in), 0);
	assert_int_equal(pn_outcome_decode(pn_buf_slice(&buf), &out), 0);
	assert_int_equal(out.last_reply.len, PN_LAST_REPLY_MAX);
	pn_buf_free(&buf);
}

/* ---- records in a file ---- */

/* Puts a record at `offset`; returns its length. */
static size_t put_record(uint8_t *file, uint64_t offset, size_t content_len, size_t commit_len,
			 uint64_t id)
{
	uint8_t *content = file + offset + PN_REC_HEAD_SIZE;
	for (size_t i = 0; i < content_len + commit_len; i++)
		content[i] = (uint8_t)(offset + i * 7 + 1);
	struct pn_rec_head h = {
		.kind = PN_REC_MESSAGE,
		.offset = offset,
		.content_len = content_len,
		.commit_len = (uint32_t)commit_len,
		.content_crc = pn_crc32c(0, content, content_len),
		.commit_crc = pn_crc32c(0, content + content_len, commit_len),
		.synced_until = offset,
	};
	pn_rec_head_encode(file + offset, &h, id);
	return PN_REC_HEAD_SIZE + content_len + commit_len;
}

static size_t count_records(const uint8_t *file, size_t len, size_t *ret_gaps)
{
	struct pn_scan s;
	struct pn_scan_item item;
	size_t count = 0, gaps = 0;
	uint64_t last = 0;
	pn_scan_init(&s, file, len, FILE_ID);
	while (pn_scan_next(&s, &item)) {
		assert_true(item.offset >= last && item.offset + item.len <= len);
		last = item.offset + item.len;
		count += item.is_record;
		gaps += !item.is_record;
	}
	*ret_gaps = gaps;
	return count;
}

static void test_every_octet_of_a_record_counts(void **state)
{
	size_t gaps, file_len = PN_FILE_HEADER_SIZE + 1024;
	uint8_t *file = calloc(1, file_len);
	(void)state;
	size_t len = put_record(file, PN_FILE_HEADER_SIZE, 100, 44 + 16, FILE_ID);
	put_record(file, PN_FILE_HEADER_SIZE + len, 64, 64, FILE_ID);
	assert_int_equal(count_records(file, file_len, &gaps), 2);
	assert_int_equal(gaps, 0);
	for (size_t i = 0; i < len; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			file[PN_FILE_HEADER_SIZE + i] ^= (uint8_t)(1u << bit);
			/* Only the damaged one is gone, the one behind it is found. */
			assert_int_equal(count_records(file, file_len, &gaps), 1);
			assert_int_equal(gaps, 1);
			file[PN_FILE_HEADER_SIZE + i] ^= (uint8_t)(1u << bit);
		}
	}
	free(file);
}

static void test_records_of_another_file_or_place_do_not_pass(void **state)
{
	size_t gaps, file_len = PN_FILE_HEADER_SIZE + 1024;
	uint8_t *file = calloc(1, file_len);
	(void)state;
	put_record(file, PN_FILE_HEADER_SIZE, 100, 60, FILE_ID + 1);
	assert_int_equal(count_records(file, file_len, &gaps), 0);
	assert_int_equal(gaps, 1);
	memset(file, 0, file_len);
	size_t len = put_record(file, PN_FILE_HEADER_SIZE, 100, 60, FILE_ID);
	memmove(file + PN_FILE_HEADER_SIZE + 16, file + PN_FILE_HEADER_SIZE, len);
	memset(file + PN_FILE_HEADER_SIZE, 0, 16);
	assert_int_equal(count_records(file, file_len, &gaps), 0);
	assert_int_equal(gaps, 1);
	free(file);
}

static void test_cut_records_do_not_pass(void **state)
{
	size_t gaps;
	uint8_t *file = calloc(1, PN_FILE_HEADER_SIZE + 1024);
	(void)state;
	size_t len = put_record(file, PN_FILE_HEADER_SIZE, 100, 60, FILE_ID);
	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *exact = malloc(PN_FILE_HEADER_SIZE + cut);
		memcpy(exact, file, PN_FILE_HEADER_SIZE + cut);
		assert_int_equal(count_records(exact, PN_FILE_HEADER_SIZE + cut, &gaps), 0);
		free(exact);
	}
	/* Shorter than a header */
	assert_int_equal(count_records(file, 100, &gaps), 0);
	free(file);
}

static void test_header_round_trip_and_damage(void **state)
{
	uint8_t octets[PN_FILE_HEADER_SIZE];
	struct pn_file_header in = { .kind = PN_FILE_JOURNAL, .id = FILE_ID, .created_wall_ms = 5 },
			      out;
	(void)state;
	pn_file_header_encode(octets, &in);
	assert_int_equal(pn_file_header_decode(octets, &out), 0);
	assert_int_equal(out.kind, PN_FILE_JOURNAL);
	assert_int_equal(out.id, FILE_ID);
	for (size_t i = 0; i < 40; i++) {
		octets[i] ^= 1;
		assert_int_equal(pn_file_header_decode(octets, &out), -EBADMSG);
		octets[i] ^= 1;
	}
	/* A newer version with a good CRC is not damage. */
	octets[8] = 2;
	uint32_t crc = pn_crc32c(0, octets, 36);
	for (unsigned i = 0; i < 4; i++)
		octets[36 + i] = (uint8_t)(crc >> (8 * i));
	assert_int_equal(pn_file_header_decode(octets, &out), -ENOTSUP);
}

static void test_id_set(void **state)
{
	struct pn_id_set *s = pn_id_set_new();
	struct pn_id ids[3000];
	uint32_t value;
	(void)state;
	for (uint32_t i = 0; i < 3000; i++) {
		ids[i] = pn_id_make(1, i / 100);
		assert_false(pn_id_set_has(s, &ids[i]));
		assert_int_equal(pn_id_set_add(s, &ids[i], i, &value), 1);
	}
	for (uint32_t i = 0; i < 3000; i++) {
		assert_true(pn_id_set_find(s, &ids[i], &value));
		assert_int_equal(value, i);
		assert_int_equal(pn_id_set_add(s, &ids[i], 99999, &value), 0);
		assert_int_equal(value, i);
	}
	pn_id_set_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_proof_comes_back),
		cmocka_unit_test(test_commit_round_trip),
		cmocka_unit_test(test_commit_skips_unknown_and_refuses_damage),
		cmocka_unit_test(test_commit_over_the_maximum_is_refused),
		cmocka_unit_test(test_outcome_round_trip),
		cmocka_unit_test(test_outcome_reply_is_cut),
		cmocka_unit_test(test_every_octet_of_a_record_counts),
		cmocka_unit_test(test_records_of_another_file_or_place_do_not_pass),
		cmocka_unit_test(test_cut_records_do_not_pass),
		cmocka_unit_test(test_header_round_trip_and_damage),
		cmocka_unit_test(test_id_set),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
