/* SPDX-License-Identifier: ISC */
/*
 * scan_loops.h - the loops of scan.h. Each file that includes it is the variant for one instruction
 * set and has defined before:
 *
 *   PN_SCAN_TARGET           the attribute of every function, or nothing
 *   struct pn_block          64 octets
 *   pn_block_load(p)         64 octets
 *   pn_block_load_few(p, n)  n < 64 octets, filled up with an octet that nobody looks for
 *   pn_block_eq(b, octet)    a mask: bit i tells of octet i
 *   pn_block_or(a, b), pn_block_has_8bit(b)
 *
 * The last n < 64 octets are loaded together with those before them, which are then shifted out of
 * the masks. To copy them first is slower: the loads must wait for narrower stores.
 */
#include "scan.h"

#define BLOCK_SIZE 64

/* The octets in a block that need a decision, given what the octet before the block was. */
PN_SCAN_TARGET static inline uint64_t stop_mask(const struct pn_block *b, unsigned int shift,
						uint64_t after_cr, uint64_t after_crlf,
						uint64_t dot_rule, uint64_t *ret_cr,
						uint64_t *ret_lf)
{
	uint64_t cr = pn_block_eq(b, '\r') >> shift, lf = pn_block_eq(b, '\n') >> shift,
		 nul = pn_block_eq(b, '\0') >> shift, dot = pn_block_eq(b, '.') >> shift;
	uint64_t wants_lf = cr << 1 | after_cr;

	*ret_cr = cr;
	*ret_lf = lf;
	/*
	 * Bare LF, the octet behind a bare CR, NUL, dot at line start. Below the lowest of these
	 * every LF is half of a CRLF.
	 */
	return (wants_lf ^ lf) | nul | (dot & (lf << 1 | after_crlf) & dot_rule);
}

/* The last n < 64 octets of len. *ret_shift is by how much their masks are too far up. */
PN_SCAN_TARGET static inline struct pn_block load_tail(const uint8_t *p, size_t len, size_t n,
						       unsigned int *ret_shift)
{
	*ret_shift = len < BLOCK_SIZE ? 0 : (unsigned int)(BLOCK_SIZE - n);
	return len < BLOCK_SIZE ? pn_block_load_few(p, n) : pn_block_load(p + len - BLOCK_SIZE);
}

PN_SCAN_TARGET static size_t clean_length(const uint8_t *p, size_t len, bool is_line_start,
					  bool has_dot_rule)
{
	const uint64_t dot_rule = has_dot_rule ? ~0ull : 0;
	uint64_t after_cr = 0, after_crlf = is_line_start, cr, lf, stop;
	struct pn_block b;
	unsigned int shift;
	size_t at = 0;

	for (; len - at >= BLOCK_SIZE; at += BLOCK_SIZE) {
		b = pn_block_load(p + at);
		stop = stop_mask(&b, 0, after_cr, after_crlf, dot_rule, &cr, &lf);
		if (stop != 0)
			return at + (size_t)__builtin_ctzll(stop);
		after_cr = cr >> 63;
		after_crlf = lf >> 63;
	}
	if (at == len)
		return len;
	b = load_tail(p, len, len - at, &shift);
	stop = stop_mask(&b, shift, after_cr, after_crlf, dot_rule, &cr, &lf);
	if (stop == 0)
		return len;
	return pn_min_size(len, at + (size_t)__builtin_ctzll(stop));
}

PN_SCAN_TARGET static size_t line_dot(const uint8_t *p, size_t len, bool is_after_lf)
{
	uint64_t after_lf = is_after_lf, lf, dots;
	struct pn_block b;
	unsigned int shift;
	size_t at = 0;

	for (; len - at >= BLOCK_SIZE; at += BLOCK_SIZE) {
		b = pn_block_load(p + at);
		lf = pn_block_eq(&b, '\n');
		dots = pn_block_eq(&b, '.') & (lf << 1 | after_lf);
		if (dots != 0)
			return at + (size_t)__builtin_ctzll(dots);
		after_lf = lf >> 63;
	}
	if (at == len)
		return len;
	b = load_tail(p, len, len - at, &shift);
	lf = pn_block_eq(&b, '\n') >> shift;
	dots = pn_block_eq(&b, '.') >> shift & (lf << 1 | after_lf);
	return dots ? at + (size_t)__builtin_ctzll(dots) : len;
}

/* Settles the lines that end in the block at p + at. */
PN_SCAN_TARGET static inline void walk_lines(struct pn_line_walk *w, const uint8_t *p, size_t at,
					     uint64_t lf, uint8_t before)
{
	for (; lf != 0; lf &= lf - 1) {
		size_t end = at + (size_t)__builtin_ctzll(lf);
		bool is_after_cr = (end ? p[end - 1] : before) == '\r';
		uint64_t len = (uint64_t)((int64_t)end - w->start) - is_after_cr;

		if (len > w->max_bytes) {
			w->max_bytes = len;
			if (len > w->limit_bytes && w->over_start == INT64_MAX)
				w->over_start = w->start;
		}
		w->start = (int64_t)end + 1;
	}
}

PN_SCAN_TARGET static bool measure(struct pn_line_walk *w, const uint8_t *p, size_t len,
				   uint8_t before)
{
	struct pn_line_walk lines = *w; /* a copy of our own stays in registers */
	struct pn_block high = { 0 }, b;
	unsigned int shift;
	size_t at = 0;

	for (; len - at >= BLOCK_SIZE; at += BLOCK_SIZE) {
		b = pn_block_load(p + at);
		high = pn_block_or(&high, &b);
		walk_lines(&lines, p, at, pn_block_eq(&b, '\n'), before);
	}
	if (at < len) {
		b = load_tail(p, len, len - at, &shift);
		high = pn_block_or(&high, &b);
		walk_lines(&lines, p, at, pn_block_eq(&b, '\n') >> shift, before);
	}
	*w = lines;
	return pn_block_has_8bit(&high);
}
