/* SPDX-License-Identifier: ISC */
/* record_aead.h - a connection on our own records, for record_aead.c and aead_control.c. One thread. */
#ifndef TLS_RECORD_AEAD_H
#define TLS_RECORD_AEAD_H

#include <postern/tls/record.h>

#include "tls/aead.h"
#include "tls/alerts.h"
#include "tls/io.h"

struct pn_aead_record {
	struct pn_record base;
	struct pn_tls_keys keys;
	bool is_peer_closed;
	bool is_failed;
	bool is_close_sent;
	bool is_update_owed;     /* the peer asked for a KeyUpdate: it goes before more data */
	bool is_partial_done;    /* `partial` is a whole record, opened */
	bool is_given_elsewhere; /* in memory that the owner lent: `partial` is still sealed */
	uint8_t empty_in_a_row;  /* records, */
	uint8_t alerts_in_a_row; /* warnings, */
	uint8_t updates_in_a_row;
	uint8_t quiet_tries;
	uint8_t message_len; /* of a message that came in pieces, */
	uint8_t message[PN_TLS_KEY_UPDATE_LEN];
	uint32_t skip;   /* octets of a ticket that come in further records */
	uint64_t sealed; /* records under the current sending key */
	int fd;          /* whose kernel may take over; -1: none */
	uint8_t *in;     /* lent: what was not looked at yet */
	size_t in_len;
	uint8_t *given; /* the plaintext that was given last, to be wiped */
	size_t given_len;
	struct pn_buf partial; /* a record that lies in several inputs */
	struct pn_buf held;    /* records that go in front of the first words: tickets */
};

static inline struct pn_aead_record *pn_aead_record_of(struct pn_record *r)
{
	return pn_container_of(r, struct pn_aead_record, base);
}

/* ---- record_aead.c ---- */

/* Ends the connection with an alert. Always PN_RECORD_FAILED. */
enum pn_record_status pn_aead_fail(struct pn_aead_record *a, uint8_t description,
				   struct pn_buf *out);

/* After a handshake; the keys are copied, ssl stays the caller's, who frees it. NULL when out of memory. */
struct pn_record *pn_record_aead_new(const struct pn_tls_keys *keys, SSL *ssl,
				     struct pn_tls_io *io);
/* The kernel under fd, which has the upper layer protocol, may take over at a quiet point. */
void pn_record_aead_offer_kernel(struct pn_record *r, int fd);
/* For tests: as if that many records had been sealed under the current key. */
void pn_record_aead_set_sealed(struct pn_record *r, uint64_t count);

/* ---- aead_control.c: a record that is not data. WANT: seen to, go on with the next ---- */

enum pn_record_status pn_aead_alert(struct pn_aead_record *a, struct pn_slice in,
				    struct pn_buf *out);
enum pn_record_status pn_aead_handshake(struct pn_aead_record *a, struct pn_slice in,
					struct pn_buf *out);

#endif
