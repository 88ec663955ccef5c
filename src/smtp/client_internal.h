/* SPDX-License-Identifier: ISC */
/* client_internal.h - shared by the files of the SMTP client only. */
#ifndef PN_SMTP_CLIENT_INTERNAL_H
#define PN_SMTP_CLIENT_INTERNAL_H

#include <postern/smtp/client.h>

#define PN_CLIENT_TEXT_MAX 512

/* ---- replies (client_reply.c) ---- */

enum client_reply_status {
	CLIENT_REPLY_MORE, /* all input used, no whole line yet */
	CLIENT_REPLY_LINE, /* one line of a reply that goes on */
	CLIENT_REPLY_LAST, /* the last line: code, enhanced and text are complete */
	CLIENT_REPLY_BAD,  /* not a reply, or over a limit */
};

struct pn_reply_parser {
	uint32_t line_max_bytes; /* with CRLF */
	uint32_t lines_max;
	uint32_t line_count; /* of the running reply */
	bool is_complete;    /* the next line begins a new reply */
	uint16_t code;
	uint16_t enhanced[3];
	struct pn_buf partial; /* the front of a line that was cut; holds memory only then */
	size_t text_len;
	char text[PN_CLIENT_TEXT_MAX];
};

void pn_reply_parser_init(struct pn_reply_parser *p, uint32_t line_max_bytes, uint32_t lines_max);
void pn_reply_parser_deinit(struct pn_reply_parser *p);
/* Takes one line off *in. *ret_text is what stands behind the code, valid until the next call. */
enum client_reply_status pn_reply_parser_feed(struct pn_reply_parser *p, struct pn_slice *in,
					      struct pn_slice *ret_text);
/* The reply that pn_reply_parser_feed() completed; the text is borrowed from the parser. */
struct pn_smtp_reply_info pn_reply_parser_info(const struct pn_reply_parser *p);
/*
 * Appends text, cleaned: valid UTF-8 without controls; anything else becomes '?'. Returns the new
 * length, at most PN_CLIENT_TEXT_MAX.
 */
size_t pn_reply_text_clean(char out[PN_CLIENT_TEXT_MAX], size_t len, struct pn_slice text);

/* ---- the client ---- */

enum client_phase {
	CLIENT_GREETING,
	CLIENT_EHLO,
	CLIENT_HELO,
	CLIENT_STARTTLS,
	CLIENT_TLS, /* the owner does the handshake */
	CLIENT_AUTH,
	CLIENT_READY,
	CLIENT_NOOP,
	CLIENT_TRANSACTION,
	CLIENT_QUIT,
	CLIENT_FAILED,
	CLIENT_CLOSED,
};

enum client_auth {
	CLIENT_AUTH_RESULT, /* everything was sent: 235 or a refusal */
	CLIENT_AUTH_PLAIN,  /* 334 wanted, then the response */
	CLIENT_AUTH_LOGIN_USER,
	CLIENT_AUTH_LOGIN_PASSWORD,
	CLIENT_AUTH_SASL, /* 334 with the next challenge, or 235 */
};

enum client_body {
	CLIENT_BODY_NONE,
	CLIENT_BODY_OFFERED, /* EV_BODY is due */
	CLIENT_BODY_OPEN,
	CLIENT_BODY_ENDED,
};

/*
 * One transaction. The places of its commands, and of their replies: RSET (only when owed), MAIL, the
 * RCPTs, then DATA or BDAT, then the replies to the content.
 */
#define CLIENT_AT_RSET 0u
#define CLIENT_AT_MAIL 1u
#define CLIENT_AT_RCPT 2u

struct client_tx {
	struct pn_smtp_transaction *t; /* the owner's; after a failure only whether there was one */
	bool is_mail_accepted, is_mail_refused;
	bool is_chunked; /* BDAT */
	bool is_over;    /* DATA was refused: no content, no more replies */
	uint32_t next_send, next_reply;
	uint32_t at_payload; /* the place of DATA or BDAT */
	uint32_t accepted_count;
	enum client_body body;
	uint32_t final_count, final_seen; /* replies to the content: expected, come */
	uint32_t final_recipient;         /* LMTP: where to look for the next accepted recipient */
	uint64_t chunk_left_bytes;
	uint8_t body_last; /* the last octet sent; LF at the start */
};

struct pn_smtp_client {
	const struct pn_smtp_client_settings *settings;
	enum client_phase phase;
	enum client_auth auth;
	bool is_tls;
	bool is_authenticated;
	bool is_end_told;  /* EV_FAILED or EV_CLOSED was given */
	bool is_ready_due; /* EV_READY or EV_STARTTLS still has to be given */
	uint32_t caps;
	uint64_t size_max_bytes; /* of the server; 0 = none said */
	struct pn_reply_parser reply;
	enum pn_smtp_stage failure_stage;
	struct pn_smtp_reply_info failure;
	char failure_text[PN_CLIENT_TEXT_MAX];

	bool needs_rset; /* the server may have a transaction open (RFC 3030 2: after a failed BDAT) */
	/* A ring. Replies go to the oldest; commands and content are those of the newest. */
	struct client_tx txs[PN_SMTP_CLIENT_AHEAD_MAX];
	uint32_t tx_first, tx_count;
};

static inline struct client_tx *pn_client_tx(struct pn_smtp_client *c, uint32_t age)
{
	return &c->txs[(c->tx_first + age) % PN_SMTP_CLIENT_AHEAD_MAX];
}

/* tx_count != 0 */
static inline struct client_tx *pn_client_oldest(struct pn_smtp_client *c)
{
	return pn_client_tx(c, 0);
}

static inline struct client_tx *pn_client_newest(struct pn_smtp_client *c)
{
	return pn_client_tx(c, c->tx_count - 1);
}

/* client.c */
/* Ends the session: remembers why and settles the recipients that are still open. */
void pn_client_fail(struct pn_smtp_client *c, const struct pn_smtp_reply_info *why);
/* The same for a reason of our own. */
void pn_client_fail_local(struct pn_smtp_client *c, const char *why);
/* Drops what was appended since `len`. */
void pn_client_out_rollback(struct pn_buf *out, size_t len);

/* client_setup.c: greeting to READY */
void pn_client_setup_reply(struct pn_smtp_client *c, const struct pn_smtp_reply_info *reply,
			   struct pn_buf *out);
void pn_client_ehlo_line(struct pn_smtp_client *c, struct pn_slice text);
void pn_client_send_ehlo(struct pn_smtp_client *c, struct pn_buf *out);

/* client_transaction.c */
/* Sends the commands that may go now. */
void pn_client_transaction_send(struct pn_smtp_client *c, struct pn_buf *out);
void pn_client_transaction_reply(struct pn_smtp_client *c, const struct pn_smtp_reply_info *reply,
				 struct pn_buf *out);
bool pn_client_transaction_is_done(const struct client_tx *tx);
/* The oldest is done: forgets it. */
void pn_client_transaction_finish(struct pn_smtp_client *c);
/* Sets every open recipient's result. */
void pn_client_transaction_settle(const struct client_tx *tx, enum pn_smtp_stage stage,
				  const struct pn_smtp_reply_info *reply);
enum pn_smtp_stage pn_client_transaction_stage(const struct client_tx *tx);
bool pn_client_transaction_is_in_doubt(const struct client_tx *tx);

#endif
