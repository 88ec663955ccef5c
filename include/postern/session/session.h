/* SPDX-License-Identifier: ISC */
/*
 * session.h - the place where octets, TLS and protocol meet: accepts on shared listeners and
 * serves client sessions.
 *
 * One pn_session_service for each loop; all its functions belong to that loop's thread unless said
 * otherwise. What is the same for
 * all sessions of one configuration is a pn_session_profile: immutable, reference-counted, swapped
 * by a reload at each loop's own
 * quiet point; sessions keep the one they started with.
 */
#ifndef POSTERN_SESSION_SESSION_H
#define POSTERN_SESSION_SESSION_H

#include <stdatomic.h>

#include <postern/auth/auth.h>
#include <postern/base/common.h>
#include <postern/base/counters.h>
#include <postern/net/loop.h>
#include <postern/policy/sources.h>
#include <postern/smtp/server.h>
#include <postern/spool/spool.h>
#include <postern/tls/tls.h>

struct pn_session_profile {
	_Atomic uint32_t refs;
	struct pn_smtp_server_settings
		smtp;              /* auth_mechanisms is asked from auth for each session */
	char *hostname;            /* owned; smtp.hostname points here */
	struct pn_tls_server *tls; /* reference */
	bool has_client_address;   /* in Received */
	uint16_t node;
	uint32_t sessions_max; /* all loops together */
	uint32_t handshakes_max;
	uint32_t sessions_per_source_max;
	uint32_t connections_per_source_per_minute_max;
	uint32_t output_buffer_max_bytes;
	uint32_t commits_max; /* messages of a session that are being made safe at once; 1 or more */
	uint32_t handshake_timeout_ms;
	uint32_t idle_timeout_ms;
	uint32_t data_timeout_ms;
	uint32_t session_timeout_ms; /* without authentication */
	uint32_t auth_failure_delay_ms;
	uint32_t auth_failure_delay_max_ms;
};

/* Takes nothing from `values`: copies it, duplicates hostname, takes a TLS reference. refs = 1.
 * NULL: no memory. Any thread. */
struct pn_session_profile *pn_session_profile_new(const struct pn_session_profile *values);
struct pn_session_profile *pn_session_profile_ref(struct pn_session_profile *p);
void pn_session_profile_unref(struct pn_session_profile *p);

/* Immutable but for its counts; any thread. */
struct pn_listener {
	_Atomic uint32_t refs;  /* of any kind: the memory */
	_Atomic uint32_t holds; /* of those who accept, or may: the sockets stay open */
	char *name;             /* "submissions", for logs */
	bool is_implicit_tls;
	bool is_kernel_tls;     /* records move to the kernel where it can (postern/tls/ktls.h) */
	size_t fd_count; /* loop n accepts on fds[n % fd_count]: one, or one for each loop (`reuseport`) */
	int fds[];       /* listening sockets; TCP_NODELAY set on them is inherited */
};
/* Takes the descriptors; one hold. NULL: no memory, the descriptors stay the caller's. */
struct pn_listener *pn_listener_new(const char *name, bool is_implicit_tls, const int *fds, size_t fd_count);
struct pn_listener *pn_listener_ref(struct pn_listener *l);
void pn_listener_unref(struct pn_listener *l);
/* A hold is a reference too. */
struct pn_listener *pn_listener_hold(struct pn_listener *l);
void pn_listener_release(struct pn_listener *l);

/* What all loops accept on, from one configuration. Has a hold on each. */
struct pn_listener_set {
	_Atomic uint32_t refs;
	size_t count;
	struct pn_listener *items[];
};
/* refs = 1, items NULL: to be filled in before it is shared. NULL: no memory. */
struct pn_listener_set *pn_listener_set_new(size_t count);
struct pn_listener_set *pn_listener_set_ref(struct pn_listener_set *set);
void pn_listener_set_unref(struct pn_listener_set *set);

/* Shared by all services of the process. */
struct pn_session_shared {
	struct pn_spool *spool;
	struct pn_auth *auth;
	struct pn_sources *sources;
	/* Takes the entry of a message that was just promised. Any loop thread. */
	void (*submit)(struct pn_spool_entry *entry, void *ctx);
	void *submit_ctx;
	_Atomic uint32_t sessions;
	_Atomic uint32_t handshakes;
};

/* clang-format off */
#define PN_SESSION_COUNTERS(X)                                                                     \
	X(accepted) X(accept_errors) X(accept_paused) X(sessions_open) X(sessions_closed)          \
	X(refused_sessions_max) X(refused_handshakes_max) X(refused_source_sessions)               \
	X(refused_source_rate) X(sources_untracked)                                                \
	X(handshakes_full) X(handshakes_resumed) X(handshakes_failed) X(handshake_timeouts)        \
	X(starttls_injections) X(auth_ok) X(auth_failed) X(auth_tempfailed) X(auth_delays)         \
	X(messages_accepted) X(messages_failed) X(messages_rejected) X(recipients_accepted)        \
	X(content_bytes) X(records_placed) X(senders_not_owned) X(spool_refusals)                                    \
	X(idle_timeouts) X(data_timeouts) X(session_timeouts) X(output_stalls) X(backlog_overflows) \
	X(protocol_closes) X(peer_resets) X(drained) X(drain_timeouts) X(commit_waits)
/* clang-format on */
enum pn_session_counter {
#define X(name) PN_SESSION_C_##name,
	PN_SESSION_COUNTERS(X)
#undef X
		PN_SESSION_COUNTER_COUNT
};

struct pn_session_service;

/* Makes the service and its spool writer on `loop`; borrows shared (which outlives it), takes a
 * reference on profile. `index` is the loop's. */
struct pn_session_service *pn_session_service_new(struct pn_loop *loop,
						  struct pn_session_shared *shared,
						  struct pn_session_profile *profile,
						  unsigned index, struct pn_error *err);
/* Accepts on these from now on (a hold is taken on each), and ends accepting on others; their
 * sessions go on. On those that are in both accepting goes on without a gap. */
void pn_session_service_set_listeners(struct pn_session_service *svc, const struct pn_listener_set *set);
/* New sessions use `profile` from now on (a reference is taken). */
void pn_session_service_set_profile(struct pn_session_service *svc,
				    struct pn_session_profile *profile);
/*
 * Stops accepting, answers idle sessions 421 4.3.2 (RFC 5321 3.8), lets transactions finish until
 * timeout_ms, then closes what is left. `done` is
 * called once, when no session and no spool work remains.
 */
void pn_session_service_drain(struct pn_session_service *svc, uint32_t timeout_ms,
			      void (*done)(void *ctx), void *ctx);
/* After `done`. */
void pn_session_service_free(struct pn_session_service *svc);

#endif
