/* SPDX-License-Identifier: ISC */
/*
 * distribution.h - sizes of messages as they are written on the command line or in a scenario, and drawn with a
 * seeded generator.
 *
 *	4K                      always the same
 *	1K-64K                  uniform between the two
 *	lognormal:8K:1.2        median and sigma; cut to PN_BENCH_SIZE_MIN_BYTES .. PN_BENCH_SIZE_MAX_BYTES
 *	2K*70,50K*25,5M*5       each by its weight
 */
#ifndef PN_BENCH_DISTRIBUTION_H
#define PN_BENCH_DISTRIBUTION_H

#include <postern/base/common.h>
#include <postern/base/prng.h>

#define PN_BENCH_SIZE_MIN_BYTES      1024u
#define PN_BENCH_SIZE_MAX_BYTES      (64u << 20)
#define PN_BENCH_SIZE_CHOICES_MAX    32
#define PN_BENCH_LOGNORMAL_CUT_BYTES (16u << 20) /* what a lognormal's tail is cut to */

enum pn_bench_distribution_kind {
	PN_BENCH_SIZE_UNIFORM, /* min = max: fixed */
	PN_BENCH_SIZE_LOGNORMAL,
	PN_BENCH_SIZE_WEIGHTED,
};

struct pn_bench_distribution {
	enum pn_bench_distribution_kind kind;
	uint64_t min_bytes, max_bytes;
	double median_bytes, sigma;
	struct {
		uint64_t size_bytes, weight;
	} choices[PN_BENCH_SIZE_CHOICES_MAX];
	size_t choice_count;
	uint64_t weight_sum;
};

/* False: not one of the forms above, or a size out of range. */
bool pn_bench_distribution_parse(struct pn_bench_distribution *ret, const char *text) PN_MUST_CHECK;
/* Octets of one message. */
uint64_t pn_bench_distribution_draw(const struct pn_bench_distribution *d, struct pn_prng *prng);
/* No draw is bigger. */
uint64_t pn_bench_distribution_max(const struct pn_bench_distribution *d);

/* A number of octets, with K or M behind it; *ret_end is what follows. */
bool pn_bench_size_parse(const char *text, const char **ret_end, uint64_t *ret_bytes) PN_MUST_CHECK;
/* Uniform in (0, 1). */
double pn_bench_unit_draw(struct pn_prng *prng);

#endif
