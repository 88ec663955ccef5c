/* SPDX-License-Identifier: ISC */
/*
 * chart.h - charts as inline SVG: lines over an axis, and horizontal bars. Each is a figure with a title, a text that
 * says what it shows, a legend outside of the drawing, and its numbers as a table to unfold.
 */
#ifndef PN_BENCH_CHART_H
#define PN_BENCH_CHART_H

#include <stdio.h>

#include <postern/base/common.h>

#define PN_BENCH_COLOURS 8 /* classes c0 to c7 of the style sheet; the dashes differ after a turn */

struct pn_bench_tick {
	double at;
	char label[24];
};
#define PN_BENCH_TICKS_MAX 24

struct pn_bench_axis {
	const char *label; /* with its unit */
	double min, max;
	bool is_log;
	size_t tick_count;
	struct pn_bench_tick ticks[PN_BENCH_TICKS_MAX];
};

/* Chooses ticks that people count in (1, 2, 5), and widens min and max to the outer ones. On a log axis min and max
 * are > 0. */
void pn_bench_axis_fit(struct pn_bench_axis *axis);
/* Where a value lies, from 0 at min to 1 at max, cut there. */
double pn_bench_axis_place(const struct pn_bench_axis *axis, double value);
/* "1.5M", "20k", "0.25". */
void pn_bench_number_label(double value, char out[24]);

struct pn_bench_series {
	const char *name;
	unsigned colour; /* the run's: the same in every chart */
	size_t count;
	double *x, *y;
};

struct pn_bench_lines {
	const char *id; /* unique in the page */
	const char *title, *what;
	struct pn_bench_axis x, y; /* fitted */
	const struct pn_bench_series *series;
	size_t count;
	const char *note; /* stands below, "" = nothing */
};

void pn_bench_lines_write(FILE *out, const struct pn_bench_lines *chart);

#define PN_BENCH_PARTS_MAX 3

struct pn_bench_bar {
	const char *name;
	unsigned colour;
	double parts
		[PN_BENCH_PARTS_MAX]; /* one after the other; the second is drawn lighter, the third grey */
};

struct pn_bench_mark {
	const char *name;
	double at;
};

struct pn_bench_bars {
	const char *id;
	const char *title, *what;
	const char *axis_label;
	const char *part_names[PN_BENCH_PARTS_MAX]; /* NULL: no more parts */
	int digits;                                 /* of the numbers beside the bars */
	const struct pn_bench_bar *bars;
	size_t count;
	const struct pn_bench_mark *marks; /* upright lines */
	size_t mark_count;
	const char *note; /* stands below, "" = nothing */
};

void pn_bench_bars_write(FILE *out, const struct pn_bench_bars *chart);

/* figure.c: what both kinds have around the drawing. `what` is its description for those who do not see it. */
void pn_bench_figure_begin(FILE *out, const char *id, const char *title, const char *what,
			   unsigned width, unsigned height);
void pn_bench_figure_end(FILE *out, const char *note);
/* A figure that has nothing to draw. */
void pn_bench_figure_empty(FILE *out, const char *title, const char *why);

#endif
