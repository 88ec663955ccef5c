/* SPDX-License-Identifier: ISC */
/*
 * records.h - who opened and made the TLS records of a gateway during a run, by its own counters: its kernel, or the
 * gateway itself.
 */
#ifndef PN_BENCH_RECORDS_H
#define PN_BENCH_RECORDS_H

#include <jansson.h>

#include <postern/base/common.h>

/* TLS sessions of clients and next hops that began in the run. */
struct pn_bench_records {
	uint64_t sessions;
	uint64_t kernel;         /* both directions in the kernel */
	uint64_t kernel_receive; /* receiving alone */
	uint64_t user;           /* all others */
};

/* From two answers to `status`; false when either is NULL or knows nothing of kernel TLS. */
bool pn_bench_records_of(const json_t *before, const json_t *after,
			 struct pn_bench_records *ret) PN_MUST_CHECK;
/* A new reference. */
json_t *pn_bench_records_json(const struct pn_bench_records *r);
/* "kernel TX+RX 3 of 5 sessions, user space 2" */
void pn_bench_records_text(const struct pn_bench_records *r, char *out, size_t size);

#endif
