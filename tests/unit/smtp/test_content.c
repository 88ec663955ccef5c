/* SPDX-License-Identifier: ISC */
/*
 * The content scan: what it finds, at every cut, and against a line-by-line reading of random
 * messages; with every variant of the scan loops that this CPU can run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <postern/base/prng.h>
#include <postern/base/slice.h>
#include <postern/smtp/content.h>

#include "smtp/scan.h"

struct limits {
	uint64_t line, header;
	uint32_t received;
};

static void scan(struct pn_content_scan *s, struct pn_slice in, size_t step, struct limits l)
{
	memset(s, 0, sizeof(*s));
	pn_content_scan_init(s, l.line, l.header, l.received);
	while (in.len != 0) {
		size_t n = pn_min_size(in.len, step);
		/* A copy of its own, so that the sanitizer sees every octet read beyond a run. */
		uint8_t *copy = malloc(n);

		assert_non_null(copy);
		memcpy(copy, in.ptr, n);
		pn_content_scan_feed(s, pn_slice(copy, n));
		free(copy);
		pn_slice_advance(&in, n);
	}
	pn_content_scan_end(s);
}

static void assert_same(const struct pn_content_scan *a, const struct pn_content_scan *b)
{
	assert_int_equal(a->facts.size_bytes, b->facts.size_bytes);
	assert_int_equal(a->facts.header_size_bytes, b->facts.header_size_bytes);
	assert_int_equal(a->facts.line_max_bytes, b->facts.line_max_bytes);
	assert_int_equal(a->facts.received_count, b->facts.received_count);
	assert_int_equal(a->facts.has_8bit_header, b->facts.has_8bit_header);
	assert_int_equal(a->facts.has_8bit_body, b->facts.has_8bit_body);
	assert_int_equal(a->facts.has_final_crlf, b->facts.has_final_crlf);
	assert_int_equal(a->facts.needs_smtputf8, b->facts.needs_smtputf8);
	assert_int_equal(a->problem, b->problem);
	assert_int_equal(a->problem_at, b->problem_at);
	assert_int_equal(a->has_date, b->has_date);
	assert_int_equal(a->has_message_id, b->has_message_id);
	assert_int_equal(a->has_from, b->has_from);
	assert_int_equal(a->header_end, b->header_end);
	assert_int_equal(a->has_header_end, b->has_header_end);
	assert_int_equal(a->bcc_count, b->bcc_count);
	for (uint32_t i = 0; i < a->bcc_count; i++) {
		assert_int_equal(a->bcc[i].at, b->bcc[i].at);
		assert_int_equal(a->bcc[i].len, b->bcc[i].len);
	}
}

/* Whole, and then at every regular cut: the results must be the same. */
static void scan_cut(struct pn_content_scan *s, struct pn_slice in, struct limits l)
{
	struct pn_content_scan other;

	scan(s, in, in.len + 1, l);
	for (size_t step = 1; step < 70 && step <= in.len; step++) {
		scan(&other, in, step, l);
		assert_same(s, &other);
	}
}

#define DATE       1u
#define MSGID      2u
#define FROM       4u
#define EMPTY_LINE 8u
#define HEADER8    16u
#define BODY8      32u
#define FINAL      64u

struct content_case {
	const char *text;
	uint32_t flags;
	uint64_t header_end, header_size, line_max;
	uint32_t received;
	struct pn_content_range bcc[3];
};

static const struct content_case cases[] = {
	{ "", FINAL, 0, 0, 0, 0, { { 0, 0 } } },
	{ "\r\n", FINAL | EMPTY_LINE, 0, 2, 0, 0, { { 0, 0 } } },
	{ "Date: x\r\nFrom: y\r\nmessage-id: z\r\n\r\nbody\r\n",
	  DATE | MSGID | FROM | EMPTY_LINE | FINAL,
	  33,
	  35,
	  13,
	  0,
	  { { 0, 0 } } },
	/* folded fields: what looks like a field in a folded line is none */
	{ "Subject: x\r\n Date: no\r\n\tFrom: no\r\n\r\nDate: body\r\n",
	  EMPTY_LINE | FINAL,
	  34,
	  36,
	  10,
	  0,
	  { { 0, 0 } } },
	{ "Bcc: a\r\nTo: b\r\nBCC : c,\r\n d\r\n\te\r\nResent-Bcc: f\r\n\r\n",
	  EMPTY_LINE | FINAL,
	  48,
	  50,
	  13,
	  0,
	  { { 0, 8 }, { 15, 18 }, { 33, 15 } } },
	{ "bcc\t:\r\n  \r\nX: y\r\n", FINAL, 17, 17, 5, 0, { { 0, 11 } } },
	{ "Bccx: a\r\nXBcc: b\r\nBc: c\r\n\r\nBcc: body\r\n",
	  EMPTY_LINE | FINAL,
	  25,
	  27,
	  9,
	  0,
	  { { 0, 0 } } },
	{ "Bcc: unterminated", 0, 17, 17, 17, 0, { { 0, 17 } } },
	{ "Received: a\r\nreceived: b\r\n c\r\nX-Received: d\r\n\r\nReceived: no\r\n",
	  EMPTY_LINE | FINAL,
	  45,
	  47,
	  13,
	  2,
	  { { 0, 0 } } },
	/* lines that are no fields end the header */
	{ "no header here\r\nDate: x\r\n", FINAL, 0, 0, 14, 0, { { 0, 0 } } },
	{ "To: b\r\nnot a field\r\nDate: x\r\n", FINAL, 7, 7, 11, 0, { { 0, 0 } } },
	{ "To: b\r\n: empty name\r\n", FINAL, 7, 7, 12, 0, { { 0, 0 } } },
	{ "To: b\r\nDate", 0, 7, 7, 5, 0, { { 0, 0 } } },
	{ "To: b\r\nDate ", 0, 7, 7, 5, 0, { { 0, 0 } } },
	{ "To: b\r\nDate\r\n", FINAL, 7, 7, 5, 0, { { 0, 0 } } },
	{ " folded first\r\nDate: x\r\n", FINAL, 0, 0, 13, 0, { { 0, 0 } } },
	{ "Date:", DATE, 5, 5, 5, 0, { { 0, 0 } } },
	{ "To: b\r\nBcc: c\r\nbody", 0, 15, 15, 6, 0, { { 7, 8 } } },
	{ "To: b\r\nBcc: c\r\n\r\nbody", EMPTY_LINE, 15, 17, 6, 0, { { 7, 8 } } },
	{ "A-name-that-is-longer-than-any-that-is-looked-for: x\r\n\r\n",
	  EMPTY_LINE | FINAL,
	  54,
	  56,
	  52,
	  0,
	  { { 0, 0 } } },
	/* the data scanner lets no bare CR or LF through; should one come, nothing goes astray */
	{ "A: b\n\nbody\n", EMPTY_LINE | FINAL, 5, 6, 4, 0, { { 0, 0 } } },
	{ "A: b\r\n\rX: y\r", 0, 6, 6, 6, 0, { { 0, 0 } } },
	{ "A: b\r\n\r", 0, 6, 6, 4, 0, { { 0, 0 } } },
	/* 8-bit: where */
	{ "To: \xc3\xa4\r\n\r\nbody\r\n", HEADER8 | EMPTY_LINE | FINAL, 8, 10, 6, 0, { { 0, 0 } } },
	{ "To: a\r\n\r\nb\xc3\xb6\r\n", BODY8 | EMPTY_LINE | FINAL, 7, 9, 5, 0, { { 0, 0 } } },
	{ "To: a\r\nGr\xc3\xbc\xc3\x9f: no field\r\n", BODY8 | FINAL, 7, 7, 16, 0, { { 0, 0 } } },
};

static void check_case(const struct content_case *c)
{
	struct pn_content_scan s;
	uint32_t flags = 0, bcc_count = 0;

	scan_cut(&s, pn_slice_str(c->text), (struct limits){ 0 });
	flags |= s.has_date ? DATE : 0;
	flags |= s.has_message_id ? MSGID : 0;
	flags |= s.has_from ? FROM : 0;
	flags |= s.has_header_end ? EMPTY_LINE : 0;
	flags |= s.facts.has_8bit_header ? HEADER8 : 0;
	flags |= s.facts.has_8bit_body ? BODY8 : 0;
	flags |= s.facts.has_final_crlf ? FINAL : 0;
	if (flags != c->flags || s.header_end != c->header_end ||
	    s.facts.header_size_bytes != c->header_size || s.facts.line_max_bytes != c->line_max)
		print_error("case: %s\n", c->text);
	assert_int_equal(flags, c->flags);
	assert_int_equal(s.facts.size_bytes, strlen(c->text));
	assert_int_equal(s.header_end, c->header_end);
	assert_int_equal(s.facts.header_size_bytes, c->header_size);
	assert_int_equal(s.facts.line_max_bytes, c->line_max);
	assert_int_equal(s.facts.received_count, c->received);
	assert_int_equal(s.facts.needs_smtputf8, s.facts.has_8bit_header);
	assert_int_equal(s.problem, PN_CONTENT_OK);
	while (bcc_count < 3 && c->bcc[bcc_count].len != 0)
		bcc_count++;
	assert_int_equal(s.bcc_count, bcc_count);
	for (uint32_t i = 0; i < bcc_count; i++) {
		assert_int_equal(s.bcc[i].at, c->bcc[i].at);
		assert_int_equal(s.bcc[i].len, c->bcc[i].len);
	}
}

static void test_scan_finds_the_header_facts_at_any_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++)
		check_case(&cases[i]);
}

static void assert_problem(const char *text, struct limits l, enum pn_content_problem problem,
			   uint64_t at)
{
	struct pn_content_scan s;

	scan_cut(&s, pn_slice_str(text), l);
	assert_int_equal(s.problem, problem);
	if (problem != PN_CONTENT_OK)
		assert_int_equal(s.problem_at, at);
}

static void test_limits_are_found_where_they_are_crossed(void **state)
{
	(void)state;
	assert_problem("a: b\r\n\r\n12345678\r\n", (struct limits){ .line = 8 }, PN_CONTENT_OK, 0);
	assert_problem("a: b\r\n\r\n123456789\r\n", (struct limits){ .line = 8 },
		       PN_CONTENT_LINE_TOO_LONG, 16);
	assert_problem("a: b\r\n\r\n123456789", (struct limits){ .line = 8 },
		       PN_CONTENT_LINE_TOO_LONG, 16);
	assert_problem("a: b\r\n\r\n12345678", (struct limits){ .line = 8 }, PN_CONTENT_OK, 0);
	assert_problem("a: b\r\n\r\n123456789\r\n123456789a\r\n", (struct limits){ .line = 8 },
		       PN_CONTENT_LINE_TOO_LONG, 16);
	assert_problem("a: 456789\r\n\r\n", (struct limits){ .line = 8 }, PN_CONTENT_LINE_TOO_LONG,
		       8);
	assert_problem("a: b\r\n\r\n", (struct limits){ .header = 8 }, PN_CONTENT_OK, 0);
	assert_problem("a: b\r\nc: d\r\n\r\n", (struct limits){ .header = 13 },
		       PN_CONTENT_HEADER_TOO_BIG, 13);
	assert_problem("a: b\r\n\r\nlong body", (struct limits){ .header = 8 }, PN_CONTENT_OK, 0);
	assert_problem("Received: a\r\nReceived: b\r\n\r\n", (struct limits){ .received = 2 },
		       PN_CONTENT_OK, 0);
	assert_problem("Received: a\r\nReceived: b\r\nReceived: c\r\n\r\n",
		       (struct limits){ .received = 2 }, PN_CONTENT_LOOP, 34);
	/* two at once: the first in the content, whatever was noticed first */
	assert_problem("Received: a\r\nReceived: b\r\n\r\n",
		       (struct limits){ .received = 1, .header = 20 }, PN_CONTENT_HEADER_TOO_BIG,
		       20);
	assert_problem("Received: a\r\nReceived: b\r\n\r\n",
		       (struct limits){ .received = 1, .header = 22 }, PN_CONTENT_LOOP, 21);
}

static void test_bcc_fields_have_a_limit(void **state)
{
	char text[8 * (PN_CONTENT_BCC_MAX + 1) + 1];

	(void)state;
	for (int i = 0; i <= PN_CONTENT_BCC_MAX; i++)
		memcpy(text + 8 * i, "Bcc: a\r\n", 9);
	assert_problem(text, (struct limits){ 0 }, PN_CONTENT_TOO_MANY_BCC,
		       8 * PN_CONTENT_BCC_MAX + 3);
	text[sizeof(text) - 9] = 0;
	assert_problem(text, (struct limits){ 0 }, PN_CONTENT_OK, 0);
}

/* ---- random messages against a reading line by line ---- */

struct naive {
	uint64_t header_end, line_max;
	uint32_t bcc_count, received;
	bool has_header_end, has_date;
};

static bool is_field(const char *line, size_t len, const char *name)
{
	size_t n = 0;

	while (n < len && line[n] > 32 && line[n] < 127 && line[n] != ':')
		n++;
	if (name &&
	    (n != strlen(name) || !pn_slice_eq_nocase(pn_slice(line, n), pn_slice_str(name))))
		return false;
	if (n == 0)
		return false;
	while (n < len && (line[n] == ' ' || line[n] == '\t'))
		n++;
	return n < len && line[n] == ':';
}

static void read_naively(struct naive *r, const char *text, size_t len)
{
	bool is_header = true;

	*r = (struct naive){ .header_end = len };
	for (size_t at = 0; at < len;) {
		const char *lf = memchr(text + at, '\n', len - at);
		size_t next = lf ? (size_t)(lf - text) + 1 : len,
		       n = lf ? next - at - 2 : next - at;

		r->line_max = n > r->line_max ? n : r->line_max;
		if (is_header && !(at != 0 && n != 0 && (text[at] == ' ' || text[at] == '\t'))) {
			if (!is_field(text + at, n, NULL)) {
				is_header = false;
				r->header_end = at;
				r->has_header_end = n == 0 && lf;
			}
			r->bcc_count += is_header && is_field(text + at, n, "bcc");
			r->received += is_header && is_field(text + at, n, "Received");
			r->has_date |= is_header && is_field(text + at, n, "Date");
		}
		at = next;
	}
}

static void test_scan_agrees_with_a_reading_line_by_line(void **state)
{
	static const char *const pieces[] = {
		"Date",
		"Bcc",
		"bCC",
		"Received",
		":",
		":",
		":",
		" ",
		"\t",
		"\r\n",
		"\r\n",
		"x",
		"\xe4",
		"\r\n\r\n",
		"longer text for a line",
		"0123456789012345678901234567890123456789012345678901234567890123"
	};
	struct pn_prng prng;
	struct pn_content_scan s;
	struct naive want;
	char text[2048];

	(void)state;
	pn_prng_init(&prng, 5322);
	for (int round = 0; round < 3000; round++) {
		size_t len = 0, count = pn_prng_below(&prng, 28);

		for (size_t i = 0; i < count; i++) {
			const char *piece = pieces[pn_prng_below(&prng, PN_ARRAY_SIZE(pieces))];

			memcpy(text + len, piece, strlen(piece));
			len += strlen(piece);
		}
		read_naively(&want, text, len);
		scan_cut(&s, pn_slice(text, len), (struct limits){ 0 });
		assert_int_equal(s.header_end, want.header_end);
		assert_int_equal(s.has_header_end, want.has_header_end);
		assert_int_equal(s.facts.line_max_bytes, want.line_max);
		assert_int_equal(s.facts.received_count, want.received);
		assert_int_equal(s.has_date, want.has_date);
		assert_int_equal(s.bcc_count, want.bcc_count);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan_finds_the_header_facts_at_any_cut),
		cmocka_unit_test(test_limits_are_found_where_they_are_crossed),
		cmocka_unit_test(test_bcc_fields_have_a_limit),
		cmocka_unit_test(test_scan_agrees_with_a_reading_line_by_line),
	};
	int failed = 0;

	for (size_t i = 0; pn_scan_variant(i); i++) {
		pn_scan_best = pn_scan_variant(i);
		failed += cmocka_run_group_tests_name(pn_scan_best->name, tests, NULL, NULL);
	}
	return failed;
}
