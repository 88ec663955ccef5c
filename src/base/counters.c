/* SPDX-License-Identifier: ISC */
/* counters.c - the registry of counter blocks: one list under one mutex, never touched when
 * counting. */
#include <postern/base/counters.h>

#include <pthread.h>

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pn_list registry = { &registry, &registry };

void pn_counters_register(struct pn_counter_block *block)
{
	pthread_mutex_lock(&registry_lock);
	pn_list_push_back(&registry, &block->node);
	pthread_mutex_unlock(&registry_lock);
}

void pn_counters_unregister(struct pn_counter_block *block)
{
	pthread_mutex_lock(&registry_lock);
	pn_list_remove(&block->node);
	pthread_mutex_unlock(&registry_lock);
}

void pn_counters_for_each(void (*fn)(const struct pn_counter_block *block, void *ctx), void *ctx)
{
	pthread_mutex_lock(&registry_lock);
	PN_LIST_FOR_EACH(it, &registry)
	fn(pn_container_of(it, struct pn_counter_block, node), ctx);
	pthread_mutex_unlock(&registry_lock);
}
