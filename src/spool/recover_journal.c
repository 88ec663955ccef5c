/* SPDX-License-Identifier: ISC */
/* recover_journal.c - merges the outcome journals: the newest state of each message that was found. README.md
 * "Outcomes". */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/log.h>

#include "spool/recover.h"

struct journal_gap {
	uint64_t offset, len;
};

static int count_name(struct pn_recovery *r, const char *name)
{
	uint64_t id;
	if (pn_file_name_parse(name, ".jnl", &id))
		r->spool->journal_slots++;
	return 0;
}

/* Slots for what is there beside the usual number. Segments size their bitmaps by it, so this comes before all. */
int pn_recover_slots(struct pn_recovery *r)
{
	struct pn_spool *s = r->spool;
	int err = pn_recovery_each(r, s->journals_fd, "journals", count_name);
	if (err < 0)
		return err;
	s->journal_slots = (s->journal_slots + 63) / 64 * 64;
	free((void *)s->journals);
	s->journals = calloc(s->journal_slots, sizeof(*s->journals));
	return s->journals ? 0 : pn_recovery_no_memory(r);
}

/* One outcome record at `offset` of `file`. 0 or -errno (fatal). */
static int take_outcome(struct pn_recovery *r, struct pn_spool_file *file,
			const struct pn_scan_item *item)
{
	struct pn_outcome_state state;
	uint32_t index;
	if (item->head.kind != PN_REC_OUTCOME || pn_outcome_decode(item->commit, &state) < 0)
		return 0;
	if (!pn_id_set_find(r->ids, &state.id, &index))
		return 0;
	struct pn_found *f = &r->found[index];
	if (state.is_final) {
		if (!f->final_journal)
			f->final_journal = file;
	} else if (state.seq > f->seq) {
		f->progress_journal = file;
		f->progress_offset = item->offset;
		f->seq = state.seq;
		f->entry->attempts = state.attempts;
		f->entry->flags = state.flags;
		f->entry->next_attempt_wall_ms = state.next_attempt_wall_ms;
		if (f->is_told_of)
			return pn_recovery_progress(r, f, item->commit);
	}
	return 0;
}

static int scan_journal(struct pn_recovery *r, struct pn_spool_file *file, size_t len)
{
	struct journal_gap *gaps = NULL;
	size_t count = 0, cap = 0;
	uint64_t synced = 0;
	struct pn_scan scan;
	struct pn_scan_item item;
	int err = 0;

	pn_scan_init(&scan, r->octets, len, file->id);
	while (err == 0 && pn_scan_next(&scan, &item)) {
		if (item.is_record) {
			synced = item.head.synced_until > synced ? item.head.synced_until : synced;
			err = take_outcome(r, file, &item);
		} else if (pn_recovery_grow(&gaps, &cap, count, sizeof(*gaps)) < 0) {
			err = pn_recovery_no_memory(r);
		} else {
			gaps[count++] =
				(struct journal_gap){ .offset = item.offset, .len = item.len };
		}
	}
	/* Lost outcomes mean duplicates, not losses; what is left of them is kept for a human. */
	for (size_t i = 0; err == 0 && i < count; i++)
		(void)pn_recovery_gap(r, file->id, gaps[i].offset, gaps[i].len, synced);
	free(gaps);
	return err;
}

static int recover_journal(struct pn_recovery *r, const char *name)
{
	uint64_t name_id, id = 0;
	size_t unreadable;
	if (!pn_file_name_parse(name, ".jnl", &name_id))
		return 0;
	int fd = pn_recovery_open(r, "spool.journal.open", r->spool->journals_fd, name, O_RDONLY);
	if (fd < 0)
		return fd == -ENODATA ? 0 : fd;
	ptrdiff_t len = pn_recovery_load(r, "spool.journal.read", fd, name, &unreadable);
	int err = len < 0 ? (int)len
			  : pn_recovery_header(r, name, (size_t)len, PN_FILE_JOURNAL, name_id, &id);
	if (err < 0 && err != -EBADMSG) {
		close(fd);
		return err;
	}
	struct pn_spool_file *file = pn_file_new(r->spool, PN_FILE_JOURNAL, id, fd, (uint64_t)len);
	if (!file) {
		close(fd);
		return pn_recovery_no_memory(r);
	}
	if (pn_journal_slot_take(r->spool, file) < 0) {
		pn_error_set(r->err, "spool %s: a journal appeared while it was recovered",
			     r->spool->path);
		return -EBUSY;
	}
	atomic_store_explicit(&file->is_closed, true, memory_order_relaxed);
	err = scan_journal(r, file, (size_t)len);
	/* What cannot be read now can perhaps be read at the next start; one with another's name could not be
	 * unlinked by it. */
	if (err < 0 || unreadable > 0 || id != name_id)
		return err;
	/* Nor while it may speak of messages that could not be read: a later start must not send them again. */
	if (r->is_incomplete)
		return 0;
	return pn_recovery_add_file(r, file);
}

int pn_recover_journals(struct pn_recovery *r)
{
	return pn_recovery_each(r, r->spool->journals_fd, "journals", recover_journal);
}
