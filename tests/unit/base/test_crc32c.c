/* SPDX-License-Identifier: ISC */
/*
 * test_crc32c.c - every way to compute CRC32C that this CPU can run, against the definition bit by bit.
 *
 * An intrinsic that loads too much may escape the sanitizers, so inputs also lie against unmapped pages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <postern/base/codec.h>
#include <postern/base/prng.h>

#include "base/crc32c_internal.h"

#define LENGTH_MAX   4096u /* also a page: many strides of the fold, several rounds of the lanes */
#define ALIGNMENTS   64u
#define LONG_MAX     (1u << 20)
#define SPLIT_LENGTH 1400u

static uint32_t bitwise(uint32_t crc, const uint8_t *data, size_t len)
{
	crc = ~crc;
	while (len-- != 0) {
		crc ^= *data++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
	}
	return ~crc;
}

static void check_from(size_t number, const uint8_t *data, size_t len, uint32_t want)
{
	struct pn_crc32c_variant v;

	for (size_t i = number; (v = pn_crc32c_variant(i)).sum; i++) {
		uint32_t got = v.sum(0, data, len);
		if (got != want)
			fail_msg("%s: %zu octets at %p: %08x, not %08x", v.name, len,
				 (const void *)data, got, want);
	}
}

static void check(const uint8_t *data, size_t len, uint32_t want)
{
	check_from(0, data, len, want);
}

static uint8_t *random_octets(size_t len, uint64_t seed)
{
	uint8_t *data = aligned_alloc(ALIGNMENTS, len + ALIGNMENTS - len % ALIGNMENTS);
	struct pn_prng prng;

	assert_non_null(data);
	pn_prng_init(&prng, seed);
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)pn_prng_next(&prng);
	return data;
}

static void test_variants_know_the_answers(void **state)
{
	/* RFC 3720 B.4; its last example is a SCSI read command. */
	static const uint8_t command[48] = {
		[0] = 0x01,  [1] = 0xc0,  [16] = 0x14, [22] = 0x04,
		[27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02,
	};
	uint8_t data[32];

	(void)state;
	check(NULL, 0, 0);
	check((const uint8_t *)"123456789", 9, 0xe3069283);
	memset(data, 0, sizeof(data));
	check(data, sizeof(data), 0x8a9136aa);
	memset(data, 0xff, sizeof(data));
	check(data, sizeof(data), 0x62a8ab43);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	check(data, sizeof(data), 0x46dd794e);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(31 - i);
	check(data, sizeof(data), 0x113fdb5c);
	check(command, sizeof(command), 0xd9963a56);
}

static void test_variants_agree_on_all_lengths_and_alignments(void **state)
{
	uint8_t *data = random_octets(LENGTH_MAX + ALIGNMENTS, 3);

	(void)state;
	for (size_t from = 0; from < ALIGNMENTS; from++) {
		uint32_t want = 0;
		for (size_t len = 0; len <= LENGTH_MAX; len++) {
			/* The tables are slow and take single octets: few alignments do for them. */
			check_from(from < 8 ? 0 : 1, data + from, len, want);
			want = bitwise(want, data + from + len, 1);
		}
	}
	free(data);
}

/* What one variant has summed, any other goes on with. */
static void test_variants_go_on_from_any_split(void **state)
{
	uint8_t *data = random_octets(SPLIT_LENGTH, 4);
	uint32_t want = bitwise(0, data, SPLIT_LENGTH);
	struct pn_crc32c_variant a, b;

	(void)state;
	for (size_t cut = 0; cut <= SPLIT_LENGTH; cut++) {
		for (size_t i = 0; (a = pn_crc32c_variant(i)).sum; i++) {
			uint32_t before = a.sum(0, data, cut);
			for (size_t j = 0; (b = pn_crc32c_variant(j)).sum; j++) {
				uint32_t got = b.sum(before, data + cut, SPLIT_LENGTH - cut);
				if (got != want)
					fail_msg("%s, %s from %zu on: %08x, not %08x", a.name,
						 b.name, cut, got, want);
			}
		}
	}
	free(data);
}

static void test_variants_agree_on_long_inputs(void **state)
{
	uint8_t *data = random_octets(LONG_MAX, 5);
	struct pn_prng prng;

	(void)state;
	check(data, LONG_MAX, bitwise(0, data, LONG_MAX));
	pn_prng_init(&prng, 6);
	for (int round = 0; round < 12; round++) {
		size_t from = (size_t)pn_prng_below(&prng, 100);
		size_t len = (size_t)pn_prng_below(&prng, LONG_MAX - 100);
		size_t cut = (size_t)pn_prng_below(&prng, len + 1);
		uint32_t want = bitwise(0, data + from, len);
		check(data + from, len, want);
		assert_int_equal(pn_crc32c(0, data + from, len), want);
		assert_int_equal(
			pn_crc32c(pn_crc32c(0, data + from, cut), data + from + cut, len - cut),
			want);
	}
	free(data);
}

static void test_variants_touch_nothing_outside(void **state)
{
	uint8_t *pages =
		mmap(NULL, (size_t)3 * LENGTH_MAX, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *room = pages + LENGTH_MAX;

	(void)state;
	assert_ptr_not_equal(pages, MAP_FAILED);
	assert_int_equal(mprotect(room, LENGTH_MAX, PROT_READ | PROT_WRITE), 0);
	for (size_t i = 0; i < LENGTH_MAX; i++)
		room[i] = (uint8_t)(i * 7 + i / 256);
	for (size_t len = 0; len <= LENGTH_MAX; len++) {
		check(room, len, bitwise(0, room, len));
		check(room + LENGTH_MAX - len, len, bitwise(0, room + LENGTH_MAX - len, len));
	}
	assert_int_equal(munmap(pages, (size_t)3 * LENGTH_MAX), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_variants_know_the_answers),
		cmocka_unit_test(test_variants_agree_on_all_lengths_and_alignments),
		cmocka_unit_test(test_variants_go_on_from_any_split),
		cmocka_unit_test(test_variants_agree_on_long_inputs),
		cmocka_unit_test(test_variants_touch_nothing_outside),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
