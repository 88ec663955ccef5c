/* SPDX-License-Identifier: ISC */
/*
 * scram.c - SCRAM-SHA-256 (RFC 5802, RFC 7677) with the keys of RFC 5802 3, so that no password is known here.
 *
 *	client-first -> NEED_SCRAM_KEY -> server-first -> client-final -> v=... -> empty -> OK
 *
 * SMTP has no room for data in its success reply, so v= is a challenge that the client answers with nothing
 * (RFC 4954 4). A made-up key goes through the same messages and the same hashing and fails at the proof. The
 * proof is compared in constant time; the name goes into the hash as received (RFC 5802 5.1), which keeping the
 * message's own text gives.
 */
#include <postern/base/codec.h>
#include <postern/base/secret.h>

#include "sasl_internal.h"

static enum pn_sasl_status bad(enum pn_sasl_status status, const char *error, struct pn_slice *ret_data)
{
	*ret_data = pn_slice_str(error);
	return status;
}

static enum pn_sasl_status first_step(struct pn_sasl *s, struct pn_slice message, struct pn_slice *ret_data)
{
	struct pn_scram_first first;
	struct pn_scram_error error;

	if (!pn_scram_parse_first(message, &first, &error))
		return bad(error.status, error.text, ret_data);
	if (!pn_sasl_prepare_name(s, pn_slice(first.name, first.name_len)))
		return bad(PN_SASL_BAD, "e=unknown-user", ret_data);
	if (first.has_authzid && !pn_sasl_is_own_name(s, pn_slice(first.authzid, first.authzid_len)))
		return bad(PN_SASL_BAD, "e=other-error", ret_data);
	/* Both parts are adjacent in the message: the header for c=, the bare message for the signatures. */
	if (pn_buf_append_slice(&s->text, message) != 0)
		return PN_SASL_NO_MEMORY;
	s->gs2_len = first.gs2_header.len;
	s->nonce_offset = (size_t)(first.nonce.ptr - message.ptr);
	s->nonce_len = first.nonce.len;
	s->state = PN_SASL_ST_SCRAM_KEY;
	return PN_SASL_NEED_SCRAM_KEY;
}

/* Printable ASCII without the comma: 93 characters. The bias of the remainder costs less than a bit in all. */
static void make_nonce(const struct pn_sasl_ops *ops, char out[PN_SASL_SCRAM_NONCE_LEN])
{
	uint8_t raw[PN_SASL_SCRAM_NONCE_LEN];

	ops->random_bytes(raw, sizeof(raw));
	for (size_t i = 0; i < sizeof(raw); i++) {
		char c = (char)(0x21 + raw[i] % 93);
		out[i] = (char)(c >= ',' ? c + 1 : c);
	}
}

/* Appends ",r=NONCE,s=SALT,i=COUNT"; the comma in front joins the parts of the auth message. */
static int append_server_first(struct pn_sasl *s)
{
	char added[PN_SASL_SCRAM_NONCE_LEN];
	char salt[PN_BASE64_ENCODED_SIZE(PN_SASL_SALT_MAX)];
	size_t salt_len = pn_base64_encode(salt, pn_slice(s->key.salt, s->key.salt_len));
	size_t client_offset = s->nonce_offset;

	make_nonce(s->ops, added);
	/* Room first: the client's nonce is copied from the buffer into the buffer. */
	int r = pn_buf_reserve(&s->text, s->nonce_len + sizeof(added) + salt_len + 32);
	if (r == 0)
		r = pn_buf_append(&s->text, ",r=", 3);
	s->nonce_offset = pn_buf_len(&s->text);
	if (r == 0)
		r = pn_buf_append(&s->text, pn_buf_ptr(&s->text) + client_offset, s->nonce_len);
	if (r == 0)
		r = pn_buf_append(&s->text, added, sizeof(added));
	s->nonce_len += sizeof(added);
	if (r == 0)
		r = pn_buf_printf(&s->text, ",s=%.*s,i=%u", (int)salt_len, salt, s->key.iterations);
	return r;
}

enum pn_sasl_status pn_sasl_scram_key(struct pn_sasl *s, const struct pn_sasl_scram_key *key,
                                      struct pn_slice *ret_data)
{
	PN_ASSERT(s->state == PN_SASL_ST_SCRAM_KEY);
	PN_ASSERT(key->salt_len > 0 && key->salt_len <= PN_SASL_SALT_MAX && key->iterations > 0);
	*ret_data = PN_SLICE_NULL;
	s->key = *key;
	size_t start = pn_buf_len(&s->text) + 1;
	if (append_server_first(s) != 0) {
		s->state = PN_SASL_ST_DONE;
		return PN_SASL_NO_MEMORY;
	}
	*ret_data = pn_buf_slice(&s->text);
	pn_slice_advance(ret_data, start);
	s->state = PN_SASL_ST_SCRAM_FINAL;
	return PN_SASL_CHALLENGE;
}

static struct pn_slice key_slice(const uint8_t key[PN_SASL_SHA256_LEN])
{
	return pn_slice(key, PN_SASL_SHA256_LEN);
}

/* RFC 5802 3: ClientKey = ClientProof XOR HMAC(StoredKey, AuthMessage), and StoredKey = H(ClientKey). */
static bool is_proof_right(const struct pn_sasl *s, const uint8_t proof[PN_SASL_SHA256_LEN],
                           struct pn_slice auth_message)
{
	uint8_t client_key[PN_SASL_SHA256_LEN];
	uint8_t hash[PN_SASL_SHA256_LEN];

	s->ops->hmac_sha256(client_key, key_slice(s->key.stored_key), auth_message);
	for (size_t i = 0; i < sizeof(client_key); i++)
		client_key[i] ^= proof[i];
	s->ops->sha256(hash, key_slice(client_key));
	bool is_equal = pn_secret_eq(key_slice(hash), key_slice(s->key.stored_key));
	pn_wipe(client_key, sizeof(client_key));
	pn_wipe(hash, sizeof(hash));
	/* Not &&: a made-up key costs what a real one costs. */
	return is_equal & s->key.is_real;
}

static struct pn_slice make_server_final(struct pn_sasl *s, struct pn_slice auth_message)
{
	uint8_t signature[PN_SASL_SHA256_LEN];

	s->ops->hmac_sha256(signature, key_slice(s->key.server_key), auth_message);
	memcpy(s->server_final, "v=", 2);
	size_t len = pn_base64_encode(s->server_final + 2, key_slice(signature));
	pn_wipe(signature, sizeof(signature));
	return pn_slice(s->server_final, 2 + len);
}

static enum pn_sasl_status final_step(struct pn_sasl *s, struct pn_slice message, struct pn_slice *ret_data)
{
	struct pn_scram_final final;
	struct pn_scram_error error;

	if (!pn_scram_parse_final(message, &final, &error))
		return bad(error.status, error.text, ret_data);
	if (!pn_slice_eq(pn_slice(final.binding, final.binding_len), pn_slice(pn_buf_ptr(&s->text), s->gs2_len)))
		return bad(PN_SASL_BAD, "e=channel-bindings-dont-match", ret_data);
	if (!pn_slice_eq(final.nonce, pn_slice(pn_buf_ptr(&s->text) + s->nonce_offset, s->nonce_len)))
		return bad(PN_SASL_BAD, "e=other-error", ret_data);
	if (pn_buf_append(&s->text, ",", 1) != 0 || pn_buf_append_slice(&s->text, final.without_proof) != 0)
		return PN_SASL_NO_MEMORY;
	struct pn_slice auth_message = pn_buf_slice(&s->text);
	pn_slice_advance(&auth_message, s->gs2_len);
	struct pn_slice server_final = make_server_final(s, auth_message);
	if (!is_proof_right(s, final.proof, auth_message))
		return bad(PN_SASL_BAD, "e=invalid-proof", ret_data);
	*ret_data = server_final;
	s->state = PN_SASL_ST_SCRAM_ACK;
	return PN_SASL_CHALLENGE;
}

enum pn_sasl_status pn_sasl_scram_step(struct pn_sasl *s, struct pn_slice response, struct pn_slice *ret_data)
{
	if (s->state == PN_SASL_ST_SCRAM_ACK)
		return response.len == 0 ? PN_SASL_OK : PN_SASL_MALFORMED;
	if (s->state == PN_SASL_ST_SCRAM_FINAL)
		return final_step(s, response, ret_data);
	return first_step(s, response, ret_data);
}
