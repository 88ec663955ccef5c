/* SPDX-License-Identifier: ISC */
/* io.c - see io.h. */
#include "tls/io.h"

#include <errno.h>
#include <limits.h>

#include <openssl/bio.h>

/* Follows the record boundaries, so that pn_record_pending() can count a partial record. */
static void io_track(struct pn_tls_io *io, const uint8_t *data, size_t len)
{
	while (len > 0) {
		size_t n;

		if (io->record_have < PN_TLS_HEADER_LEN) {
			io->header[io->record_have++] = *data++;
			len--;
			if (io->record_have < PN_TLS_HEADER_LEN)
				continue;
			io->record_need =
				PN_TLS_HEADER_LEN + ((uint32_t)io->header[3] << 8) + io->header[4];
		}
		n = pn_min_size(len, io->record_need - io->record_have);
		io->record_have += (uint32_t)n;
		data += n;
		len -= n;
		if (io->record_have == io->record_need)
			io->record_have = 0;
	}
}

static int io_read(BIO *bio, char *data, int len)
{
	struct pn_tls_io *io = BIO_get_data(bio);
	size_t n;

	BIO_clear_retry_flags(bio);
	if (len <= 0)
		return 0;
	if (io->in.len == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	n = pn_min_size((size_t)len, io->in.len);
	memcpy(data, io->in.ptr, n);
	io_track(io, io->in.ptr, n);
	pn_slice_advance(&io->in, n);
	return (int)n;
}

static int io_write(BIO *bio, const char *data, int len)
{
	struct pn_tls_io *io = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (len <= 0)
		return 0;
	if (!io->out || pn_buf_append(io->out, data, (size_t)len) != 0) {
		io->is_out_full = true;
		return -1;
	}
	return len;
}

static long io_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	(void)bio;
	(void)num;
	(void)ptr;
	return cmd == BIO_CTRL_FLUSH ? 1 : 0;
}

static int io_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

static const BIO_METHOD io_method = {
	.type = BIO_TYPE_SOURCE_SINK,
	.name = "postern",
	.bwrite = io_write,
	.bread = io_read,
	.ctrl = io_ctrl,
	.create = io_create,
};

int pn_tls_io_attach(struct pn_tls_io *io, SSL *ssl)
{
	BIO *bio = BIO_new(&io_method);

	if (!bio)
		return -ENOMEM;
	BIO_set_data(bio, io);
	SSL_set_bio(ssl, bio, bio);
	return 0;
}

void pn_tls_io_move(struct pn_tls_io *to, const struct pn_tls_io *from, SSL *ssl)
{
	*to = *from;
	BIO_set_data(SSL_get_rbio(ssl), to);
}

struct pn_tls_io *pn_tls_io_of(const SSL *ssl)
{
	return BIO_get_data(SSL_get_rbio(ssl));
}
