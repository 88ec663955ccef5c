/* SPDX-License-Identifier: ISC */
/*
 * test_app_settings.c - from the configuration to each module's settings: every key that is set arrives where it
 * belongs, in its unit; and what cannot become settings is refused by name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"

#define LISTENER    "listener \"s\" { addresses = { \"127.0.0.1:465\" } }\n"
#define CERTIFICATE "certificate \"c\" { chain_file = \"/c.pem\" key_file = \"/c.key\" }\n"

static struct pn_config *parse(const char *text)
{
	char *report = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&report, &len);
	struct pn_config *c = pn_config_parse(text, "test.conf", out);

	(void)fclose(out);
	if (!c)
		fail_msg("%s", report);
	free(report);
	return c;
}

static void make(struct pn_app_settings *s, const struct pn_config *c, const struct pn_handover *h)
{
	struct pn_error err = { "" };
	if (pn_app_settings_make(s, c, h, NULL, &err) != 0)
		fail_msg("%s", err.text);
}

static void test_sessions_get_their_values(void **state)
{
	(void)state;
	struct pn_app_settings s;
	struct pn_config *c = parse(
		"hostname = \"mx.example.org\" node = 7 received_client_address = no line_endings "
		"= normalize\n" LISTENER CERTIFICATE
		"upstream \"u\" { kind = maildir maildir = \"/m\" }\n"
		"tls { handshake_timeout_s = 11 } auth { failures_max = 4 failure_delay_ms = 5 "
		"failure_delay_max_ms = 6 }\n"
		"extensions { smtputf8 = no chunking = no dsn = no }\n"
		"limits { sessions_max = 101 handshakes_max = 99 sessions_per_source_max = 103\n"
		"connections_per_source_per_minute_max = 104 size_max_bytes = 70000 "
		"header_size_max_bytes = 65537\n"
		"text_line_max_bytes = 1001 command_line_max_bytes = 2049 auth_line_max_bytes = "
		"12289 recipients_max = 105\n"
		"received_max = 106 bad_commands_max = 107 transaction_memory_max_bytes = 300000\n"
		"output_buffer_max_bytes = 16385 idle_timeout_s = 108 data_timeout_s = 109 "
		"session_timeout_s = 110 }\n");
	struct pn_handover h = { 0 };

	make(&s, c, &h);
	const struct pn_session_profile *p = &s.profile;
	const struct pn_smtp_limits *l = &p->smtp.limits;
	assert_string_equal(p->smtp.hostname, "mx.example.org");
	assert_int_equal(p->smtp.line_policy, PN_LINE_NORMALIZE);
	assert_false(p->smtp.has_smtputf8 || p->smtp.has_chunking || p->smtp.has_dsn ||
		     p->has_client_address);
	assert_int_equal(p->node, 7);
	assert_int_equal(p->sessions_max, 101);
	assert_int_equal(p->handshakes_max, 99);
	assert_int_equal(p->sessions_per_source_max, 103);
	assert_int_equal(p->connections_per_source_per_minute_max, 104);
	assert_int_equal(l->message_size_max_bytes, 70000);
	assert_int_equal(l->header_size_max_bytes, 65537);
	assert_int_equal(l->text_line_max_bytes, 1001);
	assert_int_equal(l->command_line_max_bytes, 2049);
	assert_int_equal(l->auth_line_max_bytes, 12289);
	assert_int_equal(l->recipients_max, 105);
	assert_int_equal(l->received_max, 106);
	assert_int_equal(l->bad_commands_max, 107);
	assert_int_equal(l->transaction_memory_max_bytes, 300000);
	assert_int_equal(l->auth_failures_max, 4);
	assert_int_equal(p->output_buffer_max_bytes, 16385);
	assert_int_equal(p->handshake_timeout_ms, 11000);
	assert_int_equal(p->idle_timeout_ms, 108000);
	assert_int_equal(p->data_timeout_ms, 109000);
	assert_int_equal(p->session_timeout_ms, 110000);
	assert_int_equal(p->auth_failure_delay_ms, 5);
	assert_int_equal(p->auth_failure_delay_max_ms, 6);
	pn_app_settings_clear(&s);
	pn_config_free(c);
}

static void test_auth_and_spool_get_their_values(void **state)
{
	(void)state;
	struct pn_app_settings s;
	struct pn_config *c =
		parse("hostname = \"mx.example.org\" node = 9\n" LISTENER CERTIFICATE
		      "upstream \"u\" { kind = maildir maildir = \"/m\" }\n"
		      "auth { user_file = \"/users\" plain = no login = yes scram = on "
		      "helper_threads = 3 helper_queue_max = 4\n"
		      "cache_entries_max = 5 cache_lifetime_s = 6 reload_check_s = 7 }\n"
		      "spool { path = \"/spool\" inline_max_bytes = 8192 segment_size_bytes = 2M "
		      "memory_max_bytes = 5M\n"
		      "free_space_min_bytes = 10 queue_messages_max = 11 outcome_sync_ms = 12 }\n");
	struct pn_handover h = { 0 };

	make(&s, c, &h);
	assert_string_equal(s.auth.user_file, "/users");
	assert_false(s.auth.has_plain);
	assert_true(s.auth.has_login);
	assert_int_equal(s.auth.scram, PN_SCRAM_ON);
	assert_int_equal(s.auth.helper_threads, 3);
	assert_int_equal(s.auth.helper_queue_max, 4);
	assert_int_equal(s.auth.cache_entries_max, 5);
	assert_int_equal(s.auth.cache_lifetime_s, 6);
	assert_int_equal(s.auth.reload_check_s, 7);
	assert_string_equal(s.spool.path, "/spool");
	assert_int_equal(s.spool.inline_max_bytes, 8192);
	assert_int_equal(s.spool.segment_size_bytes, 2 << 20);
	assert_int_equal(s.spool.memory_max_bytes, 5 << 20);
	assert_int_equal(s.spool.free_space_min_bytes, 10);
	assert_int_equal(s.spool.queue_messages_max, 11);
	assert_int_equal(s.spool.outcome_sync_ms, 12);
	assert_int_equal(s.spool.node, 9);
	pn_app_settings_clear(&s);
	pn_config_free(c);
}

static void check_first_upstream(const struct pn_upstream_settings *u)
{
	assert_string_equal(u->name, "a");
	assert_int_equal(u->kind, PN_UPSTREAM_SMTP);
	assert_int_equal(u->host_count, 2);
	assert_string_equal(u->hosts[0].host, "mx1.example.org");
	assert_int_equal(u->hosts[0].port, 2525);
	assert_int_equal(u->hosts[0].weight, 3);
	assert_string_equal(u->hosts[1].host, "2001:db8::1");
	assert_int_equal(u->hosts[1].port, 26);
	assert_int_equal(u->domain_count, 2);
	assert_string_equal(u->domains[1], ".example.net");
	assert_string_equal(u->auth_user, "me");
	assert_string_equal(u->auth_password, "s3cret"); /* the first line only */
	assert_true(u->auth_without_tls && u->is_chunking_used && u->is_verify_required);
	assert_string_equal(u->helo_name, "gw.example.org");
	assert_string_equal(u->verify_name, "mx.example.com");
	assert_int_equal(u->connections_max, 21);
	assert_int_equal(u->messages_per_connection_max, 22);
	assert_int_equal(u->recipients_per_transaction_max, 23);
	assert_int_equal(u->idle_timeout_s, 24);
	assert_int_equal(u->connect_timeout_s, 25);
	assert_int_equal(u->command_timeout_s, 26);
	assert_int_equal(u->greeting_timeout_s, 26);
	assert_int_equal(u->data_start_timeout_s, 26);
	assert_int_equal(u->tls_timeout_s, 26);
	assert_int_equal(u->data_block_timeout_s, 27);
	assert_int_equal(u->data_end_timeout_s, 28);
	assert_int_equal(u->transaction_timeout_s, 60);
}

static void check_second_upstream(const struct pn_upstream_settings *u)
{
	assert_int_equal(u->kind, PN_UPSTREAM_LMTP);
	assert_null(u->auth_user);
	assert_null(u->helo_name);
	assert_null(u->verify_name);
	assert_null(u->tls_client);
	assert_int_equal(u->hosts[0].port, 0); /* relay's default */
	assert_int_equal(u->hosts[0].weight, 1);
	assert_int_equal(u->data_start_timeout_s, 120);
	assert_int_equal(u->tls_timeout_s, 60);
}

static void test_relay_gets_its_values(void **state)
{
	(void)state;
	struct pn_app_settings s;
	struct pn_config *c = parse(
		"hostname = \"mx.example.org\" postmaster = \"pm@example.org\" relay_workers = "
		"3\n" LISTENER CERTIFICATE "upstream \"a\" { hosts = { \"mx1.example.org:2525 "
					   "weight=3\", \"[2001:db8::1]:26\" } tls = none\n"
		"auth_user = \"me\" auth_password_file = \"/password\" auth_without_tls = yes "
		"helo_name = \"gw.example.org\"\n"
		"verify_name = \"mx.example.com\" domains = { \"example.com\", \".example.net\" } "
		"chunking = yes\n"
		"connections_max = 21 messages_per_connection_max = 22 "
		"recipients_per_transaction_max = 23 idle_timeout_s = 24\n"
		"connect_timeout_s = 25 command_timeout_s = 26 data_timeout_s = 27 "
		"final_reply_timeout_s = 28\n"
		"transaction_timeout_s = 60 }\n"
		"upstream \"b\" { kind = lmtp hosts = { \"127.0.0.1\" } tls = none "
		"command_timeout_s = 200 }\n"
		"retry { first_s = 31 max_s = 32 factor_percent = 133 jitter_percent = 34 "
		"lifetime_s = 35 delay_notice_s = 6\n"
		"host_first_s = 37 host_max_s = 38 report_full_max_bytes = 5000 }\n"
		"limits { queue_ring_entries = 128 relay_jobs_max = 39 } io_uring { disable = { "
		"\"msg-ring\" } }\n");
	struct pn_handover h = { 0 };

	assert_int_equal(
		pn_handover_add(&h, "/password", (const uint8_t *)"s3cret\r\nnot this\n", 17), 0);
	make(&s, c, &h);
	assert_string_equal(s.relay.hostname, "mx.example.org");
	assert_string_equal(s.relay.postmaster, "pm@example.org");
	assert_int_equal(s.relay.worker_count, 3);
	assert_int_equal(s.relay.queue_ring_entries, 128);
	assert_int_equal(s.relay.jobs_max, 39);
	assert_int_equal(s.relay.retry_first_s, 31);
	assert_int_equal(s.relay.retry_max_s, 32);
	assert_int_equal(s.relay.retry_factor_percent, 133);
	assert_int_equal(s.relay.retry_jitter_percent, 34);
	assert_int_equal(s.relay.lifetime_s, 35);
	assert_int_equal(s.relay.delay_notice_after_s, 6);
	assert_int_equal(s.relay.host_retry_first_s, 37);
	assert_int_equal(s.relay.host_retry_max_s, 38);
	assert_int_equal(s.relay.report_full_max_bytes, 5000);
	assert_int_equal(s.relay.features_disabled, PN_NET_FEATURE(MSG_RING));
	assert_int_equal(s.relay.upstream_count, 2);
	check_first_upstream(&s.relay.upstreams[0]);
	check_second_upstream(&s.relay.upstreams[1]);
	pn_app_settings_clear(&s);
	pn_handover_clear(&h);
	pn_config_free(c);
}

static void test_threads_have_their_places(void **state)
{
	(void)state;
	struct pn_app_settings s;
	struct pn_handover h = { 0 };
	struct pn_config *c = parse("hostname = \"mx.example.org\" loops = 5 relay_workers = 2 "
				    "cpu_pinning = no\n" LISTENER CERTIFICATE
				    "upstream \"u\" { kind = maildir maildir = \"/m\" }\n");

	make(&s, c, &h);
	assert_int_equal(s.loop_count, 5);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(s.loop_cpus[i], -1);
	assert_int_equal(s.relay.cpus[1], -1);
	pn_app_settings_clear(&s);
	c->cpu_pinning = true;
	c->loops = c->relay_workers = 0;
	make(&s, c, &h);
	assert_int_equal(s.loop_count, pn_app_loop_count(c));
	assert_true(s.loop_count >= 1 && s.relay.worker_count >= 1);
	for (uint32_t i = 0; i < s.loop_count; i++)
		assert_true(s.loop_cpus[i] >= 0);
	assert_true(s.relay_cpus[0] >= s.loop_cpus[0]); /* from the back */
	pn_app_settings_clear(&s);
	pn_config_free(c);
}

static void assert_refused(const char *upstream, const struct pn_handover *h, const char *text)
{
	struct pn_app_settings s;
	struct pn_error err = { "" };
	char config[512];

	(void)snprintf(config, sizeof(config), "hostname = \"mx.example.org\"\n%s%s%s", LISTENER,
		       CERTIFICATE, upstream);
	struct pn_config *c = parse(config);
	assert_int_equal(pn_app_settings_make(&s, c, h, NULL, &err), -1);
	if (!strstr(err.text, text))
		fail_msg("\"%s\" does not say \"%s\"", err.text, text);
	pn_app_settings_clear(&s);
	pn_config_free(c);
}

static void test_what_cannot_be_used_is_named(void **state)
{
	(void)state;
	struct pn_handover h = { 0 };

	assert_int_equal(pn_handover_add(&h, "/roots.pem", (const uint8_t *)"no PEM\n", 7), 0);
	assert_refused(
		"upstream \"u\" { hosts = { \"mx.example.org\" } ca_file = \"/roots.pem\" }\n", &h,
		"/roots.pem");
	pn_handover_clear(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sessions_get_their_values),
		cmocka_unit_test(test_auth_and_spool_get_their_values),
		cmocka_unit_test(test_relay_gets_its_values),
		cmocka_unit_test(test_threads_have_their_places),
		cmocka_unit_test(test_what_cannot_be_used_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
