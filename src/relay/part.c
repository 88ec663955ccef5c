/* SPDX-License-Identifier: ISC */
/*
 * part.c - one transaction of a job over a connection: getting one, streaming the content with
 * backpressure, taking the results.
 *
 * The content goes reader -> SMTP client -> connection in pieces, and the next piece is only asked
 * for while little waits to be sent, so any size costs bounded memory. A reader call may be out
 * when the upstream ends the transaction; the part is over only when it has returned.
 *
 * A connection that had served before and is found dead at MAIL is no failure (RFC 5321 3.8: the
 * server may close an idle session): once, a new one is taken.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <postern/base/codec.h>

#include "connection.h"
#include "job.h"
#include "worker.h"

#define PART_BACKLOG_HIGH_BYTES (256u << 10)
#define PART_AGAIN_MAX 3u

static void part_pump(struct pn_job *job);

/* ---- results ---- */

struct pn_smtp_reply_info pn_job_copy_reply(struct pn_job *job, const struct pn_smtp_reply_info *reply)
{
	struct pn_smtp_reply_info copy = *reply;
	if (reply->text.len == 0 || pn_arena_dup(&job->arena, reply->text, &copy.text) < 0)
		copy.text = PN_SLICE_NULL;
	return copy;
}

void pn_part_set_all(struct pn_job *job, struct pn_part *part, enum pn_verdict verdict,
                     const struct pn_smtp_reply_info *reply, struct pn_slice remote_mta)
{
	struct pn_smtp_reply_info copy = pn_job_copy_reply(job, reply);
	for (uint32_t i = 0; i < part->count; i++) {
		struct pn_job_rcpt *r = &job->rcpts[part->first + i];
		r->verdict = (uint8_t)verdict;
		r->reply = copy;
		r->remote_mta = remote_mta;
	}
}

/* The host's name as the job keeps it: after a reload the job may outlive the pool. */
static struct pn_slice part_host(struct pn_job *job, const struct pn_conn *conn)
{
	struct pn_slice copy;
	return pn_arena_dup(&job->arena, pn_slice_str(conn->host->host), &copy) == 0 ? copy : PN_SLICE_NULL;
}

/* Texts are in the job's arena already, where the client was told to put them. */
static void part_take_results(struct pn_job *job, const struct pn_conn *conn)
{
	const struct pn_part *part = job->part;
	const struct pn_smtp_transaction *t = &job->transaction;
	struct pn_slice host = part_host(job, conn);
	for (uint32_t i = 0; i < part->count; i++) {
		struct pn_job_rcpt *r = &job->rcpts[part->first + i];
		r->reply = t->results[i].reply;
		r->verdict = (uint8_t)pn_verdict_of_reply(&r->reply);
		if (t->results[i].stage == PN_STAGE_EHLO)
			r->reply.code = 0; /* our own client refused: no server said that */
		r->remote_mta = r->reply.code != 0 ? host : PN_SLICE_NULL;
		if (r->verdict == PN_VERDICT_DELIVERED && t->is_dsn_dropped)
			r->verdict = PN_VERDICT_RELAYED;
	}
}

/* The part has its results: lets go of the connection and, once the reader is back, of the part. */
static void part_over(struct pn_job *job)
{
	job->conn = NULL;
	job->is_body = false;
	job->piece = PN_SLICE_NULL;
	job->is_part_over = true;
	if (!job->is_reading)
		pn_job_part_end(job);
}

/* Nothing was sent to anybody: the result is ours. */
static void part_defer(struct pn_job *job, const struct pn_smtp_reply_info *why, struct pn_slice remote_mta)
{
	pn_part_set_all(job, job->part, PN_VERDICT_DEFERRED, why, remote_mta);
	pn_part_log(job, job->part, NULL);
	part_over(job);
}

/* ---- a connection ---- */

static void part_down(struct pn_job *job)
{
	char text[128];
	struct pn_smtp_reply_info why = job->part->failure;
	if (why.text.len == 0) {
		snprintf(text, sizeof(text), "upstream %.64s: every host has failed lately", job->pool->settings->name);
		why = (struct pn_smtp_reply_info){.enhanced = {4, 4, 1}, .text = pn_slice_str(text)};
	}
	part_defer(job, &why, job->part->failure_host);
}

void pn_part_start(struct pn_job *job)
{
	struct pn_part *part = job->part;
	struct pn_conn *conn = NULL;
	if (job->is_cut || job->pool->is_retired) {
		part_over(job); /* untried: stays as it was */
		return;
	}
	switch (pn_pool_acquire(job->pool, job, part->tried, part->is_fresh, &conn)) {
	case PN_ACQUIRE_READY:
		job->conn = conn;
		job->state = PN_JOB_TRANSFER;
		pn_part_begin(job);
		return;
	case PN_ACQUIRE_STARTED:
		job->conn = conn;
		job->state = PN_JOB_CONNECTING;
		return;
	case PN_ACQUIRE_WAIT:
		job->state = PN_JOB_WAITING;
		return;
	case PN_ACQUIRE_DOWN:
		part_down(job);
		return;
	}
}

void pn_part_ready(struct pn_job *job, struct pn_conn *conn)
{
	PN_ASSERT(job->conn == conn);
	pn_job_go(job, PN_JOB_TRANSFER);
}

void pn_part_refused(struct pn_job *job, struct pn_conn *conn, bool may_retry_host)
{
	struct pn_part *part = job->part;
	PN_ASSERT(job->conn == conn);
	job->conn = NULL;
	part->failure = pn_job_copy_reply(job, &conn->failure);
	part->failure_host = conn->failure.code != 0 ? part_host(job, conn) : PN_SLICE_NULL;
	if (!may_retry_host || ++part->again_count > PART_AGAIN_MAX)
		part->tried |= UINT32_C(1) << conn->host->index;
	pn_job_go(job, PN_JOB_PART);
}

/* ---- the transaction ---- */

/* RFC 6531 3.2: the keyword is used only when this part needs it. */
static bool part_needs_smtputf8(const struct pn_job *job)
{
	const struct pn_spool_message *m = job->message;
	if (!m->facts.needs_smtputf8)
		return false;
	if (m->facts.has_8bit_header || pn_slice_has_8bit(m->envelope.reverse_path))
		return true;
	for (uint32_t i = 0; i < job->part->count; i++) {
		if (pn_slice_has_8bit(job->rcpts[job->part->first + i].recipient->address))
			return true;
	}
	return false;
}

static int part_prepare(struct pn_job *job)
{
	const struct pn_part *part = job->part;
	const struct pn_spool_message *m = job->message;
	struct pn_smtp_rcpt_result *results = pn_arena_zalloc(&job->arena, part->count * sizeof(*results));
	const struct pn_recipient **rcpts = pn_arena_alloc(&job->arena, part->count * sizeof(struct pn_recipient *));
	if (!results || !rcpts)
		return -ENOMEM;
	for (uint32_t i = 0; i < part->count; i++)
		rcpts[i] = job->rcpts[part->first + i].recipient;
	job->transaction = (struct pn_smtp_transaction){
		.envelope = &m->envelope,
		.recipients = rcpts,
		.recipient_count = part->count,
		.results = results,
		.arena = &job->arena,
		.size_bytes = m->size_bytes,
		.has_8bit = m->facts.has_8bit_body || m->facts.has_8bit_header,
		.needs_smtputf8 = part_needs_smtputf8(job),
	};
	return 0;
}

void pn_part_begin(struct pn_job *job)
{
	static const struct pn_smtp_reply_info no_memory = {
		.enhanced = {4, 3, 0}, .text = {(const uint8_t *)"out of memory", sizeof("out of memory") - 1}};
	struct pn_conn *conn = job->conn;
	int rc = part_prepare(job);
	if (rc == 0)
		rc = pn_conn_begin(conn, job);
	if (rc == 0)
		return;
	if (rc == -EPROTONOSUPPORT) {
		part_take_results(job, conn);
		pn_part_log(job, job->part, conn);
		pn_conn_release(conn, job);
		part_over(job);
		return;
	}
	pn_conn_release(conn, job);
	part_defer(job, &no_memory, PN_SLICE_NULL);
}

void pn_part_done(struct pn_job *job)
{
	struct pn_conn *conn = job->conn;
	part_take_results(job, conn);
	pn_part_log(job, job->part, conn);
	pn_conn_release(conn, job);
	part_over(job);
}

static bool part_was_stale(const struct pn_job *job, const struct pn_conn *conn)
{
	/* Nothing came at all: every recipient has what the failure left. */
	const struct pn_smtp_rcpt_result *result = &job->transaction.results[0];
	return conn->messages > 1 && !job->part->is_fresh && !job->is_body && !job->is_cut &&
	       result->stage == PN_STAGE_MAIL && (result->reply.code == 0 || result->reply.code == 421);
}

void pn_part_lost(struct pn_job *job)
{
	struct pn_conn *conn = job->conn;
	if (part_was_stale(job, conn)) {
		job->part->is_fresh = true;
		job->conn = NULL;
		pn_job_go(job, PN_JOB_PART);
		return;
	}
	part_take_results(job, conn);
	pn_part_log(job, job->part, conn);
	part_over(job);
}

/* ---- content ---- */

static void part_on_piece(void *ctx, int result, struct pn_slice piece)
{
	struct pn_job *job = ctx;
	job->is_reading = false;
	if (job->is_part_over) {
		pn_job_part_end(job);
		return;
	}
	if (result < 0) {
		job->is_damaged = result == -EBADMSG;
		/* Without its final dot the upstream must throw away what it has (RFC 5321 4.1.1.10). */
		pn_conn_fail(job->conn, 3, 0, false, "the message cannot be read: %s", strerror(-result));
		return;
	}
	if (result == 0)
		job->is_content_end = true;
	else
		job->piece = piece;
	part_pump(job);
}

/* Gives the connection what is at hand. False: it cannot take more now. */
static bool part_push(struct pn_job *job)
{
	int rc = 0;
	if (job->piece.len > 0) {
		rc = pn_conn_lend(job->conn, job->piece, job->reader);
		if (rc == -EOPNOTSUPP)
			rc = pn_conn_body(job->conn, job->piece);
		if (rc == 0)
			job->piece = PN_SLICE_NULL;
	} else if (job->is_content_end) {
		rc = pn_conn_body_end(job->conn);
		if (rc == 0)
			job->is_body = false;
	}
	if (rc < 0 && rc != -ENOBUFS)
		pn_conn_fail(job->conn, 3, 0, false, "the content cannot be sent: %s", strerror(-rc));
	return rc == 0;
}

static void part_pump(struct pn_job *job)
{
	if (job->is_pumping)
		return;
	job->is_pumping = true;
	while (job->is_body && !job->is_reading) {
		if (job->piece.len > 0 || job->is_content_end) {
			if (!part_push(job))
				break;
			continue;
		}
		/* What is lent takes no memory of ours, and has a limit of its own. */
		if (pn_conn_backlog(job->conn) - job->conn->lent_bytes >= PART_BACKLOG_HIGH_BYTES)
			break;
		job->is_reading = true;
		pn_spool_reader_next(job->reader, part_on_piece, job);
	}
	job->is_pumping = false;
}

void pn_part_body(struct pn_job *job)
{
	job->is_body = true;
	job->is_content_end = false;
	job->piece = PN_SLICE_NULL;
	pn_spool_reader_rewind(job->reader, false);
	if (!pn_conn_will_lend(job->conn, job->message->size_bytes))
		pn_conn_body_expect(job->conn, job->message->size_bytes);
	part_pump(job);
}

void pn_part_writable(struct pn_job *job)
{
	if (job->is_body)
		part_pump(job);
}
