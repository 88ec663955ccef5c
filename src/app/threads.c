/* SPDX-License-Identifier: ISC */
/*
 * threads.c - the loop threads: start, hand over a new profile and listeners, drain, join.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/log.h>

#include "app.h"

struct loop_thread {
	struct pn_loop_threads *all;
	unsigned index;
	pthread_t thread;
	bool is_started;
	struct pn_loop *loop;
	struct pn_session_service *service;
	struct pn_task update_task;
	struct pn_task drain_task;
	_Atomic bool is_update_pending;
	struct pn_error err;
};

struct pn_loop_threads {
	struct pn_loop_threads_settings settings;
	pthread_mutex_t lock; /* guards what follows; never taken on a hot path */
	pthread_cond_t changed;
	unsigned ready;
	unsigned failed;
	struct pn_session_profile *profile; /* what an update_task is to take over */
	struct pn_listener_set *listeners;
	uint32_t drain_timeout_ms;
	bool is_drain_posted; /* nobody posts to the loops any more: they may be freed */
	unsigned count;
	struct loop_thread threads[];
};

static void on_drained(void *ctx)
{
	struct loop_thread *t = ctx;
	pn_loop_stop(t->loop);
}

static void on_drain(struct pn_loop *loop, struct pn_task *task)
{
	(void)loop;
	struct loop_thread *t = pn_container_of(task, struct loop_thread, drain_task);
	pn_session_service_drain(t->service, t->all->drain_timeout_ms, on_drained, t);
}

static void on_update(struct pn_loop *loop, struct pn_task *task)
{
	(void)loop;
	struct loop_thread *t = pn_container_of(task, struct loop_thread, update_task);
	/* release: pairs with the acquire in pn_loop_threads_update, which may post this task
	 * again from here on */
	atomic_store_explicit(&t->is_update_pending, false, memory_order_release);
	pthread_mutex_lock(&t->all->lock);
	struct pn_session_profile *p = pn_session_profile_ref(t->all->profile);
	struct pn_listener_set *l = pn_listener_set_ref(t->all->listeners);
	pthread_mutex_unlock(&t->all->lock);
	pn_session_service_set_profile(t->service, p);
	pn_session_service_set_listeners(t->service, l);
	pn_session_profile_unref(p);
	pn_listener_set_unref(l);
}

static void report(struct loop_thread *t, bool is_ready)
{
	pthread_mutex_lock(&t->all->lock);
	if (is_ready)
		t->all->ready++;
	else
		t->all->failed++;
	pthread_cond_broadcast(&t->all->changed);
	pthread_mutex_unlock(&t->all->lock);
}

static int make_loop(struct loop_thread *t)
{
	const struct pn_config *c = t->all->settings.config;
	const struct pn_app_settings *app = t->all->settings.app;
	char name[32];
	(void)snprintf(name, sizeof(name), "loop/%u", t->index);
	struct pn_loop_settings s = { .name = name,
				      .sq_entries = c->io_uring.sq_entries,
				      .cq_entries = c->io_uring.cq_entries,
				      .buffer_count = c->io_uring.buffer_count,
				      .buffer_size_bytes = c->io_uring.buffer_size_bytes,
				      .cpu = app->loop_cpus[t->index],
				      .features_disabled = app->features_disabled,
				      .is_restricted = true };
	return pn_loop_new(&s, &t->loop, &t->err);
}

/* The drain task may have run to its end while the thread that posted it is still about to wake
 * this loop. */
static void wait_drain_posted(struct pn_loop_threads *all)
{
	pthread_mutex_lock(&all->lock);
	while (!all->is_drain_posted)
		pthread_cond_wait(&all->changed, &all->lock);
	pthread_mutex_unlock(&all->lock);
}

static void *thread_main(void *arg)
{
	struct loop_thread *t = arg;
	const struct pn_loop_threads_settings *s = &t->all->settings;
	if (make_loop(t) != 0) {
		report(t, false);
		return NULL;
	}
	t->service = pn_session_service_new(t->loop, s->shared, s->profile, t->index, &t->err);
	if (!t->service) {
		report(t, false);
		return NULL;
	}
	pn_session_service_set_listeners(t->service, s->listeners);
	report(t, true);
	int rc = pn_loop_run(t->loop);
	if (rc != 0)
		pn_logf(PN_LOG_ERROR, "loop", "loop %u ended: %s", t->index, strerror(-rc));
	PN_ASSERT(
		rc ==
		0); /* a ring that fails takes its sessions with it: the parent starts the worker again */
	wait_drain_posted(t->all);
	pn_session_service_free(t->service);
	while (pn_loop_inflight(t->loop) > 0 && pn_loop_run_once(t->loop, 100) == 0)
		continue;
	pn_loop_free(t->loop);
	return NULL;
}

struct pn_loop_threads *pn_loop_threads_start(const struct pn_loop_threads_settings *s,
					      struct pn_error *err)
{
	unsigned count = s->app->loop_count;
	struct pn_loop_threads *all = calloc(1, sizeof(*all) + count * sizeof(all->threads[0]));
	if (!all) {
		(void)pn_error_set(err, "out of memory");
		return NULL;
	}
	all->settings = *s;
	all->count = count;
	all->profile = pn_session_profile_ref(s->profile);
	all->listeners = pn_listener_set_ref(s->listeners);
	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->changed, NULL);
	unsigned started = 0;
	for (; started < count; started++) {
		struct loop_thread *t = &all->threads[started];
		t->all = all;
		t->index = started;
		t->update_task.fn = on_update;
		t->drain_task.fn = on_drain;
		if (pthread_create(&t->thread, NULL, thread_main, t) != 0)
			break;
		t->is_started = true;
	}
	pthread_mutex_lock(&all->lock);
	while (all->ready + all->failed < started)
		pthread_cond_wait(&all->changed, &all->lock);
	bool is_good = started == count && all->failed == 0;
	pthread_mutex_unlock(&all->lock);
	if (is_good)
		return all;
	/* The worker process ends after this; threads that did start end with it. */
	(void)pn_error_set(err, "out of memory or threads");
	for (unsigned i = 0; i < started; i++) {
		if (all->threads[i].err.text[0] != '\0')
			(void)pn_error_set(err, "loop %u: %s", i, all->threads[i].err.text);
	}
	return NULL;
}

void pn_loop_threads_update(struct pn_loop_threads *all, struct pn_session_profile *profile,
			    struct pn_listener_set *listeners)
{
	pthread_mutex_lock(&all->lock);
	struct pn_session_profile *old = all->profile;
	struct pn_listener_set *old_listeners = all->listeners;
	all->profile = pn_session_profile_ref(profile);
	all->listeners = pn_listener_set_ref(listeners);
	pthread_mutex_unlock(&all->lock);
	pn_session_profile_unref(old);
	pn_listener_set_unref(old_listeners);
	for (unsigned i = 0; i < all->count; i++) {
		struct loop_thread *t = &all->threads[i];
		/* acq_rel: a task that still waits will see what is new; one that ran may be
		 * posted again */
		if (!atomic_exchange_explicit(&t->is_update_pending, true, memory_order_acq_rel))
			pn_loop_post(t->loop, &t->update_task);
	}
}

void pn_loop_threads_drain(struct pn_loop_threads *all, uint32_t timeout_ms)
{
	all->drain_timeout_ms = timeout_ms;
	for (unsigned i = 0; i < all->count; i++)
		pn_loop_post(all->threads[i].loop, &all->threads[i].drain_task);
	pthread_mutex_lock(&all->lock);
	all->is_drain_posted = true;
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
	for (unsigned i = 0; i < all->count; i++) {
		pthread_join(all->threads[i].thread, NULL);
		all->threads[i].is_started = false;
	}
}

void pn_loop_threads_free(struct pn_loop_threads *all)
{
	if (!all)
		return;
	pn_session_profile_unref(all->profile);
	pn_listener_set_unref(all->listeners);
	pthread_mutex_destroy(&all->lock);
	pthread_cond_destroy(&all->changed);
	free(all);
}
