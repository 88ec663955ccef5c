/* SPDX-License-Identifier: ISC */
/*
 * client.h - the client side of SMTP (RFC 5321) and LMTP (RFC 2033), sans-I/O, for relay workers
 * and the load generator.
 *
 * The owner feeds octets with pn_smtp_client_step(), sends what is in `out`, and acts on events.
 * MAIL, RCPT and DATA (or BDAT) go out in one write when the server offers PIPELINING (RFC 2920),
 * with CHUNKING the body may follow at once. The next transaction may begin behind the last octet of
 * the one before (pn_smtp_client_may_begin). Replies are parsed strictly and bounded: a server that
 * talks nonsense, too much, or out of turn ends in EV_FAILED. One thread.
 *
 * Call step() after every arrival of octets, and once (with an empty `in`) after begin() and
 * body_end(): events may be due without any octets, such as EV_BODY for a pipelined BDAT. Keep
 * calling while it says EVENT. Send `out` whenever step() says AGAIN. `out` needs a maximum of at
 * least 16 KiB; long recipient lists are sent as room and replies allow.
 *
 *	begin(c, t, out)
 *	while (step(c, &in, &ev, out) == PN_CLIENT_EVENT) {
 * case PN_CLIENT_EV_BODY: body(c, piece, out)..., sending `out` on -ENOBUFS; body_end(c, out)
 *		case PN_CLIENT_EV_DONE, PN_CLIENT_EV_FAILED: read t->results
 *	}
 *
 * While the body is being sent, keep feeding what the server says: an early refusal or 421 shows up
 * as EV_FAILED then, and the rest of the body is of no use.
 */
#ifndef POSTERN_SMTP_CLIENT_H
#define POSTERN_SMTP_CLIENT_H

#include <postern/base/arena.h>
#include <postern/base/buf.h>
#include <postern/base/common.h>
#include <postern/smtp/envelope.h>

enum pn_smtp_client_tls {
	PN_CLIENT_TLS_NONE,
	PN_CLIENT_TLS_OPPORTUNISTIC, /* in the clear when STARTTLS is not offered or refused */
	PN_CLIENT_TLS_REQUIRED,      /* STARTTLS or fail */
};

enum pn_smtp_client_auth {
	PN_CLIENT_AUTH_ANY, /* PLAIN, else LOGIN (RFC 4954) */
	PN_CLIENT_AUTH_PLAIN,
	PN_CLIENT_AUTH_LOGIN,
	PN_CLIENT_AUTH_SASL, /* the owner's, in settings.sasl */
};

/* A SASL mechanism that the owner brings. Messages are the octets themselves, without base64. */
struct pn_smtp_client_sasl {
	const char *mechanism; /* e.g. "SCRAM-SHA-256" */
	/* Appends the answer to a challenge (NULL: the initial response) to `response`, which holds
	 * up to 1024 octets and is wiped. 0, or -errno when the server is not to be believed: the session fails. */
	int (*respond)(void *arg, const struct pn_slice *challenge, struct pn_buf *response);
	void *arg;
};

struct pn_smtp_client_settings {
	bool is_lmtp;
	const char *helo_name;
	enum pn_smtp_client_tls tls; /* STARTTLS; implicit TLS is the owner's business (is_tls) */
	const char *auth_user;       /* NULL: no AUTH */
	const char *auth_password;
	enum pn_smtp_client_auth auth;
	const struct pn_smtp_client_sasl *sasl; /* for PN_CLIENT_AUTH_SASL */
	bool auth_without_tls;                  /* else AUTH without TLS is EV_FAILED */
	bool is_chunking_used;                  /* BDAT when offered */
	bool is_lockstep;                       /* one command at a time, whatever is offered */
	uint32_t reply_line_max_bytes;          /* 0: default 4096; RFC 5321 4.5.3.1.5 says 512 */
	uint32_t reply_lines_max;               /* of one reply; 0: default 128 */
};

/* Capabilities learned from EHLO (after TLS and AUTH). */
#define PN_CAP_PIPELINING          1u
#define PN_CAP_8BITMIME            2u
#define PN_CAP_SIZE                4u
#define PN_CAP_CHUNKING            8u
#define PN_CAP_DSN                 16u
#define PN_CAP_SMTPUTF8            32u
#define PN_CAP_ENHANCEDSTATUSCODES 64u
#define PN_CAP_STARTTLS            128u
#define PN_CAP_AUTH_PLAIN          256u
#define PN_CAP_AUTH_LOGIN          512u
#define PN_CAP_AUTH_SASL           1024u /* the mechanism of settings.sasl */

struct pn_smtp_reply_info {
	uint16_t code;        /* 0: none; lost connection, nonsense, or our own reason (text) */
	uint16_t enhanced[3]; /* x.y.z; {0,0,0} when absent (RFC 2034) */
	struct pn_slice text; /* cleaned: UTF-8 without controls, lines joined by " ", at most 512
	                              octets, without the enhanced code; lives in the transaction's arena,
	                              or in the client (failure), or is static */
};

enum pn_smtp_stage {
	PN_STAGE_CONNECT,
	PN_STAGE_GREETING,
	PN_STAGE_EHLO,
	PN_STAGE_TLS,
	PN_STAGE_AUTH,
	PN_STAGE_MAIL,
	PN_STAGE_RCPT,
	PN_STAGE_DATA, /* waiting for 354 */
	PN_STAGE_BODY, /* sending the content, or waiting for its reply */
};

struct pn_smtp_rcpt_result {
	enum pn_smtp_stage stage;        /* where the answer was given */
	struct pn_smtp_reply_info reply; /* the deciding reply for this recipient */
};

struct pn_smtp_transaction {
	const struct pn_envelope *envelope; /* reverse_path, parameters */
	const struct pn_recipient *const *recipients;
	uint32_t recipient_count;
	struct pn_smtp_rcpt_result *results; /* recipient_count of them, filled until EV_DONE */
	struct pn_arena *arena;              /* for reply texts */
	uint64_t size_bytes;                 /* after edits */
	bool is_size_estimate;               /* not exact, or 0 for not known: no BDAT then */
	bool has_8bit;                       /* BODY=8BITMIME is needed */
	bool needs_smtputf8;
	bool is_dsn_dropped; /* out: no DSN there, no parameters sent (RFC 3461 5.2.2) */
	bool is_in_doubt;    /* out, at EV_FAILED: it was sent whole and not answered */
};

enum pn_smtp_client_status { PN_CLIENT_AGAIN, PN_CLIENT_EVENT };
enum pn_smtp_client_event {
	/* 220 came: handshake now, then tls_started(). Octets behind the 220 are EV_FAILED. */
	PN_CLIENT_EV_STARTTLS,
	/* Session set up, or NOOP answered: begin() may be called. */
	PN_CLIENT_EV_READY,
	/* Send the content: body()..., body_end(). */
	PN_CLIENT_EV_BODY,
	/* The oldest transaction is decided for every recipient; another may begin. */
	PN_CLIENT_EV_DONE,
	/*
	 * The session is of no more use; failure() says why. The running transactions' open
	 * recipients have their result set to the failure (code 0 or 421: treat as 4yz, RFC 5321
	 * 3.8; a server that refuses the content before its end leaves its own code). Said once.
	 */
	PN_CLIENT_EV_FAILED,
	/* 221 after quit, or a 421 while idle. Said once. */
	PN_CLIENT_EV_CLOSED,
};

struct pn_smtp_client; /* opaque; embed by pointer */

/* Borrows the settings. NULL: no memory. */
struct pn_smtp_client *pn_smtp_client_new(const struct pn_smtp_client_settings *settings,
					  bool is_tls);
void pn_smtp_client_free(struct pn_smtp_client *c);
/* Feeds *in (advanced over what was used) until something happens; AGAIN: all of it was used. */
enum pn_smtp_client_status pn_smtp_client_step(struct pn_smtp_client *c, struct pn_slice *in,
					       enum pn_smtp_client_event *ret_ev,
					       struct pn_buf *out) PN_MUST_CHECK;
/* The handshake is done: says EHLO again (RFC 3207 4.2). */
void pn_smtp_client_tls_started(struct pn_smtp_client *c, struct pn_buf *out);
/* How many transactions may wait for their replies, the one being sent included. */
#define PN_SMTP_CLIENT_AHEAD_MAX 16
/*
 * Whether begin() may be called: the session is ready, or it is sending nothing, the server offers
 * PIPELINING, and fewer than PN_SMTP_CLIENT_AHEAD_MAX transactions are open. EV_DONE comes for each
 * of them, in their order.
 */
bool pn_smtp_client_may_begin(const struct pn_smtp_client *c);
/*
 * Starts a transaction (see may_begin); borrows t until DONE or FAILED. Returns 0, or
 * -EPROTONOSUPPORT with every result set when the server lacks what the message needs: 8BITMIME
 * (554 5.6.3) or SMTPUTF8 (553 5.6.7); or over its SIZE (552 5.3.4); or an address or parameter has
 * an octet that no command may carry (553 5.1.3). Stage is EHLO then: the code is ours, no server
 * said it. Nothing was sent and the session stays ready.
 */
int pn_smtp_client_begin(struct pn_smtp_client *c, struct pn_smtp_transaction *t,
			 struct pn_buf *out) PN_MUST_CHECK;
/*
 * After EV_BODY: appends content, dot-stuffed or framed. May come in any pieces, each well below
 * the maximum of `out`. 0, or -ENOBUFS (out is full: send and call again; nothing was taken),
 * -ENOMEM, or -EINVAL (BDAT: more octets than size_bytes; the session has failed, close it). After
 * EV_FAILED: 0, and nothing is done.
 */
int pn_smtp_client_body(struct pn_smtp_client *c, struct pn_slice content,
			struct pn_buf *out) PN_MUST_CHECK;
/* Whether content goes out octet for octet now (BDAT). */
bool pn_smtp_client_is_verbatim(struct pn_smtp_client *c);
/* As pn_smtp_client_body for content that the caller sends itself, behind all that was appended before. Only while
 * pn_smtp_client_is_verbatim. 0 or -EINVAL (as above). */
int pn_smtp_client_body_sent(struct pn_smtp_client *c, size_t len) PN_MUST_CHECK;
/*
 * The content is complete (adds CRLF if it lacks one in DATA mode, the final dot). 0, -ENOBUFS,
 * -ENOMEM, or -EINVAL (BDAT: fewer octets than size_bytes; as above).
 */
int pn_smtp_client_body_end(struct pn_smtp_client *c, struct pn_buf *out) PN_MUST_CHECK;
/* The connection was lost or timed out: marks open recipients; step is not needed any more. */
void pn_smtp_client_lost(struct pn_smtp_client *c, const char *reason);
/*
 * Says QUIT when the session is ready, or failed while it was set up (then EV_CLOSED may be
 * awaited); else does nothing.
 */
void pn_smtp_client_quit(struct pn_smtp_client *c, struct pn_buf *out);
/* Says NOOP when the session is ready (EV_READY when it is answered); else does nothing. */
void pn_smtp_client_noop(struct pn_smtp_client *c, struct pn_buf *out);
const struct pn_smtp_reply_info *pn_smtp_client_failure(const struct pn_smtp_client *c);
enum pn_smtp_stage pn_smtp_client_stage(const struct pn_smtp_client *c);
uint32_t pn_smtp_client_caps(const struct pn_smtp_client *c);
/*
 * A final dot (or LAST chunk) went out and its reply has not come: losing the connection now may
 * mean a duplicate. Keeps its answer after EV_FAILED and lost().
 */
bool pn_smtp_client_is_in_doubt(const struct pn_smtp_client *c);

#endif
