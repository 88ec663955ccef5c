/* SPDX-License-Identifier: ISC */
/* test_tickets.c - the ticket keys by themselves: rotation on a fake clock, sealing, many threads.
 */
#include "tls_support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <openssl/err.h>

#include "tls/conn.h"
#include "tls/tickets.h"

#define KEY_LIFE_S 100
#define OVERHEAD   (16 + 12 + 16)

/* Relaxed everywhere: a clock orders nothing. */
static _Atomic uint64_t now_ms;

static uint64_t fake_clock(void *arg)
{
	(void)arg;
	return atomic_load_explicit(&now_ms, memory_order_relaxed);
}

static void set_clock(uint64_t ms)
{
	atomic_store_explicit(&now_ms, ms, memory_order_relaxed);
}

struct bench {
	struct pn_tls_tickets *tickets;
	struct pn_tls_server *server;
	struct pn_tls_conn *conn;
	SSL *ssl; /* of conn */
};

/* The method wants an SSL that belongs to a conn of a server with the keys. */
static void bench_init(struct bench *b)
{
	struct pn_tls_server_settings settings = { .has_tls12 = true, .has_tickets = true };

	b->tickets = pn_tls_tickets_new(KEY_LIFE_S);
	assert_non_null(b->tickets);
	set_clock(1000);
	pn_tls_tickets_set_clock(b->tickets, fake_clock, NULL);
	settings.tickets = b->tickets;
	b->server = tls_server("ecdsa", settings);
	b->conn = pn_tls_conn_new_server(b->server);
	assert_non_null(b->conn);
	b->ssl = b->conn->ssl;
}

static void bench_free(struct bench *b)
{
	pn_tls_conn_free(b->conn);
	pn_tls_server_unref(b->server);
	pn_tls_tickets_free(b->tickets);
}

static size_t seal(struct bench *b, uint8_t out[256], const char *text)
{
	size_t len = 0;

	assert_int_equal(pn_tls_ticket_method.seal(b->ssl, out, &len, 256, (const uint8_t *)text,
						   strlen(text)),
			 1);
	assert_int_equal(len, strlen(text) + pn_tls_ticket_method.max_overhead(b->ssl));
	return len;
}

static bool opens(struct bench *b, const uint8_t *ticket, size_t len, const char *text)
{
	uint8_t out[256];
	size_t out_len = 0;
	enum ssl_ticket_aead_result_t result =
		pn_tls_ticket_method.open(b->ssl, out, &out_len, sizeof(out), ticket, len);

	if (result == ssl_ticket_aead_ignore_ticket)
		return false;
	assert_int_equal(result, ssl_ticket_aead_success);
	assert_int_equal(out_len, strlen(text));
	assert_memory_equal(out, text, out_len);
	return true;
}

static void test_round_trip_and_forgeries(void **state)
{
	uint8_t ticket[256];
	uint8_t other[256];
	struct bench b;
	size_t len;

	(void)state;
	bench_init(&b);
	len = seal(&b, ticket, "a session");
	assert_true(opens(&b, ticket, len, "a session"));
	/* Not in clear, and never twice the same. */
	assert_null(memmem(ticket, len, "session", 7));
	assert_int_equal(seal(&b, other, "a session"), len);
	assert_memory_equal(ticket, other, 16);
	assert_memory_not_equal(ticket + 16, other + 16, len - 16);
	for (size_t i = 0; i < len; i++) {
		ticket[i] ^= 1;
		assert_false(opens(&b, ticket, len, ""));
		ticket[i] ^= 1;
	}
	for (size_t i = 0; i < len; i++)
		assert_false(opens(&b, ticket, i, ""));
	assert_int_equal(ERR_peek_error(), 0);
	/* No room: refused, not overrun. */
	assert_int_equal(pn_tls_ticket_method.seal(b.ssl, other, &len, OVERHEAD + 3,
						   (const uint8_t *)"1234", 4),
			 0);
	assert_int_equal(
		pn_tls_ticket_method.seal(b.ssl, other, &len, OVERHEAD - 1, (const uint8_t *)"", 0),
		0);
	bench_free(&b);
}

static void test_rotation(void **state)
{
	uint8_t first[256];
	uint8_t second[256];
	uint8_t third[256];
	struct bench b;
	size_t len;

	(void)state;
	bench_init(&b);
	assert_int_equal(pn_tls_tickets_ticket_lifetime_s(b.tickets), KEY_LIFE_S / 2);
	len = seal(&b, first, "x");
	assert_int_equal(pn_tls_tickets_key_count(b.tickets), 1);
	/* Until half its life the same key seals. */
	set_clock(1000 + 49999);
	seal(&b, second, "x");
	assert_memory_equal(first, second, 16);
	set_clock(1000 + 50000);
	seal(&b, second, "x");
	assert_memory_not_equal(first, second, 16);
	assert_int_equal(pn_tls_tickets_key_count(b.tickets), 2);
	assert_true(opens(&b, first, len, "x"));
	assert_true(opens(&b, second, len, "x"));
	/* The end of the first key's life: the timer alone wipes it. */
	set_clock(1000 + 99999);
	assert_true(opens(&b, first, len, "x"));
	set_clock(1000 + 100000);
	pn_tls_tickets_rotate(b.tickets);
	assert_false(opens(&b, first, len, "x"));
	assert_true(opens(&b, second, len, "x"));
	seal(&b, third, "x");
	assert_memory_not_equal(second, third, 16);
	assert_int_equal(pn_tls_tickets_key_count(b.tickets), 2);
	/* A long silence: all old keys are gone. */
	set_clock(10000000);
	assert_int_equal(pn_tls_tickets_key_count(b.tickets), 1);
	assert_false(opens(&b, third, len, "x"));
	bench_free(&b);
}

static void test_never_more_than_three_keys(void **state)
{
	uint8_t ticket[256];
	uint8_t last_name[16] = { 0 };
	struct bench b;
	int changes = 0;

	(void)state;
	bench_init(&b);
	for (uint64_t step = 0; step < 5000; step++) {
		set_clock(1000 + step * 997);
		seal(&b, ticket, "x");
		if (memcmp(ticket, last_name, 16) != 0)
			changes++;
		memcpy(last_name, ticket, 16);
		assert_in_range(pn_tls_tickets_key_count(b.tickets), 1, 3);
		assert_true(opens(&b, ticket, OVERHEAD + 1, "x"));
	}
	/* 4985 s with a new key each 50 s. */
	assert_in_range(changes, 95, 101);
	bench_free(&b);
}

static void test_short_lives_are_lengthened(void **state)
{
	struct pn_tls_tickets *t = pn_tls_tickets_new(0);

	(void)state;
	assert_non_null(t);
	assert_int_equal(pn_tls_tickets_ticket_lifetime_s(t), 1);
	assert_int_equal(pn_tls_tickets_key_count(t), 1);
	pn_tls_tickets_free(t);
	pn_tls_tickets_free(NULL);
}

#define THREADS 4
#define ROUNDS  3000

static atomic_uint failures;

/* Seals, moves the clock on, opens: a ticket younger than half a key's life always opens. */
static void *hammer(void *arg)
{
	struct bench b = *(struct bench *)arg;
	uint8_t ticket[256];
	uint8_t out[256];
	size_t len;
	size_t out_len;

	b.conn = pn_tls_conn_new_server(b.server);
	if (!b.conn)
		return NULL;
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t from_ms = fake_clock(NULL);

		if (pn_tls_ticket_method.seal(b.conn->ssl, ticket, &len, sizeof(ticket),
					      (const uint8_t *)"x", 1) != 1)
			atomic_fetch_add_explicit(&failures, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&now_ms, 500, memory_order_relaxed);
		/* The other threads may have moved the clock by any time meanwhile. */
		if (pn_tls_ticket_method.open(b.conn->ssl, out, &out_len, sizeof(out), ticket,
					      len) != ssl_ticket_aead_success &&
		    fake_clock(NULL) - from_ms < KEY_LIFE_S * 1000 / 2)
			atomic_fetch_add_explicit(&failures, 1, memory_order_relaxed);
		if (i % 100 == 0)
			pn_tls_tickets_rotate(b.tickets);
	}
	pn_tls_conn_free(b.conn);
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[THREADS];
	struct bench b;

	(void)state;
	bench_init(&b);
	atomic_store_explicit(&failures, 0, memory_order_relaxed);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hammer, &b), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(atomic_load_explicit(&failures, memory_order_relaxed), 0);
	bench_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip_and_forgeries),
		cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_never_more_than_three_keys),
		cmocka_unit_test(test_short_lives_are_lengthened),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, tls_setup, tls_teardown);
}
