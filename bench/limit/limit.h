/* SPDX-License-Identifier: ISC */
/*
 * limit.h - what this machine could do at best: each row is one thing that a gateway cannot do without, alone and as
 * bare as it can be written.
 */
#ifndef PN_BENCH_LIMIT_H
#define PN_BENCH_LIMIT_H

#include <jansson.h>

#include <postern/base/common.h>

#include "stats.h"

struct pn_bench_limit_place {
	const char *dir;     /* files are written below it */
	uint64_t client_cpu; /* of the process at the other end of the sockets */
};

/* One round of one row. */
struct pn_bench_limit_sample {
	double cpu_us;  /* CPU of the measured side for one operation */
	double wall_us; /* from the start of the round to its end, by operations; 0 = says nothing */
	double p50_us, p99_us; /* of single operations; 0 = not measured */
};

struct pn_bench_limit_row;
/* 0, or -errno with err. */
typedef int (*pn_bench_limit_fn)(const struct pn_bench_limit_place *place,
				 const struct pn_bench_limit_row *row, uint64_t operations,
				 struct pn_bench_limit_sample *ret, struct pn_error *err);

struct pn_bench_limit_row {
	const char *name;
	const char *what;
	pn_bench_limit_fn measure;
	unsigned kind;         /* meaning known to `measure` */
	uint64_t size_bytes;   /* what one operation moves; 0 = nothing to count */
	uint64_t operations;   /* in a round */
	bool (*is_here)(void); /* whether this kernel can do it; NULL: every one can */
};

/* tls.c, aead.c, sync.c, ring.c, stream.c: the rows, ended by one without a name. */
extern const struct pn_bench_limit_row pn_bench_limit_tls[];
extern const struct pn_bench_limit_row pn_bench_limit_aead[];
extern const struct pn_bench_limit_row pn_bench_limit_sync[];
extern const struct pn_bench_limit_row pn_bench_limit_ring[];
extern const struct pn_bench_limit_row pn_bench_limit_stream[];

/* A row and what its rounds gave. */
struct pn_bench_limit_result {
	const struct pn_bench_limit_row *row;
	uint64_t operations;
	bool is_absent; /* this kernel cannot do it: no rounds */
	size_t rounds;
	struct pn_bench_limit_sample samples[PN_BENCH_ROUNDS_MAX];
};

/* The middle of cpu_us over the rounds of the row of this name; 0 when it was not measured. */
double pn_bench_limit_cpu_us(const struct pn_bench_limit_result *results, size_t count,
			     const char *name);

/* floors.c: sums of rows below which no server on this machine gets. Prints those whose rows were measured, and adds
 * them to `document` (may be NULL) as "floors". */
void pn_bench_floors_report(const struct pn_bench_limit_result *results, size_t count,
			    json_t *document);
/* Reads figures of the gateway (JSON of the load commands or of a script over them) and prints them beside their
 * floors; into `document` as "gateway". 0, or -errno after saying why. */
int pn_bench_floors_compare(const struct pn_bench_limit_result *results, size_t count,
			    const char *figures_path, json_t *document) PN_MUST_CHECK;

#endif
