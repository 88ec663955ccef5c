/* SPDX-License-Identifier: ISC */
/*
 * table.c - keys.def as data: once as the definitions that the module works with, once as the texts that it shows.
 * The keys of a section stand together in keys.def (a test holds that), so a section is a range of the table.
 */
#include <string.h>

#include "config/config_internal.h"

#define PN_MEMBER(type, member) (uint32_t) offsetof(type, member), (uint32_t)sizeof(((type *)NULL)->member)
#define PN_PLACE_TOP(m) PN_MEMBER(struct pn_config, m)
#define PN_PLACE_LISTENER(m) PN_MEMBER(struct pn_config_listener, m)
#define PN_PLACE_CERTIFICATE(m) PN_MEMBER(struct pn_config_certificate, m)
#define PN_PLACE_UPSTREAM(m) PN_MEMBER(struct pn_config_upstream, m)
#define PN_PLACE_TLS(m) PN_MEMBER(struct pn_config, tls.m)
#define PN_PLACE_AUTH(m) PN_MEMBER(struct pn_config, auth.m)
#define PN_PLACE_SPOOL(m) PN_MEMBER(struct pn_config, spool.m)
#define PN_PLACE_RETRY(m) PN_MEMBER(struct pn_config, retry.m)
#define PN_PLACE_LIMITS(m) PN_MEMBER(struct pn_config, limits.m)
#define PN_PLACE_EXTENSIONS(m) PN_MEMBER(struct pn_config, extensions.m)
#define PN_PLACE_LOG(m) PN_MEMBER(struct pn_config, log.m)
#define PN_PLACE_IO_URING(m) PN_MEMBER(struct pn_config, io_uring.m)

/* A designated initialiser cannot name two members from one macro argument; this takes offset and width apart. */
#define PN_DEF_PLACE(...) PN_DEF_PLACE_(__VA_ARGS__)
#define PN_DEF_PLACE_(o, w) .offset = (o), .width = (w)
#define PN_DEF_COUNT(...) PN_DEF_COUNT_(__VA_ARGS__)
#define PN_DEF_COUNT_(o, w) .count_offset = (o)

#define PN_DEF(s, m, t) .section = PN_SECTION_##s, .name = #m, .type = (t), PN_DEF_PLACE(PN_PLACE_##s(m))

const struct pn_config_def pn_config_defs[] = {
#define PN_BOOL(s, m, d, h) { PN_DEF(s, m, PN_TYPE_BOOL), .default_text = d },
#define PN_INT(s, m, d, lo, hi, u, h)                                                                              \
	{ PN_DEF(s, m, PN_TYPE_INTEGER), .default_text = d, .min_text = lo, .max_text = hi, .unit = u },
#define PN_POW2(s, m, d, lo, hi, u, h)                                                                             \
	{ PN_DEF(s, m, PN_TYPE_INTEGER), .default_text = d, .min_text = lo, .max_text = hi, .unit = u,             \
	  .is_power_of_two = true },
#define PN_SIZE(s, m, d, lo, hi, h)                                                                                \
	{ PN_DEF(s, m, PN_TYPE_SIZE), .default_text = d, .min_text = lo, .max_text = hi, .unit = "bytes" },
#define PN_STRING(s, m, d, c, h) { PN_DEF(s, m, PN_TYPE_STRING), .default_text = d, .check = PN_CHECK_##c },
#define PN_NEEDED(s, m, c, h)                                                                                      \
	{ PN_DEF(s, m, PN_TYPE_STRING), .default_text = "", .check = PN_CHECK_##c, .is_required = true },
#define PN_LIST(s, m, n, lo, hi, c, h)                                                                             \
	{ PN_DEF(s, m, PN_TYPE_LIST), PN_DEF_COUNT(PN_PLACE_##s(n)), .default_text = "", .min_text = lo,           \
	  .max_text = hi, .check = PN_CHECK_##c, .is_required = lo[0] != '0', .unit = "items" },
#define PN_ENUM(s, m, d, n, h) { PN_DEF(s, m, PN_TYPE_ENUM), .default_text = d, .choices = n },
#include "config/keys.def"
#undef PN_BOOL
#undef PN_INT
#undef PN_POW2
#undef PN_SIZE
#undef PN_STRING
#undef PN_NEEDED
#undef PN_LIST
#undef PN_ENUM
};
const size_t pn_config_def_count = PN_ARRAY_SIZE(pn_config_defs);

#define PN_NAME_TOP ""
#define PN_NAME_LISTENER "listener"
#define PN_NAME_CERTIFICATE "certificate"
#define PN_NAME_UPSTREAM "upstream"
#define PN_NAME_TLS "tls"
#define PN_NAME_AUTH "auth"
#define PN_NAME_SPOOL "spool"
#define PN_NAME_RETRY "retry"
#define PN_NAME_LIMITS "limits"
#define PN_NAME_EXTENSIONS "extensions"
#define PN_NAME_LOG "log"
#define PN_NAME_IO_URING "io_uring"

#define PN_RANGE_TEXT "text"
#define PN_RANGE_HOSTNAME_OR_NONE "host name"
#define PN_RANGE_MAILBOX_OR_NONE "mail address"
#define PN_RANGE_USER_OR_NONE "system account"
#define PN_RANGE_NAME_OR_NONE "name"
#define PN_RANGE_PATH "absolute path"
#define PN_RANGE_PATH_OR_NONE "absolute path"
#define PN_RANGE_SOCKET_PATH "absolute path"
#define PN_RANGE_LISTEN_ADDRESS "address:port"
#define PN_RANGE_UPSTREAM_HOST "host, host:port"
#define PN_RANGE_DOMAIN "domain, .domain"
#define PN_RANGE_FEATURE "feature"

static const struct pn_config_key keys[] = {
#define PN_BOOL(s, m, d, h) { PN_NAME_##s, #m, "bool", d, "yes|no", "", h, false },
#define PN_INT(s, m, d, lo, hi, u, h) { PN_NAME_##s, #m, "integer", d, lo ".." hi, u, h, false },
#define PN_POW2(s, m, d, lo, hi, u, h)                                                                             \
	{ PN_NAME_##s, #m, "integer", d, lo ".." hi " (power of two)", u, h, false },
#define PN_SIZE(s, m, d, lo, hi, h) { PN_NAME_##s, #m, "size", d, lo ".." hi, "bytes", h, false },
#define PN_STRING(s, m, d, c, h) { PN_NAME_##s, #m, "string", d, PN_RANGE_##c, "", h, false },
#define PN_NEEDED(s, m, c, h) { PN_NAME_##s, #m, "string", "", PN_RANGE_##c, "", h, true },
#define PN_LIST(s, m, n, lo, hi, c, h)                                                                             \
	{ PN_NAME_##s, #m, "list", "", lo ".." hi " of " PN_RANGE_##c, "items", h, lo[0] != '0' },
#define PN_ENUM(s, m, d, n, h) { PN_NAME_##s, #m, "enum", d, n, "", h, false },
#include "config/keys.def"
#undef PN_BOOL
#undef PN_INT
#undef PN_POW2
#undef PN_SIZE
#undef PN_STRING
#undef PN_NEEDED
#undef PN_LIST
#undef PN_ENUM
};

const struct pn_config_key *pn_config_keys(size_t *ret_count)
{
	*ret_count = PN_ARRAY_SIZE(keys);
	return keys;
}

static const char *const section_names[PN_SECTION_COUNT] = {
	[PN_SECTION_TOP] = PN_NAME_TOP,
	[PN_SECTION_LISTENER] = PN_NAME_LISTENER,
	[PN_SECTION_CERTIFICATE] = PN_NAME_CERTIFICATE,
	[PN_SECTION_UPSTREAM] = PN_NAME_UPSTREAM,
	[PN_SECTION_TLS] = PN_NAME_TLS,
	[PN_SECTION_AUTH] = PN_NAME_AUTH,
	[PN_SECTION_SPOOL] = PN_NAME_SPOOL,
	[PN_SECTION_RETRY] = PN_NAME_RETRY,
	[PN_SECTION_LIMITS] = PN_NAME_LIMITS,
	[PN_SECTION_EXTENSIONS] = PN_NAME_EXTENSIONS,
	[PN_SECTION_LOG] = PN_NAME_LOG,
	[PN_SECTION_IO_URING] = PN_NAME_IO_URING,
};

const char *pn_config_section_name(enum pn_config_section section)
{
	PN_ASSERT(section < PN_SECTION_COUNT);
	return section_names[section];
}

size_t pn_config_section_max(enum pn_config_section section)
{
	if (section == PN_SECTION_LISTENER)
		return PN_CONFIG_LISTENERS_MAX;
	if (section == PN_SECTION_CERTIFICATE)
		return PN_CONFIG_CERTIFICATES_MAX;
	if (section == PN_SECTION_UPSTREAM)
		return PN_CONFIG_UPSTREAMS_MAX;
	return 1;
}

bool pn_config_section_has_title(enum pn_config_section section)
{
	return pn_config_section_max(section) > 1;
}

void pn_config_section_range(enum pn_config_section section, size_t *ret_first, size_t *ret_count)
{
	size_t first = 0;
	while (first < pn_config_def_count && pn_config_defs[first].section != section)
		first++;
	size_t last = first;
	while (last < pn_config_def_count && pn_config_defs[last].section == section)
		last++;
	*ret_first = first;
	*ret_count = last - first;
}

const struct pn_config_def *pn_config_def_find(enum pn_config_section section, const char *name)
{
	size_t first, count;
	pn_config_section_range(section, &first, &count);
	for (size_t i = first; i < first + count; i++) {
		if (strcmp(pn_config_defs[i].name, name) == 0)
			return &pn_config_defs[i];
	}
	return NULL;
}

size_t pn_config_section_instances(const struct pn_config *c, enum pn_config_section section)
{
	if (section == PN_SECTION_LISTENER)
		return c->listener_count;
	if (section == PN_SECTION_CERTIFICATE)
		return c->certificate_count;
	if (section == PN_SECTION_UPSTREAM)
		return c->upstream_count;
	return 1;
}

void *pn_config_section_base(const struct pn_config *c, enum pn_config_section section, size_t index)
{
	PN_ASSERT(index < pn_config_section_instances(c, section));
	if (section == PN_SECTION_LISTENER)
		return &c->listeners[index];
	if (section == PN_SECTION_CERTIFICATE)
		return &c->certificates[index];
	if (section == PN_SECTION_UPSTREAM)
		return &c->upstreams[index];
	return (void *)(uintptr_t)c; /* the caller's config is writable where the caller writes */
}
