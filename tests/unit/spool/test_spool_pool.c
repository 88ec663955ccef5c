/* SPDX-License-Identifier: ISC */
/* Blocks out of chunks: where they lie, which is taken next, what goes back to the kernel, two threads. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <postern/base/prng.h>

#include "spool/pool.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define IS_POISONED(at) (__asan_address_is_poisoned(at) != 0)
#else
#define IS_POISONED(at) ((void)(at), true)
#endif

/* The first of a chunk is its head. */
#define PER_CHUNK (PN_POOL_CHUNK_BYTES / PN_POOL_BLOCK_BYTES - 1)
#define CHUNKS    5u

static uintptr_t chunk_of(const void *block)
{
	return (uintptr_t)block / PN_POOL_CHUNK_BYTES;
}

/* Nothing may have mapped memory since. */
static bool is_mapped(const void *block)
{
	void *at = (void *)(chunk_of(block) * PN_POOL_CHUNK_BYTES);
	if (msync(at, PN_POOL_CHUNK_BYTES, MS_ASYNC) == 0)
		return true;
	assert_int_equal(errno, ENOMEM);
	return false;
}

static void take_many(struct pn_pool *p, uint8_t **blocks, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		blocks[i] = pn_pool_take(p);
		assert_non_null(blocks[i]);
		assert_int_equal((uintptr_t)blocks[i] % PN_POOL_BLOCK_BYTES, 0);
	}
}

static void give_many(struct pn_pool *p, uint8_t **blocks, size_t count)
{
	for (size_t i = 0; i < count; i++)
		pn_pool_give(p, blocks[i]);
}

static void test_blocks_are_distinct_and_writable(void **state)
{
	static uint8_t want[PN_POOL_BLOCK_BYTES];
	uint8_t *blocks[PER_CHUNK + 1];
	struct pn_pool p;
	(void)state;
	pn_pool_init(&p, 0);
	assert_int_equal(p.chunks, 0);
	take_many(&p, blocks, PER_CHUNK);
	assert_int_equal(p.chunks, 1);
	assert_int_equal(p.spare, 0);
	assert_true(pn_list_is_empty(&p.partial));
	for (size_t i = 0; i < PER_CHUNK; i++) {
		assert_true(chunk_of(blocks[i]) == chunk_of(blocks[0]));
		for (size_t k = 0; k < i; k++)
			assert_ptr_not_equal(blocks[i], blocks[k]);
		memset(blocks[i], (int)(i + 1), PN_POOL_BLOCK_BYTES);
	}
	/* One more is of another chunk; writing it touches none of the others. */
	take_many(&p, &blocks[PER_CHUNK], 1);
	assert_true(chunk_of(blocks[PER_CHUNK]) != chunk_of(blocks[0]));
	assert_int_equal(p.chunks, 2);
	memset(blocks[PER_CHUNK], (int)(PER_CHUNK + 1), PN_POOL_BLOCK_BYTES);
	for (size_t i = 0; i <= PER_CHUNK; i++) {
		memset(want, (int)(i + 1), sizeof(want));
		assert_memory_equal(blocks[i], want, sizeof(want));
	}
	give_many(&p, blocks, PER_CHUNK + 1);
	pn_pool_deinit(&p);
}

static void test_what_was_given_is_taken_again(void **state)
{
	uint8_t *blocks[2 * PER_CHUNK], *again[2 * PER_CHUNK];
	struct pn_pool p;
	(void)state;
	pn_pool_init(&p, 2 * PN_POOL_CHUNK_BYTES);
	take_many(&p, blocks, 2 * PER_CHUNK);
	pn_pool_give(&p, blocks[7]);
	assert_true(IS_POISONED(blocks[7]));
	assert_ptr_equal(pn_pool_take(&p), blocks[7]);
	blocks[7][0] = blocks[7][PN_POOL_BLOCK_BYTES - 1] = 1;
	/* Of two chunks the one in use is filled up first, so that the other can go. */
	give_many(&p, blocks + PER_CHUNK, PER_CHUNK);
	assert_int_equal(p.spare, 1);
	pn_pool_give(&p, blocks[3]);
	assert_ptr_equal(pn_pool_take(&p), blocks[3]);
	assert_int_equal(p.spare, 1);
	/* All of them come back out of the same two. */
	give_many(&p, blocks, PER_CHUNK);
	assert_int_equal(p.spare, 2);
	uintptr_t chunks[2] = { chunk_of(blocks[0]), chunk_of(blocks[PER_CHUNK]) };
	take_many(&p, again, 2 * PER_CHUNK);
	assert_int_equal(p.chunks, 2);
	assert_int_equal(p.spare, 0);
	for (size_t i = 0; i < 2 * PER_CHUNK; i++) {
		assert_true(chunk_of(again[i]) == chunks[0] || chunk_of(again[i]) == chunks[1]);
		again[i][100] = (uint8_t)i;
	}
	give_many(&p, again, 2 * PER_CHUNK);
	pn_pool_deinit(&p);
}

/* With room for `kept` chunks: takes CHUNKS full, gives all back. */
static void spare_case(uint64_t spare_max_bytes, size_t kept)
{
	uint8_t *blocks[CHUNKS * PER_CHUNK];
	struct pn_pool p;
	pn_pool_init(&p, spare_max_bytes);
	take_many(&p, blocks, CHUNKS * PER_CHUNK);
	assert_int_equal(p.chunks, CHUNKS);
	for (size_t c = 0; c < CHUNKS; c++) {
		uint8_t **of = blocks + c * PER_CHUNK;
		give_many(&p, of, PER_CHUNK - 1);
		assert_true(is_mapped(of[0]));
		assert_int_equal(p.spare, c < kept ? c : kept);
		pn_pool_give(&p, of[PER_CHUNK - 1]);
		assert_int_equal(is_mapped(of[0]), c < kept);
		assert_int_equal(p.spare, c < kept ? c + 1 : kept);
		assert_int_equal(p.chunks, c < kept ? CHUNKS : CHUNKS - (c + 1 - kept));
	}
	assert_int_equal(p.chunks, kept);
	pn_pool_deinit(&p);
	for (size_t c = 0; c < CHUNKS; c++)
		assert_false(is_mapped(blocks[c * PER_CHUNK]));
}

static void test_spare_chunks_go_back(void **state)
{
	(void)state;
	spare_case(0, 1);
	spare_case(PN_POOL_CHUNK_BYTES - 1, 1);
	spare_case(PN_POOL_CHUNK_BYTES, 2);
	spare_case(2 * PN_POOL_CHUNK_BYTES + 5, 3);
}

/* Only what was spare all the time goes, a few at a time. */
static void test_chunks_that_nobody_needs_are_trimmed(void **state)
{
	enum { MANY = PN_POOL_TRIM_CHUNKS + 3 };
	static uint8_t *blocks[MANY * PER_CHUNK];
	struct pn_pool p;
	uint64_t now = 5000;
	(void)state;
	pn_pool_init(&p, MANY * (uint64_t)PN_POOL_CHUNK_BYTES);
	assert_false(pn_pool_trim(&p, now));
	take_many(&p, blocks, MANY * PER_CHUNK);
	assert_true(pn_pool_trim(&p, now += PN_POOL_TRIM_MS));
	give_many(&p, blocks, MANY * PER_CHUNK);
	/* They were in use in this time. */
	assert_true(pn_pool_trim(&p, now += PN_POOL_TRIM_MS));
	assert_int_equal(p.spare, MANY);
	/* All but two are needed once more. */
	take_many(&p, blocks, (MANY - 2) * PER_CHUNK);
	give_many(&p, blocks, (MANY - 2) * PER_CHUNK);
	assert_true(pn_pool_trim(&p, now + PN_POOL_TRIM_MS - 1));
	assert_int_equal(p.spare, MANY);
	assert_true(pn_pool_trim(&p, now += PN_POOL_TRIM_MS));
	assert_int_equal(p.spare, MANY - 2);
	assert_int_equal(p.chunks, MANY - 2);
	/* Another loop is a little behind. */
	assert_true(pn_pool_trim(&p, now - 1));
	assert_int_equal(p.chunks, MANY - 2);
	/* One in use stays, and so does what is in it. */
	uint8_t *kept = pn_pool_take(&p);
	assert_non_null(kept);
	memset(kept, 7, PN_POOL_BLOCK_BYTES);
	assert_true(pn_pool_trim(&p, now += PN_POOL_TRIM_MS));
	assert_int_equal(p.chunks, MANY - 2 - PN_POOL_TRIM_CHUNKS);
	for (int i = 0; i < 3; i++)
		assert_true(pn_pool_trim(&p, now += PN_POOL_TRIM_MS));
	assert_int_equal(p.chunks, 1);
	assert_int_equal(p.spare, 0);
	assert_int_equal(kept[PN_POOL_BLOCK_BYTES - 1], 7);
	pn_pool_give(&p, kept);
	assert_true(pn_pool_trim(&p, now += PN_POOL_TRIM_MS));
	assert_false(pn_pool_trim(&p, now + PN_POOL_TRIM_MS));
	assert_int_equal(p.chunks, 0);
	assert_false(is_mapped(kept));
	pn_pool_deinit(&p);
}

/* ---- against a model ---- */

static void test_random_order(void **state)
{
	static uint8_t *held[6 * PER_CHUNK];
	size_t count = 0;
	struct pn_prng r;
	struct pn_pool p;
	(void)state;
	pn_prng_init(&r, 4711);
	pn_pool_init(&p, PN_POOL_CHUNK_BYTES);
	for (size_t step = 0; step < 20000; step++) {
		/* Swells and shrinks. */
		bool takes = pn_prng_below(&r, 8) < (step / 1500 % 2 == 0 ? 5u : 3u);
		if (takes && count < PN_ARRAY_SIZE(held)) {
			uint8_t *block = pn_pool_take(&p);
			assert_non_null(block);
			memcpy(block, &block, sizeof(block));
			memcpy(block + PN_POOL_BLOCK_BYTES - sizeof(block), &block, sizeof(block));
			held[count++] = block;
		} else if (!takes && count > 0) {
			size_t at = (size_t)pn_prng_below(&r, count);
			uint8_t *block = held[at];
			/* Handed to two, it would say so. */
			assert_memory_equal(block, &block, sizeof(block));
			assert_memory_equal(block + PN_POOL_BLOCK_BYTES - sizeof(block), &block,
					    sizeof(block));
			memset(block, 0, 64);
			held[at] = held[--count];
			pn_pool_give(&p, block);
		}
		assert_true(p.spare <= p.spare_max && p.spare <= p.chunks);
		assert_true((p.chunks - p.spare) * PER_CHUNK >= count);
	}
	give_many(&p, held, count);
	assert_true(p.chunks == p.spare);
	pn_pool_deinit(&p);
}

/* ---- two threads ---- */

#define RING   (3 * PER_CHUNK)
#define ROUNDS 20000u

struct ring {
	struct pn_pool pool;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint8_t *blocks[RING];
	size_t begin, end;
	bool is_failed;
};

static void ring_put(struct ring *r, uint8_t *block)
{
	pthread_mutex_lock(&r->lock);
	while (r->end - r->begin == RING)
		pthread_cond_wait(&r->changed, &r->lock);
	r->blocks[r->end++ % RING] = block;
	pthread_cond_signal(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

static uint8_t *ring_get(struct ring *r)
{
	pthread_mutex_lock(&r->lock);
	while (r->begin == r->end)
		pthread_cond_wait(&r->changed, &r->lock);
	uint8_t *block = r->blocks[r->begin++ % RING];
	pthread_cond_signal(&r->changed);
	pthread_mutex_unlock(&r->lock);
	return block;
}

static void *giver(void *ctx)
{
	struct ring *r = ctx;
	for (uint32_t i = 0; i < ROUNDS; i++) {
		uint8_t *block = ring_get(r);
		uint32_t number;
		memcpy(&number, block, sizeof(number));
		r->is_failed |= number != i || block[PN_POOL_BLOCK_BYTES - 1] != (uint8_t)i;
		pn_pool_give(&r->pool, block);
	}
	return NULL;
}

static void test_one_takes_and_one_gives(void **state)
{
	struct ring r = { .begin = 0 };
	pthread_t thread;
	(void)state;
	pn_pool_init(&r.pool, 0);
	pthread_mutex_init(&r.lock, NULL);
	pthread_cond_init(&r.changed, NULL);
	assert_int_equal(pthread_create(&thread, NULL, giver, &r), 0);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		uint8_t *block = pn_pool_take(&r.pool);
		assert_non_null(block);
		memcpy(block, &i, sizeof(i));
		block[PN_POOL_BLOCK_BYTES - 1] = (uint8_t)i;
		ring_put(&r, block);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_false(r.is_failed);
	/* As spare_max says. */
	assert_int_equal(r.pool.chunks, 1);
	assert_int_equal(r.pool.spare, 1);
	pn_pool_deinit(&r.pool);
	pthread_cond_destroy(&r.changed);
	pthread_mutex_destroy(&r.lock);
}

/* ---- misuse ---- */

static void leaves_one_out(struct pn_pool *p)
{
	pn_pool_take(p);
	pn_pool_deinit(p);
}

static void gives_twice(struct pn_pool *p)
{
	void *other = pn_pool_take(p);
	void *block = pn_pool_take(p);
	pn_pool_give(p, block);
	pn_pool_give(p, block);
	pn_pool_give(p, other);
}

static void expect_abort(void (*misuse)(struct pn_pool *p))
{
	int status;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct rlimit none = { 0, 0 };
		struct pn_pool p;
		setrlimit(RLIMIT_CORE, &none);
		/* What it says of it belongs there. */
		close(STDERR_FILENO);
		pn_pool_init(&p, 0);
		misuse(&p);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void test_misuse_is_noticed(void **state)
{
	(void)state;
	expect_abort(leaves_one_out);
	expect_abort(gives_twice);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_misuse_is_noticed),
		cmocka_unit_test(test_blocks_are_distinct_and_writable),
		cmocka_unit_test(test_what_was_given_is_taken_again),
		cmocka_unit_test(test_spare_chunks_go_back),
		cmocka_unit_test(test_chunks_that_nobody_needs_are_trimmed),
		cmocka_unit_test(test_random_order),
		cmocka_unit_test(test_one_takes_and_one_gives),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
