/* SPDX-License-Identifier: ISC */
/*
 * timer_wheel.c - the hierarchical timer wheel.
 *
 * Time is read as digits of 6 bits. A timer is filed by the highest digit in which its expiry
 * differs from now: that digit's place is the level, its value the slot. Therefore every occupied
 * slot lies ahead of now's own digit of that level, and all timers of a level expire before all of
 * the next. Time can jump straight to the first occupied slot; its timers fire (level 0) or are
 * filed again one or more levels lower. Expiries beyond the last digit (2^36 ms ahead, or across
 * that boundary) wait in `far`.
 *
 * Moving now forward without reaching an occupied slot changes no timer's place, which is why the
 * place can be computed again when a timer is cancelled.
 */
#include <postern/base/timer_wheel.h>

#define DIGIT_BITS 6
#define DIGIT_MASK ((uint64_t)PN_TIMER_WHEEL_SLOTS - 1)
#define WHEEL_BITS (DIGIT_BITS * PN_TIMER_WHEEL_LEVELS)

_Static_assert(PN_TIMER_WHEEL_SLOTS == 1 << DIGIT_BITS, "a slot for each value of a digit");

void pn_timer_wheel_init(struct pn_timer_wheel *w, uint64_t now_ms)
{
	w->now_ms = now_ms;
	w->count = 0;
	for (size_t level = 0; level < PN_TIMER_WHEEL_LEVELS; level++) {
		w->occupied[level] = 0;
		for (size_t slot = 0; slot < PN_TIMER_WHEEL_SLOTS; slot++)
			pn_list_init(&w->slots[level][slot]);
	}
	pn_list_init(&w->due);
	pn_list_init(&w->far);
}

void pn_timer_init(struct pn_timer *t, pn_timer_fn fn)
{
	pn_list_init(&t->node);
	t->expires_ms = 0;
	t->fn = fn;
}

/* Which level an expiry ahead of now belongs to; PN_TIMER_WHEEL_LEVELS or more means `far`. */
static size_t level_of(const struct pn_timer_wheel *w, uint64_t expires_ms)
{
	return (size_t)(63 - __builtin_clzll(expires_ms ^ w->now_ms)) / DIGIT_BITS;
}

static size_t slot_of(uint64_t expires_ms, size_t level)
{
	return (size_t)(expires_ms >> (level * DIGIT_BITS) & DIGIT_MASK);
}

static void file_timer(struct pn_timer_wheel *w, struct pn_timer *t)
{
	if (t->expires_ms <= w->now_ms) {
		pn_list_push_back(&w->due, &t->node);
		return;
	}
	size_t level = level_of(w, t->expires_ms);
	if (level >= PN_TIMER_WHEEL_LEVELS) {
		pn_list_push_back(&w->far, &t->node);
		return;
	}
	size_t slot = slot_of(t->expires_ms, level);
	pn_list_push_back(&w->slots[level][slot], &t->node);
	w->occupied[level] |= UINT64_C(1) << slot;
}

void pn_timer_wheel_set(struct pn_timer_wheel *w, struct pn_timer *t, uint64_t expires_ms)
{
	pn_timer_wheel_cancel(w, t);
	t->expires_ms = expires_ms;
	file_timer(w, t);
	w->count++;
}

void pn_timer_wheel_cancel(struct pn_timer_wheel *w, struct pn_timer *t)
{
	if (!pn_timer_is_armed(t))
		return;
	pn_list_remove(&t->node);
	w->count--;
	/* One that is due now is on the list of those about to run, not in a slot. */
	if (t->expires_ms <= w->now_ms)
		return;
	size_t level = level_of(w, t->expires_ms);
	if (level >= PN_TIMER_WHEEL_LEVELS)
		return;
	size_t slot = slot_of(t->expires_ms, level);
	if (pn_list_is_empty(&w->slots[level][slot]))
		w->occupied[level] &= ~(UINT64_C(1) << slot);
}

/* The time at which the first occupied slot begins and where it is; UINT64_MAX when there is none.
 */
static uint64_t first_slot(const struct pn_timer_wheel *w, size_t *ret_level, size_t *ret_slot)
{
	for (size_t level = 0; level < PN_TIMER_WHEEL_LEVELS; level++) {
		if (w->occupied[level] == 0)
			continue;
		size_t slot = (size_t)__builtin_ctzll(w->occupied[level]);
		unsigned shift = (unsigned)(level * DIGIT_BITS);
		*ret_level = level;
		*ret_slot = slot;
		return ((w->now_ms >> shift & ~DIGIT_MASK) | slot) << shift;
	}
	*ret_level = PN_TIMER_WHEEL_LEVELS;
	if (pn_list_is_empty(&w->far) || w->now_ms >> WHEEL_BITS == UINT64_MAX >> WHEEL_BITS)
		return UINT64_MAX;
	return ((w->now_ms >> WHEEL_BITS) + 1) << WHEEL_BITS;
}

static void move_all(struct pn_list *from, struct pn_list *to)
{
	struct pn_list *node;

	while ((node = pn_list_pop_front(from)) != NULL)
		pn_list_push_back(to, node);
}

static size_t run_list(struct pn_timer_wheel *w, struct pn_list *run)
{
	struct pn_list *node;
	size_t count = 0;

	while ((node = pn_list_pop_front(run)) != NULL) {
		struct pn_timer *t = pn_container_of(node, struct pn_timer, node);
		w->count--;
		count++;
		t->fn(t);
	}
	return count;
}

size_t pn_timer_wheel_advance(struct pn_timer_wheel *w, uint64_t now_ms)
{
	struct pn_list run, refile;
	size_t count, level, slot = 0;
	uint64_t event_ms;

	/* Taken off first: what callbacks set into the past runs at the next advance, so this one
	 * ends. */
	pn_list_init(&run);
	move_all(&w->due, &run);
	count = run_list(w, &run);
	while ((event_ms = first_slot(w, &level, &slot)) <= now_ms && event_ms != UINT64_MAX) {
		struct pn_list *from = &w->far;

		if (level < PN_TIMER_WHEEL_LEVELS) {
			from = &w->slots[level][slot];
			w->occupied[level] &= ~(UINT64_C(1) << slot);
		}
		w->now_ms = event_ms;
		pn_list_init(&refile);
		move_all(from, &refile);
		struct pn_list *node;
		while ((node = pn_list_pop_front(&refile)) != NULL) {
			struct pn_timer *t = pn_container_of(node, struct pn_timer, node);
			if (t->expires_ms <= event_ms)
				pn_list_push_back(&run, node);
			else
				file_timer(w, t);
		}
		count += run_list(w, &run);
	}
	if (now_ms > w->now_ms)
		w->now_ms = now_ms;
	return count;
}

uint64_t pn_timer_wheel_next_ms(const struct pn_timer_wheel *w)
{
	size_t level, slot;

	if (!pn_list_is_empty(&w->due))
		return 0;
	uint64_t event_ms = first_slot(w, &level, &slot);
	return event_ms == UINT64_MAX ? UINT64_MAX : event_ms - w->now_ms;
}
