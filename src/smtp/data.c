/* SPDX-License-Identifier: ISC */
/*
 * data.c - the data scanner: finds the end of DATA, undoes dot-stuffing and enforces the one
 * line-ending rule.
 *
 * Two gears. clean_length() walks 64 octets at a time and stops only where something must be
 * decided: a bare CR or LF, a NUL, a dot that begins a line. scan_octet() is the state machine for
 * those octets and for what lies on a cut. A CR at the end of a run is held back (state CR) until
 * its LF has been seen, so that no run ever ends in half a line end.
 *
 * It does not count octets and does not know sizes; a dirty message under PN_LINE_REJECT gives no
 * more runs from the first offence on, so that what must not be stored cannot be.
 */
#include <postern/smtp/data.h>

#include "block.h"

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

/* The octets in a block that need a decision, given what the octet before the block was. */
static inline uint64_t stop_mask(const struct pn_block *b, uint64_t after_cr, uint64_t after_crlf,
				 uint64_t dot_rule, uint64_t *ret_cr, uint64_t *ret_lf)
{
	uint64_t cr = pn_block_eq(b, '\r'), lf = pn_block_eq(b, '\n'), nul = pn_block_eq(b, '\0'),
		 dot = pn_block_eq(b, '.');
	uint64_t wants_lf = cr << 1 | after_cr;

	*ret_cr = cr;
	*ret_lf = lf;
	/*
	 * Bare LF, the octet behind a bare CR, NUL, dot at line start. Below the lowest of these
	 * every LF is half of a CRLF.
	 */
	return (wants_lf ^ lf) | nul | (dot & (lf << 1 | after_crlf) & dot_rule);
}

/*
 * How many octets from p on need no decision. An odd CR as the last octet counts as clean: the
 * caller holds it back.
 */
static size_t clean_length(const uint8_t *p, size_t len, bool is_line_start, bool has_dot_rule)
{
	const uint64_t dot_rule = has_dot_rule ? ~0ull : 0;
	uint64_t after_cr = 0, after_crlf = is_line_start, cr, lf, stop;
	struct pn_block b;
	size_t at = 0;

	for (; len - at >= PN_BLOCK_SIZE; at += PN_BLOCK_SIZE) {
		b = pn_block_load(p + at);
		stop = stop_mask(&b, after_cr, after_crlf, dot_rule, &cr, &lf);
		if (stop != 0)
			return at + (size_t)__builtin_ctzll(stop);
		after_cr = cr >> 63;
		after_crlf = lf >> 63;
	}
	if (at == len)
		return len;
	b = pn_block_load_tail(p + at, len - at, 'a');
	stop = stop_mask(&b, after_cr, after_crlf, dot_rule, &cr, &lf);
	if (stop == 0)
		return len;
	return pn_min_size(len, at + (size_t)__builtin_ctzll(stop));
}

/* Takes the clean octets at the front of *in and sets the state that they leave. */
static struct pn_slice take_clean(struct pn_data_scanner *s, struct pn_slice *in)
{
	size_t n = clean_length(in->ptr, in->len, s->state == SCAN_LINE_START, !s->is_chunk);
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

		if (s->state == SCAN_LINE_START || s->state == SCAN_TEXT)
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
