/* SPDX-License-Identifier: ISC */
/*
 * test_session_place.c - content that is opened straight into the spool's memory is the content that was sent, whatever
 * records it came in and whatever else lay in them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <postern/base/prng.h>

#include "session_harness.h"

#define MESSAGES_MAX 8
#define SIZE_MAX_BYTES (400u << 10)

/* What was promised, in the order of the promises, and what a reader finds of it. */
static struct pn_spool_entry *entries[MESSAGES_MAX];
static struct pn_buf stored[MESSAGES_MAX];
static size_t stored_count;

static void store(struct pn_spool_entry *entry, void *ctx)
{
	struct harness *h = ctx;

	assert_true(stored_count < MESSAGES_MAX);
	entries[stored_count++] = entry;
	h->submitted++;
}

struct reading {
	struct pn_buf *to;
	int result; /* of the last call; 1: none yet */
};

static void on_load(void *ctx, int result, struct pn_spool_message *message)
{
	struct reading *r = ctx;

	(void)message;
	r->result = result;
}

static void on_piece(void *ctx, int result, struct pn_slice piece)
{
	struct reading *r = ctx;

	if (result > 0)
		assert_int_equal(pn_buf_append_slice(r->to, piece), 0);
	r->result = result > 0 ? 2 : result;
}

/* Reads all that was stored, from memory or from the disk. */
static void collect(struct harness *h)
{
	struct pn_spool_reader *reader = pn_spool_reader_new(h->spool, h->loop);

	assert_non_null(reader);
	for (size_t i = 0; i < stored_count; i++) {
		struct reading r = { .to = &stored[i], .result = 1 };
		pn_buf_init(r.to, 2 * SIZE_MAX_BYTES);
		pn_spool_reader_load(reader, entries[i], on_load, &r);
		h_until(h, r.result != 1);
		assert_int_equal(r.result, 0);
		pn_spool_reader_rewind(reader, true);
		do {
			r.result = 1;
			pn_spool_reader_next(reader, on_piece, &r);
			h_until(h, r.result != 1);
		} while (r.result > 1);
		assert_int_equal(r.result, 0);
		pn_spool_reader_done(reader);
		pn_spool_entry_free(h->spool, entries[i]);
	}
	pn_spool_reader_free(reader);
}

static void begin(struct harness *h, struct client *c)
{
	h_init(h);
	h->shared.submit = store;
	h_start(h);
	stored_count = 0;
	c_ready(c, h, H_TLS, true);
}

static void end(struct harness *h, struct client *c)
{
	c_close(c, false);
	h_stop(h);
	for (size_t i = 0; i < stored_count; i++)
		pn_buf_free(&stored[i]);
}

static uint32_t below(struct pn_prng *p, uint32_t n)
{
	return (uint32_t)pn_prng_below(p, n);
}

/* Lines of any length, many of them with dots in front, as content and as it is sent by DATA. */
static void make_message(struct pn_prng *p, size_t size, struct pn_buf *content, struct pn_buf *sent)
{
	static const char header[] = "From: <" H_USER ">\r\nSubject: dots\r\n\r\n";

	pn_buf_init(content, 2 * SIZE_MAX_BYTES);
	pn_buf_init(sent, 3 * SIZE_MAX_BYTES);
	assert_int_equal(pn_buf_append(content, header, sizeof(header) - 1), 0);
	assert_int_equal(pn_buf_append(sent, header, sizeof(header) - 1), 0);
	while (pn_buf_len(content) < size) {
		char line[902];
		size_t len = below(p, 4) ? below(p, 80) : below(p, 900);
		for (size_t i = 0; i < len; i++)
			line[i] = (char)('a' + below(p, 26));
		if (len > 0 && below(p, 3) == 0)
			memset(line, '.', 1 + below(p, (uint32_t)pn_min_size(len, 3)));
		memcpy(line + len, "\r\n", 2);
		if (line[0] == '.')
			assert_int_equal(pn_buf_append(sent, ".", 1), 0);
		assert_int_equal(pn_buf_append(content, line, len + 2), 0);
		assert_int_equal(pn_buf_append(sent, line, len + 2), 0);
	}
}

/* In records of at most `record_max` octets, of random length or all as long as that. */
static void send_in_records(struct client *c, struct pn_prng *p, const struct pn_buf *b,
			    uint32_t record_max, bool is_random)
{
	const uint8_t *at = pn_buf_ptr(b);
	size_t left = pn_buf_len(b);

	while (left > 0) {
		size_t n = is_random ? 1 + below(p, record_max) : record_max;
		n = pn_min_size(n, left);
		c_send_bytes(c, at, n);
		at += n;
		left -= n;
	}
}

static void add(struct pn_buf *to, const char *text)
{
	assert_int_equal(pn_buf_append(to, text, strlen(text)), 0);
}

static void expect(struct client *c, int count, int code)
{
	for (int i = 0; i < count; i++)
		assert_int_equal(c_reply(c), code);
}

/* The whole message, dots and cuts of any kind; the commands of the next ride in the last record. */
static void run_data(uint32_t record_max, bool is_random, uint64_t seed)
{
	struct pn_prng p;
	struct harness h;
	struct client c;
	struct pn_buf contents[4];
	struct pn_buf all;

	pn_prng_init(&p, seed);
	begin(&h, &c);
	for (int i = 0; i < 4; i++) {
		struct pn_buf sent;
		make_message(&p, SIZE_MAX_BYTES / (1u << (2 * i)), &contents[i], &sent);
		c_cmd(&c, "MAIL FROM:<" H_USER ">", 250);
		c_cmd(&c, "RCPT TO:<a@example.net>", 250);
		c_cmd(&c, "DATA", 354);
		pn_buf_init(&all, 4 * SIZE_MAX_BYTES);
		assert_int_equal(pn_buf_append_slice(&all, pn_buf_slice(&sent)), 0);
		add(&all, ".\r\nNOOP\r\nMAIL FROM:<" H_USER ">\r\nRCPT TO:<b@example.net>\r\nRSET\r\n");
		send_in_records(&c, &p, &all, record_max, is_random);
		expect(&c, 5, 250);
		pn_buf_free(&all);
		pn_buf_free(&sent);
	}
	assert_true(h_counter(&h, records_placed) > (record_max > 8192 ? 5 : 100));
	assert_int_equal(stored_count, 4);
	collect(&h);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(pn_buf_len(&stored[i]), pn_buf_len(&contents[i]));
		assert_memory_equal(pn_buf_ptr(&stored[i]), pn_buf_ptr(&contents[i]),
				    pn_buf_len(&contents[i]));
		pn_buf_free(&contents[i]);
	}
	end(&h, &c);
}

static void test_data_in_full_records(void **state)
{
	(void)state;
	run_data(16384, false, 1);
}

static void test_data_in_random_records(void **state)
{
	(void)state;
	run_data(16384, true, 2);
}

static void test_data_in_short_records(void **state)
{
	(void)state;
	run_data(700, true, 3);
}

/* Chunks with commands between them in the same record, and another message behind the last. With `commits_max` of one
 * the session pauses for each promise, the rest of the record in its hands. */
static void run_chunks(uint32_t commits_max)
{
	struct pn_prng p;
	struct harness h;
	struct client c;
	struct pn_buf contents[2], all;
	int replies = 0;

	pn_prng_init(&p, 4);
	h_init(&h);
	h.shared.submit = store;
	h.values.commits_max = commits_max;
	h_start(&h);
	stored_count = 0;
	c_ready(&c, &h, H_TLS, true);
	pn_buf_init(&all, 8 * SIZE_MAX_BYTES);
	for (int i = 0; i < 2; i++) {
		struct pn_buf sent;
		size_t at = 0;
		make_message(&p, SIZE_MAX_BYTES / 2, &contents[i], &sent);
		pn_buf_free(&sent);
		add(&all, "MAIL FROM:<" H_USER ">\r\nRCPT TO:<a@example.net>\r\n");
		replies += 2;
		while (at < pn_buf_len(&contents[i])) {
			char command[48];
			size_t n = pn_min_size(1 + below(&p, 40000), pn_buf_len(&contents[i]) - at);
			bool is_last = at + n == pn_buf_len(&contents[i]);
			(void)snprintf(command, sizeof(command), "BDAT %zu%s\r\n", n,
				       is_last ? " LAST" : "");
			add(&all, command);
			assert_int_equal(pn_buf_append(&all, pn_buf_ptr(&contents[i]) + at, n), 0);
			add(&all, is_last ? "NOOP\r\n" : "");
			replies += 1 + is_last;
			at += n;
		}
	}
	send_in_records(&c, &p, &all, 16384, false);
	expect(&c, replies, 250);
	assert_true(h_counter(&h, records_placed) > 5);
	assert_true(commits_max > 1 || h_counter(&h, commit_waits) > 0);
	assert_int_equal(stored_count, 2);
	collect(&h);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pn_buf_len(&stored[i]), pn_buf_len(&contents[i]));
		assert_memory_equal(pn_buf_ptr(&stored[i]), pn_buf_ptr(&contents[i]),
				    pn_buf_len(&contents[i]));
		pn_buf_free(&contents[i]);
	}
	pn_buf_free(&all);
	end(&h, &c);
}

static void test_chunks_and_what_lies_between(void **state)
{
	(void)state;
	run_chunks(100);
}

static void test_a_pause_behind_each_message(void **state)
{
	(void)state;
	run_chunks(1);
}

/* The beginning was put into memory, the rest goes to a file of its own. */
static void test_a_message_that_outgrows_memory(void **state)
{
	uint32_t before = h_inline_max_bytes;

	(void)state;
	h_inline_max_bytes = 150000;
	run_data(16384, false, 8);
	run_data(16384, true, 9);
	h_inline_max_bytes = before;
}

/* A line that is refused ends the message in the middle of a record, or just before the end: what follows is read all
 * the same, though the message's memory is gone. */
static void test_refused_in_the_middle(void **state)
{
	struct pn_prng p;
	struct harness h;
	struct client c;
	struct pn_buf content, sent, all;

	(void)state;
	pn_prng_init(&p, 5);
	begin(&h, &c);
	make_message(&p, 100000, &content, &sent);
	pn_buf_init(&all, 4 * SIZE_MAX_BYTES);
	assert_int_equal(pn_buf_append_slice(&all, pn_buf_slice(&sent)), 0);
	add(&all, "one bare\nline end\r\n");
	for (int i = 0; i < 16; i++) {
		if (i == 8) {
			all.tail -= strlen(".\r\nNOOP\r\n");
			assert_int_equal(pn_buf_append_slice(&all, pn_buf_slice(&sent)), 0);
		}
		if (i == 0 || i == 8)
			add(&all, ".\r\nNOOP\r\n");
		uint64_t placed = h_counter(&h, records_placed);
		c_cmd(&c, "MAIL FROM:<" H_USER ">", 250);
		c_cmd(&c, "RCPT TO:<a@example.net>", 250);
		c_cmd(&c, "DATA", 354);
		send_in_records(&c, &p, &all, 16384 - (uint32_t)i * 731, false);
		assert_int_equal(c_reply(&c), 550);
		assert_int_equal(c_reply(&c), 250);
		assert_true(h_counter(&h, records_placed) > placed);
	}
	assert_int_equal(stored_count, 0);
	pn_buf_free(&all);
	pn_buf_free(&content);
	pn_buf_free(&sent);
	end(&h, &c);
}

/* Repaired line ends make more octets of fewer: nothing may be put over what is still to be read. */
static void test_repaired_content_is_copied(void **state)
{
	struct harness h;
	struct client c;
	struct pn_buf all, content;
	struct pn_prng p;

	(void)state;
	pn_prng_init(&p, 6);
	h_init(&h);
	h.shared.submit = store;
	h.values.smtp.line_policy = PN_LINE_NORMALIZE;
	h_start(&h);
	stored_count = 0;
	c_ready(&c, &h, H_TLS, true);
	pn_buf_init(&all, SIZE_MAX_BYTES);
	pn_buf_init(&content, SIZE_MAX_BYTES);
	add(&all, "Subject: x\r\n\r\n");
	add(&content, "Subject: x\r\n\r\n");
	for (int i = 0; i < 20000; i++) {
		add(&all, "a\n");
		add(&content, "a\r\n");
	}
	add(&all, ".\r\n");
	c_cmd(&c, "MAIL FROM:<" H_USER ">", 250);
	c_cmd(&c, "RCPT TO:<a@example.net>", 250);
	c_cmd(&c, "DATA", 354);
	/* The final dot must stand behind a true line end. */
	all.tail -= 3;
	add(&all, "\r\n.\r\n");
	add(&content, "\r\n");
	send_in_records(&c, &p, &all, 16384, false);
	assert_int_equal(c_reply(&c), 250);
	assert_int_equal(h_counter(&h, records_placed), 0);
	assert_int_equal(stored_count, 1);
	collect(&h);
	assert_int_equal(pn_buf_len(&stored[0]), pn_buf_len(&content));
	assert_memory_equal(pn_buf_ptr(&stored[0]), pn_buf_ptr(&content), pn_buf_len(&content));
	pn_buf_free(&all);
	pn_buf_free(&content);
	end(&h, &c);
}

/* The client leaves, and the records behind its last are never seen. */
static void test_gone_in_the_middle(void **state)
{
	struct pn_prng p;
	struct harness h;
	struct client c;
	struct pn_buf content, sent;

	(void)state;
	pn_prng_init(&p, 7);
	begin(&h, &c);
	make_message(&p, 200000, &content, &sent);
	c_cmd(&c, "MAIL FROM:<" H_USER ">", 250);
	c_cmd(&c, "RCPT TO:<a@example.net>", 250);
	c_cmd(&c, "DATA", 354);
	send_in_records(&c, &p, &sent, 16384, false);
	h_until(&h, h_counter(&h, records_placed) > 5);
	c_close(&c, true);
	h_until(&h, h_is_empty(&h));
	assert_int_equal(stored_count, 0);
	pn_buf_free(&content);
	pn_buf_free(&sent);
	h_stop(&h);
}

int main(void)
{
	h_inline_max_bytes = SIZE_MAX_BYTES * 2;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_data_in_full_records),
		cmocka_unit_test(test_data_in_random_records),
		cmocka_unit_test(test_data_in_short_records),
		cmocka_unit_test(test_chunks_and_what_lies_between),
		cmocka_unit_test(test_a_pause_behind_each_message),
		cmocka_unit_test(test_a_message_that_outgrows_memory),
		cmocka_unit_test(test_refused_in_the_middle),
		cmocka_unit_test(test_repaired_content_is_copied),
		cmocka_unit_test(test_gone_in_the_middle),
	};

	return cmocka_run_group_tests(tests, tls_setup, tls_teardown);
}
