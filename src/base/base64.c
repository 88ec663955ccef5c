/* SPDX-License-Identifier: ISC */
/* base64.c - base64 (RFC 4648 4, strict) and hex. */
#include <postern/base/codec.h>

#include <errno.h>

static const char base64_alphabet[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t pn_base64_encode(char *out, struct pn_slice in)
{
	size_t at = 0, i = 0;

	for (; in.len - i >= 3; i += 3) {
		uint32_t bits =
			(uint32_t)in.ptr[i] << 16 | (uint32_t)in.ptr[i + 1] << 8 | in.ptr[i + 2];
		out[at++] = base64_alphabet[bits >> 18];
		out[at++] = base64_alphabet[bits >> 12 & 63];
		out[at++] = base64_alphabet[bits >> 6 & 63];
		out[at++] = base64_alphabet[bits & 63];
	}
	if (i < in.len) {
		bool has_two = in.len - i == 2;
		uint32_t bits =
			(uint32_t)in.ptr[i] << 16 | (has_two ? (uint32_t)in.ptr[i + 1] << 8 : 0);
		out[at++] = base64_alphabet[bits >> 18];
		out[at++] = base64_alphabet[bits >> 12 & 63];
		out[at++] = has_two ? base64_alphabet[bits >> 6 & 63] : '=';
		out[at++] = '=';
	}
	return at;
}

/* 0..63, or -1 for an octet outside the alphabet. */
static int base64_digit(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

/* The 4 digits of one group, of which the last `pad` count as zero; or -1. */
static int32_t base64_group(const uint8_t *in, size_t pad)
{
	int32_t bits = 0;

	for (size_t i = 0; i < 4; i++) {
		int digit = i < 4 - pad ? base64_digit(in[i]) : 0;
		if (digit < 0)
			return -1;
		bits = bits << 6 | digit;
	}
	return bits;
}

ptrdiff_t pn_base64_decode(uint8_t *out, struct pn_slice in)
{
	size_t at = 0;

	if (in.len % 4 != 0 || in.len > PTRDIFF_MAX)
		return -EINVAL;
	for (size_t i = 0; i < in.len; i += 4) {
		size_t pad = 0;
		if (i + 4 == in.len && in.ptr[i + 3] == '=')
			pad = in.ptr[i + 2] == '=' ? 2 : 1;
		int32_t bits = base64_group(in.ptr + i, pad);
		if (bits < 0)
			return -EINVAL;
		/* RFC 4648 3.5: pad bits other than zero would give one value several texts. */
		if ((bits & ((1 << 8 * pad) - 1)) != 0)
			return -EINVAL;
		out[at++] = (uint8_t)(bits >> 16);
		if (pad < 2)
			out[at++] = (uint8_t)(bits >> 8);
		if (pad < 1)
			out[at++] = (uint8_t)bits;
	}
	return (ptrdiff_t)at;
}

void pn_hex_encode(char *out, struct pn_slice in)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < in.len; i++) {
		out[2 * i] = digits[in.ptr[i] >> 4];
		out[2 * i + 1] = digits[in.ptr[i] & 15];
	}
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

ptrdiff_t pn_hex_decode(uint8_t *out, struct pn_slice in)
{
	if (in.len % 2 != 0)
		return -EINVAL;
	for (size_t i = 0; i < in.len; i += 2) {
		int high = hex_digit(in.ptr[i]), low = hex_digit(in.ptr[i + 1]);
		if (high < 0 || low < 0)
			return -EINVAL;
		out[i / 2] = (uint8_t)(high << 4 | low);
	}
	return (ptrdiff_t)(in.len / 2);
}
