/* SPDX-License-Identifier: ISC */
/*
 * record.h - the commit part of a message and the outcome record as type-length-values. Pure; any thread.
 *
 * Decoded slices point into the input. Unknown types are skipped; a number of the wrong length, an edit out of
 * order or a missing id is -EBADMSG.
 */
#ifndef PN_SPOOL_RECORD_H
#define PN_SPOOL_RECORD_H

#include <postern/base/arena.h>
#include <postern/base/buf.h>
#include <postern/base/common.h>
#include <postern/smtp/envelope.h>

/* What a report proves (README.md "Reports"). */
struct pn_commit_proof {
	struct pn_id original;
	uint8_t flags;         /* PN_ENTRY_*, set by it */
	struct pn_slice rcpts; /* PN_PROOF_RCPT_SIZE octets each */
};
#define PN_PROOF_RCPT_SIZE 5u

struct pn_commit {
	struct pn_envelope envelope;
	struct pn_content_facts facts;
	struct pn_edit_list edits;
	bool has_proof;
	struct pn_commit_proof proof;
};

/* Appends the commit part for a message of content_len octets, padded so that the whole record is aligned.
 * `edits` and `proof` may be NULL. 0, -ENOBUFS (over the buffer's maximum) or -ENOMEM. */
int pn_commit_encode(struct pn_buf *out, uint64_t content_len, const struct pn_envelope *envelope,
		     const struct pn_content_facts *facts, const struct pn_edit_list *edits,
		     const struct pn_commit_proof *proof) PN_MUST_CHECK;
/* Pads a commit part that pn_commit_encode has made still further. Errors as there. */
int pn_commit_pad(struct pn_buf *out, uint64_t content_len, uint32_t align) PN_MUST_CHECK;
/* One recipient of a proof: 0, -ENOBUFS or -ENOMEM. */
int pn_proof_rcpt_put(struct pn_buf *out, uint32_t index, uint8_t state) PN_MUST_CHECK;
/* Takes one off *rcpts. False: there is none left. */
bool pn_proof_rcpt_next(struct pn_slice *rcpts, uint32_t *ret_index,
			uint8_t *ret_state) PN_MUST_CHECK;
/* 0, -EBADMSG or -ENOMEM (the arena's maximum; see pn_commit_arena_max). */
int pn_commit_decode(struct pn_slice in, uint64_t content_len, struct pn_arena *a,
		     struct pn_commit *ret) PN_MUST_CHECK;
/* What decoding a commit part of that length can need at most. */
size_t pn_commit_arena_max(size_t commit_len);

#define PN_LAST_REPLY_MAX 512u

/* The complete state of a message after an attempt. */
struct pn_outcome_state {
	struct pn_id id;
	uint32_t seq;
	bool is_final;
	uint8_t flags; /* PN_ENTRY_* */
	uint16_t attempts;
	uint64_t next_attempt_wall_ms;
	struct pn_slice rcpt_states; /* one octet each */
	struct pn_slice last_reply;
};

int pn_outcome_encode(struct pn_buf *out, const struct pn_outcome_state *state) PN_MUST_CHECK;
int pn_outcome_decode(struct pn_slice in, struct pn_outcome_state *ret) PN_MUST_CHECK;

#endif
