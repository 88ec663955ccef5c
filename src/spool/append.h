/* SPDX-License-Identifier: ISC */
/*
 * append.h - group commit: appends records to the current segment or journal of one owner, one batch in flight.
 *
 * One thread (the loop's). Items belong to the engine from pn_append_add until their fn. fn is called on the
 * loop, never from inside pn_append_add. After a failed batch the file is never written or synced again.
 */
#ifndef PN_SPOOL_APPEND_H
#define PN_SPOOL_APPEND_H

#include "spool/batch.h"
#include "spool/blob.h"
#include "spool/internal.h"

struct pn_append;
struct pn_append_item;
/* 0: durable; item->file and item->offset say where. -errno: not durable, and void after recovery (segments). */
typedef void (*pn_append_fn)(struct pn_append_item *item, int result);

/* One record. All memory that it names must live until fn. */
struct pn_append_item {
	struct pn_list node;
	struct pn_rec_head head; /* set by the owner: kind, generation, lengths and CRCs */
	struct pn_block *blocks; /* the content */
	bool is_whole;           /* with room for the head, and the commit part: pn_blob_seal */
	struct pn_slice commit;  /* unless is_whole */
	pn_append_fn fn;
	struct pn_spool_file *file; /* result; the reference is the engine's, valid during fn */
	uint8_t head_octets[PN_REC_HEAD_SIZE];
};

/* Whether a record of that size is written from its blocks: then it must be whole, and padded to PN_DIRECT_ALIGN. */
static inline bool pn_append_wants_whole(uint64_t size_bytes)
{
	return size_bytes > PN_STAGED_MAX_BYTES;
}

static inline uint64_t pn_append_item_size(const struct pn_append_item *item)
{
	return pn_rec_size(item->head.content_len, item->head.commit_len);
}

struct pn_append {
	struct pn_spool *spool;
	struct pn_loop *loop;
	enum pn_file_kind kind;
	uint64_t size_bytes; /* of a file */
	struct pn_spool_file *current;
	struct pn_spool_file *next; /* made ahead */
	uint64_t end; /* where the next record goes; everything in front of it is durable */
	struct pn_list waiting;
	struct pn_list flying;
	uint64_t waiting_bytes;
	/* the batch in flight */
	struct pn_op write_op;
	unsigned ops_pending;
	int write_res;
	struct pn_batch batch;
	/* making files */
	struct pn_job create_job;
	bool is_creating;
	int create_result;
	struct pn_spool_file *created;
	int create_error; /* of the last try; 0 after a success */
	struct pn_timer retry_timer;
	unsigned voids_pending;
	bool is_closing;
	/* for the owner's counters */
	uint64_t batches, bytes, failures, files;
};

/* Makes the first file, blocking. 0 or -errno. */
int pn_append_init(struct pn_append *a, struct pn_spool *spool, struct pn_loop *loop,
		   enum pn_file_kind kind, uint64_t size_bytes) PN_MUST_CHECK;
/* Nothing in flight (pn_append_is_busy), and not from inside a fn. Cuts the current file to what is used,
 * removes it when empty. */
void pn_append_deinit(struct pn_append *a);
bool pn_append_is_busy(const struct pn_append *a);
void pn_append_add(struct pn_append *a, struct pn_append_item *item);
/* Starts a batch if none is in flight and something waits. May call fns (with an error). */
void pn_append_kick(struct pn_append *a);
/* Whether it could not take a record now: no file and none could be made. 0 or -errno. */
int pn_append_state(const struct pn_append *a);

#endif
