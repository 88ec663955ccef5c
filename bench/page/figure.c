/* SPDX-License-Identifier: ISC */
/* figure.c - see chart.h. */
#include "chart.h"
#include "html.h"

void pn_bench_figure_begin(FILE *out, const char *id, const char *title, const char *what,
			   unsigned width, unsigned height)
{
	pn_bench_html_raw(out, "<figure><h3>");
	pn_bench_html_text(out, title);
	pn_bench_html_raw(out, "</h3><p>");
	pn_bench_html_text(out, what);
	pn_bench_html_raw(out,
			  "</p><svg viewBox=\"0 0 %u %u\" role=\"img\" aria-labelledby=\"%s-t "
			  "%s-d\"><title id=\"%s-t\">",
			  width, height, id, id, id);
	pn_bench_html_text(out, title);
	pn_bench_html_raw(out, "</title><desc id=\"%s-d\">", id);
	pn_bench_html_text(out, what);
	pn_bench_html_raw(out, "</desc>\n");
}

void pn_bench_figure_end(FILE *out, const char *note)
{
	if (*note) {
		pn_bench_html_raw(out, "<p class=\"none\">");
		pn_bench_html_text(out, note);
		pn_bench_html_raw(out, "</p>");
	}
	pn_bench_html_raw(out, "</figure>\n");
}

void pn_bench_figure_empty(FILE *out, const char *title, const char *why)
{
	pn_bench_html_raw(out, "<figure class=\"empty\"><h3>");
	pn_bench_html_text(out, title);
	pn_bench_html_raw(out, "</h3><p class=\"none\">");
	pn_bench_html_text(out, why);
	pn_bench_html_raw(out, "</p></figure>\n");
}
