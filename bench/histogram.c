/* SPDX-License-Identifier: ISC */
/* histogram.c - log-linear buckets: the position of the highest bit, and the five bits below it. */
#include "histogram.h"

#define SUB_COUNT (1u << PN_BENCH_HISTOGRAM_SUB_BITS)

static size_t bucket_of(uint64_t ns)
{
	if (ns < SUB_COUNT)
		return (size_t)ns;
	unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - PN_BENCH_HISTOGRAM_SUB_BITS;
	size_t index = ((size_t)shift << PN_BENCH_HISTOGRAM_SUB_BITS) + (size_t)(ns >> shift);
	return pn_min_size(index, PN_BENCH_HISTOGRAM_BUCKETS - 1);
}

uint64_t pn_bench_histogram_bucket_end(size_t index)
{
	if (index < 2 * SUB_COUNT)
		return index;
	unsigned shift = (unsigned)(index >> PN_BENCH_HISTOGRAM_SUB_BITS) - 1;
	return ((((uint64_t)index & (SUB_COUNT - 1)) + SUB_COUNT + 1) << shift) - 1;
}

void pn_bench_histogram_add(struct pn_bench_histogram *h, uint64_t ns)
{
	h->count++;
	h->sum_ns += ns;
	if (ns > h->max_ns)
		h->max_ns = ns;
	h->buckets[bucket_of(ns)]++;
}

uint64_t pn_bench_histogram_quantile(const struct pn_bench_histogram *h, double quantile)
{
	uint64_t wanted = (uint64_t)((double)h->count * quantile);
	uint64_t seen = 0;

	if (h->count == 0)
		return 0;
	for (size_t i = 0; i < PN_BENCH_HISTOGRAM_BUCKETS; i++) {
		seen += h->buckets[i];
		if (seen > wanted || seen == h->count)
			return pn_bench_histogram_bucket_end(i) < h->max_ns
				       ? pn_bench_histogram_bucket_end(i)
				       : h->max_ns;
	}
	return h->max_ns;
}
