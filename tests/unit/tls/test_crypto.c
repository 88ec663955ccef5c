/* SPDX-License-Identifier: ISC */
/* test_crypto.c - the primitives against published vectors and against BoringSSL's own. */
#include "tls_support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <postern/tls/crypto.h>

static void assert_hex(const uint8_t *data, size_t len, const char *hex)
{
	char text[2 * 64 + 1];

	assert_true(len <= 64);
	for (size_t i = 0; i < len; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", data[i]);
	assert_string_equal(text, hex);
}

static void test_sha256_vectors(void **state)
{
	uint8_t out[PN_SHA256_LEN];

	(void)state;
	pn_sha256(out, PN_SLICE_LIT("abc"));
	assert_hex(out, sizeof(out),
		   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	pn_sha256(out, PN_SLICE_NULL);
	assert_hex(out, sizeof(out),
		   "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

/* RFC 4231 4.3 */
static void test_hmac_vector(void **state)
{
	uint8_t out[PN_SHA256_LEN];

	(void)state;
	pn_hmac_sha256(out, PN_SLICE_LIT("Jefe"), PN_SLICE_LIT("what do ya want for nothing?"));
	assert_hex(out, sizeof(out),
		   "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

static void test_hmac_equals_boringssl_for_all_key_lengths(void **state)
{
	uint8_t key[200];
	uint8_t data[200];
	uint8_t mine[PN_SHA256_LEN];
	uint8_t theirs[PN_SHA256_LEN];
	unsigned len;

	(void)state;
	RAND_bytes(key, sizeof(key));
	RAND_bytes(data, sizeof(data));
	for (size_t i = 0; i <= sizeof(key); i++) {
		pn_hmac_sha256(mine, pn_slice(key, i), pn_slice(data, sizeof(data) - i));
		assert_non_null(HMAC(EVP_sha256(), key, i, data, sizeof(data) - i, theirs, &len));
		assert_memory_equal(mine, theirs, sizeof(mine));
	}
	pn_hmac_sha256(mine, PN_SLICE_NULL, PN_SLICE_NULL);
	assert_non_null(HMAC(EVP_sha256(), "", 0, NULL, 0, theirs, &len));
	assert_memory_equal(mine, theirs, sizeof(mine));
}

/* RFC 7914 11: the first 32 octets of PBKDF2-HMAC-SHA-256 (P="passwd", S="salt", c=1). */
static void test_pbkdf2_vector(void **state)
{
	uint8_t out[PN_SHA256_LEN];

	(void)state;
	assert_int_equal(pn_pbkdf2_sha256(out, PN_SLICE_LIT("passwd"), PN_SLICE_LIT("salt"), 1), 0);
	assert_hex(out, sizeof(out),
		   "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc");
}

static void test_pbkdf2_equals_boringssl(void **state)
{
	static const uint32_t iterations[] = { 1, 2, 3, 100, 4096 };
	char password[100];
	uint8_t mine[PN_SHA256_LEN];
	uint8_t theirs[PN_SHA256_LEN];

	(void)state;
	memset(password, 'p', sizeof(password));
	for (size_t i = 0; i < PN_ARRAY_SIZE(iterations); i++) {
		for (size_t len = 0; len <= sizeof(password); len += 20) {
			assert_int_equal(pn_pbkdf2_sha256(mine, pn_slice(password, len),
							  PN_SLICE_LIT("a salt"), iterations[i]),
					 0);
			assert_int_equal(PKCS5_PBKDF2_HMAC(password, len, (const uint8_t *)"a salt",
							   6, iterations[i], EVP_sha256(),
							   sizeof(theirs), theirs),
					 1);
			assert_memory_equal(mine, theirs, sizeof(mine));
		}
	}
}

static void test_pbkdf2_refuses_no_iterations(void **state)
{
	uint8_t out[PN_SHA256_LEN];

	(void)state;
	assert_int_equal(pn_pbkdf2_sha256(out, PN_SLICE_LIT("p"), PN_SLICE_LIT("s"), 0), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sha256_vectors),
		cmocka_unit_test(test_hmac_vector),
		cmocka_unit_test(test_hmac_equals_boringssl_for_all_key_lengths),
		cmocka_unit_test(test_pbkdf2_vector),
		cmocka_unit_test(test_pbkdf2_equals_boringssl),
		cmocka_unit_test(test_pbkdf2_refuses_no_iterations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
