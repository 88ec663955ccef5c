/* SPDX-License-Identifier: ISC */
/*
 * admin.h - requests of the control socket, inside the workers. A request is one object that goes
 * from worker to worker as a posted task, so it has one owner at any time; on the worker that has
 * the message it may ride on a job.
 */
#ifndef PN_RELAY_ADMIN_H
#define PN_RELAY_ADMIN_H

#include <postern/relay/relay.h>

struct pn_admin_request;
struct pn_job;
struct pn_worker;

/* The job was made for job->admin alone and its message is loaded: does it. */
void pn_admin_run(struct pn_job *job);
/* The message cannot be read: answers job->admin as well as it can. */
void pn_admin_unreadable(struct pn_job *job, int error);
/* Whether job->admin removes the message, for which it need not be read. */
bool pn_admin_removes(const struct pn_job *job);
/* Before the outcome is recorded: changes states and flags as job->admin wants. */
void pn_admin_apply(struct pn_job *job);
/* The record is durable, or failed: answers. */
void pn_admin_recorded(struct pn_job *job, int result);
/* An entry that was out of reach is back: looks for it again on this worker. */
void pn_admin_again(struct pn_worker *w, struct pn_admin_request *request);
/* Answers a request that found no job. */
void pn_admin_failed(struct pn_worker *w, struct pn_admin_request *request, int result);

#endif
