/* SPDX-License-Identifier: ISC */
/*
 * route.c - recipient domain -> upstream, by a hash table of the configured domains (ASCII case
 * ignored).
 *
 * A domain ".example.org" stands for every name below example.org, the nearest parent wins. A
 * recipient without domain (postmaster) and every other domain go to the one upstream that names no
 * domains. No name is resolved here.
 */
#include "route.h"

#include <errno.h>
#include <stdlib.h>

static uint8_t route_lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

/* FNV-1a; only configured names are stored, so a peer cannot make chains grow. */
static size_t route_hash(struct pn_slice s)
{
	uint64_t h = UINT64_C(14695981039346656037);
	for (size_t i = 0; i < s.len; i++)
		h = (h ^ route_lower(s.ptr[i])) * UINT64_C(1099511628211);
	return (size_t)(h ^ (h >> 32));
}

static struct pn_route_slot *route_slot(const struct pn_route *r, struct pn_slice domain)
{
	size_t at = route_hash(domain) & r->mask;
	while (r->slots[at].domain && !pn_slice_eq_nocase(pn_slice_str(r->slots[at].domain), domain))
		at = (at + 1) & r->mask;
	return &r->slots[at];
}

static int route_add(struct pn_route *r, const struct pn_upstream_settings *u, uint16_t index, struct pn_error *err)
{
	for (size_t i = 0; i < u->domain_count; i++) {
		struct pn_route_slot *slot = route_slot(r, pn_slice_str(u->domains[i]));
		if (slot->domain) {
			pn_error_set(err, "upstream %s: domain %s is routed already", u->name, u->domains[i]);
			return -EINVAL;
		}
		*slot = (struct pn_route_slot){.domain = u->domains[i], .upstream = index};
	}
	return 0;
}

static int route_find_default(struct pn_route *r, const struct pn_upstream_settings *upstreams, size_t count,
                              struct pn_error *err)
{
	size_t found = count;
	for (size_t i = 0; i < count; i++) {
		if (upstreams[i].domain_count != 0)
			continue;
		if (found != count) {
			pn_error_set(err, "upstreams %s and %s both name no domains; only one can be the default",
			             upstreams[found].name, upstreams[i].name);
			return -EINVAL;
		}
		found = i;
	}
	if (found == count) {
		pn_error_set(err, "every upstream names domains; one must name none, as the default for all others");
		return -EINVAL;
	}
	r->fallback = (uint16_t)found;
	return 0;
}

int pn_route_init(struct pn_route *r, const struct pn_upstream_settings *upstreams, size_t count, struct pn_error *err)
{
	size_t domains = 0, size = 8;
	*r = (struct pn_route){0};
	for (size_t i = 0; i < count; i++)
		domains += upstreams[i].domain_count;
	while (size < domains * 2)
		size *= 2;
	r->slots = calloc(size, sizeof(*r->slots));
	if (!r->slots)
		return -ENOMEM;
	r->mask = size - 1;
	int rc = route_find_default(r, upstreams, count, err);
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = route_add(r, &upstreams[i], (uint16_t)i, err);
	if (rc < 0)
		pn_route_deinit(r);
	return rc;
}

void pn_route_deinit(struct pn_route *r)
{
	free(r->slots);
	*r = (struct pn_route){0};
}

size_t pn_route_find(const struct pn_route *r, struct pn_slice address)
{
	size_t at = address.len;
	while (at > 0 && address.ptr[at - 1] != '@')
		at--;
	if (at == 0 || at == address.len)
		return r->fallback;
	struct pn_slice domain = pn_slice(address.ptr + at, address.len - at);
	const struct pn_route_slot *slot = route_slot(r, domain);
	if (slot->domain)
		return slot->upstream;
	for (size_t i = 1; i < domain.len; i++) {
		if (domain.ptr[i] != '.')
			continue;
		slot = route_slot(r, pn_slice(domain.ptr + i, domain.len - i));
		if (slot->domain)
			return slot->upstream;
	}
	return r->fallback;
}
