/* SPDX-License-Identifier: ISC */
/*
 * job_outcome.c - what an attempt came to: verdicts, lifetime, the record in the journal, the log.
 *
 * Order on disk: reports first (report.c), then the outcome that says `bounced`; only when that is
 * durable are the reports queued. After a crash in between recovery believes the report.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/clock.h>
#include <postern/base/log.h>

#include "admin.h"
#include "connection.h"
#include "job.h"
#include "worker.h"

const char *pn_verdict_name(enum pn_verdict verdict)
{
	switch (verdict) {
	case PN_VERDICT_NONE:
		return "untried";
	case PN_VERDICT_DELIVERED:
		return "delivered";
	case PN_VERDICT_RELAYED:
		return "relayed";
	case PN_VERDICT_DEFERRED:
		return "deferred";
	case PN_VERDICT_FAILED:
		return "bounced";
	case PN_VERDICT_EXPIRED:
		return "expired";
	}
	return "?";
}

enum pn_verdict pn_verdict_of_reply(const struct pn_smtp_reply_info *reply)
{
	if (reply->code >= 200 && reply->code < 300)
		return PN_VERDICT_DELIVERED;
	if (reply->code >= 500 && reply->code < 600)
		return PN_VERDICT_FAILED;
	/* A verdict of our own client (5.6.3, 5.6.7, 5.3.4) has no code. */
	if (reply->code == 0 && reply->enhanced[0] == 5)
		return PN_VERDICT_FAILED;
	return PN_VERDICT_DEFERRED;
}

/* ---- log ---- */

static bool rcpt_is_same(const struct pn_job_rcpt *a, const struct pn_job_rcpt *b)
{
	return a->verdict == b->verdict && a->reply.code == b->reply.code && pn_slice_eq(a->reply.text, b->reply.text);
}

static void log_reply(struct pn_log_line *line, const struct pn_smtp_reply_info *reply)
{
	char status[24];
	if (reply->code != 0)
		pn_log_u64(line, "code", reply->code);
	if (reply->enhanced[0] != 0) {
		snprintf(status, sizeof(status), "%u.%u.%u", reply->enhanced[0], reply->enhanced[1],
		         reply->enhanced[2]);
		pn_log_str(line, "status", status);
	}
	pn_log_slice(line, "reply", reply->text);
}

static void log_group(const struct pn_job *job, const struct pn_job_rcpt *r, uint64_t count, const struct pn_conn *conn)
{
	const struct pn_worker *w = job->worker;
	struct pn_log_line line;
	pn_log_begin(&line, PN_LOG_DELIVERY, "delivery");
	pn_log_id(&line, "id", &job->entry->id);
	pn_log_str(&line, "upstream", w->pools[job->part->upstream].settings->name);
	if (conn) {
		pn_log_str(&line, "host", conn->host->host);
		pn_log_str(&line, "address", conn->address_text);
		if (conn->facts.version != 0) {
			pn_log_str(&line, "tls", conn->facts.version == 0x0304 ? "1.3" : "1.2");
			pn_log_str(&line, "suite", conn->facts.suite);
			pn_log_str(&line, "verified", conn->facts.is_verified ? "yes" : "no");
		}
	}
	pn_log_slice(&line, "to", r->recipient->address);
	pn_log_u64(&line, "rcpts", count);
	pn_log_str(&line, "result", pn_verdict_name((enum pn_verdict)r->verdict));
	log_reply(&line, &r->reply);
	pn_log_u64(&line, "size", job->message->size_bytes);
	pn_log_u64(&line, "ms", pn_loop_now_ms(w->loop) - job->part_start_ms);
	pn_log_u64(&line, "attempt", job->entry->attempts + 1u);
	pn_log_end(&line);
}

void pn_part_log(struct pn_job *job, const struct pn_part *part, const struct pn_conn *conn)
{
	struct pn_pool *pool = &job->worker->pools[part->upstream];
	uint32_t i = 0;
	pn_worker_count(job->worker, PN_RELAY_C_attempts, 1);
	while (i < part->count) {
		const struct pn_job_rcpt *first = &job->rcpts[part->first + i];
		uint32_t count = 1;
		while (i + count < part->count && rcpt_is_same(first, first + count))
			count++;
		log_group(job, first, count, conn);
		if (first->verdict == PN_VERDICT_DELIVERED || first->verdict == PN_VERDICT_RELAYED)
			pn_pool_count(pool, PN_UPSTREAM_C_delivered, count);
		else if (first->verdict == PN_VERDICT_FAILED)
			pn_pool_count(pool, PN_UPSTREAM_C_failed, count);
		else
			pn_pool_count(pool, PN_UPSTREAM_C_deferred, count);
		i += count;
	}
}

/* ---- verdicts ---- */

/*
 * Older than the lifetime by both clocks: the workers' own, which no step moves, and the wall clock
 * now. A step forward only moves the second, one back makes the first believe that new mail is old;
 * neither makes mail expire early.
 */
static bool job_is_older(const struct pn_job *job, uint64_t age_s)
{
	uint64_t received_ms = job->message->envelope.received_wall_ms;
	uint64_t own_ms = pn_worker_wall_ms(job->worker);
	uint64_t wall_ms = pn_clock_wall_ms();
	uint64_t now_ms = own_ms < wall_ms ? own_ms : wall_ms;
	return now_ms > received_ms && now_ms - received_ms >= age_s * 1000;
}

void pn_job_decide(struct pn_job *job)
{
	const struct pn_relay_settings *s = &job->worker->relay->settings;
	bool is_tried = false;
	bool is_expired = !job->is_damaged && job_is_older(job, s->lifetime_s);
	for (uint32_t i = 0; i < job->rcpt_count; i++) {
		struct pn_job_rcpt *r = &job->rcpts[i];
		is_tried = is_tried || r->verdict != PN_VERDICT_NONE;
		if (is_expired && r->verdict == PN_VERDICT_DEFERRED)
			r->verdict = PN_VERDICT_EXPIRED;
	}
	if (!is_tried && !job->admin && job->rcpt_count > 0) {
		pn_job_go(job, PN_JOB_END);
		return;
	}
	job->is_attempt = is_tried;
	job->is_delay_due = s->delay_notice_after_s > 0 && !(job->entry->flags & PN_ENTRY_DELAY_SENT) &&
	                    job_is_older(job, s->delay_notice_after_s);
	pn_job_go(job, PN_JOB_REPORT);
}

/* ---- the record ---- */

enum pn_rcpt_state pn_rcpt_state_of(enum pn_verdict verdict)
{
	switch (verdict) {
	case PN_VERDICT_NONE:
	case PN_VERDICT_DEFERRED:
		return PN_RCPT_PENDING;
	case PN_VERDICT_DELIVERED:
	case PN_VERDICT_RELAYED:
		return PN_RCPT_DELIVERED;
	case PN_VERDICT_FAILED:
		return PN_RCPT_BOUNCED;
	case PN_VERDICT_EXPIRED:
		return PN_RCPT_EXPIRED;
	}
	return PN_RCPT_PENDING;
}

static void record_rcpt(struct pn_job *job, const struct pn_job_rcpt *r)
{
	struct pn_worker *w = job->worker;
	enum pn_rcpt_state state = pn_rcpt_state_of((enum pn_verdict)r->verdict);
	if (state == PN_RCPT_PENDING) {
		pn_worker_count(w, PN_RELAY_C_deferred, r->verdict == PN_VERDICT_DEFERRED);
		return;
	}
	job->message->rcpt_states[r->index] = (uint8_t)state;
	if (state == PN_RCPT_DELIVERED) {
		pn_worker_count(w, PN_RELAY_C_delivered, 1);
		return;
	}
	pn_worker_count(w, PN_RELAY_C_expired, state == PN_RCPT_EXPIRED);
	pn_worker_count(w, r->is_reported ? PN_RELAY_C_bounced : PN_RELAY_C_dropped, 1);
}

static bool job_has_pending(const struct pn_job *job)
{
	const struct pn_spool_message *m = job->message;
	for (uint32_t i = 0; i < m->envelope.recipient_count; i++) {
		if (m->rcpt_states[i] == PN_RCPT_PENDING)
			return true;
	}
	return false;
}

/* The text of the first deferral, as `postern queue show` gives it; none in this attempt: what was there. */
static struct pn_slice record_last_reply(struct pn_job *job, char out[512])
{
	for (uint32_t i = 0; i < job->rcpt_count; i++) {
		const struct pn_job_rcpt *r = &job->rcpts[i];
		const struct pn_smtp_reply_info *reply = &r->reply;
		int len = 0;
		if (r->verdict != PN_VERDICT_DEFERRED)
			continue;
		if (reply->code != 0)
			len += snprintf(out, 512, "%u ", reply->code);
		if (reply->enhanced[0] != 0)
			len += snprintf(out + len, 512 - (size_t)len, "%u.%u.%u ", reply->enhanced[0],
			                reply->enhanced[1],
			                reply->enhanced[2]);
		size_t text = pn_min_size(reply->text.len, 512 - (size_t)len);
		if (text > 0)
			memcpy(out + len, reply->text.ptr, text);
		return pn_slice(out, (size_t)len + text);
	}
	return job->message->last_reply;
}

/* Recipients that this attempt did not take on are tried at once, but a round of attempts that came to
 * little is followed by the usual delay. */
static bool record_has_more(const struct pn_job *job)
{
	uint32_t deferred = 0;
	if (job->lot_count <= 1)
		return false;
	for (uint32_t i = 0; i < job->rcpt_count; i++)
		deferred += job->rcpts[i].verdict == PN_VERDICT_DEFERRED;
	return deferred < job->rcpt_count / 2 || job->entry->attempts % job->lot_count != 0;
}

static uint64_t record_next_attempt(struct pn_job *job)
{
	struct pn_worker *w = job->worker;
	uint64_t now_ms = pn_worker_wall_ms(w);
	if (!job->is_attempt)
		return job->entry->next_attempt_wall_ms;
	if (job->park || job->is_cut || record_has_more(job))
		return now_ms;
	return now_ms + pn_backoff_delay_ms(&w->relay->retry, job->entry->attempts, &w->prng);
}

static void record_failed(struct pn_worker *w, int result)
{
	pn_worker_count(w, PN_RELAY_C_journal_failures, 1);
	pn_logf(PN_LOG_ERROR, "journal", "an outcome could not be recorded (%s): after a restart it may happen again",
	        strerror(-result));
}

static void record_on_final(void *ctx, int result)
{
	if (result < 0)
		record_failed(ctx, result);
}

static void record_on_watched(void *ctx, int result)
{
	struct pn_job *job = ctx;
	if (result < 0) {
		record_failed(job->worker, result);
		/* What the reports prove is nowhere else on disk. */
		for (struct pn_spool_entry *e = job->reports.first; e; e = e->next)
			pn_spool_entry_keep(e);
	}
	if (job->admin)
		pn_admin_recorded(job, result);
	pn_job_go(job, PN_JOB_END);
}

/* The entry may be used again. */
static void settling_end(struct pn_settling *s)
{
	struct pn_worker *w = s->worker;
	struct pn_admin_request *admin = s->admin;
	pn_list_remove(&s->node);
	pn_worker_place(w, s->entry, s->park);
	free(s);
	if (admin)
		pn_admin_again(w, admin);
	pn_worker_progress(w);
}

static void settling_on_moved(void *ctx, int result, struct pn_spool_entry *entry)
{
	struct pn_settling *s = ctx;
	s->entry = entry;
	if (result < 0)
		pn_logf(PN_LOG_WARN, "spool", "a message could not be copied forward: %s", strerror(-result));
	settling_end(s);
}

static void record_on_settled(void *ctx, int result)
{
	struct pn_settling *s = ctx;
	if (result < 0)
		record_failed(s->worker, result);
	else if (pn_spool_entry_wants_move(s->entry)) {
		pn_spool_entry_move(s->worker->writer, s->entry, settling_on_moved, s);
		return;
	}
	settling_end(s);
}

void pn_job_record_removed(struct pn_job *job)
{
	struct pn_outcome outcome = {.entry = job->entry, .is_final = true};
	pn_worker_count(job->worker, PN_RELAY_C_removed, 1);
	job->is_final = true;
	job->state = PN_JOB_RECORDING;
	pn_journal_record(job->worker->journal, &outcome, record_on_watched, job);
}

static void record_outcome(struct pn_job *job, const struct pn_outcome *outcome)
{
	struct pn_worker *w = job->worker;
	struct pn_settling *s = NULL;
	bool is_watched = job->reports.count > 0 || job->admin;
	if (!is_watched && !outcome->is_final)
		s = malloc(sizeof(*s));
	if (is_watched || (!outcome->is_final && !s)) {
		job->state = PN_JOB_RECORDING;
		pn_journal_record(w->journal, outcome, record_on_watched, job);
		return;
	}
	/* The job makes room for another; the entry is out of reach until the outcome is durable. */
	job->is_entry_gone = true;
	if (s) {
		*s = (struct pn_settling){.worker = w, .entry = job->entry, .park = job->park};
		pn_list_push_back(&w->settling, &s->node);
		pn_journal_record(w->journal, outcome, record_on_settled, s);
	} else {
		pn_journal_record(w->journal, outcome, record_on_final, w);
	}
	pn_job_go(job, PN_JOB_END);
}

void pn_job_record(struct pn_job *job)
{
	char reply[512];
	struct pn_spool_entry *entry = job->entry;
	for (uint32_t i = 0; i < job->rcpt_count; i++)
		record_rcpt(job, &job->rcpts[i]);
	if (job->is_attempt && entry->attempts < UINT16_MAX)
		entry->attempts++;
	if (job->is_delay_reported)
		entry->flags |= PN_ENTRY_DELAY_SENT;
	if (job->is_damaged)
		entry->flags |= PN_ENTRY_HELD;
	if (job->admin)
		pn_admin_apply(job);
	pn_job_round_end(job);
	job->is_final = !job_has_pending(job);
	entry->next_attempt_wall_ms = job->is_final ? 0 : record_next_attempt(job);
	struct pn_outcome outcome = {
		.entry = entry,
		.is_final = job->is_final,
		.rcpt_states = job->message->rcpt_states,
		.recipient_count = job->message->envelope.recipient_count,
		.next_attempt_wall_ms = entry->next_attempt_wall_ms,
		.attempts = entry->attempts,
		.flags = entry->flags,
		.last_reply = record_last_reply(job, reply),
	};
	record_outcome(job, &outcome);
}
