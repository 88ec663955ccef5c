/* SPDX-License-Identifier: ISC */
/* html.c - see html.h. */
#include "html.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

/* Octets of the UTF-8 sequence at s (RFC 3629 4), 0 when it is none. */
static size_t sequence_length(const unsigned char *s)
{
	static const struct {
		unsigned char first_min, first_max, second_min, second_max;
		size_t length;
	} rows[] = {
		{ 0xC2, 0xDF, 0x80, 0xBF, 2 }, { 0xE0, 0xE0, 0xA0, 0xBF, 3 },
		{ 0xE1, 0xEC, 0x80, 0xBF, 3 }, { 0xED, 0xED, 0x80, 0x9F, 3 },
		{ 0xEE, 0xEF, 0x80, 0xBF, 3 }, { 0xF0, 0xF0, 0x90, 0xBF, 4 },
		{ 0xF1, 0xF3, 0x80, 0xBF, 4 }, { 0xF4, 0xF4, 0x80, 0x8F, 4 },
	};

	for (size_t i = 0; i < PN_ARRAY_SIZE(rows); i++) {
		if (s[0] < rows[i].first_min || s[0] > rows[i].first_max)
			continue;
		if (s[1] < rows[i].second_min || s[1] > rows[i].second_max)
			return 0;
		for (size_t n = 2; n < rows[i].length; n++) {
			if ((s[n] & 0xC0) != 0x80)
				return 0;
		}
		return rows[i].length;
	}
	return 0;
}

/* U+FFFE and U+FFFF are no characters in XML. */
static bool is_noncharacter(const unsigned char *s, size_t length)
{
	return length == 3 && s[0] == 0xEF && s[1] == 0xBF && s[2] >= 0xBE;
}

static const char *entity_of(unsigned char c)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	case '\'':
		return "&#39;";
	default:
		return (c < 0x20 && c != '\n' && c != '\t') || c == 0x7F ? "\xEF\xBF\xBD" : NULL;
	}
}

void pn_bench_html_text(FILE *out, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	while (*s) {
		size_t length = 1;
		const char *instead = entity_of(*s);
		if (*s >= 0x80) {
			length = sequence_length(s);
			if (length == 0 || is_noncharacter(s, length)) {
				instead = "\xEF\xBF\xBD";
				length = pn_max_size(length, 1);
			}
		}
		if (instead)
			(void)fputs(instead, out);
		else
			(void)fwrite(s, 1, length, out);
		s += length;
	}
}

void pn_bench_html_textf(FILE *out, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	pn_bench_html_text(out, text);
}

void pn_bench_html_raw(FILE *out, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vfprintf(out, fmt, args);
	va_end(args);
}

/* ---- tables ---- */

void pn_bench_html_table_begin(FILE *out, const char *caption, const char *const *heads,
			       size_t count)
{
	pn_bench_html_raw(out, "<div class=\"scroll\" tabindex=\"0\"><table><caption>");
	pn_bench_html_text(out, caption);
	pn_bench_html_raw(out, "</caption><thead><tr>");
	for (size_t i = 0; i < count; i++) {
		pn_bench_html_raw(out, "<th scope=\"col\">");
		pn_bench_html_text(out, heads[i]);
		pn_bench_html_raw(out, "</th>");
	}
	pn_bench_html_raw(out, "</tr></thead><tbody>\n");
}

void pn_bench_html_row_begin(FILE *out, const char *head)
{
	pn_bench_html_raw(out, "<tr><th scope=\"row\">");
	pn_bench_html_text(out, head);
	pn_bench_html_raw(out, "</th>");
}

void pn_bench_html_cell(FILE *out, const char *text)
{
	pn_bench_html_raw(out, "<td>");
	pn_bench_html_text(out, *text ? text : "not recorded");
	pn_bench_html_raw(out, "</td>");
}

void pn_bench_html_cell_number(FILE *out, double value, int digits)
{
	if (isfinite(value))
		pn_bench_html_raw(out, "<td class=\"n\">%.*f</td>", digits, value);
	else
		pn_bench_html_raw(out, "<td class=\"none\">not recorded</td>");
}

void pn_bench_html_row_end(FILE *out)
{
	pn_bench_html_raw(out, "</tr>\n");
}

void pn_bench_html_table_end(FILE *out)
{
	pn_bench_html_raw(out, "</tbody></table></div>\n");
}
