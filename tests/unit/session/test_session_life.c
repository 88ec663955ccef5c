/* SPDX-License-Identifier: ISC */
/* A session from accept to its last free: messages through both ports, and clients that leave in
 * every state. */
#include "session_harness.h"

#include <stdio.h>
#include <string.h>

#include <postern/base/fault.h>

static void test_messages_through_both_ports(void **state)
{
	(void)state;
	struct harness h;
	h_init(&h);
	h_start(&h);
	for (int port = H_TLS; port <= H_STARTTLS; port++) {
		struct client c;
		c_ready(&c, &h, (enum h_port)port, true);
		assert_int_equal(c_message(&c, 1000), 250);
		assert_non_null(strstr(c_text, "queued as "));
		assert_int_equal(c_message(&c, 500 * 1000), 250);
		c_cmd(&c, "QUIT", 221);
		c_wait_over(&c);
		c_close(&c, false);
		h_until(&h, h_is_empty(&h));
	}
	assert_int_equal(h.submitted, 4);
	assert_int_equal(h_counter(&h, messages_accepted), 4);
	assert_int_equal(h_counter(&h, recipients_accepted), 4);
	assert_int_equal(h_counter(&h, auth_ok), 2);
	h_stop(&h);
}

/* Everything up to the last dot in one write, which comes in pieces of a receive buffer behind
 * pauses. */
static void test_one_pipelined_group(void **state)
{
	(void)state;
	struct harness h;
	struct client c;
	static char group[40000];
	size_t len = 0;
	h_init(&h);
	h_start(&h);
	c_ready(&c, &h, H_TLS, true);
	for (int i = 0; i < 100; i++)
		len += (size_t)snprintf(group + len, sizeof(group) - len,
					"MAIL FROM:<" H_USER
					">\r\nRCPT TO:<r%d@example.net>\r\nBDAT 31 LAST\r\n"
					"Subject: x\r\n\r\nsixteen octets!\r\nNOOP\r\n",
					i);
	c_send_bytes(&c, group, len);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(c_reply(&c), 250);
		assert_int_equal(c_reply(&c), 250);
		assert_int_equal(c_reply(&c), 250);
		assert_non_null(strstr(c_text, "queued as "));
		assert_int_equal(c_reply(&c), 250);
	}
	assert_int_equal(h.submitted, 100);
	c_cmd(&c, "QUIT", 221);
	c_close(&c, false);
	h_stop(&h);
}

/* Each stage leaves the session in another state; the client goes away there. */
enum stage {
	CONNECTED,
	HALF_HANDSHAKE,
	GREETED,
	HALF_LINE,
	STARTTLS_SENT,
	AUTH_CHALLENGED,
	AUTH_HASHING,
	AUTH_DELAYED,
	MAIL,
	DATA_INLINE,
	DATA_LARGE,
	CHUNK,
	MESSAGE_SENT,
	STAGES
};

static void go_to(struct client *c, struct harness *h, enum stage stage)
{
	switch (stage) {
	case CONNECTED:
		c_connect(c, h, H_TLS);
		h_until(h, h_sessions(h) == 1);
		return;
	case HALF_HANDSHAKE:
		c_connect(c, h, H_TLS);
		c_send_raw(c, "\x16\x03\x01\x02\x00\x01", 6);
		return;
	case GREETED:
		c_open(c, h, H_STARTTLS);
		return;
	case STARTTLS_SENT:
		c_open(c, h, H_STARTTLS);
		assert_int_equal(c_reply(c), 220);
		c_cmd(c, "EHLO client.example", 250);
		c_cmd(c, "STARTTLS", 220);
		assert_int_equal(h_handshakes(h), 1);
		return;
	case HALF_LINE:
	case AUTH_CHALLENGED:
	case AUTH_HASHING:
	case AUTH_DELAYED:
		c_ready(c, h, H_TLS, false);
		break;
	case MAIL:
	case DATA_INLINE:
	case DATA_LARGE:
	case CHUNK:
	case MESSAGE_SENT:
	case STAGES:
		c_ready(c, h, H_TLS, true);
		c_cmd(c, "MAIL FROM:<" H_USER ">", 250);
		c_cmd(c, "RCPT TO:<someone@example.net>", 250);
		break;
	}
	if (stage == HALF_LINE)
		c_send(c, "NOO");
	if (stage == AUTH_CHALLENGED)
		c_cmd(c, "AUTH LOGIN", 334);
	if (stage == AUTH_HASHING)
		c_auth_send(c, H_PASSWORD);
	if (stage == AUTH_DELAYED) {
		c_auth_send(c, "wrong");
		h_until(h, h_counter(h, auth_delays) > 0);
	}
	if (stage == DATA_INLINE || stage == DATA_LARGE || stage == MESSAGE_SENT)
		c_cmd(c, "DATA", 354);
	if (stage == DATA_INLINE || stage == MESSAGE_SENT)
		c_body(c, 1000);
	if (stage == DATA_LARGE)
		c_body(c, 400 * 1000);
	if (stage == CHUNK)
		c_send(c, "BDAT 100000\r\nSubject: half\r\n");
	if (stage == MESSAGE_SENT)
		c_send(c, ".\r\n");
}

static void leave_in_every_stage(bool is_reset)
{
	for (int stage = CONNECTED; stage < STAGES; stage++) {
		struct harness h;
		struct client c;
		h_init(&h);
		h.values.auth_failure_delay_ms = h.values.auth_failure_delay_max_ms = 50;
		h_start(&h);
		go_to(&c, &h, (enum stage)stage);
		c_close(&c, is_reset);
		h_until(&h, h_counter(&h, sessions_closed) == 1);
		assert_true(h_is_empty(&h));
		if (stage == MESSAGE_SENT && !is_reset)
			h_until(&h, h.submitted == 1);
		else if (stage != MESSAGE_SENT)
			assert_int_equal(h.submitted, 0);
		h_stop(&h);
	}
}

static void test_client_closes_in_every_stage(void **state)
{
	(void)state;
	leave_in_every_stage(false);
}

static void test_client_resets_in_every_stage(void **state)
{
	(void)state;
	leave_in_every_stage(true);
}

/* The service ends sessions in every stage at once: no time for anything. */
static void test_killed_in_every_stage(void **state)
{
	(void)state;
	for (int stage = CONNECTED; stage < STAGES; stage++) {
		struct harness h;
		struct client c;
		h_init(&h);
		h.values.auth_failure_delay_ms = h.values.auth_failure_delay_max_ms = 60000;
		h_start(&h);
		go_to(&c, &h, (enum stage)stage);
		h_drain(&h, 0);
		h_until(&h, h.is_drained);
		assert_true(h_is_empty(&h));
		c_close(&c, true);
		h_stop(&h);
	}
}

static void test_starttls_injection(void **state)
{
	(void)state;
	struct harness h;
	struct client c;
	h_init(&h);
	h_start(&h);
	c_open(&c, &h, H_STARTTLS);
	assert_int_equal(c_reply(&c), 220);
	c_cmd(&c, "EHLO client.example", 250);
	c_send(&c, "STARTTLS\r\nEHLO injected.example\r\n");
	c_wait_over(&c);
	assert_null(strstr(c_text, "injected"));
	assert_int_equal(h_counter(&h, starttls_injections), 1);
	c_close(&c, false);
	h_until(&h, h_is_empty(&h));
	/* Plaintext in place of a ClientHello is no TLS. */
	c_open(&c, &h, H_STARTTLS);
	assert_int_equal(c_reply(&c), 220);
	c_cmd(&c, "EHLO client.example", 250);
	c_cmd(&c, "STARTTLS", 220);
	c_send(&c, "NOOP\r\n");
	c_wait_over(&c);
	assert_int_equal(h_counter(&h, handshakes_failed), 1);
	c_close(&c, false);
	h_stop(&h);
}

static void test_idle_session_holds_no_buffers(void **state)
{
	(void)state;
	struct harness h;
	struct client c;
	h_init(&h);
	h_start(&h);
	c_ready(&c, &h, H_STARTTLS, true);
	/* Two replies while a send is on its way use both output buffers. */
	c_send(&c, "NOOP\r\n");
	c_send(&c, "NOOP\r\nNOOP\r\n");
	for (int i = 0; i < 3; i++)
		assert_int_equal(c_reply(&c), 250);
	assert_int_equal(c_message(&c, 3000), 250);
	struct pn_session *s = h_session(&h);
	h_until(&h, !s->send_op.is_inflight);
	assert_null(s->out.data);
	assert_null(s->sending.data);
	assert_null(s->plain_backlog.data);
	assert_null(s->cipher_backlog.data);
	assert_null(s->txn);
	assert_null(s->auth);
	c_close(&c, false);
	h_stop(&h);
}

#ifdef PN_FAULT_INJECTION
static void test_disk_failures_are_answered(void **state)
{
	(void)state;
	static const struct {
		const char *plan;
		size_t size;
	} rows[] = {
		{ "spool.segment.fdatasync:1:5", 1000 },
		{ "spool.segment.write:1:28", 1000 },
		{ "spool.file.write:1:28", 400 * 1000 },
		{ "spool.file.create:1:13", 400 * 1000 },
		{ "spool.file.fdatasync:1:5", 400 * 1000 },
		{ "spool.file.rename:1:5", 400 * 1000 },
	};
	for (size_t i = 0; i < PN_ARRAY_SIZE(rows); i++) {
		struct harness h;
		struct client c;
		h_init(&h);
		h_start(&h);
		c_ready(&c, &h, H_TLS, true);
		pn_fault_set_plan(rows[i].plan);
		int code = c_message(&c, rows[i].size);
		pn_fault_set_plan(NULL);
		if (code != 451 && code != 452)
			fail_msg("%s: answered with %d", rows[i].plan, code);
		assert_int_equal(h.submitted, 0);
		assert_int_equal(h_counter(&h, messages_failed), 1);
		/* The session goes on, and the next message is safe. */
		assert_int_equal(c_message(&c, 1000), 250);
		assert_int_equal(h.submitted, 1);
		c_close(&c, false);
		h_stop(&h);
	}
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages_through_both_ports),
		cmocka_unit_test(test_one_pipelined_group),
		cmocka_unit_test(test_client_closes_in_every_stage),
		cmocka_unit_test(test_client_resets_in_every_stage),
		cmocka_unit_test(test_killed_in_every_stage),
		cmocka_unit_test(test_starttls_injection),
		cmocka_unit_test(test_idle_session_holds_no_buffers),
#ifdef PN_FAULT_INJECTION
		cmocka_unit_test(test_disk_failures_are_answered),
#endif
	};
	return cmocka_run_group_tests(tests, tls_setup, tls_teardown);
}
