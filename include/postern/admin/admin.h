/* SPDX-License-Identifier: ISC */
/*
 * admin.h - the control socket and its command line: queue, status, reload.
 *
 * The server side is one thread with blocking I/O on a Unix socket (poll, bounded number of
 * clients, bounded requests): one request a connection, one line of JSON
 * in, one JSON document out. It reaches workers only through their asynchronous calls. The client
 * side prints for people, or the JSON as it came (--json).
 */
#ifndef POSTERN_ADMIN_ADMIN_H
#define POSTERN_ADMIN_ADMIN_H

#include <stdio.h>

#include <postern/base/common.h>
#include <postern/relay/relay.h>
#include <postern/spool/spool.h>
#include <postern/tls/ktls.h>

struct pn_admin;

/* One limit as `postern status` shows it. */
struct pn_admin_limit {
	const char *name; /* config key */
	uint64_t max;
	uint64_t used;
	const char *counter_scope; /* where refusals are counted; NULL: nowhere */
	const char *counter_name;
};

struct pn_admin_settings {
	int listen_fd;          /* listening Unix socket, non-blocking; borrowed */
	struct pn_relay *relay; /* borrowed until pn_admin_stop */
	struct pn_spool *spool;
	uint64_t started_wall_ms;
	const char *version; /* "0.1.0" */
	void (*hostname)(void *ctx, char *out, size_t size); /* NUL-terminated; called on the admin thread */
	void *hostname_ctx;
	uint32_t features; /* PN_NET_FEATURE_* in use */
	const struct pn_ktls_support *ktls; /* what the kernel offers; NULL: switched off */
	/* Fills in at most `max` limits, returns how many (called on the admin thread). */
	size_t (*limits)(void *ctx, struct pn_admin_limit *out, size_t max);
	void *limits_ctx;
	/* Has the configuration read again and waits for the end of it (called on the admin thread). True: it is in
	 * force, *ret_text has a line for each key that needs a restart. False: why not. *ret_text is freed by the
	 * caller; NULL: no memory. */
	bool (*reload)(void *ctx, char **ret_text);
	void *reload_ctx;
};

/* Starts the thread. NULL with err. */
struct pn_admin *pn_admin_start(const struct pn_admin_settings *settings, struct pn_error *err);
/* Ends requests in progress, joins. NULL is fine. */
void pn_admin_stop(struct pn_admin *admin);

/* `postern queue ...`, `postern status ...`: argv[0] is the command. Exit code as main's (0, 1 not
 * found or refused, 64 usage, 69 gateway not reachable). */
int pn_admin_cli(const char *socket_path, int argc, char **argv);
/* Whether argv (after the command) asks for help; prints it then. */
void pn_admin_usage(FILE *out, const char *command);

#endif
