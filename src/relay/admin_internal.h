/* SPDX-License-Identifier: ISC */
/* admin_internal.h - shared by admin.c and admin_action.c only. */
#ifndef PN_RELAY_ADMIN_INTERNAL_H
#define PN_RELAY_ADMIN_INTERNAL_H

#include "admin.h"
#include "worker.h"

enum pn_admin_kind { PN_ADMIN_LIST, PN_ADMIN_SHOW, PN_ADMIN_ACTION };

struct pn_admin_request {
	struct pn_task task;
	struct pn_relay *relay;
	enum pn_admin_kind kind;
	void *ctx;
	uint32_t at;        /* worker whose turn it is */
	uint32_t round;     /* a message may move between workers while it is looked for */
	/* LIST */
	pn_relay_list_fn list_fn;
	struct pn_relay_item *items;
	size_t count, capacity, limit;
	uint64_t total;
	int error;
	/* SHOW, ACTION */
	struct pn_id id;
	pn_relay_show_fn show_fn;
	enum pn_relay_action action;
	pn_relay_action_fn action_fn;
	struct pn_relay_item item; /* as it was found */
	int result;
};

void pn_admin_item_fill(const struct pn_worker *w, struct pn_relay_item *item, const struct pn_spool_entry *entry,
                        enum pn_relay_item_state state, const char *upstream);
/* Looks for the message on worker w and does what is wanted, now or later. False: it is not here. */
bool pn_admin_look(struct pn_worker *w, struct pn_admin_request *request);
/* Calls back and frees. */
void pn_admin_answer(struct pn_admin_request *request, int result, const struct pn_spool_message *message);

#endif
