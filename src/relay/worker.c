/* SPDX-License-Identifier: ISC */
/*
 * worker.c - the relay worker's thread: where work comes from, where entries wait, how it ends.
 *
 * Work is taken while there is room for attempts: entries parked for an upstream that has room
 * again, then deferred ones that are due and new ones in turns. Draining: nothing new is started,
 * attempts in progress finish or are cut at the deadline; then connections say QUIT, journal and
 * writer come to rest, and the loop stops. Entries that are left are forgotten in memory; the spool
 * has them.
 */
#include "worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/clock.h>
#include <postern/base/log.h>

#include "connection.h"
#include "job.h"

#define WORKER_SQ_ENTRIES 512u
#define WORKER_CQ_ENTRIES 4096u
#define WORKER_BUFFERS 256u
#define WORKER_BUFFER_BYTES 8192u
#define WORKER_STOP_POLL_MS 5u
/* Longest sleep of the schedule's timer. */
#define WORKER_SCHEDULE_MAX_MS 3600000u
#define WORKER_FLUSH_PASSES 4

static const char *const counter_names[] = {
#define X(name) #name,
	PN_RELAY_COUNTERS(X)
#undef X
};

uint64_t pn_worker_wall_ms(const struct pn_worker *w)
{
	return w->relay->wall_base_ms + (pn_loop_now_ms(w->loop) - w->relay->mono_base_ms);
}

/* ---- where entries wait ---- */

static void schedule_timer_set(struct pn_worker *w)
{
	uint64_t next_ms = pn_schedule_next_ms(&w->schedule);
	uint64_t now_ms = pn_worker_wall_ms(w);
	pn_counter_set(&w->counters[PN_RELAY_C_scheduled], pn_schedule_count(&w->schedule) - w->schedule.held_count);
	pn_counter_set(&w->counters[PN_RELAY_C_held], w->schedule.held_count);
	if (next_ms == UINT64_MAX || w->state != PN_WORKER_SERVING) {
		pn_loop_timer_cancel(w->loop, &w->schedule_timer);
		return;
	}
	uint64_t delay_ms = next_ms > now_ms ? next_ms - now_ms : 0;
	if (delay_ms > WORKER_SCHEDULE_MAX_MS)
		delay_ms = WORKER_SCHEDULE_MAX_MS;
	pn_loop_timer_set(w->loop, &w->schedule_timer, delay_ms);
}

static void worker_on_schedule(struct pn_timer *timer)
{
	pn_worker_pump_later(pn_container_of(timer, struct pn_worker, schedule_timer));
}

void pn_worker_schedule(struct pn_worker *w, struct pn_spool_entry *entry)
{
	pn_schedule_add(&w->schedule, entry, pn_worker_wall_ms(w));
	schedule_timer_set(w);
}

void pn_worker_defer(struct pn_worker *w, struct pn_spool_entry *entry)
{
	uint32_t attempts = entry->attempts > 0 ? entry->attempts : 1;
	entry->next_attempt_wall_ms = pn_worker_wall_ms(w) + pn_backoff_delay_ms(&w->setup->retry, attempts, &w->prng);
	pn_worker_schedule(w, entry);
}

void pn_worker_hand_over(struct pn_worker *w, uint32_t to, struct pn_spool_entry *entry)
{
	struct pn_worker *other = &w->relay->workers[to];
	pn_worker_count(w, PN_RELAY_C_handed_over, 1);
	pn_entry_stack_push(&other->inbox, entry);
	/* acq_rel: pairs with worker_on_inbox. Whether the stack was empty says nothing: administration empties it
	 * too, while the task waits */
	if (!atomic_exchange_explicit(&other->is_inbox_posted, true, memory_order_acq_rel))
		pn_loop_post(other->loop, &other->inbox_task);
}

void pn_worker_place(struct pn_worker *w, struct pn_spool_entry *entry, struct pn_pool *park)
{
	if (!park || (entry->flags & PN_ENTRY_HELD)) {
		pn_worker_schedule(w, entry);
		return;
	}
	if (park->conn_limit == 0) {
		pn_worker_hand_over(w, park->home, entry);
		return;
	}
	entry->upstream = park->upstream->serial;
	pn_entry_list_push(&park->parked, entry);
	pn_counter_set(&park->counters[PN_UPSTREAM_C_parked], park->parked.count);
	pn_worker_pump_later(w);
}

/* ---- taking work ---- */

static void worker_start_parked(struct pn_worker *w)
{
	for (size_t i = 0; i < w->pool_count; i++) {
		struct pn_pool *pool = w->pools[i];
		while (pool->parked.count > 0 && w->job_count < w->job_max && pn_pool_enter(pool)) {
			struct pn_spool_entry *entry = pn_entry_list_pop(&pool->parked);
			pn_counter_set(&pool->counters[PN_UPSTREAM_C_parked], pool->parked.count);
			pn_job_start(w, entry, pool, NULL);
		}
	}
}

/* A new entry, or one that came back; those that are not due go into the schedule on the way. */
static struct pn_spool_entry *worker_take_new(struct pn_worker *w)
{
	struct pn_spool_entry *entry;
	uint64_t now_ms = pn_worker_wall_ms(w);
	while ((entry = pn_queue_pop(&w->relay->queue, &w->backlog)) != NULL) {
		if (!(entry->flags & PN_ENTRY_HELD) && entry->next_attempt_wall_ms <= now_ms)
			return entry;
		pn_schedule_add(&w->schedule, entry, now_ms);
	}
	return NULL;
}

static struct pn_spool_entry *worker_take(struct pn_worker *w)
{
	struct pn_spool_entry *entry = NULL;
	w->is_turn_of_schedule = !w->is_turn_of_schedule;
	if (w->is_turn_of_schedule)
		entry = pn_schedule_pop_due(&w->schedule, pn_worker_wall_ms(w));
	if (!entry)
		entry = worker_take_new(w);
	if (!entry)
		entry = pn_schedule_pop_due(&w->schedule, pn_worker_wall_ms(w));
	return entry;
}

/* Gives the others what we cannot take on soon. */
static void worker_share_backlog(struct pn_worker *w)
{
	struct pn_relay *relay = w->relay;
	while (w->backlog.count > 0 && pn_queue_has_sleepers(&relay->queue)) {
		struct pn_spool_entry *entry = pn_entry_list_pop(&w->backlog);
		bool is_taken;
		int index = pn_queue_offer(&relay->queue, entry, &is_taken);
		if (!is_taken)
			pn_entry_list_push(&w->backlog, entry);
		pn_relay_wake_worker(relay, index);
		if (!is_taken || index < 0)
			break;
	}
}

static void worker_pump(struct pn_worker *w)
{
	struct pn_spool_entry *entry;
	if (w->state != PN_WORKER_SERVING)
		return;
	pn_worker_reap(w);
	worker_start_parked(w);
	while (w->job_count < w->job_max && (entry = worker_take(w)) != NULL)
		pn_job_start(w, entry, NULL, NULL);
	schedule_timer_set(w);
	pn_counter_set(&w->counters[PN_RELAY_C_backlog], w->backlog.count);
	if (w->job_count >= w->job_max) {
		pn_worker_count(w, PN_RELAY_C_jobs_full, 1);
		worker_share_backlog(w);
		/* The end of a job looks again. A wake-up that came for us is passed on. */
		pn_relay_wake_worker(w->relay, pn_queue_nudge(&w->relay->queue));
		return;
	}
	/* With the bit set already a wake-up comes, or has come and its task waits. */
	if (!w->is_asleep) {
		w->is_asleep = pn_queue_sleep(&w->relay->queue, w->index);
		if (!w->is_asleep)
			pn_worker_pump_later(w);
	}
}

static void worker_on_pump(struct pn_loop *loop, struct pn_task *task)
{
	struct pn_worker *w = pn_container_of(task, struct pn_worker, pump_task);
	(void)loop;
	w->is_pump_posted = false;
	worker_pump(w);
}

void pn_worker_pump_later(struct pn_worker *w)
{
	if (w->is_pump_posted)
		return;
	w->is_pump_posted = true;
	pn_loop_defer(w->loop, &w->pump_task);
}

static void worker_on_wake(struct pn_loop *loop, struct pn_task *task)
{
	struct pn_worker *w = pn_container_of(task, struct pn_worker, wake_task);
	(void)loop;
	w->is_asleep = false;
	worker_pump(w);
}

void pn_relay_wake_worker(struct pn_relay *relay, int index)
{
	if (index >= 0)
		pn_loop_post(relay->workers[index].loop, &relay->workers[index].wake_task);
}

static void worker_on_inbox(struct pn_loop *loop, struct pn_task *task)
{
	struct pn_worker *w = pn_container_of(task, struct pn_worker, inbox_task);
	(void)loop;
	/* acq_rel: who finds it set has pushed before we take; who finds it clear may post again */
	(void)atomic_exchange_explicit(&w->is_inbox_posted, false, memory_order_acq_rel);
	pn_entry_stack_take(&w->inbox, &w->backlog);
	worker_pump(w);
}

/* ---- output ---- */

static void worker_flush(struct pn_worker *w)
{
	struct pn_list *node;
	for (int pass = 0; pass < WORKER_FLUSH_PASSES && !pn_list_is_empty(&w->flush_list); pass++) {
		struct pn_list batch;
		pn_list_init(&batch);
		while ((node = pn_list_pop_front(&w->flush_list)) != NULL)
			pn_list_push_back(&batch, node);
		while ((node = pn_list_pop_front(&batch)) != NULL)
			pn_conn_flush(pn_container_of(node, struct pn_conn, flush_node));
	}
	if (!pn_list_is_empty(&w->flush_list) && !w->is_flush_posted) {
		w->is_flush_posted = true;
		pn_loop_defer(w->loop, &w->flush_task);
	}
}

static void worker_on_hook(struct pn_loop *loop, struct pn_batch_hook *hook)
{
	(void)loop;
	worker_flush(pn_container_of(hook, struct pn_worker, hook));
}

static void worker_on_flush_task(struct pn_loop *loop, struct pn_task *task)
{
	(void)loop;
	pn_container_of(task, struct pn_worker, flush_task)->is_flush_posted = false;
}

/* ---- stopping ---- */

static void worker_cut_jobs(struct pn_worker *w, bool is_hard)
{
	PN_LIST_FOR_EACH_SAFE(node, next, &w->jobs)
		pn_job_cut(pn_container_of(node, struct pn_job, node), is_hard);
}

static void worker_end_pool(const struct pn_worker *w, struct pn_pool *pool)
{
	PN_LIST_FOR_EACH_SAFE(node, next, &pool->conns) {
		struct pn_conn *conn = pn_container_of(node, struct pn_conn, node);
		if (conn->state == PN_CONN_IDLE && !pn_conn_is_used(conn) && !w->is_cut)
			pn_conn_quit(conn);
		else if (w->is_cut || (conn->state != PN_CONN_QUITTING && !pn_conn_is_used(conn)))
			pn_conn_close(conn);
	}
}

static void worker_end_connections(struct pn_worker *w)
{
	for (size_t i = 0; i < w->pool_count; i++)
		worker_end_pool(w, w->pools[i]);
	PN_LIST_FOR_EACH(node, &w->retired)
		worker_end_pool(w, pn_container_of(node, struct pn_pool, retired_node));
}

static bool worker_has_connections(const struct pn_worker *w)
{
	for (size_t i = 0; i < w->pool_count; i++) {
		if (w->pools[i]->conn_count > 0)
			return true;
	}
	PN_LIST_FOR_EACH(node, &w->retired) {
		if (pn_container_of(node, struct pn_pool, retired_node)->conn_count > 0)
			return true;
	}
	return false;
}

static bool worker_is_at_rest(const struct pn_worker *w)
{
	/* acquire: pairs with the release that ends a request in admin.c */
	return w->job_count == 0 && pn_list_is_empty(&w->settling) &&
	       atomic_load_explicit(&w->relay->admin_active, memory_order_acquire) == 0 &&
	       !pn_journal_is_busy(w->journal) && !pn_spool_writer_is_busy(w->writer);
}

void pn_worker_progress(struct pn_worker *w)
{
	if (w->state == PN_WORKER_DRAINING && w->job_count == 0) {
		w->state = PN_WORKER_CLOSING;
		worker_end_connections(w);
	}
	if (w->state != PN_WORKER_SERVING)
		pn_journal_flush(w->journal);
	if (w->state != PN_WORKER_CLOSING || worker_has_connections(w) || !worker_is_at_rest(w))
		return;
	pn_dns_stop(w->dns);
	if (pn_dns_is_busy(w->dns))
		return;
	w->state = PN_WORKER_STOPPED;
	pn_loop_stop(w->loop);
}

static void worker_on_stop_timer(struct pn_timer *timer)
{
	struct pn_worker *w = pn_container_of(timer, struct pn_worker, stop_timer);
	if (!w->is_cut && pn_loop_now_ms(w->loop) >= w->stop_at_ms) {
		w->is_cut = true;
		worker_cut_jobs(w, true);
		worker_end_connections(w);
	}
	pn_worker_progress(w);
	if (w->state != PN_WORKER_STOPPED)
		pn_loop_timer_set(w->loop, &w->stop_timer, WORKER_STOP_POLL_MS);
}

static void worker_on_stop(struct pn_loop *loop, struct pn_task *task)
{
	struct pn_worker *w = pn_container_of(task, struct pn_worker, stop_task);
	(void)loop;
	if (w->state != PN_WORKER_SERVING)
		return;
	w->state = PN_WORKER_DRAINING;
	pn_loop_timer_cancel(w->loop, &w->schedule_timer);
	worker_cut_jobs(w, false);
	worker_end_connections(w);
	pn_loop_timer_set(w->loop, &w->stop_timer, 0);
}

/* ---- life ---- */

int pn_worker_init(struct pn_worker *w, struct pn_relay *relay, uint32_t index)
{
	const struct pn_relay_settings *s = &relay->setup->settings;
	*w = (struct pn_worker){.relay = relay, .index = index, .setup = relay->setup, .job_max = s->jobs_max};
	snprintf(w->name, sizeof(w->name), "relay/%u", index);
	pn_list_init(&w->jobs);
	pn_list_init(&w->spare_jobs);
	pn_list_init(&w->settling);
	pn_list_init(&w->flush_list);
	pn_list_init(&w->retired);
	pn_schedule_init(&w->schedule);
	pn_prng_init(&w->prng, 0);
	w->host_backoff = (struct pn_backoff){
		.first_ms = (uint64_t)s->host_retry_first_s * 1000,
		.max_ms = (uint64_t)s->host_retry_max_s * 1000,
		.factor_percent = 200,
		.jitter_percent = 10,
	};
	pn_timer_init(&w->schedule_timer, worker_on_schedule);
	pn_timer_init(&w->stop_timer, worker_on_stop_timer);
	pn_worker_reap_init(w);
	w->inbox_task.fn = worker_on_inbox;
	w->wake_task.fn = worker_on_wake;
	w->pump_task.fn = worker_on_pump;
	w->flush_task.fn = worker_on_flush_task;
	w->stop_task.fn = worker_on_stop;
	w->hook.fn = worker_on_hook;
	w->block.scope = "relay";
	snprintf(w->block.instance, sizeof(w->block.instance), "%u", index);
	w->block.names = counter_names;
	w->block.values = w->counters;
	w->block.count = PN_RELAY_COUNTER_COUNT;
	pn_counters_register(&w->block);
	w->pools = calloc(s->upstream_count, sizeof(struct pn_pool *));
	if (!w->pools)
		return -ENOMEM;
	for (; w->pool_count < s->upstream_count; w->pool_count++) {
		struct pn_pool *pool = w->pools[w->pool_count] = pn_pool_new(w, relay->setup->upstreams[w->pool_count]);
		if (!pool)
			return -ENOMEM;
		pn_pool_size(pool, s->upstream_count);
	}
	return 0;
}

static void worker_forget(struct pn_worker *w, struct pn_entry_list *list)
{
	struct pn_spool_entry *entry;
	while ((entry = pn_entry_list_pop(list)) != NULL)
		pn_spool_entry_free(w->relay->spool, entry);
}

void pn_worker_deinit(struct pn_worker *w)
{
	struct pn_spool_entry *entry;
	struct pn_list *node;
	if (!w->relay)
		return;
	for (size_t i = 0; i < w->pool_count; i++) {
		worker_forget(w, &w->pools[i]->parked);
		pn_pool_free(w->pools[i]);
	}
	free(w->pools);
	while ((node = pn_list_pop_front(&w->retired)) != NULL)
		pn_pool_free(pn_container_of(node, struct pn_pool, retired_node));
	pn_entry_stack_take(&w->inbox, &w->backlog);
	worker_forget(w, &w->backlog);
	while ((entry = pn_schedule_pop_any(&w->schedule)) != NULL)
		pn_spool_entry_free(w->relay->spool, entry);
	pn_schedule_deinit(&w->schedule);
	pn_counters_unregister(&w->block);
}

static int worker_set_up(struct pn_worker *w, struct pn_error *err)
{
	const struct pn_relay_settings *s = &w->relay->setup->settings;
	struct pn_loop_settings loop_settings = {
		.name = w->name,
		.sq_entries = WORKER_SQ_ENTRIES,
		.cq_entries = WORKER_CQ_ENTRIES,
		.buffer_count = WORKER_BUFFERS,
		.buffer_size_bytes = WORKER_BUFFER_BYTES,
		.cpu = s->cpus ? s->cpus[w->index] : -1,
		.features_disabled = s->features_disabled,
		.is_restricted = true,
	};
	int rc = pn_loop_new(&loop_settings, &w->loop, err);
	if (rc < 0)
		return rc;
	w->writer = pn_spool_writer_new(w->relay->spool, w->loop, w->name, err);
	if (!w->writer)
		return -EIO;
	pn_spool_writer_set_internal(w->writer);
	w->journal = pn_journal_new(w->relay->spool, w->loop, w->name, err);
	if (!w->journal)
		return -EIO;
	w->dns = pn_dns_new(w->loop, &w->counters[PN_RELAY_C_dns_queries], &w->counters[PN_RELAY_C_dns_failures], err);
	if (!w->dns)
		return -EIO;
	for (size_t i = 0; i < w->pool_count; i++)
		pn_pool_start(w->pools[i]);
	/* Behind the hooks of writer and journal: what they complete is flushed in the same round. */
	pn_loop_hook_add(w->loop, &w->hook);
	return 0;
}

static void worker_tear_down(struct pn_worker *w)
{
	if (w->hook.node.next)
		pn_loop_hook_remove(w->loop, &w->hook);
	for (size_t i = 0; w->loop && i < w->pool_count; i++)
		pn_loop_timer_cancel(w->loop, &w->pools[i]->wake_timer);
	if (w->loop)
		pn_loop_timer_cancel(w->loop, &w->reap_timer);
	pn_job_free_spare(w);
	pn_dns_free(w->dns);
	if (w->journal)
		pn_journal_free(w->journal);
	if (w->writer)
		pn_spool_writer_free(w->writer);
	while (w->loop && pn_loop_inflight(w->loop) > 0 && pn_loop_run_once(w->loop, WORKER_STOP_POLL_MS) == 0)
		;
	pn_loop_free(w->loop);
	w->loop = NULL;
}

void *pn_worker_main(void *ctx)
{
	struct pn_worker *w = ctx;
	w->start_result = worker_set_up(w, &w->start_error);
	sem_post(&w->relay->started);
	/* All loops exist before any entry moves: others may be woken or handed something at once. */
	sem_wait(&w->may_run);
	if (w->start_result == 0 && w->state == PN_WORKER_SERVING) {
		worker_pump(w);
		int rc = pn_loop_run(w->loop);
		if (rc < 0) {
			/* The ring is broken; what is in memory is on disk too, and the parent
			 * starts anew. */
			pn_logf(PN_LOG_ERROR, "relay", "%s: the loop failed: %s", w->name, strerror(-rc));
			abort();
		}
	}
	/* Nobody may post to this loop any more before it goes: see pn_relay_stop. */
	sem_post(&w->relay->started);
	sem_wait(&w->may_run);
	worker_tear_down(w);
	return NULL;
}
