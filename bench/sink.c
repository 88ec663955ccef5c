/* SPDX-License-Identifier: ISC */
/*
 * sink.c - the command that is the next hop of a measured gateway: takes everything, counts it,
 * and says at SIGTERM what came, as JSON on stdout.
 *
 * It can misbehave as real servers do (--behave), and lie on purpose (--lose, --duplicate), so that the accounting of
 * `submit` can itself be tested.
 */
#include "sink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "command.h"
#include "options.h"

#define ROUND_MS           200u
#define CLOSING_ROUNDS     50
#define ID_LINES_MAX_BYTES (16u << 20)
#define BACKLOG            1024

struct acceptor {
	struct pn_bench_sink sink;
	const char *address, *ids_path, *rules;
	uint64_t port, cpu, seed;
	int fd;
	struct pn_op op;
	bool is_stopping;
};

static volatile sig_atomic_t is_interrupted;

static void on_signal(int signal_number)
{
	(void)signal_number;
	is_interrupted = 1;
}

static void on_accept(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct acceptor *a = pn_container_of(op, struct acceptor, op);

	if (res >= 0 && pn_bench_sink_session_new(&a->sink, res) != 0)
		a->sink.errors++;
	if (!a->is_stopping)
		pn_loop_accept(loop, op, on_accept, a->fd, NULL, NULL);
}

/* The ids are in the file before the 250s leave: who waits for them never reads too early. */
static void write_id_lines(struct pn_bench_sink *sink)
{
	while (pn_buf_len(&sink->id_lines) > 0) {
		ssize_t n = write(sink->ids_fd, pn_buf_ptr(&sink->id_lines),
				  pn_buf_len(&sink->id_lines));
		if (n <= 0) {
			fprintf(stderr, "postern-bench sink: writing ids: %s\n", strerror(errno));
			sink->errors++;
			pn_buf_clear(&sink->id_lines);
			return;
		}
		pn_buf_consume(&sink->id_lines, (size_t)n);
	}
}

static void on_batch_end(struct pn_loop *loop, struct pn_batch_hook *hook)
{
	struct pn_bench_sink *sink = pn_container_of(hook, struct pn_bench_sink, hook);

	(void)loop;
	write_id_lines(sink);
	pn_bench_sink_sessions_flush(sink);
}

static int listen_on(struct acceptor *a)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)a->port) };
	socklen_t len = sizeof(in);
	int one = 1;

	if (inet_pton(AF_INET, a->address, &in.sin_addr) != 1)
		return -EINVAL;
	a->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (a->fd < 0)
		return -errno;
	(void)setsockopt(a->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(a->fd, (struct sockaddr *)&in, len) != 0 || listen(a->fd, BACKLOG) != 0 ||
	    getsockname(a->fd, (struct sockaddr *)&in, &len) != 0)
		return -errno;
	a->port = ntohs(in.sin_port);
	return 0;
}

static int start(struct acceptor *a)
{
	struct pn_bench_sink *sink = &a->sink;
	struct pn_error err = { .text = "" };
	const struct pn_loop_settings settings = {
		.name = "sink",
		.sq_entries = 1024,
		.cq_entries = 8192,
		.buffer_count = 1024,
		.buffer_size_bytes = 16384,
		.cpu = a->cpu == UINT64_MAX ? -1 : (int)a->cpu,
	};

	if (!pn_bench_sink_rules_parse(&sink->rules, a->rules, a->seed, &err)) {
		fprintf(stderr, "postern-bench sink: --behave: %s\n", err.text);
		return -EINVAL;
	}
	pn_list_init(&sink->sessions);
	pn_list_init(&sink->flush_list);
	pn_buf_init(&sink->id_lines, ID_LINES_MAX_BYTES);
	sink->ids_fd = a->ids_path
			       ? open(a->ids_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)
			       : -1;
	if (a->ids_path && sink->ids_fd < 0) {
		fprintf(stderr, "postern-bench sink: %s: %s\n", a->ids_path, strerror(errno));
		return -errno;
	}
	int r = listen_on(a);
	if (r < 0) {
		fprintf(stderr, "postern-bench sink: cannot listen on %s:%u: %s\n", a->address,
			(unsigned)a->port, strerror(-r));
		return r;
	}
	r = pn_loop_new(&settings, &sink->loop, &err);
	if (r < 0) {
		fprintf(stderr, "postern-bench sink: %s\n", err.text);
		return r;
	}
	sink->hook.fn = on_batch_end;
	pn_loop_hook_add(sink->loop, &sink->hook);
	pn_loop_accept(sink->loop, &a->op, on_accept, a->fd, NULL, NULL);
	return 0;
}

static void stop(struct acceptor *a)
{
	struct pn_bench_sink *sink = &a->sink;

	a->is_stopping = true;
	pn_loop_cancel(sink->loop, &a->op);
	pn_bench_sink_sessions_close(sink);
	for (int i = 0; i < CLOSING_ROUNDS && pn_loop_inflight(sink->loop) > 0; i++) {
		if (pn_loop_run_once(sink->loop, ROUND_MS) < 0)
			return;
	}
	if (pn_loop_inflight(sink->loop) > 0)
		return; /* the end of the process frees it */
	pn_loop_hook_remove(sink->loop, &sink->hook);
	pn_loop_free(sink->loop);
	(void)close(a->fd);
	if (sink->ids_fd >= 0)
		(void)close(sink->ids_fd);
	pn_buf_free(&sink->id_lines);
	pn_bench_id_set_free(&sink->ids);
}

/* How often each rule's action was taken, as {"rcpt:reject": 3}. */
static json_t *behaved_json(const struct pn_bench_sink *s)
{
	json_t *o = json_object();
	char name[32];

	for (int stage = 0; stage < PN_BENCH_SINK_STAGE_COUNT; stage++) {
		for (int action = 0; action < PN_BENCH_SINK_ACTION_COUNT; action++) {
			uint64_t count = s->rules.done[stage][action];
			(void)snprintf(
				name, sizeof(name), "%s:%s",
				pn_bench_sink_stage_name((enum pn_bench_sink_stage)stage),
				pn_bench_sink_action_name((enum pn_bench_sink_action)action));
			if (count > 0)
				(void)json_object_set_new(o, name, json_integer((json_int_t)count));
		}
	}
	return o;
}

static void print_summary(const struct acceptor *a)
{
	const struct pn_bench_sink *s = &a->sink;
	json_t *o = json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
		"s:o}",
		"port", (json_int_t)a->port, "connections", (json_int_t)s->connections, "messages",
		(json_int_t)s->messages, "unique_ids", (json_int_t)s->ids.count, "recipients",
		(json_int_t)s->recipients, "octets", (json_int_t)s->octets, "duplicates",
		(json_int_t)s->duplicates, "corrupt", (json_int_t)s->corrupt, "strangers",
		(json_int_t)s->strangers, "forgotten", (json_int_t)s->forgotten, "errors",
		(json_int_t)s->errors, "reports", (json_int_t)s->reports, "receives",
		(json_int_t)s->receives, "sends", (json_int_t)s->sends, "behaved", behaved_json(s));

	if (o && json_dumpf(o, stdout, JSON_COMPACT) == 0)
		putchar('\n');
	(void)fflush(stdout);
	json_decref(o);
}

static int parse(struct acceptor *a, int argc, char **argv)
{
	const struct pn_bench_option rows[] = {
		{ "address", "IPV4", PN_BENCH_TEXT, &a->address, 0, 0, "where to listen" },
		{ "port", "N", PN_BENCH_NUMBER, &a->port, 0, 65535,
		  "0: any free one; it is printed" },
		{ "ids-file", "FILE", PN_BENCH_TEXT, &a->ids_path, 0, 0,
		  "append a line for each message of ours (for submit --sink-ids)" },
		{ "chunking", NULL, PN_BENCH_FLAG, &a->sink.is_chunking_offered, 0, 0,
		  "offer CHUNKING (BDAT)" },
		{ "lmtp", NULL, PN_BENCH_FLAG, &a->sink.is_lmtp, 0, 0,
		  "speak LMTP: a reply for each recipient" },
		{ "behave", "RULES", PN_BENCH_TEXT, &a->rules, 0, 0,
		  "STAGE:ACTION:WHEN,... with connect mail rcpt data dot; delay=MS defer reject "
		  "hangup; N% or a pattern" },
		{ "seed", "N", PN_BENCH_NUMBER, &a->seed, 1, UINT64_MAX - 1, "of the shares" },
		{ "cpu", "N", PN_BENCH_NUMBER, &a->cpu, 0, 1023, "run on one CPU" },
		{ "lose", "N", PN_BENCH_NUMBER, &a->sink.lose_count, 0, UINT32_MAX,
		  "answer 250 to the first N messages and forget them" },
		{ "duplicate", "N", PN_BENCH_NUMBER, &a->sink.duplicate_count, 0, UINT32_MAX,
		  "count the first N messages twice" },
	};
	const struct pn_bench_option_group groups[] = { { "Options", rows, PN_ARRAY_SIZE(rows) } };

	return pn_bench_options_parse(groups, PN_ARRAY_SIZE(groups),
				      "A fast SMTP or LMTP server that takes every message, unless "
				      "--behave says otherwise. Prints \"port "
				      "N\" when it listens, and what came\n"
				      "as JSON at SIGTERM or SIGINT.",
				      argc, argv);
}

int pn_bench_sink_main(int argc, char **argv)
{
	static struct acceptor a;
	struct rlimit files;
	int r = 0;

	a.address = "127.0.0.1";
	a.cpu = UINT64_MAX;
	a.seed = 1;
	r = parse(&a, argc, argv);
	if (r != 0)
		return r > 0 ? PN_BENCH_EXIT_OK : PN_BENCH_EXIT_USAGE;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	(void)signal(SIGINT, on_signal);
	(void)signal(SIGTERM, on_signal);
	if (start(&a) < 0)
		return PN_BENCH_EXIT_USAGE;
	printf("port %u\n", (unsigned)a.port);
	(void)fflush(stdout);
	while (r == 0 && !is_interrupted)
		r = pn_loop_run_once(a.sink.loop, ROUND_MS);
	print_summary(&a);
	stop(&a);
	return r == 0 ? PN_BENCH_EXIT_OK : PN_BENCH_EXIT_FAILED;
}
