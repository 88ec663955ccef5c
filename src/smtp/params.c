/* SPDX-License-Identifier: ISC */
/*
 * params.c - esmtp-keyword ["=" esmtp-value], a table of keywords for each of MAIL and RCPT, one small function
 * for each keyword.
 *
 * A keyword that is not in the table or not offered is 555 (RFC 5321 4.1.1.11); one given twice is 501 (RFC
 * 3461 5.1; we hold all parameters to that).
 */
#include <postern/smtp/params.h>

#include <postern/base/codec.h>

struct parse {
	const struct pn_param_offer *offer;
	struct pn_envelope *envelope;   /* MAIL */
	struct pn_recipient *recipient; /* RCPT */
	bool is_smtputf8;
};

struct param {
	struct pn_slice keyword;
	struct pn_slice value;
	bool has_value;
};

struct param_kind {
	const char *keyword;
	bool (*is_offered)(const struct pn_param_offer *offer); /* NULL: always */
	enum pn_reply (*parse)(struct parse *p, const struct param *param);
};

static bool is_upper_hex(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F');
}

bool pn_xtext_is_valid(struct pn_slice s)
{
	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.ptr[i];
		if (c < 33 || c > 126 || c == '=')
			return false;
		if (c != '+')
			continue;
		if (s.len - i < 3 || !is_upper_hex(s.ptr[i + 1]) || !is_upper_hex(s.ptr[i + 2]))
			return false;
		i += 2;
	}
	return true;
}

static bool offers_smtputf8(const struct pn_param_offer *offer)
{
	return offer->has_smtputf8;
}

static bool offers_dsn(const struct pn_param_offer *offer)
{
	return offer->has_dsn;
}

/* RFC 1870 5: size-value ::= 1*20DIGIT */
static enum pn_reply parse_size(struct parse *p, const struct param *param)
{
	if (!param->has_value || param->value.len > 20)
		return PN_REPLY_PARAM_SYNTAX;
	for (size_t i = 0; i < param->value.len; i++)
		if (param->value.ptr[i] < '0' || param->value.ptr[i] > '9')
			return PN_REPLY_PARAM_SYNTAX;
	/* RFC 1870 6.1: refused here rather than after the message was sent; also what is beyond 64 bits */
	if (!pn_slice_to_u64(param->value, p->offer->message_size_max_bytes, &p->envelope->size_declared))
		return PN_REPLY_MESSAGE_TOO_BIG;
	return PN_REPLY_NONE;
}

/* RFC 6152 3 */
static enum pn_reply parse_body(struct parse *p, const struct param *param)
{
	if (!param->has_value)
		return PN_REPLY_PARAM_SYNTAX;
	/* RFC 3030 3: BINARYMIME is not offered, so its value is one that we do not implement */
	if (pn_slice_eq_nocase(param->value, PN_SLICE_LIT("BINARYMIME")))
		return PN_REPLY_PARAM_UNKNOWN;
	if (pn_slice_eq_nocase(param->value, PN_SLICE_LIT("8BITMIME")))
		p->envelope->body = PN_BODY_8BITMIME;
	else if (pn_slice_eq_nocase(param->value, PN_SLICE_LIT("7BIT")))
		p->envelope->body = PN_BODY_7BIT;
	else
		return PN_REPLY_PARAM_SYNTAX;
	return PN_REPLY_NONE;
}

/* RFC 6531 3.1 item 6: no value */
static enum pn_reply parse_smtputf8(struct parse *p, const struct param *param)
{
	if (param->has_value)
		return PN_REPLY_PARAM_SYNTAX;
	p->envelope->is_smtputf8 = true;
	return PN_REPLY_NONE;
}

/* RFC 4954 5: xtext of a mailbox, or <> */
static enum pn_reply parse_auth(struct parse *p, const struct param *param)
{
	if (!param->has_value || param->value.len > PN_AUTH_PARAM_MAX_BYTES || !pn_xtext_is_valid(param->value))
		return PN_REPLY_PARAM_SYNTAX;
	p->envelope->auth_param = param->value;
	return PN_REPLY_NONE;
}

/* RFC 3461 4.3 */
static enum pn_reply parse_ret(struct parse *p, const struct param *param)
{
	if (param->has_value && pn_slice_eq_nocase(param->value, PN_SLICE_LIT("FULL")))
		p->envelope->dsn_ret = PN_DSN_RET_FULL;
	else if (param->has_value && pn_slice_eq_nocase(param->value, PN_SLICE_LIT("HDRS")))
		p->envelope->dsn_ret = PN_DSN_RET_HDRS;
	else
		return PN_REPLY_PARAM_SYNTAX;
	return PN_REPLY_NONE;
}

/* RFC 3461 4.4 */
static enum pn_reply parse_envid(struct parse *p, const struct param *param)
{
	if (!param->has_value || param->value.len > PN_ENVID_MAX_BYTES || !pn_xtext_is_valid(param->value))
		return PN_REPLY_PARAM_SYNTAX;
	p->envelope->dsn_envid = param->value;
	return PN_REPLY_NONE;
}

static uint32_t notify_flag(struct pn_slice word)
{
	if (pn_slice_eq_nocase(word, PN_SLICE_LIT("SUCCESS")))
		return PN_DSN_NOTIFY_SUCCESS;
	if (pn_slice_eq_nocase(word, PN_SLICE_LIT("FAILURE")))
		return PN_DSN_NOTIFY_FAILURE;
	if (pn_slice_eq_nocase(word, PN_SLICE_LIT("DELAY")))
		return PN_DSN_NOTIFY_DELAY;
	if (pn_slice_eq_nocase(word, PN_SLICE_LIT("NEVER")))
		return PN_DSN_NOTIFY_NEVER;
	return 0;
}

/* RFC 3461 4.1: NEVER, or a list of the others */
static enum pn_reply parse_notify(struct parse *p, const struct param *param)
{
	struct pn_slice rest = param->value;
	uint32_t flags = 0;

	if (!param->has_value)
		return PN_REPLY_PARAM_SYNTAX;
	for (;;) {
		const uint8_t *comma = rest.len ? memchr(rest.ptr, ',', rest.len) : NULL;
		size_t len = comma ? (size_t)(comma - rest.ptr) : rest.len;
		uint32_t flag = notify_flag(pn_slice(rest.ptr, len));
		if (flag == 0)
			return PN_REPLY_PARAM_SYNTAX;
		flags |= flag;
		if (!comma)
			break;
		pn_slice_advance(&rest, len + 1);
	}
	if ((flags & PN_DSN_NOTIFY_NEVER) && flags != PN_DSN_NOTIFY_NEVER)
		return PN_REPLY_PARAM_SYNTAX;
	p->recipient->notify = flags;
	return PN_REPLY_NONE;
}

/* RFC 6533 3: a utf-8 address is raw (only under SMTPUTF8) or has \x{..} where it is not ASCII. The escapes are
 * the next hop's to read (RFC 6533 3: an address that does not conform is copied on unaltered). */
static bool utf8_orcpt_is_valid(struct pn_slice s, bool is_smtputf8)
{
	if (s.len == 0 || (pn_slice_has_8bit(s) && !(is_smtputf8 && pn_utf8_is_valid(s))))
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] < 33 || s.ptr[i] == 0x7f || s.ptr[i] == '=')
			return false;
	return true;
}

/* RFC 3461 4.2: addr-type ";" xtext; the addr-type is an atom */
static enum pn_reply parse_orcpt(struct parse *p, const struct param *param)
{
	struct pn_slice v = param->value;
	const uint8_t *semicolon = v.len ? memchr(v.ptr, ';', v.len) : NULL;

	if (!semicolon || semicolon == v.ptr || v.len > PN_ORCPT_MAX_BYTES)
		return PN_REPLY_PARAM_SYNTAX;
	struct pn_slice type = pn_slice(v.ptr, (size_t)(semicolon - v.ptr));
	for (size_t i = 0; i < type.len; i++)
		if (type.ptr[i] <= 32 || type.ptr[i] >= 0x7f || strchr("()<>@,:\\\".[]", type.ptr[i]))
			return PN_REPLY_PARAM_SYNTAX;
	struct pn_slice address = pn_slice(semicolon + 1, v.len - type.len - 1);
	bool is_valid = pn_slice_eq_nocase(type, PN_SLICE_LIT("utf-8"))
				? utf8_orcpt_is_valid(address, p->is_smtputf8)
				: pn_xtext_is_valid(address);
	if (!is_valid)
		return PN_REPLY_PARAM_SYNTAX;
	p->recipient->orcpt = v;
	return PN_REPLY_NONE;
}

static const struct param_kind mail_params[] = {
	{ "SIZE", NULL, parse_size },
	{ "BODY", NULL, parse_body },
	{ "SMTPUTF8", offers_smtputf8, parse_smtputf8 },
	{ "AUTH", NULL, parse_auth },
	{ "RET", offers_dsn, parse_ret },
	{ "ENVID", offers_dsn, parse_envid },
};

static const struct param_kind rcpt_params[] = {
	{ "NOTIFY", offers_dsn, parse_notify },
	{ "ORCPT", offers_dsn, parse_orcpt },
};

/* esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-") */
static bool keyword_is_valid(struct pn_slice k)
{
	if (k.len == 0 || k.ptr[0] == '-')
		return false;
	for (size_t i = 0; i < k.len; i++) {
		uint8_t c = k.ptr[i], lower = c | 0x20;
		if (!((c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'z') || c == '-'))
			return false;
	}
	return true;
}

/* esmtp-value = 1*(%d33-60 / %d62-126), and UTF8-non-ascii (RFC 6531 3.3) */
static bool value_is_valid(struct pn_slice v)
{
	for (size_t i = 0; i < v.len; i++)
		if (v.ptr[i] < 33 || v.ptr[i] == '=' || v.ptr[i] == 0x7f)
			return false;
	return v.len > 0;
}

/* Takes " keyword[=value]" off the front of *rest. */
static bool next_param(struct pn_slice *rest, struct param *ret)
{
	size_t n = 0;

	while (n < rest->len && rest->ptr[n] == ' ')
		n++;
	if (n == 0)
		return false;
	pn_slice_advance(rest, n);
	for (n = 0; n < rest->len && rest->ptr[n] != ' '; n++)
		;
	const uint8_t *equals = n ? memchr(rest->ptr, '=', n) : NULL;
	size_t key_len = equals ? (size_t)(equals - rest->ptr) : n;
	ret->has_value = equals != NULL;
	ret->keyword = pn_slice(rest->ptr, key_len);
	ret->value = equals ? pn_slice(equals + 1, n - key_len - 1) : PN_SLICE_NULL;
	pn_slice_advance(rest, n);
	return keyword_is_valid(ret->keyword) && (!equals || value_is_valid(ret->value));
}

static enum pn_reply parse_all(struct pn_slice rest, const struct param_kind *kinds, size_t kind_count,
			       struct parse *p)
{
	uint32_t seen = 0;

	while (rest.len > 0) {
		struct param param;
		if (!next_param(&rest, &param))
			return PN_REPLY_PARAM_SYNTAX;
		size_t k = 0;
		while (k < kind_count && !pn_slice_eq_nocase(param.keyword, pn_slice_str(kinds[k].keyword)))
			k++;
		if (k == kind_count || (kinds[k].is_offered && !kinds[k].is_offered(p->offer)))
			return PN_REPLY_PARAM_UNKNOWN;
		if (seen & 1u << k)
			return PN_REPLY_PARAM_DUPLICATE;
		seen |= 1u << k;
		enum pn_reply reply = kinds[k].parse(p, &param);
		if (reply != PN_REPLY_NONE)
			return reply;
	}
	return PN_REPLY_NONE;
}

enum pn_reply pn_mail_params_parse(struct pn_slice rest, const struct pn_param_offer *offer,
				   struct pn_envelope *ret)
{
	struct parse p = { .offer = offer, .envelope = ret };

	return parse_all(rest, mail_params, PN_ARRAY_SIZE(mail_params), &p);
}

enum pn_reply pn_rcpt_params_parse(struct pn_slice rest, const struct pn_param_offer *offer, bool is_smtputf8,
				   struct pn_recipient *ret)
{
	struct parse p = { .offer = offer, .recipient = ret, .is_smtputf8 = is_smtputf8 };

	return parse_all(rest, rcpt_params, PN_ARRAY_SIZE(rcpt_params), &p);
}
