/* SPDX-License-Identifier: ISC */
/*
 * upstream.h - one worker's view of one upstream: its hosts and their health, its connections, who
 * waits for one.
 *
 * A worker never lets one upstream have more than job_max of its attempts: what comes beyond is
 * parked as bare entries, so that a slow or dead upstream costs the others nothing. Of
 * connections_max each worker has a share; a worker whose share is none hands the entry over to
 * `home`.
 */
#ifndef PN_RELAY_UPSTREAM_H
#define PN_RELAY_UPSTREAM_H

#include <postern/relay/relay.h>
#include <postern/smtp/client.h>

#include "backoff.h"
#include "dns.h"
#include "queue.h"

struct pn_conn;
struct pn_job;
struct pn_maildir;
struct pn_upstream;
struct pn_worker;

struct pn_host {
	const char *host;
	uint16_t port;
	uint32_t weight;
	uint32_t index;
	struct pn_dns_name name;
	int64_t turn;              /* smooth weighted round-robin */
	uint32_t fails;            /* in a row; 0 = healthy */
	uint64_t retry_at_ms;      /* left alone until then (loop clock) */
	bool is_probing;           /* one connection finds out whether it is back */
	uint64_t tls_broken_until_ms; /* opportunistic TLS failed: plaintext until then */
	uint32_t address_next;     /* where the next connection starts in name.addresses */
};

/* Goes over to the pool that follows one of the same name after a reload. */
struct pn_pool_counters {
	uint32_t refs;             /* pools; the worker's thread */
	bool is_registered;
	struct pn_counter_block block;
	pn_counter values[PN_UPSTREAM_COUNTER_COUNT];
};

struct pn_pool {
	struct pn_list retired_node; /* worker->retired */
	struct pn_worker *worker;
	struct pn_upstream *upstream; /* reference */
	const struct pn_upstream_settings *settings; /* the upstream's, with defaults filled in */
	bool is_retired;           /* a reload took its place: what is under way ends here, nothing new comes */
	uint32_t home;             /* worker that has a share of the connections */
	uint32_t conn_limit;       /* this worker's share */
	uint32_t conn_count;       /* with those that are closing */
	uint32_t closing_count;
	uint32_t job_max, job_count;
	struct pn_smtp_client_settings client_settings;
	struct pn_smtp_client_settings client_settings_plain; /* opportunistic TLS, after it failed */
	struct pn_host *hosts;
	size_t host_count;
	struct pn_list conns;      /* of pn_conn, all */
	struct pn_list idle;       /* of pn_conn, newest first */
	struct pn_list rideable;   /* of pn_conn: busy, and another transaction may follow */
	struct pn_list waiting;    /* of pn_job, for a connection */
	struct pn_timer wake_timer; /* when a host may be tried again while some wait */
	struct pn_entry_list parked;
	struct pn_maildir *maildir;           /* shared by the workers */
	struct pn_maildir_sync *maildir_sync; /* this worker's */
	struct pn_pool_counters *shared;
	pn_counter *counters;      /* shared->values */
};

enum pn_acquire {
	PN_ACQUIRE_READY,   /* *ret is a connection in session, now the job's */
	PN_ACQUIRE_STARTED, /* one is being made for the job */
	PN_ACQUIRE_WAIT,    /* the job is on the waiting list and will be woken */
	PN_ACQUIRE_DOWN,    /* no host can be tried now */
};

/* Any thread; takes a reference on the upstream. NULL: no memory. */
struct pn_pool *pn_pool_new(struct pn_worker *worker, struct pn_upstream *upstream);
/* On the worker's thread, once it has a resolver and a loop. */
void pn_pool_start(struct pn_pool *pool);
/* Works out the shares in the worker's jobs and in the upstream's connections. */
void pn_pool_size(struct pn_pool *pool, size_t upstream_count);
/* Before pn_pool_start: takes over what `old`, of the same name, has counted, and what it knows of hosts that
 * both have. */
void pn_pool_follow(struct pn_pool *pool, struct pn_pool *old);
/* Says goodbye on idle connections, gives up those that are being made, sends those who wait away. Its parked
 * entries are the caller's. Transactions go on. */
void pn_pool_retire(struct pn_pool *pool);
/* Retired, and nothing of it is under way any more. */
bool pn_pool_is_over(const struct pn_pool *pool);
/* The worker's thread, or without threads. NULL is fine. */
void pn_pool_free(struct pn_pool *pool);

/* A job comes to (or leaves) this upstream. False: full. */
bool pn_pool_enter(struct pn_pool *pool) PN_MUST_CHECK;
void pn_pool_leave(struct pn_pool *pool);
bool pn_pool_has_room(const struct pn_pool *pool);

/* `tried`: bits of hosts that this attempt has tried; `is_fresh`: no connection that was used before. */
enum pn_acquire pn_pool_acquire(struct pn_pool *pool, struct pn_job *job, uint32_t tried, bool is_fresh,
                                struct pn_conn **ret);
/* Wakes those who wait: one, or all when nothing is left to wait for. */
void pn_pool_dispatch(struct pn_pool *pool);
void pn_pool_wake_all(struct pn_pool *pool);

void pn_host_failed(struct pn_pool *pool, struct pn_host *host);
/* A session was made; if it had failed before, those who wait look at it again. */
void pn_host_worked(struct pn_pool *pool, struct pn_host *host);
/* A connection ended without telling anything about the host. */
void pn_host_undecided(struct pn_host *host);
/* Picks the host for a new connection; NULL: none may be tried now. */
struct pn_host *pn_host_choose(struct pn_pool *pool, uint32_t tried);

#endif
