/* SPDX-License-Identifier: ISC */
/* The relay against a scripted SMTP server: results, retries, bounces, connections. */
#include "relay_harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/clock.h>

/* ---- plain delivery ---- */

static void test_message_is_delivered_as_edited(void **state)
{
	struct fixture *f = *state;
	static const char *const to[] = {"a@example.com", "b@example.com"};
	struct harness_mail mail = {.from = "sender@example.org", .to = to, .to_count = 2,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT),
	                            .edit_insert = "Received: by test\r\n", .ret = PN_DSN_RET_HDRS, .envid = "QQ314159",
	                            .notify = PN_DSN_NOTIFY_FAILURE, .orcpt = "rfc822;a+2Bb@example.com"};
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 1);
	const struct fake_message *m = fake_message(&f->server, 0);
	assert_non_null(strstr(m->mail, "MAIL FROM:<sender@example.org>"));
	assert_non_null(strstr(m->mail, "RET=HDRS"));
	assert_non_null(strstr(m->mail, "ENVID=QQ314159"));
	assert_int_equal(m->rcpt_count, 2);
	assert_non_null(strstr(m->rcpts[1], "RCPT TO:<b@example.com> NOTIFY=FAILURE ORCPT=rfc822;a+2Bb@example.com"));
	assert_int_equal(m->data_len, strlen("Received: by test\r\n" SIMPLE_CONTENT));
	assert_memory_equal(m->data, "Received: by test\r\n" SIMPLE_CONTENT, m->data_len);
	assert_int_equal(harness_counter(&f->h, "relay", "delivered"), 2);
}

static void test_connection_is_used_again(void **state)
{
	struct fixture *f = *state;
	harness_start(&f->h);
	for (int i = 0; i < 5; i++) {
		harness_send_simple(&f->h, "s@example.org", "a@example.com");
		harness_wait(harness_messages(&f->h) == 0);
	}
	assert_int_equal(fake_server_count(&f->server), 5);
	assert_int_equal(atomic_load(&f->server.connections), 1);
}

static void test_connection_is_given_up_after_its_messages(void **state)
{
	struct fixture *f = *state;
	f->h.upstreams[0].messages_per_connection_max = 2;
	harness_start(&f->h);
	for (int i = 0; i < 4; i++) {
		harness_send_simple(&f->h, "s@example.org", "a@example.com");
		harness_wait(harness_messages(&f->h) == 0);
	}
	assert_int_equal(atomic_load(&f->server.connections), 2);
}

static void test_idle_connection_that_died_is_no_failure(void **state)
{
	struct fixture *f = *state;
	atomic_store(&f->server.fault, FAKE_CLOSE_WHEN_IDLE);
	harness_start(&f->h);
	for (int i = 0; i < 4; i++) {
		harness_send_simple(&f->h, "s@example.org", "a@example.com");
		harness_wait(fake_server_count(&f->server) == (size_t)i + 1);
	}
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(harness_counter(&f->h, "relay", "deferred"), 0);
}

static void test_idle_connection_says_quit(void **state)
{
	struct fixture *f = *state;
	f->h.upstreams[0].idle_timeout_s = 1;
	harness_start(&f->h);
	harness_send_simple(&f->h, "s@example.org", "a@example.com");
	harness_wait(atomic_load(&f->server.connections) == 1 && harness_messages(&f->h) == 0);
	harness_wait(atomic_load(&f->server.open_connections) == 0);
	harness_wait(harness_counter(&f->h, "upstream", "connections") == 0);
}

static void send_many(struct harness *h, size_t count, const char *domain)
{
	char address[64];
	for (size_t i = 0; i < count; i++) {
		snprintf(address, sizeof(address), "ok%zu@%s", i, domain);
		harness_send_simple(h, "s@example.org", address);
	}
}

static void test_connections_stay_under_their_limit(void **state)
{
	struct fixture *f = *state;
	f->h.upstreams[0].connections_max = 3;
	f->h.settings.worker_count = 2;
	harness_start(&f->h);
	send_many(&f->h, 120, "example.com");
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 120);
	assert_in_range(atomic_load(&f->server.connections_high), 1, 3);
}

static void test_worker_without_share_hands_over(void **state)
{
	struct fixture *f = *state;
	f->h.upstreams[0].connections_max = 1;
	f->h.settings.worker_count = 3;
	harness_start(&f->h);
	send_many(&f->h, 60, "example.com");
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 60);
	assert_int_equal(atomic_load(&f->server.connections_high), 1);
}

/* Administration looks into the inboxes as well, while their tasks are under way. */
static void test_listing_while_messages_change_hands(void **state)
{
	struct fixture *f = *state;
	struct harness_list list;
	f->h.upstreams[0].connections_max = 1;
	f->h.settings.worker_count = 3;
	harness_start(&f->h);
	for (int i = 0; i < 20; i++) {
		send_many(&f->h, 10, "example.com");
		for (int k = 0; k < 10; k++)
			harness_get_list(&f->h, 64, &list);
	}
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 200);
}

static void test_many_recipients_go_in_several_transactions(void **state)
{
	struct fixture *f = *state;
	enum { COUNT = 2500 };
	static char text[COUNT][32];
	static const char *to[COUNT];
	struct harness_mail mail = {.from = "s@example.org", .to = to, .to_count = COUNT,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT)};
	for (size_t i = 0; i < COUNT; i++) {
		snprintf(text[i], sizeof(text[i]), "ok%zu@example.com", i);
		to[i] = text[i];
	}
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 3);
	assert_int_equal(harness_counter(&f->h, "upstream", "transactions"), 3);
	size_t total = 0;
	for (size_t i = 0; i < 3; i++) {
		assert_in_range(fake_message(&f->server, i)->rcpt_count, 1, 1000);
		total += fake_message(&f->server, i)->rcpt_count;
	}
	assert_int_equal(total, COUNT);
}

static void test_more_recipients_than_an_attempt_takes(void **state)
{
	struct fixture *f = *state;
	enum { COUNT = 5600 };
	static char text[COUNT][32];
	static const char *to[COUNT];
	struct harness_mail mail = {.from = "s@example.org", .to = to, .to_count = COUNT,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT)};
	for (size_t i = 0; i < COUNT; i++) {
		snprintf(text[i], sizeof(text[i]), "ok%zu@example.com", i);
		to[i] = text[i];
	}
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 6);
	assert_int_equal(harness_counter(&f->h, "relay", "delivered"), COUNT);
}

/* Those in front, all deferred, do not keep the others from their turn. */
static void test_deferred_recipients_make_way(void **state)
{
	struct fixture *f = *state;
	enum { COUNT = 5600, OK_FROM = 5100 };
	static char text[COUNT][32];
	static const char *to[COUNT];
	struct harness_mail mail = {.from = "s@example.org", .to = to, .to_count = COUNT,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT)};
	for (size_t i = 0; i < COUNT; i++) {
		snprintf(text[i], sizeof(text[i]), "%s%zu@example.com", i < OK_FROM ? "defer" : "ok", i);
		to[i] = text[i];
	}
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_counter(&f->h, "relay", "delivered") == COUNT - OK_FROM);
	assert_int_equal(harness_messages(&f->h), 1);
}

static char *big_content(size_t size)
{
	char *content = malloc(size + 128);
	size_t len = (size_t)sprintf(content, "Subject: big\r\n\r\n");
	for (size_t n = 0; len < size; n++)
		len += (size_t)sprintf(content + len, "%s line %zu of a big message with some text in it\r\n",
		                       n % 7 ? "" : ".", n);
	return content;
}

static void big_message(struct fixture *f, int fault, const char *ehlo, bool is_chunking)
{
	char *content = big_content(6 << 20);
	const char *to = "big@example.com";
	struct harness_mail mail = {.from = "s@example.org", .to = &to, .to_count = 1,
	                            .content = pn_slice_str(content)};
	atomic_store(&f->server.fault, fault);
	f->server.ehlo = ehlo;
	f->h.upstreams[0].is_chunking_used = is_chunking;
	/* A busy machine takes its time. */
	f->h.upstreams[0].data_block_timeout_s = f->h.upstreams[0].data_end_timeout_s = 300;
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 1);
	assert_int_equal(fake_message(&f->server, 0)->data_len, strlen(content));
	assert_memory_equal(fake_message(&f->server, 0)->data, content, strlen(content));
	free(content);
}

static void test_big_message_streams(void **state)
{
	big_message(*state, FAKE_NO_FAULT, NULL, false);
}

static void test_big_message_to_a_slow_reader(void **state)
{
	big_message(*state, FAKE_SLOW_READER, NULL, false);
}

static void test_big_message_in_chunks(void **state)
{
	big_message(*state, FAKE_NO_FAULT, "PIPELINING 8BITMIME CHUNKING", true);
}

static void test_server_without_pipelining(void **state)
{
	struct fixture *f = *state;
	f->server.ehlo = "SIZE";
	harness_start(&f->h);
	send_many(&f->h, 10, "example.com");
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 10);
}

/* ---- results ---- */

static void test_each_recipient_has_its_own_fate(void **state)
{
	struct fixture *f = *state;
	static const char *const to[] = {"ok@example.com", "reject@example.com", "once@example.com",
	                                 "defer@example.com"};
	struct harness_mail mail = {.from = "sender@example.org", .to = to, .to_count = 4,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT)};
	struct harness_show show;
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	struct pn_id id = f->h.last_id;
	/* the message to ok, the bounce, then the message to once */
	harness_wait(fake_server_count(&f->server) >= 3);
	assert_true(fake_any_has(&f->server, "Action: failed"));
	assert_true(fake_any_has(&f->server, "Final-Recipient: rfc822;reject@example.com"));
	assert_true(fake_any_has(&f->server, "Diagnostic-Code: smtp; 550 5.1.1 no such user here"));
	assert_true(fake_any_has(&f->server, "Subject: test"));
	assert_false(fake_any_has(&f->server, "Final-Recipient: rfc822;defer@example.com"));
	/* the server has the message to `once` a moment before its outcome is recorded */
	harness_wait((harness_get_show(&f->h, &id, &show),
	              show.result == 0 && show.has_message &&
	                      strstr(show.last_reply, "451 4.2.0 come back later")));
	assert_int_equal(show.rcpt_count, 4);
	assert_int_equal(show.states[0], PN_RCPT_DELIVERED);
	assert_int_equal(show.states[1], PN_RCPT_BOUNCED);
	assert_int_equal(show.states[3], PN_RCPT_PENDING);
	assert_int_equal(harness_action(&f->h, PN_RELAY_REMOVE, &id), 0);
	harness_wait(harness_messages(&f->h) == 0);
	size_t to_once = 0, bounces = 0;
	for (size_t i = 0; i < fake_server_count(&f->server); i++) {
		const struct fake_message *m = fake_message(&f->server, i);
		if (strncmp(m->mail, "MAIL FROM:<>", 12) == 0) {
			bounces++;
			assert_non_null(strstr(m->rcpts[0], "<sender@example.org>"));
			assert_non_null(strstr(m->rcpts[0], "NOTIFY=NEVER"));
		} else if (strstr(m->rcpts[0], "<once@")) {
			to_once++;
		}
	}
	assert_int_equal(to_once, 1);
	assert_int_equal(bounces, 1);
}

static void test_bounce_is_never_bounced(void **state)
{
	struct fixture *f = *state;
	harness_start(&f->h);
	harness_send_simple(&f->h, "", "reject@example.com");
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 0);
	assert_int_equal(harness_counter(&f->h, "relay", "dropped"), 1);
	/* A bounce whose own delivery fails ends there too. */
	harness_send_simple(&f->h, "reject-me@example.org", "reject@example.com");
	harness_wait(harness_counter(&f->h, "relay", "dropped") == 2 && harness_messages(&f->h) == 0);
	assert_int_equal(harness_counter(&f->h, "relay", "reports"), 1);
	assert_int_equal(fake_server_count(&f->server), 0);
}

static void test_notify_never_makes_no_bounce(void **state)
{
	struct fixture *f = *state;
	const char *to = "reject@example.com";
	struct harness_mail mail = {.from = "s@example.org", .to = &to, .to_count = 1,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT),
	                            .notify = PN_DSN_NOTIFY_NEVER};
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(harness_counter(&f->h, "relay", "reports"), 0);
}

static void test_ret_full_returns_the_message(void **state)
{
	struct fixture *f = *state;
	const char *to = "reject@example.com";
	struct harness_mail mail = {.from = "s@example.org", .to = &to, .to_count = 1, .ret = PN_DSN_RET_FULL,
	                            .content = PN_SLICE_LIT("Subject: full\r\nX-A: b\r\n\r\nthe body\r\n")};
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_messages(&f->h) == 0);
	assert_true(fake_any_has(&f->server, "X-A: b\r\n\r\nthe body\r\n"));
	assert_true(fake_any_has(&f->server, "message/rfc822"));
	mail.ret = PN_DSN_RET_HDRS;
	harness_send(&f->h, &mail);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 2);
	assert_true(fake_has(&f->server, 1, "X-A: b\r\n"));
	assert_false(fake_has(&f->server, 1, "the body"));
}

static void test_many_refused_recipients_make_few_bounces(void **state)
{
	struct fixture *f = *state;
	enum { COUNT = 1200 };
	static char text[COUNT][32];
	static const char *to[COUNT];
	struct harness_mail mail = {.from = "s@example.org", .to = to, .to_count = COUNT,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT)};
	for (size_t i = 0; i < COUNT; i++) {
		snprintf(text[i], sizeof(text[i]), "reject%zu@example.com", i);
		to[i] = text[i];
	}
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 3); /* 500 recipients in each */
	assert_int_equal(harness_counter(&f->h, "relay", "bounced"), COUNT);
	assert_true(fake_any_has(&f->server, "rfc822;reject1199@example.com"));
}

static void test_no_down_conversion(void **state)
{
	struct fixture *f = *state;
	const char *to = "ok@example.com", *utf8 = "p\xc3\xa4r@example.com";
	struct harness_mail eight = {.from = "s@example.org", .to = &to, .to_count = 1,
	                             .content = PN_SLICE_LIT("Subject: 8\r\n\r\nGr\xc3\xbc\xc3\x9f\x65\r\n")};
	struct harness_mail address = {.from = "s@example.org", .to = &utf8, .to_count = 1, .needs_smtputf8 = true,
	                               .content = PN_SLICE_LIT(SIMPLE_CONTENT)};
	f->server.ehlo = "PIPELINING 8BITMIME";
	fixture_start_other(f);
	f->other.ehlo = "PIPELINING";
	static const char *const domains[] = {"seven.example"};
	struct pn_upstream_settings *u = harness_upstream(&f->h, 1, "seven", f->other.port);
	u->domains = domains;
	u->domain_count = 1;
	harness_start(&f->h);
	harness_send(&f->h, &address);
	harness_wait(harness_messages(&f->h) == 0 || harness_counter(&f->h, "relay", "dropped") > 0);
	assert_int_equal(harness_counter(&f->h, "relay", "bounced"), 1);
	to = "ok@seven.example";
	harness_send(&f->h, &eight);
	harness_wait(fake_any_has(&f->server, "Status: 5.6.3"));
	assert_int_equal(fake_server_count(&f->other), 0);
	/* The same content to a server that can: nothing is converted, and no flag is used that
	 * nothing needs. */
	to = "ok@example.com";
	eight.needs_smtputf8 = false;
	harness_send(&f->h, &eight);
	harness_wait(fake_any_has(&f->server, "Gr\xc3\xbc\xc3\x9f\x65\r\n"));
	for (size_t i = 0; i < fake_server_count(&f->server); i++)
		assert_null(strstr(fake_message(&f->server, i)->mail, "SMTPUTF8"));
}

static void test_expired_message_bounces(void **state)
{
	struct fixture *f = *state;
	const char *to = "defer@example.com";
	struct harness_mail mail = {.from = "s@example.org", .to = &to, .to_count = 1,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT),
	                            .received_wall_ms = pn_clock_wall_ms() - 3600 * 1000};
	f->h.settings.lifetime_s = 600;
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_messages(&f->h) == 0);
	assert_true(fake_any_has(&f->server, "Status: 4.4.7"));
	assert_true(fake_any_has(&f->server, "Action: failed"));
	assert_int_equal(harness_counter(&f->h, "relay", "expired"), 1);
}

static void test_delay_is_told_once(void **state)
{
	struct fixture *f = *state;
	const char *to = "defer@example.com";
	struct harness_mail mail = {.from = "s@example.org", .to = &to, .to_count = 1,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT),
	                            .received_wall_ms = pn_clock_wall_ms() - 3600 * 1000};
	struct pn_relay_item item;
	f->h.settings.delay_notice_after_s = 600;
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	struct pn_id id = f->h.last_id;
	harness_wait(harness_find(&f->h, &id, &item) && item.attempts >= 3);
	assert_int_equal(fake_server_count(&f->server), 1);
	assert_true(fake_has(&f->server, 0, "Action: delayed"));
	assert_true(fake_has(&f->server, 0, "Will-Retry-Until:"));
	/* Nor again after a restart. */
	harness_reopen(&f->h, 5000);
	assert_int_equal(f->h.recovered_count, 1);
	harness_start(&f->h);
	harness_wait(harness_find(&f->h, &id, &item) && item.attempts >= 5);
	assert_int_equal(fake_server_count(&f->server), 1);
}

static void test_relayed_is_told_when_the_hop_has_no_dsn(void **state)
{
	struct fixture *f = *state;
	const char *to = "ok@example.com";
	struct harness_mail mail = {.from = "s@example.org", .to = &to, .to_count = 1,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT),
	                            .notify = PN_DSN_NOTIFY_SUCCESS, .envid = "E1"};
	f->server.ehlo = "PIPELINING";
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 2);
	assert_null(strstr(fake_message(&f->server, 0)->rcpts[0], "NOTIFY"));
	assert_true(fake_has(&f->server, 1, "Action: relayed"));
	assert_true(fake_has(&f->server, 1, "Original-Envelope-Id: E1"));
	assert_true(fake_has(&f->server, 1, "Status: 2."));
	/* With DSN there the next hop reports. */
	f->server.ehlo = NULL;
	harness_stop(&f->h, 5000);
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), 3);
	assert_non_null(strstr(fake_message(&f->server, 2)->rcpts[0], "NOTIFY=SUCCESS"));
}

static void test_lmtp_answers_each_recipient(void **state)
{
	struct fixture *f = *state;
	static const char *const to[] = {"ok@example.com", "reject@example.com", "final-reject@example.com",
	                                 "final-defer@example.com"};
	struct harness_mail mail = {.from = "sender@other.example", .to = to, .to_count = 4,
	                            .content = PN_SLICE_LIT(SIMPLE_CONTENT)};
	struct harness_show show;
	static const char *const domains[] = {"example.com"};
	fixture_start_other(f);
	f->other.is_lmtp = true;
	struct pn_upstream_settings *u = harness_upstream(&f->h, 1, "lmtp", f->other.port);
	u->kind = PN_UPSTREAM_LMTP;
	u->domains = domains;
	u->domain_count = 1;
	harness_start(&f->h);
	harness_send(&f->h, &mail);
	struct pn_id id = f->h.last_id;
	harness_wait(fake_server_count(&f->server) == 1);
	assert_true(fake_has(&f->server, 0, "rfc822;reject@example.com"));
	assert_true(fake_has(&f->server, 0, "rfc822;final-reject@example.com"));
	assert_true(fake_has(&f->server, 0, "mailbox full for good"));
	harness_wait((harness_get_show(&f->h, &id, &show), show.result == 0 && show.has_message));
	assert_int_equal(show.states[0], PN_RCPT_DELIVERED);
	assert_int_equal(show.states[1], PN_RCPT_BOUNCED);
	assert_int_equal(show.states[2], PN_RCPT_BOUNCED);
	assert_int_equal(show.states[3], PN_RCPT_PENDING);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_message_is_delivered_as_edited),
		T(test_connection_is_used_again),
		T(test_connection_is_given_up_after_its_messages),
		T(test_idle_connection_that_died_is_no_failure),
		T(test_idle_connection_says_quit),
		T(test_connections_stay_under_their_limit),
		T(test_worker_without_share_hands_over),
		T(test_listing_while_messages_change_hands),
		T(test_many_recipients_go_in_several_transactions),
		T(test_more_recipients_than_an_attempt_takes),
		T(test_deferred_recipients_make_way),
		T(test_big_message_streams),
		T(test_big_message_to_a_slow_reader),
		T(test_big_message_in_chunks),
		T(test_server_without_pipelining),
		T(test_each_recipient_has_its_own_fate),
		T(test_bounce_is_never_bounced),
		T(test_notify_never_makes_no_bounce),
		T(test_ret_full_returns_the_message),
		T(test_many_refused_recipients_make_few_bounces),
		T(test_no_down_conversion),
		T(test_expired_message_bounces),
		T(test_delay_is_told_once),
		T(test_relayed_is_told_when_the_hop_has_no_dsn),
		T(test_lmtp_answers_each_recipient),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
