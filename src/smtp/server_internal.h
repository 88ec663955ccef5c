/* SPDX-License-Identifier: ISC */
/*
 * server_internal.h - what the files of the server side share: phases, the transaction, the step context, and
 * who does what.
 *
 *	server.c          init, step, dispatch by the verb table
 *	server_query.c    what the owner may ask
 *	server_verdict.c  resolve: what a verdict changes
 *	server_line.c     octets to lines, overlong and endless lines
 *	server_body.c     DATA and BDAT content
 *	server_reply.c    replies, refusals, the count of errors, the end of a session
 *	cmd_*.c           one handler for each verb
 *
 * A handler replies, or fills the event, or both; it returns true when the event is filled. At most one event
 * for each command.
 */
#ifndef POSTERN_SMTP_SERVER_INTERNAL_H
#define POSTERN_SMTP_SERVER_INTERNAL_H

#include <postern/smtp/address.h>
#include <postern/smtp/command.h>
#include <postern/smtp/content.h>
#include <postern/smtp/data.h>
#include <postern/smtp/params.h>
#include <postern/smtp/server.h>
#include <postern/smtp/server_types.h>

/* A line without end is discarded up to this many times its limit, then the session is closed. */
#define PN_LINE_DISCARD_FACTOR 64u
#define PN_TXN_CHUNK_BYTES 4096u
#define PN_MECHANISM_MAX_BYTES 20 /* RFC 4422 3.1 */

/* What the next octet is. */
enum pn_smtp_phase {
	PN_PHASE_COMMAND,
	PN_PHASE_AUTH, /* a response line of an AUTH exchange */
	PN_PHASE_TLS,  /* none of ours: the handshake comes */
	PN_PHASE_DATA,
	PN_PHASE_CHUNK,
	PN_PHASE_SWALLOW, /* a refused BDAT chunk (RFC 3030 2) */
};

/* Which verdict is missing. */
enum pn_smtp_waiting {
	PN_WAITING_NONE,
	PN_WAITING_AUTH,
	PN_WAITING_MAIL,
	PN_WAITING_RCPT,
	PN_WAITING_DATA,
	PN_WAITING_BDAT,
	PN_WAITING_END,
};

/* State of the content while it comes; in the transaction's arena. */
struct pn_smtp_body {
	struct pn_data_scanner scanner;
	struct pn_content_scan content;
	uint64_t size_bytes;    /* content so far, after unstuffing */
	uint64_t chunked_bytes; /* BDAT: sum of the chunk sizes so far */
	bool is_bdat;
	bool is_last;     /* BDAT: this chunk is the last one */
	bool is_finished; /* BDAT: the held-back octet was asked for */
	bool is_too_big;
	bool is_read;    /* to its end, and to be refused */
	bool is_aborted; /* EV_DATA_ABORT was given */
};

struct pn_smtp_txn {
	struct pn_envelope envelope;
	struct pn_recipient *candidate; /* of the last RCPT; its block is used again when it was refused */
	size_t candidate_room_bytes;    /* octets behind the struct */
	struct pn_smtp_body *body;
	bool is_receiving; /* content was begun and is not complete */
	bool is_bdat;      /* at least one BDAT was begun */
	struct pn_smtp_verdict
		refusal; /* of a BDAT, to be told when its chunk is swallowed; text in the arena */
};

struct pn_smtp_exchange {
	struct pn_buf data; /* decoded octets of the newest line (secret) */
	uint8_t mechanism_len;
	char mechanism[PN_MECHANISM_MAX_BYTES];
};

struct pn_smtp_step {
	struct pn_slice *in;
	struct pn_smtp_event *ev;
	struct pn_buf *out;
};

/* ---- server_reply.c ---- */
/* Appends a reply; an empty text means the table's. When it cannot be appended the session is closed. */
void pn_srv_reply_text(struct pn_smtp_server *s, struct pn_buf *out, enum pn_reply reply, struct pn_slice text);
void pn_srv_reply(struct pn_smtp_server *s, struct pn_buf *out, enum pn_reply reply);
/* A positive reply to a good command: ends a run of errors. */
void pn_srv_accept(struct pn_smtp_server *s, struct pn_buf *out, enum pn_reply reply);
/* A refusal by the server itself; too many in a row end the session. Followers of a refused command are not
 * counted (RFC 2920 3.1). */
void pn_srv_refuse(struct pn_smtp_server *s, struct pn_buf *out, enum pn_reply reply, bool is_follower);
void pn_srv_verdict_reply(struct pn_smtp_server *s, struct pn_buf *out, const struct pn_smtp_verdict *v);
bool pn_srv_verdict_accepts(const struct pn_smtp_verdict *v);
/* Ends the session: replies (unless PN_REPLY_NONE), and step says CLOSE from now on. */
void pn_srv_close(struct pn_smtp_server *s, struct pn_buf *out, enum pn_smtp_close_reason reason,
		  enum pn_reply reply);
/* Remembers that a command was refused that others may have been pipelined behind. */
void pn_srv_note_refusal(struct pn_smtp_server *s);

/* ---- server.c ---- */
/* Fills st->ev; with waiting != NONE it needs a verdict. Returns true. */
bool pn_srv_event(struct pn_smtp_server *s, struct pn_smtp_step *st, enum pn_smtp_event_type type,
		  enum pn_smtp_waiting waiting);
/* Ends an open transaction with EV_RESET or EV_DATA_ABORT. Returns whether there was one (the event is filled). */
bool pn_srv_txn_drop(struct pn_smtp_server *s, struct pn_smtp_step *st);
void pn_srv_txn_free(struct pn_smtp_server *s);
void pn_srv_exchange_free(struct pn_smtp_server *s);

/* ---- server_line.c ---- */
enum pn_line_status {
	PN_LINE_MORE,     /* all input used, no line end yet */
	PN_LINE_READY,    /* *ret_line without CRLF, valid until pn_srv_line_done */
	PN_LINE_OVERLONG, /* a whole line over its limit was discarded; *ret_is_auth says which limit */
	PN_LINE_ENDLESS,
	PN_LINE_MEMORY,
};
enum pn_line_status pn_srv_line_next(struct pn_smtp_server *s, struct pn_slice *in, struct pn_slice *ret_line,
				     bool *ret_is_auth);
void pn_srv_line_done(struct pn_smtp_server *s);

/* ---- server_body.c ---- */
/* Makes the body state in the arena. */
bool pn_srv_body_begin(struct pn_smtp_server *s, bool is_bdat);
enum pn_smtp_status pn_srv_data_step(struct pn_smtp_server *s, struct pn_smtp_step *st, bool *ret_again);
enum pn_smtp_status pn_srv_chunk_step(struct pn_smtp_server *s, struct pn_smtp_step *st, bool *ret_again);
enum pn_smtp_status pn_srv_swallow_step(struct pn_smtp_server *s, struct pn_smtp_step *st, bool *ret_again);

/* ---- cmd_*.c ---- */
typedef bool pn_srv_handler(struct pn_smtp_server *s, const struct pn_command *cmd, struct pn_smtp_step *st);
pn_srv_handler pn_cmd_ehlo, pn_cmd_helo, pn_cmd_starttls, pn_cmd_auth, pn_cmd_mail, pn_cmd_rcpt, pn_cmd_data;
pn_srv_handler pn_cmd_rset, pn_cmd_noop, pn_cmd_vrfy, pn_cmd_expn, pn_cmd_help, pn_cmd_quit;
/* BDAT is answered after its chunk, so it also takes what is wrong with it already (PN_REPLY_NONE: nothing). */
bool pn_cmd_bdat(struct pn_smtp_server *s, const struct pn_command *cmd, struct pn_smtp_step *st,
		 enum pn_reply refusal);
/* A line in PN_PHASE_AUTH. */
bool pn_cmd_auth_response(struct pn_smtp_server *s, struct pn_slice line, struct pn_smtp_step *st);
bool pn_cmd_auth_overlong(struct pn_smtp_server *s, struct pn_smtp_step *st);

#endif
