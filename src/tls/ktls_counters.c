/* SPDX-License-Identifier: ISC */
/* ktls_counters.c - what became of the connections that might have moved; all threads write here,
 * a few times in a connection's life. */
#include "tls/ktls.h"

#include <errno.h>
#include <stdio.h>

static const char *const names[] = {
#define X(name) #name,
	PN_KTLS_COUNTERS(X)
#undef X
};

static pn_counter values[PN_KTLS_COUNTER_COUNT];

static struct pn_counter_block block = {
	.scope = "ktls",
	.instance = "all",
	.names = names,
	.values = values,
	.count = PN_KTLS_COUNTER_COUNT,
};

void pn_ktls_counters_register(void)
{
	pn_counters_register(&block);
}

void pn_ktls_counters_unregister(void)
{
	pn_counters_unregister(&block);
}

uint64_t pn_ktls_counter_get(enum pn_ktls_counter counter)
{
	return pn_counter_get(&values[counter]);
}

void pn_ktls_count(enum pn_ktls_counter counter)
{
	pn_counter_add_shared(&values[counter], 1);
}

void pn_ktls_uncount(enum pn_ktls_counter counter)
{
	pn_counter_sub_shared(&values[counter], 1);
}

void pn_ktls_count_not_moved(int error)
{
	switch (-error) {
	case ENOENT:
	case ENOPROTOOPT:
		pn_ktls_count(PN_KTLS_C_not_moved_no_ulp);
		break;
	case ENOTCONN:
		pn_ktls_count(PN_KTLS_C_not_moved_not_connected);
		break;
	case ENOMEM:
	case ENOBUFS:
		pn_ktls_count(PN_KTLS_C_not_moved_memory);
		break;
	case EBUSY:
	case EEXIST:
		pn_ktls_count(PN_KTLS_C_not_moved_busy);
		break;
	default:
		pn_ktls_count(PN_KTLS_C_not_moved_other);
		break;
	}
}
