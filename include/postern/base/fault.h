/* SPDX-License-Identifier: ISC */
/*
 * fault.h - fault injection for test builds (PN_FAULT_INJECTION); compiles to nothing otherwise.
 *
 * Where a completion of the spool is reaped, its result passes through pn_fault_result(site, res).
 * The environment variable PN_FAULT="site:nth:errno-or-short[:count]" (comma-separated list) makes
 * the nth result at that site fail with -errno (a number) or, with "short", be cut to half; with a
 * count that many in a row, with count 0 all from there on. Sites are literals such as
 * "spool.segment.fdatasync". Failures of a plan from the environment are shown on stderr
 * (event=fault).
 */
#ifndef POSTERN_BASE_FAULT_H
#define POSTERN_BASE_FAULT_H

#include <postern/base/common.h>

#ifdef PN_FAULT_INJECTION
/* Any thread. Returns res, or the injected result. */
int pn_fault_result(const char *site, int res);
/* Replaces the PN_FAULT plan (tests in one process); NULL clears. Resets the hit counts. */
void pn_fault_set_plan(const char *plan);
/* How often the site was passed since the plan was set. */
uint64_t pn_fault_hits(const char *site);
#else
static inline int pn_fault_result(const char *site, int res)
{
	(void)site;
	return res;
}
#endif

#endif
