/* SPDX-License-Identifier: ISC */
/*
 * server_types.h - the layout of struct pn_smtp_server, so that owners can embed it. Every member
 * is private to
 * src/smtp.
 *
 * Small when idle and without heap: a partial line, an AUTH exchange and a transaction are
 * allocated when they start.
 */
#ifndef POSTERN_SMTP_SERVER_TYPES_H
#define POSTERN_SMTP_SERVER_TYPES_H

#include <postern/smtp/server.h>

#define PN_SMTP_NAME_MAX_BYTES 255 /* EHLO argument (RFC 5321 4.5.3.1.2), user name (RFC 4616 2) */

struct pn_smtp_txn;      /* src/smtp/server_internal.h; lives in the arena */
struct pn_smtp_exchange; /* an AUTH exchange; heap, wiped */

struct pn_smtp_server {
	const struct pn_smtp_server_settings *settings; /* borrowed */
	struct pn_arena arena;                          /* of the transaction */
	struct pn_buf line;                             /* a line that came in pieces */
	struct pn_smtp_txn *txn;
	struct pn_smtp_exchange *exchange;
	uint64_t line_seen_bytes;                       /* of an overlong line, while it is discarded */
	uint64_t chunk_left_bytes;                      /* BDAT octets still to come */
	uint32_t token;                                 /* of the newest event that needed a verdict */
	uint32_t error_count;                           /* consecutive */
	uint32_t follower_count;                        /* refused commands that only follow from a refused one */
	struct pn_smtp_server_stats stats;
	uint8_t phase;                                  /* enum pn_smtp_phase */
	uint8_t waiting;                                /* enum pn_smtp_waiting */
	uint8_t close_reason;                           /* enum pn_smtp_close_reason; not NONE: step says CLOSE */
	uint8_t swallow_reply;                          /* enum pn_reply to give after a swallowed chunk */
	uint8_t last_reply;
	uint8_t helo_len;
	uint8_t user_len;
	bool is_tls : 1;
	bool is_ehlo : 1;
	bool is_authenticated : 1;
	/* MAIL or BDAT was refused: pipelined followers are no errors of the client */
	bool is_after_refusal : 1;
	bool is_line_overlong : 1;
	bool is_line_auth : 1;                          /* the partial line holds a secret */
	bool has_line_cr : 1;                           /* last discarded octet was CR */
	bool is_txn_over : 1;                           /* freed at the next step */
	char helo[PN_SMTP_NAME_MAX_BYTES];
	char user[PN_SMTP_NAME_MAX_BYTES];
};

_Static_assert(sizeof(struct pn_smtp_server) <= 720, "an idle session is small");

#endif
