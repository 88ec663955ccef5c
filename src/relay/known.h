/* SPDX-License-Identifier: ISC */
/*
 * known.h - what recovery found, so that a step that was done before a crash is not done again:
 * Maildir files of recovered messages that a mail program has already moved to cur. (Reports: the
 * spool's recovery.) Filled before threads, then only read.
 */
#ifndef PN_RELAY_KNOWN_H
#define PN_RELAY_KNOWN_H

#include <postern/base/common.h>
#include <postern/base/id.h>

struct pn_known_item {
	struct pn_id id;
	uint32_t kind;  /* 0: a recovered entry; else the known_kind of the Maildir */
	uint32_t index; /* recipient, for a Maildir file */
};

struct pn_known {
	struct pn_known_item *items;
	size_t count, capacity;
	bool is_sorted;
	bool is_incomplete; /* no memory: less is known than was found */
};

void pn_known_add(struct pn_known *k, const struct pn_known_item *item);
/* Sorts; afterwards pn_known_has may be used. */
void pn_known_sort(struct pn_known *k);
bool pn_known_has(const struct pn_known *k, const struct pn_id *id, uint32_t kind, uint32_t index);
/* Keeps only what is asked for while serving: the Maildir files. */
void pn_known_prune(struct pn_known *k);
void pn_known_deinit(struct pn_known *k);

#endif
