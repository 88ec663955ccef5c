/* SPDX-License-Identifier: ISC */
/*
 * client_body.c - puts the content on the wire: dot-stuffed behind DATA, as it is behind BDAT.
 *
 * RFC 5321 4.5.2. A dot is doubled at the start and after every LF, whether or not a CR stands
 * before it: should a bare LF ever get here, it still cannot become an end of message anywhere. All
 * of a piece is appended, or nothing.
 */
#include <errno.h>

#include "block.h"
#include "client_internal.h"

/* Where the first dot stands that begins a line, or len. */
static size_t find_line_dot(const uint8_t *p, size_t len, bool is_after_lf)
{
	uint64_t after_lf = is_after_lf, lf, dots;
	struct pn_block b;
	size_t at = 0;

	for (; len - at >= PN_BLOCK_SIZE; at += PN_BLOCK_SIZE) {
		b = pn_block_load(p + at);
		lf = pn_block_eq(&b, '\n');
		dots = pn_block_eq(&b, '.') & (lf << 1 | after_lf);
		if (dots != 0)
			return at + (size_t)__builtin_ctzll(dots);
		after_lf = lf >> 63;
	}
	b = pn_block_load_tail(p + at, len - at, 'a');
	dots = pn_block_eq(&b, '.') & (pn_block_eq(&b, '\n') << 1 | after_lf);
	return dots ? at + (size_t)__builtin_ctzll(dots) : len;
}

static int append_stuffed(struct pn_buf *out, struct pn_slice content, uint8_t last)
{
	while (content.len != 0) {
		size_t n = find_line_dot(content.ptr, content.len, last == '\n');
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

static int append_chunk(struct pn_smtp_client *c, struct pn_slice content, struct pn_buf *out)
{
	struct client_tx *tx = pn_client_newest(c);
	int rc;

	if (content.len > tx->chunk_left_bytes) {
		pn_client_fail_local(c, "more content than announced");
		return -EINVAL;
	}
	rc = pn_buf_append_slice(out, content);
	if (rc == 0)
		tx->chunk_left_bytes -= content.len;
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
