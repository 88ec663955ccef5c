/* SPDX-License-Identifier: ISC */
/* route.h - which upstream takes mail for a recipient: exact domain, then the nearest ".parent",
 * then the default. Immutable; any thread. */
#ifndef PN_RELAY_ROUTE_H
#define PN_RELAY_ROUTE_H

#include <postern/relay/relay.h>

struct pn_route_slot {
	const char *domain; /* as configured; NULL = free */
	uint16_t upstream;
};

struct pn_route {
	struct pn_route_slot *slots;
	size_t mask;
	uint16_t fallback;
};

/* 0, -EINVAL with err (no or two defaults, one domain twice), -ENOMEM. */
int pn_route_init(struct pn_route *r, const struct pn_upstream_settings *upstreams, size_t count,
                  struct pn_error *err) PN_MUST_CHECK;
void pn_route_deinit(struct pn_route *r);
size_t pn_route_find(const struct pn_route *r, struct pn_slice address);

#endif
