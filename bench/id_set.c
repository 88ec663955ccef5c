/* SPDX-License-Identifier: ISC */
/* id_set.c - open addressing, at most half full. */
#include "id_set.h"

#include <stdlib.h>

static struct pn_bench_id_slot *find(const struct pn_bench_id_set *set, struct pn_bench_id id)
{
	uint64_t hash = (id.run ^ ((uint64_t)id.number << 17)) * 0x9e3779b97f4a7c15u;

	for (size_t i = (size_t)(hash >> 20);; i++) {
		struct pn_bench_id_slot *slot = &set->slots[i & (set->size - 1)];
		if (slot->count == 0 || (slot->id.run == id.run && slot->id.number == id.number))
			return slot;
	}
}

static bool grow(struct pn_bench_id_set *set)
{
	struct pn_bench_id_set bigger = { .size = set->size ? set->size * 2 : 1024,
					  .count = set->count };

	bigger.slots = calloc(bigger.size, sizeof(*bigger.slots));
	if (!bigger.slots)
		return false;
	for (size_t i = 0; i < set->size; i++) {
		if (set->slots[i].count > 0)
			*find(&bigger, set->slots[i].id) = set->slots[i];
	}
	free(set->slots);
	*set = bigger;
	return true;
}

uint32_t pn_bench_id_set_add(struct pn_bench_id_set *set, struct pn_bench_id id)
{
	if (set->count * 2 >= set->size && !grow(set))
		return 0;
	struct pn_bench_id_slot *slot = find(set, id);
	if (slot->count == 0) {
		slot->id = id;
		set->count++;
	}
	return ++slot->count;
}

void pn_bench_id_set_free(struct pn_bench_id_set *set)
{
	free(set->slots);
	*set = (struct pn_bench_id_set){ .slots = NULL };
}
