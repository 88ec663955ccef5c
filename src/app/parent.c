/* SPDX-License-Identifier: ISC */
/*
 * parent.c - the privileged process: configuration, sockets, keys; keeps one worker running;
 * signals.
 *
 * It makes no ring and no thread and never reads an octet from a peer. SIGTERM and SIGINT drain
 * the worker, SIGHUP reloads. A worker that dies is started again (the spool
 * is the truth); the listening sockets stay open meanwhile, so that clients wait instead of being
 * refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <postern/base/clock.h>
#include <postern/base/log.h>
#include <postern/version.h>

#include "app.h"

#define RESTART_DELAY_MAX_MS 30000u
#define STEADY_MS            60000u
#define STOP_GRACE_MS        15000u /* beyond drain_timeout_s: for journals and a slow disk */

struct parent {
	const char *config_path;
	struct pn_config *config;
	struct pn_identity identity;
	struct pn_handover sockets; /* descriptors only */
	int signal_fd;
	int sock;
	pid_t worker;
	bool is_ready; /* this worker serves */
	bool was_ever_ready;
	bool is_stopping;
	uint64_t kill_at_ms;   /* while stopping: when patience ends */
	bool is_reload_wanted; /* asked for while it could not be done; done as soon as it can */
	struct pn_config *pending; /* handed over by a reload, not answered yet */
	uint32_t restart_delay_ms;
	uint64_t restart_at_ms;
	uint64_t started_ms;
};

static int worker_failed(const char *what)
{
	pn_logf(PN_LOG_ERROR, "start", "%s: %s", what, strerror(errno));
	return PN_EXIT_OS;
}

static int hand_over(struct parent *p, const struct pn_config *c, bool with_sockets,
		     struct pn_error *err)
{
	struct pn_handover h = { 0 };
	if (with_sockets) {
		memcpy(h.fds, p->sockets.fds, sizeof(h.fds));
		h.fd_count = p->sockets.fd_count;
	}
	int rc = pn_handover_collect(&h, c, err);
	if (rc == 0 && (rc = pn_handover_send(p->sock, &h)) != 0)
		(void)pn_error_set(err, "hand-over: %s", strerror(-rc));
	pn_handover_clear(&h);
	return rc;
}

static int spawn(struct parent *p, struct pn_error *err)
{
	int pair[2];
	pid_t self = getpid();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return pn_error_set(err, "socketpair: %s", strerror(errno));
	pid_t pid = fork();
	if (pid < 0) {
		int error = errno;
		(void)close(pair[0]);
		(void)close(pair[1]);
		return pn_error_set(err, "fork: %s", strerror(error));
	}
	if (pid == 0) {
		(void)close(pair[0]);
		(void)close(p->signal_fd);
		for (size_t i = 0; i < p->sockets.fd_count; i++)
			(void)close(p->sockets.fds[i]); /* they come with the hand-over */
		(void)unsetenv("NOTIFY_SOCKET");
		struct pn_identity id = p->identity;
		pn_config_free(p->config);
		_exit(pn_worker_run(pair[1], &id, self));
	}
	(void)close(pair[1]);
	p->worker = pid;
	p->sock = pair[0];
	p->is_ready = false;
	p->started_ms = pn_clock_mono_ms();
	return hand_over(p, p->config, true, err);
}

static int prepare(struct parent *p, struct pn_error *err)
{
	const struct pn_config *c = p->config;
	if (pn_app_ktls_start(c, err) != 0)
		return -1;
	uint64_t files = pn_open_files_raise(c->limits.open_files_max);
	if (files < (uint64_t)c->limits.sessions_max + 256)
		pn_logf(PN_LOG_WARN, "start",
			"only %llu open files are allowed but sessions_max is %u; raise "
			"LimitNOFILE or lower limits.sessions_max",
			(unsigned long long)files, c->limits.sessions_max);
	else
		pn_logf(PN_LOG_INFO, "start", "open files limit: %llu", (unsigned long long)files);
	if (pn_identity_find(c, &p->identity, err) != 0 ||
	    pn_directory_prepare(c->spool.path, 0700, &p->identity, err) != 0)
		return -1;
	for (size_t i = 0; i < c->upstream_count; i++) {
		if (c->upstreams[i].kind == PN_CONFIG_UPSTREAM_MAILDIR &&
		    pn_directory_prepare(c->upstreams[i].maildir, 0700, &p->identity, err) != 0)
			return -1;
	}
	char *copy = strdup(c->control_socket);
	int rc = copy ? pn_directory_prepare(dirname(copy), 0755, &(struct pn_identity){ 0 }, err)
		      : -1;
	free(copy);
	if (rc != 0 || pn_listeners_open(c, p->sockets.fds, PN_HANDOVER_FDS_MAX - 1,
					 &p->sockets.fd_count, err) != 0)
		return -1;
	int control = pn_control_socket_open(c->control_socket,
					     p->identity.is_set ? p->identity.gid : (gid_t)-1, err);
	if (control < 0)
		return -1;
	p->sockets.fds[p->sockets.fd_count++] = control;
	return 0;
}

static int signals_open(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return -1;
	(void)signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* ---- reload ---- */

/*
 * What a reload cannot change is compared in canonical form: the new configuration with its
 * reloadable members taken from the old one must
 * read like the old one.
 */
static void warn_needs_restart(const struct pn_config *old, const struct pn_config *new)
{
	struct pn_config mixed = *new;
	mixed.certificates = old->certificates;
	mixed.certificate_count = old->certificate_count;
	mixed.tls = old->tls;
	mixed.tls.ktls = new->tls.ktls; /* listeners and upstreams keep what they have */
	mixed.limits = old->limits;
	mixed.extensions = old->extensions;
	mixed.line_endings = old->line_endings;
	mixed.received_client_address = old->received_client_address;
	mixed.auth.failures_max = old->auth.failures_max;
	mixed.auth.failure_delay_ms = old->auth.failure_delay_ms;
	mixed.auth.failure_delay_max_ms = old->auth.failure_delay_max_ms;
	char *a = pn_config_canonical(old);
	char *b = pn_config_canonical(&mixed);
	if (a && b && strcmp(a, b) != 0)
		pn_logf(PN_LOG_WARN, "reload",
			"the file also changes things that need a restart (listeners, threads, "
			"spool, upstreams, retry, log or "
			"io_uring keys); they keep their old values until then");
	free(a);
	free(b);
}

static void reload(struct parent *p)
{
	struct pn_error err = { 0 };
	if (!p->is_ready || p->pending) {
		pn_logf(PN_LOG_INFO, "reload", "will be done when the worker is %s",
			p->pending ? "through with the last one" : "ready");
		p->is_reload_wanted = true;
		return;
	}
	p->is_reload_wanted = false;
	pn_notify("RELOADING=1");
	struct pn_config *c = pn_config_load(p->config_path, true, stderr);
	if (!c) {
		pn_logf(PN_LOG_ERROR, "reload", "%s has mistakes (see above); nothing changed",
			p->config_path);
	} else if (hand_over(p, c, false, &err) != 0) {
		pn_logf(PN_LOG_ERROR, "reload", "%s; nothing changed", err.text);
		pn_config_free(c);
	} else {
		warn_needs_restart(p->config, c);
		p->pending = c;
		return;
	}
	pn_notify("READY=1");
}

static void reload_answered(struct parent *p, bool is_taken)
{
	if (!p->pending)
		return;
	if (is_taken) {
		/* A worker that dies is restarted with what is in force now; what needs a restart
		 * of all stays as the sockets are. */
		pn_config_free(p->config);
		p->config = p->pending;
	} else {
		pn_config_free(p->pending);
	}
	p->pending = NULL;
	pn_notify("READY=1");
}

/* ---- the worker's life ---- */

static void on_message(struct parent *p)
{
	char c = 0;
	ssize_t n = recv(p->sock, &c, 1, MSG_DONTWAIT);
	if (n == 0) {
		/* The worker is going; its SIGCHLD follows. Do not spin on the end of the stream
		 * meanwhile. */
		struct pollfd wait = { .fd = p->signal_fd, .events = POLLIN };
		(void)poll(&wait, 1, 1000);
	}
	if (n <= 0)
		return;
	switch (c) {
	case 'R':
		p->is_ready = true;
		p->was_ever_ready = true;
		pn_notify("READY=1");
		pn_logf(PN_LOG_INFO, "ready", "serving; pid %d, worker %d", (int)getpid(),
			(int)p->worker);
		break;
	case 'L':
		reload(p);
		break;
	case 'K':
	case 'E':
		reload_answered(p, c == 'K');
		break;
	default:
		break;
	}
	if (p->is_reload_wanted && p->is_ready && !p->pending && !p->is_stopping)
		reload(p);
}

static void stop(struct parent *p)
{
	if (p->is_stopping)
		return;
	p->is_stopping = true;
	p->kill_at_ms =
		pn_clock_mono_ms() + p->config->limits.drain_timeout_s * 1000u + STOP_GRACE_MS;
	pn_notify("STOPPING=1");
	pn_logf(PN_LOG_INFO, "stop", "stopping");
	if (p->worker > 0)
		(void)kill(p->worker, SIGTERM);
}

/* Returns an exit code when the parent must end too, else -1. */
static int worker_ended(struct parent *p, int status)
{
	p->worker = 0;
	(void)close(p->sock);
	p->sock = -1;
	p->is_ready = false;
	p->is_reload_wanted = p->is_reload_wanted ||
			      p->pending; /* it died with it unanswered: the next one gets it */
	reload_answered(p, false);
	if (p->is_stopping)
		return WIFEXITED(status) ? WEXITSTATUS(status) : PN_EXIT_FAILURE;
	if (!p->was_ever_ready)
		return WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status)
								     : PN_EXIT_FAILURE;
	if (pn_clock_mono_ms() - p->started_ms > STEADY_MS)
		p->restart_delay_ms = 0;
	pn_logf(PN_LOG_ERROR, "worker",
		"worker ended unexpectedly (%s %d); starting it again in %u ms",
		WIFSIGNALED(status) ? "signal" : "exit code",
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), p->restart_delay_ms);
	p->restart_at_ms = pn_clock_mono_ms() + p->restart_delay_ms;
	p->restart_delay_ms = p->restart_delay_ms == 0 ? 500
			      : p->restart_delay_ms * 2 > RESTART_DELAY_MAX_MS
				      ? RESTART_DELAY_MAX_MS
				      : p->restart_delay_ms * 2;
	return -1;
}

static int on_signal(struct parent *p)
{
	struct signalfd_siginfo info;
	int code = -1;
	while (read(p->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		int status;
		if (info.ssi_signo == SIGHUP)
			reload(p);
		else if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
			stop(p);
		else if (p->worker > 0 && waitpid(p->worker, &status, WNOHANG) == p->worker)
			code = worker_ended(p, status);
	}
	if (p->is_stopping && p->worker == 0 && code < 0)
		return PN_EXIT_OK;
	return code;
}

static int respawn_if_due(struct parent *p)
{
	struct pn_error err = { 0 };
	if (p->worker > 0 || p->is_stopping)
		return -1;
	uint64_t now = pn_clock_mono_ms();
	if (now < p->restart_at_ms)
		return (int)(p->restart_at_ms - now);
	if (spawn(p, &err) != 0) {
		pn_logf(PN_LOG_ERROR, "worker", "cannot start: %s", err.text);
		if (p->worker > 0)
			(void)kill(p->worker, SIGKILL);
		p->restart_at_ms = now + 1000;
	}
	return p->worker > 0 ? -1 : 1000;
}

/* A worker that hangs (a dead disk) must not keep the machine from stopping; what it promised is on
 * disk. */
static int patience_left_ms(struct parent *p)
{
	uint64_t now = pn_clock_mono_ms();
	if (now < p->kill_at_ms)
		return (int)(p->kill_at_ms - now);
	if (p->worker > 0) {
		pn_logf(PN_LOG_ERROR, "stop",
			"the worker did not end in time; killing it (messages are safe in the "
			"spool)");
		(void)kill(p->worker, SIGKILL);
	}
	p->kill_at_ms = now + 1000;
	return 1000;
}

static int supervise(struct parent *p)
{
	for (;;) {
		int timeout_ms = p->is_stopping ? patience_left_ms(p) : respawn_if_due(p);
		struct pollfd fds[2] = { { .fd = p->signal_fd, .events = POLLIN },
					 { .fd = p->sock, .events = POLLIN } };
		if (poll(fds, p->sock >= 0 ? 2 : 1, timeout_ms) < 0 && errno != EINTR)
			return worker_failed("poll");
		if (p->sock >= 0 && (fds[1].revents & POLLIN))
			on_message(p);
		if (fds[0].revents & POLLIN) {
			int code = on_signal(p);
			if (code >= 0)
				return code;
		}
	}
}

int pn_parent_run(const char *config_path)
{
	struct parent p = { .config_path = config_path, .sock = -1 };
	struct pn_error err = { 0 };
	p.config = pn_config_load(config_path, true, stderr);
	if (!p.config) {
		fprintf(stderr,
			"postern: %s has mistakes; nothing was started (postern check -c %s shows "
			"them again)\n",
			config_path, config_path);
		return PN_EXIT_CONFIG;
	}
	struct pn_log_settings log = { .format = p.config->log.format == PN_CONFIG_LOG_JSON
							 ? PN_LOG_JSON
							 : PN_LOG_LOGFMT,
				       .level_min = PN_LOG_INFO };
	pn_log_configure(&log);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* it holds private keys for a moment */
	p.signal_fd = signals_open();
	int code = p.signal_fd < 0 ? worker_failed("signals") : PN_EXIT_OK;
	if (code == PN_EXIT_OK && prepare(&p, &err) != 0) {
		pn_logf(PN_LOG_ERROR, "start", "%s", err.text);
		code = PN_EXIT_UNAVAILABLE;
	}
	if (code == PN_EXIT_OK) {
		pn_logf(PN_LOG_INFO, "start", "Postern %s, configuration %s", PN_VERSION,
			config_path);
		code = supervise(&p);
		(void)unlink(p.config->control_socket);
	}
	pn_config_free(p.config);
	return code;
}
