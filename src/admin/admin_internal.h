/* SPDX-License-Identifier: ISC */
/* admin_internal.h - shared by the files of src/admin only. Requests and answers are JSON objects;
 * an answer has "ok" and, when false, "error". */
#ifndef POSTERN_ADMIN_INTERNAL_H
#define POSTERN_ADMIN_INTERNAL_H

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>

#include <postern/admin/admin.h>

#define PN_ADMIN_REQUEST_MAX_BYTES 4096u
#define PN_ADMIN_LIST_MAX          100000u /* about a kilobyte of memory each while the answer is made */

struct pn_admin {
	struct pn_admin_settings settings;
	pthread_t thread;
	int stop_fd;
};

/* Each gives a new reference, never NULL except without memory. */
json_t *pn_admin_answer_error(const char *text);
json_t *pn_admin_answer_status(const struct pn_admin *a);
json_t *pn_admin_answer_queue_list(const struct pn_admin *a, uint32_t limit);
json_t *pn_admin_answer_queue_show(const struct pn_admin *a, const char *id);
json_t *pn_admin_answer_queue_action(const struct pn_admin *a, enum pn_relay_action action,
				     const char *id);

/* print.c: for people */
void pn_admin_print_status(FILE *out, const json_t *answer);
void pn_admin_print_reload(FILE *out, const json_t *answer);
void pn_admin_print_list(FILE *out, const json_t *answer);
void pn_admin_print_show(FILE *out, const json_t *answer);

#endif
