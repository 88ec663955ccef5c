/* SPDX-License-Identifier: ISC */
/*
 * worker.h - one relay worker: thread, loop, and all that belongs to them. Everything but `inbox`,
 * the tasks posted to it, `start` and the counters is touched by its own thread only.
 */
#ifndef PN_RELAY_WORKER_H
#define PN_RELAY_WORKER_H

#include <pthread.h>
#include <semaphore.h>

#include <postern/base/prng.h>
#include <postern/relay/relay.h>

#include "backoff.h"
#include "dns.h"
#include "known.h"
#include "queue.h"
#include "route.h"
#include "schedule.h"
#include "setup.h"
#include "upstream.h"

enum pn_worker_state { PN_WORKER_SERVING, PN_WORKER_DRAINING, PN_WORKER_CLOSING, PN_WORKER_STOPPED };

struct pn_worker {
	struct pn_relay *relay;
	uint32_t index;
	char name[16];
	pthread_t thread;
	sem_t may_run;                  /* start, stop -> this worker */
	int start_result;
	struct pn_error start_error;

	struct pn_loop *loop;
	struct pn_spool_writer *writer;
	struct pn_journal *journal;
	struct pn_dns *dns;
	struct pn_prng prng;
	const struct pn_setup *setup;   /* swapped, with the pools, by reconfigure.c */
	struct pn_pool **pools;         /* one for each upstream of the setup */
	size_t pool_count;
	struct pn_list retired;         /* pools of earlier setups that are not over yet */
	struct pn_timer reap_timer;
	struct pn_backoff host_backoff;

	struct pn_schedule schedule;
	struct pn_timer schedule_timer;
	struct pn_entry_list backlog;
	struct pn_entry_stack inbox;    /* entries for this worker, from others */
	struct pn_task inbox_task;
	_Atomic bool is_inbox_posted;   /* the task is on its way, and must not be posted a second time */
	struct pn_task wake_task;       /* posted by whoever took our bit from queue.sleepers */
	bool is_asleep;                 /* our bit may be set */
	struct pn_task pump_task;
	bool is_pump_posted;
	bool is_turn_of_schedule;       /* due and new messages take turns */

	uint32_t job_max, job_count;
	struct pn_list jobs;
	struct pn_list spare_jobs;
	struct pn_list settling;        /* of pn_settling */
	struct pn_batch_hook hook;
	struct pn_list flush_list;      /* connections with output */
	struct pn_task flush_task;      /* another round for what the hook left */
	bool is_flush_posted;
	enum pn_worker_state state;
	struct pn_task stop_task;
	struct pn_timer stop_timer;
	uint64_t stop_at_ms;            /* monotonic: cut then */
	bool is_cut;

	pn_counter counters[PN_RELAY_COUNTER_COUNT];
	struct pn_counter_block block;
};

struct pn_relay {
	struct pn_setup *setup;         /* of the thread that starts and reconfigures; workers have their own pointer */
	struct pn_spool *spool;
	struct pn_relay_queue queue;
	struct pn_counter_block queue_block;
	struct pn_known known;          /* what recovery found; immutable once started */
	uint64_t wall_base_ms, mono_base_ms; /* the workers' clock: wall time at start, then monotonic */
	struct pn_worker *workers;
	uint32_t worker_count;
	uint32_t submit_turn;           /* recovered entries go round, before start */
	sem_t started;                  /* workers -> start, stop, reconfigure */
	bool has_dns, is_started;
	_Atomic bool has_threads;       /* entries go through the queue */
	_Atomic bool is_serving;        /* administration is served */
	_Atomic uint32_t admin_active;  /* requests under way */
};

/* ---- reconfigure.c ---- */
/* Frees retired pools that are over, now or later. */
void pn_worker_reap(struct pn_worker *w);
void pn_worker_reap_init(struct pn_worker *w);

/* ---- worker.c ---- */
int pn_worker_init(struct pn_worker *w, struct pn_relay *relay, uint32_t index) PN_MUST_CHECK;
void pn_worker_deinit(struct pn_worker *w);
void *pn_worker_main(void *ctx);
/* Wall time that no clock step moves. */
uint64_t pn_worker_wall_ms(const struct pn_worker *w);
/* Takes more work if there is room; safe from anywhere on the thread. */
void pn_worker_pump_later(struct pn_worker *w);
/* Puts an entry where its time and flags want it. */
void pn_worker_schedule(struct pn_worker *w, struct pn_spool_entry *entry);
/* Where an entry that is still owed waits: parked for an upstream (NULL: none), at the worker that
 * serves it, or by its time. */
void pn_worker_place(struct pn_worker *w, struct pn_spool_entry *entry, struct pn_pool *park);
/* Defers in memory only, by the retry schedule (for what could not be recorded). */
void pn_worker_defer(struct pn_worker *w, struct pn_spool_entry *entry);
/* Gives the entry to another worker. */
void pn_worker_hand_over(struct pn_worker *w, uint32_t to, struct pn_spool_entry *entry);
/* A job has ended or a connection is gone: shutting down may go on. */
void pn_worker_progress(struct pn_worker *w);

/* Any thread: wakes worker `index` if it is not -1. */
void pn_relay_wake_worker(struct pn_relay *relay, int index);

static inline void pn_worker_count(struct pn_worker *w, enum pn_relay_counter c, uint64_t n)
{
	pn_counter_add(&w->counters[c], n);
}

static inline void pn_pool_count(struct pn_pool *p, enum pn_upstream_counter c, uint64_t n)
{
	pn_counter_add(&p->counters[c], n);
}

#endif
