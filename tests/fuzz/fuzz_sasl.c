/* SPDX-License-Identifier: ISC */
/*
 * fuzz_sasl.c - whole exchanges of the SASL mechanisms.
 *
 * Octet 0 chooses: bits 0-1 the mechanism, bit 2 initial response, bit 3 hashes that make every proof right,
 * bit 4 the verdict on passwords, bit 5 whether the SCRAM key is real. The rest is the client's messages, each
 * up to a line feed. Checked: nobody becomes OK without a right password or a real key, identities are within
 * their limits, refusals of SCRAM carry an error, and the exchange ends.
 */
#include <errno.h>
#include <string.h>

#include <postern/sasl/sasl.h>

#include "fuzz.h"

static bool is_every_proof_right;

/* Not hashes, only functions of all their input: the module must hold whatever they return. */
static void mix(uint8_t out[PN_SASL_SHA256_LEN], uint64_t h, struct pn_slice data)
{
	for (size_t i = 0; i < data.len; i++)
		h = (h ^ data.ptr[i]) * 0x100000001b3u;
	for (size_t i = 0; i < PN_SASL_SHA256_LEN; i++) {
		h = h * 6364136223846793005u + 1442695040888963407u;
		out[i] = (uint8_t)(h >> 56);
	}
}

static void fake_sha256(uint8_t out[PN_SASL_SHA256_LEN], struct pn_slice data)
{
	if (is_every_proof_right)
		memset(out, 0, PN_SASL_SHA256_LEN);
	else
		mix(out, 1, data);
}

static void fake_hmac(uint8_t out[PN_SASL_SHA256_LEN], struct pn_slice key, struct pn_slice data)
{
	mix(out, key.len != 0 ? key.ptr[0] : 2, data);
}

static void fake_random(void *out, size_t len)
{
	memset(out, 0, len);
}

static ptrdiff_t fake_prep(char *out, size_t out_size, struct pn_slice in)
{
	if (in.len == 0 || in.len > out_size || memchr(in.ptr, 0x7f, in.len))
		return -EINVAL;
	memcpy(out, in.ptr, in.len);
	return (ptrdiff_t)in.len;
}

static const struct pn_sasl_ops ops = { fake_sha256, fake_hmac, fake_random, fake_prep };

static struct pn_slice next_message(struct pn_slice *rest)
{
	const uint8_t *end = rest->len != 0 ? memchr(rest->ptr, '\n', rest->len) : NULL;
	struct pn_slice message = pn_slice(rest->ptr, end ? (size_t)(end - rest->ptr) : rest->len);
	pn_slice_advance(rest, message.len + (end ? 1 : 0));
	return message;
}

static enum pn_sasl_status give_key(struct pn_sasl *s, bool is_real, struct pn_slice *ret_data)
{
	struct pn_sasl_scram_key key = { .iterations = 4096, .salt_len = 16, .is_real = is_real };
	PN_ASSERT(pn_sasl_name(s).len > 0);
	return pn_sasl_scram_key(s, &key, ret_data);
}

static enum pn_sasl_status give_verdict(struct pn_sasl *s, bool is_right)
{
	PN_ASSERT(pn_sasl_name(s).len > 0 && pn_sasl_name(s).len <= PN_SASL_NAME_MAX);
	PN_ASSERT(pn_sasl_password(s).len > 0 && pn_sasl_password(s).len <= PN_SASL_PASSWORD_MAX);
	return pn_sasl_verified(s, is_right);
}

static void check_end(enum pn_sasl_mechanism mechanism, enum pn_sasl_status status, struct pn_slice data,
                      unsigned choice)
{
	bool is_scram = mechanism == PN_SASL_SCRAM_SHA_256;

	PN_ASSERT(status == PN_SASL_OK || status == PN_SASL_BAD || status == PN_SASL_MALFORMED ||
	          status == PN_SASL_NO_MEMORY);
	if (status == PN_SASL_OK)
		PN_ASSERT((choice & (is_scram ? 32u : 16u)) != 0);
	if (status == PN_SASL_BAD && is_scram)
		PN_ASSERT(data.len > 2 && memcmp(data.ptr, "e=", 2) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	unsigned choice = data[0];
	struct pn_slice rest = pn_slice(data + 1, size - 1);
	enum pn_sasl_mechanism mechanism = (enum pn_sasl_mechanism)((choice & 3) % PN_SASL_MECHANISM_COUNT);
	struct pn_sasl s;
	struct pn_slice out = PN_SLICE_NULL;
	unsigned challenges = 0;

	is_every_proof_right = (choice & 8) != 0;
	pn_sasl_init(&s, mechanism, &ops);
	bool has_initial = (choice & 4) != 0;
	enum pn_sasl_status status = pn_sasl_step(&s, has_initial,
	                                          has_initial ? next_message(&rest) : PN_SLICE_NULL, &out);
	while (status <= PN_SASL_NEED_SCRAM_KEY) {
		if (status == PN_SASL_NEED_VERIFY)
			status = give_verdict(&s, (choice & 16) != 0);
		else if (status == PN_SASL_NEED_SCRAM_KEY)
			status = give_key(&s, (choice & 32) != 0, &out);
		else
			status = pn_sasl_step(&s, true, next_message(&rest), &out);
		PN_ASSERT(status != PN_SASL_CHALLENGE || ++challenges <= 4);
	}
	check_end(mechanism, status, out, choice);
	pn_sasl_deinit(&s);
	return 0;
}
