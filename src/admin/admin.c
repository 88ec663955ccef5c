/* SPDX-License-Identifier: ISC */
/*
 * admin.c - the control socket's thread: one client at a time, one request each, everything
 * bounded in size and time.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <postern/base/clock.h>

#include "admin_internal.h"

#define CLIENT_TIMEOUT_MS \
	5000u /* to send its request, and again to take the answer; local programs need no more */
#define WRITE_BUFFER_BYTES 16384u

json_t *pn_admin_answer_error(const char *text)
{
	return json_pack("{s:b,s:s}", "ok", 0, "error", text);
}

static json_t *answer_action(const struct pn_admin *a, const char *command, const char *id)
{
	if (strcmp(command, "queue-retry") == 0)
		return pn_admin_answer_queue_action(a, PN_RELAY_RETRY, id);
	if (strcmp(command, "queue-hold") == 0)
		return pn_admin_answer_queue_action(a, PN_RELAY_HOLD, id);
	if (strcmp(command, "queue-remove") == 0)
		return pn_admin_answer_queue_action(a, PN_RELAY_REMOVE, id);
	return pn_admin_answer_error("unknown command");
}

static json_t *answer_reload(const struct pn_admin *a)
{
	char *text = NULL;
	bool is_done = a->settings.reload(a->settings.reload_ctx, &text);
	json_t *keys = json_array();
	char *rest = text;
	char *line;
	json_t *reply;
	if (!is_done) {
		reply = pn_admin_answer_error(text ? text : "out of memory");
		json_decref(keys);
	} else {
		while ((line = strsep(&rest, "\n")) != NULL) {
			if (*line != '\0')
				(void)json_array_append_new(keys, json_string(line));
		}
		reply = json_pack("{s:b,s:o}", "ok", 1, "needs_restart", keys);
	}
	free(text);
	return reply;
}

static json_t *answer(const struct pn_admin *a, const char *text, size_t len)
{
	json_error_t error;
	json_t *request = json_loadb(text, len, JSON_DISABLE_EOF_CHECK, &error);
	const char *command = json_string_value(json_object_get(request, "command"));
	const char *id = json_string_value(json_object_get(request, "id"));
	json_t *reply;
	if (!command) {
		reply = pn_admin_answer_error("the request is not a JSON object with a command");
	} else if (strcmp(command, "status") == 0) {
		reply = pn_admin_answer_status(a);
	} else if (strcmp(command, "reload") == 0) {
		reply = answer_reload(a);
	} else if (strcmp(command, "queue-list") == 0) {
		json_int_t limit = json_integer_value(json_object_get(request, "limit"));
		reply = pn_admin_answer_queue_list(a, limit > 0 && limit < PN_ADMIN_LIST_MAX
							      ? (uint32_t)limit
							      : PN_ADMIN_LIST_MAX);
	} else if (!id) {
		reply = pn_admin_answer_error("the command needs an id");
	} else if (strcmp(command, "queue-show") == 0) {
		reply = pn_admin_answer_queue_show(a, id);
	} else {
		reply = answer_action(a, command, id);
	}
	json_decref(request);
	return reply ? reply : pn_admin_answer_error("out of memory");
}

/* One client, with the moment when it must be through: one that gives or takes an octet at a time
 * holds nobody up. */
struct client {
	const struct pn_admin *admin;
	int fd;
	uint64_t until_ms;
	size_t len;
	char buffer[WRITE_BUFFER_BYTES]; /* jansson writes in pieces of a few octets */
};

/* Waits until the client can be read or written. False: too late, or the gateway stops. */
static bool client_wait(const struct client *c, short events)
{
	struct pollfd fds[2] = { { .fd = c->admin->stop_fd, .events = POLLIN },
				 { .fd = c->fd, .events = events } };
	for (;;) {
		uint64_t now = pn_clock_mono_ms();
		if (now >= c->until_ms)
			return false;
		int n = poll(fds, 2, (int)(c->until_ms - now));
		if (fds[0].revents != 0 || (n < 0 && errno != EINTR))
			return false;
		if (n > 0)
			return true;
	}
}

static size_t read_line(const struct client *c, char *line, size_t size)
{
	size_t len = 0;
	while (len < size && client_wait(c, POLLIN)) {
		ssize_t n = recv(c->fd, line + len, size - len, MSG_DONTWAIT);
		if (n <= 0)
			break;
		len += (size_t)n;
		if (memchr(line, '\n', len))
			break;
	}
	return len;
}

static int client_flush(struct client *c)
{
	size_t sent = 0;
	while (sent < c->len) {
		if (!client_wait(c, POLLOUT))
			return -1;
		ssize_t n =
			send(c->fd, c->buffer + sent, c->len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN)
			return -1;
		if (n > 0) {
			sent += (size_t)n;
			c->until_ms = pn_clock_mono_ms() + CLIENT_TIMEOUT_MS;
		}
	}
	c->len = 0;
	return 0;
}

static int write_chunk(const char *data, size_t len, void *ctx)
{
	struct client *c = ctx;
	while (len > 0) {
		if (c->len == sizeof(c->buffer) && client_flush(c) != 0)
			return -1;
		size_t n = pn_min_size(len, sizeof(c->buffer) - c->len);
		memcpy(c->buffer + c->len, data, n);
		c->len += n;
		data += n;
		len -= n;
	}
	return 0;
}

static void serve_client(const struct pn_admin *a, int fd)
{
	struct client c = { .admin = a,
			    .fd = fd,
			    .until_ms = pn_clock_mono_ms() + CLIENT_TIMEOUT_MS };
	char line[PN_ADMIN_REQUEST_MAX_BYTES];
	size_t len = read_line(&c, line, sizeof(line));
	if (len == 0)
		return;
	json_t *reply = answer(a, line, len);
	c.until_ms = pn_clock_mono_ms() + CLIENT_TIMEOUT_MS;
	if (reply && json_dump_callback(reply, write_chunk, &c, JSON_INDENT(2)) == 0 &&
	    write_chunk("\n", 1, &c) == 0)
		(void)client_flush(&c);
	json_decref(reply);
}

static void *thread_main(void *arg)
{
	struct pn_admin *a = arg;
	(void)pthread_setname_np(pthread_self(), "admin");
	for (;;) {
		struct pollfd fds[2] = { { .fd = a->stop_fd, .events = POLLIN },
					 { .fd = a->settings.listen_fd, .events = POLLIN } };
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[0].revents != 0)
			break;
		if (!(fds[1].revents & POLLIN))
			continue;
		int fd = accept4(a->settings.listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0) {
			serve_client(a, fd);
			(void)close(fd);
		} else if (errno == EMFILE || errno == ENFILE) {
			/* No descriptor now: leave the client in the backlog for a moment instead
			 * of spinning. */
			(void)poll(fds, 1, 200);
		}
	}
	return NULL;
}

struct pn_admin *pn_admin_start(const struct pn_admin_settings *settings, struct pn_error *err)
{
	struct pn_admin *a = calloc(1, sizeof(*a));
	if (!a) {
		(void)pn_error_set(err, "out of memory");
		return NULL;
	}
	a->settings = *settings;
	a->stop_fd = eventfd(0, EFD_CLOEXEC);
	int rc = a->stop_fd < 0 ? errno : pthread_create(&a->thread, NULL, thread_main, a);
	if (rc != 0) {
		(void)pn_error_set(err, "control socket: %s", strerror(rc));
		if (a->stop_fd >= 0)
			(void)close(a->stop_fd);
		free(a);
		return NULL;
	}
	return a;
}

void pn_admin_stop(struct pn_admin *a)
{
	if (!a)
		return;
	uint64_t one = 1;
	if (write(a->stop_fd, &one, sizeof(one)) == (ssize_t)sizeof(one))
		pthread_join(a->thread, NULL);
	(void)close(a->stop_fd);
	free(a);
}
