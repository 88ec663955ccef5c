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
}

void pn_bench_run_options(struct pn_bench_run *run, const char *amount_name,
			  struct pn_bench_option rows[PN_BENCH_RUN_OPTION_COUNT])
{
	const struct pn_bench_option all[PN_BENCH_RUN_OPTION_COUNT] = {
		{ "host", "NAME", PN_BENCH_TEXT, &run->host, 0, 0,
		  "address or name of the server" },
		{ "port", "N", PN_BENCH_NUMBER, &run->port, 1, 65535, "its port" },
		{ "tls-name", "NAME", PN_BENCH_TEXT, &run->tls_name, 0, 0,
		  "server name to ask for in TLS; the host otherwise" },
		{ "starttls", NULL, PN_BENCH_FLAG, &run->is_starttls, 0, 0,
		  "STARTTLS, not TLS from the first octet" },
		{ amount_name, "N", PN_BENCH_NUMBER, &run->operations_max, 1, UINT32_MAX,
		  "how many in all" },
		{ "duration", "S", PN_BENCH_SECONDS, &run->duration_ms, 0, 0,
		  "start nothing new after so many seconds" },
		{ "parallel", "N", PN_BENCH_NUMBER, &run->parallel, 1, 100000,
		  "connections at a time" },
		{ "timeout", "S", PN_BENCH_SECONDS, &run->timeout_ms, 0, 0,
		  "give up on a connection that makes no progress" },
		{ "failures-max", "N", PN_BENCH_NUMBER, &run->failures_max, 0, UINT32_MAX,
		  "stop after more failures than this" },
		{ "seed", "N", PN_BENCH_NUMBER, &run->seed, 0, UINT64_MAX - 1,
		  "of the content; 0: a random one" },
		{ "cpu", "N", PN_BENCH_NUMBER, &run->cpu, 0, 1023, "run this program on one CPU" },
		{ "server-pid", "PID", PN_BENCH_NUMBER, &run->server_pid, 1, INT32_MAX,
		  "report what this process and its children use" },
		{ "server-cgroup", "PATH", PN_BENCH_TEXT, &run->server_cgroup, 0, 0,
		  "report what this cgroup uses" },
		{ "settle", "S", PN_BENCH_SECONDS, &run->settle_ms, 0, 0,
		  "wait so long before the server's cost is read" },
		{ "json", "FILE", PN_BENCH_TEXT, &run->json_path, 0, 0, "write the report there" },
		{ "progress", NULL, PN_BENCH_FLAG, &run->is_progress_wanted, 0, 0,
		  "a line each second (always on a terminal)" },
	};

	memcpy(rows, all, sizeof(all));
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
	const struct pn_tls_client_settings tls = { .is_verify_required = false };
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
	e->tls = pn_tls_client_new(&tls, err);
	if (!e->tls)
		return -ENOMEM;
	int r = pn_loop_new(&loop, &e->loop, err);
	if (r < 0)
		return r;
	pn_bench_endpoint_start(e);
	return 0;
}

int pn_bench_run_start(struct pn_bench_run *run, size_t message_size_bytes)
{
	struct pn_error err = { .text = "" };
	int r;

	if (run->port == 0 || (run->operations_max == 0 && run->duration_ms == 0)) {
		fprintf(stderr,
			"postern-bench %s: give --port, and an amount of work or --duration\n",
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
	if (r == 0 &&
	    (r = pn_bench_cost_take(&run->before, run->server_pid, run->server_cgroup, &err)) < 0)
		fprintf(stderr, "postern-bench: %s\n", err.text);
	if (r < 0)
		return r;
	is_interrupted = 0;
	(void)signal(SIGINT, on_signal);
	(void)signal(SIGTERM, on_signal);
	run->is_progress_wanted = run->is_progress_wanted || isatty(STDERR_FILENO);
	run->begin_wall_ms = pn_clock_wall_ms();
	run->begin_ns = run->end_ns = pn_clock_mono_ns();
	run->next_progress_ms = pn_clock_mono_ms() + PROGRESS_MS;
	return 0;
}

/* ---- the closed loop ---- */

bool pn_bench_run_take(struct pn_bench_run *run)
{
	if (is_interrupted || (run->duration_ms > 0 &&
			       (pn_clock_mono_ns() - run->begin_ns) / 1000000 >= run->duration_ms))
		run->is_stopped = true;
	if (run->is_stopped || (run->operations_max > 0 && run->started >= run->operations_max))
		return false;
	run->started++;
	return true;
}

void pn_bench_run_done(struct pn_bench_run *run, uint64_t start_ns)
{
	run->end_ns = pn_clock_mono_ns();
	run->done++;
	pn_bench_histogram_add(&run->latency, run->end_ns - start_ns);
}

void pn_bench_run_failed(struct pn_bench_run *run, const char *fmt, ...)
{
	va_list args;

	if (run->failed++ < FAILURES_SHOWN) {
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

int pn_bench_run_drive(struct pn_bench_run *run)
{
	int r = 0;

	while (r == 0 && run->open_count > 0) {
		r = pn_loop_run_once(run->endpoint.loop, ROUND_MS);
		show_progress(run);
	}
	if (r < 0)
		fprintf(stderr, "postern-bench: the io_uring failed: %s\n", strerror(-r));
	return r;
}

int pn_bench_run_idle(struct pn_bench_run *run)
{
	return is_interrupted ? -EINTR : pn_loop_run_once(run->endpoint.loop, 5);
}

int pn_bench_run_settle(struct pn_bench_run *run)
{
	struct pn_error err;
	uint64_t end_ms = pn_clock_mono_ms() + run->settle_ms;
	struct pn_bench_cost own;

	/* What we spend on waiting is none of the run's. */
	if (pn_bench_cost_take(&own, 0, NULL, NULL) != 0)
		return -EIO;
	while (pn_clock_mono_ms() < end_ms) {
		int r = pn_loop_run_once(run->endpoint.loop, ROUND_MS);
		if (r < 0)
			return r;
	}
	if (pn_bench_cost_take(&run->after, run->server_pid, run->server_cgroup, &err) != 0) {
		fprintf(stderr, "postern-bench: %s\n", err.text);
		return -ESRCH;
	}
	run->after.own_ns = own.own_ns;
	return 0;
}

void pn_bench_run_deinit(struct pn_bench_run *run)
{
	if (run->endpoint.loop)
		pn_bench_endpoint_stop(&run->endpoint);
	pn_loop_free(run->endpoint.loop);
	pn_tls_client_unref(run->endpoint.tls);
	json_decref(run->machine);
}
