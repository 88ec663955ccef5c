/* SPDX-License-Identifier: ISC */
/* run.c - see run.h. */
#include "run.h"

#include <errno.h>
#include <netdb.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <postern/base/clock.h>
#include <postern/base/prng.h>

#include "machine.h"

#define FAILURES_SHOWN 10u
#define ROUND_MS       100u
#define PROGRESS_MS    1000u

static volatile sig_atomic_t is_interrupted;

static void on_signal(int signal_number)
{
	(void)signal_number;
	is_interrupted = 1;
}

void pn_bench_run_init(struct pn_bench_run *run, int argc, char **argv)
{
	memset(run, 0, sizeof(*run));
	run->argc = argc;
	run->argv = argv;
	run->host = "127.0.0.1";
	run->parallel = 64;
	run->timeout_ms = 30000;
	run->settle_ms = 300;
	run->failures_max = 10;
	run->cpu = UINT64_MAX;
	run->due_max = 100000;
	run->p99_max_ms = 100;
	run->step_ms = 5000;
	run->arrivals = "poisson";
	pn_list_init(&run->open_loop.waiting);
}

/* ---- start ---- */

static int resolve(struct pn_bench_run *run)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
	struct addrinfo *list;
	char port[8];

	(void)snprintf(port, sizeof(port), "%u", (unsigned)run->port);
	int r = getaddrinfo(run->host, port, &hints, &list);
	if (r != 0) {
		fprintf(stderr, "postern-bench: %s: %s\n", run->host, gai_strerror(r));
		return -EINVAL;
	}
	memcpy(&run->endpoint.address, list->ai_addr, list->ai_addrlen);
	run->endpoint.address_len = list->ai_addrlen;
	freeaddrinfo(list);
	return 0;
}

static void raise_open_files(uint64_t wanted)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) != 0)
		return;
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
	if (files.rlim_max < wanted + 16)
		fprintf(stderr, "postern-bench: warning: only %llu files may be open\n",
			(unsigned long long)files.rlim_max);
}

static int make_endpoint(struct pn_bench_run *run, size_t message_size_bytes, struct pn_error *err)
{
	struct pn_bench_endpoint *e = &run->endpoint;
	const struct pn_loop_settings loop = {
		.name = "bench",
		.sq_entries = 1024,
		.cq_entries = 8192,
		.buffer_count = 2048,
		.buffer_size_bytes = 4096,
		.cpu = run->cpu == UINT64_MAX ? -1 : (int)run->cpu,
	};

	e->tls_name = run->tls_name ? run->tls_name : run->host;
	e->is_implicit_tls = !run->is_starttls;
	e->client.helo_name = "client.bench.invalid";
	e->client.tls = run->is_starttls ? PN_CLIENT_TLS_REQUIRED : PN_CLIENT_TLS_NONE;
	e->timeout_ms = run->timeout_ms;
	e->buffer_max_bytes = 4 * message_size_bytes + (1u << 20);
	if (run->sources &&
	    !pn_bench_sources_parse(run->sources, &e->source_first, &e->source_count))
		return pn_error_set(err, "--source-addresses takes IPv4 addresses, as "
					 "127.0.1.1-127.0.1.9");
	e->tls = pn_bench_run_tls_client(run, err);
	if (!e->tls)
		return -EINVAL;
	int r = pn_loop_new(&loop, &e->loop, err);
	if (r < 0)
		return r;
	pn_bench_endpoint_start(e);
	return 0;
}

int pn_bench_run_start(struct pn_bench_run *run, size_t message_size_bytes)
{
	struct pn_error err = { .text = "" };
	enum pn_bench_arrivals arrivals;
	int r;

	if (run->port == 0 ||
	    (run->operations_max == 0 && run->duration_ms == 0 && !run->rate_sweep)) {
		fprintf(stderr,
			"postern-bench %s: give --port, and an amount of work or --duration\n",
			run->argv[0]);
		return -EINVAL;
	}
	if (!pn_bench_arrivals_parse(run->arrivals, &arrivals)) {
		fprintf(stderr, "postern-bench %s: --arrivals takes constant or poisson\n",
			run->argv[0]);
		return -EINVAL;
	}
	if (run->seed == 0)
		pn_random_bytes(&run->seed, sizeof(run->seed));
	pn_random_bytes(&run->id, sizeof(run->id));
	raise_open_files(run->parallel);
	run->machine = pn_bench_machine_describe();
	r = resolve(run);
	if (r == 0 && (r = make_endpoint(run, message_size_bytes, &err)) < 0)
		fprintf(stderr, "postern-bench: %s\n", err.text);
	/* Wrong names are better found before the load than behind it. */
	if (r == 0 &&
	    (r = pn_bench_cost_take(&run->before, run->server_pid, run->server_cgroup, &err)) < 0)
		fprintf(stderr, "postern-bench: %s\n", err.text);
	if (r < 0)
		return r;
	is_interrupted = 0;
	(void)signal(SIGINT, on_signal);
	(void)signal(SIGTERM, on_signal);
	run->is_progress_wanted = run->is_progress_wanted || isatty(STDERR_FILENO);
	return 0;
}

/* ---- one round ---- */

static json_t *gateway_status(const struct pn_bench_run *run, json_t *earlier)
{
	json_decref(earlier);
	return run->control_socket ? pn_bench_gateway_status(run->control_socket) : NULL;
}

static int begin(struct pn_bench_run *run)
{
	struct pn_error err = { .text = "" };

	run->started = run->done = run->failed = run->connections = run->progress_done = 0;
	memset(&run->latency, 0, sizeof(run->latency));
	memset(&run->promise, 0, sizeof(run->promise));
	memset(&run->lateness, 0, sizeof(run->lateness));
	memset(&run->negotiated, 0, sizeof(run->negotiated));
	pn_bench_failures_clear(&run->failures);
	run->is_stopped = false;
	if (pn_bench_open_loop_begin(run) != 0)
		return -ENOMEM;
	run->gateway_before = gateway_status(run, run->gateway_before);
	if (run->control_socket && !run->gateway_before)
		return -ENOENT;
	pn_bench_samples_begin(&run->samples, run->server_pid, pn_clock_mono_ms());
	if (pn_bench_cost_take(&run->before, run->server_pid, run->server_cgroup, &err) < 0) {
		fprintf(stderr, "postern-bench: %s\n", err.text);
		return -ESRCH;
	}
	run->begin_wall_ms = pn_clock_wall_ms();
	run->begin_ns = run->end_ns = pn_clock_mono_ns();
	run->next_progress_ms = pn_clock_mono_ms() + PROGRESS_MS;
	return 0;
}

/* Lets the server come to rest and takes the second sample. */
static int end(struct pn_bench_run *run)
{
	struct pn_error err = { .text = "" };
	uint64_t end_ms = pn_clock_mono_ms() + run->settle_ms;
	/* What we spend on waiting is none of the run's. */
	uint64_t own_ns = pn_bench_own_cpu_ns();

	while (pn_clock_mono_ms() < end_ms) {
		int r = pn_loop_run_once(run->endpoint.loop, ROUND_MS);
		if (r < 0)
			return r;
	}
	if (pn_bench_cost_take(&run->after, run->server_pid, run->server_cgroup, &err) != 0) {
		fprintf(stderr, "postern-bench: %s\n", err.text);
		return -ESRCH;
	}
	run->after.own_ns = own_ns;
	run->gateway_after = gateway_status(run, run->gateway_after);
	return 0;
}

int pn_bench_run_round(struct pn_bench_run *run, const struct pn_bench_workload *workload)
{
	int r = begin(run);

	if (r < 0)
		return r;
	workload->start(workload->arg);
	r = pn_bench_run_drive(run);
	if (r == 0 && workload->settle)
		r = workload->settle(workload->arg);
	return r < 0 ? r : end(run);
}

/* ---- operations ---- */

static bool is_time_up(const struct pn_bench_run *run)
{
	return run->duration_ms > 0 &&
	       (pn_clock_mono_ns() - run->begin_ns) / 1000000 >= run->duration_ms;
}

bool pn_bench_run_take(struct pn_bench_run *run, uint64_t *ret_start_ns)
{
	uint64_t now_ns = pn_clock_mono_ns();

	if (is_interrupted || (run->rate == 0 && is_time_up(run)))
		run->is_stopped = true;
	if (run->is_stopped)
		return false;
	if (run->rate > 0) {
		if (!pn_bench_due_pop(&run->open_loop.due, ret_start_ns))
			return false;
		*ret_start_ns += run->begin_ns;
		pn_bench_histogram_add(&run->lateness, now_ns - *ret_start_ns);
	} else {
		if (run->operations_max > 0 && run->started >= run->operations_max)
			return false;
		*ret_start_ns = now_ns;
	}
	run->started++;
	return true;
}

bool pn_bench_run_is_over(const struct pn_bench_run *run)
{
	const struct pn_bench_open_loop *o = &run->open_loop;

	if (run->is_stopped || run->rate == 0)
		return true;
	return o->end_ms != 0 && o->due.count == 0;
}

void pn_bench_run_wait(struct pn_bench_run *run, struct pn_bench_worker *worker, bool is_connected)
{
	if (is_connected)
		pn_list_push_front(&run->open_loop.waiting, &worker->node);
	else
		pn_list_push_back(&run->open_loop.waiting, &worker->node);
}

void pn_bench_run_done(struct pn_bench_run *run, uint64_t start_ns)
{
	run->end_ns = pn_clock_mono_ns();
	run->done++;
	pn_bench_histogram_add(&run->latency, run->end_ns - start_ns);
}

void pn_bench_run_failed(struct pn_bench_run *run, const struct pn_bench_failure *failure,
			 uint64_t opened_ns, const char *fmt, ...)
{
	va_list args;

	run->failed++;
	if (failure)
		pn_bench_failures_add(&run->failures, failure, pn_clock_mono_ns() - opened_ns);
	if (run->is_failure_expected)
		return;
	if (run->failed <= FAILURES_SHOWN) {
		fputs("postern-bench: failed: ", stderr);
		va_start(args, fmt);
		(void)vfprintf(stderr, fmt, args);
		va_end(args);
		fputc('\n', stderr);
	}
	if (run->failed > run->failures_max && !run->is_stopped) {
		fputs("postern-bench: too many failures, stopping\n", stderr);
		run->is_stopped = true;
	}
}

static void show_progress(struct pn_bench_run *run)
{
	uint64_t now_ms = pn_clock_mono_ms();

	if (!run->is_progress_wanted || now_ms < run->next_progress_ms)
		return;
	double seconds = (double)(now_ms - run->next_progress_ms + PROGRESS_MS) / 1000;
	fprintf(stderr, "%6.1f s  %10llu %ss  %9.0f/s  %llu failed  %llu open  p99 %.2f ms\n",
		(double)(pn_clock_mono_ns() - run->begin_ns) / 1e9, (unsigned long long)run->done,
		run->operation_name, (double)(run->done - run->progress_done) / seconds,
		(unsigned long long)run->failed, (unsigned long long)run->open_count,
		(double)pn_bench_histogram_quantile(&run->latency, 0.99) / 1e6);
	run->progress_done = run->done;
	run->next_progress_ms = now_ms + PROGRESS_MS;
}

static void take_sample(struct pn_bench_run *run, uint64_t now_ms)
{
	pn_bench_samples_take(
		&run->samples, now_ms,
		(struct pn_bench_sample){
			.t_ms = (uint32_t)((pn_clock_mono_ns() - run->begin_ns) / 1000000),
			.open = (uint32_t)run->open_count,
			.due = (uint32_t)run->open_loop.due.count,
			.done = run->done,
			.failed = run->failed });
}

/* Operations that are due, and the slots that wait for them. */
static bool is_more_to_come(struct pn_bench_run *run)
{
	if (is_interrupted)
		run->is_stopped = true;
	if (run->rate > 0)
		pn_bench_open_loop_turn(run);
	if (run->is_stopped && run->open_loop.op.is_inflight)
		pn_bench_open_loop_stop(run);
	return run->open_count > 0 || !pn_bench_run_is_over(run) ||
	       !pn_list_is_empty(&run->open_loop.waiting) || run->open_loop.op.is_inflight;
}

int pn_bench_run_drive(struct pn_bench_run *run)
{
	int r = 0;

	while (r == 0 && is_more_to_come(run)) {
		r = pn_loop_run_once(run->endpoint.loop,
				     pn_bench_samples_wait_ms(&run->samples, pn_clock_mono_ms()));
		take_sample(run, pn_clock_mono_ms());
		show_progress(run);
	}
	if (r < 0)
		fprintf(stderr, "postern-bench: the io_uring failed: %s\n", strerror(-r));
	return r;
}

int pn_bench_run_idle(struct pn_bench_run *run, uint64_t wait_ms)
{
	int r = is_interrupted ? -EINTR : pn_loop_run_once(run->endpoint.loop, wait_ms);

	take_sample(run, pn_clock_mono_ms());
	show_progress(run);
	return r;
}

bool pn_bench_run_is_interrupted(void)
{
	return is_interrupted != 0;
}

void pn_bench_run_deinit(struct pn_bench_run *run)
{
	pn_bench_open_loop_deinit(run);
	pn_bench_samples_deinit(&run->samples);
	pn_bench_failures_clear(&run->failures);
	json_decref(run->gateway_before);
	json_decref(run->gateway_after);
	json_decref(run->sweep_steps);
	if (run->endpoint.loop)
		pn_bench_endpoint_stop(&run->endpoint);
	pn_loop_free(run->endpoint.loop);
	pn_tls_client_unref(run->endpoint.tls);
	json_decref(run->machine);
}
