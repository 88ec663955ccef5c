/* SPDX-License-Identifier: ISC */
/* report.c - a run's result as a text table on stdout and as JSON. */
#include <stdio.h>
#include <string.h>

#include <postern/base/clock.h>

#include "command.h"
#include "records.h"
#include "run.h"

static double per(double total, uint64_t count)
{
	return count ? total / (double)count : 0;
}

static uint64_t minus(uint64_t after, uint64_t before)
{
	return after > before ? after - before : 0;
}

static void row(const char *name, const char *fmt, ...) PN_PRINTF(2, 3);
static void row(const char *name, const char *fmt, ...)
{
	va_list args;

	printf("  %-28s ", name);
	va_start(args, fmt);
	(void)vprintf(fmt, args);
	va_end(args);
	putchar('\n');
}

/* ---- what the server and we spent ---- */

/* /proc counts ticks: the split is coarser than the sum. */
static double user_share(const struct pn_bench_run *run)
{
	uint64_t user = minus(run->after.user_ms, run->before.user_ms);
	uint64_t system = minus(run->after.system_ms, run->before.system_ms);

	return user + system > 0 ? (double)user / (double)(user + system) : 0;
}

static json_t *server_json(const struct pn_bench_run *run)
{
	const struct pn_bench_cost *a = &run->after;
	const struct pn_bench_cost *b = &run->before;
	double cpu_us = (double)minus(a->cpu_ns, b->cpu_ns) / 1000;

	return json_pack(
		"{s:I, s:f, s:f, s:I, s:I, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f}",
		"pid", (json_int_t)run->server_pid, "cpu_us", cpu_us, "cpu_us_per_operation",
		per(cpu_us, run->done), "user_ms", (json_int_t)minus(a->user_ms, b->user_ms),
		"system_ms", (json_int_t)minus(a->system_ms, b->system_ms),
		"voluntary_switches_per_operation",
		per((double)minus(a->switches_voluntary, b->switches_voluntary), run->done),
		"involuntary_switches_per_operation",
		per((double)minus(a->switches_involuntary, b->switches_involuntary), run->done),
		"rss_bytes", (json_int_t)a->rss_bytes, "processes", (json_int_t)a->process_count,
		"threads", (json_int_t)a->thread_count, "pss_bytes", (json_int_t)a->pss_bytes,
		"private_bytes", (json_int_t)a->private_bytes, "read_calls",
		(json_int_t)minus(a->read_calls, b->read_calls), "write_calls",
		(json_int_t)minus(a->write_calls, b->write_calls), "user_us",
		cpu_us * user_share(run), "system_us", cpu_us * (1 - user_share(run)));
}

static void print_cost(const struct pn_bench_run *run)
{
	const struct pn_bench_cost *a = &run->after;
	const struct pn_bench_cost *b = &run->before;
	double span_ns = (double)(run->end_ns - run->begin_ns);
	double cpu_ns = (double)minus(a->cpu_ns, b->cpu_ns);

	if (run->server_pid != 0) {
		row("server CPU per operation", "%.1f us  (user %.0f %%, system %.0f %%)",
		    per(cpu_ns / 1000, run->done), user_share(run) * 100,
		    (1 - user_share(run)) * 100);
		row("server busy", "%.0f %% of one CPU", span_ns > 0 ? cpu_ns / span_ns * 100 : 0);
		row("context switches", "%.2f voluntary, %.2f involuntary per operation",
		    per((double)minus(a->switches_voluntary, b->switches_voluntary), run->done),
		    per((double)minus(a->switches_involuntary, b->switches_involuntary),
			run->done));
		row("server memory (RSS)", "%.1f MiB", (double)a->rss_bytes / 1048576);
	}
	if (run->server_cgroup)
		row("cgroup CPU per operation", "%.1f us",
		    per((double)minus(a->cgroup_ns, b->cgroup_ns) / 1000, run->done));
	double own_ns = (double)minus(a->own_ns, b->own_ns);
	row("client CPU per operation", "%.1f us  (%.0f %% of one CPU)",
	    per(own_ns / 1000, run->done), span_ns > 0 ? own_ns / span_ns * 100 : 0);
	double busy = (double)minus(a->machine_busy_ms, b->machine_busy_ms);
	double idle = (double)minus(a->machine_idle_ms, b->machine_idle_ms);
	row("whole machine busy", "%.0f %%", busy + idle > 0 ? busy / (busy + idle) * 100 : 0);
}

/* ---- the whole ---- */

static json_t *latency_json(const struct pn_bench_histogram *h)
{
	return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "mean",
			 per((double)h->sum_ns / 1000, h->count), "p50",
			 (double)pn_bench_histogram_quantile(h, 0.5) / 1000, "p90",
			 (double)pn_bench_histogram_quantile(h, 0.9) / 1000, "p99",
			 (double)pn_bench_histogram_quantile(h, 0.99) / 1000, "p999",
			 (double)pn_bench_histogram_quantile(h, 0.999) / 1000, "max",
			 (double)h->max_ns / 1000);
}

static json_t *build_json(const struct pn_bench_run *run, bool is_good)
{
	double span_s = (double)(run->end_ns - run->begin_ns) / 1e9;
	char date[PN_DATE_RFC3339_SIZE];
	char id[17];
	json_t *argv = json_array();

	(void)pn_date_rfc3339(date, run->begin_wall_ms);
	(void)snprintf(id, sizeof(id), "%016llx", (unsigned long long)run->id);
	for (int i = 0; i < run->argc; i++)
		(void)json_array_append_new(argv, json_string(run->argv[i]));
	json_t *o =
		json_pack("{s:s, s:s, s:o, s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:o, s:b}",
			  "command", run->argv[0], "operation", run->operation_name, "arguments",
			  argv, "started", date, "run", id, "parallel", (json_int_t)run->parallel,
			  "operations", (json_int_t)run->done, "failures", (json_int_t)run->failed,
			  "connections", (json_int_t)run->connections, "wall_s", span_s,
			  "operations_per_second", span_s > 0 ? (double)run->done / span_s : 0,
			  "latency_us", latency_json(&run->latency), "is_good", is_good);
	if (!o)
		return NULL;
	if (run->promise.count > 0)
		(void)json_object_set_new(o, "promise_us", latency_json(&run->promise));
	(void)json_object_set_new(o, "seed", json_sprintf("%llu", (unsigned long long)run->seed));
	pn_bench_run_add_json(run, o);
	if (run->server_pid != 0)
		(void)json_object_set_new(o, "server", server_json(run));
	if (run->server_cgroup) {
		double us = (double)minus(run->after.cgroup_ns, run->before.cgroup_ns) / 1000;
		(void)json_object_set_new(o, "cgroup",
					  json_pack("{s:s, s:f, s:f}", "path", run->server_cgroup,
						    "cpu_us", us, "cpu_us_per_operation",
						    per(us, run->done)));
	}
	double own_us = (double)minus(run->after.own_ns, run->before.own_ns) / 1000;
	(void)json_object_set_new(o, "client",
				  json_pack("{s:f, s:f}", "cpu_us", own_us, "cpu_us_per_operation",
					    per(own_us, run->done)));
	(void)json_object_set_new(o, "whole_machine",
				  json_pack("{s:I, s:I}", "busy_ms",
					    (json_int_t)minus(run->after.machine_busy_ms,
							      run->before.machine_busy_ms),
					    "idle_ms",
					    (json_int_t)minus(run->after.machine_idle_ms,
							      run->before.machine_idle_ms)));
	(void)json_object_set(o, "machine", run->machine);
	return o;
}

static void print_records(const struct pn_bench_run *run)
{
	struct pn_bench_records records;
	char text[128];

	if (!pn_bench_records_of(run->gateway_before, run->gateway_after, &records))
		return;
	pn_bench_records_text(&records, text, sizeof(text));
	row("records", "%s", text);
}

static void print_table(const struct pn_bench_run *run)
{
	const struct pn_bench_histogram *h = &run->latency;
	double span_s = (double)(run->end_ns - run->begin_ns) / 1e9;

	printf("postern-bench %s: %llu %ss over %llu connections in %.2f s, %llu failed\n",
	       run->argv[0], (unsigned long long)run->done, run->operation_name,
	       (unsigned long long)run->connections, span_s, (unsigned long long)run->failed);
	if (run->rate > 0)
		row("rate", "%.0f %ss/s (open loop, %llu/s wanted, %s, at most %llu at a time)",
		    span_s > 0 ? (double)run->done / span_s : 0, run->operation_name,
		    (unsigned long long)run->rate, run->arrivals,
		    (unsigned long long)run->parallel);
	else if (run->is_scenario)
		row("rate", "%.0f %ss/s", span_s > 0 ? (double)run->done / span_s : 0,
		    run->operation_name);
	else
		row("rate", "%.0f %ss/s (closed loop, %llu at a time)",
		    span_s > 0 ? (double)run->done / span_s : 0, run->operation_name,
		    (unsigned long long)run->parallel);
	row("latency", "p50 %.2f ms, p90 %.2f ms, p99 %.2f ms, max %.2f ms",
	    (double)pn_bench_histogram_quantile(h, 0.5) / 1e6,
	    (double)pn_bench_histogram_quantile(h, 0.9) / 1e6,
	    (double)pn_bench_histogram_quantile(h, 0.99) / 1e6, (double)h->max_ns / 1e6);
	if (run->rate > 0)
		row("never started", "%llu dropped, %llu still due at the end",
		    (unsigned long long)run->open_loop.due.dropped,
		    (unsigned long long)run->open_loop.unstarted);
	pn_bench_negotiated_print(&run->negotiated);
	print_records(run);
	pn_bench_failures_print(&run->failures);
	print_cost(run);
}

int pn_bench_run_report(struct pn_bench_run *run, json_t *extra, bool is_good)
{
	is_good = is_good && (!run->rate_sweep || run->knee > 0) &&
		  (run->failed == 0 || run->is_failure_expected) && run->done > 0;
	print_table(run);
	json_t *o = run->json_path ? build_json(run, is_good) : NULL;
	if (o && extra)
		(void)json_object_update(o, extra);
	json_decref(extra);
	if (run->json_path && (!o || json_dump_file(o, run->json_path, JSON_INDENT(2)) != 0)) {
		fprintf(stderr, "postern-bench: cannot write %s\n", run->json_path);
		is_good = false;
	}
	json_decref(o);
	return is_good ? PN_BENCH_EXIT_OK : PN_BENCH_EXIT_FAILED;
}
