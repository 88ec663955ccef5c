/* SPDX-License-Identifier: ISC */
/*
 * ktls_mock.h - a kernel that stands behind pn_ktls_kernel: it keeps the keys that it is given, fails where a test says
 * so, and hands out and takes records that are not data. With the keys it was given it can open and seal real records.
 */
#ifndef KTLS_MOCK_H
#define KTLS_MOCK_H

#include "tls_support.h"

#include "tls/ktls.h"

#define MOCK_FD    1000
#define MOCK_LIMIT 64

struct mock_record {
	uint8_t type;
	uint8_t data[64];
	size_t len;
};

struct mock {
	/* What fails: errno, 0 = nothing; each for the next calls until changed. */
	int ulp_error, rx_error, tx_error, send_error, receive_error;
	bool is_send_short;
	bool is_type_missing; /* recvmsg without control message */
	/* What was done. */
	unsigned ulp_calls, rx_calls, tx_calls, no_pad_calls, receive_calls;
	union pn_ktls_crypto_info rx, tx;
	struct mock_record sent[MOCK_LIMIT];
	size_t sent_count;
	struct mock_record queue[MOCK_LIMIT]; /* to be received */
	size_t queue_first, queue_end;
};

extern struct mock mock;
/* Puts the mock in the kernel's place, with everything supported but what a test takes away. */
void mock_begin(bool has_rekey);
void mock_queue(uint8_t type, const void *data, size_t len);
/* The record that `info` is for: opens one from the front of `in`. Returns its type, plaintext in ret. */
uint8_t mock_open(union pn_ktls_crypto_info *info, struct pn_buf *in, uint8_t *ret,
		  size_t *ret_len);
/* Seals one and appends it. Both count the sequence on. */
void mock_seal(union pn_ktls_crypto_info *info, uint8_t type, const void *data, size_t len,
	       struct pn_buf *out);

/* A raw client and a server of ours on the mock, after the handshake, all tickets read, before the move. */
void ktls_connect(struct end *client, struct end *server, uint16_t version, const char *suites);
/* The owner's part of the move, once. */
void ktls_quiet(struct end *e, struct end *peer);
/* ktls_connect and the move. */
void ktls_moved(struct end *client, struct end *server, uint16_t version, const char *suites);
void raw_write(struct end *client, struct end *server, const void *data, size_t len);
/* What the server has sent, read by a raw client; fails the test unless it is that text. */
void raw_expect(struct end *client, const char *text);
void ktls_end(struct end *client, struct end *server);

#endif
