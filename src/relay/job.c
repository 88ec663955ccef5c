/* SPDX-License-Identifier: ISC */
/*
 * job.c - the steps of a message in progress: load, plan, one part after the other, decide, report,
 * record, end.
 *
 * job_run() is the only place that takes a step; everything else says where to go on (pn_job_go)
 * and returns. Whatever goes wrong here, the entry ends in exactly one place: recorded as final, in
 * the schedule, parked, or handed over.
 */
#include "job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/clock.h>
#include <postern/base/log.h>

#include "admin.h"
#include "connection.h"
#include "maildir.h"
#include "report.h"
#include "worker.h"

#define JOB_ARENA_CHUNK_BYTES 4096u

static void job_run(struct pn_loop *loop, struct pn_task *task);

/* ---- making and freeing ---- */

static struct pn_job *job_new(struct pn_worker *w)
{
	struct pn_list *node = pn_list_pop_front(&w->spare_jobs);
	struct pn_job *job = node ? pn_container_of(node, struct pn_job, node) : NULL;
	struct pn_spool_reader *reader = job ? job->reader : NULL;
	if (!job) {
		job = calloc(1, sizeof(*job));
		reader = job ? pn_spool_reader_new(w->relay->spool, w->loop) : NULL;
		if (!reader) {
			free(job);
			return NULL;
		}
	}
	*job = (struct pn_job){.worker = w, .reader = reader, .task = {.fn = job_run}};
	pn_list_init(&job->node);
	pn_list_init(&job->wait_node);
	pn_arena_init(&job->arena, JOB_ARENA_CHUNK_BYTES, PN_JOB_ARENA_MAX_BYTES);
	return job;
}

void pn_job_free_spare(struct pn_worker *w)
{
	struct pn_list *node;
	while ((node = pn_list_pop_front(&w->spare_jobs)) != NULL) {
		struct pn_job *job = pn_container_of(node, struct pn_job, node);
		pn_spool_reader_free(job->reader);
		free(job);
	}
}

static void job_leave_pool(struct pn_job *job)
{
	if (job->pool)
		pn_pool_leave(job->pool);
	job->pool = NULL;
}

void pn_job_start(struct pn_worker *w, struct pn_spool_entry *entry, struct pn_pool *reserved,
                  struct pn_admin_request *admin)
{
	struct pn_job *job = job_new(w);
	if (!job) {
		if (reserved)
			pn_pool_leave(reserved);
		if (admin)
			pn_admin_failed(w, admin, -ENOMEM);
		pn_worker_defer(w, entry);
		return;
	}
	job->entry = entry;
	job->pool = reserved;
	job->admin = admin;
	job->is_admin_only = admin != NULL;
	pn_list_push_back(&w->jobs, &job->node);
	w->job_count++;
	pn_counter_set(&w->counters[PN_RELAY_C_jobs], w->job_count);
	pn_job_go(job, PN_JOB_LOAD);
}

void pn_job_go(struct pn_job *job, enum pn_job_state state)
{
	job->state = state;
	if (job->is_posted)
		return;
	job->is_posted = true;
	pn_loop_defer(job->worker->loop, &job->task);
}

/* ---- ending ---- */

static void job_end(struct pn_job *job)
{
	struct pn_worker *w = job->worker;
	struct pn_spool_entry *report;
	PN_ASSERT(!job->is_reading && !job->conn && !job->delivery && !job->report);
	PN_ASSERT(!pn_list_is_linked(&job->wait_node));
	job_leave_pool(job);
	pn_spool_reader_done(job->reader);
	if (!job->is_final && !job->is_entry_gone)
		pn_worker_place(w, job->entry, job->park);
	while ((report = pn_entry_list_pop(&job->reports)) != NULL)
		pn_relay_submit(w->relay, report);
	if (job->admin_next)
		pn_admin_again(w, job->admin_next);
	pn_arena_reset(&job->arena);
	pn_list_remove(&job->node);
	w->job_count--;
	pn_counter_set(&w->counters[PN_RELAY_C_jobs], w->job_count);
	pn_list_push_front(&w->spare_jobs, &job->node);
	pn_worker_pump_later(w);
	pn_worker_progress(w);
}

/* ---- loading ---- */

/* Without its envelope nobody can be told that it has expired. The time in the id is that of its arrival. Both
 * clocks, as in job_outcome.c. */
static bool load_is_expired(const struct pn_job *job)
{
	uint64_t own_ms = pn_worker_wall_ms(job->worker), wall_ms = pn_clock_wall_ms();
	uint64_t now_ms = own_ms < wall_ms ? own_ms : wall_ms;
	return now_ms >= pn_id_time_ms(&job->entry->id) + (uint64_t)job->worker->relay->settings.lifetime_s * 1000;
}

/* What cannot be read now is tried again later; what is damaged, or can still not be read when its lifetime is
 * over, is kept for a human to look at, and does not come back by itself. */
static void job_load_failed(struct pn_job *job, int error)
{
	struct pn_worker *w = job->worker;
	struct pn_log_line line;
	pn_worker_count(w, PN_RELAY_C_load_failures, 1);
	pn_log_begin(&line, PN_LOG_ERROR, "load");
	pn_log_id(&line, "id", &job->entry->id);
	pn_log_str(&line, "error", strerror(-error));
	pn_log_end(&line);
	if (job->admin && error != -ENOMEM && error != -ENOBUFS && pn_admin_removes(job)) {
		pn_job_record_removed(job);
		return;
	}
	bool is_held = error == -EBADMSG || (error != -ENOMEM && error != -ENOBUFS && load_is_expired(job));
	if (job->admin)
		pn_admin_unreadable(job, error);
	if (is_held)
		job->entry->flags |= PN_ENTRY_HELD;
	if (job->entry->attempts < UINT16_MAX)
		job->entry->attempts++;
	job->entry->next_attempt_wall_ms =
		pn_worker_wall_ms(w) + pn_backoff_delay_ms(&w->relay->retry, job->entry->attempts, &w->prng);
	pn_job_go(job, PN_JOB_END);
}

static void job_on_load(void *ctx, int result, struct pn_spool_message *message)
{
	struct pn_job *job = ctx;
	job->is_reading = false;
	if (result < 0) {
		job_load_failed(job, result);
		return;
	}
	job->message = message;
	pn_job_go(job, PN_JOB_PLAN);
}

static void job_load(struct pn_job *job)
{
	job->is_reading = true;
	pn_spool_reader_load(job->reader, job->entry, job_on_load, job);
}

static void job_plan(struct pn_job *job)
{
	if (job->is_admin_only) {
		pn_admin_run(job);
		return;
	}
	if (pn_job_plan(job) < 0) {
		job_load_failed(job, -ENOMEM);
		return;
	}
	pn_job_go(job, PN_JOB_PART);
}

/* ---- parts ---- */

static void job_part(struct pn_job *job)
{
	if (!job->part) {
		/* The place that a parked message waited for is for that upstream, whatever else is owed. */
		job->part = job->pool && !job->is_attempt && !job->is_cut ? pn_job_reserved_part(job) : NULL;
		if (!job->part) {
			job_leave_pool(job);
			job->part = job->is_cut ? NULL : pn_job_next_part(job);
		}
		if (!job->part) {
			pn_job_go(job, PN_JOB_DECIDE);
			return;
		}
		job->is_attempt = true;
		job->part_start_ms = pn_loop_now_ms(job->worker->loop);
	}
	if (job->pool->settings->kind == PN_UPSTREAM_MAILDIR)
		pn_maildir_start(job);
	else
		pn_part_start(job);
}

void pn_job_part_end(struct pn_job *job)
{
	PN_ASSERT(job->part && !job->is_reading);
	job->part->is_done = true;
	job->part = NULL;
	job->is_body = false;
	job->is_part_over = false;
	pn_job_go(job, PN_JOB_PART);
}

/* Which steps a cut still has to wait for is decided by what owns the job at the moment. */
void pn_job_cut(struct pn_job *job, bool is_hard)
{
	job->is_cut = true;
	if (job->state == PN_JOB_WAITING) {
		pn_list_remove(&job->wait_node);
		pn_counter_sub(&job->pool->counters[PN_UPSTREAM_C_waiting], 1);
		pn_job_part_end(job);
		return;
	}
	if (!is_hard)
		return;
	/* A Maildir delivery or a record only waits for the disk: it goes on to its end. */
	if (job->conn)
		pn_conn_fail(job->conn, 3, 2, false, "shutting down");
}

/* ---- the steps ---- */

static void job_run(struct pn_loop *loop, struct pn_task *task)
{
	struct pn_job *job = pn_container_of(task, struct pn_job, task);
	(void)loop;
	job->is_posted = false;
	switch (job->state) {
	case PN_JOB_LOAD:
		job_load(job);
		return;
	case PN_JOB_PLAN:
		job_plan(job);
		return;
	case PN_JOB_PART:
		job_part(job);
		return;
	case PN_JOB_TRANSFER:
		pn_part_begin(job);
		return;
	case PN_JOB_DECIDE:
		job_leave_pool(job);
		pn_job_decide(job);
		return;
	case PN_JOB_REPORT:
		pn_report_start(job);
		return;
	case PN_JOB_RECORD:
		pn_job_record(job);
		return;
	case PN_JOB_END:
		job_end(job);
		return;
	case PN_JOB_WAITING:
	case PN_JOB_CONNECTING:
	case PN_JOB_RECORDING:
		return;
	}
}
