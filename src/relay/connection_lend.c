/* SPDX-License-Identifier: ISC */
/*
 * connection_lend.c - large content goes to the socket from where it lies in memory, without a copy.
 *
 * Only where nothing protects or changes it: no TLS in user space, and BDAT. The order on the wire is `wire`, `next`,
 * what is lent, `plain`: so `plain` waits while something is lent, and nothing is lent behind octets in `plain` once
 * something is. The blob is held until the kernel is done with its octets, whatever becomes of the job.
 */
#include <errno.h>

#include "connection.h"
#include "worker.h"

/* A piece smaller than this is copied: that is cheaper than a vector, and lets others go with it. */
#define CONN_LEND_MIN_BYTES (8u << 10)

/* Of a message like this the greater part is lent, if it is in memory. */
#define CONN_LEND_FROM_BYTES (32u << 10)

static bool conn_can_lend(const struct pn_conn *conn)
{
	return conn->record && conn->record->ops->is_clear && conn->state == PN_CONN_BUSY &&
	       !conn->record->wants_quiet && pn_smtp_client_is_verbatim(conn->client);
}

bool pn_conn_will_lend(const struct pn_conn *conn, uint64_t size_bytes)
{
	return size_bytes >= CONN_LEND_FROM_BYTES && conn_can_lend(conn);
}

int pn_conn_lend(struct pn_conn *conn, struct pn_slice content, const struct pn_spool_reader *reader)
{
	if (content.len < CONN_LEND_MIN_BYTES || !conn_can_lend(conn))
		return -EOPNOTSUPP;
	/* What is lent is about to be sent, so somebody is woken: then it goes on. */
	if (conn->is_lent_flying || conn->lent_count == PN_CONN_LENT_MAX ||
	    (conn->lent_count > 0 && pn_buf_len(&conn->plain) > 0))
		return -ENOBUFS;
	struct pn_spool_blob *blob = pn_spool_reader_hold_piece(reader);
	if (!blob)
		return -EOPNOTSUPP;
	while (pn_buf_len(&conn->plain) > 0) {
		if (pn_record_seal_buf(conn->record, &conn->plain, SIZE_MAX, &conn->next) != PN_RECORD_OK) {
			pn_spool_blob_release(blob);
			return -ENOMEM;
		}
	}
	int rc = pn_smtp_client_body_sent(conn->client, content.len);
	if (rc < 0 || conn->lent_blob) {
		PN_ASSERT(rc < 0 || conn->lent_blob == blob);
		pn_spool_blob_release(blob);
	} else {
		conn->lent_blob = blob;
	}
	if (rc < 0)
		return rc;
	conn->lent[conn->lent_count++] = content;
	conn->lent_bytes += content.len;
	pn_pool_count(conn->pool, PN_UPSTREAM_C_bytes_lent, content.len);
	pn_conn_flush_later(conn);
	return 0;
}

static struct iovec vector_of(struct pn_slice octets)
{
	/* sendmsg does not change what it reads */
	return (struct iovec){.iov_base = (void *)(uintptr_t)octets.ptr, .iov_len = octets.len};
}

void pn_conn_lent_vector(struct pn_conn *conn)
{
	size_t count = 0;
	if (pn_buf_len(&conn->wire) > 0)
		conn->iov[count++] = vector_of(pn_slice(pn_buf_ptr(&conn->wire), pn_buf_len(&conn->wire)));
	for (unsigned i = conn->lent_first; i < conn->lent_count; i++)
		conn->iov[count++] = vector_of(conn->lent[i]);
	conn->msg = (struct msghdr){.msg_iov = conn->iov, .msg_iovlen = count};
}

void pn_conn_lent_sent(struct pn_conn *conn, size_t len)
{
	while (len > 0) {
		PN_ASSERT(conn->lent_first < conn->lent_count);
		struct pn_slice *piece = &conn->lent[conn->lent_first];
		size_t n = pn_min_size(len, piece->len);
		pn_slice_advance(piece, n);
		conn->lent_bytes -= n;
		len -= n;
		if (piece->len == 0)
			conn->lent_first++;
	}
	if (conn->lent_count > 0 && conn->lent_first == conn->lent_count)
		pn_conn_lent_drop(conn);
}

void pn_conn_lent_drop(struct pn_conn *conn)
{
	pn_spool_blob_release(conn->lent_blob);
	conn->lent_blob = NULL;
	conn->lent_first = conn->lent_count = 0;
	conn->lent_bytes = 0;
	conn->is_lent_flying = false;
}
