/* SPDX-License-Identifier: ISC */
/*
 * user_line.c - one line of the user file: user:{SCHEME}hash:uid:gid:gecos:home:shell:extra (Dovecot's
 * passwd-file).
 *
 * Of the extra fields (space separated key=value) ours are postern_addresses, postern_domains and
 * postern_scram; of Dovecot's `nologin` disables the user and `allow_nets` is noted; all others are ignored, as
 * are uid to shell. An unknown postern_* key is a mistake: a misspelt limit must not vanish. As in Dovecot the
 * extra fields are the rest of the line, colons included.
 */
#include <stdlib.h>

#include <postern/base/secret.h>

#include "auth/saslprep.h"
#include "auth/user.h"

struct parsed {
	struct pn_user_fields fields;
	char name[PN_SASL_NAME_MAX];
	size_t name_len;
	enum pn_password_kind kind;
	struct pn_slice stored;
	struct pn_sasl_scram_key scram;
	bool has_scram, is_disabled, has_allow_nets;
	bool has_addresses, has_domains;
	struct pn_slice addresses, domains; /* as listed, with commas */
	size_t address_count, domain_count;
};

static struct pn_slice take_until(struct pn_slice *rest, char separator, bool *ret_is_found)
{
	const uint8_t *end = rest->len != 0 ? memchr(rest->ptr, separator, rest->len) : NULL;
	struct pn_slice part = end ? pn_slice(rest->ptr, (size_t)(end - rest->ptr)) : *rest;

	*ret_is_found = end != NULL;
	pn_slice_advance(rest, part.len + (end ? 1 : 0));
	return part;
}

bool pn_user_split_line(struct pn_slice line, struct pn_user_fields *ret)
{
	struct pn_slice rest = line;
	bool is_found = false;

	*ret = (struct pn_user_fields){ .count = 1 };
	if (line.len == 0 || line.ptr[0] == '#')
		return false;
	ret->name = take_until(&rest, ':', &is_found);
	if (!is_found)
		return true;
	ret->count++;
	ret->password = take_until(&rest, ':', &is_found);
	ret->middle = pn_slice(rest.ptr, 0);
	for (unsigned i = 0; is_found && i < 5; i++) {
		struct pn_slice field = take_until(&rest, ':', &is_found);
		ret->middle.len = (size_t)(field.ptr + field.len - ret->middle.ptr);
		ret->count++;
	}
	if (is_found) {
		ret->extra = rest;
		ret->count++;
	}
	return true;
}

static bool parse_name(struct parsed *p, struct pn_error *err)
{
	struct pn_slice raw = p->fields.name;

	if (raw.len == 0) {
		pn_error_set(err,
		             "the user name is empty; a line is user:{SCHEME}hash:uid:gid:gecos:home:shell:extra");
		return false;
	}
	ptrdiff_t len = raw.len <= PN_SASL_NAME_MAX ? pn_saslprep_stored(p->name, sizeof(p->name), raw) : -1;
	if (len <= 0) {
		pn_error_set(err,
		             "the user name is longer than %d octets, is not UTF-8, or has characters that "
		             "SASLprep (RFC 4013) "
		             "prohibits; choose another name",
		             PN_SASL_NAME_MAX);
		return false;
	}
	p->name_len = (size_t)len;
	return true;
}

bool pn_user_is_list(struct pn_slice text, bool (*is_item)(struct pn_slice), size_t *ret_count)
{
	bool is_found = true;

	*ret_count = 0;
	while (is_found) {
		if (!is_item(take_until(&text, ',', &is_found)))
			return false;
		++*ret_count;
	}
	return true;
}

static bool fail_twice(const char *key, struct pn_error *err)
{
	pn_error_set(err, "%s stands twice; write one, with its items separated by commas", key);
	return false;
}

static bool parse_scram_field(struct parsed *p, struct pn_slice value, struct pn_error *err)
{
	struct pn_slice scheme = PN_SLICE_LIT("{SCRAM-SHA-256}");

	if (p->has_scram) {
		pn_error_set(err, "a second SCRAM-SHA-256 key; keep either the {SCRAM-SHA-256} password or one "
		                  "postern_scram field");
		return false;
	}
	if (!pn_slice_starts_nocase(value, scheme)) {
		pn_error_set(err, "postern_scram is not {SCRAM-SHA-256}iterations,salt,stored_key,server_key; set "
		                  "the password with "
		                  "'postern user passwd'");
		return false;
	}
	pn_slice_advance(&value, scheme.len);
	p->has_scram = true;
	return pn_scheme_parse_scram(value, &p->scram, err);
}

static bool parse_postern_field(struct parsed *p, struct pn_slice key, struct pn_slice value, struct pn_error *err)
{
	if (pn_slice_eq(key, PN_SLICE_LIT("postern_scram")))
		return parse_scram_field(p, value, err);
	if (pn_slice_eq(key, PN_SLICE_LIT("postern_addresses"))) {
		if (p->has_addresses)
			return fail_twice("postern_addresses", err);
		p->has_addresses = true;
		p->addresses = value;
		if (pn_user_is_list(value, pn_user_is_address, &p->address_count))
			return true;
		pn_error_set(err, "postern_addresses is not a list of addresses such as "
		                  "a@example.org,b@example.org; whole domains "
		                  "belong into postern_domains");
		return false;
	}
	if (pn_slice_eq(key, PN_SLICE_LIT("postern_domains"))) {
		if (p->has_domains)
			return fail_twice("postern_domains", err);
		p->has_domains = true;
		p->domains = value;
		if (pn_user_is_list(value, pn_user_is_domain, &p->domain_count))
			return true;
		pn_error_set(err, "postern_domains is not a list of domains such as example.org,example.net");
		return false;
	}
	pn_error_set(err,
	             "unknown extra field '%.*s'; there are postern_addresses, postern_domains and postern_scram",
	             (int)pn_min_size(key.len, 60), key.ptr);
	return false;
}

static bool parse_extra(struct parsed *p, struct pn_error *err)
{
	struct pn_slice rest = p->fields.extra;
	bool is_found = rest.len != 0;

	while (is_found) {
		bool has_value;
		struct pn_slice value = take_until(&rest, ' ', &is_found);
		struct pn_slice key = take_until(&value, '=', &has_value);
		if (pn_slice_eq(key, PN_SLICE_LIT("nologin")))
			p->is_disabled = true;
		else if (pn_slice_eq(key, PN_SLICE_LIT("allow_nets")))
			p->has_allow_nets = true;
		else if (key.len >= 8 && memcmp(key.ptr, "postern_", 8) == 0 &&
		         !parse_postern_field(p, key, value, err))
			return false;
	}
	return true;
}

static bool parse(struct parsed *p, struct pn_slice line, struct pn_error *err)
{
	if (memchr(line.ptr, 0, line.len)) {
		pn_error_set(err, "the line has a NUL; the file is text, one user to a line");
		return false;
	}
	if (line.ptr[line.len - 1] == '\r') {
		pn_error_set(err, "the line ends in CR LF; save the file with plain LF line ends");
		return false;
	}
	if (!pn_user_split_line(line, &p->fields) || p->fields.count < 2) {
		pn_error_set(err, "no password field; a line is user:{SCHEME}hash:uid:gid:gecos:home:shell:extra");
		return false;
	}
	if (!parse_name(p, err) || !pn_scheme_parse(p->fields.password, &p->kind, &p->stored, err))
		return false;
	if (p->kind == PN_PASSWORD_SCRAM) {
		p->has_scram = true;
		if (!pn_scheme_parse_scram(p->stored, &p->scram, err))
			return false;
	}
	return parse_extra(p, err);
}

/* Copies `in` and a NUL to *at, which moves on. */
static struct pn_slice put(uint8_t **at, struct pn_slice in)
{
	struct pn_slice out = pn_slice(*at, in.len);

	if (in.len != 0)
		memcpy(*at, in.ptr, in.len);
	(*at)[in.len] = '\0';
	*at += in.len + 1;
	return out;
}

static void put_list(struct pn_slice *items, size_t count, struct pn_slice list)
{
	bool is_found;

	for (size_t i = 0; i < count; i++)
		items[i] = take_until(&list, ',', &is_found);
}

static struct pn_auth_user *build(const struct parsed *p, uint32_t line_number)
{
	size_t list_count = p->address_count + p->domain_count;
	size_t size = sizeof(struct pn_auth_user) + list_count * sizeof(struct pn_slice) + p->name_len +
	              p->stored.len + p->addresses.len + p->domains.len + 4;
	struct pn_auth_user *u = calloc(1, size);

	if (!u)
		return NULL;
	uint8_t *at = (uint8_t *)&u->lists[list_count];
	bool is_disabled = p->is_disabled || p->kind == PN_PASSWORD_NONE;
	atomic_init(&u->refs, 1);
	u->size = size;
	u->line = line_number;
	u->kind = is_disabled ? PN_PASSWORD_NONE : p->kind;
	u->has_scram = p->has_scram && !is_disabled;
	u->has_allow_nets = p->has_allow_nets;
	u->scram = p->scram;
	u->name = put(&at, pn_slice(p->name, p->name_len));
	u->stored = put(&at, p->stored);
	u->addresses = u->lists;
	u->address_count = p->address_count;
	put_list(u->addresses, u->address_count, put(&at, p->addresses));
	u->domains = u->lists + u->address_count;
	u->domain_count = p->domain_count;
	put_list(u->domains, u->domain_count, put(&at, p->domains));
	return u;
}

struct pn_auth_user *pn_user_parse_line(struct pn_slice line, uint32_t line_number, struct pn_error *err)
{
	struct parsed p = { .kind = PN_PASSWORD_NONE };
	struct pn_auth_user *u = NULL;

	PN_ASSERT(line.len > 0);
	if (parse(&p, line, err)) {
		u = build(&p, line_number);
		if (!u)
			pn_error_set(err, "out of memory");
	}
	pn_wipe(&p, sizeof(p));
	return u;
}
