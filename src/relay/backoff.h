/* SPDX-License-Identifier: ISC */
/* backoff.h - how long to wait before the next try: exponential, bounded, with jitter. Pure. */
#ifndef PN_RELAY_BACKOFF_H
#define PN_RELAY_BACKOFF_H

#include <postern/base/common.h>
#include <postern/base/prng.h>

struct pn_backoff {
	uint64_t first_ms;
	uint64_t max_ms;
	uint32_t factor_percent; /* >= 100 */
	uint32_t jitter_percent; /* 0..90 */
};

/* Delay after the `attempts`-th failed attempt (1 = the first one), within +- jitter of min(first *
 * factor^(attempts-1), max). */
uint64_t pn_backoff_delay_ms(const struct pn_backoff *b, uint32_t attempts, struct pn_prng *prng);

#endif
