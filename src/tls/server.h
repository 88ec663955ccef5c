/* SPDX-License-Identifier: ISC */
/* server.h - the inside of pn_tls_server, for sni.c. Immutable after creation. */
#ifndef POSTERN_TLS_SERVER_H
#define POSTERN_TLS_SERVER_H

#include <stdatomic.h>

#include <postern/tls/tls.h>

#include "tls/certificate.h"

/* One name that clients may ask for, and the certificates for it: the first configured of each kind
 * of key. */
struct pn_tls_sni_entry {
	const char *name; /* of a wildcard: what follows "*." */
	const struct pn_tls_certificate *by_kind[PN_TLS_KEY_KIND_COUNT];
};

/* Sorted by name. */
struct pn_tls_sni_table {
	struct pn_tls_sni_entry *entries;
	size_t count;
};

struct pn_tls_server {
	atomic_uint references;
	struct pn_tls_certificate *certificates;
	size_t certificate_count;
	struct pn_tls_sni_table exact;
	struct pn_tls_sni_table wildcards;
	struct pn_tls_sni_entry defaults; /* for clients that name no host, or an unknown one */
	bool is_sni_strict;
	struct pn_tls_tickets *tickets; /* borrowed; NULL: no tickets */
};

/* Fills the tables from s->certificates. 0 or -ENOMEM. */
int pn_tls_sni_build(struct pn_tls_server *s) PN_MUST_CHECK;
void pn_tls_sni_clear(struct pn_tls_server *s);
/* Sets the callbacks that choose the certificate. */
void pn_tls_sni_install(SSL_CTX *ctx);

#endif
