/* SPDX-License-Identifier: ISC */
/*
 * test_bench_account.c - which messages the accounting calls lost, doubled, misdirected, bounced;
 * messages and their ids.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include <postern/base/codec.h>

#include "account.h"
#include "message.h"

#define RUN UINT64_C(0x1234567890abcdef)

static uint32_t sum_of(const char *address)
{
	return pn_bench_recipient_sum(pn_slice_str(address));
}

struct fixture {
	char path[32];
	int fd;
	struct pn_bench_account account;
};

static void fixture_init(struct fixture *f, uint32_t messages)
{
	uint32_t number;

	(void)snprintf(f->path, sizeof(f->path), "/tmp/pn-account-XXXXXX");
	f->fd = mkstemp(f->path);
	assert_true(f->fd >= 0);
	assert_int_equal(pn_bench_account_init(&f->account, RUN, f->path), 0);
	for (uint32_t i = 0; i < messages; i++) {
		assert_int_equal(pn_bench_account_next(&f->account, &number), 0);
		assert_int_equal(number, i);
	}
}

static struct pn_bench_account_sums fixture_end(struct fixture *f)
{
	struct pn_bench_account_sums sums;

	assert_int_equal(pn_bench_account_read(&f->account), 0);
	pn_bench_account_sum(&f->account, &sums);
	pn_bench_account_deinit(&f->account);
	(void)close(f->fd);
	(void)unlink(f->path);
	return sums;
}

static void sink_saw(struct fixture *f, uint32_t number, char status, uint16_t count, uint32_t sum)
{
	const struct pn_bench_id_line l = { .id = { .run = RUN, .number = number },
					    .status = status,
					    .recipient_count = count,
					    .recipient_sum = sum };
	char line[PN_BENCH_ID_LINE_LEN + 1];

	pn_bench_id_line_format(line, &l);
	assert_int_equal(write(f->fd, line, PN_BENCH_ID_LINE_LEN), PN_BENCH_ID_LINE_LEN);
}

static void accept(struct fixture *f, uint32_t number, uint16_t count, uint32_t sum)
{
	pn_bench_account_set(&f->account, number, PN_BENCH_ACCEPTED, PN_SLICE_LIT("ok"), count,
			     sum);
}

static void test_kept_promises_are_clean(void **state)
{
	uint32_t a = sum_of("a@x.example"), b = sum_of("b@x.example"), c = sum_of("c@x.example");
	struct pn_bench_account_sums sums;
	struct fixture f;

	(void)state;
	fixture_init(&f, 6);
	accept(&f, 0, 1, a);
	sink_saw(&f, 0, '+', 1, a);
	/* in two transactions, one of them before the 250 was read */
	sink_saw(&f, 1, '+', 2, a + c);
	assert_int_equal(pn_bench_account_read(&f.account), 0);
	accept(&f, 1, 3, a + b + c);
	assert_int_equal(f.account.missing, 1);
	sink_saw(&f, 1, '+', 1, b);
	/* one delivered, one bounced */
	accept(&f, 2, 2, a + b);
	sink_saw(&f, 2, '+', 1, a);
	sink_saw(&f, 2, 'b', 1, b);
	pn_bench_account_set(&f.account, 3, PN_BENCH_REFUSED, PN_SLICE_NULL, 0, 0);
	/* in doubt: once, or never */
	pn_bench_account_set(&f.account, 4, PN_BENCH_DOUBTFUL, PN_SLICE_NULL, 1, a);
	pn_bench_account_set(&f.account, 5, PN_BENCH_DOUBTFUL, PN_SLICE_NULL, 1, a);
	sink_saw(&f, 5, '+', 1, a);
	sums = fixture_end(&f);
	assert_true(pn_bench_account_is_clean(&sums));
	assert_int_equal(sums.sent, 6);
	assert_int_equal(sums.accepted, 3);
	assert_int_equal(sums.refused, 1);
	assert_int_equal(sums.doubtful, 2);
	assert_int_equal(sums.received, 4);
	assert_int_equal(sums.bounced, 1);
}

static void test_each_broken_promise_is_named(void **state)
{
	uint32_t a = sum_of("a@x.example"), b = sum_of("b@x.example");
	struct pn_bench_account_sums sums;
	struct fixture f;

	(void)state;
	fixture_init(&f, 7);
	accept(&f, 0, 1, a); /* lost */
	accept(&f, 1, 2, a + b);
	sink_saw(&f, 1, '+', 1, a); /* one of two lost */
	accept(&f, 2, 1, a);
	sink_saw(&f, 2, '+', 1, a);
	sink_saw(&f, 2, '+', 1, a); /* twice */
	accept(&f, 3, 1, a);
	sink_saw(&f, 3, '+', 1, a);
	sink_saw(&f, 3, 'b', 1, a); /* delivered and bounced */
	accept(&f, 4, 2, a + b);
	sink_saw(&f, 4, '+', 2, a + a); /* as many, but not they */
	pn_bench_account_set(&f.account, 5, PN_BENCH_REFUSED, PN_SLICE_NULL, 0, 0);
	sink_saw(&f, 5, '+', 1, a);
	accept(&f, 6, 1, a);
	sink_saw(&f, 6, '!', 1, a);
	sums = fixture_end(&f);
	assert_int_equal(sums.lost, 2);
	assert_int_equal(sums.duplicated, 2);
	assert_int_equal(sums.misdirected, 1);
	assert_int_equal(sums.unpromised, 1);
	assert_int_equal(sums.corrupt, 1);
	assert_false(pn_bench_account_is_clean(&sums));
}

static void test_messages_have_their_size_and_checksum(void **state)
{
	struct pn_bench_content_pieces c;
	struct pn_bench_message m;

	(void)state;
	assert_int_equal(pn_bench_message_init(&m, RUN, 9, "to@x.example", 9000), 0);
	for (uint32_t size = 1024; size <= 9000; size += size < 1300 ? 1 : 977) {
		struct pn_bench_id id;
		uint32_t crc, got = 0;
		size_t len = 0;

		pn_bench_message_make(&m, size, "from@x.example", size, &c);
		for (size_t i = 0; i < PN_BENCH_MESSAGE_PIECES; i++)
			len += c.pieces[i].len;
		assert_int_equal(len, size);
		assert_true(pn_bench_message_parse(c.pieces[0], &id, &crc));
		assert_true(id.run == RUN && id.number == size);
		for (size_t i = 1; i < PN_BENCH_MESSAGE_PIECES; i++)
			got = pn_crc32c(got, c.pieces[i].ptr, c.pieces[i].len);
		assert_int_equal(got, crc);
		/* only CRLF ends a line, and the last one is ended */
		assert_int_not_equal(c.pieces[1].ptr[c.pieces[1].len - 1], '\r');
		assert_int_equal(c.pieces[2].ptr[c.pieces[2].len - 1], '\n');
	}
	pn_bench_message_deinit(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kept_promises_are_clean),
		cmocka_unit_test(test_each_broken_promise_is_named),
		cmocka_unit_test(test_messages_have_their_size_and_checksum),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
