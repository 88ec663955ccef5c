/* SPDX-License-Identifier: ISC */
/* New settings while serving: who gets which message, what goes on, what ends; and that nothing is lost or
 * sent twice. */
#include "relay_harness.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void reload(struct harness *h)
{
	struct pn_relay_change *change;
	struct pn_error err = {{0}};
	if (pn_relay_change_new(h->relay, &h->settings, &change, &err) < 0)
		fail_msg("change: %s", err.text);
	pn_relay_change_apply(change);
}

static void send_many(struct harness *h, size_t count)
{
	char address[64];
	for (size_t i = 0; i < count; i++) {
		snprintf(address, sizeof(address), "ok%zu@example.com", i);
		harness_send_simple(h, "s@example.org", address);
	}
}

static void test_deferred_messages_go_to_the_new_host_at_once(void **state)
{
	struct fixture *f = *state;
	f->h.settings.retry_first_s = f->h.settings.retry_max_s = 3600;
	harness_upstream(&f->h, 0, "main", fake_closed_port());
	harness_start(&f->h);
	send_many(&f->h, 20);
	harness_wait(harness_counter(&f->h, "relay", "scheduled") == 20);
	harness_upstream(&f->h, 0, "main", f->server.port);
	reload(&f->h);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 20);
}

/* Recovered entries say of no upstream that it made them wait. */
static void test_recovered_messages_go_to_the_new_host_too(void **state)
{
	struct fixture *f = *state;
	f->h.settings.retry_first_s = f->h.settings.retry_max_s = 3600;
	harness_upstream(&f->h, 0, "main", fake_closed_port());
	harness_start(&f->h);
	send_many(&f->h, 5);
	harness_wait(harness_counter(&f->h, "relay", "scheduled") == 5);
	harness_reopen(&f->h, 5000);
	harness_start(&f->h);
	harness_wait(harness_counter(&f->h, "relay", "scheduled") == 5);
	harness_upstream(&f->h, 0, "main", f->server.port);
	reload(&f->h);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 5);
}

static void test_only_those_of_a_changed_upstream_are_hurried(void **state)
{
	struct fixture *f = *state;
	static const char *const domains[] = {"example.net"};
	f->h.settings.retry_first_s = f->h.settings.retry_max_s = 3600;
	harness_upstream(&f->h, 0, "main", fake_closed_port());
	struct pn_upstream_settings *u = harness_upstream(&f->h, 1, "net", fake_closed_port());
	u->domains = domains;
	u->domain_count = 1;
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "a@example.com");
	struct pn_id id = f->h.last_id;
	harness_send_simple(&f->h, "s@example.org", "b@example.net");
	harness_wait(harness_counter(&f->h, "relay", "scheduled") == 2);
	f->h.hosts[1][0].port = f->server.port;
	reload(&f->h);
	harness_wait(harness_messages(&f->h) == 1);
	struct pn_relay_item item;
	assert_true(harness_find(&f->h, &id, &item));
	assert_int_equal(item.attempts, 1);
	assert_int_equal(item.state, PN_RELAY_ITEM_DEFERRED);
}

static void test_held_messages_stay_held(void **state)
{
	struct fixture *f = *state;
	struct pn_relay_item item;
	f->h.settings.retry_first_s = f->h.settings.retry_max_s = 3600;
	harness_upstream(&f->h, 0, "main", fake_closed_port());
	harness_start(&f->h);
	send_many(&f->h, 2);
	struct pn_id id = f->h.last_id;
	harness_wait(harness_counter(&f->h, "relay", "scheduled") == 2);
	assert_int_equal(harness_action(&f->h, PN_RELAY_HOLD, &id), 0);
	harness_upstream(&f->h, 0, "main", f->server.port);
	reload(&f->h);
	harness_wait(harness_messages(&f->h) == 1);
	assert_true(harness_find(&f->h, &id, &item));
	assert_int_equal(item.state, PN_RELAY_ITEM_HELD);
	assert_int_equal(harness_action(&f->h, PN_RELAY_RETRY, &id), 0);
	harness_wait(harness_messages(&f->h) == 0);
}

static void test_waits_are_cut_to_the_new_schedule(void **state)
{
	struct fixture *f = *state;
	f->h.settings.retry_first_s = f->h.settings.retry_max_s = 3600;
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "once@example.com");
	harness_wait(harness_counter(&f->h, "relay", "scheduled") == 1);
	f->h.settings.retry_first_s = f->h.settings.retry_max_s = 1;
	reload(&f->h);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 1);
	assert_int_equal(atomic_load(&f->server.connections), 1);
}

static void test_shorter_lifetime_bounces(void **state)
{
	struct fixture *f = *state;
	f->h.settings.lifetime_s = 100000;
	harness_start(&f->h);
	struct harness_mail mail = {.from = "s@example.org", .to = (const char *const[]){"defer@example.com"},
	                            .to_count = 1, .content = PN_SLICE_LIT(SIMPLE_CONTENT), .received_wall_ms = 1};
	harness_send(&f->h, &mail);
	harness_wait(harness_counter(&f->h, "relay", "expired") == 1); /* received in 1970 */
	harness_send_simple(&f->h, "s@example.org", "defer@example.com");
	harness_wait(harness_counter(&f->h, "relay", "scheduled") == 1);
	f->h.settings.lifetime_s = 1;
	reload(&f->h);
	harness_wait(harness_counter(&f->h, "relay", "expired") == 2);
	harness_wait(harness_messages(&f->h) == 0);
}

static void test_unchanged_upstream_keeps_its_connection(void **state)
{
	struct fixture *f = *state;
	harness_start(&f->h);
	for (size_t i = 0; i < 3; i++) {
		harness_send_simple(&f->h, "s@example.org", "a@example.com");
		harness_wait(harness_messages(&f->h) == 0);
		f->h.settings.lifetime_s = (uint32_t)(1000 + i);
		reload(&f->h);
	}
	assert_int_equal(atomic_load(&f->server.connections), 1);
	assert_int_equal(harness_counter(&f->h, "upstream", "connections"), 1);
	f->h.upstreams[0].idle_timeout_s = 29;
	reload(&f->h);
	harness_wait(atomic_load(&f->server.open_connections) == 0);
	harness_wait(harness_counter(&f->h, "upstream", "connections") == 0);
	harness_send_simple(&f->h, "s@example.org", "a@example.com");
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(atomic_load(&f->server.connections), 2);
	/* Counted on, though another pool counts now. */
	assert_int_equal(harness_counter(&f->h, "upstream", "delivered"), 4);
}

static void test_running_transaction_ends_on_the_old_host(void **state)
{
	struct fixture *f = *state;
	fixture_start_other(f);
	atomic_store(&f->server.fault, FAKE_HOLD_AFTER_DOT);
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "first@example.com");
	harness_wait(atomic_load(&f->server.held) == 1);
	f->h.hosts[0][0].port = f->other.port;
	reload(&f->h);
	harness_send_simple(&f->h, "s@example.org", "next@example.com");
	harness_wait(harness_messages(&f->h) == 1 && fake_server_count(&f->other) == 1);
	assert_int_equal(harness_counter(&f->h, "upstream", "connections"), 2);
	atomic_store(&f->server.fault, FAKE_NO_FAULT);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 1);
	assert_int_equal(fake_server_count(&f->other), 1);
	harness_wait(harness_counter(&f->h, "upstream", "connections") == 1);
}

/* The old host defers at last: the message is the new one's at once. */
static void test_late_deferral_goes_to_the_new_host(void **state)
{
	struct fixture *f = *state;
	fixture_start_other(f);
	f->h.settings.retry_first_s = f->h.settings.retry_max_s = 3600;
	atomic_store(&f->server.is_final_defer, true);
	atomic_store(&f->server.fault, FAKE_HOLD_AFTER_DOT);
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "first@example.com");
	harness_wait(atomic_load(&f->server.held) == 1);
	f->h.hosts[0][0].port = f->other.port;
	reload(&f->h);
	atomic_store(&f->server.fault, FAKE_NO_FAULT);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->other), 1);
}

/* Attempts that hang in a greeting, wait for a connection, or are parked for the upstream: all go elsewhere. */
static void test_what_hangs_at_a_silent_host_is_routed_anew(void **state)
{
	struct fixture *f = *state;
	fixture_start_other(f);
	f->h.settings.jobs_max = 8;
	f->h.settings.worker_count = 2;
	f->h.upstreams[0].connections_max = 2;
	f->h.upstreams[0].greeting_timeout_s = 3000;
	atomic_store(&f->server.fault, FAKE_SILENT);
	harness_start(&f->h);
	send_many(&f->h, 60);
	harness_wait(atomic_load(&f->server.connections) == 2);
	f->h.hosts[0][0].port = f->other.port;
	reload(&f->h);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->other), 60);
	assert_int_equal(fake_server_count(&f->server), 0);
	harness_wait(atomic_load(&f->server.open_connections) == 0);
	harness_wait(harness_counter(&f->h, "upstream", "waiting") == 0);
	assert_int_equal(harness_counter(&f->h, "upstream", "parked"), 0);
}

static void test_upstreams_come_and_go(void **state)
{
	struct fixture *f = *state;
	static const char *const domains[] = {"example.net"};
	const char *to[] = {"a@example.com", "b@example.net"};
	struct harness_mail mail = {.from = "s@example.org", .to = to, .to_count = 2,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT)};
	fixture_start_other(f);
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 1);
	struct pn_upstream_settings *u = harness_upstream(&f->h, 1, "net", f->other.port);
	u->domains = domains;
	u->domain_count = 1;
	reload(&f->h);
	assert_int_equal(pn_relay_route(f->h.relay, PN_SLICE_LIT("x@example.net")), 1);
	harness_send(&f->h, &mail);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 2);
	assert_int_equal(fake_server_count(&f->other), 1);
	f->h.settings.upstream_count = 1;
	reload(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 3);
	assert_int_equal(fake_server_count(&f->other), 1);
	harness_wait(atomic_load(&f->other.open_connections) == 0);
}

static void test_health_of_a_kept_host_is_remembered(void **state)
{
	struct fixture *f = *state;
	f->h.settings.host_retry_first_s = f->h.settings.host_retry_max_s = 3600;
	f->h.settings.retry_first_s = f->h.settings.retry_max_s = 3600;
	harness_upstream(&f->h, 0, "main", fake_closed_port());
	harness_start(&f->h);
	send_many(&f->h, 1);
	harness_wait(harness_counter(&f->h, "upstream", "hosts_down") == 1);
	f->h.upstreams[0].idle_timeout_s = 31;
	f->h.hosts[0][1] = (struct pn_upstream_host){.host = "127.0.0.1", .port = f->server.port, .weight = 1};
	f->h.upstreams[0].host_count = 2;
	reload(&f->h);
	assert_int_equal(harness_counter(&f->h, "upstream", "hosts_down"), 1);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(harness_counter(&f->h, "upstream", "connections_failed"), 1);
}

static void test_maildir_in_place_of_a_host(void **state)
{
	struct fixture *f = *state;
	char path[96];
	struct stat st;
	f->h.settings.retry_first_s = f->h.settings.retry_max_s = 3600;
	harness_upstream(&f->h, 0, "main", fake_closed_port());
	harness_start(&f->h);
	send_many(&f->h, 3);
	harness_wait(harness_counter(&f->h, "relay", "scheduled") == 3);
	snprintf(path, sizeof(path), "%s/maildir", f->h.dir);
	f->h.upstreams[0] = (struct pn_upstream_settings){.name = "main", .kind = PN_UPSTREAM_MAILDIR,
	                                                  .maildir_path = path};
	reload(&f->h);
	assert_int_equal(stat(path, &st), 0);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(harness_counter(&f->h, "upstream", "delivered"), 3);
	harness_upstream(&f->h, 0, "main", f->server.port);
	reload(&f->h);
	send_many(&f->h, 2);
	harness_wait(fake_server_count(&f->server) == 2 && harness_messages(&f->h) == 0);
}

static void test_bad_settings_change_nothing(void **state)
{
	struct fixture *f = *state;
	struct pn_relay_change *change = NULL;
	struct pn_error err = {{0}};
	harness_start(&f->h);
	harness_upstream(&f->h, 1, "second", f->server.port); /* two defaults */
	assert_int_equal(pn_relay_change_new(f->h.relay, &f->h.settings, &change, &err), -EINVAL);
	assert_non_null(strstr(err.text, "only one can be the default"));
	f->h.upstreams[1] = (struct pn_upstream_settings){.name = "second", .kind = PN_UPSTREAM_MAILDIR,
	                                                  .maildir_path = "/nonexistent/maildir"};
	assert_true(pn_relay_change_new(f->h.relay, &f->h.settings, &change, &err) < 0);
	assert_null(change);
	/* Made, and then not wanted. */
	f->h.settings.upstream_count = 1;
	f->h.hosts[0][0].port = fake_closed_port();
	assert_int_equal(pn_relay_change_new(f->h.relay, &f->h.settings, &change, &err), 0);
	pn_relay_change_free(change);
	send_many(&f->h, 3);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 3);
}

static void test_storm_loses_and_doubles_nothing(void **state)
{
	struct fixture *f = *state;
	enum { RELOADS = 50, EACH = 12 };
	size_t total = 0;
	fixture_start_other(f);
	f->h.settings.worker_count = 3;
	f->h.settings.jobs_max = 16;
	f->h.upstreams[0].connections_max = 4;
	f->h.upstreams[0].messages_per_connection_max = 5;
	harness_start(&f->h);
	for (int i = 0; i < RELOADS; i++) {
		send_many(&f->h, EACH);
		total += EACH;
		f->h.hosts[0][0].port = i % 2 == 0 ? f->other.port : f->server.port;
		f->h.upstreams[0].connections_max = 1 + (uint32_t)i % 5;
		reload(&f->h);
	}
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server) + fake_server_count(&f->other), total);
	assert_int_equal(harness_counter(&f->h, "relay", "in_doubt"), 0);
	assert_int_equal(harness_counter(&f->h, "relay", "delivered"), total);
	assert_int_equal(harness_counter(&f->h, "relay", "bounced"), 0);
	/* Whatever was retired is gone: what is left are the connections of the last settings. */
	harness_wait(harness_counter(&f->h, "upstream", "connections") <= f->h.upstreams[0].connections_max);
}

/* The end comes while pools of earlier settings still have transactions. */
static void test_stop_right_after_a_reload(void **state)
{
	struct fixture *f = *state;
	atomic_store(&f->server.fault, FAKE_HOLD_AFTER_DOT);
	harness_start(&f->h);
	send_many(&f->h, 4);
	harness_wait(atomic_load(&f->server.held) == 4);
	f->h.upstreams[0].idle_timeout_s = 7;
	reload(&f->h);
	reload(&f->h);
	harness_reopen(&f->h, 1);
	assert_int_equal(f->h.recovered_count, 4);
}

#define reload_test(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		reload_test(test_deferred_messages_go_to_the_new_host_at_once),
		reload_test(test_recovered_messages_go_to_the_new_host_too),
		reload_test(test_only_those_of_a_changed_upstream_are_hurried),
		reload_test(test_held_messages_stay_held),
		reload_test(test_waits_are_cut_to_the_new_schedule),
		reload_test(test_shorter_lifetime_bounces),
		reload_test(test_unchanged_upstream_keeps_its_connection),
		reload_test(test_running_transaction_ends_on_the_old_host),
		reload_test(test_late_deferral_goes_to_the_new_host),
		reload_test(test_what_hangs_at_a_silent_host_is_routed_anew),
		reload_test(test_upstreams_come_and_go),
		reload_test(test_health_of_a_kept_host_is_remembered),
		reload_test(test_maildir_in_place_of_a_host),
		reload_test(test_bad_settings_change_nothing),
		reload_test(test_storm_loses_and_doubles_nothing),
		reload_test(test_stop_right_after_a_reload),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
