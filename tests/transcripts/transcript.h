/* SPDX-License-Identifier: ISC */
/*
 * transcript.h - a transcript file in memory: what the client sends, which verdicts the owner gives, what must
 * come out. The format is described in README.md. Anything wrong with a file ends the program with its place.
 */
#ifndef PN_TESTS_TRANSCRIPT_H
#define PN_TESTS_TRANSCRIPT_H

#include <postern/base/buf.h>
#include <postern/smtp/server.h>

enum transcript_op_kind { OP_INPUT, OP_HANDSHAKE, OP_ABORT };

/* Something done to the server. Input may be cut anywhere, but never goes over the border to the next step. */
struct transcript_op {
	enum transcript_op_kind kind;
	struct pn_buf input;
	enum pn_reply reply; /* OP_ABORT */
};

struct transcript_verdict {
	char *arg; /* challenge, user or text, decoded; owned */
	size_t arg_len;
	struct pn_smtp_verdict verdict; /* without slices */
};

struct transcript {
	char *path;
	struct pn_smtp_server_settings settings;
	bool is_tls;
	bool is_uncut; /* the arrival of the input in one piece is what is tested */
	char *login;   /* user to be logged in before the first line, or NULL */
	struct transcript_op *ops;
	size_t op_count;
	struct transcript_verdict *verdicts;
	size_t verdict_count;
	char **expected; /* "S: ...", "E: ...", "D: ..." */
	size_t expected_count;
};

void transcript_read(struct transcript *t, const char *path);
void transcript_free(struct transcript *t);
/* Appends octets as they are written in a transcript. */
void transcript_escape(struct pn_buf *to, struct pn_slice s);
enum pn_reply transcript_reply_by_name(const char *name); /* PN_REPLY_NONE: unknown */

#endif
