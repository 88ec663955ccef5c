/* SPDX-License-Identifier: ISC */
/*
 * test_session_ktls.c - sessions that move to the kernel's records, with a kernel that says yes and
 * does nothing: from the move on both sides speak plaintext. Ends at every turn of the loop around
 * the move.
 */
#include "session_harness.h"

#include <errno.h>
#include <string.h>

#include "tls/ktls.h"

static int rx_error;
static unsigned keys_set, controls_sent;

static int yes_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	(void)fd;
	(void)value;
	(void)len;
	if (level == IPPROTO_TCP)
		return 0;
	if (name == TLS_RX && rx_error != 0) {
		errno = rx_error;
		return -1;
	}
	keys_set += name == TLS_RX || name == TLS_TX;
	return 0;
}

static ssize_t yes_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	(void)fd;
	(void)flags;
	controls_sent++;
	return (ssize_t)msg->msg_iov->iov_len;
}

static ssize_t no_recvmsg(int fd, struct msghdr *msg, int flags)
{
	(void)fd;
	(void)msg;
	(void)flags;
	errno = EAGAIN;
	return -1;
}

static void start(struct harness *h)
{
	static const struct pn_ktls_kernel kernel = { yes_setsockopt, yes_sendmsg, no_recvmsg };
	struct pn_ktls_support support = { .has_no_pad = true };

	for (unsigned v = 0; v < PN_KTLS_VERSION_COUNT; v++) {
		for (unsigned c = 0; c < PN_KTLS_CIPHER_COUNT; c++)
			support.ciphers[v][c] = (struct pn_ktls_ability){ true, true };
	}
	pn_ktls_probe_set(&support);
	pn_ktls_kernel = &kernel;
	rx_error = 0;
	keys_set = controls_sent = 0;
	h_init(h);
	h->listeners->items[H_TLS]->is_kernel_tls = h->listeners->items[H_STARTTLS]->is_kernel_tls = true;
	h_start(h);
}

static uint64_t count(enum pn_ktls_counter counter)
{
	return pn_ktls_counter_get(counter);
}

/* Past the handshake and the first words of the server in it. */
static void begin(struct client *c, struct harness *h, enum h_port port)
{
	c_connect(c, h, port);
	if (port == H_STARTTLS) {
		assert_int_equal(c_reply(c), 220);
		c_cmd(c, "EHLO client.example", 250);
		c_cmd(c, "STARTTLS", 220);
	}
	c_handshake(c);
	if (port == H_TLS)
		assert_int_equal(c_reply(c), 220);
	else
		c_cmd(c, "EHLO client.example", 250);
}

static void test_sessions_move_and_go_on(void **state)
{
	struct harness h;

	(void)state;
	start(&h);
	for (int port = H_TLS; port <= H_STARTTLS; port++) {
		uint64_t moved = count(PN_KTLS_C_moved);
		unsigned controls = controls_sent;
		struct client c;
		begin(&c, &h, (enum h_port)port);
		h_until(&h, count(PN_KTLS_C_moved) == moved + 1);
		assert_int_equal(pn_buf_len(&c.cipher), 0);
		pn_record_free(c.record);
		c.record = NULL;
		c_cmd(&c, "EHLO client.example", 250);
		c_auth_send(&c, H_PASSWORD);
		assert_int_equal(c_reply(&c), 235);
		assert_int_equal(c_message(&c, 1000), 250);
		assert_int_equal(c_message(&c, 500 * 1000), 250);
		c_cmd(&c, "QUIT", 221);
		c_wait_over(&c);
		assert_int_equal(controls_sent, controls + 1); /* close_notify */
		c_close(&c, false);
		h_until(&h, h_is_empty(&h));
	}
	assert_int_equal(keys_set, 4);
	assert_int_equal(h.submitted, 4);
	assert_int_equal(count(PN_KTLS_C_sessions), 0);
	h_stop(&h);
}

static void test_refused_move_changes_nothing(void **state)
{
	static const int errors[] = { ENOTCONN, ENOMEM, EBUSY, EINVAL };
	struct harness h;

	(void)state;
	start(&h);
	for (unsigned i = 0; i < 2 * PN_ARRAY_SIZE(errors); i++) {
		uint64_t moved = count(PN_KTLS_C_moved);
		struct client c;
		rx_error = errors[i / 2];
		c_ready(&c, &h, i % 2 ? H_TLS : H_STARTTLS, true);
		assert_int_equal(c_message(&c, 100 * 1000), 250);
		c_cmd(&c, "QUIT", 221);
		c_wait_over(&c);
		c_close(&c, false);
		h_until(&h, h_is_empty(&h));
		assert_int_equal(count(PN_KTLS_C_moved), moved);
	}
	assert_int_equal(keys_set, 0);
	h_stop(&h);
}

/* The client goes, by FIN or RST, so many turns after its Finished. */
static void test_clients_leave_around_the_move(void **state)
{
	struct harness h;

	(void)state;
	start(&h);
	for (int i = 0; i < 2 * 12; i++) {
		struct client c;
		c_connect(&c, &h, H_TLS);
		c_handshake(&c);
		for (int turns = i / 2; turns > 0; turns--)
			h_turn(&h);
		c_close(&c, i % 2 == 1);
		h_until(&h, h_is_empty(&h));
		assert_int_equal(count(PN_KTLS_C_sessions), 0);
	}
	h_stop(&h);
}

/* The gateway ends its sessions, so many turns after Finished. */
static void test_drain_around_the_move(void **state)
{
	(void)state;
	for (int turns = 0; turns < 8; turns++) {
		struct harness h;
		struct client c;
		start(&h);
		c_connect(&c, &h, H_TLS);
		c_handshake(&c);
		for (int i = 0; i < turns; i++)
			h_turn(&h);
		h_drain(&h, 10000);
		c_wait_over(&c);
		c_close(&c, false);
		h_until(&h, h.is_drained);
		assert_int_equal(count(PN_KTLS_C_sessions), 0);
		h_stop(&h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sessions_move_and_go_on),
		cmocka_unit_test(test_refused_move_changes_nothing),
		cmocka_unit_test(test_clients_leave_around_the_move),
		cmocka_unit_test(test_drain_around_the_move),
	};

	return cmocka_run_group_tests(tests, tls_setup, tls_teardown);
}
