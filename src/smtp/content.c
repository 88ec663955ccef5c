/* SPDX-License-Identifier: ISC */
/*
 * content.c - one look at the content while it streams by.
 *
 * Two walks over each run, both while it is hot in the cache: measure() finds line lengths and
 * 8-bit octets, 64 octets at a time (scan.h), in header and body alike; the header walk, which ends
 * with the header, knows field names. It judges only what the gateway must know (RFC 6409 8); MIME
 * and address syntax inside fields are nobody's business here.
 *
 * Problems carry their offset, so that the first one in the content is reported whatever the cuts
 * were.
 */
#include <postern/smtp/content.h>

#include <postern/base/slice.h>

#include "scan.h"

enum header_state {
	HEADER_LINE_START,
	HEADER_CR, /* CR as the first octet of a line */
	HEADER_NAME,
	HEADER_NAME_WSP, /* blanks between name and colon (RFC 5322 4.5, obsolete but seen) */
	HEADER_FIELD,    /* behind the colon, or in a continuation line */
	HEADER_OVER,
};

void pn_content_scan_init(struct pn_content_scan *s, uint64_t line_max, uint64_t header_max,
			  uint32_t received_max)
{
	*s = (struct pn_content_scan){
		.line_max_allowed_bytes = line_max ? line_max : UINT64_MAX,
		.header_max_allowed_bytes = header_max ? header_max : UINT64_MAX,
		.received_max_allowed = received_max ? received_max : UINT32_MAX,
		.problem_at = UINT64_MAX,
		.state = HEADER_LINE_START,
	};
}

static void note_problem(struct pn_content_scan *s, enum pn_content_problem problem, uint64_t at)
{
	if (at < s->problem_at) {
		s->problem = problem;
		s->problem_at = at;
	}
}

/* ---- line lengths and 8-bit octets ---- */

/* The line that began at s->line_start has `len` octets so far, without its CRLF. */
static inline void note_line(struct pn_content_scan *s, uint64_t len)
{
	if (len <= s->facts.line_max_bytes)
		return;
	s->facts.line_max_bytes = len;
	if (len > s->line_max_allowed_bytes)
		note_problem(s, PN_CONTENT_LINE_TOO_LONG,
			     s->line_start + s->line_max_allowed_bytes);
}

/*
 * Goes over `run`, which begins at the content's current end. Returns whether it has an 8-bit
 * octet.
 */
static bool measure(struct pn_content_scan *s, struct pn_slice run)
{
	const uint64_t base = s->facts.size_bytes;
	struct pn_line_walk walk = {
		.start = (int64_t)(s->line_start - base),
		.over_start = INT64_MAX,
		.max_bytes = s->facts.line_max_bytes,
		.limit_bytes = s->line_max_allowed_bytes,
	};
	bool has_8bit;

	if (run.len == 0)
		return false;
	has_8bit = pn_scan_best->measure(&walk, run.ptr, run.len, s->last);
	s->line_start = base + (uint64_t)walk.start;
	s->facts.line_max_bytes = walk.max_bytes;
	if (walk.over_start != INT64_MAX)
		note_problem(s, PN_CONTENT_LINE_TOO_LONG,
			     base + (uint64_t)walk.over_start + walk.limit_bytes);
	s->last = run.ptr[run.len - 1];
	s->facts.size_bytes = base + run.len;
	/*
	 * The line that is still open may be too long already; a CR at its end may yet prove to be
	 * half of its end.
	 */
	note_line(s, s->facts.size_bytes - s->line_start -
			     (s->facts.size_bytes > s->line_start && s->last == '\r'));
	return has_8bit;
}

/* ---- header fields ---- */

static void end_field(struct pn_content_scan *s, uint64_t at)
{
	if (!s->is_in_bcc)
		return;
	s->is_in_bcc = false;
	s->bcc[s->bcc_count - 1].len = at - s->bcc[s->bcc_count - 1].at;
}

static void begin_bcc(struct pn_content_scan *s, uint64_t at)
{
	if (s->bcc_count == PN_CONTENT_BCC_MAX) {
		note_problem(s, PN_CONTENT_TOO_MANY_BCC, at);
		return;
	}
	s->bcc[s->bcc_count++].at = s->field_start;
	s->is_in_bcc = true;
}

static bool is_name(const struct pn_content_scan *s, const char *name)
{
	return pn_slice_eq_nocase(pn_slice(s->name, s->name_len), pn_slice_str(name));
}

/* The colon at offset `at` ends a field's name. */
static void begin_field(struct pn_content_scan *s, uint64_t at)
{
	s->state = HEADER_FIELD;
	if (s->name_len > PN_CONTENT_NAME_MAX)
		return;
	if (is_name(s, "Date")) {
		s->has_date = true;
	} else if (is_name(s, "Message-ID")) {
		s->has_message_id = true;
	} else if (is_name(s, "From")) {
		s->has_from = true;
	} else if (is_name(s, "Bcc") || is_name(s, "Resent-Bcc")) {
		begin_bcc(s, at);
	} else if (is_name(s, "Received")) {
		if (++s->facts.received_count > s->received_max_allowed)
			note_problem(s, PN_CONTENT_LOOP, at);
	}
}

static void end_header(struct pn_content_scan *s, uint64_t at, bool is_empty_line)
{
	end_field(s, at);
	s->header_end = at;
	s->has_header_end = is_empty_line;
	s->facts.header_size_bytes = at;
	s->state = HEADER_OVER;
}

/* RFC 5322 2.2: printable ASCII but the colon. */
static inline bool is_name_octet(uint8_t octet)
{
	return octet > 32 && octet < 127 && octet != ':';
}

static void name_octet(struct pn_content_scan *s, uint8_t octet)
{
	/* One more than fits marks a name that is longer than any we look for. */
	if (s->name_len < PN_CONTENT_NAME_MAX)
		s->name[s->name_len] = (char)octet;
	if (s->name_len <= PN_CONTENT_NAME_MAX)
		s->name_len++;
}

/* The first octet of a line. Returns false when the line belongs to the body. */
static bool header_line_start(struct pn_content_scan *s, uint8_t octet, uint64_t at)
{
	bool is_blank = octet == ' ' || octet == '\t';

	if (is_blank && at != 0) {
		s->state = HEADER_FIELD; /* a folded line of the field before */
		return true;
	}
	end_field(s, at);
	s->field_start = at;
	s->name_len = 0;
	if (octet == '\r') {
		s->state = HEADER_CR;
	} else if (octet == '\n') {
		end_header(s, at, true);
		s->facts.header_size_bytes = at + 1;
	} else if (is_name_octet(octet)) {
		s->state = HEADER_NAME;
		name_octet(s, octet);
	} else {
		return false;
	}
	return true;
}

/*
 * Takes one octet of a header line's beginning. Returns false when it shows that the line is no
 * field: it is the body's first.
 */
static bool header_octet(struct pn_content_scan *s, uint8_t octet, uint64_t at)
{
	switch ((enum header_state)s->state) {
	case HEADER_LINE_START:
		return header_line_start(s, octet, at);
	case HEADER_CR:
		if (octet != '\n')
			return false;
		end_header(s, s->field_start, true);
		s->facts.header_size_bytes = at + 1;
		return true;
	case HEADER_NAME:
		if (is_name_octet(octet)) {
			name_octet(s, octet);
			return true;
		}
		s->state = HEADER_NAME_WSP;
		__attribute__((fallthrough));
	case HEADER_NAME_WSP:
		if (octet == ':')
			begin_field(s, at);
		return octet == ':' || octet == ' ' || octet == '\t';
	case HEADER_FIELD:
	case HEADER_OVER:
		break;
	}
	return true;
}

/* How many octets of `run` belong to the header. */
static size_t walk_header(struct pn_content_scan *s, struct pn_slice run)
{
	const uint64_t base = s->facts.size_bytes;
	size_t at = 0;

	while (at < run.len && s->state != HEADER_OVER) {
		if (s->state == HEADER_FIELD) {
			const uint8_t *lf = memchr(run.ptr + at, '\n', run.len - at);

			if (!lf) {
				at = run.len;
				break;
			}
			at = (size_t)(lf - run.ptr) + 1;
			s->state = HEADER_LINE_START;
			continue;
		}
		if (!header_octet(s, run.ptr[at], base + at)) {
			end_header(s, s->field_start, false);
			break;
		}
		at++;
	}
	if (base + at > s->header_max_allowed_bytes)
		note_problem(s, PN_CONTENT_HEADER_TOO_BIG, s->header_max_allowed_bytes);
	return at;
}

void pn_content_scan_feed(struct pn_content_scan *s, struct pn_slice run)
{
	if (s->state != HEADER_OVER) {
		size_t n = walk_header(s, run);

		s->facts.has_8bit_header |= measure(s, pn_slice(run.ptr, n));
		pn_slice_advance(&run, n);
	}
	s->facts.has_8bit_body |= measure(s, run);
}

void pn_content_scan_end(struct pn_content_scan *s)
{
	const uint64_t size = s->facts.size_bytes;

	/* A line that the end cuts off before its colon was no field. */
	if (s->state == HEADER_NAME || s->state == HEADER_NAME_WSP || s->state == HEADER_CR)
		end_header(s, s->field_start, false);
	else if (s->state != HEADER_OVER)
		end_header(s, size, false);
	if (s->last == '\r')
		note_line(s, size - s->line_start);
	/* An empty content has no line that lacks its end. */
	s->facts.has_final_crlf = size == 0 || (s->last == '\n' && s->line_start == size);
	s->facts.needs_smtputf8 = s->facts.has_8bit_header;
}
