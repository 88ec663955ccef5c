/* SPDX-License-Identifier: ISC */
/*
 * client_body.c - puts the content on the wire: dot-stuffed behind DATA, as it is behind BDAT.
 *
 * RFC 5321 4.5.2. A dot is doubled at the start and after every LF, whether or not a CR stands
 * before it: should a bare LF ever get here, it still cannot become an end of message anywhere. All
 * of a piece is appended, or nothing.
 */
#include <errno.h>

#include "client_internal.h"
#include "scan.h"

static int append_stuffed(struct pn_buf *out, struct pn_slice content, uint8_t last)
{
	while (content.len != 0) {
		size_t n = pn_scan_best->line_dot(content.ptr, content.len, last == '\n');
		int rc = pn_buf_append(out, content.ptr, n);

		if (rc)
			return rc;
		if (n == content.len)
			break;
		rc = pn_buf_append(out, "..", 2);
		if (rc)
			return rc;
		pn_slice_advance(&content, n + 1);
		last = '.';
	}
	return 0;
}

bool pn_smtp_client_is_verbatim(struct pn_smtp_client *c)
{
	return c->phase == CLIENT_TRANSACTION && pn_client_newest(c)->body == CLIENT_BODY_OPEN &&
	       pn_client_newest(c)->is_chunked;
}

int pn_smtp_client_body_sent(struct pn_smtp_client *c, size_t len)
{
	struct client_tx *tx = pn_client_newest(c);

	PN_ASSERT(pn_smtp_client_is_verbatim(c));
	if (len > tx->chunk_left_bytes) {
		pn_client_fail_local(c, "more content than announced");
		return -EINVAL;
	}
	tx->chunk_left_bytes -= len;
	return 0;
}

static int append_chunk(struct pn_smtp_client *c, struct pn_slice content, struct pn_buf *out)
{
	size_t before = pn_buf_len(out);
	int rc = pn_buf_append_slice(out, content);

	if (rc == 0)
		rc = pn_smtp_client_body_sent(c, content.len);
	if (rc == -EINVAL)
		pn_client_out_rollback(out, before);
	return rc;
}

int pn_smtp_client_body(struct pn_smtp_client *c, struct pn_slice content, struct pn_buf *out)
{
	size_t before = pn_buf_len(out);
	struct client_tx *tx;
	int rc;

	if (c->phase != CLIENT_TRANSACTION)
		return 0;
	tx = pn_client_newest(c);
	PN_ASSERT(tx->body == CLIENT_BODY_OPEN);
	if (content.len == 0)
		return 0;
	if (tx->is_chunked)
		return append_chunk(c, content, out);
	rc = pn_buf_reserve(out, content.len);
	if (rc == 0)
		rc = append_stuffed(out, content, tx->body_last);
	if (rc)
		pn_client_out_rollback(out, before);
	else
		tx->body_last = content.ptr[content.len - 1];
	return rc;
}

int pn_smtp_client_body_end(struct pn_smtp_client *c, struct pn_buf *out)
{
	struct client_tx *tx;
	const char *end;
	int rc;

	if (c->phase != CLIENT_TRANSACTION)
		return 0;
	tx = pn_client_newest(c);
	PN_ASSERT(tx->body == CLIENT_BODY_OPEN);
	if (tx->is_chunked) {
		if (tx->chunk_left_bytes != 0) {
			pn_client_fail_local(c, "less content than announced");
			return -EINVAL;
		}
		tx->body = CLIENT_BODY_ENDED;
		return 0;
	}
	end = tx->body_last == '\n' ? ".\r\n" : tx->body_last == '\r' ? "\n.\r\n" : "\r\n.\r\n";
	rc = pn_buf_append_str(out, end);
	if (rc == 0)
		tx->body = CLIENT_BODY_ENDED;
	return rc;
}
