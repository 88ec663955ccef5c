/* SPDX-License-Identifier: ISC */
/*
 * scheme.c - password schemes as Dovecot names them, over the methods of libcrypt, and SCRAM-SHA-256 keys.
 *
 * A hash is checked when it is read, not when its user first fails: an unknown method, a truncated hash or a
 * scheme that does not fit is a mistake in the file. Plain text and unsalted or reversible schemes are refused,
 * and so is traditional DES, which looks at eight characters only.
 */
#include <inttypes.h>
#include <stdio.h>

#include <crypt.h>

#include <postern/base/codec.h>

#include "auth/scheme.h"

#define SUPPORTED \
	"{CRYPT}, {BLF-CRYPT}, {SHA256-CRYPT}, {SHA512-CRYPT}, {MD5-CRYPT} and {SCRAM-SHA-256} are supported"

/* Where the cost part of a hash ends. */
enum cost_rule {
	COST_PREFIX,      /* nothing but the method */
	COST_ONE_FIELD,   /* one more field: $y$j9T$ */
	COST_ROUNDS,      /* an optional rounds=N$ */
	COST_BCRYPT,      /* $2b$12$ */
	COST_SCRYPT,      /* eleven characters without separator */
};

struct method {
	const char *prefix;
	const char *name;
	const char *scheme;  /* of Dovecot, besides {CRYPT}; NULL if none */
	size_t digest_len;   /* characters behind the last '$' */
	enum cost_rule cost;
};

static const struct method methods[] = {
	{ "$y$", "yescrypt", NULL, 43, COST_ONE_FIELD },
	{ "$gy$", "gost-yescrypt", NULL, 43, COST_ONE_FIELD },
	{ "$7$", "scrypt", NULL, 43, COST_SCRYPT },
	{ "$2b$", "bcrypt", "BLF-CRYPT", 53, COST_BCRYPT },
	{ "$2y$", "bcrypt", "BLF-CRYPT", 53, COST_BCRYPT },
	{ "$2a$", "bcrypt", "BLF-CRYPT", 53, COST_BCRYPT },
	{ "$6$", "sha512crypt", "SHA512-CRYPT", 86, COST_ROUNDS },
	{ "$5$", "sha256crypt", "SHA256-CRYPT", 43, COST_ROUNDS },
	{ "$1$", "md5crypt", "MD5-CRYPT", 22, COST_PREFIX },
};

static bool starts_with(struct pn_slice s, const char *prefix)
{
	size_t len = strlen(prefix);
	return s.len >= len && memcmp(s.ptr, prefix, len) == 0;
}

static const struct method *find_method(struct pn_slice stored)
{
	for (size_t i = 0; i < PN_ARRAY_SIZE(methods); i++) {
		if (starts_with(stored, methods[i].prefix))
			return &methods[i];
	}
	return NULL;
}

/* Whether {name} is a crypt scheme; *ret_is_fitting: whether the hash is of its method. */
static bool find_scheme(struct pn_slice name, const struct method *method, bool *ret_is_fitting)
{
	*ret_is_fitting = true;
	if (pn_slice_eq_nocase(name, PN_SLICE_LIT("CRYPT")))
		return true;
	*ret_is_fitting = method && method->scheme && pn_slice_eq_nocase(name, pn_slice_str(method->scheme));
	for (size_t i = 0; i < PN_ARRAY_SIZE(methods); i++) {
		if (methods[i].scheme && pn_slice_eq_nocase(name, pn_slice_str(methods[i].scheme)))
			return true;
	}
	return false;
}

static bool is_locked(struct pn_slice stored)
{
	return stored.len == 0 || stored.ptr[0] == '!' || stored.ptr[0] == '*';
}

static bool parse_named(struct pn_slice name, struct pn_slice stored, enum pn_password_kind *ret_kind,
                        struct pn_error *err)
{
	bool is_fitting;

	if (pn_slice_eq_nocase(name, PN_SLICE_LIT("SCRAM-SHA-256"))) {
		*ret_kind = PN_PASSWORD_SCRAM;
		return true;
	}
	if (!find_scheme(name, find_method(stored), &is_fitting)) {
		pn_error_set(err,
		             "the password scheme {%.*s} is not supported; " SUPPORTED
		             ", or set the password anew with "
		             "'postern user passwd'",
		             (int)pn_min_size(name.len, 40), name.ptr);
		return false;
	}
	if (!is_fitting && !is_locked(stored)) {
		pn_error_set(
		    err,
		    "the hash is not of the scheme {%.*s}; name the scheme that it is of, or write {CRYPT}, which "
		    "takes every method",
		    (int)pn_min_size(name.len, 40), name.ptr);
		return false;
	}
	*ret_kind = PN_PASSWORD_CRYPT;
	return true;
}

bool pn_scheme_parse(struct pn_slice field, enum pn_password_kind *ret_kind, struct pn_slice *ret_stored,
                     struct pn_error *err)
{
	*ret_stored = field;
	*ret_kind = PN_PASSWORD_CRYPT;
	if (field.len != 0 && field.ptr[0] == '{') {
		const uint8_t *end = memchr(field.ptr, '}', field.len);
		if (!end) {
			pn_error_set(err, "the password scheme has no closing brace; write {SCHEME}hash");
			return false;
		}
		size_t name_len = (size_t)(end - field.ptr) - 1;
		pn_slice_advance(ret_stored, name_len + 2);
		if (!parse_named(pn_slice(field.ptr + 1, name_len), *ret_stored, ret_kind, err))
			return false;
	}
	if (is_locked(*ret_stored))
		*ret_kind = PN_PASSWORD_NONE;
	else if (*ret_kind == PN_PASSWORD_CRYPT)
		return pn_scheme_check_crypt(*ret_stored, err);
	return true;
}

/* crypt(5): what may stand in a hash. */
static bool has_only_hash_characters(struct pn_slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] < 0x21 || s.ptr[i] > 0x7e || strchr(":;*!\\", s.ptr[i]))
			return false;
	}
	return true;
}

/* The cost fields that crypt_checksalt() does not look into. */
static bool is_cost_sound(struct pn_slice stored, const struct method *method)
{
	size_t from = strlen(method->prefix);
	size_t end = method->cost == COST_BCRYPT ? from + 2 : pn_scheme_crypt_cost(stored).len - 1;
	uint64_t cost;

	if (method->cost == COST_ROUNDS && end > from)
		from += strlen("rounds=");
	else if (method->cost != COST_BCRYPT)
		return true;
	return end < stored.len && end > from && stored.ptr[end] == '$' &&
	       pn_slice_to_u64(pn_slice(stored.ptr + from, end - from),
	                       method->cost == COST_BCRYPT ? 31 : 999999999, &cost) &&
	       cost >= (method->cost == COST_BCRYPT ? 4 : 1000);
}

bool pn_scheme_check_crypt(struct pn_slice stored, struct pn_error *err)
{
	char text[PN_STORED_MAX + 1];
	const struct method *method = find_method(stored);

	if (stored.len > PN_STORED_MAX || !method) {
		pn_error_set(
		    err,
		    "this is no password hash of a supported method (yescrypt, bcrypt, sha512crypt, sha256crypt, "
		    "scrypt, md5crypt); set the password with 'postern user passwd', plain text is never stored");
		return false;
	}
	memcpy(text, stored.ptr, stored.len);
	text[stored.len] = '\0';
	const char *digest = strrchr(text, '$') + 1;
	/* Behind the method's own '$' comes a salt, perhaps an empty one, and another '$'. */
	size_t digest_len = digest > text + strlen(method->prefix) ? strlen(digest) : 0;
	if (digest_len != method->digest_len) {
		pn_error_set(
		    err,
		    "the %s hash is not whole: %zu characters behind the last '$' where %zu belong; copy it again, "
		    "or set the password with 'postern user passwd'",
		    method->name, digest_len, method->digest_len);
		return false;
	}
	int salt = crypt_checksalt(text);
	if ((salt != CRYPT_SALT_OK && salt != CRYPT_SALT_METHOD_LEGACY) || !has_only_hash_characters(stored) ||
	    !is_cost_sound(stored, method)) {
		pn_error_set(err,
		             "libcrypt cannot compute this %s hash; set the password with 'postern user passwd'",
		             method->name);
		return false;
	}
	return true;
}

const char *pn_scheme_crypt_name(struct pn_slice stored)
{
	const struct method *method = find_method(stored);
	return method ? method->name : "unknown";
}

/* The octets up to and including the next '$' from `from` on. */
static size_t through_dollar(struct pn_slice s, size_t from)
{
	const uint8_t *end = from < s.len ? memchr(s.ptr + from, '$', s.len - from) : NULL;
	return end ? (size_t)(end - s.ptr) + 1 : s.len;
}

struct pn_slice pn_scheme_crypt_cost(struct pn_slice stored)
{
	const struct method *method = find_method(stored);
	PN_ASSERT(method);
	size_t len = strlen(method->prefix);

	switch (method->cost) {
	case COST_PREFIX:
		break;
	case COST_ROUNDS:
		if (starts_with(pn_slice(stored.ptr + len, stored.len - len), "rounds="))
			len = through_dollar(stored, len);
		break;
	case COST_ONE_FIELD:
	case COST_BCRYPT:
		len = through_dollar(stored, len);
		break;
	case COST_SCRYPT:
		len += 11;
		break;
	}
	return pn_slice(stored.ptr, pn_min_size(len, stored.len));
}

/* Takes the octets before the next comma; the last part has none behind it. */
static struct pn_slice take_part(struct pn_slice *rest)
{
	const uint8_t *comma = rest->len != 0 ? memchr(rest->ptr, ',', rest->len) : NULL;
	struct pn_slice part = comma ? pn_slice(rest->ptr, (size_t)(comma - rest->ptr)) : *rest;
	pn_slice_advance(rest, part.len + (comma ? 1 : 0));
	return part;
}

/* Decodes base64 of at most `size` octets; the length, or -1. */
static int decode(uint8_t *out, size_t size, struct pn_slice in)
{
	uint8_t raw[PN_BASE64_DECODED_SIZE_MAX(PN_BASE64_ENCODED_SIZE(PN_SASL_SALT_MAX))];

	if (in.len > PN_BASE64_ENCODED_SIZE(size))
		return -1;
	ptrdiff_t len = pn_base64_decode(raw, in);
	if (len < 0 || (size_t)len > size)
		return -1;
	memcpy(out, raw, (size_t)len);
	return (int)len;
}

bool pn_scheme_parse_scram(struct pn_slice text, struct pn_sasl_scram_key *ret, struct pn_error *err)
{
	struct pn_slice rest = text;
	struct pn_slice iterations = take_part(&rest), salt = take_part(&rest), stored = take_part(&rest);
	uint64_t count;

	*ret = (struct pn_sasl_scram_key){ .is_real = true };
	if (!pn_slice_to_u64(iterations, PN_SCRAM_ITERATIONS_MAX, &count) || count < PN_SCRAM_ITERATIONS_MIN) {
		pn_error_set(err,
		             "the iteration count of the SCRAM-SHA-256 key is not a number from %d to %d; set the "
		             "password with "
		             "'postern user passwd'",
		             PN_SCRAM_ITERATIONS_MIN, PN_SCRAM_ITERATIONS_MAX);
		return false;
	}
	int salt_len = decode(ret->salt, sizeof(ret->salt), salt);
	if (text.len > PN_STORED_MAX || salt_len < PN_SCRAM_SALT_MIN ||
	    decode(ret->stored_key, sizeof(ret->stored_key), stored) != PN_SASL_SHA256_LEN ||
	    decode(ret->server_key, sizeof(ret->server_key), rest) != PN_SASL_SHA256_LEN) {
		pn_error_set(err,
		             "the SCRAM-SHA-256 key is not iterations,salt,stored_key,server_key with base64 of a "
		             "salt of %d to %d "
		             "octets and keys of 32; set the password with 'postern user passwd'",
		             PN_SCRAM_SALT_MIN, PN_SASL_SALT_MAX);
		return false;
	}
	ret->iterations = (uint32_t)count;
	ret->salt_len = (uint8_t)salt_len;
	return true;
}

static size_t put_base64(char *out, const uint8_t *data, size_t len)
{
	*out = ',';
	return 1 + pn_base64_encode(out + 1, pn_slice(data, len));
}

void pn_scheme_format_scram(char *out, const struct pn_sasl_scram_key *key)
{
	size_t len = (size_t)snprintf(out, PN_STORED_MAX + 1, "%" PRIu32, key->iterations);

	len += put_base64(out + len, key->salt, key->salt_len);
	len += put_base64(out + len, key->stored_key, sizeof(key->stored_key));
	len += put_base64(out + len, key->server_key, sizeof(key->server_key));
	out[len] = '\0';
}
