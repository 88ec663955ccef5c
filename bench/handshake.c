/* SPDX-License-Identifier: ISC */
/*
 * handshake.c - the command that makes connections and nothing else: TLS up to the 220 (465), or EHLO, STARTTLS,
 * handshake, EHLO (587). Each ends with close_notify and close; with --resume each uses a ticket of an earlier one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "run.h"

struct handshake {
	struct pn_bench_run run;
	bool wants_resumption;
	struct slot *slots;
};

struct slot {
	struct pn_bench_conn conn;
	struct pn_bench_worker worker;
	struct handshake *handshake;
	uint64_t start_ns;
	bool is_counted;
};

static void open_next(struct slot *slot)
{
	struct pn_bench_run *run = &slot->handshake->run;

	if (!pn_bench_run_take(run, &slot->start_ns)) {
		if (!pn_bench_run_is_over(run))
			pn_bench_run_wait(run, &slot->worker, false);
		return;
	}
	slot->is_counted = false;
	int r = pn_bench_conn_open(&slot->conn);
	if (r < 0) {
		pn_bench_run_failed(run, NULL, 0, "cannot open a connection: %s", strerror(-r));
		return;
	}
	run->open_count++;
	run->connections++;
}

static void go(struct pn_bench_worker *worker)
{
	open_next(pn_container_of(worker, struct slot, worker));
}

static void on_event(struct pn_bench_conn *conn, enum pn_bench_conn_event event)
{
	struct slot *slot = pn_container_of(conn, struct slot, conn);
	struct pn_bench_run *run = &slot->handshake->run;

	switch (event) {
	case PN_BENCH_CONN_GREETED:
	case PN_BENCH_CONN_READY:
		pn_bench_run_done(run, slot->start_ns);
		pn_bench_negotiated_add(&run->negotiated, &conn->facts);
		slot->is_counted = true;
		pn_bench_conn_close(conn);
		break;
	case PN_BENCH_CONN_FAILED:
		if (!slot->is_counted)
			pn_bench_run_failed(run, &conn->failure, conn->opened_ns, "%s",
					    conn->failure.text);
		break;
	case PN_BENCH_CONN_CLOSED:
		run->open_count--;
		open_next(slot);
		break;
	case PN_BENCH_CONN_BODY:
	case PN_BENCH_CONN_DONE:
		break;
	}
}

static void start(void *arg)
{
	struct handshake *h = arg;

	for (uint64_t i = 0; i < h->run.parallel; i++)
		open_next(&h->slots[i]);
}

static int run_handshakes(struct handshake *h)
{
	const struct pn_bench_workload workload = { .start = start, .arg = h };
	int r = 0;

	h->slots = calloc(h->run.parallel, sizeof(*h->slots));
	if (!h->slots)
		return -ENOMEM;
	for (uint64_t i = 0; i < h->run.parallel; i++) {
		struct slot *slot = &h->slots[i];
		slot->handshake = h;
		slot->worker.go = go;
		pn_list_init(&slot->worker.node);
		slot->conn.endpoint = &h->run.endpoint;
		slot->conn.fn = on_event;
		slot->conn.wants_resumption = h->wants_resumption;
	}
	if (h->wants_resumption)
		r = pn_bench_run_collect_tickets(&h->run);
	if (r == 0)
		r = pn_bench_run_measure(&h->run, &workload);
	if (r < 0)
		return r; /* the kernel may still hold our memory */
	for (uint64_t i = 0; i < h->run.parallel; i++)
		pn_bench_conn_deinit(&h->slots[i].conn);
	free(h->slots);
	return 0;
}

static int parse(struct handshake *h, int argc, char **argv)
{
	struct pn_bench_run_options common;
	const struct pn_bench_option own[] = {
		{ "resume", NULL, PN_BENCH_FLAG, &h->wants_resumption, 0, 0,
		  "resume sessions; a full handshake fails the run" },
	};
	struct pn_bench_option_group groups[1 + PN_BENCH_RUN_GROUP_COUNT] = {
		{ "Handshakes", own, PN_ARRAY_SIZE(own) }
	};

	pn_bench_run_options(&h->run, "connections", &common, groups + 1);
	return pn_bench_options_parse(groups, PN_ARRAY_SIZE(groups),
				      "TLS handshakes: up to the 220, or with --starttls EHLO, "
				      "handshake, EHLO.",
				      argc, argv);
}

int pn_bench_handshake_main(int argc, char **argv)
{
	static struct handshake h;
	struct pn_bench_run *run = &h.run;

	pn_bench_run_init(run, argc, argv);
	run->operation_name = "handshake";
	int r = parse(&h, argc, argv);
	if (r != 0)
		return r > 0 ? PN_BENCH_EXIT_OK : PN_BENCH_EXIT_USAGE;
	run->sessions_max = h.wants_resumption ? 2 * run->parallel + 16 : 0;
	r = pn_bench_run_start(run, 0);
	if (r < 0) {
		pn_bench_run_deinit(run);
		return PN_BENCH_EXIT_USAGE;
	}
	if (run_handshakes(&h) < 0)
		return PN_BENCH_EXIT_FAILED;
	bool is_good = !h.wants_resumption || run->negotiated.full == 0;
	if (!is_good)
		fprintf(stderr, "postern-bench: %llu handshakes were not resumed\n",
			(unsigned long long)run->negotiated.full);
	int code = pn_bench_run_report(run, NULL, is_good);
	pn_bench_run_deinit(run);
	return code;
}
