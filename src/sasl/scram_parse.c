/* SPDX-License-Identifier: ISC */
/*
 * scram_parse.c - the grammar of SCRAM's client messages (RFC 5802 7), nothing else: no state, no hashing.
 *
 * Attributes stand in a fixed order; unknown ones are skipped where extensions may stand; m= fails wherever it
 * stands (RFC 5802 5.1). A message is UTF-8 without NUL before anything else is looked at.
 */
#include <postern/base/codec.h>

#include "sasl_internal.h"

static bool fail(struct pn_scram_error *e, enum pn_sasl_status status, const char *text)
{
	*e = (struct pn_scram_error){ status, text };
	return false;
}

static bool fail_syntax(struct pn_scram_error *e)
{
	return fail(e, PN_SASL_MALFORMED, "e=other-error");
}

static bool is_alpha(uint8_t c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_clean(struct pn_slice message)
{
	return message.len != 0 && memchr(message.ptr, 0, message.len) == NULL && pn_utf8_is_valid(message);
}

/* Takes everything before the next comma, and the comma. *ret_is_last: there was none. */
static struct pn_slice take_part(struct pn_slice *rest, bool *ret_is_last)
{
	const uint8_t *comma = rest->len != 0 ? memchr(rest->ptr, ',', rest->len) : NULL;
	struct pn_slice part = *rest;

	*ret_is_last = comma == NULL;
	if (comma)
		part.len = (size_t)(comma - rest->ptr);
	pn_slice_advance(rest, part.len + (comma ? 1 : 0));
	return part;
}

/* Splits attr-val; the value has at least one octet. */
static bool split_attribute(struct pn_slice part, char *ret_name, struct pn_slice *ret_value)
{
	if (part.len < 3 || !is_alpha(part.ptr[0]) || part.ptr[1] != '=')
		return false;
	*ret_name = (char)part.ptr[0];
	*ret_value = pn_slice(part.ptr + 2, part.len - 2);
	return true;
}

/* RFC 5802 5.1: '=' only as "=2C" or "=3D". Up to PN_SASL_NAME_MAX octets into out. */
static bool decode_saslname(struct pn_slice in, char *out, uint8_t *ret_len)
{
	size_t len = 0;

	for (size_t i = 0; i < in.len; i++) {
		char c = (char)in.ptr[i];
		if (c == '=') {
			if (in.len - i < 3)
				return false;
			if (memcmp(in.ptr + i, "=2C", 3) == 0)
				c = ',';
			else if (memcmp(in.ptr + i, "=3D", 3) != 0)
				return false;
			i += 2;
		}
		if (len == PN_SASL_NAME_MAX)
			return false;
		out[len++] = c;
	}
	*ret_len = (uint8_t)len;
	return len != 0;
}

static bool is_nonce(struct pn_slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] < 0x21 || s.ptr[i] > 0x7e)
			return false;
	}
	return s.len != 0;
}

/*
 * gs2-cbind-flag "," [ authzid ] ",". We offer no -PLUS mechanism, so "y" (the client could, but believes that
 * we cannot) is true and fine; "p" asks for what was not offered (RFC 5802 6).
 */
static bool parse_gs2(struct pn_slice message, struct pn_slice *rest, struct pn_scram_first *ret,
                      struct pn_scram_error *e)
{
	bool is_last;
	char name;
	struct pn_slice value;
	struct pn_slice flag = take_part(rest, &is_last);

	if (is_last || flag.len == 0)
		return fail_syntax(e);
	if (flag.ptr[0] == 'p') {
		if (!split_attribute(flag, &name, &value))
			return fail_syntax(e);
		return fail(e, PN_SASL_BAD, "e=channel-binding-not-supported");
	}
	if (flag.len != 1 || (flag.ptr[0] != 'n' && flag.ptr[0] != 'y'))
		return fail_syntax(e);
	struct pn_slice authzid = take_part(rest, &is_last);
	if (is_last)
		return fail_syntax(e);
	ret->has_authzid = authzid.len != 0;
	if (ret->has_authzid) {
		if (!split_attribute(authzid, &name, &value) || name != 'a')
			return fail_syntax(e);
		if (!decode_saslname(value, ret->authzid, &ret->authzid_len))
			return fail(e, PN_SASL_MALFORMED, "e=invalid-username-encoding");
	}
	ret->gs2_header = pn_slice(message.ptr, (size_t)(rest->ptr - message.ptr));
	return true;
}

/* Extensions up to the end: each an attr-val, none of them m=. */
static bool skip_extensions(struct pn_slice rest, struct pn_scram_error *e)
{
	bool is_last = false;
	char name;
	struct pn_slice value;

	while (!is_last) {
		if (!split_attribute(take_part(&rest, &is_last), &name, &value))
			return fail_syntax(e);
		if (name == 'm')
			return fail(e, PN_SASL_BAD, "e=extensions-not-supported");
	}
	return true;
}

bool pn_scram_parse_first(struct pn_slice message, struct pn_scram_first *ret, struct pn_scram_error *ret_error)
{
	struct pn_slice rest = message;
	struct pn_slice value;
	bool is_last;
	char name;

	if (!is_clean(message))
		return fail(ret_error, PN_SASL_MALFORMED, "e=invalid-encoding");
	if (!parse_gs2(message, &rest, ret, ret_error))
		return false;
	ret->bare = rest;
	if (!split_attribute(take_part(&rest, &is_last), &name, &value))
		return fail_syntax(ret_error);
	if (name == 'm')
		return fail(ret_error, PN_SASL_BAD, "e=extensions-not-supported");
	if (name != 'n' || is_last)
		return fail_syntax(ret_error);
	if (!decode_saslname(value, ret->name, &ret->name_len))
		return fail(ret_error, PN_SASL_MALFORMED, "e=invalid-username-encoding");
	if (!split_attribute(take_part(&rest, &is_last), &name, &ret->nonce) || name != 'r' || !is_nonce(ret->nonce))
		return fail_syntax(ret_error);
	return is_last || skip_extensions(rest, ret_error);
}

/* The proof is the last attribute; what stands before it is signed. */
static bool parse_proof(struct pn_slice message, struct pn_scram_final *ret, struct pn_scram_error *e)
{
	const uint8_t *comma = memrchr(message.ptr, ',', message.len);
	struct pn_slice value;
	uint8_t decoded[PN_BASE64_DECODED_SIZE_MAX(PN_BASE64_ENCODED_SIZE(PN_SASL_SHA256_LEN))];
	char name;

	if (!comma)
		return fail_syntax(e);
	ret->without_proof = pn_slice(message.ptr, (size_t)(comma - message.ptr));
	struct pn_slice proof = pn_slice(comma + 1, message.len - ret->without_proof.len - 1);
	if (!split_attribute(proof, &name, &value) || name != 'p')
		return fail_syntax(e);
	if (value.len != PN_BASE64_ENCODED_SIZE(PN_SASL_SHA256_LEN) ||
	    pn_base64_decode(decoded, value) != PN_SASL_SHA256_LEN)
		return fail(e, PN_SASL_MALFORMED, "e=invalid-encoding");
	memcpy(ret->proof, decoded, sizeof(ret->proof));
	return true;
}

bool pn_scram_parse_final(struct pn_slice message, struct pn_scram_final *ret, struct pn_scram_error *ret_error)
{
	struct pn_slice rest, value;
	bool is_last;
	char name;

	if (!is_clean(message) || message.len > PN_SASL_MESSAGE_MAX)
		return fail(ret_error, PN_SASL_MALFORMED, "e=invalid-encoding");
	if (!parse_proof(message, ret, ret_error))
		return false;
	rest = ret->without_proof;
	if (!split_attribute(take_part(&rest, &is_last), &name, &value))
		return fail_syntax(ret_error);
	if (name == 'm')
		return fail(ret_error, PN_SASL_BAD, "e=extensions-not-supported");
	if (name != 'c' || is_last)
		return fail_syntax(ret_error);
	ptrdiff_t binding_len = pn_base64_decode(ret->binding, value);
	if (binding_len < 0)
		return fail(ret_error, PN_SASL_MALFORMED, "e=invalid-encoding");
	ret->binding_len = (size_t)binding_len;
	if (!split_attribute(take_part(&rest, &is_last), &name, &ret->nonce) || name != 'r' || !is_nonce(ret->nonce))
		return fail_syntax(ret_error);
	return is_last || skip_extensions(rest, ret_error);
}
