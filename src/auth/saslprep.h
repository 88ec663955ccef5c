/* SPDX-License-Identifier: ISC */
/* saslprep.h - preparation of names and passwords (RFC 4013) by libidn. Any thread. */
#ifndef PN_AUTH_SASLPREP_H
#define PN_AUTH_SASLPREP_H

#include <postern/base/common.h>
#include <postern/base/slice.h>

/*
 * Write at most out_size octets, no NUL; return the length, or -EINVAL for what is not UTF-8, holds NUL, is
 * prohibited, does not fit, or is empty afterwards. Query: what a client presents. Stored: what we keep;
 * unassigned code points are prohibited then (RFC 3454 7).
 */
ptrdiff_t pn_saslprep_query(char *out, size_t out_size, struct pn_slice in);
ptrdiff_t pn_saslprep_stored(char *out, size_t out_size, struct pn_slice in);

#endif
