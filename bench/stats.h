/* SPDX-License-Identifier: ISC */
/*
 * stats.h - what several rounds of one measurement say: the middle, the spread, and whether two of them differ.
 *
 * Nothing here assumes a distribution: times on a shared machine have none that is worth a name. The middle is the
 * median, the spread is least, greatest and the median absolute deviation (MAD).
 *
 * Two measurements are compared in pairs (round i of A with round i of B, which ran next to each other), by the
 * ratio B/A of each pair. The interval of the median ratio is that of the sign test: the narrowest pair of order
 * statistics that covers the true median in at least 95 % of all cases; with fewer than six pairs there is none, and
 * least to greatest is taken. A difference is beyond the noise when that interval does not hold 1, and with fewer
 * than six pairs the ranges of A and B must also be disjoint (chance does that to three equal pairs in 1 of 10
 * cases, to four in 1 of 35, to five in 1 of 126). Fewer than three pairs say nothing.
 *
 * Pure functions, any thread.
 */
#ifndef PN_BENCH_STATS_H
#define PN_BENCH_STATS_H

#include <postern/base/common.h>

#define PN_BENCH_ROUNDS_MAX 512
#define PN_BENCH_PAIRS_MIN  3
#define PN_BENCH_PAIRS_SIGN 6 /* from here on the sign test has an interval of 95 % */

struct pn_bench_stats {
	size_t count;
	double median, min, max, mad; /* all 0 when there are no values */
};

enum pn_bench_verdict {
	PN_BENCH_FASTER,
	PN_BENCH_SLOWER,
	PN_BENCH_SAME,
	PN_BENCH_TOO_FEW,
};

struct pn_bench_difference {
	size_t pairs;
	double ratio;                  /* median of B/A */
	double ratio_min, ratio_max;   /* the interval described above */
	enum pn_bench_verdict verdict; /* of B against A */
};

/* At most PN_BENCH_ROUNDS_MAX values are looked at. */
double pn_bench_median(const double *values, size_t count);
void pn_bench_stats_of(const double *values, size_t count, struct pn_bench_stats *ret);
/* The first `count` values of each are the pairs. Pairs with an A of 0 are left out. */
void pn_bench_difference_of(const double *a, const double *b, size_t count, bool is_more_better,
			    struct pn_bench_difference *ret);
/* "faster", "slower", "no difference beyond the noise", "too few rounds to say". */
const char *pn_bench_verdict_text(enum pn_bench_verdict verdict);

#endif
