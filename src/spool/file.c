/* SPDX-License-Identifier: ISC */
/* file.c - segments and journal files as objects: creation, references, holds. README.md "Who owns what". */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/clock.h>
#include <postern/base/log.h>
#include <postern/base/prng.h>

#include "spool/internal.h"
#include "spool/void.h"

struct pn_file_hold {
	struct pn_mpsc_node node;
	struct pn_spool_file *file;
};

/* ---- the end of a file (helper thread) ---- */

static void file_finish(struct pn_spool *spool, struct pn_removal *r)
{
	struct pn_spool_file *f = pn_container_of(r, struct pn_spool_file, removal);
	/* Only now: what this file held had to stay until its removal was durable. */
	pn_file_release(f);
	/* relaxed: the reference count has ordered us behind the writer that set it */
	uint64_t from = atomic_load_explicit(&f->void_from, memory_order_relaxed);
	if (from != 0) {
		pn_void_slot_free(spool, f->id);
		char name[PN_FILE_NAME_SIZE];
		pn_void_name(name, f->id, from);
		int err = pn_io_unlink("spool.void.unlink", spool->segments_fd, name);
		/* Left over, it is unlinked at the next start. */
		if (err < 0 && err != -ENOENT)
			pn_logf(PN_LOG_INFO, "spool", "segments/%s stays until the next start: %s",
				name, strerror(-err));
	}
	if (f->kind == PN_FILE_SEGMENT)
		atomic_fetch_sub_explicit(&spool->segment_count, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&spool->disk_bytes, f->size_bytes, memory_order_relaxed);
	if (f->kind == PN_FILE_JOURNAL)
		/* release: pairs with the acquire in pn_journal_slot_take, which may use the slot again */
		atomic_store_explicit(&spool->journals[f->slot], NULL, memory_order_release);
	pn_file_free(f);
}

static void file_drop(struct pn_removal *r)
{
	/* Still registered: pn_spool_close frees it. */
	(void)r;
}

/* ---- making ---- */

struct pn_spool_file *pn_file_new(struct pn_spool *spool, enum pn_file_kind kind, uint64_t id,
				  int fd, uint64_t size_bytes)
{
	struct pn_spool_file *f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	if (kind == PN_FILE_SEGMENT) {
		f->held_journals = calloc(spool->journal_slots / 64, sizeof(*f->held_journals));
		if (!f->held_journals) {
			free(f);
			return NULL;
		}
		atomic_fetch_add_explicit(&spool->segment_count, 1, memory_order_relaxed);
	}
	f->spool = spool;
	f->kind = kind;
	f->id = id;
	f->fd = fd;
	f->direct_fd = -1;
	f->size_bytes = size_bytes;
	atomic_init(&f->refs, 1);
	pn_mpsc_init(&f->held_files);
	pn_removal_init(&f->removal, kind, id);
	f->removal.finish = file_finish;
	f->removal.drop = file_drop;
	atomic_fetch_add_explicit(&spool->disk_bytes, size_bytes, memory_order_relaxed);
	pthread_mutex_lock(&spool->files_lock);
	pn_list_push_back(&spool->files, &f->node);
	pthread_mutex_unlock(&spool->files_lock);
	return f;
}

void pn_file_free(struct pn_spool_file *f)
{
	struct pn_mpsc_node *node = pn_mpsc_take_all(&f->held_files);
	while (node) {
		struct pn_file_hold *hold = pn_container_of(node, struct pn_file_hold, node);
		node = node->next;
		free(hold);
	}
	pthread_mutex_lock(&f->spool->files_lock);
	pn_list_remove(&f->node);
	pthread_mutex_unlock(&f->spool->files_lock);
	pn_file_written(f);
	if (f->fd >= 0)
		close(f->fd);
	free((void *)f->held_journals);
	free(f);
}

int pn_journal_slot_take(struct pn_spool *spool, struct pn_spool_file *f)
{
	for (uint32_t i = 0; i < spool->journal_slots; i++) {
		struct pn_spool_file *empty = NULL;
		/* acq_rel: publishes *f to pn_journal_file_at; pairs with the release in file_finish */
		if (atomic_compare_exchange_strong_explicit(&spool->journals[i], &empty, f,
							    memory_order_acq_rel,
							    memory_order_relaxed)) {
			f->slot = i;
			return 0;
		}
	}
	return -ENFILE;
}

struct pn_spool_file *pn_journal_file_at(struct pn_spool *spool, uint32_t slot)
{
	PN_ASSERT(slot < spool->journal_slots);
	/* acquire: pairs with the exchange in pn_journal_slot_take */
	return atomic_load_explicit(&spool->journals[slot], memory_order_acquire);
}

struct file_sites {
	const char *create, *fallocate, *header, *fdatasync, *dir_fsync;
};

static const struct file_sites segment_sites = {
	"spool.segment.create",           "spool.segment.fallocate", "spool.segment.header_write",
	"spool.segment.header_fdatasync", "spool.segments.fsync",
};
static const struct file_sites journal_sites = {
	"spool.journal.create",           "spool.journal.fallocate", "spool.journal.header_write",
	"spool.journal.header_fdatasync", "spool.journals.fsync",
};

static int write_header(const struct file_sites *sites, int fd, enum pn_file_kind kind, uint64_t id)
{
	uint8_t octets[PN_FILE_HEADER_SIZE];
	struct pn_file_header header = { .kind = kind,
					 .id = id,
					 .created_wall_ms = pn_clock_wall_ms() };
	pn_file_header_encode(octets, &header);
	return pn_io_write(sites->header, fd, octets, sizeof(octets), 0);
}

static int create_once(struct pn_spool *spool, enum pn_file_kind kind, uint64_t size_bytes,
		       struct pn_spool_file **ret)
{
	const struct file_sites *sites = kind == PN_FILE_SEGMENT ? &segment_sites : &journal_sites;
	int dir_fd = pn_file_dir(spool, kind);
	char name[PN_FILE_NAME_SIZE];
	uint64_t id;

	do {
		pn_random_bytes(&id, sizeof(id));
	} while (id == 0);
	pn_file_name(name, kind, id);
	int fd = pn_io_open(sites->create, dir_fd, name, O_RDWR | O_CREAT | O_EXCL);
	if (fd < 0) {
		/* An injected failure has made the file all the same. */
		unlinkat(dir_fd, name, 0);
		return fd;
	}
	int err = pn_io_allocate(sites->fallocate, fd, size_bytes);
	if (err == 0)
		err = write_header(sites, fd, kind, id);
	if (err == 0)
		err = pn_io_sync(sites->fdatasync, fd, true);
	if (err == 0)
		err = pn_io_sync(sites->dir_fsync, dir_fd, false);
	struct pn_spool_file *f = err == 0 ? pn_file_new(spool, kind, id, fd, size_bytes) : NULL;
	if (err == 0 && !f)
		err = -ENOMEM;
	if (err < 0) {
		/* Whether the unlink works or not: it has no record, recovery removes it. */
		unlinkat(dir_fd, name, 0);
		close(fd);
		return err;
	}
	if (kind == PN_FILE_JOURNAL && (err = pn_journal_slot_take(spool, f)) < 0) {
		unlinkat(dir_fd, name, 0);
		atomic_fetch_sub_explicit(&spool->disk_bytes, size_bytes, memory_order_relaxed);
		pn_file_free(f);
		return err;
	}
	if (kind == PN_FILE_SEGMENT &&
	    atomic_load_explicit(&spool->is_direct, memory_order_relaxed)) {
		/* Without one it is written by way of the page cache. */
		int direct_fd = pn_io_open("spool.segment.open_direct", dir_fd, name,
					   O_WRONLY | O_DIRECT);
		f->direct_fd = direct_fd < 0 ? -1 : direct_fd;
	}
	*ret = f;
	return 0;
}

int pn_file_create(struct pn_spool *spool, enum pn_file_kind kind, uint64_t size_bytes,
		   struct pn_spool_file **ret)
{
	int err = 0;
	/* Messages get what is left of a disk only while the room for outcomes is kept. */
	if (kind == PN_FILE_SEGMENT && (err = pn_reserve_fill(spool)) < 0)
		return err;
	err = create_once(spool, kind, size_bytes, ret);
	if (kind == PN_FILE_JOURNAL && (err == -ENOSPC || err == -EDQUOT) && pn_reserve_spend(spool))
		err = create_once(spool, kind, size_bytes, ret);
	return err;
}

void pn_file_written(struct pn_spool_file *f)
{
	if (f->direct_fd >= 0)
		close(f->direct_fd);
	f->direct_fd = -1;
}

/* ---- references and holds ---- */

void pn_file_ref(struct pn_spool_file *f)
{
	/* The caller has a reference already. */
	atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
}

void pn_file_unref(struct pn_spool_file *f)
{
	/* acq_rel: the last one sees the holds that all the others have pushed before */
	if (atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1)
		pn_helper_push(f->spool, &f->removal.job);
}

void pn_file_hold_journal(struct pn_spool_file *f, struct pn_spool_file *journal)
{
	if (f->kind != PN_FILE_SEGMENT)
		return;
	uint64_t bit = UINT64_C(1) << (journal->slot % 64);
	_Atomic uint64_t *word = &f->held_journals[journal->slot / 64];
	/* Taken first, so that the journal cannot go between the two steps. */
	pn_file_ref(journal);
	/* relaxed: read by the helper behind the last unref's acq_rel */
	if (atomic_fetch_or_explicit(word, bit, memory_order_relaxed) & bit)
		pn_file_unref(journal);
}

struct pn_file_hold *pn_file_hold_new(void)
{
	return calloc(1, sizeof(struct pn_file_hold));
}

void pn_file_hold_free(struct pn_file_hold *hold)
{
	free(hold);
}

void pn_file_hold_file(struct pn_spool_file *f, struct pn_spool_file *other,
		       struct pn_file_hold *hold)
{
	hold->file = other;
	pn_file_ref(other);
	(void)pn_mpsc_push(&f->held_files, &hold->node);
}

void pn_file_release(struct pn_spool_file *f)
{
	struct pn_mpsc_node *node = pn_mpsc_take_all(&f->held_files);
	while (node) {
		struct pn_file_hold *hold = pn_container_of(node, struct pn_file_hold, node);
		node = node->next;
		pn_file_unref(hold->file);
		free(hold);
	}
	for (uint32_t i = 0; f->held_journals && i < f->spool->journal_slots / 64; i++) {
		uint64_t word =
			atomic_exchange_explicit(&f->held_journals[i], 0, memory_order_relaxed);
		for (; word != 0; word &= word - 1)
			pn_file_unref(pn_journal_file_at(f->spool,
							 i * 64 + (uint32_t)__builtin_ctzll(word)));
	}
}
