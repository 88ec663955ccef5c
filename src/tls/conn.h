/* SPDX-License-Identifier: ISC */
/* conn.h - the inside of a handshake, shared by the callbacks of this folder. Users see
 * postern/tls/tls.h. */
#ifndef POSTERN_TLS_CONN_H
#define POSTERN_TLS_CONN_H

#include <openssl/ssl.h>

#include <postern/tls/tls.h>

#include "tls/io.h"
#include "tls/names.h"

enum pn_tls_conn_state {
	PN_TLS_CONN_RUNNING,
	PN_TLS_CONN_DONE,
	PN_TLS_CONN_FAILED,
	PN_TLS_CONN_HOLLOW, /* the record layer has taken the SSL */
};

struct pn_tls_conn {
	SSL *ssl;
	struct pn_tls_io io;
	struct pn_tls_server *server; /* one of the two, a reference */
	struct pn_tls_client *client;
	enum pn_tls_conn_state state;
	int fd;               /* whose kernel may take over the records; -1: none */
	bool is_library_kept; /* stays on BoringSSL's records, whatever they are */
	const char *error;    /* static text, or NULL */
	bool is_sni_unknown;  /* server: the name asked for is in no certificate */
	bool is_verified;     /* client: chain and name are right */
	/* Client: whom we want to reach; name is "" for an address literal. */
	uint8_t ip[16];
	uint8_t ip_len;
	char name[PN_TLS_NAME_SIZE];
};

/* What a conn needs of its server or client. */
SSL_CTX *pn_tls_server_context(const struct pn_tls_server *s);
SSL_CTX *pn_tls_client_context(const struct pn_tls_client *c);
struct pn_tls_tickets *pn_tls_conn_tickets(const struct pn_tls_conn *conn);

/* client.c: names the peer in conn; 0 or -EINVAL when `name` is neither a host name nor an address.
 */
int pn_tls_client_set_name(struct pn_tls_conn *conn, const char *name) PN_MUST_CHECK;

/* facts.c */
void pn_tls_facts_fill(struct pn_tls_facts *ret, const struct pn_tls_conn *conn);

/* record_boringssl.c: takes ssl on success; io is copied. NULL when out of memory. */
struct pn_record *pn_record_boringssl_new(SSL *ssl, const struct pn_tls_io *io);
/* For tests: as if that many records had been sealed under the current keys. */
void pn_record_boringssl_set_sealed(struct pn_record *r, uint64_t count);

#endif
