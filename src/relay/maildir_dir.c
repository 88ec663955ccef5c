/* SPDX-License-Identifier: ISC */
/* maildir_dir.c - the folders and names of a Maildir; nothing here is done on a worker's thread, or it is pure. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <postern/base/codec.h>

#include "maildir.h"

static int dir_open(int at, const char *name, bool is_made)
{
	if (is_made && mkdirat(at, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int maildir_open(struct pn_maildir *m, const char *path)
{
	m->dir_fd = dir_open(AT_FDCWD, path, true);
	if (m->dir_fd < 0)
		return m->dir_fd;
	m->tmp_fd = dir_open(m->dir_fd, "tmp", true);
	m->new_fd = dir_open(m->dir_fd, "new", true);
	m->cur_fd = dir_open(m->dir_fd, "cur", true);
	if (m->tmp_fd < 0 || m->new_fd < 0 || m->cur_fd < 0)
		return m->tmp_fd < 0 ? m->tmp_fd : m->new_fd < 0 ? m->new_fd : m->cur_fd;
	/* The folders themselves must survive a power loss before a message in them can. */
	return fsync(m->dir_fd) < 0 ? -errno : 0;
}

struct pn_maildir *pn_maildir_new(const struct pn_upstream_settings *settings, struct pn_error *err)
{
	struct pn_maildir *m = malloc(sizeof(*m));
	if (!m) {
		pn_error_set(err, "upstream %s: out of memory", settings->name);
		return NULL;
	}
	*m = (struct pn_maildir){.dir_fd = -1, .tmp_fd = -1, .new_fd = -1, .cur_fd = -1};
	atomic_init(&m->refs, 1);
	m->known_kind = 1 + pn_crc32c(0, settings->maildir_path, strlen(settings->maildir_path)) / 2;
	int rc = maildir_open(m, settings->maildir_path);
	if (rc < 0) {
		pn_error_set(err, "upstream %s: Maildir %s: %s", settings->name, settings->maildir_path, strerror(-rc));
		pn_maildir_unref(m);
		return NULL;
	}
	return m;
}

struct pn_maildir *pn_maildir_ref(struct pn_maildir *m)
{
	/* relaxed: the caller has a reference already */
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}

void pn_maildir_unref(struct pn_maildir *m)
{
	/* acq_rel: what other threads did with it is over before the last one closes it; pairs with itself */
	if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
		return;
	int fds[] = {m->dir_fd, m->tmp_fd, m->new_fd, m->cur_fd};
	for (size_t i = 0; i < PN_ARRAY_SIZE(fds); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	free(m);
}

void pn_maildir_name(char out[PN_MAILDIR_NAME_SIZE], const struct pn_id *id, uint32_t index)
{
	char text[PN_ID_TEXT_LEN + 1];
	pn_id_format(text, id);
	snprintf(out, PN_MAILDIR_NAME_SIZE, "%" PRIu64 ".M%sR%" PRIu32 ".postern", pn_id_time_ms(id) / 1000, text,
	         index);
}

bool pn_maildir_name_parse(const char *name, struct pn_id *ret_id, uint32_t *ret_index)
{
	static const char tail[] = ".postern";
	const char *at = strchr(name, '.');
	uint64_t index;
	if (!at || at[1] != 'M' || strlen(at) < 2 + PN_ID_TEXT_LEN + 2)
		return false;
	at += 2;
	if (!pn_id_parse(pn_slice(at, PN_ID_TEXT_LEN), ret_id) || at[PN_ID_TEXT_LEN] != 'R')
		return false;
	at += PN_ID_TEXT_LEN + 1;
	size_t digits = strspn(at, "0123456789");
	if (!pn_slice_to_u64(pn_slice(at, digits), UINT32_MAX, &index))
		return false;
	at += digits;
	if (strncmp(at, tail, sizeof(tail) - 1) != 0 || (at[sizeof(tail) - 1] != '\0' && at[sizeof(tail) - 1] != ':'))
		return false;
	*ret_index = (uint32_t)index;
	return true;
}

static void find_in(const struct pn_maildir *m, const char *folder, const struct pn_known *known,
                    struct pn_known *found)
{
	struct dirent *d;
	int fd = openat(m->dir_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((d = readdir(dir)) != NULL) {
		struct pn_known_item item = {.kind = m->known_kind};
		char name[PN_MAILDIR_NAME_SIZE];
		if (!pn_maildir_name_parse(d->d_name, &item.id, &item.index) || !pn_known_has(known, &item.id, 0, 0))
			continue;
		pn_known_add(found, &item);
		/* Nobody will write that one again, so what a later attempt left of it goes now. */
		pn_maildir_name(name, &item.id, item.index);
		(void)!unlinkat(m->tmp_fd, name, 0);
	}
	closedir(dir);
}

void pn_maildir_find_known(const struct pn_maildir *m, struct pn_known *known)
{
	struct pn_known found = {0};
	/* In new too, and first: what is there now may be moved to cur before the message's turn comes. */
	find_in(m, "new", known, &found);
	find_in(m, "cur", known, &found);
	for (size_t i = 0; i < found.count; i++)
		pn_known_add(known, &found.items[i]);
	pn_known_deinit(&found);
	pn_known_sort(known);
}
