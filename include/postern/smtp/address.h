/* SPDX-License-Identifier: ISC */
/*
 * address.h - the grammar of reverse-path and forward-path (RFC 5321 4.1.2, RFC 6531 3.3). Pure
 * functions, any
 * thread.
 *
 *	struct pn_slice rest = args behind "MAIL FROM:";
 *	enum pn_path_error e = pn_path_parse(&rest, PN_PATH_REVERSE, &path);
 *
 * Results borrow from the input. Nothing is changed: the local part keeps its case and its quotes,
 * the domain
 * is kept as given (RFC 5321 2.4; RFC 6409 8.8). Source routes are checked and left out (RFC 5321
 * 4.1.1.3).
 */
#ifndef POSTERN_SMTP_ADDRESS_H
#define POSTERN_SMTP_ADDRESS_H

#include <postern/base/common.h>
#include <postern/base/slice.h>

/* RFC 5321 4.5.3.1.1 to .3; the path with its <> but without a source route. */
#define PN_LOCAL_PART_MAX_BYTES 64
#define PN_DOMAIN_MAX_BYTES 255
#define PN_PATH_MAX_BYTES 256

enum pn_path_kind {
	PN_PATH_REVERSE, /* may be <> */
	PN_PATH_FORWARD, /* may be <postmaster> (RFC 5321 4.1.1.3) */
};

enum pn_path_error {
	PN_PATH_OK,
	PN_PATH_SYNTAX,
	PN_PATH_TOO_LONG,
	PN_PATH_NOT_QUALIFIED, /* RFC 6409 4.2: the domain has no dot, or ends in a number */
};

struct pn_path {
	struct pn_slice address; /* local@domain, "postmaster", or empty for <> */
	struct pn_slice local;
	struct pn_slice domain;  /* with its [] when is_literal; empty for <> and <postmaster> */
	bool is_literal;
	bool has_8bit;           /* valid UTF-8, not ASCII: needs SMTPUTF8 (RFC 6531 3.4) */
	bool has_source_route;
};

/* Parses "<...>" at the front of *in and advances *in behind the '>'. On an error *ret is
 * undefined. */
enum pn_path_error pn_path_parse(struct pn_slice *in, enum pn_path_kind kind, struct pn_path *ret) PN_MUST_CHECK;
/* All of `s` as local@domain without <>. */
enum pn_path_error pn_mailbox_parse(struct pn_slice s, struct pn_path *ret) PN_MUST_CHECK;
/* All of `s` as "[...]" (RFC 5321 4.1.3). */
bool pn_address_literal_is_valid(struct pn_slice s);
/* What EHLO and HELO may name: letters, digits and -._: or an address literal, at most 255 octets.
 * More than
 * RFC 5321 4.1.2 has (real clients send underscores), but nothing that could break a Received
 * field. */
bool pn_helo_name_is_valid(struct pn_slice s);

#endif
