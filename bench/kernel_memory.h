/* SPDX-License-Identifier: ISC */
/* kernel_memory.h - what the kernel holds for all sockets and files of the machine; what cannot be seen is 0. */
#ifndef PN_BENCH_KERNEL_MEMORY_H
#define PN_BENCH_KERNEL_MEMORY_H

#include <jansson.h>

#include <postern/base/common.h>

struct pn_bench_kernel_memory {
	uint64_t slab_bytes, slab_unreclaimable_bytes; /* /proc/meminfo */
	uint64_t tcp_sockets, tcp_buffer_bytes;        /* /proc/net/sockstat */
	/* /proc/slabinfo, which only root may read: objects in use times their size */
	uint64_t slab_tcp_bytes, slab_socket_inode_bytes, slab_file_bytes;
};

void pn_bench_kernel_memory_take(struct pn_bench_kernel_memory *ret);
/* (after - before) / count of each, a new reference. */
json_t *pn_bench_kernel_memory_json(const struct pn_bench_kernel_memory *before,
				    const struct pn_bench_kernel_memory *after, uint64_t count);

#endif
