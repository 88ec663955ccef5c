/* SPDX-License-Identifier: ISC */
/*
 * worker_reload.c - a new configuration in the worker: everything is made first, and only when all of it is
 * there is anything swapped. And the answer for `postern reload`, which waits for it on the admin thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <postern/base/log.h>

#include "worker.h"

#define REFUSAL_MAX_BYTES 16384u
#define ANSWER_WAIT_S     60

/* ---- the answer ---- */

void pn_worker_reload_init(struct worker *w)
{
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&w->reload.lock, NULL);
	pthread_cond_init(&w->reload.changed, &attr);
	pthread_condattr_destroy(&attr);
	(void)snprintf(w->reload.hostname, sizeof(w->reload.hostname), "%s", w->config->hostname);
}

void pn_worker_reload_deinit(struct worker *w)
{
	pthread_cond_destroy(&w->reload.changed);
	pthread_mutex_destroy(&w->reload.lock);
	free(w->reload.text);
}

void pn_worker_reload_stop(struct worker *w)
{
	pthread_mutex_lock(&w->reload.lock);
	w->reload.is_stopping = true;
	pthread_cond_broadcast(&w->reload.changed);
	pthread_mutex_unlock(&w->reload.lock);
}

bool pn_worker_ask_reload(void *ctx, char **ret_text)
{
	struct worker *w = ctx;
	struct pn_worker_reload *r = &w->reload;
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ANSWER_WAIT_S;
	pthread_mutex_lock(&r->lock);
	uint64_t number = ++r->asked; /* the parent counts too: in the order of its octets */
	pn_worker_say(w, 'L');
	int rc = 0;
	while (r->answered < number && !r->is_stopping && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&r->changed, &r->lock, &until);
	bool is_answered = r->answered >= number;
	bool is_done = is_answered && r->is_done;
	const char *text = is_answered      ? r->text
			   : r->is_stopping ? "the gateway is stopping"
					    : "no answer yet; the log will say what became of it";
	*ret_text = text ? strdup(text) : NULL;
	pthread_mutex_unlock(&r->lock);
	return is_done;
}

void pn_worker_hostname(void *ctx, char *out, size_t size)
{
	struct pn_worker_reload *r = &((struct worker *)ctx)->reload;
	pthread_mutex_lock(&r->lock);
	(void)snprintf(out, size, "%s", r->hostname);
	pthread_mutex_unlock(&r->lock);
}

static void answer(struct worker *w, uint64_t asked, bool is_done, struct pn_slice text)
{
	struct pn_worker_reload *r = &w->reload;
	pthread_mutex_lock(&r->lock);
	free(r->text);
	r->text = strndup(text.ptr ? (const char *)text.ptr : "", text.len);
	r->is_done = is_done;
	if (asked > r->answered)
		r->answered = asked;
	(void)snprintf(r->hostname, sizeof(r->hostname), "%s", w->config->hostname);
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

/* ---- the new configuration ---- */

struct fresh {
	struct pn_handover handover;
	struct pn_config *config;
	struct pn_app_settings settings;
	struct pn_session_profile *profile;
	struct pn_listener_set *listeners;
	struct pn_log_settings log;
	struct pn_relay_change *relay;
};

/* Nothing but the users, which come last, is changed here. */
static int prepare(struct worker *w, struct fresh *f, struct pn_error *err)
{
	struct pn_error inner = { 0 };
	f->config = pn_worker_config_from(&f->handover, err);
	if (!f->config ||
	    pn_app_settings_make(&f->settings, f->config, &f->handover, &w->settings, err) != 0)
		return -1;
	pn_worker_log_values(f->config, &f->handover, &f->log);
	f->profile = pn_worker_profile_new(w, f->config, &f->handover, err);
	if (!f->profile)
		return -1;
	f->listeners = pn_worker_listeners_new(f->config, w->settings.loop_count, &f->handover,
					       w->listeners, err);
	if (!f->listeners)
		return -1;
	int rc = pn_relay_change_new(w->relay, &f->settings.relay, &f->relay, &inner);
	if (rc == -EIO) /* only a Maildir: the sandbox was closed around those of the start */
		return pn_error_set(err, "%s; a Maildir that is new needs a restart", inner.text);
	if (rc < 0)
		return pn_error_set(err, "%s", inner.text);
	return pn_auth_reload(w->auth, err);
}

static void discard(struct fresh *f)
{
	pn_relay_change_free(f->relay);
	pn_session_profile_unref(f->profile);
	pn_listener_set_unref(f->listeners);
	if (f->log.fd >= 0)
		(void)close(f->log.fd);
	for (size_t i = 0; i < f->handover.fd_count; i++) {
		int fd = pn_worker_take_fd(&f->handover, i);
		if (fd >= 0)
			(void)close(fd);
	}
	pn_app_settings_clear(&f->settings);
	pn_config_free(f->config);
	pn_handover_clear(&f->handover);
}

/* Cannot fail. What was in force before goes where the new one was. */
static void apply(struct worker *w, struct fresh *f)
{
	struct pn_config *config = w->config;
	struct pn_app_settings settings = w->settings;
	struct pn_session_profile *profile = w->profile;
	struct pn_listener_set *listeners = w->listeners;
	pn_relay_change_apply(f->relay);
	f->relay = NULL;
	pn_spool_set_limits(w->spool, f->settings.spool.queue_messages_max,
			    f->settings.spool.free_space_min_bytes);
	pn_loop_threads_update(w->loops, f->profile, f->listeners);
	w->config = f->config;
	w->settings = f->settings;
	w->profile = f->profile;
	w->listeners = f->listeners;
	f->config = config;
	f->settings = settings;
	f->profile = profile;
	f->listeners = listeners;
	pn_worker_limits_set(w);
	pn_log_configure(&f->log);
	pn_log_set_output(f->log.fd);
	f->log.fd = -1;
}

static void reload(struct worker *w)
{
	struct fresh f = { .log = { .fd = -1 } };
	struct pn_error err = { 0 };
	int rc = pn_handover_recv(w->sock, &f.handover);
	struct pn_slice asked = pn_handover_get(&f.handover, "asked");
	uint64_t number = asked.ptr ? strtoull((const char *)asked.ptr, NULL, 10) : 0;
	if (rc != 0)
		(void)pn_error_set(&err, "hand-over: %s", strerror(-rc));
	if (rc == 0 && prepare(w, &f, &err) == 0) {
		apply(w, &f);
		pn_logf(PN_LOG_INFO, "reload", "done: the new configuration is in force");
		answer(w, number, true, pn_handover_get(&f.handover, "needs_restart"));
		pn_worker_say(w, 'K');
	} else {
		pn_logf(PN_LOG_ERROR, "reload", "refused, nothing changed: %s", err.text);
		answer(w, number, false, pn_slice_str(err.text));
		pn_worker_say(w, 'E');
	}
	discard(&f);
}

/* "N", the number, a line end, why. The parent has logged it. */
static void refused(struct worker *w)
{
	static char text[REFUSAL_MAX_BYTES + 64];
	ssize_t n = recv(w->sock, text, sizeof(text) - 1, MSG_DONTWAIT);
	if (n <= 0)
		return;
	text[n] = '\0';
	char *why = NULL;
	uint64_t number = strtoull(text + 1, &why, 10);
	answer(w, number, false, pn_slice_str(*why == '\n' ? why + 1 : why));
}

void pn_worker_on_parent(struct worker *w)
{
	char mark = 0;
	if (recv(w->sock, &mark, 1, MSG_PEEK | MSG_DONTWAIT) == 1 && mark == 'N')
		refused(w);
	else
		reload(w);
}
