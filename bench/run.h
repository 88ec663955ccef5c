/* SPDX-License-Identifier: ISC */
/*
 * run.h - what every command that puts load on a server shares: target, amount of work, the closed loop, progress,
 * the server's cost, and the report.
 *
 *	pn_bench_run_init(&run, argc, argv);  pn_bench_options_parse(groups with pn_bench_run_options ...);
 *	pn_bench_run_start(&run);             the endpoint and its loop are made, the first cost sample is taken
 *	... open connections while pn_bench_run_take(&run); one pn_bench_run_done() or _failed() for each ...
 *	pn_bench_run_drive(&run);             until nothing is open any more
 *	pn_bench_run_settle(&run);            the second sample
 *	exit code = pn_bench_run_report(&run, ...);  pn_bench_run_deinit(&run);
 *
 * Closed loop: `parallel` connections, each of which starts its next operation when the last has ended. One thread.
 */
#ifndef PN_BENCH_RUN_H
#define PN_BENCH_RUN_H

#include <jansson.h>

#include "connection.h"
#include "cost.h"
#include "histogram.h"
#include "options.h"

#define PN_BENCH_RUN_OPTION_COUNT 16

struct pn_bench_run {
	/* options */
	const char *host, *tls_name, *json_path, *server_cgroup;
	uint64_t port, parallel, operations_max, duration_ms, timeout_ms, settle_ms;
	uint64_t failures_max, cpu, server_pid, seed;
	bool is_starttls, is_progress_wanted;
	/* for the report */
	int argc;
	char **argv;
	const char *operation_name; /* "handshake", "message" */
	/* the run */
	uint64_t id; /* different in every run */
	struct pn_bench_endpoint endpoint;
	json_t *machine;
	uint64_t started, done, failed, open_count, connections;
	struct pn_bench_histogram latency;
	uint64_t begin_ns, end_ns, next_progress_ms, progress_done;
	uint64_t begin_wall_ms;
	bool is_stopped; /* no new operations: time is up, too many failures, or a signal */
	struct pn_bench_cost before, after;
	struct pn_tls_facts facts; /* of the last handshake */
};

/* Sets the defaults. */
void pn_bench_run_init(struct pn_bench_run *run, int argc, char **argv);
/* Fills `rows` with the options that all commands have; amount_name is "connections" or "messages". */
void pn_bench_run_options(struct pn_bench_run *run, const char *amount_name,
			  struct pn_bench_option rows[PN_BENCH_RUN_OPTION_COUNT]);
/* After parsing. 0, or -errno after saying why on stderr. */
int pn_bench_run_start(struct pn_bench_run *run, size_t message_size_bytes) PN_MUST_CHECK;
/* Whether one more operation may start now; counts it as started. */
bool pn_bench_run_take(struct pn_bench_run *run) PN_MUST_CHECK;
void pn_bench_run_done(struct pn_bench_run *run, uint64_t start_ns);
/* Says it on stderr (the first few). Too many stop the run. */
void pn_bench_run_failed(struct pn_bench_run *run, const char *fmt, ...) PN_PRINTF(2, 3);
/* Goes round until open_count is 0. 0 or -errno. */
int pn_bench_run_drive(struct pn_bench_run *run) PN_MUST_CHECK;
/* One short round of the loop and nothing else, for waiting. */
int pn_bench_run_idle(struct pn_bench_run *run) PN_MUST_CHECK;
/* Lets the server come to rest and takes the second sample. */
int pn_bench_run_settle(struct pn_bench_run *run) PN_MUST_CHECK;
/* Prints the table, writes the JSON (`extra`, taken, is merged into it). The exit code. */
int pn_bench_run_report(struct pn_bench_run *run, json_t *extra, bool is_good);
void pn_bench_run_deinit(struct pn_bench_run *run);

#endif
