/* SPDX-License-Identifier: ISC */
/* test_memory.c - slices, buffers, arenas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include <postern/base/arena.h>
#include <postern/base/buf.h>
#include <postern/base/prng.h>
#include <postern/base/slice.h>

static void test_slice_compares_ascii_without_case(void **state)
{
	(void)state;
	assert_true(pn_slice_eq_nocase(PN_SLICE_LIT("EhLo"), PN_SLICE_LIT("eHlO")));
	assert_false(pn_slice_eq_nocase(PN_SLICE_LIT("EHLO"), PN_SLICE_LIT("EHLO ")));
	/* '@' and '`' differ only in the bit that letters ignore */
	assert_false(pn_slice_eq_nocase(PN_SLICE_LIT("@"), PN_SLICE_LIT("`")));
	assert_false(pn_slice_eq_nocase(PN_SLICE_LIT("\xc4"), PN_SLICE_LIT("\xe4")));
	assert_true(
		pn_slice_starts_nocase(PN_SLICE_LIT("mail from:<a>"), PN_SLICE_LIT("MAIL FROM:")));
	assert_false(pn_slice_starts_nocase(PN_SLICE_LIT("MAIL"), PN_SLICE_LIT("MAIL FROM:")));
	assert_true(pn_slice_starts_nocase(PN_SLICE_NULL, PN_SLICE_NULL));
	assert_true(pn_slice_eq(PN_SLICE_NULL, PN_SLICE_LIT("")));
	assert_false(pn_slice_eq(PN_SLICE_LIT("a"), PN_SLICE_LIT("A")));
}

static void test_slice_reads_only_whole_numbers_within_the_maximum(void **state)
{
	uint64_t v = 7;

	(void)state;
	assert_true(pn_slice_to_u64(PN_SLICE_LIT("0"), 0, &v));
	assert_int_equal(v, 0);
	assert_true(pn_slice_to_u64(PN_SLICE_LIT("18446744073709551615"), UINT64_MAX, &v));
	assert_true(v == UINT64_MAX);
	assert_true(pn_slice_to_u64(PN_SLICE_LIT("007"), 7, &v));
	v = 42;
	assert_false(pn_slice_to_u64(PN_SLICE_LIT("18446744073709551616"), UINT64_MAX, &v));
	assert_false(pn_slice_to_u64(PN_SLICE_LIT("99999999999999999999999"), UINT64_MAX, &v));
	assert_false(pn_slice_to_u64(PN_SLICE_LIT("8"), 7, &v));
	assert_false(pn_slice_to_u64(PN_SLICE_LIT(""), 7, &v));
	assert_false(pn_slice_to_u64(PN_SLICE_NULL, 7, &v));
	assert_false(pn_slice_to_u64(PN_SLICE_LIT("-1"), 7, &v));
	assert_false(pn_slice_to_u64(PN_SLICE_LIT(" 1"), 7, &v));
	assert_false(pn_slice_to_u64(PN_SLICE_LIT("1x"), 7, &v));
	assert_int_equal(v, 42);
}

static void test_buf_never_exceeds_its_maximum(void **state)
{
	struct pn_buf b;
	uint8_t data[1000] = { 0 };

	(void)state;
	pn_buf_init(&b, 1000);
	assert_int_equal(pn_buf_append(&b, data, 0), 0);
	assert_null(b.data);
	assert_int_equal(pn_buf_append(&b, data, 999), 0);
	assert_int_equal(pn_buf_append(&b, data, 2), -ENOBUFS);
	assert_int_equal(pn_buf_len(&b), 999);
	assert_int_equal(pn_buf_append(&b, data, 1), 0);
	assert_true(b.cap <= 1000);
	assert_int_equal(pn_buf_reserve(&b, SIZE_MAX), -ENOBUFS);
	assert_int_equal(pn_buf_reserve(&b, 1), -ENOBUFS);
	pn_buf_consume(&b, 1);
	assert_int_equal(pn_buf_append(&b, data, 1), 0);
	pn_buf_clear(&b);
	assert_int_equal(pn_buf_append(&b, data, 1000), 0);
	pn_buf_free(&b);
	assert_null(b.data);
	assert_int_equal(b.max, 1000);
	assert_int_equal(pn_buf_append_str(&b, "again"), 0);
	pn_buf_wipe(&b);
}

static void test_buf_keeps_its_octets_in_order_whatever_the_calls(void **state)
{
	struct pn_prng prng;
	struct pn_buf b;
	uint8_t next_in = 0, next_out = 0, chunk[700];

	(void)state;
	pn_prng_init(&prng, 11);
	for (int kind = 0; kind < 2; kind++) {
		if (kind == 0)
			pn_buf_init(&b, 3000);
		else
			pn_buf_init_secret(&b, 3000);
		next_in = next_out = 0;
		for (int round = 0; round < 20000; round++) {
			size_t n = (size_t)pn_prng_below(&prng, sizeof(chunk));
			if (pn_prng_below(&prng, 2) == 0) {
				for (size_t i = 0; i < n; i++)
					chunk[i] = (uint8_t)(next_in + i);
				size_t before = pn_buf_len(&b);
				int r = pn_buf_append(&b, chunk, n);
				assert_int_equal(r, before + n <= 3000 ? 0 : -ENOBUFS);
				if (r == 0)
					next_in = (uint8_t)(next_in + n);
			} else {
				n = pn_min_size(n, pn_buf_len(&b));
				for (size_t i = 0; i < n; i++)
					assert_int_equal(pn_buf_ptr(&b)[i],
							 (uint8_t)(next_out + i));
				pn_buf_consume(&b, n);
				next_out = (uint8_t)(next_out + n);
			}
			assert_true(b.cap <= b.max);
		}
		pn_buf_free(&b);
	}
}

static void test_buf_swap_keeps_each_maximum(void **state)
{
	struct pn_buf a, b, secret;

	(void)state;
	pn_buf_init(&a, 1000);
	pn_buf_init(&b, 600);
	pn_buf_init_secret(&secret, 1000);
	assert_int_equal(pn_buf_append_str(&a, "one"), 0);
	assert_int_equal(pn_buf_append_str(&b, "the other"), 0);
	assert_true(pn_buf_swap(&a, &b));
	assert_true(pn_slice_eq(pn_buf_slice(&a), pn_slice_str("the other")));
	assert_true(pn_slice_eq(pn_buf_slice(&b), pn_slice_str("one")));
	assert_int_equal(a.max, 1000);
	assert_int_equal(b.max, 600);
	assert_int_equal(pn_buf_reserve(&a, 900), 0);
	assert_false(pn_buf_swap(&a, &b)); /* more memory than b may have */
	assert_false(pn_buf_swap(&b, &a));
	assert_false(pn_buf_swap(&a, &secret));
	assert_true(pn_slice_eq(pn_buf_slice(&a), pn_slice_str("the other")));
	pn_buf_free(&a);
	pn_buf_free(&b);
	pn_buf_free(&secret);
}

static void test_buf_prints_up_to_the_last_octet(void **state)
{
	struct pn_buf b;

	(void)state;
	pn_buf_init(&b, 10);
	assert_int_equal(pn_buf_printf(&b, "%s", ""), 0);
	assert_int_equal(pn_buf_printf(&b, "%d-%s", 250, "ok"), 0);
	assert_true(pn_slice_eq(pn_buf_slice(&b), PN_SLICE_LIT("250-ok")));
	assert_int_equal(pn_buf_printf(&b, "%s", "12345"), -ENOBUFS);
	assert_int_equal(pn_buf_printf(&b, "%s", "1234"), 0);
	assert_true(pn_slice_eq(pn_buf_slice(&b), PN_SLICE_LIT("250-ok1234")));
	pn_buf_free(&b);
	assert_true(pn_slice_eq(pn_buf_slice(&b), PN_SLICE_NULL));
}

static void test_arena_aligns_and_stops_at_its_maximum(void **state)
{
	struct pn_arena a;
	size_t total = 0, size;

	(void)state;
	pn_arena_init(&a, 512, 4096);
	assert_null(a.chunks);
	for (size = 0; size < 100; size++) {
		uint8_t *p = pn_arena_zalloc(&a, size);
		if (!p)
			break;
		assert_int_equal((uintptr_t)p % 16, 0);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(p[i], 0);
		memset(p, 0xaa, size);
		total += size;
	}
	assert_true(size < 100);
	assert_true(total > 2000 && total < 4096);
	assert_true(a.used_bytes <= 4096);
	assert_null(pn_arena_alloc(&a, 4096));
	assert_null(pn_arena_alloc(&a, SIZE_MAX));
	assert_null(pn_arena_alloc(&a, SIZE_MAX - 8));
	pn_arena_reset(&a);
	assert_int_equal(a.used_bytes, 0);
	assert_null(a.chunks);
}

static void test_arena_keeps_the_room_of_its_chunk_when_a_large_piece_comes(void **state)
{
	struct pn_arena a;

	(void)state;
	pn_arena_init(&a, 1024, 65536);
	uint8_t *first = pn_arena_alloc(&a, 16);
	uint8_t *large = pn_arena_alloc(&a, 10000);
	uint8_t *second = pn_arena_alloc(&a, 16);
	assert_non_null(first);
	assert_non_null(large);
	memset(large, 1, 10000);
	assert_ptr_equal(second, first + 16);
	pn_arena_reset(&a);
}

static void test_arena_dup_terminates_its_copy(void **state)
{
	struct pn_arena a;
	struct pn_slice copy;

	(void)state;
	pn_arena_init(&a, 64, 256);
	assert_int_equal(pn_arena_dup(&a, PN_SLICE_LIT("abc"), &copy), 0);
	assert_string_equal((const char *)copy.ptr, "abc");
	assert_int_equal(copy.len, 3);
	assert_int_equal(pn_arena_dup(&a, PN_SLICE_NULL, &copy), 0);
	assert_int_equal(copy.ptr[0], 0);
	assert_int_equal(pn_arena_dup(&a, pn_slice("", SIZE_MAX), &copy), -ENOMEM);
	assert_int_equal(pn_arena_dup(&a, pn_slice("", 300), &copy), -ENOMEM);
	pn_arena_reset(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slice_compares_ascii_without_case),
		cmocka_unit_test(test_slice_reads_only_whole_numbers_within_the_maximum),
		cmocka_unit_test(test_buf_never_exceeds_its_maximum),
		cmocka_unit_test(test_buf_keeps_its_octets_in_order_whatever_the_calls),
		cmocka_unit_test(test_buf_swap_keeps_each_maximum),
		cmocka_unit_test(test_buf_prints_up_to_the_last_octet),
		cmocka_unit_test(test_arena_aligns_and_stops_at_its_maximum),
		cmocka_unit_test(test_arena_keeps_the_room_of_its_chunk_when_a_large_piece_comes),
		cmocka_unit_test(test_arena_dup_terminates_its_copy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
