/* SPDX-License-Identifier: ISC */
/*
 * negotiated.h - which TLS versions, suites, groups and signatures the handshakes of a run ended
 * with, and how often.
 */
#ifndef PN_BENCH_NEGOTIATED_H
#define PN_BENCH_NEGOTIATED_H

#include <jansson.h>

#include <postern/tls/tls.h>

#define PN_BENCH_NEGOTIATED_MAX 32

/* Zeroed = empty. */
struct pn_bench_negotiated {
	struct {
		struct pn_tls_facts facts;
		uint64_t count;
	} rows[PN_BENCH_NEGOTIATED_MAX];
	size_t row_count;
	uint64_t full, resumed;
};

void pn_bench_negotiated_add(struct pn_bench_negotiated *n, const struct pn_tls_facts *facts);
/* [{"version", "suite", "group", "signature", "resumed", "count"}], a new reference. */
json_t *pn_bench_negotiated_json(const struct pn_bench_negotiated *n);
/* A line of text for each, as rows of the report. */
void pn_bench_negotiated_print(const struct pn_bench_negotiated *n);

#endif
