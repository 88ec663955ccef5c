/* SPDX-License-Identifier: ISC */
/* Listeners that come and go while their sessions stay. */
#include "session_harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* From now on only these of h's listeners, with a hold on each for the set. */
static struct pn_listener_set *set_of(struct harness *h, const struct pn_listener_set *from,
				      bool has_tls)
{
	struct pn_listener_set *set = pn_listener_set_new(has_tls ? 2 : 1);
	assert_non_null(set);
	set->items[0] = pn_listener_hold(from->items[H_STARTTLS]);
	if (has_tls)
		set->items[1] = pn_listener_hold(from->items[H_TLS]);
	pn_session_service_set_listeners(h->svc, set);
	return set;
}

static bool is_refused(uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	int rc = connect(fd, (struct sockaddr *)&in, sizeof(in));
	bool is_no = rc != 0 && errno == ECONNREFUSED;
	(void)close(fd);
	return is_no;
}

static void test_socket_closes_and_its_session_stays(void **state)
{
	(void)state;
	struct harness h;
	struct client old, other;
	h_init(&h);
	h_start(&h);
	c_ready(&old, &h, H_TLS, true);
	struct pn_session *s = h_session(&h);
	assert_non_null(s);
	struct pn_listener_set *both = h.listeners;
	h.listeners = set_of(&h, both, false);
	pn_listener_set_unref(both);
	h_until(&h, is_refused(h.ports[H_TLS]));
	assert_string_equal(s->listener->name, "submissions");
	assert_int_equal(c_message(&old, 1000), 250);
	c_ready(&other, &h, H_STARTTLS, false);
	c_close(&old, false);
	c_close(&other, false);
	h_until(&h, h_is_empty(&h));
	h_stop(&h);
}

/* One is switched off and on again; nobody on the other is kept waiting, and the one takes connections
 * each time it is there. */
static void test_listener_comes_and_goes(void **state)
{
	(void)state;
	struct harness h;
	struct client c;
	h_init(&h);
	h_start(&h);
	for (int i = 0; i < 20; i++) {
		struct pn_listener_set *less = set_of(&h, h.listeners, false);
		if (i % 2 == 0) /* sometimes it is back before the cancelled accept is */
			h_turn(&h);
		c_ready(&c, &h, H_STARTTLS, false);
		c_close(&c, false);
		struct pn_listener_set *more = set_of(&h, h.listeners, true);
		pn_listener_set_unref(less);
		pn_listener_set_unref(more);
		c_ready(&c, &h, H_TLS, false);
		c_close(&c, false);
	}
	h_until(&h, h_is_empty(&h));
	assert_int_equal(h_counter(&h, accept_errors), 0);
	/* No more acceptors than listeners once all cancelled ones are back. */
	h_until(&h, h.svc->acceptors.next->next->next == &h.svc->acceptors);
	h_stop(&h);
}

/* ---- many connections that wait for the loop ---- */

#define CROWD 60

static bool has_more_accepts(const struct harness *h)
{
	return (pn_loop_features(h->loop) & PN_NET_FEATURE(ACCEPT_DONTWAIT)) != 0;
}

static void crowd_connect(struct client *crowd, struct harness *h, enum h_port port)
{
	for (int i = 0; i < CROWD; i++)
		c_connect(&crowd[i], h, port);
}

static void crowd_close(struct client *crowd, struct harness *h)
{
	for (int i = 0; i < CROWD; i++)
		c_close(&crowd[i], false);
	h_until(h, h_is_empty(h));
}

/* A round of a busy loop is long: those who wait are taken in few rounds, and told at once when there is no room. */
static void run_crowd(enum h_port port, uint32_t room)
{
	struct client crowd[CROWD];
	struct harness h;
	int turns = 0;

	h_init(&h);
	h.values.sessions_max = room;
	h_start(&h);
	h_turn(&h);
	crowd_connect(crowd, &h, port);
	while (h_counter(&h, accepted) < CROWD && turns < 10000) {
		h_turn(&h);
		turns++;
	}
	assert_int_equal(h_counter(&h, accepted), CROWD);
	/* 1, 2, 4, 8, 16, 32 */
	if (has_more_accepts(&h))
		assert_true(turns <= 12);
	assert_int_equal(h_sessions(&h), pn_min_size(CROWD, room));
	assert_int_equal(h_counter(&h, refused_sessions_max), CROWD - pn_min_size(CROWD, room));
	assert_int_equal(h_counter(&h, accept_errors), 0);
	crowd_close(crowd, &h);
	/* One accept waits again, and takes the next. */
	struct client c;
	c_ready(&c, &h, port, true);
	c_close(&c, false);
	h_until(&h, h_is_empty(&h));
	h_stop(&h);
}

static void test_a_crowd_is_taken_in_few_rounds(void **state)
{
	(void)state;
	run_crowd(H_TLS, CROWD);
	run_crowd(H_STARTTLS, CROWD);
}

static void test_a_crowd_without_room_is_told(void **state)
{
	(void)state;
	run_crowd(H_TLS, 5);
	run_crowd(H_STARTTLS, 5);
}

/* The listener goes, or the service drains, while many accepts are on their way. */
static void test_the_end_amid_a_crowd(void **state)
{
	(void)state;
	for (int turns = 1; turns < 6; turns++) {
		struct client crowd[CROWD];
		struct harness h;
		h_init(&h);
		h_start(&h);
		crowd_connect(crowd, &h, H_TLS);
		for (int i = 0; i < turns; i++)
			h_turn(&h);
		if (turns % 2) {
			h_drain(&h, 100);
			h_until(&h, h.is_drained);
		} else {
			struct pn_listener_set *less = set_of(&h, h.listeners, false);
			h_until(&h, h.svc->acceptors.next->next == &h.svc->acceptors);
			pn_listener_set_unref(h.listeners);
			h.listeners = less;
		}
		crowd_close(crowd, &h);
		h_stop(&h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_socket_closes_and_its_session_stays),
		cmocka_unit_test(test_listener_comes_and_goes),
		cmocka_unit_test(test_a_crowd_is_taken_in_few_rounds),
		cmocka_unit_test(test_a_crowd_without_room_is_told),
		cmocka_unit_test(test_the_end_amid_a_crowd),
	};
	return cmocka_run_group_tests(tests, tls_setup, tls_teardown);
}
