/* SPDX-License-Identifier: ISC */
/* test_gcm.c - AES-GCM of tls/gcm.h against BoringSSL's, octet by octet, and what it must refuse. */
#include "tls_support.h"

#include <openssl/aead.h>
#include <openssl/rand.h>

#include "tls/gcm.h"

#define LEN_MAX   (16384 + 1)
#define SPACE     (LEN_MAX + PN_GCM_TAG_LEN + 64)
#define SMALL_MAX 1100u

struct world {
	EVP_AEAD_CTX theirs;
	struct pn_gcm_key ours;
	uint8_t nonce[PN_GCM_NONCE_LEN];
	uint8_t ad[13];
};

static uint8_t plain[SPACE], sealed[SPACE], expected[SPACE], opened[SPACE];

static void world_init(struct world *w, size_t key_len)
{
	uint8_t key[32];

	RAND_bytes(key, sizeof(key));
	RAND_bytes(w->nonce, sizeof(w->nonce));
	RAND_bytes(w->ad, sizeof(w->ad));
	RAND_bytes(plain, sizeof(plain));
	assert_true(EVP_AEAD_CTX_init(
		&w->theirs, key_len == 16 ? EVP_aead_aes_128_gcm() : EVP_aead_aes_256_gcm(), key,
		key_len, PN_GCM_TAG_LEN, NULL));
	pn_gcm_key_make(&w->ours, key, key_len);
}

static void world_free(struct world *w)
{
	EVP_AEAD_CTX_cleanup(&w->theirs);
}

/* One length at one place in memory, the last `extra` octets given apart. */
static void try_length(struct world *w, size_t len, size_t extra, size_t shift, size_t ad_len)
{
	struct pn_slice ad = pn_slice(w->ad, ad_len);
	size_t theirs_len = 0;

	assert_true(EVP_AEAD_CTX_seal(&w->theirs, expected, &theirs_len, SPACE, w->nonce,
				      PN_GCM_NONCE_LEN, plain + shift, len, ad.ptr, ad.len));
	assert_int_equal(theirs_len, len + PN_GCM_TAG_LEN);
	memset(sealed, 0xee, sizeof(sealed));
	pn_gcm_seal(&w->ours, sealed + shift, pn_slice(plain + shift, len - extra),
		    pn_slice(plain + shift + len - extra, extra), w->nonce, ad);
	assert_memory_equal(sealed + shift, expected, theirs_len);
	/* Nothing beside it was written. */
	for (size_t i = 0; i < shift; i++)
		assert_int_equal(sealed[i], 0xee);
	assert_int_equal(sealed[shift + theirs_len], 0xee);

	memset(opened, 0xee, sizeof(opened));
	assert_true(pn_gcm_open(&w->ours, opened + 1, expected, theirs_len, w->nonce, ad));
	assert_memory_equal(opened + 1, plain + shift, len);
	assert_int_equal(opened[0], 0xee);
	assert_int_equal(opened[1 + len], 0xee);
	/* In place, as records are. */
	assert_true(
		pn_gcm_open(&w->ours, sealed + shift, sealed + shift, theirs_len, w->nonce, ad));
	assert_memory_equal(sealed + shift, plain + shift, len);
}

static void run_lengths(size_t key_len)
{
	static const size_t longer[] = { 1499, 2047,  2048,  2049,  4095,  4096,   4097,
					 8191, 12345, 16368, 16383, 16384, LEN_MAX };
	struct world w;

	world_init(&w, key_len);
	for (size_t len = 0; len <= SMALL_MAX; len++)
		try_length(&w, len, len > 0 ? 1 : 0, len % 64, len % 2 ? 5 : 13);
	for (size_t i = 0; i < PN_ARRAY_SIZE(longer); i++) {
		try_length(&w, longer[i], 0, i, 13);
		try_length(&w, longer[i], 1, 64 - i, 5);
	}
	world_free(&w);
}

static void test_lengths_128(void **state)
{
	(void)state;
	run_lengths(16);
}

static void test_lengths_256(void **state)
{
	(void)state;
	run_lengths(32);
}

/* What is not authentic is refused, and no octet of it stays. */
static void refused(struct world *w, const uint8_t *what, size_t len, struct pn_slice ad)
{
	memset(opened, 0xee, sizeof(opened));
	assert_false(pn_gcm_open(&w->ours, opened, what, len, w->nonce, ad));
	for (size_t i = 0; len >= PN_GCM_TAG_LEN && i < len - PN_GCM_TAG_LEN; i++)
		assert_int_equal(opened[i], 0);
	assert_int_equal(opened[len], 0xee);
}

static void test_each_bit_counts(void **state)
{
	const size_t len = 300, whole = len + PN_GCM_TAG_LEN;
	struct world w;
	struct pn_slice ad;

	(void)state;
	world_init(&w, 16);
	ad = pn_slice(w.ad, 5);
	pn_gcm_seal(&w.ours, sealed, pn_slice(plain, len), PN_SLICE_NULL, w.nonce, ad);
	for (size_t bit = 0; bit < whole * 8; bit++) {
		sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
		refused(&w, sealed, whole, ad);
		sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (size_t bit = 0; bit < 5 * 8u; bit++) {
		w.ad[bit / 8] ^= (uint8_t)(1u << bit % 8);
		refused(&w, sealed, whole, ad);
		w.ad[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (size_t bit = 0; bit < PN_GCM_NONCE_LEN * 8u; bit++) {
		w.nonce[bit / 8] ^= (uint8_t)(1u << bit % 8);
		refused(&w, sealed, whole, ad);
		w.nonce[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_true(pn_gcm_open(&w.ours, opened, sealed, whole, w.nonce, ad));
	world_free(&w);
}

static void test_short_and_cut(void **state)
{
	struct world w;
	struct pn_slice ad;

	(void)state;
	world_init(&w, 32);
	ad = pn_slice(w.ad, 13);
	pn_gcm_seal(&w.ours, sealed, pn_slice(plain, 100), PN_SLICE_NULL, w.nonce, ad);
	for (size_t len = 0; len < 100 + PN_GCM_TAG_LEN; len++)
		refused(&w, sealed, len, ad);
	refused(&w, sealed, 100 + PN_GCM_TAG_LEN, pn_slice(w.ad, 12));
	world_free(&w);
}

/* A key of its own memory for each: nothing of one is left in the other. */
static void test_keys_do_not_mix(void **state)
{
	struct world a, b;

	(void)state;
	world_init(&a, 16);
	world_init(&b, 32);
	memcpy(b.nonce, a.nonce, sizeof(a.nonce));
	pn_gcm_seal(&a.ours, sealed, pn_slice(plain, 50), PN_SLICE_NULL, a.nonce, PN_SLICE_NULL);
	refused(&b, sealed, 50 + PN_GCM_TAG_LEN, PN_SLICE_NULL);
	assert_true(
		pn_gcm_open(&a.ours, opened, sealed, 50 + PN_GCM_TAG_LEN, a.nonce, PN_SLICE_NULL));
	world_free(&a);
	world_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lengths_128),     cmocka_unit_test(test_lengths_256),
		cmocka_unit_test(test_each_bit_counts), cmocka_unit_test(test_short_and_cut),
		cmocka_unit_test(test_keys_do_not_mix),
	};

	if (!pn_gcm_is_usable()) {
		printf("skipped: this CPU has no AVX-512 and VAES, or this build no libipsec-mb\n");
		return 77;
	}
	printf("with %s\n", pn_gcm_name());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
