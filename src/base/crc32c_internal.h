/* SPDX-License-Identifier: ISC */
/* crc32c_internal.h - the ways to compute CRC32C, apart, so that a test can compare them. */
#ifndef BASE_CRC32C_INTERNAL_H
#define BASE_CRC32C_INTERNAL_H

#include <postern/base/common.h>

uint32_t pn_crc32c_table(uint32_t crc, const void *data, size_t len);
/* Whether this CPU has instructions for it; only then may pn_crc32c_hardware be called. */
bool pn_crc32c_has_hardware(void);
uint32_t pn_crc32c_hardware(uint32_t crc, const void *data, size_t len);

#endif
