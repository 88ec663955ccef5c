/* SPDX-License-Identifier: ISC */
/*
 * server.h - the server side of an SMTP submission session, sans-I/O.
 *
 * Octets in, events and replies out. It knows no descriptor, clock, thread or TLS library: the
 * owner feeds
 * plaintext with pn_smtp_server_step(), acts on the event, answers with pn_smtp_server_resolve(),
 * and sends
 * what was appended to `out`.
 *
 *	while (1) {
 *		switch (pn_smtp_server_step(&s, &in, &ev, &out)) {
 *		case PN_SMTP_AGAIN: all of `in` was used; come back with more
 *		case PN_SMTP_EVENT: act on ev; if ev.needs_verdict, resolve now or later
 * case PN_SMTP_WAIT:  a verdict is missing (call again after resolve), or `out` has less room than
 * PN_SMTP_OUT_ROOM_BYTES (call again when it was sent); keep the rest of `in`
 * case PN_SMTP_CLOSE: send `out`, then close the connection (close_notify first); what the owner
 *		                    still holds of a transaction is void
 *		}
 *	}
 *
 * Rules: identical results for any cutting of the input. Replies leave in order; several replies
 * of a pipelined
 * group accumulate in out (RFC 2920 3.2: the owner sends `out` whenever step says AGAIN, WAIT or
 * CLOSE). A
 * verdict names the token of its event; a late or duplicate one is ignored and counted. Every
 * buffer has a
 * limit from pn_smtp_limits. One thread.
 *
 * What is accepted: a reply of class 2 (DATA_BEGIN: PN_REPLY_OK_DATA_GO or class 2). A verdict
 * whose reply is a
 * 421 also ends the session. A refused MAIL ends the transaction silently; a refused RCPT leaves
 * it; a refused
 * DATA leaves it; a refused BDAT is answered after its chunk was swallowed, and EV_RESET follows;
 * after
 * DATA_END it is over either way. After EV_DATA_ABORT no EV_RESET follows. When the server ends a
 * session by
 * itself (QUIT, too many errors) with a transaction open, EV_RESET or EV_DATA_ABORT comes before
 * CLOSE.
 *
 * Secrets: the owner wipes its receive buffer; what the server copies of AUTH lines it wipes
 * itself.
 */
#ifndef POSTERN_SMTP_SERVER_H
#define POSTERN_SMTP_SERVER_H

#include <postern/base/arena.h>
#include <postern/base/buf.h>
#include <postern/base/common.h>
#include <postern/base/counters.h>
#include <postern/base/slice.h>
#include <postern/smtp/envelope.h>
#include <postern/smtp/reply.h>

struct pn_content_scan; /* content.h */

enum pn_line_policy {
	PN_LINE_REJECT,    /* bare CR, bare LF, NUL: 550 5.6.0 after the whole message was consumed */
	PN_LINE_NORMALIZE, /* bare CR and bare LF become CRLF, NUL is dropped */
};

struct pn_smtp_limits {
	uint32_t command_line_max_bytes;   /* with CRLF; >= RFC 5321 4.5.3.1.4 plus the extensions' additions */
	uint32_t auth_line_max_bytes;      /* RFC 4954 4: at least 12288 */
	uint32_t text_line_max_bytes;      /* without CRLF; longer: 5xx after the message was consumed */
	uint32_t recipients_max;           /* a transaction; over it 452 4.5.3 */
	uint64_t message_size_max_bytes;   /* SIZE */
	uint32_t header_size_max_bytes;
	uint32_t received_max;             /* RFC 5321 6.3 loop detection */
	uint32_t bad_commands_max;         /* consecutive errors before 421 4.7.0 */
	uint32_t auth_failures_max;        /* then 421 */
	uint32_t transaction_memory_max_bytes; /* arena of envelope and edits */
};

struct pn_smtp_server_settings {
	const char *hostname;         /* in banner, EHLO, Received */
	struct pn_smtp_limits limits;
	enum pn_line_policy line_policy;
	bool has_smtputf8;
	bool has_chunking;
	bool has_dsn;
	pn_counter *reply_counts;     /* PN_REPLY_COUNT counters of the owner's thread, one for each reply; or NULL */
	const char *auth_mechanisms;  /* "SCRAM-SHA-256 PLAIN LOGIN", as offered after TLS; "" = none */
};

enum pn_smtp_status { PN_SMTP_AGAIN, PN_SMTP_EVENT, PN_SMTP_WAIT, PN_SMTP_CLOSE };

enum pn_smtp_event_type {
	/* 220 is in out: send it, handshake, then pn_smtp_server_tls_started(). `in` must be empty
	 * then: step itself
	 * says CLOSE (and counts an injection) when octets follow STARTTLS in the same input; the
	 * owner closes if any
	 * come before the ClientHello was asked for. */
	PN_SMTP_EV_STARTTLS,
	PN_SMTP_EV_AUTH,          /* mechanism, has_initial, data = decoded initial response. Needs a verdict. */
	PN_SMTP_EV_AUTH_RESPONSE, /* data = decoded client response. Needs a verdict. */
	PN_SMTP_EV_AUTH_CANCEL,   /* "*" or a bad line: already answered (501/500); drop the exchange */
	PN_SMTP_EV_MAIL,          /* envelope: reverse_path and parameters. Needs a verdict. */
	PN_SMTP_EV_RCPT,          /* recipient: candidate, joined to the envelope when accepted. Needs a verdict. */
	/* DATA (verdict OK gives 354) or first BDAT (verdict OK gives nothing yet). Needs a
	 * verdict. */
	PN_SMTP_EV_DATA_BEGIN,
	/* data = a run of content, unstuffed and line-checked; borrowed from `in` or static; valid
	 * until the
	 * next step */
	PN_SMTP_EV_CONTENT,
	/* the content is complete and passed the rules: commit. Needs a verdict (250 or failure). */
	PN_SMTP_EV_DATA_END,
	/* the content broke a rule, grew too big, or the transfer was reset: drop it. Replies are
	 * the server's
	 * own. */
	PN_SMTP_EV_DATA_ABORT,
	PN_SMTP_EV_RESET,         /* the transaction is over without a message (RSET, EHLO, QUIT) */
};

struct pn_smtp_event {
	enum pn_smtp_event_type type;
	bool needs_verdict;
	uint32_t token;
	struct pn_slice mechanism;         /* EV_AUTH: upper case */
	bool has_initial;
	struct pn_slice data;              /* AUTH: decoded octets (secret); CONTENT: octets */
	const struct pn_recipient *recipient;
};

/* The owner's answer. */
struct pn_smtp_verdict {
	/* PN_REPLY_OK_* to accept: see each event; AUTH: PN_REPLY_AUTH_CHALLENGE, PN_REPLY_AUTH_OK,
	 * or a
	 * failure */
	enum pn_reply reply;
	/* with AUTH_CHALLENGE: octets, encoded by the server; with AUTH_OK: user name to remember */
	struct pn_slice challenge;
	/* replaces the table's text where not empty (one line, printable ASCII; e.g. "queued as
	 * ID") */
	struct pn_slice text;
	/* with PN_REPLY_FORWARDED: code and enhanced code of another server's reply (its text in
	 * `text`); */
	uint16_t forwarded_code;
	uint16_t forwarded_enhanced[3]; /* 2yz accepts, 4yz and 5yz refuse, anything else is taken as 451 4.3.0 */
};

/* `out` must have this much room for step to go on; its maximum must be larger. Also the most that
 * one resolve
 * appends. */
#define PN_SMTP_OUT_ROOM_BYTES 2048

/* Why the server said CLOSE. */
enum pn_smtp_close_reason {
	PN_SMTP_CLOSE_NONE,
	PN_SMTP_CLOSE_QUIT,
	PN_SMTP_CLOSE_TOO_MANY_ERRORS,
	PN_SMTP_CLOSE_LINE_ENDLESS,
	PN_SMTP_CLOSE_AUTH_FAILURES,
	PN_SMTP_CLOSE_STARTTLS_INJECTION,
	PN_SMTP_CLOSE_BDAT_LOST,    /* a chunk of unknown length: what follows cannot be told from commands */
	PN_SMTP_CLOSE_BY_OWNER,     /* pn_smtp_server_abort, or a verdict with a 421 */
	PN_SMTP_CLOSE_MEMORY,       /* no memory, or out had no room for a reply */
	PN_SMTP_CLOSE_COUNT
};

/* Counts of one session, for the owner's log and counters. */
struct pn_smtp_server_stats {
	uint32_t commands;          /* command lines */
	uint32_t errors;            /* refused by the server itself */
	uint32_t late_verdicts;
	uint32_t injections;        /* octets behind STARTTLS */
	uint32_t auth_failures;
};

struct pn_smtp_server; /* defined in server_types.h so that owners can embed it; members are private */

/* `settings` is borrowed and must outlive the server (a reload gives new sessions new settings). */
void pn_smtp_server_init(struct pn_smtp_server *s, const struct pn_smtp_server_settings *settings, bool is_tls);
/* Frees every buffer; an event still waiting is dropped. */
void pn_smtp_server_deinit(struct pn_smtp_server *s);
/* Appends the 220 banner. */
int pn_smtp_server_greet(struct pn_smtp_server *s, struct pn_buf *out) PN_MUST_CHECK;
enum pn_smtp_status pn_smtp_server_step(struct pn_smtp_server *s, struct pn_slice *in, struct pn_smtp_event *ev,
                                        struct pn_buf *out) PN_MUST_CHECK;
/* Returns false (and does nothing) for a token that is not waiting. Replies go to out. */
bool pn_smtp_server_resolve(struct pn_smtp_server *s, uint32_t token, const struct pn_smtp_verdict *v,
                            struct pn_buf *out);
/* The TLS handshake after STARTTLS is done: forgets EHLO name and everything else (RFC 3207 4.2). */
void pn_smtp_server_tls_started(struct pn_smtp_server *s);
/* Ends the session from outside: appends reply (421 4.x: shutdown, timeout) in place of the next;
 * step says
 * CLOSE afterwards. */
void pn_smtp_server_abort(struct pn_smtp_server *s, enum pn_reply reply, struct pn_buf *out);

/* What the owner may ask. */
/* between commands, no transaction, no partial line */
bool pn_smtp_server_is_idle(const struct pn_smtp_server *s);
bool pn_smtp_server_is_in_transaction(const struct pn_smtp_server *s);
bool pn_smtp_server_is_receiving(const struct pn_smtp_server *s);       /* between DATA_BEGIN and DATA_END */
/* the next octets are content, and what EV_CONTENT gives of one input may be stored over that input, from its front
 * on, in the order it is given (data.h) */
bool pn_smtp_server_is_storing_in_place(const struct pn_smtp_server *s);
/* the next octet is content, also of a message or a chunk that is refused already and only read to its end */
bool pn_smtp_server_is_in_content(const struct pn_smtp_server *s);
bool pn_smtp_server_is_authenticated(const struct pn_smtp_server *s);
struct pn_slice pn_smtp_server_helo(const struct pn_smtp_server *s);    /* EHLO or HELO argument, empty before */
bool pn_smtp_server_is_ehlo(const struct pn_smtp_server *s);            /* the last greeting was EHLO, not HELO */
struct pn_slice pn_smtp_server_user(const struct pn_smtp_server *s);    /* empty before AUTH */
enum pn_smtp_close_reason pn_smtp_server_close_reason(const struct pn_smtp_server *s);
const char *pn_smtp_close_reason_name(enum pn_smtp_close_reason reason); /* stable lower-case token */
const struct pn_smtp_server_stats *pn_smtp_server_stats(const struct pn_smtp_server *s);
/* the newest one, for logs; PN_REPLY_NONE before the banner */
enum pn_reply pn_smtp_server_last_reply(const struct pn_smtp_server *s);
/* The transaction's envelope (NULL outside of one) and arena; valid from EV_MAIL until MAIL is
 * refused or
 * DATA_END is resolved, or until the step after EV_RESET or EV_DATA_ABORT. user, helo and the
 * parameters are
 * set by the server; id, received_wall_ms, client_address and tls_* are the owner's. */
struct pn_envelope *pn_smtp_server_envelope(struct pn_smtp_server *s);
struct pn_arena *pn_smtp_server_arena(struct pn_smtp_server *s);
/* At DATA_END: the facts, and the edits that the message needs (Bcc removed, Date and Message-ID
 * positions):
 * see content.h. */
const struct pn_content_facts *pn_smtp_server_content_facts(const struct pn_smtp_server *s);
struct pn_content_scan;
const struct pn_content_scan *pn_smtp_server_content_scan(const struct pn_smtp_server *s);
/* at DATA_END, for pn_content_plan_edits */
const struct pn_content_scan *pn_smtp_server_content_scan(const struct pn_smtp_server *s);

#endif
