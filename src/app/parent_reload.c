/* SPDX-License-Identifier: ISC */
/*
 * parent_reload.c - the parent's part of a reload: reads and checks the file whole, keeps what only a restart
 * can change, opens and reads what the worker cannot, hands it over, and takes it for its own when the worker
 * has taken it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <postern/base/log.h>

#include "parent.h"

#define REFUSAL_MAX_BYTES 16384

int pn_parent_maildirs_prepare(const struct parent *p, const struct pn_config *c,
			       struct pn_error *err)
{
	for (size_t i = 0; i < c->upstream_count; i++) {
		if (c->upstreams[i].kind == PN_CONFIG_UPSTREAM_MAILDIR &&
		    pn_directory_prepare(c->upstreams[i].maildir, 0700, &p->identity, err) != 0)
			return -1;
	}
	return 0;
}

/* Tells the worker, where `postern reload` waits. */
static void refuse(const struct parent *p, const char *why)
{
	char text[REFUSAL_MAX_BYTES + 32];
	int len = snprintf(text, sizeof(text), "N%llu\n%.*s", (unsigned long long)p->asked,
			   REFUSAL_MAX_BYTES, why);
	if (len > 0)
		(void)send(p->sock, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* The configuration of the file; NULL when it has mistakes, which are reported. */
static struct pn_config *load(const struct parent *p)
{
	char *report = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&report, &size);
	struct pn_config *c = pn_config_load(p->config_path, true, stream ? stream : stderr);
	if (stream)
		(void)fclose(stream);
	if (report)
		fputs(report, stderr);
	if (!c) {
		pn_logf(PN_LOG_ERROR, "reload", "%s has mistakes (see above); nothing changed",
			p->config_path);
		refuse(p, report && *report ? report
					    : "the configuration has mistakes; nothing changed");
	}
	free(report);
	return c;
}

static void add_label(const char *label, void *ctx)
{
	fprintf(ctx, "%s\n", label);
}

/* Gives c what only a restart can change; *ret_labels (to be freed) has a line for each key that the file changes. */
static int keep(const struct parent *p, struct pn_config *c, char **ret_labels,
		struct pn_error *err)
{
	size_t size = 0;
	FILE *stream = open_memstream(ret_labels, &size);
	int rc = stream ? pn_config_keep(c, p->config, add_label, stream) : -1;
	if (stream && fclose(stream) != 0)
		rc = -1;
	return rc == 0 ? 0 : pn_error_set(err, "out of memory");
}

static void warn(const char *labels)
{
	char line[512];
	size_t len = 0;
	if (*labels == '\0')
		return;
	for (const char *p = labels; *p != '\0' && len < sizeof(line) - 3; p++) {
		if (*p != '\n')
			line[len++] = *p;
		else if (p[1] != '\0')
			len += (size_t)snprintf(line + len, 3, ", ");
	}
	line[len] = '\0';
	pn_logf(PN_LOG_WARN, "reload", "needs a restart and keeps its old value until then: %s",
		line);
}

static int add_notes(const struct parent *p, struct pn_handover *h, const char *labels)
{
	char asked[24];
	int len = snprintf(asked, sizeof(asked), "%llu", (unsigned long long)p->asked);
	int rc = pn_handover_add(h, "asked", (const uint8_t *)asked, (size_t)len);
	return rc == 0 ? pn_handover_add(h, "needs_restart", (const uint8_t *)labels,
					 strlen(labels))
		       : rc;
}

int pn_parent_hand_over(const struct parent *p, const struct pn_config *c,
			const struct pn_listen_sockets *sockets, const char *labels,
			struct pn_error *err)
{
	struct pn_handover h = { .fds = { p->control_fd }, .fd_count = 1 };
	/* A new descriptor each time: the file may have been rotated. */
	int log_fd = pn_log_file_open(c, &p->identity, err);
	if (log_fd >= 0)
		h.fds[h.fd_count++] = log_fd;
	else if (c->log.file[0] != '\0')
		return -1;
	for (size_t i = 0; i < sockets->count; i++)
		h.fds[h.fd_count++] = sockets->items[i].fd;
	int rc = pn_handover_collect(&h, c, err);
	if (rc == 0 && labels && add_notes(p, &h, labels) != 0)
		rc = pn_error_set(err, "out of memory");
	if (rc == 0 && (rc = pn_handover_send(p->sock, &h)) != 0)
		rc = pn_error_set(err, "hand-over: %s", strerror(-rc));
	pn_handover_clear(&h);
	if (log_fd >= 0)
		(void)close(log_fd);
	return rc;
}

/* Opens and reads what the worker cannot, and gives it all to it. */
static int offer(struct parent *p, struct pn_config *c, char **ret_labels, struct pn_error *err)
{
	if (keep(p, c, ret_labels, err) != 0 || pn_parent_maildirs_prepare(p, c, err) != 0 ||
	    pn_listeners_open(c, &p->sockets, &p->pending_sockets, err) != 0)
		return -1;
	int rc = pn_parent_hand_over(p, c, &p->pending_sockets, *ret_labels, err);
	if (rc != 0)
		pn_listeners_close(&p->pending_sockets, &p->sockets);
	return rc;
}

/* Dead, and its SIGCHLD not looked at yet. */
static bool has_worker_died(const struct parent *p)
{
	siginfo_t info = { 0 };
	return waitid(P_PID, (id_t)p->worker, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == p->worker;
}

void pn_parent_reload(struct parent *p)
{
	struct pn_error err = { 0 };
	char *labels = NULL;
	if (!p->is_ready || p->pending) {
		pn_logf(PN_LOG_INFO, "reload", "will be done when the worker is %s",
			p->pending ? "through with the last one" : "ready");
		p->is_reload_wanted = true;
		return;
	}
	p->is_reload_wanted = false;
	pn_notify("RELOADING=1");
	struct pn_config *c = load(p);
	if (c && offer(p, c, &labels, &err) == 0) {
		warn(labels);
		p->pending = c;
	} else if (c && has_worker_died(p)) {
		pn_logf(PN_LOG_INFO, "reload", "will be done when the next worker is ready");
		p->is_reload_wanted = true;
		pn_config_free(c);
	} else if (c) {
		pn_logf(PN_LOG_ERROR, "reload", "%s; nothing changed", err.text);
		refuse(p, err.text);
		pn_config_free(c);
	}
	if (!p->pending)
		pn_notify("READY=1");
	free(labels);
}

void pn_parent_reload_answered(struct parent *p, bool is_taken)
{
	if (!p->pending)
		return;
	if (is_taken) {
		/* A worker that dies is started again with what is in force now. */
		pn_config_free(p->config);
		p->config = p->pending;
		pn_listeners_close(&p->sockets, &p->pending_sockets);
		p->sockets = p->pending_sockets;
		p->pending_sockets.count = 0;
		pn_parent_log_configure(p->config);
	} else {
		pn_config_free(p->pending);
		pn_listeners_close(&p->pending_sockets, &p->sockets);
	}
	p->pending = NULL;
	pn_notify("READY=1");
}
