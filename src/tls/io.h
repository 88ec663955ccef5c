/* SPDX-License-Identifier: ISC */
/*
 * io.h - the BIO between BoringSSL and the caller's buffers.
 *
 * Nothing is copied into a buffer of our own: reads come straight out of the slice that the caller
 * lends for one call, writes go to the tail of the caller's pn_buf. BoringSSL asks for 5 octets of
 * a record's header and then for its body and never reads ahead, so what it has not asked for is
 * still the caller's. One thread.
 */
#ifndef POSTERN_TLS_IO_H
#define POSTERN_TLS_IO_H

#include <openssl/ssl.h>

#include <postern/base/buf.h>
#include <postern/base/slice.h>

struct pn_tls_conn;

#define PN_TLS_HEADER_LEN 5

struct pn_tls_io {
	struct pn_slice in;       /* lent; what BoringSSL has not asked for yet */
	struct pn_buf *out;       /* lent for the duration of one call */
	struct pn_tls_conn *conn; /* during the handshake: for the callbacks */
	/* Where we are in the current record: octets taken of it, its length once the header is
	 * known. */
	uint32_t record_have;
	uint32_t record_need;
	uint8_t header[PN_TLS_HEADER_LEN];
	bool is_out_full; /* a write did not fit into out */
};

/* Makes the BIO and gives it to ssl, for both directions. 0 or -ENOMEM. */
int pn_tls_io_attach(struct pn_tls_io *io, SSL *ssl) PN_MUST_CHECK;
/* Copies *from to *to and makes ssl use *to from now on. */
void pn_tls_io_move(struct pn_tls_io *to, const struct pn_tls_io *from, SSL *ssl);
/* The io of an SSL, inside of BoringSSL's callbacks. */
struct pn_tls_io *pn_tls_io_of(const SSL *ssl);

#endif
