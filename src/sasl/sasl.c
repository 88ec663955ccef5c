/* SPDX-License-Identifier: ISC */
/*
 * sasl.c - the frame around the mechanisms: names, states, preparation of identities, wiping.
 *
 * A mechanism sees a message only in a state that awaits one; calls out of order are errors of our own code and
 * are asserted. An exchange that ended stays ended.
 */
#include <postern/base/secret.h>

#include "sasl_internal.h"

#define SCRAM_TEXT_MAX (4 * PN_SASL_MESSAGE_MAX)

const char *pn_sasl_mechanism_name(enum pn_sasl_mechanism mechanism)
{
	static const char *const names[] = {
#define X(sym, name) name,
		PN_SASL_MECHANISMS(X)
#undef X
	};
	PN_ASSERT(mechanism < PN_SASL_MECHANISM_COUNT);
	return names[mechanism];
}

enum pn_sasl_mechanism pn_sasl_mechanism_find(struct pn_slice name)
{
	for (unsigned i = 0; i < PN_SASL_MECHANISM_COUNT; i++) {
		if (pn_slice_eq_nocase(name, pn_slice_str(pn_sasl_mechanism_name((enum pn_sasl_mechanism)i))))
			return (enum pn_sasl_mechanism)i;
	}
	return PN_SASL_MECHANISM_COUNT;
}

void pn_sasl_init(struct pn_sasl *s, enum pn_sasl_mechanism mechanism, const struct pn_sasl_ops *ops)
{
	PN_ASSERT(mechanism < PN_SASL_MECHANISM_COUNT);
	*s = (struct pn_sasl){ .ops = ops, .mechanism = mechanism, .state = PN_SASL_ST_START };
	pn_buf_init_secret(&s->text, SCRAM_TEXT_MAX);
}

void pn_sasl_deinit(struct pn_sasl *s)
{
	pn_buf_wipe(&s->text);
	pn_wipe(s->name, sizeof(s->name));
	pn_wipe(s->password, sizeof(s->password));
	pn_wipe(&s->key, sizeof(s->key));
	pn_wipe(s->server_final, sizeof(s->server_final));
	s->name_len = 0;
	s->password_len = 0;
	s->state = PN_SASL_ST_DONE;
}

/* RFC 4954 4: where the client has to speak first and did not, the server sends an empty challenge. */
static enum pn_sasl_status prompt(struct pn_sasl *s, struct pn_slice *ret_data)
{
	s->state = PN_SASL_ST_FIRST;
	if (s->mechanism == PN_SASL_LOGIN)
		*ret_data = PN_SLICE_LIT("Username:");
	return PN_SASL_CHALLENGE;
}

static bool is_end(enum pn_sasl_status status)
{
	return status == PN_SASL_OK || status == PN_SASL_BAD || status == PN_SASL_MALFORMED ||
	       status == PN_SASL_NO_MEMORY;
}

enum pn_sasl_status pn_sasl_step(struct pn_sasl *s, bool has_response, struct pn_slice response,
                                 struct pn_slice *ret_data)
{
	enum pn_sasl_status status = PN_SASL_MALFORMED;

	PN_ASSERT(s->state != PN_SASL_ST_DONE && s->state != PN_SASL_ST_VERIFY && s->state != PN_SASL_ST_SCRAM_KEY);
	PN_ASSERT(has_response || s->state == PN_SASL_ST_START);
	*ret_data = PN_SLICE_NULL;
	if (!has_response)
		return prompt(s, ret_data);
	if (response.len <= PN_SASL_MESSAGE_MAX) {
		switch (s->mechanism) {
		case PN_SASL_PLAIN:
			status = pn_sasl_plain_step(s, response);
			break;
		case PN_SASL_LOGIN:
			status = pn_sasl_login_step(s, response, ret_data);
			break;
		case PN_SASL_SCRAM_SHA_256:
			status = pn_sasl_scram_step(s, response, ret_data);
			break;
		case PN_SASL_MECHANISM_COUNT:
			break;
		}
	}
	if (is_end(status)) {
		s->state = PN_SASL_ST_DONE;
		pn_sasl_forget_password(s);
	}
	return status;
}

enum pn_sasl_status pn_sasl_verified(struct pn_sasl *s, bool is_right)
{
	PN_ASSERT(s->state == PN_SASL_ST_VERIFY);
	s->state = PN_SASL_ST_DONE;
	pn_sasl_forget_password(s);
	return is_right ? PN_SASL_OK : PN_SASL_BAD;
}

struct pn_slice pn_sasl_name(const struct pn_sasl *s)
{
	return pn_slice(s->name, s->name_len);
}

struct pn_slice pn_sasl_password(const struct pn_sasl *s)
{
	return pn_slice(s->password, s->password_len);
}

void pn_sasl_forget_password(struct pn_sasl *s)
{
	pn_wipe(s->password, sizeof(s->password));
	s->password_len = 0;
}

/* Prepares into out[PN_SASL_PREPARED_MAX + 1], NUL-terminated. */
static bool prepare(const struct pn_sasl *s, char *out, uint16_t *ret_len, struct pn_slice raw)
{
	ptrdiff_t len = s->ops->saslprep(out, PN_SASL_PREPARED_MAX, raw);
	if (len <= 0)
		return false;
	PN_ASSERT(len <= PN_SASL_PREPARED_MAX);
	out[len] = '\0';
	*ret_len = (uint16_t)len;
	return true;
}

bool pn_sasl_prepare_name(struct pn_sasl *s, struct pn_slice raw)
{
	return prepare(s, s->name, &s->name_len, raw);
}

bool pn_sasl_prepare_password(struct pn_sasl *s, struct pn_slice raw)
{
	return prepare(s, s->password, &s->password_len, raw);
}

bool pn_sasl_is_own_name(const struct pn_sasl *s, struct pn_slice raw)
{
	char out[PN_SASL_PREPARED_MAX + 1];
	uint16_t len = 0;
	return prepare(s, out, &len, raw) && pn_slice_eq(pn_slice(out, len), pn_sasl_name(s));
}
