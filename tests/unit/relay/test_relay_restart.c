/* SPDX-License-Identifier: ISC */
/* Stopping and starting again: what is finished, what is left, and that nothing happens twice. */
#include "relay_harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/clock.h>
#include <postern/base/fault.h>

static void test_stop_lets_an_attempt_finish(void **state)
{
	struct fixture *f = *state;
	const char *to = "ok@example.com";
	char *content = malloc(1 << 20);
	size_t len = (size_t)sprintf(content, "Subject: big\r\n\r\n");
	while (len < (1 << 20) - 200)
		len += (size_t)sprintf(content + len, "%zu some text that fills the message line by line\r\n", len);
	struct harness_mail mail = {.from = "s@example.org", .to = &to, .to_count = 1,
	                            .content = pn_slice(content, len)};
	atomic_store(&f->server.fault, FAKE_SLOW_READER);
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(atomic_load(&f->server.connections) == 1);
	harness_stop(&f->h, 30000);
	assert_int_equal(fake_server_count(&f->server), 1);
	assert_int_equal(harness_messages(&f->h), 0);
	free(content);
}

static void test_stop_cuts_at_the_deadline_and_a_restart_goes_on(void **state)
{
	struct fixture *f = *state;
	atomic_store(&f->server.fault, FAKE_SILENT);
	harness_start(&f->h);
	for (int i = 0; i < 50; i++)
		harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	harness_wait(atomic_load(&f->server.connections) >= 1);
	harness_reopen(&f->h, 50);
	assert_int_equal(f->h.recovered_count, 50);
	atomic_store(&f->server.fault, FAKE_NO_FAULT);
	harness_start(&f->h);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 50);
}

static void test_partial_delivery_survives_a_restart(void **state)
{
	struct fixture *f = *state;
	static const char *const to[] = {"ok@example.com", "defer@example.com"};
	struct harness_mail mail = {.from = "s@example.org", .to = to, .to_count = 2,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT)};
	struct pn_relay_item item;
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	struct pn_id id = f->h.last_id;
	harness_wait(harness_find(&f->h, &id, &item) && item.attempts >= 1);
	harness_reopen(&f->h, 5000);
	assert_int_equal(f->h.recovered_count, 1);
	harness_start(&f->h);
	uint16_t before = item.attempts;
	harness_wait(harness_find(&f->h, &id, &item) && item.attempts > before);
	assert_int_equal(fake_server_count(&f->server), 1);
}

static void test_recovered_message_waits_for_its_time(void **state)
{
	struct fixture *f = *state;
	struct pn_relay_item item;
	const char *to = "ok@example.com";
	struct harness_mail mail = {.from = "s@example.org", .to = &to, .to_count = 1,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT),
	                            .next_attempt_wall_ms = pn_clock_wall_ms() + 100 * 3600 * 1000};
	f->h.settings.retry_max_s = 3600;
	harness_send(&f->h, &mail);
	harness_start(&f->h);
	assert_true(harness_find(&f->h, &f->h.last_id, &item));
	assert_int_equal(item.state, PN_RELAY_ITEM_DEFERRED);
	/* A clock that was set back does not put it off for ever. */
	assert_true(item.next_attempt_wall_ms <= pn_clock_wall_ms() + 2 * 3600 * 1000);
	assert_int_equal(harness_action(&f->h, PN_RELAY_RETRY, &f->h.last_id), 0);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 1);
}

static void test_submitted_message_of_the_future_is_scheduled(void **state)
{
	struct fixture *f = *state;
	const char *to = "ok@example.com";
	struct pn_relay_item item;
	struct harness_mail mail = {.from = "s@example.org", .to = &to, .to_count = 1,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT),
	                            .next_attempt_wall_ms = pn_clock_wall_ms() + 3600 * 1000};
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_counter(&f->h, "relay", "scheduled") == 1);
	assert_true(harness_find(&f->h, &f->h.last_id, &item));
	assert_int_equal(item.state, PN_RELAY_ITEM_DEFERRED);
	assert_int_equal(fake_server_count(&f->server), 0);
}

static size_t count_bounces(struct fake_server *s)
{
	size_t count = 0;
	for (size_t i = 0; i < fake_server_count(s); i++)
		count += strncmp(fake_message(s, i)->mail, "MAIL FROM:<>", 12) == 0;
	return count;
}

/* The bounce leaves while the message waits for the rest of its recipients; then another restart. */
static void test_bounce_that_left_is_not_made_again(void **state)
{
	struct fixture *f = *state;
	static const char *const to[] = {"reject@example.com", "defer@example.com"};
	static const char *const domains[] = {"example.org"};
	struct harness_mail mail = {.from = "s@example.org", .to = to, .to_count = 2,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT)};
	struct pn_relay_item item;
	fixture_start_other(f);
	struct pn_upstream_settings *u = harness_upstream(&f->h, 1, "senders", f->other.port);
	u->domains = domains;
	u->domain_count = 1;
	f->h.outcome_sync_ms = 3600 * 1000;
	harness_reopen(&f->h, 0);
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_counter(&f->h, "relay", "reports") == 1);
	f->h.outcome_sync_ms = 0;
	harness_crash(&f->h);
	assert_int_equal(f->h.recovered_count, 2);
	/* The bounce goes out; about the message nothing new is learnt. */
	atomic_store(&f->server.fault, FAKE_BUSY);
	harness_start(&f->h);
	harness_wait(count_bounces(&f->other) == 1 && harness_messages(&f->h) == 1);
	harness_crash(&f->h);
	assert_int_equal(f->h.recovered_count, 1);
	atomic_store(&f->server.fault, FAKE_NO_FAULT);
	harness_start(&f->h);
	harness_wait(harness_find(&f->h, &f->h.last_id, &item) && harness_counter(&f->h, "relay", "deferred") >= 1);
	assert_int_equal(harness_counter(&f->h, "relay", "reports"), 0);
	assert_int_equal(harness_counter(&f->h, "relay", "bounced"), 0);
	assert_int_equal(harness_messages(&f->h), 1);
}

/* Nobody is left: the second life only records that. */
static void test_bounce_about_all_ends_the_message(void **state)
{
	struct fixture *f = *state;
	f->h.outcome_sync_ms = 3600 * 1000;
	harness_reopen(&f->h, 0);
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "reject@example.com");
	harness_wait(harness_counter(&f->h, "relay", "reports") == 1);
	f->h.outcome_sync_ms = 0;
	harness_crash(&f->h);
	assert_int_equal(f->h.recovered_count, 2);
	size_t before = count_bounces(&f->server);
	harness_start(&f->h);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(harness_counter(&f->h, "relay", "reports"), 0);
	assert_int_equal(harness_counter(&f->h, "relay", "attempts"), 1); /* the bounce */
	assert_int_equal(count_bounces(&f->server), before + 1);
}

static void test_lost_outcome_does_not_bounce_twice(void **state)
{
#ifdef PN_FAULT_INJECTION
	struct fixture *f = *state;
	harness_start(&f->h);
	/* The bounce is stored; that the recipient has bounced is not: as if the power had failed
	 * in between. */
	pn_fault_set_plan("spool.journal.write:1:5:0");
	harness_send_simple(&f->h, "s@example.org", "reject@example.com");
	harness_wait(harness_counter(&f->h, "relay", "journal_failures") >= 1);
	harness_wait(count_bounces(&f->server) == 1);
	pn_fault_set_plan("spool.journal.write:1:5:0");
	harness_reopen(&f->h, 5000);
	pn_fault_set_plan(NULL);
	assert_true(f->h.recovered_count >= 1);
	harness_start(&f->h);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(harness_counter(&f->h, "relay", "reports"), 0); /* the second life made none */
#else
	(void)state;
	skip();
#endif
}

static void test_bounce_that_cannot_be_stored_is_not_forgotten(void **state)
{
#ifdef PN_FAULT_INJECTION
	struct fixture *f = *state;
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "reject@example.com");
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(count_bounces(&f->server), 1);
	struct harness_mail mail = {.from = "s@example.org", .to = (const char *const[]){"reject@example.com"},
	                            .to_count = 1,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT),
	                            .next_attempt_wall_ms = pn_clock_wall_ms() + 3600 * 1000};
	harness_send(&f->h, &mail);
	struct pn_id id = f->h.last_id;
	harness_wait(harness_counter(&f->h, "relay", "scheduled") == 1);
	pn_fault_set_plan("spool.segment.write:1:28:0,spool.segment.fdatasync:1:28:0");
	assert_int_equal(harness_action(&f->h, PN_RELAY_RETRY, &id), 0);
	harness_wait(harness_counter(&f->h, "relay", "report_failures") >= 1);
	pn_fault_set_plan(NULL);
	assert_int_equal(harness_counter(&f->h, "relay", "dropped"), 0);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(count_bounces(&f->server), 2);
#else
	(void)state;
	skip();
#endif
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_stop_lets_an_attempt_finish),
		T(test_stop_cuts_at_the_deadline_and_a_restart_goes_on),
		T(test_partial_delivery_survives_a_restart),
		T(test_recovered_message_waits_for_its_time),
		T(test_submitted_message_of_the_future_is_scheduled),
		T(test_bounce_that_left_is_not_made_again),
		T(test_bounce_about_all_ends_the_message),
		T(test_lost_outcome_does_not_bounce_twice),
		T(test_bounce_that_cannot_be_stored_is_not_forgotten),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
