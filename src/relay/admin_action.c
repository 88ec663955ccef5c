/* SPDX-License-Identifier: ISC */
/*
 * admin_action.c - show, retry, hold and remove, on the worker that has the message.
 *
 * A message at rest is taken out of its list and becomes a job of its own that loads it, does the
 * one thing, and (hold, remove) records it. A message whose attempt is in progress gets the wish
 * attached: it is fulfilled when the attempt is recorded, for what is still owed then.
 */
#include <errno.h>

#include <postern/base/log.h>

#include "admin_internal.h"
#include "job.h"

static const char *action_name(enum pn_relay_action action)
{
	switch (action) {
	case PN_RELAY_RETRY:
		return "retry";
	case PN_RELAY_HOLD:
		return "hold";
	case PN_RELAY_REMOVE:
		return "remove";
	}
	return "?";
}

static void admin_log(const struct pn_admin_request *r, int result)
{
	struct pn_log_line line;
	pn_log_begin(&line, PN_LOG_DELIVERY, "admin");
	pn_log_id(&line, "id", &r->id);
	pn_log_str(&line, "action", action_name(r->action));
	pn_log_str(&line, "result", result == 0 ? "done" : "failed");
	pn_log_end(&line);
}

/* ---- finding ---- */

static struct pn_job *find_job(struct pn_worker *w, const struct pn_id *id)
{
	PN_LIST_FOR_EACH(node, &w->jobs) {
		struct pn_job *job = pn_container_of(node, struct pn_job, node);
		if (!job->is_final && !job->is_entry_gone && pn_id_eq(&job->entry->id, id))
			return job;
	}
	return NULL;
}

static struct pn_settling *find_settling(struct pn_worker *w, const struct pn_id *id)
{
	PN_LIST_FOR_EACH(node, &w->settling) {
		struct pn_settling *s = pn_container_of(node, struct pn_settling, node);
		if (pn_id_eq(&s->entry->id, id))
			return s;
	}
	return NULL;
}

/* Takes the entry off whatever it rests on. */
static struct pn_spool_entry *take_resting(struct pn_worker *w, struct pn_admin_request *r)
{
	enum pn_relay_item_state state = PN_RELAY_ITEM_QUEUED;
	const char *upstream = NULL;
	struct pn_spool_entry *entry = pn_entry_list_take(&w->backlog, &r->id);
	if (!entry) {
		entry = pn_schedule_take(&w->schedule, &r->id);
		state = PN_RELAY_ITEM_DEFERRED;
	}
	for (size_t i = 0; !entry && i < w->relay->settings.upstream_count; i++) {
		entry = pn_entry_list_take(&w->pools[i].parked, &r->id);
		state = PN_RELAY_ITEM_WAITING;
		upstream = w->pools[i].settings->name;
	}
	if (entry)
		pn_admin_item_fill(w, &r->item, entry, state, upstream);
	return entry;
}

/* ---- doing ---- */

static void look_job(struct pn_worker *w, struct pn_admin_request *r, struct pn_job *job)
{
	if (r->kind == PN_ADMIN_SHOW) {
		pn_admin_item_fill(w, &r->item, job->entry, PN_RELAY_ITEM_ACTIVE,
		                   job->pool ? job->pool->settings->name : NULL);
		pn_admin_answer(r, 0, job->message);
	} else if (r->action == PN_RELAY_RETRY && !job->is_admin_only) {
		pn_admin_answer(r, 0, NULL);
	} else if (job->admin || job->state == PN_JOB_RECORDING || job->state == PN_JOB_END) {
		if (job->admin_next)
			pn_admin_answer(r, -EBUSY, NULL);
		else
			job->admin_next = r;
	} else {
		job->admin = r;
	}
}

static void look_settling(struct pn_worker *w, struct pn_admin_request *r, struct pn_settling *s)
{
	if (r->kind == PN_ADMIN_SHOW) {
		pn_admin_item_fill(w, &r->item, s->entry, PN_RELAY_ITEM_DEFERRED, NULL);
		pn_admin_answer(r, 0, NULL);
	} else if (s->admin) {
		pn_admin_answer(r, -EBUSY, NULL);
	} else {
		s->admin = r;
	}
}

static void look_resting(struct pn_worker *w, struct pn_admin_request *r, struct pn_spool_entry *entry)
{
	if (r->kind == PN_ADMIN_ACTION && r->action == PN_RELAY_RETRY) {
		/* That a held message is free again becomes durable with the attempt's outcome. */
		entry->flags &= (uint8_t)~PN_ENTRY_HELD;
		entry->next_attempt_wall_ms = 0;
		entry->round = 0;
		pn_entry_list_push(&w->backlog, entry);
		pn_worker_pump_later(w);
		admin_log(r, 0);
		pn_admin_answer(r, 0, NULL);
		return;
	}
	pn_job_start(w, entry, NULL, r);
}

bool pn_admin_look(struct pn_worker *w, struct pn_admin_request *r)
{
	struct pn_job *job = find_job(w, &r->id);
	struct pn_settling *settling = job ? NULL : find_settling(w, &r->id);
	struct pn_spool_entry *entry = job || settling ? NULL : take_resting(w, r);
	if (job)
		look_job(w, r, job);
	else if (settling)
		look_settling(w, r, settling);
	else if (entry)
		look_resting(w, r, entry);
	return job || settling || entry;
}

/* ---- on a job ---- */

static struct pn_admin_request *job_take_request(struct pn_job *job)
{
	struct pn_admin_request *r = job->admin;
	job->admin = NULL;
	return r;
}

void pn_admin_run(struct pn_job *job)
{
	if (job->admin->kind == PN_ADMIN_SHOW) {
		pn_admin_answer(job_take_request(job), 0, job->message);
		pn_job_go(job, PN_JOB_END);
		return;
	}
	pn_job_go(job, PN_JOB_RECORD);
}

bool pn_admin_removes(const struct pn_job *job)
{
	return job->admin->kind == PN_ADMIN_ACTION && job->admin->action == PN_RELAY_REMOVE;
}

void pn_admin_unreadable(struct pn_job *job, int error)
{
	struct pn_admin_request *r = job_take_request(job);
	bool is_show = r->kind == PN_ADMIN_SHOW;
	r->item.error = error;
	if (!is_show)
		admin_log(r, error);
	pn_admin_answer(r, is_show ? 0 : -EIO, NULL);
}

void pn_admin_apply(struct pn_job *job)
{
	struct pn_spool_message *m = job->message;
	struct pn_admin_request *r = job->admin;
	uint32_t pending = 0;
	for (uint32_t i = 0; i < m->envelope.recipient_count; i++) {
		if (m->rcpt_states[i] != PN_RCPT_PENDING)
			continue;
		pending++;
		if (r->kind == PN_ADMIN_ACTION && r->action == PN_RELAY_REMOVE) {
			m->rcpt_states[i] = PN_RCPT_REMOVED;
			pn_worker_count(job->worker, PN_RELAY_C_removed, 1);
		}
	}
	if (r->kind == PN_ADMIN_ACTION && r->action == PN_RELAY_HOLD && pending > 0)
		job->entry->flags |= PN_ENTRY_HELD;
	r->result = pending > 0 ? 0 : -EALREADY;
}

void pn_admin_recorded(struct pn_job *job, int result)
{
	struct pn_admin_request *r = job_take_request(job);
	int answer = result < 0 ? -EIO : r->result;
	admin_log(r, answer);
	pn_admin_answer(r, answer, NULL);
}
