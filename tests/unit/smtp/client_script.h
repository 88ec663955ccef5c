/* SPDX-License-Identifier: ISC */
/*
 * client_script.h - plays a written dialogue against the SMTP client: whole, octet by octet, and at
 * random cuts; all must go the same way.
 *
 * Steps: "S:line" the server says (CRLF added), "C:line" the client must say, "E:NAME" an event must come, "G"
 * begin the transaction, "G+" begin one more behind it, "!G" none may begin now, "B:text" a piece of content (\n
 * stands for CRLF), "END" of the content, "T" TLS has started, "Q" quit, "N" noop, "L" the connection is lost.
 */
#ifndef PN_TESTS_CLIENT_SCRIPT_H
#define PN_TESTS_CLIENT_SCRIPT_H

#include <postern/smtp/client.h>

#define SCRIPT_STEPS_MAX      64
#define SCRIPT_RECIPIENTS_MAX 4
#define SCRIPT_AHEAD_MAX      3

struct script {
	const char *name;
	struct pn_smtp_client_settings settings; /* helo_name is filled in */
	bool is_tls;
	struct pn_envelope envelope;                           /* recipients are not used */
	struct pn_smtp_transaction transaction;                /* sizes and flags */
	struct pn_recipient recipients[SCRIPT_RECIPIENTS_MAX]; /* up to the first without address */
	const char *steps[SCRIPT_STEPS_MAX];
	const char
		*results; /* "STAGE code x.y.z text|..." after the last step; NULL: not looked at.
			     " / " between transactions; "?" behind one that is in doubt */
	const char *failure; /* "STAGE code text" */
	int begin_rc;
	bool is_in_doubt;
	bool is_dsn_dropped;
};

/* The pieces that scripts are made of. */
#define L(s)                                        \
	{                                           \
		(const uint8_t *)(s), sizeof(s) - 1 \
	}
#define FROM        .envelope = { .reverse_path = L("s@x.example") }
#define ONE         .recipients = { { .address = L("a@y.example") } }
#define TWO         .recipients = { { .address = L("a@y.example") }, { .address = L("b@z.example") } }
#define PLAIN_HELLO "S:220 up", "C:EHLO me.example", "S:250 host", "E:READY", "G"
#define PIPE_HELLO  "S:220 up", "C:EHLO me.example", "S:250-host", "S:250 PIPELINING", "E:READY", "G"
#define BDAT_HELLO                                                                           \
	"S:220 up", "C:EHLO me.example", "S:250-host", "S:250-PIPELINING", "S:250 CHUNKING", \
		"E:READY", "G"
#define MAIL_A "C:MAIL FROM:<s@x.example>"
#define RCPT_A "C:RCPT TO:<a@y.example>"
#define RCPT_B "C:RCPT TO:<b@z.example>"

/* Fails the test with the script's name and step when anything differs. */
void script_run(const struct script *s);

#endif
