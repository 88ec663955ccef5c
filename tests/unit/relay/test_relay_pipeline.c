/* SPDX-License-Identifier: ISC */
/* test_relay_pipeline.c - transactions that begin before the last one was answered: one write for many messages, and
 * yet each has its own results and its own doubt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fake_server.h"
#include "relay_harness.h"

#define WITH_BDAT "PIPELINING 8BITMIME SIZE DSN SMTPUTF8 ENHANCEDSTATUSCODES CHUNKING"

/* One connection, so that everybody rides on it. */
static void start(struct fixture *f, const char *ehlo, bool is_chunking_used)
{
	f->h.upstreams[0].connections_max = 1;
	f->h.upstreams[0].is_chunking_used = is_chunking_used;
	atomic_store(&f->server.ehlo, ehlo);
	/* So that others come while one is answered. */
	atomic_store(&f->server.final_delay_ms, 5);
	harness_start(&f->h);
}

static void send_many(struct harness *h, const char *name, size_t count)
{
	char address[64];
	for (size_t i = 0; i < count; i++) {
		snprintf(address, sizeof(address), "%s%zu@example.com", name, i);
		harness_send_simple(h, "s@example.org", address);
	}
}

static void expect_each_once(struct fake_server *server, const char *name, size_t count)
{
	char address[64];
	for (size_t i = 0; i < count; i++) {
		size_t seen = 0;
		snprintf(address, sizeof(address), "<%s%zu@example.com>", name, i);
		for (size_t m = 0; m < fake_server_count(server); m++)
			seen += strstr(fake_message(server, m)->rcpts[0], address) != NULL;
		assert_int_equal(seen, 1);
	}
}

static void test_many_messages_share_a_write(void **state)
{
	struct fixture *f = *state;
	start(f, WITH_BDAT, true);
	send_many(&f->h, "ok", 200);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 200);
	expect_each_once(&f->server, "ok", 200);
	assert_in_range(harness_counter(&f->h, "upstream", "transactions_pipelined"), 1, 199);
	assert_int_equal(harness_counter(&f->h, "upstream", "transactions"), 200);
	for (size_t i = 0; i < 200; i++)
		assert_true(fake_has(&f->server, i, "hello\r\n.dot\r\n"));
}

static void test_it_works_behind_a_dot_too(void **state)
{
	struct fixture *f = *state;
	start(f, NULL, true);
	send_many(&f->h, "ok", 100);
	harness_wait(harness_messages(&f->h) == 0);
	expect_each_once(&f->server, "ok", 100);
	assert_in_range(harness_counter(&f->h, "upstream", "transactions_pipelined"), 1, 99);
}

static void test_without_pipelining_each_waits(void **state)
{
	struct fixture *f = *state;
	start(f, "8BITMIME CHUNKING", true);
	send_many(&f->h, "ok", 30);
	harness_wait(harness_messages(&f->h) == 0);
	expect_each_once(&f->server, "ok", 30);
	assert_int_equal(harness_counter(&f->h, "upstream", "transactions_pipelined"), 0);
}

static void test_the_limit_of_one_waits_too(void **state)
{
	struct fixture *f = *state;
	f->h.upstreams[0].pipeline_messages_max = 1;
	start(f, WITH_BDAT, true);
	send_many(&f->h, "ok", 30);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(harness_counter(&f->h, "upstream", "transactions_pipelined"), 0);
}

static void test_each_has_its_own_result(void **state)
{
	struct fixture *f = *state;
	start(f, WITH_BDAT, true);
	for (size_t i = 0; i < 15; i++) {
		char address[64];
		snprintf(address, sizeof(address), "ok%zu@example.com", i);
		harness_send_simple(&f->h, "", address);
		snprintf(address, sizeof(address), "reject%zu@example.com", i);
		harness_send_simple(&f->h, "", address);
		snprintf(address, sizeof(address), "once%zu@example.com", i);
		harness_send_simple(&f->h, "", address);
	}
	/* A bounce of a message from <> is dropped (RFC 5321 6.1), so what arrives is only what was taken. */
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 30);
	expect_each_once(&f->server, "ok", 15);
	expect_each_once(&f->server, "once", 15);
	assert_int_equal(harness_counter(&f->h, "relay", "dropped"), 15);
	assert_in_range(harness_counter(&f->h, "relay", "deferred"), 15, 15);
}

static void test_lmtp_counts_the_replies_of_each(void **state)
{
	struct fixture *f = *state;
	static const char *const to[] = {"ok1@example.com", "final-defer1@example.com", "reject1@example.com"};
	struct harness_mail mail = {.from = "", .to = to, .to_count = 3, .content = PN_SLICE_LIT(SIMPLE_CONTENT)};
	f->h.upstreams[0].kind = PN_UPSTREAM_LMTP;
	atomic_store(&f->server.is_lmtp, true);
	start(f, WITH_BDAT, true);
	for (int i = 0; i < 20; i++)
		harness_send(&f->h, &mail);
	harness_wait(harness_counter(&f->h, "relay", "delivered") == 20);
	harness_wait(harness_counter(&f->h, "relay", "dropped") == 20);
	harness_wait(harness_counter(&f->h, "relay", "deferred") >= 20);
}

/* The first message is taken and the connection dies: those behind it were not, and no one can tell from here. */
static void test_a_lost_connection_leaves_as_many_in_doubt_as_were_open(void **state)
{
	struct fixture *f = *state;
	atomic_store(&f->server.fault, FAKE_CLOSE_AFTER_DOT);
	atomic_store(&f->server.fault_count, 1);
	start(f, NULL, false);
	send_many(&f->h, "ok", 60);
	harness_wait(harness_messages(&f->h) == 0);
	uint64_t doubts = harness_counter(&f->h, "relay", "in_doubt");
	assert_in_range(doubts, 1, 8);
	/* One of them arrived twice, none is missing. */
	assert_int_equal(fake_server_count(&f->server), 61);
}

static void test_messages_per_connection_holds(void **state)
{
	struct fixture *f = *state;
	f->h.upstreams[0].messages_per_connection_max = 5;
	start(f, WITH_BDAT, true);
	send_many(&f->h, "ok", 50);
	harness_wait(harness_messages(&f->h) == 0);
	expect_each_once(&f->server, "ok", 50);
	assert_in_range(atomic_load(&f->server.connections), 10, 50);
}

/* The server takes its time with the first message, longer than it may with a block of content: that it is to answer
 * is not forgotten because another has begun behind it (RFC 5321 4.5.3.2.6). */
static void test_the_first_has_its_time_with_another_behind_it(void **state)
{
	static const char *const domains[] = {"dead.example"};
	struct fixture *f = *state;
	struct pn_upstream_settings *u = &f->h.upstreams[0];
	u->data_block_timeout_s = 1;
	u->data_end_timeout_s = u->greeting_timeout_s = 3600;
	fixture_start_other(f);
	atomic_store(&f->other.fault, FAKE_SILENT);
	u = harness_upstream(&f->h, 1, "dead", f->other.port);
	u->domains = domains;
	u->domain_count = 1;
	u->greeting_timeout_s = 3;
	atomic_store(&f->server.is_greeting_held, true);
	atomic_store(&f->server.fault, FAKE_HOLD_GREETING);
	start(f, NULL, false);
	send_many(&f->h, "ok", 2);
	harness_wait(harness_counter(&f->h, "upstream", "waiting") == 1);
	atomic_store(&f->server.fault, FAKE_HOLD_AFTER_DOT);
	atomic_store(&f->server.is_greeting_held, false);
	harness_wait(atomic_load(&f->server.held) == 1);
	assert_int_equal(harness_counter(&f->h, "upstream", "transactions_pipelined"), 1);
	/* The relay's own clock tells when more than the time for a block is over. */
	harness_send_simple(&f->h, "s@example.org", "ok@dead.example");
	harness_wait(harness_counter(&f->h, "relay", "deferred") >= 1);
	assert_int_equal(harness_counter(&f->h, "relay", "in_doubt"), 0);
	atomic_store(&f->server.fault, FAKE_NO_FAULT);
	atomic_store(&f->other.fault, FAKE_NO_FAULT);
	harness_wait(harness_messages(&f->h) == 0);
	expect_each_once(&f->server, "ok", 2);
	assert_int_equal(fake_server_count(&f->server), 2);
	assert_int_equal(atomic_load(&f->server.connections), 1);
}

static void test_stopping_in_the_middle_loses_nothing(void **state)
{
	struct fixture *f = *state;
	start(f, WITH_BDAT, true);
	send_many(&f->h, "ok", 60);
	harness_wait(fake_server_count(&f->server) >= 5);
	harness_reopen(&f->h, 5000);
	harness_start(&f->h);
	harness_wait(harness_messages(&f->h) == 0);
	expect_each_once(&f->server, "ok", 60);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)
		TEST(test_many_messages_share_a_write),
		TEST(test_it_works_behind_a_dot_too),
		TEST(test_without_pipelining_each_waits),
		TEST(test_the_limit_of_one_waits_too),
		TEST(test_each_has_its_own_result),
		TEST(test_lmtp_counts_the_replies_of_each),
		TEST(test_a_lost_connection_leaves_as_many_in_doubt_as_were_open),
		TEST(test_messages_per_connection_holds),
		TEST(test_the_first_has_its_time_with_another_behind_it),
		TEST(test_stopping_in_the_middle_loses_nothing),
#undef TEST
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
