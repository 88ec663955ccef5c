/* SPDX-License-Identifier: ISC */
/*
 * sync.c - making messages durable with pwrite and fdatasync: at the growing end of a file, over octets that were there
 * before (no block to allocate, no size to change), and many messages for one fdatasync.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/clock.h>

#include "histogram.h"
#include "limit.h"
#include "measure.h"

#define GROUP         16u
#define PIECE_MAX     (128u << 10)
#define OVERWRITE_MAX (64u << 20) /* of a file; then from its beginning again */

enum kind { KIND_OVERWRITE = 1, KIND_GROUP = 2 }; /* bits */

/* 0 or -errno. A short write is a full disk. */
static int put(int fd, const uint8_t *data, size_t size, uint64_t offset)
{
	for (size_t done = 0; done < size;) {
		size_t piece = pn_min_size(size - done, PIECE_MAX);
		ssize_t n = pwrite(fd, data + done, piece, (off_t)(offset + done));
		if (n != (ssize_t)piece)
			return n < 0 ? -errno : -ENOSPC;
		done += piece;
	}
	return 0;
}

/* How many places a file has for messages. */
static uint64_t places(const struct pn_bench_limit_row *row, uint64_t operations)
{
	uint64_t most = row->kind & KIND_OVERWRITE ? OVERWRITE_MAX / row->size_bytes : operations;

	return operations < most ? operations : most;
}

static int fill(int fd, const uint8_t *data, size_t size, uint64_t count)
{
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < count; i++)
		r = put(fd, data, size, i * size);
	if (r == 0 && fsync(fd) != 0)
		r = -errno;
	return r;
}

static int write_all(int fd, const uint8_t *data, const struct pn_bench_limit_row *row,
		     uint64_t operations, struct pn_bench_histogram *latency)
{
	uint64_t in_group = row->kind & KIND_GROUP ? GROUP : 1;
	uint64_t count = places(row, operations);
	uint64_t begin_ns = pn_clock_mono_ns();

	for (uint64_t i = 0; i < operations; i++) {
		int r = put(fd, data, (size_t)row->size_bytes, i % count * row->size_bytes);
		if (r != 0)
			return r;
		if ((i + 1) % in_group != 0 && i + 1 < operations)
			continue;
		if (fdatasync(fd) != 0)
			return -errno;
		uint64_t end_ns = pn_clock_mono_ns();
		pn_bench_histogram_add(latency, end_ns - begin_ns);
		begin_ns = end_ns;
	}
	return 0;
}

static int measure_file(int fd, const struct pn_bench_limit_row *row, uint64_t operations,
			struct pn_bench_limit_sample *ret)
{
	struct pn_bench_histogram *latency = calloc(1, sizeof(*latency));
	uint8_t *data = malloc((size_t)row->size_bytes);
	int r = latency && data ? 0 : -ENOMEM;

	if (r == 0) {
		memset(data, 'm', (size_t)row->size_bytes);
		if (row->kind & KIND_OVERWRITE)
			r = fill(fd, data, (size_t)row->size_bytes, places(row, operations));
	}
	uint64_t wall_ns = pn_clock_mono_ns();
	uint64_t cpu_ns = pn_bench_thread_cpu_ns();
	if (r == 0)
		r = write_all(fd, data, row, operations, latency);
	if (r == 0) {
		ret->cpu_us =
			(double)(pn_bench_thread_cpu_ns() - cpu_ns) / 1000 / (double)operations;
		ret->wall_us = (double)(pn_clock_mono_ns() - wall_ns) / 1000 / (double)operations;
		ret->p50_us = (double)pn_bench_histogram_quantile(latency, 0.5) / 1000;
		ret->p99_us = (double)pn_bench_histogram_quantile(latency, 0.99) / 1000;
	}
	free(data);
	free(latency);
	return r;
}

static int measure(const struct pn_bench_limit_place *place, const struct pn_bench_limit_row *row,
		   uint64_t operations, struct pn_bench_limit_sample *ret, struct pn_error *err)
{
	char path[PN_BENCH_PATH_SIZE];
	int n = snprintf(path, sizeof(path), "%s/%s", place->dir, row->name);
	int fd = n > 0 && n < (int)sizeof(path)
			 ? open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)
			 : -1;
	int r = fd >= 0 ? measure_file(fd, row, operations, ret) : -errno;

	if (fd >= 0) {
		(void)close(fd);
		(void)unlink(path);
	}
	if (r != 0)
		(void)pn_error_set(err, "%s: %s", path, strerror(-r));
	return r;
}

#define KIB 1024u
const struct pn_bench_limit_row pn_bench_limit_sync[] = {
	{ "sync_append", "append 4 KiB, fdatasync", measure, 0, 4 * KIB, 400, NULL },
	{ "sync_overwrite", "overwrite 4 KiB in place, fdatasync", measure, KIND_OVERWRITE, 4 * KIB,
	  400, NULL },
	{ "sync_group", "append 4 KiB, 16 share one fdatasync", measure, KIND_GROUP, 4 * KIB, 4800,
	  NULL },
	{ "sync_4k_group", "overwrite 4 KiB, 16 share one", measure, KIND_OVERWRITE | KIND_GROUP,
	  4 * KIB, 4800, NULL },
	{ "sync_64k", "overwrite 64 KiB, fdatasync", measure, KIND_OVERWRITE, 64 * KIB, 400, NULL },
	{ "sync_64k_group", "overwrite 64 KiB, 16 share one", measure, KIND_OVERWRITE | KIND_GROUP,
	  64 * KIB, 1600, NULL },
	{ "sync_1m", "overwrite 1 MiB, fdatasync", measure, KIND_OVERWRITE, 1024 * KIB, 120, NULL },
	{ 0 },
};
