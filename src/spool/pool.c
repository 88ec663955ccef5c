/* SPDX-License-Identifier: ISC */
/*
 * pool.c - see pool.h. A chunk lies at a multiple of its size, so that a block finds it; its first block is its head.
 * The blocks given back last are taken first, and chunks that are in use before those that are not.
 */
#include "spool/pool.h"

#include <string.h>
#include <sys/mman.h>

#if defined(__has_feature) /* clang */
#if __has_feature(address_sanitizer)
#define POOL_POISONS 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define POOL_POISONS 1
#endif
#ifdef POOL_POISONS
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, len)   ((void)(at), (void)(len))
#define ASAN_UNPOISON_MEMORY_REGION(at, len) ((void)(at), (void)(len))
#endif

#define BLOCKS   (PN_POOL_CHUNK_BYTES / PN_POOL_BLOCK_BYTES - 1)
#define ALL_FREE ((UINT32_C(1) << BLOCKS) - 1)

struct chunk {
	struct pn_list node; /* of pool->partial, unless no block is free */
	uint32_t free;       /* one bit for each block */
};

_Static_assert(BLOCKS < 32, "free is a word");

static void *block_at(struct chunk *c, unsigned index)
{
	return (uint8_t *)c + (size_t)(index + 1) * PN_POOL_BLOCK_BYTES;
}

static struct chunk *chunk_new(void)
{
	/* Twice as much, to cut an aligned one out of it. */
	size_t len = 2 * (size_t)PN_POOL_CHUNK_BYTES;
	uint8_t *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return NULL;
	size_t before = (size_t)((0 - (uintptr_t)map) % PN_POOL_CHUNK_BYTES);
	uint8_t *at = map + before;
	if (before > 0)
		munmap(map, before);
	munmap(at + PN_POOL_CHUNK_BYTES, len - before - PN_POOL_CHUNK_BYTES);
	/* Where there are none, small pages do. */
	(void)madvise(at, PN_POOL_CHUNK_BYTES, MADV_HUGEPAGE);
	struct chunk *c = (void *)at;
	c->free = ALL_FREE;
	ASAN_POISON_MEMORY_REGION(block_at(c, 0), (size_t)BLOCKS * PN_POOL_BLOCK_BYTES);
	return c;
}

static void chunk_free(struct chunk *c)
{
	ASAN_UNPOISON_MEMORY_REGION(c, PN_POOL_CHUNK_BYTES);
	munmap(c, PN_POOL_CHUNK_BYTES);
}

void pn_pool_init(struct pn_pool *p, uint64_t spare_max_bytes)
{
	memset(p, 0, sizeof(*p));
	pthread_mutex_init(&p->lock, NULL);
	pn_list_init(&p->partial);
	p->spare_max = (size_t)(spare_max_bytes / PN_POOL_CHUNK_BYTES) + 1;
}

void pn_pool_deinit(struct pn_pool *p)
{
	struct pn_list *node;
	PN_ASSERT(p->chunks == p->spare);
	while ((node = pn_list_pop_front(&p->partial)) != NULL)
		chunk_free(pn_container_of(node, struct chunk, node));
	pthread_mutex_destroy(&p->lock);
}

static void *take_locked(struct pn_pool *p)
{
	struct chunk *c = pn_container_of(p->partial.next, struct chunk, node);
	unsigned index = (unsigned)__builtin_ctz(c->free);
	if (c->free == ALL_FREE)
		p->spare--;
	if (p->spare < p->spare_least)
		p->spare_least = p->spare;
	c->free &= c->free - 1;
	if (c->free == 0)
		pn_list_remove(&c->node);
	return block_at(c, index);
}

void *pn_pool_take(struct pn_pool *p)
{
	pthread_mutex_lock(&p->lock);
	if (pn_list_is_empty(&p->partial)) {
		/* A huge page has to be found and filled with zeros: nobody waits for that but who needs it. */
		pthread_mutex_unlock(&p->lock);
		struct chunk *fresh = chunk_new();
		if (!fresh)
			return NULL;
		pthread_mutex_lock(&p->lock);
		pn_list_push_back(&p->partial, &fresh->node);
		p->chunks++;
		p->spare++;
	}
	void *block = take_locked(p);
	pthread_mutex_unlock(&p->lock);
	ASAN_UNPOISON_MEMORY_REGION(block, PN_POOL_BLOCK_BYTES);
	return block;
}

void pn_pool_give(struct pn_pool *p, void *block)
{
	struct chunk *gone = NULL;
	struct chunk *c = (void *)((uint8_t *)block - (uintptr_t)block % PN_POOL_CHUNK_BYTES);
	size_t offset = (size_t)((uint8_t *)block - (uint8_t *)c);
	uint32_t bit = UINT32_C(1) << (offset / PN_POOL_BLOCK_BYTES - 1);

	ASAN_POISON_MEMORY_REGION(block, PN_POOL_BLOCK_BYTES);
	pthread_mutex_lock(&p->lock);
	PN_ASSERT((c->free & bit) == 0);
	if (c->free != 0)
		pn_list_remove(&c->node);
	c->free |= bit;
	if (c->free != ALL_FREE) {
		pn_list_push_front(&p->partial, &c->node);
	} else if (p->spare < p->spare_max) {
		p->spare++;
		pn_list_push_back(&p->partial, &c->node);
	} else {
		p->chunks--;
		gone = c;
	}
	pthread_mutex_unlock(&p->lock);
	if (gone)
		chunk_free(gone);
}

bool pn_pool_trim(struct pn_pool *p, uint64_t now_ms)
{
	struct pn_list gone, *node;

	pn_list_init(&gone);
	pthread_mutex_lock(&p->lock);
	/* Each loop has its own idea of now, milliseconds apart. */
	if (now_ms >= p->trimmed_ms + PN_POOL_TRIM_MS) {
		/* Clearing one again costs what many messages do, and freeing all at once would hold up the loop. */
		for (size_t n = pn_min_size(p->spare_least, PN_POOL_TRIM_CHUNKS); n > 0; n--) {
			node = p->partial.prev;
			pn_list_remove(node);
			pn_list_push_back(&gone, node);
			p->spare--;
			p->chunks--;
		}
		p->spare_least = p->spare;
		p->trimmed_ms = now_ms;
	}
	bool has_more = p->chunks > 0;
	pthread_mutex_unlock(&p->lock);
	while ((node = pn_list_pop_front(&gone)) != NULL)
		chunk_free(pn_container_of(node, struct chunk, node));
	return has_more;
}
