/* SPDX-License-Identifier: ISC */
/* samples.h - what a run has done and the server has used so far, taken every 100 ms. Cheap: clocks and one small file
 * for each process. */
#ifndef PN_BENCH_SAMPLES_H
#define PN_BENCH_SAMPLES_H

#include <jansson.h>

#include "cost.h"

#define PN_BENCH_SAMPLE_MS   100u
#define PN_BENCH_SAMPLES_MAX 36000u /* an hour; later ones are not kept */

struct pn_bench_sample {
	uint32_t t_ms;
	uint32_t open, due; /* connections; operations that wait for a slot */
	uint64_t done, failed;
	uint64_t server_cpu_us, server_rss_bytes, client_cpu_us;
};

/* Zeroed = empty. */
struct pn_bench_samples {
	struct pn_bench_sample *list;
	size_t count, size;
	uint64_t next_ms;
	uint64_t server_begin_ns, client_begin_ns;
	struct pn_bench_watch watch;
};

/* pid 0: no server is looked at. Forgets earlier samples. */
void pn_bench_samples_begin(struct pn_bench_samples *s, uint64_t pid, uint64_t now_ms);
/* Milliseconds until the next is due, at most PN_BENCH_SAMPLE_MS. */
uint64_t pn_bench_samples_wait_ms(const struct pn_bench_samples *s, uint64_t now_ms);
/* Takes one if it is due; the caller has filled t_ms, open, due, done and failed. */
void pn_bench_samples_take(struct pn_bench_samples *s, uint64_t now_ms,
			   struct pn_bench_sample sample);
void pn_bench_samples_deinit(struct pn_bench_samples *s);
/* A list of objects with the names above, a new reference. */
json_t *pn_bench_samples_json(const struct pn_bench_samples *s);

#endif
