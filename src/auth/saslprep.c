/* SPDX-License-Identifier: ISC */
/*
 * saslprep.c - SASLprep (RFC 4013) over libidn.
 *
 * Printable ASCII is its own prepared form and never goes near the library: the everyday case costs a loop and
 * leaves no copies of a password on the heap. libidn is given well-formed UTF-8 only.
 */
#include <errno.h>

#include <stringprep.h>

#include <postern/base/codec.h>
#include <postern/base/secret.h>

#include "auth/saslprep.h"

#define WORK_SIZE 2048 /* normalisation can make 255 octets many times longer; beyond this it fails */

static bool is_printable_ascii(struct pn_slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] < 0x20 || s.ptr[i] > 0x7e)
			return false;
	}
	return true;
}

static ptrdiff_t prepare(char *out, size_t out_size, struct pn_slice in, Stringprep_profile_flags flags)
{
	char work[WORK_SIZE];
	ptrdiff_t result = -EINVAL;

	if (in.len == 0 || in.len >= sizeof(work))
		return -EINVAL;
	if (is_printable_ascii(in)) {
		if (in.len > out_size)
			return -EINVAL;
		memcpy(out, in.ptr, in.len);
		return (ptrdiff_t)in.len;
	}
	if (memchr(in.ptr, 0, in.len) || !pn_utf8_is_valid(in))
		return -EINVAL;
	memcpy(work, in.ptr, in.len);
	work[in.len] = '\0';
	if (stringprep(work, sizeof(work), flags, stringprep_saslprep) == STRINGPREP_OK) {
		size_t len = strlen(work);
		if (len > 0 && len <= out_size) {
			memcpy(out, work, len);
			result = (ptrdiff_t)len;
		}
	}
	pn_wipe(work, sizeof(work));
	return result;
}

ptrdiff_t pn_saslprep_query(char *out, size_t out_size, struct pn_slice in)
{
	return prepare(out, out_size, in, 0);
}

ptrdiff_t pn_saslprep_stored(char *out, size_t out_size, struct pn_slice in)
{
	return prepare(out, out_size, in, STRINGPREP_NO_UNASSIGNED);
}
