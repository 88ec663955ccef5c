/* SPDX-License-Identifier: ISC */
/*
 * histogram.h - times in nanoseconds, counted in buckets that are at most 3 % wide. Fixed size, no allocation.
 */
#ifndef PN_BENCH_HISTOGRAM_H
#define PN_BENCH_HISTOGRAM_H

#include <postern/base/common.h>

#define PN_BENCH_HISTOGRAM_SUB_BITS 5
#define PN_BENCH_HISTOGRAM_BUCKETS \
	((64 - PN_BENCH_HISTOGRAM_SUB_BITS) << PN_BENCH_HISTOGRAM_SUB_BITS)

/* Zeroed = empty. */
struct pn_bench_histogram {
	uint64_t count;
	uint64_t sum_ns;
	uint64_t max_ns;
	uint64_t buckets[PN_BENCH_HISTOGRAM_BUCKETS];
};

void pn_bench_histogram_add(struct pn_bench_histogram *h, uint64_t ns);
/* The upper end of the bucket that holds the share `quantile` (0..1) of all; 0 when empty. */
uint64_t pn_bench_histogram_quantile(const struct pn_bench_histogram *h, double quantile);

/* The biggest time that falls into bucket `index`. */
uint64_t pn_bench_histogram_bucket_end(size_t index);

#endif
