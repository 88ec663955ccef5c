/* SPDX-License-Identifier: ISC */
/*
 * admin.c - requests on their way through the workers: list, and the search for one message.
 *
 * The first worker also empties the shared queue into its own backlog, so that every waiting
 * message is in some worker's hands when it is looked for. A message can still move from a worker
 * that has not been asked to one that has: a search goes round a few times before it says that
 * there is none.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "admin_internal.h"
#include "job.h"

#define ADMIN_ROUNDS 3u

static void admin_on_task(struct pn_loop *loop, struct pn_task *task);

void pn_admin_answer(struct pn_admin_request *r, int result, const struct pn_spool_message *message)
{
	struct pn_relay *relay = r->relay;
	struct pn_relay_list list = {.items = r->items, .count = r->count, .total = r->total};
	switch (r->kind) {
	case PN_ADMIN_LIST:
		r->list_fn(r->ctx, result, result == 0 ? &list : NULL);
		break;
	case PN_ADMIN_SHOW:
		r->show_fn(r->ctx, result, result == 0 ? &r->item : NULL, message);
		break;
	case PN_ADMIN_ACTION:
		r->action_fn(r->ctx, result);
		break;
	}
	free(r->items);
	free(r);
	/* release: pairs with the acquire in worker.c; a worker only stops when no request is under way */
	atomic_fetch_sub_explicit(&relay->admin_active, 1, memory_order_release);
}

/* ---- list ---- */

void pn_admin_item_fill(const struct pn_worker *w, struct pn_relay_item *item, const struct pn_spool_entry *e,
                        enum pn_relay_item_state state, const char *upstream)
{
	uint64_t next_ms = e->next_attempt_wall_ms > pn_worker_wall_ms(w) ? e->next_attempt_wall_ms : 0;
	if (state == PN_RELAY_ITEM_DEFERRED && next_ms == 0)
		state = PN_RELAY_ITEM_QUEUED;
	if (e->flags & PN_ENTRY_HELD)
		state = PN_RELAY_ITEM_HELD;
	*item = (struct pn_relay_item){
		.id = e->id,
		.size_bytes = e->size_bytes,
		.next_attempt_wall_ms = next_ms,
		.attempts = e->attempts,
		.state = state,
		.upstream = upstream,
	};
}

static void list_add(const struct pn_worker *w, struct pn_admin_request *r, const struct pn_spool_entry *e,
                     enum pn_relay_item_state state, const char *upstream)
{
	r->total++;
	if (r->count == r->limit)
		return;
	if (r->count == r->capacity) {
		size_t capacity = r->capacity ? r->capacity * 2 : 64;
		struct pn_relay_item *items = realloc(r->items, capacity * sizeof(*items));
		if (!items) {
			r->error = -ENOMEM;
			return;
		}
		r->items = items;
		r->capacity = capacity;
	}
	pn_admin_item_fill(w, &r->items[r->count++], e, state, upstream);
}

static void list_entries(const struct pn_worker *w, struct pn_admin_request *r, const struct pn_entry_list *l,
                         enum pn_relay_item_state state, const char *upstream)
{
	for (const struct pn_spool_entry *e = l->first; e; e = e->next)
		list_add(w, r, e, state, upstream);
}

static void list_worker(struct pn_worker *w, struct pn_admin_request *r)
{
	PN_LIST_FOR_EACH(node, &w->jobs) {
		const struct pn_job *job = pn_container_of(node, struct pn_job, node);
		enum pn_relay_item_state state =
			job->state == PN_JOB_WAITING ? PN_RELAY_ITEM_WAITING : PN_RELAY_ITEM_ACTIVE;
		if (!job->is_final && !job->is_entry_gone)
			list_add(w, r, job->entry, state, job->pool ? job->pool->settings->name : NULL);
	}
	PN_LIST_FOR_EACH(node, &w->settling)
		list_add(w, r, pn_container_of(node, struct pn_settling, node)->entry, PN_RELAY_ITEM_DEFERRED, NULL);
	list_entries(w, r, &w->backlog, PN_RELAY_ITEM_QUEUED, NULL);
	for (size_t i = 0; i < w->schedule.count; i++)
		list_add(w, r, w->schedule.heap[i], PN_RELAY_ITEM_DEFERRED, NULL);
	list_entries(w, r, &w->schedule.unsorted, PN_RELAY_ITEM_DEFERRED, NULL);
	for (size_t i = 0; i < w->pool_count; i++)
		list_entries(w, r, &w->pools[i]->parked, PN_RELAY_ITEM_WAITING, w->pools[i]->settings->name);
}

static int item_compare(const void *va, const void *vb)
{
	const struct pn_relay_item *a = va, *b = vb;
	return memcmp(a->id.octets, b->id.octets, sizeof(a->id.octets));
}

/* ---- from worker to worker ---- */

static void admin_post(struct pn_admin_request *r)
{
	r->task.fn = admin_on_task;
	pn_loop_post(r->relay->workers[r->at].loop, &r->task);
}

static void admin_list_step(struct pn_worker *w, struct pn_admin_request *r)
{
	list_worker(w, r);
	if (++r->at < r->relay->worker_count) {
		admin_post(r);
		return;
	}
	if (r->count > 0)
		qsort(r->items, r->count, sizeof(*r->items), item_compare);
	pn_admin_answer(r, r->error, NULL);
}

static void admin_search_step(struct pn_worker *w, struct pn_admin_request *r)
{
	if (pn_admin_look(w, r))
		return;
	if (++r->at == r->relay->worker_count) {
		r->at = 0;
		r->round++;
	}
	if (r->round == ADMIN_ROUNDS)
		pn_admin_answer(r, -ENOENT, NULL);
	else
		admin_post(r);
}

static void admin_on_task(struct pn_loop *loop, struct pn_task *task)
{
	struct pn_admin_request *r = pn_container_of(task, struct pn_admin_request, task);
	struct pn_worker *w = &r->relay->workers[r->at];
	(void)loop;
	if (r->at == 0) {
		pn_queue_take_all(&r->relay->queue, &w->backlog);
		pn_worker_pump_later(w);
	}
	pn_entry_stack_take(&w->inbox, &w->backlog);
	if (r->kind == PN_ADMIN_LIST)
		admin_list_step(w, r);
	else
		admin_search_step(w, r);
}

void pn_admin_again(struct pn_worker *w, struct pn_admin_request *r)
{
	r->at = w->index;
	r->round = 0;
	admin_post(r);
}

void pn_admin_failed(struct pn_worker *w, struct pn_admin_request *r, int result)
{
	(void)w;
	pn_admin_answer(r, result, NULL);
}

static void admin_start(struct pn_admin_request *r)
{
	struct pn_relay *relay = r->relay;
	/* One for the request and one for this call, which is in pn_loop_post for a moment after
	 * the request may have ended. seq_cst: before the look at is_serving; pairs with
	 * pn_relay_stop */
	atomic_fetch_add_explicit(&relay->admin_active, 2, memory_order_seq_cst);
	/* seq_cst: pairs with the stores in pn_relay_start and pn_relay_stop */
	if (!atomic_load_explicit(&relay->is_serving, memory_order_seq_cst))
		pn_admin_answer(r, -ESHUTDOWN, NULL);
	else
		admin_post(r);
	/* release: pairs with the acquire in worker.c */
	atomic_fetch_sub_explicit(&relay->admin_active, 1, memory_order_release);
}

/* ---- the calls ---- */

void pn_relay_queue_list(struct pn_relay *relay, uint32_t limit, pn_relay_list_fn fn, void *ctx)
{
	struct pn_admin_request *r = calloc(1, sizeof(*r));
	if (!r) {
		fn(ctx, -ENOMEM, NULL);
		return;
	}
	r->relay = relay;
	r->kind = PN_ADMIN_LIST;
	r->list_fn = fn;
	r->ctx = ctx;
	r->limit = limit;
	admin_start(r);
}

void pn_relay_queue_show(struct pn_relay *relay, const struct pn_id *id, pn_relay_show_fn fn, void *ctx)
{
	struct pn_admin_request *r = calloc(1, sizeof(*r));
	if (!r) {
		fn(ctx, -ENOMEM, NULL, NULL);
		return;
	}
	r->relay = relay;
	r->kind = PN_ADMIN_SHOW;
	r->id = *id;
	r->show_fn = fn;
	r->ctx = ctx;
	admin_start(r);
}

void pn_relay_queue_action(struct pn_relay *relay, enum pn_relay_action action, const struct pn_id *id,
                           pn_relay_action_fn fn, void *ctx)
{
	struct pn_admin_request *r = calloc(1, sizeof(*r));
	if (!r) {
		fn(ctx, -ENOMEM);
		return;
	}
	r->relay = relay;
	r->kind = PN_ADMIN_ACTION;
	r->action = action;
	r->id = *id;
	r->action_fn = fn;
	r->ctx = ctx;
	admin_start(r);
}
