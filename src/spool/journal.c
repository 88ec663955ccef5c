/* SPDX-License-Identifier: ISC */
/*
 * journal.c - outcomes of deliveries: recorded in groups, with the entry's references moved when they are
 * durable. README.md J1-JG, I6-I8.
 */
#include "spool/journal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/codec.h>
#include <postern/base/log.h>

#include "spool/blob.h"
#include "spool/record.h"

/* As much as this is not kept waiting for company. */
#define JOURNAL_HURRY_BYTES (256u << 10)

static const char *const counter_names[] = {
#define X(name) #name,
	PN_JOURNAL_COUNTERS(X)
#undef X
};

static void count(struct pn_journal *j, enum pn_journal_counter c)
{
	pn_counter_add(&j->counters[c], 1);
}

/* ---- progress of an entry ---- */

static struct pn_outcome_rec *progress_rec(uint64_t progress)
{
	return (struct pn_outcome_rec *)(uintptr_t)(progress & ~PN_PROGRESS_MEMORY);
}

static void rec_free(struct pn_outcome_rec *rec)
{
	pn_buf_free(&rec->text);
	free(rec);
}

struct pn_slice pn_progress_memory(uint64_t progress)
{
	return pn_buf_slice(&progress_rec(progress)->text);
}

void pn_progress_drop(struct pn_spool *spool, struct pn_spool_entry *entry)
{
	uint64_t progress = entry->progress;
	entry->progress = 0;
	if (pn_progress_is_memory(progress)) {
		struct pn_outcome_rec *rec = progress_rec(progress);
		progress = rec->older_progress;
		rec_free(rec);
	}
	if (progress != 0)
		pn_file_unref(pn_journal_file_at(spool, pn_progress_slot(progress)));
}

void pn_progress_forget(struct pn_spool_entry *entry)
{
	if (pn_progress_is_memory(entry->progress))
		rec_free(progress_rec(entry->progress));
	entry->progress = 0;
}

/* The outcome stays in memory; what is on disk stays there too, it is the best that a restart would find. */
static void progress_keep(struct pn_outcome_rec *rec)
{
	struct pn_spool_entry *e = rec->entry;
	rec->older_progress = e->progress;
	if (pn_progress_is_memory(e->progress)) {
		struct pn_outcome_rec *old = progress_rec(e->progress);
		rec->older_progress = old->older_progress;
		rec_free(old);
	}
	e->progress = PN_PROGRESS_MEMORY | (uint64_t)(uintptr_t)rec;
}

int pn_progress_set(struct pn_spool_entry *entry, const struct pn_outcome_state *state)
{
	struct pn_outcome_rec *rec = calloc(1, sizeof(*rec));
	if (!rec)
		return -ENOMEM;
	pn_buf_init(&rec->text, PN_COMMIT_MAX_BYTES);
	rec->entry = entry;
	int err = pn_outcome_encode(&rec->text, state);
	if (err < 0)
		rec_free(rec);
	else
		progress_keep(rec);
	return err;
}

/* ---- the end of a message ---- */

static void large_finish(struct pn_spool *spool, struct pn_removal *r)
{
	struct pn_outcome_rec *rec = pn_container_of(r, struct pn_outcome_rec, removal);
	atomic_fetch_sub_explicit(&spool->file_count, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&spool->disk_bytes, rec->disk_bytes, memory_order_relaxed);
	if (rec->held)
		pn_file_unref(rec->held);
	rec_free(rec);
}

static void large_drop(struct pn_removal *r)
{
	rec_free(pn_container_of(r, struct pn_outcome_rec, removal));
}

void pn_large_remove(struct pn_spool *spool, struct pn_outcome_rec *rec, uint64_t id,
		     uint64_t bytes, struct pn_spool_file *journal_file)
{
	if (journal_file)
		pn_file_ref(journal_file);
	rec->held = journal_file;
	rec->disk_bytes = bytes;
	pn_removal_init(&rec->removal, PN_FILE_LARGE, id);
	rec->removal.finish = large_finish;
	rec->removal.drop = large_drop;
	pn_helper_push(spool, &rec->removal.job);
}

/* The final outcome is durable in `journal_file`: the message leaves. Takes rec. README.md I8, L5. */
static void finalize(struct pn_outcome_rec *rec, struct pn_spool_file *journal_file)
{
	struct pn_spool *s = rec->journal->spool;
	struct pn_spool_entry *e = rec->entry;
	struct pn_spool_file *f = e->file;
	uint64_t bytes = pn_entry_disk_bytes(e);
	bool is_large = pn_entry_is_large(e), is_kept = e->is_kept;
	uint64_t id = e->offset;

	pn_progress_drop(s, e);
	pn_blob_unref(e->blob);
	free(e);
	atomic_fetch_sub_explicit(&s->messages, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&s->slots_used, 1, memory_order_relaxed);
	if (is_large && !is_kept) {
		pn_large_remove(s, rec, id, bytes, journal_file);
		return;
	}
	if (is_large) {
		/* The journal stays with the file: this reference is not given back. */
		pn_file_ref(journal_file);
		rec_free(rec);
		return;
	}
	pn_file_hold_journal(f, journal_file);
	atomic_fetch_sub_explicit(&f->live_bytes, bytes, memory_order_relaxed);
	pn_file_unref(f);
	rec_free(rec);
}

/* ---- recording ---- */

static void add_owed(struct pn_journal *j)
{
	struct pn_list *node;
	while ((node = pn_list_pop_front(&j->owed)) != NULL) {
		struct pn_outcome_rec *rec = pn_container_of(node, struct pn_outcome_rec, node);
		pn_counter_sub(&j->counters[PN_JOURNAL_C_owed], 1);
		pn_append_add(&j->append, &rec->item);
		j->is_due = true;
	}
}

static void on_owed_timer(struct pn_timer *timer)
{
	add_owed(pn_container_of(timer, struct pn_journal, owed_timer));
}

static void record_failed(struct pn_outcome_rec *rec, int result)
{
	struct pn_journal *j = rec->journal;
	pn_journal_fn fn = rec->fn;
	void *ctx = rec->ctx;

	if (rec->tries++ == 0) {
		/* Once more, in a new file. */
		count(j, PN_JOURNAL_C_retries);
		pn_append_add(&j->append, &rec->item);
		j->is_due = true;
		return;
	}
	rec->fn = NULL;
	if (rec->is_final) {
		/* It happened, so it goes on trying; its caller hears the error once. */
		count(j, PN_JOURNAL_C_owed);
		pn_list_push_back(&j->owed, &rec->node);
		if (!pn_timer_is_armed(&j->owed_timer))
			pn_loop_timer_set(j->loop, &j->owed_timer, PN_RETRY_MS);
	} else {
		progress_keep(rec);
	}
	if (fn) {
		count(j, PN_JOURNAL_C_failures);
		fn(ctx, result);
	}
}

static void on_recorded(struct pn_append_item *item, int result)
{
	struct pn_outcome_rec *rec = pn_container_of(item, struct pn_outcome_rec, item);
	struct pn_journal *j = rec->journal;
	pn_journal_fn fn = rec->fn;
	void *ctx = rec->ctx;

	if (result < 0) {
		record_failed(rec, result);
		return;
	}
	if (rec->is_final) {
		count(j, PN_JOURNAL_C_finals);
		finalize(rec, item->file);
	} else {
		/* The new reference first: both may be in the same file. */
		pn_file_ref(item->file);
		pn_progress_drop(j->spool, rec->entry);
		rec->entry->progress = pn_progress_make(item->file->slot, item->head.offset);
		rec_free(rec);
	}
	if (fn)
		fn(ctx, 0);
}

/* 0 or -errno. */
static int rec_encode(struct pn_outcome_rec *rec, const struct pn_outcome *o)
{
	struct pn_spool_entry *e = o->entry;
	struct pn_outcome_state state = {
		.id = e->id,
		.seq = ++e->outcome_seq,
		.is_final = o->is_final,
		.flags = o->flags,
		.attempts = o->attempts,
		.next_attempt_wall_ms = o->next_attempt_wall_ms,
		.rcpt_states = pn_slice(o->rcpt_states, o->recipient_count),
		.last_reply = o->last_reply,
	};
	int err = pn_outcome_encode(&rec->text, &state);
	if (err < 0)
		return err;
	rec->item.commit = pn_buf_slice(&rec->text);
	rec->item.head = (struct pn_rec_head){
		.kind = PN_REC_OUTCOME,
		.commit_len = (uint32_t)rec->item.commit.len,
		.commit_crc = pn_crc32c(0, rec->item.commit.ptr, rec->item.commit.len),
	};
	return 0;
}

void pn_journal_record(struct pn_journal *j, const struct pn_outcome *o, pn_journal_fn fn,
		       void *ctx)
{
	struct pn_outcome_rec *rec = calloc(1, sizeof(*rec));
	PN_ASSERT(fn || o->is_final);
	if (rec) {
		pn_buf_init(&rec->text, PN_COMMIT_MAX_BYTES);
		pn_list_init(&rec->node);
		rec->journal = j;
		rec->entry = o->entry;
		rec->is_final = o->is_final;
		rec->fn = fn;
		rec->ctx = ctx;
		rec->item.fn = on_recorded;
	}
	if (!rec || rec_encode(rec, o) < 0) {
		/* Out of memory, the one failure that is told from inside. A final message is forgotten; a
		 * restart finds it. */
		if (rec)
			rec_free(rec);
		if (o->is_final)
			pn_spool_entry_free(j->spool, o->entry);
		count(j, PN_JOURNAL_C_failures);
		if (fn)
			fn(ctx, -ENOMEM);
		return;
	}
	/* Nobody reads it any more, or not for long: the disk has it. */
	pn_blob_unref(o->entry->blob);
	o->entry->blob = NULL;
	if (!o->is_final) {
		o->entry->attempts = o->attempts;
		o->entry->flags = o->flags;
		o->entry->next_attempt_wall_ms = o->next_attempt_wall_ms;
	}
	count(j, PN_JOURNAL_C_records);
	pn_append_add(&j->append, &rec->item);
	if (j->spool->settings.outcome_sync_ms == 0 ||
	    j->append.waiting_bytes >= JOURNAL_HURRY_BYTES)
		j->is_due = true;
	else if (!pn_timer_is_armed(&j->timer))
		pn_loop_timer_set(j->loop, &j->timer, j->spool->settings.outcome_sync_ms);
}

void pn_journal_flush(struct pn_journal *j)
{
	j->is_due = true;
}

/* ---- life ---- */

static void on_timer(struct pn_timer *timer)
{
	pn_container_of(timer, struct pn_journal, timer)->is_due = true;
}

static void on_batch(struct pn_loop *loop, struct pn_batch_hook *hook)
{
	struct pn_journal *j = pn_container_of(hook, struct pn_journal, hook);
	(void)loop;
	if (j->is_due) {
		j->is_due = false;
		pn_append_kick(&j->append);
	}
	pn_counter_set(&j->counters[PN_JOURNAL_C_batches], j->append.batches);
	pn_counter_set(&j->counters[PN_JOURNAL_C_bytes], j->append.bytes);
	pn_counter_set(&j->counters[PN_JOURNAL_C_batch_failures], j->append.failures);
	pn_counter_set(&j->counters[PN_JOURNAL_C_files], j->append.files);
}

uint64_t pn_journal_size(const struct pn_spool *spool)
{
	uint64_t size = spool->settings.segment_size_bytes / 4;
	return size < PN_JOURNAL_SIZE_MIN_BYTES   ? PN_JOURNAL_SIZE_MIN_BYTES
	       : size > PN_JOURNAL_SIZE_MAX_BYTES ? PN_JOURNAL_SIZE_MAX_BYTES
						  : size;
}

struct pn_journal *pn_journal_new(struct pn_spool *spool, struct pn_loop *loop, const char *name,
				  struct pn_error *err)
{
	struct pn_journal *j = calloc(1, sizeof(*j));
	int res = j ? pn_helper_start(spool) : -ENOMEM;
	uint64_t size = pn_journal_size(spool);
	if (res == 0)
		res = pn_append_init(&j->append, spool, loop, PN_FILE_JOURNAL, size);
	if (res < 0) {
		pn_error_set(err, "spool %s: cannot make a journal of %llu octets for %s: %s",
			     spool->path, (unsigned long long)size, name, strerror(-res));
		free(j);
		return NULL;
	}
	j->spool = spool;
	j->loop = loop;
	pn_list_init(&j->owed);
	pn_timer_init(&j->timer, on_timer);
	pn_timer_init(&j->owed_timer, on_owed_timer);
	j->hook.fn = on_batch;
	pn_loop_hook_add(loop, &j->hook);
	j->counter_block.scope = "journal";
	snprintf(j->counter_block.instance, sizeof(j->counter_block.instance), "%s", name);
	j->counter_block.names = counter_names;
	j->counter_block.values = j->counters;
	j->counter_block.count = PN_JOURNAL_COUNTER_COUNT;
	pn_counters_register(&j->counter_block);
	return j;
}

void pn_journal_free(struct pn_journal *j)
{
	struct pn_list *node;
	size_t lost = 0;
	if (!j)
		return;
	PN_ASSERT(!pn_journal_is_busy(j));
	pn_loop_timer_cancel(j->loop, &j->timer);
	pn_loop_timer_cancel(j->loop, &j->owed_timer);
	while ((node = pn_list_pop_front(&j->owed)) != NULL) {
		struct pn_outcome_rec *rec = pn_container_of(node, struct pn_outcome_rec, node);
		pn_spool_entry_free(j->spool, rec->entry);
		rec_free(rec);
		lost++;
	}
	if (lost > 0)
		pn_logf(PN_LOG_ERROR, "spool",
			"%zu final outcomes could not be recorded; these messages are sent again "
			"after the next "
			"start",
			lost);
	pn_counters_unregister(&j->counter_block);
	pn_loop_hook_remove(j->loop, &j->hook);
	pn_append_deinit(&j->append);
	free(j);
}

bool pn_journal_is_busy(const struct pn_journal *j)
{
	return pn_append_is_busy(&j->append);
}
