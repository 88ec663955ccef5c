/* SPDX-License-Identifier: ISC */
/*
 * harness.h - a spool on a real directory with a real loop, driven to the end of each step. Message n has
 * content, recipients and edits that follow from n alone, so that whatever comes back can be checked octet for
 * octet.
 */
#ifndef PN_TEST_SPOOL_HARNESS_H
#define PN_TEST_SPOOL_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <postern/base/prng.h>
#include <postern/spool/spool.h>

#define H_ENTRIES_MAX 4096
#define H_PENDING     12345 /* a result that is none */

struct harness {
	char path[128];
	struct pn_spool_settings settings;
	struct pn_loop *loop;
	struct pn_spool *spool;
	struct pn_spool_writer *w;
	struct pn_journal *j;
	struct pn_spool_reader *r;
	struct pn_spool_entry *entries[H_ENTRIES_MAX]; /* recovered, or added by tests */
	size_t count;
	size_t orphans;
};

/* One commit and what became of it. */
struct h_commit {
	struct harness *h;
	uint32_t n;
	struct pn_spool_txn *t;
	bool is_done;
	int result;
	struct pn_spool_entry *entry;
};

/* A fresh directory (in memory where that is possible: `fast`) and default settings. */
void h_init(struct harness *h, bool fast);
/* Opens, recovers (entries are collected), makes writer, journal and reader. */
void h_start(struct harness *h);
/* Only opens and recovers. */
void h_start_bare(struct harness *h);
/* pn_spool_recover_fn: adds to h->entries (ctx is the harness). */
void h_collect(struct pn_spool_entry *entry, void *ctx);
/* Waits until nothing is in flight, frees all; entries collected are forgotten. */
void h_stop(struct harness *h);
/* Deletes the directory. */
void h_deinit(struct harness *h);
void h_run_until_idle(struct harness *h);
/* Waits for *flag. */
void h_wait(struct harness *h, const bool *flag);
void h_wait_int(struct harness *h, const int *value, int while_it_is);

struct pn_id h_id(uint32_t n);
/* Number of the message with this id; UINT32_MAX: none of ours. */
uint32_t h_number(const struct pn_id *id);
/* Content of message n (malloc). */
uint8_t *h_content(uint32_t n, size_t size);
/* Starts the commit of message n with that size, written in pieces of `piece`. */
void h_commit_start(struct harness *h, struct h_commit *c, uint32_t n, size_t size, size_t piece);
/* The same and waits. The result is in c. */
void h_commit(struct harness *h, struct h_commit *c, uint32_t n, size_t size);
/* Feeds an open transaction, waiting where it says so. 0 or -errno. */
int h_feed(struct harness *h, struct pn_spool_txn *t, uint32_t n, size_t size, size_t piece);
void h_commit_txn(struct h_commit *c, size_t size);
void h_commit_envelope(struct h_commit *c, const struct pn_envelope *e,
		       const struct pn_content_facts *f);
/* Fills the envelope of message n. */
struct pn_envelope h_envelope(uint32_t n);

/* Loads an entry and compares all of it with message n. 0 or the result of load or next. */
int h_check(struct harness *h, struct pn_spool_entry *e, uint32_t n);
/* As it was stored (no edits). */
int h_check_stored(struct harness *h, struct pn_spool_entry *e, uint32_t n);
int h_load_state(struct harness *h, struct pn_spool_entry *e, size_t rcpt, uint8_t *ret);
uint8_t h_state_of(struct harness *h, struct pn_spool_entry *e, size_t rcpt);

/* Records an outcome and waits for it. */
int h_final(struct harness *h, struct pn_spool_entry *e);
int h_defer(struct harness *h, struct pn_spool_entry *e, uint8_t state0, uint16_t attempts);
/* pn_journal_fn: stores the result in the int that ctx points to. */
void h_on_recorded(void *ctx, int result);
/* Text of the last deferral. */
void h_reply_of(struct harness *h, struct pn_spool_entry *e, char *out, size_t size);
int h_move(struct harness *h, struct pn_spool_entry *e);

/* Number of names with that ending in a folder of the spool. */
size_t h_files(struct harness *h, const char *folder, const char *suffix);
/* Waits (bounded) until there are that many. */
void h_wait_files(struct harness *h, const char *folder, const char *suffix, size_t count);
/* Path of the first file with that ending. */
void h_find(struct harness *h, const char *folder, const char *suffix, char out[256]);
/* Copies the whole directory to a new one, which `to` then has. */
void h_copy(const struct harness *from, struct harness *to);
/* Index in h->entries of message n, or -1; fails when it is there twice. */
int h_index(struct harness *h, uint32_t n);

#endif
