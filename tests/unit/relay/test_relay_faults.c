/* SPDX-License-Identifier: ISC */
/* Upstreams that are dead, slow, hostile or behind TLS; what happens at shutdown and after a restart. */
#include "relay_harness.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>


/* ---- a server that misbehaves for a while: nothing is lost, everything arrives later ---- */

static void misbehave(struct fixture *f, int fault, size_t want)
{
	struct pn_upstream_settings *u = &f->h.upstreams[0];
	struct pn_relay_item item;
	u->greeting_timeout_s = u->command_timeout_s = u->data_start_timeout_s = u->data_end_timeout_s = 1;
	atomic_store(&f->server.fault, fault);
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	struct pn_id id = f->h.last_id;
	harness_wait(harness_counter(&f->h, "relay", "deferred") >= 1);
	harness_wait(harness_find(&f->h, &id, &item));
	assert_int_equal(harness_messages(&f->h), 1);
	atomic_store(&f->server.fault, FAKE_NO_FAULT);
	harness_wait(harness_messages(&f->h) == 0);
	assert_in_range(fake_server_count(&f->server), want, 100);
	assert_int_equal(harness_counter(&f->h, "relay", "bounced"), 0);
}

static void test_close_at_connect(void **state)
{
	misbehave(*state, FAKE_CLOSE_AT_CONNECT, 1);
}

static void test_close_at_mail(void **state)
{
	misbehave(*state, FAKE_CLOSE_AT_MAIL, 1);
}

static void test_close_in_data(void **state)
{
	misbehave(*state, FAKE_CLOSE_IN_DATA, 1);
}

static void test_close_after_dot_is_counted_as_in_doubt(void **state)
{
	struct fixture *f = *state;
	misbehave(f, FAKE_CLOSE_AFTER_DOT, 2); /* the one case in which a message arrives twice */
	assert_true(harness_counter(&f->h, "relay", "in_doubt") >= 1);
}

static void test_silence_times_out(void **state)
{
	struct fixture *f = *state;
	misbehave(f, FAKE_SILENT, 1);
	assert_true(harness_counter(&f->h, "upstream", "timeouts") >= 1);
}

static void test_silence_after_the_dot_times_out(void **state)
{
	misbehave(*state, FAKE_SILENT_AFTER_DOT, 1);
}

static void test_nonsense(void **state)
{
	misbehave(*state, FAKE_NONSENSE, 1);
}

static void test_endless_greeting(void **state)
{
	misbehave(*state, FAKE_ENDLESS, 1);
}

static void test_nonsense_after_the_dot(void **state)
{
	misbehave(*state, FAKE_NONSENSE_AFTER_DOT, 1);
}

static void test_refused_session_is_no_bounce(void **state)
{
	misbehave(*state, FAKE_REFUSE_SESSION, 1);
}

static void test_busy_server(void **state)
{
	misbehave(*state, FAKE_BUSY, 1);
}

static void test_final_defer(void **state)
{
	struct fixture *f = *state;
	struct harness_show show;
	atomic_store(&f->server.is_final_defer, true);
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	struct pn_id id = f->h.last_id;
	harness_wait((harness_get_show(&f->h, &id, &show), show.has_message && show.last_reply[0]));
	assert_non_null(strstr(show.last_reply, "452 4.3.1 disk full"));
	atomic_store(&f->server.is_final_defer, false);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 1);
}

static void test_transaction_has_a_deadline(void **state)
{
	struct fixture *f = *state;
	f->h.upstreams[0].transaction_timeout_s = 1;
	atomic_store(&f->server.fault, FAKE_SILENT_AFTER_DOT);
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	harness_wait(harness_counter(&f->h, "relay", "deferred") >= 1);
	assert_true(harness_counter(&f->h, "upstream", "timeouts") >= 1);
}

/* ---- hosts ---- */

static void test_second_host_takes_over(void **state)
{
	struct fixture *f = *state;
	f->h.hosts[0][1] = f->h.hosts[0][0];
	f->h.hosts[0][0].port = fake_closed_port();
	f->h.upstreams[0].host_count = 2;
	harness_start(&f->h);
	for (int i = 0; i < 4; i++)
		harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 4);
	assert_int_equal(harness_counter(&f->h, "relay", "deferred"), 0);
}

static void test_spare_host_is_used_only_when_needed(void **state)
{
	struct fixture *f = *state;
	fixture_start_other(f);
	f->h.upstreams[0].messages_per_connection_max = 1;
	f->h.hosts[0][1] = (struct pn_upstream_host){.host = "127.0.0.1", .port = f->other.port, .weight = 0};
	f->h.upstreams[0].host_count = 2;
	harness_start(&f->h);
	for (int i = 0; i < 4; i++)
		harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->other), 0);
	atomic_store(&f->server.fault, FAKE_BUSY);
	for (int i = 0; i < 4; i++)
		harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->other), 4);
}

static void test_weights_share_connections(void **state)
{
	struct fixture *f = *state;
	fixture_start_other(f);
	f->h.upstreams[0].messages_per_connection_max = 1;
	f->h.upstreams[0].connections_max = 1;
	f->h.hosts[0][0].weight = 3;
	f->h.hosts[0][1] = (struct pn_upstream_host){.host = "127.0.0.1", .port = f->other.port, .weight = 1};
	f->h.upstreams[0].host_count = 2;
	harness_start(&f->h);
	for (int i = 0; i < 12; i++)
		harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 9);
	assert_int_equal(fake_server_count(&f->other), 3);
}

static void test_names_are_resolved(void **state)
{
	struct fixture *f = *state;
	f->h.hosts[0][0].host = "localhost"; /* from /etc/hosts; the first address may be ::1, where nobody listens */
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 2);
	assert_int_equal(harness_counter(&f->h, "relay", "dns_queries"), 1); /* cached */
}

static void test_wrong_name_defers(void **state)
{
	struct fixture *f = *state;
	struct harness_show show;
	f->h.hosts[0][0].host = "not..a.name";
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	struct pn_id id = f->h.last_id;
	harness_wait((harness_get_show(&f->h, &id, &show), show.has_message && show.last_reply[0]));
	assert_non_null(strstr(show.last_reply, "4.4.3 host not..a.name"));
	assert_true(harness_counter(&f->h, "relay", "dns_failures") >= 1);
}

static void test_ipv6_literal(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	socklen_t len = sizeof(a);
	struct harness_show show;
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		skip();
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	f->h.hosts[0][0].host = "::1";
	f->h.hosts[0][0].port = ntohs(a.sin6_port);
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	struct pn_id id = f->h.last_id;
	harness_wait((harness_get_show(&f->h, &id, &show), show.has_message && show.last_reply[0]));
	assert_non_null(strstr(show.last_reply, "connect to [::1]:")); /* bound, but nobody listens */
	close(fd);
}

/* ---- a dead upstream and its neighbours ---- */

static void dead_beside_living(struct fixture *f, int fault)
{
	static const char *const domains[] = {"dead.example"};
	fixture_start_other(f);
	atomic_store(&f->other.fault, fault);
	struct pn_upstream_settings *u = harness_upstream(&f->h, 1, "dead", f->other.port);
	u->domains = domains;
	u->domain_count = 1;
	u->connections_max = 2;
	u->greeting_timeout_s = 2;
	f->h.settings.jobs_max = 16;
	harness_start(&f->h);
	for (int i = 0; i < 200; i++)
		harness_send_simple(&f->h, "s@example.org", "ok@dead.example");
	for (int i = 0; i < 100; i++)
		harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	harness_wait(fake_server_count(&f->server) == 100);
	assert_int_equal(fake_server_count(&f->other), 0);
	assert_true(atomic_load(&f->other.connections_high) <= 2);
	harness_wait(harness_messages(&f->h) == 200);
}

static void test_silent_upstream_starves_no_other(void **state)
{
	struct fixture *f = *state;
	struct harness_list list;
	dead_beside_living(f, FAKE_SILENT);
	harness_get_list(&f->h, 10, &list);
	assert_int_equal(list.count, 10);
	assert_int_equal(list.total, 200);
	/* Again and again: whenever an attempt hangs in the greeting, and more are due than there is room for. */
	harness_wait(harness_counter(&f->h, "upstream", "parked") > 0);
	/* It comes back: everything goes out. */
	atomic_store(&f->other.fault, FAKE_NO_FAULT);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->other), 200);
}

/* Messages that are also for a dead upstream keep the place that they waited for with the busy one. */
static void test_parked_message_keeps_its_place(void **state)
{
	struct fixture *f = *state;
	static const char *const domains[] = {"busy.example"};
	static const char *const to[] = {"ok@example.com", "ok@busy.example"};
	struct harness_mail mail = {.from = "s@example.org", .to = to, .to_count = 2,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT)};
	enum { COUNT = 60 };
	fixture_start_other(f);
	struct pn_upstream_settings *u = harness_upstream(&f->h, 1, "busy", f->other.port);
	u->domains = domains;
	u->domain_count = 1;
	u->connections_max = 1;
	f->h.settings.jobs_max = 4;
	f->h.settings.retry_first_s = f->h.settings.retry_max_s = 600;
	atomic_store(&f->server.fault, FAKE_BUSY);
	for (int i = 0; i < COUNT; i++)
		harness_send(&f->h, &mail);
	harness_start(&f->h); /* all of them wait from the start */
	harness_wait(fake_server_count(&f->other) == COUNT);
	/* At most: the dead one, then the busy one and once more the dead one. */
	assert_in_range(harness_counter(&f->h, "relay", "attempts"), COUNT, 3 * COUNT);
}

static void test_refusing_upstream_starves_no_other(void **state)
{
	struct fixture *f = *state;
	dead_beside_living(f, FAKE_BUSY);
	atomic_store(&f->other.fault, FAKE_NO_FAULT);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->other), 200);
}

static void test_small_ring_overflows_without_loss(void **state)
{
	struct fixture *f = *state;
	f->h.settings.queue_ring_entries = 2;
	f->h.settings.jobs_max = 2;
	f->h.settings.worker_count = 3;
	f->h.upstreams[0].connections_max = 6;
	harness_start(&f->h);
	for (int i = 0; i < 300; i++)
		harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 300);
}

/* ---- TLS ---- */

static void test_starttls_with_verified_name_and_auth(void **state)
{
	struct fixture *f = *state;
	fixture_make_tls(f, true);
	f->server.auth_plain = "AHVzZXIAc2VjcmV0"; /* \0user\0secret */
	f->h.upstreams[0].tls = PN_UPSTREAM_TLS_STARTTLS;
	f->h.upstreams[0].auth_user = "user";
	f->h.upstreams[0].auth_password = "secret";
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	harness_wait(harness_messages(&f->h) == 0);
	assert_true(fake_message(&f->server, 0)->is_tls);
	assert_true(fake_message(&f->server, 0)->is_authenticated);
}

static void test_wrong_password_defers(void **state)
{
	struct fixture *f = *state;
	struct harness_show show;
	fixture_make_tls(f, true);
	f->server.auth_plain = "AHVzZXIAc2VjcmV0";
	f->h.upstreams[0].tls = PN_UPSTREAM_TLS_STARTTLS;
	f->h.upstreams[0].auth_user = "user";
	f->h.upstreams[0].auth_password = "wrong";
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	struct pn_id id = f->h.last_id;
	harness_wait((harness_get_show(&f->h, &id, &show), show.has_message && show.last_reply[0]));
	assert_non_null(strstr(show.last_reply, "535 5.7.8"));
	assert_int_equal(fake_server_count(&f->server), 0);
}

static void test_password_is_not_sent_to_an_unverified_server(void **state)
{
	struct fixture *f = *state;
	struct harness_show show;
	fixture_make_tls(f, false);
	f->server.auth_plain = "AHVzZXIAc2VjcmV0";
	f->h.upstreams[0].tls = PN_UPSTREAM_TLS_OPPORTUNISTIC;
	f->h.upstreams[0].verify_name = "other.example.test";
	f->h.upstreams[0].auth_user = "user";
	f->h.upstreams[0].auth_password = "secret";
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	struct pn_id id = f->h.last_id;
	harness_wait((harness_get_show(&f->h, &id, &show), show.has_message && show.last_reply[0]));
	assert_non_null(strstr(show.last_reply, "no password is sent"));
	assert_int_equal(fake_server_count(&f->server), 0);
}

static void test_implicit_tls_with_a_big_message(void **state)
{
	struct fixture *f = *state;
	const char *to = "ok@example.com";
	char *content = malloc(2 << 20);
	size_t len = (size_t)sprintf(content, "Subject: big\r\n\r\n");
	while (len < (2 << 20) - 200)
		len += (size_t)sprintf(content + len, "%zu some text that fills the message line by line\r\n", len);
	struct harness_mail mail = {.from = "s@example.org", .to = &to, .to_count = 1,
	                            .content = pn_slice(content, len)};
	fixture_make_tls(f, true);
	f->server.is_implicit_tls = true;
	f->h.upstreams[0].tls = PN_UPSTREAM_TLS_IMPLICIT;
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	harness_wait(harness_messages(&f->h) == 0);
	assert_true(fake_message(&f->server, 0)->is_tls);
	bool is_first = fake_message(&f->server, 0)->data_len == len;
	assert_int_equal(fake_message(&f->server, is_first ? 0 : 1)->data_len, len);
	assert_memory_equal(fake_message(&f->server, is_first ? 0 : 1)->data, content, len);
	free(content);
}

static void test_certificate_for_another_name_defers(void **state)
{
	struct fixture *f = *state;
	struct harness_show show;
	fixture_make_tls(f, true);
	f->h.upstreams[0].tls = PN_UPSTREAM_TLS_STARTTLS;
	f->h.upstreams[0].verify_name = "other.example.test";
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	struct pn_id id = f->h.last_id;
	harness_wait((harness_get_show(&f->h, &id, &show), show.has_message && show.last_reply[0]));
	assert_non_null(strstr(show.last_reply, "TLS with"));
	assert_int_equal(fake_server_count(&f->server), 0);
}

static void test_starttls_that_is_not_offered_defers(void **state)
{
	struct fixture *f = *state;
	fixture_make_tls(f, true);
	f->server.tls = NULL;
	f->h.upstreams[0].tls = PN_UPSTREAM_TLS_STARTTLS;
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	harness_wait(harness_counter(&f->h, "relay", "deferred") >= 1);
	assert_int_equal(fake_server_count(&f->server), 0);
}

static void test_opportunistic_tls_falls_back(void **state)
{
	struct fixture *f = *state;
	fixture_make_tls(f, false);
	f->h.upstreams[0].tls = PN_UPSTREAM_TLS_OPPORTUNISTIC;
	atomic_store(&f->server.fault, FAKE_BAD_TLS);
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	harness_wait(harness_messages(&f->h) == 0);
	assert_false(fake_message(&f->server, 0)->is_tls);
	assert_int_equal(harness_counter(&f->h, "relay", "deferred"), 0);
}

static void test_opportunistic_tls_is_used_when_it_works(void **state)
{
	struct fixture *f = *state;
	fixture_make_tls(f, false);
	f->h.upstreams[0].tls = PN_UPSTREAM_TLS_OPPORTUNISTIC;
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "ok@example.com");
	harness_wait(harness_messages(&f->h) == 0);
	assert_true(fake_message(&f->server, 0)->is_tls);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_close_at_connect),
		T(test_close_at_mail),
		T(test_close_in_data),
		T(test_close_after_dot_is_counted_as_in_doubt),
		T(test_silence_times_out),
		T(test_silence_after_the_dot_times_out),
		T(test_nonsense),
		T(test_endless_greeting),
		T(test_nonsense_after_the_dot),
		T(test_refused_session_is_no_bounce),
		T(test_busy_server),
		T(test_final_defer),
		T(test_transaction_has_a_deadline),
		T(test_second_host_takes_over),
		T(test_spare_host_is_used_only_when_needed),
		T(test_weights_share_connections),
		T(test_names_are_resolved),
		T(test_wrong_name_defers),
		T(test_ipv6_literal),
		T(test_silent_upstream_starves_no_other),
		T(test_refusing_upstream_starves_no_other),
		T(test_parked_message_keeps_its_place),
		T(test_small_ring_overflows_without_loss),
		T(test_starttls_with_verified_name_and_auth),
		T(test_wrong_password_defers),
		T(test_password_is_not_sent_to_an_unverified_server),
		T(test_implicit_tls_with_a_big_message),
		T(test_certificate_for_another_name_defers),
		T(test_starttls_that_is_not_offered_defers),
		T(test_opportunistic_tls_falls_back),
		T(test_opportunistic_tls_is_used_when_it_works),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
