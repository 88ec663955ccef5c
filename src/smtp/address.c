/* SPDX-License-Identifier: ISC */
/*
 * address.c - a hand-written recursive descent over RFC 5321 4.1.2.
 *
 * A cursor moves over the input; each rule either moves it over its match and returns true, or returns false.
 * Octets above 127 are taken wherever RFC 6531 3.3 allows them and the whole address is checked to be UTF-8 at
 * the end; whether SMTPUTF8 was given is the caller's question.
 */
#include <postern/smtp/address.h>

#include <arpa/inet.h>

#include <postern/base/codec.h>

#define LABEL_MAX_BYTES 63 /* RFC 1035 2.3.4 */

struct cursor {
	const uint8_t *at, *end;
};

static bool is_letter_or_digit(uint8_t c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* RFC 5322 3.2.3 atext, and UTF8-non-ascii (RFC 6531 3.3). */
static bool is_atext(uint8_t c)
{
	return is_letter_or_digit(c) || c >= 0x80 || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool take(struct cursor *c, uint8_t octet)
{
	if (c->at == c->end || *c->at != octet)
		return false;
	c->at++;
	return true;
}

static bool take_dot_string(struct cursor *c)
{
	do {
		const uint8_t *start = c->at;
		while (c->at < c->end && is_atext(*c->at))
			c->at++;
		if (c->at == start)
			return false;
	} while (take(c, '.'));
	return true;
}

/* The opening quote is taken already. */
static bool take_quoted_rest(struct cursor *c)
{
	while (c->at < c->end) {
		uint8_t octet = *c->at++;
		if (octet == '"')
			return true;
		if (octet == '\\') {
			/* quoted-pairSMTP: "\" and one of %d32-126 */
			if (c->at == c->end || *c->at < 0x20 || *c->at > 0x7e)
				return false;
			c->at++;
		} else if (octet < 0x20 || octet == 0x7f) {
			return false;
		}
	}
	return false;
}

static bool take_local_part(struct cursor *c)
{
	return take(c, '"') ? take_quoted_rest(c) : take_dot_string(c);
}

static bool take_label(struct cursor *c)
{
	const uint8_t *start = c->at;

	while (c->at < c->end && (is_letter_or_digit(*c->at) || *c->at == '-' || *c->at >= 0x80))
		c->at++;
	size_t len = (size_t)(c->at - start);
	return len > 0 && len <= LABEL_MAX_BYTES && start[0] != '-' && c->at[-1] != '-';
}

static bool take_domain_name(struct cursor *c)
{
	do {
		if (!take_label(c))
			return false;
	} while (take(c, '.'));
	return true;
}

/* Up to and with the ']'; what is inside is checked by pn_address_literal_is_valid. */
static bool take_literal(struct cursor *c)
{
	const uint8_t *start = c->at;
	const uint8_t *close = memchr(start, ']', (size_t)(c->end - start));

	if (!close)
		return false;
	c->at = close + 1;
	return pn_address_literal_is_valid(pn_slice(start, (size_t)(c->at - start)));
}

static bool ipv4_is_valid(struct pn_slice s)
{
	unsigned numbers = 0, digits = 0, value = 0;

	for (size_t i = 0; i <= s.len; i++) {
		if (i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9') {
			value = value * 10 + (unsigned)(s.ptr[i] - '0');
			if (++digits > 3 || value > 255)
				return false;
		} else {
			if (digits == 0 || (i < s.len && s.ptr[i] != '.'))
				return false;
			numbers++;
			digits = value = 0;
		}
	}
	return numbers == 4;
}

static bool ipv6_is_valid(struct pn_slice s)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr address;

	if (s.len >= sizeof(text) || s.len == 0 || memchr(s.ptr, '\0', s.len))
		return false;
	memcpy(text, s.ptr, s.len);
	text[s.len] = '\0';
	return inet_pton(AF_INET6, text, &address) == 1;
}

/* General-address-literal: Standardized-tag ":" 1*dcontent */
static bool general_literal_is_valid(struct pn_slice s)
{
	const uint8_t *colon = s.len ? memchr(s.ptr, ':', s.len) : NULL;

	if (!colon || colon == s.ptr || colon + 1 == s.ptr + s.len || colon[-1] == '-')
		return false;
	for (const uint8_t *p = s.ptr; p < colon; p++)
		if (!is_letter_or_digit(*p) && *p != '-')
			return false;
	for (const uint8_t *p = colon + 1; p < s.ptr + s.len; p++)
		if (*p < 33 || *p > 126 || (*p >= '[' && *p <= ']'))
			return false;
	return true;
}

bool pn_address_literal_is_valid(struct pn_slice s)
{
	if (s.len < 3 || s.ptr[0] != '[' || s.ptr[s.len - 1] != ']')
		return false;
	struct pn_slice inner = pn_slice(s.ptr + 1, s.len - 2);
	if (pn_slice_starts_nocase(inner, PN_SLICE_LIT("IPv6:"))) {
		pn_slice_advance(&inner, 5);
		return ipv6_is_valid(inner);
	}
	return ipv4_is_valid(inner) || general_literal_is_valid(inner);
}

bool pn_helo_name_is_valid(struct pn_slice s)
{
	if (s.len == 0 || s.len > PN_DOMAIN_MAX_BYTES)
		return false;
	if (s.ptr[0] == '[')
		return pn_address_literal_is_valid(s);
	for (size_t i = 0; i < s.len; i++)
		if (!is_letter_or_digit(s.ptr[i]) && (s.ptr[i] == '\0' || !strchr("-._:", s.ptr[i])))
			return false;
	return true;
}

/* RFC 6409 4.2. A last label of digits only is no top-level domain (RFC 3696 2): an address that lost its
 * brackets. */
static bool domain_is_qualified(struct pn_slice d)
{
	size_t last = d.len;

	while (last > 0 && d.ptr[last - 1] != '.')
		last--;
	if (last == 0)
		return false;
	for (size_t i = last; i < d.len; i++)
		if (d.ptr[i] < '0' || d.ptr[i] > '9')
			return true;
	return false;
}

static enum pn_path_error check_sizes(const struct pn_path *p)
{
	/* the quotes are not counted: they may be what a client needed to say 64 octets */
	size_t quotes = p->local.len > 0 && p->local.ptr[0] == '"' ? 2 : 0;

	if (p->local.len - quotes > PN_LOCAL_PART_MAX_BYTES || p->domain.len > PN_DOMAIN_MAX_BYTES ||
	    p->address.len + 2 - quotes > PN_PATH_MAX_BYTES)
		return PN_PATH_TOO_LONG;
	return PN_PATH_OK;
}

/* Local-part "@" ( Domain / address-literal ), from c->at. */
static enum pn_path_error take_mailbox(struct cursor *c, enum pn_path_kind kind, struct pn_path *ret)
{
	const uint8_t *start = c->at;

	if (!take_local_part(c))
		return PN_PATH_SYNTAX;
	ret->local = pn_slice(start, (size_t)(c->at - start));
	if (!take(c, '@')) {
		ret->address = ret->local;
		return kind == PN_PATH_FORWARD && pn_slice_eq_nocase(ret->local, PN_SLICE_LIT("postmaster"))
			       ? PN_PATH_OK
			       : PN_PATH_SYNTAX;
	}
	const uint8_t *domain = c->at;
	ret->is_literal = c->at < c->end && *c->at == '[';
	if (!(ret->is_literal ? take_literal(c) : take_domain_name(c)))
		return PN_PATH_SYNTAX;
	ret->domain = pn_slice(domain, (size_t)(c->at - domain));
	ret->address = pn_slice(start, (size_t)(c->at - start));
	ret->has_8bit = pn_slice_has_8bit(ret->address);
	if (ret->has_8bit && !pn_utf8_is_valid(ret->address))
		return PN_PATH_SYNTAX;
	enum pn_path_error e = check_sizes(ret);
	if (e != PN_PATH_OK)
		return e;
	return ret->is_literal || domain_is_qualified(ret->domain) ? PN_PATH_OK : PN_PATH_NOT_QUALIFIED;
}

/* [ "@" Domain *( "," "@" Domain ) ":" ] */
static bool take_source_route(struct cursor *c, struct pn_path *ret)
{
	if (c->at == c->end || *c->at != '@')
		return true;
	ret->has_source_route = true;
	do {
		if (!take(c, '@') || !take_domain_name(c))
			return false;
	} while (take(c, ','));
	return take(c, ':');
}

enum pn_path_error pn_path_parse(struct pn_slice *in, enum pn_path_kind kind, struct pn_path *ret)
{
	struct cursor c = { in->ptr, in->ptr + in->len };
	enum pn_path_error e = PN_PATH_OK;

	*ret = (struct pn_path){ 0 };
	if (in->len == 0 || !take(&c, '<'))
		return PN_PATH_SYNTAX;
	if (!(kind == PN_PATH_REVERSE && c.at < c.end && *c.at == '>')) {
		if (!take_source_route(&c, ret))
			return PN_PATH_SYNTAX;
		e = take_mailbox(&c, kind, ret);
	}
	/* bad syntax is told before bad size or an unqualified domain */
	if (e == PN_PATH_SYNTAX || !take(&c, '>'))
		return PN_PATH_SYNTAX;
	if (e != PN_PATH_OK)
		return e;
	pn_slice_advance(in, (size_t)(c.at - in->ptr));
	return PN_PATH_OK;
}

enum pn_path_error pn_mailbox_parse(struct pn_slice s, struct pn_path *ret)
{
	struct cursor c = { s.ptr, s.ptr + s.len };

	*ret = (struct pn_path){ 0 };
	if (s.len == 0)
		return PN_PATH_SYNTAX;
	enum pn_path_error e = take_mailbox(&c, PN_PATH_REVERSE, ret);
	return c.at == c.end ? e : PN_PATH_SYNTAX;
}
