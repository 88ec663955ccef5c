/* SPDX-License-Identifier: ISC */
/*
 * reserve.c - room on the disk that belongs to outcomes: a file of zeros, given up when a journal cannot be
 * made for lack of space.
 *
 * Without it messages could fill the disk to the last block; then no outcome could be recorded, so nothing
 * would ever be removed and the disk would stay full. While the reserve is not there no message is admitted and
 * no segment is made; the helper makes it again as soon as there is room.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "spool/internal.h"

#define RESERVE_NAME "reserve"

static int fill_locked(struct pn_spool *spool)
{
	int fd = pn_io_open("spool.reserve.create", spool->root_fd, RESERVE_NAME,
			    O_WRONLY | O_CREAT);
	if (fd < 0)
		return fd;
	/* Two journals: the one in use and the one that is made ahead. */
	int err = pn_io_allocate("spool.reserve.fallocate", fd, 2 * pn_journal_size(spool));
	close(fd);
	if (err < 0)
		(void)unlinkat(spool->root_fd, RESERVE_NAME, 0);
	return err;
}

int pn_reserve_fill(struct pn_spool *spool)
{
	int err = 0;
	pthread_mutex_lock(&spool->reserve_lock);
	/* relaxed: written under the lock; admission only wants to know soon */
	if (!atomic_load_explicit(&spool->has_reserve, memory_order_relaxed)) {
		err = fill_locked(spool);
		atomic_store_explicit(&spool->has_reserve, err == 0, memory_order_relaxed);
	}
	pthread_mutex_unlock(&spool->reserve_lock);
	return err;
}

bool pn_reserve_spend(struct pn_spool *spool)
{
	pthread_mutex_lock(&spool->reserve_lock);
	bool was_there =
		atomic_exchange_explicit(&spool->has_reserve, false, memory_order_relaxed) &&
		pn_io_unlink("spool.reserve.unlink", spool->root_fd, RESERVE_NAME) == 0;
	pthread_mutex_unlock(&spool->reserve_lock);
	return was_there;
}
