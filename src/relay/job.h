/* SPDX-License-Identifier: ISC */
/*
 * job.h - one message in progress in a worker: loaded, split by upstream, tried, reported,
 * recorded.
 *
 * A job goes from step to step through its own deferred task (pn_job_go), so no step runs inside
 * another's callback. Results collect in job->rcpts; only job_outcome.c decides what they mean. All
 * memory of an attempt is the job's arena and the reader's.
 */
#ifndef PN_RELAY_JOB_H
#define PN_RELAY_JOB_H

#include <postern/relay/relay.h>
#include <postern/smtp/client.h>
#include <postern/smtp/dsn.h>

#include "queue.h"

struct pn_admin_request;
struct pn_conn;
struct pn_job;
struct pn_maildir_delivery;
struct pn_pool;
struct pn_report;
struct pn_worker;

/* Recipients that one attempt takes on; the others follow in the next ones, at once until each was
 * tried. Bounds the memory of a job. */
#define PN_JOB_RCPTS_MAX 5000u
#define PN_JOB_ARENA_MAX_BYTES (8u << 20)

enum pn_job_state {
	PN_JOB_LOAD,       /* the reader loads the message */
	PN_JOB_PLAN,       /* split into parts, or do what administration wants */
	PN_JOB_PART,       /* start (or go on looking for) the next part */
	PN_JOB_WAITING,    /* for a connection */
	PN_JOB_CONNECTING, /* one is being made */
	PN_JOB_TRANSFER,   /* a transaction, or a Maildir delivery */
	PN_JOB_DECIDE,     /* all parts tried: verdicts, expiry */
	PN_JOB_REPORT,     /* reports are written */
	PN_JOB_RECORD,     /* the outcome goes to the journal */
	PN_JOB_RECORDING,
	PN_JOB_END,
};

enum pn_verdict {
	PN_VERDICT_NONE,      /* not tried */
	PN_VERDICT_DELIVERED,
	PN_VERDICT_RELAYED,   /* delivered to a hop without DSN (RFC 3461 5.2.2) */
	PN_VERDICT_DEFERRED,
	PN_VERDICT_FAILED,
	PN_VERDICT_EXPIRED,
};
const char *pn_verdict_name(enum pn_verdict verdict);

struct pn_job_rcpt {
	const struct pn_recipient *recipient;
	uint32_t index;                  /* in the envelope */
	uint16_t upstream;
	uint8_t verdict;                 /* enum pn_verdict */
	bool is_reported;                /* in this attempt */
	struct pn_smtp_reply_info reply; /* text in the job's arena */
	struct pn_slice remote_mta;      /* empty: none spoke */
};

/* Recipients for one transaction. */
struct pn_part {
	uint16_t upstream;
	bool is_done;
	bool is_fresh;        /* a reused connection was dead: take a new one */
	uint32_t first, count; /* in job->rcpts */
	uint32_t tried;       /* bits of hosts */
	uint32_t again_count; /* tries that did not count against a host */
	struct pn_smtp_reply_info failure; /* of the last host that was tried; text in the job's arena */
	struct pn_slice failure_host;      /* empty: none spoke */
};

struct pn_job {
	struct pn_list node;          /* worker->jobs or ->spare_jobs */
	struct pn_list wait_node;     /* pool->waiting */
	struct pn_worker *worker;
	struct pn_task task;
	bool is_posted;
	enum pn_job_state state;
	struct pn_spool_entry *entry;
	struct pn_spool_reader *reader;
	struct pn_spool_message *message; /* NULL until loaded */
	struct pn_arena arena;
	struct pn_admin_request *admin; /* what is to be done for administration, NULL: nothing */
	struct pn_admin_request *admin_next; /* to be looked at when the job is over: it came too late for this one */
	bool is_admin_only;           /* no delivery: the job only serves `admin` */

	struct pn_job_rcpt *rcpts;
	uint32_t rcpt_count;
	uint32_t lot_count;           /* lots of PN_JOB_RCPTS_MAX that are pending; this attempt has one of them */
	struct pn_part *parts;
	uint32_t part_count;
	struct pn_part *part;         /* the current one */
	struct pn_pool *pool;         /* entered */
	struct pn_pool *park;         /* where to wait as a bare entry when this attempt is over */

	/* of the current part */
	struct pn_conn *conn;
	struct pn_smtp_transaction transaction;
	const struct pn_recipient **transaction_rcpts;
	uint64_t part_start_ms;
	struct pn_slice piece;        /* content not yet taken by the connection */
	bool is_reading;              /* a reader call is out */
	bool is_pumping;
	bool is_body;                 /* content is wanted */
	bool is_content_end;
	bool is_part_over;            /* waiting only for the reader */
	struct pn_maildir_delivery *delivery;

	/* of the outcome */
	bool is_attempt;              /* something was tried */
	bool is_damaged;              /* the content is not what was stored: held, for a human to look at */
	bool is_cut;                  /* stopping: untried parts stay untried */
	bool is_delay_due;            /* recipients that are deferred may be told of it */
	bool is_delay_reported;
	struct pn_report *report;
	struct pn_entry_list reports; /* durable, to be queued once the outcome is durable */
	bool is_final;
	bool is_entry_gone;           /* somebody else has it now */
};

/* An entry whose outcome is not durable yet: nobody may use it meanwhile (spool.h). On worker->settling. */
struct pn_settling {
	struct pn_list node;
	struct pn_worker *worker;
	struct pn_spool_entry *entry;
	struct pn_pool *park;
	struct pn_admin_request *admin; /* to be looked at again when the entry is back */
};

/* ---- job.c ---- */
/* Takes the entry. Never fails: without memory the entry is deferred. `admin` may be NULL. */
void pn_job_start(struct pn_worker *w, struct pn_spool_entry *entry, struct pn_pool *reserved,
                  struct pn_admin_request *admin);
/* Runs the job's next step soon. */
void pn_job_go(struct pn_job *job, enum pn_job_state state);
/* The current part is decided (or is not going to be tried). */
void pn_job_part_end(struct pn_job *job);
/* Stopping: what is not under way is left; `is_hard` cuts what is. */
void pn_job_cut(struct pn_job *job, bool is_hard);
void pn_job_free_spare(struct pn_worker *w);

/* ---- job_plan.c ---- */
/* Splits the pending recipients into parts. 0 or -ENOMEM. */
int pn_job_plan(struct pn_job *job) PN_MUST_CHECK;
/* The first part for the upstream whose place (job->pool) was taken before the message was loaded; or NULL. */
struct pn_part *pn_job_reserved_part(struct pn_job *job);
/* The next part that can be started, entering its pool; NULL: none, with job->park set when some are left. */
struct pn_part *pn_job_next_part(struct pn_job *job);
/* The attempt is over. While it goes on with another upstream that was full (job->park), those that it has tried
 * are left alone; then all of them wait for the usual delay. */
void pn_job_round_end(struct pn_job *job);

/* ---- job_outcome.c ---- */
void pn_job_decide(struct pn_job *job);
void pn_job_record(struct pn_job *job);
/* Administration removes a message that cannot be read. */
void pn_job_record_removed(struct pn_job *job);
/* The state that a recipient has in the outcome after that verdict. */
enum pn_rcpt_state pn_rcpt_state_of(enum pn_verdict verdict);
/* Verdict of a reply: first digit decides (RFC 5321 4.2), none or 421 is as 4yz (3.8). */
enum pn_verdict pn_verdict_of_reply(const struct pn_smtp_reply_info *reply);
/* Gives all recipients of the part the same local result, e.g. {4,4,1} "connect ...". Text is copied. */
void pn_part_set_all(struct pn_job *job, struct pn_part *part, enum pn_verdict verdict,
                     const struct pn_smtp_reply_info *reply,
                     struct pn_slice remote_mta);
/* One log line for each run of recipients with the same result; counts them. */
void pn_part_log(struct pn_job *job, const struct pn_part *part, const struct pn_conn *conn);

/* ---- part.c: events of the connection ---- */
void pn_part_start(struct pn_job *job);
void pn_part_begin(struct pn_job *job);
void pn_part_ready(struct pn_job *job, struct pn_conn *conn);
void pn_part_refused(struct pn_job *job, struct pn_conn *conn, bool may_retry_host);
void pn_part_body(struct pn_job *job);
void pn_part_writable(struct pn_job *job);
void pn_part_done(struct pn_job *job);
void pn_part_lost(struct pn_job *job);
/* Copies a reply so that it lives as long as the job. */
struct pn_smtp_reply_info pn_job_copy_reply(struct pn_job *job, const struct pn_smtp_reply_info *reply);

#endif
