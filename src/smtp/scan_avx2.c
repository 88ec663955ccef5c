/* SPDX-License-Identifier: ISC */
/* scan_avx2.c - the scan loops with two registers of 32 octets. */
#include "scan.h"

#if PN_SCAN_HAS_WIDE

#include <immintrin.h>
#include <string.h>

#define PN_SCAN_TARGET __attribute__((target("avx2,bmi")))

struct pn_block {
	__m256i v[2];
};

PN_SCAN_TARGET static inline __m256i load_32(const uint8_t *p)
{
	return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

PN_SCAN_TARGET static inline struct pn_block pn_block_load(const uint8_t *p)
{
	return (struct pn_block){ .v = { load_32(p), load_32(p + 32) } };
}

PN_SCAN_TARGET static inline struct pn_block pn_block_load_few(const uint8_t *p, size_t n)
{
	uint8_t copy[64];

	memset(copy, 'a', sizeof(copy));
	memcpy(copy, p, n);
	return pn_block_load(copy);
}

PN_SCAN_TARGET static inline uint64_t pn_block_eq(const struct pn_block *b, char octet)
{
	const __m256i want = _mm256_set1_epi8(octet);
	uint32_t lo = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(b->v[0], want)),
		 hi = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(b->v[1], want));

	return lo | (uint64_t)hi << 32;
}

PN_SCAN_TARGET static inline struct pn_block pn_block_or(const struct pn_block *a,
							 const struct pn_block *b)
{
	return (struct pn_block){
		.v = { _mm256_or_si256(a->v[0], b->v[0]), _mm256_or_si256(a->v[1], b->v[1]) },
	};
}

PN_SCAN_TARGET static inline bool pn_block_has_8bit(const struct pn_block *b)
{
	return _mm256_movemask_epi8(_mm256_or_si256(b->v[0], b->v[1])) != 0;
}

#include "scan_loops.h"

const struct pn_scan pn_scan_avx2 = {
	.name = "avx2",
	.clean_length = clean_length,
	.line_dot = line_dot,
	.measure = measure,
};

#endif
