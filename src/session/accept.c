/* SPDX-License-Identifier: ISC */
/*
 * accept.c - takes connections from the shared listeners and decides whether they may become
 * sessions.
 *
 * Accepts are single-shot and re-armed after each connection: on a listener that several rings
 * share, a multishot accept gives every connection to one
 * ring, a re-armed single shot moves this ring to the end of the kernel's wait queue and is even.
 * Refusals are cheap: on implicit
 * TLS the connection is closed before its ClientHello is read, on STARTTLS it is greeted with 421
 * (RFC 5321 3.8).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/log.h>

#include "session_internal.h"

static void on_accept(struct pn_loop *loop, struct pn_op *op, int res);

static void on_retry(struct pn_timer *t)
{
	pn_acceptor_start(pn_container_of(t, struct pn_acceptor, retry));
}

struct pn_acceptor *pn_acceptor_new(struct pn_session_service *svc, struct pn_listener *l)
{
	struct pn_acceptor *a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->svc = svc;
	a->listener = pn_listener_hold(l);
	pn_timer_init(&a->retry, on_retry);
	pn_list_push_back(&svc->acceptors, &a->node);
	return a;
}

void pn_acceptor_free(struct pn_acceptor *a)
{
	PN_ASSERT(!a->op.is_inflight);
	pn_list_remove(&a->node);
	pn_listener_release(a->listener);
	free(a);
}

void pn_acceptor_end(struct pn_acceptor *a)
{
	if (a->is_ending)
		return;
	a->is_ending = true;
	pn_loop_timer_cancel(a->svc->loop, &a->retry);
	if (a->op.is_inflight)
		pn_loop_cancel(a->svc->loop, &a->op);
	else
		pn_acceptor_free(a);
}

void pn_acceptor_start(struct pn_acceptor *a)
{
	if (a->svc->is_draining || a->is_ending || a->op.is_inflight)
		return;
	const struct pn_listener *l = a->listener;
	a->addr_len = sizeof(a->addr);
	pn_loop_accept(a->svc->loop, &a->op, on_accept, l->fds[a->svc->index % l->fd_count],
		       (struct sockaddr *)&a->addr, &a->addr_len);
}

bool pn_acceptors_are_idle(const struct pn_session_service *svc)
{
	PN_LIST_FOR_EACH(it, &svc->acceptors)
	{
		if (pn_container_of(it, struct pn_acceptor, node)->op.is_inflight)
			return false;
	}
	return true;
}

/* The 421 goes out with a plain send: a fresh socket's buffer is empty, so it never blocks. */
static void refuse(const struct pn_acceptor *a, int fd, enum pn_reply reply)
{
	if (!a->listener->is_implicit_tls) {
		struct pn_buf line;
		pn_buf_init(&line, 1024);
		if (pn_reply_format(reply, PN_SLICE_NULL, true, &line) == 0)
			(void)send(fd, pn_buf_ptr(&line), pn_buf_len(&line),
				   MSG_DONTWAIT | MSG_NOSIGNAL);
		pn_buf_free(&line);
	}
	(void)close(fd);
}

/* Takes a place in the process-wide count when there is one. */
static bool take_place(_Atomic uint32_t *count, uint32_t max)
{
	uint32_t n = atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
	if (n < max)
		return true;
	atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);
	return false;
}

static bool admit_source(struct pn_acceptor *a, int fd, uint32_t *ticket, bool *is_counted)
{
	struct pn_session_service *svc = a->svc;
	const struct pn_session_profile *p = svc->profile;
	*is_counted = false;
	switch (pn_sources_enter(
		svc->shared->sources, (const struct sockaddr *)&a->addr, p->sessions_per_source_max,
		p->connections_per_source_per_minute_max, pn_loop_now_ms(svc->loop), ticket)) {
	case PN_SOURCE_OK:
		*is_counted = true;
		return true;
	case PN_SOURCE_UNTRACKED:
		PN_COUNT(svc, sources_untracked);
		return true;
	case PN_SOURCE_TOO_MANY_SESSIONS:
		PN_COUNT(svc, refused_source_sessions);
		break;
	case PN_SOURCE_TOO_FAST:
		PN_COUNT(svc, refused_source_rate);
		break;
	}
	refuse(a, fd, PN_REPLY_TOO_MANY_FROM_SOURCE);
	return false;
}

static void admit(struct pn_acceptor *a, int fd)
{
	struct pn_session_service *svc = a->svc;
	struct pn_session_shared *shared = svc->shared;
	uint32_t ticket = 0;
	bool is_counted;

	PN_COUNT(svc, accepted);
	if (!admit_source(a, fd, &ticket, &is_counted))
		return;
	enum pn_reply reply = PN_REPLY_TOO_MANY_SESSIONS;
	if (!take_place(&shared->sessions, svc->profile->sessions_max)) {
		PN_COUNT(svc, refused_sessions_max);
		goto refused;
	}
	if (a->listener->is_implicit_tls &&
	    !take_place(&shared->handshakes, svc->profile->handshakes_max)) {
		PN_COUNT(svc, refused_handshakes_max);
		goto refused_session;
	}
	struct pn_session *s = pn_session_new(svc, a->listener, fd, &a->addr);
	if (!s) {
		reply = PN_REPLY_SESSION_MEMORY;
		if (a->listener->is_implicit_tls)
			atomic_fetch_sub_explicit(&shared->handshakes, 1, memory_order_relaxed);
		goto refused_session;
	}
	s->is_source_counted = is_counted;
	s->source_ticket = ticket;
	s->is_handshake_counted = a->listener->is_implicit_tls;
	pn_session_begin(s);
	return;

refused_session:
	atomic_fetch_sub_explicit(&shared->sessions, 1, memory_order_relaxed);
refused:
	if (is_counted)
		pn_sources_leave(shared->sources, ticket);
	refuse(a, fd, reply);
}

static void on_accept(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_acceptor *a = pn_container_of(op, struct pn_acceptor, op);
	struct pn_session_service *svc = a->svc;
	bool is_again = true;

	if (res >= 0) {
		if (svc->is_draining)
			refuse(a, res, PN_REPLY_SHUTDOWN);
		else
			admit(a, res);
	} else if (res == -EBADF || res == -EINVAL || res == -ENOTSOCK) {
		PN_COUNT(svc, accept_errors);
		pn_logf(PN_LOG_ERROR, "accept", "listener %s: %s; no longer accepting on it",
			a->listener->name, strerror(-res));
		is_again = false;
	} else if (res != -ECANCELED && res != -EINTR && res != -ECONNABORTED) {
		/* No descriptors, no memory, or something that lasts: accepting again at once would
		 * spin; the backlog waits in the kernel meanwhile. */
		if (res == -EMFILE || res == -ENFILE || res == -ENOBUFS || res == -ENOMEM)
			PN_COUNT(svc, accept_paused);
		else
			PN_COUNT(svc, accept_errors);
		if (!svc->is_draining && !a->is_ending) /* a drain that ends frees the timer */
			pn_loop_timer_set(loop, &a->retry, PN_SESSION_ACCEPT_PAUSE_MS);
		is_again = false;
	} else if (res == -ECONNABORTED) {
		PN_COUNT(svc, accept_errors);
	}
	if (a->is_ending) {
		pn_acceptor_free(a);
		a = NULL;
	}
	if (svc->is_draining)
		pn_service_check_drained(svc);
	else if (is_again && a)
		pn_acceptor_start(a);
}
