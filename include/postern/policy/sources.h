/* SPDX-License-Identifier: ISC */
/*
 * sources.h - how many sessions each client source holds and how fast it opens them.
 *
 * A source is an IPv4 /32 or an IPv6 /64. One table serves all loops without a lock: each slot is
 * one 64-bit atomic word that holds a tag of the
 * source's keyed hash, its open sessions, and the connections of the current minute. Two sources
 * share a slot only when slot and 24-bit tag collide
 * (about one new source in a million); they then share their limits, never more. When all slots in
 * reach are taken the source goes untracked, counted,
 * and only the global limits hold it.
 */
#ifndef POSTERN_POLICY_SOURCES_H
#define POSTERN_POLICY_SOURCES_H

#include <stdatomic.h>
#include <sys/socket.h>

#include <postern/base/common.h>

enum pn_source_verdict {
	PN_SOURCE_OK,
	PN_SOURCE_TOO_MANY_SESSIONS,
	PN_SOURCE_TOO_FAST,
	PN_SOURCE_UNTRACKED, /* admitted, not counted: do not leave */
};

struct pn_sources;

/* `sources_max` is rounded up to a power of two. NULL: no memory. */
struct pn_sources *pn_sources_new(uint32_t sources_max);
void pn_sources_free(struct pn_sources *t);

/*
 * A connection from `addr` arrived. OK: counted, *ret_ticket goes to pn_sources_leave later.
 * Limits of 0, or of more than 65534, mean no limit. Any thread.
 */
enum pn_source_verdict pn_sources_enter(struct pn_sources *t, const struct sockaddr *addr,
					uint32_t sessions_max, uint32_t per_minute_max,
					uint64_t now_ms, uint32_t *ret_ticket);
/* The session that got `ticket` with OK is over. Any thread. */
void pn_sources_leave(struct pn_sources *t, uint32_t ticket);

#endif
