/* SPDX-License-Identifier: ISC */
/*
 * auth.c - puts the parts together: users, helpers, cache, watcher; and says which mechanisms are offered.
 */
#include <errno.h>
#include <stdlib.h>

#include <postern/base/secret.h>

#include "auth/auth_internal.h"

static const char *const counter_names[] = {
#define X(name) #name,
	PN_AUTH_COUNTERS(X)
#undef X
};

/* Every combination, as EHLO shows it; index by bits as in pn_auth.offered. The strings live forever. */
#define BIT(mechanism) (1u << PN_SASL_##mechanism)
static const char *const offered_texts[1u << PN_SASL_MECHANISM_COUNT] = {
	[0] = "",
	[BIT(PLAIN)] = "PLAIN",
	[BIT(LOGIN)] = "LOGIN",
	[BIT(PLAIN) | BIT(LOGIN)] = "PLAIN LOGIN",
	[BIT(SCRAM_SHA_256)] = "SCRAM-SHA-256",
	[BIT(SCRAM_SHA_256) | BIT(PLAIN)] = "SCRAM-SHA-256 PLAIN",
	[BIT(SCRAM_SHA_256) | BIT(LOGIN)] = "SCRAM-SHA-256 LOGIN",
	[BIT(SCRAM_SHA_256) | BIT(PLAIN) | BIT(LOGIN)] = "SCRAM-SHA-256 PLAIN LOGIN",
};

static bool offers_scram(const struct pn_auth *auth, const struct pn_user_table *table)
{
	switch (auth->settings.scram) {
	case PN_SCRAM_ON:
		return true;
	case PN_SCRAM_AUTO:
		/* A client that is offered SCRAM may use nothing else: every user must have a key. */
		return table->enabled_count > 0 && table->scram_count == table->enabled_count;
	case PN_SCRAM_OFF:
		break;
	}
	return false;
}

void pn_auth_use_table(struct pn_auth *auth, struct pn_user_table *table, bool is_first)
{
	unsigned offered = 0;

	if (offers_scram(auth, table))
		offered |= BIT(SCRAM_SHA_256);
	if (auth->settings.has_plain)
		offered |= BIT(PLAIN);
	if (auth->settings.has_login)
		offered |= BIT(LOGIN);
	pn_counter_set(&auth->counters[PN_AUTH_C_users], table->count);
	if (is_first)
		pn_user_live_init(&auth->users, table);
	else
		pn_user_live_swap(&auth->users, table);
	/* relaxed: one word, nothing else is read because of it. */
	atomic_store_explicit(&auth->offered, offered, memory_order_relaxed);
}

const char *pn_auth_mechanisms(struct pn_auth *auth)
{
	return offered_texts[atomic_load_explicit(&auth->offered, memory_order_relaxed)];
}

size_t pn_auth_inflight(struct pn_auth *auth)
{
	return pn_helpers_inflight(auth->helpers);
}

/* What can fail after the memory is there. */
static int start_parts(struct pn_auth *auth, struct pn_error *err)
{
	const struct pn_auth_settings *s = &auth->settings;

	if (pn_auth_load_first(auth, err) != 0)
		return -1;
	if (s->cache_entries_max > 0 && s->cache_lifetime_s > 0) {
		auth->cache = pn_cred_cache_new(s->cache_entries_max, (uint64_t)s->cache_lifetime_s * 1000);
		if (!auth->cache)
			return pn_error_set(err,
			                    "out of memory for %u cached credentials; lower auth.cache_entries_max",
			                    s->cache_entries_max);
	}
	auth->helpers = pn_helpers_new(s->helper_threads, s->helper_queue_max, auth->cache, auth->counters, err);
	if (!auth->helpers)
		return -1;
	int r = pn_auth_watcher_start(auth);
	if (r < 0)
		return pn_error_set(err, "cannot start the thread that watches %s: %s", auth->user_file,
		                    strerror(-r));
	return 0;
}

static void init_locks(struct pn_auth *auth)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&auth->reload_mutex, NULL);
	pthread_mutex_init(&auth->watcher_mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&auth->watcher_cond, &attr);
	pthread_condattr_destroy(&attr);
}

struct pn_auth *pn_auth_new(const struct pn_auth_settings *settings, struct pn_error *err)
{
	struct pn_auth *auth = calloc(1, sizeof(*auth));

	if (!auth || !(auth->user_file = strdup(settings->user_file))) {
		pn_error_set(err, "out of memory");
		free(auth);
		return NULL;
	}
	auth->settings = *settings;
	auth->settings.user_file = auth->user_file;
	init_locks(auth);
	auth->counter_block = (struct pn_counter_block){
		.scope = "auth",
		.names = counter_names,
		.values = auth->counters,
		.count = PN_AUTH_COUNTER_COUNT,
	};
	pn_counters_register(&auth->counter_block);
	if (start_parts(auth, err) != 0) {
		pn_auth_free(auth);
		return NULL;
	}
	return auth;
}

void pn_auth_free(struct pn_auth *auth)
{
	if (!auth)
		return;
	pn_auth_watcher_stop(auth);
	pn_helpers_free(auth->helpers);
	pn_cred_cache_free(auth->cache);
	pn_user_live_deinit(&auth->users);
	pn_counters_unregister(&auth->counter_block);
	pthread_cond_destroy(&auth->watcher_cond);
	pthread_mutex_destroy(&auth->watcher_mutex);
	pthread_mutex_destroy(&auth->reload_mutex);
	free(auth->user_file);
	free(auth);
}

int pn_auth_check_file(const char *path, FILE *report)
{
	struct pn_user_mistakes mistakes = { .path = path, .stream = report };
	struct pn_file_stamp stamp;

	struct pn_user_table *table = pn_user_file_read(path, false, &mistakes, &stamp);
	if (table && table->enabled_count == 0 && report)
		fprintf(report, "%s: warning: nobody can log in yet; add somebody with: postern user add NAME\n", path);
	pn_user_table_free(table);
	return (int)pn_min_size(mistakes.count, INT32_MAX);
}
