/* SPDX-License-Identifier: ISC */
/* negotiated.c - see negotiated.h. */
#include "negotiated.h"

#include <stdio.h>
#include <string.h>

static bool is_same(const struct pn_tls_facts *a, const struct pn_tls_facts *b)
{
	return a->version == b->version && a->suite_id == b->suite_id &&
	       a->is_resumed == b->is_resumed && strcmp(a->group, b->group) == 0 &&
	       strcmp(a->signature, b->signature) == 0;
}

void pn_bench_negotiated_add(struct pn_bench_negotiated *n, const struct pn_tls_facts *facts)
{
	size_t i = 0;

	if (facts->is_resumed)
		n->resumed++;
	else
		n->full++;
	while (i < n->row_count && !is_same(&n->rows[i].facts, facts))
		i++;
	if (i == PN_BENCH_NEGOTIATED_MAX)
		return;
	if (i == n->row_count) {
		n->rows[n->row_count++].facts = *facts;
		n->rows[i].count = 0;
	}
	n->rows[i].count++;
}

json_t *pn_bench_negotiated_json(const struct pn_bench_negotiated *n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n->row_count; i++) {
		const struct pn_tls_facts *f = &n->rows[i].facts;
		(void)json_array_append_new(
			list,
			json_pack("{s:i, s:s, s:s, s:s, s:b, s:I}", "version", f->version, "suite",
				  f->suite, "group", f->group, "signature", f->signature, "resumed",
				  f->is_resumed, "count", (json_int_t)n->rows[i].count));
	}
	return list;
}

void pn_bench_negotiated_print(const struct pn_bench_negotiated *n)
{
	for (size_t i = 0; i < n->row_count; i++) {
		const struct pn_tls_facts *f = &n->rows[i].facts;
		printf("  %-28s %s, %s %s%s%s: %llu\n", i == 0 ? "TLS" : "",
		       f->version == 0x0304 ? "1.3" : "1.2", f->suite, f->group,
		       f->is_resumed ? ", resumed" : ", ", f->signature,
		       (unsigned long long)n->rows[i].count);
	}
}
