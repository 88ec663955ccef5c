/* SPDX-License-Identifier: ISC */
/*
 * report.c - bounces and other notifications (RFC 3464): which recipients, which id, and the
 * message text into the spool.
 *
 * One report for each action (failed, delayed, relayed, delivered), one after the other. A report
 * about failures that cannot be stored takes the failure back: those recipients stay owed and are
 * tried again, for a message that vanishes without a word would break the promise. RFC 5321 6.1:
 * from <>, to the reverse-path only, and never about a message from <>.
 */
#include "report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/clock.h>
#include <postern/base/codec.h>
#include <postern/base/log.h>
#include <postern/smtp/content.h>
#include <postern/tls/crypto.h>

#include "worker.h"

#define REPORT_TEXT_MAX_BYTES (4u << 20)
#define REPORT_WRITE_BYTES 65536u
/* Of the original's header; more is cut. */
#define REPORT_HEADER_MAX_BYTES (256u << 10)
#define REPORT_ARENA_MAX_BYTES 65536u
#define HELD_TEXT "held: the content cannot be read, so that no bounce can be made"

enum report_phase { REPORT_TEXT, REPORT_ORIGINAL, REPORT_TAIL, REPORT_COMMIT };

struct pn_report {
	struct pn_job *job;
	enum pn_dsn_action action;
	enum report_phase phase;
	struct pn_job_rcpt *rcpts[PN_REPORT_RCPTS_MAX];
	struct pn_dsn_recipient recipients[PN_REPORT_RCPTS_MAX];
	size_t count;
	struct pn_dsn dsn;
	struct pn_buf text;
	struct pn_content_scan scan;
	struct pn_spool_txn *txn;
	struct pn_arena arena;        /* of the report's envelope */
	uint64_t original_bytes;
	uint32_t newlines;            /* how much of CRLFCRLF has been seen, 0..4 */
	bool is_blocked;              /* the spool is behind */
	bool is_pumping;
};

static void report_pump(struct pn_report *rp);

/* ---- whom it tells of ---- */

static bool rcpt_is_for(const struct pn_job *job, const struct pn_job_rcpt *r, enum pn_dsn_action action)
{
	switch (action) {
	case PN_DSN_FAILED:
		return r->verdict == PN_VERDICT_FAILED || r->verdict == PN_VERDICT_EXPIRED;
	case PN_DSN_DELAYED:
		return r->verdict == PN_VERDICT_DEFERRED && job->is_delay_due;
	case PN_DSN_RELAYED:
		return r->verdict == PN_VERDICT_RELAYED;
	case PN_DSN_DELIVERED:
		return r->verdict == PN_VERDICT_DELIVERED && r->is_local;
	}
	return false;
}

static bool report_is_due(const struct pn_job *job, const struct pn_job_rcpt *r, enum pn_dsn_action action)
{
	return !r->is_reported && rcpt_is_for(job, r, action) &&
	       pn_dsn_is_wanted(&job->message->envelope, r->recipient, action);
}

static void report_collect(struct pn_report *rp, enum pn_dsn_action action)
{
	struct pn_job *job = rp->job;
	rp->action = action;
	rp->count = 0;
	for (uint32_t i = 0; i < job->rcpt_count && rp->count < PN_REPORT_RCPTS_MAX; i++) {
		struct pn_job_rcpt *r = &job->rcpts[i];
		if (report_is_due(job, r, action))
			rp->rcpts[rp->count++] = r;
	}
}

struct pn_id pn_report_id(const struct pn_id *original, enum pn_dsn_action action,
                          const struct pn_job_rcpt *const *rcpts, size_t count)
{
	uint8_t chain[PN_SHA256_LEN + 4 + PN_SHA256_LEN] = {0};
	uint8_t digest[PN_SHA256_LEN];
	struct pn_id id = *original;
	memcpy(chain, original->octets, sizeof(original->octets));
	chain[sizeof(original->octets)] = (uint8_t)action;
	pn_sha256(digest, pn_slice(chain, PN_SHA256_LEN));
	for (size_t i = 0; i < count; i++) {
		memcpy(chain, digest, sizeof(digest));
		for (size_t b = 0; b < 4; b++)
			chain[PN_SHA256_LEN + b] = (uint8_t)(rcpts[i]->index >> (8 * b));
		pn_sha256(chain + PN_SHA256_LEN + 4, rcpts[i]->recipient->address);
		pn_sha256(digest, pn_slice(chain, sizeof(chain)));
	}
	id.octets[6] = PN_RELAY_REPORT_NODE >> 8;
	id.octets[7] = PN_RELAY_REPORT_NODE & 0xff;
	memcpy(id.octets + 8, digest, 8);
	return id;
}

/* ---- ending ---- */

static void report_log(const struct pn_report *rp, const char *result)
{
	static const char *const actions[] = {[PN_DSN_FAILED] = "failed", [PN_DSN_DELAYED] = "delayed",
	                                      [PN_DSN_DELIVERED] = "delivered", [PN_DSN_RELAYED] = "relayed"};
	struct pn_log_line line;
	pn_log_begin(&line, PN_LOG_DELIVERY, "bounce");
	pn_log_id(&line, "id", &rp->job->entry->id);
	pn_log_id(&line, "report", &rp->dsn.report_id);
	pn_log_str(&line, "action", actions[rp->action]);
	pn_log_slice(&line, "to", rp->job->message->envelope.reverse_path);
	pn_log_slice(&line, "rcpt", rp->rcpts[0]->recipient->address);
	pn_log_u64(&line, "rcpts", rp->count);
	pn_log_str(&line, "result", result);
	pn_log_end(&line);
}

static void report_free(struct pn_report *rp)
{
	struct pn_job *job = rp->job;
	pn_buf_free(&rp->text);
	pn_arena_reset(&rp->arena);
	free(rp);
	job->report = NULL;
	pn_job_go(job, PN_JOB_REPORT);
}

static void report_stored(struct pn_report *rp)
{
	for (size_t i = 0; i < rp->count; i++)
		rp->rcpts[i]->is_reported = true;
	if (rp->action == PN_DSN_DELAYED)
		rp->job->is_delay_reported = true;
	report_log(rp, "queued");
	report_free(rp);
}

/* Could not be stored: who was to be told of a failure stays owed. */
static void report_failed(struct pn_report *rp, int error)
{
	pn_worker_count(rp->job->worker, PN_RELAY_C_report_failures, 1);
	for (size_t i = 0; i < rp->count; i++) {
		struct pn_job_rcpt *r = rp->rcpts[i];
		if (rp->action == PN_DSN_FAILED)
			r->verdict = PN_VERDICT_DEFERRED;
		r->is_reported = true;
	}
	if (rp->action == PN_DSN_FAILED)
		rp->job->is_delay_due = false;
	if (rp->txn)
		pn_spool_txn_abort(rp->txn);
	report_log(rp, strerror(-error));
	report_free(rp);
}

static void report_on_commit(void *ctx, int result, struct pn_spool_entry *entry)
{
	struct pn_report *rp = ctx;
	rp->txn = NULL;
	if (result < 0) {
		report_failed(rp, result);
		return;
	}
	pn_worker_count(rp->job->worker, PN_RELAY_C_reports, 1);
	pn_entry_list_push(&rp->job->reports, entry);
	report_stored(rp);
}

/* What the outcome will say, so that after a crash in between nobody is told again. */
static void report_prove(struct pn_report *rp)
{
	pn_spool_txn_prove(rp->txn, &rp->job->entry->id, rp->action == PN_DSN_DELAYED ? PN_ENTRY_DELAY_SENT : 0);
	for (size_t i = 0; i < rp->count && rp->action != PN_DSN_DELAYED; i++)
		pn_spool_txn_prove_rcpt(rp->txn, rp->rcpts[i]->index,
		                        pn_rcpt_state_of((enum pn_verdict)rp->rcpts[i]->verdict));
}

static int report_commit(struct pn_report *rp)
{
	const struct pn_envelope *original = &rp->job->message->envelope;
	struct pn_edit_list no_edits = {0};
	struct pn_recipient rcpt = {.address = original->reverse_path,
	                            .notify = PN_DSN_NOTIFY_NEVER}; /* RFC 3461 6.1 */
	struct pn_envelope e = {
		.id = rp->dsn.report_id,
		.received_wall_ms = pn_worker_wall_ms(rp->job->worker),
	};
	pn_content_scan_end(&rp->scan);
	e.size_declared = 0;
	e.body = rp->scan.facts.has_8bit_body || rp->scan.facts.has_8bit_header ? PN_BODY_8BITMIME : PN_BODY_7BIT;
	rp->scan.facts.needs_smtputf8 = rp->scan.facts.has_8bit_header || pn_slice_has_8bit(original->reverse_path);
	e.is_smtputf8 = rp->scan.facts.needs_smtputf8;
	if (pn_envelope_add_recipient(&e, &rp->arena, &rcpt) < 0)
		return -ENOMEM;
	report_prove(rp);
	pn_spool_txn_commit(rp->txn, &e, &rp->scan.facts, &no_edits, report_on_commit, rp);
	return 0;
}

/* ---- writing ---- */

static int report_write(struct pn_report *rp, struct pn_slice s)
{
	if (s.len == 0)
		return 0;
	pn_content_scan_feed(&rp->scan, s);
	int rc = pn_spool_txn_write(rp->txn, s);
	if (rc == 1)
		rp->is_blocked = true;
	return rc < 0 ? rc : 0;
}

static int report_write_text(struct pn_report *rp, enum report_phase then)
{
	size_t len = pn_min_size(pn_buf_len(&rp->text), REPORT_WRITE_BYTES);
	int rc = report_write(rp, pn_slice(pn_buf_ptr(&rp->text), len));
	if (rc < 0)
		return rc;
	pn_buf_consume(&rp->text, len);
	if (pn_buf_len(&rp->text) == 0)
		rp->phase = then;
	return 0;
}

/* How much of the piece belongs to the header and its empty line. Sets newlines to 4 at the end of it. */
static size_t report_header_part(struct pn_report *rp, struct pn_slice piece)
{
	for (size_t i = 0; i < piece.len; i++) {
		uint8_t wanted = rp->newlines % 2 == 0 ? '\r' : '\n';
		rp->newlines = piece.ptr[i] == wanted ? rp->newlines + 1 : (piece.ptr[i] == '\r' ? 1 : 0);
		if (rp->newlines == 4)
			return i + 1;
	}
	return piece.len;
}

static int report_original(struct pn_report *rp, struct pn_slice piece)
{
	size_t len = piece.len;
	if (!rp->dsn.is_full_content) {
		len = report_header_part(rp, piece);
		if (rp->original_bytes + len > REPORT_HEADER_MAX_BYTES) {
			len = REPORT_HEADER_MAX_BYTES - rp->original_bytes;
			rp->newlines = 4;
		}
	}
	rp->original_bytes += len;
	if (rp->newlines == 4 && !rp->dsn.is_full_content)
		rp->phase = REPORT_TAIL;
	return report_write(rp, pn_slice(piece.ptr, len));
}

/* What the report is to return cannot be read. When that is for good, or the message's time is up, it is held:
 * else it would be tried, and fail to be reported, for ever. */
static void report_unreadable(struct pn_report *rp, int error)
{
	static const struct pn_smtp_reply_info why = {
		.enhanced = {4, 3, 0},
		.text = {(const uint8_t *)HELD_TEXT, sizeof(HELD_TEXT) - 1},
	};
	bool is_over = rp->action == PN_DSN_FAILED && rp->rcpts[0]->verdict == PN_VERDICT_EXPIRED &&
	               error != -ENOMEM;
	if (error == -EBADMSG || is_over) {
		rp->job->is_damaged = true;
		for (size_t i = 0; i < rp->count && rp->action == PN_DSN_FAILED; i++)
			rp->rcpts[i]->reply = why;
	}
	report_failed(rp, error);
}

static void report_on_piece(void *ctx, int result, struct pn_slice piece)
{
	struct pn_report *rp = ctx;
	rp->job->is_reading = false;
	if (result == 0)
		rp->phase = REPORT_TAIL;
	else if (result > 0)
		result = report_original(rp, piece);
	if (result < 0) {
		report_unreadable(rp, result);
		return;
	}
	report_pump(rp);
}

static void report_on_writable(struct pn_spool_txn *txn, void *ctx)
{
	struct pn_report *rp = ctx;
	(void)txn;
	rp->is_blocked = false;
	report_pump(rp);
}

/* One step; 0 or -errno. */
static int report_step(struct pn_report *rp)
{
	int rc;
	switch (rp->phase) {
	case REPORT_TEXT:
		return report_write_text(rp, REPORT_ORIGINAL);
	case REPORT_ORIGINAL:
		return 0;
	case REPORT_TAIL:
		if (pn_buf_len(&rp->text) == 0 && (rc = pn_dsn_end(&rp->dsn, &rp->text)) < 0)
			return rc;
		return report_write_text(rp, REPORT_COMMIT);
	case REPORT_COMMIT:
		return 0;
	}
	return 0;
}

static void report_pump(struct pn_report *rp)
{
	struct pn_job *job = rp->job;
	if (rp->is_pumping)
		return;
	rp->is_pumping = true;
	while (!rp->is_blocked && !job->is_reading && rp->phase != REPORT_COMMIT) {
		if (rp->phase == REPORT_ORIGINAL) {
			job->is_reading = true;
			pn_spool_reader_next(job->reader, report_on_piece, rp);
			if (!job->report)
				return; /* it failed in there */
			continue;
		}
		int rc = report_step(rp);
		if (rc < 0) {
			report_failed(rp, rc);
			return;
		}
	}
	rp->is_pumping = false;
	if (rp->phase == REPORT_COMMIT && !rp->is_blocked) {
		int rc = report_commit(rp);
		if (rc < 0)
			report_failed(rp, rc);
	}
}

/* ---- beginning ---- */

static void report_status(const struct pn_report *rp, const struct pn_job_rcpt *r, uint16_t out[3])
{
	static const uint16_t classes[] = {[PN_DSN_FAILED] = 5, [PN_DSN_DELAYED] = 4, [PN_DSN_DELIVERED] = 2,
	                                   [PN_DSN_RELAYED] = 2};
	out[0] = classes[rp->action];
	out[1] = out[2] = 0;
	if (r->verdict == PN_VERDICT_EXPIRED) {
		/* RFC 3463 3.5: delivery time expired; it was a transient matter to the end. */
		out[0] = 4;
		out[1] = 4;
		out[2] = 7;
	} else if (r->reply.enhanced[0] == out[0]) {
		out[1] = r->reply.enhanced[1];
		out[2] = r->reply.enhanced[2];
	}
}

/* A reload may give the worker other settings before the report is written. */
static const char *report_text(struct pn_report *rp, const char *text)
{
	struct pn_slice copy;
	return pn_arena_dup(&rp->arena, pn_slice_str(text), &copy) == 0 ? (const char *)copy.ptr : NULL;
}

/* 0 or -ENOMEM. */
static int report_fill(struct pn_report *rp)
{
	struct pn_job *job = rp->job;
	const struct pn_relay_settings *s = &job->worker->setup->settings;
	const struct pn_spool_message *m = job->message;
	uint64_t now_ms = pn_clock_wall_ms();
	for (size_t i = 0; i < rp->count; i++) {
		const struct pn_job_rcpt *r = rp->rcpts[i];
		rp->recipients[i] = (struct pn_dsn_recipient){
			.recipient = r->recipient,
			.action = rp->action,
			.remote_mta = r->remote_mta,
			.reply = r->reply,
			.last_attempt_wall_ms = now_ms,
			.will_retry_until_wall_ms = m->envelope.received_wall_ms + (uint64_t)s->lifetime_s * 1000,
		};
		report_status(rp, r, rp->recipients[i].status);
	}
	rp->dsn = (struct pn_dsn){
		.hostname = report_text(rp, s->hostname),
		.postmaster = report_text(rp, s->postmaster),
		.report_id = pn_report_id(&job->entry->id, rp->action,
		                          (const struct pn_job_rcpt *const *)rp->rcpts, rp->count),
		.now_wall_ms = now_ms,
		.envelope = &m->envelope,
		.recipients = rp->recipients,
		.recipient_count = rp->count,
		.is_full_content = rp->action == PN_DSN_FAILED && m->envelope.dsn_ret == PN_DSN_RET_FULL &&
		                   m->size_bytes <= s->report_full_max_bytes,
		.has_8bit_header = m->facts.has_8bit_header,
		.has_8bit_body = m->facts.has_8bit_body,
	};
	return rp->dsn.hostname && rp->dsn.postmaster ? 0 : -ENOMEM;
}

static void report_begin(struct pn_report *rp)
{
	struct pn_worker *w = rp->job->worker;
	int rc = report_fill(rp);
	if (rc < 0) {
		report_failed(rp, rc);
		return;
	}
	pn_content_scan_init(&rp->scan, UINT64_MAX, UINT64_MAX, UINT32_MAX);
	rp->txn = pn_spool_txn_begin(w->writer, &rc);
	if (rp->txn) {
		pn_spool_txn_on_writable(rp->txn, report_on_writable, rp);
		rc = pn_dsn_begin(&rp->dsn, &rp->text);
	}
	if (rc < 0) {
		report_failed(rp, rc);
		return;
	}
	rp->newlines = 2; /* a content that begins with CRLF has no header */
	pn_spool_reader_rewind(rp->job->reader, false);
	report_pump(rp);
}

/* RFC 5321 6.1: a failure that nobody may be told of is only logged. */
static void report_log_dropped(const struct pn_job *job)
{
	struct pn_log_line line;
	const struct pn_job_rcpt *first = NULL;
	uint64_t count = 0;
	for (uint32_t i = 0; i < job->rcpt_count; i++) {
		const struct pn_job_rcpt *r = &job->rcpts[i];
		if (r->is_reported || !rcpt_is_for(job, r, PN_DSN_FAILED))
			continue;
		first = first ? first : r;
		count++;
	}
	if (!first)
		return;
	pn_log_begin(&line, PN_LOG_DELIVERY, "bounce");
	pn_log_id(&line, "id", &job->entry->id);
	pn_log_str(&line, "action", "failed");
	pn_log_slice(&line, "to", job->message->envelope.reverse_path);
	pn_log_slice(&line, "rcpt", first->recipient->address);
	pn_log_u64(&line, "rcpts", count);
	pn_log_str(&line, "result", "dropped");
	pn_log_end(&line);
}

/* Most attempts ask for no report at all. */
static bool report_find(const struct pn_job *job, enum pn_dsn_action *ret_action)
{
	static const enum pn_dsn_action actions[] = {PN_DSN_FAILED, PN_DSN_DELAYED, PN_DSN_RELAYED, PN_DSN_DELIVERED};
	if (job->message->envelope.reverse_path.len == 0)
		return false;
	for (size_t a = 0; a < PN_ARRAY_SIZE(actions); a++) {
		for (uint32_t i = 0; i < job->rcpt_count; i++) {
			if (report_is_due(job, &job->rcpts[i], actions[a])) {
				*ret_action = actions[a];
				return true;
			}
		}
	}
	return false;
}

void pn_report_start(struct pn_job *job)
{
	enum pn_dsn_action action;
	struct pn_report *rp;
	if (!report_find(job, &action)) {
		report_log_dropped(job);
		pn_job_go(job, PN_JOB_RECORD);
		return;
	}
	rp = calloc(1, sizeof(*rp));
	if (!rp) {
		/* As if a report had failed: nobody's failure goes unreported. */
		for (uint32_t i = 0; i < job->rcpt_count; i++) {
			struct pn_job_rcpt *r = &job->rcpts[i];
			if (report_is_due(job, r, PN_DSN_FAILED))
				r->verdict = PN_VERDICT_DEFERRED;
		}
		pn_job_go(job, PN_JOB_RECORD);
		return;
	}
	rp->job = job;
	pn_buf_init(&rp->text, REPORT_TEXT_MAX_BYTES);
	pn_arena_init(&rp->arena, 4096, REPORT_ARENA_MAX_BYTES);
	report_collect(rp, action);
	job->report = rp;
	report_begin(rp);
}
