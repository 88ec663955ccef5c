/* SPDX-License-Identifier: ISC */
/*
 * service.c - what one loop owns for its sessions: listeners' accepts, the spool writer, counters;
 * start, reload and drain.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <postern/base/log.h>

#include "session_internal.h"

#define DRAIN_POLL_MS     20u
#define REPLIES_MAX_BYTES (1024u * 1024u)

static const char *const counter_names[] = {
#define X(name) #name,
	PN_SESSION_COUNTERS(X)
#undef X
};

static void on_drain_timeout(struct pn_timer *t)
{
	struct pn_session_service *svc = pn_container_of(t, struct pn_session_service, drain_timer);
	PN_LIST_FOR_EACH_SAFE(it, tmp, &svc->sessions)
	{
		PN_COUNT(svc, drain_timeouts);
		pn_session_kill(pn_container_of(it, struct pn_session, node), "drain_timeout");
	}
}

static void on_drain_poll(struct pn_timer *t)
{
	pn_service_check_drained(pn_container_of(t, struct pn_session_service, drain_poll));
}

/* One counter for each reply of the table, so that every limit of the protocol has its own. */
static void register_replies(struct pn_session_service *svc)
{
	for (unsigned i = 0; i < PN_REPLY_COUNT; i++)
		svc->reply_names[i] =
			i == PN_REPLY_NONE ? "none" : pn_reply_reason((enum pn_reply)i);
	svc->reply_block = (struct pn_counter_block){ .scope = "reply",
						      .names = svc->reply_names + 1,
						      .values = svc->replies_given + 1,
						      .count = PN_REPLY_COUNT - 1 };
	(void)snprintf(svc->reply_block.instance, sizeof(svc->reply_block.instance), "%s",
		       svc->counter_block.instance);
	pn_counters_register(&svc->reply_block);
}

struct pn_session_service *pn_session_service_new(struct pn_loop *loop,
						  struct pn_session_shared *shared,
						  struct pn_session_profile *profile,
						  unsigned index, struct pn_error *err)
{
	struct pn_session_service *svc = calloc(1, sizeof(*svc));
	if (!svc) {
		(void)pn_error_set(err, "out of memory");
		return NULL;
	}
	svc->loop = loop;
	svc->shared = shared;
	pn_list_init(&svc->sessions);
	pn_list_init(&svc->spare_commits);
	pn_buf_init(&svc->replies, REPLIES_MAX_BYTES);
	pn_timer_init(&svc->drain_timer, on_drain_timeout);
	pn_timer_init(&svc->drain_poll, on_drain_poll);
	pn_list_init(&svc->acceptors);
	svc->index = index;
	char name[32];
	(void)snprintf(name, sizeof(name), "loop/%u", index);
	svc->writer = pn_spool_writer_new(shared->spool, loop, name, err);
	if (!svc->writer) {
		free(svc);
		return NULL;
	}
	svc->profile = pn_session_profile_ref(profile);
	svc->counter_block = (struct pn_counter_block){ .scope = "session",
							.names = counter_names,
							.values = svc->counters,
							.count = PN_SESSION_COUNTER_COUNT };
	(void)snprintf(svc->counter_block.instance, sizeof(svc->counter_block.instance), "%s",
		       name);
	pn_counters_register(&svc->counter_block);
	register_replies(svc);
	return svc;
}

static bool set_has(const struct pn_listener_set *set, const struct pn_listener *l)
{
	for (size_t i = 0; i < set->count; i++) {
		if (set->items[i] == l)
			return true;
	}
	return false;
}

static bool accepts_on(const struct pn_session_service *svc, const struct pn_listener *l)
{
	PN_LIST_FOR_EACH(it, &svc->acceptors)
	{
		const struct pn_acceptor *a = pn_container_of(it, struct pn_acceptor, node);
		if (a->listener == l && !a->is_ending)
			return true;
	}
	return false;
}

void pn_session_service_set_listeners(struct pn_session_service *svc,
				      const struct pn_listener_set *set)
{
	if (svc->is_draining)
		return;
	PN_LIST_FOR_EACH_SAFE(it, tmp, &svc->acceptors)
	{
		struct pn_acceptor *a = pn_container_of(it, struct pn_acceptor, node);
		if (!set_has(set, a->listener))
			pn_acceptor_end(a);
	}
	for (size_t i = 0; i < set->count; i++) {
		if (accepts_on(svc, set->items[i]))
			continue;
		struct pn_acceptor *a = pn_acceptor_new(svc, set->items[i]);
		if (a)
			pn_acceptor_start(a);
		else
			pn_logf(PN_LOG_ERROR, "accept",
				"listener %s: out of memory; this loop does not accept on it",
				set->items[i]->name);
	}
}

void pn_session_service_set_profile(struct pn_session_service *svc,
				    struct pn_session_profile *profile)
{
	struct pn_session_profile *old = svc->profile;
	svc->profile = pn_session_profile_ref(profile);
	pn_session_profile_unref(old);
}

void pn_session_service_drain(struct pn_session_service *svc, uint32_t timeout_ms,
			      void (*done)(void *ctx), void *ctx)
{
	PN_ASSERT(!svc->is_draining);
	svc->is_draining = true;
	svc->drain_done = done;
	svc->drain_ctx = ctx;
	PN_LIST_FOR_EACH_SAFE(it, tmp, &svc->acceptors)
	pn_acceptor_end(pn_container_of(it, struct pn_acceptor, node));
	pn_loop_timer_set(svc->loop, &svc->drain_timer, timeout_ms);
	PN_LIST_FOR_EACH_SAFE(it, tmp, &svc->sessions)
	pn_session_drain_one(pn_container_of(it, struct pn_session, node));
	pn_service_check_drained(svc);
}

/* Session ends ask this directly; spool work that outlives its session is looked at by a short
 * timer. */
void pn_service_check_drained(struct pn_session_service *svc)
{
	if (!svc->is_draining || svc->is_drain_over)
		return;
	/* A hashing helper may still post its (dropped) answer to this loop. */
	if (svc->session_count == 0 && pn_acceptors_are_idle(svc) &&
	    !pn_spool_writer_is_busy(svc->writer) && pn_auth_inflight(svc->shared->auth) == 0) {
		svc->is_drain_over = true;
		pn_loop_timer_cancel(svc->loop, &svc->drain_timer);
		pn_loop_timer_cancel(svc->loop, &svc->drain_poll);
		svc->drain_done(svc->drain_ctx);
		return;
	}
	pn_loop_timer_set(svc->loop, &svc->drain_poll, DRAIN_POLL_MS);
}

void pn_session_service_free(struct pn_session_service *svc)
{
	if (!svc)
		return;
	PN_ASSERT(svc->session_count == 0);
	pn_counters_unregister(&svc->counter_block);
	pn_counters_unregister(&svc->reply_block);
	pn_spool_writer_free(svc->writer);
	pn_session_profile_unref(svc->profile);
	pn_buf_free(&svc->replies);
	pn_session_commits_free_spare(svc);
	PN_LIST_FOR_EACH_SAFE(it, tmp, &svc->acceptors)
	pn_acceptor_free(pn_container_of(it, struct pn_acceptor, node));
	free(svc);
}
