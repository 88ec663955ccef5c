/* SPDX-License-Identifier: ISC */
/*
 * sized.h - messages of chosen sizes in a spool on a real disk, whose segments are written with O_DIRECT or, by plan of
 * faults, by way of the page cache.
 */
#ifndef PN_TEST_SPOOL_SIZED_H
#define PN_TEST_SPOOL_SIZED_H

#include "harness.h"

#define S_SEGMENT_BYTES (4u << 20)
#define S_MESSAGES_MAX  48u

struct sized {
	uint32_t n;
	size_t size;
	struct pn_spool_entry *entry;
};

/* h_init and h_start; segments are large, and so are messages that share them. `plan` is one of faults that keep every
 * segment from being written with O_DIRECT; NULL: nothing fails, and it is where the disk can. */
void s_start(struct harness *h, const char *plan);
/* Whether the writer's segment is written with O_DIRECT. */
bool s_writes_direct(const struct harness *h);
/* Alone, or as many of them in one write as it takes. Returns the number of writes. */
uint64_t s_commit_all(struct harness *h, struct sized *m, size_t count, bool is_together);
/* In a segment, and aligned as its size wants it. */
void s_expect_placed(const struct pn_spool_entry *e);
/* From now on it is read from the segment. */
void s_drop_from_memory(struct pn_spool_entry *e);
/* From memory, then from the segment. */
void s_expect_readable(struct harness *h, const struct sized *m);
/* Stops, starts: exactly these are there, on disk. Their entries are new. */
void s_expect_after_restart(struct harness *h, const struct sized *m, size_t count);
/* Finishes all messages, stops, ends the plan. */
void s_finish_all(struct harness *h);

#endif
