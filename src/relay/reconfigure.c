/* SPDX-License-Identifier: ISC */
/*
 * reconfigure.c - new settings while serving: everything is made first, then each worker swaps between two
 * of its tasks.
 *
 * What has not changed keeps its pool: connections, health, parked entries. Another pool is retired: its
 * transactions go on to their end with the settings they began with, everything else of it ends, and what
 * it held is routed anew. The caller waits until every worker has swapped, so nobody looks at the old setup
 * after that.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "job.h"
#include "worker.h"

#define REAP_MS 1000u

struct worker_change {
	struct pn_task task;
	struct pn_worker *worker;
	struct pn_relay_change *change;
	struct pn_pool **pools; /* before the swap the new ones, after it the old ones */
	size_t pool_count;
	bool is_any_retired;
};

struct pn_relay_change {
	struct pn_relay *relay;
	struct pn_setup *setup;
	bool is_all_due; /* the routes differ: nobody knows who goes another way */
	uint32_t worker_count;
	struct worker_change workers[];
};

/* ---- pools that are over ---- */

void pn_worker_reap(struct pn_worker *w)
{
	PN_LIST_FOR_EACH_SAFE(node, next, &w->retired) {
		struct pn_pool *pool = pn_container_of(node, struct pn_pool, retired_node);
		if (!pn_pool_is_over(pool))
			continue;
		pn_list_remove(node);
		pn_pool_free(pool);
	}
	if (!pn_list_is_empty(&w->retired) && !pn_timer_is_armed(&w->reap_timer))
		pn_loop_timer_set(w->loop, &w->reap_timer, REAP_MS);
}

static void worker_on_reap(struct pn_timer *timer)
{
	pn_worker_reap(pn_container_of(timer, struct pn_worker, reap_timer));
}

void pn_worker_reap_init(struct pn_worker *w)
{
	pn_timer_init(&w->reap_timer, worker_on_reap);
}

/* ---- the swap, on the worker's thread ---- */

static bool has_pool(struct pn_pool *const *pools, size_t count, const struct pn_pool *pool)
{
	for (size_t i = 0; i < count; i++) {
		if (pools[i] == pool)
			return true;
	}
	return false;
}

static struct pn_pool *find_name(struct pn_worker *w, const char *name)
{
	for (size_t i = 0; i < w->pool_count; i++) {
		if (strcmp(w->pools[i]->settings->name, name) == 0)
			return w->pools[i];
	}
	PN_LIST_FOR_EACH(node, &w->retired) {
		struct pn_pool *pool = pn_container_of(node, struct pn_pool, retired_node);
		if (strcmp(pool->settings->name, name) == 0)
			return pool;
	}
	return NULL;
}

static void swap_start(struct worker_change *c)
{
	struct pn_worker *w = c->worker;
	for (size_t i = 0; i < c->pool_count; i++) {
		struct pn_pool *pool = c->pools[i];
		if (has_pool(w->pools, w->pool_count, pool))
			continue;
		struct pn_pool *before = find_name(w, pool->settings->name);
		if (before)
			pn_pool_follow(pool, before);
		pn_pool_start(pool);
	}
}

static void swap_retire(struct worker_change *c, struct pn_pool *const *old, size_t old_count)
{
	struct pn_worker *w = c->worker;
	for (size_t i = 0; i < old_count; i++) {
		struct pn_pool *pool = old[i];
		if (has_pool(c->pools, c->pool_count, pool))
			continue;
		c->is_any_retired = true;
		pn_list_push_back(&w->retired, &pool->retired_node);
		pn_entry_list_append(&w->backlog, &pool->parked);
		pn_counter_set(&pool->counters[PN_UPSTREAM_C_parked], 0);
		pn_pool_retire(pool);
	}
}

/* Attempts in progress end the part they are at; what they have not begun is planned anew. */
static void swap_jobs(struct pn_worker *w)
{
	PN_LIST_FOR_EACH(node, &w->jobs) {
		struct pn_job *job = pn_container_of(node, struct pn_job, node);
		job->is_outdated = job->parts != NULL;
		for (uint32_t i = 0; job->parts && i < job->part_count; i++) {
			struct pn_part *part = &job->parts[i];
			part->is_replaced = part->is_replaced || !has_pool(w->pools, w->pool_count, part->pool);
		}
		if (job->park && job->park->is_retired)
			job->park = NULL;
	}
	PN_LIST_FOR_EACH(node, &w->settling) {
		struct pn_settling *s = pn_container_of(node, struct pn_settling, node);
		if (s->park && s->park->is_retired)
			s->park = NULL;
	}
}

struct times {
	uint64_t now_ms, latest_ms;
	bool is_all_due, is_any_retired;
	uint64_t current[65536 / 64]; /* a bit for each serial number in use */
};

static void times_init(struct times *t, const struct worker_change *c)
{
	const struct pn_worker *w = c->worker;
	const struct pn_backoff *retry = &c->change->setup->retry;
	*t = (struct times){
		.now_ms = pn_worker_wall_ms(w),
		.is_all_due = c->change->is_all_due,
		.is_any_retired = c->is_any_retired,
	};
	t->latest_ms = t->now_ms + retry->max_ms + retry->max_ms * retry->jitter_percent / 100;
	for (size_t i = 0; i < w->pool_count; i++) {
		uint16_t serial = w->pools[i]->upstream->serial;
		t->current[serial / 64] |= UINT64_C(1) << (serial % 64);
	}
}

/* Messages that an upstream of before could not take are tried with what is there now; no wait is longer
 * than the new schedule has. */
static void times_update(struct pn_spool_entry *e, void *ctx)
{
	const struct times *t = ctx;
	bool is_current = (t->current[e->upstream / 64] >> (e->upstream % 64)) & 1;
	if (e->flags & PN_ENTRY_HELD)
		return;
	if (e->next_attempt_wall_ms > t->latest_ms)
		e->next_attempt_wall_ms = t->latest_ms;
	if ((t->is_all_due || (t->is_any_retired && !is_current)) && e->next_attempt_wall_ms > t->now_ms)
		e->next_attempt_wall_ms = t->now_ms;
}

static void swap_times(const struct worker_change *c)
{
	struct pn_worker *w = c->worker;
	struct times t;
	times_init(&t, c);
	pn_schedule_update(&w->schedule, times_update, &t);
	/* Those whose outcome was just recorded come into the schedule only now. */
	PN_LIST_FOR_EACH(node, &w->settling)
		times_update(pn_container_of(node, struct pn_settling, node)->entry, &t);
	PN_LIST_FOR_EACH(node, &w->jobs) {
		struct pn_job *job = pn_container_of(node, struct pn_job, node);
		if (!job->is_entry_gone && (job->state == PN_JOB_RECORDING || job->state == PN_JOB_END))
			times_update(job->entry, &t);
	}
}

static void worker_on_swap(struct pn_loop *loop, struct pn_task *task)
{
	struct worker_change *c = pn_container_of(task, struct worker_change, task);
	struct pn_worker *w = c->worker;
	struct pn_pool **old = w->pools;
	size_t old_count = w->pool_count;
	(void)loop;
	swap_start(c);
	w->setup = c->change->setup;
	w->job_max = w->setup->settings.jobs_max;
	w->pools = c->pools;
	w->pool_count = c->pool_count;
	for (size_t i = 0; i < w->pool_count; i++)
		pn_pool_size(w->pools[i], w->pool_count);
	swap_retire(c, old, old_count);
	swap_jobs(w);
	swap_times(c);
	c->pools = old;
	c->pool_count = old_count;
	pn_worker_pump_later(w);
	sem_post(&w->relay->started);
}

/* ---- making and applying, on the thread that called pn_relay_start ---- */

/* The pool that already serves this upstream, or a new one. */
static struct pn_pool *change_pool(struct pn_worker *w, struct pn_upstream *u)
{
	for (size_t i = 0; i < w->pool_count; i++) {
		if (w->pools[i]->upstream == u)
			return w->pools[i];
	}
	return pn_pool_new(w, u);
}

static int change_fill(struct pn_relay_change *change)
{
	const struct pn_setup *setup = change->setup;
	size_t count = setup->settings.upstream_count;
	for (uint32_t i = 0; i < change->worker_count; i++) {
		struct worker_change *c = &change->workers[i];
		c->worker = &change->relay->workers[i];
		c->change = change;
		c->task.fn = worker_on_swap;
		c->pools = calloc(count, sizeof(struct pn_pool *));
		if (!c->pools)
			return -ENOMEM;
		for (; c->pool_count < count; c->pool_count++) {
			c->pools[c->pool_count] = change_pool(c->worker, setup->upstreams[c->pool_count]);
			if (!c->pools[c->pool_count])
				return -ENOMEM;
		}
	}
	return 0;
}

int pn_relay_change_new(struct pn_relay *relay, const struct pn_relay_settings *settings,
                        struct pn_relay_change **ret, struct pn_error *err)
{
	struct pn_relay_change *change =
		calloc(1, sizeof(*change) + relay->worker_count * sizeof(change->workers[0]));
	if (!change) {
		pn_error_set(err, "relay: out of memory");
		return -ENOMEM;
	}
	change->relay = relay;
	change->worker_count = relay->worker_count;
	int rc = pn_setup_new(settings, relay->setup, &change->setup, err);
	if (rc == 0) {
		change->is_all_due = pn_setup_routes_differ(relay->setup, change->setup);
		rc = change_fill(change);
		if (rc < 0)
			pn_error_set(err, "relay: out of memory");
	}
	if (rc < 0) {
		pn_relay_change_free(change);
		return rc;
	}
	*ret = change;
	return 0;
}

void pn_relay_change_free(struct pn_relay_change *change)
{
	if (!change)
		return;
	for (uint32_t i = 0; i < change->worker_count; i++) {
		struct worker_change *c = &change->workers[i];
		for (size_t k = 0; k < c->pool_count; k++) {
			if (!has_pool(c->worker->pools, c->worker->pool_count, c->pools[k]))
				pn_pool_free(c->pools[k]);
		}
		free(c->pools);
	}
	pn_setup_free(change->setup);
	free(change);
}

void pn_relay_change_apply(struct pn_relay_change *change)
{
	struct pn_relay *relay = change->relay;
	struct pn_setup *old = relay->setup;
	PN_ASSERT(relay->is_started);
	for (uint32_t i = 0; i < change->worker_count; i++)
		pn_loop_post(relay->workers[i].loop, &change->workers[i].task);
	for (uint32_t i = 0; i < change->worker_count; i++) {
		while (sem_wait(&relay->started) != 0)
			continue; /* a signal */
	}
	relay->setup = change->setup;
	for (uint32_t i = 0; i < change->worker_count; i++)
		free(change->workers[i].pools);
	free(change);
	pn_setup_free(old);
}
