/* SPDX-License-Identifier: ISC */
/*
 * handshake.c - the command that makes connections and nothing else: TLS up to the 220 (465), or EHLO, STARTTLS,
 * handshake, EHLO (587). Each ends with close_notify and close; no session is resumed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/clock.h>

#include "command.h"
#include "run.h"

struct slot {
	struct pn_bench_conn conn;
	struct pn_bench_run *run;
	uint64_t start_ns;
	bool is_counted;
};

static void open_next(struct slot *slot)
{
	struct pn_bench_run *run = slot->run;

	if (!pn_bench_run_take(run))
		return;
	slot->start_ns = pn_clock_mono_ns();
	slot->is_counted = false;
	int r = pn_bench_conn_open(&slot->conn);
	if (r < 0) {
		pn_bench_run_failed(run, "cannot open a connection: %s", strerror(-r));
		return;
	}
	run->open_count++;
	run->connections++;
}

static void on_event(struct pn_bench_conn *conn, enum pn_bench_conn_event event)
{
	struct slot *slot = pn_container_of(conn, struct slot, conn);
	struct pn_bench_run *run = slot->run;

	switch (event) {
	case PN_BENCH_CONN_GREETED:
	case PN_BENCH_CONN_READY:
		pn_bench_run_done(run, slot->start_ns);
		run->facts = conn->facts;
		slot->is_counted = true;
		pn_bench_conn_close(conn);
		break;
	case PN_BENCH_CONN_FAILED:
		if (!slot->is_counted)
			pn_bench_run_failed(run, "%s", pn_bench_conn_failure(conn));
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

static int run_handshakes(struct pn_bench_run *run)
{
	struct slot *slots = calloc(run->parallel, sizeof(*slots));
	int r = slots ? 0 : -1;

	for (uint64_t i = 0; slots && i < run->parallel; i++) {
		slots[i].run = run;
		slots[i].conn.endpoint = &run->endpoint;
		slots[i].conn.fn = on_event;
		open_next(&slots[i]);
	}
	if (r == 0)
		r = pn_bench_run_drive(run);
	if (r == 0)
		r = pn_bench_run_settle(run);
	for (uint64_t i = 0; r == 0 && i < run->parallel; i++)
		pn_bench_conn_deinit(&slots[i].conn);
	free(slots);
	return r;
}

int pn_bench_handshake_main(int argc, char **argv)
{
	struct pn_bench_run run;
	struct pn_bench_option rows[PN_BENCH_RUN_OPTION_COUNT];
	const struct pn_bench_option_group groups[] = { { "Options", rows, PN_ARRAY_SIZE(rows) } };

	pn_bench_run_init(&run, argc, argv);
	run.operation_name = "handshake";
	pn_bench_run_options(&run, "connections", rows);
	int r = pn_bench_options_parse(
		groups, PN_ARRAY_SIZE(groups),
		"Full TLS handshakes: up to the 220, or with --starttls EHLO, handshake, EHLO.",
		argc, argv);
	if (r != 0)
		return r > 0 ? PN_BENCH_EXIT_OK : PN_BENCH_EXIT_USAGE;
	r = pn_bench_run_start(&run, 0);
	if (r < 0) {
		pn_bench_run_deinit(&run);
		return PN_BENCH_EXIT_USAGE;
	}
	r = run_handshakes(&run);
	if (r < 0)
		return PN_BENCH_EXIT_FAILED;
	int code = pn_bench_run_report(&run, NULL, true);
	pn_bench_run_deinit(&run);
	return code;
}
