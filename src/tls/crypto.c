/* SPDX-License-Identifier: ISC */
/*
 * crypto.c - see postern/tls/crypto.h.
 *
 * HMAC (RFC 2104) stands here on SHA256_CTX because BoringSSL's HMAC_CTX allocates: ours cannot
 * fail, and PBKDF2 hashes the padded key only once instead of copying heap contexts in each of its
 * thousands of rounds.
 */
#include <postern/tls/crypto.h>

#include <errno.h>

#include <openssl/sha.h>

#include <postern/base/secret.h>

_Static_assert(PN_SHA256_LEN == SHA256_DIGEST_LENGTH, "length of SHA-256");

/* The two digests after their padded key. Secret. */
struct hmac_key {
	SHA256_CTX inner;
	SHA256_CTX outer;
};

void pn_sha256(uint8_t out[PN_SHA256_LEN], struct pn_slice data)
{
	SHA256_CTX ctx;

	SHA256_Init(&ctx);
	SHA256_Update(&ctx, data.ptr, data.len);
	SHA256_Final(out, &ctx);
	pn_wipe(&ctx, sizeof(ctx));
}

static void hmac_key_init(struct hmac_key *k, struct pn_slice key)
{
	uint8_t block[SHA256_CBLOCK] = { 0 };

	if (key.len > sizeof(block))
		pn_sha256(block, key);
	else if (key.len > 0)
		memcpy(block, key.ptr, key.len);
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] ^= 0x36;
	SHA256_Init(&k->inner);
	SHA256_Update(&k->inner, block, sizeof(block));
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] ^= 0x36 ^ 0x5c;
	SHA256_Init(&k->outer);
	SHA256_Update(&k->outer, block, sizeof(block));
	pn_wipe(block, sizeof(block));
}

/* Ends an HMAC whose inner digest has got the message; work is scratch that the caller wipes. */
static void hmac_final(const struct hmac_key *k, SHA256_CTX *work, uint8_t out[PN_SHA256_LEN])
{
	uint8_t inner[PN_SHA256_LEN];

	SHA256_Final(inner, work);
	*work = k->outer;
	SHA256_Update(work, inner, sizeof(inner));
	SHA256_Final(out, work);
	pn_wipe(inner, sizeof(inner));
}

void pn_hmac_sha256(uint8_t out[PN_SHA256_LEN], struct pn_slice key, struct pn_slice data)
{
	struct hmac_key k;
	SHA256_CTX work;

	hmac_key_init(&k, key);
	work = k.inner;
	SHA256_Update(&work, data.ptr, data.len);
	hmac_final(&k, &work, out);
	pn_wipe(&work, sizeof(work));
	pn_wipe(&k, sizeof(k));
}

int pn_pbkdf2_sha256(uint8_t out[PN_SHA256_LEN], struct pn_slice password, struct pn_slice salt,
		     uint32_t iterations)
{
	static const uint8_t block_number[4] = { 0, 0, 0, 1 };
	uint8_t u[PN_SHA256_LEN];
	struct hmac_key k;
	SHA256_CTX work;

	if (iterations == 0)
		return -EINVAL;
	hmac_key_init(&k, password);
	work = k.inner;
	SHA256_Update(&work, salt.ptr, salt.len);
	SHA256_Update(&work, block_number, sizeof(block_number));
	hmac_final(&k, &work, u);
	memcpy(out, u, sizeof(u));
	for (uint32_t round = 1; round < iterations; round++) {
		work = k.inner;
		SHA256_Update(&work, u, sizeof(u));
		hmac_final(&k, &work, u);
		for (size_t i = 0; i < sizeof(u); i++)
			out[i] ^= u[i];
	}
	pn_wipe(u, sizeof(u));
	pn_wipe(&work, sizeof(work));
	pn_wipe(&k, sizeof(k));
	return 0;
}
