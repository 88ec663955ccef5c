/* SPDX-License-Identifier: ISC */
/*
 * data.h - the data scanner: dot-unstuffing and the one line-ending rule, in runs, without copying.
 *
 * Only CRLF ends a line and only CRLF.CRLF (or ".CRLF" first) ends DATA (RFC 5321 2.3.8, 4.1.1.4,
 * 4.5.2). Bare CR, bare LF and NUL are noted (REJECT: the content is still consumed to its true
 * end, but from the first offence on no run is given) or repaired (NORMALIZE: bare CR or LF becomes
 * CRLF, NUL vanishes). In NORMALIZE a repaired line end never makes an end of message: after it, a
 * dot is content; nor does a NUL vanish before the dot rule was applied. Runs are slices of the
 * input or static octets, whole lines or pieces of them, many lines at once where nothing needs a
 * decision; a run never ends in the CR of a CRLF. State carries over any cut. Hot path: whole clean
 * runs are found by vector compare, not octet by octet.
 */
#ifndef POSTERN_SMTP_DATA_H
#define POSTERN_SMTP_DATA_H

#include <postern/base/common.h>
#include <postern/base/slice.h>
#include <postern/smtp/server.h>

enum pn_data_status {
	PN_DATA_MORE, /* input used up, no run */
	PN_DATA_RUN,  /* *ret_run is non-empty content */
	PN_DATA_END,  /* the final dot line was consumed; *in starts at the next command */
};

struct pn_data_scanner {
	enum pn_line_policy policy;
	uint8_t state;
	bool is_chunk; /* BDAT: no dot rule, the end is counted by the caller */
	bool has_bare_cr, has_bare_lf, has_nul;
};

void pn_data_scanner_init(struct pn_data_scanner *s, enum pn_line_policy policy, bool is_chunk);
/* Advances *in over what was used. */
enum pn_data_status pn_data_scan(struct pn_data_scanner *s, struct pn_slice *in,
				 struct pn_slice *ret_run);
/*
 * BDAT only: after the last chunk; gives a pending octet (a CR held back at the very end) if any. A
 * lone CR at the end counts as bare.
 */
bool pn_data_scan_finish(struct pn_data_scanner *s, struct pn_slice *ret_run);
/*
 * Whether all the runs that come of the next input, in order, never take more octets than were used of that input:
 * no octet is held back, none will be repaired. Then they may be stored over the input, from its front on.
 */
bool pn_data_is_shrinking(const struct pn_data_scanner *s);
static inline bool pn_data_is_dirty(const struct pn_data_scanner *s)
{
	return s->policy == PN_LINE_REJECT && (s->has_bare_cr || s->has_bare_lf || s->has_nul);
}

#endif
