/* SPDX-License-Identifier: ISC */
/* slice.c - comparing and reading slices; ASCII only, the locale has no say. */
#include <postern/base/slice.h>

static uint8_t to_lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

bool pn_slice_eq_nocase(struct pn_slice a, struct pn_slice b)
{
	return a.len == b.len && pn_slice_starts_nocase(a, b);
}

bool pn_slice_starts_nocase(struct pn_slice s, struct pn_slice prefix)
{
	if (s.len < prefix.len)
		return false;
	for (size_t i = 0; i < prefix.len; i++) {
		if (to_lower(s.ptr[i]) != to_lower(prefix.ptr[i]))
			return false;
	}
	return true;
}

bool pn_slice_to_u64(struct pn_slice s, uint64_t max, uint64_t *ret)
{
	uint64_t value = 0;

	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.ptr[i];
		if (c < '0' || c > '9')
			return false;
		uint64_t digit = (uint64_t)(c - '0');
		if (value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
		if (value > max)
			return false;
	}
	*ret = value;
	return true;
}
