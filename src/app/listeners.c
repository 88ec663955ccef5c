/* SPDX-License-Identifier: ISC */
/*
 * listeners.c - the listening sockets: bound here by the parent, or taken from systemd
 * (LISTEN_FDS, sd_listen_fds(3)).
 *
 * One socket for each configured address, shared by all loops; with `reuseport = yes` one for each
 * loop. Order of descriptors: listener by listener,
 * address by address, loop by loop.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "app.h"

#define SYSTEMD_FD_FIRST 3
#define BIND_WAIT_MS     3000
#define BIND_PAUSE_MS    50

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value));
}

/* Inherited by accepted sockets, which saves a system call for each connection. */
static void tune(int fd)
{
	(void)set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	(void)set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

/*
 * The sockets of a worker that was killed live on for some milliseconds: the kernel ends its rings
 * in the background. A gateway that is started again at once waits for that.
 */
static int bind_and_listen(int fd, const struct sockaddr_storage *ss, socklen_t len, int backlog)
{
	const struct timespec pause = { .tv_nsec = BIND_PAUSE_MS * 1000000L };
	for (int tries = BIND_WAIT_MS / BIND_PAUSE_MS;; tries--) {
		if (bind(fd, (const struct sockaddr *)ss, len) == 0 && listen(fd, backlog) == 0)
			return 0;
		if (errno != EADDRINUSE || tries == 0)
			return -errno;
		(void)nanosleep(&pause, NULL);
	}
}

static int bind_one(const struct pn_config_listener *l, const char *text,
		    const struct sockaddr_storage *ss, socklen_t len, bool is_dual,
		    struct pn_error *err)
{
	int fd = socket(ss->ss_family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	if (fd < 0)
		return pn_error_set(err, "listener \"%s\": socket: %s", l->name, strerror(errno));
	(void)set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (l->reuseport)
		(void)set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (ss->ss_family == AF_INET6)
		(void)set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, is_dual ? 0 : 1);
	tune(fd);
	int error = -bind_and_listen(fd, ss, len, (int)l->backlog);
	if (error != 0) {
		const char *remedy =
			error == EADDRINUSE
				? "another program listens there; stop it or choose another port"
			: error == EACCES ? "ports below 1024 need root, CAP_NET_BIND_SERVICE or "
					    "socket activation"
			: error == EADDRNOTAVAIL ? "this machine has no such address"
						 : "check the address";
		(void)close(fd);
		return pn_error_set(err, "listener \"%s\": cannot listen on %s: %s (%s)", l->name,
				    text, strerror(error), remedy);
	}
	return fd;
}

/* Fills in *ret with the numeric address; returns its length. */
static socklen_t socket_address(const struct pn_config_address *a, struct sockaddr_storage *ret)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(a->port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(a->port) };
	memset(ret, 0, sizeof(*ret));
	if (a->is_ipv6 && inet_pton(AF_INET6, a->host, &in6.sin6_addr) == 1) {
		memcpy(ret, &in6, sizeof(in6));
		return sizeof(in6);
	}
	if (!a->is_ipv6)
		(void)inet_pton(AF_INET, a->host, &in.sin_addr);
	memcpy(ret, &in, sizeof(in));
	return sizeof(in);
}

static bool has_ipv6(void)
{
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		(void)close(fd);
	return fd >= 0;
}

static int open_address(const struct pn_config_listener *l, const char *text, struct pn_error *err)
{
	struct pn_config_address a;
	struct sockaddr_storage ss;
	if (!pn_config_address_parse(text, &a))
		return pn_error_set(err,
				    "listener \"%s\": \"%s\" is not an address like [::]:465, "
				    "192.0.2.1:465 or *:465",
				    l->name, text);
	if (a.is_dual_stack && !has_ipv6())
		a = (struct pn_config_address){ .host = "0.0.0.0", .port = a.port };
	socklen_t len = socket_address(&a, &ss);
	return bind_one(l, text, &ss, len, a.is_dual_stack, err);
}

/* The descriptor that systemd passed under `name`, or -1. Each is given out once: it is renamed in
 * our copy of the list. */
static int systemd_take(const char *name, char *names, int count)
{
	char *p = names;
	for (int i = 0; i < count; i++) {
		char *end = strchrnul(p, ':');
		size_t len = (size_t)(end - p);
		if (len == strlen(name) && strncmp(p, name, len) == 0) {
			memset(p, '?', len);
			int fd = SYSTEMD_FD_FIRST + i;
			(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
			(void)fcntl(fd, F_SETFL,
				    fcntl(fd, F_GETFL) &
					    ~O_NONBLOCK); /* ring operations wait in the kernel */
			tune(fd);
			return fd;
		}
		if (*end == '\0')
			break;
		p = end + 1;
	}
	return -1;
}

struct activation {
	int count;
	char *names; /* own copy of LISTEN_FDNAMES */
};

static struct activation activation_read(void)
{
	const char *pid = getenv("LISTEN_PID");
	const char *fds = getenv("LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES");
	if (!pid || !fds || strtol(pid, NULL, 10) != (long)getpid())
		return (struct activation){ 0 };
	return (struct activation){ .count = (int)strtol(fds, NULL, 10),
				    .names = strdup(names ? names : "") };
}

/* The one that is open already; its queue gets the length that is asked for now. */
static int take_open(const struct pn_listen_sockets *before, const struct pn_config_listener *l,
		     const char *address, uint32_t copy)
{
	for (size_t i = 0; before && i < before->count; i++) {
		const struct pn_listen_socket *s = &before->items[i];
		if (strcmp(s->address, address) != 0 || s->copy != copy ||
		    s->is_reuseport != l->reuseport)
			continue;
		if (listen(s->fd, (int)l->backlog) == 0)
			return s->fd;
	}
	return -1;
}

static void add(struct pn_listen_sockets *ret, const struct pn_config_listener *l,
		const char *address, uint32_t copy, int fd)
{
	struct pn_listen_socket *s = &ret->items[ret->count];
	s->fd = fd;
	s->copy = copy;
	s->is_reuseport = l->reuseport;
	(void)snprintf(s->address, sizeof(s->address), "%s", address);
	ret->count++;
}

static int open_listener(const struct pn_config_listener *l, uint32_t copies, struct activation *a,
			 const struct pn_listen_sockets *before, struct pn_listen_sockets *ret,
			 struct pn_error *err)
{
	const char *name = l->systemd_name[0] != '\0' ? l->systemd_name : l->name;
	for (size_t i = 0; i < l->address_count; i++) {
		/* systemd's socket is shared by all loops. */
		int shared = a->count > 0 ? systemd_take(name, a->names, a->count) : -1;
		for (uint32_t k = 0; k < copies; k++) {
			if (ret->count == PN_ARRAY_SIZE(ret->items))
				return pn_error_set(err, "too many listening sockets (at most %zu)",
						    PN_ARRAY_SIZE(ret->items));
			int fd = shared >= 0 ? shared : take_open(before, l, l->addresses[i], k);
			if (fd < 0)
				fd = open_address(l, l->addresses[i], err);
			if (fd < 0)
				return -1;
			add(ret, l, l->addresses[i], k, fd);
		}
	}
	return 0;
}

static bool has_socket(const struct pn_listen_sockets *set, int fd)
{
	for (size_t i = 0; set && i < set->count; i++) {
		if (set->items[i].fd == fd)
			return true;
	}
	return false;
}

void pn_listeners_close(struct pn_listen_sockets *set, const struct pn_listen_sockets *but)
{
	while (set->count > 0) {
		int fd = set->items[--set->count].fd;
		if (!has_socket(but, fd) &&
		    !has_socket(set, fd)) /* systemd's is there several times */
			(void)close(fd);
	}
}

int pn_listeners_open(const struct pn_config *c, const struct pn_listen_sockets *before,
		      struct pn_listen_sockets *ret, struct pn_error *err)
{
	/* The numbers of systemd's sockets are theirs at the start only. */
	struct activation a = before ? (struct activation){ 0 } : activation_read();
	int rc = 0;
	ret->count = 0;
	for (size_t i = 0; i < c->listener_count && rc == 0; i++) {
		const struct pn_config_listener *l = &c->listeners[i];
		rc = open_listener(l, l->reuseport ? pn_app_loop_count(c) : 1, &a, before, ret,
				   err);
	}
	if (rc != 0)
		pn_listeners_close(ret, before);
	free(a.names);
	return rc;
}

/* Whether somebody listens there, and not only the rest of a worker that was killed (see bind_and_listen). */
static bool control_is_served(const struct sockaddr_un *un)
{
	const struct timespec pause = { .tv_nsec = BIND_PAUSE_MS * 1000000L };
	for (int tries = BIND_WAIT_MS / BIND_PAUSE_MS; tries >= 0; tries--) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		int rc = fd < 0 ? -1 : connect(fd, (const struct sockaddr *)un, sizeof(*un));
		/* EAGAIN: its queue is full, so somebody listens, however slowly. */
		bool is_free = rc != 0 && errno != EAGAIN;
		if (fd >= 0)
			(void)close(fd);
		if (is_free)
			return false;
		(void)nanosleep(&pause, NULL);
	}
	return true;
}

int pn_control_socket_open(const char *path, gid_t gid, struct pn_error *err)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(un.sun_path))
		return pn_error_set(err, "control_socket: %s is longer than %zu octets", path,
				    sizeof(un.sun_path) - 1);
	memcpy(un.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return pn_error_set(err, "control socket: %s", strerror(errno));
	if (control_is_served(&un)) {
		(void)close(fd);
		return pn_error_set(err,
				    "control_socket: another gateway serves %s; stop it first or "
				    "give this one its own control_socket and spool",
				    path);
	}
	(void)unlink(path);
	mode_t old = umask(0117);
	int rc = bind(fd, (struct sockaddr *)&un, sizeof(un));
	int error = errno;
	(void)umask(old);
	if (rc != 0 || listen(fd, 16) != 0) {
		(void)close(fd);
		return pn_error_set(err,
				    "control_socket: cannot make %s: %s (the directory must exist "
				    "and be writable)",
				    path, strerror(error));
	}
	if (gid != (gid_t)-1 && chown(path, (uid_t)-1, gid) != 0) {
		error = errno;
		(void)close(fd);
		return pn_error_set(err, "control_socket: cannot give %s to group %u: %s", path,
				    (unsigned)gid, strerror(error));
	}
	return fd;
}
