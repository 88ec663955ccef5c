/* SPDX-License-Identifier: ISC */
/* ktls.h - TLS records in the kernel, for rows that measure what they cost there. */
#ifndef PN_BENCH_LIMIT_KTLS_H
#define PN_BENCH_LIMIT_KTLS_H

#include <linux/tls.h>

#include <postern/base/common.h>

/* Whether this kernel takes TLS 1.3 with AES-128-GCM in both directions. */
bool pn_bench_ktls_is_here(void);
/*
 * From here on the kernel makes (TLS_TX) or opens (TLS_RX) the records of a connected socket: TLS 1.3, AES-128-GCM,
 * the same key on every socket and sequence 0, which is for measuring and for nothing else. 0 or -errno.
 */
int pn_bench_ktls_install(int fd, int direction) PN_MUST_CHECK;

#endif
