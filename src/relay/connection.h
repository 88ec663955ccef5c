/* SPDX-License-Identifier: ISC */
/*
 * connection.h - one connection to an upstream host: name, TCP, TLS, session, transactions, quiet
 * end.
 *
 * Belongs to its pool. While a job has it (job != NULL) its events go to part.c: pn_part_ready,
 * _refused, _body, _writable, _done, _lost.
 *
 * Transactions in a row (RFC 2920 3.1): behind the last octet of a message another job may begin its
 * own before the reply has come. `job` is the one that sends; `open` are all that were begun and not
 * answered, oldest first. When the connection is lost, so are they all; each says for itself whether
 * it is in doubt.
 *
 * Nothing is sent from inside an event: output collects in `plain` and the worker's batch hook
 * seals and sends it, because an opened slice of a record is only valid until the thread's next record call.
 *
 * Life: a connection is freed only when its descriptor is closed and no op of it is in the kernel
 * (finish).
 */
#ifndef PN_RELAY_CONNECTION_H
#define PN_RELAY_CONNECTION_H

#include <postern/smtp/client.h>
#include <postern/tls/tls.h>

#include "dns.h"
#include "upstream.h"

enum pn_conn_state {
	PN_CONN_RESOLVING,
	PN_CONN_CONNECTING,
	PN_CONN_HANDSHAKE,
	PN_CONN_SETUP,   /* greeting, EHLO, STARTTLS, AUTH */
	PN_CONN_IDLE,
	PN_CONN_BUSY,    /* a transaction */
	PN_CONN_QUITTING,
	PN_CONN_CLOSING,
};

/* Pieces of content in one send that are sent from where they lie. */
#define PN_CONN_LENT_MAX 8u

struct pn_conn {
	struct pn_list node;       /* pool->conns */
	struct pn_list idle_node;  /* pool->idle */
	struct pn_list ride_node;  /* pool->rideable: another transaction may follow now */
	struct pn_list flush_node; /* worker->flush_list */
	struct pn_pool *pool;
	struct pn_host *host;
	struct pn_job *job;        /* whose attempt this is: the newest, or NULL */
	struct pn_list open;       /* of pn_job: transactions that wait for their replies */
	uint32_t open_count;
	enum pn_conn_state state;
	int fd;
	struct pn_dns_request dns;
	uint32_t addresses_tried, address_index;
	struct sockaddr_storage address;
	char address_text[PN_ADDRESS_TEXT_SIZE];
	struct pn_op op_connect, op_recv, op_send, op_close;
	struct pn_timer timer;     /* of the phase */
	struct pn_timer deadline;  /* of the transaction */
	struct pn_task finish_task;
	bool is_finish_posted;
	bool is_plain_forced;      /* opportunistic TLS is left out this time */
	bool is_body_ended;        /* the last octet of the content is in `plain` or beyond */
	enum pn_smtp_stage stage;  /* that the timer was set for */
	struct pn_record *record;
	struct pn_tls_conn *tls;
	struct pn_tls_facts facts;
	struct pn_smtp_client *client;
	struct pn_buf plain;       /* from the client, not yet sealed */
	struct pn_buf next;        /* sealed, not yet given to the kernel */
	struct pn_buf wire;        /* the kernel's while is_sending */
	struct pn_slice lent[PN_CONN_LENT_MAX]; /* content behind `next`, sent from the spool's memory */
	unsigned lent_first, lent_count; /* those not sent yet */
	size_t lent_bytes;
	struct pn_spool_blob *lent_blob; /* whose it is; held until all of it is sent */
	bool is_lent_flying;       /* in the send that is on its way, with `wire` in front of it */
	struct iovec iov[PN_CONN_LENT_MAX + 1];
	struct msghdr msg;
	bool is_sending;           /* stays so when a send has failed: nothing follows */
	bool is_send_broken;       /* what has come is still read */
	uint32_t messages;         /* transactions begun */
	struct pn_smtp_reply_info failure; /* why, for those who were refused; texts in failure_text */
	char failure_text[256];
};

/* Starts connecting for `job`. NULL: no memory. */
struct pn_conn *pn_conn_new(struct pn_pool *pool, struct pn_host *host, struct pn_job *job);
/* Whether some job has it. */
bool pn_conn_is_used(const struct pn_conn *conn);
/* Begins job's transaction (BUSY). As pn_smtp_client_begin: 0, or -errno and nothing was sent. Whatever is due
 * without input happens inside: the job may have its results, or have lost the connection, on return. */
int pn_conn_begin(struct pn_conn *conn, struct pn_job *job) PN_MUST_CHECK;
/* Makes room for content of that size once instead of piece by piece; of a large one only for what is sent at a
 * time. */
void pn_conn_body_expect(struct pn_conn *conn, uint64_t size_bytes);
/* Content of the transaction; as pn_smtp_client_body and _body_end. */
int pn_conn_body(struct pn_conn *conn, struct pn_slice content) PN_MUST_CHECK;
int pn_conn_body_end(struct pn_conn *conn) PN_MUST_CHECK;
/* As pn_conn_body for the piece that `reader` has just given, without a copy. -EOPNOTSUPP: not this piece or not this
 * connection, use pn_conn_body. */
int pn_conn_lend(struct pn_conn *conn, struct pn_slice content, const struct pn_spool_reader *reader) PN_MUST_CHECK;
/* Whether no room is wanted for most of a message of that size. */
bool pn_conn_will_lend(const struct pn_conn *conn, uint64_t size_bytes);
/* Octets that wait to be sent, for backpressure. */
size_t pn_conn_backlog(const struct pn_conn *conn);
/* The job (NULL: none) is done with it: kept for others, or quit once all are. */
void pn_conn_release(struct pn_conn *conn, struct pn_job *job);
/* Cuts it off; a running transaction is lost. `is_host_failure` counts against the host. */
void pn_conn_fail(struct pn_conn *conn, uint16_t subject, uint16_t detail, bool is_host_failure, const char *fmt,
                  ...) PN_PRINTF(5, 6);
/* QUIT, then close. */
void pn_conn_quit(struct pn_conn *conn);
/* Closes without a word to anybody. */
void pn_conn_close(struct pn_conn *conn);

/* ---- between connection.c, connection_io.c and connection_lend.c ---- */
/* Sets `msg`: `wire` and what is lent. */
void pn_conn_lent_vector(struct pn_conn *conn);
/* That much of what is lent is sent. */
void pn_conn_lent_sent(struct pn_conn *conn, size_t len);
/* Lets go of it; no send is under way. */
void pn_conn_lent_drop(struct pn_conn *conn);
void pn_conn_flush_later(struct pn_conn *conn);
/* The batch hook's part: seals and sends. */
void pn_conn_flush(struct pn_conn *conn);
/* TCP is up: TLS at once, or greeting. */
void pn_conn_connected(struct pn_conn *conn);
/* The session is ready for a transaction. */
void pn_conn_ready(struct pn_conn *conn);
/* A last attempt to get `next` out before the descriptor is closed. */
void pn_conn_send_last(struct pn_conn *conn);
/* Acts on what is due without input. */
void pn_conn_drive(struct pn_conn *conn);
/* Another transaction may follow: says so to those who wait. */
void pn_conn_offer_ride(struct pn_conn *conn);
/* Sets the timer for the phase when the phase changed, or always. */
void pn_conn_timer_update(struct pn_conn *conn, bool is_progress);
/* Frees it if nothing is left in the kernel. Last action of every callback of a closing connection. */
void pn_conn_try_finish(struct pn_conn *conn);

#endif
