/* SPDX-License-Identifier: ISC */
/* known.c - see known.h: a sorted array and binary search. */
#include "known.h"

#include <stdlib.h>
#include <string.h>

static int known_compare(const void *va, const void *vb)
{
	const struct pn_known_item *a = va, *b = vb;
	int rc = memcmp(a->id.octets, b->id.octets, sizeof(a->id.octets));
	if (rc != 0)
		return rc;
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->index != b->index)
		return a->index < b->index ? -1 : 1;
	return 0;
}

void pn_known_add(struct pn_known *k, const struct pn_known_item *item)
{
	if (k->count == k->capacity) {
		size_t capacity = k->capacity ? k->capacity * 2 : 64;
		struct pn_known_item *items = realloc(k->items, capacity * sizeof(*items));
		if (!items) {
			k->is_incomplete = true;
			return;
		}
		k->items = items;
		k->capacity = capacity;
	}
	k->items[k->count++] = *item;
	k->is_sorted = false;
}

void pn_known_sort(struct pn_known *k)
{
	if (k->count > 0)
		qsort(k->items, k->count, sizeof(*k->items), known_compare);
	k->is_sorted = true;
}

bool pn_known_has(const struct pn_known *k, const struct pn_id *id, uint32_t kind, uint32_t index)
{
	struct pn_known_item key = {.id = *id, .kind = kind, .index = index};
	PN_ASSERT(k->is_sorted || k->count == 0);
	return k->count > 0 && bsearch(&key, k->items, k->count, sizeof(key), known_compare) != NULL;
}

void pn_known_prune(struct pn_known *k)
{
	size_t kept = 0;
	for (size_t i = 0; i < k->count; i++) {
		if (k->items[i].kind != 0)
			k->items[kept++] = k->items[i];
	}
	k->count = kept;
	if (kept == 0) {
		pn_known_deinit(k);
		return;
	}
	struct pn_known_item *items = realloc(k->items, kept * sizeof(*items));
	if (items) {
		k->items = items;
		k->capacity = kept;
	}
}

void pn_known_deinit(struct pn_known *k)
{
	free(k->items);
	*k = (struct pn_known){.is_sorted = true};
}
