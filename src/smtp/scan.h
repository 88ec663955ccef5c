/* SPDX-License-Identifier: ISC */
/*
 * scan.h - the three loops that look at every octet of a message, 64 at a time, once for each
 * instruction set. Private to src/smtp.
 *
 * All variants give the same results to the bit. scan_loops.h has the loops, scan_plain.c and its
 * neighbours what they compare with, scan.c the choice.
 */
#ifndef PN_SMTP_SCAN_H
#define PN_SMTP_SCAN_H

#include <postern/base/common.h>

/*
 * The lines of a content as far as they were walked. Offsets are from the first octet of the piece
 * at hand, so that of a line that began before it is negative; lengths are without the CRLF.
 */
struct pn_line_walk {
	int64_t start;      /* the line that is open */
	int64_t over_start; /* the first line longer than the limit; INT64_MAX: none */
	uint64_t max_bytes; /* the longest line that has ended */
	uint64_t limit_bytes;
};

struct pn_scan {
	const char *name;
	/*
	 * How many octets from p on need no decision of the data scanner. An odd CR as the last
	 * octet counts as clean: the caller holds it back.
	 */
	size_t (*clean_length)(const uint8_t *p, size_t len, bool is_line_start, bool has_dot_rule);
	/* Where the first dot stands that begins a line, or len. */
	size_t (*line_dot)(const uint8_t *p, size_t len, bool is_after_lf);
	/*
	 * Settles the lines that end in len octets; `before` is the octet before them. Returns
	 * whether one of them is an 8-bit one.
	 */
	bool (*measure)(struct pn_line_walk *w, const uint8_t *p, size_t len, uint8_t before);
};

/* PN_BLOCK_PORTABLE is for the tests: what a machine without vectors runs. */
#if defined(__x86_64__) && !defined(PN_BLOCK_PORTABLE)
#define PN_SCAN_HAS_WIDE 1
#else
#define PN_SCAN_HAS_WIDE 0
#endif

extern const struct pn_scan pn_scan_plain, pn_scan_avx2, pn_scan_avx512;

/* Those that this CPU can run, the plain one first; NULL behind the last. */
const struct pn_scan *pn_scan_variant(size_t number);

/* The best of them. Set before main() and never again but by tests: any thread may read it. */
extern const struct pn_scan *pn_scan_best;

#endif
