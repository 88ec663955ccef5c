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

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <postern/base/log.h>

#include "connection.h"
#include "job.h"
#include "maildir.h"
#include "worker.h"

/* Those who wait for a host look no more often than this. */
#define POOL_WAKE_MIN_MS 1000u

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

static void pool_share(struct pn_pool *pool)
{
	uint32_t workers = pool->worker->relay->worker_count;
	uint32_t max = pool->settings->connections_max;
	uint32_t index = pool->worker->index;
	if (pool->settings->kind == PN_UPSTREAM_MAILDIR) {
		pool->conn_limit = pool->worker->job_max;
		pool->home = index;
		return;
	}
	pool->conn_limit = max / workers + (index < max % workers ? 1 : 0);
	pool->home = pool->conn_limit > 0 ? index : index % max;
}

int pn_pool_init(struct pn_pool *pool, struct pn_worker *worker, uint32_t index)
{
	const struct pn_relay *relay = worker->relay;
	const struct pn_upstream_settings *u = &relay->upstreams[index];
	uint32_t upstream_count = (uint32_t)relay->settings.upstream_count;
	*pool = (struct pn_pool){.worker = worker, .settings = u, .index = index};
	pn_list_init(&pool->conns);
	pn_list_init(&pool->idle);
	pn_list_init(&pool->waiting);
	pn_timer_init(&pool->wake_timer, pool_on_wake);
	pool->job_max = upstream_count > 1 ? worker->job_max / upstream_count : worker->job_max;
	if (pool->job_max < 2)
		pool->job_max = 2;
	pool_share(pool);
	pool_client_settings(pool);
	pool->maildir = relay->maildirs[index];
	pool->host_count = u->host_count;
	if (pool->maildir) {
		pool->maildir_sync = calloc(1, sizeof(*pool->maildir_sync));
		if (!pool->maildir_sync)
			return -ENOMEM;
		pool->maildir_sync->maildir = pool->maildir;
		pn_list_init(&pool->maildir_sync->waiting);
		pn_list_init(&pool->maildir_sync->running);
	}
	if (u->host_count > 0) {
		pool->hosts = calloc(u->host_count, sizeof(*pool->hosts));
		if (!pool->hosts)
			return -ENOMEM;
	}
	snprintf(pool->instance_name, sizeof(pool->instance_name), "%.40s/%u", u->name, worker->index);
	pool->block.scope = "upstream";
	snprintf(pool->block.instance, sizeof(pool->block.instance), "%s", pool->instance_name);
	pool->block.names = pool_counter_names;
	pool->block.values = pool->counters;
	pool->block.count = PN_UPSTREAM_COUNTER_COUNT;
	pn_counters_register(&pool->block);
	return 0;
}

void pn_pool_start(struct pn_pool *pool)
{
	const struct pn_upstream_settings *u = pool->settings;
	if (pool->maildir_sync)
		pool->maildir_sync->loop = pool->worker->loop;
	for (size_t i = 0; i < pool->host_count; i++) {
		struct pn_host *h = &pool->hosts[i];
		h->host = u->hosts[i].host;
		h->port = u->hosts[i].port ? u->hosts[i].port : u->port;
		h->weight = u->hosts[i].weight;
		h->index = (uint32_t)i;
		pn_dns_name_init(&h->name, pool->worker->dns, h->host);
	}
}

void pn_pool_deinit(struct pn_pool *pool)
{
	if (pool->block.scope)
		pn_counters_unregister(&pool->block);
	free(pool->hosts);
	free(pool->maildir_sync);
	*pool = (struct pn_pool){0};
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
	if (pool->parked.count > 0)
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

enum pn_acquire pn_pool_acquire(struct pn_pool *pool, struct pn_job *job, uint32_t tried, bool is_fresh,
                                struct pn_conn **ret)
{
	struct pn_conn *conn = is_fresh ? NULL : pool_take_idle(pool);
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
	if (pool->parked.count > 0)
		pn_worker_pump_later(pool->worker);
}
