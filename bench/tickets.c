/* SPDX-License-Identifier: ISC */
/*
 * tickets.c - connections before the measurement that only collect session tickets, so that every measured one can
 * resume.
 *
 * A server gives one or two with each connection; each slot needs one to begin with, and gets new ones as it goes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

struct collector {
	struct pn_bench_conn conn;
	struct pn_bench_run *run;
	uint64_t *left; /* connections still to be made */
	char *why;      /* of the first failure */
	size_t why_size;
};

static void open_next(struct collector *c)
{
	int r;

	if (*c->left == 0 || pn_bench_run_is_interrupted())
		return;
	--*c->left;
	r = pn_bench_conn_open(&c->conn);
	if (r < 0)
		(void)snprintf(c->why, c->why_size, "cannot open a connection: %s", strerror(-r));
	else
		c->run->open_count++;
}

static void on_event(struct pn_bench_conn *conn, enum pn_bench_conn_event event)
{
	struct collector *c = pn_container_of(conn, struct collector, conn);

	switch (event) {
	case PN_BENCH_CONN_GREETED:
	case PN_BENCH_CONN_READY:
		pn_bench_conn_close(conn);
		break;
	case PN_BENCH_CONN_FAILED:
		if (!c->why[0])
			(void)snprintf(c->why, c->why_size, "%s", conn->failure.text);
		*c->left = 0;
		break;
	case PN_BENCH_CONN_CLOSED:
		c->run->open_count--;
		open_next(c);
		break;
	case PN_BENCH_CONN_BODY:
	case PN_BENCH_CONN_DONE:
		break;
	}
}

int pn_bench_run_collect_tickets(struct pn_bench_run *run)
{
	uint64_t count = pn_min_size(run->parallel, 16);
	uint64_t left = run->parallel;
	char why[320] = "";
	struct collector *list = calloc(count, sizeof(*list));
	int r = list ? 0 : -ENOMEM;

	for (uint64_t i = 0; r == 0 && i < count; i++) {
		list[i] =
			(struct collector){ .conn = { .endpoint = &run->endpoint, .fn = on_event },
					    .run = run,
					    .left = &left,
					    .why = why,
					    .why_size = sizeof(why) };
		open_next(&list[i]);
	}
	while (r == 0 && run->open_count > 0)
		r = pn_loop_run_once(run->endpoint.loop, 100);
	if (r < 0)
		return r; /* the kernel may still hold our memory */
	for (uint64_t i = 0; i < count; i++)
		pn_bench_conn_deinit(&list[i].conn);
	free(list);
	if (why[0] || pn_tls_client_session_count(run->endpoint.tls) == 0) {
		fprintf(stderr, "postern-bench: no session tickets to resume with: %s\n",
			why[0] ? why : "the server gives none");
		return -ENOENT;
	}
	return 0;
}
