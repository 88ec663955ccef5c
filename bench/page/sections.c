/* SPDX-License-Identifier: ISC */
/* sections.c - the tables of the page. */
#include <math.h>
#include <string.h>

#include "html.h"
#include "records.h"
#include "runs.h"

#define COMMAND_SIZE 1000
#define MIB          1048576.0
#define COUNT_MAX    1e15 /* a file may hold any number */

void pn_bench_section_summary(FILE *out, const struct pn_bench_report *report)
{
	static const char *const heads[] = { "run",        "operations",    "failures",
					     "per second", "server CPU us", "client CPU us",
					     "p50 ms",     "p90 ms",        "p99 ms",
					     "p99.9 ms",   "max ms",        "RSS MiB",
					     "good" };
	static const char *const latencies[] = { "p50", "p90", "p99", "p999", "max" };

	pn_bench_html_table_begin(
		out,
		"Runs side by side (of rows with several rounds: the median one); "
		"CPU is per operation",
		heads, PN_ARRAY_SIZE(heads));
	for (size_t i = 0; i < report->run_count; i++) {
		const json_t *r = report->runs[i].round;
		const json_t *good = json_object_get(r, "is_good");
		pn_bench_html_row_begin(out, report->runs[i].name);
		pn_bench_html_cell_number(out, pn_bench_report_number(r, "", "operations"), 0);
		pn_bench_html_cell_number(out, pn_bench_report_number(r, "", "failures"), 0);
		pn_bench_html_cell_number(
			out, pn_bench_report_number(r, "", "operations_per_second"), 0);
		pn_bench_html_cell_number(
			out, pn_bench_report_number(r, "server", "cpu_us_per_operation"), 1);
		pn_bench_html_cell_number(
			out, pn_bench_report_number(r, "client", "cpu_us_per_operation"), 1);
		for (size_t p = 0; p < PN_ARRAY_SIZE(latencies); p++)
			pn_bench_html_cell_number(
				out, pn_bench_report_number(r, "latency_us", latencies[p]) / 1000,
				2);
		pn_bench_html_cell_number(
			out, pn_bench_report_number(r, "server", "rss_bytes") / MIB, 1);
		pn_bench_html_cell(out,
				   json_is_boolean(good) ? json_is_true(good) ? "yes" : "NO" : "");
		pn_bench_html_row_end(out);
	}
	pn_bench_html_table_end(out);
	if (report->left_out > 0)
		pn_bench_html_raw(out, "<p class=\"none\">%zu further runs are not shown.</p>",
				  report->left_out);
}

static void write_stats_row(FILE *out, const char *name, const struct pn_bench_stats *s, int digits)
{
	pn_bench_html_row_begin(out, name);
	pn_bench_html_cell_number(out, (double)s->count, 0);
	pn_bench_html_cell_number(out, s->count > 0 ? s->median : NAN, digits);
	pn_bench_html_cell_number(out, s->count > 0 ? s->min : NAN, digits);
	pn_bench_html_cell_number(out, s->count > 0 ? s->max : NAN, digits);
	pn_bench_html_cell_number(out, s->count > 0 ? s->mad : NAN, digits);
	pn_bench_html_row_end(out);
}

static const char *const stats_heads[] = { "row", "rounds", "median", "least", "greatest", "MAD" };

void pn_bench_section_rounds(FILE *out, const struct pn_bench_report *report)
{
	double values[PN_BENCH_ROUNDS_MAX];
	struct pn_bench_stats stats;

	pn_bench_html_table_begin(out,
				  "Server CPU per operation over the rounds, us (MAD: median "
				  "absolute deviation)",
				  stats_heads, PN_ARRAY_SIZE(stats_heads));
	for (size_t i = 0; i < report->run_count; i++) {
		size_t n = pn_bench_row_values(report->runs[i].row, pn_bench_metric_find("cpu"),
					       values);
		pn_bench_stats_of(values, n, &stats);
		write_stats_row(out, report->runs[i].name, &stats, 1);
	}
	pn_bench_html_table_end(out);
}

/* A file of `limit`, `micro` or count-instructions. */
static void write_rows_of(FILE *out, const struct pn_bench_report_file *file)
{
	static const char *const metrics[] = { "cpu", "instructions" };
	double values[PN_BENCH_ROUNDS_MAX];
	struct pn_bench_stats stats;

	for (size_t m = 0; m < PN_ARRAY_SIZE(metrics); m++) {
		const struct pn_bench_metric *metric = pn_bench_metric_find(metrics[m]);
		bool is_open = false;
		for (size_t i = 0; i < file->results.count; i++) {
			const struct pn_bench_row *row = &file->results.rows[i];
			size_t n = pn_bench_row_values(row, metric, values);
			if (n == 0 || pn_bench_report_is_load(row->rounds[0]))
				continue;
			if (!is_open) {
				char caption[256];
				(void)snprintf(caption, sizeof(caption),
					       "%.120s: %s per operation%s", file->base,
					       m == 0 ? "CPU" : "instructions",
					       m == 0 ? ", us" : "");
				pn_bench_html_table_begin(out, caption, stats_heads,
							  PN_ARRAY_SIZE(stats_heads));
			}
			is_open = true;
			pn_bench_stats_of(values, n, &stats);
			write_stats_row(out, row->name, &stats, m == 0 ? 3 : 1);
		}
		if (is_open)
			pn_bench_html_table_end(out);
	}
}

void pn_bench_section_rows(FILE *out, const struct pn_bench_report *report)
{
	for (size_t i = 0; i < report->file_count; i++)
		write_rows_of(out, &report->files[i]);
}

/* ---- where the figures come from ---- */

static void value_text(const json_t *value, char *out, size_t size)
{
	if (json_is_string(value))
		(void)snprintf(out, size, "%s", json_string_value(value));
	else if (json_is_integer(value))
		(void)snprintf(out, size, "%lld", (long long)json_integer_value(value));
	else if (json_is_number(value))
		(void)snprintf(out, size, "%g", json_number_value(value));
	else if (json_is_boolean(value))
		(void)snprintf(out, size, "%s", json_is_true(value) ? "yes" : "no");
	else
		(void)snprintf(out, size, "%s", "");
	for (size_t i = 0, used = 0; i < json_array_size(value) && used < size; i++) {
		const char *item = json_string_value(json_array_get(value, i));
		used += (size_t)snprintf(out + used, size - used, "%s%s", i > 0 ? " " : "",
					 item ? item : "?");
	}
}

static const json_t *machine_of(const struct pn_bench_report_file *file)
{
	const json_t *machine = file->results.document_count > 0
					? json_object_get(file->results.documents[0], "machine")
					: NULL;

	return machine || file->results.count == 0
		       ? machine
		       : json_object_get(file->results.rows[0].rounds[0], "machine");
}

static void write_machine(FILE *out, const struct pn_bench_report_file *file)
{
	static const char *const heads[] = { "machine and build", "" };
	const json_t *machine = machine_of(file);
	char text[COMMAND_SIZE];
	const char *key;
	json_t *value;

	if (json_object_size(machine) == 0) {
		pn_bench_html_raw(out, "<p class=\"none\">machine and build: not recorded</p>");
		return;
	}
	pn_bench_html_table_begin(out, file->path, heads, PN_ARRAY_SIZE(heads));
	json_object_foreach((json_t *)(uintptr_t)machine, key, value)
	{
		value_text(value, text, sizeof(text));
		pn_bench_html_row_begin(out, key);
		pn_bench_html_cell(out, text);
		pn_bench_html_row_end(out);
	}
	pn_bench_html_table_end(out);
}

static uint64_t count_of(const json_t *o, const char *key)
{
	return (uint64_t)fmin(fmax(pn_bench_json_number(o, key, 0), 0), COUNT_MAX);
}

/* Who made the server's records. */
static void write_records(FILE *out, const json_t *o)
{
	const json_t *records = json_object_get(o, "records");
	const struct pn_bench_records r = {
		.sessions = count_of(records, "sessions"),
		.kernel = count_of(records, "kernel"),
		.kernel_receive = count_of(records, "kernel_receive_only"),
		.user = count_of(records, "user_space"),
	};
	char text[128] = "not recorded";

	if (json_is_object(records))
		pn_bench_records_text(&r, text, sizeof(text));
	pn_bench_html_cell(out, text);
}

static void write_command_row(FILE *out, const char *name, const json_t *o)
{
	char command[COMMAND_SIZE];
	char seed[64];
	const json_t *tls = json_object_get(o, "tls");

	pn_bench_report_command(o, command, sizeof(command));
	value_text(json_object_get(o, "seed"), seed, sizeof(seed));
	pn_bench_html_row_begin(out, name);
	pn_bench_html_cell(out, pn_bench_json_text(o, "started"));
	pn_bench_html_raw(out, "<td class=\"command\"><code>");
	pn_bench_html_text(out, *command ? command : "not recorded");
	pn_bench_html_raw(out, "</code></td>");
	pn_bench_html_cell(out, seed);
	pn_bench_html_raw(out, "<td>");
	if (tls)
		pn_bench_html_textf(out, "%s %s%s", pn_bench_json_text(tls, "suite"),
				    pn_bench_json_text(tls, "group"),
				    pn_bench_json_flag(tls, "resumed") ? ", resumed" : "");
	else
		pn_bench_html_text(out, "not recorded");
	pn_bench_html_raw(out, "</td>");
	write_records(out, o);
	pn_bench_html_row_end(out);
}

void pn_bench_section_origin(FILE *out, const struct pn_bench_report *report)
{
	static const char *const heads[] = {
		"run", "started", "command", "seed", "TLS", "records"
	};

	for (size_t i = 0; i < report->file_count; i++)
		write_machine(out, &report->files[i]);
	pn_bench_html_table_begin(out, "Commands and seeds", heads, PN_ARRAY_SIZE(heads));
	for (size_t i = 0; i < report->run_count; i++)
		write_command_row(out, report->runs[i].name, report->runs[i].round);
	for (size_t i = 0; i < report->file_count; i++) {
		const struct pn_bench_results *results = &report->files[i].results;
		/* A file of rows has a command of its own. */
		if (results->document_count > 0 && json_object_get(results->documents[0], "rows"))
			write_command_row(out, report->files[i].base, results->documents[0]);
	}
	pn_bench_html_table_end(out);
}
