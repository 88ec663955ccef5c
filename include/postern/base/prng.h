/* SPDX-License-Identifier: ISC */
/* prng.h - randomness: the kernel's for secrets and ids, a small fast generator for jitter and
 * tests. */
#ifndef POSTERN_BASE_PRNG_H
#define POSTERN_BASE_PRNG_H

#include <postern/base/common.h>

/* Fills from getrandom(2); aborts the process if the kernel cannot (never short). Any thread. */
void pn_random_bytes(void *out, size_t len);

struct pn_prng {
	uint64_t s[2];
};
/* seed 0 takes a seed from the kernel. Not for secrets. One thread. */
void pn_prng_init(struct pn_prng *p, uint64_t seed);
uint64_t pn_prng_next(struct pn_prng *p);
/* Uniform in [0, bound); bound > 0. */
uint64_t pn_prng_below(struct pn_prng *p, uint64_t bound);

#endif
