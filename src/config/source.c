/* SPDX-License-Identifier: ISC */
/*
 * source.c - the octets of a configuration file, under limits.
 *
 * The first file may be anything that can be read to its end (a pipe, /dev/stdin); an included one is a
 * regular file. A file with a NUL in it is refused here, so that the rest may rely on C strings.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config_internal.h"

uint32_t pn_config_file_add(struct pn_config_build *b, const char *name)
{
	char **files = realloc(b->files, (b->file_count + 1) * sizeof(*files));
	if (files != NULL) {
		b->files = files;
		files[b->file_count] = strdup(name);
		if (files[b->file_count] != NULL)
			return (uint32_t)b->file_count++;
	}
	pn_config_memory_out(b);
	return UINT32_MAX;
}

/* Reads to the end, at most PN_CONFIG_FILE_MAX_BYTES. NULL with errno. */
static char *read_all(int fd, size_t *ret_len)
{
	size_t cap = 16384, len = 0;
	char *text = malloc(cap);

	while (text != NULL) {
		if (len + 1 == cap) {
			char *bigger = cap >= PN_CONFIG_FILE_MAX_BYTES ? NULL : realloc(text, cap * 2);
			if (bigger == NULL) {
				int error = cap >= PN_CONFIG_FILE_MAX_BYTES ? EFBIG : ENOMEM;
				free(text);
				errno = error;
				return NULL;
			}
			text = bigger;
			cap *= 2;
		}
		ssize_t n = read(fd, text + len, cap - 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int error = errno;
			free(text);
			errno = error;
			return NULL;
		}
		if (n == 0)
			break;
		len += (size_t)n;
	}
	if (text == NULL)
		return NULL;
	text[len] = '\0';
	*ret_len = len;
	return text;
}

/* Opens without waiting for a writer or a device; reports. -1: reported. */
static int open_source(struct pn_config_build *b, const char *path, struct pn_config_place place,
                       struct pn_config_source *s)
{
	struct stat st;
	int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | (s->includer != NULL ? O_NONBLOCK : 0);
	int fd = open(path, flags);

	if (fd < 0 || fstat(fd, &st) != 0) {
		pn_config_mistake(b, place, "cannot open %s: %s; %s", path, strerror(errno),
				  errno == ENOENT && s->includer == NULL
					  ? "begin with postern.conf.example (postern.conf(5)), or name a file with -c"
					  : "name a file that can be read");
		if (fd >= 0)
			close(fd);
		return -1;
	}
	if (S_ISDIR(st.st_mode) || (s->includer != NULL && !S_ISREG(st.st_mode))) {
		pn_config_mistake(b, place, "%s is not a regular file; name a file", path);
		close(fd);
		return -1;
	}
	s->device = st.st_dev;
	s->inode = st.st_ino;
	for (const struct pn_config_source *up = s->includer; up != NULL; up = up->includer) {
		if (up->device != s->device || up->inode != s->inode)
			continue;
		pn_config_mistake(b, place, "%s includes itself; take one of the includes out", path);
		close(fd);
		return -1;
	}
	return fd;
}

bool pn_config_source_read(struct pn_config_build *b, const char *path, struct pn_config_place place,
                           struct pn_config_source *includer, struct pn_config_source *s)
{
	memset(s, 0, sizeof(*s));
	s->includer = includer;
	s->depth = includer != NULL ? includer->depth + 1 : 0;
	int fd = open_source(b, path, place, s);
	if (fd < 0)
		return false;
	s->text = read_all(fd, &s->len);
	int error = errno;
	close(fd);
	if (s->text == NULL) {
		pn_config_mistake(b, place, "cannot read %s: %s; a configuration file has at most %u MiB", path,
		                  strerror(error), PN_CONFIG_FILE_MAX_BYTES >> 20);
		return false;
	}
	b->total_bytes += s->len;
	s->file = pn_config_file_add(b, path);
	struct pn_config_place begin = { s->file, 1 };
	if (b->total_bytes > PN_CONFIG_TOTAL_MAX_BYTES)
		pn_config_mistake(b, place, "more than %u MiB with all includes; make the files smaller",
		                  PN_CONFIG_TOTAL_MAX_BYTES >> 20);
	else if (strlen(s->text) != s->len)
		pn_config_mistake(b, begin, "the file has NUL octets in it; write plain text (UTF-8)");
	else if (s->file != UINT32_MAX)
		return true;
	pn_config_source_free(s);
	return false;
}

void pn_config_source_free(struct pn_config_source *s)
{
	free(s->text);
	s->text = NULL;
}
