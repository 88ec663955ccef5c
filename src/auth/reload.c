/* SPDX-License-Identifier: ISC */
/*
 * reload.c - reading the user file again, on demand and when it has changed.
 *
 * A version with mistakes changes nothing and is logged once: its stamp is remembered, and it is not looked at
 * again until there is another version. The watcher compares stamps only; it opens the file when they differ.
 */
#include <errno.h>
#include <signal.h>
#include <time.h>

#include <postern/base/log.h>
#include <postern/base/secret.h>

#include "auth/auth_internal.h"

int pn_auth_thread_create(pthread_t *ret, const char *name, void *(*fn)(void *), void *ctx)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = pthread_create(ret, NULL, fn, ctx);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error == 0)
		pthread_setname_np(*ret, name);
	return -error;
}

static void log_warnings(const struct pn_auth *auth, const struct pn_user_table *table)
{
	if (table->enabled_count == 0)
		pn_logf(PN_LOG_WARN, "auth", "%s has no user that can log in; 'postern user add' makes one",
		        auth->user_file);
	if (table->allow_nets_count > 0)
		pn_logf(PN_LOG_WARN, "auth", "%s: allow_nets of %zu users is not enforced here", auth->user_file,
		        table->allow_nets_count);
	if (!table->has_seed && table->scram_count > 0)
		pn_logf(PN_LOG_INFO, "auth",
		        "%s has no SCRAM seed line; salts shown for unknown users change with the file until "
		        "'postern user' has written one",
		        auth->user_file);
}

/* With reload_mutex held (or before there are threads). */
static int load(struct pn_auth *auth, bool is_first, struct pn_error *err)
{
	struct pn_user_mistakes mistakes = { .path = auth->user_file, .err = err };
	struct pn_user_table *table = pn_user_file_read(auth->user_file, false, &mistakes, &auth->stamp);

	if (!table)
		return -EINVAL;
	log_warnings(auth, table);
	pn_auth_use_table(auth, table, is_first);
	return 0;
}

int pn_auth_load_first(struct pn_auth *auth, struct pn_error *err)
{
	return load(auth, true, err);
}

static int reload_locked(struct pn_auth *auth, struct pn_error *err)
{
	int result = load(auth, false, err);
	pn_auth_count(auth, result == 0 ? PN_AUTH_C_reloads : PN_AUTH_C_reload_failures);
	return result;
}

int pn_auth_reload(struct pn_auth *auth, struct pn_error *err)
{
	struct pn_error own;

	pthread_mutex_lock(&auth->reload_mutex);
	int result = reload_locked(auth, err ? err : &own);
	pthread_mutex_unlock(&auth->reload_mutex);
	return result;
}

static void look(struct pn_auth *auth)
{
	struct pn_error err;
	struct pn_file_stamp now = pn_file_stamp_now(auth->user_file);

	pthread_mutex_lock(&auth->reload_mutex);
	if (!pn_file_stamp_eq(&now, &auth->stamp)) {
		if (reload_locked(auth, &err) == 0)
			pn_logf(PN_LOG_INFO, "auth", "%s was read again", auth->user_file);
		else
			pn_logf(PN_LOG_ERROR, "auth", "the changed user file is not used: %s", err.text);
	}
	pthread_mutex_unlock(&auth->reload_mutex);
}

/* Waits for the time of the next look. False: stop. With watcher_mutex held. */
static bool wait_for_look(struct pn_auth *auth)
{
	struct timespec until;
	int error = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += auth->settings.reload_check_s;
	while (!auth->is_stopping && error == 0)
		error = pthread_cond_timedwait(&auth->watcher_cond, &auth->watcher_mutex, &until);
	return !auth->is_stopping;
}

static void *watcher_main(void *arg)
{
	struct pn_auth *auth = arg;

	pthread_mutex_lock(&auth->watcher_mutex);
	while (wait_for_look(auth)) {
		pthread_mutex_unlock(&auth->watcher_mutex);
		look(auth);
		pthread_mutex_lock(&auth->watcher_mutex);
	}
	pthread_mutex_unlock(&auth->watcher_mutex);
	return NULL;
}

int pn_auth_watcher_start(struct pn_auth *auth)
{
	if (auth->settings.reload_check_s == 0)
		return 0;
	int r = pn_auth_thread_create(&auth->watcher, "auth/reload", watcher_main, auth);
	auth->has_watcher = r == 0;
	return r;
}

void pn_auth_watcher_stop(struct pn_auth *auth)
{
	if (!auth->has_watcher)
		return;
	pthread_mutex_lock(&auth->watcher_mutex);
	auth->is_stopping = true;
	pthread_cond_signal(&auth->watcher_cond);
	pthread_mutex_unlock(&auth->watcher_mutex);
	pthread_join(auth->watcher, NULL);
	auth->has_watcher = false;
}
