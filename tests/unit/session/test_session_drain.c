/* SPDX-License-Identifier: ISC */
/* The end of the service: idle sessions hear 421, transactions may finish, what stalls is cut. */
#include "session_harness.h"

static void test_idle_sessions_hear_421(void **state)
{
	(void)state;
	struct harness h;
	struct client tls, plain, login;
	h_init(&h);
	h_start(&h);
	c_ready(&tls, &h, H_TLS, true);
	c_open(&plain, &h, H_STARTTLS);
	assert_int_equal(c_reply(&plain), 220);
	c_ready(&login, &h, H_TLS, false);
	c_cmd(&login, "AUTH LOGIN", 334);
	h_drain(&h, 60000);
	assert_int_equal(c_reply(&tls), 421);
	assert_int_equal(c_reply(&plain), 421);
	assert_int_equal(c_reply(&login), 421);
	c_wait_over(&tls);
	c_wait_over(&plain);
	c_wait_over(&login);
	assert_int_equal(h_counter(&h, drained), 3);
	c_close(&tls, false);
	c_close(&plain, false);
	c_close(&login, false);
	h_until(&h, h.is_drained);
	h_stop(&h);
}

static void test_a_transaction_may_finish(void **state)
{
	(void)state;
	struct harness h;
	struct client c;
	h_init(&h);
	h_start(&h);
	c_ready(&c, &h, H_STARTTLS, true);
	c_cmd(&c, "MAIL FROM:<" H_USER ">", 250);
	c_cmd(&c, "RCPT TO:<someone@example.net>", 250);
	h_drain(&h, 60000);
	c_cmd(&c, "DATA", 354);
	c_body(&c, 200 * 1000);
	assert_false(h.is_drained);
	c_send(&c, ".\r\n");
	assert_int_equal(c_reply(&c), 250);
	assert_int_equal(h.submitted, 1);
	assert_int_equal(c_reply(&c), 421);
	c_wait_over(&c);
	c_close(&c, false);
	h_until(&h, h.is_drained);
	h_stop(&h);
}

static void test_a_reset_transaction_is_over(void **state)
{
	(void)state;
	struct harness h;
	struct client c;
	h_init(&h);
	h_start(&h);
	c_ready(&c, &h, H_TLS, true);
	c_cmd(&c, "MAIL FROM:<" H_USER ">", 250);
	h_drain(&h, 60000);
	c_cmd(&c, "RSET", 250);
	assert_int_equal(c_reply(&c), 421);
	c_close(&c, false);
	h_until(&h, h.is_drained);
	h_stop(&h);
}

static void test_login_at_the_helper_is_answered_first(void **state)
{
	(void)state;
	struct harness h;
	struct client c;
	h_init(&h);
	h_start(&h);
	c_ready(&c, &h, H_TLS, false);
	c_auth_send(&c, H_PASSWORD);
	h_until(&h, h_session(&h)->wait == PN_WAIT_VERDICT || h_session(&h)->user);
	h_drain(&h, 60000);
	int code = c_reply(&c);
	/* 235 first, unless the answer had come before the drain */
	if (code == 235)
		code = c_reply(&c);
	assert_int_equal(code, 421);
	c_close(&c, false);
	h_until(&h, h.is_drained);
	h_stop(&h);
}

static void test_stalled_transactions_are_cut(void **state)
{
	(void)state;
	struct harness h;
	struct client data, reader;
	h_init(&h);
	h_start(&h);
	c_ready(&data, &h, H_TLS, true);
	c_cmd(&data, "MAIL FROM:<" H_USER ">", 250);
	c_cmd(&data, "RCPT TO:<someone@example.net>", 250);
	c_cmd(&data, "DATA", 354);
	c_body(&data, 300 * 1000);
	c_ready(&reader, &h, H_TLS, true);
	c_cmd(&reader, "MAIL FROM:<" H_USER ">", 250);
	h_drain(&h, 100);
	h_until(&h, h.is_drained);
	assert_true(h_is_empty(&h));
	assert_int_equal(h.submitted, 0);
	assert_int_equal(h_counter(&h, drain_timeouts), 2);
	c_close(&data, false);
	c_close(&reader, false);
	h_stop(&h);
}

static void test_nobody_is_there(void **state)
{
	(void)state;
	struct harness h;
	struct client c;
	h_init(&h);
	h_start(&h);
	h_drain(&h, 60000);
	h_until(&h, h.is_drained);
	/* Nobody accepts any more. */
	c_connect(&c, &h, H_STARTTLS);
	for (int i = 0; i < 20; i++)
		h_turn(&h);
	assert_false(c_has_reply(&c));
	assert_int_equal(h_counter(&h, accepted), 0);
	c_close(&c, false);
	h_stop(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle_sessions_hear_421),
		cmocka_unit_test(test_a_transaction_may_finish),
		cmocka_unit_test(test_a_reset_transaction_is_over),
		cmocka_unit_test(test_login_at_the_helper_is_answered_first),
		cmocka_unit_test(test_stalled_transactions_are_cut),
		cmocka_unit_test(test_nobody_is_there),
	};
	return cmocka_run_group_tests(tests, tls_setup, tls_teardown);
}
