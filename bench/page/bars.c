/* SPDX-License-Identifier: ISC */
/* bars.c - charts of horizontal bars: the name stands over its bar, so that long ones fit a phone. */
#include <math.h>

#include "chart.h"
#include "html.h"

#define WIDTH     520u
#define LEFT      8.0
#define RIGHT     (WIDTH - 84.0) /* the number stands behind the bar */
#define TOP       8.0
#define BAR_PITCH 38.0
#define BAR_SIZE  15.0
#define FOOT      52.0
#define NAME_MAX  64

static double sum_of(const struct pn_bench_bar *bar)
{
	double sum = 0;

	for (size_t p = 0; p < PN_BENCH_PARTS_MAX; p++)
		sum += bar->parts[p];
	return sum;
}

static struct pn_bench_axis axis_of(const struct pn_bench_bars *c)
{
	struct pn_bench_axis axis = { .label = c->axis_label };

	for (size_t i = 0; i < c->count; i++)
		axis.max = fmax(axis.max, sum_of(&c->bars[i]));
	for (size_t i = 0; i < c->mark_count; i++)
		axis.max = fmax(axis.max, c->marks[i].at);
	pn_bench_axis_fit(&axis);
	return axis;
}

static double x_of(const struct pn_bench_axis *axis, double value)
{
	return LEFT + pn_bench_axis_place(axis, value) * (RIGHT - LEFT);
}

static void write_axis(FILE *out, const struct pn_bench_axis *axis, double bottom)
{
	for (size_t i = 0; i < axis->tick_count; i++) {
		double x = x_of(axis, axis->ticks[i].at);
		pn_bench_html_raw(out,
				  "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" "
				  "y2=\"%.1f\"/><text class=\"mid\" x=\"%.1f\" y=\"%.1f\">",
				  x, TOP, x, bottom, x, bottom + 16);
		pn_bench_html_text(out, axis->ticks[i].label);
		pn_bench_html_raw(out, "</text>\n");
	}
	pn_bench_html_raw(out, "<text class=\"mid name\" x=\"%.1f\" y=\"%.1f\">",
			  (LEFT + RIGHT) / 2, bottom + 40);
	pn_bench_html_text(out, axis->label);
	pn_bench_html_raw(out, "</text>\n");
}

static void write_bar(FILE *out, const struct pn_bench_bars *c, const struct pn_bench_axis *axis,
		      size_t index)
{
	const struct pn_bench_bar *bar = &c->bars[index];
	double y = TOP + (double)index * BAR_PITCH;
	double at = 0;

	pn_bench_html_raw(out, "<text x=\"%.1f\" y=\"%.1f\">", LEFT, y + 13);
	pn_bench_html_textf(out, "%.*s", NAME_MAX, bar->name);
	pn_bench_html_raw(out, "</text>\n");
	for (size_t p = 0; p < PN_BENCH_PARTS_MAX && c->part_names[p]; p++) {
		double from = x_of(axis, at);
		at += bar->parts[p];
		if (bar->parts[p] <= 0)
			continue;
		pn_bench_html_raw(out,
				  "<rect class=\"bar c%u p%zu\" x=\"%.1f\" y=\"%.1f\" "
				  "width=\"%.1f\" height=\"%.1f\"><title>",
				  bar->colour % PN_BENCH_COLOURS, p, from, y + 18,
				  x_of(axis, at) - from, BAR_SIZE);
		pn_bench_html_textf(out, "%s, %s: %.*f", bar->name, c->part_names[p], c->digits,
				    bar->parts[p]);
		pn_bench_html_raw(out, "</title></rect>\n");
	}
}

/* After the marks, so that none goes through it. */
static void write_total(FILE *out, const struct pn_bench_bars *c, const struct pn_bench_axis *axis,
			size_t index)
{
	double sum = sum_of(&c->bars[index]);

	pn_bench_html_raw(out, "<text x=\"%.1f\" y=\"%.1f\">%.*f</text>\n", x_of(axis, sum) + 6,
			  TOP + (double)index * BAR_PITCH + 30, c->digits, sum);
}

static void write_marks(FILE *out, const struct pn_bench_bars *c, const struct pn_bench_axis *axis,
			double bottom)
{
	for (size_t i = 0; i < c->mark_count; i++) {
		double x = x_of(axis, c->marks[i].at);
		pn_bench_html_raw(out,
				  "<line class=\"mark m%zu\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" "
				  "y2=\"%.1f\"><title>",
				  i, x, TOP, x, bottom);
		pn_bench_html_textf(out, "%s: %.*f", c->marks[i].name, c->digits, c->marks[i].at);
		pn_bench_html_raw(out, "</title></line>\n");
	}
}

static void write_legend(FILE *out, const struct pn_bench_bars *c)
{
	pn_bench_html_raw(out, "<ul class=\"legend\">");
	for (size_t p = 0; p < PN_BENCH_PARTS_MAX && c->part_names[p] && c->part_names[1]; p++) {
		pn_bench_html_raw(out,
				  "<li><svg viewBox=\"0 0 28 10\" aria-hidden=\"true\"><rect "
				  "class=\"bar c6 p%zu\" x=\"1\" y=\"0\" width=\"26\" "
				  "height=\"10\"/></svg>",
				  p);
		pn_bench_html_text(out, c->part_names[p]);
		pn_bench_html_raw(out, "</li>");
	}
	for (size_t i = 0; i < c->mark_count; i++) {
		pn_bench_html_raw(out,
				  "<li><svg viewBox=\"0 0 28 10\" aria-hidden=\"true\"><line "
				  "class=\"mark m%zu\" x1=\"14\" y1=\"0\" x2=\"14\" "
				  "y2=\"10\"/></svg>",
				  i);
		pn_bench_html_textf(out, "%s: %.*f", c->marks[i].name, c->digits, c->marks[i].at);
		pn_bench_html_raw(out, "</li>");
	}
	pn_bench_html_raw(out, "</ul>");
}

static void write_numbers(FILE *out, const struct pn_bench_bars *c)
{
	const char *heads[1 + PN_BENCH_PARTS_MAX] = { c->axis_label };
	size_t parts = 0;

	while (parts < PN_BENCH_PARTS_MAX && c->part_names[parts]) {
		heads[1 + parts] = c->part_names[parts];
		parts++;
	}
	pn_bench_html_raw(out, "<details><summary>Numbers</summary>");
	pn_bench_html_table_begin(out, c->title, heads, 1 + parts);
	for (size_t i = 0; i < c->count; i++) {
		pn_bench_html_row_begin(out, c->bars[i].name);
		for (size_t p = 0; p < parts; p++)
			pn_bench_html_cell_number(out, c->bars[i].parts[p], c->digits);
		pn_bench_html_row_end(out);
	}
	pn_bench_html_table_end(out);
	pn_bench_html_raw(out, "</details>");
}

void pn_bench_bars_write(FILE *out, const struct pn_bench_bars *chart)
{
	struct pn_bench_axis axis = axis_of(chart);
	double bottom = TOP + (double)chart->count * BAR_PITCH + 4;

	pn_bench_figure_begin(out, chart->id, chart->title, chart->what, WIDTH,
			      (unsigned)(bottom + FOOT));
	write_axis(out, &axis, bottom);
	for (size_t i = 0; i < chart->count; i++)
		write_bar(out, chart, &axis, i);
	write_marks(out, chart, &axis, bottom);
	for (size_t i = 0; i < chart->count; i++)
		write_total(out, chart, &axis, i);
	pn_bench_html_raw(out, "</svg>");
	write_legend(out, chart);
	write_numbers(out, chart);
	pn_bench_figure_end(out, chart->note);
}
