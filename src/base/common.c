/* SPDX-License-Identifier: ISC */
/* common.c - failed assertions and error texts. */
#include <postern/base/common.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void pn_assert_failed(const char *expr, const char *file, int line)
{
	dprintf(STDERR_FILENO, "postern: %s:%d: broken invariant: %s\n", file, line, expr);
	abort();
}

int pn_error_set(struct pn_error *err, const char *fmt, ...)
{
	if (err) {
		va_list args;
		va_start(args, fmt);
		(void)vsnprintf(err->text, sizeof(err->text), fmt, args);
		va_end(args);
	}
	return -1;
}
