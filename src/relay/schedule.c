/* SPDX-License-Identifier: ISC */
/* schedule.c - see schedule.h. entry->heap_index always names the entry's own place, so that
 * removal is logarithmic. */
#include "schedule.h"

#include <stdlib.h>

#include <postern/base/fault.h>

#define SCHEDULE_UNSORTED_MS 60000u

static uint64_t schedule_key(const struct pn_spool_entry *e)
{
	return (e->flags & PN_ENTRY_HELD) ? UINT64_MAX : e->next_attempt_wall_ms;
}

static void schedule_place(struct pn_schedule *s, size_t at, struct pn_spool_entry *e)
{
	s->heap[at] = e;
	e->heap_index = (uint32_t)at;
}

static void schedule_up(struct pn_schedule *s, size_t at)
{
	struct pn_spool_entry *e = s->heap[at];
	while (at > 0) {
		size_t parent = (at - 1) / 2;
		if (schedule_key(s->heap[parent]) <= schedule_key(e))
			break;
		schedule_place(s, at, s->heap[parent]);
		at = parent;
	}
	schedule_place(s, at, e);
}

static void schedule_down(struct pn_schedule *s, size_t at)
{
	struct pn_spool_entry *e = s->heap[at];
	for (;;) {
		size_t child = 2 * at + 1;
		if (child >= s->count)
			break;
		if (child + 1 < s->count && schedule_key(s->heap[child + 1]) < schedule_key(s->heap[child]))
			child++;
		if (schedule_key(s->heap[child]) >= schedule_key(e))
			break;
		schedule_place(s, at, s->heap[child]);
		at = child;
	}
	schedule_place(s, at, e);
}

void pn_schedule_init(struct pn_schedule *s)
{
	*s = (struct pn_schedule){0};
}

void pn_schedule_deinit(struct pn_schedule *s)
{
	free(s->heap);
	*s = (struct pn_schedule){0};
}

static bool schedule_grow(struct pn_schedule *s)
{
	size_t capacity = s->capacity ? s->capacity + s->capacity / 2 : 64;
	if (pn_fault_result("relay.schedule.grow", 0) < 0)
		return false;
	struct pn_spool_entry **heap = realloc(s->heap, capacity * sizeof(struct pn_spool_entry *));
	if (!heap)
		return false;
	s->heap = heap;
	s->capacity = capacity;
	return true;
}

void pn_schedule_add(struct pn_schedule *s, struct pn_spool_entry *entry, uint64_t now_ms)
{
	if (entry->flags & PN_ENTRY_HELD)
		s->held_count++;
	if (s->count == s->capacity && !schedule_grow(s)) {
		if (!s->unsorted.first)
			s->unsorted_due_ms = now_ms + SCHEDULE_UNSORTED_MS;
		pn_entry_list_push(&s->unsorted, entry);
		return;
	}
	entry->next = NULL;
	schedule_place(s, s->count++, entry);
	schedule_up(s, s->count - 1);
}

static struct pn_spool_entry *schedule_remove(struct pn_schedule *s, size_t at)
{
	struct pn_spool_entry *e = s->heap[at];
	struct pn_spool_entry *last = s->heap[--s->count];
	if (e != last) {
		schedule_place(s, at, last);
		schedule_up(s, at);
		schedule_down(s, last->heap_index);
	}
	if (e->flags & PN_ENTRY_HELD)
		s->held_count--;
	return e;
}

/* Gives the entries that found no place in the heap another chance. */
static void schedule_resort(struct pn_schedule *s, uint64_t now_ms)
{
	struct pn_entry_list list = s->unsorted;
	struct pn_spool_entry *e;
	s->unsorted = (struct pn_entry_list){0};
	while ((e = pn_entry_list_pop(&list)) != NULL) {
		if (e->flags & PN_ENTRY_HELD)
			s->held_count--;
		pn_schedule_add(s, e, now_ms);
	}
}

struct pn_spool_entry *pn_schedule_pop_due(struct pn_schedule *s, uint64_t now_ms)
{
	if (s->unsorted.first && now_ms >= s->unsorted_due_ms)
		schedule_resort(s, now_ms);
	if (s->count == 0 || schedule_key(s->heap[0]) > now_ms)
		return NULL;
	return schedule_remove(s, 0);
}

struct pn_spool_entry *pn_schedule_pop_any(struct pn_schedule *s)
{
	if (s->count > 0)
		return schedule_remove(s, s->count - 1);
	struct pn_spool_entry *e = pn_entry_list_pop(&s->unsorted);
	if (e && (e->flags & PN_ENTRY_HELD))
		s->held_count--;
	return e;
}

struct pn_spool_entry *pn_schedule_take(struct pn_schedule *s, const struct pn_id *id)
{
	for (size_t i = 0; i < s->count; i++) {
		if (pn_id_eq(&s->heap[i]->id, id))
			return schedule_remove(s, i);
	}
	struct pn_spool_entry *e = pn_entry_list_take(&s->unsorted, id);
	if (e && (e->flags & PN_ENTRY_HELD))
		s->held_count--;
	return e;
}

void pn_schedule_update(struct pn_schedule *s, void (*fn)(struct pn_spool_entry *entry, void *ctx), void *ctx)
{
	for (size_t i = 0; i < s->count; i++)
		fn(s->heap[i], ctx);
	for (struct pn_spool_entry *e = s->unsorted.first; e; e = e->next)
		fn(e, ctx);
	for (size_t i = s->count / 2; i > 0; i--)
		schedule_down(s, i - 1);
}

uint64_t pn_schedule_next_ms(const struct pn_schedule *s)
{
	uint64_t next = s->count > 0 ? schedule_key(s->heap[0]) : UINT64_MAX;
	if (s->unsorted.first && s->unsorted_due_ms < next)
		next = s->unsorted_due_ms;
	return next;
}
