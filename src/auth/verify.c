/* SPDX-License-Identifier: ISC */
/*
 * verify.c - does this password belong to this user: the slow part, run by helpers.
 *
 * Whether it matches is decided in constant time. Where a hash cannot be computed at all (yescrypt wants
 * memory) the answer is BROKEN, never WRONG: an outage must not look like a wrong password (RFC 4954 6).
 */
#include <crypt.h>
#include <errno.h>

#include <postern/base/log.h>
#include <postern/base/secret.h>
#include <postern/tls/crypto.h>

#include "auth/user.h"

static enum pn_verify_result verify_crypt(const struct pn_auth_user *u, struct pn_slice password,
                                          struct crypt_data *scratch)
{
	enum pn_verify_result result = PN_VERIFY_WRONG;

	errno = 0;
	const char *hash = crypt_rn((const char *)password.ptr, (const char *)u->stored.ptr, scratch,
	                            (int)sizeof(*scratch));
	if (hash) {
		result = pn_secret_eq(pn_slice_str(hash), u->stored) ? PN_VERIFY_RIGHT : PN_VERIFY_WRONG;
	} else if (errno != ERANGE) { /* a password longer than crypt(3) takes is wrong */
		pn_logf(PN_LOG_ERROR, "auth",
		        "the password hash of line %u of the user file cannot be computed: %s", u->line,
		        strerror(errno));
		result = PN_VERIFY_BROKEN;
	}
	pn_wipe(scratch, sizeof(*scratch));
	return result;
}

bool pn_scram_derive(struct pn_sasl_scram_key *key, struct pn_slice password)
{
	uint8_t salted[PN_SHA256_LEN], client_key[PN_SHA256_LEN];

	if (pn_pbkdf2_sha256(salted, password, pn_slice(key->salt, key->salt_len), key->iterations) != 0)
		return false;
	pn_hmac_sha256(client_key, pn_slice(salted, sizeof(salted)), PN_SLICE_LIT("Client Key"));
	pn_sha256(key->stored_key, pn_slice(client_key, sizeof(client_key)));
	pn_hmac_sha256(key->server_key, pn_slice(salted, sizeof(salted)), PN_SLICE_LIT("Server Key"));
	pn_wipe(salted, sizeof(salted));
	pn_wipe(client_key, sizeof(client_key));
	return true;
}

static enum pn_verify_result verify_scram(const struct pn_auth_user *u, struct pn_slice password)
{
	struct pn_sasl_scram_key key = u->scram;

	if (!pn_scram_derive(&key, password))
		return PN_VERIFY_BROKEN;
	bool is_right = pn_secret_eq(pn_slice(key.stored_key, sizeof(key.stored_key)),
	                             pn_slice(u->scram.stored_key, sizeof(u->scram.stored_key)));
	pn_wipe(&key, sizeof(key));
	return is_right ? PN_VERIFY_RIGHT : PN_VERIFY_WRONG;
}

enum pn_verify_result pn_user_verify(const struct pn_auth_user *u, struct pn_slice password,
                                     struct crypt_data *scratch)
{
	switch (u->kind) {
	case PN_PASSWORD_CRYPT:
		return verify_crypt(u, password, scratch);
	case PN_PASSWORD_SCRAM:
		return verify_scram(u, password);
	case PN_PASSWORD_NONE:
		break;
	}
	return PN_VERIFY_WRONG;
}
