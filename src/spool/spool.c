/* SPDX-License-Identifier: ISC */
/* spool.c - the directory: opening, locking, closing; entries. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <postern/base/log.h>

#include "spool/blob.h"
#include "spool/internal.h"
#include "spool/stats.h"
#include "spool/void.h"

#define INLINE_MAX_BYTES  (16u << 20)
#define SEGMENT_MIN_BYTES (64u << 10)
#define MEMORY_MIN_BYTES  (1u << 20)

static int check_settings(const struct pn_spool_settings *s, struct pn_error *err)
{
	if (s->segment_size_bytes < SEGMENT_MIN_BYTES ||
	    s->segment_size_bytes > PN_SEGMENT_SIZE_MAX_BYTES) {
		pn_error_set(err, "spool: segment_size_bytes must be from %u to %llu",
			     SEGMENT_MIN_BYTES, (unsigned long long)PN_SEGMENT_SIZE_MAX_BYTES);
		return -EINVAL;
	}
	if (s->inline_max_bytes > INLINE_MAX_BYTES || s->memory_max_bytes < MEMORY_MIN_BYTES) {
		pn_error_set(
			err,
			"spool: inline_max_bytes must be at most %u, memory_max_bytes at least %u",
			INLINE_MAX_BYTES, MEMORY_MIN_BYTES);
		return -EINVAL;
	}
	return 0;
}

/* Makes the directory if it is missing and opens it. A descriptor or -errno. */
static int open_dir(struct pn_spool *s, const char *name, struct pn_error *err)
{
	int fd = -1;
	if (mkdirat(s->root_fd, name, 0700) == 0 || errno == EEXIST)
		fd = openat(s->root_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		int res = -errno;
		pn_error_set(err, "spool: cannot use %s/%s: %s", s->path, name, strerror(-res));
		return res;
	}
	return fd;
}

static int take_lock(struct pn_spool *s, struct pn_error *err)
{
	char text[32] = "";
	s->lock_fd = openat(s->root_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0) {
		int res = -errno;
		pn_error_set(err, "spool: cannot open %s/lock: %s", s->path, strerror(-res));
		return res;
	}
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		int res = -errno;
		ssize_t n = pread(s->lock_fd, text, sizeof(text) - 1, 0);
		text[n > 0 ? n : 0] = '\0';
		pn_error_set(err, "spool %s is in use by another process (pid %s): %s", s->path,
			     n > 0 ? text : "unknown", strerror(-res));
		return res;
	}
	/* Only to tell a human who has it; the lock itself is what counts. */
	int len = snprintf(text, sizeof(text), "%ld", (long)getpid());
	if (ftruncate(s->lock_fd, 0) < 0 || pwrite(s->lock_fd, text, (size_t)len, 0) < 0)
		pn_logf(PN_LOG_DEBUG, "spool", "cannot write the pid to %s/lock: %s", s->path,
			strerror(errno));
	return 0;
}

static int open_all(struct pn_spool *s, struct pn_error *err)
{
	static const char *const names[] = { "segments", "files", "journals", "damaged" };
	int *const fds[] = { &s->segments_fd, &s->files_fd, &s->journals_fd, &s->damaged_fd };

	s->root_fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->root_fd < 0) {
		int res = -errno;
		pn_error_set(err, "spool: cannot open %s: %s", s->path, strerror(-res));
		return res;
	}
	int res = take_lock(s, err);
	for (size_t i = 0; res == 0 && i < PN_ARRAY_SIZE(names); i++) {
		*fds[i] = open_dir(s, names[i], err);
		res = *fds[i] < 0 ? *fds[i] : 0;
	}
	if (res == 0) {
		res = pn_io_sync("spool.dir.fsync", s->root_fd, false);
		if (res < 0)
			pn_error_set(err, "spool: cannot sync %s: %s", s->path, strerror(-res));
	}
	return res;
}

static void free_all(struct pn_spool *s)
{
	int *const fds[] = { &s->segments_fd, &s->files_fd, &s->journals_fd,
			     &s->damaged_fd,  &s->lock_fd,  &s->root_fd };
	for (size_t i = 0; i < PN_ARRAY_SIZE(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
	}
	pn_void_slots_close(s);
	pthread_mutex_destroy(&s->files_lock);
	pthread_mutex_destroy(&s->reserve_lock);
	pn_pool_deinit(&s->pool);
	free((void *)s->journals);
	free(s->path);
	free(s);
}

static struct pn_spool *spool_alloc(const struct pn_spool_settings *settings)
{
	struct pn_spool *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->settings = *settings;
	/* Whole pages, so that a write that ends where a segment ends ends with one. */
	s->settings.segment_size_bytes -= s->settings.segment_size_bytes % PN_DIRECT_ALIGN;
	atomic_init(&s->queue_messages_max, settings->queue_messages_max);
	atomic_init(&s->free_space_min_bytes, settings->free_space_min_bytes);
	s->root_fd = s->lock_fd = s->segments_fd = s->files_fd = s->journals_fd = s->damaged_fd =
		-1;
	s->void_slots.fd = -1;
	pn_list_init(&s->files);
	pthread_mutex_init(&s->files_lock, NULL);
	pthread_mutex_init(&s->reserve_lock, NULL);
	pn_pool_init(&s->pool, settings->memory_max_bytes);
	s->large.spool = s;
	s->large.kind = PN_FILE_LARGE;
	s->large.fd = -1;
	atomic_init(&s->large.refs, 1);
	pn_list_init(&s->large.node);
	s->journal_slots = PN_JOURNAL_SLOTS_MIN;
	s->journals = calloc(s->journal_slots, sizeof(*s->journals));
	s->path = strdup(settings->path);
	s->settings.path = s->path;
	if (!s->journals || !s->path) {
		free_all(s);
		return NULL;
	}
	return s;
}

void pn_spool_set_limits(struct pn_spool *spool, uint64_t queue_messages_max,
			 uint64_t free_space_min_bytes)
{
	/* relaxed: two numbers for a limit, each good on its own */
	atomic_store_explicit(&spool->queue_messages_max, queue_messages_max, memory_order_relaxed);
	atomic_store_explicit(&spool->free_space_min_bytes, free_space_min_bytes,
			      memory_order_relaxed);
}

int pn_spool_open(const struct pn_spool_settings *settings, struct pn_spool **ret,
		  struct pn_error *err)
{
	int res = check_settings(settings, err);
	if (res < 0)
		return res;
	struct pn_spool *s = spool_alloc(settings);
	if (!s) {
		pn_error_set(err, "spool: out of memory");
		return -ENOMEM;
	}
	res = open_all(s, err);
	if (res == 0 && (res = pn_helper_init(s)) < 0)
		pn_error_set(err, "spool: %s", strerror(-res));
	if (res < 0) {
		free_all(s);
		return res;
	}
	pn_direct_probe(s);
	pn_spool_refresh_space(s);
	/* Not on a full disk: then it serves what is there and takes nothing. */
	(void)pn_reserve_fill(s);
	if ((res = pn_void_slots_open(s)) < 0)
		pn_logf(PN_LOG_WARN, "spool", "cannot use %s/voids: %s", s->path, strerror(-res));
	pn_spool_counters_register(s);
	*ret = s;
	return 0;
}

void pn_spool_close(struct pn_spool *s)
{
	if (!s)
		return;
	pn_helper_stop(s);
	pn_counters_unregister(&s->counter_block);
	/* First what hangs in the helper's lists, then every file. */
	pn_helper_deinit(s);
	while (!pn_list_is_empty(&s->files))
		pn_file_free(pn_container_of(s->files.next, struct pn_spool_file, node));
	free_all(s);
}

void pn_spool_on_orphan(struct pn_spool *spool, void (*fn)(struct pn_spool_entry *entry, void *ctx),
			void *ctx)
{
	spool->orphan_fn = fn;
	spool->orphan_ctx = ctx;
}

/*
 * The reference that the entry has on its segment stays: without it the segment would be unlinked. It, and the
 * journal of its progress, go from memory with the spool.
 */
void pn_spool_entry_free(struct pn_spool *spool, struct pn_spool_entry *entry)
{
	if (!entry)
		return;
	pn_progress_forget(entry);
	pn_blob_unref(entry->blob);
	free(entry);
	atomic_fetch_sub_explicit(&spool->messages, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&spool->slots_used, 1, memory_order_relaxed);
}

void pn_spool_entry_keep(struct pn_spool_entry *entry)
{
	if (entry->is_kept)
		return;
	entry->is_kept = true;
	/* Not given back: neither is what the segment holds. */
	if (!pn_entry_is_large(entry))
		pn_file_ref(entry->file);
}
