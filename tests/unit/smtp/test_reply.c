/* SPDX-License-Identifier: ISC */
/* test_reply.c - the reply table is consistent, and every reply is one well-formed line. */
#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <postern/smtp/reply.h>

/* RFC 5321 4.2.1, 4.2.4: three digits, the first 2 to 5, the second 0 to 5. */
static void test_codes_have_the_form_of_rfc5321(void **state PN_UNUSED)
{
	for (unsigned i = 1; i < PN_REPLY_COUNT; i++) {
		unsigned code = pn_reply_code((enum pn_reply)i);
		assert_in_range(code / 100, 2, 5);
		assert_in_range(code / 10 % 10, 0, 5);
		assert_int_equal(pn_reply_class((enum pn_reply)i), code / 100);
	}
	assert_int_equal(pn_reply_code(PN_REPLY_NONE), 0);
}

/* RFC 2034 4: x.y.z with the class of the code, no leading zeros; none in 3yz, the greeting and the answer to
 * EHLO. */
static void test_enhanced_codes_fit_the_codes(void **state PN_UNUSED)
{
	for (unsigned i = 1; i < PN_REPLY_COUNT; i++) {
		enum pn_reply r = (enum pn_reply)i;
		const char *enhanced = pn_reply_enhanced(r);
		if (pn_reply_class(r) == 3 || r == PN_REPLY_GREETING || r == PN_REPLY_OK_HELO) {
			assert_string_equal(enhanced, "");
			continue;
		}
		unsigned x, y, z;
		char again[32];
		assert_int_equal(sscanf(enhanced, "%u.%u.%u", &x, &y, &z), 3);
		(void)snprintf(again, sizeof(again), "%u.%u.%u", x, y, z);
		assert_string_equal(again, enhanced);
		assert_int_equal(x, pn_reply_class(r));
	}
}

static void test_texts_are_printable_and_short(void **state PN_UNUSED)
{
	for (unsigned i = 1; i < PN_REPLY_COUNT; i++) {
		const char *text = pn_reply_text((enum pn_reply)i);
		assert_true(strlen(text) < 200);
		for (const char *p = text; *p; p++)
			assert_true(*p >= 0x20 && *p < 0x7f);
	}
}

static void test_reasons_are_unique_tokens(void **state PN_UNUSED)
{
	for (unsigned i = 0; i < PN_REPLY_COUNT; i++) {
		const char *reason = pn_reply_reason((enum pn_reply)i);
		assert_true(strlen(reason) > 0);
		for (const char *p = reason; *p; p++)
			assert_true(islower((unsigned char)*p) || isdigit((unsigned char)*p) || *p == '-');
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(reason, pn_reply_reason((enum pn_reply)j));
	}
}

static void format_is(enum pn_reply reply, const char *text, bool with_enhanced, const char *wanted)
{
	struct pn_buf b;

	pn_buf_init(&b, 4096);
	assert_int_equal(pn_reply_format(reply, pn_slice_str(text), with_enhanced, &b), 0);
	assert_int_equal(pn_buf_len(&b), strlen(wanted));
	assert_memory_equal(pn_buf_ptr(&b), wanted, strlen(wanted));
	pn_buf_free(&b);
}

static void test_format_gives_one_line(void **state PN_UNUSED)
{
	format_is(PN_REPLY_OK_MAIL, "", true, "250 2.1.0 Sender OK\r\n");
	format_is(PN_REPLY_OK_MAIL, "", false, "250 Sender OK\r\n");
	format_is(PN_REPLY_OK_MAIL, "fine", true, "250 2.1.0 fine\r\n");
	format_is(PN_REPLY_OK_DATA_GO, "go", true, "354 go\r\n");
	format_is(PN_REPLY_AUTH_CHALLENGE, "", true, "334 \r\n");
}

/* A text with line ends, controls or 8-bit octets cannot make a second reply or harm a terminal. */
static void test_format_cleans_the_text(void **state PN_UNUSED)
{
	format_is(PN_REPLY_POLICY, "a\r\n250 ok\x1b\x7f\xc3\xbc", true, "550 5.7.1 a??250 ok????\r\n");
}

static void test_format_cuts_at_512_octets(void **state PN_UNUSED)
{
	char text[1000];
	struct pn_buf b;

	memset(text, 'x', sizeof(text));
	pn_buf_init(&b, 4096);
	assert_int_equal(pn_reply_format(PN_REPLY_POLICY, pn_slice(text, sizeof(text)), true, &b), 0);
	assert_int_equal(pn_buf_len(&b), PN_REPLY_LINE_MAX_BYTES);
	assert_memory_equal(pn_buf_ptr(&b) + 510, "\r\n", 2);
	pn_buf_free(&b);
}

static void test_format_appends_nothing_when_full(void **state PN_UNUSED)
{
	struct pn_buf b;

	pn_buf_init(&b, 10);
	assert_int_equal(pn_reply_format(PN_REPLY_OK_MAIL, PN_SLICE_NULL, true, &b), -ENOBUFS);
	assert_int_equal(pn_buf_len(&b), 0);
	pn_buf_free(&b);
}

static void forwarded_is(unsigned code, uint16_t x, uint16_t y, uint16_t z, const char *text,
			 const char *wanted)
{
	const uint16_t enhanced[3] = { x, y, z };
	struct pn_buf b;

	pn_buf_init(&b, 4096);
	assert_int_equal(pn_reply_format_code(code, enhanced, pn_slice_str(text), &b), 0);
	assert_int_equal(pn_buf_len(&b), strlen(wanted));
	assert_memory_equal(pn_buf_ptr(&b), wanted, strlen(wanted));
	pn_buf_free(&b);
}

static void test_forwarded_codes(void **state PN_UNUSED)
{
	forwarded_is(450, 4, 2, 1, "busy", "450 4.2.1 busy\r\n");
	forwarded_is(450, 0, 0, 0, "busy", "450 busy\r\n");
	forwarded_is(550, 4, 2, 1, "class", "550 class\r\n");
	forwarded_is(550, 5, 1000, 1, "digits", "550 digits\r\n");
	forwarded_is(550, 5, 999, 999, "", "550 5.999.999\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_codes_have_the_form_of_rfc5321),
		cmocka_unit_test(test_enhanced_codes_fit_the_codes),
		cmocka_unit_test(test_texts_are_printable_and_short),
		cmocka_unit_test(test_reasons_are_unique_tokens),
		cmocka_unit_test(test_format_gives_one_line),
		cmocka_unit_test(test_format_cleans_the_text),
		cmocka_unit_test(test_format_cuts_at_512_octets),
		cmocka_unit_test(test_format_appends_nothing_when_full),
		cmocka_unit_test(test_forwarded_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
