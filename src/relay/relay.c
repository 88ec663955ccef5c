/* SPDX-License-Identifier: ISC */
/*
 * relay.c - making and ending the workers, the door for entries.
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

/* ---- life ---- */

static int relay_init(struct pn_relay *relay, const struct pn_relay_settings *settings, struct pn_error *err)
{
	int rc = pn_setup_new(settings, NULL, &relay->setup, err);
	if (rc < 0)
		return rc;
	rc = pn_queue_init(&relay->queue, relay->setup->settings.queue_ring_entries);
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
	relay->workers = calloc(relay->setup->settings.worker_count, sizeof(*relay->workers));
	if (!relay->workers)
		return -ENOMEM;
	relay->worker_count = relay->setup->settings.worker_count;
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
	pn_setup_free(relay->setup);
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
	for (size_t i = 0; i < relay->setup->settings.upstream_count && relay->known.count > 0; i++) {
		if (relay->setup->upstreams[i]->maildir)
			pn_maildir_find_known(relay->setup->upstreams[i]->maildir, &relay->known);
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
	uint64_t latest_ms = relay->wall_base_ms + (uint64_t)relay->setup->settings.retry_max_s * 2000;
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
	return pn_route_find(&relay->setup->route, address);
}
