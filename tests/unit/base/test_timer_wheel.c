/* SPDX-License-Identifier: ISC */
/* test_timer_wheel.c - the timer wheel against a naive model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include <postern/base/prng.h>
#include <postern/base/timer_wheel.h>

#define TIMERS 200

struct model_timer {
	struct pn_timer timer;
	bool is_armed;
	uint64_t expires_ms;
	unsigned fired;
};

static struct pn_timer_wheel wheel;
static struct model_timer timers[TIMERS];
static struct pn_prng prng;
static uint64_t last_fired_expiry, now_ms, target_ms;
static bool is_in_advance;

static uint64_t random_delay(void)
{
	static const uint64_t ranges[] = {
		2, 64, 5000, 60000, 3600000, 86400000, UINT64_C(30) * 86400000, UINT64_C(1) << 37
	};

	return pn_prng_below(&prng, ranges[pn_prng_below(&prng, PN_ARRAY_SIZE(ranges))]);
}

static void arm(struct model_timer *t, uint64_t expires_ms)
{
	pn_timer_wheel_set(&wheel, &t->timer, expires_ms);
	t->is_armed = true;
	t->expires_ms = expires_ms;
}

static void disarm(struct model_timer *t)
{
	pn_timer_wheel_cancel(&wheel, &t->timer);
	t->is_armed = false;
}

static void on_timer(struct pn_timer *timer)
{
	struct model_timer *t = pn_container_of(timer, struct model_timer, timer);

	assert_true(is_in_advance);
	assert_true(t->is_armed);
	assert_false(pn_timer_is_armed(timer));
	assert_true(t->expires_ms <= target_ms);
	/* Those that were already due at the last advance come first, the others in order. */
	if (t->expires_ms > now_ms) {
		assert_true(t->expires_ms >= last_fired_expiry);
		last_fired_expiry = t->expires_ms;
	}
	t->is_armed = false;
	t->fired++;
	struct model_timer *other = &timers[pn_prng_below(&prng, TIMERS)];
	switch (pn_prng_below(&prng, 6)) {
	case 0:
		disarm(other);
		break;
	case 1:
		arm(other, target_ms + 1 + random_delay());
		break;
	case 2:
		arm(t, target_ms + 1 + random_delay());
		break;
	default:
		break;
	}
}

static void start(uint64_t at_ms, uint64_t seed)
{
	now_ms = at_ms;
	pn_prng_init(&prng, seed);
	pn_timer_wheel_init(&wheel, now_ms);
	memset(timers, 0, sizeof(timers));
	for (size_t i = 0; i < TIMERS; i++)
		pn_timer_init(&timers[i].timer, on_timer);
}

static void check_against_model(void)
{
	uint64_t first = UINT64_MAX;
	size_t armed = 0;

	for (size_t i = 0; i < TIMERS; i++) {
		assert_int_equal(pn_timer_is_armed(&timers[i].timer), timers[i].is_armed);
		if (!timers[i].is_armed)
			continue;
		armed++;
		if (timers[i].expires_ms < first)
			first = timers[i].expires_ms;
	}
	assert_int_equal(wheel.count, armed);
	uint64_t next = pn_timer_wheel_next_ms(&wheel);
	if (armed == 0) {
		assert_true(next == UINT64_MAX);
	} else {
		assert_true(next <= (first > now_ms ? first - now_ms : 0));
		if (first > now_ms)
			assert_true(next > 0);
	}
}

static void advance(uint64_t to_ms)
{
	last_fired_expiry = 0;
	target_ms = to_ms;
	is_in_advance = true;
	pn_timer_wheel_advance(&wheel, to_ms);
	is_in_advance = false;
	now_ms = to_ms;
	for (size_t i = 0; i < TIMERS; i++)
		assert_true(!timers[i].is_armed || timers[i].expires_ms > now_ms);
}

static void run_model(uint64_t at_ms, uint64_t seed)
{
	start(at_ms, seed);
	for (int round = 0; round < 3000; round++) {
		struct model_timer *t = &timers[pn_prng_below(&prng, TIMERS)];
		switch (pn_prng_below(&prng, 4)) {
		case 0:
			disarm(t);
			break;
		case 1:
		case 2:
			/* now and then into the past */
			arm(t, pn_prng_below(&prng, 10) == 0 ? now_ms - pn_prng_below(&prng, 100)
							     : now_ms + random_delay());
			break;
		default: {
			uint64_t next = pn_timer_wheel_next_ms(&wheel);
			if (next != UINT64_MAX && pn_prng_below(&prng, 2) == 0)
				advance(now_ms + next);
			else
				advance(now_ms + random_delay());
			break;
		}
		}
		check_against_model();
	}
}

static void test_wheel_agrees_with_a_naive_model(void **state)
{
	static const uint64_t starts[] = { 1000, 64 * 64 - 1, (UINT64_C(1) << 30) - 1,
					   (UINT64_C(1) << 36) - 5000, UINT64_C(1785000000000) };

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(starts); i++) {
		for (uint64_t seed = 1; seed <= 10; seed++)
			run_model(starts[i], seed);
	}
}

static unsigned simple_fired;

static void on_simple(struct pn_timer *t)
{
	(void)t;
	simple_fired++;
}

static void test_wheel_fires_at_the_very_millisecond_across_every_level(void **state)
{
	struct pn_timer t;

	(void)state;
	for (unsigned bits = 0; bits < 40; bits++) {
		for (int around = -1; around <= 1; around++) {
			uint64_t delay = (UINT64_C(1) << bits) + (uint64_t)(int64_t)around;
			uint64_t steps = 0;
			pn_timer_wheel_init(&wheel, 12345);
			pn_timer_init(&t, on_simple);
			simple_fired = 0;
			if (delay == 0)
				continue;
			pn_timer_wheel_set(&wheel, &t, 12345 + delay);
			assert_int_equal(pn_timer_wheel_advance(&wheel, 12345 + delay - 1), 0);
			assert_int_equal(pn_timer_wheel_next_ms(&wheel), 1);
			assert_int_equal(pn_timer_wheel_advance(&wheel, 12345 + delay), 1);
			assert_int_equal(simple_fired, 1);
			/* Followed by next_ms alone, the way is short. */
			pn_timer_wheel_set(&wheel, &t, wheel.now_ms + delay);
			while (pn_timer_is_armed(&t)) {
				pn_timer_wheel_advance(
					&wheel, wheel.now_ms + pn_timer_wheel_next_ms(&wheel));
				assert_true(++steps <= PN_TIMER_WHEEL_LEVELS + (delay >> 36) + 2);
			}
		}
	}
}

static void rearm_now(struct pn_timer *t)
{
	simple_fired++;
	pn_timer_wheel_set(&wheel, t, wheel.now_ms);
}

static void test_wheel_ends_when_a_timer_rearms_itself_at_once(void **state)
{
	struct pn_timer t;

	(void)state;
	pn_timer_wheel_init(&wheel, 100);
	pn_timer_init(&t, rearm_now);
	simple_fired = 0;
	pn_timer_wheel_set(&wheel, &t, 50);
	assert_int_equal(pn_timer_wheel_next_ms(&wheel), 0);
	assert_int_equal(pn_timer_wheel_advance(&wheel, 100), 1);
	assert_int_equal(pn_timer_wheel_advance(&wheel, 100), 1);
	assert_int_equal(simple_fired, 2);
	/* A clock that seems to step back changes nothing. */
	assert_int_equal(pn_timer_wheel_advance(&wheel, 90), 1);
	assert_int_equal(wheel.now_ms, 100);
	pn_timer_wheel_cancel(&wheel, &t);
	pn_timer_wheel_cancel(&wheel, &t);
	assert_int_equal(wheel.count, 0);
}

static void test_wheel_takes_a_timer_that_never_comes(void **state)
{
	struct pn_timer t;

	(void)state;
	pn_timer_wheel_init(&wheel, 100);
	pn_timer_init(&t, on_simple);
	simple_fired = 0;
	pn_timer_wheel_set(&wheel, &t, UINT64_MAX);
	assert_int_equal(pn_timer_wheel_advance(&wheel, 100 + (UINT64_C(1) << 40)), 0);
	assert_true(pn_timer_is_armed(&t));
	pn_timer_wheel_cancel(&wheel, &t);
	assert_true(pn_timer_wheel_next_ms(&wheel) == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wheel_agrees_with_a_naive_model),
		cmocka_unit_test(test_wheel_fires_at_the_very_millisecond_across_every_level),
		cmocka_unit_test(test_wheel_ends_when_a_timer_rearms_itself_at_once),
		cmocka_unit_test(test_wheel_takes_a_timer_that_never_comes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
