/* SPDX-License-Identifier: ISC */
/*
 * mpsc.h - unbounded intrusive multi-producer single-consumer stack, taken whole by its consumer.
 *
 * Nodes live inside the producers' own (bounded) objects, so the queue needs no memory of its own.
 * push answers whether the stack was empty before: exactly then the consumer must be woken.
 */
#ifndef POSTERN_BASE_MPSC_H
#define POSTERN_BASE_MPSC_H

#include <stdatomic.h>

#include <postern/base/common.h>

struct pn_mpsc_node {
	struct pn_mpsc_node *next;
};

struct pn_mpsc {
	_Atomic(struct pn_mpsc_node *) head;
};

static inline void pn_mpsc_init(struct pn_mpsc *q)
{
	atomic_init(&q->head, NULL);
}

/* Any thread. Returns true when the queue was empty (the caller wakes the consumer). */
static inline bool pn_mpsc_push(struct pn_mpsc *q, struct pn_mpsc_node *node)
{
	struct pn_mpsc_node *old = atomic_load_explicit(&q->head, memory_order_relaxed);
	do {
		node->next = old;
		/* release: pairs with the acquire in pn_mpsc_take_all */
	} while (!atomic_compare_exchange_weak_explicit(&q->head, &old, node, memory_order_release,
							memory_order_relaxed));
	return old == NULL;
}

/* Consumer thread. Takes everything and returns it oldest first (NULL when empty). */
static inline struct pn_mpsc_node *pn_mpsc_take_all(struct pn_mpsc *q)
{
	struct pn_mpsc_node *node = atomic_exchange_explicit(&q->head, NULL, memory_order_acquire);
	struct pn_mpsc_node *fifo = NULL;
	while (node) {
		struct pn_mpsc_node *next = node->next;
		node->next = fifo;
		fifo = node;
		node = next;
	}
	return fifo;
}

#endif
