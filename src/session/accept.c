/* SPDX-License-Identifier: ISC */
/*
 * accept.c - takes connections from the shared listeners and decides whether they may become sessions.
 *
 * Accepts are single-shot and re-armed after each connection: on a listener that several rings share, a multishot
 * accept gives every connection to one ring, a re-armed single shot moves this ring to the end of the kernel's wait
 * queue and is even. Where more connections wait, further accepts that do not wait go with it: a round of a busy
 * loop is long, and with one connection in each the others would grow old in the kernel's backlog, neither served
 * nor told. Refusals are cheap: on implicit TLS the connection is closed before its ClientHello is read, on STARTTLS
 * it is greeted with 421 (RFC 5321 3.8).
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
	PN_ASSERT(a->inflight == 0);
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
	if (a->accepts[0].op.is_inflight)
		pn_loop_cancel(a->svc->loop, &a->accepts[0].op);
	else if (a->inflight == 0)
		pn_acceptor_free(a);
}

static void submit(struct pn_acceptor *a, size_t index)
{
	struct pn_accept *accept = &a->accepts[index];
	const struct pn_listener *l = a->listener;
	int fd = l->fds[a->svc->index % l->fd_count];

	accept->acceptor = a;
	accept->addr_len = sizeof(accept->addr);
	a->inflight++;
	(index == 0 ? pn_loop_accept : pn_loop_accept_now)(a->svc->loop, &accept->op, on_accept, fd,
							   (struct sockaddr *)&accept->addr,
							   &accept->addr_len);
}

void pn_acceptor_start(struct pn_acceptor *a)
{
	if (a->svc->is_draining || a->is_ending || a->accepts[0].op.is_inflight)
		return;
	/* The first comes last: when its result is looked at, the others are free again. */
	for (size_t i = 1; i < a->wanted; i++) {
		if (!a->accepts[i].op.is_inflight)
			submit(a, i);
	}
	submit(a, 0);
}

/* As long as connections wait behind the one that was taken, twice as many are taken in each round of the loop. */
static void adapt(struct pn_acceptor *a, const struct pn_op *op)
{
	if (op->is_nonempty && (pn_loop_features(a->svc->loop) & PN_NET_FEATURE(ACCEPT_DONTWAIT)))
		a->wanted = (unsigned)pn_min_size(2 * pn_max_size(a->wanted, 1),
						  PN_SESSION_ACCEPTS_MAX);
	else
		a->wanted = 1;
}

bool pn_acceptors_are_idle(const struct pn_session_service *svc)
{
	PN_LIST_FOR_EACH(it, &svc->acceptors)
	{
		if (pn_container_of(it, struct pn_acceptor, node)->inflight > 0)
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

static bool admit_source(struct pn_acceptor *a, int fd, const struct sockaddr_in6 *addr,
			 uint32_t *ticket, bool *is_counted)
{
	struct pn_session_service *svc = a->svc;
	const struct pn_session_profile *p = svc->profile;
	*is_counted = false;
	switch (pn_sources_enter(
		svc->shared->sources, (const struct sockaddr *)addr, p->sessions_per_source_max,
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

static void admit(struct pn_acceptor *a, int fd, const struct sockaddr_in6 *addr)
{
	struct pn_session_service *svc = a->svc;
	struct pn_session_shared *shared = svc->shared;
	uint32_t ticket = 0;
	bool is_counted;

	PN_COUNT(svc, accepted);
	if (!admit_source(a, fd, addr, &ticket, &is_counted))
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
	struct pn_session *s = pn_session_new(svc, a->listener, fd, addr);
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

/* Whether accepting goes on at once. */
static bool accept_failed(struct pn_acceptor *a, int error)
{
	struct pn_session_service *svc = a->svc;

	switch (error) {
	case ECANCELED:
	case EINTR:
		return true;
	case ECONNABORTED:
		PN_COUNT(svc, accept_errors);
		return true;
	case EBADF:
	case EINVAL:
	case ENOTSOCK:
		PN_COUNT(svc, accept_errors);
		pn_logf(PN_LOG_ERROR, "accept", "listener %s: %s; no longer accepting on it",
			a->listener->name, strerror(error));
		return false;
	default:
		break;
	}
	/* No descriptors, no memory, or something that lasts: accepting again at once would
	 * spin; the backlog waits in the kernel meanwhile. */
	if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM)
		PN_COUNT(svc, accept_paused);
	else
		PN_COUNT(svc, accept_errors);
	if (!svc->is_draining && !a->is_ending) /* a drain that ends frees the timer */
		pn_loop_timer_set(svc->loop, &a->retry, PN_SESSION_ACCEPT_PAUSE_MS);
	return false;
}

static void on_accept(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_accept *accept = pn_container_of(op, struct pn_accept, op);
	struct pn_acceptor *a = accept->acceptor;
	struct pn_session_service *svc = a->svc;
	bool is_first = accept == &a->accepts[0];
	bool is_again = is_first;

	(void)loop;
	a->inflight--;
	if (is_first)
		adapt(a, op);
	if (res >= 0) {
		if (svc->is_draining)
			refuse(a, res, PN_REPLY_SHUTDOWN);
		else
			admit(a, res, &accept->addr);
	} else if (is_first) {
		is_again = accept_failed(a, -res);
	} else if (res == -ECONNABORTED) {
		PN_COUNT(svc, accept_errors);
	} /* else the first will meet the same, or nobody waited any more */
	if (a->is_ending && a->inflight == 0) {
		pn_acceptor_free(a);
		a = NULL;
	}
	if (svc->is_draining)
		pn_service_check_drained(svc);
	else if (is_again && a)
		pn_acceptor_start(a);
}
