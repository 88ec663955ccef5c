/* SPDX-License-Identifier: ISC */
/*
 * reply.h - the replies of the server side, one enum from one table (reply_table.def). Pure
 * functions, any thread.
 */
#ifndef POSTERN_SMTP_REPLY_H
#define POSTERN_SMTP_REPLY_H

#include <postern/base/buf.h>
#include <postern/base/common.h>
#include <postern/base/slice.h>

enum pn_reply {
	PN_REPLY_NONE, /* no reply; also what "nothing wrong" is called where a parser returns the reply to give */
#define PN_REPLY_ROW(symbol, code, enhanced, text, reason) PN_REPLY_##symbol,
#include <postern/smtp/reply_table.def>
#undef PN_REPLY_ROW
	PN_REPLY_COUNT
};

/* A reply line may have 512 octets with its CRLF (RFC 5321 4.5.3.1.5). */
#define PN_REPLY_LINE_MAX_BYTES 512

/* Three digits; 0 for PN_REPLY_NONE. */
unsigned pn_reply_code(enum pn_reply reply);
/* "x.y.z", or "" where RFC 2034 4 wants none. */
const char *pn_reply_enhanced(enum pn_reply reply);
const char *pn_reply_text(enum pn_reply reply);
/* Stable lower-case token for logs and counters. */
const char *pn_reply_reason(enum pn_reply reply);

/* 1 to 5: the first digit (RFC 5321 4.2.1). */
static inline unsigned pn_reply_class(enum pn_reply reply)
{
	return pn_reply_code(reply) / 100;
}

/*
 * Appends the reply as one line. `text` replaces the table's text where not empty; octets in it
 * that are not
 * printable ASCII become '?', and it is cut where the line would be too long. 0, -ENOBUFS or
 * -ENOMEM; nothing
 * is appended on failure.
 */
int pn_reply_format(enum pn_reply reply, struct pn_slice text, bool with_enhanced, struct pn_buf *out) PN_MUST_CHECK;

/*
 * The same with a code of the caller (200 to 599; a forwarded reply of another server). `enhanced`
 * {0,0,0}
 * means none; its class must fit the code, else it is left out.
 */
int pn_reply_format_code(unsigned code, const uint16_t enhanced[3], struct pn_slice text,
			 struct pn_buf *out) PN_MUST_CHECK;

#endif
