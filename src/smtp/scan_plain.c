/* SPDX-License-Identifier: ISC */
/*
 * scan_plain.c - the scan loops for any CPU: SSE2 where the compiler has it (every x86-64), else
 * eight words of plain C.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__) && !defined(PN_BLOCK_PORTABLE)
#include <emmintrin.h>

struct pn_block {
	__m128i v[4];
};

static inline __m128i load_16(const uint8_t *p)
{
	return _mm_loadu_si128((const __m128i *)(const void *)p);
}

static inline struct pn_block pn_block_load(const uint8_t *p)
{
	return (struct pn_block){
		.v = { load_16(p), load_16(p + 16), load_16(p + 32), load_16(p + 48) },
	};
}

static inline uint64_t pn_block_join(__m128i a, __m128i b, __m128i c, __m128i d)
{
	uint64_t lo = (uint32_t)_mm_movemask_epi8(a) | (uint64_t)(uint32_t)_mm_movemask_epi8(b)
							       << 16;
	uint64_t hi = (uint32_t)_mm_movemask_epi8(c) | (uint64_t)(uint32_t)_mm_movemask_epi8(d)
							       << 16;

	return lo | hi << 32;
}

static inline uint64_t pn_block_eq(const struct pn_block *b, char octet)
{
	const __m128i want = _mm_set1_epi8(octet);

	return pn_block_join(_mm_cmpeq_epi8(b->v[0], want), _mm_cmpeq_epi8(b->v[1], want),
			     _mm_cmpeq_epi8(b->v[2], want), _mm_cmpeq_epi8(b->v[3], want));
}

static inline struct pn_block pn_block_or(const struct pn_block *a, const struct pn_block *b)
{
	return (struct pn_block){
		.v = { _mm_or_si128(a->v[0], b->v[0]), _mm_or_si128(a->v[1], b->v[1]),
		       _mm_or_si128(a->v[2], b->v[2]), _mm_or_si128(a->v[3], b->v[3]) },
	};
}

static inline bool pn_block_has_8bit(const struct pn_block *b)
{
	return _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(b->v[0], b->v[1]),
					      _mm_or_si128(b->v[2], b->v[3]))) != 0;
}

#else

struct pn_block {
	uint64_t v[8]; /* octet 0 in the low bits, on any machine */
};

static inline struct pn_block pn_block_load(const uint8_t *p)
{
	struct pn_block b;

	for (int i = 0; i < 8; i++) {
		memcpy(&b.v[i], p + 8 * i, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
		b.v[i] = __builtin_bswap64(b.v[i]);
#endif
	}
	return b;
}

/* The top bits of eight octets, gathered in the low eight bits. */
static inline uint64_t pn_block_gather(uint64_t tops)
{
	return (tops >> 7) * 0x0102040810204080u >> 56;
}

static inline uint64_t pn_block_eq(const struct pn_block *b, char octet)
{
	const uint64_t low = 0x7f7f7f7f7f7f7f7fu, want = 0x0101010101010101u * (uint8_t)octet;
	uint64_t mask = 0;

	for (int i = 0; i < 8; i++) {
		uint64_t x = b->v[i] ^ want;

		/* Exact for each octet: no carry crosses, as both summands are below 0x80. */
		mask |= pn_block_gather(~(((x & low) + low) | x | low)) << (8 * i);
	}
	return mask;
}

static inline struct pn_block pn_block_or(const struct pn_block *a, const struct pn_block *b)
{
	struct pn_block both;

	for (int i = 0; i < 8; i++)
		both.v[i] = a->v[i] | b->v[i];
	return both;
}

static inline bool pn_block_has_8bit(const struct pn_block *b)
{
	uint64_t any = 0;

	for (int i = 0; i < 8; i++)
		any |= b->v[i];
	return (any & 0x8080808080808080u) != 0;
}

#endif

static inline struct pn_block pn_block_load_few(const uint8_t *p, size_t n)
{
	uint8_t copy[64];

	memset(copy, 'a', sizeof(copy));
	memcpy(copy, p, n);
	return pn_block_load(copy);
}

#define PN_SCAN_TARGET
#include "scan_loops.h"

const struct pn_scan pn_scan_plain = {
	.name = "plain",
	.clean_length = clean_length,
	.line_dot = line_dot,
	.measure = measure,
};
