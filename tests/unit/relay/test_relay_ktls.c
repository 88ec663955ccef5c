/* SPDX-License-Identifier: ISC */
/*
 * test_relay_ktls.c - upstream connections on the kernel's records, with a kernel that says yes and
 * does nothing: from the move on both sides speak plaintext.
 *
 * A record that is not data comes from the server as CONTROL, type, length, content. The receive
 * that meets one fails with EIO, as the kernel's does, and one recvmsg fetches it. Sends are cut
 * short where a test asks for it.
 */
#include "relay_harness.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tls/ktls.h"

#define CONTROL 1
#ifndef SOL_TLS
#define SOL_TLS 282
#endif

static int rx_error, tx_error;        /* set before the relay starts */
static _Atomic size_t send_max_bytes; /* 0: all */
static _Atomic uint32_t sends_cut;
static struct fake_server *server;
static uint64_t base[PN_KTLS_COUNTER_COUNT];

/* Of the one relay worker: what recvmsg shall give. */
static struct {
	uint8_t octets[64];
	size_t len; /* 0: nothing */
} control;
static pn_op_fn on_recv;

/* ---- the kernel ---- */

static int mock_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	(void)fd;
	(void)value;
	(void)len;
	errno = level == IPPROTO_TCP || name == TLS_RX_EXPECT_NO_PAD ? 0 : name == TLS_RX ? rx_error : tx_error;
	return errno == 0 ? 0 : -1;
}

static ssize_t mock_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	(void)fd;
	(void)flags;
	return (ssize_t)msg->msg_iov->iov_len;
}

static ssize_t mock_recvmsg(int fd, struct msghdr *msg, int flags)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
	size_t len = control.len > 0 ? control.octets[2] : 0;
	(void)fd;
	(void)flags;
	assert_true(control.len == 3 + len && len <= msg->msg_iov->iov_len);
	control.len = 0;
	cmsg->cmsg_level = SOL_TLS;
	cmsg->cmsg_type = TLS_GET_RECORD_TYPE;
	cmsg->cmsg_len = CMSG_LEN(1);
	*CMSG_DATA(cmsg) = control.octets[1];
	memcpy(msg->msg_iov->iov_base, control.octets + 3, len);
	atomic_fetch_add(&server->controls_read, 1);
	return (ssize_t)len;
}

static void recv_seen(struct pn_loop *loop, struct pn_op *op, int res)
{
	const uint8_t *data = res > 0 ? pn_loop_buffer(loop, op->buffer_id) : NULL;
	if (!data || data[0] != CONTROL) {
		on_recv(loop, op, res);
		return;
	}
	assert_true((size_t)res <= sizeof(control.octets) && control.len == 0);
	control.len = (size_t)res;
	memcpy(control.octets, data, control.len);
	pn_loop_buffer_return(loop, op->buffer_id);
	on_recv(loop, op, -EIO);
}

void __real_pn_loop_recv_once(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd);
void __wrap_pn_loop_recv_once(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd);
void __wrap_pn_loop_recv(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd);
void __real_pn_loop_recv_retry(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd);
void __wrap_pn_loop_recv_retry(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd);
void __real_pn_loop_send(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd, const void *data, size_t len,
                         int flags);
void __wrap_pn_loop_send(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd, const void *data, size_t len,
                         int flags);

void __wrap_pn_loop_recv_once(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd)
{
	on_recv = fn;
	__real_pn_loop_recv_once(loop, op, recv_seen, fd);
}

/* A multishot receive ends with an error; a single one has ended as well when it tells of one. */
void __wrap_pn_loop_recv(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd)
{
	__wrap_pn_loop_recv_once(loop, op, fn, fd);
}

void __wrap_pn_loop_recv_retry(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd)
{
	on_recv = fn;
	__real_pn_loop_recv_retry(loop, op, recv_seen, fd);
}

void __wrap_pn_loop_send(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd, const void *data, size_t len,
                         int flags)
{
	size_t max = atomic_load(&send_max_bytes);
	if (max > 0 && len > max) {
		atomic_fetch_add(&sends_cut, 1);
		len = max;
	}
	__real_pn_loop_send(loop, op, fn, fd, data, len, flags);
}

/* ---- what the tests share ---- */

static uint64_t grown(enum pn_ktls_counter counter)
{
	return pn_ktls_counter_get(counter) - base[counter];
}

static int setup(void **state)
{
	static const struct pn_ktls_kernel kernel = {mock_setsockopt, mock_sendmsg, mock_recvmsg};
	int result = fixture_setup(state);
	struct fixture *f = *state;
	if (result != 0)
		return result;
	pn_ktls_kernel = &kernel;
	rx_error = tx_error = 0;
	control.len = 0;
	send_max_bytes = 0;
	sends_cut = 0;
	server = &f->server;
	for (unsigned i = 0; i < PN_KTLS_COUNTER_COUNT; i++)
		base[i] = pn_ktls_counter_get((enum pn_ktls_counter)i);
	fixture_make_tls(f, true);
	f->h.upstreams[0].is_kernel_tls = true;
	return 0;
}

static void start(struct fixture *f, bool is_implicit, bool has_rekey)
{
	struct pn_ktls_support support = {.has_no_pad = true, .has_rekey = has_rekey};
	for (unsigned i = 0; i < PN_KTLS_VERSION_COUNT * PN_KTLS_CIPHER_COUNT; i++)
		support.ciphers[i / PN_KTLS_CIPHER_COUNT][i % PN_KTLS_CIPHER_COUNT] =
			(struct pn_ktls_ability){true, true};
	pn_ktls_probe_set(&support);
	f->server.is_client_moved = rx_error == 0;
	f->server.is_implicit_tls = is_implicit;
	f->h.upstreams[0].tls = is_implicit ? PN_UPSTREAM_TLS_IMPLICIT : PN_UPSTREAM_TLS_STARTTLS;
	harness_start(&f->h);
}

static void send_simple(struct fixture *f)
{
	harness_send_simple(&f->h, "s@example.org", "ok@example.com");
}

/* All is delivered, over TLS, by connections that moved; then the relay ends. */
static void finish(struct fixture *f, size_t messages, uint32_t connections)
{
	harness_wait(harness_messages(&f->h) == 0);
	assert_int_equal(fake_server_count(&f->server), messages);
	for (size_t i = 0; i < messages; i++)
		assert_true(fake_message(&f->server, i)->is_tls);
	assert_int_equal(f->server.connections, connections);
	assert_int_equal(grown(PN_KTLS_C_moved), rx_error == 0 ? connections : 0);
	assert_int_equal(harness_counter(&f->h, "relay", "bounced"), 0);
	harness_stop(&f->h, 10000);
	assert_int_equal(pn_ktls_counter_get(PN_KTLS_C_sessions), 0);
}

/* ---- data ---- */

static void move(struct fixture *f, bool is_implicit)
{
	start(f, is_implicit, false);
	for (int i = 0; i < 3; i++) {
		send_simple(f);
		harness_wait(harness_messages(&f->h) == 0);
	}
	finish(f, 3, 1);
	assert_int_equal(grown(PN_KTLS_C_close_notify_sent), 1);
}

static void test_implicit_moves(void **state)
{
	move(*state, true);
}

static void test_starttls_moves(void **state)
{
	move(*state, false);
}

static void test_refused_move_changes_nothing(void **state)
{
	struct fixture *f = *state;
	rx_error = EBUSY;
	start(f, true, false);
	send_simple(f);
	finish(f, 1, 1);
	assert_int_equal(grown(PN_KTLS_C_not_moved_busy) + grown(PN_KTLS_C_not_moved_other), 1);
}

static void cut_sends(struct fixture *f, bool is_implicit)
{
	const char *to = "ok@example.com";
	char *content = malloc(300000);
	assert_non_null(content);
	size_t len = (size_t)sprintf(content, "Subject: large\r\n\r\n");
	while (len < 300000 - 200)
		len += (size_t)sprintf(content + len, "%zu some text that fills the message line by line\r\n", len);
	struct harness_mail mail = {.from = "s@example.org", .to = &to, .to_count = 1,
	                            .content = pn_slice(content, len)};
	send_max_bytes = 997;
	start(f, is_implicit, false);
	harness_send(&f->h, &mail);
	finish(f, 1, 1);
	assert_true(sends_cut >= 300000 / 997 - 1);
	assert_int_equal(fake_message(&f->server, 0)->data_len, len);
	assert_memory_equal(fake_message(&f->server, 0)->data, content, len);
	free(content);
}

static void test_sends_cut_short(void **state)
{
	cut_sends(*state, true);
}

static void test_sends_cut_short_behind_starttls(void **state)
{
	cut_sends(*state, false);
}

/* ---- records that are not data ---- */

/* In the middle of a transaction. It goes on, or the message goes over another connection. */
static void control_comes(struct fixture *f, bool has_rekey, const uint8_t *octets, size_t len, bool does_go_on)
{
	uint8_t data[64] = {CONTROL, octets[0], (uint8_t)(len - 1)};
	assert_true(len + 2 <= sizeof(data));
	memcpy(data + 3, octets + 1, len - 1);
	f->server.control = pn_slice(data, len + 2);
	f->server.fault_count = 1;
	f->server.fault = FAKE_CONTROL_AT_MAIL;
	start(f, len % 2 == 0, has_rekey);
	send_simple(f);
	finish(f, 1, does_go_on ? 1 : 2);
	assert_int_equal(f->server.controls_read, 1);
}

/* The type, then the content. */
#define COMES(has_rekey, does_go_on, ...)                                                          \
	control_comes(*state, has_rekey, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}),   \
	              does_go_on)

static void test_close_notify(void **state)
{
	COMES(false, false, 21, 1, 0);
	assert_int_equal(grown(PN_KTLS_C_close_notify_received), 1);
}

static void test_fatal_alert(void **state)
{
	COMES(false, false, 21, 2, 40);
	assert_int_equal(grown(PN_KTLS_C_alerts_received), 1);
	assert_int_equal(grown(PN_KTLS_C_alerts_sent), 0);
}

static void test_user_canceled_means_nothing(void **state)
{
	COMES(false, true, 21, 1, 90);
	assert_int_equal(grown(PN_KTLS_C_alerts_received), 1);
}

static void test_half_an_alert(void **state)
{
	COMES(false, false, 21, 1);
	assert_int_equal(grown(PN_KTLS_C_unexpected_records), 1);
	assert_int_equal(grown(PN_KTLS_C_alerts_sent), 1);
}

static void test_ticket_is_skipped(void **state)
{
	COMES(false, true, 22, 4, 0, 0, 3, 7, 7, 7);
	assert_int_equal(grown(PN_KTLS_C_tickets_skipped), 1);
}

static void test_key_update(void **state)
{
	COMES(true, true, 22, 24, 0, 0, 1, 0);
	assert_int_equal(grown(PN_KTLS_C_rekeys_receive), 1);
	assert_int_equal(grown(PN_KTLS_C_rekeys_send), 0);
}

static void test_key_update_that_asks_for_one(void **state)
{
	COMES(true, true, 22, 24, 0, 0, 1, 1);
	assert_int_equal(grown(PN_KTLS_C_rekeys_receive), 1);
	assert_int_equal(grown(PN_KTLS_C_key_updates_sent), 1);
	assert_int_equal(grown(PN_KTLS_C_rekeys_send), 1);
}

static void test_key_update_that_the_kernel_cannot_follow(void **state)
{
	COMES(false, false, 22, 24, 0, 0, 1, 0);
	assert_int_equal(grown(PN_KTLS_C_key_updates_refused), 1);
	assert_int_equal(grown(PN_KTLS_C_alerts_sent), 1);
}

static void test_other_handshake_message(void **state)
{
	COMES(true, false, 22, 13, 0, 0, 0);
	assert_int_equal(grown(PN_KTLS_C_unexpected_records), 1);
	assert_int_equal(grown(PN_KTLS_C_alerts_sent), 1);
}

static void test_unknown_type(void **state)
{
	COMES(true, false, 24, 1, 2, 3);
	assert_int_equal(grown(PN_KTLS_C_unexpected_records), 1);
	assert_int_equal(grown(PN_KTLS_C_alerts_sent), 1);
}

/* ---- the end in the middle ---- */

static void hang_up(struct fixture *f, int fault, size_t messages, uint64_t in_doubt_min, uint64_t in_doubt_max)
{
	f->server.fault_count = 1;
	f->server.fault = fault;
	start(f, true, false);
	send_simple(f);
	harness_wait(harness_messages(&f->h) == 0);
	assert_in_range(harness_counter(&f->h, "relay", "in_doubt"), in_doubt_min, in_doubt_max);
	finish(f, messages, 2);
}

static void test_end_at_mail(void **state)
{
	hang_up(*state, FAKE_CLOSE_AT_MAIL, 1, 0, 0);
}

static void test_end_in_the_content(void **state)
{
	hang_up(*state, FAKE_CLOSE_IN_DATA, 1, 0, 1); /* its dot may be on its way */
}

static void test_end_behind_the_dot_is_in_doubt(void **state)
{
	hang_up(*state, FAKE_CLOSE_AFTER_DOT, 2, 1, 1);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_implicit_moves),
		T(test_starttls_moves),
		T(test_refused_move_changes_nothing),
		T(test_sends_cut_short),
		T(test_sends_cut_short_behind_starttls),
		T(test_close_notify),
		T(test_fatal_alert),
		T(test_user_canceled_means_nothing),
		T(test_half_an_alert),
		T(test_ticket_is_skipped),
		T(test_key_update),
		T(test_key_update_that_asks_for_one),
		T(test_key_update_that_the_kernel_cannot_follow),
		T(test_other_handshake_message),
		T(test_unknown_type),
		T(test_end_at_mail),
		T(test_end_in_the_content),
		T(test_end_behind_the_dot_is_in_doubt),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
