/* SPDX-License-Identifier: ISC */
/*
 * parent.c - the privileged process: configuration, sockets, keys; keeps one worker running;
 * signals. Reloads are in parent_reload.c.
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

#include "parent.h"

#define RESTART_DELAY_MAX_MS 30000u
#define STEADY_MS            60000u
#define STOP_GRACE_MS        15000u /* beyond drain_timeout_s: for journals and a slow disk */

static int worker_failed(const char *what)
{
	pn_logf(PN_LOG_ERROR, "start", "%s: %s", what, strerror(errno));
	return PN_EXIT_OS;
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
		/* They come with the hand-over. */
		pn_listeners_close(&p->sockets, NULL);
		(void)close(p->control_fd);
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
	p->asked = 0;
	return pn_parent_hand_over(p, p->config, &p->sockets, NULL, err);
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
	    pn_directory_prepare(c->spool.path, 0700, &p->identity, err) != 0 ||
	    pn_parent_maildirs_prepare(p, c, err) != 0)
		return -1;
	int log_fd = pn_log_file_open(c, &p->identity, err);
	if (log_fd < 0 && c->log.file[0] != '\0')
		return -1;
	if (log_fd >= 0)
		(void)close(log_fd); /* each hand-over opens it anew */
	char *copy = strdup(c->control_socket);
	int rc = copy ? pn_directory_prepare(dirname(copy), 0755, &(struct pn_identity){ 0 }, err)
		      : -1;
	free(copy);
	if (rc != 0 || pn_listeners_open(c, NULL, &p->sockets, err) != 0)
		return -1;
	p->control_fd = pn_control_socket_open(
		c->control_socket, p->identity.is_set ? p->identity.gid : (gid_t)-1, err);
	return p->control_fd < 0 ? -1 : 0;
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
		p->asked++;
		pn_parent_reload(p);
		break;
	case 'K':
	case 'E':
		pn_parent_reload_answered(p, c == 'K');
		break;
	default:
		break;
	}
	if (p->is_reload_wanted && p->is_ready && !p->pending && !p->is_stopping)
		pn_parent_reload(p);
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
	pn_parent_reload_answered(p, false);
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
			pn_parent_reload(p);
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

void pn_parent_log_configure(const struct pn_config *c)
{
	bool is_json = c->log.format == PN_CONFIG_LOG_JSON;
	struct pn_log_settings log = { .format = is_json ? PN_LOG_JSON : PN_LOG_LOGFMT,
				       .level_min = PN_LOG_INFO };
	pn_log_configure(&log);
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
	pn_parent_log_configure(p.config);
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
