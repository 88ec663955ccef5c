/* SPDX-License-Identifier: ISC */
/*
 * spool.h - the durable store of messages: segments, files, commits, recovery, outcomes. See
 * src/spool/README.md for the state table.
 *
 * One pn_spool for the process; one pn_spool_writer for each thread that stores messages (loops,
 * relay workers: bounces); one pn_journal for each relay worker.
 * A message in the spool is known to the process by its pn_spool_entry (at most 128 bytes), which
 * has exactly one holder at a time: the queue, a relay worker,
 * or a schedule. Entries are handed over by moving the pointer.
 */
#ifndef POSTERN_SPOOL_SPOOL_H
#define POSTERN_SPOOL_SPOOL_H

#include <postern/base/arena.h>
#include <postern/base/common.h>
#include <postern/base/counters.h>
#include <postern/net/loop.h>
#include <postern/smtp/envelope.h>

struct pn_spool;
struct pn_spool_writer;
struct pn_spool_txn;
struct pn_spool_entry;
struct pn_spool_reader;
struct pn_journal;

struct pn_spool_settings {
	const char *path;                    /* directory; must exist and be writable by this process */
	uint32_t inline_max_bytes;           /* messages up to this go into segments */
	uint64_t segment_size_bytes;         /* preallocated */
	uint64_t memory_max_bytes;           /* message octets held in memory by the whole process (being received, and cached for relay) */
	uint64_t free_space_min_bytes;       /* less: 452 at MAIL */
	uint64_t queue_messages_max;         /* more: 452 at MAIL */
	uint32_t outcome_sync_ms;
	uint16_t node;                       /* of message ids */
};

/* Opens and locks the directory (a second gateway on it fails with -EWOULDBLOCK and a clear err),
 * creates what is missing inside. Before threads. */
int pn_spool_open(const struct pn_spool_settings *settings, struct pn_spool **ret, struct pn_error *err) PN_MUST_CHECK;
/* After every writer, reader and journal is freed. */
void pn_spool_close(struct pn_spool *spool);

/*
 * Start-up: scans, verifies, cuts torn tails, merges the outcome journals, voids what must be
 * void, removes what is finished. Each message that is
 * still owed is given to `fn` (ownership of the entry passes). Blocking; before threads. A damaged
 * record is moved aside and logged, never fatal. 0 or -errno.
 */
typedef void (*pn_spool_recover_fn)(struct pn_spool_entry *entry, void *ctx);
int pn_spool_recover(struct pn_spool *spool, pn_spool_recover_fn fn, void *ctx, struct pn_error *err) PN_MUST_CHECK;

/* Makes a writer on `loop` (its thread). `name` names its counters. NULL with err. */
struct pn_spool_writer *pn_spool_writer_new(struct pn_spool *spool, struct pn_loop *loop, const char *name, struct pn_error *err);
/* Nothing may be in flight (pn_spool_writer_is_busy); not from inside one of its callbacks. */
void pn_spool_writer_free(struct pn_spool_writer *w);
bool pn_spool_writer_is_busy(const struct pn_spool_writer *w);

/* New values for these two settings; any thread, at any time. What is in the queue stays. */
void pn_spool_set_limits(struct pn_spool *spool, uint64_t queue_messages_max, uint64_t free_space_min_bytes);
/* This writer stores what the gateway itself owes (bounces, moves): exempt from queue_messages_max
 * and free_space_min, else a full queue could not bounce itself empty. */
void pn_spool_writer_set_internal(struct pn_spool_writer *w);

/* May MAIL be accepted now? 0; -ENOSPC (free space, or the device failed); -EDQUOT
 * (queue_messages_max). Cheap, cached. */
int pn_spool_admit(struct pn_spool_writer *w) PN_MUST_CHECK;

enum pn_rcpt_state { PN_RCPT_PENDING, PN_RCPT_DELIVERED, PN_RCPT_BOUNCED, PN_RCPT_EXPIRED, PN_RCPT_REMOVED };

/* ---- receiving a message ---- */
/* Starts one. NULL with errno-style *ret_err (as pn_spool_admit, or -ENOMEM). No I/O yet. */
struct pn_spool_txn *pn_spool_txn_begin(struct pn_spool_writer *w, int *ret_err);
/*
 * Where the next content will lie in memory, and how many octets have room there; 0: nowhere yet. What the caller
 * puts there and then gives to pn_spool_txn_write(), all of it or parts in their order, is not copied again. Good until
 * the next call on t; what lies there behind the content is not kept.
 */
size_t pn_spool_txn_room(const struct pn_spool_txn *t, uint8_t **ret);
/*
 * Adds content (copied before return). 0: go on. 1: taken, but the disk is behind: stop feeding
 * until on_writable is called. -errno: the message
 * cannot be stored; abort it (452).
 */
int pn_spool_txn_write(struct pn_spool_txn *t, struct pn_slice content) PN_MUST_CHECK;
typedef void (*pn_spool_txn_fn)(struct pn_spool_txn *t, void *ctx);
void pn_spool_txn_on_writable(struct pn_spool_txn *t, pn_spool_txn_fn fn, void *ctx);
/* Drops the message; t is gone for the caller at once (buffers in flight live on inside). Also
 * valid for a txn whose commit is pending: then the commit goes on
 * and its callback is not called (the client left; the message, once durable, is delivered). */
void pn_spool_txn_abort(struct pn_spool_txn *t);
/*
 * The message is a report about `original` (RFC 3464): once it is durable it proves that the flags
 * (PN_ENTRY_DELAY_SENT or none) are set and that recipient `index` of the original's envelope is in
 * that state. Recovery believes it when no outcome says so, so that nobody is told twice. Before the
 * commit; without memory the commit fails.
 */
void pn_spool_txn_prove(struct pn_spool_txn *t, const struct pn_id *original, uint8_t flags);
void pn_spool_txn_prove_rcpt(struct pn_spool_txn *t, uint32_t index, enum pn_rcpt_state state);
/*
 * Makes it durable: content, then the commit record with envelope, facts and edits (all copied
 * before return). fn is called on the loop, never from inside this call:
 * result 0 and `entry` (ownership passes to the callee) when fdatasync of the data and of the
 * directory have returned; or -errno and NULL. t is gone after fn.
 */
typedef void (*pn_spool_commit_fn)(void *ctx, int result, struct pn_spool_entry *entry);
void pn_spool_txn_commit(struct pn_spool_txn *t, const struct pn_envelope *envelope, const struct pn_content_facts *facts, const struct pn_edit_list *edits,
                         pn_spool_commit_fn fn, void *ctx);
/* When a commit whose txn was aborted succeeds, its entry goes here instead (set once, before
 * serving; called on the writer's loop thread). */
void pn_spool_on_orphan(struct pn_spool *spool, void (*fn)(struct pn_spool_entry *entry, void *ctx), void *ctx);

/* ---- entries ---- */
/* What is kept in memory for each message. Fields below are for the holder. */
struct pn_spool_file;
struct pn_spool_blob;
struct pn_spool_entry {
	struct pn_id id;
	struct pn_spool_file *file;     /* private */
	struct pn_spool_blob *blob;     /* private: octets still in memory, or NULL */
	struct pn_spool_entry *next;    /* holder's: queue overflow, lists */
	uint64_t offset;                /* private: of the record in its file */
	uint64_t progress;              /* private: where the newest progress record lies (journal and offset), 0 = none */
	uint64_t next_attempt_wall_ms;  /* holder's: when it is due; 0 = now */
	uint64_t round;                 /* holder's: upstreams that were tried since it last waited for its time */
	uint64_t size_bytes;            /* content */
	uint32_t commit_len;            /* private */
	uint32_t heap_index;            /* holder's: place in a schedule */
	uint32_t outcome_seq;           /* private: of the newest outcome record */
	uint32_t generation;            /* private: how often it was copied forward */
	uint16_t attempts;
	uint16_t upstream;              /* holder's: schedule it is in */
	uint8_t flags;                  /* PN_ENTRY_* */
	bool is_kept;                   /* private: pn_spool_entry_keep */
};
#define PN_ENTRY_HELD 1u      /* postern queue hold */
#define PN_ENTRY_DELAY_SENT 2u
_Static_assert(sizeof(struct pn_spool_entry) <= 128, "a queued message costs at most 128 bytes");

/*
 * Forgets a message in memory only (shutdown): it stays on disk and is found again at the next
 * start.
 */
void pn_spool_entry_free(struct pn_spool *spool, struct pn_spool_entry *entry);

/*
 * Copy-forward: true when the segment of `entry` is kept by few messages only. Asked by its holder
 * when it defers the message (the outcome being durable);
 * pn_spool_entry_move then rewrites the message into the segment of `w` (which runs on the
 * caller's loop). The entry must not be used until fn was called (never from inside).
 * On -errno nothing has changed. -EBADMSG: the record is damaged.
 */
bool pn_spool_entry_wants_move(const struct pn_spool_entry *entry);
typedef void (*pn_spool_move_fn)(void *ctx, int result, struct pn_spool_entry *entry);
void pn_spool_entry_move(struct pn_spool_writer *w, struct pn_spool_entry *entry, pn_spool_move_fn fn, void *ctx);

/*
 * The record of this message (a report) stays on disk for this life of the process, even when it is
 * final: the outcome that it proves could not be made durable. By its holder, on any thread.
 */
void pn_spool_entry_keep(struct pn_spool_entry *entry);

/* ---- reading back (relay) ---- */
/* A message loaded for delivery; all slices live in the reader's arena. */
struct pn_spool_message {
	struct pn_envelope envelope;
	struct pn_content_facts facts;
	struct pn_edit_list edits;
	uint8_t *rcpt_states;        /* enum pn_rcpt_state for each recipient, merged from progress */
	struct pn_slice last_reply;  /* text of the last deferral, "" = none */
	uint64_t size_bytes;         /* after edits */
};

struct pn_spool_reader *pn_spool_reader_new(struct pn_spool *spool, struct pn_loop *loop);
/* Nothing in flight. */
void pn_spool_reader_free(struct pn_spool_reader *r);
/* Loads envelope, facts, edits and progress of `entry` (borrowed until pn_spool_reader_done). fn is
 * called on the loop, perhaps from inside the call; -EBADMSG: damaged on disk. */
typedef void (*pn_spool_load_fn)(void *ctx, int result, struct pn_spool_message *message);
void pn_spool_reader_load(struct pn_spool_reader *r, struct pn_spool_entry *entry, pn_spool_load_fn fn, void *ctx);
/* Rewinds to the start of the edited content (as_stored = false) or of the content as received
 * (true). */
void pn_spool_reader_rewind(struct pn_spool_reader *r, bool as_stored);
/*
 * Content is checked: an inline message before load calls back, a large one while it streams. The
 * end (0) is given only for a verified message; after
 * -EBADMSG the transfer must not be completed (no final dot, no LAST chunk).
 */
/* Next piece of content: OK with result > 0 and *piece valid until the next call; 0 at the end;
 * -errno. fn may be called from inside. Bounded memory (one block of 64 KiB, or
 * the whole of an inline message). */
typedef void (*pn_spool_piece_fn)(void *ctx, int result, struct pn_slice piece);
void pn_spool_reader_next(struct pn_spool_reader *r, pn_spool_piece_fn fn, void *ctx);
/*
 * A reference on the memory of the piece that was given last, so that it outlives the reader's next
 * call and the reader; NULL when it is not content of a message in memory. The reader's thread; the
 * release may come from any.
 */
struct pn_spool_blob;
struct pn_spool_blob *pn_spool_reader_hold_piece(const struct pn_spool_reader *r);
/* NULL is fine. */
void pn_spool_blob_release(struct pn_spool_blob *blob);
/* The entry itself is only looked at in pn_spool_reader_load. */
/* Ends the use of the entry; waits for nothing in flight (asserted through is_busy). */
bool pn_spool_reader_is_busy(const struct pn_spool_reader *r);
void pn_spool_reader_done(struct pn_spool_reader *r);

/* ---- outcomes ---- */
struct pn_journal *pn_journal_new(struct pn_spool *spool, struct pn_loop *loop, const char *name, struct pn_error *err);
void pn_journal_free(struct pn_journal *j); /* flushed first: pn_journal_is_busy false */
bool pn_journal_is_busy(const struct pn_journal *j);
/* What is recorded is synced now, without waiting for more (shutting down). */
void pn_journal_flush(struct pn_journal *j);

/* What an attempt came to: the complete state of the message, so that the newest record suffices. */
struct pn_outcome {
	struct pn_spool_entry *entry;       /* ownership passes when is_final */
	bool is_final;                      /* nobody is owed anything: the message leaves the spool */
	const uint8_t *rcpt_states;
	uint32_t recipient_count;
	uint64_t next_attempt_wall_ms;
	uint16_t attempts;
	uint8_t flags;                      /* PN_ENTRY_HELD ... */
	struct pn_slice last_reply;         /* at most 512 octets kept */
};
/*
 * The journal's records of one message follow each other: from this call until fn the entry must
 * not be used, loaded or handed on by its holder (a deferred message goes into the
 * schedule in fn). fn is required when !is_final. After -errno for a non-final outcome the entry
 * goes on as usual: its progress is then kept in memory.
 */
/* Records an outcome (copied); synced with others within outcome_sync_ms. fn (may be NULL) is
 * called on the loop when it is durable (0) or
 * has failed for good (-errno: the journal has moved to a new file and that failed too; the
 * message stays owed after a restart). */
typedef void (*pn_journal_fn)(void *ctx, int result);
void pn_journal_record(struct pn_journal *j, const struct pn_outcome *o, pn_journal_fn fn, void *ctx);

/* ---- facts for status ---- */
struct pn_spool_stats {
	uint64_t messages;
	uint64_t segments;
	uint64_t files;
	uint64_t disk_bytes;
	uint64_t memory_bytes;
	uint64_t free_bytes;
};
void pn_spool_stats(struct pn_spool *spool, struct pn_spool_stats *ret); /* any thread */

#endif
