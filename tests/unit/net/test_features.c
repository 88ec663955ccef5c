/* SPDX-License-Identifier: ISC */
/* test_features.c - probing, names, and what is said where io_uring is denied. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/loop_internal.h"

/* Makes io_uring_setup fail in a child and passes if the probe fails alike and its text names the
 * remedy. */
static void expect_denied(int error, const char *remedy)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = PN_ARRAY_SIZE(filter), .filter = filter };
	int status;

	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct pn_error err = { "" };
		uint32_t features;
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
		    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
			_exit(2);
		if (pn_net_probe(&features, &err) != -error)
			_exit(3);
		_exit(strstr(err.text, remedy) ? 0 : 4);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* First, because a successful probe is remembered and inherited by the child. */
static void test_probe_of_a_denied_kernel_says_what_to_do(void **state)
{
	(void)state;
	expect_denied(ENOSYS, "Linux 6.1");
	expect_denied(ENOMEM, "LimitMEMLOCK");
	expect_denied(EMFILE, "LimitNOFILE");
	expect_denied(EPERM, "seccomp");
}

static void test_each_refusal_has_its_remedy(void **state)
{
	static const struct {
		int error, sysctl;
		const char *text;
	} cases[] = {
		{ EPERM, 2, "sysctl kernel.io_uring_disabled=0" },
		{ EPERM, 1, "kernel.io_uring_group" },
		{ EPERM, 0, "allow io_uring_setup" },
		{ EACCES, -1, "security module" },
		{ ENOSYS, -1, "CONFIG_IO_URING" },
		{ ENOMEM, -1, "RLIMIT_MEMLOCK is 65536 bytes" },
		{ ENFILE, -1, "RLIMIT_NOFILE" },
		{ EFAULT, -1, "Bad address" },
	};
	struct pn_error err;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
		pn_net_explain(cases[i].error, cases[i].sysctl, 65536, &err);
		assert_non_null(strstr(err.text, cases[i].text));
	}
}

static void test_probe_finds_the_same_twice(void **state)
{
	uint32_t first = 0, second = 1;
	struct pn_error err = { "" };

	(void)state;
	if (pn_net_probe(&first, &err) != 0)
		fail_msg("%s", err.text);
	assert_int_equal(pn_net_probe(&second, NULL), 0);
	assert_int_equal(first, second);
	/* The floor is Linux 6.1, which has all of these. */
	uint32_t floor = PN_NET_FEATURE(SINGLE_ISSUER) | PN_NET_FEATURE(DEFER_TASKRUN) |
			 PN_NET_FEATURE(COOP_TASKRUN) | PN_NET_FEATURE(RECV_MULTISHOT) |
			 PN_NET_FEATURE(BUFFER_RING) | PN_NET_FEATURE(MSG_RING) |
			 PN_NET_FEATURE(SEND_ZC) | PN_NET_FEATURE(REGISTERED_RING_FD);
	assert_int_equal(first & floor, floor);
}

static void test_feature_lists_are_read(void **state)
{
	struct pn_error err = { "" };
	uint32_t mask = 7;

	(void)state;
	assert_int_equal(pn_net_features_parse("", &mask, &err), 0);
	assert_int_equal(mask, 0);
	assert_int_equal(pn_net_features_parse(NULL, &mask, &err), 0);
	assert_int_equal(pn_net_features_parse(" send-zc,,Recv-Multishot\tmsg-ring ", &mask, &err),
			 0);
	assert_int_equal(mask, PN_NET_FEATURE(SEND_ZC) | PN_NET_FEATURE(RECV_MULTISHOT) |
				       PN_NET_FEATURE(MSG_RING));
	assert_int_equal(pn_net_features_parse("all", &mask, &err), 0);
	assert_int_equal(mask, (1u << PN_NET_FEATURE_COUNT) - 1);
	for (unsigned i = 0; i < PN_NET_FEATURE_COUNT; i++) {
		const char *name = pn_net_feature_name((enum pn_net_feature_index)i);
		assert_int_equal(pn_net_features_parse(name, &mask, &err), 0);
		assert_int_equal(mask, 1u << i);
	}
	mask = 9;
	assert_int_equal(pn_net_features_parse("send-zc, sendzc", &mask, &err), -EINVAL);
	assert_int_equal(mask, 9);
	assert_non_null(strstr(err.text, "'sendzc'"));
	assert_non_null(strstr(err.text, "buffer-ring"));
	assert_int_equal(pn_net_features_parse("send", &mask, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_probe_of_a_denied_kernel_says_what_to_do),
		cmocka_unit_test(test_each_refusal_has_its_remedy),
		cmocka_unit_test(test_probe_finds_the_same_twice),
		cmocka_unit_test(test_feature_lists_are_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
