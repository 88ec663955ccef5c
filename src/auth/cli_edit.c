/* SPDX-License-Identifier: ISC */
/*
 * cli_edit.c - changes a user file atomically and one at a time.
 *
 * The lock lies on a file of its own (FILE.lock, which stays): the user file itself is replaced, so a lock on
 * it would be a lock on its past. Readers need no lock, they see the old file or the new one. Lines that are
 * not changed are copied octet for octet, comments and mistakes included.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include <postern/base/secret.h>

#include "auth/cli.h"
#include "auth/saslprep.h"

#define FILE_MAX (1u << 30) /* octets */
#define MODE_NEW 0640

/* Finds the file behind links; for a new file, its directory. */
static int resolve(struct pn_user_edit *e, const char *path, bool may_create, struct pn_error *err)
{
	char dir[PATH_MAX], found[PATH_MAX];

	if (realpath(path, e->path))
		return 0;
	if (errno != ENOENT || !may_create) {
		int saved = errno;
		pn_error_set(err, "%s: %s", path,
		             saved == ENOENT ? "no such user file; 'postern user add' makes one" : strerror(saved));
		return -saved;
	}
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;
	int dir_len = slash ? snprintf(dir, sizeof(dir), "%.*s/", (int)(slash - path), path)
	                    : snprintf(dir, sizeof(dir), ".");
	if (dir_len >= (int)sizeof(dir) || *base == '\0' || !realpath(dir, found) ||
	    snprintf(e->path, sizeof(e->path), "%s/%s", found, base) >= (int)sizeof(e->path)) {
		int saved = errno != 0 ? errno : EINVAL;
		pn_error_set(err, "%s: the directory cannot be used: %s", path, strerror(saved));
		return -saved;
	}
	e->is_new = true;
	return 0;
}

static int take_lock(struct pn_user_edit *e, struct pn_error *err)
{
	char lock[PATH_MAX + 8];

	snprintf(lock, sizeof(lock), "%s.lock", e->path);
	e->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int result = e->lock_fd >= 0 ? 0 : -1;
	while (result == 0 && flock(e->lock_fd, LOCK_EX) != 0)
		result = errno == EINTR ? 0 : -1;
	if (result == 0)
		return 0;
	int saved = errno;
	pn_error_set(err, "cannot lock %s: %s", lock, strerror(saved));
	return -saved;
}

static int read_all(struct pn_user_edit *e, int fd)
{
	e->text = malloc((size_t)e->st.st_size + 1);
	if (!e->text)
		return -ENOMEM;
	while (e->len < (size_t)e->st.st_size) {
		ssize_t n = read(fd, e->text + e->len, (size_t)e->st.st_size - e->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		e->len += (size_t)n;
	}
	return 0;
}

static int read_file(struct pn_user_edit *e, bool may_create, struct pn_error *err)
{
	int fd = open(e->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int result = fd >= 0 && fstat(fd, &e->st) == 0 ? 0 : -errno;

	/* Asked again under the lock: somebody may have made the file meanwhile. */
	e->is_new = result == -ENOENT && may_create;
	if (e->is_new)
		return 0;
	if (result == 0 && !S_ISREG(e->st.st_mode))
		result = -EINVAL;
	if (result == 0 && (uint64_t)e->st.st_size > FILE_MAX)
		result = -EFBIG;
	if (result == 0)
		result = read_all(e, fd);
	if (fd >= 0)
		close(fd);
	if (result < 0)
		pn_error_set(err, "%s: %s", e->path, strerror(-result));
	return result;
}

int pn_user_edit_open(struct pn_user_edit *e, const char *path, bool may_create, struct pn_error *err)
{
	*e = (struct pn_user_edit){ .lock_fd = -1 };
	int result = resolve(e, path, may_create, err);
	if (result == 0)
		result = take_lock(e, err);
	if (result == 0)
		result = read_file(e, may_create, err);
	return result;
}

void pn_user_edit_close(struct pn_user_edit *e)
{
	if (e->text)
		pn_wipe(e->text, e->len);
	free(e->text);
	e->text = NULL;
	if (e->lock_fd >= 0)
		close(e->lock_fd);
	e->lock_fd = -1;
}

/* The next line without its LF; false at the end. */
static bool next_line(const struct pn_user_edit *e, size_t *at, struct pn_slice *ret)
{
	if (*at >= e->len)
		return false;
	const char *lf = memchr(e->text + *at, '\n', e->len - *at);
	size_t end = lf ? (size_t)(lf - e->text) : e->len;
	*ret = pn_slice(e->text + *at, end - *at);
	*at = end + 1;
	return true;
}

bool pn_user_edit_find(const struct pn_user_edit *e, struct pn_slice name, struct pn_slice *ret_line)
{
	struct pn_user_fields fields;
	char prepared[PN_SASL_PREPARED_MAX];
	size_t at = 0;

	while (next_line(e, &at, ret_line)) {
		if (!pn_user_split_line(*ret_line, &fields))
			continue;
		ptrdiff_t len = pn_saslprep_stored(prepared, sizeof(prepared), fields.name);
		if (len > 0 && pn_user_name_eq(pn_slice(prepared, (size_t)len), name))
			return true;
	}
	return false;
}

bool pn_user_edit_has_seed(const struct pn_user_edit *e)
{
	struct pn_slice line, prefix = PN_SLICE_LIT(PN_SCRAM_SEED_PREFIX);
	size_t at = 0;

	while (next_line(e, &at, &line)) {
		if (line.len >= prefix.len && memcmp(line.ptr, prefix.ptr, prefix.len) == 0)
			return true;
	}
	return false;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* The old file's owner and mode; for a new file the group of its directory, where that can be had. */
static int set_owner_and_mode(const struct pn_user_edit *e, int fd, const char *dir)
{
	struct stat now, st;

	if (fstat(fd, &now) != 0)
		return -errno;
	if (e->is_new) {
		if (stat(dir, &st) == 0 && st.st_gid != now.st_gid && fchown(fd, (uid_t)-1, st.st_gid) != 0 &&
		    errno != EPERM)
			return -errno;
		return fchmod(fd, MODE_NEW) == 0 ? 0 : -errno;
	}
	if ((now.st_uid != e->st.st_uid || now.st_gid != e->st.st_gid) && fchown(fd, e->st.st_uid, e->st.st_gid) != 0)
		return -errno;
	return fchmod(fd, e->st.st_mode & 07777) == 0 ? 0 : -errno;
}

static int write_parts(const struct pn_user_edit *e, int fd, size_t from, size_t to, const char *middle,
                       const char *tail)
{
	int r = write_all(fd, e->text, from);
	if (r == 0)
		r = write_all(fd, middle, strlen(middle));
	if (r == 0)
		r = write_all(fd, e->text + to, e->len - to);
	if (r == 0)
		r = write_all(fd, tail, strlen(tail));
	if (r == 0 && fsync(fd) != 0)
		r = -errno;
	return r;
}

static int sync_directory(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd >= 0 && fsync(fd) == 0 ? 0 : -errno;
	if (fd >= 0)
		close(fd);
	return r;
}

int pn_user_edit_commit(struct pn_user_edit *e, size_t from, size_t to, const char *middle, const char *tail,
                        struct pn_error *err)
{
	char temp[PATH_MAX + 16], dir[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s", e->path);
	*strrchr(dir, '/') = '\0';
	if (dir[0] == '\0')
		snprintf(dir, sizeof(dir), "/");
	snprintf(temp, sizeof(temp), "%s.new.XXXXXX", e->path);
	int fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0) {
		int saved = errno;
		pn_error_set(err, "cannot write beside %s: %s", e->path, strerror(saved));
		return -saved;
	}
	int r = set_owner_and_mode(e, fd, dir);
	if (r < 0) {
		pn_error_set(err, "cannot keep owner and mode of %s: %s; run this as its owner or as root", e->path,
		             strerror(-r));
	} else {
		r = write_parts(e, fd, from, to, middle, tail);
		if (r == 0 && rename(temp, e->path) != 0)
			r = -errno;
		if (r < 0)
			pn_error_set(err, "cannot write %s: %s; nothing was changed", e->path, strerror(-r));
	}
	close(fd);
	if (r < 0) {
		unlink(temp);
		return r;
	}
	r = sync_directory(dir);
	if (r < 0)
		pn_error_set(err, "%s was changed, but its directory cannot be synced: %s", e->path, strerror(-r));
	return r;
}
