/* SPDX-License-Identifier: ISC */
/*
 * The data scanner against the oracle: exhaustively over short inputs and all their cuts, around
 * block borders, and at random; with every variant of the scan loops that this CPU can run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <postern/base/prng.h>

#include "data_oracle.h"
#include "smtp/scan.h"

static const uint8_t alphabet[5] = { '\r', '\n', '.', 'a', 0 };

static void show(const char *what, const uint8_t *p, size_t len)
{
	fprintf(stderr, "%s:", what);
	for (size_t i = 0; i < len; i++)
		fprintf(stderr, " %02x", p[i]);
	fputc('\n', stderr);
}

/* Bit i of `cuts` cuts after octet i (up to 32 octets), or every `step` octets. */
static void check(const uint8_t *in, size_t len, enum pn_line_policy policy, bool is_chunk,
		  uint32_t cuts, size_t step)
{
	uint8_t want_content[1024], got_content[1024];
	struct data_result want = { .content = want_content }, got = { .content = got_content };
	struct pn_data_scanner s;
	size_t from = 0;

	assert_true(2 * len <= sizeof(want_content));
	data_oracle(&want, in, len, policy, is_chunk);
	pn_data_scanner_init(&s, policy, is_chunk);
	for (size_t i = 0; i < len; i++) {
		bool is_cut = step ? (i + 1) % step == 0 : i < 32 && (cuts >> i & 1);

		if (!is_cut && i + 1 < len)
			continue;
		if (!data_scan_piece(&s, &got, in, from, i + 1))
			break;
		from = i + 1;
	}
	data_take_flags(&got, &s);
	if (data_result_eq(&want, &got))
		return;
	fprintf(stderr, "policy %d chunk %d cuts %x step %zu\n", (int)policy, is_chunk, cuts, step);
	show("input", in, len);
	show("want", want.content, want.content_len);
	show("got", got.content, got.content_len);
	fail_msg("scanner and oracle differ");
}

static void fill(uint8_t *out, size_t len, uint32_t number)
{
	for (size_t i = 0; i < len; i++, number /= 5)
		out[i] = alphabet[number % 5];
}

static void check_modes(const uint8_t *in, size_t len, uint32_t cuts, size_t step)
{
	for (int mode = 0; mode < 4; mode++)
		check(in, len, mode & 1 ? PN_LINE_NORMALIZE : PN_LINE_REJECT, mode & 2, cuts, step);
}

/* RFC 5321 4.1.1.4, 4.5.2, 2.3.8: every input of up to five octets at every combination of cuts. */
static void test_scanner_equals_oracle_for_all_short_inputs_and_all_cuts(void **state)
{
	uint8_t in[8];
	uint32_t inputs = 1;

	(void)state;
	for (size_t len = 0; len <= 5; len++, inputs *= 5) {
		for (uint32_t number = 0; number < inputs; number++) {
			fill(in, len, number);
			for (uint32_t cuts = 0; cuts < (len ? 1u << (len - 1) : 1u); cuts++)
				check_modes(in, len, cuts, 0);
		}
	}
}

/* Six octets at every single cut, seven whole and octet by octet. */
static void test_scanner_equals_oracle_for_all_inputs_of_six_and_seven(void **state)
{
	uint8_t in[8];

	(void)state;
	for (uint32_t number = 0; number < 15625; number++) {
		fill(in, 6, number);
		for (uint32_t at = 0; at < 6; at++)
			check_modes(in, 6, 1u << at, 0);
	}
	for (uint32_t number = 0; number < 78125; number++) {
		fill(in, 7, number);
		check_modes(in, 7, 0, 0);
		check_modes(in, 7, 0, 1);
	}
}

/* The same four octets wherever a block of 64 may end. */
static void test_scanner_equals_oracle_around_block_borders(void **state)
{
	static const size_t places[] = { 0,  1,  57,  58,  59,  60,  61,  62, 63,
					 64, 65, 124, 125, 126, 127, 128, 129 };
	uint8_t in[256];

	(void)state;
	for (size_t place = 0; place < PN_ARRAY_SIZE(places); place++) {
		size_t at = places[place];

		for (uint32_t number = 0; number < 625; number++) {
			for (size_t tail = 0; tail <= 70; tail += 35) {
				memset(in, 'x', sizeof(in));
				fill(in + at, 4, number);
				check_modes(in, at + 4 + tail, 0, 0);
				check_modes(in, at + 4 + tail, 0, at + 2);
			}
		}
	}
}

static void test_scanner_equals_oracle_at_random(void **state)
{
	struct pn_prng prng;
	uint8_t in[400];

	(void)state;
	pn_prng_init(&prng, 20261123);
	for (int round = 0; round < 20000; round++) {
		size_t len = pn_prng_below(&prng, sizeof(in) + 1),
		       step = 1 + pn_prng_below(&prng, 130);
		/* The rarer the special octets, the longer the runs. */
		uint64_t rarity = 1 + pn_prng_below(&prng, 40);

		for (size_t i = 0; i < len; i++) {
			uint64_t pick = pn_prng_below(&prng, 6 * rarity);

			in[i] = pick < 5 ? alphabet[pick] : (uint8_t)(pick | 0x20);
			if (pick == 5 && i + 1 < len)
				memcpy(&in[i++], "\r\n", 2);
		}
		check_modes(in, len, 0, step);
	}
}

static void scan_all(struct pn_data_scanner *s, const char *in, size_t len, struct data_result *r)
{
	(void)data_scan_piece(s, r, (const uint8_t *)in, 0, len);
	data_take_flags(r, s);
}

/* What makes the hot path hot: many clean lines are one run, which lies in the input. */
static void test_clean_lines_are_one_run_without_copy(void **state)
{
	static const char text[] =
		"Subject: x\r\n\r\nline one\r\nline two is a good deal longer than one block of 64 "
		"octets, to be sure\r\n . no dot line\r\nend\r\n.\r\nQUIT\r\n";
	struct pn_slice in = pn_slice(text, sizeof(text) - 1), run;
	struct pn_data_scanner s;

	(void)state;
	pn_data_scanner_init(&s, PN_LINE_REJECT, false);
	assert_int_equal(pn_data_scan(&s, &in, &run), PN_DATA_RUN);
	assert_ptr_equal(run.ptr, text);
	assert_int_equal(run.len, sizeof(text) - 1 - strlen(".\r\nQUIT\r\n"));
	assert_int_equal(pn_data_scan(&s, &in, &run), PN_DATA_END);
	assert_true(pn_slice_eq(in, PN_SLICE_LIT("QUIT\r\n")));
}

/* SMTP smuggling: none of these may end the message, under either policy. */
static void test_false_ends_do_not_end_the_message(void **state)
{
	static const char *const tails[] = { "\n.\n", "\n.\r\n", "\r\n.\n",   "\r.\r\n",
					     "\r.\r", "\r\n.\r", "\n\r.\r\n", "\r\n.\r\r\n" };

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(tails); i++) {
		for (int policy = 0; policy < 2; policy++) {
			uint8_t content[128];
			struct data_result r = { .content = content };
			struct pn_data_scanner s;
			char in[64];
			int len = snprintf(in, sizeof(in), "a%sMAIL FROM:<b@c>\r\n", tails[i]);

			pn_data_scanner_init(&s, policy ? PN_LINE_NORMALIZE : PN_LINE_REJECT,
					     false);
			scan_all(&s, in, (size_t)len, &r);
			assert_false(r.is_end);
			assert_int_equal(pn_data_is_dirty(&s), policy == 0);
			for (size_t k = 0; k < r.content_len; k++) {
				if (content[k] == '\n')
					assert_true(k > 0 && content[k - 1] == '\r');
			}
		}
	}
}

static void test_reject_gives_nothing_from_the_first_offence_on_and_finds_the_true_end(void **state)
{
	uint8_t content[128];
	struct data_result r = { .content = content };
	struct pn_data_scanner s;
	static const char in[] = "good\r\nbad\nmore\r\n.\r\nRSET\r\n";

	(void)state;
	pn_data_scanner_init(&s, PN_LINE_REJECT, false);
	scan_all(&s, in, sizeof(in) - 1, &r);
	assert_true(r.is_end);
	assert_int_equal(r.end_at, sizeof(in) - 1 - 6);
	assert_true(pn_data_is_dirty(&s));
	assert_int_equal(r.content_len, 9);
	assert_memory_equal(content, "good\r\nbad", 9);
}

static void test_chunk_has_no_dot_rule_and_holds_a_last_cr_back(void **state)
{
	uint8_t content[64];
	struct data_result r = { .content = content };
	struct pn_data_scanner s;
	struct pn_slice run;

	(void)state;
	pn_data_scanner_init(&s, PN_LINE_NORMALIZE, true);
	scan_all(&s, ".\r\n..a\r", 7, &r);
	assert_false(r.is_end);
	assert_int_equal(r.content_len, 6);
	assert_memory_equal(content, ".\r\n..a", 6);
	assert_true(pn_data_scan_finish(&s, &run));
	assert_true(pn_slice_eq(run, PN_SLICE_LIT("\r\n")));
	assert_true(s.has_bare_cr);
	assert_false(pn_data_scan_finish(&s, &run));

	pn_data_scanner_init(&s, PN_LINE_REJECT, true);
	r.content_len = 0;
	scan_all(&s, "a\r", 2, &r);
	assert_false(pn_data_is_dirty(&s));
	assert_false(pn_data_scan_finish(&s, &run));
	assert_true(pn_data_is_dirty(&s));

	pn_data_scanner_init(&s, PN_LINE_REJECT, true);
	scan_all(&s, "a\r\n", 3, &r);
	assert_false(pn_data_scan_finish(&s, &run));
	assert_false(pn_data_is_dirty(&s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scanner_equals_oracle_for_all_short_inputs_and_all_cuts),
		cmocka_unit_test(test_scanner_equals_oracle_for_all_inputs_of_six_and_seven),
		cmocka_unit_test(test_scanner_equals_oracle_around_block_borders),
		cmocka_unit_test(test_scanner_equals_oracle_at_random),
		cmocka_unit_test(test_clean_lines_are_one_run_without_copy),
		cmocka_unit_test(test_false_ends_do_not_end_the_message),
		cmocka_unit_test(
			test_reject_gives_nothing_from_the_first_offence_on_and_finds_the_true_end),
		cmocka_unit_test(test_chunk_has_no_dot_rule_and_holds_a_last_cr_back),
	};
	int failed = 0;

	for (size_t i = 0; pn_scan_variant(i); i++) {
		pn_scan_best = pn_scan_variant(i);
		failed += cmocka_run_group_tests_name(pn_scan_best->name, tests, NULL, NULL);
	}
	return failed;
}
