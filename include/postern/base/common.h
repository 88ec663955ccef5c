/* SPDX-License-Identifier: ISC */
/*
 * common.h - what every file of Postern may use: checks, attributes, small helpers.
 *
 * Errors at the system edge are `int`: 0 or a positive count on success, -errno on failure, always
 * with PN_MUST_CHECK. Protocol code returns its own enums. PN_ASSERT stays on in every build and
 * guards our own invariants; it is never applied to what a peer sent.
 */
#ifndef POSTERN_BASE_COMMON_H
#define POSTERN_BASE_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PN_MUST_CHECK                      __attribute__((warn_unused_result))
#define PN_PRINTF(fmt_index, args_index)   __attribute__((format(printf, fmt_index, args_index)))
#define PN_UNUSED                          __attribute__((unused))
#define PN_NORETURN                        __attribute__((noreturn))
#define PN_LIKELY(x)                       __builtin_expect(!!(x), 1)
#define PN_UNLIKELY(x)                     __builtin_expect(!!(x), 0)
#define PN_ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define PN_CACHE_LINE                      64
#define pn_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Prints the place and the broken invariant to stderr and aborts. Any thread. */
PN_NORETURN void pn_assert_failed(const char *expr, const char *file, int line);
#define PN_ASSERT(expr)                                              \
	do {                                                         \
		if (PN_UNLIKELY(!(expr)))                            \
			pn_assert_failed(#expr, __FILE__, __LINE__); \
	} while (0)

static inline size_t pn_min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

static inline size_t pn_max_size(size_t a, size_t b)
{
	return a > b ? a : b;
}

/*
 * A place for one line of human-readable error text, filled by set-up code (never on a hot path).
 */
struct pn_error {
	char text[512];
};

/* Formats into err->text (err may be NULL); returns -1 so that callers can `return
 * pn_error_set(..)`. */
int pn_error_set(struct pn_error *err, const char *fmt, ...) PN_PRINTF(2, 3);

#endif
