/* SPDX-License-Identifier: ISC */
/* base.c - the timer wheel as sessions use it. */
#include <stdlib.h>

#include <postern/base/timer_wheel.h>

#include "micro.h"

#define TIMERS 4096u /* armed at any time: one for each of so many sessions */

enum kind { KIND_REARM, KIND_EXPIRE };

struct wheel {
	struct pn_timer_wheel wheel;
	enum kind kind;
	uint64_t fired;
	struct wheel_timer {
		struct pn_timer timer;
		struct wheel *owner;
	} timers[TIMERS];
};

static uint64_t delay_ms(uint64_t n)
{
	/* 1 ms to 5 minutes, spread without a pattern that the wheel's levels could share. */
	return 1 + n * UINT64_C(2654435761) % 300000;
}

static void on_timer(struct pn_timer *timer)
{
	struct wheel_timer *t = pn_container_of(timer, struct wheel_timer, timer);

	t->owner->fired++;
}

static void *wheel_open(const struct pn_bench_micro *m, const char *dir, struct pn_error *err)
{
	struct wheel *w = calloc(1, sizeof(*w));

	(void)dir;
	if (!w) {
		(void)pn_error_set(err, "out of memory");
		return NULL;
	}
	w->kind = (enum kind)m->kind;
	pn_timer_wheel_init(&w->wheel, 1000);
	for (size_t i = 0; i < TIMERS; i++) {
		w->timers[i].owner = w;
		pn_timer_init(&w->timers[i].timer, on_timer);
		if (w->kind == KIND_REARM)
			pn_timer_wheel_set(&w->wheel, &w->timers[i].timer, 1000 + delay_ms(i));
	}
	return w;
}

static void wheel_close(void *state)
{
	struct wheel *w = state;

	for (size_t i = 0; i < TIMERS; i++)
		pn_timer_wheel_cancel(&w->wheel, &w->timers[i].timer);
	free(w);
}

/* Every command moves its session's timer on: a cancel and a set, and it seldom fires. */
static bool rearm(struct wheel *w, uint64_t iterations)
{
	for (uint64_t i = 0; i < iterations; i++)
		pn_timer_wheel_set(&w->wheel, &w->timers[i % TIMERS].timer,
				   w->wheel.now_ms + delay_ms(i));
	return w->wheel.count == TIMERS;
}

/* Set, carried down through the levels, fired. */
static bool expire(struct wheel *w, uint64_t iterations)
{
	uint64_t before = w->fired;
	uint64_t wanted = 0;

	while (wanted < iterations) {
		size_t count = pn_min_size(TIMERS, (size_t)(iterations - wanted));
		for (size_t i = 0; i < count; i++)
			pn_timer_wheel_set(&w->wheel, &w->timers[i].timer,
					   w->wheel.now_ms + delay_ms(i));
		(void)pn_timer_wheel_advance(&w->wheel, w->wheel.now_ms + 300001);
		wanted += count;
	}
	return w->fired - before == wanted;
}

static bool wheel_run(void *state, uint64_t iterations)
{
	struct wheel *w = state;

	return w->kind == KIND_REARM ? rearm(w, iterations) : expire(w, iterations);
}

const struct pn_bench_micro pn_bench_micro_base[] = {
	{ "timer_rearm", "move one of 4096 timers", wheel_open, wheel_run, wheel_close, 0,
	  KIND_REARM, 0, 0 },
	{ "timer_expire", "set and fire one of 4096 (in rounds of 4096)", wheel_open, wheel_run,
	  wheel_close, 0, KIND_EXPIRE, TIMERS, 0 },
	{ 0 },
};
