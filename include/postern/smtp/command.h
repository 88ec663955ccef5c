/* SPDX-License-Identifier: ISC */
/*
 * command.h - splits a command line into verb and arguments (RFC 5321 4.1.1). Pure functions, any
 * thread;
 * slices borrow from the line.
 */
#ifndef POSTERN_SMTP_COMMAND_H
#define POSTERN_SMTP_COMMAND_H

#include <postern/base/common.h>
#include <postern/base/slice.h>

#define PN_VERB_TABLE(X)                                                                           \
	X(EHLO) X(HELO) X(STARTTLS) X(AUTH) X(MAIL) X(RCPT) X(DATA)                                \
	X(BDAT) X(RSET) X(NOOP) X(VRFY) X(EXPN) X(HELP) X(QUIT)

enum pn_verb {
	PN_VERB_UNKNOWN,
#define PN_VERB_ENUM(name) PN_VERB_##name,
	PN_VERB_TABLE(PN_VERB_ENUM)
#undef PN_VERB_ENUM
	PN_VERB_COUNT
};

struct pn_command {
	enum pn_verb verb;
	struct pn_slice args; /* without the blanks around them (RFC 5321 4.1.1: trailing white space is tolerated) */
	bool has_bad_octet;   /* bare CR, bare LF or NUL somewhere in the line (RFC 5321 2.3.8) */
	bool has_8bit;        /* RFC 5321 2.4 */
};

/* `line` without its CRLF. */
void pn_command_parse(struct pn_slice line, struct pn_command *ret);
/* Case-insensitive (RFC 5321 2.4); PN_VERB_UNKNOWN for anything not in the table. Constant work, no
 * list is
 * walked. */
enum pn_verb pn_verb_parse(struct pn_slice word);
/* "EHLO"; "unknown" for PN_VERB_UNKNOWN. */
const char *pn_verb_name(enum pn_verb verb);

/* Cuts the first word (up to a blank) off *s and the blanks behind it; empty when *s is empty. */
struct pn_slice pn_word_next(struct pn_slice *s);

#endif
