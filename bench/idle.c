/* SPDX-License-Identifier: ISC */
/*
 * idle.c - the command that logs in on many connections, holds them, says NOOP now and then, and reports the
 * server's memory for each of them.
 *
 * An operation is a login. A connection is taken out of the run's count once it is held; the holding is the
 * workload's settle(). Kernel memory is that of the machine: on loopback both ends of a connection stand in it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <postern/base/clock.h>

#include "command.h"
#include "kernel_memory.h"
#include "run.h"
#include "users.h"

/* Descriptors for everything else. */
#define FILES_SPARE 64u

struct slot {
	struct pn_bench_conn conn;
	struct pn_bench_scram scram;
	struct idle *idle;
	uint64_t start_ns;
	bool is_held, is_ending;
};

struct idle {
	struct pn_bench_run run;
	const char *user, *password_path, *users_path, *auth;
	uint64_t hold_ms, noop_ms;
	struct pn_bench_users users;
	struct slot *slots;
	uint64_t wanted, next, opening, held, held_most, lost, noops, noop_replies;
	struct pn_bench_cost cost_held;
	struct pn_bench_kernel_memory kernel_before, kernel_held;
};

/* ---- connections ---- */

static void open_more(struct idle *idle)
{
	struct pn_bench_run *run = &idle->run;

	while (idle->opening < run->parallel && idle->next < idle->wanted) {
		struct slot *slot = &idle->slots[idle->next];
		const struct pn_bench_user *user;
		if (!pn_bench_run_take(run, &slot->start_ns))
			return;
		idle->next++;
		user = pn_bench_users_take(&idle->users);
		if (user) {
			slot->conn.auth_user = user->name;
			slot->conn.auth_password = user->password;
			pn_bench_scram_init(&slot->scram, user->name, user->password,
					    &idle->users.list[user - idle->users.list].keys);
			slot->conn.sasl = &slot->scram.sasl;
		}
		int r = pn_bench_conn_open(&slot->conn);
		if (r < 0) {
			pn_bench_run_failed(run, NULL, 0, "connection %" PRIu64 ": %s%s",
					    idle->next, strerror(-r),
					    r == -EMFILE ? " (ulimit -n)" : "");
			run->is_stopped = true;
			return;
		}
		idle->opening++;
		run->open_count++;
		run->connections++;
	}
}

static void is_ready(struct slot *slot)
{
	struct idle *idle = slot->idle;

	if (slot->is_held) {
		idle->noop_replies++;
	} else {
		pn_bench_run_done(&idle->run, slot->start_ns);
		pn_bench_negotiated_add(&idle->run.negotiated, &slot->conn.facts);
		slot->is_held = true;
		idle->opening--;
		idle->run.open_count--;
		idle->held++;
		if (idle->held > idle->held_most)
			idle->held_most = idle->held;
		open_more(idle);
	}
	pn_bench_conn_idle(&slot->conn);
}

static void has_failed(struct slot *slot)
{
	struct pn_bench_failure *failure = &slot->conn.failure;

	if (slot->is_ending)
		return;
	if (slot->is_held)
		slot->idle->lost++;
	pn_bench_run_failed(&slot->idle->run, failure, slot->conn.opened_ns, "%s%s%s",
			    slot->is_held ? "while held: " : "", failure->text,
			    strstr(failure->text, strerror(EADDRNOTAVAIL))
				    ? " (no port is left: give more --source-addresses)"
				    : "");
}

static void on_event(struct pn_bench_conn *conn, enum pn_bench_conn_event event)
{
	struct slot *slot = pn_container_of(conn, struct slot, conn);
	struct idle *idle = slot->idle;

	switch (event) {
	case PN_BENCH_CONN_READY:
		is_ready(slot);
		break;
	case PN_BENCH_CONN_FAILED:
		has_failed(slot);
		break;
	case PN_BENCH_CONN_CLOSED:
		if (slot->is_held) {
			slot->is_held = false;
			idle->held--;
		} else {
			idle->opening--;
			idle->run.open_count--;
			open_more(idle);
		}
		break;
	case PN_BENCH_CONN_GREETED:
	case PN_BENCH_CONN_BODY:
	case PN_BENCH_CONN_DONE:
		break;
	}
}

/* ---- holding ---- */

static void start(void *arg)
{
	open_more(arg);
}

/* As many NOOPs as are due by now, the connections in turn. */
static void say_noops(struct idle *idle, uint64_t elapsed_ms)
{
	uint64_t due = idle->noop_ms > 0 ? elapsed_ms * idle->held / idle->noop_ms : 0;

	for (; idle->noops < due; idle->noops++) {
		struct slot *slot = &idle->slots[idle->noops % idle->next];
		if (slot->is_held)
			pn_bench_conn_noop(&slot->conn);
	}
}

static int take_held(struct idle *idle)
{
	struct pn_error err = { .text = "" };
	int r = pn_bench_cost_take(&idle->cost_held, idle->run.server_pid, idle->run.server_cgroup,
				   &err);

	pn_bench_kernel_memory_take(&idle->kernel_held);
	if (r < 0)
		fprintf(stderr, "postern-bench: %s\n", err.text);
	return r;
}

static int say_goodbye(struct idle *idle)
{
	int r = 0;

	for (uint64_t i = 0; i < idle->next; i++) {
		idle->slots[i].is_ending = true;
		if (idle->slots[i].is_held)
			pn_bench_conn_close(&idle->slots[i].conn);
	}
	while (r == 0 && idle->held > 0)
		r = pn_loop_run_once(idle->run.endpoint.loop, 5);
	return r;
}

static int hold(void *arg)
{
	struct idle *idle = arg;
	uint64_t begin_ms = pn_clock_mono_ms();
	uint64_t now_ms;
	int r = 0;

	while (r == 0 && idle->held > 0 &&
	       (now_ms = pn_clock_mono_ms()) < begin_ms + idle->hold_ms) {
		say_noops(idle, now_ms - begin_ms);
		r = pn_bench_run_idle(&idle->run, 5);
	}
	if (r == 0 || r == -EINTR)
		r = take_held(idle);
	return r < 0 ? r : say_goodbye(idle);
}

/* ---- the command ---- */

/* As many as descriptors are left for; says so when that is fewer. */
static void limit_to_files(struct idle *idle)
{
	struct rlimit files;

	idle->wanted = idle->run.operations_max;
	if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_max == RLIM_INFINITY ||
	    idle->wanted + FILES_SPARE <= files.rlim_max)
		return;
	idle->wanted = files.rlim_max > FILES_SPARE ? files.rlim_max - FILES_SPARE : 1;
	fprintf(stderr,
		"postern-bench: the hard limit of open files (%llu, ulimit -Hn) allows %llu "
		"connections\n",
		(unsigned long long)files.rlim_max, (unsigned long long)idle->wanted);
}

static int run_idle(struct idle *idle)
{
	const struct pn_bench_workload workload = { .start = start, .settle = hold, .arg = idle };
	int r;

	idle->slots = calloc(idle->wanted, sizeof(*idle->slots));
	if (!idle->slots)
		return -ENOMEM;
	for (uint64_t i = 0; i < idle->wanted; i++) {
		idle->slots[i].idle = idle;
		idle->slots[i].conn.endpoint = &idle->run.endpoint;
		idle->slots[i].conn.fn = on_event;
	}
	pn_bench_kernel_memory_take(&idle->kernel_before);
	r = pn_bench_run_round(&idle->run, &workload);
	if (r < 0)
		return r; /* the kernel may still hold our memory */
	for (uint64_t i = 0; i < idle->wanted; i++)
		pn_bench_conn_deinit(&idle->slots[i].conn);
	free(idle->slots);
	return 0;
}

static double per_connection(const struct idle *idle, uint64_t before, uint64_t held)
{
	return idle->held_most ? ((double)held - (double)before) / (double)idle->held_most : 0;
}

static int report(struct idle *idle)
{
	const struct pn_bench_cost *b = &idle->run.before, *h = &idle->cost_held;
	double rss = per_connection(idle, b->rss_bytes, h->rss_bytes);
	double pss = per_connection(idle, b->pss_bytes, h->pss_bytes);
	double private = per_connection(idle, b->private_bytes, h->private_bytes);
	json_t *kernel = pn_bench_kernel_memory_json(&idle->kernel_before, &idle->kernel_held,
						     idle->held_most);
	bool is_good = idle->lost == 0 && idle->held_most == idle->wanted;

	json_t *extra =
		json_pack("{s:{s:I, s:I, s:I, s:I, s:I, s:{s:I, s:I, s:I}, s:{s:I, s:I, s:I}, "
			  "s:{s:f, s:f, s:f}, s:O}}",
			  "idle", "wanted", (json_int_t)idle->run.operations_max, "held",
			  (json_int_t)idle->held_most, "lost", (json_int_t)idle->lost, "noops",
			  (json_int_t)idle->noops, "noop_replies", (json_int_t)idle->noop_replies,
			  "before", "rss_bytes", (json_int_t)b->rss_bytes, "pss_bytes",
			  (json_int_t)b->pss_bytes, "private_bytes", (json_int_t)b->private_bytes,
			  "while_held", "rss_bytes", (json_int_t)h->rss_bytes, "pss_bytes",
			  (json_int_t)h->pss_bytes, "private_bytes", (json_int_t)h->private_bytes,
			  "server_per_connection", "rss_bytes", rss, "pss_bytes", pss,
			  "private_bytes", private, "machine_kernel_per_connection", kernel);
	int code = pn_bench_run_report(&idle->run, extra, is_good);
	printf("  %-28s %llu of %llu wanted, %llu lost, %llu of %llu NOOPs answered\n", "held",
	       (unsigned long long)idle->held_most, (unsigned long long)idle->run.operations_max,
	       (unsigned long long)idle->lost, (unsigned long long)idle->noop_replies,
	       (unsigned long long)idle->noops);
	if (idle->run.server_pid != 0)
		printf("  %-28s RSS %.0f, PSS %.0f, private %.0f octets\n",
		       "server, for each connection", rss, pss, private);
	printf("  %-28s unreclaimable slab %.0f, socket buffers %.0f octets (both ends on "
	       "loopback)\n",
	       "kernel, for each connection",
	       json_real_value(json_object_get(kernel, "slab_unreclaimable_bytes")),
	       json_real_value(json_object_get(kernel, "tcp_buffer_bytes")));
	json_decref(kernel);
	return code;
}

static int parse(struct idle *idle, int argc, char **argv)
{
	struct pn_bench_run_options common;
	const struct pn_bench_option own[] = {
		{ "user", "NAME", PN_BENCH_TEXT, &idle->user, 0, 0, "log in as this user" },
		{ "password-file", "FILE", PN_BENCH_TEXT, &idle->password_path, 0, 0,
		  "its first line is the password" },
		{ "users-file", "FILE", PN_BENCH_TEXT, &idle->users_path, 0, 0,
		  "lines user:password; each connection takes the next" },
		{ "auth", "MECHANISM", PN_BENCH_TEXT, &idle->auth, 0, 0,
		  "any, plain, login or scram-sha-256" },
		{ "hold", "S", PN_BENCH_SECONDS, &idle->hold_ms, 0, 0,
		  "keep them so long, once all are there" },
		{ "noop-interval", "S", PN_BENCH_SECONDS, &idle->noop_ms, 0, 0,
		  "each says NOOP so often; 0: never" },
	};
	struct pn_bench_option_group groups[] = { { "Holding", own, PN_ARRAY_SIZE(own) },
						  { NULL, NULL, 0 },
						  { NULL, NULL, 0 },
						  { NULL, NULL, 0 } };
	struct pn_bench_option_group all[PN_BENCH_RUN_GROUP_COUNT];

	/* Server, amount, measurement: there is no open loop here. */
	pn_bench_run_options(&idle->run, "connections", &common, all);
	groups[1] = all[0];
	groups[2] = all[1];
	groups[3] = all[3];
	return pn_bench_options_parse(groups, PN_ARRAY_SIZE(groups),
				      "Logs in on --connections, --parallel of them at a time, and "
				      "holds them.",
				      argc, argv);
}

static int prepare(struct idle *idle)
{
	enum pn_smtp_client_auth auth;
	int r = 0;

	if (idle->run.operations_max == 0 || !idle->user != !idle->password_path ||
	    (idle->user && idle->users_path) || !pn_bench_auth_parse(idle->auth, &auth)) {
		fprintf(stderr, "postern-bench idle: give --connections; --user with "
				"--password-file, or --users-file; --auth any, plain, login or "
				"scram-sha-256\n");
		return -EINVAL;
	}
	if (idle->users_path)
		r = pn_bench_users_read(&idle->users, idle->users_path);
	else if (idle->user)
		r = pn_bench_users_one(&idle->users, idle->user, idle->password_path);
	if (r == 0)
		r = pn_bench_run_start(&idle->run, 0);
	if (r == 0) {
		idle->run.endpoint.client.auth = auth;
		limit_to_files(idle);
	}
	return r;
}

int pn_bench_idle_main(int argc, char **argv)
{
	static struct idle idle;
	int code;

	pn_bench_run_init(&idle.run, argc, argv);
	idle.run.operation_name = "login";
	idle.auth = "any";
	idle.hold_ms = 10000;
	idle.noop_ms = 60000;
	int r = parse(&idle, argc, argv);
	if (r != 0)
		return r > 0 ? PN_BENCH_EXIT_OK : PN_BENCH_EXIT_USAGE;
	r = prepare(&idle);
	if (r < 0)
		code = PN_BENCH_EXIT_USAGE;
	else if (run_idle(&idle) == 0)
		code = report(&idle);
	else
		return PN_BENCH_EXIT_FAILED; /* the kernel may still hold our memory */
	pn_bench_users_deinit(&idle.users);
	pn_bench_run_deinit(&idle.run);
	return code;
}
