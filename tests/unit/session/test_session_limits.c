/* SPDX-License-Identifier: ISC */
/* Limits, timeouts, failed logins, and clients that do not read. */
#include "session_harness.h"

#include <stdlib.h>
#include <string.h>

static void refused(struct harness *h, enum h_port port, const char *text)
{
	struct client c;
	c_connect(&c, h, port);
	int code = c_reply(&c);
	assert_int_equal(code, port == H_TLS ? 0 : 421);
	if (port == H_STARTTLS)
		assert_non_null(strstr(c_text, text));
	c_wait_over(&c);
	c_close(&c, false);
}

static void test_sessions_max(void **state)
{
	(void)state;
	struct harness h;
	struct client c;
	h_init(&h);
	h.values.sessions_max = 1;
	h_start(&h);
	c_ready(&c, &h, H_TLS, false);
	refused(&h, H_STARTTLS, "4.3.2");
	refused(&h, H_TLS, "");
	assert_int_equal(h_counter(&h, refused_sessions_max), 2);
	assert_int_equal(h_sessions(&h), 1);
	c_close(&c, false);
	h_until(&h, h_is_empty(&h));
	c_ready(&c, &h, H_STARTTLS, true);
	c_close(&c, false);
	h_stop(&h);
}

static void test_sources(void **state)
{
	(void)state;
	struct harness h;
	struct client c;
	h_init(&h);
	h.values.sessions_per_source_max = 1;
	h.values.connections_per_source_per_minute_max = 0;
	h_start(&h);
	c_ready(&c, &h, H_TLS, false);
	refused(&h, H_STARTTLS, "4.7.0");
	refused(&h, H_TLS, "");
	assert_int_equal(h_counter(&h, refused_source_sessions), 2);
	c_close(&c, false);
	h_until(&h, h_is_empty(&h));
	h.values.sessions_per_source_max = 0;
	h.values.connections_per_source_per_minute_max = 1;
	h_profile(&h);
	refused(&h, H_STARTTLS, "4.7.0");
	assert_int_equal(h_counter(&h, refused_source_rate), 1);
	h_stop(&h);
}

static bool is_memory_short;
/* The linker puts it in front of the real one (--wrap in CMakeLists.txt). */
struct pn_session *__wrap_pn_session_new(struct pn_session_service *svc, const struct pn_listener *listener,
					 int fd, const struct sockaddr_in6 *peer);
struct pn_session *__real_pn_session_new(struct pn_session_service *svc, const struct pn_listener *listener,
					 int fd, const struct sockaddr_in6 *peer);

struct pn_session *__wrap_pn_session_new(struct pn_session_service *svc, const struct pn_listener *listener,
					 int fd, const struct sockaddr_in6 *peer)
{
	return is_memory_short ? NULL : __real_pn_session_new(svc, listener, fd, peer);
}

/* RFC 5321 4.2, 4.3.2: a greeting is 220, 421 or 554. */
static void test_no_memory_for_a_session(void **state)
{
	(void)state;
	struct harness h;
	struct client c;
	h_init(&h);
	h_start(&h);
	is_memory_short = true;
	refused(&h, H_STARTTLS, "421 4.3.1");
	refused(&h, H_TLS, "");
	is_memory_short = false;
	assert_int_equal(h_sessions(&h), 0);
	assert_int_equal(h_handshakes(&h), 0);
	c_ready(&c, &h, H_TLS, true);
	c_close(&c, false);
	h_stop(&h);
}

static void test_handshakes_max(void **state)
{
	(void)state;
	struct harness h;
	struct client slow, c;
	h_init(&h);
	h.values.handshakes_max = 1;
	h_start(&h);
	c_connect(&slow, &h, H_TLS);
	h_until(&h, h_handshakes(&h) == 1);
	refused(&h, H_TLS, "");
	c_open(&c, &h, H_STARTTLS);
	assert_int_equal(c_reply(&c), 220);
	c_cmd(&c, "EHLO client.example", 250);
	c_cmd(&c, "STARTTLS", 421);
	c_wait_over(&c);
	c_close(&c, false);
	assert_int_equal(h_counter(&h, refused_handshakes_max), 2);
	assert_int_equal(h_handshakes(&h), 1);
	c_handshake(&slow);
	assert_int_equal(c_reply(&slow), 220);
	assert_int_equal(h_handshakes(&h), 0);
	c_close(&slow, false);
	h_stop(&h);
}

static void test_timeouts(void **state)
{
	(void)state;
	struct harness h;
	struct client c;
	h_init(&h);
	h.values.handshake_timeout_ms = 50;
	h_start(&h);
	c_connect(&c, &h, H_TLS);
	assert_int_equal(c_reply(&c), 0);
	assert_int_equal(h_counter(&h, handshake_timeouts), 1);
	c_close(&c, false);
	h.values.handshake_timeout_ms = 60000;
	h.values.idle_timeout_ms = 50;
	h_profile(&h);
	c_open(&c, &h, H_TLS);
	assert_int_equal(c_reply(&c), 220);
	assert_int_equal(c_reply(&c), 421);
	assert_int_equal(h_counter(&h, idle_timeouts), 1);
	c_wait_over(&c);
	c_close(&c, false);
	h.values.idle_timeout_ms = 60000;
	h.values.data_timeout_ms = 50;
	h_profile(&h);
	c_ready(&c, &h, H_TLS, true);
	c_cmd(&c, "MAIL FROM:<" H_USER ">", 250);
	c_cmd(&c, "RCPT TO:<someone@example.net>", 250);
	c_cmd(&c, "DATA", 354);
	c_send(&c, "Subject: slow\r\n");
	assert_int_equal(c_reply(&c), 421);
	assert_int_equal(h_counter(&h, data_timeouts), 1);
	c_close(&c, false);
	h.values.data_timeout_ms = 60000;
	h.values.session_timeout_ms = 0;
	h_profile(&h);
	c_open(&c, &h, H_TLS);
	assert_int_equal(c_reply(&c), 220);
	h_until(&h, (c_send(&c, "NOOP\r\n"), h_counter(&h, session_timeouts) == 1));
	c_wait_over(&c);
	c_close(&c, false);
	h_stop(&h);
}

/* Sends lines for several times as long as data_timeout_ms. */
static void dribble(struct client *c)
{
	uint64_t until_ms = pn_clock_mono_ms() + 1000;
	while (pn_clock_mono_ms() < until_ms) {
		c_send(c, "a line more\r\n");
		h_turn(c->h);
	}
}

/* A slow sender of what is refused already hears why, at the end, and may go on: it is no case for data_timeout. */
static void test_refused_content_is_no_silence(void **state)
{
	(void)state;
	struct harness h;
	struct client c;
	h_init(&h);
	h.values.data_timeout_ms = 200;
	h_start(&h);
	c_ready(&c, &h, H_TLS, true);
	c_cmd(&c, "MAIL FROM:<" H_USER ">", 250);
	c_cmd(&c, "RCPT TO:<someone@example.net>", 250);
	c_cmd(&c, "DATA", 354);
	c_send(&c, "Subject: bare LF\n\r\n");
	dribble(&c);
	c_cmd(&c, ".", 550);
	/* A refused chunk the same. */
	c_send(&c, "BDAT 30 LAST\r\nsome of it");
	h_until(&h, pn_smtp_server_is_in_content(&h_session(&h)->smtp));
	c_send(&c, ", and all the rest\r\n");
	assert_int_equal(c_reply(&c), 503);
	assert_false(pn_smtp_server_is_in_content(&h_session(&h)->smtp));
	assert_int_equal(h_counter(&h, data_timeouts), 0);
	c_cmd(&c, "NOOP", 250);
	/* Whoever stops is told so. */
	h.values.data_timeout_ms = 100;
	h_profile(&h);
	c_close(&c, false);
	c_ready(&c, &h, H_TLS, true);
	c_cmd(&c, "MAIL FROM:<" H_USER ">", 250);
	c_cmd(&c, "RCPT TO:<someone@example.net>", 250);
	c_cmd(&c, "DATA", 354);
	c_send(&c, "Subject: bare LF\n\r\n");
	assert_int_equal(c_reply(&c), 421);
	assert_int_equal(h_counter(&h, data_timeouts), 1);
	c_close(&c, false);
	h_stop(&h);
}

static void test_failed_logins(void **state)
{
	(void)state;
	struct harness h;
	struct client c;
	h_init(&h);
	h.values.auth_failure_delay_ms = 20;
	h.values.auth_failure_delay_max_ms = 30;
	h_start(&h);
	c_ready(&c, &h, H_TLS, false);
	for (int i = 0; i < 2; i++) {
		c_auth_send(&c, "wrong");
		/* What is pipelined behind it waits, and is answered in order. */
		c_send(&c, "NOOP\r\n");
		assert_int_equal(c_reply(&c), 535);
		assert_int_equal(c_reply(&c), 250);
	}
	c_auth_send(&c, "wrong");
	assert_int_equal(c_reply(&c), 535);
	assert_int_equal(c_reply(&c), 421);
	c_wait_over(&c);
	assert_int_equal(h_counter(&h, auth_failed), 3);
	assert_int_equal(h_counter(&h, auth_delays), 3);
	c_close(&c, false);
	h_until(&h, h_is_empty(&h));
	c_ready(&c, &h, H_TLS, false);
	c_auth_send(&c, "wrong");
	assert_int_equal(c_reply(&c), 535);
	c_auth_send(&c, H_PASSWORD);
	assert_int_equal(c_reply(&c), 235);
	c_cmd(&c, "MAIL FROM:<somebody-else@example.org>", 550);
	assert_int_equal(h_counter(&h, senders_not_owned), 1);
	c_cmd(&c, "MAIL FROM:<>", 250);
	c_close(&c, false);
	h_stop(&h);
}

/* A client that writes first and reads later gets every answer, in order, with the smallest output
 * buffer there is. */
static void test_late_reader(void **state)
{
	(void)state;
	struct harness h;
	struct client c;
	h_init(&h);
	h.values.output_buffer_max_bytes = 16384;
	h.values.smtp.limits.bad_commands_max = 1000000;
	h_start(&h);
	c_ready(&c, &h, H_TLS, true);
	enum { LINES = 20000 };
	char *lines = malloc(LINES * 14);
	assert_non_null(lines);
	size_t len = 0;
	for (int i = 0; i < LINES; i += 2) {
		memcpy(lines + len, "NOOP\r\nHELP xy\r\n", 15);
		len += 15;
	}
	/* TCP takes some of it, the session some, and then everything stands still until somebody
	 * reads. */
	struct pn_buf out;
	pn_buf_init(&out, 2 * len);
	assert_int_equal(pn_record_seal(c.record, pn_slice(lines, len), &out), PN_RECORD_OK);
	size_t seen = 0;
	bool has_paused = false;
	uint64_t limit_ms = pn_clock_mono_ms() + 60000;
	while (pn_buf_len(&out) > 0 || seen < LINES) {
		if (pn_buf_len(&out) > 0) {
			ssize_t n = send(c.fd, pn_buf_ptr(&out), pn_buf_len(&out), MSG_NOSIGNAL);
			if (n > 0)
				pn_buf_consume(&out, (size_t)n);
		}
		/* Nothing is read until the session has nowhere to put its answers. */
		for (int i = 0; i < 20 && !has_paused; i++)
			h_turn(&h);
		struct pn_session *s = h_session(&h);
		has_paused = has_paused || (s && s->wait == PN_WAIT_OUTPUT);
		h_turn(&h);
		assert_true(pn_clock_mono_ms() < limit_ms);
		while (has_paused && c_has_reply(&c)) {
			assert_int_equal(c_reply(&c), seen % 2 == 0 ? 250 : 214);
			seen++;
		}
		assert_false(c.is_over);
	}
	pn_buf_free(&out);
	free(lines);
	assert_true(has_paused);
	assert_int_equal(h_counter(&h, output_stalls), 0);
	c_cmd(&c, "QUIT", 221);
	c_close(&c, false);
	h_stop(&h);
}

/* One that never reads is ended, and costs no more than its buffer meanwhile. */
static void test_never_reader(void **state)
{
	(void)state;
	struct harness h;
	struct client c;
	static char lines[60000];
	h_init(&h);
	h.values.idle_timeout_ms = 300;
	h.values.output_buffer_max_bytes = 16384;
	h_start(&h);
	c_ready(&c, &h, H_STARTTLS, true);
	for (size_t i = 0; i < sizeof(lines); i += 6)
		memcpy(lines + i, "NOOP\r\n", 6);
	struct pn_buf out;
	pn_buf_init(&out, 2 * sizeof(lines));
	while (h_counter(&h, output_stalls) == 0) {
		if (pn_buf_len(&out) == 0)
			assert_int_equal(
				pn_record_seal(c.record, pn_slice(lines, sizeof(lines)), &out),
				PN_RECORD_OK);
		ssize_t n = send(c.fd, pn_buf_ptr(&out), pn_buf_len(&out), MSG_NOSIGNAL);
		if (n > 0)
			pn_buf_consume(&out, (size_t)n);
		h_turn(&h);
		struct pn_session *s = h_session(&h);
		assert_true(!s || s->out.cap + s->sending.cap <= 2 * 16384);
		assert_true(!s || s->plain_backlog.cap <= PN_SESSION_BACKLOG_MAX_BYTES);
	}
	h_until(&h, h_is_empty(&h));
	pn_buf_free(&out);
	c_close(&c, false);
	h_stop(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sessions_max),   cmocka_unit_test(test_sources),
		cmocka_unit_test(test_handshakes_max), cmocka_unit_test(test_timeouts),
		cmocka_unit_test(test_failed_logins),  cmocka_unit_test(test_late_reader),
		cmocka_unit_test(test_never_reader),   cmocka_unit_test(test_no_memory_for_a_session),
		cmocka_unit_test(test_refused_content_is_no_silence),
	};
	return cmocka_run_group_tests(tests, tls_setup, tls_teardown);
}
