/* SPDX-License-Identifier: ISC */
/* crc32c_internal.h - the ways to compute CRC32C, apart, so that a test can compare them. */
#ifndef BASE_CRC32C_INTERNAL_H
#define BASE_CRC32C_INTERNAL_H

#include <postern/base/common.h>

#if defined(__x86_64__)
#define PN_CRC32C_HAS_FOLD 1
#else
#define PN_CRC32C_HAS_FOLD 0
#endif

/* All of them work as pn_crc32c does and give the same sums. */
uint32_t pn_crc32c_table(uint32_t crc, const void *data, size_t len);
/* Whether this CPU has instructions for it; only then may pn_crc32c_hardware be called. */
bool pn_crc32c_has_hardware(void);
uint32_t pn_crc32c_hardware(uint32_t crc, const void *data, size_t len);
#if PN_CRC32C_HAS_FOLD
/* Whether this CPU has AVX-512 and VPCLMULQDQ; only then may pn_crc32c_fold be called. */
bool pn_crc32c_has_fold(void);
uint32_t pn_crc32c_fold(uint32_t crc, const void *data, size_t len);
#endif

struct pn_crc32c_variant {
	const char *name;
	uint32_t (*sum)(uint32_t crc, const void *data, size_t len);
};

/* Those that this CPU can run, the slowest first; `sum` is NULL behind the last. */
struct pn_crc32c_variant pn_crc32c_variant(size_t number);

#endif
