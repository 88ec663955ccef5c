/* SPDX-License-Identifier: ISC */
/*
 * data.c - the data scanner: finds the end of DATA, undoes dot-stuffing and enforces the one
 * line-ending rule.
 *
 * Two gears. clean_length() (scan.h) walks 64 octets at a time and stops only where something must
 * be decided: a bare CR or LF, a NUL, a dot that begins a line. scan_octet() is the state machine
 * for those octets and for what lies on a cut. A CR at the end of a run is held back (state CR)
 * until its LF has been seen, so that no run ever ends in half a line end.
 *
 * It does not count octets and does not know sizes; a dirty message under PN_LINE_REJECT gives no
 * more runs from the first offence on, so that what must not be stored cannot be.
 */
#include <postern/smtp/data.h>

#include "scan.h"

enum scan_state {
	SCAN_LINE_START, /* after a true CRLF, or at the very start: a dot is special here */
	SCAN_TEXT,
	SCAN_CR,     /* CR seen, not passed on yet */
	SCAN_DOT,    /* the dot that begins a line: dropped, or the first half of the end */
	SCAN_DOT_CR, /* that dot, then CR */
};

static const uint8_t crlf[2] = { '\r', '\n' };

void pn_data_scanner_init(struct pn_data_scanner *s, enum pn_line_policy policy, bool is_chunk)
{
	*s = (struct pn_data_scanner){
		.policy = policy,
		.state = is_chunk ? SCAN_TEXT : SCAN_LINE_START,
		.is_chunk = is_chunk,
	};
}

/* Takes the clean octets at the front of *in and sets the state that they leave. */
static struct pn_slice take_clean(struct pn_data_scanner *s, struct pn_slice *in)
{
	size_t n = pn_scan_best->clean_length(in->ptr, in->len, s->state == SCAN_LINE_START,
					      !s->is_chunk);
	struct pn_slice run = pn_slice(in->ptr, n);

	if (n == 0)
		return run;
	pn_slice_advance(in, n);
	switch (run.ptr[n - 1]) {
	case '\r':
		s->state = SCAN_CR;
		run.len--;
		break;
	case '\n':
		s->state = s->is_chunk ? SCAN_TEXT : SCAN_LINE_START;
		break;
	default:
		s->state = SCAN_TEXT;
	}
	return run;
}

static struct pn_slice repaired(const struct pn_data_scanner *s)
{
	return s->policy == PN_LINE_NORMALIZE ? pn_slice(crlf, 2) : PN_SLICE_NULL;
}

/*
 * An octet where a decision is due and no CR or dot is pending: LF without CR, NUL, or a dot at
 * line start.
 */
static struct pn_slice scan_special(struct pn_data_scanner *s, uint8_t octet)
{
	if (octet == '.') {
		s->state = SCAN_DOT;
		return PN_SLICE_NULL;
	}
	s->state = SCAN_TEXT;
	if (octet == '\n') {
		s->has_bare_lf = true;
		return repaired(s);
	}
	s->has_nul = true;
	return PN_SLICE_NULL;
}

/* Takes one octet, or none, of a decision. Returns a run that may be empty. */
static struct pn_slice scan_octet(struct pn_data_scanner *s, struct pn_slice *in, bool *ret_is_end)
{
	uint8_t octet = in->ptr[0];

	switch ((enum scan_state)s->state) {
	case SCAN_CR:
		if (octet == '\n') {
			pn_slice_advance(in, 1);
			s->state = s->is_chunk ? SCAN_TEXT : SCAN_LINE_START;
			return pn_slice(crlf, 2);
		}
		break;
	case SCAN_DOT:
		if (octet == '\r') {
			pn_slice_advance(in, 1);
			s->state = SCAN_DOT_CR;
			return PN_SLICE_NULL;
		}
		/*
		 * RFC 5321 4.5.2: other characters follow on the line, so the dot goes; what
		 * follows is text even if a dot.
		 */
		s->state = SCAN_TEXT;
		return PN_SLICE_NULL;
	case SCAN_DOT_CR:
		if (octet == '\n') {
			pn_slice_advance(in, 1);
			*ret_is_end = true;
			return PN_SLICE_NULL;
		}
		break;
	case SCAN_LINE_START:
	case SCAN_TEXT:
		pn_slice_advance(in, 1);
		return scan_special(s, octet);
	}
	/*
	 * RFC 5321 2.3.8: the pending CR was bare. The octet itself is looked at next, in plain
	 * text.
	 */
	s->has_bare_cr = true;
	s->state = SCAN_TEXT;
	return repaired(s);
}

enum pn_data_status pn_data_scan(struct pn_data_scanner *s, struct pn_slice *in,
				 struct pn_slice *ret_run)
{
	bool is_end = false;

	while (in->len != 0) {
		struct pn_slice run = PN_SLICE_NULL;

		/* At a dot that begins a line no run begins: no need to look at 64 octets. */
		if ((s->state == SCAN_LINE_START && *in->ptr != '.') || s->state == SCAN_TEXT)
			run = take_clean(s, in);
		if (run.len == 0 && in->len != 0)
			run = scan_octet(s, in, &is_end);
		if (is_end) {
			*ret_run = PN_SLICE_NULL;
			return PN_DATA_END;
		}
		if (run.len != 0 && !pn_data_is_dirty(s)) {
			*ret_run = run;
			return PN_DATA_RUN;
		}
	}
	*ret_run = PN_SLICE_NULL;
	return PN_DATA_MORE;
}

bool pn_data_is_shrinking(const struct pn_data_scanner *s)
{
	return s->policy == PN_LINE_REJECT && s->state != SCAN_CR;
}

bool pn_data_scan_finish(struct pn_data_scanner *s, struct pn_slice *ret_run)
{
	*ret_run = PN_SLICE_NULL;
	if (s->state != SCAN_CR)
		return false;
	s->state = SCAN_TEXT;
	s->has_bare_cr = true;
	*ret_run = repaired(s);
	return ret_run->len != 0;
}
