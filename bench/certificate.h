/* SPDX-License-Identifier: ISC */
/* certificate.h - a self-signed certificate made on the spot, for handshakes inside this process. */
#ifndef PN_BENCH_CERTIFICATE_H
#define PN_BENCH_CERTIFICATE_H

#include <openssl/ssl.h>

#include <postern/base/buf.h>
#include <postern/base/common.h>

struct pn_bench_certificate {
	EVP_PKEY *key;
	X509 *x509;
};

/* P-256, or RSA with 2048 bits; for the name "localhost". False when out of memory. */
bool pn_bench_certificate_make(struct pn_bench_certificate *c, bool is_rsa) PN_MUST_CHECK;
/* The same as PEM, appended to buffers. */
bool pn_bench_certificate_pem(const struct pn_bench_certificate *c, struct pn_buf *chain,
			      struct pn_buf *key) PN_MUST_CHECK;
void pn_bench_certificate_free(struct pn_bench_certificate *c);

#endif
