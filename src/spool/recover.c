/* SPDX-License-Identifier: ISC */
/*
 * recover.c - start-up: what is on disk becomes entries again. README.md "Recovery" has the steps.
 *
 * Fatal is only what is not about content: no memory, no descriptors, no permission, a spool of a newer version.
 */
#include "spool/recover.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <postern/base/clock.h>
#include <postern/base/log.h>

#include "spool/journal.h"

/* A clock that stood wrong when it was written must not hold a message for longer. */
#define NEXT_ATTEMPT_MAX_MS (UINT64_C(24) * 3600 * 1000)

int pn_recovery_no_memory(struct pn_recovery *r)
{
	pn_error_set(r->err, "spool %s: out of memory during recovery", r->spool->path);
	return -ENOMEM;
}

int pn_recovery_grow(void *array_ptr, size_t *cap, size_t count, size_t element_size)
{
	void **array = array_ptr;
	if (count < *cap)
		return 0;
	size_t more = *cap ? *cap * 2 : 64;
	void *grown = reallocarray(*array, more, element_size);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	*cap = more;
	return 0;
}

/* ---- directories and files ---- */

static int list_failed(struct pn_recovery *r, const char *dir_name, int err)
{
	pn_error_set(r->err, "spool: cannot list %s/%s: %s", r->spool->path, dir_name,
		     strerror(-err));
	return err;
}

int pn_recovery_each(struct pn_recovery *r, int dir_fd, const char *dir_name,
		     pn_recovery_name_fn fn)
{
	/* A descriptor of its own: closedir closes it, and its position is not ours. */
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	int res = 0;
	if (!dir) {
		res = list_failed(r, dir_name, -errno);
		if (fd >= 0)
			close(fd);
		return res;
	}
	while (res == 0) {
		errno = 0;
		struct dirent *entry = readdir(dir);
		if (!entry) {
			if (errno != 0)
				res = list_failed(r, dir_name, -errno);
			break;
		}
		if (entry->d_name[0] != '.')
			res = fn(r, entry->d_name);
	}
	closedir(dir);
	return res;
}

int pn_recovery_open(struct pn_recovery *r, const char *site, int dir_fd, const char *name,
		     int flags)
{
	int fd = pn_io_open(site, dir_fd, name, flags);
	switch (fd) {
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
	case -EACCES:
	case -EPERM:
		pn_error_set(r->err, "spool %s: cannot open %s: %s", r->spool->path, name,
			     strerror(-fd));
		return fd;
	default:
		break;
	}
	if (fd < 0) {
		pn_logf(PN_LOG_ERROR, "spool",
			"cannot open %s: %s; it stays where it is and its messages wait for "
			"another start",
			name, strerror(-fd));
		r->damaged++;
		return -ENODATA;
	}
	return fd;
}

ptrdiff_t pn_recovery_load(struct pn_recovery *r, const char *site, int fd, const char *name,
			   size_t *ret_unreadable)
{
	struct stat st;
	*ret_unreadable = 0;
	size_t size = fstat(fd, &st) == 0 ? (size_t)st.st_size : 0;
	if (size > r->octets_cap) {
		uint8_t *more = realloc(r->octets, size);
		if (!more)
			return pn_recovery_no_memory(r);
		r->octets = more;
		r->octets_cap = size;
	}
	size_t chunk = 1u << 20;
	for (size_t at = 0; at < size;) {
		size_t want = pn_min_size(size - at, chunk);
		ptrdiff_t n = pn_io_read(site, fd, r->octets + at, want, at);
		if (n < 0 && chunk > 4096) {
			/* Around a bad place in small steps */
			chunk = 4096;
			continue;
		}
		if (n < 0)
			*ret_unreadable += want;
		if (n < (ptrdiff_t)want)
			memset(r->octets + at + (n > 0 ? n : 0), 0, want - (size_t)(n > 0 ? n : 0));
		at += want;
		if (at % (1u << 20) == 0)
			chunk = 1u << 20;
	}
	if (*ret_unreadable > 0)
		pn_logf(PN_LOG_ERROR, "spool", "%zu octets of %s cannot be read", *ret_unreadable,
			name);
	return (ptrdiff_t)size;
}

int pn_recovery_header(struct pn_recovery *r, const char *name, size_t len, enum pn_file_kind kind,
		       uint64_t name_id, uint64_t *ret_id)
{
	struct pn_file_header h;
	*ret_id = name_id;
	int err = len >= PN_FILE_HEADER_SIZE ? pn_file_header_decode(r->octets, &h) : -EBADMSG;
	if (err == -ENOTSUP) {
		pn_error_set(r->err,
			     "spool %s: %s was written by a newer version of Postern; use that "
			     "version, or let it empty the spool",
			     r->spool->path, name);
		return err;
	}
	if (err == 0 && h.kind != kind)
		err = -EBADMSG;
	if (err == 0)
		*ret_id = h.id;
	return err;
}

bool pn_recovery_save(struct pn_recovery *r, uint64_t file_id, uint64_t offset, uint64_t len,
		      const char *why)
{
	char name[PN_FILE_NAME_SIZE];
	snprintf(name, sizeof(name), "%016" PRIx64 "-%016" PRIx64 ".rec", file_id, offset);
	int err = pn_damaged_save(r->spool, name, r->octets + offset, (size_t)len);
	r->damaged++;
	pn_spool_count(r->spool, PN_SPOOL_C_damaged);
	if (err == 0)
		pn_logf(PN_LOG_ERROR, "spool",
			"%s: %" PRIu64 " octets of file %016" PRIx64 " at %" PRIu64
			" are kept as damaged/%s",
			why, len, file_id, offset, name);
	else
		pn_logf(PN_LOG_ERROR, "spool",
			"%s: %" PRIu64 " octets of file %016" PRIx64 " at %" PRIu64
			" cannot be kept in damaged/ (%s), "
			"so the file stays",
			why, len, file_id, offset, strerror(-err));
	return err == 0;
}

bool pn_recovery_gap(struct pn_recovery *r, uint64_t file_id, uint64_t offset, uint64_t len,
		     uint64_t synced)
{
	if (offset >= synced) {
		r->torn++;
		pn_logf(PN_LOG_INFO, "spool", "file %016" PRIx64 ": cut a torn tail at %" PRIu64,
			file_id, offset);
		return true;
	}
	while (len > 0 && r->octets[offset + len - 1] == 0)
		len--;
	return pn_recovery_save(r, file_id, offset, len, "damaged record");
}

/* ---- messages ---- */

int pn_recovery_add_file(struct pn_recovery *r, struct pn_spool_file *file)
{
	if (pn_recovery_grow(&r->files, &r->files_cap, r->files_count, sizeof(*r->files)) < 0)
		return pn_recovery_no_memory(r);
	r->files[r->files_count++] = file;
	return 0;
}

static void place_entry(struct pn_spool_entry *e, struct pn_spool_file *file, uint64_t offset,
			const struct pn_rec_head *head, const struct pn_commit *commit)
{
	e->id = commit->envelope.id;
	e->file = file;
	e->offset = offset;
	e->size_bytes = head->content_len;
	e->commit_len = head->commit_len;
	e->generation = head->generation;
}

/*
 * Which of two copies counts. Only messages in segments are moved, so a large one beside one in a segment is
 * the same message committed twice (a report made again): the segment's wins, because a file of its own can go
 * at once.
 */
static bool is_newer(const struct pn_spool_entry *a, const struct pn_spool_entry *b)
{
	if (pn_entry_is_large(a) != pn_entry_is_large(b))
		return pn_entry_is_large(b);
	return a->generation > b->generation;
}

int pn_recovery_add(struct pn_recovery *r, struct pn_spool_file *file, uint64_t offset,
		    const struct pn_rec_head *head, const struct pn_commit *commit)
{
	uint32_t index;
	if (pn_recovery_grow(&r->found, &r->found_cap, r->found_count, sizeof(*r->found)) < 0 ||
	    pn_recovery_grow(&r->copies, &r->copies_cap, r->copies_count, sizeof(*r->copies)) < 0)
		return pn_recovery_no_memory(r);
	int res = pn_id_set_add(r->ids, &commit->envelope.id, (uint32_t)r->found_count, &index);
	if (res < 0)
		return pn_recovery_no_memory(r);
	if (res == 1) {
		struct pn_spool_entry *e = calloc(1, sizeof(*e));
		if (!e)
			return pn_recovery_no_memory(r);
		place_entry(e, file, offset, head, commit);
		r->found[r->found_count++] =
			(struct pn_found){ .entry = e,
					   .recipient_count = commit->envelope.recipient_count };
		return commit->has_proof ? pn_recovery_prove(r, index, &commit->proof) : 0;
	}
	struct pn_spool_entry *e = r->found[index].entry;
	struct pn_spool_entry copy = { 0 };
	place_entry(&copy, file, offset, head, commit);
	if (is_newer(&copy, e)) {
		struct pn_spool_entry old = *e;
		place_entry(e, file, offset, head, commit);
		copy = old;
	}
	r->copies[r->copies_count++] =
		(struct pn_found_copy){ .file = copy.file,
					.offset = copy.offset,
					.disk_bytes = pn_entry_disk_bytes(&copy),
					.found = index };
	return 0;
}

/* ---- the result ---- */

/* `journal` may be NULL: another copy counts. */
static int remove_large(struct pn_recovery *r, uint64_t id, uint64_t disk_bytes,
			struct pn_spool_file *journal)
{
	struct pn_outcome_rec *rec = calloc(1, sizeof(*rec));
	if (!rec)
		return pn_recovery_no_memory(r);
	pn_large_remove(r->spool, rec, id, disk_bytes, journal);
	return 0;
}

static int finish_final(struct pn_recovery *r, struct pn_found *f)
{
	struct pn_spool_entry *e = f->entry;
	pn_spool_count(r->spool, PN_SPOOL_C_recovered_finished);
	if (f->is_kept)
		pn_spool_entry_keep(e);
	if (pn_entry_is_large(e) && f->is_kept) {
		pn_file_ref(f->final_journal);
		return 0;
	}
	if (pn_entry_is_large(e))
		return remove_large(r, e->offset, pn_entry_disk_bytes(e), f->final_journal);
	pn_file_hold_journal(e->file, f->final_journal);
	return 0;
}

/* A copy that does not count must never count later either. */
static int finish_copy(struct pn_recovery *r, const struct pn_found_copy *copy)
{
	struct pn_found *f = &r->found[copy->found];
	if (copy->file->kind == PN_FILE_LARGE)
		return remove_large(r, copy->offset, copy->disk_bytes, f->final_journal);
	if (f->final_journal) {
		pn_file_hold_journal(copy->file, f->final_journal);
	} else if (copy->file != f->entry->file) {
		struct pn_file_hold *hold = pn_file_hold_new();
		if (!hold)
			return pn_recovery_no_memory(r);
		pn_file_hold_file(copy->file, f->entry->file, hold);
	}
	return 0;
}

static int finish_owed(struct pn_recovery *r, struct pn_found *f, uint64_t now)
{
	struct pn_spool *s = r->spool;
	struct pn_spool_entry *e = f->entry;
	if (!pn_entry_is_large(e)) {
		pn_file_ref(e->file);
		atomic_fetch_add_explicit(&e->file->live_bytes, pn_entry_disk_bytes(e),
					  memory_order_relaxed);
	}
	e->outcome_seq = f->seq;
	if (f->progress_journal) {
		pn_file_ref(f->progress_journal);
		e->progress = pn_progress_make(f->progress_journal->slot, f->progress_offset);
	}
	if (e->next_attempt_wall_ms > now + NEXT_ATTEMPT_MAX_MS)
		e->next_attempt_wall_ms = now + NEXT_ATTEMPT_MAX_MS;
	atomic_fetch_add_explicit(&s->messages, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&s->slots_used, 1, memory_order_relaxed);
	pn_spool_count(s, PN_SPOOL_C_recovered);
	if (f->is_kept)
		pn_spool_entry_keep(e);
	return f->states ? pn_recovery_settle(r, f) : 0;
}

/* References and holds as they were before. */
static int rebuild(struct pn_recovery *r)
{
	uint64_t now = pn_clock_wall_ms();
	for (size_t i = 0; i < r->found_count; i++) {
		struct pn_found *f = &r->found[i];
		int err = f->final_journal ? finish_final(r, f) : finish_owed(r, f, now);
		if (err < 0)
			return err;
	}
	for (size_t i = 0; i < r->copies_count; i++) {
		int err = finish_copy(r, &r->copies[i]);
		if (err < 0)
			return err;
	}
	return 0;
}

static void give_entries(struct pn_recovery *r, pn_spool_recover_fn fn, void *ctx)
{
	for (size_t i = 0; i < r->found_count; i++) {
		struct pn_found *f = &r->found[i];
		if (f->final_journal)
			free(f->entry);
		else
			fn(f->entry, ctx);
		f->entry = NULL;
	}
}

static void recovery_deinit(struct pn_recovery *r)
{
	for (size_t i = 0; i < r->found_count; i++) {
		if (r->found[i].entry)
			pn_progress_forget(r->found[i].entry);
		free(r->found[i].entry);
		free(r->found[i].progress_text);
		free(r->found[i].states);
	}
	pn_id_set_free(r->ids);
	free(r->proofs);
	pn_buf_free(&r->proof_octets);
	free(r->found);
	free(r->copies);
	free(r->voids);
	free(r->files);
	free(r->octets);
	pn_arena_reset(&r->arena);
}

static int run_steps(struct pn_recovery *r)
{
	r->ids = pn_id_set_new();
	if (!r->ids)
		return pn_recovery_no_memory(r);
	int err = pn_recover_slots(r);
	if (err == 0)
		err = pn_recover_segments(r);
	if (err == 0)
		err = pn_recover_files(r);
	if (err == 0) {
		pn_recover_proofs_find(r);
		err = pn_recover_journals(r);
	}
	if (err == 0)
		err = pn_recover_proofs_apply(r);
	if (err == 0)
		err = rebuild(r);
	return err;
}

int pn_spool_recover(struct pn_spool *spool, pn_spool_recover_fn fn, void *ctx,
		     struct pn_error *err)
{
	struct pn_recovery r = { .spool = spool, .err = err };
	uint64_t start_ms = pn_clock_mono_ms();

	pn_buf_init(&r.proof_octets, SIZE_MAX);
	pn_arena_init(&r.arena, 16384, pn_commit_arena_max(PN_COMMIT_MAX_BYTES));
	int res = run_steps(&r);
	if (res == 0) {
		/* Whatever nobody refers to goes now: segments and large files, then the journals that only
		 * they held. */
		for (size_t i = 0; i < r.files_count; i++)
			pn_file_unref(r.files[i]);
		pn_helper_run_now(spool);
		pn_logf(PN_LOG_INFO, "spool",
			"recovered %" PRIu64 " messages, %" PRIu64
			" were finished; %zu torn tails cut, %zu damaged; "
			"%" PRIu64 " ms",
			pn_counter_get(&spool->counters[PN_SPOOL_C_recovered]),
			pn_counter_get(&spool->counters[PN_SPOOL_C_recovered_finished]), r.torn,
			r.damaged, pn_clock_mono_ms() - start_ms);
		give_entries(&r, fn, ctx);
	}
	recovery_deinit(&r);
	return res;
}
