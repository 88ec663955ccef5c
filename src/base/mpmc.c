/* SPDX-License-Identifier: ISC */
/*
 * mpmc.c - the bounded queue of pointers.
 *
 * A cell whose sequence equals the enqueue position is free for that position; the producer that
 * claims the position fills it and sets the sequence one higher, which offers it to the consumer of
 * the same position; that one sets it to position + capacity, the next turn's free mark. The
 * positions are only tickets; all ordering is on the sequences.
 */
#include <postern/base/mpmc.h>

#include <errno.h>
#include <stdlib.h>

struct pn_mpmc_cell {
	_Atomic size_t sequence;
	void *ptr;
};

int pn_mpmc_init(struct pn_mpmc *q, size_t capacity)
{
	size_t count = 2;

	while (count < capacity) {
		if (count > SIZE_MAX / 2 / sizeof(*q->cells))
			return -ENOMEM;
		count *= 2;
	}
	q->cells = calloc(count, sizeof(*q->cells));
	if (!q->cells)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		atomic_init(&q->cells[i].sequence, i);
	q->mask = count - 1;
	atomic_init(&q->enqueue_pos, 0);
	atomic_init(&q->dequeue_pos, 0);
	return 0;
}

void pn_mpmc_deinit(struct pn_mpmc *q)
{
	free(q->cells);
	q->cells = NULL;
}

bool pn_mpmc_push(struct pn_mpmc *q, void *ptr)
{
	/* relaxed: a stale ticket is noticed by the sequence or by the compare-exchange */
	size_t pos = atomic_load_explicit(&q->enqueue_pos, memory_order_relaxed);

	for (;;) {
		struct pn_mpmc_cell *cell = &q->cells[pos & q->mask];
		/* acquire: pairs with the release in pop, so that the cell was read before we fill
		 * it */
		size_t sequence = atomic_load_explicit(&cell->sequence, memory_order_acquire);
		ptrdiff_t lead = (ptrdiff_t)(sequence - pos);
		if (lead == 0) {
			if (atomic_compare_exchange_weak_explicit(&q->enqueue_pos, &pos, pos + 1,
								  memory_order_relaxed,
								  memory_order_relaxed)) {
				cell->ptr = ptr;
				/* release: pairs with the acquire in pop */
				atomic_store_explicit(&cell->sequence, pos + 1,
						      memory_order_release);
				return true;
			}
		} else if (lead < 0) {
			return false;
		} else {
			pos = atomic_load_explicit(&q->enqueue_pos, memory_order_relaxed);
		}
	}
}

void *pn_mpmc_pop(struct pn_mpmc *q)
{
	/* relaxed: as in push */
	size_t pos = atomic_load_explicit(&q->dequeue_pos, memory_order_relaxed);

	for (;;) {
		struct pn_mpmc_cell *cell = &q->cells[pos & q->mask];
		/* acquire: pairs with the release in push, so that the pointer and what it points
		 * to are visible */
		size_t sequence = atomic_load_explicit(&cell->sequence, memory_order_acquire);
		ptrdiff_t lead = (ptrdiff_t)(sequence - (pos + 1));
		if (lead == 0) {
			if (atomic_compare_exchange_weak_explicit(&q->dequeue_pos, &pos, pos + 1,
								  memory_order_relaxed,
								  memory_order_relaxed)) {
				void *ptr = cell->ptr;
				/* release: pairs with the acquire in push, one turn later */
				atomic_store_explicit(&cell->sequence, pos + q->mask + 1,
						      memory_order_release);
				return ptr;
			}
		} else if (lead < 0) {
			return NULL;
		} else {
			pos = atomic_load_explicit(&q->dequeue_pos, memory_order_relaxed);
		}
	}
}

size_t pn_mpmc_len(const struct pn_mpmc *q)
{
	/* relaxed: an estimate; the two loads are not one moment, hence the clamp */
	size_t dequeued = atomic_load_explicit(&q->dequeue_pos, memory_order_relaxed);
	size_t enqueued = atomic_load_explicit(&q->enqueue_pos, memory_order_relaxed);
	ptrdiff_t len = (ptrdiff_t)(enqueued - dequeued);

	return len < 0 ? 0 : pn_min_size((size_t)len, q->mask + 1);
}
