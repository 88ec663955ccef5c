/* SPDX-License-Identifier: ISC */
/* version.c - what this binary is made of and what this kernel offers it. */
#include <confuse.h>
#include <jansson.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#if PN_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif
#include <ares.h>
#include <crypt.h>
#include <gnu/libc-version.h>
#include <stringprep.h>

#include <postern/version.h>

#include "app.h"

#define PN_STRING_OF(x) #x
#define PN_STRING(x)    PN_STRING_OF(x)

bool pn_jemalloc_is_active(void)
{
#if PN_JEMALLOC
	/* An allocation must move jemalloc's own count of this thread: then malloc really is
	 * jemalloc's. */
	uint64_t before = 0;
	uint64_t after = 0;
	size_t len = sizeof(before);
	if (mallctl("thread.allocated", &before, &len, NULL, 0) != 0)
		return false;
	void *volatile p = malloc(4096);
	bool is_read = mallctl("thread.allocated", &after, &len, NULL, 0) == 0;
	free(p);
	return is_read && after >= before + 4096;
#else
	return false;
#endif
}

static void print_allocator(FILE *out)
{
#if PN_JEMALLOC
	const char *version = "";
	size_t len = sizeof(version);
	(void)mallctl("version", &version, &len, NULL, 0);
	fprintf(out, "  jemalloc     %s (%s)\n", version,
		pn_jemalloc_is_active() ? "active" : "NOT active: another allocator is in front");
#else
	fprintf(out, "  jemalloc     not in this build (sanitizer)\n");
#endif
}

static void print_kernel(FILE *out)
{
	struct utsname u;
	struct pn_error err = { 0 };
	uint32_t features = 0;
	if (uname(&u) == 0)
		fprintf(out, "kernel %s %s\n", u.release, u.machine);
	if (pn_net_probe(&features, &err) != 0) {
		fprintf(out, "  io_uring     not usable: %s\n", err.text);
		return;
	}
	fprintf(out, "  io_uring    ");
	for (unsigned i = 0; i < PN_NET_FEATURE_COUNT; i++)
		fprintf(out, " %s%s", (features >> i & 1u) ? "" : "no-",
			pn_net_feature_name((enum pn_net_feature_index)i));
	fprintf(out, "\n");
	char text[256];
	pn_ktls_describe(pn_ktls_probe(), text, sizeof(text));
	fprintf(out, "  kernel tls   %s\n", text);
}

void pn_version_print(FILE *out)
{
	fprintf(out, "Postern %s\n", PN_VERSION);
	fprintf(out, "  tls          %s\n", pn_tls_library_version());
	fprintf(out, "  aes-gcm      %s\n", pn_tls_gcm_library());
	fprintf(out, "  liburing     %s\n", PN_LIBURING_VERSION);
	print_allocator(out);
	fprintf(out, "  libconfuse   %s\n", confuse_version);
	fprintf(out, "  jansson      %s\n", JANSSON_VERSION);
	fprintf(out, "  c-ares       %s\n", ares_version(NULL));
	fprintf(out, "  libidn       %s\n", stringprep_check_version(NULL));
	fprintf(out, "  libxcrypt    %s\n",
		PN_STRING(XCRYPT_VERSION_MAJOR) "." PN_STRING(XCRYPT_VERSION_MINOR));
	const struct scmp_version *v = seccomp_version();
	fprintf(out, "  libseccomp   %u.%u.%u\n", v->major, v->minor, v->micro);
	fprintf(out, "  glibc        %s\n", gnu_get_libc_version());
	print_kernel(out);
}
