/* SPDX-License-Identifier: ISC */
/* prng.c - the kernel's random octets, and xoroshiro128++ for what need not be secret. */
#include <postern/base/prng.h>

#include <errno.h>
#include <sys/random.h>

void pn_random_bytes(void *out, size_t len)
{
	uint8_t *at = out;

	while (len != 0) {
		ssize_t n = getrandom(at, pn_min_size(len, 256), 0);
		if (n < 0 && errno == EINTR)
			continue;
		/* No fallback: a predictable key is worse than no process. */
		PN_ASSERT(n > 0);
		at += n;
		len -= (size_t)n;
	}
}

/* SplitMix64 spreads a poor seed over the state. */
static uint64_t splitmix(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

void pn_prng_init(struct pn_prng *p, uint64_t seed)
{
	if (seed == 0)
		pn_random_bytes(&seed, sizeof(seed));
	p->s[0] = splitmix(&seed);
	p->s[1] = splitmix(&seed);
	if (p->s[0] == 0 && p->s[1] == 0)
		p->s[0] = 1;
}

static uint64_t rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

uint64_t pn_prng_next(struct pn_prng *p)
{
	uint64_t s0 = p->s[0], s1 = p->s[1];
	uint64_t result = rotate(s0 + s1, 17) + s0;

	s1 ^= s0;
	p->s[0] = rotate(s0, 49) ^ s1 ^ s1 << 21;
	p->s[1] = rotate(s1, 28);
	return result;
}

uint64_t pn_prng_below(struct pn_prng *p, uint64_t bound)
{
	PN_ASSERT(bound > 0);
	/* Draws below 2^64 mod bound would favour the small results. */
	uint64_t threshold = (0 - bound) % bound;
	uint64_t x;

	do {
		x = pn_prng_next(p);
	} while (x < threshold);
	return x % bound;
}
