/* SPDX-License-Identifier: ISC */
/*
 * trace.c - what the gateway adds to a message and takes out of it: Received, Date, Message-ID,
 * Bcc.
 *
 * It only plans: the edits are stored beside the untouched content and applied while the message is
 * sent. All text of the peer that gets into Received passes through the grammar here (domain,
 * address literal), so nothing can break out of the field.
 */
#include <postern/base/clock.h>
#include <postern/smtp/content.h>

/*
 * The pieces are bounded, together below this: two domains of 255, an address, a suite, a group, an
 * id, a date.
 */
#define RECEIVED_SIZE 1024
#define DOMAIN_MAX    255
#define FOLD_AT       78

struct trace_writer {
	char text[RECEIVED_SIZE];
	size_t len;
	size_t line_start;
};

static void put(struct trace_writer *w, struct pn_slice s)
{
	PN_ASSERT(s.len <= sizeof(w->text) - w->len);
	if (s.len != 0)
		memcpy(w->text + w->len, s.ptr, s.len);
	w->len += s.len;
}

static void put_str(struct trace_writer *w, const char *s)
{
	put(w, pn_slice_str(s));
}

static void put_fold(struct trace_writer *w)
{
	put_str(w, "\r\n\t");
	w->line_start = w->len - 1;
}

/*
 * Begins a piece of `len` octets: a blank, or a folded line when it would not fit any more. A tab
 * is counted as one column.
 */
static void put_gap(struct trace_writer *w, size_t len)
{
	char before = w->text[w->len - 1];

	if (before == '\t')
		return;
	if (w->len - w->line_start + 1 + len > FOLD_AT)
		put_fold(w);
	else
		put_str(w, " ");
}

/* "keyword value", kept on one line where that is possible. */
static void put_clause(struct trace_writer *w, const char *keyword, struct pn_slice value)
{
	put_gap(w, strlen(keyword) + 1 + value.len);
	put_str(w, keyword);
	put_str(w, " ");
	put(w, value);
}

static bool is_let_dig(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* RFC 5321 4.1.2 Domain: labels of letters, digits and inner hyphens. */
static bool is_domain(struct pn_slice s)
{
	uint8_t before = '.';

	if (s.len == 0 || s.len > DOMAIN_MAX)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.ptr[i];

		if (c == '.' ? !is_let_dig(before) : c == '-' ? before == '.' : !is_let_dig(c))
			return false;
		before = c;
	}
	return is_let_dig(before);
}

/*
 * The octets that IPv4 and IPv6 address literals are made of; the exact form was checked at EHLO,
 * or is nobody's business.
 */
static bool is_address(struct pn_slice s)
{
	if (s.len < 2 || s.len > 45)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.ptr[i];

		if (!is_let_dig(c) && c != ':' && c != '.')
			return false;
	}
	return true;
}

static bool is_address_literal(struct pn_slice s)
{
	if (s.len < 4 || s.ptr[0] != '[' || s.ptr[s.len - 1] != ']')
		return false;
	return is_address(pn_slice(s.ptr + 1, s.len - 2));
}

/*
 * RFC 5321 4.4 From-domain; a literal may only stand there when TCP-info follows. Returns the
 * length written to out[DOMAIN_MAX].
 */
static size_t sanitise_helo(char *out, struct pn_slice helo, bool may_be_literal)
{
	static const char unknown[] = "unknown";

	if (may_be_literal && is_address_literal(helo)) {
		memcpy(out, helo.ptr, helo.len);
		return helo.len;
	}
	for (size_t i = 0; i < helo.len && i < DOMAIN_MAX; i++)
		out[i] = is_let_dig(helo.ptr[i]) || helo.ptr[i] == '.' ? (char)helo.ptr[i] : '-';
	if (is_domain(pn_slice(out, pn_min_size(helo.len, DOMAIN_MAX))))
		return pn_min_size(helo.len, DOMAIN_MAX);
	memcpy(out, unknown, sizeof(unknown) - 1);
	return sizeof(unknown) - 1;
}

/*
 * RFC 5321 4.1.3: [192.0.2.1] or [IPv6:2001:db8::1]; an IPv4 client on a dual-stack socket is an
 * IPv4 client.
 */
static void put_tcp_info(struct trace_writer *w, struct pn_slice address)
{
	static const char mapped[] = "::ffff:";
	bool has_dot = memchr(address.ptr, '.', address.len) != NULL;

	if (has_dot && pn_slice_starts_nocase(address, pn_slice_str(mapped)))
		pn_slice_advance(&address, sizeof(mapped) - 1);
	put_gap(w, address.len + 9);
	put_str(w, memchr(address.ptr, ':', address.len) ? "([IPv6:" : "([");
	put(w, address);
	put_str(w, "])");
}

static void put_from(struct trace_writer *w, const struct pn_trace *t)
{
	const struct pn_envelope *e = t->envelope;
	bool has_address = t->has_client_address && is_address(e->client_address);
	char helo[DOMAIN_MAX];
	size_t len = sanitise_helo(helo, e->helo, has_address);

	put_clause(w, "from", pn_slice(helo, len));
	if (has_address)
		put_tcp_info(w, e->client_address);
}

/* RFC 3848, RFC 6531 4.3: the registered names. HELO has no extensions and no variants. */
static const char *with_protocol(const struct pn_trace *t)
{
	static const char *const names[2][4] = {
		{ "ESMTP", "ESMTPA", "ESMTPS", "ESMTPSA" },
		{ "UTF8SMTP", "UTF8SMTPA", "UTF8SMTPS", "UTF8SMTPSA" },
	};
	const struct pn_envelope *e = t->envelope;
	bool is_tls = e->tls_suite.len != 0 || e->tls_version != 0;

	if (!t->is_ehlo)
		return "SMTP";
	return names[e->is_smtputf8][(is_tls ? 2 : 0) + (e->user.len != 0 ? 1 : 0)];
}

/*
 * RFC 8314 4.3: letters, digits, "_" and in groups "-", beginning with a letter; or 0x and four
 * digits, which fit as well.
 */
static bool is_tls_name(struct pn_slice s)
{
	if (s.len == 0 || s.len > 64)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (!is_let_dig(s.ptr[i]) && s.ptr[i] != '_' && s.ptr[i] != '-')
			return false;
	}
	return true;
}

static void put_tls(struct trace_writer *w, const struct pn_trace *t)
{
	struct pn_slice group = pn_slice_str(t->tls_group);

	if (!is_tls_name(t->envelope->tls_suite))
		return;
	put_fold(w);
	put_clause(w, "tls", t->envelope->tls_suite);
	if (is_tls_name(group))
		put_clause(w, "group", group);
}

static void write_received(struct trace_writer *w, const struct pn_trace *t)
{
	struct pn_slice host = pn_slice_str(t->hostname);
	char id[PN_ID_TEXT_LEN + 1], date[PN_DATE_RFC5322_SIZE];
	size_t date_len = pn_date_rfc5322(date, t->envelope->received_wall_ms);

	/*
	 * RFC 5321 4.4: FROM, BY, WITH, ID, then registered clauses, then the date. FOR is left
	 * out: it could tell of other recipients.
	 */
	put_str(w, "Received:");
	put_from(w, t);
	put_fold(w);
	host.len = pn_min_size(host.len, DOMAIN_MAX);
	put_clause(w, "by", host);
	put_clause(w, "with", pn_slice_str(with_protocol(t)));
	pn_id_format(id, &t->envelope->id);
	put_clause(w, "id", pn_slice(id, PN_ID_TEXT_LEN));
	put_tls(w, t);
	put_str(w, ";");
	put_fold(w);
	put(w, pn_slice(date, date_len));
	put_str(w, "\r\n");
}

static int plan_insert(struct pn_edit_list *l, struct pn_arena *a, uint64_t at,
		       const struct trace_writer *w)
{
	return w->len == 0 ? 0 : pn_edit_insert(l, a, at, pn_slice(w->text, w->len));
}

/* RFC 6409 8.2, 8.3: Date and Message-ID when missing, behind the sender's own fields. */
static void write_missing(struct trace_writer *w, const struct pn_content_scan *s,
			  const struct pn_trace *t)
{
	const struct pn_content_range *last_bcc = s->bcc_count ? &s->bcc[s->bcc_count - 1] : NULL;
	bool is_cut_off = s->header_end == s->facts.size_bytes && !s->facts.has_final_crlf;
	char id[PN_ID_TEXT_LEN + 1], date[PN_DATE_RFC5322_SIZE];

	if (s->has_date && s->has_message_id)
		return;
	/*
	 * A BDAT message may end inside its last field; unless that one goes away, it needs its end
	 * now.
	 */
	if (is_cut_off && (!last_bcc || last_bcc->at + last_bcc->len != s->header_end))
		put_str(w, "\r\n");
	if (!s->has_date) {
		size_t len = pn_date_rfc5322(date, t->envelope->received_wall_ms);

		put_str(w, "Date: ");
		put(w, pn_slice(date, len));
		put_str(w, "\r\n");
	}
	if (!s->has_message_id) {
		struct pn_slice host = pn_slice_str(t->hostname);

		pn_id_format(id, &t->envelope->id);
		put_str(w, "Message-ID: <");
		put_str(w, id);
		put_str(w, "@");
		put(w, pn_slice(host.ptr, pn_min_size(host.len, DOMAIN_MAX)));
		put_str(w, ">\r\n");
	}
	/* Without it the first body line would be read as part of the header (RFC 5322 2.1). */
	if (!s->has_header_end && (s->header_end == 0 || s->header_end < s->facts.size_bytes))
		put_str(w, "\r\n");
}

int pn_content_plan_edits(const struct pn_content_scan *s, const struct pn_trace *t,
			  struct pn_arena *a, struct pn_edit_list *ret)
{
	struct trace_writer received = { .len = 0 }, missing = { .len = 0 };
	int rc;

	*ret = (struct pn_edit_list){ 0 };
	write_received(&received, t);
	rc = plan_insert(ret, a, 0, &received);
	for (uint32_t i = 0; i < s->bcc_count && rc == 0; i++)
		rc = pn_edit_delete(ret, a, s->bcc[i].at, s->bcc[i].len);
	if (rc)
		return rc;
	write_missing(&missing, s, t);
	return plan_insert(ret, a, s->header_end, &missing);
}
