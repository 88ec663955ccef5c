/* SPDX-License-Identifier: ISC */
/* Who gets a connection, who waits for one, and for how long. */
#include "relay_harness.h"

#include <stdio.h>
#include <string.h>

/* Each connection dies at its second MAIL. Whoever was hit takes a new one before others get their turn, so the
 * messages arrive in order and nobody is deferred. */
static void test_stale_connection_costs_no_place(void **state)
{
	enum { COUNT = 6 };
	struct fixture *f = *state;
	char to[COUNT][32];
	f->h.upstreams[0].connections_max = 1;
	atomic_store(&f->server.fault, FAKE_CLOSE_AT_SECOND_MAIL);
	for (int i = 0; i < COUNT; i++) {
		snprintf(to[i], sizeof(to[i]), "ok%d@example.com", i);
		harness_send_simple(&f->h, "s@example.org", to[i]);
	}
	harness_start(&f->h);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), COUNT);
	for (int i = 0; i < COUNT; i++)
		assert_non_null(strstr(fake_message(&f->server, (size_t)i)->rcpts[0], to[i]));
	assert_int_equal(harness_counter(&f->h, "relay", "deferred"), 0);
	assert_int_equal(atomic_load(&f->server.connections), COUNT);
}

/* One connection is stuck, and the next one was refused: those who wait look at the host again when it may be
 * tried, not only when the stuck one has ended. */
static void stuck(struct fixture *f, size_t count)
{
	struct pn_upstream_settings *u = &f->h.upstreams[0];
	u->connections_max = 2;
	u->data_end_timeout_s = 3600;
	atomic_store(&f->server.fault_count, 1);
	atomic_store(&f->server.fault, FAKE_SILENT_AFTER_DOT);
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "ok-stuck@example.com");
	/* It has left whole: before that the others would ride on its connection, and be stuck with it. */
	harness_wait(atomic_load(&f->server.held) == 1);
	atomic_store(&f->server.fault, FAKE_BUSY);
	harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	harness_wait(harness_counter(&f->h, "upstream", "connections_failed") >= 1);
	harness_wait(harness_counter(&f->h, "upstream", "waiting") >= 1);
	for (size_t i = 1; i < count; i++)
		harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	harness_wait(harness_counter(&f->h, "upstream", "waiting") == count);
	atomic_store(&f->server.fault, FAKE_NO_FAULT);
	harness_wait(fake_server_count(&f->server) == count);
	harness_wait(harness_messages(&f->h) == 1);
	assert_int_equal(harness_counter(&f->h, "relay", "deferred"), 0);
	harness_stop(&f->h, 0);
}

static void test_waiting_ends_when_the_host_may_be_tried(void **state)
{
	stuck(*state, 3);
}

/* It was refused itself: it is the one to try again. */
static void test_refused_one_tries_again(void **state)
{
	stuck(*state, 1);
}

/* While one connection waits for its greeting another is refused, and the host is left alone for an hour. But then the
 * greeting comes: the host works, and who was refused tries it again, though no connection is given back and nobody
 * can ride. */
static void test_waiting_ends_when_the_host_works(void **state)
{
	struct fixture *f = *state;
	struct pn_upstream_settings *u = &f->h.upstreams[0];
	u->connections_max = 2;
	u->pipeline_messages_max = 1;
	u->greeting_timeout_s = u->data_end_timeout_s = 3600;
	f->h.settings.host_retry_first_s = f->h.settings.host_retry_max_s = 3600;
	atomic_store(&f->server.is_greeting_held, true);
	atomic_store(&f->server.fault_count, 1);
	atomic_store(&f->server.fault, FAKE_HOLD_GREETING);
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "ok-stuck@example.com");
	harness_wait(atomic_load(&f->server.fault) == FAKE_NO_FAULT);
	atomic_store(&f->server.fault, FAKE_BUSY);
	harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	harness_wait(harness_counter(&f->h, "upstream", "connections_failed") == 1);
	harness_wait(harness_counter(&f->h, "upstream", "connections") == 1 &&
	             harness_counter(&f->h, "upstream", "waiting") == 1);
	atomic_store(&f->server.fault_count, 1);
	atomic_store(&f->server.fault, FAKE_SILENT_AFTER_DOT);
	atomic_store(&f->server.is_greeting_held, false);
	harness_wait(harness_messages(&f->h) == 1);
	assert_int_equal(fake_server_count(&f->server), 1);
	assert_int_equal(harness_counter(&f->h, "relay", "deferred"), 0);
	harness_stop(&f->h, 0);
}

/* Two upstreams with more messages than they may have at once, and both defer: each message is tried once with each
 * of them, then it waits. */
static void test_full_upstreams_do_not_pass_it_to_and_fro(void **state)
{
	enum { COUNT = 30 };
	struct fixture *f = *state;
	static const char *const domains[] = {"other.example"};
	static const char *const to[] = {"defer@example.com", "defer@other.example"};
	struct harness_mail mail = {.from = "s@example.org", .to = to, .to_count = 2,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT)};
	fixture_start_other(f);
	struct pn_upstream_settings *u = harness_upstream(&f->h, 1, "other", f->other.port);
	u->domains = domains;
	u->domain_count = 1;
	f->h.settings.jobs_max = 4;
	f->h.settings.retry_first_s = f->h.settings.retry_max_s = 3600;
	for (int i = 0; i < COUNT; i++)
		harness_send(&f->h, &mail);
	harness_start(&f->h);
	harness_wait(harness_counter(&f->h, "relay", "scheduled") == COUNT);
	assert_int_equal(harness_counter(&f->h, "relay", "attempts"), 2 * COUNT);
	/* By hand it begins a new round. */
	assert_int_equal(harness_action(&f->h, PN_RELAY_RETRY, &f->h.last_id), 0);
	harness_wait(harness_counter(&f->h, "relay", "attempts") == 2 * COUNT + 2);
	harness_wait(harness_counter(&f->h, "relay", "scheduled") == COUNT);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_stale_connection_costs_no_place),
		T(test_waiting_ends_when_the_host_may_be_tried),
		T(test_refused_one_tries_again),
		T(test_waiting_ends_when_the_host_works),
		T(test_full_upstreams_do_not_pass_it_to_and_fro),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
