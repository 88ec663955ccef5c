/* SPDX-License-Identifier: ISC */
/* secret.c - wiping and constant-time comparison. */
#include <postern/base/secret.h>

#include <string.h>

void pn_wipe(void *ptr, size_t len)
{
	if (len != 0)
		explicit_bzero(ptr, len);
}

bool pn_secret_eq(struct pn_slice a, struct pn_slice b)
{
	/* volatile: the compiler may not leave the loop once the answer is known */
	volatile uint8_t difference = 0;

	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		difference = (uint8_t)(difference | (a.ptr[i] ^ b.ptr[i]));
	return difference == 0;
}
