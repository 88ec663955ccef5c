/* SPDX-License-Identifier: ISC */
/*
 * tls_support.h - certificates made for the run, and two ends of a connection in memory.
 *
 * An end is either one of ours (pn_tls_conn) or a bare BoringSSL client ("raw") for what our client
 * never offers.
 */
#ifndef TLS_SUPPORT_H
#define TLS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/ssl.h>

#include <postern/tls/tls.h>

#include "tls/io.h"

#define WHOLE   SIZE_MAX
#define OUT_MAX (1024 * 1024)

/* Group set-up and tear-down: a temporary folder with the files of `make-certs DIR
 * mx.example.test`. */
int tls_setup(void **state);
int tls_teardown(void **state);
const char *tls_folder(void);
/* Runs make-certs with these options and names (the folder goes between them). */
void tls_make(const char *options, const char *names);
/* The contents of a file in the folder; lives until tear-down. */
struct pn_slice tls_file(const char *name);
/* NAME.pem and NAME.key */
struct pn_tls_certificate_pem tls_pem(const char *name);

/* A server with the certificates in `names` (separated by spaces). Fails the test when it cannot be
 * made. */
struct pn_tls_server *tls_server(const char *names, struct pn_tls_server_settings settings);
/* A client that trusts ca.pem. */
struct pn_tls_client *tls_client(bool is_verify_required);

struct end {
	struct pn_tls_conn *conn; /* or raw: */
	SSL *ssl;
	struct pn_tls_io io;
	struct pn_buf in; /* what the other end has sent */
	enum pn_record_status status;
	const char *raw_error;
	struct pn_record *record; /* after end_finish */
	struct pn_tls_facts facts;
	struct pn_buf plain; /* what was opened */
};

void end_init_server(struct end *e, struct pn_tls_server *s);
void end_init_client(struct end *e, struct pn_tls_client *c, const char *name);
/* Takes ssl. */
void end_init_raw(struct end *e, SSL *ssl);
void end_free(struct end *e);
/* Hands at most `chunk` octets at a time from one end to the other until both are done or nothing
 * moves. */
void shake(struct end *client, struct end *server, size_t chunk);
/* Makes the record layers of both (of ours) and opens what has come already. */
void end_finish(struct end *e, struct end *peer);
/* Feeds what is in e->in, in pieces of at most chunk, and collects in e->plain. The status of the
 * last open. */
enum pn_record_status end_receive(struct end *e, struct end *peer, size_t chunk);
/* Seals and puts the result into the peer's input. */
void end_send(struct end *e, struct end *peer, const void *data, size_t len);
/* Whether e->in holds exactly one unprotected alert with this description. */
bool end_has_alert(const struct end *e, uint8_t description);
/* Skips records that are no alert; then as end_has_alert. */
bool end_ends_with_alert(const struct end *e, uint8_t description);

/* A raw client's context without verification, TLS 1.2 and 1.3. */
SSL_CTX *raw_context(uint16_t min_version, uint16_t max_version);

#endif
