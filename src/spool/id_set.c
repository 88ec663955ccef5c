/* SPDX-License-Identifier: ISC */
/* id_set.c - see id_set.h. Open addressing, linear probing, at most three quarters full; slots name a place in
 * a dense array. */
#include "spool/id_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct id_item {
	struct pn_id id;
	uint32_t value;
};

struct pn_id_set {
	struct id_item *items;
	uint32_t *slots; /* index + 1 of an item; 0: empty */
	uint32_t count;
	uint32_t capacity; /* of slots, a power of two; items has three quarters of it */
};

/* FNV-1a: the ids come from our own disk, nobody chooses them to collide. */
static uint32_t hash(const struct pn_id *id)
{
	uint64_t h = 0xcbf29ce484222325u;
	for (size_t i = 0; i < sizeof(id->octets); i++)
		h = (h ^ id->octets[i]) * 0x100000001b3u;
	return (uint32_t)(h ^ h >> 32);
}

struct pn_id_set *pn_id_set_new(void)
{
	return calloc(1, sizeof(struct pn_id_set));
}

void pn_id_set_free(struct pn_id_set *s)
{
	if (!s)
		return;
	free(s->items);
	free(s->slots);
	free(s);
}

/* The slot of the id, or the empty one where it belongs. */
static uint32_t *find_slot(const struct pn_id_set *s, const struct pn_id *id)
{
	uint32_t mask = s->capacity - 1;
	uint32_t at = hash(id) & mask;
	while (s->slots[at] != 0 && !pn_id_eq(&s->items[s->slots[at] - 1].id, id))
		at = (at + 1) & mask;
	return &s->slots[at];
}

static int grow(struct pn_id_set *s)
{
	uint32_t capacity = s->capacity ? s->capacity * 2 : 1024;
	if (capacity > UINT32_C(1) << 30)
		return -ENOMEM;
	struct id_item *items = realloc(s->items, (size_t)capacity / 4 * 3 * sizeof(*items));
	if (!items)
		return -ENOMEM;
	s->items = items;
	uint32_t *slots = calloc(capacity, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	free(s->slots);
	s->slots = slots;
	s->capacity = capacity;
	for (uint32_t i = 0; i < s->count; i++)
		*find_slot(s, &s->items[i].id) = i + 1;
	return 0;
}

int pn_id_set_add(struct pn_id_set *s, const struct pn_id *id, uint32_t value, uint32_t *ret_value)
{
	if (s->count == s->capacity / 4 * 3) {
		int err = grow(s);
		if (err < 0)
			return err;
	}
	uint32_t *slot = find_slot(s, id);
	if (*slot != 0) {
		*ret_value = s->items[*slot - 1].value;
		return 0;
	}
	s->items[s->count] = (struct id_item){ .id = *id, .value = value };
	*slot = ++s->count;
	*ret_value = value;
	return 1;
}

bool pn_id_set_find(const struct pn_id_set *s, const struct pn_id *id, uint32_t *ret_value)
{
	if (s->capacity == 0)
		return false;
	uint32_t slot = *find_slot(s, id);
	if (slot != 0)
		*ret_value = s->items[slot - 1].value;
	return slot != 0;
}
