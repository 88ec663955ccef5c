/* SPDX-License-Identifier: ISC */
/* test_fault.c - the plan of injected failures; without PN_FAULT_INJECTION that nothing happens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <postern/base/fault.h>

#ifdef PN_FAULT_INJECTION

static void test_fault_hits_the_nth_result_only(void **state)
{
	(void)state;
	pn_fault_set_plan("a.write:3:28,b.write:1:short,c.sync:2:5:2,d:1:4:0");
	assert_int_equal(pn_fault_result("a.write", 10), 10);
	assert_int_equal(pn_fault_result("a.write", 10), 10);
	assert_int_equal(pn_fault_result("a.write", 10), -ENOSPC);
	assert_int_equal(pn_fault_result("a.write", 10), 10);
	assert_int_equal(pn_fault_result("b.write", 10), 5);
	assert_int_equal(pn_fault_result("b.write", 10), 10);
	assert_int_equal(pn_fault_result("c.sync", 0), 0);
	assert_int_equal(pn_fault_result("c.sync", 0), -EIO);
	assert_int_equal(pn_fault_result("c.sync", 0), -EIO);
	assert_int_equal(pn_fault_result("c.sync", 0), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(pn_fault_result("d", 1), -EINTR);
	assert_int_equal(pn_fault_result("other", -9), -9);
	assert_int_equal(pn_fault_hits("a.write"), 4);
	assert_int_equal(pn_fault_hits("other"), 1);
	assert_int_equal(pn_fault_hits("never"), 0);
	pn_fault_set_plan(NULL);
	assert_int_equal(pn_fault_hits("a.write"), 0);
	assert_int_equal(pn_fault_result("d", 1), 1);
}

static void test_fault_short_leaves_failures_alone(void **state)
{
	(void)state;
	pn_fault_set_plan("a:1:short:0");
	assert_int_equal(pn_fault_result("a", -EIO), -EIO);
	assert_int_equal(pn_fault_result("a", 0), 0);
	assert_int_equal(pn_fault_result("a", 7), 3);
	pn_fault_set_plan(NULL);
}

static int status_of_plan(const char *plan)
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		(void)!freopen("/dev/null", "w", stderr);
		signal(SIGABRT, SIG_DFL);
		setenv("PN_FAULT", plan, 1);
		_exit(pn_fault_result("site", 4) == -EIO ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void test_fault_reads_its_environment_and_refuses_nonsense(void **state)
{
	static const char *const wrong[] = { "site",        "site:0:5", "site:x:5",
					     "site:1",      "site:1:0", "site:1:5:x",
					     "site:1:long", ":1:5",     "site:1:99999" };

	(void)state;
	assert_int_equal(status_of_plan("other:1:1,site:1:5"), 0);
	for (size_t i = 0; i < PN_ARRAY_SIZE(wrong); i++)
		assert_true(WIFSIGNALED(status_of_plan(wrong[i])));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* first, because it needs a process that has no plan yet */
		cmocka_unit_test(test_fault_reads_its_environment_and_refuses_nonsense),
		cmocka_unit_test(test_fault_hits_the_nth_result_only),
		cmocka_unit_test(test_fault_short_leaves_failures_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

static void test_fault_changes_nothing_in_ordinary_builds(void **state)
{
	(void)state;
	setenv("PN_FAULT", "site:1:5:0", 1);
	assert_int_equal(pn_fault_result("site", 4), 4);
	assert_int_equal(pn_fault_result("site", -EIO), -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(
		test_fault_changes_nothing_in_ordinary_builds) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
