/* SPDX-License-Identifier: ISC */
/* journal.h - an outcome on its way to disk, or kept in memory when it could not get there. */
#ifndef PN_SPOOL_JOURNAL_H
#define PN_SPOOL_JOURNAL_H

#include "spool/append.h"
#include "spool/internal.h"

#define PN_JOURNAL_COUNTERS(X) \
	X(records)             \
	X(finals) X(failures) X(retries) X(owed) X(batches) X(bytes) X(batch_failures) X(files)
enum pn_journal_counter {
#define X(name) PN_JOURNAL_C_##name,
	PN_JOURNAL_COUNTERS(X)
#undef X
		PN_JOURNAL_COUNTER_COUNT
};

struct pn_outcome_rec {
	struct pn_append_item item;
	struct pn_removal removal; /* of the file of a finished large message */
	struct pn_list node;       /* in journal->owed */
	struct pn_journal *journal;
	struct pn_spool_entry *entry;
	struct pn_spool_file *held; /* journal file that says final, until the removal is durable */
	uint64_t older_progress;    /* kept in memory: the last progress that is on disk */
	uint64_t disk_bytes;
	pn_journal_fn fn;
	void *ctx;
	struct pn_buf text;
	bool is_final;
	uint8_t tries;
};

struct pn_journal {
	struct pn_spool *spool;
	struct pn_loop *loop;
	struct pn_append append;
	struct pn_batch_hook hook;
	struct pn_timer timer; /* outcome_sync_ms after the first record */
	struct pn_timer owed_timer;
	bool is_due;
	struct pn_list owed; /* final outcomes that could not be made durable yet */
	pn_counter counters[PN_JOURNAL_COUNTER_COUNT];
	struct pn_counter_block counter_block;
};

/*
 * Unlinks the file of a large message that is final in `journal_file`, which is held until then (NULL: it is a
 * copy that does not count). Takes rec (only its removal is used then).
 */
void pn_large_remove(struct pn_spool *spool, struct pn_outcome_rec *rec, uint64_t id,
		     uint64_t bytes, struct pn_spool_file *journal_file);

#endif
