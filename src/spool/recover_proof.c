/* SPDX-License-Identifier: ISC */
/*
 * recover_proof.c - reports that prove an outcome which no journal has: who was told is not told again.
 * README.md "Reports".
 *
 * A report that proves something new is kept on disk, for the outcome is only in memory until the message's next
 * attempt; so is one of which the message could not be read. Deliveries may be missing in a proof, never wrong.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/log.h>

#include "spool/recover.h"

#define NO_TARGET UINT32_MAX

int pn_recovery_prove(struct pn_recovery *r, uint32_t found, const struct pn_commit_proof *proof)
{
	if (pn_recovery_grow(&r->proofs, &r->proofs_cap, r->proofs_count, sizeof(*r->proofs)) < 0)
		return pn_recovery_no_memory(r);
	size_t at = pn_buf_len(&r->proof_octets);
	if (pn_buf_append(&r->proof_octets, proof->rcpts.ptr, proof->rcpts.len) < 0)
		return pn_recovery_no_memory(r);
	r->proofs[r->proofs_count++] = (struct pn_found_proof){ .original = proof->original,
								.report = found,
								.target = NO_TARGET,
								.flags = proof->flags,
								.at = at,
								.len = proof->rcpts.len };
	return 0;
}

void pn_recover_proofs_find(struct pn_recovery *r)
{
	for (size_t i = 0; i < r->proofs_count; i++) {
		struct pn_found_proof *p = &r->proofs[i];
		if (pn_id_set_find(r->ids, &p->original, &p->target)) {
			r->found[p->target].is_told_of = true;
		} else {
			p->target = NO_TARGET;
			/* It may be in what could not be read. */
			r->found[p->report].is_kept |= r->is_incomplete;
		}
	}
}

int pn_recovery_progress(struct pn_recovery *r, struct pn_found *f, struct pn_slice text)
{
	uint8_t *copy = malloc(pn_max_size(text.len, 1));
	if (!copy)
		return pn_recovery_no_memory(r);
	memcpy(copy, text.ptr, text.len);
	free(f->progress_text);
	f->progress_text = copy;
	f->progress_len = text.len;
	return 0;
}

/* The state that journals have. False: there is none. */
static bool known_state(const struct pn_found *f, struct pn_outcome_state *ret)
{
	if (f->progress_text &&
	    pn_outcome_decode(pn_slice(f->progress_text, f->progress_len), ret) == 0)
		return true;
	memset(ret, 0, sizeof(*ret));
	return false;
}

/* Makes f->states from what journals have. */
static int begin_states(struct pn_recovery *r, struct pn_found *f)
{
	struct pn_outcome_state known;
	f->states = calloc(pn_max_size(f->recipient_count, 1), 1);
	if (!f->states)
		return pn_recovery_no_memory(r);
	if (known_state(f, &known) && known.rcpt_states.len > 0)
		memcpy(f->states, known.rcpt_states.ptr,
		       pn_min_size(known.rcpt_states.len, f->recipient_count));
	return 0;
}

/* Whether the proof says more than what is known, which it then becomes. */
static bool apply(struct pn_recovery *r, const struct pn_found_proof *p)
{
	struct pn_found *f = &r->found[p->target];
	struct pn_slice rcpts = pn_slice(pn_buf_ptr(&r->proof_octets) + p->at, p->len);
	uint8_t flags = p->flags & PN_ENTRY_DELAY_SENT & (uint8_t)~f->entry->flags;
	bool is_new = flags != 0;
	uint32_t index;
	uint8_t state;

	f->entry->flags |= flags;
	while (pn_proof_rcpt_next(&rcpts, &index, &state)) {
		if (index < f->recipient_count && f->states[index] == PN_RCPT_PENDING &&
		    state != PN_RCPT_PENDING) {
			f->states[index] = state;
			is_new = true;
		}
	}
	return is_new;
}

int pn_recover_proofs_apply(struct pn_recovery *r)
{
	size_t count = 0;
	for (size_t i = 0; i < r->proofs_count; i++) {
		struct pn_found_proof *p = &r->proofs[i];
		if (p->target == NO_TARGET || r->found[p->target].final_journal)
			continue;
		struct pn_found *f = &r->found[p->target];
		bool is_first = !f->states;
		if (is_first && begin_states(r, f) < 0)
			return -ENOMEM;
		if (apply(r, p)) {
			r->found[p->report].is_kept = true;
			count++;
		} else if (is_first) {
			/* Journals know it all: what they say stays the progress. */
			free(f->states);
			f->states = NULL;
		}
	}
	if (count > 0)
		pn_logf(PN_LOG_INFO, "spool",
			"%zu reports prove outcomes that had not been recorded; they stay on disk "
			"until another start",
			count);
	return 0;
}

int pn_recovery_settle(struct pn_recovery *r, struct pn_found *f)
{
	struct pn_spool_entry *e = f->entry;
	struct pn_outcome_state state, known;
	bool has_pending = memchr(f->states, PN_RCPT_PENDING, f->recipient_count) != NULL;

	known_state(f, &known);
	/* Nothing is left but to record that. */
	if (!has_pending) {
		e->flags &= (uint8_t)~PN_ENTRY_HELD;
		e->next_attempt_wall_ms = 0;
	}
	state = (struct pn_outcome_state){
		.id = e->id,
		.seq = e->outcome_seq,
		.flags = e->flags,
		.attempts = e->attempts,
		.next_attempt_wall_ms = e->next_attempt_wall_ms,
		.rcpt_states = pn_slice(f->states, f->recipient_count),
		.last_reply = known.last_reply,
	};
	return pn_progress_set(e, &state) < 0 ? pn_recovery_no_memory(r) : 0;
}
