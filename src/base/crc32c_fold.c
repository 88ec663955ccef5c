/* SPDX-License-Identifier: ISC */
/*
 * crc32c_fold.c - CRC32C by folding with carry-less multiplications of 512 bits.
 *
 * A sum is the remainder of the message, read as a polynomial, divided by P. So octets may be replaced by others that
 * leave the same remainder: 16 octets are multiplied by what D bits further on are worth, x^D mod P, and added to the
 * 16 octets that stand there (Gopal and others, "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ
 * Instruction", Intel 2009). At the end 16 octets stand for all that came before them.
 */
#include "base/crc32c_internal.h"

#if PN_CRC32C_HAS_FOLD

#include <immintrin.h>

#define PN_FOLD_TARGET __attribute__((target("sse4.2,avx512f,vpclmulqdq")))

#define BLOCK_SIZE     64u /* a register: four times 16 octets, folded side by side */

/*
 * Four registers at a time keep the multiplier busy all the time. What fills them pays: 256 octets take half as long as
 * with the instruction alone, a few thousand 0.4 times as long.
 */
#define STRIDE_SIZE (4u * BLOCK_SIZE)

/*
 * What carries 16 octets on by D bits. Bit i of a word stands for x^(63-i), the lowest being what was sent first. The
 * product of two such words has x^(126-i), but is read as 16 octets, where bit i is x^(127-i): once more x than was
 * meant, which the factors have less. The first word of the 16 stands 64 bits before the second.
 */
struct factors {
	uint64_t first;  /* x^(D+63) mod P */
	uint64_t second; /* x^(D-1) mod P */
};

static struct factors by_block[4];     /* D of one block, two, three, four */
static struct factors within_block[4]; /* for each 16 octets, to the last of them; those stay */

/* Every step of 64 bits over zeros multiplies a sum by x^64; in a sum bit i stands for x^(31-i). */
PN_FOLD_TARGET static struct factors make_factors(unsigned bits)
{
	uint64_t power = _mm_crc32_u32(1, 0); /* x^31 times x^32 */

	for (unsigned at = 64; at < bits; at += 64)
		power = _mm_crc32_u64(power, 0);
	return (struct factors){ .first = _mm_crc32_u64(power, 0) << 32, .second = power << 32 };
}

bool pn_crc32c_has_fold(void)
{
	/* Those that lower the clock of the core for 512-bit registers (Intel before Ice Lake) have no VPCLMULQDQ. */
	return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("avx512f") &&
	       __builtin_cpu_supports("vpclmulqdq");
}

/* Before main(), and so before any thread. */
__attribute__((constructor)) static void make_all_factors(void)
{
	if (!pn_crc32c_has_fold())
		return;
	for (unsigned i = 0; i < 4; i++)
		by_block[i] = make_factors((i + 1) * BLOCK_SIZE * 8);
	for (unsigned i = 0; i < 3; i++)
		within_block[i] = make_factors((3 - i) * 128);
}

PN_FOLD_TARGET static inline __m512i load_factors(const struct factors *f)
{
	return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)f));
}

/* `sum` carried on, added to `there`. */
PN_FOLD_TARGET static inline __m512i fold(__m512i sum, __m512i factors, __m512i there)
{
	__m512i first = _mm512_clmulepi64_epi128(sum, factors, 0x00);
	__m512i second = _mm512_clmulepi64_epi128(sum, factors, 0x11);

	return _mm512_ternarylogic_epi64(first, second, there, 0x96); /* exclusive or of three */
}

/* The sum of 64 octets, with nothing before them and nothing behind. */
PN_FOLD_TARGET static inline uint64_t sum_block(__m512i block)
{
	__m512i last = _mm512_maskz_mov_epi64(0xc0, block);
	__m512i all = fold(block, _mm512_loadu_si512(within_block), last);
	__m256i half =
		_mm256_xor_si256(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
	__m128i end =
		_mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));

	return _mm_crc32_u64(_mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(end)),
			     (uint64_t)_mm_extract_epi64(end, 1));
}

/* Whole blocks, four or more, after what has the sum `sum`; both sums are not inverted. */
PN_FOLD_TARGET static uint32_t sum_blocks(uint32_t sum, const uint8_t *at, const uint8_t *end)
{
	const __m512i stride = load_factors(&by_block[3]);
	/* What was summed before is added to the first four octets, as the ones at the very start are. */
	__m512i a = _mm512_xor_si512(_mm512_loadu_si512(at),
				     _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)sum)));
	__m512i b = _mm512_loadu_si512(at + BLOCK_SIZE);
	__m512i c = _mm512_loadu_si512(at + 2 * BLOCK_SIZE);
	__m512i d = _mm512_loadu_si512(at + 3 * BLOCK_SIZE);

	for (at += STRIDE_SIZE; end - at >= STRIDE_SIZE; at += STRIDE_SIZE) {
		a = fold(a, stride, _mm512_loadu_si512(at));
		b = fold(b, stride, _mm512_loadu_si512(at + BLOCK_SIZE));
		c = fold(c, stride, _mm512_loadu_si512(at + 2 * BLOCK_SIZE));
		d = fold(d, stride, _mm512_loadu_si512(at + 3 * BLOCK_SIZE));
	}
	d = fold(a, load_factors(&by_block[2]), d);
	d = fold(b, load_factors(&by_block[1]), d);
	d = fold(c, load_factors(&by_block[0]), d);
	for (; end - at >= BLOCK_SIZE; at += BLOCK_SIZE)
		d = fold(d, load_factors(&by_block[0]), _mm512_loadu_si512(at));
	return (uint32_t)sum_block(d);
}

uint32_t pn_crc32c_fold(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *at = data;
	size_t folded = len - len % BLOCK_SIZE;

	if (len < STRIDE_SIZE)
		return pn_crc32c_hardware(crc, data, len);
	crc = ~sum_blocks(~crc, at, at + folded);
	return pn_crc32c_hardware(crc, at + folded, len - folded);
}

#endif
