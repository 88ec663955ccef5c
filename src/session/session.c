/* SPDX-License-Identifier: ISC */
/*
 * session.c - the life of a session: birth, deadlines, the ways to end, and the last free.
 *
 * Ending: OPEN -> CLOSING (last output on its way) -> LINGER (only where the last words may not be
 * lost to a RST) -> DEAD (cancel, wait for the last
 * CQEs, close) -> freed. Nothing is freed while the kernel may still write to it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <postern/base/clock.h>

#include "session_internal.h"

static void on_timer(struct pn_timer *t);

struct pn_session *pn_session_new(struct pn_session_service *svc,
				  struct pn_listener *listener, int fd,
				  const struct sockaddr_in6 *peer)
{
	struct pn_session *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->svc = svc;
	s->profile = pn_session_profile_ref(svc->profile);
	s->listener = pn_listener_ref(listener);
	s->fd = fd;
	s->peer = *peer;
	s->started_ms = pn_loop_now_ms(svc->loop);
	s->id = pn_id_make(s->profile->node, pn_clock_wall_ms());
	pn_timer_init(&s->timer, on_timer);
	/* Where the kernel opens records there is plaintext in it. */
	pn_buf_init_secret(&s->cipher_backlog, PN_SESSION_BACKLOG_MAX_BYTES);
	pn_buf_init_secret(&s->plain_backlog,
			   PN_SESSION_BACKLOG_MAX_BYTES); /* a line of AUTH may wait in it */
	pn_buf_init(&s->out, s->profile->output_buffer_max_bytes);
	pn_buf_init(&s->sending, s->profile->output_buffer_max_bytes);
	pn_buf_init(&s->held, s->profile->output_buffer_max_bytes);
	pn_list_init(&s->commits);
	s->smtp_settings = s->profile->smtp;
	s->smtp_settings.reply_counts = svc->replies_given;
	s->smtp_settings.auth_mechanisms = pn_auth_mechanisms(svc->shared->auth);
	pn_smtp_server_init(&s->smtp, &s->smtp_settings, listener->is_implicit_tls);
	pn_list_push_back(&svc->sessions, &s->node);
	svc->session_count++;
	PN_COUNT(svc, sessions_open);
	return s;
}

void pn_session_begin(struct pn_session *s)
{
	if (s->listener->is_implicit_tls) {
		if (pn_session_tls_start(s) != 0) {
			pn_session_kill(s, "memory");
			return;
		}
	} else {
		s->record = pn_record_plain_new();
		if (!s->record || pn_smtp_server_greet(&s->smtp, &s->svc->replies) != 0) {
			pn_session_kill(s, "memory");
			return;
		}
		s->state = PN_SESSION_OPEN;
		pn_session_set_deadline(s, s->profile->idle_timeout_ms);
		pn_session_flush(s);
	}
	pn_session_arm_recv(s);
}

void pn_session_set_deadline(struct pn_session *s, uint64_t delay_ms)
{
	s->deadline_ms = pn_loop_now_ms(s->svc->loop) + delay_ms;
	s->deadline_bytes_in = s->bytes_in;
	if (!pn_timer_is_armed(&s->timer) || s->timer.expires_ms > s->deadline_ms)
		pn_loop_timer_set(s->svc->loop, &s->timer, delay_ms);
}

/* The client made progress: a reply went out or content came in. */
void pn_session_touch(struct pn_session *s)
{
	if (s->state == PN_SESSION_OPEN && s->wait != PN_WAIT_DELAY)
		pn_session_set_deadline(s, pn_smtp_server_is_receiving(&s->smtp)
						   ? s->profile->data_timeout_ms
						   : s->profile->idle_timeout_ms);
}

static void say_and_close(struct pn_session *s, enum pn_reply reply, const char *reason)
{
	pn_smtp_server_abort(&s->smtp, reply, &s->svc->replies);
	pn_session_close(s, reason, true);
}

static void on_open_timeout(struct pn_session *s)
{
	struct pn_session_service *svc = s->svc;
	switch (s->wait) {
	case PN_WAIT_DELAY:
		pn_session_auth_delay_over(s);
		return;
	case PN_WAIT_VERDICT:
	case PN_WAIT_COMMIT:
	case PN_WAIT_SPOOL:
		/* The client waits for us, not we for it. */
		pn_session_set_deadline(s, s->profile->idle_timeout_ms);
		return;
	case PN_WAIT_OUTPUT:
		PN_COUNT(svc, output_stalls);
		pn_session_kill(s, "output_stall");
		return;
	case PN_WAIT_NONE:
		break;
	}
	if (s->send_op.is_inflight) {
		PN_COUNT(svc, output_stalls);
		pn_session_kill(s, "output_stall");
	} else if (s->commit_count > 0) {
		pn_session_set_deadline(s, s->profile->idle_timeout_ms);
	} else if (pn_smtp_server_is_in_content(&s->smtp) && s->bytes_in != s->deadline_bytes_in) {
		/* Content that is refused already makes no event and yet is read to its end, for
		 * only then the client may hear why (RFC 5321 4.1.1.4): it has not stopped. */
		pn_session_set_deadline(s, s->profile->data_timeout_ms);
	} else if (pn_smtp_server_is_receiving(&s->smtp)) {
		PN_COUNT(svc, data_timeouts);
		say_and_close(s, PN_REPLY_DATA_TIMEOUT, "data_timeout");
	} else {
		PN_COUNT(svc, idle_timeouts);
		say_and_close(s, PN_REPLY_IDLE_TIMEOUT, "idle_timeout");
	}
}

static void on_timer(struct pn_timer *t)
{
	struct pn_session *s = pn_container_of(t, struct pn_session, timer);
	struct pn_loop *loop = s->svc->loop;
	uint64_t now = pn_loop_now_ms(loop);

	if (now < s->deadline_ms) {
		pn_loop_timer_set(loop, &s->timer, s->deadline_ms - now);
		return;
	}
	switch (s->state) {
	case PN_SESSION_HANDSHAKE:
		PN_COUNT(s->svc, handshake_timeouts);
		pn_session_kill(s, "handshake_timeout");
		break;
	case PN_SESSION_OPEN:
		on_open_timeout(s);
		break;
	case PN_SESSION_CLOSING:
	case PN_SESSION_LINGER:
		pn_session_kill(s, s->close_reason);
		break;
	case PN_SESSION_DEAD:
		break;
	}
}

/* A session that has not authenticated in all its time makes room for others; looked at whenever
 * its client says something. */
static bool is_overdue(const struct pn_session *s)
{
	return !s->user &&
	       pn_loop_now_ms(s->svc->loop) - s->started_ms > s->profile->session_timeout_ms;
}

void pn_session_drain_one(struct pn_session *s)
{
	if (s->state == PN_SESSION_HANDSHAKE) {
		pn_session_kill(s, "drain");
		return;
	}
	if (s->state != PN_SESSION_OPEN || s->wait != PN_WAIT_NONE || s->commit_count > 0)
		return;
	if (s->svc->is_draining && !pn_smtp_server_is_in_transaction(&s->smtp)) {
		PN_COUNT(s->svc, drained);
		say_and_close(s, PN_REPLY_SHUTDOWN, "drain");
	} else if (is_overdue(s)) {
		PN_COUNT(s->svc, session_timeouts);
		say_and_close(s, PN_REPLY_SESSION_TOO_LONG, "session_timeout");
	}
}

static void release_work(struct pn_session *s)
{
	pn_session_auth_drop(s);
	pn_session_drop_message(s);
	pn_session_commits_drop(s);
	pn_session_handshake_over(s);
}

void pn_session_close(struct pn_session *s, const char *reason, bool is_lingering_wanted)
{
	if (s->state >= PN_SESSION_CLOSING)
		return;
	bool was_open = s->state == PN_SESSION_OPEN;
	s->close_reason = reason;
	s->is_lingering_wanted = is_lingering_wanted;
	release_work(s);
	if (was_open) {
		pn_session_flush(s);
		if (s->state >= PN_SESSION_CLOSING)
			return; /* the output limit was hit and the session killed */
		if (s->record)
			(void)pn_record_close(s->record, &s->out);
	}
	s->state = PN_SESSION_CLOSING;
	s->wait = PN_WAIT_NONE;
	pn_session_set_deadline(s, PN_SESSION_LINGER_MS);
	pn_session_send(s);
}

void pn_session_kill(struct pn_session *s, const char *reason)
{
	if (s->state == PN_SESSION_DEAD)
		return;
	if (!s->close_reason)
		s->close_reason = reason;
	release_work(s);
	s->state = PN_SESSION_DEAD;
	pn_buf_clear(&s->svc->replies);
	pn_loop_timer_cancel(s->svc->loop, &s->timer);
	pn_loop_cancel(s->svc->loop, &s->recv_op);
	pn_loop_cancel(s->svc->loop, &s->send_op);
	pn_session_check_dead(s);
}

static void session_free(struct pn_session *s)
{
	struct pn_session_service *svc = s->svc;
	pn_list_remove(&s->node);
	svc->session_count--;
	pn_counter_sub(&svc->counters[PN_SESSION_C_sessions_open], 1);
	PN_COUNT(svc, sessions_closed);
	atomic_fetch_sub_explicit(&svc->shared->sessions, 1, memory_order_relaxed);
	if (s->is_source_counted)
		pn_sources_leave(svc->shared->sources, s->source_ticket);
	pn_session_log_closed(s);
	pn_smtp_server_deinit(&s->smtp);
	pn_record_free(s->record);
	pn_tls_conn_free(s->tls_conn);
	pn_auth_user_unref(s->user);
	pn_session_profile_unref(s->profile);
	pn_listener_unref(s->listener);
	pn_buf_free(&s->cipher_backlog);
	pn_buf_wipe(&s->plain_backlog);
	pn_buf_free(&s->out);
	pn_buf_free(&s->sending);
	free(s->tls);
	free(s);
	pn_service_check_drained(svc);
}

static void on_closed(struct pn_loop *loop, struct pn_op *op, int res)
{
	(void)loop;
	(void)res;
	session_free(pn_container_of(op, struct pn_session, close_op));
}

void pn_session_check_dead(struct pn_session *s)
{
	if (s->state != PN_SESSION_DEAD || s->is_pumping || s->recv_op.is_inflight ||
	    s->send_op.is_inflight || s->close_op.is_inflight || s->is_release_posted || s->fd < 0)
		return;
	int fd = s->fd;
	s->fd = -1;
	pn_loop_close(s->svc->loop, &s->close_op, on_closed, fd);
}
