/* SPDX-License-Identifier: ISC */
/*
 * queue.h - hands entries from any thread to the relay workers: a bounded lock-free ring, a list
 * inside the entries for what the ring cannot take, and the set of workers that sleep.
 */
#ifndef PN_RELAY_QUEUE_H
#define PN_RELAY_QUEUE_H

#include <stdatomic.h>

#include <postern/base/counters.h>
#include <postern/base/mpmc.h>
#include <postern/relay/relay.h>

/* A private first-in first-out list, linked through entry->next. */
struct pn_entry_list {
	struct pn_spool_entry *first, *last;
	size_t count;
};

void pn_entry_list_push(struct pn_entry_list *l, struct pn_spool_entry *entry);
/* NULL when empty. */
struct pn_spool_entry *pn_entry_list_pop(struct pn_entry_list *l);
/* Takes the entry with this id off, or returns NULL. */
struct pn_spool_entry *pn_entry_list_take(struct pn_entry_list *l, const struct pn_id *id);
/* Moves all of `from` behind `l`. */
void pn_entry_list_append(struct pn_entry_list *l, struct pn_entry_list *from);

/* A lock-free stack linked through entry->next; any thread pushes and any thread takes it whole. */
struct pn_entry_stack {
	_Atomic(struct pn_spool_entry *) head;
};

void pn_entry_stack_push(struct pn_entry_stack *s, struct pn_spool_entry *entry);
/* Appends everything to `to`, oldest first. Returns how many. */
size_t pn_entry_stack_take(struct pn_entry_stack *s, struct pn_entry_list *to);

struct pn_relay_queue {
	struct pn_mpmc ring;
	struct pn_entry_stack overflow;
	_Atomic int64_t pending;    /* pushed and not yet popped; may be off by what is under way */
	_Atomic uint64_t sleepers;  /* a bit for each worker that must be woken */
	pn_counter counters[PN_RELAY_QUEUE_COUNTER_COUNT];
};

int pn_queue_init(struct pn_relay_queue *q, size_t capacity) PN_MUST_CHECK;
void pn_queue_deinit(struct pn_relay_queue *q);
/* Any thread. Returns the index of a sleeping worker that the caller must wake, or -1. */
int pn_queue_push(struct pn_relay_queue *q, struct pn_spool_entry *entry) PN_MUST_CHECK;
/* As push, but leaves the entry with the caller when the ring is full (*ret_taken false): for
 * sharing a backlog. */
int pn_queue_offer(struct pn_relay_queue *q, struct pn_spool_entry *entry, bool *ret_taken) PN_MUST_CHECK;
/* When something is pending: a sleeping worker that the caller must wake, else -1. */
int pn_queue_nudge(struct pn_relay_queue *q) PN_MUST_CHECK;
/* The backlog first, then the overflow (moved whole into the backlog), then the ring. NULL when
 * there is none. */
struct pn_spool_entry *pn_queue_pop(struct pn_relay_queue *q, struct pn_entry_list *backlog);
/* Moves everything that is in the queue now into the backlog. */
void pn_queue_take_all(struct pn_relay_queue *q, struct pn_entry_list *backlog);
/* Declares worker `index` asleep. False: something arrived meanwhile, the worker is awake and must
 * look again. True: it will be woken exactly once (by whoever gets its index from push). */
bool pn_queue_sleep(struct pn_relay_queue *q, uint32_t index) PN_MUST_CHECK;
/* Whether some worker sleeps (an estimate). */
bool pn_queue_has_sleepers(const struct pn_relay_queue *q);

#endif
