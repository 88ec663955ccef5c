/* SPDX-License-Identifier: ISC */
/* scan.c - which of the scan loops this CPU runs. */
#include "scan.h"

const struct pn_scan *pn_scan_best = &pn_scan_plain;

const struct pn_scan *pn_scan_variant(size_t number)
{
	const struct pn_scan *found[4] = { &pn_scan_plain };
	size_t count = 1;

#if PN_SCAN_HAS_WIDE
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi"))
		found[count++] = &pn_scan_avx2;
	/*
	 * VBMI2 is not used, but the CPUs that lack it (Intel before Ice Lake) lower the clock of
	 * the core, and of all that runs on it, for the sake of 512-bit registers.
	 */
	if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vbmi2") &&
	    __builtin_cpu_supports("bmi"))
		found[count++] = &pn_scan_avx512;
#endif
	return number < count ? found[number] : NULL;
}

/* Before main(), and so before any thread: nobody needs a lock or an atomic to read the choice. */
__attribute__((constructor)) static void choose(void)
{
	for (size_t i = 0; pn_scan_variant(i); i++)
		pn_scan_best = pn_scan_variant(i);
}
