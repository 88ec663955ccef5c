/* SPDX-License-Identifier: ISC */
/*
 * record_boringssl.c - BoringSSL's own records behind the record interface, for connections that cannot be
 * on ours (record_aead.c).
 *
 * Opening copies each record into one 16 KiB scratch buffer per thread, so that sessions own none;
 * it is wiped when all input is used up or given back (passwords pass through it). Between records BoringSSL
 * holds no buffer either.
 *
 * Floods of empty records, warning alerts and KeyUpdates are cut off by BoringSSL (32, 4 and 32 in
 * a row); renegotiation is refused with an alert. A KeyUpdate that the peer asks for goes out in
 * front of the next data (RFC 8446 4.6.3).
 */
#include <limits.h>
#include <stdlib.h>

#include <openssl/err.h>

#include <postern/base/secret.h>

#include "tls/conn.h"

#define RECORD_PLAIN_MAX 16384
/* More than header, nonce, content type and tag of a record. */
#define RECORD_OVERHEAD_MAX 64
/* What SSL_write's int can take, in whole records. */
#define WRITE_MAX ((size_t)RECORD_PLAIN_MAX * 1024)
/* RFC 9325 4.4: at most 2^24.5 records under one key. TLS 1.3 changes keys well before that,
 * TLS 1.2 cannot. */
#define REKEY_AFTER (UINT64_C(1) << 23)
#define SEALED_MAX  (UINT64_C(1) << 24)

struct bssl_record {
	struct pn_record base;
	SSL *ssl;
	struct pn_tls_io io;
	uint64_t sealed; /* records under the current sending keys */
	bool is_peer_closed;
	bool is_failed;
	bool is_close_sent;
};

static _Thread_local uint8_t scratch[RECORD_PLAIN_MAX];
static _Thread_local size_t scratch_used;
/* Whose plaintext it was last: another session's end must not wipe a slice that is still being
 * read. */
static _Thread_local const void *scratch_owner;

static void scratch_wipe(void)
{
	if (scratch_used > 0)
		pn_wipe(scratch, scratch_used);
	scratch_used = 0;
	scratch_owner = NULL;
}

static struct bssl_record *bssl_of(struct pn_record *r)
{
	return pn_container_of(r, struct bssl_record, base);
}

static void bssl_input(struct pn_record *r, uint8_t *data, size_t len)
{
	struct bssl_record *b = bssl_of(r);

	PN_ASSERT(b->io.in.len == 0);
	/* What follows close_notify or a broken record means nothing (RFC 8446 6.1). */
	if (!b->is_peer_closed && !b->is_failed)
		b->io.in = pn_slice(data, len);
}

/* After SSL_read() gave nothing. */
static enum pn_record_status bssl_open_status(struct bssl_record *b, int result)
{
	switch (SSL_get_error(b->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return PN_RECORD_WANT;
	case SSL_ERROR_ZERO_RETURN:
		b->is_peer_closed = true;
		b->io.in = PN_SLICE_NULL;
		return PN_RECORD_CLOSED;
	default:
		b->is_failed = true;
		b->io.in = PN_SLICE_NULL;
		return PN_RECORD_FAILED;
	}
}

static enum pn_record_status bssl_open(struct pn_record *r, struct pn_slice *ret,
				       struct pn_buf *out)
{
	struct bssl_record *b = bssl_of(r);
	enum pn_record_status status;
	int n;

	*ret = PN_SLICE_NULL;
	if (b->is_failed)
		return PN_RECORD_FAILED;
	if (b->is_peer_closed)
		return PN_RECORD_CLOSED;
	b->io.out = out;
	ERR_clear_error();
	n = SSL_read(b->ssl, scratch, sizeof(scratch));
	if (n > 0) {
		*ret = pn_slice(scratch, (size_t)n);
		scratch_owner = b;
		scratch_used = pn_max_size(scratch_used, (size_t)n);
		status = PN_RECORD_OK;
	} else {
		status = bssl_open_status(b, n);
		scratch_wipe();
	}
	b->io.out = NULL;
	ERR_clear_error();
	return status;
}

/* SSL_write() of at most WRITE_MAX; also nothing, to let out what BoringSSL holds back (tickets,
 * KeyUpdate). */
static bool bssl_write(struct bssl_record *b, struct pn_slice plain)
{
	int result = SSL_write(b->ssl, plain.ptr ? plain.ptr : (const uint8_t *)"", (int)plain.len);

	/* With nothing to write and nothing held back, 0 is success. */
	return result == (int)plain.len && !b->io.is_out_full;
}

static bool bssl_update_keys(struct bssl_record *b)
{
	if (SSL_version(b->ssl) < TLS1_3_VERSION)
		return true;
	if (!SSL_key_update(b->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) || !bssl_write(b, PN_SLICE_NULL))
		return false;
	b->sealed = 0;
	return true;
}

static bool bssl_seal_all(struct bssl_record *b, struct pn_slice plain)
{
	do {
		struct pn_slice part = pn_slice(plain.ptr, pn_min_size(plain.len, WRITE_MAX));

		if (b->sealed >= REKEY_AFTER && !bssl_update_keys(b))
			return false;
		if (b->sealed >= SEALED_MAX || !bssl_write(b, part))
			return false;
		b->sealed += part.len / RECORD_PLAIN_MAX + 1;
		pn_slice_advance(&plain, part.len);
	} while (plain.len > 0);
	return true;
}

static enum pn_record_status bssl_seal(struct pn_record *r, struct pn_slice plain,
				       struct pn_buf *out)
{
	struct bssl_record *b = bssl_of(r);
	size_t overhead = (plain.len / RECORD_PLAIN_MAX + 1) * RECORD_OVERHEAD_MAX;
	bool ok;

	if (b->is_failed || b->is_close_sent)
		return PN_RECORD_FAILED;
	/* One growth of out instead of several; and when there is no room, nothing has been sealed:
	 * close still works. */
	if (plain.len > SIZE_MAX - overhead || pn_buf_reserve(out, plain.len + overhead) != 0)
		return PN_RECORD_FAILED;
	b->io.out = out;
	ERR_clear_error();
	ok = bssl_seal_all(b, plain);
	b->io.out = NULL;
	ERR_clear_error();
	if (ok)
		return PN_RECORD_OK;
	b->is_failed = true;
	return PN_RECORD_FAILED;
}

static size_t bssl_pending(const struct pn_record *r)
{
	const struct bssl_record *b = pn_container_of(r, const struct bssl_record, base);

	return b->io.in.len + b->io.record_have + (size_t)SSL_pending(b->ssl);
}

/* What BoringSSL has taken of a partial record it keeps; pending still counts that. */
static size_t bssl_take_back(struct pn_record *r)
{
	struct bssl_record *b = bssl_of(r);
	size_t rest = b->io.in.len;

	b->io.in = PN_SLICE_NULL;
	/* The owner pauses: what it was given last may be a password that a helper looks at now. */
	if (scratch_owner == b)
		scratch_wipe();
	return rest;
}

static enum pn_record_status bssl_close(struct pn_record *r, struct pn_buf *out)
{
	struct bssl_record *b = bssl_of(r);
	int result;

	if (b->is_close_sent)
		return PN_RECORD_OK;
	if (b->is_failed)
		return PN_RECORD_FAILED;
	b->is_close_sent = true;
	b->io.out = out;
	ERR_clear_error();
	result = SSL_shutdown(b->ssl);
	b->io.out = NULL;
	ERR_clear_error();
	if (result >= 0)
		return PN_RECORD_OK;
	b->is_failed = true;
	return PN_RECORD_FAILED;
}

static enum pn_record_status bssl_rekey(struct pn_record *r, struct pn_buf *out)
{
	struct bssl_record *b = bssl_of(r);
	bool ok;

	if (b->is_failed || b->is_close_sent)
		return PN_RECORD_FAILED;
	b->io.out = out;
	ERR_clear_error();
	ok = bssl_update_keys(b);
	b->io.out = NULL;
	ERR_clear_error();
	b->is_failed = !ok;
	return ok ? PN_RECORD_OK : PN_RECORD_FAILED;
}

/* BoringSSL frees its buffers by itself as soon as they are empty. */
static void bssl_idle(struct pn_record *r)
{
	if (scratch_owner == bssl_of(r))
		scratch_wipe();
}

static void bssl_free(struct pn_record *r)
{
	struct bssl_record *b = bssl_of(r);

	if (scratch_owner == b)
		scratch_wipe();
	SSL_free(b->ssl); /* wipes the keys */
	free(b);
	pn_record_uncount(PN_RECORD_C_sessions_boringssl);
}

static const struct pn_record_ops bssl_ops = {
	.name = "boringssl",
	.input = bssl_input,
	.open = bssl_open,
	.seal = bssl_seal,
	.pending = bssl_pending,
	.take_back = bssl_take_back,
	.close = bssl_close,
	.rekey = bssl_rekey,
	.idle = bssl_idle,
	.free = bssl_free,
};

struct pn_record *pn_record_boringssl_new(SSL *ssl, const struct pn_tls_io *io)
{
	struct bssl_record *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->base.ops = &bssl_ops;
	b->ssl = ssl;
	pn_tls_io_move(&b->io, io, ssl);
	b->io.conn = NULL;
	pn_record_count(PN_RECORD_C_sessions_boringssl);
	return &b->base;
}

void pn_record_boringssl_set_sealed(struct pn_record *r, uint64_t count)
{
	bssl_of(r)->sealed = count;
}
