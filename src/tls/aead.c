/* SPDX-License-Identifier: ISC */
/* aead.c - see aead.h. */
#include "tls/aead.h"

#include <string.h>

#include <openssl/aead.h>

#include <postern/base/secret.h>

#include "tls/alerts.h"
#include "tls/gcm.h"

#define EXPLICIT_NONCE_LEN 8
#define NONCE_LEN          12
#define AD_MAX             13
/* A power of two. Keys are random: their first octet chooses. */
#define CONTEXT_COUNT 16

struct context {
	union {
		EVP_AEAD_CTX aead;
		struct pn_gcm_key gcm; /* is_gcm */
	};
	bool is_gcm;
	size_t key_len; /* 0: empty */
	enum pn_ktls_cipher cipher;
	uint8_t key[PN_TLS_KEY_SIZE];
};

static _Thread_local struct context contexts[CONTEXT_COUNT];

static struct context *place_of(const struct pn_tls_secret *secret)
{
	return &contexts[secret->key[0] % CONTEXT_COUNT];
}

static bool is_of(const struct context *c, const struct pn_tls_suite *suite,
		  const struct pn_tls_secret *secret)
{
	return c->key_len > 0 && c->cipher == suite->cipher &&
	       memcmp(c->key, secret->key, c->key_len) == 0;
}

static void context_wipe(struct context *c)
{
	if (c->key_len > 0 && !c->is_gcm)
		EVP_AEAD_CTX_cleanup(&c->aead);
	pn_wipe(c, sizeof(*c));
}

static const EVP_AEAD *aead_of(enum pn_ktls_cipher cipher)
{
	switch (cipher) {
	case PN_KTLS_AES_128_GCM:
		return EVP_aead_aes_128_gcm();
	case PN_KTLS_AES_256_GCM:
		return EVP_aead_aes_256_gcm();
	case PN_KTLS_CHACHA20_POLY1305:
	case PN_KTLS_CIPHER_COUNT:
		break;
	}
	return EVP_aead_chacha20_poly1305();
}

static const struct context *context_for(const struct pn_tls_suite *suite,
					 const struct pn_tls_secret *secret)
{
	struct context *c = place_of(secret);
	size_t len = pn_tls_key_len(suite->cipher);

	if (is_of(c, suite, secret))
		return c;
	context_wipe(c);
	c->is_gcm = suite->cipher != PN_KTLS_CHACHA20_POLY1305 && pn_gcm_is_usable();
	if (c->is_gcm)
		pn_gcm_key_make(&c->gcm, secret->key, len);
	else if (!EVP_AEAD_CTX_init(&c->aead, aead_of(suite->cipher), secret->key, len,
				    PN_AEAD_TAG_LEN, NULL))
		return NULL;
	c->key_len = len;
	c->cipher = suite->cipher;
	memcpy(c->key, secret->key, len);
	return c;
}

void pn_aead_forget(const struct pn_tls_suite *suite, const struct pn_tls_secret *secret)
{
	struct context *c = place_of(secret);

	if (is_of(c, suite, secret))
		context_wipe(c);
}

static bool is_tls13(const struct pn_tls_suite *suite)
{
	return suite->version == TLS1_3_VERSION;
}

/* GCM of TLS 1.2 sends eight octets of its nonce with each record (RFC 5288 3). */
static size_t explicit_len(const struct pn_tls_suite *suite)
{
	return is_tls13(suite) || suite->cipher == PN_KTLS_CHACHA20_POLY1305 ? 0
									     : EXPLICIT_NONCE_LEN;
}

size_t pn_aead_overhead(const struct pn_tls_suite *suite)
{
	return PN_AEAD_HEADER_LEN + explicit_len(suite) + is_tls13(suite) + PN_AEAD_TAG_LEN;
}

/* `sent`: the explicit part of the nonce, or NULL. */
static void nonce_make(const struct pn_tls_secret *secret, const uint8_t *sent,
		       uint8_t ret[NONCE_LEN])
{
	uint8_t sequence[8];

	memcpy(ret, secret->iv, NONCE_LEN);
	if (sent) {
		memcpy(ret + PN_TLS_GCM_FIXED_IV, sent, EXPLICIT_NONCE_LEN);
		return;
	}
	pn_tls_put_sequence(sequence, secret->sequence);
	for (size_t i = 0; i < sizeof(sequence); i++)
		ret[NONCE_LEN - sizeof(sequence) + i] ^= sequence[i];
}

/* Additional data: TLS 1.3 has the header as it is sent (RFC 8446 5.2), TLS 1.2 the sequence number and
 * a header with the length of the content (RFC 5246 6.2.3.3). */
static size_t ad_make(const struct pn_tls_suite *suite, uint64_t sequence, const uint8_t *header,
		      size_t plain_len, uint8_t ret[AD_MAX])
{
	if (is_tls13(suite)) {
		memcpy(ret, header, PN_AEAD_HEADER_LEN);
		return PN_AEAD_HEADER_LEN;
	}
	pn_tls_put_sequence(ret, sequence);
	memcpy(ret + 8, header, 3);
	ret[11] = (uint8_t)(plain_len >> 8);
	ret[12] = (uint8_t)plain_len;
	return AD_MAX;
}

bool pn_aead_open_into(const struct pn_tls_suite *suite, struct pn_tls_secret *secret,
		       uint8_t *record, size_t len, uint8_t *into, size_t room, uint8_t **ret,
		       size_t *ret_len)
{
	size_t before = PN_AEAD_HEADER_LEN + explicit_len(suite);
	uint8_t *body = record + before;
	uint8_t nonce[NONCE_LEN];
	uint8_t ad[AD_MAX];
	const struct context *c;
	size_t ad_len;

	if (len < before + PN_AEAD_TAG_LEN)
		return false;
	c = context_for(suite, secret);
	if (!c)
		return false;
	nonce_make(secret, explicit_len(suite) ? record + PN_AEAD_HEADER_LEN : NULL, nonce);
	ad_len = ad_make(suite, secret->sequence, record, len - before - PN_AEAD_TAG_LEN, ad);
	*ret_len = len - before - PN_AEAD_TAG_LEN;
	*ret = room > 0 && *ret_len <= room ? into : body;
	if (c->is_gcm ? !pn_gcm_open(&c->gcm, *ret, body, len - before, nonce, pn_slice(ad, ad_len))
		      : !EVP_AEAD_CTX_open(&c->aead, *ret, ret_len, *ret_len, nonce, NONCE_LEN,
					   body, len - before, ad, ad_len))
		return false;
	secret->sequence++;
	return true;
}

bool pn_aead_seal(const struct pn_tls_suite *suite, struct pn_tls_secret *secret, uint8_t type,
		  struct pn_slice plain, uint8_t *to)
{
	size_t before = PN_AEAD_HEADER_LEN + explicit_len(suite);
	size_t body_len = plain.len + pn_aead_overhead(suite) - PN_AEAD_HEADER_LEN;
	bool is_type_inside = is_tls13(suite);
	const struct context *c = context_for(suite, secret);
	uint8_t nonce[NONCE_LEN];
	uint8_t ad[AD_MAX];
	size_t ad_len, behind_len;

	if (!c)
		return false;
	to[0] = is_type_inside ? PN_TLS_TYPE_DATA : type;
	to[1] = to[2] = 3;
	to[3] = (uint8_t)(body_len >> 8);
	to[4] = (uint8_t)body_len;
	/* The sequence number is never the same twice, so it serves as the explicit part. */
	if (explicit_len(suite))
		pn_tls_put_sequence(to + PN_AEAD_HEADER_LEN, secret->sequence);
	nonce_make(secret, explicit_len(suite) ? to + PN_AEAD_HEADER_LEN : NULL, nonce);
	ad_len = ad_make(suite, secret->sequence, to, plain.len, ad);
	if (c->is_gcm)
		pn_gcm_seal(&c->gcm, to + before, plain, pn_slice(&type, is_type_inside ? 1 : 0),
			    nonce, pn_slice(ad, ad_len));
	else if (!EVP_AEAD_CTX_seal_scatter(&c->aead, to + before, to + before + plain.len,
					    &behind_len, PN_AEAD_TAG_LEN + 1, nonce, NONCE_LEN,
					    plain.ptr, plain.len, &type, is_type_inside ? 1 : 0, ad,
					    ad_len))
		return false;
	secret->sequence++;
	return true;
}
