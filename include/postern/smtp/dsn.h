/* SPDX-License-Identifier: ISC */
/*
 * dsn.h - writes delivery status notifications (RFC 3464 in multipart/report, RFC 6522; RFC 6533
 * for internationalised ones). Pure.
 */
#ifndef POSTERN_SMTP_DSN_H
#define POSTERN_SMTP_DSN_H

#include <postern/base/buf.h>
#include <postern/smtp/client.h>
#include <postern/smtp/envelope.h>

enum pn_dsn_action { PN_DSN_FAILED, PN_DSN_DELAYED, PN_DSN_DELIVERED, PN_DSN_RELAYED };

struct pn_dsn_recipient {
	const struct pn_recipient *recipient;
	enum pn_dsn_action action;
	uint16_t status[3];         /* x.y.z */
	struct pn_slice remote_mta; /* host name; empty = none */
	/*
	 * What the remote server said, for Diagnostic-Code; code 0 with a text: our own reason. Of
	 * a result with stage EHLO and without remote_mta give code 0: nobody remote said it.
	 */
	struct pn_smtp_reply_info reply;
	uint64_t last_attempt_wall_ms;
	uint64_t will_retry_until_wall_ms; /* delayed only */
};

struct pn_dsn {
	const char *hostname;   /* Reporting-MTA */
	const char *postmaster; /* From address of the report, e.g. "MAILER-DAEMON@host" */
	struct pn_id report_id; /* Message-ID and boundary of the report */
	uint64_t now_wall_ms;
	/* Of the original: reverse_path is the report's recipient; ENVID, arrival, id. */
	const struct pn_envelope *envelope;
	const struct pn_dsn_recipient *recipients;
	size_t recipient_count;
	/*
	 * RET=FULL (failed only): the caller appends the whole message, else only the header (RFC
	 * 3461 4.3).
	 */
	bool is_full_content;
	bool has_8bit_header; /* of the original */
	bool has_8bit_body; /* of the original; a report that returns such a body needs 8BITMIME */
};

/*
 * Whether the report has 8-bit octets (needs 8BITMIME, or SMTPUTF8 when its own header has them: a
 * reverse-path that is not ASCII).
 */
bool pn_dsn_is_8bit(const struct pn_dsn *d);
/*
 * Appends everything before the returned original; then the caller appends the original's octets
 * (header or all), then pn_dsn_end. The whole is CRLF-lined. 0 or -ENOBUFS.
 */
int pn_dsn_begin(const struct pn_dsn *d, struct pn_buf *out) PN_MUST_CHECK;
int pn_dsn_end(const struct pn_dsn *d, struct pn_buf *out) PN_MUST_CHECK;
/*
 * Whether `action` is to be reported for this recipient (RFC 3461 4.1, 5.2): NOTIFY, null
 * reverse-path. Without NOTIFY: failures, and delays where the owner reports delays at all.
 */
bool pn_dsn_is_wanted(const struct pn_envelope *e, const struct pn_recipient *r,
		      enum pn_dsn_action action);

#endif
