/* SPDX-License-Identifier: ISC */
/*
 * upstream.c - see upstream.h: choice and health of hosts, shares, who gets a free connection.
 *
 * A host that could not be brought to a session is left alone for a time that doubles (circuit
 * breaker); then one connection probes it. A transaction that fails says nothing about the host: a
 * single poisonous message must not stop the others. The upstream is down when no host may be tried
 * and no connection of it lives; messages for it are then deferred at once, without waiting for
 * timeouts.
 */
#include "upstream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/log.h>

#include "connection.h"
#include "job.h"
#include "maildir.h"
#include "setup.h"
#include "worker.h"

/* Those who wait for a host look no more often than this. */
#define POOL_WAKE_MIN_MS 1000u
/* A message does not go behind another that will take a while. */
#define POOL_RIDE_BACKLOG_MAX_BYTES (64u << 10)

static const char *const pool_counter_names[] = {
#define X(name) #name,
	PN_UPSTREAM_COUNTERS(X)
#undef X
};

static void pool_on_wake(struct pn_timer *timer);

static void pool_client_settings(struct pn_pool *pool)
{
	const struct pn_upstream_settings *u = pool->settings;
	struct pn_smtp_client_settings *s = &pool->client_settings;
	*s = (struct pn_smtp_client_settings){
		.is_lmtp = u->kind == PN_UPSTREAM_LMTP,
		.helo_name = u->helo_name,
		.auth_user = u->auth_user,
		.auth_password = u->auth_password,
		.auth_without_tls = u->auth_without_tls,
		.is_chunking_used = u->is_chunking_used,
		.tls = PN_CLIENT_TLS_NONE,
		.reply_line_max_bytes = 4096,
		.reply_lines_max = 128,
	};
	pool->client_settings_plain = *s;
	if (u->tls == PN_UPSTREAM_TLS_OPPORTUNISTIC)
		s->tls = PN_CLIENT_TLS_OPPORTUNISTIC;
	else if (u->tls == PN_UPSTREAM_TLS_STARTTLS)
		s->tls = PN_CLIENT_TLS_REQUIRED;
}

void pn_pool_size(struct pn_pool *pool, size_t upstream_count)
{
	const struct pn_worker *w = pool->worker;
	uint32_t workers = w->relay->worker_count;
	uint32_t max = pool->settings->connections_max;
	pool->job_max = w->job_max / (uint32_t)upstream_count;
	if (pool->job_max < 2)
		pool->job_max = 2;
	if (pool->settings->kind == PN_UPSTREAM_MAILDIR) {
		pool->conn_limit = w->job_max;
		pool->home = w->index;
		return;
	}
	pool->conn_limit = max / workers + (w->index < max % workers ? 1 : 0);
	pool->home = pool->conn_limit > 0 ? w->index : w->index % max;
}

/* ---- life ---- */

static struct pn_pool_counters *counters_new(const char *name, uint32_t worker_index)
{
	struct pn_pool_counters *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->refs = 1;
	c->block.scope = "upstream";
	snprintf(c->block.instance, sizeof(c->block.instance), "%.40s/%u", name, worker_index);
	c->block.names = pool_counter_names;
	c->block.values = c->values;
	c->block.count = PN_UPSTREAM_COUNTER_COUNT;
	return c;
}

static void counters_unref(struct pn_pool_counters *c)
{
	if (!c || --c->refs > 0)
		return;
	if (c->is_registered)
		pn_counters_unregister(&c->block);
	free(c);
}

static bool pool_allocate(struct pn_pool *pool, const struct pn_upstream_settings *u)
{
	pool->shared = counters_new(u->name, pool->worker->index);
	pool->hosts = calloc(u->host_count + 1, sizeof(*pool->hosts));
	if (!pool->shared || !pool->hosts)
		return false;
	pool->counters = pool->shared->values;
	pool->host_count = u->host_count;
	for (size_t i = 0; i < pool->host_count; i++)
		pool->hosts[i] = (struct pn_host){.host = u->hosts[i].host,
		                                  .port = u->hosts[i].port ? u->hosts[i].port : u->port,
		                                  .weight = u->hosts[i].weight,
		                                  .index = (uint32_t)i};
	pool->maildir = pool->upstream->maildir;
	if (!pool->maildir)
		return true;
	pool->maildir_sync = calloc(1, sizeof(*pool->maildir_sync));
	if (!pool->maildir_sync)
		return false;
	pool->maildir_sync->maildir = pool->maildir;
	pn_list_init(&pool->maildir_sync->waiting);
	pn_list_init(&pool->maildir_sync->running);
	return true;
}

struct pn_pool *pn_pool_new(struct pn_worker *worker, struct pn_upstream *upstream)
{
	struct pn_pool *pool = calloc(1, sizeof(*pool));
	if (!pool)
		return NULL;
	pool->worker = worker;
	pool->upstream = pn_upstream_ref(upstream);
	pool->settings = &upstream->settings;
	pn_list_init(&pool->retired_node);
	pn_list_init(&pool->conns);
	pn_list_init(&pool->idle);
	pn_list_init(&pool->rideable);
	pn_list_init(&pool->waiting);
	pn_timer_init(&pool->wake_timer, pool_on_wake);
	pool_client_settings(pool);
	if (pool_allocate(pool, pool->settings))
		return pool;
	pn_pool_free(pool);
	return NULL;
}

void pn_pool_start(struct pn_pool *pool)
{
	if (!pool->shared->is_registered)
		pn_counters_register(&pool->shared->block);
	pool->shared->is_registered = true;
	if (pool->maildir_sync)
		pool->maildir_sync->loop = pool->worker->loop;
	for (size_t i = 0; i < pool->host_count; i++)
		pn_dns_name_init(&pool->hosts[i].name, pool->worker->dns, pool->hosts[i].host);
}

void pn_pool_free(struct pn_pool *pool)
{
	if (!pool)
		return;
	counters_unref(pool->shared);
	pn_upstream_unref(pool->upstream);
	free(pool->hosts);
	free(pool->maildir_sync);
	free(pool);
}

bool pn_pool_has_room(const struct pn_pool *pool)
{
	return pool->job_count < pool->job_max;
}

bool pn_pool_enter(struct pn_pool *pool)
{
	if (pool->conn_limit == 0 || !pn_pool_has_room(pool))
		return false;
	pool->job_count++;
	return true;
}

void pn_pool_leave(struct pn_pool *pool)
{
	PN_ASSERT(pool->job_count > 0);
	pool->job_count--;
	if (pool->is_retired || pool->parked.count > 0)
		pn_worker_pump_later(pool->worker);
}

static bool host_may_be_tried(const struct pn_host *h, uint32_t tried, uint64_t now_ms)
{
	if (tried & (UINT32_C(1) << h->index))
		return false;
	return h->fails == 0 || (now_ms >= h->retry_at_ms && !h->is_probing);
}

struct pn_host *pn_host_choose(struct pn_pool *pool, uint32_t tried)
{
	uint64_t now_ms = pn_loop_now_ms(pool->worker->loop);
	struct pn_host *best = NULL, *spare = NULL;
	int64_t total = 0;
	for (size_t i = 0; i < pool->host_count; i++) {
		struct pn_host *h = &pool->hosts[i];
		if (!host_may_be_tried(h, tried, now_ms))
			continue;
		if (h->weight == 0) {
			spare = spare ? spare : h;
			continue;
		}
		h->turn += h->weight;
		total += h->weight;
		if (!best || h->turn > best->turn)
			best = h;
	}
	if (best)
		best->turn -= total;
	else
		best = spare;
	if (best && best->fails > 0)
		best->is_probing = true;
	return best;
}

static void pool_count_down(struct pn_pool *pool)
{
	uint64_t down = 0;
	if (pool->is_retired)
		return;
	for (size_t i = 0; i < pool->host_count; i++)
		down += pool->hosts[i].fails > 0;
	pn_counter_set(&pool->counters[PN_UPSTREAM_C_hosts_down], down);
}

void pn_host_failed(struct pn_pool *pool, struct pn_host *h)
{
	struct pn_worker *w = pool->worker;
	uint64_t now_ms = pn_loop_now_ms(w->loop);
	h->is_probing = false;
	pn_pool_count(pool, PN_UPSTREAM_C_connections_failed, 1);
	/* Connections that failed together count once. */
	if (h->fails > 0 && now_ms < h->retry_at_ms)
		return;
	h->fails++;
	h->retry_at_ms = now_ms + pn_backoff_delay_ms(&w->host_backoff, h->fails, &w->prng);
	pool_count_down(pool);
	pn_logf(PN_LOG_WARN, "upstream", "%s: host %s failed, left alone for %llu ms", pool->settings->name, h->host,
	        (unsigned long long)(h->retry_at_ms - now_ms));
}

void pn_host_worked(struct pn_pool *pool, struct pn_host *h)
{
	h->is_probing = false;
	if (h->fails == 0)
		return;
	h->fails = 0;
	h->retry_at_ms = 0;
	pool_count_down(pool);
	pn_logf(PN_LOG_INFO, "upstream", "%s: host %s works again", pool->settings->name, h->host);
	/* They wait for the time that was set when it failed, or for the next look. */
	pn_loop_timer_cancel(pool->worker->loop, &pool->wake_timer);
	pn_pool_wake_all(pool);
}

void pn_host_undecided(struct pn_host *h)
{
	h->is_probing = false;
}

static struct pn_conn *pool_take_idle(struct pn_pool *pool)
{
	struct pn_list *node = pn_list_pop_front(&pool->idle);
	if (!node)
		return NULL;
	pn_counter_sub(&pool->counters[PN_UPSTREAM_C_connections_idle], 1);
	return pn_container_of(node, struct pn_conn, idle_node);
}

/* In front with those that must have a new connection: the end of one wakes the first, and somebody else's
 * turn is as good with one that is released. */
static enum pn_acquire pool_wait(struct pn_pool *pool, struct pn_job *job, bool is_fresh)
{
	if (is_fresh)
		pn_list_push_front(&pool->waiting, &job->wait_node);
	else
		pn_list_push_back(&pool->waiting, &job->wait_node);
	pn_pool_count(pool, PN_UPSTREAM_C_waiting, 1);
	return PN_ACQUIRE_WAIT;
}

static void pool_on_wake(struct pn_timer *timer)
{
	pn_pool_wake_all(pn_container_of(timer, struct pn_pool, wake_timer));
}

/* The connections that live may be slow ones, so they are not all that is waited for. */
static void pool_wake_with_host(struct pn_pool *pool)
{
	uint64_t now_ms = pn_loop_now_ms(pool->worker->loop);
	uint64_t delay_ms = UINT64_MAX;
	if (pn_timer_is_armed(&pool->wake_timer))
		return;
	for (size_t i = 0; i < pool->host_count; i++) {
		const struct pn_host *h = &pool->hosts[i];
		uint64_t left_ms = h->retry_at_ms > now_ms ? h->retry_at_ms - now_ms : 0;
		delay_ms = left_ms < delay_ms ? left_ms : delay_ms;
	}
	pn_loop_timer_set(pool->worker->loop, &pool->wake_timer,
	                  delay_ms < POOL_WAKE_MIN_MS ? POOL_WAKE_MIN_MS : delay_ms);
}

/* One whose last message has not left yet: this one goes with it in the same write. Never one that only waits for
 * replies: it may be stuck. A connection with much to send takes no more. */
static struct pn_conn *pool_take_ride(struct pn_pool *pool)
{
	struct pn_list *node = pn_list_is_empty(&pool->rideable) ? NULL : pool->rideable.next;
	struct pn_conn *conn = node ? pn_container_of(node, struct pn_conn, ride_node) : NULL;
	/* Newest first: those behind it left before. */
	if (!conn || pn_buf_len(&conn->plain) == 0 || pn_conn_backlog(conn) >= POOL_RIDE_BACKLOG_MAX_BYTES)
		return NULL;
	pn_list_remove(&conn->ride_node);
	return conn;
}

static struct pn_conn *pool_take(struct pn_pool *pool)
{
	struct pn_conn *conn = pool_take_ride(pool);
	return conn ? conn : pool_take_idle(pool);
}

enum pn_acquire pn_pool_acquire(struct pn_pool *pool, struct pn_job *job, uint32_t tried, bool is_fresh,
                                struct pn_conn **ret)
{
	struct pn_conn *conn = is_fresh ? NULL : pool_take(pool);
	if (conn) {
		pn_pool_count(pool, PN_UPSTREAM_C_connections_reused, 1);
		conn->job = job;
		*ret = conn;
		return PN_ACQUIRE_READY;
	}
	if (pool->conn_count >= pool->conn_limit) {
		if (is_fresh && (conn = pool_take_idle(pool)) != NULL)
			pn_conn_quit(conn); /* makes room; its end wakes us */
		return pool_wait(pool, job, is_fresh);
	}
	struct pn_host *host = pn_host_choose(pool, tried);
	if (host) {
		*ret = pn_conn_new(pool, host, job);
		if (*ret)
			return PN_ACQUIRE_STARTED;
		pn_host_undecided(host);
	}
	if (pool->conn_count > pool->closing_count) {
		pool_wake_with_host(pool);
		/* What it has tried it may try again then. */
		job->part->tried = 0;
		return pool_wait(pool, job, false);
	}
	pn_pool_wake_all(pool);
	return PN_ACQUIRE_DOWN;
}

static void pool_wake_first(struct pn_pool *pool)
{
	struct pn_list *node = pn_list_pop_front(&pool->waiting);
	if (!node)
		return;
	pn_counter_sub(&pool->counters[PN_UPSTREAM_C_waiting], 1);
	pn_job_go(pn_container_of(node, struct pn_job, wait_node), PN_JOB_PART);
}

void pn_pool_wake_all(struct pn_pool *pool)
{
	while (!pn_list_is_empty(&pool->waiting))
		pool_wake_first(pool);
}

void pn_pool_dispatch(struct pn_pool *pool)
{
	if (pool->conn_count == pool->closing_count && pool->conn_count < pool->conn_limit)
		pn_pool_wake_all(pool);
	else
		pool_wake_first(pool);
	if (pool->is_retired || pool->parked.count > 0)
		pn_worker_pump_later(pool->worker);
}

/* ---- a reload ---- */

static bool host_is_same(const struct pn_pool *a, const struct pn_host *x, const struct pn_pool *b,
                         const struct pn_host *y)
{
	return x->port == y->port && strcmp(x->host, y->host) == 0 && a->settings->kind == b->settings->kind &&
	       a->settings->tls == b->settings->tls;
}

void pn_pool_follow(struct pn_pool *pool, struct pn_pool *old)
{
	counters_unref(pool->shared);
	pool->shared = old->shared;
	pool->shared->refs++;
	pool->counters = pool->shared->values;
	for (size_t i = 0; i < pool->host_count; i++) {
		struct pn_host *h = &pool->hosts[i];
		for (size_t k = 0; k < old->host_count; k++) {
			const struct pn_host *o = &old->hosts[k];
			if (!host_is_same(pool, h, old, o))
				continue;
			h->fails = o->fails;
			h->retry_at_ms = o->retry_at_ms;
			h->tls_broken_until_ms = o->tls_broken_until_ms;
		}
	}
	pool_count_down(pool);
}

void pn_pool_retire(struct pn_pool *pool)
{
	pool->is_retired = true;
	pn_loop_timer_cancel(pool->worker->loop, &pool->wake_timer);
	PN_LIST_FOR_EACH_SAFE(node, next, &pool->conns) {
		struct pn_conn *conn = pn_container_of(node, struct pn_conn, node);
		if (conn->state < PN_CONN_IDLE)
			pn_conn_fail(conn, 3, 2, false, "the configuration has changed");
		else if (conn->state == PN_CONN_IDLE && !conn->job)
			pn_conn_quit(conn);
	}
	pn_pool_wake_all(pool);
}

bool pn_pool_is_over(const struct pn_pool *pool)
{
	if (!pool->is_retired || pool->job_count > 0 || pool->conn_count > 0)
		return false;
	/* The resolver still holds the name of a query that nobody waits for. */
	for (size_t i = 0; i < pool->host_count; i++) {
		if (pool->hosts[i].name.is_querying)
			return false;
	}
	return true;
}
