/* SPDX-License-Identifier: ISC */
/*
 * connection.h - one client connection of the load generator: TCP, TLS, and the sans-I/O SMTP client over them.
 *
 * The owner opens it, hears events, and may open it again after PN_BENCH_CONN_CLOSED, which comes exactly once for
 * each open. Nothing is sent from inside an event: output gathers and leaves in the endpoint's batch hook. One
 * thread.
 */
#ifndef PN_BENCH_CONNECTION_H
#define PN_BENCH_CONNECTION_H

#include <postern/net/loop.h>
#include <postern/smtp/client.h>
#include <postern/tls/tls.h>

struct pn_bench_conn;

enum pn_bench_conn_event {
	PN_BENCH_CONN_GREETED, /* implicit TLS: the 220 has come (EHLO is prepared, not yet sent) */
	PN_BENCH_CONN_READY,   /* EHLO, STARTTLS and AUTH are done, or NOOP: begin() */
	PN_BENCH_CONN_BODY,    /* body() now, once, with the whole content */
	PN_BENCH_CONN_DONE,    /* results are in the oldest transaction: begin() again, or quit() */
	PN_BENCH_CONN_FAILED, /* `failure` says why, transactions whether in doubt; CLOSED follows */
	PN_BENCH_CONN_CLOSED,
};

typedef void (*pn_bench_conn_fn)(struct pn_bench_conn *conn, enum pn_bench_conn_event event);

/* Where to connect and how: shared by all connections. */
struct pn_bench_endpoint {
	struct pn_loop *loop;
	struct sockaddr_storage address;
	socklen_t address_len;
	const char *tls_name; /* SNI */
	struct pn_tls_client *tls;
	bool is_implicit_tls;
	struct pn_smtp_client_settings client;
	/* Local addresses that take turns, host order; 0: the kernel's choice. */
	uint32_t source_first, source_count, source_next;
	uint64_t timeout_ms; /* of each step: set-up, one message, the end */
	size_t buffer_max_bytes;
	/* own */
	struct pn_batch_hook hook;
	struct pn_list flush_list;
};

/* "MAIL" and so on. */
const char *pn_bench_stage_name(enum pn_smtp_stage stage);

void pn_bench_endpoint_start(struct pn_bench_endpoint *e);
void pn_bench_endpoint_stop(struct pn_bench_endpoint *e);
/* A socket with the next local address, not connected; or -errno. */
int pn_bench_endpoint_socket(struct pn_bench_endpoint *e) PN_MUST_CHECK;

enum pn_bench_conn_state {
	PN_BENCH_CONN_CLOSED_STATE,
	PN_BENCH_CONN_CONNECTING,
	PN_BENCH_CONN_HANDSHAKE,
	PN_BENCH_CONN_SESSION,
	PN_BENCH_CONN_CLOSING,
};

/* Where it stood when it failed, and what the server said (0: nothing). */
struct pn_bench_failure {
	const char *stage;
	uint16_t code;
	char text[320];
};

/* Zeroed, then fn and endpoint set. */
struct pn_bench_conn {
	struct pn_bench_endpoint *endpoint;
	pn_bench_conn_fn fn;
	/* for the next opening */
	bool wants_resumption;
	const char *auth_user, *auth_password; /* NULL: no AUTH */
	const struct pn_smtp_client_sasl *sasl;
	const struct pn_smtp_client_settings *own_settings; /* instead of the endpoint's */
	uint64_t read_delay_ms;                             /* before each further read */
	/* to be read */
	struct pn_tls_facts facts; /* valid from the end of the handshake on */
	uint64_t opened_ns;
	struct pn_bench_failure failure; /* valid from FAILED on */
	/* own */
	enum pn_bench_conn_state state;
	int fd;
	bool is_abrupt;
	bool is_greeted, is_sending, is_over, is_finish_posted, is_initialised;
	struct pn_op op_connect, op_recv, op_send, op_close;
	struct pn_timer timer, read_timer;
	struct pn_task finish_task;
	struct pn_list flush_node;
	struct pn_record *record;
	struct pn_tls_conn *tls;
	struct pn_smtp_client *client;
	struct pn_smtp_client_settings settings;
	struct pn_buf plain, next, wire; /* to be sealed; sealed; the kernel's */
};

/* 0 or -errno (then nothing comes). */
int pn_bench_conn_open(struct pn_bench_conn *conn) PN_MUST_CHECK;
/* As pn_smtp_client_may_begin and pn_smtp_client_begin. */
bool pn_bench_conn_may_begin(const struct pn_bench_conn *conn);
int pn_bench_conn_begin(struct pn_bench_conn *conn, struct pn_smtp_transaction *t) PN_MUST_CHECK;
/* The whole content, in pieces. 0 or -errno. */
int pn_bench_conn_body(struct pn_bench_conn *conn, const struct pn_slice *pieces,
		       size_t count) PN_MUST_CHECK;
/* The same for slow writers, bit by bit. */
int pn_bench_conn_body_some(struct pn_bench_conn *conn, struct pn_slice piece) PN_MUST_CHECK;
int pn_bench_conn_body_end(struct pn_bench_conn *conn) PN_MUST_CHECK;
/* Ready and nothing to do: gives memory back, waits without a limit. */
void pn_bench_conn_idle(struct pn_bench_conn *conn);
/* READY comes again. */
void pn_bench_conn_noop(struct pn_bench_conn *conn);
/* QUIT, wait for the 221, close. */
void pn_bench_conn_quit(struct pn_bench_conn *conn);
/* close_notify and close. */
void pn_bench_conn_close(struct pn_bench_conn *conn);
/* Closes without a word. */
void pn_bench_conn_hang_up(struct pn_bench_conn *conn);
/* Gives up: FAILED with this text, then CLOSED. */
void pn_bench_conn_fail(struct pn_bench_conn *conn, const char *fmt, ...) PN_PRINTF(2, 3);
/* Its memory; must be closed. */
void pn_bench_conn_deinit(struct pn_bench_conn *conn);

#endif
