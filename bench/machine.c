/* SPDX-License-Identifier: ISC */
/* machine.c - see machine.h. What cannot be found out is left out. */
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <postern/net/loop.h>
#include <postern/tls/tls.h>
#include <postern/version.h>

static void put(json_t *o, const char *key, const char *text)
{
	if (text && *text)
		(void)json_object_set_new(o, key, json_string(text));
}

static void put_number(json_t *o, const char *key, uint64_t n)
{
	(void)json_object_set_new(o, key, json_integer((json_int_t)n));
}

/* The value behind "key<blanks>:" in a file such as /proc/cpuinfo; "" when there is none. */
static void find_value(const char *path, const char *key, char *out, size_t size)
{
	char line[512];
	FILE *f = fopen(path, "re");

	out[0] = '\0';
	while (f && fgets(line, sizeof(line), f)) {
		char *colon = strchr(line, ':');
		if (strncmp(line, key, strlen(key)) != 0 || !colon)
			continue;
		colon += 1 + strspn(colon + 1, " \t");
		colon[strcspn(colon, "\n")] = '\0';
		(void)snprintf(out, size, "%s", colon);
		break;
	}
	if (f)
		(void)fclose(f);
}

static void first_line(const char *path, char *out, size_t size)
{
	FILE *f = fopen(path, "re");

	out[0] = '\0';
	if (f && !fgets(out, (int)size, f))
		out[0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	if (f)
		(void)fclose(f);
}

static void add_kernel(json_t *o)
{
	struct utsname u;
	struct rlimit files;
	char text[256];
	uint32_t features = 0;
	struct pn_error err;
	json_t *names = json_array();

	if (uname(&u) == 0) {
		put(o, "kernel", u.release);
		put(o, "architecture", u.machine);
	}
	if (pn_net_probe(&features, &err) == 0) {
		for (unsigned i = 0; i < PN_NET_FEATURE_COUNT; i++) {
			if (features & (1u << i))
				(void)json_array_append_new(names,
							    json_string(pn_net_feature_name(
								    (enum pn_net_feature_index)i)));
		}
	}
	(void)json_object_set_new(o, "io_uring_features", names);
	first_line("/proc/sys/net/ipv4/tcp_available_ulp", text, sizeof(text));
	(void)json_object_set_new(o, "ktls", json_boolean(strstr(text, "tls") != NULL));
	/* Some pace what they send with timers, which costs both ends. */
	first_line("/proc/sys/net/ipv4/tcp_congestion_control", text, sizeof(text));
	put(o, "tcp_congestion_control", text);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0)
		put_number(o, "open_files_max", files.rlim_max);
}

json_t *pn_bench_machine_describe(void)
{
	json_t *o = json_object();
	char text[256];

	if (!o)
		return NULL;
	find_value("/proc/cpuinfo", "model name", text, sizeof(text));
	put(o, "cpu", text);
	put_number(o, "cpus_online", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
	find_value("/proc/meminfo", "MemTotal", text, sizeof(text));
	put(o, "memory", text);
	first_line("/proc/loadavg", text, sizeof(text));
	put(o, "load_average_before", text);
	add_kernel(o);
	put(o, "postern_bench", PN_VERSION);
	put(o, "tls_library", pn_tls_library_version());
	put(o, "aes_gcm", pn_tls_gcm_library());
	put(o, "compiler", __VERSION__);
#if PN_JEMALLOC
	put(o, "allocator", "jemalloc");
#else
	put(o, "allocator", "libc");
#endif
	return o;
}
