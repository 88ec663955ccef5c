/* SPDX-License-Identifier: ISC */
/*
 * crc32c.c - CRC32C (Castagnoli, reflected, inverted at both ends).
 *
 * SSE4.2 or the ARMv8 CRC extension where the CPU has them, else eight tables; crc32c_fold.c where it can run. Which of
 * them is found out when the program starts.
 */
#include "base/crc32c_internal.h"

#include <pthread.h>
#include <string.h>

#include <postern/base/codec.h>

#define POLYNOMIAL UINT32_C(0x82f63b78)

static uint32_t tables[8][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
		tables[0][i] = crc;
	}
	for (size_t t = 1; t < 8; t++) {
		for (size_t i = 0; i < 256; i++)
			tables[t][i] = tables[t - 1][i] >> 8 ^ tables[0][tables[t - 1][i] & 255];
	}
}

uint32_t pn_crc32c_table(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *at = data;

	pthread_once(&tables_once, make_tables);
	crc = ~crc;
	for (; len >= 8; len -= 8, at += 8) {
		uint32_t low = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 |
				      (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
		crc = tables[7][low & 255] ^ tables[6][low >> 8 & 255] ^
		      tables[5][low >> 16 & 255] ^ tables[4][low >> 24] ^ tables[3][at[4]] ^
		      tables[2][at[5]] ^ tables[1][at[6]] ^ tables[0][at[7]];
	}
	for (; len != 0; len--, at++)
		crc = crc >> 8 ^ tables[0][(crc ^ *at) & 255];
	return ~crc;
}

#if defined(__x86_64__)

#include <nmmintrin.h>

bool pn_crc32c_has_hardware(void)
{
	return __builtin_cpu_supports("sse4.2") != 0;
}

/*
 * The instruction answers after three cycles but can be started in each, so three lanes run side by side; what
 * one lane has is then carried over the octets of the next, as if as many zeros had followed: a linear map,
 * kept as one table for each octet of the sum.
 */
#define LANE_OCTETS 256u
#define LANE_WORDS  (LANE_OCTETS / 8)

static uint32_t lane_tables[4][256];
static pthread_once_t lane_tables_once = PTHREAD_ONCE_INIT;

__attribute__((target("sse4.2"))) static void make_lane_tables(void)
{
	for (unsigned bit = 0; bit < 32; bit++) {
		uint64_t sum = UINT64_C(1) << bit;
		for (unsigned i = 0; i < LANE_WORDS; i++)
			sum = _mm_crc32_u64(sum, 0);
		for (unsigned octet = 0; octet < 256; octet++) {
			if (octet >> bit % 8 & 1)
				lane_tables[bit / 8][octet] ^= (uint32_t)sum;
		}
	}
}

static inline uint32_t skip_lane(uint32_t sum)
{
	return lane_tables[0][sum & 255] ^ lane_tables[1][sum >> 8 & 255] ^
	       lane_tables[2][sum >> 16 & 255] ^ lane_tables[3][sum >> 24];
}

static inline uint64_t load_word(const uint8_t *at)
{
	uint64_t word;
	memcpy(&word, at, sizeof(word));
	return word;
}

__attribute__((target("sse4.2"))) static uint32_t three_lanes(uint32_t sum, const uint8_t *at)
{
	uint64_t a = sum, b = 0, c = 0;

	for (unsigned i = 0; i < LANE_WORDS; i++, at += 8) {
		a = _mm_crc32_u64(a, load_word(at));
		b = _mm_crc32_u64(b, load_word(at + LANE_OCTETS));
		c = _mm_crc32_u64(c, load_word(at + (size_t)2 * LANE_OCTETS));
	}
	return skip_lane(skip_lane((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
}

__attribute__((target("sse4.2"))) uint32_t pn_crc32c_hardware(uint32_t crc, const void *data,
							      size_t len)
{
	const uint8_t *at = data;

	crc = ~crc;
	if (len >= (size_t)3 * LANE_OCTETS) {
		pthread_once(&lane_tables_once, make_lane_tables);
		for (; len >= (size_t)3 * LANE_OCTETS;
		     len -= (size_t)3 * LANE_OCTETS, at += (size_t)3 * LANE_OCTETS)
			crc = three_lanes(crc, at);
	}
	uint64_t wide = crc;
	for (; len >= 8; len -= 8, at += 8)
		wide = _mm_crc32_u64(wide, load_word(at));
	crc = (uint32_t)wide;
	for (; len != 0; len--, at++)
		crc = _mm_crc32_u8(crc, *at);
	return ~crc;
}

#elif defined(__aarch64__) && defined(__GNUC__)

#include <sys/auxv.h>

#define PN_HWCAP_CRC32 (1ul << 7)

bool pn_crc32c_has_hardware(void)
{
	return (getauxval(AT_HWCAP) & PN_HWCAP_CRC32) != 0;
}

uint32_t pn_crc32c_hardware(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *at = data;

	/* Assembly, because the intrinsics exist only when the whole file is compiled for the
	 * extension. */
	crc = ~crc;
	for (; len >= 8; len -= 8, at += 8) {
		uint64_t word;
		memcpy(&word, at, sizeof(word));
		__asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
	}
	for (; len != 0; len--, at++)
		__asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"(*at));
	return ~crc;
}

#else

bool pn_crc32c_has_hardware(void)
{
	return false;
}

uint32_t pn_crc32c_hardware(uint32_t crc, const void *data, size_t len)
{
	return pn_crc32c_table(crc, data, len);
}

#endif

struct pn_crc32c_variant pn_crc32c_variant(size_t number)
{
	struct pn_crc32c_variant found[4] = { { "table", pn_crc32c_table } };
	size_t count = 1;

	if (pn_crc32c_has_hardware())
		found[count++] = (struct pn_crc32c_variant){ "hardware", pn_crc32c_hardware };
#if PN_CRC32C_HAS_FOLD
	if (pn_crc32c_has_fold())
		found[count++] = (struct pn_crc32c_variant){ "fold", pn_crc32c_fold };
#endif
	return number < count ? found[number] : (struct pn_crc32c_variant){ 0 };
}

static uint32_t (*best)(uint32_t crc, const void *data, size_t len) = pn_crc32c_table;

/* Before main(), and so before any thread: nobody needs a lock or an atomic to read the choice. */
__attribute__((constructor)) static void choose(void)
{
	for (size_t i = 0; pn_crc32c_variant(i).sum; i++)
		best = pn_crc32c_variant(i).sum;
}

uint32_t pn_crc32c(uint32_t crc, const void *data, size_t len)
{
	return best(crc, data, len);
}
