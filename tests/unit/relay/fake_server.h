/* SPDX-License-Identifier: ISC */
/*
 * fake_server.h - an SMTP or LMTP server on loopback in threads of the test, that does as it is
 * told: accepts, defers, refuses, hangs up, talks nonsense, says nothing. Recipients can ask for a
 * reply by their local part: ok*, reject* (550 5.1.1), defer* (451 4.2.0), once* (451 the first
 * time), final-reject* and final-defer* (LMTP, after the content).
 */
#ifndef PN_TEST_FAKE_SERVER_H
#define PN_TEST_FAKE_SERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <postern/tls/tls.h>

enum fake_fault {
	FAKE_NO_FAULT,
	FAKE_CLOSE_AT_CONNECT,
	FAKE_CLOSE_AT_MAIL,
	FAKE_CLOSE_AT_SECOND_MAIL, /* of a connection */
	FAKE_CLOSE_IN_DATA,
	FAKE_CLOSE_AFTER_DOT,  /* takes the message, says nothing */
	FAKE_SILENT,           /* no greeting */
	FAKE_HOLD_GREETING,    /* none while `is_greeting_held`; then takes the fault of that moment */
	FAKE_SILENT_AFTER_DOT,
	FAKE_HOLD_AFTER_DOT,   /* answers once `fault` has another value */
	FAKE_NONSENSE,         /* instead of a greeting */
	FAKE_ENDLESS,          /* a greeting that never ends */
	FAKE_NONSENSE_AFTER_DOT,
	FAKE_REFUSE_SESSION,   /* 554 greeting */
	FAKE_BUSY,             /* 421 greeting */
	FAKE_CLOSE_WHEN_IDLE,  /* hangs up after each message */
	FAKE_SLOW_READER,      /* reads the content in small steps with pauses */
	FAKE_REFUSE_CHUNK,     /* 552 as soon as BDAT is seen, then takes the content all the same */
	FAKE_BAD_TLS,          /* garbage instead of a handshake */
	FAKE_CONTROL_AT_MAIL,  /* says `control` to the first MAIL, then waits for controls_read */
};

struct fake_message {
	char *mail;       /* the whole line without CRLF */
	char **rcpts;     /* accepted ones */
	size_t rcpt_count;
	char *data;       /* unstuffed, with CRLF */
	size_t data_len;
	bool is_tls;
	bool is_authenticated;
};

struct fake_server {
	uint16_t port;
	/* Set before or while running. */
	_Atomic int fault;             /* enum fake_fault */
	_Atomic uint32_t fault_count;  /* only so many connections misbehave; 0: all */
	_Atomic bool is_greeting_held;
	_Atomic bool is_final_defer;   /* 451 after the content */
	_Atomic uint32_t final_delay_ms; /* before the reply to the content */
	const char *_Atomic ehlo;      /* keywords, separated by spaces */
	_Atomic bool is_lmtp;
	struct pn_tls_server *_Atomic tls; /* STARTTLS, or from the start: */
	_Atomic bool is_implicit_tls;
	const char *_Atomic auth_plain; /* what AUTH PLAIN must carry in base64 */
	/* The client's kernel opens and seals, and it is a mock that does neither: plaintext after the move. */
	_Atomic bool is_client_moved;
	struct pn_slice control;
	_Atomic uint32_t controls_read; /* counted up by the test */
	/* Results, under the lock. */
	pthread_mutex_t lock;
	struct fake_message messages[4096];
	size_t message_count;
	char *once[64];
	size_t once_count;
	_Atomic uint32_t held;         /* sessions that FAKE_HOLD_AFTER_DOT or FAKE_SILENT_AFTER_DOT has come to */
	_Atomic uint32_t connections, open_connections, connections_high;
	/* private */
	int fd;
	pthread_t thread;
	pthread_t sessions[2048];
	int session_fds[2048];
	size_t session_count;
	_Atomic bool is_stopping;
};

void fake_server_start(struct fake_server *s);
void fake_server_stop(struct fake_server *s);
size_t fake_server_count(struct fake_server *s);
/* A message that is there; it does not change any more. */
const struct fake_message *fake_message(struct fake_server *s, size_t index);
/* A port on which nobody listens. */
uint16_t fake_closed_port(void);

#endif
