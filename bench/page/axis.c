/* SPDX-License-Identifier: ISC */
/* axis.c - ticks and places on an axis. */
#include <math.h>
#include <stdio.h>

#include "chart.h"

#define LINEAR_TICKS 5.0

void pn_bench_number_label(double value, char out[24])
{
	static const struct {
		double from;
		const char *suffix;
	} units[] = { { 1e9, "G" }, { 1e6, "M" }, { 1e4, "k" } };
	double size = fabs(value);

	for (size_t i = 0; i < PN_ARRAY_SIZE(units); i++) {
		if (size >= units[i].from * (1 - 1e-9)) {
			double unit = units[i].from > 1e4 ? units[i].from : 1e3;
			(void)snprintf(out, 24, "%.4g%s", value / unit, units[i].suffix);
			return;
		}
	}
	(void)snprintf(out, 24, "%.4g", size < 1e-12 ? 0 : value);
}

static void add_tick(struct pn_bench_axis *axis, double at)
{
	if (axis->tick_count == PN_BENCH_TICKS_MAX)
		return;
	struct pn_bench_tick *tick = &axis->ticks[axis->tick_count++];
	tick->at = at;
	pn_bench_number_label(at, tick->label);
}

static void fit_linear(struct pn_bench_axis *axis)
{
	if (!(axis->max > axis->min))
		axis->max = axis->min + (axis->min != 0 ? fabs(axis->min) : 1);
	double raw = (axis->max - axis->min) / LINEAR_TICKS;
	double power = pow(10, floor(log10(raw)));
	double step = raw <= power * (1 + 1e-9) ? power
		      : raw <= 2 * power        ? 2 * power
		      : raw <= 5 * power        ? 5 * power
						: 10 * power;
	double first = floor(axis->min / step + 1e-9);
	double last = ceil(axis->max / step - 1e-9);

	axis->min = first * step;
	axis->max = last * step;
	for (double n = first; n <= last + 0.5; n++)
		add_tick(axis, n * step);
}

static void fit_log(struct pn_bench_axis *axis)
{
	if (!(axis->max > axis->min))
		axis->max = axis->min * 1.01;
	double first = floor(log10(axis->min) + 1e-9);
	double last = ceil(log10(axis->max) - 1e-9);
	/* Few decades have room for 2 and 5 as well. */
	bool is_fine = last - first <= 3;

	axis->min = pow(10, first);
	axis->max = pow(10, last);
	for (double n = first; n <= last + 0.5; n++) {
		double decade = pow(10, n);
		add_tick(axis, decade);
		if (is_fine && n < last - 0.5) {
			add_tick(axis, 2 * decade);
			add_tick(axis, 5 * decade);
		}
	}
}

void pn_bench_axis_fit(struct pn_bench_axis *axis)
{
	axis->tick_count = 0;
	if (axis->is_log)
		fit_log(axis);
	else
		fit_linear(axis);
}

double pn_bench_axis_place(const struct pn_bench_axis *axis, double value)
{
	double place;

	if (axis->is_log)
		place = value > 0 ? log(value / axis->min) / log(axis->max / axis->min) : 0;
	else
		place = (value - axis->min) / (axis->max - axis->min);
	return place < 0 ? 0 : place > 1 ? 1 : place;
}
