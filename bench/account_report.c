/* SPDX-License-Identifier: ISC */
/* account_report.c - an account's sums as JSON and as rows of the report. */
#include <stdio.h>

#include "account.h"

json_t *pn_bench_account_json(const struct pn_bench_account_sums *a)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			 "sent", (json_int_t)a->sent, "accepted", (json_int_t)a->accepted,
			 "refused", (json_int_t)a->refused, "doubtful", (json_int_t)a->doubtful,
			 "distinct_replies", (json_int_t)a->distinct_replies, "has_sink",
			 a->has_sink, "received", (json_int_t)a->received, "bounced",
			 (json_int_t)a->bounced, "lost", (json_int_t)a->lost, "duplicated",
			 (json_int_t)a->duplicated, "misdirected", (json_int_t)a->misdirected,
			 "unpromised", (json_int_t)a->unpromised, "corrupt",
			 (json_int_t)a->corrupt);
}

void pn_bench_account_print(const struct pn_bench_account_sums *a)
{
	printf("  %-28s %llu accepted (%llu different replies), %llu refused, %llu in doubt\n",
	       "server's word", (unsigned long long)a->accepted,
	       (unsigned long long)a->distinct_replies, (unsigned long long)a->refused,
	       (unsigned long long)a->doubtful);
	if (a->has_sink)
		printf("  %-28s %llu received, %llu bounced, %llu lost, %llu duplicated, %llu "
		       "misdirected, %llu unpromised, %llu changed: %s\n",
		       "at the sink", (unsigned long long)a->received,
		       (unsigned long long)a->bounced, (unsigned long long)a->lost,
		       (unsigned long long)a->duplicated, (unsigned long long)a->misdirected,
		       (unsigned long long)a->unpromised, (unsigned long long)a->corrupt,
		       pn_bench_account_is_clean(a) ? "all accounted for" : "WRONG");
}
