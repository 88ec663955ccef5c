/* SPDX-License-Identifier: ISC */
/* files.c - reading whole small files. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app.h"

int pn_file_read(const char *path, size_t max_bytes, uint8_t **ret, size_t *ret_len,
		 struct pn_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) != 0) {
		int rc = -errno;
		(void)pn_error_set(err, "%s: %s", path, strerror(errno));
		if (fd >= 0)
			(void)close(fd);
		return rc;
	}
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > max_bytes) {
		(void)pn_error_set(err, "%s: not a regular file of at most %zu bytes", path,
				   max_bytes);
		(void)close(fd);
		return -EFBIG;
	}
	size_t cap = (size_t)st.st_size + 1;
	uint8_t *data = malloc(cap);
	size_t len = 0;
	ssize_t n = data ? 1 : -1;
	while (data && len < cap - 1 && (n = read(fd, data + len, cap - 1 - len)) > 0)
		len += (size_t)n;
	int rc = !data ? -ENOMEM : n < 0 ? -errno : 0;
	(void)close(fd);
	if (rc != 0) {
		(void)pn_error_set(err, "%s: %s", path, strerror(-rc));
		free(data);
		return rc;
	}
	data[len] = '\0';
	*ret = data;
	*ret_len = len;
	return 0;
}
