/* SPDX-License-Identifier: ISC */
/* test_session_commits.c - messages that are made safe while the session goes on: order, promises, failures, ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <postern/base/clock.h>
#include <postern/base/fault.h>

#include "session/session_internal.h"
#include "session_harness.h"

#define GROUP_MAX 32

static size_t put_message(char *to, size_t size, int number)
{
	return (size_t)snprintf(to, size,
				"MAIL FROM:<" H_USER ">\r\nRCPT TO:<r%d@example.net>\r\nBDAT 31 LAST\r\n"
				"Subject: x\r\n\r\nsixteen octets!\r\nNOOP\r\n",
				number);
}

static void send_group(struct client *c, int count, const char *last)
{
	static char group[GROUP_MAX * 200];
	size_t len = 0;
	for (int i = 0; i < count; i++)
		len += put_message(group + len, sizeof(group) - len, i);
	len += (size_t)snprintf(group + len, sizeof(group) - len, "%s", last);
	c_send_bytes(c, group, len);
}

static void test_no_promise_before_the_disk(void **state)
{
	struct harness h;
	struct client c;
	size_t promised = 0;
	(void)state;
	h_init(&h);
	h_start(&h);
	c_ready(&c, &h, H_TLS, true);
	send_group(&c, GROUP_MAX, "");
	for (int replies = 0; replies < 4 * GROUP_MAX;) {
		h_turn(&h);
		/* What the client holds now was sent at the latest in this turn. */
		size_t submitted = h.submitted;
		while (replies < 4 * GROUP_MAX && c_has_reply(&c)) {
			assert_int_equal(c_reply(&c), 250);
			bool is_promise = strstr(c_text, "queued as ") != NULL;
			assert_true(is_promise == (replies % 4 == 2));
			promised += is_promise;
			replies++;
		}
		assert_true(promised <= submitted);
	}
	assert_int_equal(promised, GROUP_MAX);
	assert_int_equal(h.submitted, GROUP_MAX);
	c_close(&c, false);
	h_stop(&h);
}

static void test_the_limit_holds(void **state)
{
	struct harness h;
	struct client c;
	bool was_reached = false;
	(void)state;
	h_init(&h);
	h.values.commits_max = 3;
	h_start(&h);
	c_ready(&c, &h, H_TLS, true);
	send_group(&c, GROUP_MAX, "");
	while (h.submitted < GROUP_MAX) {
		h_turn(&h);
		struct pn_session *s = h_session(&h);
		assert_true(s->commit_count <= 3);
		was_reached = was_reached || (s->commit_count == 3 && s->wait == PN_WAIT_COMMIT);
	}
	assert_true(was_reached);
	assert_true(h_counter(&h, commit_waits) > 0);
	for (int i = 0; i < 4 * GROUP_MAX; i++)
		assert_int_equal(c_reply(&c), 250);
	c_close(&c, false);
	h_stop(&h);
}

static void test_quit_comes_behind_all_promises(void **state)
{
	struct harness h;
	struct client c;
	(void)state;
	h_init(&h);
	h_start(&h);
	c_ready(&c, &h, H_TLS, true);
	send_group(&c, 5, "QUIT\r\n");
	for (int i = 0; i < 20; i++)
		assert_int_equal(c_reply(&c), 250);
	assert_int_equal(c_reply(&c), 221);
	c_wait_over(&c);
	assert_int_equal(h.submitted, 5);
	c_close(&c, false);
	h_stop(&h);
}

/* The client says all it has to say and closes its half; it still gets its answers. */
static void test_an_early_end_gets_its_answers(void **state)
{
	struct harness h;
	struct client c;
	struct pn_buf out;
	(void)state;
	h_init(&h);
	h_start(&h);
	c_ready(&c, &h, H_TLS, true);
	send_group(&c, 5, "");
	pn_buf_init(&out, 4096);
	assert_int_equal(pn_record_close(c.record, &out), PN_RECORD_OK);
	c_send_raw(&c, pn_buf_ptr(&out), pn_buf_len(&out));
	pn_buf_free(&out);
	for (int i = 0; i < 20; i++)
		assert_int_equal(c_reply(&c), 250);
	c_wait_over(&c);
	assert_int_equal(h.submitted, 5);
	c_close(&c, false);
	h_stop(&h);
}

/* Whoever goes away is not asked again: what was complete is delivered. */
static void test_a_reset_loses_nothing_that_was_complete(void **state)
{
	struct harness h;
	struct client c;
	(void)state;
	h_init(&h);
	h_start(&h);
	c_ready(&c, &h, H_TLS, true);
	send_group(&c, 5, "");
	h_until(&h, h_session(&h)->commit_count > 0 || h.submitted > 0);
	c_close(&c, true);
	h_until(&h, h_is_empty(&h));
	h_stop(&h);
	assert_true(h.submitted <= 5);
}

#ifdef PN_FAULT_INJECTION
/* The refusal stands where the 250 would have stood, and what follows is in its place. */
static void test_a_failed_sync_refuses_in_order(void **state)
{
	struct harness h;
	struct client c;
	size_t refused = 0, queued = 0;
	(void)state;
	h_init(&h);
	h_start(&h);
	c_ready(&c, &h, H_TLS, true);
	pn_fault_set_plan("spool.segment.fdatasync:1:5");
	send_group(&c, 12, "QUIT\r\n");
	for (int i = 0; i < 12; i++) {
		assert_int_equal(c_reply(&c), 250);
		assert_int_equal(c_reply(&c), 250);
		int code = c_reply(&c);
		assert_true(code == 250 || code == 451);
		assert_true((strstr(c_text, "queued as ") != NULL) == (code == 250));
		queued += code == 250;
		refused += code == 451;
		assert_int_equal(c_reply(&c), 250); /* NOOP */
		assert_null(strstr(c_text, "queued"));
	}
	assert_int_equal(c_reply(&c), 221);
	pn_fault_set_plan(NULL);
	assert_true(refused > 0);
	assert_int_equal(refused + queued, 12);
	assert_int_equal(h.submitted, queued);
	assert_int_equal(h_counter(&h, messages_failed), refused);
	assert_int_equal(pn_counter_get(&h.svc->replies_given[PN_REPLY_OK_QUEUED]), queued);
	assert_int_equal(pn_counter_get(&h.svc->replies_given[PN_REPLY_STORAGE_FAILED]), refused);
	c_close(&c, false);
	h_stop(&h);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_promise_before_the_disk),
		cmocka_unit_test(test_the_limit_holds),
		cmocka_unit_test(test_quit_comes_behind_all_promises),
		cmocka_unit_test(test_an_early_end_gets_its_answers),
		cmocka_unit_test(test_a_reset_loses_nothing_that_was_complete),
#ifdef PN_FAULT_INJECTION
		cmocka_unit_test(test_a_failed_sync_refuses_in_order),
#endif
	};
	return cmocka_run_group_tests(tests, tls_setup, tls_teardown);
}
