/* SPDX-License-Identifier: ISC */
/*
 * recover.h - start-up, between recover.c (order of steps, result), recover_segment.c, recover_files.c (large
 * messages), recover_journal.c and recover_proof.c (reports). One thread, before all others. README.md "Recovery".
 */
#ifndef PN_SPOOL_RECOVER_H
#define PN_SPOOL_RECOVER_H

#include "spool/id_set.h"
#include "spool/internal.h"
#include "spool/record.h"
#include "spool/scan.h"

/* One message, whatever number of copies. */
struct pn_found {
	struct pn_spool_entry *entry;
	struct pn_spool_file *final_journal;    /* says that it is finished */
	struct pn_spool_file *progress_journal; /* has the newest progress */
	uint64_t progress_offset;
	uint32_t seq;
	uint32_t recipient_count;
	bool is_kept;           /* a report whose record must stay, see pn_spool_entry_keep */
	bool is_told_of;        /* some report tells of this message: */
	uint8_t *progress_text; /* then its newest progress, */
	size_t progress_len;
	uint8_t *
		states; /* and what became of its recipients, once a report proves more than that */
};

/* A report and what it proves. */
struct pn_found_proof {
	struct pn_id original;
	uint32_t report, target; /* in found; target: none yet */
	uint8_t flags;
	size_t at, len; /* in proof_octets */
};

/* A copy that is not the newest. */
struct pn_found_copy {
	struct pn_spool_file *file;
	uint64_t offset; /* for a large message: its file */
	uint64_t disk_bytes;
	uint32_t found;
};

struct pn_found_void {
	uint64_t id, from;
};

struct pn_recovery {
	struct pn_spool *spool;
	struct pn_error *err;
	struct pn_id_set *ids; /* index in found */
	struct pn_found *found;
	size_t found_count, found_cap;
	struct pn_found_copy *copies;
	size_t copies_count, copies_cap;
	struct pn_found_void *voids;
	size_t voids_count, voids_cap;
	struct pn_found_proof *proofs;
	size_t proofs_count, proofs_cap;
	struct pn_buf proof_octets;
	struct pn_spool_file **files; /* each with recovery's own reference */
	size_t files_count, files_cap;
	uint8_t *octets; /* of the file being read */
	size_t octets_cap;
	struct pn_arena arena;
	size_t damaged, torn;
	/* A segment or message file could not be read: what journals say of its messages must stay. */
	bool is_incomplete;
};

/* Makes room for one more element. 0 or -ENOMEM. */
int pn_recovery_grow(void *array_ptr, size_t *cap, size_t count, size_t element_size) PN_MUST_CHECK;

/* Calls fn for each name in a directory. 0 or the first negative result; opening or reading the directory fails
 * with err set. */
typedef int (*pn_recovery_name_fn)(struct pn_recovery *r, const char *name);
int pn_recovery_each(struct pn_recovery *r, int dir_fd, const char *dir_name,
		     pn_recovery_name_fn fn) PN_MUST_CHECK;

/* Opens a file of ours. A descriptor; -ENODATA: left where it is, logged; other -errno: fatal with err set. */
int pn_recovery_open(struct pn_recovery *r, const char *site, int dir_fd, const char *name,
		     int flags) PN_MUST_CHECK;

/*
 * Reads a whole file into r->octets. What cannot be read is zeros and *ret_unreadable counts it. Length or
 * -ENOMEM (err set).
 */
ptrdiff_t pn_recovery_load(struct pn_recovery *r, const char *site, int fd, const char *name,
			   size_t *ret_unreadable) PN_MUST_CHECK;

/* The id by header or, when that is damaged, by name. 0; -ENOTSUP: newer format (err set); -EBADMSG: header
 * damaged, *ret_id by name. */
int pn_recovery_header(struct pn_recovery *r, const char *name, size_t len, enum pn_file_kind kind,
		       uint64_t name_id, uint64_t *ret_id) PN_MUST_CHECK;

/* A gap that is not zero: saved to damaged/ when it lies in front of `synced` (damage), else logged as torn.
 * False: could not be saved. */
bool pn_recovery_gap(struct pn_recovery *r, uint64_t file_id, uint64_t offset, uint64_t len,
		     uint64_t synced);
bool pn_recovery_save(struct pn_recovery *r, uint64_t file_id, uint64_t offset, uint64_t len,
		      const char *why);

/* Adds a copy of a message. 0 or -errno with err set. */
int pn_recovery_add(struct pn_recovery *r, struct pn_spool_file *file, uint64_t offset,
		    const struct pn_rec_head *head, const struct pn_commit *commit) PN_MUST_CHECK;
int pn_recovery_add_file(struct pn_recovery *r, struct pn_spool_file *file) PN_MUST_CHECK;
int pn_recovery_no_memory(struct pn_recovery *r);

/* Sizes the table of journal slots for what is on disk; before any segment. */
int pn_recover_slots(struct pn_recovery *r) PN_MUST_CHECK;
int pn_recover_segments(struct pn_recovery *r) PN_MUST_CHECK;
int pn_recover_files(struct pn_recovery *r) PN_MUST_CHECK;
int pn_recover_journals(struct pn_recovery *r) PN_MUST_CHECK;

/* ---- recover_proof.c ---- */
/* `found` is a report with that proof. 0 or -ENOMEM with err set. */
int pn_recovery_prove(struct pn_recovery *r, uint32_t found,
		      const struct pn_commit_proof *proof) PN_MUST_CHECK;
/* Which messages reports tell of; behind segments and files, before journals. */
void pn_recover_proofs_find(struct pn_recovery *r);
/* Keeps the newest progress of a message that reports tell of. 0 or -ENOMEM with err set. */
int pn_recovery_progress(struct pn_recovery *r, struct pn_found *f,
			 struct pn_slice text) PN_MUST_CHECK;
/* Behind the journals. 0 or -ENOMEM with err set. */
int pn_recover_proofs_apply(struct pn_recovery *r) PN_MUST_CHECK;
/* The state in f->states becomes the progress of the entry, in memory. 0 or -ENOMEM with err set. */
int pn_recovery_settle(struct pn_recovery *r, struct pn_found *f) PN_MUST_CHECK;

#endif
