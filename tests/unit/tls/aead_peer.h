/* SPDX-License-Identifier: ISC */
/*
 * aead_peer.h - one end of ours on its own records, against a bare BoringSSL peer of either role. The peer's keys are
 * there too, to make records that BoringSSL never sends and to read alerts.
 */
#ifndef AEAD_PEER_H
#define AEAD_PEER_H

#include "tls_support.h"

#include "tls/aead.h"
#include "tls/alerts.h"

struct link {
	struct end us;
	struct end peer; /* raw */
	struct pn_tls_keys
		keys; /* the peer's, as they are when forge() and last_alert() were not used */
};

/* After the handshake. `suites` for TLS 1.2, or NULL. Tickets of the peer have reached us. */
void link_open(struct link *l, bool is_server, uint16_t version, const char *suites);
void link_close(struct link *l);
/* What BoringSSL writes, and reads (fails the test unless it is these octets). */
void peer_write(struct link *l, const void *data, size_t len);
void peer_expect(struct link *l, const void *data, size_t len);
/* Changes the peer's sending key; `request`: SSL_KEY_UPDATE_... */
void peer_update(struct link *l, int request);
/* A record of any content and type, and `zeros` behind them in TLS 1.3. */
void forge(struct link *l, uint8_t type, const void *data, size_t len, size_t zeros);
/* A KeyUpdate, and the key that goes with it. */
void forge_update(struct link *l, uint8_t request);
/* Octets as they are. */
void forge_raw(struct link *l, const void *data, size_t len);
/* Opens what we have sent; the description of an alert that is the last record, or -1. */
int last_alert(struct link *l);
/* Feeds what there is to us; the status, and in us.plain the plaintext. */
enum pn_record_status receive(struct link *l);

#endif
