/* SPDX-License-Identifier: ISC */
/*
 * session_harness.h - a session service on a real loop with a real spool and user file, and
 * clients on loopback with TLS in
 * memory, all driven by one thread: what a test waits for happens while it runs the loop.
 */
#ifndef PN_TEST_SESSION_HARNESS_H
#define PN_TEST_SESSION_HARNESS_H

#include "../tls/tls_support.h"

#include <postern/base/clock.h>

#include "session/session_internal.h"

#define H_USER     "tim@example.org"
#define H_PASSWORD "tanstaaftanstaaf"

enum h_port { H_TLS, H_STARTTLS };

struct harness {
	char path[64];
	struct pn_loop *loop;
	struct pn_spool *spool;
	struct pn_auth *auth;
	struct pn_tls_tickets *tickets;
	struct pn_tls_server *tls;
	struct pn_tls_client *tls_client;
	struct pn_session_shared shared;
	struct pn_session_profile values; /* changed by tests before h_start or h_profile */
	struct pn_listener_set *listeners;
	uint16_t ports[2];
	struct pn_session_service *svc;
	size_t submitted;
	bool is_drained;
};

/* Of the spools that h_init() makes. */
extern uint32_t h_inline_max_bytes;
/* Makes everything; `values` has generous limits. */
void h_init(struct harness *h);
/* Starts the service. */
void h_start(struct harness *h);
/* New sessions use h->values from now on. */
void h_profile(struct harness *h);
/* Drains if no test did, checks that nothing is left, frees all. */
void h_stop(struct harness *h);
/* Starts the drain; h->is_drained tells of its end. */
void h_drain(struct harness *h, uint32_t timeout_ms);
/* One round of the loop. */
void h_turn(struct harness *h);
/* Runs the loop until the condition holds; fails the test when it does not for a minute. */
#define h_until(h, condition)                                        \
	do {                                                         \
		uint64_t limit_ms_ = pn_clock_mono_ms() + 60000;     \
		while (!(condition)) {                               \
			h_turn(h);                                   \
			assert_true(pn_clock_mono_ms() < limit_ms_); \
		}                                                    \
	} while (0)
#define h_counter(h, name) pn_counter_get(&(h)->svc->counters[PN_SESSION_C_##name])
uint32_t h_sessions(struct harness *h);
uint32_t h_handshakes(struct harness *h);
/* No session, no place taken in any count. */
bool h_is_empty(struct harness *h);
/* The only session; NULL when there is none. */
struct pn_session *h_session(struct harness *h);

struct client {
	struct harness *h;
	int fd;
	struct pn_tls_conn *conn;
	struct pn_record *record; /* NULL: plaintext */
	struct pn_buf cipher;     /* received, not yet opened */
	struct pn_buf plain;
	bool is_over; /* end of stream, or reset */
};

/* Connects; on H_TLS the handshake is done as well. */
void c_open(struct client *c, struct harness *h, enum h_port port);
/* Connects, nothing else. */
void c_connect(struct client *c, struct harness *h, enum h_port port);
void c_handshake(struct client *c);
/* Octets as they are, past TLS. */
void c_send_raw(struct client *c, const void *data, size_t len);
void c_send(struct client *c, const char *text);
void c_send_bytes(struct client *c, const void *data, size_t len);
/* Takes what came; true when a whole reply is there. */
bool c_has_reply(struct client *c);
/* Waits for a whole reply and gives its code (0: the connection ended first); its text stays in
 * c_text until the next. */
int c_reply(struct client *c);
extern char c_text[2048];
/* Sends a line (CRLF is added) and expects that code. */
void c_cmd(struct client *c, const char *line, int code);
/* Past EHLO (and STARTTLS), authenticated when asked for. */
void c_ready(struct client *c, struct harness *h, enum h_port port, bool is_authenticated);
/* AUTH PLAIN with an initial response for that password. */
void c_auth_send(struct client *c, const char *password);
void c_wait_over(struct client *c);
/* A whole message with `size` octets of body. Returns the code after the dot. */
int c_message(struct client *c, size_t size);
void c_body(struct client *c, size_t size);
/* Ends the connection: by FIN, or by RST. */
void c_close(struct client *c, bool is_reset);

#endif
