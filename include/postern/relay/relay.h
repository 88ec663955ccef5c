/* SPDX-License-Identifier: ISC */
/*
 * relay.h - carries stored messages to their next hop: queue, workers, upstream connections,
 * Maildir, outcomes, bounces.
 *
 * Life: pn_relay_new (one thread, before the sandbox: makes Maildirs), pn_relay_submit for each
 * recovered entry, pn_relay_start (makes the worker threads), pn_relay_submit from any thread while
 * serving, pn_relay_stop, pn_relay_free, then pn_spool_close.
 *
 * Each worker is a thread with its own loop, spool writer (for reports), journal, readers, name
 * resolver and connections; workers share only the queue. A message has one holder at a time:
 * queue, worker's backlog, job (an attempt in progress), schedule (deferred or held), or the list
 * of an upstream that is at its limit. Entries move between them by pointer; nothing is copied and
 * nothing is lost on the way.
 *
 * Ids of reports (bounces and other notifications) carry the node number PN_RELAY_REPORT_NODE; no
 * gateway may have it as its own (config: node <= 65534).
 */
#ifndef POSTERN_RELAY_RELAY_H
#define POSTERN_RELAY_RELAY_H

#include <postern/base/common.h>
#include <postern/base/counters.h>
#include <postern/base/id.h>
#include <postern/spool/spool.h>
#include <postern/tls/tls.h>

struct pn_relay;

#define PN_RELAY_HOSTS_MAX 16
#define PN_RELAY_UPSTREAMS_MAX 256
#define PN_RELAY_WORKERS_MAX 64
#define PN_RELAY_REPORT_NODE 0xffffu

enum pn_upstream_kind { PN_UPSTREAM_SMTP, PN_UPSTREAM_LMTP, PN_UPSTREAM_MAILDIR };

enum pn_upstream_tls {
	PN_UPSTREAM_TLS_NONE,
	PN_UPSTREAM_TLS_OPPORTUNISTIC, /* STARTTLS when offered, else plaintext */
	PN_UPSTREAM_TLS_STARTTLS,      /* STARTTLS or the attempt is deferred */
	PN_UPSTREAM_TLS_IMPLICIT,      /* TLS from the first octet (RFC 8314 3.3) */
};

struct pn_upstream_host {
	const char *host;  /* name, IPv4 or IPv6 literal (without brackets) */
	uint16_t port;     /* 0: the upstream's */
	uint32_t weight;   /* share of new connections; 0: a spare, used in order while no weighted host is healthy */
};

/* A 0 means the default given in []. */
struct pn_upstream_settings {
	const char *name;                    /* for logs, counters and `postern queue` */
	enum pn_upstream_kind kind;
	const struct pn_upstream_host *hosts; /* 1..PN_RELAY_HOSTS_MAX; none for Maildir */
	size_t host_count;
	uint16_t port;                       /* [25; implicit TLS 465; LMTP 24] */
	/* Recipient domains routed here ("example.org"; ".example.org" for all below it); none: the
	 * default upstream. */
	const char *const *domains;
	size_t domain_count;
	enum pn_upstream_tls tls;
	struct pn_tls_client *tls_client;    /* needed unless TLS_NONE; the relay takes a reference */
	bool is_kernel_tls;                  /* records move to the kernel where it can (postern/tls/ktls.h) */
	bool is_verify_required;             /* the certificate must match verify_name; as told to tls_client */
	const char *verify_name;             /* [the host's name] reference identity and SNI (RFC 7817) */
	const char *auth_user;               /* NULL: no AUTH */
	const char *auth_password;           /* sent only where the certificate matches, required or not */
	bool auth_without_tls;               /* ... or anywhere */
	const char *helo_name;               /* [relay's hostname] */
	bool is_chunking_used;               /* BDAT where offered (RFC 3030) */
	uint32_t connections_max;            /* [20] of all workers together; 1 or more */
	uint32_t messages_per_connection_max; /* [100] */
	uint32_t pipeline_messages_max;      /* [8] sent before the first is answered; 1..16 (RFC 2920 3.1) */
	uint32_t recipients_per_transaction_max; /* [1000]; more go in several transactions (RFC 5321 4.5.3.1.10) */
	uint32_t idle_timeout_s;             /* [30] an unused connection is kept this long */
	uint32_t connect_timeout_s;          /* [30] name, TCP; each address */
	uint32_t tls_timeout_s;              /* [60] handshake */
	uint32_t greeting_timeout_s;         /* [300] RFC 5321 4.5.3.2.1 */
	uint32_t command_timeout_s;          /* [300] EHLO, STARTTLS, AUTH, MAIL, RCPT: 4.5.3.2.2, 4.5.3.2.3 */
	uint32_t data_start_timeout_s;       /* [120] 4.5.3.2.4 */
	uint32_t data_block_timeout_s;       /* [180] 4.5.3.2.5 */
	uint32_t data_end_timeout_s;         /* [600] 4.5.3.2.6 */
	uint32_t transaction_timeout_s;      /* [7200] bound of a whole transaction, however slowly the peer reads */
	const char *maildir_path;            /* Maildir only: made (mode 0700, with tmp, new, cur) when missing */
};

struct pn_relay_settings {
	const char *hostname;                /* EHLO name, Reporting-MTA */
	const char *postmaster;              /* From of reports, e.g. "MAILER-DAEMON@mx.example.org" */
	uint32_t worker_count;               /* [1] 1..PN_RELAY_WORKERS_MAX */
	const int *cpus;                     /* worker_count of them, -1 = not pinned; or NULL */
	uint32_t features_disabled;          /* PN_NET_FEATURE_* for the workers' loops */
	uint32_t queue_ring_entries;         /* [4096] power of two */
	uint32_t jobs_max;                   /* [128] attempts in progress in a worker; at least twice the upstreams */
	uint32_t retry_first_s;              /* [60] */
	uint32_t retry_max_s;                /* [3600] */
	uint32_t retry_factor_percent;       /* [200] each delay is this share of the one before */
	uint32_t retry_jitter_percent;       /* each delay is drawn from +- this share of it; 0 = none, at most 90 */
	uint32_t host_retry_first_s;         /* [5] a host that failed is left alone this long at first ... */
	uint32_t host_retry_max_s;           /* [300] ... doubling up to this */
	uint32_t lifetime_s;                 /* [432000] then undelivered recipients bounce (RFC 5321 4.5.4.1) */
	uint32_t delay_notice_after_s;       /* 0: none. One `delayed` report for recipients that want it */
	uint32_t report_full_max_bytes;      /* [1048576] RET=FULL returns a whole message up to this size */
	const struct pn_upstream_settings *upstreams;
	size_t upstream_count;               /* 1..PN_RELAY_UPSTREAMS_MAX */
};

/* Checks the settings and copies them with all they point to (but `cpus`: borrowed until pn_relay_start
 * returns), makes Maildir folders. The spool is borrowed. 0, or -errno with err. */
int pn_relay_new(const struct pn_relay_settings *settings, struct pn_spool *spool, struct pn_relay **ret,
                 struct pn_error *err) PN_MUST_CHECK;
/* Makes the threads; returns when each of them serves. 0, or -errno with err (all threads are gone
 * again then). */
int pn_relay_start(struct pn_relay *relay, struct pn_error *err) PN_MUST_CHECK;
/* Takes `entry`. Any thread; lock-free, no I/O. Never fails: what the ring cannot take goes on a
 * list inside the entries. Before pn_relay_start it means a recovered entry (its next_attempt is
 * clamped, its reports and Maildir files are not made a second time). */
void pn_relay_submit(struct pn_relay *relay, struct pn_spool_entry *entry);
/* Takes no more work, lets attempts in progress finish for up to deadline_ms, then cuts them (their
 * recipients stay owed), flushes the journals and joins. Entries that are left stay in the spool;
 * their memory is given up with it. Blocking; the thread that called start. Other
 * threads have made their last pn_relay_submit before this returns. */
void pn_relay_stop(struct pn_relay *relay, uint64_t deadline_ms);
/* Stopped or never started. NULL is fine. */
void pn_relay_free(struct pn_relay *relay);

/*
 * New settings while serving, in two steps, both on the thread that called pn_relay_start. Workers,
 * CPUs, features and the queue's size stay as they are. The first step checks and makes everything,
 * also Maildir folders, and changes nothing: 0, or -errno with err. Blocking.
 *
 * The second takes the change, cannot fail, and returns when every worker has swapped. An upstream
 * whose settings are the same (tls_client: the same object) keeps its connections; those of others
 * finish their transactions and end. Deferred messages of others, and all of them when the routes
 * differ, are due at once; no wait is longer than the new schedule's longest.
 */
struct pn_relay_change;
int pn_relay_change_new(struct pn_relay *relay, const struct pn_relay_settings *settings,
                        struct pn_relay_change **ret, struct pn_error *err) PN_MUST_CHECK;
void pn_relay_change_apply(struct pn_relay_change *change);
/* Without applying it. NULL is fine. */
void pn_relay_change_free(struct pn_relay_change *change);

/* Which upstream takes mail for this address; its index. The thread that starts and changes the relay. */
size_t pn_relay_route(const struct pn_relay *relay, struct pn_slice address);

/*
 * Administration: any thread, asynchronous. Work is posted to the workers; `fn` is called once, on
 * a worker's thread (or on the caller's with -ESHUTDOWN or -ENOMEM), and must not block. What it is
 * given is valid during the call.
 */
#define PN_RELAY_ITEM_STATES(X)                                                                    \
	X(QUEUED, "queued")     /* waits for a worker */                                           \
	X(ACTIVE, "active")     /* an attempt is in progress */                                    \
	X(WAITING, "waiting")   /* for an upstream that is at its limit */                         \
	X(DEFERRED, "deferred") /* until next_attempt */                                           \
	X(HELD, "held")
enum pn_relay_item_state {
#define X(sym, name) PN_RELAY_ITEM_##sym,
	PN_RELAY_ITEM_STATES(X)
#undef X
};
const char *pn_relay_item_state_name(enum pn_relay_item_state state);

struct pn_relay_item {
	struct pn_id id;
	uint64_t size_bytes;
	uint64_t next_attempt_wall_ms; /* 0: now */
	uint16_t attempts;
	enum pn_relay_item_state state;
	const char *upstream;          /* name; NULL when not known yet */
	int error;                     /* of pn_relay_queue_show: why the message cannot be read, -errno; else 0 */
};

struct pn_relay_list {
	const struct pn_relay_item *items; /* ordered by id, which is by age */
	size_t count;
	uint64_t total;                    /* more than count when the limit cut */
};
typedef void (*pn_relay_list_fn)(void *ctx, int result, const struct pn_relay_list *list);
/* A moment's view: a message that moves meanwhile may be missed. `limit` bounds the memory (items
 * of about 64 octets). */
void pn_relay_queue_list(struct pn_relay *relay, uint32_t limit, pn_relay_list_fn fn, void *ctx);

/* -ENOENT: no such message. `message` may be NULL when the message cannot be read now (result 0:
 * item is valid all the same). */
typedef void (*pn_relay_show_fn)(void *ctx, int result, const struct pn_relay_item *item,
                                 const struct pn_spool_message *message);
void pn_relay_queue_show(struct pn_relay *relay, const struct pn_id *id, pn_relay_show_fn fn, void *ctx);

enum pn_relay_action {
	PN_RELAY_RETRY,  /* now; a held message is released */
	PN_RELAY_HOLD,   /* no attempt until RETRY; durable */
	PN_RELAY_REMOVE, /* no report to the sender; durable */
};
/* 0 when done (for HOLD and REMOVE: durable; of an active message: after its attempt, if anything
 * is still owed then); -ENOENT; -EIO; -EALREADY: the attempt decided every recipient first. */
typedef void (*pn_relay_action_fn)(void *ctx, int result);
void pn_relay_queue_action(struct pn_relay *relay, enum pn_relay_action action, const struct pn_id *id,
                           pn_relay_action_fn fn, void *ctx);

/*
 * Counters: one block for the queue (scope "relay_queue"), one for each worker (scope "relay",
 * instance "0") and one for each upstream of each worker (scope "upstream", instance "NAME/0").
 * jobs, scheduled, held, backlog, connections, connections_idle, waiting, parked, hosts_down:
 * gauges.
 */
#define PN_RELAY_QUEUE_COUNTERS(X) X(submitted) X(overflowed) X(wakeups)
enum pn_relay_queue_counter {
#define X(name) PN_RELAY_QUEUE_C_##name,
	PN_RELAY_QUEUE_COUNTERS(X)
#undef X
		PN_RELAY_QUEUE_COUNTER_COUNT
};
#define PN_RELAY_COUNTERS(X)                                                                       \
	X(attempts) X(jobs) X(jobs_full) X(scheduled) X(held) X(backlog) X(handed_over)     \
	X(delivered) X(deferred) X(bounced) X(expired) X(dropped) X(removed) X(reports) X(report_failures)             \
	X(in_doubt) X(load_failures) X(journal_failures) X(dns_queries) X(dns_failures)
enum pn_relay_counter {
#define X(name) PN_RELAY_C_##name,
	PN_RELAY_COUNTERS(X)
#undef X
		PN_RELAY_COUNTER_COUNT
};
#define PN_UPSTREAM_COUNTERS(X)                                                                    \
	X(connections) X(connections_idle) X(connections_made) X(connections_failed) X(connections_reused)             \
	X(tls_handshakes) X(timeouts) X(waiting) X(parked) X(hosts_down)                                               \
	X(transactions) X(transactions_pipelined) X(delivered) X(deferred) X(failed) X(bytes_sent) X(bytes_lent)
enum pn_upstream_counter {
#define X(name) PN_UPSTREAM_C_##name,
	PN_UPSTREAM_COUNTERS(X)
#undef X
		PN_UPSTREAM_COUNTER_COUNT
};

#endif
