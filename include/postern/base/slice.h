/* SPDX-License-Identifier: ISC */
/*
 * slice.h - a borrowed run of octets. A slice never owns; whoever gives one says how long it lives.
 */
#ifndef POSTERN_BASE_SLICE_H
#define POSTERN_BASE_SLICE_H

#include <string.h>

#include <postern/base/common.h>

struct pn_slice {
	const uint8_t *ptr;
	size_t len;
};

#define PN_SLICE_NULL ((struct pn_slice){ NULL, 0 })
/* A slice over a string literal, without its NUL. */
#define PN_SLICE_LIT(s) ((struct pn_slice){ (const uint8_t *)("" s), sizeof(s) - 1 })

static inline struct pn_slice pn_slice(const void *ptr, size_t len)
{
	return (struct pn_slice){ (const uint8_t *)ptr, len };
}

static inline struct pn_slice pn_slice_str(const char *s)
{
	return (struct pn_slice){ (const uint8_t *)s, s ? strlen(s) : 0 };
}

/* Moves the front of `s` forward by `n` octets; n <= s->len. */
static inline void pn_slice_advance(struct pn_slice *s, size_t n)
{
	PN_ASSERT(n <= s->len);
	if (n != 0)
		s->ptr += n;
	s->len -= n;
}

static inline bool pn_slice_eq(struct pn_slice a, struct pn_slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* ASCII case-insensitive equality (RFC 5321 2.4: verbs and keywords are case-insensitive). */
bool pn_slice_eq_nocase(struct pn_slice a, struct pn_slice b);
/* Whether `s` starts with `prefix`, ASCII case-insensitively. */
bool pn_slice_starts_nocase(struct pn_slice s, struct pn_slice prefix);
/* Parses all of `s` as an unsigned decimal number <= max. Returns false on anything else. */
bool pn_slice_to_u64(struct pn_slice s, uint64_t max, uint64_t *ret);

#endif
