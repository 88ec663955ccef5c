/* SPDX-License-Identifier: ISC */
/*
 * user_live.c - two slots and a count of who went in and who came out.
 *
 * Entering and learning the slot is one fetch_add, so a reader is either counted in the slot that the swap
 * retires, or finds the new one. The 63 bits of the count do not run over.
 */
#include <time.h>

#include "auth/user_live.h"

#define ENTER_ONE 2u
#define SLOT_BIT 1u

void pn_user_live_init(struct pn_user_live *live, struct pn_user_table *table)
{
	live->slots[0].table = table;
	live->slots[1].table = NULL;
	atomic_init(&live->slots[0].leaves, 0);
	atomic_init(&live->slots[1].leaves, 0);
	atomic_init(&live->entry, 0);
}

void pn_user_live_deinit(struct pn_user_live *live)
{
	/* relaxed: the caller has joined everybody else. */
	unsigned slot = (unsigned)(atomic_load_explicit(&live->entry, memory_order_relaxed) & SLOT_BIT);
	pn_user_table_free(live->slots[slot].table);
	live->slots[slot].table = NULL;
}

const struct pn_user_table *pn_user_live_enter(struct pn_user_live *live, unsigned *ret_slot)
{
	/* acquire: pairs with the release of the exchange in swap, which published the table. */
	*ret_slot = (unsigned)(atomic_fetch_add_explicit(&live->entry, ENTER_ONE, memory_order_acquire) & SLOT_BIT);
	return live->slots[*ret_slot].table;
}

void pn_user_live_leave(struct pn_user_live *live, unsigned slot)
{
	/* release: pairs with the acquire in swap; the reads of the table happen before it is freed. */
	atomic_fetch_add_explicit(&live->slots[slot].leaves, 1, memory_order_release);
}

void pn_user_live_swap(struct pn_user_live *live, struct pn_user_table *table)
{
	const struct timespec moment = { .tv_nsec = 100000 };
	/* relaxed: only the writer changes the slot bit, and writers take turns. */
	unsigned old_slot = (unsigned)(atomic_load_explicit(&live->entry, memory_order_relaxed) & SLOT_BIT);
	unsigned new_slot = old_slot ^ SLOT_BIT;

	live->slots[new_slot].table = table;
	/* relaxed: published by the release below. Nobody is left inside that slot since its own retirement. */
	atomic_store_explicit(&live->slots[new_slot].leaves, 0, memory_order_relaxed);
	/* acq_rel: release pairs with the acquire in enter. */
	uint64_t entered = atomic_exchange_explicit(&live->entry, new_slot, memory_order_acq_rel) / ENTER_ONE;
	/*
	 * acquire: pairs with the release in leave. A reader stays for a lookup only, so this is over at once.
	 */
	while (atomic_load_explicit(&live->slots[old_slot].leaves, memory_order_acquire) != entered)
		nanosleep(&moment, NULL);
	pn_user_table_free(live->slots[old_slot].table);
	live->slots[old_slot].table = NULL;
}
