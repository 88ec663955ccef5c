/* SPDX-License-Identifier: ISC */
/*
 * mix.c - the command that plays a scenario: classes of clients at once, each with its own rate or number, its own
 * latencies and its own idea of a good end.
 *
 * The whole play happens in the workload's settle(): the run's own operations are not used. Sessions of a class with a
 * rate begin by a Poisson schedule, looked at every millisecond; login latency counts from the intended start.
 */
#include "mix.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/clock.h>

#include "command.h"

#define SCENARIO_MAX_BYTES 65536u

/* ---- the play ---- */

static void begin_due(struct pn_bench_mix *m)
{
	uint64_t now_ns = pn_clock_mono_ns() - m->run.begin_ns;

	for (size_t i = 0; i < m->scenario.class_count; i++) {
		struct pn_bench_mix_class *c = &m->classes[i];
		while (c->class->rate > 0 && pn_bench_schedule_peek(&c->schedule) <= now_ns)
			pn_bench_mix_session_begin(c, m->run.begin_ns +
							      pn_bench_schedule_take(&c->schedule));
	}
}

static void begin_all(struct pn_bench_mix *m)
{
	for (size_t i = 0; i < m->scenario.class_count; i++) {
		struct pn_bench_mix_class *c = &m->classes[i];
		if (c->class->rate > 0)
			pn_bench_schedule_init(&c->schedule, PN_BENCH_ARRIVALS_POISSON,
					       c->class->rate, m->run.seed + i + 1);
		for (uint64_t k = 0; k < c->class->count; k++)
			pn_bench_mix_session_begin(c, pn_clock_mono_ns());
	}
}

/* Everybody finishes what he does and leaves. */
static int end_all(struct pn_bench_mix *m)
{
	uint64_t end_ms = pn_clock_mono_ms() + m->run.timeout_ms;
	int r = 0;

	m->is_ending = true;
	while (r == 0 && m->run.open_count > 0 && pn_clock_mono_ms() < end_ms) {
		for (size_t i = 0; i < m->scenario.class_count; i++)
			pn_bench_mix_sessions_leave(&m->classes[i]);
		r = pn_bench_run_idle(&m->run, 10);
	}
	if (r == 0 && m->run.open_count > 0) {
		fprintf(stderr, "postern-bench mix: %llu sessions did not end in time\n",
			(unsigned long long)m->run.open_count);
		r = -ETIMEDOUT;
	}
	return r;
}

static int wait_for_sink(struct pn_bench_mix *m)
{
	uint64_t end_ms = pn_clock_mono_ms() + m->sink_timeout_ms;
	int r = pn_bench_account_read(&m->account);

	while (r == 0 && m->sink_ids_path && m->account.missing > 0 &&
	       pn_clock_mono_ms() < end_ms) {
		r = pn_bench_run_idle(&m->run, 5);
		if (r == 0)
			r = pn_bench_account_read(&m->account);
	}
	return r;
}

static int play(void *arg)
{
	struct pn_bench_mix *m = arg;
	uint64_t end_ms = pn_clock_mono_ms() + m->run.duration_ms;
	int r = 0;

	begin_all(m);
	while (r == 0 && !m->run.is_stopped && pn_clock_mono_ms() < end_ms) {
		begin_due(m);
		r = pn_bench_run_idle(&m->run, 1);
	}
	if (r == 0)
		r = end_all(m);
	return r == 0 ? wait_for_sink(m) : r;
}

/* The play is all in settle(). */
static void start(void *arg)
{
	(void)arg;
}

/* ---- the report ---- */

static double ms(const struct pn_bench_histogram *h, double quantile)
{
	return (double)pn_bench_histogram_quantile(h, quantile) / 1e6;
}

static json_t *class_json(const struct pn_bench_mix_class *c)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f}", "name",
			 c->class->name, "sessions", (json_int_t)c->sessions, "as_expected",
			 (json_int_t)c->as_expected, "wrong", (json_int_t)c->wrong, "dropped",
			 (json_int_t)c->dropped, "messages", (json_int_t)c->messages,
			 "login_p50_us", ms(&c->login, 0.5) * 1000, "login_p99_us",
			 ms(&c->login, 0.99) * 1000, "message_p50_us", ms(&c->message, 0.5) * 1000,
			 "message_p99_us", ms(&c->message, 0.99) * 1000);
}

static void print_class(const struct pn_bench_mix_class *c)
{
	printf("  %-28s %llu sessions, %llu as expected, %llu not, %llu dropped, %llu messages\n",
	       c->class->name, (unsigned long long)c->sessions, (unsigned long long)c->as_expected,
	       (unsigned long long)c->wrong, (unsigned long long)c->dropped,
	       (unsigned long long)c->messages);
	printf("  %-28s login p50 %.2f, p99 %.2f ms; message p50 %.2f, p99 %.2f ms\n", "",
	       ms(&c->login, 0.5), ms(&c->login, 0.99), ms(&c->message, 0.5),
	       ms(&c->message, 0.99));
}

static int report(struct pn_bench_mix *m)
{
	struct pn_bench_account_sums a;
	json_t *classes = json_array();
	bool is_good;

	pn_bench_account_sum(&m->account, &a);
	is_good = pn_bench_account_is_clean(&a);
	for (size_t i = 0; i < m->scenario.class_count; i++) {
		(void)json_array_append_new(classes, class_json(&m->classes[i]));
		is_good = is_good && m->classes[i].wrong == 0 && m->classes[i].dropped == 0;
	}
	json_t *extra = json_pack("{s:s, s:o, s:o}", "scenario", m->scenario_path, "classes",
				  classes, "accounting", pn_bench_account_json(&a));
	int code = pn_bench_run_report(&m->run, extra, is_good);
	for (size_t i = 0; i < m->scenario.class_count; i++)
		print_class(&m->classes[i]);
	pn_bench_account_print(&a);
	return code;
}

/* ---- the options ---- */

static int usage(const char *text)
{
	fprintf(stderr, "postern-bench mix: %s\n", text);
	return -EINVAL;
}

static int read_scenario(struct pn_bench_mix *m)
{
	char *text = calloc(1, SCENARIO_MAX_BYTES + 1);
	FILE *f = fopen(m->scenario_path, "re");
	struct pn_error err = { .text = "" };
	int r = 0;

	if (!f || !text || fread(text, 1, SCENARIO_MAX_BYTES, f) == 0) {
		fprintf(stderr, "postern-bench: %s: %s\n", m->scenario_path, strerror(errno));
		r = -EINVAL;
	} else if (!pn_bench_scenario_parse(&m->scenario, text, &err)) {
		fprintf(stderr, "postern-bench: %s: %s\n", m->scenario_path, err.text);
		r = -EINVAL;
	}
	if (f)
		(void)fclose(f);
	free(text);
	return r;
}

static int check_options(struct pn_bench_mix *m)
{
	if (!m->scenario_path || !m->to || m->run.duration_ms == 0)
		return usage("give --scenario, --to and --duration");
	if (!m->user == !m->users_path || !m->user != !m->password_path)
		return usage("give either --user and --password-file, or --users-file");
	return 0;
}

static void make_classes(struct pn_bench_mix *m)
{
	for (size_t i = 0; i < m->scenario.class_count; i++) {
		struct pn_bench_mix_class *c = &m->classes[i];
		c->class = &m->scenario.classes[i];
		c->mix = m;
		c->client = m->run.endpoint.client;
		c->client.auth = c->class->auth;
		c->client.is_chunking_used = c->class->is_chunking_used;
		c->client.is_lockstep = c->class->is_lockstep;
		pn_list_init(&c->free);
		pn_list_init(&c->active);
	}
}

static int prepare(struct pn_bench_mix *m)
{
	size_t size_max = 0, recipients = 1;
	uint64_t resume = 0;
	int r = check_options(m);

	if (r == 0)
		r = read_scenario(m);
	if (r == 0)
		r = m->users_path ? pn_bench_users_read(&m->users, m->users_path)
				  : pn_bench_users_one(&m->users, m->user, m->password_path);
	if (r < 0)
		return r;
	for (size_t i = 0; i < m->scenario.class_count; i++) {
		const struct pn_bench_class *c = &m->scenario.classes[i];
		size_max = pn_max_size(size_max, pn_bench_distribution_max(&c->size));
		recipients = pn_max_size(recipients, c->recipients);
		resume += c->resume_percent;
	}
	if (pn_bench_recipients_make(&m->recipients, m->to, recipients) != 0)
		return usage("--to takes an address");
	m->run.sessions_max = resume > 0 ? 4096 : 0;
	r = pn_bench_run_start(&m->run, size_max);
	if (r < 0)
		return r;
	pn_prng_init(&m->prng, m->run.seed);
	make_classes(m);
	r = pn_bench_message_init(&m->message, m->run.id, m->run.seed, m->to, size_max);
	if (r == 0)
		r = pn_bench_account_init(&m->account, m->run.id, m->sink_ids_path);
	if (r < 0)
		fprintf(stderr, "postern-bench mix: %s\n", strerror(-r));
	return r;
}

static int parse(struct pn_bench_mix *m, int argc, char **argv)
{
	struct pn_bench_run_options common;
	struct pn_bench_option_group all[PN_BENCH_RUN_GROUP_COUNT];
	const struct pn_bench_option own[] = {
		{ "scenario", "FILE", PN_BENCH_TEXT, &m->scenario_path, 0, 0,
		  "the classes of clients (bench/README.md, bench/scenarios/)" },
		{ "user", "NAME", PN_BENCH_TEXT, &m->user, 0, 0, "log in as this user" },
		{ "password-file", "FILE", PN_BENCH_TEXT, &m->password_path, 0, 0,
		  "its first line is the password" },
		{ "users-file", "FILE", PN_BENCH_TEXT, &m->users_path, 0, 0,
		  "lines user:password; each session takes the next" },
		{ "from", "ADDRESS", PN_BENCH_TEXT, &m->from, 0, 0, "sender; the user if absent" },
		{ "to", "ADDRESS", PN_BENCH_TEXT, &m->to, 0, 0, "recipient" },
		{ "sink-ids", "FILE", PN_BENCH_TEXT, &m->sink_ids_path, 0, 0,
		  "what the sink writes: all must arrive, once" },
		{ "sink-timeout", "S", PN_BENCH_SECONDS, &m->sink_timeout_ms, 0, 0,
		  "how long that may take" },
	};

	pn_bench_run_options(&m->run, "messages", &common, all);
	/* The scenario has the rates. */
	const struct pn_bench_option_group groups[] = {
		{ "Clients", own, PN_ARRAY_SIZE(own) }, all[0], all[1], all[3]
	};
	return pn_bench_options_parse(groups, PN_ARRAY_SIZE(groups),
				      "Plays a scenario for --duration seconds; --messages and "
				      "--parallel are not looked at.",
				      argc, argv);
}

int pn_bench_mix_main(int argc, char **argv)
{
	static struct pn_bench_mix m;
	const struct pn_bench_workload workload = { .start = start, .settle = play, .arg = &m };
	int code;

	pn_bench_run_init(&m.run, argc, argv);
	m.run.operation_name = "message";
	m.run.is_scenario = true;
	m.sink_timeout_ms = 30000;
	int r = parse(&m, argc, argv);
	if (r != 0)
		return r > 0 ? PN_BENCH_EXIT_OK : PN_BENCH_EXIT_USAGE;
	r = prepare(&m);
	if (r < 0)
		code = PN_BENCH_EXIT_USAGE;
	else if (pn_bench_run_round(&m.run, &workload) == 0 &&
		 pn_bench_account_read(&m.account) == 0)
		code = report(&m);
	else
		return PN_BENCH_EXIT_FAILED; /* the kernel may still hold our memory */
	for (size_t i = 0; code != PN_BENCH_EXIT_USAGE && i < m.scenario.class_count; i++)
		pn_bench_mix_sessions_free(&m.classes[i]);
	pn_bench_recipients_deinit(&m.recipients);
	pn_bench_users_deinit(&m.users);
	pn_bench_account_deinit(&m.account);
	pn_bench_message_deinit(&m.message);
	pn_bench_run_deinit(&m.run);
	return code;
}
