/* SPDX-License-Identifier: ISC */
/* load_charts.c - the charts of load runs. A run that lacks what a chart needs is left out of it, and named. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "html.h"
#include "runs.h"

#define EVEN_LIMIT 1.15 /* no loop completes more than this times the mean of handshakes */
#define KIB        1024.0
#define NOTE_SIZE  (PN_BENCH_RUNS_MAX * (PN_BENCH_RUN_NAME_MAX + 2) + 16)

/* "not recorded: ..." of those that lack something; "" when none does. */
static void note_missing(char out[NOTE_SIZE], const struct pn_bench_report *report, const bool *has)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < report->run_count && used < NOTE_SIZE; i++) {
		if (!has[i])
			used += (size_t)snprintf(
				out + used, NOTE_SIZE - used, "%s%s",
				used > 0 ? ", " : "not recorded: ", report->runs[i].name);
	}
}

/* ---- lines ---- */

/* Fills a series from a run; false when the run has nothing for it. */
typedef bool (*fill_fn)(struct pn_bench_series *s, const json_t *round);
/* How many points a run may give. */
typedef size_t (*room_fn)(const json_t *round);

static void range_of(const struct pn_bench_series *s, struct pn_bench_lines *chart)
{
	for (size_t i = 0; i < s->count; i++) {
		chart->x.min = fmin(chart->x.min, s->x[i]);
		chart->x.max = fmax(chart->x.max, s->x[i]);
		chart->y.min = fmin(chart->y.min, s->y[i]);
		chart->y.max = fmax(chart->y.max, s->y[i]);
	}
}

static void write_lines(FILE *out, const struct pn_bench_report *report,
			struct pn_bench_lines *chart, room_fn room, fill_fn fill,
			void (*fit)(struct pn_bench_lines *chart))
{
	struct pn_bench_series series[PN_BENCH_RUNS_MAX];
	bool has[PN_BENCH_RUNS_MAX] = { false };
	char note[NOTE_SIZE];

	chart->x.min = chart->y.min = INFINITY;
	chart->x.max = chart->y.max = -INFINITY;
	chart->series = series;
	for (size_t i = 0; i < report->run_count; i++) {
		struct pn_bench_series *s = &series[chart->count];
		const json_t *round = report->runs[i].round;
		if (!pn_bench_series_init(s, report, i, room(round)))
			continue;
		if (!fill(s, round) || s->count == 0) {
			pn_bench_series_deinit(s);
			continue;
		}
		range_of(s, chart);
		has[i] = true;
		chart->count++;
	}
	if (chart->count > 0) {
		fit(chart);
		note_missing(note, report, has);
		chart->note = note;
		pn_bench_lines_write(out, chart);
	} else {
		pn_bench_figure_empty(out, chart->title, "not recorded");
	}
	for (size_t i = 0; i < chart->count; i++)
		pn_bench_series_deinit(&series[i]);
}

/* ---- latency ---- */

static const struct {
	const char *key;
	double share;
} percentiles[] = { { "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }, { "p999", 0.999 } };

/* 0, 1, 2, 3 for 0 %, 90 %, 99 %, 99.9 %: each nine has the same room. */
static double nines(double share)
{
	return -log10(1 - share);
}

static size_t latency_room(const json_t *round)
{
	return json_array_size(json_object_get(round, "latency_histogram")) +
	       PN_ARRAY_SIZE(percentiles);
}

static double histogram_total(const json_t *histogram)
{
	double total = 0;
	size_t i;
	json_t *bucket;

	json_array_foreach(histogram, i, bucket)
	{
		total += fmax(json_number_value(json_array_get(bucket, 1)), 0);
	}
	return total;
}

static bool fill_latency(struct pn_bench_series *s, const json_t *round)
{
	const json_t *histogram = json_object_get(round, "latency_histogram");
	double total = histogram_total(histogram);
	double seen = 0;
	size_t i;
	json_t *bucket;

	json_array_foreach(histogram, i, bucket)
	{
		double count = fmax(json_number_value(json_array_get(bucket, 1)), 0);
		double upper_us = json_number_value(json_array_get(bucket, 0));
		if (count <= 0 || upper_us <= 0)
			continue;
		seen += count;
		/* The last one stands where half an operation more would be. */
		pn_bench_series_add(s, nines(fmin(seen, total - 0.5) / total), upper_us / 1000);
	}
	if (s->count > 0)
		return true;
	for (i = 0; i < PN_ARRAY_SIZE(percentiles); i++) {
		double us = pn_bench_report_number(round, "latency_us", percentiles[i].key);
		if (us > 0)
			pn_bench_series_add(s, nines(percentiles[i].share), us / 1000);
	}
	return s->count > 0;
}

static void fit_latency(struct pn_bench_lines *chart)
{
	static const struct {
		double share;
		const char *label;
	} ticks[] = { { 0, "0" },
		      { 0.5, "50" },
		      { 0.9, "90" },
		      { 0.99, "99" },
		      { 0.999, "99.9" },
		      { 0.9999, "99.99" },
		      { 0.99999, "99.999" },
		      { 0.999999, "99.9999" } };
	double last = fmax(chart->x.max, nines(0.999));

	chart->x.min = 0;
	chart->x.max = last;
	for (size_t i = 0; i < PN_ARRAY_SIZE(ticks); i++) {
		if (nines(ticks[i].share) > last + 1e-9)
			break;
		struct pn_bench_tick *tick = &chart->x.ticks[chart->x.tick_count++];
		tick->at = nines(ticks[i].share);
		(void)snprintf(tick->label, sizeof(tick->label), "%s", ticks[i].label);
	}
	pn_bench_axis_fit(&chart->y);
}

void pn_bench_chart_latency(FILE *out, const struct pn_bench_report *report)
{
	struct pn_bench_lines chart = {
		.id = "latency",
		.title = "Latency by percentile",
		.what = "How long the given share of all operations took at most. Each further "
			"nine has "
			"the same room; lower is better.",
		.x = { .label = "percentile of operations, %" },
		.y = { .label = "latency, ms (log)", .is_log = true },
	};

	write_lines(out, report, &chart, latency_room, fill_latency, fit_latency);
}

/* ---- over time ---- */

static size_t samples_room(const json_t *round)
{
	return json_array_size(json_object_get(round, "samples"));
}

/* (samples[i].key - samples[i-1].key) by seconds, times factor, in the middle between the two. */
static bool fill_rate(struct pn_bench_series *s, const json_t *round, const char *key,
		      double factor)
{
	const json_t *samples = json_object_get(round, "samples");

	for (size_t i = 1; i < json_array_size(samples); i++) {
		const json_t *a = json_array_get(samples, i - 1);
		const json_t *b = json_array_get(samples, i);
		double from_s = pn_bench_json_number(a, "t_ms", NAN) / 1000;
		double to_s = pn_bench_json_number(b, "t_ms", NAN) / 1000;
		double amount =
			pn_bench_json_number(b, key, NAN) - pn_bench_json_number(a, key, NAN);
		if (to_s > from_s && amount >= 0)
			pn_bench_series_add(s, (from_s + to_s) / 2,
					    amount / (to_s - from_s) * factor);
	}
	return s->count > 0;
}

static bool fill_throughput(struct pn_bench_series *s, const json_t *round)
{
	return fill_rate(s, round, "done", 1);
}

static bool fill_cpu(struct pn_bench_series *s, const json_t *round)
{
	/* us by s: 10 000 are 1 % of a CPU. */
	return fill_rate(s, round, "server_cpu_us", 1e-4);
}

static bool fill_memory(struct pn_bench_series *s, const json_t *round)
{
	const json_t *samples = json_object_get(round, "samples");
	size_t i;
	json_t *sample;

	json_array_foreach(samples, i, sample)
	{
		double bytes = pn_bench_json_number(sample, "rss_bytes", NAN);
		if (!isfinite(bytes))
			bytes = pn_bench_json_number(sample, "server_rss_bytes", NAN);
		pn_bench_series_add(s, pn_bench_json_number(sample, "t_ms", NAN) / 1000,
				    bytes / (KIB * KIB));
	}
	return s->count > 0;
}

static void fit_from_zero(struct pn_bench_lines *chart)
{
	chart->x.min = fmin(chart->x.min, 0);
	chart->y.min = 0;
	pn_bench_axis_fit(&chart->x);
	pn_bench_axis_fit(&chart->y);
}

void pn_bench_charts_time(FILE *out, const struct pn_bench_report *report)
{
	static const struct {
		const char *id, *title, *what, *label;
		fill_fn fill;
	} charts[] = {
		{ "throughput", "Throughput over time",
		  "Operations completed per second between two samples.", "operations per second",
		  fill_throughput },
		{ "busy", "Server CPU over time",
		  "CPU time of the server's processes by the time that passed; 100 % is one CPU.",
		  "server CPU, % of one CPU", fill_cpu },
		{ "rss", "Server memory over time", "Resident memory of the server's processes.",
		  "resident memory, MiB", fill_memory },
	};

	for (size_t i = 0; i < PN_ARRAY_SIZE(charts); i++) {
		struct pn_bench_lines chart = {
			.id = charts[i].id,
			.title = charts[i].title,
			.what = charts[i].what,
			.x = { .label = "time since the start of the run, s" },
			.y = { .label = charts[i].label },
		};
		write_lines(out, report, &chart, samples_room, charts[i].fill, fit_from_zero);
	}
}

/* ---- bars ---- */

/* User and system time of a run in any unit; only their proportion is used. */
static bool split_of(const json_t *round, double *user, double *system)
{
	*user = pn_bench_report_number(round, "server", "user_us");
	*system = pn_bench_report_number(round, "server", "system_us");
	if (!isfinite(*user) || !isfinite(*system)) {
		*user = pn_bench_report_number(round, "server", "user_ms");
		*system = pn_bench_report_number(round, "server", "system_ms");
	}
	return *user >= 0 && *system >= 0 && *user + *system > 0;
}

void pn_bench_chart_cpu(FILE *out, const struct pn_bench_report *report)
{
	struct pn_bench_bar bars[PN_BENCH_RUNS_MAX];
	bool has[PN_BENCH_RUNS_MAX] = { false };
	char note[NOTE_SIZE];
	struct pn_bench_bars chart = {
		.id = "cpu",
		.title = "Server CPU per operation",
		.what = "CPU time of the server's processes by operations, split by where it was "
			"spent. "
			"The split is coarser than the sum.",
		.axis_label = "server CPU per operation, us",
		.part_names = { "user", "system", "not split" },
		.digits = 1,
		.bars = bars,
	};

	for (size_t i = 0; i < report->run_count; i++) {
		const json_t *round = report->runs[i].round;
		double total = pn_bench_report_number(round, "server", "cpu_us_per_operation");
		double user, system;
		if (!(total >= 0))
			continue;
		struct pn_bench_bar *bar = &bars[chart.count++];
		*bar = (struct pn_bench_bar){ report->runs[i].name, (unsigned)i, { 0, 0, total } };
		has[i] = true;
		if (split_of(round, &user, &system)) {
			bar->parts[0] = total * user / (user + system);
			bar->parts[1] = total - bar->parts[0];
			bar->parts[2] = 0;
		}
	}
	if (chart.count == 0) {
		pn_bench_figure_empty(out, chart.title, "not recorded");
		return;
	}
	note_missing(note, report, has);
	chart.note = note;
	pn_bench_bars_write(out, &chart);
}

void pn_bench_chart_memory(FILE *out, const struct pn_bench_report *report)
{
	struct pn_bench_bar bars[PN_BENCH_RUNS_MAX];
	bool has[PN_BENCH_RUNS_MAX] = { false };
	char note[NOTE_SIZE];
	struct pn_bench_bars chart = {
		.id = "memory",
		.title = "Memory per connection",
		.what = "Growth of the server's memory by the connections that were open.",
		.axis_label = "memory per connection, KiB",
		.part_names = { "memory" },
		.digits = 2,
		.bars = bars,
	};

	for (size_t i = 0; i < report->run_count; i++) {
		double bytes = pn_bench_report_number(report->runs[i].round, "memory",
						      "per_connection_bytes");
		has[i] = bytes >= 0;
		if (has[i])
			bars[chart.count++] = (struct pn_bench_bar){ report->runs[i].name,
								     (unsigned)i,
								     { bytes / KIB } };
	}
	if (chart.count == 0) {
		pn_bench_figure_empty(out, chart.title, "not recorded");
		return;
	}
	note_missing(note, report, has);
	chart.note = note;
	pn_bench_bars_write(out, &chart);
}

/* One chart for each run: its loops beside each other. */
static bool write_loops(FILE *out, const struct pn_bench_report_run *run, size_t index)
{
	const json_t *loops = json_object_get(run->round, "loops");
	size_t count = json_array_size(loops);
	struct pn_bench_bar *bars = calloc(count + 1, sizeof(*bars));
	char id[32], title[PN_BENCH_RUN_NAME_MAX + 32];
	struct pn_bench_mark marks[2] = { { "mean", 0 }, { "1.15 times the mean", 0 } };
	struct pn_bench_bars chart = {
		.id = id,
		.title = title,
		.what = "Handshakes that each loop completed. Even means: none beyond 1.15 times "
			"the "
			"mean.",
		.axis_label = "handshakes",
		.part_names = { "handshakes" },
		.bars = bars,
		.marks = marks,
		.mark_count = PN_ARRAY_SIZE(marks),
		.note = "",
	};
	double sum = 0;

	(void)snprintf(id, sizeof(id), "loops%zu", index);
	(void)snprintf(title, sizeof(title), "Evenness of loops: %s", run->name);
	for (size_t i = 0; bars && i < count; i++) {
		const json_t *loop = json_array_get(loops, i);
		double handshakes = pn_bench_json_number(loop, "handshakes", NAN);
		if (!(handshakes >= 0))
			continue;
		sum += handshakes;
		bars[chart.count++] = (struct pn_bench_bar){ pn_bench_json_text(loop, "name"),
							     (unsigned)index,
							     { handshakes } };
	}
	if (chart.count > 0) {
		marks[0].at = sum / (double)chart.count;
		marks[1].at = EVEN_LIMIT * marks[0].at;
		pn_bench_bars_write(out, &chart);
	}
	free(bars);
	return chart.count > 0;
}

void pn_bench_charts_loops(FILE *out, const struct pn_bench_report *report)
{
	bool has[PN_BENCH_RUNS_MAX] = { false };
	bool has_any = false;
	char note[NOTE_SIZE];

	for (size_t i = 0; i < report->run_count; i++) {
		has[i] = write_loops(out, &report->runs[i], i);
		has_any |= has[i];
	}
	note_missing(note, report, has);
	if (!has_any)
		pn_bench_figure_empty(out, "Evenness of loops", "not recorded");
	else if (note[0])
		pn_bench_figure_empty(out, "Evenness of loops: other runs", note);
}
