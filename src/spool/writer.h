/* SPDX-License-Identifier: ISC */
/* writer.h - a writer and its transactions, for writer.c, txn.c, large.c and move.c. All of it belongs to the
 * writer's loop. */
#ifndef PN_SPOOL_WRITER_H
#define PN_SPOOL_WRITER_H

#include "spool/append.h"
#include "spool/blob.h"
#include "spool/internal.h"

#define PN_WRITER_COUNTERS(X)                                                                    \
	X(commits)                                                                               \
	X(failures) X(aborts) X(orphans) X(refused) X(spills) X(large_commits) X(large_failures) \
		X(name_syncs) X(moves) X(move_failures) X(batches) X(bytes) X(batch_failures) X(segments)
enum pn_writer_counter {
#define X(name) PN_WRITER_C_##name,
	PN_WRITER_COUNTERS(X)
#undef X
		PN_WRITER_COUNTER_COUNT
};

/* Large files whose new name waits for an fsync of files/ that began after the rename: one for all of them. */
struct pn_name_sync {
	struct pn_list waiting, flying; /* pn_large.name_node; flying is not empty while the sync is on its way */
	struct pn_sync sync;
};

struct pn_spool_writer {
	struct pn_spool *spool;
	struct pn_loop *loop;
	struct pn_append append;
	struct pn_batch_hook hook;
	struct pn_timer trim_timer; /* of the spool's pool */
	bool is_internal;
	uint64_t txns;   /* open or committing */
	uint64_t larges; /* files being written or cleaned up */
	uint64_t moves;
	struct pn_name_sync names;
	pn_counter counters[PN_WRITER_COUNTER_COUNT];
	struct pn_counter_block counter_block;
};

static inline void pn_writer_count(struct pn_spool_writer *w, enum pn_writer_counter c)
{
	pn_counter_add(&w->counters[c], 1);
}

/* ---- writer.c ---- */
/* Large blocks may be taken: what is not needed any more later goes back to the kernel. */
void pn_writer_trim_later(struct pn_spool_writer *w);

/* ---- large.c ---- */
struct pn_large;
/* Starts a file; takes the blocks of `blob` as the first content. NULL: out of memory (then the blob is
 * unchanged). */
struct pn_large *pn_large_new(struct pn_spool_writer *w, struct pn_spool_txn *t,
			      struct pn_spool_blob *blob);
/* As pn_spool_txn_write. */
int pn_large_write(struct pn_large *l, struct pn_slice content) PN_MUST_CHECK;
/* Ends in pn_txn_finish. `commit` lives until then. */
void pn_large_commit(struct pn_large *l, const struct pn_rec_head *head, struct pn_slice commit);
/* The transaction is gone; the file is unlinked. */
void pn_large_abort(struct pn_large *l);

/* ---- txn.c ---- */
/* The end of a commit: 0 with the place, or -errno. Frees the transaction. */
void pn_txn_finish(struct pn_spool_txn *t, int result, struct pn_spool_file *file, uint64_t offset);
void pn_txn_writable(struct pn_spool_txn *t);

#endif
