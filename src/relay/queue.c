/* SPDX-License-Identifier: ISC */
/*
 * queue.c - the way from the sessions to the relay workers.
 *
 * Sleeping and waking must not miss each other. A submitter makes the entry visible, then raises
 * `pending`, then looks at `sleepers`; a worker raises its bit in `sleepers`, then looks at
 * `pending`. All four are sequentially consistent, so in their single order one of the two sees the
 * other: the submitter takes the bit (and wakes), or the worker sees the entry (and takes its own
 * bit back). Whoever takes the bit is the only one to wake that worker. The spool is the truth:
 * what lies here is lost in a crash and found again by recovery.
 */
#include "queue.h"

void pn_entry_list_push(struct pn_entry_list *l, struct pn_spool_entry *entry)
{
	entry->next = NULL;
	if (l->last)
		l->last->next = entry;
	else
		l->first = entry;
	l->last = entry;
	l->count++;
}

struct pn_spool_entry *pn_entry_list_pop(struct pn_entry_list *l)
{
	struct pn_spool_entry *entry = l->first;
	if (!entry)
		return NULL;
	l->first = entry->next;
	if (!l->first)
		l->last = NULL;
	entry->next = NULL;
	l->count--;
	return entry;
}

struct pn_spool_entry *pn_entry_list_take(struct pn_entry_list *l, const struct pn_id *id)
{
	struct pn_spool_entry *before = NULL;
	for (struct pn_spool_entry *e = l->first; e; before = e, e = e->next) {
		if (!pn_id_eq(&e->id, id))
			continue;
		if (before)
			before->next = e->next;
		else
			l->first = e->next;
		if (l->last == e)
			l->last = before;
		e->next = NULL;
		l->count--;
		return e;
	}
	return NULL;
}

void pn_entry_list_append(struct pn_entry_list *l, struct pn_entry_list *from)
{
	if (!from->first)
		return;
	if (l->last)
		l->last->next = from->first;
	else
		l->first = from->first;
	l->last = from->last;
	l->count += from->count;
	*from = (struct pn_entry_list){0};
}

void pn_entry_stack_push(struct pn_entry_stack *s, struct pn_spool_entry *entry)
{
	struct pn_spool_entry *old = atomic_load_explicit(&s->head, memory_order_relaxed);
	do {
		entry->next = old;
		/* release: pairs with the acquire in pn_entry_stack_take */
	} while (!atomic_compare_exchange_weak_explicit(&s->head, &old, entry, memory_order_release,
	                                                memory_order_relaxed));
}

size_t pn_entry_stack_take(struct pn_entry_stack *s, struct pn_entry_list *to)
{
	/* acquire: pairs with the release in pn_entry_stack_push */
	struct pn_spool_entry *e = atomic_exchange_explicit(&s->head, NULL, memory_order_acquire);
	struct pn_spool_entry *fifo = NULL;
	size_t count = 0;
	while (e) {
		struct pn_spool_entry *next = e->next;
		e->next = fifo;
		fifo = e;
		e = next;
	}
	while (fifo) {
		struct pn_spool_entry *next = fifo->next;
		pn_entry_list_push(to, fifo);
		fifo = next;
		count++;
	}
	return count;
}

int pn_queue_init(struct pn_relay_queue *q, size_t capacity)
{
	*q = (struct pn_relay_queue){0};
	return pn_mpmc_init(&q->ring, capacity);
}

void pn_queue_deinit(struct pn_relay_queue *q)
{
	pn_mpmc_deinit(&q->ring);
}

/* Takes the bit of one sleeping worker; its index, or -1. */
static int queue_take_sleeper(struct pn_relay_queue *q)
{
	/* seq_cst: after the add to `pending`; pairs with pn_queue_sleep */
	uint64_t mask = atomic_load_explicit(&q->sleepers, memory_order_seq_cst);
	while (mask != 0) {
		uint64_t bit = mask & (~mask + 1);
		/* seq_cst: pairs with pn_queue_sleep; only one taker gets the bit */
		if (atomic_compare_exchange_weak_explicit(&q->sleepers, &mask, mask & ~bit, memory_order_seq_cst,
		                                          memory_order_seq_cst)) {
			pn_counter_add_shared(&q->counters[PN_RELAY_QUEUE_C_wakeups], 1);
			return __builtin_ctzll(bit);
		}
	}
	return -1;
}

int pn_queue_push(struct pn_relay_queue *q, struct pn_spool_entry *entry)
{
	pn_counter_add_shared(&q->counters[PN_RELAY_QUEUE_C_submitted], 1);
	if (!pn_mpmc_push(&q->ring, entry)) {
		pn_counter_add_shared(&q->counters[PN_RELAY_QUEUE_C_overflowed], 1);
		pn_entry_stack_push(&q->overflow, entry);
	}
	/* seq_cst: pairs with the load in pn_queue_sleep */
	atomic_fetch_add_explicit(&q->pending, 1, memory_order_seq_cst);
	return queue_take_sleeper(q);
}

int pn_queue_offer(struct pn_relay_queue *q, struct pn_spool_entry *entry, bool *ret_taken)
{
	*ret_taken = pn_mpmc_push(&q->ring, entry);
	if (!*ret_taken)
		return -1;
	/* seq_cst: pairs with the load in pn_queue_sleep */
	atomic_fetch_add_explicit(&q->pending, 1, memory_order_seq_cst);
	return queue_take_sleeper(q);
}

int pn_queue_nudge(struct pn_relay_queue *q)
{
	/* seq_cst: as in pn_queue_push, with which this takes the place of the waker */
	if (atomic_load_explicit(&q->pending, memory_order_seq_cst) <= 0)
		return -1;
	return queue_take_sleeper(q);
}

static void queue_popped(struct pn_relay_queue *q, size_t count)
{
	/* seq_cst: keeps `pending` in the one order that pn_queue_sleep relies on */
	atomic_fetch_sub_explicit(&q->pending, (int64_t)count, memory_order_seq_cst);
}

struct pn_spool_entry *pn_queue_pop(struct pn_relay_queue *q, struct pn_entry_list *backlog)
{
	struct pn_spool_entry *entry = pn_entry_list_pop(backlog);
	if (entry)
		return entry;
	size_t count = pn_entry_stack_take(&q->overflow, backlog);
	if (count > 0) {
		queue_popped(q, count);
		return pn_entry_list_pop(backlog);
	}
	entry = pn_mpmc_pop(&q->ring);
	if (entry)
		queue_popped(q, 1);
	return entry;
}

void pn_queue_take_all(struct pn_relay_queue *q, struct pn_entry_list *backlog)
{
	size_t count = 0;
	size_t bound = pn_mpmc_len(&q->ring);
	while (count < bound) {
		struct pn_spool_entry *entry = pn_mpmc_pop(&q->ring);
		if (!entry)
			break;
		pn_entry_list_push(backlog, entry);
		count++;
	}
	count += pn_entry_stack_take(&q->overflow, backlog);
	if (count > 0)
		queue_popped(q, count);
}

bool pn_queue_sleep(struct pn_relay_queue *q, uint32_t index)
{
	uint64_t bit = UINT64_C(1) << index;
	/* seq_cst: before the load of `pending`; pairs with pn_queue_push */
	atomic_fetch_or_explicit(&q->sleepers, bit, memory_order_seq_cst);
	/* seq_cst: pairs with the add in pn_queue_push */
	if (atomic_load_explicit(&q->pending, memory_order_seq_cst) <= 0)
		return true;
	/* seq_cst: pairs with queue_take_sleeper; if the bit is gone a wake-up is on its way */
	return (atomic_fetch_and_explicit(&q->sleepers, ~bit, memory_order_seq_cst) & bit) == 0;
}

bool pn_queue_has_sleepers(const struct pn_relay_queue *q)
{
	/* relaxed: only a hint */
	return atomic_load_explicit(&q->sleepers, memory_order_relaxed) != 0;
}
