/* SPDX-License-Identifier: ISC */
/*
 * test_server.c - what transcripts cannot show of the server side: memory when idle, a full output buffer,
 * tokens, runs without copies, questions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <postern/smtp/content.h>
#include <postern/smtp/server_types.h>

static struct pn_smtp_server_settings settings;
static struct pn_smtp_server server;
static struct pn_buf out;
static struct pn_smtp_event ev;

static int set_up(void **state PN_UNUSED)
{
	settings = (struct pn_smtp_server_settings){
		.hostname = "mx.example.org",
		.limits = { .command_line_max_bytes = 4096,
			    .auth_line_max_bytes = 12288,
			    .text_line_max_bytes = 65536,
			    .recipients_max = 100,
			    .message_size_max_bytes = 1 << 20,
			    .header_size_max_bytes = 65536,
			    .received_max = 50,
			    .bad_commands_max = 5,
			    .auth_failures_max = 3,
			    .transaction_memory_max_bytes = 65536 },
		.has_smtputf8 = true,
		.has_chunking = true,
		.has_dsn = true,
		.auth_mechanisms = "PLAIN",
	};
	pn_smtp_server_init(&server, &settings, true);
	pn_buf_init(&out, 8192);
	return 0;
}

static int tear_down(void **state PN_UNUSED)
{
	pn_smtp_server_deinit(&server);
	pn_buf_free(&out);
	return 0;
}

/* One step with all of `text`; what is left of it is wanted to be nothing. */
static enum pn_smtp_status step(const char *text)
{
	struct pn_slice in = pn_slice_str(text);
	enum pn_smtp_status status = pn_smtp_server_step(&server, &in, &ev, &out);

	assert_int_equal(in.len, 0);
	return status;
}

static void resolve(enum pn_reply reply, const char *challenge)
{
	struct pn_smtp_verdict v = { .reply = reply, .challenge = pn_slice_str(challenge) };

	assert_true(pn_smtp_server_resolve(&server, ev.token, &v, &out));
}

/* The newest reply starts with the code; the output is emptied. */
static void replied(const char *start)
{
	assert_true(pn_buf_len(&out) >= strlen(start));
	assert_memory_equal(pn_buf_ptr(&out), start, strlen(start));
	pn_buf_clear(&out);
}

static void log_in(void)
{
	assert_int_equal(step("EHLO c.example\r\n"), PN_SMTP_AGAIN);
	assert_int_equal(step("AUTH PLAIN AGEAYg==\r\n"), PN_SMTP_EVENT);
	resolve(PN_REPLY_AUTH_OK, "alice");
	pn_buf_clear(&out);
}

static void begin_transaction(void)
{
	assert_int_equal(step("MAIL FROM:<a@example.org>\r\n"), PN_SMTP_EVENT);
	resolve(PN_REPLY_OK_MAIL, "");
	assert_int_equal(step("RCPT TO:<b@example.net>\r\n"), PN_SMTP_EVENT);
	resolve(PN_REPLY_OK_RCPT, "");
	pn_buf_clear(&out);
}

static void assert_no_heap(void)
{
	assert_null(server.line.data);
	assert_null(server.arena.chunks);
	assert_null(server.exchange);
	assert_null(server.txn);
}

static void test_idle_sessions_own_no_heap(void **state PN_UNUSED)
{
	assert_true(sizeof(struct pn_smtp_server) < 700);
	assert_no_heap();
	assert_true(pn_smtp_server_is_idle(&server));
	log_in();
	assert_no_heap();
	assert_true(pn_smtp_server_is_idle(&server));

	assert_int_equal(step("NOO"), PN_SMTP_AGAIN);
	assert_false(pn_smtp_server_is_idle(&server));
	assert_int_equal(step("P\r\n"), PN_SMTP_AGAIN);
	assert_no_heap();

	begin_transaction();
	assert_false(pn_smtp_server_is_idle(&server));
	assert_true(pn_smtp_server_is_in_transaction(&server));
	assert_int_equal(step("DATA\r\n"), PN_SMTP_EVENT);
	resolve(PN_REPLY_OK_DATA_GO, "");
	assert_true(pn_smtp_server_is_receiving(&server));
	assert_int_equal(step(".\r\n"), PN_SMTP_EVENT);
	assert_int_equal(ev.type, PN_SMTP_EV_DATA_END);
	assert_false(pn_smtp_server_is_receiving(&server));
	resolve(PN_REPLY_OK_QUEUED, "");
	assert_no_heap();
	assert_true(pn_smtp_server_is_idle(&server));

	begin_transaction();
	assert_int_equal(step("RSET\r\n"), PN_SMTP_EVENT);
	assert_int_equal(step(""), PN_SMTP_AGAIN);
	assert_no_heap();
}

/* The owner may look at the envelope of a transaction while it handles its end. */
static void test_the_envelope_outlives_the_reset_event(void **state PN_UNUSED)
{
	log_in();
	assert_null(pn_smtp_server_envelope(&server));
	begin_transaction();
	assert_int_equal(step("RSET\r\n"), PN_SMTP_EVENT);
	assert_int_equal(ev.type, PN_SMTP_EV_RESET);
	assert_false(pn_smtp_server_is_in_transaction(&server));
	assert_true(pn_slice_eq(pn_smtp_server_envelope(&server)->reverse_path, PN_SLICE_LIT("a@example.org")));
	assert_int_equal(step(""), PN_SMTP_AGAIN);
	assert_null(pn_smtp_server_envelope(&server));
}

static void test_content_is_not_copied(void **state PN_UNUSED)
{
	static const char text[] = "Subject: x\r\n\r\nbody\r\n";
	struct pn_slice in = pn_slice(text, sizeof(text) - 1);

	log_in();
	begin_transaction();
	assert_int_equal(step("DATA\r\n"), PN_SMTP_EVENT);
	resolve(PN_REPLY_OK_DATA_GO, "");
	assert_int_equal(pn_smtp_server_step(&server, &in, &ev, &out), PN_SMTP_EVENT);
	assert_int_equal(ev.type, PN_SMTP_EV_CONTENT);
	assert_ptr_equal(ev.data.ptr, text);
	assert_int_equal(ev.data.len, sizeof(text) - 1);
}

static void test_facts_and_scan_are_there_at_the_end(void **state PN_UNUSED)
{
	struct pn_slice in = PN_SLICE_LIT("Date: x\r\nBcc: y\r\n\r\nbody\r\n.\r\n");

	log_in();
	begin_transaction();
	assert_null(pn_smtp_server_content_facts(&server));
	assert_null(pn_smtp_server_content_scan(&server));
	assert_int_equal(step("DATA\r\n"), PN_SMTP_EVENT);
	resolve(PN_REPLY_OK_DATA_GO, "");
	do
		assert_int_equal(pn_smtp_server_step(&server, &in, &ev, &out), PN_SMTP_EVENT);
	while (ev.type == PN_SMTP_EV_CONTENT);
	assert_int_equal(ev.type, PN_SMTP_EV_DATA_END);
	assert_int_equal(pn_smtp_server_content_facts(&server)->size_bytes, 25);
	assert_true(pn_smtp_server_content_scan(&server)->has_date);
	assert_int_equal(pn_smtp_server_content_scan(&server)->bcc_count, 1);
	assert_ptr_equal(pn_smtp_server_arena(&server), &server.arena);
}

/* A client that sends commands and never reads replies stops being served, and nothing is lost when it reads
 * again. */
static void test_a_full_output_buffer_stops_the_input(void **state PN_UNUSED)
{
	enum { COMMANDS = 2000 };
	char *text = test_malloc(COMMANDS * 6 + 1);
	struct pn_slice in;
	size_t replies = 0;
	unsigned stops = 0;

	for (size_t i = 0; i < COMMANDS; i++)
		memcpy(text + i * 6, "NOOP\r\n", 6);
	in = pn_slice(text, COMMANDS * 6);
	while (pn_smtp_server_step(&server, &in, &ev, &out) == PN_SMTP_WAIT) {
		assert_true(pn_buf_len(&out) > out.max - PN_SMTP_OUT_ROOM_BYTES);
		replies += pn_buf_len(&out);
		pn_buf_clear(&out);
		stops++;
	}
	replies += pn_buf_len(&out);
	assert_int_equal(in.len, 0);
	assert_true(stops > 1);
	assert_int_equal(replies, COMMANDS * strlen("250 2.0.0 OK\r\n"));
	test_free(text);
}

/* An owner that gives no room breaks the contract: the session ends, nothing else. */
static void test_no_room_for_a_reply_ends_the_session(void **state PN_UNUSED)
{
	struct pn_buf tiny;
	struct pn_slice in = PN_SLICE_LIT("NOOP\r\n");
	struct pn_smtp_verdict v = { .reply = PN_REPLY_OK_MAIL };

	log_in();
	assert_int_equal(step("MAIL FROM:<a@example.org>\r\n"), PN_SMTP_EVENT);
	pn_buf_init(&tiny, 4);
	assert_true(pn_smtp_server_resolve(&server, ev.token, &v, &tiny));
	assert_int_equal(pn_smtp_server_step(&server, &in, &ev, &out), PN_SMTP_EVENT);
	assert_int_equal(ev.type, PN_SMTP_EV_RESET);
	assert_int_equal(pn_smtp_server_step(&server, &in, &ev, &out), PN_SMTP_CLOSE);
	assert_int_equal(pn_smtp_server_close_reason(&server), PN_SMTP_CLOSE_MEMORY);
	pn_buf_free(&tiny);
}

static void test_wrong_tokens_are_ignored_and_counted(void **state PN_UNUSED)
{
	struct pn_smtp_verdict v = { .reply = PN_REPLY_OK_MAIL };
	struct pn_slice in = PN_SLICE_LIT("NOOP\r\n");

	assert_false(pn_smtp_server_resolve(&server, 0, &v, &out));
	log_in();
	assert_int_equal(step("MAIL FROM:<a@example.org>\r\n"), PN_SMTP_EVENT);
	uint32_t token = ev.token;
	assert_int_equal(pn_smtp_server_step(&server, &in, &ev, &out), PN_SMTP_WAIT);
	assert_int_equal(in.len, 6);
	assert_false(pn_smtp_server_resolve(&server, token + 1, &v, &out));
	assert_int_equal(pn_buf_len(&out), 0);
	assert_true(pn_smtp_server_resolve(&server, token, &v, &out));
	assert_false(pn_smtp_server_resolve(&server, token, &v, &out));
	assert_int_equal(pn_smtp_server_stats(&server)->late_verdicts, 3);
}

static void test_a_verdict_after_abort_is_ignored(void **state PN_UNUSED)
{
	struct pn_smtp_verdict v = { .reply = PN_REPLY_OK_MAIL };

	log_in();
	assert_int_equal(step("MAIL FROM:<a@example.org>\r\n"), PN_SMTP_EVENT);
	uint32_t token = ev.token;
	pn_smtp_server_abort(&server, PN_REPLY_SHUTDOWN, &out);
	replied("421 4.3.2");
	pn_smtp_server_abort(&server, PN_REPLY_IDLE_TIMEOUT, &out);
	assert_int_equal(pn_buf_len(&out), 0);
	assert_false(pn_smtp_server_resolve(&server, token, &v, &out));
	assert_int_equal(step(""), PN_SMTP_CLOSE);
	assert_int_equal(step(""), PN_SMTP_CLOSE);
	assert_int_equal(pn_smtp_server_close_reason(&server), PN_SMTP_CLOSE_BY_OWNER);
	assert_no_heap();
}

/* RFC 3207 6: octets between the 220 and the handshake. */
static void test_octets_before_the_handshake_end_the_session(void **state PN_UNUSED)
{
	struct pn_slice in = PN_SLICE_LIT("MAIL FROM:<attacker@example.org>\r\n");

	pn_smtp_server_init(&server, &settings, false);
	assert_int_equal(step("EHLO c.example\r\n"), PN_SMTP_AGAIN);
	pn_buf_clear(&out);
	assert_int_equal(step("STARTTLS\r\n"), PN_SMTP_EVENT);
	assert_int_equal(ev.type, PN_SMTP_EV_STARTTLS);
	replied("220 2.0.0");
	assert_int_equal(step(""), PN_SMTP_AGAIN);
	assert_int_equal(pn_smtp_server_step(&server, &in, &ev, &out), PN_SMTP_CLOSE);
	assert_int_equal(pn_buf_len(&out), 0);
	assert_int_equal(pn_smtp_server_stats(&server)->injections, 1);
	assert_string_equal(pn_smtp_close_reason_name(pn_smtp_server_close_reason(&server)),
			    "starttls-injection");
}

static void test_mechanisms_may_change_between_ehlos(void **state PN_UNUSED)
{
	assert_int_equal(step("EHLO c.example\r\n"), PN_SMTP_AGAIN);
	assert_non_null(memmem(pn_buf_ptr(&out), pn_buf_len(&out), "250-AUTH PLAIN\r\n", 16));
	pn_buf_clear(&out);
	settings.auth_mechanisms = "SCRAM-SHA-256 PLAIN";
	assert_int_equal(step("EHLO c.example\r\n"), PN_SMTP_AGAIN);
	assert_non_null(memmem(pn_buf_ptr(&out), pn_buf_len(&out), "250-AUTH SCRAM-SHA-256 PLAIN\r\n", 30));
}

static void test_user_names_have_a_limit(void **state PN_UNUSED)
{
	char name[257];

	memset(name, 'u', sizeof(name));
	name[256] = '\0';
	assert_int_equal(step("EHLO c.example\r\nAUTH PLAIN AGEAYg==\r\n"), PN_SMTP_EVENT);
	pn_buf_clear(&out);
	resolve(PN_REPLY_AUTH_OK, name);
	replied("454 4.7.0");
	assert_false(pn_smtp_server_is_authenticated(&server));
	assert_int_equal(step("AUTH PLAIN AGEAYg==\r\n"), PN_SMTP_EVENT);
	name[255] = '\0';
	resolve(PN_REPLY_AUTH_OK, name);
	replied("235 2.7.0");
	assert_int_equal(pn_smtp_server_user(&server).len, 255);
}

static void test_challenges_have_a_limit(void **state PN_UNUSED)
{
	char text[1026];

	memset(text, 'x', sizeof(text));
	text[1025] = '\0';
	assert_int_equal(step("EHLO c.example\r\nAUTH PLAIN\r\n"), PN_SMTP_EVENT);
	pn_buf_clear(&out);
	resolve(PN_REPLY_AUTH_CHALLENGE, text);
	replied("454 4.7.0");
	assert_int_equal(step("AUTH PLAIN\r\n"), PN_SMTP_EVENT);
	text[1024] = '\0';
	resolve(PN_REPLY_AUTH_CHALLENGE, text);
	assert_true(pn_buf_len(&out) < PN_SMTP_OUT_ROOM_BYTES);
	replied("334 eHh4");
	/* deinit with an exchange open: leak checkers watch */
}

/* RFC 5321 4.5.3.1.5: with the longest names in the banner and in EHLO every line stays within 512 octets. */
static void test_long_host_names_fit(void **state PN_UNUSED)
{
	char name[256], line[300];

	memset(name, 'h', 255);
	name[255] = '\0';
	settings.hostname = name;
	assert_int_equal(pn_smtp_server_greet(&server, &out), 0);
	assert_int_equal(pn_buf_len(&out), 4 + 255 + 6 + 2);
	memcpy(line, "EHLO ", 5);
	memcpy(line + 5, name, 255);
	memcpy(line + 260, "\r\n", 3);
	pn_buf_clear(&out);
	assert_int_equal(step(line), PN_SMTP_AGAIN);
	assert_int_equal(pn_smtp_server_helo(&server).len, 255);
	assert_true(pn_smtp_server_is_ehlo(&server));
	assert_true(pn_buf_len(&out) < PN_SMTP_OUT_ROOM_BYTES);
}

static void test_close_reasons_have_names(void **state PN_UNUSED)
{
	for (unsigned i = 0; i < PN_SMTP_CLOSE_COUNT; i++)
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(pn_smtp_close_reason_name((enum pn_smtp_close_reason)i),
						pn_smtp_close_reason_name((enum pn_smtp_close_reason)j));
}

static void test_the_last_reply_is_known(void **state PN_UNUSED)
{
	assert_int_equal(pn_smtp_server_last_reply(&server), PN_REPLY_NONE);
	assert_int_equal(pn_smtp_server_greet(&server, &out), 0);
	assert_int_equal(pn_smtp_server_last_reply(&server), PN_REPLY_GREETING);
	assert_int_equal(step("MAIL FROM:<a@b>\r\n"), PN_SMTP_AGAIN);
	assert_int_equal(pn_smtp_server_last_reply(&server), PN_REPLY_NEED_EHLO);
	assert_int_equal(pn_smtp_server_stats(&server)->commands, 1);
	assert_int_equal(pn_smtp_server_stats(&server)->errors, 1);
}

#define SERVER_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVER_TEST(test_idle_sessions_own_no_heap),
		SERVER_TEST(test_the_envelope_outlives_the_reset_event),
		SERVER_TEST(test_content_is_not_copied),
		SERVER_TEST(test_facts_and_scan_are_there_at_the_end),
		SERVER_TEST(test_a_full_output_buffer_stops_the_input),
		SERVER_TEST(test_no_room_for_a_reply_ends_the_session),
		SERVER_TEST(test_wrong_tokens_are_ignored_and_counted),
		SERVER_TEST(test_a_verdict_after_abort_is_ignored),
		SERVER_TEST(test_octets_before_the_handshake_end_the_session),
		SERVER_TEST(test_mechanisms_may_change_between_ehlos),
		SERVER_TEST(test_user_names_have_a_limit),
		SERVER_TEST(test_challenges_have_a_limit),
		SERVER_TEST(test_long_host_names_fit),
		SERVER_TEST(test_close_reasons_have_names),
		SERVER_TEST(test_the_last_reply_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
