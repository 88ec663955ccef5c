/* SPDX-License-Identifier: ISC */
/*
 * sources.c - the per-source table: open addressing over single-word slots, changed by
 * compare-and-swap.
 *
 * Word layout: tag 24 bits | sessions 16 | minute 8 | connections in that minute 16. A word of
 * zero is free; a slot whose
 * sessions are 0 and whose minute has passed may be taken over by another source. All orderings are
 * relaxed: the word is the whole state, nothing else is published through it.
 */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/prng.h>
#include <postern/policy/sources.h>

#define PROBE_MAX      16u
#define SESSIONS_LIMIT 0xffffu
#define RATE_LIMIT     0xffffu

struct pn_sources {
	uint64_t key[2];
	uint32_t mask;
	_Atomic uint64_t slots[];
};

struct word {
	uint32_t tag;
	uint32_t sessions;
	uint32_t minute;
	uint32_t rate;
};

static struct word word_unpack(uint64_t v)
{
	return (struct word){ .tag = (uint32_t)(v >> 40),
			      .sessions = (uint32_t)(v >> 24) & 0xffffu,
			      .minute = (uint32_t)(v >> 16) & 0xffu,
			      .rate = (uint32_t)v & 0xffffu };
}

static uint64_t word_pack(struct word w)
{
	return (uint64_t)w.tag << 40 | (uint64_t)w.sessions << 24 | (uint64_t)w.minute << 16 |
	       (uint64_t)w.rate;
}

struct pn_sources *pn_sources_new(uint32_t sources_max)
{
	uint32_t count = PROBE_MAX;
	while (count < sources_max && count < (1u << 24))
		count <<= 1;
	struct pn_sources *t = calloc(1, sizeof(*t) + count * sizeof(t->slots[0]));
	if (!t)
		return NULL;
	t->mask = count - 1;
	pn_random_bytes(t->key, sizeof(t->key));
	return t;
}

void pn_sources_free(struct pn_sources *t)
{
	free(t);
}

static uint64_t mix(uint64_t h)
{
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ull;
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ull;
	h ^= h >> 32;
	return h;
}

/* IPv4 by address, IPv6 by /64; a v4-mapped address counts as IPv4. */
static uint64_t source_hash(const struct pn_sources *t, const struct sockaddr *addr)
{
	uint64_t prefix = 0;
	if (addr->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, addr, sizeof(in));
		prefix = in.sin_addr.s_addr;
	} else if (addr->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, addr, sizeof(in6));
		if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) {
			uint32_t v4;
			memcpy(&v4, &in6.sin6_addr.s6_addr[12], sizeof(v4));
			prefix = v4;
		} else {
			memcpy(&prefix, in6.sin6_addr.s6_addr, sizeof(prefix));
			prefix ^= t->key[1];
		}
	}
	return mix(mix(prefix ^ t->key[0]) + t->key[1]);
}

static bool word_is_reusable(struct word w, uint32_t minute)
{
	return w.sessions == 0 && (w.tag == 0 || w.minute != minute);
}

/* The slot that holds `tag`, else the first reusable one in reach, else NULL. */
static _Atomic uint64_t *slot_find(struct pn_sources *t, uint64_t hash, uint32_t tag,
				   uint32_t minute)
{
	_Atomic uint64_t *reusable = NULL;
	for (uint32_t i = 0; i < PROBE_MAX; i++) {
		_Atomic uint64_t *slot = &t->slots[((uint32_t)hash + i) & t->mask];
		struct word w = word_unpack(atomic_load_explicit(slot, memory_order_relaxed));
		if (w.tag == tag)
			return slot;
		if (!reusable && word_is_reusable(w, minute))
			reusable = slot;
	}
	return reusable;
}

enum pn_source_verdict pn_sources_enter(struct pn_sources *t, const struct sockaddr *addr,
					uint32_t sessions_max, uint32_t per_minute_max,
					uint64_t now_ms, uint32_t *ret_ticket)
{
	uint64_t hash = source_hash(t, addr);
	uint32_t tag = (uint32_t)(hash >> 40) | 1u; /* never 0: 0 is a free slot */
	uint32_t minute = (uint32_t)(now_ms / 60000u) & 0xffu;
	if (sessions_max == 0 || sessions_max > SESSIONS_LIMIT)
		sessions_max = SESSIONS_LIMIT;
	if (per_minute_max == 0 || per_minute_max > RATE_LIMIT)
		per_minute_max = RATE_LIMIT;

	for (;;) {
		_Atomic uint64_t *slot = slot_find(t, hash, tag, minute);
		if (!slot)
			return PN_SOURCE_UNTRACKED;
		uint64_t old = atomic_load_explicit(slot, memory_order_relaxed);
		struct word w = word_unpack(old);
		if (w.tag != tag) {
			if (!word_is_reusable(w, minute))
				continue;
			w = (struct word){ .tag = tag, .minute = minute };
		}
		if (w.minute != minute) {
			w.minute = minute;
			w.rate = 0;
		}
		/* Without a limit a full field means no more than that it cannot count further. */
		if (w.sessions >= sessions_max)
			return sessions_max == SESSIONS_LIMIT ? PN_SOURCE_UNTRACKED
							      : PN_SOURCE_TOO_MANY_SESSIONS;
		if (w.rate >= per_minute_max)
			return per_minute_max == RATE_LIMIT ? PN_SOURCE_UNTRACKED
							    : PN_SOURCE_TOO_FAST;
		w.sessions++;
		w.rate++;
		if (atomic_compare_exchange_weak_explicit(
			    slot, &old, word_pack(w), memory_order_relaxed, memory_order_relaxed)) {
			*ret_ticket = (uint32_t)(slot - t->slots);
			return PN_SOURCE_OK;
		}
	}
}

void pn_sources_leave(struct pn_sources *t, uint32_t ticket)
{
	_Atomic uint64_t *slot = &t->slots[ticket & t->mask];
	uint64_t old = atomic_load_explicit(slot, memory_order_relaxed);
	struct word w;
	do {
		w = word_unpack(old);
		PN_ASSERT(w.sessions > 0);
		w.sessions--;
	} while (!atomic_compare_exchange_weak_explicit(
		slot, &old, word_pack(w), memory_order_relaxed, memory_order_relaxed));
}
