/* SPDX-License-Identifier: ISC */
/*
 * data_oracle.h - what the data scanner must give, written octet by octet from RFC 5321 2.3.8,
 * 4.1.1.4 and 4.5.2 over the whole input, without states or cuts. Shared by the unit test and the
 * fuzz target.
 */
#ifndef PN_TESTS_DATA_ORACLE_H
#define PN_TESTS_DATA_ORACLE_H

#include <postern/smtp/data.h>

struct data_result {
	uint8_t *content; /* caller's, twice the input */
	size_t content_len;
	bool is_end;
	size_t end_at; /* where the next command begins */
	bool has_bare_cr, has_bare_lf, has_nul;
};

static inline void data_oracle_emit(struct data_result *r, enum pn_line_policy policy,
				    const char *s, size_t len)
{
	if (policy == PN_LINE_REJECT && (r->has_bare_cr || r->has_bare_lf || r->has_nul))
		return;
	memcpy(r->content + r->content_len, s, len);
	r->content_len += len;
}

static inline void data_oracle(struct data_result *r, const uint8_t *in, size_t len,
			       enum pn_line_policy policy, bool is_chunk)
{
	bool is_line_start = !is_chunk;
	size_t i = 0;

	while (i < len) {
		if (is_line_start && in[i] == '.') {
			if (i + 1 == len || (in[i + 1] == '\r' && i + 2 == len))
				return; /* not decided yet */
			if (in[i + 1] == '\r' && in[i + 2] == '\n') {
				r->is_end = true;
				r->end_at = i + 3;
				return;
			}
			i++;
			if (in[i] != '\r' && in[i] != '\n' && in[i] != 0) {
				data_oracle_emit(r, policy, (const char *)&in[i], 1);
				i++;
			}
			is_line_start = false;
			continue;
		}
		is_line_start = false;
		if (in[i] == '\r') {
			if (i + 1 == len)
				return; /* its LF may come yet */
			if (in[i + 1] == '\n') {
				data_oracle_emit(r, policy, "\r\n", 2);
				is_line_start = !is_chunk;
				i += 2;
				continue;
			}
			r->has_bare_cr = true;
			data_oracle_emit(r, policy, "\r\n", 2);
		} else if (in[i] == '\n') {
			r->has_bare_lf = true;
			data_oracle_emit(r, policy, "\r\n", 2);
		} else if (in[i] == 0) {
			r->has_nul = true;
		} else {
			data_oracle_emit(r, policy, (const char *)&in[i], 1);
		}
		i++;
	}
}

/* The scanner over one more piece; false when the end was found (end_at is set then). */
static inline bool data_scan_piece(struct pn_data_scanner *s, struct data_result *r,
				   const uint8_t *in, size_t from, size_t to)
{
	struct pn_slice rest = pn_slice(in + from, to - from), run;

	while (1) {
		enum pn_data_status status = pn_data_scan(s, &rest, &run);

		PN_ASSERT((status == PN_DATA_RUN) == (run.len != 0));
		if (status == PN_DATA_END) {
			r->is_end = true;
			r->end_at = (size_t)(rest.ptr - in);
			return false;
		}
		if (status == PN_DATA_MORE) {
			PN_ASSERT(rest.len == 0);
			return true;
		}
		memcpy(r->content + r->content_len, run.ptr, run.len);
		r->content_len += run.len;
	}
}

static inline void data_take_flags(struct data_result *r, const struct pn_data_scanner *s)
{
	r->has_bare_cr = s->has_bare_cr;
	r->has_bare_lf = s->has_bare_lf;
	r->has_nul = s->has_nul;
}

static inline bool data_result_eq(const struct data_result *a, const struct data_result *b)
{
	return a->content_len == b->content_len &&
	       memcmp(a->content, b->content, a->content_len) == 0 && a->is_end == b->is_end &&
	       a->end_at == b->end_at && a->has_bare_cr == b->has_bare_cr &&
	       a->has_bare_lf == b->has_bare_lf && a->has_nul == b->has_nul;
}

#endif
