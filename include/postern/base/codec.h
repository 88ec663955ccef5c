/* SPDX-License-Identifier: ISC */
/* codec.h - base64, hex, xtext, UTF-8 and CRC32C. Pure functions, any thread. */
#ifndef POSTERN_BASE_CODEC_H
#define POSTERN_BASE_CODEC_H

#include <postern/base/common.h>
#include <postern/base/slice.h>

#define PN_BASE64_ENCODED_SIZE(n)     (((n) + 2) / 3 * 4)
#define PN_BASE64_DECODED_SIZE_MAX(n) ((n) / 4 * 3)
/* Writes PN_BASE64_ENCODED_SIZE(in.len) octets, no NUL, no line breaks (RFC 4648 4). Returns that
 * count. */
size_t pn_base64_encode(char *out, struct pn_slice in);
/* Strict (RFC 4954 4): no octet outside the alphabet, '=' only at the end, length a multiple of 4,
 * zero pad bits. Returns the decoded length or -EINVAL. out holds
 * PN_BASE64_DECODED_SIZE_MAX(in.len). */
ptrdiff_t pn_base64_decode(uint8_t *out, struct pn_slice in) PN_MUST_CHECK;

/* RFC 3461 4 xtext. Decoding returns the length or -EINVAL; out holds in.len octets. */
ptrdiff_t pn_xtext_decode(uint8_t *out, struct pn_slice in) PN_MUST_CHECK;
/* out holds 3 * in.len octets; returns the length written. */
size_t pn_xtext_encode(char *out, struct pn_slice in);

/* Lower-case hex, no NUL; out holds 2 * in.len. */
void pn_hex_encode(char *out, struct pn_slice in);
ptrdiff_t pn_hex_decode(uint8_t *out, struct pn_slice in) PN_MUST_CHECK;

/* Well-formed UTF-8 by RFC 3629 (no surrogates, no overlong forms, <= U+10FFFF). */
bool pn_utf8_is_valid(struct pn_slice s);
/* Octets of the well-formed character at the front of `s`; 0 when there is none. */
size_t pn_utf8_next(struct pn_slice s);
bool pn_slice_has_8bit(struct pn_slice s);

/* CRC32C (Castagnoli), hardware where the CPU has it. Start with crc = 0; chainable. */
uint32_t pn_crc32c(uint32_t crc, const void *data, size_t len);

#endif
