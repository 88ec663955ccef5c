/* SPDX-License-Identifier: ISC */
/* worker.h - the inside of the worker process, for worker.c and worker_*.c only. */
#ifndef POSTERN_APP_WORKER_H
#define POSTERN_APP_WORKER_H

#include <pthread.h>

#include <postern/admin/admin.h>

#include <postern/base/log.h>

#include "app.h"

/* Between `postern reload` (admin thread) and the main thread. Under the lock. */
struct pn_worker_reload {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t asked;    /* reloads that the control socket asked the parent for */
	uint64_t answered; /* of these, those that have begun and ended since */
	bool is_done;      /* the last one was taken */
	char *text;        /* of the last one: keys that need a restart, or why it was refused */
	bool is_stopping;
	char hostname[256];
};

struct worker {
	int sock;
	int signal_fd;
	struct pn_handover handover;
	struct pn_config *config;
	struct pn_app_settings settings;
	struct pn_listener_set *listeners;
	int control_fd;
	struct pn_tls_tickets *tickets;
	struct pn_spool *spool;
	struct pn_auth *auth;
	struct pn_sources *sources;
	struct pn_relay *relay;
	struct pn_session_shared shared;
	struct pn_session_profile *profile;
	struct pn_loop_threads *loops;
	struct pn_admin *admin;
	uint32_t features;
	uint64_t recovered;
	struct {
		_Atomic uint32_t sessions_max, handshakes_max, sessions_per_source_max,
			connections_per_minute_max;
		_Atomic uint32_t header_size_max_bytes, text_line_max_bytes, command_line_max_bytes,
			auth_line_max_bytes;
		_Atomic uint32_t recipients_max, received_max, bad_commands_max,
			transaction_memory_max_bytes, output_buffer_max_bytes, commits_max;
		_Atomic uint32_t auth_failures_max;
		_Atomic uint64_t size_max_bytes;
		_Atomic uint32_t auth_helper_queue_max, auth_cache_entries_max, sources_max,
			queue_ring_entries, relay_jobs_max;
		_Atomic uint64_t queue_messages_max, memory_max_bytes, free_space_min_bytes;
	} live; /* what `postern status` shows as limits; a reload changes them while it reads */
	struct pn_worker_reload reload;
};

/* ---- worker.c ---- */
struct pn_config *pn_worker_config_from(const struct pn_handover *h, struct pn_error *err);
struct pn_session_profile *pn_worker_profile_new(struct worker *w, const struct pn_config *c,
						 const struct pn_handover *h, struct pn_error *err);
/* Takes the log's descriptor from the hand-over. */
void pn_worker_log_values(const struct pn_config *c, struct pn_handover *h,
			  struct pn_log_settings *ret);
/* One octet to the parent. */
void pn_worker_say(struct worker *w, char c);

/* ---- worker_listeners.c ---- */
/* The index-th descriptor, now the caller's; -1: none. */
int pn_worker_take_fd(struct pn_handover *h, size_t index);
/* Of the handed-over descriptors, taking those that are new; what `before` (or NULL) has with the same socket, name and
 * TLS is used again. NULL with err. */
struct pn_listener_set *pn_worker_listeners_new(const struct pn_config *c, uint32_t loop_count,
						struct pn_handover *h,
						const struct pn_listener_set *before,
						struct pn_error *err);

/* ---- worker_limits.c ---- */
/* Takes over what is in force now. Main thread. */
void pn_worker_limits_set(struct worker *w);
/* For pn_admin_settings.limits. */
size_t pn_worker_limits(void *ctx, struct pn_admin_limit *out, size_t max);

/* ---- worker_reload.c ---- */
void pn_worker_reload_init(struct worker *w);
void pn_worker_reload_deinit(struct worker *w);
/* A message from the parent is there: a new configuration, or why there is none. */
void pn_worker_on_parent(struct worker *w);
/* For pn_admin_settings.reload and .hostname. Admin thread. */
bool pn_worker_ask_reload(void *ctx, char **ret_text);
void pn_worker_hostname(void *ctx, char *out, size_t size);
/* Who waits for a reload waits no longer. */
void pn_worker_reload_stop(struct worker *w);

#endif
