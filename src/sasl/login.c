/* SPDX-License-Identifier: ISC */
/*
 * login.c - LOGIN: two prompts, name and password. Clients that were written against the one or the other
 * server look for exactly these texts; an initial response is the name. Empty ones count as wrong, not as
 * malformed.
 */
#include "sasl_internal.h"

static bool is_field(struct pn_slice field, size_t max)
{
	return field.len == 0 || (field.len <= max && memchr(field.ptr, 0, field.len) == NULL);
}

enum pn_sasl_status pn_sasl_login_step(struct pn_sasl *s, struct pn_slice response, struct pn_slice *ret_data)
{
	if (s->state != PN_SASL_ST_LOGIN_PASSWORD) {
		if (!is_field(response, PN_SASL_NAME_MAX))
			return PN_SASL_MALFORMED;
		if (!pn_sasl_prepare_name(s, response))
			return PN_SASL_BAD;
		s->state = PN_SASL_ST_LOGIN_PASSWORD;
		*ret_data = PN_SLICE_LIT("Password:");
		return PN_SASL_CHALLENGE;
	}
	if (!is_field(response, PN_SASL_PASSWORD_MAX))
		return PN_SASL_MALFORMED;
	if (!pn_sasl_prepare_password(s, response))
		return PN_SASL_BAD;
	s->state = PN_SASL_ST_VERIFY;
	return PN_SASL_NEED_VERIFY;
}
