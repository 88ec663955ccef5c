/* SPDX-License-Identifier: ISC */
/*
 * html.h - writing HTML that is also well-formed XML. Whatever came from a file goes through pn_bench_html_text(); what
 * is passed to pn_bench_html_raw() is our own.
 */
#ifndef PN_BENCH_HTML_H
#define PN_BENCH_HTML_H

#include <stdio.h>

#include <postern/base/common.h>

/* Escaped for text and for attributes in double quotes. Control characters, and what is not UTF-8, become U+FFFD. */
void pn_bench_html_text(FILE *out, const char *text);
/* Formatted, then escaped; cut at 1023 octets. */
void pn_bench_html_textf(FILE *out, const char *fmt, ...) PN_PRINTF(2, 3);
/* Markup. Arguments must be numbers or literals of ours. */
void pn_bench_html_raw(FILE *out, const char *fmt, ...) PN_PRINTF(2, 3);

/* A table that scrolls sideways on its own: begin, then rows of cells, then end. The first cell of a row is its
 * head. */
void pn_bench_html_table_begin(FILE *out, const char *caption, const char *const *heads,
			       size_t count);
void pn_bench_html_row_begin(FILE *out, const char *head);
void pn_bench_html_cell(FILE *out, const char *text);
/* A number with `digits` decimals, or "not recorded" when it is not finite. */
void pn_bench_html_cell_number(FILE *out, double value, int digits);
void pn_bench_html_row_end(FILE *out);
void pn_bench_html_table_end(FILE *out);

#endif
