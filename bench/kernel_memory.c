/* SPDX-License-Identifier: ISC */
/* kernel_memory.c - see kernel_memory.h. */
#include "kernel_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The number behind `key` in the line that begins with `line_start`; 0 when it is not there. */
static uint64_t find_number(const char *path, const char *line_start, const char *key)
{
	char line[512];
	uint64_t n = 0;
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof(line), f)) {
		const char *at = strncmp(line, line_start, strlen(line_start)) == 0
					 ? strstr(line, key)
					 : NULL;
		if (at) {
			n = strtoull(at + strlen(key), NULL, 10);
			break;
		}
	}
	if (f)
		(void)fclose(f);
	return n;
}

/* name <active_objs> <num_objs> <objsize> */
static uint64_t slab_bytes(const char *name)
{
	char line[512], found[64];
	unsigned long long active, size;
	uint64_t bytes = 0;
	FILE *f = fopen("/proc/slabinfo", "re");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%63s %llu %*u %llu", found, &active, &size) == 3 &&
		    strcmp(found, name) == 0)
			bytes += active * size;
	}
	if (f)
		(void)fclose(f);
	return bytes;
}

void pn_bench_kernel_memory_take(struct pn_bench_kernel_memory *ret)
{
	static const char meminfo[] = "/proc/meminfo", sockstat[] = "/proc/net/sockstat";

	*ret = (struct pn_bench_kernel_memory){
		.slab_bytes = find_number(meminfo, "Slab:", ":") * 1024,
		.slab_unreclaimable_bytes = find_number(meminfo, "SUnreclaim:", ":") * 1024,
		.tcp_sockets = find_number(sockstat, "TCP:", "inuse"),
		.tcp_buffer_bytes =
			find_number(sockstat, "TCP:", "mem") * (uint64_t)sysconf(_SC_PAGESIZE),
		.slab_tcp_bytes = slab_bytes("TCP") + slab_bytes("TCPv6"),
		.slab_socket_inode_bytes = slab_bytes("sock_inode_cache"),
		.slab_file_bytes = slab_bytes("filp"),
	};
}

static double per(uint64_t before, uint64_t after, uint64_t count)
{
	return count ? ((double)after - (double)before) / (double)count : 0;
}

json_t *pn_bench_kernel_memory_json(const struct pn_bench_kernel_memory *b,
				    const struct pn_bench_kernel_memory *a, uint64_t count)
{
	return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "slab_bytes",
			 per(b->slab_bytes, a->slab_bytes, count), "slab_unreclaimable_bytes",
			 per(b->slab_unreclaimable_bytes, a->slab_unreclaimable_bytes, count),
			 "tcp_sockets", per(b->tcp_sockets, a->tcp_sockets, count),
			 "tcp_buffer_bytes", per(b->tcp_buffer_bytes, a->tcp_buffer_bytes, count),
			 "slab_tcp_bytes", per(b->slab_tcp_bytes, a->slab_tcp_bytes, count),
			 "slab_socket_inode_bytes",
			 per(b->slab_socket_inode_bytes, a->slab_socket_inode_bytes, count),
			 "slab_file_bytes", per(b->slab_file_bytes, a->slab_file_bytes, count));
}
