/* SPDX-License-Identifier: ISC */
/*
 * cache.h - which credentials were found right lately, so that a busy client is hashed once in a lifetime.
 *
 * Entries are tags, HMAC-SHA-256(process key, name | stored hash | password): no password, and nothing that is
 * of use without this process. A changed hash makes another tag. Only right credentials are kept. Any thread; a
 * lookup never waits.
 */
#ifndef PN_AUTH_CACHE_H
#define PN_AUTH_CACHE_H

#include <postern/base/common.h>
#include <postern/base/slice.h>

#define PN_CACHE_TAG_LEN 32

struct pn_cred_cache;

/* At most entries_max entries (> 0). NULL: no memory. */
struct pn_cred_cache *pn_cred_cache_new(uint32_t entries_max, uint64_t lifetime_ms);
void pn_cred_cache_free(struct pn_cred_cache *c); /* NULL is fine */
void pn_cred_cache_tag(const struct pn_cred_cache *c, uint8_t out[PN_CACHE_TAG_LEN], struct pn_slice name,
                       struct pn_slice stored, struct pn_slice password);
/* May answer false for an entry that is there, when another thread is at the same place. */
bool pn_cred_cache_has(struct pn_cred_cache *c, const uint8_t tag[PN_CACHE_TAG_LEN], uint64_t now_ms);
/* Not on a loop. Replaces the entry that was unused for longest. True when one that was still good went. */
bool pn_cred_cache_add(struct pn_cred_cache *c, const uint8_t tag[PN_CACHE_TAG_LEN], uint64_t now_ms);

#endif
