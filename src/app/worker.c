/* SPDX-License-Identifier: ISC */
/*
 * worker.c - the unprivileged process: takes the hand-over, drops privileges, recovers the spool,
 * sandboxes itself, serves, drains.
 *
 * Order matters: privileges go before the first thread or ring; the spool is recovered before
 * anything is accepted; the sandbox closes before any octet
 * from a peer is read. SIGTERM (from the parent) drains. When the parent dies the worker is killed
 * (PR_SET_PDEATHSIG): every promise is on disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <postern/base/clock.h>
#include <postern/base/log.h>
#include <postern/version.h>

#include "worker.h"

#define TICKET_ROTATION_MS (600 * 1000)

static void submit(struct pn_spool_entry *entry, void *ctx)
{
	pn_relay_submit(((struct worker *)ctx)->relay, entry);
}

/* Its client was gone before the 250 could be said; the message is safe and goes on all the same. */
static void submit_orphan(struct pn_spool_entry *entry, void *ctx)
{
	struct pn_log_line l;
	pn_log_begin(&l, PN_LOG_MESSAGE, "message");
	pn_log_id(&l, "id", &entry->id);
	pn_log_u64(&l, "size", entry->size_bytes);
	pn_log_str(&l, "note", "client left before the reply");
	pn_log_end(&l);
	submit(entry, ctx);
}

static void on_recovered(struct pn_spool_entry *entry, void *ctx)
{
	struct worker *w = ctx;
	w->recovered++;
	pn_relay_submit(w->relay, entry);
}

static enum pn_log_class log_level(enum pn_config_log_level level)
{
	switch (level) {
	case PN_CONFIG_LOG_DEBUG:
		return PN_LOG_DEBUG;
	case PN_CONFIG_LOG_INFO:
		return PN_LOG_INFO;
	case PN_CONFIG_LOG_WARN:
		return PN_LOG_WARN;
	case PN_CONFIG_LOG_ERROR:
		return PN_LOG_ERROR;
	}
	return PN_LOG_INFO;
}

void pn_worker_log_values(const struct pn_config *c, struct pn_handover *h,
			  struct pn_log_settings *ret)
{
	*ret = (struct pn_log_settings){
		.format = c->log.format == PN_CONFIG_LOG_JSON ? PN_LOG_JSON : PN_LOG_LOGFMT,
		.level_min = log_level(c->log.level),
		.fd = c->log.file[0] != '\0' ? pn_worker_take_fd(h, 1) : -1,
		.ring_slots = c->log.ring_slots
	};
}

static int start_log(struct worker *w, struct pn_error *err)
{
	struct pn_log_settings s;
	pn_worker_log_values(w->config, &w->handover, &s);
	int rc = pn_log_start(&s);
	return rc == 0 ? 0 : pn_error_set(err, "log: %s", strerror(-rc));
}

struct pn_config *pn_worker_config_from(const struct pn_handover *h, struct pn_error *err)
{
	struct pn_slice text = pn_handover_get(h, "config");
	struct pn_config *c = text.ptr ? pn_config_parse((const char *)text.ptr,
							 "handed-over configuration", stderr)
				       : NULL;
	if (!c)
		(void)pn_error_set(err, "the handed-over configuration cannot be read");
	return c;
}

static void log_certificate_warnings(const struct pn_tls_server *server)
{
	for (size_t i = 0; i < pn_tls_server_certificate_count(server); i++) {
		struct pn_tls_certificate_info info;
		pn_tls_server_certificate_info(server, i, &info);
		if (info.warning[0] != '\0')
			pn_logf(PN_LOG_WARN, "certificate", "%s: %s", info.path, info.warning);
	}
}

struct pn_session_profile *pn_worker_profile_new(struct worker *w, const struct pn_config *c,
						 const struct pn_handover *h, struct pn_error *err)
{
	struct pn_session_profile values;
	pn_app_profile_values(c, &values);
	values.tls = pn_app_tls_server(c, h, w->tickets, err);
	if (!values.tls)
		return NULL;
	log_certificate_warnings(values.tls);
	struct pn_session_profile *p = pn_session_profile_new(&values);
	pn_tls_server_unref(values.tls);
	if (!p)
		(void)pn_error_set(err, "out of memory");
	return p;
}

static int open_stores(struct worker *w, struct pn_error *err)
{
	int rc = pn_spool_open(&w->settings.spool, &w->spool, err);
	if (rc != 0)
		return -1;
	if (pn_relay_new(&w->settings.relay, w->spool, &w->relay, err) != 0)
		return -1;
	uint64_t start = pn_clock_mono_ms();
	if (pn_spool_recover(w->spool, on_recovered, w, err) != 0)
		return -1;
	pn_logf(PN_LOG_INFO, "recovery", "%llu messages found in %s in %llu ms",
		(unsigned long long)w->recovered, w->settings.spool.path,
		(unsigned long long)(pn_clock_mono_ms() - start));
	pn_spool_on_orphan(w->spool, submit_orphan, w);
	w->auth = pn_auth_new(&w->settings.auth, err);
	if (!w->auth)
		return -1;
	w->sources = pn_sources_new(w->config->limits.sources_max);
	return w->sources ? 0 : pn_error_set(err, "out of memory");
}

/* dirname(3) writes into its argument; the texts live as long as the process. */
static const char *parent_of(const char *path)
{
	char *copy = strdup(path);
	return copy ? dirname(copy) : "/nonexistent";
}

static void sandbox(struct worker *w)
{
	const struct pn_config *c = w->config;
	struct pn_sandbox s = { 0 };
	s.writable[s.writable_count++] = c->spool.path;
	for (size_t i = 0;
	     i < c->upstream_count && s.writable_count < PN_ARRAY_SIZE(s.writable) - 1; i++) {
		if (c->upstreams[i].kind == PN_CONFIG_UPSTREAM_MAILDIR)
			s.writable[s.writable_count++] = c->upstreams[i].maildir;
	}
	static const char *const readable[] = {
		"/etc/resolv.conf",    "/run/systemd/resolve",   "/etc/hosts",
		"/etc/nsswitch.conf",  "/etc/services",          "/etc/localtime",
		"/usr/share/zoneinfo", "/etc/host.conf",         "/etc/gai.conf",
		"/dev/urandom",        "/sys/devices/system/cpu"
	};
	for (size_t i = 0; i < PN_ARRAY_SIZE(readable); i++)
		s.readable[s.readable_count++] = readable[i];
	s.readable[s.readable_count++] = parent_of(c->auth.user_file);
	/* The user file may be a link: what it points to is replaced in its own directory. */
	char *target = realpath(c->auth.user_file, NULL);
	if (target)
		s.readable[s.readable_count++] = parent_of(target);
	free(target);
	pn_sandbox_enter(&s);
}

static int start_serving(struct worker *w, struct pn_error *err)
{
	w->profile = pn_worker_profile_new(w, w->config, &w->handover, err);
	if (!w->profile || pn_relay_start(w->relay, err) != 0)
		return -1;
	pn_worker_limits_set(w);
	w->shared = (struct pn_session_shared){ .spool = w->spool,
						.auth = w->auth,
						.sources = w->sources,
						.submit = submit,
						.submit_ctx = w };
	struct pn_loop_threads_settings t = { .config = w->config,
					      .app = &w->settings,
					      .shared = &w->shared,
					      .profile = w->profile,
					      .listeners = w->listeners };
	w->loops = pn_loop_threads_start(&t, err);
	if (!w->loops)
		return -1;
	struct pn_admin_settings a = { .listen_fd = w->control_fd,
				       .relay = w->relay,
				       .spool = w->spool,
				       .started_wall_ms = pn_clock_wall_ms(),
				       .version = PN_VERSION,
				       .hostname = pn_worker_hostname,
				       .hostname_ctx = w,
				       .ktls = pn_app_ktls_support(w->config),
				       .features = w->features & ~w->settings.features_disabled,
				       .limits = pn_worker_limits,
				       .limits_ctx = w,
				       .reload = pn_worker_ask_reload,
				       .reload_ctx = w };
	w->admin = pn_admin_start(&a, err);
	return w->admin ? 0 : -1;
}

static int start(struct worker *w, const struct pn_identity *id, pid_t parent_pid,
		 struct pn_error *err)
{
	if (pn_privileges_drop(id, err) != 0)
		return -1;
	/* After the change of user, which clears it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || getppid() != parent_pid)
		return pn_error_set(err, "the parent is gone");
	int rc = pn_handover_recv(w->sock, &w->handover);
	if (rc != 0)
		return pn_error_set(err, "hand-over: %s", strerror(-rc));
	w->config = pn_worker_config_from(&w->handover, err);
	if (!w->config)
		return -1;
	sandbox(w); /* before the first thread: Landlock holds the calling thread and its children only */
	if (start_log(w, err) != 0)
		return -1;
	if (pn_net_probe(&w->features, err) != 0)
		return -1;
	if (pn_app_settings_make(&w->settings, w->config, &w->handover, NULL, err) != 0)
		return -1;
	w->control_fd = pn_worker_take_fd(&w->handover, 0);
	w->listeners =
		pn_worker_listeners_new(w->config, w->settings.loop_count, &w->handover, NULL, err);
	if (w->control_fd < 0 || !w->listeners)
		return -1;
	pn_ktls_counters_register();
	pn_record_counters_register();
	w->tickets = pn_tls_tickets_new(w->config->tls.ticket_key_lifetime_s);
	if (!w->tickets)
		return pn_error_set(err, "out of memory");
	if (open_stores(w, err) != 0)
		return -1;
	pn_worker_reload_init(w);
	if (start_serving(w, err) != 0)
		return -1;
	/* All that needed them has its own copy: keys and passwords do not stay in memory twice. */
	pn_handover_clear(&w->handover);
	return 0;
}

void pn_worker_say(struct worker *w, char c)
{
	(void)send(w->sock, &c, 1, MSG_NOSIGNAL);
}

/* Until SIGTERM, or until the parent closes its end. */
static void serve(struct worker *w)
{
	for (;;) {
		struct pollfd fds[2] = { { .fd = w->sock, .events = POLLIN },
					 { .fd = w->signal_fd, .events = POLLIN } };
		int n = poll(fds, 2, TICKET_ROTATION_MS);
		if (n < 0 && errno != EINTR)
			return;
		if (n == 0)
			pn_tls_tickets_rotate(
				w->tickets); /* old keys vanish even while nobody connects */
		if (n <= 0)
			continue;
		if (fds[1].revents & POLLIN)
			return;
		if (fds[0].revents & POLLIN) {
			char c;
			if (recv(w->sock, &c, 1, MSG_PEEK) <= 0)
				return;
			pn_worker_on_parent(w);
		} else if (fds[0].revents & (POLLHUP | POLLERR)) {
			return;
		}
	}
}

static void stop(struct worker *w)
{
	uint32_t timeout_ms = w->config->limits.drain_timeout_s * 1000u;
	uint64_t start_ms = pn_clock_mono_ms();
	pn_logf(PN_LOG_INFO, "drain", "no new sessions; transactions may finish for up to %u s",
		w->config->limits.drain_timeout_s);
	pn_loop_threads_drain(w->loops, timeout_ms);
	uint64_t used = pn_clock_mono_ms() - start_ms;
	/* Deliveries in progress get what is left of the time, and at least a moment to end
	 * cleanly. */
	pn_worker_reload_stop(w);
	pn_admin_stop(w->admin);
	pn_relay_stop(w->relay, used + 1000 < timeout_ms ? timeout_ms - used : 1000);
	pn_loop_threads_free(w->loops);
	pn_relay_free(w->relay);
	pn_auth_free(w->auth);
	pn_sources_free(w->sources);
	pn_spool_close(w->spool);
	pn_session_profile_unref(w->profile);
	pn_tls_tickets_free(w->tickets);
	pn_ktls_counters_unregister();
	pn_record_counters_unregister();
	pn_app_settings_clear(&w->settings);
	pn_listener_set_unref(w->listeners);
	pn_logf(PN_LOG_INFO, "stop", "everything promised is delivered or in the spool");
	pn_log_stop();
	pn_worker_reload_deinit(w);
	pn_config_free(w->config);
}

static int signals_open(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	/* Blocked here, before any thread exists, so that every thread inherits it. SIGINT and
	 * SIGHUP of a terminal are the parent's to interpret. */
	if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
		return -1;
	sigdelset(&set, SIGINT);
	sigdelset(&set, SIGHUP);
	(void)signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

int pn_worker_run(int sock, const struct pn_identity *id, pid_t parent_pid)
{
	struct worker w = { .sock = sock, .control_fd = -1 };
	struct pn_error err = { 0 };
	w.signal_fd = signals_open();
	if (w.signal_fd < 0 || start(&w, id, parent_pid, &err) != 0) {
		pn_logf(PN_LOG_ERROR, "start", "%s", err.text);
		pn_log_stop();
		return PN_EXIT_CONFIG;
	}
	pn_worker_say(&w, 'R');
	serve(&w);
	stop(&w);
	(void)close(w.signal_fd);
	return PN_EXIT_OK;
}
