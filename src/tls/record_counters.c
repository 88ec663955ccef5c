/* SPDX-License-Identifier: ISC */
/* record_counters.c - on which records the connections are, and why some are not on ours; all threads write
 * here, twice in a connection's life. */
#include <postern/tls/record.h>

static const char *const names[] = {
#define X(name) #name,
	PN_RECORD_COUNTERS(X)
#undef X
};

static pn_counter values[PN_RECORD_COUNTER_COUNT];

static struct pn_counter_block block = {
	.scope = "records",
	.instance = "all",
	.names = names,
	.values = values,
	.count = PN_RECORD_COUNTER_COUNT,
};

void pn_record_counters_register(void)
{
	pn_counters_register(&block);
}

void pn_record_counters_unregister(void)
{
	pn_counters_unregister(&block);
}

uint64_t pn_record_counter_get(enum pn_record_counter counter)
{
	return pn_counter_get(&values[counter]);
}

void pn_record_count(enum pn_record_counter counter)
{
	pn_counter_add_shared(&values[counter], 1);
}

void pn_record_uncount(enum pn_record_counter counter)
{
	pn_counter_sub_shared(&values[counter], 1);
}
