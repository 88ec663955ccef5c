/* SPDX-License-Identifier: ISC */
/*
 * direct.c - whether segments can be written with O_DIRECT here.
 *
 * Asked by trying: statx tells what a file system wants only since Linux 6.1, and not every one tells it. Without it
 * segments go through the page cache, which costs a copy, pages and a second thread for each batch, and no promise.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <postern/base/fault.h>
#include <postern/base/log.h>

#include "spool/internal.h"

#define PROBE_NAME "probe"

static int probe(int fd)
{
	void *octets;
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_blksize > PN_DIRECT_ALIGN)
		return -EINVAL;
	if (posix_memalign(&octets, PN_DIRECT_ALIGN, PN_DIRECT_ALIGN) != 0)
		return -ENOMEM;
	memset(octets, 0, PN_DIRECT_ALIGN);
	ssize_t n = pwrite(fd, octets, PN_DIRECT_ALIGN, PN_DIRECT_ALIGN);
	int err = n < 0 ? -errno : n == PN_DIRECT_ALIGN ? 0 : -EIO;
	free(octets);
	return err;
}

void pn_direct_probe(struct pn_spool *spool)
{
	int err = -EOPNOTSUPP;
	/* Not in a build without syncs: what the page cache never saw would outlive the loss of it. */
	if (PN_SYNC_LINKS) {
		int fd = openat(spool->segments_fd, PROBE_NAME,
				O_WRONLY | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
		err = fd < 0 ? -errno : 0;
		(void)unlinkat(spool->segments_fd, PROBE_NAME, 0);
		err = pn_fault_result("spool.direct.probe", err < 0 ? err : probe(fd));
		if (fd >= 0)
			close(fd);
	}
	/* A full disk says nothing about it. */
	if (err == -ENOSPC || err == -EDQUOT || err == -ENOMEM)
		err = 0;
	atomic_store_explicit(&spool->is_direct, err == 0, memory_order_relaxed);
	if (err < 0)
		pn_logf(PN_LOG_INFO, "spool", "%s: no O_DIRECT (%s): segments go through the page cache",
			spool->path, strerror(-err));
}

void pn_direct_failed(struct pn_spool *spool)
{
	/* relaxed: whoever makes the next segment wants to know soon */
	if (atomic_exchange_explicit(&spool->is_direct, false, memory_order_relaxed))
		pn_logf(PN_LOG_WARN, "spool", "%s: O_DIRECT is refused after all: segments go through the page cache",
			spool->path);
}
