/* SPDX-License-Identifier: ISC */
/*
 * session_io.c - moves octets: receive, open, step the protocol, seal, send; and the backlogs of a
 * paused session.
 *
 * One receive at a time, armed again only when everything was acted on: TCP itself holds back a
 * client that is faster than the disk. (A multishot
 * receive went on delivering behind a pause: megabytes of an honest sender that had to be kept or
 * refused.) Nothing of the loop's provided
 * buffers is kept beyond the callback: what cannot be acted on yet, at most one buffer, is copied
 * into the session's backlogs, so that the
 * number of paused sessions never starves the others of buffers.
 */
#include <errno.h>
#include <string.h>

#include "session_internal.h"

/* Replies of a long pipelined group are handed to the record layer in pieces of this size. */
#define REPLIES_FLUSH_MAX_BYTES 8192u

static void on_recv(struct pn_loop *loop, struct pn_op *op, int res);
static void on_send(struct pn_loop *loop, struct pn_op *op, int res);
static void settle(struct pn_session *s);

void pn_session_arm_recv(struct pn_session *s)
{
	if (s->recv_op.is_inflight || s->has_peer_closed || s->state == PN_SESSION_DEAD)
		return;
	pn_loop_recv_once(s->svc->loop, &s->recv_op, on_recv, s->fd);
}

bool pn_session_is_output_full(const struct pn_session *s)
{
	return pn_buf_len(&s->out) + pn_buf_len(&s->held) > s->profile->output_buffer_max_bytes / 2;
}

/* Half of the limit may be taken already when a piece is sealed: pieces must be well below the
 * other half. */
static size_t flush_bytes(const struct pn_session *s)
{
	return pn_min_size(REPLIES_FLUSH_MAX_BYTES, s->profile->output_buffer_max_bytes / 8);
}

/* ---- out ---- */

void pn_session_flush(struct pn_session *s)
{
	struct pn_buf *replies = &s->svc->replies;
	size_t len = pn_buf_len(replies);
	if (len > 0 && s->commit_count > 0 && s->state == PN_SESSION_OPEN) {
		if (!pn_session_hold(s))
			return;
	} else if (len > 0 && s->record && s->state == PN_SESSION_OPEN) {
		enum pn_record_status status =
			pn_record_seal(s->record, pn_buf_slice(replies), &s->out);
		pn_buf_clear(replies);
		if (status != PN_RECORD_OK) {
			PN_COUNT(s->svc, output_stalls);
			pn_session_kill(s, "output_limit");
			return;
		}
		s->bytes_out += len;
		pn_session_touch(s);
	}
	pn_buf_clear(replies);
	pn_session_send(s);
}

static void output_is_over(struct pn_session *s)
{
	if (s->state != PN_SESSION_CLOSING)
		return;
	if (s->record)
		pn_record_flushed(s->record);
	if (s->is_lingering_wanted && !s->has_peer_closed && shutdown(s->fd, SHUT_WR) == 0) {
		s->state = PN_SESSION_LINGER;
		pn_session_arm_recv(s);
		pn_session_set_deadline(s, PN_SESSION_LINGER_MS);
		return;
	}
	pn_session_kill(s, s->close_reason);
}

/* One send at a time; what is sealed meanwhile gathers in `out` and goes in the next. */
void pn_session_send(struct pn_session *s)
{
	if (s->send_op.is_inflight || s->state == PN_SESSION_DEAD)
		return;
	if (pn_buf_len(&s->sending) == 0) {
		if (pn_buf_len(&s->out) == 0) {
			pn_buf_free(&s->sending);
			pn_buf_free(
				&s->out); /* both have memory after a reply was made while another was on its way */
			output_is_over(s);
			return;
		}
		struct pn_buf empty = s->sending;
		s->sending = s->out;
		s->out = empty;
	}
	pn_loop_send(s->svc->loop, &s->send_op, on_send, s->fd, pn_buf_ptr(&s->sending),
		     pn_buf_len(&s->sending), 0);
}

static void on_send(struct pn_loop *loop, struct pn_op *op, int res)
{
	(void)loop;
	struct pn_session *s = pn_container_of(op, struct pn_session, send_op);
	if (s->state == PN_SESSION_DEAD) {
		pn_session_check_dead(s);
		return;
	}
	if (res < 0 && res != -EINTR && res != -EAGAIN) {
		PN_COUNT(s->svc, peer_resets);
		pn_session_kill(s, "send_failed");
		return;
	}
	if (res > 0)
		pn_buf_consume(&s->sending, (size_t)res);
	pn_session_send(s);
	if (s->wait == PN_WAIT_OUTPUT && s->state == PN_SESSION_OPEN && !pn_session_is_output_full(s)) {
		s->wait = PN_WAIT_NONE;
		pn_session_resume(s);
	} else if (s->record && s->record->wants_quiet && s->wait == PN_WAIT_NONE &&
		   s->state == PN_SESSION_OPEN) {
		settle(s);
	}
}

/* ---- in ---- */

/* The record wants a moment in which nothing is under way: until what is being sent is sent there
 * is no next receive. A peer that does not read meanwhile runs into the output's time limit. */
static bool is_held_back(struct pn_session *s)
{
	if (!s->record || !s->record->wants_quiet || s->state != PN_SESSION_OPEN ||
	    s->recv_op.is_inflight || pn_buf_len(&s->cipher_backlog) > 0)
		return false;
	if (!s->send_op.is_inflight && pn_buf_len(&s->out) == 0 && pn_buf_len(&s->sending) == 0)
		s->record = pn_record_quiet(s->record, &s->out);
	pn_session_send(s);
	return s->send_op.is_inflight;
}

static void protocol_closed(struct pn_session *s)
{
	enum pn_smtp_close_reason reason = pn_smtp_server_close_reason(&s->smtp);
	bool is_quit = reason == PN_SMTP_CLOSE_QUIT;
	if (reason == PN_SMTP_CLOSE_STARTTLS_INJECTION)
		PN_COUNT(s->svc, starttls_injections);
	else if (!is_quit)
		PN_COUNT(s->svc, protocol_closes);
	pn_session_close(s, pn_smtp_close_reason_name(reason), !is_quit);
}

/* Gives plaintext to the protocol until it is used up or the session pauses or ends. */
static void step(struct pn_session *s, struct pn_slice *in)
{
	struct pn_buf *replies = &s->svc->replies;
	/* One step may answer a whole receive buffer of commands: it stops where a piece is full,
	 * and what resolve adds has room behind it. */
	replies->max = flush_bytes(s) + 2 * PN_SMTP_OUT_ROOM_BYTES;
	while (s->state == PN_SESSION_OPEN && s->wait == PN_WAIT_NONE) {
		struct pn_smtp_event ev;
		enum pn_smtp_status status = pn_smtp_server_step(&s->smtp, in, &ev, replies);
		bool is_flushed = pn_buf_len(replies) > flush_bytes(s);
		if (is_flushed) {
			pn_session_flush(s);
			if (s->state == PN_SESSION_OPEN && pn_session_is_output_full(s) &&
			    status == PN_SMTP_AGAIN)
				s->wait = PN_WAIT_OUTPUT;
		}
		if (s->state != PN_SESSION_OPEN)
			return;
		switch (status) {
		case PN_SMTP_AGAIN:
			return;
		case PN_SMTP_EVENT:
			pn_session_on_event(s, &ev);
			break;
		case PN_SMTP_WAIT:
			PN_ASSERT(
				is_flushed); /* for room alone: every missing verdict has a wait of ours, which ends this loop */
			break;
		case PN_SMTP_CLOSE:
			if (s->commit_count > 0)
				s->wait = PN_WAIT_COMMIT; /* the last word comes behind theirs */
			else
				protocol_closed(s);
			return;
		}
		if (s->state == PN_SESSION_OPEN && s->wait == PN_WAIT_NONE && pn_session_is_output_full(s))
			s->wait = PN_WAIT_OUTPUT;
	}
}

static bool keep(struct pn_session *s, struct pn_buf *backlog, struct pn_slice rest)
{
	if (rest.len == 0 || pn_buf_append_slice(backlog, rest) == 0)
		return true;
	PN_COUNT(s->svc, backlog_overflows);
	pn_session_kill(s, "backlog_overflow");
	return false;
}

static void step_backlog(struct pn_session *s)
{
	while (s->state == PN_SESSION_OPEN && s->wait == PN_WAIT_NONE &&
	       pn_buf_len(&s->plain_backlog) > 0) {
		struct pn_slice in = pn_buf_slice(&s->plain_backlog);
		size_t before = in.len;
		step(s, &in);
		pn_buf_consume(&s->plain_backlog, before - in.len);
		if (in.len == before)
			return;
	}
	if (pn_buf_len(&s->plain_backlog) == 0)
		pn_buf_wipe(&s->plain_backlog); /* it may have held a password */
}

static void on_record_end(struct pn_session *s, enum pn_record_status status)
{
	if (status == PN_RECORD_CLOSED) {
		s->has_peer_closed = true;
		if (s->commit_count == 0)
			pn_session_close(s, "peer_closed", false);
		return;
	}
	PN_COUNT(s->svc, protocol_closes);
	pn_session_close(s, "record_failed", true);
}

/* Opens records until the input is used up or the session pauses; returns the octets at the end of
 * `data` that were not looked at. */
static size_t feed_open(struct pn_session *s, uint8_t *data, size_t len)
{
	step_backlog(s);
	if (s->state != PN_SESSION_OPEN)
		return 0;
	if (s->wait != PN_WAIT_NONE || pn_buf_len(&s->plain_backlog) > 0)
		return len;
	struct pn_record *record = s->record;
	pn_record_input(record, data, len);
	while (s->state == PN_SESSION_OPEN && s->wait == PN_WAIT_NONE) {
		struct pn_slice plain;
		uint8_t *place = NULL;
		size_t room = pn_session_place(s, &place);
		enum pn_record_status status =
			pn_record_open_into(record, place, room, &plain, &s->out);
		if (status == PN_RECORD_WANT)
			return 0;
		if (status != PN_RECORD_OK) {
			on_record_end(s, status);
			return 0;
		}
		s->bytes_in += plain.len;
		if (room > 0 && plain.ptr == place)
			pn_session_placed(s, &plain);
		step(s, &plain);
		if (s->state == PN_SESSION_OPEN)
			(void)keep(s, &s->plain_backlog, plain);
		pn_session_placed_over(s);
	}
	/* In HANDSHAKE after STARTTLS the record is gone, and nothing that follows in this input
	 * may survive. */
	return s->state == PN_SESSION_OPEN ? pn_record_take_back(record) : 0;
}

/* Takes received octets through whatever state the session is in; returns how many at the end must
 * be kept for later. */
static size_t feed(struct pn_session *s, uint8_t *data, size_t len)
{
	if (s->state == PN_SESSION_HANDSHAKE) {
		struct pn_slice in = pn_slice(data, len);
		if (!pn_session_tls_input(s, &in))
			return 0;
		data += len - in.len;
		len = in.len;
	}
	return s->state == PN_SESSION_OPEN ? feed_open(s, data, len) : 0;
}

/* Acts on everything that is there. Every way in ends here; it never nests. */
void pn_session_pump(struct pn_session *s)
{
	if (s->is_pumping)
		return;
	s->is_pumping = true;
	struct pn_slice none = PN_SLICE_NULL;
	step(s, &none); /* a verdict may have ended the session or let an event out */
	step_backlog(s);
	while (s->state == PN_SESSION_OPEN && s->wait == PN_WAIT_NONE &&
	       pn_buf_len(&s->cipher_backlog) > 0) {
		size_t len = pn_buf_len(&s->cipher_backlog);
		size_t rest = feed(s, s->cipher_backlog.data + s->cipher_backlog.head, len);
		if (s->state == PN_SESSION_OPEN)
			pn_buf_consume(&s->cipher_backlog, len - rest);
		if (rest == len)
			break;
	}
	if (pn_buf_len(&s->cipher_backlog) == 0)
		pn_buf_free(&s->cipher_backlog);
	s->is_pumping = false;
}

/* After a pump: send, be ready for more, drain. */
static void settle(struct pn_session *s)
{
	if (s->state == PN_SESSION_OPEN || s->state == PN_SESSION_HANDSHAKE) {
		pn_session_flush(s);
		if (s->state == PN_SESSION_OPEN && (s->svc->is_draining || !s->user))
			pn_session_drain_one(s);
	}
	if (s->state == PN_SESSION_OPEN && s->has_peer_closed && s->wait == PN_WAIT_NONE &&
	    s->commit_count == 0) {
		pn_session_close(s, "peer_closed", false);
		return;
	}
	if ((s->state == PN_SESSION_OPEN || s->state == PN_SESSION_HANDSHAKE) &&
	    s->wait == PN_WAIT_NONE && !is_held_back(s)) {
		pn_session_arm_recv(s);
		if (s->record && s->state == PN_SESSION_OPEN && pn_smtp_server_is_idle(&s->smtp))
			pn_record_idle(s->record);
	}
	pn_session_check_dead(s);
}

/* From outside the receive path: a verdict has come, the output or the disk has room again. */
void pn_session_resume(struct pn_session *s)
{
	if (s->is_pumping)
		return; /* the pump that called us goes on by itself */
	pn_session_pump(s);
	settle(s);
}

static void received(struct pn_session *s, uint8_t *data, size_t len)
{
	if (s->state == PN_SESSION_CLOSING || s->state == PN_SESSION_LINGER)
		return;
	if (s->wait != PN_WAIT_NONE || pn_buf_len(&s->cipher_backlog) > 0) {
		(void)keep(s, &s->cipher_backlog,
			   pn_slice(data, len)); /* paused while this receive was armed */
		return;
	}
	s->is_pumping = true;
	size_t rest = feed(s, data, len);
	s->is_pumping = false;
	if (s->state == PN_SESSION_OPEN && rest > 0)
		(void)keep(s, &s->cipher_backlog, pn_slice(data + len - rest, rest));
}

/* Records that are not data come as errors where the kernel opens them. */
static void recv_failed(struct pn_session *s, int error)
{
	enum pn_record_status status =
		s->record ? pn_record_recv_failed(s->record, error, &s->out) : PN_RECORD_WANT;
	if (status == PN_RECORD_OK)
		return;
	if (status == PN_RECORD_WANT) {
		PN_COUNT(s->svc, peer_resets);
		pn_session_kill(s, "peer_reset");
		return;
	}
	if (s->state == PN_SESSION_OPEN &&
	    (status == PN_RECORD_FAILED || s->wait == PN_WAIT_NONE)) {
		on_record_end(s, status);
		return;
	}
	s->has_peer_closed = true;
	if (s->state == PN_SESSION_LINGER)
		pn_session_kill(s, s->close_reason);
}

static void on_recv(struct pn_loop *loop, struct pn_op *op, int res)
{
	struct pn_session *s = pn_container_of(op, struct pn_session, recv_op);
	if (op->has_buffer) {
		if (res > 0 && s->state != PN_SESSION_DEAD)
			received(s, pn_loop_buffer(loop, op->buffer_id), (size_t)res);
		pn_loop_buffer_return(loop, op->buffer_id);
	} else if (res == -ENOBUFS && s->state != PN_SESSION_DEAD) {
		pn_loop_recv_retry(loop, &s->recv_op, on_recv, s->fd);
		return;
	} else if (res == 0) {
		s->has_peer_closed = true;
		if (s->state == PN_SESSION_LINGER || s->state == PN_SESSION_HANDSHAKE)
			pn_session_kill(s, s->close_reason ? s->close_reason : "peer_closed");
	} else if (res < 0 && s->state != PN_SESSION_DEAD && res != -ECANCELED && res != -EINTR &&
		   res != -EAGAIN) {
		recv_failed(s, res);
	}
	if (s->state == PN_SESSION_LINGER)
		pn_session_arm_recv(s);
	else if (s->state == PN_SESSION_DEAD)
		pn_session_check_dead(s);
	else
		settle(s);
}
