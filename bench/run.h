/* SPDX-License-Identifier: ISC */
/*
 * run.h - what every command that puts load on a server shares: target, amount of work, closed and open loop,
 * progress, the server's cost, and the report.
 *
 *	pn_bench_run_init(&run, argc, argv);  pn_bench_options_parse(groups with pn_bench_run_options() ...);
 *	pn_bench_run_start(&run);             the endpoint and its loop are made
 *	pn_bench_run_measure(&run, &workload); the workload's slots take operations, and wait while there is none
 *	exit code = pn_bench_run_report(&run, ...);  pn_bench_run_deinit(&run);
 *
 * Closed loop: `parallel` slots, each of which starts its next operation when the last has ended. Open loop (--rate):
 * operations become due by a schedule, whatever the server does; a slot that is free takes the oldest. One thread.
 */
#ifndef PN_BENCH_RUN_H
#define PN_BENCH_RUN_H

#include <jansson.h>

#include "connection.h"
#include "cost.h"
#include "failures.h"
#include "histogram.h"
#include "negotiated.h"
#include "options.h"
#include "samples.h"
#include "schedule.h"

#define PN_BENCH_RATE_MAX 1000000u

/* A slot of a workload that has nothing to do. */
struct pn_bench_worker {
	struct pn_list node;
	void (*go)(struct pn_bench_worker
			   *worker); /* there is something to take, or the end has come */
};

struct pn_bench_workload {
	/* Each slot takes an operation or waits. */
	void (*start)(void *arg);
	/*
	 * After the last operation, before the second sample; may wait for what is not over yet. 0
	 * or -errno. NULL: nothing.
	 */
	int (*settle)(void *arg);
	void *arg;
};

struct pn_bench_open_loop {
	struct pn_bench_schedule schedule;
	struct pn_bench_due due;
	struct pn_list waiting; /* workers */
	struct pn_op op;
	uint64_t expirations; /* the timer's; the kernel writes it */
	int fd;               /* of the timer; 0: none made */
	uint64_t scheduled, unstarted;
	uint64_t end_ms; /* when what is still due is given up; 0: the schedule goes on */
};

struct pn_bench_run {
	/* options */
	const char *host, *tls_name, *json_path, *server_cgroup, *control_socket;
	const char *tls_version, *certificate, *groups, *arrivals, *sources, *rate_sweep;
	uint64_t port, parallel, operations_max, duration_ms, timeout_ms, settle_ms;
	uint64_t failures_max, cpu, server_pid, seed, rate, due_max;
	uint64_t p99_max_ms, step_ms, overload;
	bool is_starttls, is_progress_wanted;
	bool is_scenario;         /* neither loop: the command has its own idea of when to begin */
	bool is_failure_expected; /* counted, but neither shown nor a reason to stop */
	uint64_t sessions_max;    /* tickets to keep; 0: nothing is resumed */
	/* for the report */
	int argc;
	char **argv;
	const char *operation_name; /* "handshake", "message" */
	/* the run */
	uint64_t id; /* different in every run */
	struct pn_bench_endpoint endpoint;
	json_t *machine;
	json_t *gateway_before, *gateway_after; /* the gateway's own counters */
	json_t *sweep_steps;                    /* NULL: no sweep */
	uint64_t knee;                          /* per second; 0: none found */
	/* of the round */
	uint64_t started, done, failed, open_count, connections;
	struct pn_bench_histogram latency;
	struct pn_bench_histogram promise; /* of messages: from the content's last octet to its reply */
	struct pn_bench_histogram
		lateness; /* open loop: of the start, behind the intended one, for whatever reason */
	struct pn_bench_failures failures;
	struct pn_bench_negotiated negotiated;
	struct pn_bench_samples samples;
	struct pn_bench_open_loop open_loop;
	uint64_t begin_ns, end_ns, next_progress_ms, progress_done;
	uint64_t begin_wall_ms;
	bool is_stopped; /* no new operations: time is up, too many failures, or a signal */
	struct pn_bench_cost before, after;
};

/* Sets the defaults. */
void pn_bench_run_init(struct pn_bench_run *run, int argc, char **argv);

#define PN_BENCH_RUN_GROUP_COUNT 4
#define PN_BENCH_RUN_ROW_COUNT   28
/* The options that all commands have; run_options.c. amount_name is "connections" or "messages". */
struct pn_bench_run_options {
	struct pn_bench_option rows[PN_BENCH_RUN_ROW_COUNT];
};
void pn_bench_run_options(struct pn_bench_run *run, const char *amount_name,
			  struct pn_bench_run_options *o,
			  struct pn_bench_option_group groups[PN_BENCH_RUN_GROUP_COUNT]);
/* The TLS client that the options describe; NULL after saying why in err. */
struct pn_tls_client *pn_bench_run_tls_client(const struct pn_bench_run *run, struct pn_error *err);
/* --source-addresses: "127.0.1.1-127.0.1.9" or one address. */
bool pn_bench_sources_parse(const char *text, uint32_t *ret_first,
			    uint32_t *ret_count) PN_MUST_CHECK;

/* After parsing. 0, or -errno after saying why on stderr. */
int pn_bench_run_start(struct pn_bench_run *run, size_t message_size_bytes) PN_MUST_CHECK;
/* 0, or -errno when the ring, the server's process or the workload's settle() failed (said on stderr). */
int pn_bench_run_round(struct pn_bench_run *run,
		       const struct pn_bench_workload *workload) PN_MUST_CHECK;
/* All that the options ask for: a sweep, then the round that is reported. 0 or -errno after saying why. sweep.c */
int pn_bench_run_measure(struct pn_bench_run *run,
			 const struct pn_bench_workload *workload) PN_MUST_CHECK;
/* Makes connections, untimed, until there is a ticket for each slot. 0 or -errno after saying why. tickets.c */
int pn_bench_run_collect_tickets(struct pn_bench_run *run) PN_MUST_CHECK;

/* Whether one more operation may start now; counts it as started. Its latency counts from *ret_start_ns. */
bool pn_bench_run_take(struct pn_bench_run *run, uint64_t *ret_start_ns) PN_MUST_CHECK;
/* Whether nothing will ever come in this round any more; if not, a slot that got nothing waits. */
bool pn_bench_run_is_over(const struct pn_bench_run *run);
/* worker->go() comes once. Those that are connected go first. */
void pn_bench_run_wait(struct pn_bench_run *run, struct pn_bench_worker *worker, bool is_connected);
void pn_bench_run_done(struct pn_bench_run *run, uint64_t start_ns);
/* Says it on stderr (the first few). Too many stop the run. `failure` may be NULL (our own fault). */
void pn_bench_run_failed(struct pn_bench_run *run, const struct pn_bench_failure *failure,
			 uint64_t opened_ns, const char *fmt, ...) PN_PRINTF(4, 5);
/* Goes round until nothing is open and nothing will come. 0 or -errno. */
int pn_bench_run_drive(struct pn_bench_run *run) PN_MUST_CHECK;
/* One round of the loop of at most wait_ms, for waiting. -EINTR after a signal. */
int pn_bench_run_idle(struct pn_bench_run *run, uint64_t wait_ms) PN_MUST_CHECK;
bool pn_bench_run_is_interrupted(void);
/* Prints the table, writes the JSON (`extra`, taken, is merged into it). The exit code. */
int pn_bench_run_report(struct pn_bench_run *run, json_t *extra, bool is_good);
void pn_bench_run_deinit(struct pn_bench_run *run);

/* ---- open_loop.c ---- */

int pn_bench_open_loop_begin(struct pn_bench_run *run) PN_MUST_CHECK;
/* Hands out what is due; called in every round of the loop. */
void pn_bench_open_loop_turn(struct pn_bench_run *run);
/* Cancels the timer; it has ended when op is idle. */
void pn_bench_open_loop_stop(struct pn_bench_run *run);
void pn_bench_open_loop_deinit(struct pn_bench_run *run);

/* ---- run_json.c ---- */

/* Adds what report.c does not know: histogram, samples, negotiated TLS, failures, loops, config. */
void pn_bench_run_add_json(const struct pn_bench_run *run, json_t *o);
/* The gateway's answer to `status` on its control socket; NULL after saying why. */
json_t *pn_bench_gateway_status(const char *path);

#endif
