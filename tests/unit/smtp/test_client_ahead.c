/* SPDX-License-Identifier: ISC */
/*
 * The SMTP client's transactions back to back (RFC 2920 3.1, RFC 3030 4.2): the next one begins behind the last
 * octet of the one before, and each gets the replies that are its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "client_script.h"

#define BDAT_OF(text) MAIL_A, RCPT_A, "C:BDAT 3 LAST", "C:" text

static const struct script scripts[] = {
	{ .name = "three chunks in one write",
	  FROM,
	  ONE,
	  .settings = { .is_chunking_used = true },
	  .transaction = { .size_bytes = 3 },
	  .is_dsn_dropped = true,
	  .steps = { BDAT_HELLO,
		     "!G",
		     "E:BODY",
		     "B:x\n",
		     "END",
		     "G+",
		     "E:BODY",
		     "B:y\n",
		     "END",
		     "G+",
		     "E:BODY",
		     "B:z\n",
		     "END",
		     BDAT_OF("x"),
		     BDAT_OF("y"),
		     BDAT_OF("z"),
		     "S:250 ok",
		     "S:250 ok",
		     "S:250 first",
		     "E:DONE",
		     "S:250 ok",
		     "S:250 ok",
		     "S:452 4.3.1 second",
		     "E:DONE",
		     "S:250 ok",
		     "S:250 ok",
		     "S:250 third",
		     "E:DONE" },
	  .results = "BODY 250 0.0.0 first / BODY 452 4.3.1 second / BODY 250 0.0.0 third" },
	{ .name = "DATA follows the final dot",
	  FROM,
	  TWO,
	  .is_dsn_dropped = true,
	  .steps = { PIPE_HELLO,
		     MAIL_A,
		     RCPT_A,
		     RCPT_B,
		     "C:DATA",
		     "S:250 ok",
		     "S:250 ok",
		     "S:550 5.1.1 who",
		     "!G",
		     "S:354 go",
		     "E:BODY",
		     "!G",
		     "B:x\n",
		     "END",
		     "G+",
		     "C:x",
		     "C:.",
		     MAIL_A,
		     RCPT_A,
		     RCPT_B,
		     "C:DATA",
		     "!G",
		     "S:250 one",
		     "E:DONE",
		     "S:250 ok",
		     "S:250 ok",
		     "S:250 ok",
		     "S:354 go",
		     "E:BODY",
		     "B:y\n",
		     "END",
		     "G+",
		     "C:y",
		     "C:.",
		     MAIL_A,
		     RCPT_A,
		     RCPT_B,
		     "C:DATA",
		     "S:250 two",
		     "E:DONE",
		     "S:450 4.7.1 slow",
		     "S:503 no",
		     "S:503 no",
		     "S:503 no",
		     "E:DONE" },
	  .results = "BODY 250 0.0.0 one|RCPT 550 5.1.1 who / BODY 250 0.0.0 two|BODY 250 0.0.0 two"
		     " / MAIL 450 4.7.1 slow|MAIL 450 4.7.1 slow" },
	{ .name = "without PIPELINING nothing goes ahead",
	  FROM,
	  ONE,
	  .is_dsn_dropped = true,
	  .steps = { PLAIN_HELLO, MAIL_A, "S:250 ok", RCPT_A, "S:250 ok", "C:DATA", "S:354 go",
		     "E:BODY", "B:x\n", "END", "!G", "C:x", "C:.", "S:250 ok", "E:DONE" } },
	{ .name = "lock-step though PIPELINING is offered",
	  FROM,
	  ONE,
	  .settings = { .is_lockstep = true },
	  .is_dsn_dropped = true,
	  .steps = { PIPE_HELLO, MAIL_A, "S:250 ok", RCPT_A, "S:250 ok", "C:DATA", "S:354 go",
		     "E:BODY", "B:x\n", "END", "!G", "C:x", "C:.", "S:250 ok", "E:DONE" } },
	{ .name = "lost: the answered, the doubtful, the unfinished",
	  FROM,
	  ONE,
	  .settings = { .is_chunking_used = true },
	  .transaction = { .size_bytes = 3 },
	  .is_dsn_dropped = true,
	  .is_in_doubt = true,
	  .steps = { BDAT_HELLO,   "E:BODY",     "B:x\n",       "END",    "G+",
		     "E:BODY",     "B:y\n",      "END",         "G+",     "E:BODY",
		     BDAT_OF("x"), BDAT_OF("y"), MAIL_A,        RCPT_A,   "C:BDAT 3 LAST",
		     "S:250 ok",   "S:250 ok",   "S:250 first", "E:DONE", "L",
		     "E:FAILED" },
	  .results = "BODY 250 0.0.0 first / MAIL 0 0.0.0 connection lost? / "
		     "MAIL 0 0.0.0 connection lost" },
	{ .name = "421 leaves no doubt about the one that it answers",
	  FROM,
	  ONE,
	  .settings = { .is_chunking_used = true },
	  .transaction = { .size_bytes = 3 },
	  .is_dsn_dropped = true,
	  .is_in_doubt = true,
	  .steps = { BDAT_HELLO, "E:BODY", "B:x\n", "END", "G+", "E:BODY", "B:y\n", "END",
		     BDAT_OF("x"), BDAT_OF("y"), "S:250 ok", "S:250 ok", "S:421 4.3.2 down",
		     "E:FAILED" },
	  .results = "BODY 421 4.3.2 down / MAIL 421 4.3.2 down?",
	  .failure = "BODY 421 down" },
};

static void test_scripts(void **state)
{
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(scripts); i++)
		script_run(&scripts[i]);
}

static void test_no_more_than_the_maximum_go_ahead(void **state)
{
	static const char hello[] = "220 up\r\n250-host\r\n250-PIPELINING\r\n250 CHUNKING\r\n";
	const struct pn_smtp_client_settings settings = { .helo_name = "me.example",
							  .is_chunking_used = true };
	const struct pn_envelope envelope = { .reverse_path = L("s@x.example") };
	const struct pn_recipient recipient = { .address = L("a@y.example") };
	const struct pn_recipient *recipients[] = { &recipient };
	struct pn_smtp_rcpt_result results[PN_SMTP_CLIENT_AHEAD_MAX];
	struct pn_smtp_transaction t[PN_SMTP_CLIENT_AHEAD_MAX];
	struct pn_smtp_client *c = pn_smtp_client_new(&settings, true);
	struct pn_slice in = pn_slice(hello, sizeof(hello) - 1);
	enum pn_smtp_client_event event;
	struct pn_arena arena;
	struct pn_buf out;

	(void)state;
	pn_buf_init(&out, 1 << 16);
	pn_arena_init(&arena, 1024, 1 << 16);
	assert_int_equal(pn_smtp_client_step(c, &in, &event, &out), PN_CLIENT_EVENT);
	assert_int_equal(event, PN_CLIENT_EV_READY);
	for (size_t i = 0; i < PN_SMTP_CLIENT_AHEAD_MAX; i++) {
		t[i] = (struct pn_smtp_transaction){ .envelope = &envelope,
						     .recipients = recipients,
						     .recipient_count = 1,
						     .results = &results[i],
						     .arena = &arena,
						     .size_bytes = 1 };
		assert_true(pn_smtp_client_may_begin(c));
		assert_int_equal(pn_smtp_client_begin(c, &t[i], &out), 0);
		in = PN_SLICE_NULL;
		assert_int_equal(pn_smtp_client_step(c, &in, &event, &out), PN_CLIENT_EVENT);
		assert_int_equal(event, PN_CLIENT_EV_BODY);
		assert_int_equal(pn_smtp_client_body(c, PN_SLICE_LIT("x"), &out), 0);
		assert_int_equal(pn_smtp_client_body_end(c, &out), 0);
	}
	assert_false(pn_smtp_client_may_begin(c));
	for (size_t i = 0; i < PN_SMTP_CLIENT_AHEAD_MAX; i++) {
		in = PN_SLICE_LIT("250 ok\r\n250 ok\r\n250 taken\r\n");
		assert_int_equal(pn_smtp_client_step(c, &in, &event, &out), PN_CLIENT_EVENT);
		assert_int_equal(event, PN_CLIENT_EV_DONE);
		assert_int_equal(results[i].reply.code, 250);
		assert_true(pn_smtp_client_may_begin(c));
	}
	pn_smtp_client_free(c);
	pn_arena_reset(&arena);
	pn_buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scripts),
		cmocka_unit_test(test_no_more_than_the_maximum_go_ahead),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
