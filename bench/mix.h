/* SPDX-License-Identifier: ISC */
/* mix.h - inside of the command `mix`: its options and run (mix.c), the sessions of its clients (mix_session.c). */
#ifndef PN_BENCH_MIX_H
#define PN_BENCH_MIX_H

#include "account.h"
#include "message.h"
#include "recipients.h"
#include "run.h"
#include "scenario.h"
#include "users.h"

struct pn_bench_mix;
struct pn_bench_mix_session;

/* A class of the scenario, and what has become of its sessions. */
struct pn_bench_mix_class {
	const struct pn_bench_class *class;
	struct pn_bench_mix *mix;
	struct pn_smtp_client_settings client;
	struct pn_bench_schedule schedule; /* with a rate */
	struct pn_list free, active;       /* sessions */
	uint64_t session_count;            /* of both */
	uint64_t open;
	uint64_t resume_credit;
	uint64_t sessions, dropped;            /* begun; not begun for want of room */
	uint64_t messages, as_expected, wrong; /* messages accepted; sessions that ended so */
	struct pn_bench_histogram login, message;
};

struct pn_bench_mix {
	struct pn_bench_run run;
	const char *scenario_path, *user, *password_path, *users_path, *from, *to, *sink_ids_path;
	uint64_t sink_timeout_ms;
	struct pn_bench_scenario scenario;
	struct pn_bench_mix_class classes[PN_BENCH_CLASSES_MAX];
	struct pn_bench_users users;
	struct pn_bench_message message;
	struct pn_bench_account account;
	struct pn_bench_recipients recipients;
	struct pn_prng prng;
	bool is_ending;
};

/* Begins a session of the class; its first latency counts from start_ns. */
void pn_bench_mix_session_begin(struct pn_bench_mix_class *c, uint64_t start_ns);
/* Idle sessions of the class leave. */
void pn_bench_mix_sessions_leave(struct pn_bench_mix_class *c);
void pn_bench_mix_sessions_free(struct pn_bench_mix_class *c);

#endif
