/* SPDX-License-Identifier: ISC */
/*
 * aead.h - one record under BoringSSL's EVP_AEAD (RFC 5246 6.2.3.3, RFC 5288, RFC 7905, RFC 8446 5.2).
 *
 * A connection keeps its keys alone. What is made of a key before it can be used (600 octets, made in
 * 50 to 800 instructions) lies in a few places of each thread, found by the key, so that a
 * connection with much to do finds it there.
 */
#ifndef TLS_AEAD_H
#define TLS_AEAD_H

#include <postern/base/slice.h>

#include "tls/keys.h"

#define PN_AEAD_HEADER_LEN 5
#define PN_AEAD_TAG_LEN    16
/* Of a record's content. */
#define PN_AEAD_PLAIN_MAX 16384
/* What follows a header (RFC 8446 5.2). TLS 1.2 would allow more, which its suites cannot use. */
#define PN_AEAD_BODY_MAX (PN_AEAD_PLAIN_MAX + 256)
/* More than header, nonce, content type and tag. */
#define PN_AEAD_OVERHEAD_MAX 32

/* Octets that a record is longer than its content. */
size_t pn_aead_overhead(const struct pn_tls_suite *suite);
/*
 * Opens a whole record to `into`, which does not overlap it, or where it lies if `room` is less than all of its
 * plaintext, and counts the sequence on. The header was looked at. *ret points to the content, in TLS 1.3 with type
 * and padding behind it. False: bad_record_mac.
 */
bool pn_aead_open_into(const struct pn_tls_suite *suite, struct pn_tls_secret *secret,
		       uint8_t *record, size_t len, uint8_t *into, size_t room, uint8_t **ret,
		       size_t *ret_len) PN_MUST_CHECK;
/* The same, where it lies. */
static inline bool pn_aead_open(const struct pn_tls_suite *suite, struct pn_tls_secret *secret,
				uint8_t *record, size_t len, uint8_t **ret, size_t *ret_len)
{
	return pn_aead_open_into(suite, secret, record, len, NULL, 0, ret, ret_len);
}
/* Writes one record of at most PN_AEAD_PLAIN_MAX octets, content and overhead long, to `to`, which does
 * not overlap the content, and counts the sequence on. */
bool pn_aead_seal(const struct pn_tls_suite *suite, struct pn_tls_secret *secret, uint8_t type,
		  struct pn_slice plain, uint8_t *to) PN_MUST_CHECK;
/* Wipes what this thread has made of the key. */
void pn_aead_forget(const struct pn_tls_suite *suite, const struct pn_tls_secret *secret);

#endif
