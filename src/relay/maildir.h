/* SPDX-License-Identifier: ISC */
/*
 * maildir.h - the built-in upstream: one Maildir, one file for each recipient.
 *
 * A file's name is made of the message id, the recipient's place in the envelope and constants; no
 * octet of a peer is in a path. It is the same in every attempt, so a retry finds what an earlier
 * one has finished instead of delivering twice.
 */
#ifndef PN_RELAY_MAILDIR_H
#define PN_RELAY_MAILDIR_H

#include <stdatomic.h>

#include <postern/net/loop.h>
#include <postern/relay/relay.h>

#include "known.h"

struct pn_job;
struct pn_maildir;

#define PN_MAILDIR_NAME_SIZE 96

/* Makes the folders where missing. NULL with err. Blocking; not on a worker's thread. */
struct pn_maildir *pn_maildir_new(const struct pn_upstream_settings *settings, struct pn_error *err);
/* Any thread. */
struct pn_maildir *pn_maildir_ref(struct pn_maildir *m);
void pn_maildir_unref(struct pn_maildir *m);
/* Looks into new and cur for files of recovered messages (kind 0 in `known`), adds them with the Maildir's
 * known_kind. Blocking; before threads. */
void pn_maildir_find_known(const struct pn_maildir *m, struct pn_known *known);

void pn_maildir_name(char out[PN_MAILDIR_NAME_SIZE], const struct pn_id *id, uint32_t index);
/* Reads such a name, or one with a Maildir suffix (":2,S"). */
bool pn_maildir_name_parse(const char *name, struct pn_id *ret_id, uint32_t *ret_index);

/* Directory syncs of one worker, shared by the deliveries that wait. */
struct pn_maildir_sync {
	struct pn_maildir *maildir;
	struct pn_loop *loop;
	struct pn_op op;
	struct pn_list waiting; /* of pn_maildir_delivery */
	struct pn_list running;
};

/* Delivers the job's current part; its results are set, then pn_job_part_end. */
void pn_maildir_start(struct pn_job *job);

/* ---- between maildir.c and maildir_dir.c ---- */
struct pn_maildir {
	_Atomic uint32_t refs;
	uint32_t known_kind; /* of its files in pn_known; the same whenever the same path is opened */
	int dir_fd, tmp_fd, new_fd, cur_fd;
};

#endif
