/* SPDX-License-Identifier: ISC */
/*
 * timer_wheel.h - hierarchical timer wheel, 1 ms ticks, O(1) set and cancel, no allocation.
 *
 * Time is a parameter (milliseconds of any monotonic clock). One thread. A timer belongs to its
 * owner and must be cancelled before its memory goes.
 */
#ifndef POSTERN_BASE_TIMER_WHEEL_H
#define POSTERN_BASE_TIMER_WHEEL_H

#include <postern/base/common.h>
#include <postern/base/list.h>

struct pn_timer;
typedef void (*pn_timer_fn)(struct pn_timer *timer);

struct pn_timer {
	struct pn_list node;
	uint64_t expires_ms;
	pn_timer_fn fn;
};

#define PN_TIMER_WHEEL_LEVELS 6
#define PN_TIMER_WHEEL_SLOTS  64

struct pn_timer_wheel {
	uint64_t now_ms;
	uint64_t occupied[PN_TIMER_WHEEL_LEVELS]; /* one bit a slot */
	struct pn_list slots[PN_TIMER_WHEEL_LEVELS][PN_TIMER_WHEEL_SLOTS];
	struct pn_list due; /* set into the past */
	struct pn_list far; /* beyond the last level */
	size_t count;
};

void pn_timer_wheel_init(struct pn_timer_wheel *w, uint64_t now_ms);
/* Makes a timer idle; do this once before the first set. */
void pn_timer_init(struct pn_timer *t, pn_timer_fn fn);
/* (Re)arms `t` to fire at expires_ms (in the past: at the next advance). */
void pn_timer_wheel_set(struct pn_timer_wheel *w, struct pn_timer *t, uint64_t expires_ms);
/* No-op when idle. */
void pn_timer_wheel_cancel(struct pn_timer_wheel *w, struct pn_timer *t);
static inline bool pn_timer_is_armed(const struct pn_timer *t)
{
	return pn_list_is_linked(&t->node);
}
/* Moves time forward and runs what expired; callbacks may set and cancel any timer. Returns how
 * many ran. */
size_t pn_timer_wheel_advance(struct pn_timer_wheel *w, uint64_t now_ms);
/* Milliseconds until the wheel wants to be advanced again; UINT64_MAX when no timer is armed. May
 * be earlier than the next expiry (cascade), never later. */
uint64_t pn_timer_wheel_next_ms(const struct pn_timer_wheel *w);

#endif
