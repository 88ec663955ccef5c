/* SPDX-License-Identifier: ISC */
/*
 * app.h - shared by the files of src/app only: the parent, the worker, and what passes between
 * them.
 *
 * The parent keeps the starting privileges, reads configuration, keys and certificates, opens
 * sockets, and never sees an octet from a peer. The worker
 * gets all of that as one hand-over, drops privileges, and does everything else.
 */
#ifndef POSTERN_APP_H
#define POSTERN_APP_H

#include <sys/types.h>

#include <postern/auth/auth.h>
#include <postern/base/common.h>
#include <postern/base/slice.h>
#include <postern/config/config.h>
#include <postern/relay/relay.h>
#include <postern/session/session.h>
#include <postern/tls/ktls.h>

/* Exit codes (sysexits(3) where one fits). */
#define PN_EXIT_OK          0
#define PN_EXIT_FAILURE     1
#define PN_EXIT_USAGE       64
#define PN_EXIT_UNAVAILABLE 69
#define PN_EXIT_OS          71
#define PN_EXIT_CONFIG      78

#define PN_DEFAULT_CONFIG   "/etc/postern/postern.conf"

/* ---- files.c ---- */
/* Reads a whole file of at most max_bytes. 0 (caller frees *ret), or -errno with err naming the
 * file. */
int pn_file_read(const char *path, size_t max_bytes, uint8_t **ret, size_t *ret_len,
		 struct pn_error *err) PN_MUST_CHECK;

/* ---- handover.c: what the parent gives to the worker, at start and at each reload ---- */
#define PN_HANDOVER_LISTENERS_MAX 126
#define PN_HANDOVER_FDS_MAX       (PN_HANDOVER_LISTENERS_MAX + 2)
#define PN_HANDOVER_BLOBS_MAX     (2 * PN_CONFIG_CERTIFICATES_MAX + 2 * PN_CONFIG_UPSTREAMS_MAX + 3)

struct pn_handover_blob {
	/* "config", a path that the configuration names; of a reload also "asked" (which `postern reload`
	 * it answers) and "needs_restart" (a key in each line) */
	char *name;
	uint8_t *data;
	size_t len;
};

struct pn_handover {
	struct pn_handover_blob *blobs;
	size_t blob_count;
	/* The control socket, log.file if there is one, listening sockets in config order. */
	int fds[PN_HANDOVER_FDS_MAX];
	size_t fd_count;
};

int pn_handover_add(struct pn_handover *h, const char *name, const uint8_t *data,
		    size_t len) PN_MUST_CHECK;
struct pn_slice pn_handover_get(const struct pn_handover *h,
				const char *name); /* NULL slice when absent */
/* Reads every certificate, key, CA and password file that the configuration names. 0 or -1 with
 * err. */
int pn_handover_collect(struct pn_handover *h, const struct pn_config *c,
			struct pn_error *err) PN_MUST_CHECK;
/* The file with the trusted roots of an upstream: its own, or the system's. */
const char *pn_app_ca_path(const struct pn_config_upstream *u);
/* One message with a sealed memory file and the descriptors. 0 or -errno. */
int pn_handover_send(int sock, const struct pn_handover *h) PN_MUST_CHECK;
/* Blocks for one. 0; -ENOTCONN when the other side is gone; -errno. */
int pn_handover_recv(int sock, struct pn_handover *ret) PN_MUST_CHECK;
/* Wipes and frees; closes no descriptor. */
void pn_handover_clear(struct pn_handover *h);

/* ---- listeners.c ---- */
struct pn_listen_socket {
	char address[96]; /* as configured */
	uint32_t copy;    /* `reuseport`: which loop's */
	bool is_reuseport;
	int fd;
};
struct pn_listen_sockets {
	struct pn_listen_socket items
		[PN_HANDOVER_LISTENERS_MAX]; /* in config order: address by address, loop by loop */
	size_t count;
};
/*
 * Opens every configured address. At the start (before: NULL) those that systemd gives (LISTEN_FDS) are
 * taken; at a reload those that `before` has open. 0, or -1 with err and nothing opened.
 */
int pn_listeners_open(const struct pn_config *c, const struct pn_listen_sockets *before,
		      struct pn_listen_sockets *ret, struct pn_error *err) PN_MUST_CHECK;
/* Closes those that `but` (or NULL) does not have; the set is empty then. */
void pn_listeners_close(struct pn_listen_sockets *set, const struct pn_listen_sockets *but);
/* The control socket: bound, listening, mode 0660, group of the service. fd or -1 with err. */
int pn_control_socket_open(const char *path, gid_t gid, struct pn_error *err) PN_MUST_CHECK;

/* ---- privileges.c ---- */
struct pn_identity {
	bool is_set;
	uid_t uid;
	gid_t gid;
	char user[64];
};
/* Finds user and group of the configuration; unset when not root or when none is configured. 0 or
 * -1 with err. */
int pn_identity_find(const struct pn_config *c, struct pn_identity *ret,
		     struct pn_error *err) PN_MUST_CHECK;
/* Opens log.file to append, as that user. -1 with err; -1 without when none is configured. */
int pn_log_file_open(const struct pn_config *c, const struct pn_identity *id, struct pn_error *err);
int pn_privileges_drop(const struct pn_identity *id, struct pn_error *err) PN_MUST_CHECK;
/* Makes `path` (one level) with owner and mode when missing and we may; a directory that the
 * service cannot write is an error with its remedy. */
int pn_directory_prepare(const char *path, mode_t mode, const struct pn_identity *id,
			 struct pn_error *err) PN_MUST_CHECK;
/* Raises RLIMIT_NOFILE to `wanted` (0: the hard limit). Returns what is in force. */
uint64_t pn_open_files_raise(uint64_t wanted);

/* ---- sandbox.c ---- */
/* Landlock and seccomp for the worker: files only below the given places, no new programs, no
 * tracing, no mounts. What the kernel lacks is logged, never fatal. */
struct pn_sandbox {
	const char *writable[PN_RELAY_UPSTREAMS_MAX + 1]; /* directories: every Maildir, spool */
	size_t writable_count;
	const char *readable[32]; /* directories or files */
	size_t readable_count;
};
void pn_sandbox_enter(const struct pn_sandbox *s);

/* ---- notify.c: sd_notify(3) without its library ---- */
void pn_notify(const char *state);

/* ---- settings.c: from the configuration to each module's settings ---- */
struct pn_app_settings {
	struct pn_session_profile profile; /* values for pn_session_profile_new; tls not yet set */
	struct pn_auth_settings auth;
	struct pn_spool_settings spool;
	struct pn_relay_settings relay;
	struct pn_upstream_settings *upstreams;
	struct pn_upstream_host *hosts; /* of all upstreams */
	char **host_names;
	size_t host_count;
	char **passwords;
	int *relay_cpus;
	uint32_t features_disabled;
	uint32_t loop_count;
	int *loop_cpus;
};
/*
 * Strings are borrowed from c, which must outlive s. A TLS client context that `before` (NULL: none)
 * has for the same roots is used again, so that the relay sees that nothing has changed. 0 or -1 with
 * err; clear s in both cases.
 */
int pn_app_settings_make(struct pn_app_settings *s, const struct pn_config *c,
			 const struct pn_handover *h, const struct pn_app_settings *before,
			 struct pn_error *err) PN_MUST_CHECK;
void pn_app_settings_clear(struct pn_app_settings *s);
/* `loops`, or one for each CPU that we may use. */
uint32_t pn_app_loop_count(const struct pn_config *c);
/* The server context from the certificates of c. NULL with err. */
struct pn_tls_server *pn_app_tls_server(const struct pn_config *c, const struct pn_handover *h,
					struct pn_tls_tickets *tickets, struct pn_error *err);
/* The settings of a new session profile (no TLS reference yet). */
void pn_app_profile_values(const struct pn_config *c, struct pn_session_profile *ret);

/* ---- ktls.c: which connections use the kernel's records ---- */
/* 0, or -1 with err when a listener or the upstreams insist (`on`) on what this kernel has not. */
int pn_app_ktls_check(const struct pn_config *c, struct pn_error *err) PN_MUST_CHECK;
/* Probes the kernel unless all of it is switched off, checks, and logs what was found. In the parent,
 * before the fork: loading the module may need its privileges. */
int pn_app_ktls_start(const struct pn_config *c, struct pn_error *err) PN_MUST_CHECK;
bool pn_app_ktls_of_listener(const struct pn_config *c, const struct pn_config_listener *l);
bool pn_app_ktls_of_upstreams(const struct pn_config *c);
/* What the kernel offers; NULL: all is switched off. */
const struct pn_ktls_support *pn_app_ktls_support(const struct pn_config *c);

/* ---- parent.c, worker.c ---- */
int pn_parent_run(const char *config_path);
/* In the forked child; returns its exit code. `sock` is the worker's end; parent_pid for the death
 * signal. */
int pn_worker_run(int sock, const struct pn_identity *id, pid_t parent_pid);
/*
 * Octets from the worker besides: 'R' it serves; 'L' somebody asked for a reload on the control
 * socket; 'K' and 'E': the handed-over reload was taken or refused. The parent sends hand-overs, and
 * "N", a number, a line end and a text when a reload came to nothing before. It stops the worker with
 * SIGTERM.
 */

/* ---- threads.c: the loops ---- */
struct pn_loop_threads;
struct pn_loop_threads_settings {
	const struct pn_config *config;
	const struct pn_app_settings *app;
	struct pn_session_shared *shared;
	struct pn_session_profile *profile;
	struct pn_listener_set *listeners;
};
/* Starts them; returns when each of them serves. NULL with err. */
struct pn_loop_threads *pn_loop_threads_start(const struct pn_loop_threads_settings *s,
					      struct pn_error *err);
/* Each loop takes them at its own quiet point. References are taken. */
void pn_loop_threads_update(struct pn_loop_threads *t, struct pn_session_profile *profile,
			    struct pn_listener_set *listeners);
/* Drains all loops and joins their threads. Blocking, bounded by timeout_ms and a little. */
void pn_loop_threads_drain(struct pn_loop_threads *t, uint32_t timeout_ms);
void pn_loop_threads_free(struct pn_loop_threads *t);

/* ---- version.c ---- */
/* Prints versions of Postern and its libraries, and the kernel features found. */
void pn_version_print(FILE *out);
/* Whether jemalloc really is the allocator of this process. */
bool pn_jemalloc_is_active(void);

#endif
