/* SPDX-License-Identifier: ISC */
/*
 * cache.c - a set-associative table of tags under striped try-locks.
 *
 * A tag is uniformly distributed, so it chooses its own set; within a set of eight the least recently used
 * goes. A loop that finds the stripe taken answers "not known" and the client is hashed once more: waiting
 * would cost everybody on that loop, a miss costs one helper some milliseconds. A hit does not prolong an
 * entry's life.
 */
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <postern/base/prng.h>
#include <postern/base/secret.h>
#include <postern/sasl/sasl.h>
#include <postern/tls/crypto.h>

#include "auth/cache.h"
#include "auth/scheme.h"

#define WAYS_MAX 8
#define STRIPES 64

struct entry {
	uint8_t tag[PN_CACHE_TAG_LEN];
	uint64_t expires_ms; /* 0: empty */
	uint64_t used_ms;
};

struct stripe {
	_Alignas(PN_CACHE_LINE) _Atomic bool is_taken;
};

struct pn_cred_cache {
	struct stripe stripes[STRIPES];
	uint8_t key[PN_SHA256_LEN];
	uint64_t lifetime_ms;
	size_t set_count;
	size_t ways;
	struct entry *entries;
};

struct pn_cred_cache *pn_cred_cache_new(uint32_t entries_max, uint64_t lifetime_ms)
{
	PN_ASSERT(entries_max > 0);
	struct pn_cred_cache *c = aligned_alloc(PN_CACHE_LINE, sizeof(*c));
	if (!c)
		return NULL;
	memset(c, 0, sizeof(*c));
	c->ways = pn_min_size(entries_max, WAYS_MAX);
	c->set_count = entries_max / c->ways;
	c->lifetime_ms = lifetime_ms;
	c->entries = calloc(c->set_count * c->ways, sizeof(struct entry));
	if (!c->entries) {
		free(c);
		return NULL;
	}
	pn_random_bytes(c->key, sizeof(c->key));
	return c;
}

void pn_cred_cache_free(struct pn_cred_cache *c)
{
	if (!c)
		return;
	pn_wipe(c->entries, c->set_count * c->ways * sizeof(struct entry));
	free(c->entries);
	pn_wipe(c, sizeof(*c));
	free(c);
}

/* Each part with its length in front: no two triples make the same text. */
static size_t put_part(uint8_t *out, struct pn_slice part)
{
	PN_ASSERT(part.len <= UINT16_MAX);
	out[0] = (uint8_t)(part.len >> 8);
	out[1] = (uint8_t)part.len;
	if (part.len != 0)
		memcpy(out + 2, part.ptr, part.len);
	return part.len + 2;
}

void pn_cred_cache_tag(const struct pn_cred_cache *c, uint8_t out[PN_CACHE_TAG_LEN], struct pn_slice name,
                       struct pn_slice stored, struct pn_slice password)
{
	uint8_t text[2 * (PN_SASL_PREPARED_MAX + 2) + PN_STORED_MAX + 2];
	size_t len;

	PN_ASSERT(name.len <= PN_SASL_PREPARED_MAX && stored.len <= PN_STORED_MAX &&
	          password.len <= PN_SASL_PREPARED_MAX);
	len = put_part(text, name);
	len += put_part(text + len, stored);
	len += put_part(text + len, password);
	pn_hmac_sha256(out, pn_slice(c->key, sizeof(c->key)), pn_slice(text, len));
	pn_wipe(text, sizeof(text));
}

static struct entry *set_of(struct pn_cred_cache *c, const uint8_t tag[PN_CACHE_TAG_LEN], struct stripe **ret_stripe)
{
	uint64_t word;

	memcpy(&word, tag, sizeof(word));
	size_t set = (size_t)(word % c->set_count);
	*ret_stripe = &c->stripes[set % STRIPES];
	return &c->entries[set * c->ways];
}

static bool try_take(struct stripe *s)
{
	/* acquire: pairs with the release in give_back. */
	return !atomic_exchange_explicit(&s->is_taken, true, memory_order_acquire);
}

static void give_back(struct stripe *s)
{
	/* release: pairs with the acquire in try_take. */
	atomic_store_explicit(&s->is_taken, false, memory_order_release);
}

static bool is_tag(const struct entry *e, const uint8_t tag[PN_CACHE_TAG_LEN])
{
	return pn_secret_eq(pn_slice(e->tag, sizeof(e->tag)), pn_slice(tag, PN_CACHE_TAG_LEN));
}

bool pn_cred_cache_has(struct pn_cred_cache *c, const uint8_t tag[PN_CACHE_TAG_LEN], uint64_t now_ms)
{
	struct stripe *stripe;
	struct entry *set = set_of(c, tag, &stripe);
	bool is_found = false;

	if (!try_take(stripe))
		return false;
	for (size_t i = 0; i < c->ways; i++) {
		if (set[i].expires_ms > now_ms && is_tag(&set[i], tag)) {
			set[i].used_ms = now_ms;
			is_found = true;
		}
	}
	give_back(stripe);
	return is_found;
}

/* The same tag, else an empty or expired place, else the least recently used. */
static struct entry *choose(struct entry *set, size_t ways, const uint8_t tag[PN_CACHE_TAG_LEN], uint64_t now_ms)
{
	struct entry *best = &set[0];

	for (size_t i = 0; i < ways; i++) {
		struct entry *e = &set[i];
		if (is_tag(e, tag))
			return e;
		bool is_better = e->expires_ms <= now_ms ? best->expires_ms > now_ms
		                                         : best->expires_ms > now_ms && e->used_ms < best->used_ms;
		if (is_better)
			best = e;
	}
	return best;
}

bool pn_cred_cache_add(struct pn_cred_cache *c, const uint8_t tag[PN_CACHE_TAG_LEN], uint64_t now_ms)
{
	struct stripe *stripe;
	struct entry *set = set_of(c, tag, &stripe);

	while (!try_take(stripe))
		sched_yield();
	struct entry *e = choose(set, c->ways, tag, now_ms);
	bool is_eviction = e->expires_ms > now_ms && !is_tag(e, tag);
	memcpy(e->tag, tag, PN_CACHE_TAG_LEN);
	e->expires_ms = now_ms + c->lifetime_ms;
	e->used_ms = now_ms;
	give_back(stripe);
	return is_eviction;
}
