/* SPDX-License-Identifier: ISC */
/* dir.c - names of the spool's files and the blocking calls on them (helper thread, start-up). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <postern/base/fault.h>
#include <postern/base/log.h>

#include "spool/internal.h"

void pn_file_name(char out[PN_FILE_NAME_SIZE], enum pn_file_kind kind, uint64_t id)
{
	const char *suffix = kind == PN_FILE_SEGMENT ? "seg"
			     : kind == PN_FILE_LARGE ? "msg"
						     : "jnl";
	snprintf(out, PN_FILE_NAME_SIZE, "%016" PRIx64 ".%s", id, suffix);
}

void pn_file_name_tmp(char out[PN_FILE_NAME_SIZE], uint64_t id)
{
	snprintf(out, PN_FILE_NAME_SIZE, "%016" PRIx64 ".tmp", id);
}

void pn_void_name(char out[PN_FILE_NAME_SIZE], uint64_t id, uint64_t from)
{
	snprintf(out, PN_FILE_NAME_SIZE, "%016" PRIx64 "-%016" PRIx64 ".void", id, from);
}

static bool parse_hex(const char *text, uint64_t *ret)
{
	uint64_t value = 0;
	for (int i = 0; i < 16; i++) {
		char c = text[i];
		if (c >= '0' && c <= '9')
			value = value << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	*ret = value;
	return true;
}

bool pn_file_name_parse(const char *name, const char *suffix, uint64_t *ret_id)
{
	return parse_hex(name, ret_id) && strcmp(name + 16, suffix) == 0;
}

bool pn_void_name_parse(const char *name, uint64_t *ret_id, uint64_t *ret_from)
{
	return parse_hex(name, ret_id) && name[16] == '-' && parse_hex(name + 17, ret_from) &&
	       strcmp(name + 33, ".void") == 0;
}

int pn_file_dir(const struct pn_spool *spool, enum pn_file_kind kind)
{
	switch (kind) {
	case PN_FILE_SEGMENT:
		return spool->segments_fd;
	case PN_FILE_LARGE:
		return spool->files_fd;
	case PN_FILE_JOURNAL:
		break;
	}
	return spool->journals_fd;
}

int pn_io_open(const char *site, int dir_fd, const char *name, int flags)
{
	int fd = openat(dir_fd, name, flags | O_CLOEXEC, 0600);
	int res = pn_fault_result(site, fd < 0 ? -errno : 0);
	if (res < 0 && fd >= 0)
		close(fd);
	return res < 0 ? res : fd;
}

int pn_io_unlink(const char *site, int dir_fd, const char *name)
{
	return pn_fault_result(site, unlinkat(dir_fd, name, 0) < 0 ? -errno : 0);
}

int pn_io_rename(const char *site, int old_dir_fd, const char *old_name, int new_dir_fd,
		 const char *new_name)
{
	return pn_fault_result(
		site, renameat(old_dir_fd, old_name, new_dir_fd, new_name) < 0 ? -errno : 0);
}

int pn_io_sync(const char *site, int fd, bool data_only)
{
#ifdef PN_NOSYNC
	(void)fd;
	(void)data_only;
	int res = 0;
#else
	int res = data_only ? fdatasync(fd) : fsync(fd);
#endif
	return pn_fault_result(site, res < 0 ? -errno : 0);
}

int pn_io_write(const char *site, int fd, const void *data, size_t len, uint64_t offset)
{
	ssize_t n = pwrite(fd, data, len, (off_t)offset);
	int res = pn_fault_result(site, n < 0 ? -errno : (int)n);
	if (res < 0)
		return res;
	return (size_t)res == len ? 0 : -EIO;
}

ptrdiff_t pn_io_read(const char *site, int fd, void *data, size_t len, uint64_t offset)
{
	size_t done = 0;
	while (done < len) {
		size_t want = pn_min_size(len - done, 1u << 20);
		ssize_t n = pread(fd, (uint8_t *)data + done, want, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		int res = pn_fault_result(site, n < 0 ? -errno : (int)n);
		if (res < 0)
			return res;
		if (res == 0)
			break;
		done += (size_t)res;
	}
	return (ptrdiff_t)done;
}

int pn_io_allocate(const char *site, int fd, uint64_t size)
{
	int res = fallocate(fd, 0, 0, (off_t)size) < 0 ? -errno : 0;
	/* A file system without it: writes may then meet a full disk, which they survive. */
	if (res == -EOPNOTSUPP || res == -ENOSYS)
		res = ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
	return pn_fault_result(site, res);
}

void pn_spool_refresh_space(struct pn_spool *spool)
{
	struct statvfs st;
	int res = pn_fault_result("spool.dir.statvfs",
				  fstatvfs(spool->root_fd, &st) < 0 ? -errno : 0);
	/* Unknown: the last known figure stays. Only a number for admission, so relaxed. */
	if (res == 0)
		atomic_store_explicit(&spool->free_bytes, (uint64_t)st.f_bavail * st.f_frsize,
				      memory_order_relaxed);
}

int pn_damaged_save(struct pn_spool *spool, const char *name, const void *data, size_t len)
{
	int fd = pn_io_open("spool.damaged.create", spool->damaged_fd, name,
			    O_WRONLY | O_CREAT | O_EXCL);
	/* An earlier start has saved it. */
	if (fd == -EEXIST)
		return 0;
	if (fd < 0)
		return fd;
	int err = 0;
	for (size_t done = 0; err == 0 && done < len;) {
		size_t n = pn_min_size(len - done, 1u << 20);
		err = pn_io_write("spool.damaged.write", fd, (const uint8_t *)data + done, n, done);
		done += n;
	}
	if (err == 0)
		err = pn_io_sync("spool.damaged.fdatasync", fd, true);
	close(fd);
	if (err == 0)
		err = pn_io_sync("spool.damaged.fsync", spool->damaged_fd, false);
	/* A part of it must not pass for the whole at the next start. */
	if (err < 0 && unlinkat(spool->damaged_fd, name, 0) < 0)
		pn_logf(PN_LOG_WARN, "spool", "damaged/%s is incomplete: %s", name,
			strerror(errno));
	return err;
}

int pn_damaged_move(struct pn_spool *spool, int dir_fd, const char *name)
{
	int err = pn_io_rename("spool.damaged.rename", dir_fd, name, spool->damaged_fd, name);
	/* When damaged/ has a link to it already (the reader made one), rename does nothing at all. */
	if (err == 0 && unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
		err = -errno;
	/* The new place first: between the two it is better to have it twice than not at all. */
	if (err == 0)
		err = pn_io_sync("spool.damaged.fsync", spool->damaged_fd, false);
	if (err == 0)
		err = pn_io_sync("spool.damaged.fsync", dir_fd, false);
	return err;
}
