/* SPDX-License-Identifier: ISC */
/* net_test.h - what the tests of the loop share: a loop under the mask of the current run, waiting,
 * socket pairs. */
#ifndef NET_TEST_H
#define NET_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <postern/net/loop.h>

/* Masked features of the current run. */
extern uint32_t net_test_mask;

/* 256 SQEs, 512 CQEs, 64 buffers of 1024 octets, restricted. */
struct pn_loop_settings net_test_settings(void);
struct pn_loop *net_test_loop(const struct pn_loop_settings *settings);
/* Runs the loop until *done reaches `count`; the time limit of the test ends a loop that never gets
 * there. */
void net_test_run_until(struct pn_loop *loop, const unsigned *done, unsigned count);
/* A listening TCP socket on the loopback address; *ret_addr is where. */
int net_test_listen(struct sockaddr_in *ret_addr);
/* A connected TCP pair on loopback. */
void net_test_pair(int fds[2]);

/* An op that counts its completions and keeps its last result. */
struct net_test_op {
	struct pn_op op;
	unsigned done;
	int res;
};
void net_test_on_done(struct pn_loop *loop, struct pn_op *op, int res);

/* Runs the group with all features, then with all masked, then with each masked alone. */
int net_test_main(const char *name, const struct CMUnitTest *tests, size_t count);

#endif
