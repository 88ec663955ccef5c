/* SPDX-License-Identifier: ISC */
/* secret.h - handling of octets that must not leak: wiping and comparing. Any thread. */
#ifndef POSTERN_BASE_SECRET_H
#define POSTERN_BASE_SECRET_H

#include <postern/base/common.h>
#include <postern/base/slice.h>

/* Overwrites in a way that the compiler may not drop. NULL with 0 is fine. */
void pn_wipe(void *ptr, size_t len);
/* Equality whose time depends only on the lengths. */
bool pn_secret_eq(struct pn_slice a, struct pn_slice b);

#endif
