/* SPDX-License-Identifier: ISC */
/*
 * id.c - message and session ids.
 *
 * The last 64 bits count up from a random start of each thread: within a thread no value repeats,
 * and two threads or processes meet only if their starts are close and the millisecond and node are
 * the same. A forked child draws a new start.
 */
#include <postern/base/id.h>

#include <pthread.h>
#include <stdatomic.h>

#include <postern/base/prng.h>

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

/* Counts forks; a thread whose copy differs draws a new start. */
static _Atomic uint32_t fork_generation = 1;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static _Thread_local uint64_t next_value;
static _Thread_local uint32_t value_generation;

static void after_fork_in_child(void)
{
	/* relaxed: the child has one thread */
	atomic_fetch_add_explicit(&fork_generation, 1, memory_order_relaxed);
}

static void watch_forks(void)
{
	(void)pthread_atfork(NULL, NULL, after_fork_in_child);
}

static void put_be(uint8_t *out, uint64_t value, size_t octets)
{
	for (size_t i = octets; i > 0; i--) {
		out[i - 1] = (uint8_t)value;
		value >>= 8;
	}
}

struct pn_id pn_id_make(uint16_t node, uint64_t wall_ms)
{
	/* relaxed: only this thread's own fork changes it in a way that matters here */
	uint32_t generation = atomic_load_explicit(&fork_generation, memory_order_relaxed);
	struct pn_id id;

	if (PN_UNLIKELY(value_generation != generation)) {
		pthread_once(&fork_once, watch_forks);
		pn_random_bytes(&next_value, sizeof(next_value));
		value_generation = generation;
	}
	put_be(id.octets, wall_ms, 6);
	put_be(id.octets + 6, node, 2);
	put_be(id.octets + 8, next_value++, 8);
	return id;
}

void pn_id_format(char out[PN_ID_TEXT_LEN + 1], const struct pn_id *id)
{
	uint32_t bits = 0;
	unsigned bit_count = 0;
	size_t at = 0;

	for (size_t i = 0; i < sizeof(id->octets); i++) {
		bits = bits << 8 | id->octets[i];
		bit_count += 8;
		while (bit_count >= 5) {
			bit_count -= 5;
			out[at++] = alphabet[bits >> bit_count & 31];
		}
	}
	out[at++] = alphabet[bits << (5 - bit_count) & 31];
	out[at] = '\0';
}

bool pn_id_parse(struct pn_slice text, struct pn_id *ret)
{
	struct pn_id id = { { 0 } };
	uint32_t bits = 0;
	unsigned bit_count = 0;
	size_t at = 0;

	if (text.len != PN_ID_TEXT_LEN)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];
		uint32_t digit;
		if (c >= 'a' && c <= 'z')
			digit = (uint32_t)(c - 'a');
		else if (c >= '2' && c <= '7')
			digit = (uint32_t)(c - '2') + 26;
		else
			return false;
		bits = bits << 5 | digit;
		bit_count += 5;
		if (bit_count >= 8) {
			bit_count -= 8;
			id.octets[at++] = (uint8_t)(bits >> bit_count);
		}
	}
	/* One id has one text: the unused low bits of the last digit are zero. */
	if ((bits & ((1u << bit_count) - 1)) != 0)
		return false;
	*ret = id;
	return true;
}

uint64_t pn_id_time_ms(const struct pn_id *id)
{
	uint64_t ms = 0;

	for (size_t i = 0; i < 6; i++)
		ms = ms << 8 | id->octets[i];
	return ms;
}
