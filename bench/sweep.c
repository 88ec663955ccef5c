/* SPDX-License-Identifier: ISC */
/*
 * sweep.c - looks for the knee, the highest rate that a server keeps up with, and measures there or beyond.
 *
 * Each step is a round of its own at a constant rate: first doubled until one fails, then halved in between. A step
 * holds when its p99 stays under the limit and nothing failed, was dropped or never started.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "run.h"

/* The knee is told to this share. */
#define PRECISION 1.05

static bool step_holds(const struct pn_bench_run *run)
{
	return run->done > 0 && run->failed == 0 && run->open_loop.due.dropped == 0 &&
	       run->open_loop.unstarted == 0 &&
	       pn_bench_histogram_quantile(&run->latency, 0.99) <= run->p99_max_ms * 1000000;
}

static void keep_step(struct pn_bench_run *run, bool holds)
{
	double span_s = (double)(run->end_ns - run->begin_ns) / 1e9;
	double p50_us = (double)pn_bench_histogram_quantile(&run->latency, 0.5) / 1000;
	double p99_us = (double)pn_bench_histogram_quantile(&run->latency, 0.99) / 1000;
	double server_us = (double)(run->after.cpu_ns - run->before.cpu_ns) / 1000;

	fprintf(stderr,
		"postern-bench: %7llu/s: p50 %.2f ms, p99 %.2f ms, %llu failed, %llu not started: "
		"%s\n",
		(unsigned long long)run->rate, p50_us / 1000, p99_us / 1000,
		(unsigned long long)run->failed,
		(unsigned long long)(run->open_loop.due.dropped + run->open_loop.unstarted),
		holds ? "holds" : "does not hold");
	(void)json_array_append_new(
		run->sweep_steps,
		json_pack("{s:I, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:f, s:b}", "rate",
			  (json_int_t)run->rate, "achieved_rate",
			  span_s > 0 ? (double)run->done / span_s : 0, "p50_us", p50_us, "p99_us",
			  p99_us, "operations", (json_int_t)run->done, "failures",
			  (json_int_t)run->failed, "dropped",
			  (json_int_t)run->open_loop.due.dropped, "unstarted",
			  (json_int_t)run->open_loop.unstarted, "server_cpu_us_per_operation",
			  run->done > 0 ? server_us / (double)run->done : 0, "holds", holds));
}

static int step(struct pn_bench_run *run, const struct pn_bench_workload *workload, double rate,
		bool *ret_holds)
{
	run->rate = (uint64_t)rate;
	int r = pn_bench_run_round(run, workload);
	if (r < 0 || pn_bench_run_is_interrupted())
		return r < 0 ? r : -EINTR;
	*ret_holds = step_holds(run);
	keep_step(run, *ret_holds);
	return 0;
}

/* *ret_knee is 0 when not even the lowest rate holds. */
static int find_knee(struct pn_bench_run *run, const struct pn_bench_workload *workload, double low,
		     double high, double *ret_knee)
{
	double bad = 0;
	bool holds = true;
	int r = 0;

	*ret_knee = 0;
	for (double rate = low; r == 0 && bad == 0 && rate <= high; rate *= 2) {
		r = step(run, workload, rate, &holds);
		if (r == 0 && holds)
			*ret_knee = rate;
		else
			bad = rate;
	}
	while (r == 0 && *ret_knee > 0 && bad > 0 && bad / *ret_knee > PRECISION &&
	       bad - *ret_knee >= 2) {
		double middle = (*ret_knee + bad) / 2;
		r = step(run, workload, middle, &holds);
		if (r == 0 && holds)
			*ret_knee = middle;
		else
			bad = middle;
	}
	return r;
}

static int sweep(struct pn_bench_run *run, const struct pn_bench_workload *workload)
{
	uint64_t duration_ms = run->duration_ms;
	unsigned long long low, high;
	char rest;
	double knee;

	if (sscanf(run->rate_sweep, "%llu-%llu%c", &low, &high, &rest) != 2 || low < 1 ||
	    low > high || high > PN_BENCH_RATE_MAX) {
		fprintf(stderr, "postern-bench: --rate-sweep takes LOW-HIGH, as 100-20000\n");
		return -EINVAL;
	}
	run->sweep_steps = json_array();
	run->is_failure_expected = true;
	run->duration_ms = run->step_ms;
	int r = find_knee(run, workload, (double)low, (double)high, &knee);
	run->duration_ms = duration_ms ? duration_ms : run->step_ms;
	run->is_failure_expected = false;
	run->knee = (uint64_t)knee;
	if (r < 0)
		return r;
	if (run->knee == 0) {
		fprintf(stderr, "postern-bench: not even %llu/s keeps p99 under %llu ms\n", low,
			(unsigned long long)run->p99_max_ms);
		return 0;
	}
	run->rate = run->knee;
	return 0;
}

int pn_bench_run_measure(struct pn_bench_run *run, const struct pn_bench_workload *workload)
{
	int r = run->rate_sweep ? sweep(run, workload) : 0;

	if (r < 0 || (run->rate_sweep && run->knee == 0))
		return r;
	if (run->overload > 0) {
		if (run->rate == 0) {
			fprintf(stderr, "postern-bench: --overload needs --rate or --rate-sweep\n");
			return -EINVAL;
		}
		run->rate *= run->overload;
		run->is_failure_expected = true;
	}
	return pn_bench_run_round(run, workload);
}
