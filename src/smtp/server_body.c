/* SPDX-License-Identifier: ISC */
/*
 * server_body.c - the content of a message, by DATA or in BDAT chunks.
 *
 * Runs of the data scanner go to the content scan and out as EV_CONTENT without being copied. When the content
 * breaks a rule the owner is told once, at once (EV_DATA_ABORT), so that nothing more is stored; the rest is
 * still read to its true end, and only then the reply is given (RFC 5321 4.1.1.4; RFC 3030 2 for chunks). Which
 * reply depends on the whole content by a fixed rank, not on what was noticed first: so no cut of the input
 * changes it.
 */
#include "server_internal.h"

#include <stdio.h>

bool pn_srv_body_begin(struct pn_smtp_server *s, bool is_bdat)
{
	const struct pn_smtp_server_settings *settings = s->settings;

	if (!s->txn->body)
		s->txn->body = pn_arena_alloc(&s->arena, sizeof(*s->txn->body));
	struct pn_smtp_body *b = s->txn->body;
	if (!b)
		return false;
	memset(b, 0, sizeof(*b));
	b->is_bdat = is_bdat;
	pn_data_scanner_init(&b->scanner, settings->line_policy, is_bdat);
	pn_content_scan_init(&b->content, settings->limits.text_line_max_bytes,
			     settings->limits.header_size_max_bytes, settings->limits.received_max);
	return true;
}

static enum pn_reply content_reply(enum pn_content_problem problem)
{
	switch (problem) {
	case PN_CONTENT_OK: return PN_REPLY_NONE;
	case PN_CONTENT_LINE_TOO_LONG: return PN_REPLY_TEXT_LINE_TOO_LONG;
	case PN_CONTENT_HEADER_TOO_BIG: return PN_REPLY_HEADER_TOO_BIG;
	case PN_CONTENT_LOOP: return PN_REPLY_LOOP;
	case PN_CONTENT_TOO_MANY_BCC: return PN_REPLY_TOO_MANY_BCC;
	}
	return PN_REPLY_LOCAL_ERROR;
}

/* What is wrong with the content so far, in order of rank. */
static enum pn_reply body_problem(const struct pn_smtp_body *b)
{
	if (pn_data_is_dirty(&b->scanner))
		return PN_REPLY_BAD_LINE_ENDING;
	if (b->is_too_big)
		return PN_REPLY_MESSAGE_TOO_BIG;
	return content_reply(b->content.problem);
}

/* Tells the owner once that the content is refused. Returns whether st->ev was filled. */
static bool body_check(struct pn_smtp_server *s, struct pn_smtp_step *st)
{
	struct pn_smtp_body *b = s->txn->body;

	if (b->is_aborted || body_problem(b) == PN_REPLY_NONE)
		return false;
	b->is_aborted = true;
	return pn_srv_event(s, st, PN_SMTP_EV_DATA_ABORT, PN_WAITING_NONE);
}

/* Takes note of a run. Returns whether st->ev was filled. */
static bool body_run(struct pn_smtp_server *s, struct pn_smtp_step *st, struct pn_slice run)
{
	struct pn_smtp_body *b = s->txn->body;

	b->size_bytes += run.len;
	if (b->size_bytes > s->settings->limits.message_size_max_bytes)
		b->is_too_big = true;
	if (b->is_aborted)
		return false;
	if (body_problem(b) == PN_REPLY_NONE)
		pn_content_scan_feed(&b->content, run);
	if (body_check(s, st))
		return true;
	st->ev->data = run;
	return pn_srv_event(s, st, PN_SMTP_EV_CONTENT, PN_WAITING_NONE);
}

/*
 * The content was read to its end (of the chunk, for BDAT) and is refused. First the owner is told, if it was
 * not, then the client: the same order for every cut of the input. Returns whether st->ev was filled; when it
 * was, this is called again.
 */
static bool body_refuse(struct pn_smtp_server *s, struct pn_smtp_step *st)
{
	if (body_check(s, st)) {
		s->txn->body->is_read = true;
		return true;
	}
	bool is_bdat = s->txn->is_bdat;
	s->phase = PN_PHASE_COMMAND;
	pn_srv_reply(s, st->out, body_problem(s->txn->body));
	pn_srv_txn_free(s);
	if (is_bdat)
		pn_srv_note_refusal(s);
	return false;
}

/* The content is complete. Fills st->ev or refuses; returns whether st->ev was filled. */
static bool body_end(struct pn_smtp_server *s, struct pn_smtp_step *st)
{
	struct pn_smtp_body *b = s->txn->body;

	if (!b->is_aborted)
		pn_content_scan_end(&b->content);
	if (body_problem(b) != PN_REPLY_NONE)
		return body_refuse(s, st);
	b->content.facts.needs_smtputf8 =
		b->content.facts.has_8bit_header || pn_envelope_has_8bit_address(&s->txn->envelope);
	s->txn->is_receiving = false;
	s->phase = PN_PHASE_COMMAND;
	return pn_srv_event(s, st, PN_SMTP_EV_DATA_END, PN_WAITING_END);
}

enum pn_smtp_status pn_srv_data_step(struct pn_smtp_server *s, struct pn_smtp_step *st, bool *ret_again)
{
	struct pn_slice run;
	bool has_event = false;

	if (s->txn->body->is_read) {
		*ret_again = !body_refuse(s, st);
		return PN_SMTP_EVENT;
	}
	switch (pn_data_scan(&s->txn->body->scanner, st->in, &run)) {
	case PN_DATA_MORE:
		/* the scanner gives no run any more once the content is dirty */
		return body_check(s, st) ? PN_SMTP_EVENT : PN_SMTP_AGAIN;
	case PN_DATA_RUN: has_event = body_run(s, st, run); break;
	case PN_DATA_END: has_event = body_end(s, st); break;
	}
	*ret_again = !has_event;
	return PN_SMTP_EVENT;
}

/* All octets of a chunk were read. Returns whether st->ev was filled. */
static bool chunk_end(struct pn_smtp_server *s, struct pn_smtp_step *st)
{
	struct pn_smtp_body *b = s->txn->body;
	struct pn_slice run;
	char text[48];

	if (b->is_read)
		return body_refuse(s, st);
	if (b->is_last && !b->is_finished) {
		b->is_finished = true;
		if (pn_data_scan_finish(&b->scanner, &run))
			return body_run(s, st, run);
	}
	if (b->is_last)
		return body_end(s, st);
	if (body_problem(b) != PN_REPLY_NONE)
		return body_refuse(s, st);
	s->phase = PN_PHASE_COMMAND;
	s->error_count = 0;
	int len = snprintf(text, sizeof(text), "%llu octets received", (unsigned long long)b->chunked_bytes);
	PN_ASSERT(len > 0 && (size_t)len < sizeof(text));
	pn_srv_reply_text(s, st->out, PN_REPLY_OK_CHUNK, pn_slice(text, (size_t)len));
	return false;
}

enum pn_smtp_status pn_srv_chunk_step(struct pn_smtp_server *s, struct pn_smtp_step *st, bool *ret_again)
{
	struct pn_slice part = pn_slice(
		st->in->ptr, st->in->len < s->chunk_left_bytes ? st->in->len : (size_t)s->chunk_left_bytes);
	struct pn_slice run;
	size_t len = part.len;
	bool has_event = false;
	enum pn_data_status status = len ? pn_data_scan(&s->txn->body->scanner, &part, &run) : PN_DATA_MORE;

	pn_slice_advance(st->in, len - part.len);
	s->chunk_left_bytes -= len - part.len;
	if (status == PN_DATA_RUN)
		has_event = body_run(s, st, run);
	else if (s->chunk_left_bytes == 0)
		has_event = chunk_end(s, st);
	else
		return body_check(s, st) ? PN_SMTP_EVENT : PN_SMTP_AGAIN;
	*ret_again = !has_event;
	return PN_SMTP_EVENT;
}

/* RFC 3030 2: the octets of a refused chunk are discarded, then the refusal is told. */
enum pn_smtp_status pn_srv_swallow_step(struct pn_smtp_server *s, struct pn_smtp_step *st, bool *ret_again)
{
	size_t used = st->in->len < s->chunk_left_bytes ? st->in->len : (size_t)s->chunk_left_bytes;

	pn_slice_advance(st->in, used);
	s->chunk_left_bytes -= used;
	if (s->chunk_left_bytes > 0)
		return PN_SMTP_AGAIN;
	s->phase = PN_PHASE_COMMAND;
	bool has_event = false;
	if (s->txn && !s->is_txn_over) {
		pn_srv_verdict_reply(s, st->out, &s->txn->refusal);
		has_event = pn_srv_txn_drop(s, st);
	} else {
		pn_srv_refuse(s, st->out, (enum pn_reply)s->swallow_reply, true);
	}
	pn_srv_note_refusal(s);
	*ret_again = !has_event;
	return PN_SMTP_EVENT;
}
