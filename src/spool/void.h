/* SPDX-License-Identifier: ISC */
/* void.h - notes that make the records of a failed batch void. README.md "A batch fails". */
#ifndef PN_SPOOL_VOID_H
#define PN_SPOOL_VOID_H

#include "spool/internal.h"

/*
 * Makes it durable that records of segment `f` from `from` on are void: by a note, or by a slot; blocking (helper).
 * When both fail the segment is cut and the note tried again each second. 0 or -errno.
 */
int pn_void_note(struct pn_spool *spool, const struct pn_spool_file *f,
		 uint64_t from) PN_MUST_CHECK;
void pn_void_retries_run(struct pn_spool *spool);
void pn_void_retries_drop(struct pn_spool *spool);

/* ---- void_slots.c; the helper, or whoever opens and recovers the spool ---- */
/* Opens the file, making it first; reads the slots. Without it there are none. 0 or -errno. */
int pn_void_slots_open(struct pn_spool *spool);
void pn_void_slots_close(struct pn_spool *spool);
/* Durable: the segment or file `id` is void from there on. 0 or -errno. */
int pn_void_slot_take(struct pn_spool *spool, uint64_t id, uint64_t from) PN_MUST_CHECK;
/* `id` is gone from the disk, durably. */
void pn_void_slot_free(struct pn_spool *spool, uint64_t id);
bool pn_void_slot_find(const struct pn_spool *spool, uint64_t id, uint64_t *ret_from) PN_MUST_CHECK;
/* At start: frees the slots of what is not there any more. */
void pn_void_slots_prune(struct pn_spool *spool);

#endif
