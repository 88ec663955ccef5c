/* SPDX-License-Identifier: ISC */
/*
 * server_line.c - cuts the input into lines.
 *
 * Only CRLF ends a line (RFC 5321 2.3.8). A line that lies whole in the input is used in place; only a line
 * that came in pieces is copied. A line over its limit is thrown away while it comes, so an endless one costs
 * no memory; where that becomes too much the session ends. The outcome depends on the octets alone, not on how
 * they were cut: every decision is made from the count of octets seen of the line.
 */
#include "server_internal.h"

/* Returns the length up to and with the first CRLF, or 0. `has_cr`: the octet before `in` was CR. */
static size_t find_line_end(struct pn_slice in, bool has_cr)
{
	if (in.len > 0 && has_cr && in.ptr[0] == '\n')
		return 1;
	for (size_t from = 0; from < in.len;) {
		const uint8_t *lf = memchr(in.ptr + from, '\n', in.len - from);
		if (!lf)
			return 0;
		from = (size_t)(lf - in.ptr) + 1;
		if (lf > in.ptr && lf[-1] == '\r')
			return from;
	}
	return 0;
}

static uint8_t line_octet(const struct pn_buf *held, struct pn_slice in, size_t i)
{
	size_t held_len = pn_buf_len(held);

	return i < held_len ? pn_buf_ptr(held)[i] : in.ptr[i - held_len];
}

/* Whether what is known of the line belongs to AUTH: it has its own limit (RFC 4954 4) and is wiped. */
static bool line_is_auth(const struct pn_smtp_server *s, struct pn_slice in)
{
	static const char verb[] = "AUTH ";

	if (s->phase == PN_PHASE_AUTH)
		return true;
	if (pn_buf_len(&s->line) + in.len < sizeof(verb) - 1)
		return false;
	for (size_t i = 0; i < sizeof(verb) - 2; i++)
		if ((line_octet(&s->line, in, i) & 0xdf) != verb[i])
			return false;
	return line_octet(&s->line, in, sizeof(verb) - 2) == ' ';
}

static size_t line_limit(const struct pn_smtp_server *s, bool is_auth)
{
	const struct pn_smtp_limits *limits = &s->settings->limits;

	return is_auth ? limits->auth_line_max_bytes : limits->command_line_max_bytes;
}

static bool is_endless(uint64_t seen, size_t limit)
{
	return seen > (uint64_t)limit * PN_LINE_DISCARD_FACTOR;
}

/* Goes on throwing away an overlong line. */
static enum pn_line_status discard(struct pn_smtp_server *s, struct pn_slice *in, bool *ret_is_auth)
{
	size_t end = find_line_end(*in, s->has_line_cr);
	size_t used = end ? end : in->len;

	*ret_is_auth = s->is_line_auth;
	if (used == 0)
		return PN_LINE_MORE;
	s->line_seen_bytes += used;
	s->has_line_cr = in->ptr[used - 1] == '\r';
	pn_slice_advance(in, used);
	if (is_endless(s->line_seen_bytes, line_limit(s, s->is_line_auth)))
		return PN_LINE_ENDLESS;
	if (!end)
		return PN_LINE_MORE;
	s->is_line_overlong = s->is_line_auth = false;
	return PN_LINE_OVERLONG;
}

static void discard_begin(struct pn_smtp_server *s)
{
	s->has_line_cr = pn_buf_len(&s->line) > 0 && pn_buf_ptr(&s->line)[pn_buf_len(&s->line) - 1] == '\r';
	s->line_seen_bytes = pn_buf_len(&s->line);
	s->is_line_overlong = true;
	pn_buf_free(&s->line);
}

static enum pn_line_status hold(struct pn_smtp_server *s, struct pn_slice *in, size_t used)
{
	if (pn_buf_append(&s->line, in->ptr, used) != 0)
		return PN_LINE_MEMORY;
	pn_slice_advance(in, used);
	return PN_LINE_READY;
}

enum pn_line_status pn_srv_line_next(struct pn_smtp_server *s, struct pn_slice *in, struct pn_slice *ret_line,
				     bool *ret_is_auth)
{
	if (s->is_line_overlong)
		return discard(s, in, ret_is_auth);
	if (in->len == 0)
		return PN_LINE_MORE;

	size_t held = pn_buf_len(&s->line);
	size_t end = find_line_end(*in, held > 0 && pn_buf_ptr(&s->line)[held - 1] == '\r');
	size_t used = end ? end : in->len;
	s->is_line_auth = line_is_auth(s, *in);
	*ret_is_auth = s->is_line_auth;
	if (held + used > line_limit(s, s->is_line_auth)) {
		discard_begin(s);
		return discard(s, in, ret_is_auth);
	}
	if (end && held == 0) {
		*ret_line = pn_slice(in->ptr, end - 2);
		pn_slice_advance(in, end);
		return PN_LINE_READY;
	}
	enum pn_line_status status = hold(s, in, used);
	if (status != PN_LINE_READY)
		return status;
	*ret_line = pn_slice(pn_buf_ptr(&s->line), end ? pn_buf_len(&s->line) - 2 : 0);
	return end ? PN_LINE_READY : PN_LINE_MORE;
}

void pn_srv_line_done(struct pn_smtp_server *s)
{
	/* a secret buffer: it is wiped, also when it grew */
	pn_buf_free(&s->line);
	s->is_line_auth = false;
}
