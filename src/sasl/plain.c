/* SPDX-License-Identifier: ISC */
/*
 * plain.c - PLAIN (RFC 4616): message = [authzid] NUL authcid NUL passwd.
 *
 * Nobody may act as somebody else: an authzid must be the prepared authcid, or absent. An identity or
 * password that cannot be prepared, or is empty, fails like a wrong one (RFC 4954 4).
 */
#include "sasl_internal.h"

/* Takes the octets up to the next NUL off the front. */
static bool take_field(struct pn_slice *rest, struct pn_slice *ret)
{
	const uint8_t *nul = rest->len != 0 ? memchr(rest->ptr, 0, rest->len) : NULL;
	if (!nul)
		return false;
	*ret = pn_slice(rest->ptr, (size_t)(nul - rest->ptr));
	pn_slice_advance(rest, ret->len + 1);
	return true;
}

enum pn_sasl_status pn_sasl_plain_step(struct pn_sasl *s, struct pn_slice response)
{
	struct pn_slice authzid, authcid, password = response;

	if (!take_field(&password, &authzid) || !take_field(&password, &authcid))
		return PN_SASL_MALFORMED;
	if (password.len != 0 && memchr(password.ptr, 0, password.len))
		return PN_SASL_MALFORMED;
	if (authzid.len > PN_SASL_NAME_MAX || authcid.len > PN_SASL_NAME_MAX || password.len > PN_SASL_PASSWORD_MAX)
		return PN_SASL_MALFORMED;
	if (!pn_sasl_prepare_name(s, authcid) || !pn_sasl_prepare_password(s, password))
		return PN_SASL_BAD;
	if (authzid.len != 0 && !pn_sasl_is_own_name(s, authzid))
		return PN_SASL_BAD;
	s->state = PN_SASL_ST_VERIFY;
	return PN_SASL_NEED_VERIFY;
}
