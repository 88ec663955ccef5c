/* SPDX-License-Identifier: ISC */
/* test_relay_lend.c - content that is sent from the spool's memory: whole, in its place among what is copied, and held
 * while the kernel reads it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_server.h"
#include "relay_harness.h"

#define WITH_BDAT "PIPELINING 8BITMIME SIZE DSN SMTPUTF8 ENHANCEDSTATUSCODES CHUNKING"
#define KINDS 7
#define HUGE_ONE 7 /* comes from the disk, and no socket takes it at once */

/* Copied ones, one piece, several, more than go into one send; sizes at both sides of a block's end. */
static const size_t sizes[KINDS + 1] = {200, 9000, 70000, 81856, 81857, 700000, 1500000, 20 << 20};

/* All of them stay in memory. */
static int setup(void **state)
{
	int err = fixture_setup(state);
	struct fixture *f = *state;
	if (err == 0) {
		f->h.inline_max_bytes = 2 << 20;
		harness_reopen(&f->h, 0);
	}
	return err;
}

static void start(struct fixture *f, uint32_t connections_max)
{
	f->h.upstreams[0].connections_max = connections_max;
	f->h.upstreams[0].is_chunking_used = true;
	f->h.upstreams[0].data_block_timeout_s = f->h.upstreams[0].data_end_timeout_s = 300;
	atomic_store(&f->server.ehlo, WITH_BDAT);
	harness_start(&f->h);
}

/* Every line says which message it belongs to and where it stands. */
static char *content_of_size(size_t index, size_t size)
{
	char *content = malloc(size + 128);
	assert_non_null(content);
	size_t len = (size_t)sprintf(content, "Subject: message %zu\r\n\r\n", index);
	for (size_t n = 0; len + 64 < size; n++)
		len += (size_t)sprintf(content + len, "%smessage %zu line %zu of it\r\n", n % 5 ? "" : ".", index, n);
	while (len < size)
		content[len++] = 'x';
	sprintf(content + len, "\r\n");
	return content;
}

static char *content_of(size_t index)
{
	return content_of_size(index, sizes[index % KINDS]);
}

static void send_all_kinds(struct harness *h, size_t count, const char *edit_insert)
{
	for (size_t i = 0; i < count; i++) {
		char address[64];
		const char *to = address;
		char *content = content_of(i);
		snprintf(address, sizeof(address), "m%zu@example.com", i);
		struct harness_mail mail = {.from = "s@example.org", .to = &to, .to_count = 1,
		                            .content = pn_slice_str(content), .edit_insert = edit_insert};
		harness_send(h, &mail);
		free(content);
	}
}

/* Each message came once and as it was. */
static void expect_all_kinds(struct fake_server *server, size_t count, const char *edit_insert)
{
	size_t skip = edit_insert ? strlen(edit_insert) : 0;
	assert_int_equal(fake_server_count(server), count);
	for (size_t i = 0; i < count; i++) {
		const struct fake_message *m = fake_message(server, i);
		size_t index = strtoull(strstr(m->rcpts[0], "<m") + 2, NULL, 10);
		char *content = content_of(index);
		assert_int_equal(m->data_len, skip + strlen(content));
		if (skip > 0)
			assert_memory_equal(m->data, edit_insert, skip);
		assert_memory_equal(m->data + skip, content, strlen(content));
		free(content);
	}
}

static void test_all_sizes_arrive_as_they_were(void **state)
{
	struct fixture *f = *state;
	start(f, 4);
	send_all_kinds(&f->h, 8 * KINDS, NULL);
	harness_wait(harness_messages(&f->h) == 0);
	expect_all_kinds(&f->server, 8 * KINDS, NULL);
	/* By far the most of it, and not the small ones. */
	uint64_t sent = harness_counter(&f->h, "upstream", "bytes_sent");
	assert_in_range(harness_counter(&f->h, "upstream", "bytes_lent"), sent / 2, sent - 1);
}

static void test_in_order_with_what_rides_behind(void **state)
{
	struct fixture *f = *state;
	static const char insert[] = "Received: by a gateway\r\n\tfor a test\r\n";
	atomic_store(&f->server.final_delay_ms, 2);
	start(f, 1);
	send_all_kinds(&f->h, 6 * KINDS, insert);
	harness_wait(harness_messages(&f->h) == 0);
	expect_all_kinds(&f->server, 6 * KINDS, insert);
	assert_true(harness_counter(&f->h, "upstream", "bytes_lent") > 0);
}

static void test_to_a_slow_reader(void **state)
{
	struct fixture *f = *state;
	atomic_store(&f->server.fault, FAKE_SLOW_READER);
	start(f, 2);
	send_all_kinds(&f->h, 2 * KINDS, NULL);
	harness_wait(harness_messages(&f->h) == 0);
	expect_all_kinds(&f->server, 2 * KINDS, NULL);
}

static void test_connection_lost_in_the_middle(void **state)
{
	struct fixture *f = *state;
	atomic_store(&f->server.fault, FAKE_CLOSE_IN_DATA);
	atomic_store(&f->server.fault_count, 5);
	start(f, 2);
	send_all_kinds(&f->h, 2 * KINDS, NULL);
	harness_wait(harness_messages(&f->h) == 0);
	expect_all_kinds(&f->server, 2 * KINDS, NULL);
	assert_true(harness_counter(&f->h, "upstream", "deferred") > 0);
}

static void test_stopped_in_the_middle(void **state)
{
	struct fixture *f = *state;
	atomic_store(&f->server.fault, FAKE_SLOW_READER);
	start(f, 2);
	send_all_kinds(&f->h, 2 * KINDS, NULL);
	harness_wait(harness_counter(&f->h, "upstream", "bytes_lent") > 0);
	harness_reopen(&f->h, 0);
	atomic_store(&f->server.fault, FAKE_NO_FAULT);
	harness_start(&f->h);
	harness_wait(harness_messages(&f->h) == 0);
	for (size_t i = 0; i < 2 * KINDS; i++) {
		char *content = content_of(i);
		bool has_come = false;
		for (size_t m = 0; m < fake_server_count(&f->server); m++)
			has_come |= fake_message(&f->server, m)->data_len == strlen(content) &&
			            memcmp(fake_message(&f->server, m)->data, content, strlen(content)) == 0;
		assert_true(has_come);
		free(content);
	}
}

/* RFC 3030 2: the server counts on all octets of a chunk that it has refused, not on what follows. */
static void test_refused_before_all_was_sent(void **state)
{
	struct fixture *f = *state;
	const char *to = "big@example.com", *next = "m3@example.com";
	char *content = content_of_size(0, sizes[HUGE_ONE]), *small = content_of(3);
	struct harness_mail bad = {.from = "", .to = &to, .to_count = 1, .content = pn_slice_str(content)};
	struct harness_mail good = {
		.from = "", .to = &next, .to_count = 1, .content = pn_slice_str(small)};
	start(f, 1);
	for (size_t i = 0; i < 3; i++) {
		atomic_store(&f->server.fault, FAKE_REFUSE_CHUNK);
		harness_send(&f->h, &bad);
		harness_wait(harness_counter(&f->h, "upstream", "failed") == i + 1);
		atomic_store(&f->server.fault, FAKE_NO_FAULT);
		harness_send(&f->h, &good);
		harness_wait(harness_messages(&f->h) == 0);
		assert_int_equal(fake_server_count(&f->server), i + 1);
		assert_int_equal(fake_message(&f->server, i)->data_len, strlen(small));
		assert_memory_equal(fake_message(&f->server, i)->data, small, strlen(small));
	}
	assert_int_equal(atomic_load(&f->server.connections), 1);
	free(content);
	free(small);
}

static void test_not_behind_data(void **state)
{
	struct fixture *f = *state;
	atomic_store(&f->server.ehlo, "PIPELINING 8BITMIME SIZE");
	harness_start(&f->h);
	send_all_kinds(&f->h, KINDS, NULL);
	harness_wait(harness_messages(&f->h) == 0);
	expect_all_kinds(&f->server, KINDS, NULL);
	assert_int_equal(harness_counter(&f->h, "upstream", "bytes_lent"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, fixture_teardown)
		TEST(test_all_sizes_arrive_as_they_were),
		TEST(test_in_order_with_what_rides_behind),
		TEST(test_to_a_slow_reader),
		TEST(test_connection_lost_in_the_middle),
		TEST(test_stopped_in_the_middle),
		TEST(test_refused_before_all_was_sent),
		TEST(test_not_behind_data),
#undef TEST
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
