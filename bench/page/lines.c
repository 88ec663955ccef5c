/* SPDX-License-Identifier: ISC */
/* lines.c - charts of lines. */
#include <math.h>

#include "chart.h"
#include "html.h"

#define WIDTH      520u
#define HEIGHT     320u
#define LEFT       64.0
#define RIGHT      (WIDTH - 16.0)
#define TOP        12.0
#define BOTTOM     (HEIGHT - 52.0)
#define DOTS_MAX   16u
#define TABLE_ROWS 40u

static double x_of(const struct pn_bench_lines *c, double value)
{
	return LEFT + pn_bench_axis_place(&c->x, value) * (RIGHT - LEFT);
}

static double y_of(const struct pn_bench_lines *c, double value)
{
	return BOTTOM - pn_bench_axis_place(&c->y, value) * (BOTTOM - TOP);
}

static void write_axes(FILE *out, const struct pn_bench_lines *c)
{
	for (size_t i = 0; i < c->y.tick_count; i++) {
		double y = y_of(c, c->y.ticks[i].at);
		pn_bench_html_raw(out,
				  "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" "
				  "y2=\"%.1f\"/><text class=\"end\" x=\"%.1f\" y=\"%.1f\">",
				  LEFT, y, RIGHT, y, LEFT - 6, y + 4);
		pn_bench_html_text(out, c->y.ticks[i].label);
		pn_bench_html_raw(out, "</text>\n");
	}
	for (size_t i = 0; i < c->x.tick_count; i++) {
		double x = x_of(c, c->x.ticks[i].at);
		pn_bench_html_raw(out,
				  "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" "
				  "y2=\"%.1f\"/><text class=\"mid\" x=\"%.1f\" y=\"%.1f\">",
				  x, TOP, x, BOTTOM, x, BOTTOM + 17);
		pn_bench_html_text(out, c->x.ticks[i].label);
		pn_bench_html_raw(out, "</text>\n");
	}
	pn_bench_html_raw(out, "<text class=\"mid name\" x=\"%.1f\" y=\"%.1f\">",
			  (LEFT + RIGHT) / 2, HEIGHT - 12.0);
	pn_bench_html_text(out, c->x.label);
	pn_bench_html_raw(out,
			  "</text><text class=\"mid name\" transform=\"rotate(-90)\" x=\"%.1f\" "
			  "y=\"14\">",
			  -(TOP + BOTTOM) / 2);
	pn_bench_html_text(out, c->y.label);
	pn_bench_html_raw(out, "</text>\n");
}

static void write_series(FILE *out, const struct pn_bench_lines *c, const struct pn_bench_series *s)
{
	unsigned colour = s->colour % PN_BENCH_COLOURS;

	pn_bench_html_raw(out, "<polyline class=\"line c%u d%u\" points=\"", colour,
			  s->colour / PN_BENCH_COLOURS % 3);
	for (size_t i = 0; i < s->count; i++)
		pn_bench_html_raw(out, "%.1f,%.1f ", x_of(c, s->x[i]), y_of(c, s->y[i]));
	pn_bench_html_raw(out, "\"><title>");
	pn_bench_html_text(out, s->name);
	pn_bench_html_raw(out, "</title></polyline>\n");
	for (size_t i = 0; s->count <= DOTS_MAX && i < s->count; i++) {
		pn_bench_html_raw(out,
				  "<circle class=\"dot c%u\" cx=\"%.1f\" cy=\"%.1f\" "
				  "r=\"3\"><title>",
				  colour, x_of(c, s->x[i]), y_of(c, s->y[i]));
		pn_bench_html_textf(out, "%s: %.4g", s->name, s->y[i]);
		pn_bench_html_raw(out, "</title></circle>\n");
	}
}

static void write_legend(FILE *out, const struct pn_bench_lines *c)
{
	pn_bench_html_raw(out, "<ul class=\"legend\">");
	for (size_t i = 0; i < c->count; i++) {
		unsigned turn = c->series[i].colour / PN_BENCH_COLOURS % 3;
		pn_bench_html_raw(out,
				  "<li><svg viewBox=\"0 0 28 10\" aria-hidden=\"true\"><line "
				  "class=\"line c%u d%u\" x1=\"1\" y1=\"5\" x2=\"27\" "
				  "y2=\"5\"/></svg>",
				  c->series[i].colour % PN_BENCH_COLOURS, turn);
		pn_bench_html_text(out, c->series[i].name);
		pn_bench_html_raw(out, "</li>");
	}
	pn_bench_html_raw(out, "</ul>");
}

/* Long series are thinned out evenly; the first and the last stay. */
static void write_numbers(FILE *out, const struct pn_bench_lines *c)
{
	const char *const heads[] = { "series", c->x.label, c->y.label };

	pn_bench_html_raw(out, "<details><summary>Numbers</summary>");
	pn_bench_html_table_begin(out, c->title, heads, PN_ARRAY_SIZE(heads));
	for (size_t s = 0; s < c->count; s++) {
		const struct pn_bench_series *series = &c->series[s];
		size_t rows = pn_min_size(series->count, TABLE_ROWS);
		for (size_t i = 0; i < rows; i++) {
			size_t at = rows > 1 ? i * (series->count - 1) / (rows - 1) : 0;
			pn_bench_html_row_begin(out, series->name);
			pn_bench_html_cell_number(out, series->x[at], 3);
			pn_bench_html_cell_number(out, series->y[at], 3);
			pn_bench_html_row_end(out);
		}
	}
	pn_bench_html_table_end(out);
	pn_bench_html_raw(out, "</details>");
}

void pn_bench_lines_write(FILE *out, const struct pn_bench_lines *chart)
{
	pn_bench_figure_begin(out, chart->id, chart->title, chart->what, WIDTH, HEIGHT);
	write_axes(out, chart);
	for (size_t i = 0; i < chart->count; i++)
		write_series(out, chart, &chart->series[i]);
	pn_bench_html_raw(out, "</svg>");
	write_legend(out, chart);
	write_numbers(out, chart);
	pn_bench_figure_end(out, chart->note);
}
