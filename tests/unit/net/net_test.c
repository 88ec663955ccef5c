/* SPDX-License-Identifier: ISC */
/* net_test.c - the shared parts of the loop's tests. */
#include "net_test.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <unistd.h>

uint32_t net_test_mask;

struct pn_loop_settings net_test_settings(void)
{
	return (struct pn_loop_settings){
		.name = "loop/test",
		.sq_entries = 256,
		.cq_entries = 512,
		.buffer_count = 64,
		.buffer_size_bytes = 1024,
		.cpu = -1,
		.features_disabled = net_test_mask,
		.is_restricted = true,
	};
}

struct pn_loop *net_test_loop(const struct pn_loop_settings *settings)
{
	struct pn_loop *loop = NULL;
	struct pn_error err = { "" };

	if (pn_loop_new(settings, &loop, &err) != 0)
		fail_msg("%s", err.text);
	assert_int_equal(pn_loop_features(loop) & net_test_mask, 0);
	return loop;
}

void net_test_run_until(struct pn_loop *loop, const unsigned *done, unsigned count)
{
	while (*done < count)
		assert_int_equal(pn_loop_run_once(loop, 1000), 0);
}

int net_test_listen(struct sockaddr_in *ret_addr)
{
	socklen_t len = sizeof(*ret_addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	*ret_addr = (struct sockaddr_in){ .sin_family = AF_INET,
					  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_int_equal(bind(fd, (struct sockaddr *)ret_addr, sizeof(*ret_addr)), 0);
	assert_int_equal(listen(fd, 512), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)ret_addr, &len), 0);
	return fd;
}

void net_test_pair(int fds[2])
{
	struct sockaddr_in addr;
	int listener = net_test_listen(&addr);

	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fds[0] >= 0);
	assert_int_equal(connect(fds[0], (struct sockaddr *)&addr, sizeof(addr)), 0);
	fds[1] = accept(listener, NULL, NULL);
	assert_true(fds[1] >= 0);
	close(listener);
}

void net_test_on_done(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct net_test_op *t = pn_container_of(op, struct net_test_op, op);

	(void)loop;
	t->done++;
	t->res = res;
}

int net_test_main(const char *name, const struct CMUnitTest *tests, size_t count)
{
	uint32_t all = (1u << PN_NET_FEATURE_COUNT) - 1;
	int failed = 0;

	for (unsigned i = 0; i < PN_NET_FEATURE_COUNT + 2; i++) {
		net_test_mask = i == 0 ? 0 : i == 1 ? all : 1u << (i - 2);
		printf("%s, masked: %s\n", name,
		       i == 0   ? "nothing"
		       : i == 1 ? "all"
				: pn_net_feature_name((enum pn_net_feature_index)(i - 2)));
		fflush(stdout);
		failed += _cmocka_run_group_tests(name, tests, count, NULL, NULL);
	}
	return failed;
}
