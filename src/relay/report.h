/* SPDX-License-Identifier: ISC */
/* report.h - delivery status notifications as messages of their own, durable before the outcome
 * that they tell of. */
#ifndef PN_RELAY_REPORT_H
#define PN_RELAY_REPORT_H

#include <postern/smtp/dsn.h>

#include "job.h"

/* Recipients told of in one report; more make more reports. Bounds the memory of its text. */
#define PN_REPORT_RCPTS_MAX 500u

/* Writes the next report that the attempt asks for, and so on (pn_job_go(PN_JOB_REPORT)); then
 * pn_job_go(PN_JOB_RECORD). */
void pn_report_start(struct pn_job *job);
/*
 * The id of a report: time of the original, PN_RELAY_REPORT_NODE, and a hash of the original's id,
 * the action, and the recipients (place in the envelope and address). The same report gets the same
 * id in every life of the process.
 */
struct pn_id pn_report_id(const struct pn_id *original, enum pn_dsn_action action,
                          const struct pn_job_rcpt *const *rcpts, size_t count);

#endif
