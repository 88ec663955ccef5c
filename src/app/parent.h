/* SPDX-License-Identifier: ISC */
/* parent.h - the inside of the parent process, for parent.c and parent_reload.c only. */
#ifndef POSTERN_APP_PARENT_H
#define POSTERN_APP_PARENT_H

#include "app.h"

struct parent {
	const char *config_path;
	struct pn_config *config;
	struct pn_identity identity;
	struct pn_listen_sockets sockets;
	struct pn_listen_sockets pending_sockets; /* of `pending`: shares most with `sockets` */
	int control_fd;
	int signal_fd;
	int sock;
	pid_t worker;
	bool is_ready; /* this worker serves */
	bool was_ever_ready;
	bool is_stopping;
	uint64_t kill_at_ms;   /* while stopping: when patience ends */
	bool is_reload_wanted; /* asked for while it could not be done; done as soon as it can */
	struct pn_config *pending; /* handed over by a reload, not answered yet */
	uint64_t asked;            /* reloads that this worker's control socket has asked for */
	uint32_t restart_delay_ms;
	uint64_t restart_at_ms;
	uint64_t started_ms;
};

/* The parent's own lines: the format of the configuration, on stderr. */
void pn_parent_log_configure(const struct pn_config *c);
/* Reads the configuration again and hands it over; later when that cannot be done now. */
void pn_parent_reload(struct parent *p);
/* The worker took what was handed over, or did not (or is gone). */
void pn_parent_reload_answered(struct parent *p, bool is_taken);
/* Everything that the configuration names, and descriptors, to the worker. `labels` is NULL at the
 * start. 0 or -1 with err. */
int pn_parent_hand_over(const struct parent *p, const struct pn_config *c,
			const struct pn_listen_sockets *sockets, const char *labels,
			struct pn_error *err);
/* Makes the Maildirs that the configuration names. 0 or -1 with err. */
int pn_parent_maildirs_prepare(const struct parent *p, const struct pn_config *c,
			       struct pn_error *err);

#endif
