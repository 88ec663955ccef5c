/* SPDX-License-Identifier: ISC */
/*
 * Every variant of the scan loops that this CPU can run against the plain one (which the tests of
 * the scanners hold against their oracles): the same results to the bit, and no octet touched
 * outside the input. Inputs lie against an unmapped page, before it or behind it: sanitizers do not
 * see what a masked load reads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include <postern/base/prng.h>

#include "smtp/scan.h"

#define ROOM 4096u /* a page: unmapped ones lie on both sides */

static uint8_t *room;

static int map_room(void **state)
{
	uint8_t *pages =
		mmap(NULL, (size_t)3 * ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	if (pages == MAP_FAILED)
		return -1;
	room = pages + ROOM;
	return mprotect(room, ROOM, PROT_READ | PROT_WRITE);
}

static int unmap_room(void **state)
{
	(void)state;
	return munmap(room - ROOM, (size_t)3 * ROOM);
}

static void show(const char *name, const uint8_t *p, size_t len)
{
	fprintf(stderr, "%s, %zu octets:", name, len);
	for (size_t i = 0; i < len; i++)
		fprintf(stderr, " %02x", p[i]);
	fputc('\n', stderr);
}

static bool same_walk(const struct pn_line_walk *a, const struct pn_line_walk *b)
{
	return a->start == b->start && a->over_start == b->over_start &&
	       a->max_bytes == b->max_bytes && a->limit_bytes == b->limit_bytes;
}

/* One piece; the octet before it and the lines before it come from the caller. */
static void check_piece(const uint8_t *p, size_t len, uint8_t before, struct pn_line_walk *w)
{
	struct pn_line_walk want = *w, got;
	const bool is_8bit = pn_scan_plain.measure(&want, p, len, before);
	const struct pn_scan *v;
	bool ok = true;

	for (size_t i = 1; ok && (v = pn_scan_variant(i)); i++) {
		for (int mode = 0; ok && mode < 4; mode++)
			ok = v->clean_length(p, len, mode & 1, mode & 2) ==
			     pn_scan_plain.clean_length(p, len, mode & 1, mode & 2);
		ok = ok && v->line_dot(p, len, false) == pn_scan_plain.line_dot(p, len, false) &&
		     v->line_dot(p, len, true) == pn_scan_plain.line_dot(p, len, true);
		got = *w;
		ok = ok && v->measure(&got, p, len, before) == is_8bit && same_walk(&want, &got);
		if (!ok) {
			show(v->name, p, len);
			fail_msg("%s and plain differ", v->name);
		}
	}
	*w = want;
	w->start -= (int64_t)len;
	if (w->over_start != INT64_MAX)
		w->over_start -= (int64_t)len;
}

/* The room's octets from `at` on, cut at random: a few times, or into many small pieces. */
static void check_cut(struct pn_prng *prng, size_t at, size_t len, uint64_t piece_max)
{
	struct pn_line_walk w = { .over_start = INT64_MAX,
				  .limit_bytes = pn_prng_below(prng, 200) };
	uint8_t before = 0;

	while (len != 0) {
		size_t n = pn_min_size(len, 1 + (size_t)pn_prng_below(prng, piece_max));

		check_piece(room + at, n, before, &w);
		before = room[at + n - 1];
		at += n;
		len -= n;
	}
}

/* Against the page behind, against the page before, or between. */
static size_t place(struct pn_prng *prng, size_t len)
{
	switch (pn_prng_below(prng, 3)) {
	case 0:
		return ROOM - len;
	case 1:
		return 0;
	default:
		return (size_t)pn_prng_below(prng, ROOM - len + 1);
	}
}

static void check_at_both_ends(const uint8_t *in, size_t len)
{
	const size_t ends[2] = { 0, ROOM - len };

	for (size_t i = 0; i < PN_ARRAY_SIZE(ends); i++) {
		struct pn_line_walk w = { .over_start = INT64_MAX, .limit_bytes = 70 };

		memcpy(room + ends[i], in, len);
		check_piece(room + ends[i], len, '\r', &w);
	}
}

/* ---- one thing at every place, in inputs of every length up to three blocks ---- */

static const char *const things[] = { "\r",   "\n",     "\r\n", "\r\n.", "\n.",  "",
				      "\x80", "\x8d",   "\x8a", "\xae",  "\xff", "\x01",
				      ".",    "\r\r\n", "\n\n", "..",    "\r." };

static void test_variants_agree_on_one_thing_at_every_place(void **state)
{
	uint8_t in[200];

	(void)state;
	if (!pn_scan_variant(1))
		skip();
	for (size_t len = 1; len <= sizeof(in); len++) {
		for (size_t at = 0; at < len; at++) {
			for (size_t i = 0; i < PN_ARRAY_SIZE(things); i++) {
				/* The empty string stands for a NUL. */
				size_t n = pn_min_size(len - at, strlen(things[i]) + !*things[i]);

				memset(in, 'a', len);
				memcpy(in + at, things[i], n);
				check_at_both_ends(in, len);
			}
		}
	}
}

/* ---- at random ---- */

enum kind { KIND_LINES, KIND_ALPHABET, KIND_ANY, KIND_RARE, KIND_COUNT };

static uint8_t alphabet_octet(struct pn_prng *prng)
{
	static const uint8_t alphabet[] = { '\r', '\n', '.', 'a', 0, 0x8d, 0x8a, 0xae };

	return alphabet[pn_prng_below(prng, sizeof(alphabet))];
}

/* Proper lines of up to 150 octets, some with a dot in front. */
static void fill_lines(struct pn_prng *prng, uint8_t *out, size_t len)
{
	memset(out, 'm', len);
	for (size_t at = 0; at + 2 <= len;) {
		size_t end = pn_min_size(len - 2, at + (size_t)pn_prng_below(prng, 150));

		if (pn_prng_below(prng, 8) == 0)
			out[at] = '.';
		memcpy(out + end, "\r\n", 2);
		at = end + 2;
	}
}

static void fill(struct pn_prng *prng, uint8_t *out, size_t len)
{
	const enum kind kind = (enum kind)pn_prng_below(prng, KIND_COUNT);

	if (kind == KIND_LINES || kind == KIND_RARE)
		fill_lines(prng, out, len);
	for (size_t i = 0; i < len; i++) {
		if (kind == KIND_ALPHABET)
			out[i] = alphabet_octet(prng);
		else if (kind == KIND_ANY)
			out[i] = (uint8_t)pn_prng_next(prng);
		else if (kind == KIND_RARE && pn_prng_below(prng, 300) == 0)
			out[i] = alphabet_octet(prng);
	}
}

static void test_variants_agree_at_random_with_random_cuts(void **state)
{
	struct pn_prng prng;

	(void)state;
	if (!pn_scan_variant(1))
		skip();
	pn_prng_init(&prng, 512);
	for (int round = 0; round < 4000; round++) {
		size_t len = 1 + (size_t)pn_prng_below(&prng, round % 8 ? 400 : ROOM);
		size_t at = place(&prng, len);

		fill(&prng, room + at, len);
		check_cut(&prng, at, len, ROOM);
		check_cut(&prng, at, len, 150);
		check_cut(&prng, at, len, 8);
	}
}

static void test_the_best_variant_is_the_one_in_use(void **state)
{
	size_t last = 0;

	(void)state;
	assert_ptr_equal(pn_scan_variant(0), &pn_scan_plain);
	while (pn_scan_variant(last + 1))
		last++;
	assert_ptr_equal(pn_scan_best, pn_scan_variant(last));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_variants_agree_on_one_thing_at_every_place),
		cmocka_unit_test(test_variants_agree_at_random_with_random_cuts),
		cmocka_unit_test(test_the_best_variant_is_the_one_in_use),
	};
	return cmocka_run_group_tests(tests, map_room, unmap_room);
}
