/* SPDX-License-Identifier: ISC */
/* void.h - notes that make the records of a failed batch void. README.md "A batch fails". */
#ifndef PN_SPOOL_VOID_H
#define PN_SPOOL_VOID_H

#include "spool/internal.h"

/* Makes the note durable; blocking (helper). On failure it is tried again each second. 0 or -errno of the first
 * try. */
int pn_void_note(struct pn_spool *spool, uint64_t id, uint64_t from) PN_MUST_CHECK;
void pn_void_retries_run(struct pn_spool *spool);
void pn_void_retries_drop(struct pn_spool *spool);

#endif
