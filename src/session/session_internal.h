/* SPDX-License-Identifier: ISC */
/*
 * session_internal.h - shared by the files of src/session only.
 *
 * Flow of octets: recv CQE -> (TLS handshake | record layer) -> smtp server -> events -> verdicts
 * -> replies -> record layer -> send. A session is
 * "paused" while something must happen before more input may be acted on (a verdict, room in the
 * output, the disk); what arrived meanwhile is kept in two
 * bounded backlogs (octets as received, and opened plaintext), never in the loop's provided
 * buffers.
 */
#ifndef POSTERN_SESSION_INTERNAL_H
#define POSTERN_SESSION_INTERNAL_H

#include <netinet/in.h>

#include <postern/base/buf.h>
#include <postern/base/log.h>
#include <postern/session/session.h>
#include <postern/smtp/address.h>
#include <postern/smtp/content.h>
#include <postern/smtp/server_types.h>

#define PN_SESSION_BACKLOG_MAX_BYTES (256u * 1024u)
#define PN_SESSION_LINGER_MS         2000u
/* Kept for the next messages by each loop. */
#define PN_SESSION_SPARE_COMMITS_MAX 1024u
#define PN_SESSION_ACCEPT_PAUSE_MS   100u

enum pn_session_state {
	PN_SESSION_HANDSHAKE, /* TLS handshake in progress */
	PN_SESSION_OPEN,      /* protocol, in plaintext or TLS */
	PN_SESSION_CLOSING,   /* last output on its way, nothing is acted on any more */
	PN_SESSION_LINGER,    /* sent and shut down; input is discarded until the peer closes */
	PN_SESSION_DEAD,      /* waiting for the last CQEs, then close and free */
};

enum pn_session_wait {
	PN_WAIT_NONE,
	PN_WAIT_VERDICT, /* auth helper */
	PN_WAIT_COMMIT,  /* messages that are being made safe: too many, or the session ends behind them */
	PN_WAIT_DELAY,   /* answer to a failed AUTH held back */
	PN_WAIT_SPOOL,   /* the disk is behind */
	PN_WAIT_OUTPUT,  /* the peer does not read */
};

/* What the log says of a message. */
struct pn_session_message {
	struct pn_id id;
	uint64_t size_bytes;
	uint64_t started_ms;
	uint32_t recipient_count;
	uint16_t from_len, to_len;
	char from[PN_PATH_MAX_BYTES];
	char to[PN_PATH_MAX_BYTES]; /* the first one */
};

struct pn_session {
	struct pn_list node;
	struct pn_session_service *svc;
	struct pn_session_profile *profile;
	struct pn_listener *listener; /* reference */
	int fd;
	enum pn_session_state state;
	enum pn_session_wait wait;
	bool is_pumping; /* guards against re-entry through synchronous callbacks */
	bool is_tls;
	bool is_handshake_counted;
	bool is_lingering_wanted; /* the last words may not be lost to a RST */
	bool has_peer_closed;
	bool is_source_counted;
	bool is_auth_challenged;
	struct pn_op recv_op;
	struct pn_op send_op;
	struct pn_op close_op;
	struct pn_timer timer;
	uint64_t
		deadline_ms; /* the timer re-arms itself when this moved on: no timer work per octet */
	uint64_t deadline_bytes_in; /* bytes_in when it was set */
	uint32_t source_ticket;
	struct pn_id id;
	struct sockaddr_in6 peer;
	uint64_t started_ms;

	struct pn_record *record;
	struct pn_tls_conn *tls_conn;
	struct pn_tls_facts *tls; /* NULL before TLS */
	struct pn_buf cipher_backlog;
	struct pn_buf plain_backlog;
	struct pn_buf out;     /* protected octets to send next */
	struct pn_buf sending; /* protected octets in the kernel's hands */

	struct pn_smtp_server smtp;
	struct pn_smtp_server_settings
		smtp_settings; /* own copy: auth_mechanisms may change between sessions */

	uint32_t token; /* of the event that waits */
	struct pn_auth_exchange *auth;
	struct pn_auth_user *user;
	enum pn_reply delayed_reply;
	uint32_t auth_failures;

	struct pn_spool_txn *txn; /* of the message that comes in */
	struct pn_list commits;   /* messages that are being made safe, oldest first (session_commit.c) */
	uint32_t commit_count;
	bool is_release_posted;
	struct pn_task release_task;
	struct pn_buf held;  /* replies in the clear, from that of the oldest of them on */
	uint64_t held_base;  /* octets that were held before */
	struct pn_id message_id;
	uint64_t data_started_ms;
	int storage_error; /* why the running message could not be stored; 0 = it can */
	const char *close_reason;
	uint64_t bytes_in, bytes_out;
	uint32_t messages, recipients;
	char peer_text[INET6_ADDRSTRLEN];
};

/* One accept. */
struct pn_accept {
	struct pn_acceptor *acceptor;
	struct pn_op op;
	struct sockaddr_in6 addr;
	socklen_t addr_len;
};

/* Accepts of one loop on one listener: the first waits for a connection, the others take what waits behind it. */
#define PN_SESSION_ACCEPTS_MAX 64u

struct pn_acceptor {
	struct pn_list node; /* svc->acceptors */
	struct pn_session_service *svc;
	struct pn_listener *listener; /* hold */
	bool is_ending;               /* freed once its ops are back */
	unsigned inflight;
	unsigned wanted; /* accepts in the next round */
	struct pn_timer retry;
	struct pn_accept accepts[PN_SESSION_ACCEPTS_MAX];
};

/* A record has no more content (RFC 8446 5.1); with type and padding it may have 256 octets more (5.2). */
#define PN_SESSION_PLACED_MAX (16384u + 256u)

struct pn_session_service {
	struct pn_loop *loop;
	struct pn_session_shared *shared;
	struct pn_session_profile *profile;
	struct pn_spool_writer *writer;
	struct pn_list sessions;
	size_t session_count;
	struct pn_buf replies; /* scratch: plaintext replies of the session that is being pumped */
	struct pn_slice *placed; /* the rest of the input at hand, while it lies in the spool's memory */
	size_t rescued_len;
	uint8_t rescued[PN_SESSION_PLACED_MAX]; /* scratch: that rest, carried away from there */
	unsigned index;
	struct pn_list acceptors;
	bool is_draining;
	bool is_drain_over;
	struct pn_timer drain_timer;
	struct pn_timer drain_poll;
	void (*drain_done)(void *ctx);
	void *drain_ctx;
	struct pn_list spare_commits;
	uint32_t spare_commit_count;
	pn_counter counters[PN_SESSION_COUNTER_COUNT];
	struct pn_counter_block counter_block;
	pn_counter replies_given[PN_REPLY_COUNT]; /* by every limit and refusal of the protocol */
	const char *reply_names[PN_REPLY_COUNT];
	struct pn_counter_block reply_block;
};

#define PN_COUNT(svc, name) pn_counter_add(&(svc)->counters[PN_SESSION_C_##name], 1)

/* accept.c */
/* NULL: no memory. Takes a hold. */
struct pn_acceptor *pn_acceptor_new(struct pn_session_service *svc, struct pn_listener *l);
void pn_acceptor_start(struct pn_acceptor *a);
/* Cancels what is in flight; what it still accepts is served. Freed by itself. */
void pn_acceptor_end(struct pn_acceptor *a);
void pn_acceptor_free(struct pn_acceptor *a);
bool pn_acceptors_are_idle(const struct pn_session_service *svc);

/* session.c: life */
struct pn_session *pn_session_new(struct pn_session_service *svc, struct pn_listener *listener,
				  int fd, const struct sockaddr_in6 *peer);
void pn_session_begin(struct pn_session *s);
/* Ends the session: sends what is in out (close_notify first), then closes. `reason` is a literal
 * for the log. Idempotent. */
void pn_session_close(struct pn_session *s, const char *reason, bool is_lingering_wanted);
/* As close, without waiting for anything to be sent. */
void pn_session_kill(struct pn_session *s, const char *reason);
/* Frees once nothing is in flight. */
void pn_session_check_dead(struct pn_session *s);
/* Sets when the session times out, from now. */
void pn_session_set_deadline(struct pn_session *s, uint64_t delay_ms);
void pn_session_touch(struct pn_session *s);
void pn_session_drain_one(struct pn_session *s);
void pn_service_check_drained(struct pn_session_service *svc);

/* session_io.c */
void pn_session_arm_recv(struct pn_session *s);
void pn_session_pump(struct pn_session *s);
void pn_session_resume(struct pn_session *s);
/* Seals the scratch replies and sends. */
void pn_session_flush(struct pn_session *s);
void pn_session_send(struct pn_session *s);
bool pn_session_is_output_full(const struct pn_session *s);

/* session_place.c */
/* Where the next content may be opened to, and how much has room there; 0: nowhere. */
size_t pn_session_place(const struct pn_session *s, uint8_t **ret);
/* *in was, and is given to the protocol now; until pn_session_placed_over(). */
void pn_session_placed(struct pn_session *s, struct pn_slice *in);
void pn_session_placed_over(struct pn_session *s);
/* The message leaves the session's hands: what is left of *in is carried away from its memory. */
void pn_session_rescue(struct pn_session *s);

/* session_tls.c */
int pn_session_tls_start(struct pn_session *s);
/* Goes on with the handshake; true: done and the session is OPEN with `in` advanced to the first
 * record. */
bool pn_session_tls_input(struct pn_session *s, struct pn_slice *in);
void pn_session_handshake_over(struct pn_session *s);

/* session_events.c */
void pn_session_on_event(struct pn_session *s, const struct pn_smtp_event *ev);
void pn_session_resolve(struct pn_session *s, enum pn_reply reply, struct pn_slice text);
void pn_session_drop_message(struct pn_session *s);

/* What an errno of the spool means to the client (RFC 3463 4.X.X). */
enum pn_reply pn_session_storage_reply(int error);

/* session_commit.c */
/* Takes s->txn: asks the spool for its promise, and the protocol goes on. False: no memory, and txn stays. */
bool pn_session_commit(struct pn_session *s, const struct pn_edit_list *edits) PN_MUST_CHECK;
/* Moves the scratch replies behind the others that wait for a promise. False: over the limit, session killed. */
bool pn_session_hold(struct pn_session *s);
/* The session ends without waiting: the messages are made safe and delivered all the same. */
void pn_session_commits_drop(struct pn_session *s);
void pn_session_commits_free_spare(struct pn_session_service *svc);

/* session_auth.c */
void pn_session_on_auth(struct pn_session *s, const struct pn_smtp_event *ev);
void pn_session_auth_drop(struct pn_session *s);
void pn_session_auth_delay_over(struct pn_session *s);

/* session_log.c */
void pn_session_log_closed(const struct pn_session *s);
void pn_session_message_fill(struct pn_session_message *m, const struct pn_session *s,
			     const struct pn_envelope *e, uint64_t size_bytes);
void pn_session_log_message(struct pn_session *s, const struct pn_session_message *m,
			    enum pn_reply reply, int error);
const char *pn_session_peer_text(struct pn_session *s);

#endif
