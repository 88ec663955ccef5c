/* SPDX-License-Identifier: ISC */
/*
 * envelope.h - everything that a message carries besides its content: who sent it, to whom, and
 * with which
 * parameters.
 *
 * All slices point into the arena that the envelope was built in. Pure data; the spool writes and
 * reads it as TLVs
 * (see spool), so members may be added. RFC citations are at each member.
 */
#ifndef POSTERN_SMTP_ENVELOPE_H
#define POSTERN_SMTP_ENVELOPE_H

#include <postern/base/arena.h>
#include <postern/base/common.h>
#include <postern/base/id.h>
#include <postern/base/list.h>
#include <postern/base/slice.h>

enum pn_body_type { PN_BODY_7BIT, PN_BODY_8BITMIME }; /* RFC 6152 3 */
enum pn_dsn_ret { PN_DSN_RET_UNSET, PN_DSN_RET_FULL, PN_DSN_RET_HDRS }; /* RFC 3461 4.3 */
/* RFC 3461 4.1 */
#define PN_DSN_NOTIFY_NEVER 1u
#define PN_DSN_NOTIFY_SUCCESS 2u
#define PN_DSN_NOTIFY_FAILURE 4u
#define PN_DSN_NOTIFY_DELAY 8u

struct pn_recipient {
	struct pn_recipient *next;
	/* forward-path without <> and source route: local@domain, or "postmaster"; local-part case
	 * kept */
	struct pn_slice address;
	uint32_t notify;            /* PN_DSN_NOTIFY_*; 0 = not given */
	struct pn_slice orcpt;      /* "addr-type;xtext" exactly as given; empty = not given */
};

struct pn_envelope {
	struct pn_id id;
	uint64_t received_wall_ms;
	struct pn_slice user;            /* authenticated identity */
	struct pn_slice client_address;  /* "192.0.2.1" or "2001:db8::1" */
	struct pn_slice helo;            /* EHLO/HELO argument */
	struct pn_slice tls_suite;       /* registered name; empty = none */
	uint16_t tls_version;
	struct pn_slice reverse_path;    /* without <>; empty = <> */
	enum pn_body_type body;
	bool is_smtputf8;                /* the client gave SMTPUTF8 (RFC 6531 3.4) */
	uint64_t size_declared;          /* SIZE= (RFC 1870); 0 = not given */
	enum pn_dsn_ret dsn_ret;
	struct pn_slice dsn_envid;       /* xtext exactly as given; empty = not given */
	struct pn_slice auth_param;      /* AUTH= as given (xtext, or "<>"); empty = not given (RFC 4954 5) */
	uint32_t recipient_count;
	struct pn_recipient *recipients; /* in order */
	struct pn_recipient *recipients_last;
};

/* Facts about the content, gathered while it streams by. */
struct pn_content_facts {
	uint64_t size_bytes;          /* as stored (unstuffed, before edits) */
	uint64_t header_size_bytes;   /* up to and with the empty line */
	uint64_t line_max_bytes;      /* longest line without CRLF */
	uint32_t received_count;      /* RFC 5321 6.3 */
	bool has_8bit_header;
	bool has_8bit_body;
	bool has_final_crlf;          /* always true after DATA; a BDAT message may lack it */
	bool needs_smtputf8;          /* an address of the envelope or a header is not ASCII */
};

/*
 * A list of edits on the stored content, in ascending order of `at`, applied while the message is
 * sent: at
 * offset `at`, first `insert` goes out, then `delete_len` octets of the content are left out.
 */
struct pn_edit {
	struct pn_edit *next;
	uint64_t at;
	uint64_t delete_len;
	struct pn_slice insert;
};

struct pn_edit_list {
	struct pn_edit *first;
	struct pn_edit *last;
	uint32_t count;
};

/* Adds in order (asserts ascending, non-overlapping); memory from the arena. 0 or -ENOMEM. */
int pn_edit_insert(struct pn_edit_list *l, struct pn_arena *a, uint64_t at, struct pn_slice text) PN_MUST_CHECK;
int pn_edit_delete(struct pn_edit_list *l, struct pn_arena *a, uint64_t at, uint64_t len) PN_MUST_CHECK;
/* Size of the message after the edits. */
uint64_t pn_edit_result_size(const struct pn_edit_list *l, uint64_t content_size);

/* Appends a recipient (slices copied into the arena). 0 or -ENOMEM. */
int pn_envelope_add_recipient(struct pn_envelope *e, struct pn_arena *a, const struct pn_recipient *r) PN_MUST_CHECK;
/* Appends `r` itself; it and its slices must live as long as the envelope. */
void pn_envelope_link_recipient(struct pn_envelope *e, struct pn_recipient *r);
/* Whether an address of the envelope is not ASCII (RFC 6531 3.4). */
bool pn_envelope_has_8bit_address(const struct pn_envelope *e);

#endif
