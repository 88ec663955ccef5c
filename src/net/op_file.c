/* SPDX-License-Identifier: ISC */
/* op_file.c - preparing file operations. */
#include "net/loop_internal.h"

static unsigned link_flag(bool link_next)
{
	return link_next ? IOSQE_IO_LINK : 0;
}

void pn_loop_read(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd, void *data,
		  uint32_t len, uint64_t offset)
{
	struct io_uring_sqe *sqe = pn_op_sqe(loop, op, fn, fd, false);

	io_uring_prep_read(sqe, fd, data, len, offset);
	pn_op_seal(sqe, op, 0);
}

void pn_loop_write(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd, const void *data,
		   uint32_t len, uint64_t offset, bool link_next)
{
	struct io_uring_sqe *sqe = pn_op_sqe(loop, op, fn, fd, link_next);

	io_uring_prep_write(sqe, fd, data, len, offset);
	pn_op_seal(sqe, op, link_flag(link_next));
}

void pn_loop_writev(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd,
		    const struct iovec *iov, unsigned iov_count, uint64_t offset, bool link_next)
{
	struct io_uring_sqe *sqe = pn_op_sqe(loop, op, fn, fd, link_next);

	io_uring_prep_writev(sqe, fd, iov, iov_count, offset);
	pn_op_seal(sqe, op, link_flag(link_next));
}

void pn_loop_writev_durable(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd,
			    const struct iovec *iov, unsigned iov_count, uint64_t offset)
{
	struct io_uring_sqe *sqe = pn_op_sqe(loop, op, fn, fd, false);

	io_uring_prep_writev2(sqe, fd, iov, iov_count, offset, RWF_DSYNC);
	pn_op_seal(sqe, op, 0);
}

void pn_loop_fsync(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd, bool data_only)
{
	struct io_uring_sqe *sqe = pn_op_sqe(loop, op, fn, fd, false);

	io_uring_prep_fsync(sqe, fd, data_only ? IORING_FSYNC_DATASYNC : 0);
	pn_op_seal(sqe, op, 0);
}

void pn_loop_openat(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int dir_fd,
		    const char *path, int flags, mode_t mode)
{
	struct io_uring_sqe *sqe = pn_op_sqe(loop, op, fn, dir_fd, false);

	io_uring_prep_openat(sqe, dir_fd, path, flags, mode);
	pn_op_seal(sqe, op, 0);
}

void pn_loop_renameat(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int old_dir_fd,
		      const char *old_path, int new_dir_fd, const char *new_path, unsigned flags)
{
	struct io_uring_sqe *sqe = pn_op_sqe(loop, op, fn, old_dir_fd, false);

	io_uring_prep_renameat(sqe, old_dir_fd, old_path, new_dir_fd, new_path, flags);
	pn_op_seal(sqe, op, 0);
}

void pn_loop_unlinkat(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int dir_fd,
		      const char *path, int flags)
{
	struct io_uring_sqe *sqe = pn_op_sqe(loop, op, fn, dir_fd, false);

	io_uring_prep_unlinkat(sqe, dir_fd, path, flags);
	pn_op_seal(sqe, op, 0);
}

void pn_loop_linkat(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int old_dir_fd,
		    const char *old_path, int new_dir_fd, const char *new_path, int flags)
{
	struct io_uring_sqe *sqe = pn_op_sqe(loop, op, fn, old_dir_fd, false);

	io_uring_prep_linkat(sqe, old_dir_fd, old_path, new_dir_fd, new_path, flags);
	pn_op_seal(sqe, op, 0);
}

void pn_loop_fallocate(struct pn_loop *loop, struct pn_op *op, pn_op_fn fn, int fd, int mode,
		       uint64_t offset, uint64_t len)
{
	struct io_uring_sqe *sqe = pn_op_sqe(loop, op, fn, fd, false);

	io_uring_prep_fallocate(sqe, fd, mode, (off_t)offset, (off_t)len);
	pn_op_seal(sqe, op, 0);
}
