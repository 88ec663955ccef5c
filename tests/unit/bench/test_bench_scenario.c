/* SPDX-License-Identifier: ISC */
/* test_bench_scenario.c - scenario files and users' files: what they mean; mistakes are named with their line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "scenario.h"
#include "users.h"

static void test_a_scenario_is_read(void **state)
{
	static const char text[] = "# comment\n"
				   "[ph one]   # behind it\n"
				   "rate = 2.5\n"
				   "\tsize=1K-2K\r\n"
				   "resume = 70%\n"
				   "\n"
				   "[bad]\n"
				   "kind = wrong-password\n"
				   "count = 3\n"
				   "auth = scram-sha-256\n"
				   "[gone]\n"
				   "kind = hangup\n"
				   "at = data\n"
				   "count = 1\n"
				   "write-rate = 4K\n"
				   "read-delay = 0.25\n"
				   "pause = 2\n"
				   "lock-step = yes\n"
				   "chunking = no";
	struct pn_bench_scenario s;
	struct pn_error err;

	(void)state;
	if (!pn_bench_scenario_parse(&s, text, &err))
		fail_msg("%s", err.text);
	assert_int_equal(s.class_count, 3);
	assert_string_equal(s.classes[0].name, "ph one");
	assert_true(s.classes[0].rate > 2.49 && s.classes[0].rate < 2.51);
	assert_int_equal(s.classes[0].resume_percent, 70);
	assert_int_equal(pn_bench_distribution_max(&s.classes[0].size), 2048);
	assert_int_equal(s.classes[0].messages, 1);
	assert_int_equal(s.classes[1].kind, PN_BENCH_CLASS_WRONG_PASSWORD);
	assert_int_equal(s.classes[1].count, 3);
	assert_int_equal(s.classes[1].auth, PN_CLIENT_AUTH_SASL);
	assert_int_equal(pn_bench_distribution_max(&s.classes[1].size), 4096);
	assert_int_equal(s.classes[2].hangup_at, PN_BENCH_HANGUP_DATA);
	assert_int_equal(s.classes[2].write_bytes_per_s, 4096);
	assert_int_equal(s.classes[2].read_delay_ms, 250);
	assert_int_equal(s.classes[2].pause_ms, 2000);
	assert_true(s.classes[2].is_lockstep && !s.classes[2].is_chunking_used);
}

static void test_mistakes_are_named(void **state)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{ "", "no class" },
		{ "[a]\n", "class a: give either rate or count" },
		{ "[a]\nrate = 1\ncount = 1\n", "class a: give either rate or count" },
		{ "rate = 1\n", "line 1" },
		{ "[]\n", "line 1: not a [name]" },
		{ "[a\n", "line 1: not a [name]" },
		{ "[a]\nrates = 1\n", "line 2: there is no key: rates" },
		{ "[a]\n\nrate = 0\n", "line 3: rate takes" },
		{ "[a]\nrate = x\n", "line 2: rate takes" },
		{ "[a]\ncount = 1.5\n", "line 2: count takes" },
		{ "[a]\ncount = -1\n", "line 2: count takes" },
		{ "[a]\nresume = 70\n", "line 2: resume takes" },
		{ "[a]\nresume = 170%\n", "line 2: resume takes" },
		{ "[a]\nsize = huge\n", "line 2: size takes" },
		{ "[a]\nkind = phone\n", "line 2: kind takes" },
		{ "[a]\nkind =\n", "line 2: kind takes" },
		{ "[a]\nchunking = maybe\n", "line 2: chunking takes" },
		{ "[a]\nauth = gssapi\n", "line 2: auth takes" },
		{ "[a]\nwrite-rate = 5\n", "line 2: write-rate takes" },
		{ "[a]\njust text\n", "line 2" },
	};
	struct pn_bench_scenario s;
	struct pn_error err;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
		err.text[0] = '\0';
		if (pn_bench_scenario_parse(&s, cases[i].text, &err) ||
		    !strstr(err.text, cases[i].error))
			fail_msg("%s: %s", cases[i].text, err.text);
	}
}

static int read_users(struct pn_bench_users *u, const char *text)
{
	char path[] = "/tmp/pn-users-XXXXXX";
	int fd = mkstemp(path);
	int r;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	(void)close(fd);
	r = pn_bench_users_read(u, path);
	(void)unlink(path);
	return r;
}

static void test_users_take_turns(void **state)
{
	struct pn_bench_users u = { .count = 0 };

	(void)state;
	assert_null(pn_bench_users_take(&u));
	assert_int_equal(read_users(&u, "# two\na@x:p:q\r\n\nb@x:r\n"), 0);
	assert_int_equal(u.count, 2);
	assert_string_equal(pn_bench_users_take(&u)->password, "p:q");
	assert_string_equal(pn_bench_users_take(&u)->name, "b@x");
	assert_string_equal(pn_bench_users_take(&u)->name, "a@x");
	pn_bench_users_deinit(&u);
	assert_true(read_users(&u, "a@x\n") < 0);
	pn_bench_users_deinit(&u);
	assert_true(read_users(&u, ":p\n") < 0);
	pn_bench_users_deinit(&u);
	assert_true(read_users(&u, "# nobody\n") < 0);
	pn_bench_users_deinit(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_scenario_is_read),
		cmocka_unit_test(test_mistakes_are_named),
		cmocka_unit_test(test_users_take_turns),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
