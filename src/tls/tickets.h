/* SPDX-License-Identifier: ISC */
/* tickets.h - what the other files here need of the ticket keys; users see postern/tls/tls.h. */
#ifndef POSTERN_TLS_TICKETS_H
#define POSTERN_TLS_TICKETS_H

#include <openssl/ssl.h>

#include <postern/tls/tls.h>

/* Milliseconds of a clock that never goes back. */
typedef uint64_t (*pn_tls_tickets_clock_fn)(void *arg);

/* For tests: another clock than pn_clock_mono_ms(). Before the first use of t. */
void pn_tls_tickets_set_clock(struct pn_tls_tickets *t, pn_tls_tickets_clock_fn now_ms, void *arg);
/* How long a ticket may be used: half of a key's life, so that its key outlives it. */
uint32_t pn_tls_tickets_ticket_lifetime_s(const struct pn_tls_tickets *t);
/* How many keys would open a ticket now. */
size_t pn_tls_tickets_key_count(struct pn_tls_tickets *t);

/* What BoringSSL calls; finds the keys through the connection that belongs to the SSL. */
extern const SSL_TICKET_AEAD_METHOD pn_tls_ticket_method;

#endif
