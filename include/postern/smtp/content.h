/* SPDX-License-Identifier: ISC */
/*
 * content.h - looks at the content once while it streams by: header fields, 8-bit, line lengths;
 * and plans the header edits.
 *
 * Fed with the runs that the data scanner gives. Finds Date and Message-ID, the extents of Bcc
 * fields (with their folded lines), counts Received; everything else stays octet for octet (RFC
 * 6409 8).
 */
#ifndef POSTERN_SMTP_CONTENT_H
#define POSTERN_SMTP_CONTENT_H

#include <postern/base/common.h>
#include <postern/smtp/envelope.h>

#define PN_CONTENT_BCC_MAX  64
#define PN_CONTENT_NAME_MAX 32

enum pn_content_problem {
	PN_CONTENT_OK,
	PN_CONTENT_LINE_TOO_LONG,
	PN_CONTENT_HEADER_TOO_BIG,
	PN_CONTENT_LOOP, /* more Received fields than allowed: 554 5.4.6 */
	PN_CONTENT_TOO_MANY_BCC,
};

struct pn_content_range {
	uint64_t at, len;
};

struct pn_content_scan {
	struct pn_content_facts facts;
	uint64_t line_max_allowed_bytes;
	uint64_t header_max_allowed_bytes;
	uint32_t received_max_allowed;
	enum pn_content_problem
		problem; /* the first in the content; known one octet later at most */
	bool has_date, has_message_id, has_from;
	uint64_t header_end; /* offset of the empty line, of the first line that is no field, or of
	                                    the end: where fields are added */
	bool has_header_end; /* header_end is at an empty line */
	uint32_t bcc_count;
	/* Bcc and Resent-Bcc, with their folded lines; ascending */
	struct pn_content_range bcc[PN_CONTENT_BCC_MAX];
	/* private */
	uint64_t line_start; /* offset of the current line */
	uint64_t problem_at;
	uint64_t field_start; /* header: offset of the line whose name is being read */
	uint8_t state;
	uint8_t name_len;
	bool is_in_bcc;
	uint8_t last; /* the last octet fed */
	char name[PN_CONTENT_NAME_MAX];
};

/* 0 as a maximum means no limit. */
void pn_content_scan_init(struct pn_content_scan *s, uint64_t line_max, uint64_t header_max,
			  uint32_t received_max);
/* Any cut of the content gives the same result. */
void pn_content_scan_feed(struct pn_content_scan *s, struct pn_slice run);
/* The content is complete: settles what was open. */
void pn_content_scan_end(struct pn_content_scan *s);

struct pn_trace {
	const char *hostname; /* BY */
	const struct pn_envelope
		*envelope;       /* helo, client_address, id, TLS facts, SMTPUTF8, time */
	const char *tls_group;   /* "" = left out */
	bool has_client_address; /* received_client_address = yes */
	bool is_ehlo;
};

/*
 * Plans the edits: Received on top (clause order of RFC 5321 4.4; with ESMTPSA or UTF8SMTPSA, RFC
 * 3848, RFC 6531 4.3; tls clause of RFC 8314 4.3; folded under 78 where possible, never over 998),
 * Bcc and Resent-Bcc fields deleted, Date and Message-ID added at the end of the header when
 * missing (RFC 6409 8.2, 8.3). When fields are added to a content that has no header, or whose
 * header ends without an empty line, the empty line is added behind them. Everything else stays
 * octet for octet. Call after pn_content_scan_end(). Overwrites *ret. Memory from the arena. 0 or
 * -ENOMEM.
 */
int pn_content_plan_edits(const struct pn_content_scan *s, const struct pn_trace *t,
			  struct pn_arena *a, struct pn_edit_list *ret) PN_MUST_CHECK;

#endif
