/* SPDX-License-Identifier: ISC */
/* names.h - the host names in a certificate and how they match (RFC 6125, RFC 7817). */
#ifndef POSTERN_TLS_NAMES_H
#define POSTERN_TLS_NAMES_H

#include <openssl/x509.h>

#include <postern/base/common.h>

/* Room for a host name with its NUL. */
#define PN_TLS_NAME_SIZE 256
/* Names of one certificate beyond this are ignored. */
#define PN_TLS_NAMES_MAX 1024

struct pn_tls_names {
	char **list; /* lower case, no final dot; the left-most label may be "*" */
	size_t count;
};

/* Reads the DNS-IDs of x; its CN-ID if `may_use_cn` and there is no DNS-ID, URI-ID or SRV-ID. 0 or
 * -ENOMEM. */
int pn_tls_names_read(X509 *x, bool may_use_cn, struct pn_tls_names *ret) PN_MUST_CHECK;
void pn_tls_names_free(struct pn_tls_names *names);
/* Whether one of the names stands for `host` (normalised). */
bool pn_tls_names_match(const struct pn_tls_names *names, const char *host);
/* Whether x has `ip` (4 or 16 octets) as an iPAddress name. */
bool pn_tls_names_match_ip(X509 *x, const uint8_t *ip, size_t ip_len);
/* Lower case, without a final dot. False when `in` cannot be a host name (a "*" label is let
 * through if left-most). */
bool pn_tls_name_normalize(char out[PN_TLS_NAME_SIZE], const char *in, size_t len);

#endif
