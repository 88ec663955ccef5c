/* SPDX-License-Identifier: ISC */
/*
 * page.c - the command `report`: results as one HTML file that needs nothing but itself: no network, no script, no
 * font.
 *
 * Its own policy forbids everything except its style sheet, so that nothing that came in with a result could fetch or
 * run anything even if it got past the escaping.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/clock.h>
#include <postern/version.h>

#include "command.h"
#include "files.h"
#include "html.h"
#include "runs.h"
#include "style.h"

static void write_head(FILE *out, const struct pn_bench_report *report)
{
	char date[PN_DATE_RFC3339_SIZE];

	(void)pn_date_rfc3339(date, pn_clock_wall_ms());
	pn_bench_html_raw(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>"
			       "<meta name=\"viewport\" content=\"width=device-width, "
			       "initial-scale=1\"/>"
			       "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src "
			       "'none'; style-src 'unsafe-inline'\"/>\n<title>");
	pn_bench_html_text(out, report->title);
	pn_bench_html_raw(out, "</title><style>\n%s</style></head><body><header><h1>",
			  pn_bench_style);
	pn_bench_html_text(out, report->title);
	pn_bench_html_raw(out, "</h1><p>");
	pn_bench_html_textf(out, "Made %s by postern-bench %s of ", date, PN_VERSION);
	for (size_t i = 0; i < report->file_count; i++) {
		pn_bench_html_raw(out, i > 0 ? ", <code>" : "<code>");
		pn_bench_html_text(out, report->files[i].base);
		pn_bench_html_raw(out, "</code>");
	}
	pn_bench_html_raw(out, "</p></header><main>\n");
}

static void write_load(FILE *out, const struct pn_bench_report *report)
{
	pn_bench_html_raw(out, "<section><h2>Runs</h2>\n");
	pn_bench_section_summary(out, report);
	pn_bench_section_rounds(out, report);
	pn_bench_html_raw(out, "</section><section><h2>Cost</h2><div class=\"charts\">\n");
	pn_bench_chart_cpu(out, report);
	pn_bench_chart_memory(out, report);
	pn_bench_html_raw(out, "</div></section><section><h2>Latency and time</h2><div "
			       "class=\"charts\">\n");
	pn_bench_chart_latency(out, report);
	pn_bench_charts_time(out, report);
	pn_bench_html_raw(out, "</div></section><section><h2>Loops</h2><div class=\"charts\">\n");
	pn_bench_charts_loops(out, report);
	pn_bench_html_raw(out, "</div></section>\n");
}

static void write_page(FILE *out, const struct pn_bench_report *report)
{
	write_head(out, report);
	if (report->run_count > 0)
		write_load(out, report);
	else
		pn_bench_html_raw(out, "<p class=\"none\">No run of a load command is among the "
				       "files.</p>\n");
	if (report->single_count > 0) {
		pn_bench_html_raw(out, "<section><h2>Single measurements</h2>\n");
		pn_bench_section_rows(out, report);
		pn_bench_html_raw(out, "</section>\n");
	}
	pn_bench_html_raw(out, "<section><h2>Where the figures come from</h2>\n");
	pn_bench_section_origin(out, report);
	pn_bench_html_raw(out, "</section></main></body></html>\n");
}

static int load(struct pn_bench_report *report, const struct pn_bench_files *files)
{
	if (files->count == 0) {
		fprintf(stderr, "postern-bench report: names no file\n");
		return -EINVAL;
	}
	for (size_t i = 0; i < files->count; i++) {
		struct pn_bench_report_file *file = &report->files[report->file_count++];
		const char *slash = strrchr(files->paths[i], '/');
		file->path = files->paths[i];
		file->base = slash ? slash + 1 : file->path;
		int r = pn_bench_results_load(&file->results, file->path);
		if (r < 0)
			return r;
	}
	pn_bench_report_collect(report);
	return 0;
}

/* A report that is only half written would still open. */
static int write_file(const struct pn_bench_report *report, const char *path)
{
	FILE *out = fopen(path, "we");
	bool ok = out != NULL;

	if (ok) {
		write_page(out, report);
		ok = !ferror(out);
		ok = fclose(out) == 0 && ok;
		if (!ok)
			(void)remove(path);
	}
	if (!ok)
		fprintf(stderr, "postern-bench report: cannot write %s\n", path);
	return ok ? PN_BENCH_EXIT_OK : PN_BENCH_EXIT_FAILED;
}

int pn_bench_report_main(int argc, char **argv)
{
	struct pn_bench_report *report = calloc(1, sizeof(*report));
	const char *path = "report.html";
	const char *title = "Postern benchmark report";
	struct pn_bench_files files;
	int code = PN_BENCH_EXIT_USAGE;
	const struct pn_bench_option rows[] = {
		{ "output", "FILE", PN_BENCH_TEXT, &path, 0, 0, "write it there (also -o)" },
		{ "title", "TEXT", PN_BENCH_TEXT, &title, 0, 0, "what stands on top" },
	};
	const struct pn_bench_option_group table[] = { { "Options", rows, PN_ARRAY_SIZE(rows) } };
	int r = pn_bench_files_parse(
		table, PN_ARRAY_SIZE(table),
		"RESULT.json...: one HTML page of them, which needs no network.", argc, argv,
		&files);

	if (r > 0) {
		code = PN_BENCH_EXIT_OK;
	} else if (r == 0 && report) {
		report->title = title;
		if (load(report, &files) == 0)
			code = write_file(report, path);
	}
	for (size_t i = 0; report && i < report->file_count; i++)
		pn_bench_results_free(&report->files[i].results);
	free(report);
	return code;
}
