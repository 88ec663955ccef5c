/* SPDX-License-Identifier: ISC */
/*
 * batch.h - the pieces of one write: records of a segment or a journal behind each other, from where they lie.
 *
 * In a segment the write suits O_DIRECT: each piece begins and ends at a multiple of PN_DIRECT_ALIGN. Large records are
 * padded to that and written from their blocks (item->is_whole); small ones are copied behind each other into the
 * stage, and where such a run ends zeros fill it up. One owner.
 */
#ifndef PN_SPOOL_BATCH_H
#define PN_SPOOL_BATCH_H

#include <sys/uio.h>

#include "spool/blob.h"
#include "spool/internal.h"

#define PN_BATCH_IOV_MAX   1024u
#define PN_BATCH_MAX_BYTES (8u << 20)
#define PN_STAGE_BYTES     (256u << 10)
/* Records up to this are copied into the stage: padding would cost them more than the copy. */
#define PN_STAGED_MAX_BYTES (32u << 10)

struct pn_append_item;

struct pn_batch {
	enum pn_file_kind kind;
	struct iovec *iov;
	unsigned iov_count;
	uint64_t len; /* octets, with the padding so far */
	uint8_t *stage;
	size_t stage_len;
	size_t run_start; /* of the run at the stage's end that is no piece yet; stage_len: there is none */
};

/* 0 or -ENOMEM. */
int pn_batch_init(struct pn_batch *b, enum pn_file_kind kind) PN_MUST_CHECK;
/* Also one that is all zeros. */
void pn_batch_deinit(struct pn_batch *b);
void pn_batch_reset(struct pn_batch *b);
/* Whether one more has room in the write; an empty batch has room for every item. */
bool pn_batch_has_room(const struct pn_batch *b, const struct pn_append_item *item);
/* Places it at the end of the batch, which is to be written at `start` of file `file_id`; sets offset and synced_until
 * of its head. What it names stays as it is until the write is done. */
void pn_batch_add(struct pn_batch *b, struct pn_append_item *item, uint64_t file_id, uint64_t start);
/* No more follow. */
void pn_batch_finish(struct pn_batch *b);

#endif
