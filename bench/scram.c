/* SPDX-License-Identifier: ISC */
/* scram.c - see scram.h. */
#include "scram.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/codec.h>
#include <postern/base/prng.h>

#define ITERATIONS_MAX 1000000u
#define CHANNEL        "c=biws" /* "n,,": no channel binding */

enum { STEP_FIRST, STEP_FINAL, STEP_VERIFY, STEP_OVER };

/* The value of attribute `name` at the front of *text; *text is behind the comma afterwards. */
static bool take_attribute(struct pn_slice *text, char name, struct pn_slice *ret)
{
	const uint8_t *comma;

	if (text->len < 2 || text->ptr[0] != name || text->ptr[1] != '=')
		return false;
	comma = memchr(text->ptr, ',', text->len);
	size_t len = comma ? (size_t)(comma - text->ptr) : text->len;
	*ret = pn_slice(text->ptr + 2, len - 2);
	pn_slice_advance(text, pn_min_size(len + 1, text->len));
	return true;
}

/* RFC 5802 5.1: "=" and "," of a name. */
static int append_name(struct pn_buf *out, const char *user)
{
	int r = 0;

	for (; r == 0 && *user; user++)
		r = *user == '='   ? pn_buf_append_str(out, "=3D")
		    : *user == ',' ? pn_buf_append_str(out, "=2C")
				   : pn_buf_append(out, user, 1);
	return r;
}

static int say_first(struct pn_bench_scram *s, struct pn_buf *out)
{
	uint8_t random[PN_BENCH_SCRAM_NONCE_LEN / 4 * 3];
	int r = pn_buf_append_str(out, "n,,");
	size_t bare;

	pn_random_bytes(random, sizeof(random));
	(void)pn_base64_encode(s->nonce, pn_slice(random, sizeof(random)));
	s->nonce[PN_BENCH_SCRAM_NONCE_LEN] = '\0';
	bare = pn_buf_len(out);
	if (r == 0)
		r = pn_buf_append_str(out, "n=");
	if (r == 0)
		r = append_name(out, s->user);
	if (r == 0)
		r = pn_buf_printf(out, ",r=%s", s->nonce);
	if (r == 0 && pn_buf_len(out) - bare >= sizeof(s->first_bare))
		r = -ENOBUFS;
	if (r == 0)
		(void)snprintf(s->first_bare, sizeof(s->first_bare), "%.*s",
			       (int)(pn_buf_len(out) - bare), (const char *)pn_buf_ptr(out) + bare);
	s->step = STEP_FINAL;
	return r;
}

/* Makes the keys unless they are those of this salt. */
static int make_keys(struct pn_bench_scram *s, struct pn_slice salt, uint32_t iterations)
{
	struct pn_bench_scram_keys *k = s->keys;
	uint8_t salted[PN_SHA256_LEN];

	if (k->iterations == iterations && pn_slice_eq(pn_slice(k->salt, k->salt_len), salt))
		return 0;
	if (pn_pbkdf2_sha256(salted, pn_slice_str(s->password), salt, iterations) != 0)
		return -EINVAL;
	memcpy(k->salt, salt.ptr, salt.len);
	k->salt_len = salt.len;
	k->iterations = iterations;
	pn_hmac_sha256(k->client_key, pn_slice(salted, sizeof(salted)), PN_SLICE_LIT("Client Key"));
	pn_hmac_sha256(k->server_key, pn_slice(salted, sizeof(salted)), PN_SLICE_LIT("Server Key"));
	return 0;
}

static int say_final(struct pn_bench_scram *s, struct pn_slice server_first, struct pn_buf *out)
{
	struct pn_slice rest = server_first, nonce, salt64, count;
	uint8_t salt[PN_BENCH_SCRAM_SALT_MAX + 3], stored[PN_SHA256_LEN], proof[PN_SHA256_LEN];
	char message[1800], proof64[PN_BASE64_ENCODED_SIZE(PN_SHA256_LEN) + 1];
	uint64_t iterations;
	ptrdiff_t salt_len;

	if (!take_attribute(&rest, 'r', &nonce) || !take_attribute(&rest, 's', &salt64) ||
	    !take_attribute(&rest, 'i', &count) ||
	    !pn_slice_to_u64(count, ITERATIONS_MAX, &iterations) || iterations == 0 ||
	    nonce.len <= PN_BENCH_SCRAM_NONCE_LEN ||
	    memcmp(nonce.ptr, s->nonce, PN_BENCH_SCRAM_NONCE_LEN) != 0 ||
	    PN_BASE64_DECODED_SIZE_MAX(salt64.len) > sizeof(salt))
		return -EBADMSG;
	salt_len = pn_base64_decode(salt, salt64);
	if (salt_len <= 0 || salt_len > PN_BENCH_SCRAM_SALT_MAX)
		return -EBADMSG;
	if (make_keys(s, pn_slice(salt, (size_t)salt_len), (uint32_t)iterations) != 0)
		return -EINVAL;
	int len = snprintf(message, sizeof(message), "%s,%.*s," CHANNEL ",r=%.*s", s->first_bare,
			   (int)server_first.len, (const char *)server_first.ptr, (int)nonce.len,
			   (const char *)nonce.ptr);
	if (len < 0 || (size_t)len >= sizeof(message))
		return -ENOBUFS;
	/* RFC 5802 3: ClientProof := ClientKey XOR HMAC(H(ClientKey), AuthMessage) */
	pn_sha256(stored, pn_slice(s->keys->client_key, PN_SHA256_LEN));
	pn_hmac_sha256(proof, pn_slice(stored, sizeof(stored)), pn_slice(message, (size_t)len));
	for (size_t i = 0; i < sizeof(proof); i++)
		proof[i] ^= s->keys->client_key[i];
	pn_hmac_sha256(s->server_signature, pn_slice(s->keys->server_key, PN_SHA256_LEN),
		       pn_slice(message, (size_t)len));
	proof64[pn_base64_encode(proof64, pn_slice(proof, sizeof(proof)))] = '\0';
	s->step = STEP_VERIFY;
	return pn_buf_printf(out, CHANNEL ",r=%.*s,p=%s", (int)nonce.len, (const char *)nonce.ptr,
			     proof64);
}

/* The server proves that it knows the password too. */
static int verify(struct pn_bench_scram *s, struct pn_slice server_final)
{
	char wanted[PN_BASE64_ENCODED_SIZE(PN_SHA256_LEN)];
	struct pn_slice value;

	s->step = STEP_OVER;
	(void)pn_base64_encode(wanted, pn_slice(s->server_signature, sizeof(s->server_signature)));
	if (!take_attribute(&server_final, 'v', &value) ||
	    !pn_slice_eq(value, pn_slice(wanted, sizeof(wanted))))
		return -EBADMSG;
	return 0;
}

static int respond(void *arg, const struct pn_slice *challenge, struct pn_buf *response)
{
	struct pn_bench_scram *s = arg;

	if (!challenge)
		return s->step == STEP_FIRST ? say_first(s, response) : -EBADMSG;
	if (s->step == STEP_FINAL)
		return say_final(s, *challenge, response);
	return s->step == STEP_VERIFY ? verify(s, *challenge) : -EBADMSG;
}

void pn_bench_scram_init(struct pn_bench_scram *s, const char *user, const char *password,
			 struct pn_bench_scram_keys *keys)
{
	s->sasl = (struct pn_smtp_client_sasl){ .mechanism = "SCRAM-SHA-256",
						.respond = respond,
						.arg = s };
	s->user = user;
	s->password = password;
	s->keys = keys;
	s->step = STEP_FIRST;
}
