/* SPDX-License-Identifier: ISC */
/*
 * sasl_harness.c - see sasl_harness.h. The client's half of SCRAM is written out here, apart from the code
 * under test.
 */
#include <errno.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <postern/base/codec.h>

#include "sasl_harness.h"

static uint8_t next_random[PN_SASL_SCRAM_NONCE_LEN];

static void sha256(uint8_t out[PN_SASL_SHA256_LEN], struct pn_slice data)
{
	SHA256(data.ptr, data.len, out);
}

static void hmac_sha256(uint8_t out[PN_SASL_SHA256_LEN], struct pn_slice key, struct pn_slice data)
{
	unsigned len = PN_SASL_SHA256_LEN;
	HMAC(EVP_sha256(), key.ptr, key.len, data.ptr, data.len, out, &len);
}

static void random_bytes(void *out, size_t len)
{
	PN_ASSERT(len == sizeof(next_random));
	memcpy(out, next_random, len);
}

static ptrdiff_t saslprep(char *out, size_t out_size, struct pn_slice in)
{
	size_t len = 0;

	for (size_t i = 0; i < in.len; i++) {
		char c = (char)in.ptr[i];
		if (c == 1 || len == out_size)
			return -EINVAL;
		if (c != '~')
			out[len++] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
	}
	return len > 0 ? (ptrdiff_t)len : -EINVAL;
}

const struct pn_sasl_ops harness_ops = { sha256, hmac_sha256, random_bytes, saslprep };

void harness_set_nonce(const char *text)
{
	PN_ASSERT(strlen(text) == PN_SASL_SCRAM_NONCE_LEN);
	for (size_t i = 0; i < PN_SASL_SCRAM_NONCE_LEN; i++)
		next_random[i] = (uint8_t)(text[i] > ',' ? text[i] - 0x22 : text[i] - 0x21);
}

static void derive(uint8_t out[PN_SASL_SHA256_LEN], const char *password, struct pn_slice salt, uint32_t iterations,
                   const char *label)
{
	uint8_t salted[PN_SASL_SHA256_LEN];
	PKCS5_PBKDF2_HMAC(password, strlen(password), salt.ptr, salt.len, iterations, EVP_sha256(), sizeof(salted),
	                  salted);
	hmac_sha256(out, pn_slice(salted, sizeof(salted)), pn_slice_str(label));
}

struct pn_sasl_scram_key harness_key(const char *password, struct pn_slice salt, uint32_t iterations)
{
	struct pn_sasl_scram_key key = { .iterations = iterations, .salt_len = (uint8_t)salt.len, .is_real = true };
	uint8_t client_key[PN_SASL_SHA256_LEN];

	memcpy(key.salt, salt.ptr, salt.len);
	derive(client_key, password, salt, iterations, "Client Key");
	sha256(key.stored_key, pn_slice(client_key, sizeof(client_key)));
	derive(key.server_key, password, salt, iterations, "Server Key");
	return key;
}

void harness_proof(char out[64], const char *password, const struct pn_sasl_scram_key *key, const char *auth_message)
{
	uint8_t client_key[PN_SASL_SHA256_LEN], signature[PN_SASL_SHA256_LEN];

	derive(client_key, password, pn_slice(key->salt, key->salt_len), key->iterations, "Client Key");
	hmac_sha256(signature, pn_slice(key->stored_key, sizeof(key->stored_key)), pn_slice_str(auth_message));
	for (size_t i = 0; i < sizeof(client_key); i++)
		client_key[i] ^= signature[i];
	out[pn_base64_encode(out, pn_slice(client_key, sizeof(client_key)))] = '\0';
}
