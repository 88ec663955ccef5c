/* SPDX-License-Identifier: ISC */
/*
 * internal.h - what the files of the spool share: the spool itself, its files and their references, the helper
 * thread's jobs.
 *
 * Threads: struct pn_spool_file is shared (atomics, see each member); everything with a loop belongs to that
 * loop's thread; a job belongs to whoever pushed it until `done` runs on the loop (or for ever to the helper
 * when it has no loop).
 */
#ifndef PN_SPOOL_INTERNAL_H
#define PN_SPOOL_INTERNAL_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include <postern/base/common.h>
#include <postern/base/counters.h>
#include <postern/base/list.h>
#include <postern/base/mpsc.h>
#include <postern/spool/spool.h>

#include "spool/layout.h"
#include "spool/pool.h"

/* Journal files that may exist at once; the journal in use grows on when there is no free slot. */
#define PN_JOURNAL_SLOTS_MIN      1024u
#define PN_JOURNAL_SIZE_MIN_BYTES (64u << 10)
#define PN_JOURNAL_SIZE_MAX_BYTES (8u << 20)
#define PN_SEGMENT_SIZE_MAX_BYTES (UINT64_C(1) << 30)
/* After this what failed is tried again. Test builds, which fail on purpose, are less patient. */
#ifdef PN_FAULT_INJECTION
#define PN_RETRY_MS 50u
#else
#define PN_RETRY_MS 1000u
#endif

/* ---- the helper thread (helper.c) ---- */

struct pn_job {
	struct pn_mpsc_node node;
	/* Runs on the helper. With loop == NULL it may free the job. */
	void (*run)(struct pn_spool *spool, struct pn_job *job);
	struct pn_loop *loop; /* where `done` is posted; NULL: nowhere */
	struct pn_task done;
};

/* A file to be unlinked; part of struct pn_spool_file, or of the final outcome of a large message. */
struct pn_removal {
	struct pn_job job;
	struct pn_list node;
	enum pn_file_kind kind;
	uint64_t id;
	int result;
	/* Called when the removal is durable: releases and frees. */
	void (*finish)(struct pn_spool *spool, struct pn_removal *removal);
	/* At close, for one that never became durable. */
	void (*drop)(struct pn_removal *removal);
};

struct pn_helper {
	struct pn_mpsc queue;
	sem_t wake;
	pthread_t thread;
	pthread_mutex_t start_lock;
	bool is_running; /* under start_lock */
	_Atomic bool is_stopping;
	struct pn_list removals; /* helper only: gathered, to be unlinked */
	struct pn_list retries;  /* helper only: unlink failed */
	struct pn_list stuck;    /* helper only: unlinked, but the directory could not be synced */
	struct pn_list void_retries; /* helper only: void notes still to be made */
	uint64_t retry_at_ms;
};

int pn_helper_init(struct pn_spool *spool) PN_MUST_CHECK;
/* Starts the thread if it does not run. 0 or -errno. */
int pn_helper_start(struct pn_spool *spool) PN_MUST_CHECK;
/* Runs what is queued, then ends the thread. */
void pn_helper_stop(struct pn_spool *spool);
void pn_helper_deinit(struct pn_spool *spool);
/* Any thread. Before the thread is started jobs wait. */
void pn_helper_push(struct pn_spool *spool, struct pn_job *job);
/* Runs what is queued on this thread; only while the helper's thread does not run. */
void pn_helper_run_now(struct pn_spool *spool);

/* remove.c, on the helper. */
void pn_removal_init(struct pn_removal *r, enum pn_file_kind kind, uint64_t id);
void pn_removals_flush(struct pn_spool *spool);
void pn_removals_retry(struct pn_spool *spool);
void pn_removals_drop(struct pn_spool *spool);

/* ---- files (file.c) ---- */

struct pn_spool_file {
	struct pn_spool *spool;
	struct pn_list node; /* in spool->files, under files_lock */
	enum pn_file_kind kind;
	uint64_t id;
	int fd;              /* -1 for the one that stands for all large messages */
	int direct_fd;       /* of a segment while it is written with O_DIRECT, else -1 */
	uint32_t slot;       /* of a journal file */
	uint64_t size_bytes; /* on disk, for statistics and for the live share */
	/* README.md "Who owns what"; the one who takes the last reference away removes the file. */
	_Atomic uint64_t refs;
	_Atomic uint64_t live_bytes; /* of a segment: records of messages that are still owed */
	_Atomic bool is_closed;      /* nobody writes to it any more */
	_Atomic uint64_t void_from;  /* 0: no void note */
	bool is_voided;              /* durably so: set by the helper before it answers */
	struct pn_removal removal;
	struct pn_mpsc held_files;       /* struct pn_file_hold */
	_Atomic uint64_t *held_journals; /* of a segment: one bit for each slot */
};

/* Makes the struct for a file that exists; takes fd. refs is 1. NULL: out of memory. */
struct pn_spool_file *pn_file_new(struct pn_spool *spool, enum pn_file_kind kind, uint64_t id,
				  int fd, uint64_t size_bytes);
/* Frees the struct and closes the descriptor; what it held is not released. */
void pn_file_free(struct pn_spool_file *f);
/* Creates segment or journal on disk, durable with its directory entry. Blocking. 0 or -errno. */
int pn_file_create(struct pn_spool *spool, enum pn_file_kind kind, uint64_t size_bytes,
		   struct pn_spool_file **ret) PN_MUST_CHECK;
/* Nobody writes to it any more: closes what only a writer needs. The writer's thread. */
void pn_file_written(struct pn_spool_file *f);
void pn_file_ref(struct pn_spool_file *f);
void pn_file_unref(struct pn_spool_file *f);
/* Segment `f` holds journal file `journal` from now on (idempotent). The caller has a reference of both. */
void pn_file_hold_journal(struct pn_spool_file *f, struct pn_spool_file *journal);
/* A hold in the making, so that nothing can fail later. NULL: out of memory. */
struct pn_file_hold *pn_file_hold_new(void);
void pn_file_hold_free(struct pn_file_hold *hold);
/* Segment `f` holds segment `other`; takes `hold`. */
void pn_file_hold_file(struct pn_spool_file *f, struct pn_spool_file *other,
		       struct pn_file_hold *hold);
/* Releases everything that `f` holds. */
void pn_file_release(struct pn_spool_file *f);
struct pn_spool_file *pn_journal_file_at(struct pn_spool *spool, uint32_t slot);
/* Gives a journal file its slot. -ENFILE: none is free. */
int pn_journal_slot_take(struct pn_spool *spool, struct pn_spool_file *f) PN_MUST_CHECK;

/* ---- names and blocking calls (dir.c); every result passes the fault site ---- */

#define PN_FILE_NAME_SIZE 48
void pn_file_name(char out[PN_FILE_NAME_SIZE], enum pn_file_kind kind, uint64_t id);
void pn_file_name_tmp(char out[PN_FILE_NAME_SIZE], uint64_t id);
void pn_void_name(char out[PN_FILE_NAME_SIZE], uint64_t id, uint64_t from);
/* "<16 hex digits><suffix>". */
bool pn_file_name_parse(const char *name, const char *suffix, uint64_t *ret_id);
bool pn_void_name_parse(const char *name, uint64_t *ret_id, uint64_t *ret_from);
int pn_file_dir(const struct pn_spool *spool, enum pn_file_kind kind);

/* A descriptor or -errno. */
int pn_io_open(const char *site, int dir_fd, const char *name, int flags) PN_MUST_CHECK;
int pn_io_unlink(const char *site, int dir_fd, const char *name) PN_MUST_CHECK;
int pn_io_rename(const char *site, int old_dir_fd, const char *old_name, int new_dir_fd,
		 const char *new_name) PN_MUST_CHECK;
int pn_io_sync(const char *site, int fd, bool data_only) PN_MUST_CHECK;
/* 0 or -errno; a short write is -EIO. */
int pn_io_write(const char *site, int fd, const void *data, size_t len,
		uint64_t offset) PN_MUST_CHECK;
/* Octets read (short only at the end of the file) or -errno. */
ptrdiff_t pn_io_read(const char *site, int fd, void *data, size_t len,
		     uint64_t offset) PN_MUST_CHECK;
int pn_io_allocate(const char *site, int fd, uint64_t size) PN_MUST_CHECK;
/* Fills free_bytes. */
void pn_spool_refresh_space(struct pn_spool *spool);

/* Outcomes are small beside messages. */
uint64_t pn_journal_size(const struct pn_spool *spool);

/* direct.c: whether segments can be written with O_DIRECT here; sets is_direct. At open. */
void pn_direct_probe(struct pn_spool *spool);
/* A write with it was not understood (-EINVAL): not for the next segments. Any thread. */
void pn_direct_failed(struct pn_spool *spool);

/* reserve.c. Any thread, blocking. fill: 0 when it is there. spend: gives it up; whether there was one. */
int pn_reserve_fill(struct pn_spool *spool);
bool pn_reserve_spend(struct pn_spool *spool);

/* Writes octets of a damaged record or file into damaged/ (once; the name is kept). 0 or -errno. */
int pn_damaged_save(struct pn_spool *spool, const char *name, const void *data,
		    size_t len) PN_MUST_CHECK;

/* Moves a whole file to damaged/. 0 or -errno. */
int pn_damaged_move(struct pn_spool *spool, int dir_fd, const char *name) PN_MUST_CHECK;

/* ---- sync operations on a loop (sync.c) ---- */

struct pn_sync {
	struct pn_op op;
	struct pn_task task;
	void (*fn)(struct pn_sync *sync, int res);
};
#ifdef PN_NOSYNC
#define PN_SYNC_LINKS false
#else
#define PN_SYNC_LINKS true
#endif
/* fsync or fdatasync; with PN_NOSYNC nothing with the result 0. PN_SYNC_LINKS is what the write in front of it
 * passes as link_next. */
void pn_sync_start(struct pn_loop *loop, struct pn_sync *sync,
		   void (*fn)(struct pn_sync *sync, int res), int fd, bool data_only);

/* ---- notes of void records (void.h) ---- */

#define PN_VOID_SLOTS 64u
struct pn_void_slot {
	uint64_t id; /* 0: free */
	uint64_t from;
};
struct pn_void_slots {
	int fd; /* -1: none can be taken */
	struct pn_void_slot at[PN_VOID_SLOTS];
};

/* ---- the spool ---- */

#define PN_SPOOL_COUNTERS(X) \
	X(removals)          \
	X(removal_failures) X(damaged) X(voids) X(void_failures) X(recovered) X(recovered_finished)
enum pn_spool_counter {
#define X(name) PN_SPOOL_C_##name,
	PN_SPOOL_COUNTERS(X)
#undef X
		PN_SPOOL_COUNTER_COUNT
};

struct pn_spool {
	struct pn_spool_settings settings;
	char *path;
	int root_fd, lock_fd, segments_fd, files_fd, journals_fd, damaged_fd;
	struct pn_helper helper;
	struct pn_void_slots void_slots;
	struct pn_spool_file large; /* `file` of every entry with a file of its own */

	_Atomic bool is_direct; /* segments are written with O_DIRECT */
	struct pn_pool pool;

	pthread_mutex_t reserve_lock;
	_Atomic bool has_reserve; /* without it nothing is admitted, see reserve.c */

	pthread_mutex_t files_lock;
	struct pn_list files; /* every struct pn_spool_file; for close */
	/* Slots of journal files: written with release when a file takes or leaves a slot, read with acquire by
	 * readers. */
	_Atomic(struct pn_spool_file *) *journals;
	uint32_t journal_slots;

	_Atomic uint64_t queue_messages_max, free_space_min_bytes; /* of the settings, until they are changed */
	_Atomic uint64_t
		slots_used; /* messages and open transactions, against queue_messages_max */
	_Atomic uint64_t messages;
	_Atomic uint64_t segment_count;
	_Atomic uint64_t file_count;
	_Atomic uint64_t disk_bytes;
	_Atomic uint64_t memory_bytes;
	_Atomic uint64_t free_bytes;

	void (*orphan_fn)(struct pn_spool_entry *entry, void *ctx);
	void *orphan_ctx;
	pn_counter counters[PN_SPOOL_COUNTER_COUNT];
	struct pn_counter_block counter_block;
};

/* Several threads write these. */
static inline void pn_spool_count(struct pn_spool *spool, enum pn_spool_counter c)
{
	pn_counter_add_shared(&spool->counters[c], 1);
}

static inline bool pn_entry_is_large(const struct pn_spool_entry *e)
{
	return e->file->kind == PN_FILE_LARGE;
}

/* Octets of a message on disk. */
static inline uint64_t pn_entry_disk_bytes(const struct pn_spool_entry *e)
{
	return pn_rec_size(e->size_bytes, e->commit_len) +
	       (pn_entry_is_large(e) ? PN_FILE_HEADER_SIZE : 0);
}

/*
 * entry->progress: 0; or slot and offset in a journal file; or, with the top bit, the address of a struct
 * pn_outcome_rec (an outcome that could not be made durable).
 */
#define PN_PROGRESS_MEMORY     (UINT64_C(1) << 63)
#define PN_PROGRESS_SLOT_SHIFT 44
static inline uint64_t pn_progress_make(uint32_t slot, uint64_t offset)
{
	return ((uint64_t)slot + 1) << PN_PROGRESS_SLOT_SHIFT | offset;
}
static inline bool pn_progress_is_memory(uint64_t progress)
{
	return (progress & PN_PROGRESS_MEMORY) != 0;
}
static inline uint32_t pn_progress_slot(uint64_t progress)
{
	return (uint32_t)((progress >> PN_PROGRESS_SLOT_SHIFT) - 1);
}
static inline uint64_t pn_progress_offset(uint64_t progress)
{
	return progress & ((UINT64_C(1) << PN_PROGRESS_SLOT_SHIFT) - 1);
}
/* Lets go of what the entry's progress refers to and sets it to 0 (journal.c). */
void pn_progress_drop(struct pn_spool *spool, struct pn_spool_entry *entry);
/* The entry's progress is `state` from now on, in memory; what is on disk stays. 0, -ENOMEM or -ENOBUFS. */
struct pn_outcome_state;
int pn_progress_set(struct pn_spool_entry *entry,
		    const struct pn_outcome_state *state) PN_MUST_CHECK;
/* Frees only what is in memory: the references stay. */
void pn_progress_forget(struct pn_spool_entry *entry);
/* The outcome in memory (pn_progress_is_memory) as it would be on disk. */
struct pn_slice pn_progress_memory(uint64_t progress);

#endif
