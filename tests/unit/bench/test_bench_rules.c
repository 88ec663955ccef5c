/* SPDX-License-Identifier: ISC */
/* test_bench_rules.c - how a sink is told to misbehave, and how often it then does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sink_rules.h"

static void test_rules_are_parsed(void **state)
{
	static const char *const good[] = { "rcpt:reject:10%", "dot:delay=200:100%,dot:defer:0.5%",
					    "rcpt:defer:*@slow.example", "connect:hangup:100%",
					    "dot:reject:a@b" };
	static const char *const bad[] = { "",
					   "rcpt",
					   "rcpt:reject",
					   "rcpt:reject:",
					   "rcpt:reject:0%",
					   "rcpt:reject:101%",
					   "rcpt:reject:x%",
					   "rcpt:take:5%",
					   "rcpt:delay:5%",
					   "rcpt:defer=5:5%",
					   "quit:defer:5%",
					   "mail:defer:*@x.example",
					   "rcpt:reject:5%,",
					   "rcpt:delay=-1:5%",
					   "rcpt:defer:nobody" };
	struct pn_bench_sink_rules rules;
	struct pn_error err;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(good); i++) {
		if (!pn_bench_sink_rules_parse(&rules, good[i], 1, &err))
			fail_msg("%s: %s", good[i], err.text);
	}
	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++) {
		err.text[0] = '\0';
		if (pn_bench_sink_rules_parse(&rules, bad[i], 1, &err))
			fail_msg("%s", bad[i]);
		assert_non_null(strstr(err.text, "STAGE:ACTION:WHEN"));
	}
}

static void test_the_first_that_applies_decides(void **state)
{
	struct pn_bench_sink_rules rules;
	struct pn_error err;
	uint32_t delay_ms = 0;

	(void)state;
	assert_true(pn_bench_sink_rules_parse(&rules,
					      "rcpt:delay=5:100%,rcpt:delay=7:*@x.example,"
					      "rcpt:defer:*@x.example,rcpt:reject:a*@*,"
					      "dot:hangup:100%",
					      1, &err));
	assert_int_equal(pn_bench_sink_rules_apply(&rules, PN_BENCH_SINK_RCPT,
						   PN_SLICE_LIT("a@X.example"), &delay_ms),
			 PN_BENCH_SINK_DEFER);
	assert_int_equal(delay_ms, 12);
	assert_int_equal(pn_bench_sink_rules_apply(&rules, PN_BENCH_SINK_RCPT,
						   PN_SLICE_LIT("ab@y.example"), &delay_ms),
			 PN_BENCH_SINK_REJECT);
	assert_int_equal(pn_bench_sink_rules_apply(&rules, PN_BENCH_SINK_RCPT,
						   PN_SLICE_LIT("b@y.example"), &delay_ms),
			 PN_BENCH_SINK_TAKE);
	assert_int_equal(
		pn_bench_sink_rules_apply(&rules, PN_BENCH_SINK_MAIL, PN_SLICE_NULL, &delay_ms),
		PN_BENCH_SINK_TAKE);
	assert_int_equal(
		pn_bench_sink_rules_apply(&rules, PN_BENCH_SINK_DOT, PN_SLICE_NULL, &delay_ms),
		PN_BENCH_SINK_HANGUP);
	assert_int_equal(rules.done[PN_BENCH_SINK_RCPT][PN_BENCH_SINK_DELAY], 4);
	assert_int_equal(rules.done[PN_BENCH_SINK_RCPT][PN_BENCH_SINK_DEFER], 1);
}

static void test_shares_are_shares(void **state)
{
	struct pn_bench_sink_rules rules;
	struct pn_error err;
	uint32_t delay_ms = 0;

	(void)state;
	assert_true(pn_bench_sink_rules_parse(&rules, "dot:defer:10%,dot:reject:50%", 7, &err));
	for (int i = 0; i < 10000; i++)
		(void)pn_bench_sink_rules_apply(&rules, PN_BENCH_SINK_DOT, PN_SLICE_NULL,
						&delay_ms);
	assert_in_range(rules.done[PN_BENCH_SINK_DOT][PN_BENCH_SINK_DEFER], 900, 1100);
	/* half of what is left */
	assert_in_range(rules.done[PN_BENCH_SINK_DOT][PN_BENCH_SINK_REJECT], 4300, 4700);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules_are_parsed),
		cmocka_unit_test(test_the_first_that_applies_decides),
		cmocka_unit_test(test_shares_are_shares),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
