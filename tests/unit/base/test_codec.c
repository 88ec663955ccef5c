/* SPDX-License-Identifier: ISC */
/* test_codec.c - base64, hex, xtext, UTF-8. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/codec.h>
#include <postern/base/prng.h>

static void test_base64_knows_the_vectors(void **state)
{
	/* RFC 4648 10 */
	static const char *const plain[] = { "", "f", "fo", "foo", "foob", "fooba", "foobar" };
	static const char *const coded[] = { "",         "Zg==",     "Zm8=",    "Zm9v",
					     "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy" };
	char out[16];
	uint8_t back[16];

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(plain); i++) {
		size_t len = pn_base64_encode(out, pn_slice_str(plain[i]));
		assert_int_equal(len, strlen(coded[i]));
		assert_memory_equal(out, coded[i], len);
		assert_int_equal(pn_base64_decode(back, pn_slice_str(coded[i])), strlen(plain[i]));
		assert_memory_equal(back, plain[i], strlen(plain[i]));
	}
}

static void test_base64_decode_is_strict(void **state)
{
	static const char *const wrong[] = {
		"Zg=",      "Zg",       "Z",    "====",     "=",    "Z===",
		"Zg==Zg==", "Zm9v\r\n", "Zm 9", "Zm9v====", "Zm9-", "Zm9_",
		"Zh==",     "Zm9=",     "Zm=v", "=Zm9",     "Zg=A", "\xff\xff\xff\xff",
	};
	uint8_t out[16];

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(wrong); i++)
		assert_int_equal(pn_base64_decode(out, pn_slice_str(wrong[i])), -EINVAL);
	assert_int_equal(pn_base64_decode(out, pn_slice("AAA\0", 4)), -EINVAL);
}

/* Exact-size heap blocks, so that the address sanitizer sees one octet too many. */
static void test_codecs_round_trip(void **state)
{
	struct pn_prng prng;

	(void)state;
	pn_prng_init(&prng, 5);
	for (int round = 0; round < 2000; round++) {
		size_t len = (size_t)pn_prng_below(&prng, 80) + 1;
		uint8_t *in = malloc(len);
		for (size_t i = 0; i < len; i++)
			in[i] = (uint8_t)pn_prng_next(&prng);
		char *base64 = malloc(PN_BASE64_ENCODED_SIZE(len));
		size_t base64_len = pn_base64_encode(base64, pn_slice(in, len));
		assert_int_equal(base64_len, PN_BASE64_ENCODED_SIZE(len));
		uint8_t *back = malloc(PN_BASE64_DECODED_SIZE_MAX(base64_len));
		assert_int_equal(pn_base64_decode(back, pn_slice(base64, base64_len)), len);
		assert_memory_equal(in, back, len);
		free(base64);
		free(back);
		char *text = malloc(3 * len);
		back = malloc(3 * len);
		size_t text_len = pn_xtext_encode(text, pn_slice(in, len));
		assert_int_equal(pn_xtext_decode(back, pn_slice(text, text_len)), len);
		assert_memory_equal(in, back, len);
		pn_hex_encode(text, pn_slice(in, len));
		assert_int_equal(pn_hex_decode(back, pn_slice(text, 2 * len)), len);
		assert_memory_equal(in, back, len);
		free(text);
		free(back);
		free(in);
	}
}

static void test_xtext_takes_only_its_characters(void **state)
{
	/* RFC 3461 4: hexchar is "+" and two upper-case digits */
	static const char *const wrong[] = { "+",   "+4",  "+4g",  "+2b",      "a b",
					     "a=b", "+-1", "\x7f", "\xc3\xa4", "a\n" };
	uint8_t out[16];
	char text[48];

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(wrong); i++)
		assert_int_equal(pn_xtext_decode(out, pn_slice_str(wrong[i])), -EINVAL);
	assert_int_equal(pn_xtext_decode(out, PN_SLICE_LIT("a+2Bb+3D")), 4);
	assert_memory_equal(out, "a+b=", 4);
	assert_int_equal(pn_xtext_encode(text, PN_SLICE_LIT("a+b= ")), 11);
	assert_memory_equal(text, "a+2Bb+3D+20", 11);
	assert_int_equal(pn_xtext_decode(out, PN_SLICE_NULL), 0);
}

static void test_hex_refuses_odd_and_foreign(void **state)
{
	uint8_t out[4];

	(void)state;
	assert_int_equal(pn_hex_decode(out, PN_SLICE_LIT("abc")), -EINVAL);
	assert_int_equal(pn_hex_decode(out, PN_SLICE_LIT("0g")), -EINVAL);
	assert_int_equal(pn_hex_decode(out, PN_SLICE_LIT("g0")), -EINVAL);
	assert_int_equal(pn_hex_decode(out, PN_SLICE_LIT("AbfF")), 2);
	assert_int_equal(out[0], 0xab);
	assert_int_equal(out[1], 0xff);
}

/* Decodes by the arithmetic definition; the fast one works by ranges of octets. */
static bool naive_utf8(const uint8_t *s, size_t len)
{
	static const uint32_t minimum[] = { 0, 0, 0x80, 0x800, 0x10000 };

	for (size_t i = 0; i < len;) {
		size_t n = s[i] < 0x80             ? 1
			   : (s[i] & 0xe0) == 0xc0 ? 2
			   : (s[i] & 0xf0) == 0xe0 ? 3
			   : (s[i] & 0xf8) == 0xf0 ? 4
						   : 0;
		if (n == 0 || len - i < n)
			return false;
		uint32_t code = n == 1 ? s[i] : s[i] & (0x7fu >> n);
		for (size_t j = 1; j < n; j++) {
			if ((s[i + j] & 0xc0) != 0x80)
				return false;
			code = code << 6 | (s[i + j] & 0x3fu);
		}
		if (code < minimum[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
			return false;
		i += n;
	}
	return true;
}

static void test_utf8_agrees_with_the_definition(void **state)
{
	static const uint8_t edges[] = { 0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
					 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
					 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xff };
	const size_t n = PN_ARRAY_SIZE(edges);

	(void)state;
	/* Every string of up to four octets over the edges of all ranges. */
	for (size_t code = 0; code < n * n * n * n; code++) {
		uint8_t s[4] = { edges[code % n], edges[code / n % n], edges[code / n / n % n],
				 edges[code / n / n / n] };
		for (size_t len = code < n * n * n ? 1 : 4; len <= 4; len++) {
			if (pn_utf8_is_valid(pn_slice(s, len)) != naive_utf8(s, len))
				fail_msg("%02x %02x %02x %02x (%zu)", s[0], s[1], s[2], s[3], len);
		}
	}
	assert_true(pn_utf8_is_valid(PN_SLICE_NULL));
	assert_int_equal(pn_utf8_next(PN_SLICE_NULL), 0);
	assert_int_equal(pn_utf8_next(PN_SLICE_LIT("\xe2\x82\xac!")), 3);
}

static void test_has_8bit_looks_at_every_octet(void **state)
{
	uint8_t s[40];

	(void)state;
	for (size_t len = 0; len <= sizeof(s); len++) {
		memset(s, 0x7f, sizeof(s));
		assert_false(pn_slice_has_8bit(pn_slice(s, len)));
		for (size_t i = 0; i < sizeof(s); i++) {
			s[i] = 0x80;
			assert_int_equal(pn_slice_has_8bit(pn_slice(s, len)), i < len);
			s[i] = 0x7f;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_base64_knows_the_vectors),
		cmocka_unit_test(test_base64_decode_is_strict),
		cmocka_unit_test(test_codecs_round_trip),
		cmocka_unit_test(test_xtext_takes_only_its_characters),
		cmocka_unit_test(test_hex_refuses_odd_and_foreign),
		cmocka_unit_test(test_utf8_agrees_with_the_definition),
		cmocka_unit_test(test_has_8bit_looks_at_every_octet),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
