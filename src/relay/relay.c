/* SPDX-License-Identifier: ISC */
/*
 * relay.c - settings with their defaults, making and ending the workers, the door for entries.
 *
 * Before pn_relay_start every entry is a recovered one: it goes straight into some worker's
 * schedule or backlog, round robin, without any I/O.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/clock.h>
#include <postern/base/log.h>

#include "maildir.h"
#include "worker.h"

static const char *const queue_counter_names[] = {
#define X(name) #name,
	PN_RELAY_QUEUE_COUNTERS(X)
#undef X
};

const char *pn_relay_item_state_name(enum pn_relay_item_state state)
{
	static const char *const names[] = {
#define X(sym, name) name,
		PN_RELAY_ITEM_STATES(X)
#undef X
	};
	return names[state];
}

/* ---- settings ---- */

static void or_default(uint32_t *value, uint32_t other)
{
	if (*value == 0)
		*value = other;
}

static void settings_defaults(struct pn_relay_settings *s)
{
	or_default(&s->worker_count, 1);
	or_default(&s->queue_ring_entries, 4096);
	or_default(&s->jobs_max, 128);
	or_default(&s->retry_first_s, 60);
	or_default(&s->retry_max_s, 3600);
	or_default(&s->retry_factor_percent, 200);
	or_default(&s->host_retry_first_s, 5);
	or_default(&s->host_retry_max_s, 300);
	or_default(&s->lifetime_s, 432000);
	or_default(&s->report_full_max_bytes, 1u << 20);
	if (s->jobs_max < 2 * s->upstream_count)
		s->jobs_max = 2 * (uint32_t)s->upstream_count;
}

static void upstream_defaults(struct pn_upstream_settings *u, const struct pn_relay_settings *s)
{
	if (u->port == 0)
		u->port = u->kind == PN_UPSTREAM_LMTP ? 24 : u->tls == PN_UPSTREAM_TLS_IMPLICIT ? 465 : 25;
	if (!u->helo_name)
		u->helo_name = s->hostname;
	or_default(&u->connections_max, 20);
	or_default(&u->messages_per_connection_max, 100);
	or_default(&u->pipeline_messages_max, 8);
	or_default(&u->recipients_per_transaction_max, 1000);
	or_default(&u->idle_timeout_s, 30);
	or_default(&u->connect_timeout_s, 30);
	or_default(&u->tls_timeout_s, 60);
	or_default(&u->greeting_timeout_s, 300);
	or_default(&u->command_timeout_s, 300);
	or_default(&u->data_start_timeout_s, 120);
	or_default(&u->data_block_timeout_s, 180);
	or_default(&u->data_end_timeout_s, 600);
	or_default(&u->transaction_timeout_s, 7200);
}

static int upstream_check(const struct pn_upstream_settings *u, struct pn_error *err)
{
	const char *what = NULL;
	if (u->kind == PN_UPSTREAM_MAILDIR) {
		if (!u->maildir_path || !*u->maildir_path)
			what = "a Maildir needs a path";
	} else if (u->host_count == 0 || u->host_count > PN_RELAY_HOSTS_MAX) {
		what = "needs 1 to 16 hosts";
	} else if (u->tls != PN_UPSTREAM_TLS_NONE && !u->tls_client) {
		what = "TLS needs a client context";
	} else if (u->auth_user && !u->auth_password) {
		what = "a user needs a password";
	} else if (u->auth_user && !u->auth_without_tls && u->tls == PN_UPSTREAM_TLS_NONE) {
		what = "a password is only sent inside TLS";
	}
	if (!what)
		return 0;
	pn_error_set(err, "upstream %s: %s", u->name, what);
	return -EINVAL;
}

static int settings_check(const struct pn_relay_settings *s, struct pn_error *err)
{
	const char *what = NULL;
	if (s->worker_count == 0 || s->worker_count > PN_RELAY_WORKERS_MAX)
		what = "1 to 64 relay workers";
	else if (s->upstream_count == 0 || s->upstream_count > PN_RELAY_UPSTREAMS_MAX)
		what = "1 to 256 upstreams";
	else if (s->retry_jitter_percent > 90)
		what = "retry jitter of 0 to 90 percent";
	else if (s->retry_factor_percent < 100)
		what = "retry factor of at least 100 percent";
	else if (!s->hostname || !s->postmaster)
		what = "hostname and postmaster";
	if (!what)
		return 0;
	pn_error_set(err, "relay: needs %s", what);
	return -EINVAL;
}

static int relay_copy_settings(struct pn_relay *relay, const struct pn_relay_settings *settings, struct pn_error *err)
{
	struct pn_relay_settings *s = &relay->settings;
	*s = *settings;
	settings_defaults(s);
	int rc = settings_check(s, err);
	if (rc < 0)
		return rc;
	relay->upstreams = calloc(s->upstream_count, sizeof(*relay->upstreams));
	relay->maildirs = calloc(s->upstream_count, sizeof(struct pn_maildir *));
	if (!relay->upstreams || !relay->maildirs)
		return -ENOMEM;
	for (size_t i = 0; i < s->upstream_count; i++) {
		relay->upstreams[i] = s->upstreams[i];
		upstream_defaults(&relay->upstreams[i], s);
		rc = upstream_check(&relay->upstreams[i], err);
		if (rc < 0)
			return rc;
	}
	s->upstreams = relay->upstreams;
	relay->retry = (struct pn_backoff){
		.first_ms = (uint64_t)s->retry_first_s * 1000,
		.max_ms = (uint64_t)s->retry_max_s * 1000,
		.factor_percent = s->retry_factor_percent,
		.jitter_percent = s->retry_jitter_percent,
	};
	return pn_route_init(&relay->route, s->upstreams, s->upstream_count, err);
}

/* ---- life ---- */

static int relay_open_maildirs(struct pn_relay *relay, struct pn_error *err)
{
	for (size_t i = 0; i < relay->settings.upstream_count; i++) {
		if (relay->upstreams[i].kind != PN_UPSTREAM_MAILDIR)
			continue;
		relay->maildirs[i] = pn_maildir_new(&relay->upstreams[i], err);
		if (!relay->maildirs[i])
			return -EIO;
	}
	return 0;
}

static int relay_init(struct pn_relay *relay, const struct pn_relay_settings *settings, struct pn_error *err)
{
	int rc = relay_copy_settings(relay, settings, err);
	if (rc < 0)
		return rc;
	rc = pn_queue_init(&relay->queue, relay->settings.queue_ring_entries);
	if (rc < 0)
		return rc;
	relay->queue_block.scope = "relay_queue";
	relay->queue_block.names = queue_counter_names;
	relay->queue_block.values = relay->queue.counters;
	relay->queue_block.count = PN_RELAY_QUEUE_COUNTER_COUNT;
	pn_counters_register(&relay->queue_block);
	rc = pn_dns_library_init(err);
	if (rc < 0)
		return rc;
	relay->has_dns = true;
	rc = relay_open_maildirs(relay, err);
	if (rc < 0)
		return rc;
	relay->workers = calloc(relay->settings.worker_count, sizeof(*relay->workers));
	if (!relay->workers)
		return -ENOMEM;
	relay->worker_count = relay->settings.worker_count;
	for (uint32_t i = 0; i < relay->worker_count; i++) {
		rc = pn_worker_init(&relay->workers[i], relay, i);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int pn_relay_new(const struct pn_relay_settings *settings, struct pn_spool *spool, struct pn_relay **ret,
                 struct pn_error *err)
{
	struct pn_relay *relay = calloc(1, sizeof(*relay));
	if (!relay) {
		pn_error_set(err, "relay: out of memory");
		return -ENOMEM;
	}
	relay->spool = spool;
	relay->wall_base_ms = pn_clock_wall_ms();
	relay->mono_base_ms = pn_clock_mono_ms();
	sem_init(&relay->started, 0, 0);
	int rc = relay_init(relay, settings, err);
	if (rc == -ENOMEM)
		pn_error_set(err, "relay: out of memory");
	if (rc < 0) {
		pn_relay_free(relay);
		return rc;
	}
	*ret = relay;
	return 0;
}

void pn_relay_free(struct pn_relay *relay)
{
	struct pn_entry_list left = {0};
	struct pn_spool_entry *entry;
	if (!relay)
		return;
	for (uint32_t i = 0; i < relay->worker_count; i++)
		pn_worker_deinit(&relay->workers[i]);
	free(relay->workers);
	if (relay->queue_block.scope) {
		pn_counters_unregister(&relay->queue_block);
		pn_queue_take_all(&relay->queue, &left);
		pn_queue_deinit(&relay->queue);
	}
	while ((entry = pn_entry_list_pop(&left)) != NULL)
		pn_spool_entry_free(relay->spool, entry);
	for (size_t i = 0; relay->maildirs && i < relay->settings.upstream_count; i++)
		pn_maildir_free(relay->maildirs[i]);
	free(relay->maildirs);
	free(relay->upstreams);
	pn_route_deinit(&relay->route);
	pn_known_deinit(&relay->known);
	if (relay->has_dns)
		pn_dns_library_cleanup();
	sem_destroy(&relay->started);
	free(relay);
}

/* ---- threads ---- */

/* Lets the first `count` workers go on (or end, when they were told to stop), and waits for their threads. */
static void relay_join(struct pn_relay *relay, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		sem_wait(&relay->started);
	for (uint32_t i = 0; i < count; i++)
		sem_post(&relay->workers[i].may_run);
	for (uint32_t i = 0; i < count; i++) {
		pthread_join(relay->workers[i].thread, NULL);
		sem_destroy(&relay->workers[i].may_run);
	}
}

static int relay_await_start(struct pn_relay *relay, uint32_t count, struct pn_error *err)
{
	int rc = 0;
	for (uint32_t i = 0; i < count; i++)
		sem_wait(&relay->started);
	for (uint32_t i = 0; i < count; i++) {
		const struct pn_worker *w = &relay->workers[i];
		if (w->start_result < 0 && rc == 0) {
			rc = w->start_result;
			pn_error_set(err, "%s: %s", w->name, w->start_error.text);
		}
	}
	return rc;
}

/* Maildir files that a mail program has moved since, of messages that recovery brought back. */
static void relay_prepare_known(struct pn_relay *relay)
{
	pn_known_sort(&relay->known);
	for (size_t i = 0; i < relay->settings.upstream_count && relay->known.count > 0; i++) {
		if (relay->maildirs[i])
			pn_maildir_find_known(relay->maildirs[i], (uint32_t)i, &relay->known);
	}
	pn_known_prune(&relay->known);
}

int pn_relay_start(struct pn_relay *relay, struct pn_error *err)
{
	uint32_t made = 0;
	int rc = 0;
	relay_prepare_known(relay);
	/* release: pairs with the acquire in pn_relay_submit */
	atomic_store_explicit(&relay->has_threads, true, memory_order_release);
	for (; made < relay->worker_count && rc == 0; made++) {
		struct pn_worker *w = &relay->workers[made];
		sem_init(&w->may_run, 0, 0);
		rc = -pthread_create(&w->thread, NULL, pn_worker_main, w);
		if (rc < 0) {
			sem_destroy(&w->may_run);
			pn_error_set(err, "%s: no thread: %s", w->name, strerror(-rc));
			break;
		}
	}
	int start_rc = relay_await_start(relay, made, rc == 0 ? err : NULL);
	rc = rc < 0 ? rc : start_rc;
	for (uint32_t i = 0; i < made; i++) {
		if (rc < 0)
			relay->workers[i].state = PN_WORKER_STOPPED;
		sem_post(&relay->workers[i].may_run);
	}
	if (rc < 0) {
		relay_join(relay, made);
		return rc;
	}
	/* release: pairs with the load in admin.c; the loops exist */
	atomic_store_explicit(&relay->is_serving, true, memory_order_release);
	relay->is_started = true;
	return 0;
}

void pn_relay_stop(struct pn_relay *relay, uint64_t deadline_ms)
{
	if (!relay->is_started)
		return;
	relay->is_started = false;
	/* seq_cst: pairs with the check in admin.c, which counts itself active before it looks */
	atomic_store_explicit(&relay->is_serving, false, memory_order_seq_cst);
	uint64_t stop_at_ms = pn_clock_mono_ms() + deadline_ms;
	for (uint32_t i = 0; i < relay->worker_count; i++) {
		struct pn_worker *w = &relay->workers[i];
		/* The post orders it before the task that reads it. */
		w->stop_at_ms = stop_at_ms;
		pn_loop_post(w->loop, &w->stop_task);
	}
	relay_join(relay, relay->worker_count);
}

/* ---- the door ---- */

static void relay_submit_recovered(struct pn_relay *relay, struct pn_spool_entry *entry)
{
	struct pn_worker *w = &relay->workers[relay->submit_turn++ % relay->worker_count];
	uint64_t latest_ms = relay->wall_base_ms + (uint64_t)relay->settings.retry_max_s * 2000;
	struct pn_known_item item = {.id = entry->id};
	/* Persisted times are wall clock, which may have been set back since. */
	if (entry->next_attempt_wall_ms > latest_ms)
		entry->next_attempt_wall_ms = latest_ms;
	pn_known_add(&relay->known, &item);
	if ((entry->flags & PN_ENTRY_HELD) || entry->next_attempt_wall_ms > relay->wall_base_ms)
		pn_schedule_add(&w->schedule, entry, relay->wall_base_ms);
	else
		pn_entry_list_push(&w->backlog, entry);
}

void pn_relay_submit(struct pn_relay *relay, struct pn_spool_entry *entry)
{
	/* acquire: pairs with the release in pn_relay_start */
	if (!atomic_load_explicit(&relay->has_threads, memory_order_acquire)) {
		relay_submit_recovered(relay, entry);
		return;
	}
	pn_relay_wake_worker(relay, pn_queue_push(&relay->queue, entry));
}

size_t pn_relay_route(const struct pn_relay *relay, struct pn_slice address)
{
	return pn_route_find(&relay->route, address);
}
