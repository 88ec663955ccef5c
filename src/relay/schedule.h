/* SPDX-License-Identifier: ISC */
/*
 * schedule.h - the deferred and held messages of one worker: a binary heap of entries by time of
 * the next attempt.
 *
 * Costs one pointer beside the entry. Times are wall-clock milliseconds of the worker's own
 * (step-free) clock. Held entries are kept here too and are never due. When no memory can be had
 * for the heap, entries wait on a list and are due after a minute.
 */
#ifndef PN_RELAY_SCHEDULE_H
#define PN_RELAY_SCHEDULE_H

#include "queue.h"

struct pn_schedule {
	struct pn_spool_entry **heap;
	size_t count, capacity;
	size_t held_count;
	struct pn_entry_list unsorted; /* no memory: linked instead */
	uint64_t unsorted_due_ms;
};

void pn_schedule_init(struct pn_schedule *s);
/* Frees the heap; the entries are the caller's. */
void pn_schedule_deinit(struct pn_schedule *s);
/* Takes the entry; its place follows from flags (PN_ENTRY_HELD) and next_attempt_wall_ms. */
void pn_schedule_add(struct pn_schedule *s, struct pn_spool_entry *entry, uint64_t now_ms);
/* Gives an entry that is due, earliest first, or NULL. */
struct pn_spool_entry *pn_schedule_pop_due(struct pn_schedule *s, uint64_t now_ms);
/* Gives any entry (for emptying), or NULL. */
struct pn_spool_entry *pn_schedule_pop_any(struct pn_schedule *s);
/* Gives the entry with this id, or NULL. Linear. */
struct pn_spool_entry *pn_schedule_take(struct pn_schedule *s, const struct pn_id *id);
/* Calls fn for each entry, which may change its next_attempt_wall_ms; then sorts anew. Linear. */
void pn_schedule_update(struct pn_schedule *s, void (*fn)(struct pn_spool_entry *entry, void *ctx), void *ctx);
/* When the next entry is due; UINT64_MAX: none. */
uint64_t pn_schedule_next_ms(const struct pn_schedule *s);
static inline size_t pn_schedule_count(const struct pn_schedule *s)
{
	return s->count + s->unsorted.count;
}

#endif
