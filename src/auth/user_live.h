/* SPDX-License-Identifier: ISC */
/*
 * user_live.h - the table in force: read by every loop without a lock, replaced by a reload.
 *
 * A reader enters, looks something up, takes references of what it keeps, and leaves; it does nothing else
 * meanwhile. The one writer swaps, waits until the readers of the old table have left, and frees it. Readers
 * never wait.
 */
#ifndef PN_AUTH_USER_LIVE_H
#define PN_AUTH_USER_LIVE_H

#include <stdatomic.h>

#include "auth/user_table.h"

struct pn_user_live {
	_Atomic uint64_t
	    entry; /* bit 0: slot in force; above: how many readers have entered it since it came into force */
	struct {
		struct pn_user_table *table;
		_Atomic uint64_t leaves; /* how many of them have left */
	} slots[2];
};

/* Takes the first table. */
void pn_user_live_init(struct pn_user_live *live, struct pn_user_table *table);
/* Frees the table in force; no reader may be inside. */
void pn_user_live_deinit(struct pn_user_live *live);
const struct pn_user_table *pn_user_live_enter(struct pn_user_live *live, unsigned *ret_slot);
void pn_user_live_leave(struct pn_user_live *live, unsigned slot);
/* Takes the new table, frees the old. Callers take turns (a mutex of theirs); not on a loop. */
void pn_user_live_swap(struct pn_user_live *live, struct pn_user_table *table);

#endif
