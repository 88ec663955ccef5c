/* SPDX-License-Identifier: ISC */
/* ktls_record.h - a connection on the kernel's records, for record_ktls.c and ktls_control.c. One
 * thread. */
#ifndef TLS_KTLS_RECORD_H
#define TLS_KTLS_RECORD_H

#include <postern/tls/record.h>

#include "tls/alerts.h"
#include "tls/ktls.h"

struct pn_ktls_record {
	struct pn_record base;
	int fd;          /* borrowed */
	bool is_sending; /* the kernel protects what is sent; else `sealer` does */
	bool has_rekey;
	bool is_given; /* the input was handed on */
	bool is_peer_closed;
	bool is_failed;
	bool is_close_asked;
	bool is_update_owed; /* the peer asked for a KeyUpdate and the socket was full */
	bool has_last_words;
	uint8_t last_words[2]; /* level and description of the alert for pn_record_flushed() */
	uint8_t controls_in_a_row;
	uint32_t skip;  /* octets of a ticket that come in further records */
	uint8_t *input; /* lent */
	size_t input_len;
	uint64_t sent; /* records under the current key, about */
	struct pn_record *sealer;
	struct pn_tls_keys keys;
};

static inline struct pn_ktls_record *pn_ktls_record_of(struct pn_record *r)
{
	return pn_container_of(r, struct pn_ktls_record, base);
}

/* ktls_control.c */
/* The record's recv_failed. */
enum pn_record_status pn_ktls_control_received(struct pn_record *r, int error, struct pn_buf *out);
/* Sends a KeyUpdate and changes the sending key. True also when the socket is full: then it is owed.
 * False: the connection is over. */
bool pn_ktls_control_update(struct pn_ktls_record *k);
/* Keeps an alert for the time when all data has left. */
void pn_ktls_control_owe(struct pn_ktls_record *k, uint8_t description);
void pn_ktls_control_last_words(struct pn_ktls_record *k);

#endif
