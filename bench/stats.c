/* SPDX-License-Identifier: ISC */
/* stats.c - see stats.h. */
#include "stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int compare_doubles(const void *left, const void *right)
{
	double a = *(const double *)left;
	double b = *(const double *)right;
	return (a > b) - (a < b);
}

static size_t sorted_copy(double out[PN_BENCH_ROUNDS_MAX], const double *values, size_t count)
{
	count = pn_min_size(count, PN_BENCH_ROUNDS_MAX);
	if (count > 0) {
		memcpy(out, values, count * sizeof(*out));
		qsort(out, count, sizeof(*out), compare_doubles);
	}
	return count;
}

static double middle(const double *sorted, size_t count)
{
	if (count == 0)
		return 0;
	return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

double pn_bench_median(const double *values, size_t count)
{
	double sorted[PN_BENCH_ROUNDS_MAX];

	return middle(sorted, sorted_copy(sorted, values, count));
}

void pn_bench_stats_of(const double *values, size_t count, struct pn_bench_stats *ret)
{
	double sorted[PN_BENCH_ROUNDS_MAX];
	double away[PN_BENCH_ROUNDS_MAX];

	*ret = (struct pn_bench_stats){ .count = sorted_copy(sorted, values, count) };
	if (ret->count == 0)
		return;
	ret->median = middle(sorted, ret->count);
	ret->min = sorted[0];
	ret->max = sorted[ret->count - 1];
	for (size_t i = 0; i < ret->count; i++)
		away[i] = fabs(sorted[i] - ret->median);
	ret->mad = pn_bench_median(away, ret->count);
}

/* How many of `count` sorted values may be cut off at each end so that the rest still covers the median in 95 % of
 * all cases: the binomial tail of the sign test. */
static size_t sign_test_cut(size_t count)
{
	double term = pow(0.5, (double)count); /* C(count, 0) / 2^count */
	double tail = term;
	size_t cut = 0;

	while (cut + 1 < count / 2) {
		term *= (double)(count - cut) / (double)(cut + 1);
		if (2 * (tail + term) > 0.05)
			break;
		tail += term;
		cut++;
	}
	return cut;
}

static bool are_disjoint(const struct pn_bench_stats *a, const struct pn_bench_stats *b)
{
	return a->max < b->min || b->max < a->min;
}

void pn_bench_difference_of(const double *a, const double *b, size_t count, bool is_more_better,
			    struct pn_bench_difference *ret)
{
	double ratios[PN_BENCH_ROUNDS_MAX];
	double sorted[PN_BENCH_ROUNDS_MAX];
	struct pn_bench_stats stats_a;
	struct pn_bench_stats stats_b;

	*ret = (struct pn_bench_difference){ .verdict = PN_BENCH_TOO_FEW };
	count = pn_min_size(count, PN_BENCH_ROUNDS_MAX);
	for (size_t i = 0; i < count; i++) {
		if (a[i] > 0)
			ratios[ret->pairs++] = b[i] / a[i];
	}
	if (ret->pairs == 0)
		return;
	(void)sorted_copy(sorted, ratios, ret->pairs);
	size_t cut = sign_test_cut(ret->pairs);
	ret->ratio = middle(sorted, ret->pairs);
	ret->ratio_min = sorted[cut];
	ret->ratio_max = sorted[ret->pairs - 1 - cut];
	if (ret->pairs < PN_BENCH_PAIRS_MIN)
		return;
	pn_bench_stats_of(a, count, &stats_a);
	pn_bench_stats_of(b, count, &stats_b);
	ret->verdict = PN_BENCH_SAME;
	if (ret->ratio_min <= 1 && ret->ratio_max >= 1)
		return;
	if (ret->pairs < PN_BENCH_PAIRS_SIGN && !are_disjoint(&stats_a, &stats_b))
		return;
	ret->verdict = (ret->ratio > 1) == is_more_better ? PN_BENCH_FASTER : PN_BENCH_SLOWER;
}

const char *pn_bench_verdict_text(enum pn_bench_verdict verdict)
{
	switch (verdict) {
	case PN_BENCH_FASTER:
		return "faster";
	case PN_BENCH_SLOWER:
		return "slower";
	case PN_BENCH_SAME:
		return "no difference beyond the noise";
	case PN_BENCH_TOO_FEW:
		break;
	}
	return "too few rounds to say";
}
