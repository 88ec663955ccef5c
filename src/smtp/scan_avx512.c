/* SPDX-License-Identifier: ISC */
/* scan_avx512.c - the scan loops with one register of 64 octets, whose compares give the mask. */
#include "scan.h"

#if PN_SCAN_HAS_WIDE

#include <immintrin.h>

#define PN_SCAN_TARGET __attribute__((target("avx512f,avx512bw,bmi")))

struct pn_block {
	__m512i v;
};

PN_SCAN_TARGET static inline struct pn_block pn_block_load(const uint8_t *p)
{
	return (struct pn_block){ .v = _mm512_loadu_si512(p) };
}

/* Octets that the mask leaves out are not touched: they may lie in a page that is not there. */
PN_SCAN_TARGET static inline struct pn_block pn_block_load_few(const uint8_t *p, size_t n)
{
	const __mmask64 few = (1ull << n) - 1;

	return (struct pn_block){ .v = _mm512_mask_loadu_epi8(_mm512_set1_epi8('a'), few, p) };
}

PN_SCAN_TARGET static inline uint64_t pn_block_eq(const struct pn_block *b, char octet)
{
	return _mm512_cmpeq_epi8_mask(b->v, _mm512_set1_epi8(octet));
}

PN_SCAN_TARGET static inline struct pn_block pn_block_or(const struct pn_block *a,
							 const struct pn_block *b)
{
	return (struct pn_block){ .v = _mm512_or_si512(a->v, b->v) };
}

PN_SCAN_TARGET static inline bool pn_block_has_8bit(const struct pn_block *b)
{
	return _mm512_movepi8_mask(b->v) != 0;
}

#include "scan_loops.h"

const struct pn_scan pn_scan_avx512 = {
	.name = "avx512",
	.clean_length = clean_length,
	.line_dot = line_dot,
	.measure = measure,
};

#endif
