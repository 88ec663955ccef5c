/* SPDX-License-Identifier: ISC */
/*
 * submit.c - the command that logs in and sends messages, one or more in a connection.
 *
 * Each message has an id of its own; the server's reply to it is kept, and with --sink-ids it must arrive at the sink
 * exactly once before the run is over and the server's cost is read.
 */
#include "submit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/clock.h>

#include "command.h"

/* ---- the run ---- */

/* Until the sink has all that was promised, or time is up. */
static int wait_for_sink(void *arg)
{
	struct pn_bench_submit *s = arg;
	uint64_t end_ms = pn_clock_mono_ms() + s->sink_timeout_ms;
	int r = pn_bench_account_read(&s->account);

	while (r == 0 && s->sink_ids_path && s->account.missing > 0 &&
	       pn_clock_mono_ms() < end_ms) {
		r = pn_bench_run_idle(&s->run, 5);
		if (r == 0)
			r = pn_bench_account_read(&s->account);
	}
	return r == -EINTR ? 0 : r;
}

static int run_submit(struct pn_bench_submit *s)
{
	const struct pn_bench_workload workload = { .start = pn_bench_submit_slots_start,
						    .settle = wait_for_sink,
						    .arg = s };
	int r = pn_bench_submit_slots_new(s);

	if (r == 0 && s->resume_share > 0)
		r = pn_bench_run_collect_tickets(&s->run);
	if (r == 0)
		r = pn_bench_run_measure(&s->run, &workload);
	/* Duplicates may come late. */
	if (r == 0)
		r = pn_bench_account_read(&s->account);
	if (r == 0)
		pn_bench_submit_slots_free(s);
	return r;
}

/* ---- the report ---- */

static int report(struct pn_bench_submit *s)
{
	struct pn_bench_account_sums a;
	/* A ticket may be too old now and then; most must do. */
	bool is_resumed = s->run.negotiated.resumed * 10 >= s->resumed_wanted * 9 ||
			  s->run.sweep_steps != NULL;

	pn_bench_account_sum(&s->account, &a);
	bool is_clean = pn_bench_account_is_clean(&a);
	if (!is_resumed)
		fprintf(stderr, "postern-bench: only %llu of %llu sessions were resumed\n",
			(unsigned long long)s->run.negotiated.resumed,
			(unsigned long long)s->resumed_wanted);
	json_t *extra = json_pack(
		"{s:o, s:I, s:s, s:I, s:I, s:I}", "accounting", pn_bench_account_json(&a),
		"message_size_bytes", (json_int_t)s->size.max_bytes, "size", s->size_text,
		"messages_per_connection", (json_int_t)s->messages_per_connection, "recipients",
		(json_int_t)s->recipient_count, "users", (json_int_t)s->users.count);
	int code = pn_bench_run_report(&s->run, extra, is_clean && is_resumed);
	pn_bench_account_print(&a);
	return code;
}

/* ---- the options ---- */

static int usage(const char *text)
{
	fprintf(stderr, "postern-bench submit: %s\n", text);
	return -EINVAL;
}

static int check_options(struct pn_bench_submit *s)
{
	if (!s->to || (!s->from && !s->users_path) || !s->user != !s->password_path)
		return usage("give --to, and --from or --users-file; --user and --password-file go "
			     "together");
	if (s->user && s->users_path)
		return usage("either --user or --users-file");
	if (!pn_bench_distribution_parse(&s->size, s->size_text))
		return usage(
			"--size takes 4K, 1K-64K, lognormal:8K:1.2 or 2K*70,50K*30; 1K to 64M");
	if (strcmp(s->pipelining, "yes") != 0 && strcmp(s->pipelining, "no") != 0)
		return usage("--pipelining takes yes or no");
	if (s->from && strlen(s->from) > PN_BENCH_USER_NAME_MAX)
		return usage("--from is too long");
	return 0;
}

static int read_users(struct pn_bench_submit *s)
{
	if (s->users_path)
		return pn_bench_users_read(&s->users, s->users_path);
	return s->user ? pn_bench_users_one(&s->users, s->user, s->password_path) : 0;
}

static int prepare(struct pn_bench_submit *s)
{
	size_t size_max = 0;
	int r = check_options(s);

	if (r == 0)
		r = pn_bench_auth_parse(s->auth, &s->run.endpoint.client.auth)
			    ? 0
			    : usage("--auth takes any, plain, login or scram-sha-256");
	if (r == 0)
		r = pn_bench_recipients_make(&s->recipients, s->to, s->recipient_count);
	if (r == -EINVAL && s->recipients.count == 0 && s->to)
		return usage("--to takes an address");
	if (r == 0)
		r = read_users(s);
	if (r < 0)
		return r;
	size_max = (size_t)pn_bench_distribution_max(&s->size);
	s->run.sessions_max = s->resume_share > 0 ? 2 * s->run.parallel + 16 : 0;
	r = pn_bench_run_start(&s->run, size_max);
	if (r < 0)
		return r;
	pn_prng_init(&s->prng, s->run.seed ^ 1);
	s->run.endpoint.client.is_chunking_used = s->is_chunking_used;
	s->run.endpoint.client.is_lockstep = strcmp(s->pipelining, "no") == 0;
	r = pn_bench_message_init(&s->message, s->run.id, s->run.seed, s->to, size_max);
	if (r < 0)
		return usage("--to is too long");
	r = pn_bench_account_init(&s->account, s->run.id, s->sink_ids_path);
	if (r < 0)
		fprintf(stderr, "postern-bench submit: %s: %s\n", s->sink_ids_path, strerror(-r));
	return r;
}

static int parse(struct pn_bench_submit *s, int argc, char **argv)
{
	struct pn_bench_run_options common;
	const struct pn_bench_option own[] = {
		{ "user", "NAME", PN_BENCH_TEXT, &s->user, 0, 0, "log in as this user" },
		{ "password-file", "FILE", PN_BENCH_TEXT, &s->password_path, 0, 0,
		  "its first line is the password" },
		{ "users-file", "FILE", PN_BENCH_TEXT, &s->users_path, 0, 0,
		  "lines user:password; each connection takes the next" },
		{ "auth", "MECHANISM", PN_BENCH_TEXT, &s->auth, 0, 0,
		  "any, plain, login or scram-sha-256" },
		{ "from", "ADDRESS", PN_BENCH_TEXT, &s->from, 0, 0,
		  "sender; with --users-file the user if absent" },
		{ "to", "ADDRESS", PN_BENCH_TEXT, &s->to, 0, 0, "recipient" },
		{ "recipients", "N", PN_BENCH_NUMBER, &s->recipient_count, 1,
		  PN_BENCH_RECIPIENTS_MAX, "of a message: --to, and LOCAL+N@DOMAIN" },
		{ "size", "SIZE", PN_BENCH_TEXT, &s->size_text, 0, 0,
		  "of a message: 4K, 1K-64K, lognormal:8K:1.2 or 2K*70,50K*30" },
		{ "messages-per-connection", "N", PN_BENCH_NUMBER, &s->messages_per_connection, 1,
		  UINT32_MAX, "then QUIT" },
		{ "pipelining", "yes|no", PN_BENCH_TEXT, &s->pipelining, 0, 0,
		  "no: wait for each reply, whatever is offered" },
		{ "depth", "N", PN_BENCH_NUMBER, &s->depth, 1, PN_SMTP_CLIENT_AHEAD_MAX,
		  "messages of a connection on their way at a time, with PIPELINING" },
		{ "chunking", NULL, PN_BENCH_FLAG, &s->is_chunking_used, 0, 0,
		  "BDAT where the server offers CHUNKING" },
		{ "resume-share", "PERCENT", PN_BENCH_NUMBER, &s->resume_share, 0, 100,
		  "of the TLS sessions are resumed" },
		{ "sink-ids", "FILE", PN_BENCH_TEXT, &s->sink_ids_path, 0, 0,
		  "what the sink writes: all must arrive, once" },
		{ "sink-timeout", "S", PN_BENCH_SECONDS, &s->sink_timeout_ms, 0, 0,
		  "how long that may take" },
	};
	struct pn_bench_option_group groups[1 + PN_BENCH_RUN_GROUP_COUNT] = {
		{ "Messages", own, PN_ARRAY_SIZE(own) }
	};

	pn_bench_run_options(&s->run, "messages", &common, groups + 1);
	return pn_bench_options_parse(
		groups, PN_ARRAY_SIZE(groups),
		"Logs in and sends messages. Latency counts to the 250 from "
		"MAIL, for the first message of\n"
		"a connection from the connect; with --rate from the intended "
		"start.",
		argc, argv);
}

static void deinit(struct pn_bench_submit *s)
{
	pn_bench_recipients_deinit(&s->recipients);
	pn_bench_users_deinit(&s->users);
	pn_bench_account_deinit(&s->account);
	pn_bench_message_deinit(&s->message);
	pn_bench_run_deinit(&s->run);
}

int pn_bench_submit_main(int argc, char **argv)
{
	static struct pn_bench_submit s;
	int code = PN_BENCH_EXIT_FAILED;

	pn_bench_run_init(&s.run, argc, argv);
	s.run.operation_name = "message";
	s.size_text = "4K";
	s.auth = "any";
	s.pipelining = "yes";
	s.depth = 8;
	s.recipient_count = 1;
	s.messages_per_connection = 1;
	s.sink_timeout_ms = 30000;
	int r = parse(&s, argc, argv);
	if (r != 0)
		return r > 0 ? PN_BENCH_EXIT_OK : PN_BENCH_EXIT_USAGE;
	r = prepare(&s);
	if (r < 0)
		code = PN_BENCH_EXIT_USAGE;
	else if (run_submit(&s) == 0)
		code = report(&s);
	else
		return PN_BENCH_EXIT_FAILED; /* the kernel may still hold our memory */
	deinit(&s);
	return code;
}
