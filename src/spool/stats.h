/* SPDX-License-Identifier: ISC */
/* stats.h - see stats.c. */
#ifndef PN_SPOOL_STATS_H
#define PN_SPOOL_STATS_H

struct pn_spool;
void pn_spool_counters_register(struct pn_spool *spool);

#endif
