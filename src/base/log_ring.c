/* SPDX-License-Identifier: ISC */
/*
 * log_ring.c - the bounded ring between the threads that log and the writer.
 *
 * The same tickets as mpmc.c, with whole lines in the cells and one consumer. Half of the ring
 * takes every class; three quarters take what is not a debug or session line; the last quarter is
 * kept for message and delivery lines. The check is exact: the position that is compared is the one
 * that is then claimed, and the consumer only ever makes room.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log_internal.h"

int pn_log_ring_init(struct pn_log_ring *ring, size_t slots)
{
	size_t count = 4;

	while (count < slots) {
		if (count > SIZE_MAX / 2 / sizeof(*ring->slots))
			return -ENOMEM;
		count *= 2;
	}
	ring->slots = calloc(count, sizeof(*ring->slots));
	if (!ring->slots)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		atomic_init(&ring->slots[i].sequence, i);
	ring->mask = count - 1;
	atomic_init(&ring->enqueue_pos, 0);
	atomic_init(&ring->dequeue_pos, 0);
	atomic_init(&ring->unseen, 0);
	return 0;
}

void pn_log_ring_deinit(struct pn_log_ring *ring)
{
	free(ring->slots);
	ring->slots = NULL;
}

static size_t class_limit(const struct pn_log_ring *ring, enum pn_log_class class)
{
	size_t count = ring->mask + 1;

	switch (class) {
	case PN_LOG_DEBUG:
	case PN_LOG_SESSION:
		return count / 2;
	case PN_LOG_INFO:
	case PN_LOG_WARN:
	case PN_LOG_ERROR:
		return count / 4 * 3;
	case PN_LOG_MESSAGE:
	case PN_LOG_DELIVERY:
		break;
	}
	return count;
}

static struct pn_log_slot *claim(struct pn_log_ring *ring, enum pn_log_class class, size_t *ret_pos)
{
	size_t limit = class_limit(ring, class);
	/* relaxed: a stale ticket is noticed by the compare-exchange */
	size_t pos = atomic_load_explicit(&ring->enqueue_pos, memory_order_relaxed);

	for (;;) {
		/* acquire: pairs with the release in pop; a slot that counts as free has been read
		 */
		size_t tail = atomic_load_explicit(&ring->dequeue_pos, memory_order_acquire);
		/* The tail can be ahead of a stale position; then the compare-exchange fails. */
		if ((ptrdiff_t)(pos - tail) >= (ptrdiff_t)limit)
			return NULL;
		if (atomic_compare_exchange_weak_explicit(&ring->enqueue_pos, &pos, pos + 1,
							  memory_order_relaxed,
							  memory_order_relaxed))
			break;
	}
	*ret_pos = pos;
	return &ring->slots[pos & ring->mask];
}

bool pn_log_ring_push(struct pn_log_ring *ring, enum pn_log_class class, const char *text,
		      size_t len, bool *ret_wake)
{
	size_t pos;

	*ret_wake = false;
	struct pn_log_slot *slot = claim(ring, class, &pos);
	if (!slot)
		return false;
	memcpy(slot->text, text, len);
	slot->len = (uint16_t)len;
	/* release: pairs with the acquire in pop */
	atomic_store_explicit(&slot->sequence, pos + 1, memory_order_release);
	/* acq_rel: release pairs with the acquire in may_sleep, so that a writer that sees the
	 * count sees the line; the step from 0 then belongs to exactly one producer */
	*ret_wake = atomic_fetch_add_explicit(&ring->unseen, 1, memory_order_acq_rel) == 0;
	return true;
}

size_t pn_log_ring_pop(struct pn_log_ring *ring, char *out)
{
	/* relaxed: only this thread writes it */
	size_t pos = atomic_load_explicit(&ring->dequeue_pos, memory_order_relaxed);
	struct pn_log_slot *slot = &ring->slots[pos & ring->mask];

	/* acquire: pairs with the release in push */
	if (atomic_load_explicit(&slot->sequence, memory_order_acquire) != pos + 1)
		return 0;
	size_t len = slot->len;
	memcpy(out, slot->text, len);
	/* release: pairs with the acquire in claim */
	atomic_store_explicit(&ring->dequeue_pos, pos + 1, memory_order_release);
	return len;
}

bool pn_log_ring_may_sleep(struct pn_log_ring *ring)
{
	/* acq_rel: acquire pairs with the release in push; release keeps our earlier reads of the
	 * ring before it */
	return atomic_exchange_explicit(&ring->unseen, 0, memory_order_acq_rel) == 0;
}
