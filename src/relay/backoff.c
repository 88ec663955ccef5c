/* SPDX-License-Identifier: ISC */
/* backoff.c - see backoff.h. RFC 5321 4.5.4.1: delay a retry after a failure; jitter keeps the
 * retries of an outage from coming back at once. */
#include "backoff.h"

uint64_t pn_backoff_delay_ms(const struct pn_backoff *b, uint32_t attempts, struct pn_prng *prng)
{
	uint64_t delay = b->first_ms;
	for (uint32_t i = 1; i < attempts && delay < b->max_ms && b->factor_percent > 100; i++) {
		if (delay > UINT64_MAX / b->factor_percent)
			delay = b->max_ms;
		else
			delay = delay * b->factor_percent / 100;
	}
	if (delay > b->max_ms)
		delay = b->max_ms;
	uint64_t jitter = delay / 100 * b->jitter_percent + delay % 100 * b->jitter_percent / 100;
	if (jitter > 0)
		delay = delay - jitter + pn_prng_below(prng, 2 * jitter + 1);
	return delay;
}
