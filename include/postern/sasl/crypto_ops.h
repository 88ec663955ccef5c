/* SPDX-License-Identifier: ISC */
/*
 * crypto_ops.h - what the SASL mechanisms need from outside, handed in as functions.
 *
 * The sasl module links nothing but base and libc; whoever uses it brings hashing (tls/crypto.h
 * has the first
 * two with these very signatures), randomness and the preparation of strings. All of them may be
 * called from
 * any thread.
 */
#ifndef POSTERN_SASL_CRYPTO_OPS_H
#define POSTERN_SASL_CRYPTO_OPS_H

#include <postern/base/common.h>
#include <postern/base/slice.h>

#define PN_SASL_SHA256_LEN 32

struct pn_sasl_ops {
	void (*sha256)(uint8_t out[PN_SASL_SHA256_LEN], struct pn_slice data);
	void (*hmac_sha256)(uint8_t out[PN_SASL_SHA256_LEN], struct pn_slice key, struct pn_slice data);
	void (*random_bytes)(void *out, size_t len);
	/*
	 * SASLprep (RFC 4013) of `in` as a query string. Writes at most out_size octets, no NUL;
	 * returns the
	 * length, or -EINVAL for what is not UTF-8, prohibited, too long for `out`, or empty
	 * afterwards.
	 */
	ptrdiff_t (*saslprep)(char *out, size_t out_size, struct pn_slice in);
};

#endif
