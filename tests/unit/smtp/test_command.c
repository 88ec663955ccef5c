/* SPDX-License-Identifier: ISC */
/* test_command.c - verbs and arguments of command lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <postern/smtp/command.h>

static void test_every_verb_is_found_in_any_case(void **state PN_UNUSED)
{
	for (unsigned i = 1; i < PN_VERB_COUNT; i++) {
		char word[16];
		const char *name = pn_verb_name((enum pn_verb)i);
		size_t len = strlen(name);
		/* all combinations of cases */
		for (unsigned mask = 0; mask < 1u << len; mask++) {
			for (size_t k = 0; k < len; k++)
				word[k] = (char)(mask & 1u << k ? name[k] | 0x20 : name[k]);
			assert_int_equal(pn_verb_parse(pn_slice(word, len)), i);
		}
		assert_int_equal(pn_verb_parse(pn_slice(name, len - 1)), PN_VERB_UNKNOWN);
	}
}

/* No other octet may fold into a letter. */
static void test_no_other_octet_makes_a_verb(void **state PN_UNUSED)
{
	for (unsigned i = 1; i < PN_VERB_COUNT; i++) {
		const char *name = pn_verb_name((enum pn_verb)i);
		size_t len = strlen(name);
		for (size_t at = 0; at < len; at++) {
			for (unsigned octet = 0; octet < 256; octet++) {
				char word[16];
				memcpy(word, name, len);
				word[at] = (char)octet;
				enum pn_verb got = pn_verb_parse(pn_slice(word, len));
				/* one letter may lead from EHLO to HELO's neighbour, never to this verb */
				assert_true((got == (enum pn_verb)i) ==
					    ((octet & ~0x20u) == (unsigned char)name[at] && octet < 128));
			}
		}
	}
}

static void parses_to(const char *line, enum pn_verb verb, const char *args)
{
	struct pn_command c;

	pn_command_parse(pn_slice_str(line), &c);
	assert_int_equal(c.verb, verb);
	assert_int_equal(c.args.len, strlen(args));
	if (c.args.len > 0)
		assert_memory_equal(c.args.ptr, args, c.args.len);
	assert_false(c.has_bad_octet);
}

static void test_lines_split_at_spaces(void **state PN_UNUSED)
{
	parses_to("", PN_VERB_UNKNOWN, "");
	parses_to("   ", PN_VERB_UNKNOWN, "");
	parses_to("NOOP", PN_VERB_NOOP, "");
	parses_to("NOOP   ", PN_VERB_NOOP, "");
	parses_to("NOOP \t \t", PN_VERB_NOOP, "");
	parses_to("mail FROM:<> A=b  ", PN_VERB_MAIL, "FROM:<> A=b");
	parses_to("EHLO   x", PN_VERB_EHLO, "x");
	parses_to(" NOOP", PN_VERB_UNKNOWN, "NOOP");
	parses_to("NOOP\tx", PN_VERB_UNKNOWN, "");
	parses_to("STARTTL", PN_VERB_UNKNOWN, "");
	parses_to("STARTTLSS", PN_VERB_UNKNOWN, "");
	parses_to("MAIL:<a>", PN_VERB_UNKNOWN, "");
}

static void flags_are(struct pn_slice line, bool has_bad, bool has_8bit)
{
	struct pn_command c;

	pn_command_parse(line, &c);
	assert_int_equal(c.has_bad_octet, has_bad);
	assert_int_equal(c.has_8bit, has_8bit);
}

static void test_bad_octets_are_seen_wherever_they_are(void **state PN_UNUSED)
{
	char line[64];

	for (size_t at = 0; at < sizeof(line); at++) {
		const char bad[] = { '\0', '\r', '\n' };
		memset(line, 'a', sizeof(line));
		flags_are(pn_slice(line, sizeof(line)), false, false);
		for (size_t i = 0; i < sizeof(bad); i++) {
			line[at] = bad[i];
			flags_are(pn_slice(line, sizeof(line)), true, false);
		}
		line[at] = (char)0x80;
		flags_are(pn_slice(line, sizeof(line)), false, true);
		line[at] = '\t';
		flags_are(pn_slice(line, sizeof(line)), false, false);
	}
}

static void test_words_are_taken_one_by_one(void **state PN_UNUSED)
{
	struct pn_slice s = PN_SLICE_LIT("one  two ");

	assert_true(pn_slice_eq(pn_word_next(&s), PN_SLICE_LIT("one")));
	assert_true(pn_slice_eq(pn_word_next(&s), PN_SLICE_LIT("two")));
	assert_int_equal(s.len, 0);
	assert_int_equal(pn_word_next(&s).len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_verb_is_found_in_any_case),
		cmocka_unit_test(test_no_other_octet_makes_a_verb),
		cmocka_unit_test(test_lines_split_at_spaces),
		cmocka_unit_test(test_bad_octets_are_seen_wherever_they_are),
		cmocka_unit_test(test_words_are_taken_one_by_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
