/* SPDX-License-Identifier: ISC */
/* crypto.h - the few primitives that pure modules (sasl) and auth need, over BoringSSL. Any thread.
 */
#ifndef POSTERN_TLS_CRYPTO_H
#define POSTERN_TLS_CRYPTO_H

#include <postern/base/common.h>
#include <postern/base/slice.h>

#define PN_SHA256_LEN 32

void pn_sha256(uint8_t out[PN_SHA256_LEN], struct pn_slice data);
void pn_hmac_sha256(uint8_t out[PN_SHA256_LEN], struct pn_slice key, struct pn_slice data);
/* RFC 5802 2.2 Hi(): PBKDF2-HMAC-SHA-256 with one block of output. 0 or -EINVAL. Slow: never on a
 * loop. */
int pn_pbkdf2_sha256(uint8_t out[PN_SHA256_LEN], struct pn_slice password, struct pn_slice salt,
		     uint32_t iterations) PN_MUST_CHECK;

#endif
