/* SPDX-License-Identifier: ISC */
/*
 * arena.c - the bump allocator.
 *
 * The newest ordinary chunk is first in the list and serves small requests; a request that is
 * larger than a chunk gets a chunk of its own behind it, so that it does not waste the room left in
 * the first.
 */
#include <postern/base/arena.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_ALIGN ((size_t)16)

struct pn_arena_chunk {
	struct pn_arena_chunk *next;
	size_t size; /* of the whole allocation */
	size_t used; /* the same count, header included */
	_Alignas(16) uint8_t data[];
};

#define CHUNK_HEAD sizeof(struct pn_arena_chunk)

void pn_arena_init(struct pn_arena *a, size_t chunk_size_bytes, size_t max_bytes)
{
	*a = (struct pn_arena){
		.chunk_size_bytes = pn_max_size(chunk_size_bytes, CHUNK_HEAD + ARENA_ALIGN),
		.max_bytes = max_bytes,
	};
}

static struct pn_arena_chunk *chunk_new(struct pn_arena *a, size_t payload)
{
	size_t left = a->max_bytes - a->used_bytes;
	size_t need = CHUNK_HEAD + payload;

	if (left < need)
		return NULL;
	size_t size = pn_max_size(need, pn_min_size(a->chunk_size_bytes, left));
	struct pn_arena_chunk *chunk = malloc(size);
	if (!chunk)
		return NULL;
	chunk->size = size;
	chunk->used = need;
	a->used_bytes += size;
	if (a->chunks && need > a->chunk_size_bytes) {
		chunk->next = a->chunks->next;
		a->chunks->next = chunk;
	} else {
		chunk->next = a->chunks;
		a->chunks = chunk;
	}
	return chunk;
}

void *pn_arena_alloc(struct pn_arena *a, size_t size)
{
	if (size > a->max_bytes)
		return NULL;
	size = (pn_max_size(size, 1) + ARENA_ALIGN - 1) & ~(ARENA_ALIGN - 1);
	struct pn_arena_chunk *chunk = a->chunks;
	if (chunk && chunk->size - chunk->used >= size) {
		void *ptr = (uint8_t *)chunk + chunk->used;
		chunk->used += size;
		return ptr;
	}
	chunk = chunk_new(a, size);
	return chunk ? chunk->data : NULL;
}

void *pn_arena_zalloc(struct pn_arena *a, size_t size)
{
	void *ptr = pn_arena_alloc(a, size);

	if (ptr)
		memset(ptr, 0, size);
	return ptr;
}

int pn_arena_dup(struct pn_arena *a, struct pn_slice s, struct pn_slice *ret)
{
	if (s.len == SIZE_MAX)
		return -ENOMEM;
	uint8_t *copy = pn_arena_alloc(a, s.len + 1);
	if (!copy)
		return -ENOMEM;
	if (s.len != 0)
		memcpy(copy, s.ptr, s.len);
	copy[s.len] = '\0';
	*ret = pn_slice(copy, s.len);
	return 0;
}

void pn_arena_reset(struct pn_arena *a)
{
	struct pn_arena_chunk *chunk = a->chunks;

	while (chunk) {
		struct pn_arena_chunk *next = chunk->next;
		free(chunk);
		chunk = next;
	}
	a->chunks = NULL;
	a->used_bytes = 0;
}
