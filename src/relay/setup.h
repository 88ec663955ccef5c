/* SPDX-License-Identifier: ISC */
/*
 * setup.h - what a relay is told to do, as copies of its own: settings, upstreams, routes. Immutable once
 * made; a reload makes another one.
 *
 * An upstream that reads the same before and after a reload is the same object in both setups, so its
 * connections and its health go on. Domains are no part of it: they belong to the routes.
 */
#ifndef PN_RELAY_SETUP_H
#define PN_RELAY_SETUP_H

#include <stdatomic.h>

#include <postern/base/arena.h>
#include <postern/relay/relay.h>

#include "backoff.h"
#include "maildir.h"
#include "route.h"

struct pn_upstream {
	_Atomic uint32_t refs;
	uint16_t serial;           /* another number than that of any other lately; what an entry remembers. Not 0 */
	struct pn_upstream_settings settings; /* with defaults filled in; no domains */
	struct pn_maildir *maildir; /* reference; NULL: another kind */
	struct pn_arena arena;
};

struct pn_setup {
	struct pn_relay_settings settings; /* with defaults filled in */
	struct pn_upstream_settings *listed; /* settings.upstreams: as those of `upstreams`, and with domains */
	struct pn_upstream **upstreams;
	struct pn_route route;
	struct pn_backoff retry;
	struct pn_arena arena;
};

/* Checks and copies. Upstreams (and Maildirs) that `old` (or NULL) has too are shared with it. Maildir
 * folders are made and opened; blocking. 0, or -errno with err. */
int pn_setup_new(const struct pn_relay_settings *settings, const struct pn_setup *old, struct pn_setup **ret,
                 struct pn_error *err) PN_MUST_CHECK;
/* Nobody looks at it any more; NULL is fine. */
void pn_setup_free(struct pn_setup *setup);
/* Whether any recipient may go another way than before. */
bool pn_setup_routes_differ(const struct pn_setup *a, const struct pn_setup *b);

/* Any thread. */
struct pn_upstream *pn_upstream_ref(struct pn_upstream *u);
void pn_upstream_unref(struct pn_upstream *u);

#endif
