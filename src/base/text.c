/* SPDX-License-Identifier: ISC */
/* text.c - xtext and UTF-8. */
#include <postern/base/codec.h>

#include <errno.h>
#include <string.h>

/* RFC 3461 4: hexchar has upper-case digits only. */
static int xtext_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* RFC 3461 4: xchar is any of "!" to "~" except "+" and "=". */
static bool is_xchar(uint8_t c)
{
	return c >= '!' && c <= '~' && c != '+' && c != '=';
}

ptrdiff_t pn_xtext_decode(uint8_t *out, struct pn_slice in)
{
	size_t at = 0;

	for (size_t i = 0; i < in.len; i++) {
		uint8_t c = in.ptr[i];
		if (is_xchar(c)) {
			out[at++] = c;
			continue;
		}
		if (c != '+' || in.len - i < 3)
			return -EINVAL;
		int high = xtext_digit(in.ptr[i + 1]), low = xtext_digit(in.ptr[i + 2]);
		if (high < 0 || low < 0)
			return -EINVAL;
		out[at++] = (uint8_t)(high << 4 | low);
		i += 2;
	}
	return (ptrdiff_t)at;
}

size_t pn_xtext_encode(char *out, struct pn_slice in)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t at = 0;

	for (size_t i = 0; i < in.len; i++) {
		uint8_t c = in.ptr[i];
		if (is_xchar(c)) {
			out[at++] = (char)c;
		} else {
			out[at++] = '+';
			out[at++] = digits[c >> 4];
			out[at++] = digits[c & 15];
		}
	}
	return at;
}

bool pn_slice_has_8bit(struct pn_slice s)
{
	size_t i = 0;

	for (; s.len - i >= 8; i += 8) {
		uint64_t word;
		memcpy(&word, s.ptr + i, sizeof(word));
		if ((word & UINT64_C(0x8080808080808080)) != 0)
			return true;
	}
	for (; i < s.len; i++) {
		if (s.ptr[i] >= 0x80)
			return true;
	}
	return false;
}

size_t pn_utf8_next(struct pn_slice s)
{
	uint8_t low = 0x80, high = 0xbf;
	size_t len;

	if (s.len == 0)
		return 0;
	uint8_t c = s.ptr[0];
	if (c < 0x80)
		return 1;
	if (c >= 0xc2 && c <= 0xdf) {
		len = 2;
	} else if (c >= 0xe0 && c <= 0xef) {
		len = 3;
		/* RFC 3629 4: E0 without overlong forms, ED without surrogates. */
		if (c == 0xe0)
			low = 0xa0;
		if (c == 0xed)
			high = 0x9f;
	} else if (c >= 0xf0 && c <= 0xf4) {
		len = 4;
		/* RFC 3629 4: F0 without overlong forms, F4 up to U+10FFFF. */
		if (c == 0xf0)
			low = 0x90;
		if (c == 0xf4)
			high = 0x8f;
	} else {
		return 0;
	}
	if (s.len < len || s.ptr[1] < low || s.ptr[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++) {
		if ((s.ptr[i] & 0xc0) != 0x80)
			return 0;
	}
	return len;
}

bool pn_utf8_is_valid(struct pn_slice s)
{
	while (s.len != 0) {
		size_t len = pn_utf8_next(s);
		if (len == 0)
			return false;
		pn_slice_advance(&s, len);
	}
	return true;
}
