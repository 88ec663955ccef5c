/* SPDX-License-Identifier: ISC */
/*
 * dsn.c - delivery status notifications: what people read, what programs read, and the original's
 * header or all of it.
 *
 * RFC 3464 in multipart/report (RFC 6522). As soon as an address is not ASCII the UTF-8 types of
 * RFC 6533 are used. Everything that came from a peer is filtered here once more: neither a reply
 * nor an ENVID can begin a line of its own. The boundary is made from the report's random id, so an
 * original cannot contain it but by a lucky guess.
 */
#include <postern/smtp/dsn.h>

#include <postern/base/clock.h>
#include <postern/base/codec.h>

#define WRAP_AT 76
/*
 * Of an ENVID (RFC 3461 4.4: 100) or an ORCPT (500) as we decode it; longer ones are given as they
 * came.
 */
#define XTEXT_MAX 512

struct dsn_writer {
	struct pn_buf *out;
	int rc;       /* the first failure */
	bool is_utf8; /* UTF-8 may be written */
};

static void put(struct dsn_writer *w, struct pn_slice s)
{
	if (w->rc == 0)
		w->rc = pn_buf_append_slice(w->out, s);
}

static void put_str(struct dsn_writer *w, const char *s)
{
	put(w, pn_slice_str(s));
}

/* Text of a peer: one line, no controls, UTF-8 only where it may be. */
static void put_clean(struct dsn_writer *w, struct pn_slice s)
{
	for (size_t i = 0; i < s.len;) {
		size_t n = i;

		while (n < s.len && s.ptr[n] >= 0x20 && s.ptr[n] != 0x7f &&
		       (w->is_utf8 || s.ptr[n] < 0x80))
			n++;
		put(w, pn_slice(s.ptr + i, n - i));
		if (n < s.len)
			put_str(w, "?");
		i = n + 1;
	}
}

/*
 * Words, folded at WRAP_AT with `indent` before each further line; `column` is where the line
 * stands.
 */
static void put_words(struct dsn_writer *w, struct pn_slice text, const char *indent, size_t column)
{
	bool is_first = true;

	while (text.len != 0) {
		const uint8_t *blank = memchr(text.ptr, ' ', text.len);
		size_t n = blank ? (size_t)(blank - text.ptr) : text.len;

		if (!is_first && column + 1 + n > WRAP_AT) {
			put_str(w, "\r\n");
			put_str(w, indent);
			column = strlen(indent);
		} else if (!is_first) {
			put_str(w, " ");
			column++;
		}
		is_first = false;
		put_clean(w, pn_slice(text.ptr, n));
		column += n;
		pn_slice_advance(&text, n);
		while (text.len != 0 && text.ptr[0] == ' ')
			pn_slice_advance(&text, 1);
	}
}

static void put_number(struct dsn_writer *w, unsigned int n)
{
	if (w->rc == 0)
		w->rc = pn_buf_printf(w->out, "%u", n);
}

static void put_status(struct dsn_writer *w, const uint16_t status[3])
{
	if (w->rc == 0)
		w->rc = pn_buf_printf(w->out, "%u.%u.%u", (unsigned int)status[0],
				      (unsigned int)status[1], (unsigned int)status[2]);
}

static void put_date_field(struct dsn_writer *w, const char *name, uint64_t wall_ms)
{
	char date[PN_DATE_RFC5322_SIZE];

	if (wall_ms == 0)
		return;
	put_str(w, name);
	put_str(w, ": ");
	put(w, pn_slice(date, pn_date_rfc5322(date, wall_ms)));
	put_str(w, "\r\n");
}

static void put_id(struct dsn_writer *w, const struct pn_id *id)
{
	char text[PN_ID_TEXT_LEN + 1];

	pn_id_format(text, id);
	put_str(w, text);
}

static void put_boundary(struct dsn_writer *w, const struct pn_dsn *d)
{
	put_str(w, "=_postern_");
	put_id(w, &d->report_id);
}

/* ---- what kind of report it is ---- */

/* RFC 6533 4: the UTF-8 types are needed. */
static bool is_international(const struct pn_dsn *d)
{
	if (pn_slice_has_8bit(d->envelope->reverse_path))
		return true;
	for (size_t i = 0; i < d->recipient_count; i++) {
		const struct pn_recipient *r = d->recipients[i].recipient;

		if (pn_slice_has_8bit(r->address) || pn_slice_has_8bit(r->orcpt))
			return true;
	}
	return false;
}

static bool is_original_8bit(const struct pn_dsn *d)
{
	return d->has_8bit_header || (d->is_full_content && d->has_8bit_body);
}

bool pn_dsn_is_8bit(const struct pn_dsn *d)
{
	return is_international(d) || is_original_8bit(d);
}

static size_t count_action(const struct pn_dsn *d, enum pn_dsn_action action)
{
	size_t count = 0;

	for (size_t i = 0; i < d->recipient_count; i++)
		count += d->recipients[i].action == action;
	return count;
}

bool pn_dsn_is_wanted(const struct pn_envelope *e, const struct pn_recipient *r,
		      enum pn_dsn_action action)
{
	/* RFC 3461 5.2, RFC 5321 6.1: nobody to tell, and never a report about a report. */
	if (e->reverse_path.len == 0 || (r->notify & PN_DSN_NOTIFY_NEVER))
		return false;
	switch (action) {
	case PN_DSN_FAILED:
		return r->notify == 0 || (r->notify & PN_DSN_NOTIFY_FAILURE);
	case PN_DSN_DELAYED:
		return r->notify == 0 || (r->notify & PN_DSN_NOTIFY_DELAY);
	case PN_DSN_DELIVERED:
	case PN_DSN_RELAYED:
		return r->notify & PN_DSN_NOTIFY_SUCCESS;
	}
	return false;
}

/* ---- the header of the report ---- */

static const char *subject(const struct pn_dsn *d)
{
	if (count_action(d, PN_DSN_FAILED))
		return "Undelivered mail returned to sender";
	if (count_action(d, PN_DSN_DELAYED))
		return "Delayed mail (still being tried)";
	return "Mail delivery report";
}

static void put_header(struct dsn_writer *w, const struct pn_dsn *d)
{
	put_date_field(w, "Date", d->now_wall_ms);
	put_str(w, "From: Mail Delivery System <");
	put_str(w, d->postmaster);
	put_str(w, ">\r\nTo: <");
	put_clean(w, d->envelope->reverse_path);
	put_str(w, ">\r\nSubject: ");
	put_str(w, subject(d));
	put_str(w, "\r\nMessage-ID: <");
	put_id(w, &d->report_id);
	put_str(w, "@");
	put_str(w, d->hostname);
	/* RFC 3834 5: no automatic answer to this one. */
	put_str(w, ">\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
	put_str(w, "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"");
	put_boundary(w, d);
	put_str(w, "\"\r\n");
	if (pn_dsn_is_8bit(d))
		put_str(w, "Content-Transfer-Encoding: 8bit\r\n");
	put_str(w, "\r\nThis is a delivery status notification in MIME format.\r\n");
}

/* Begins a body part. `description` is for programs that show parts by name. */
static void put_part(struct dsn_writer *w, const struct pn_dsn *d, const char *type,
		     const char *description, bool is_8bit)
{
	put_str(w, "\r\n--");
	put_boundary(w, d);
	put_str(w, "\r\nContent-Type: ");
	put_str(w, type);
	put_str(w, "\r\nContent-Description: ");
	put_str(w, description);
	put_str(w, is_8bit ? "\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" : "\r\n\r\n");
}

/* ---- the part for people ---- */

/* "550 5.1.1 No such user" */
static void put_reply(struct dsn_writer *w, const struct pn_smtp_reply_info *reply,
		      const char *indent, size_t column)
{
	put_number(w, reply->code);
	column += 4;
	if (reply->enhanced[0] != 0) {
		put_str(w, " ");
		put_status(w, reply->enhanced);
		column += 8;
	}
	if (reply->text.len == 0)
		return;
	put_str(w, " ");
	put_words(w, reply->text, indent, column);
}

static void put_text_recipient(struct dsn_writer *w, const struct pn_dsn_recipient *r)
{
	put_str(w, "\r\n<");
	put_clean(w, r->recipient->address);
	put_str(w, ">\r\n");
	if (r->reply.code != 0) {
		put_str(w, "    ");
		if (r->remote_mta.len != 0) {
			put_clean(w, r->remote_mta);
			put_str(w, " said:\r\n    ");
		}
		put_reply(w, &r->reply, "    ", 4);
		put_str(w, "\r\n");
	} else if (r->reply.text.len != 0) {
		put_str(w, "    ");
		put_words(w, r->reply.text, "    ", 4);
		put_str(w, "\r\n");
	}
	if (r->action == PN_DSN_DELAYED)
		put_date_field(w, "    Will be tried until", r->will_retry_until_wall_ms);
}

static void put_text_group(struct dsn_writer *w, const struct pn_dsn *d, enum pn_dsn_action action,
			   const char *intro)
{
	if (count_action(d, action) == 0)
		return;
	put_str(w, "\r\n");
	put_str(w, intro);
	for (size_t i = 0; i < d->recipient_count; i++) {
		if (d->recipients[i].action == action)
			put_text_recipient(w, &d->recipients[i]);
	}
}

static void put_text(struct dsn_writer *w, const struct pn_dsn *d)
{
	put_part(w, d, w->is_utf8 ? "text/plain; charset=utf-8" : "text/plain; charset=us-ascii",
		 "Notification", w->is_utf8);
	put_str(w, "This is the mail system at ");
	put_str(w, d->hostname);
	put_str(w, ".\r\n");
	put_text_group(
		w, d, PN_DSN_FAILED,
		"Your message could not be delivered to the following recipients, and it will\r\n"
		"not be tried again. The reason stands below each address.\r\n");
	put_text_group(
		w, d, PN_DSN_DELAYED,
		"Your message has not been delivered to the following recipients yet. It is\r\n"
		"still being tried; you need not send it again.\r\n");
	put_text_group(w, d, PN_DSN_DELIVERED,
		       "Your message was delivered to the following recipients.\r\n");
	put_text_group(
		w, d, PN_DSN_RELAYED,
		"Your message was handed to the next mail system for the following recipients.\r\n"
		"That system does not promise to report the final delivery.\r\n");
	put_str(w, "\r\nThe message has the queue id ");
	put_id(w, &d->envelope->id);
	put_str(w, ".\r\n");
}

/* ---- the part for programs ---- */

static bool is_printable(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i] < 0x20 || p[i] > 0x7e)
			return false;
	}
	return true;
}

/*
 * RFC 3464 2.2.1, 2.3.1: without the xtext encoding; what decodes to anything but printable ASCII
 * stays as it came.
 */
static void put_xtext(struct dsn_writer *w, struct pn_slice xtext)
{
	uint8_t decoded[XTEXT_MAX];
	ptrdiff_t n = xtext.len <= sizeof(decoded) ? pn_xtext_decode(decoded, xtext) : -1;

	if (n > 0 && is_printable(decoded, (size_t)n))
		put(w, pn_slice(decoded, (size_t)n));
	else
		put_clean(w, xtext);
}

static size_t utf8_encode(uint8_t out[4], uint32_t point)
{
	if (point < 0x80) {
		out[0] = (uint8_t)point;
		return 1;
	}
	if (point < 0x800) {
		out[0] = (uint8_t)(0xc0 | point >> 6);
		out[1] = (uint8_t)(0x80 | (point & 0x3f));
		return 2;
	}
	if (point < 0x10000) {
		out[0] = (uint8_t)(0xe0 | point >> 12);
		out[1] = (uint8_t)(0x80 | (point >> 6 & 0x3f));
		out[2] = (uint8_t)(0x80 | (point & 0x3f));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | point >> 18);
	out[1] = (uint8_t)(0x80 | (point >> 12 & 0x3f));
	out[2] = (uint8_t)(0x80 | (point >> 6 & 0x3f));
	out[3] = (uint8_t)(0x80 | (point & 0x3f));
	return 4;
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/*
 * RFC 6533 3: takes "\x{HEXPOINT}" off the front of *s. Returns false when there is none, or when
 * it names no character that may stand in a field.
 */
static bool take_embedded(struct pn_slice *s, uint32_t *ret_point)
{
	uint32_t point = 0;
	size_t n = 3;

	if (s->len < 6 || memcmp(s->ptr, "\\x{", 3) != 0)
		return false;
	while (n < s->len && n < 9 && hex_digit(s->ptr[n]) >= 0)
		point = point << 4 | (uint32_t)hex_digit(s->ptr[n++]);
	if (n < 5 || n == s->len || s->ptr[n] != '}' || point < 0x20 ||
	    (point >= 0x7f && point < 0xa0))
		return false;
	pn_slice_advance(s, n + 1);
	*ret_point = point;
	return true;
}

/*
 * RFC 6533 4.1: the 7-bit form is converted to UTF-8; what is not well-formed is copied without
 * alteration.
 */
static void put_utf8_address(struct dsn_writer *w, struct pn_slice address)
{
	uint8_t plain[XTEXT_MAX];
	struct pn_slice rest = address;
	uint32_t point;
	size_t n = 0;

	while (rest.len != 0 && address.len <= sizeof(plain)) {
		if (take_embedded(&rest, &point)) {
			n += utf8_encode(plain + n, point);
		} else {
			plain[n++] = rest.ptr[0];
			pn_slice_advance(&rest, 1);
		}
	}
	if (n != 0 && pn_utf8_is_valid(pn_slice(plain, n)))
		put_clean(w, pn_slice(plain, n));
	else
		put_clean(w, address);
}

static void put_original_recipient(struct dsn_writer *w, struct pn_slice orcpt)
{
	const uint8_t *semicolon = orcpt.len ? memchr(orcpt.ptr, ';', orcpt.len) : NULL;
	struct pn_slice type, address;

	if (!semicolon)
		return;
	type = pn_slice(orcpt.ptr, (size_t)(semicolon - orcpt.ptr));
	address = pn_slice(semicolon + 1, orcpt.len - type.len - 1);
	put_str(w, "Original-Recipient: ");
	put_clean(w, type);
	put_str(w, ";");
	if (!pn_slice_eq_nocase(type, PN_SLICE_LIT("utf-8")))
		put_xtext(w, address);
	else if (w->is_utf8)
		put_utf8_address(w, address);
	else
		put_clean(w, address);
	put_str(w, "\r\n");
}

static void put_diagnostic(struct dsn_writer *w, const struct pn_smtp_reply_info *reply)
{
	if (reply->code != 0) {
		put_str(w, "Diagnostic-Code: smtp; ");
		put_reply(w, reply, " ", 23);
	} else if (reply->text.len != 0) {
		put_str(w, "Diagnostic-Code: X-Postern; ");
		put_words(w, reply->text, " ", 28);
	} else {
		return;
	}
	put_str(w, "\r\n");
}

/* RFC 3464 2.3, in its order. */
static void put_recipient_fields(struct dsn_writer *w, const struct pn_dsn_recipient *r)
{
	static const char *const actions[] = { [PN_DSN_FAILED] = "failed",
					       [PN_DSN_DELAYED] = "delayed",
					       [PN_DSN_DELIVERED] = "delivered",
					       [PN_DSN_RELAYED] = "relayed" };

	put_str(w, "\r\n");
	put_original_recipient(w, r->recipient->orcpt);
	put_str(w, pn_slice_has_8bit(r->recipient->address) ? "Final-Recipient: utf-8;"
							    : "Final-Recipient: rfc822;");
	put_clean(w, r->recipient->address);
	put_str(w, "\r\nAction: ");
	put_str(w, actions[r->action]);
	put_str(w, "\r\nStatus: ");
	put_status(w, r->status);
	put_str(w, "\r\n");
	if (r->remote_mta.len != 0) {
		put_str(w, "Remote-MTA: dns; ");
		put_clean(w, r->remote_mta);
		put_str(w, "\r\n");
	}
	put_diagnostic(w, &r->reply);
	put_date_field(w, "Last-Attempt-Date", r->last_attempt_wall_ms);
	if (r->action == PN_DSN_DELAYED)
		put_date_field(w, "Will-Retry-Until", r->will_retry_until_wall_ms);
}

static void put_delivery_status(struct dsn_writer *w, const struct pn_dsn *d)
{
	put_part(w, d, w->is_utf8 ? "message/global-delivery-status" : "message/delivery-status",
		 "Delivery report", w->is_utf8);
	/* RFC 3464 2.2 */
	if (d->envelope->dsn_envid.len != 0) {
		put_str(w, "Original-Envelope-Id: ");
		put_xtext(w, d->envelope->dsn_envid);
		put_str(w, "\r\n");
	}
	put_str(w, "Reporting-MTA: dns; ");
	put_str(w, d->hostname);
	put_str(w, "\r\n");
	put_date_field(w, "Arrival-Date", d->envelope->received_wall_ms);
	for (size_t i = 0; i < d->recipient_count; i++)
		put_recipient_fields(w, &d->recipients[i]);
}

/* ---- the original ---- */

static void put_original_part(struct dsn_writer *w, const struct pn_dsn *d)
{
	/* RFC 6532 3.7: message/rfc822 and text/rfc822-headers may have no 8-bit header. */
	bool is_global = w->is_utf8 || d->has_8bit_header, is_8bit = is_original_8bit(d);

	if (d->is_full_content)
		put_part(w, d, is_global ? "message/global" : "message/rfc822",
			 "Undelivered message", is_8bit);
	else
		put_part(w, d, is_global ? "message/global-headers" : "text/rfc822-headers",
			 "Header of the message", is_8bit);
}

int pn_dsn_begin(const struct pn_dsn *d, struct pn_buf *out)
{
	struct dsn_writer w = { .out = out, .is_utf8 = is_international(d) };
	size_t before = pn_buf_len(out);

	put_header(&w, d);
	put_text(&w, d);
	put_delivery_status(&w, d);
	put_original_part(&w, d);
	if (w.rc)
		out->tail -= pn_buf_len(out) - before;
	return w.rc;
}

int pn_dsn_end(const struct pn_dsn *d, struct pn_buf *out)
{
	struct dsn_writer w = { .out = out };
	size_t before = pn_buf_len(out);

	put_str(&w, "\r\n--");
	put_boundary(&w, d);
	put_str(&w, "--\r\n");
	if (w.rc)
		out->tail -= pn_buf_len(out) - before;
	return w.rc;
}
