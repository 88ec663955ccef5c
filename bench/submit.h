/* SPDX-License-Identifier: ISC */
/* submit.h - inside of the command `submit`: its options and run (submit.c), its slots (submit_slot.c). */
#ifndef PN_BENCH_SUBMIT_H
#define PN_BENCH_SUBMIT_H

#include "account.h"
#include "distribution.h"
#include "message.h"
#include "recipients.h"
#include "run.h"
#include "users.h"

struct pn_bench_submit_slot;

struct pn_bench_submit {
	struct pn_bench_run run;
	/* options */
	const char *user, *password_path, *users_path, *from, *to, *sink_ids_path, *size_text,
		*auth, *pipelining;
	uint64_t messages_per_connection, sink_timeout_ms, recipient_count, resume_share, depth;
	bool is_chunking_used;
	/* */
	struct pn_bench_distribution size;
	struct pn_prng prng;
	struct pn_bench_users users;
	struct pn_bench_message message;
	struct pn_bench_account account;
	struct pn_bench_recipients recipients;
	struct pn_bench_submit_slot *slots;
	uint64_t resume_credit;  /* percent, carried from connection to connection */
	uint64_t resumed_wanted; /* connections that offered a ticket */
};

/* run.parallel slots with `depth` messages each; -ENOMEM. */
int pn_bench_submit_slots_new(struct pn_bench_submit *s) PN_MUST_CHECK;
void pn_bench_submit_slots_free(struct pn_bench_submit *s);
/* The workload's start. */
void pn_bench_submit_slots_start(void *arg);

#endif
