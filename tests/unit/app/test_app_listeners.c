/* SPDX-License-Identifier: ISC */
/* Listening sockets: own ones, those of systemd, the control socket, and what is said when one
 * cannot be had. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/app.h"

static struct pn_config *config(const char *listeners)
{
	char text[2048];
	(void)snprintf(text, sizeof(text),
		       "hostname = \"mx.example.test\"\n%scontrol_socket = \"/tmp/c\"\n%s\n"
		       "certificate \"c\" { chain_file = \"/c.pem\" key_file = \"/k.pem\" }\n"
		       "upstream \"m\" { kind = maildir maildir = \"/m\" }\n",
		       strstr(listeners, "loops") ? "" : "loops = 3\n", listeners);
	struct pn_config *c = pn_config_parse(text, "test.conf", stderr);
	assert_non_null(c);
	return c;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in6 in6;
	socklen_t len = sizeof(in6);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in6, &len), 0);
	return ntohs(in6.sin6_port);
}

static int any_socket(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static void test_busy_port_is_named(void **state)
{
	(void)state;
	char text[256];
	static struct pn_listen_sockets set;
	struct pn_error err = { { 0 } };
	int fd = any_socket();
	(void)snprintf(text, sizeof(text),
		       "listener \"sub\" { addresses = {\"127.0.0.1:%u\"} tls = starttls }",
		       port_of(fd));
	struct pn_config *c = config(text);
	assert_int_not_equal(pn_listeners_open(c, NULL, &set, &err), 0);
	assert_non_null(strstr(err.text, "\"sub\""));
	assert_non_null(strstr(err.text, "another program listens there"));
	(void)close(fd);
	assert_int_equal(pn_listeners_open(c, NULL, &set, &err), 0);
	assert_int_equal(set.count, 1);
	pn_listeners_close(&set, NULL);
	pn_config_free(c);
}

static void test_reuseport_has_one_for_each_loop(void **state)
{
	(void)state;
	char text[256];
	static struct pn_listen_sockets set;
	struct pn_error err = { { 0 } };
	int fd = any_socket();
	uint16_t port = port_of(fd);
	(void)close(fd);
	(void)snprintf(text, sizeof(text),
		       "listener \"sub\" { addresses = {\"127.0.0.1:%u\"} tls = starttls reuseport "
		       "= yes }",
		       port);
	struct pn_config *c = config(text);
	assert_int_equal(pn_listeners_open(c, NULL, &set, &err), 0);
	assert_int_equal(set.count, 3);
	for (size_t i = 0; i < set.count; i++)
		assert_int_equal(port_of(set.items[i].fd), port);
	pn_listeners_close(&set, NULL);
	pn_config_free(c);
	(void)snprintf(text, sizeof(text),
		       "loops = 200\nlistener \"sub\" { addresses = {\"127.0.0.1:%u\"} tls = "
		       "starttls reuseport = yes }",
		       port);
	c = config(text);
	assert_int_not_equal(pn_listeners_open(c, NULL, &set, &err), 0);
	assert_non_null(strstr(err.text, "too many"));
	assert_int_equal(set.count, 0);
	pn_config_free(c);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* What stays keeps its socket, in whatever order and under whatever name; the rest is opened and closed. */
static void test_reload_keeps_what_is_open(void **state)
{
	(void)state;
	char text[512];
	static struct pn_listen_sockets before, after, failed;
	struct pn_error err = { { 0 } };
	int busy = any_socket(), free_socket = any_socket(), other = any_socket();
	uint16_t ports[2] = { port_of(free_socket), port_of(other) };
	(void)close(free_socket);
	(void)close(other);
	(void)snprintf(text, sizeof(text),
		       "listener \"a\" { addresses = {\"127.0.0.1:%u\", \"127.0.0.1:%u\"} tls = "
		       "starttls }",
		       ports[0], ports[1]);
	struct pn_config *c = config(text);
	assert_int_equal(pn_listeners_open(c, NULL, &before, &err), 0);
	pn_config_free(c);
	/* One cannot be had: nothing is left behind, nothing is closed. */
	(void)snprintf(text, sizeof(text),
		       "listener \"a\" { addresses = {\"127.0.0.1:%u\", \"[::1]:%u\", "
		       "\"127.0.0.1:%u\"} tls = starttls }",
		       ports[0], ports[1], port_of(busy));
	c = config(text);
	assert_int_not_equal(pn_listeners_open(c, &before, &failed, &err), 0);
	assert_int_equal(failed.count, 0);
	pn_config_free(c);
	assert_true(is_open(before.items[0].fd) && is_open(before.items[1].fd));
	/* Another name and order; one address goes, one comes. */
	(void)snprintf(
		text, sizeof(text),
		"listener \"n\" { addresses = {\"[::1]:%u\"} tls = starttls }\n"
		"listener \"b\" { addresses = {\"127.0.0.1:%u\"} tls = implicit backlog = 7 }",
		ports[0], ports[1]);
	c = config(text);
	assert_int_equal(pn_listeners_open(c, &before, &after, &err), 0);
	assert_int_equal(after.count, 2);
	assert_int_equal(after.items[1].fd, before.items[1].fd);
	int gone = before.items[0].fd;
	pn_listeners_close(&before, &after);
	assert_int_equal(before.count, 0);
	assert_false(is_open(gone));
	assert_true(is_open(after.items[0].fd) && is_open(after.items[1].fd));
	assert_int_equal(port_of(after.items[1].fd), ports[1]);
	pn_listeners_close(&after, NULL);
	pn_config_free(c);
	(void)close(busy);
}

/* Puts a socket where systemd would pass its first one. What stood there comes back afterwards. */
static void test_systemd_sockets(void **state)
{
	(void)state;
	char pid[16];
	static struct pn_listen_sockets set;
	struct pn_error err = { { 0 } };
	int saved[2] = { fcntl(3, F_DUPFD_CLOEXEC, 20), fcntl(4, F_DUPFD_CLOEXEC, 20) };
	int first = any_socket(), second = any_socket();
	uint16_t ports[2] = { port_of(first), port_of(second) };
	int high[2] = { fcntl(first, F_DUPFD_CLOEXEC, 20), fcntl(second, F_DUPFD_CLOEXEC, 20) };
	(void)close(first);
	(void)close(second);
	assert_int_equal(dup2(high[0], 3), 3);
	assert_int_equal(dup2(high[1], 4), 4);
	(void)close(high[0]);
	(void)close(high[1]);
	assert_int_equal(fcntl(4, F_SETFL, O_NONBLOCK), 0);
	(void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
	(void)setenv("LISTEN_PID", pid, 1);
	(void)setenv("LISTEN_FDS", "2", 1);
	(void)setenv("LISTEN_FDNAMES", "other:sub", 1);
	struct pn_config *c =
		config("listener \"sub\" { addresses = {\"127.0.0.1:1\"} tls = starttls }");
	assert_int_equal(pn_listeners_open(c, NULL, &set, &err), 0);
	assert_int_equal(set.count, 1);
	assert_int_equal(set.items[0].fd, 4);
	assert_int_equal(port_of(4), ports[1]);
	assert_int_equal(fcntl(4, F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(fcntl(4, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_string_equal(getenv("LISTEN_FDNAMES"), "other:sub");
	pn_config_free(c);
	/* By the name of the socket unit. */
	c = config("listener \"sub\" { addresses = {\"127.0.0.1:1\"} tls = starttls systemd_name = "
		   "\"other\" }");
	assert_int_equal(pn_listeners_open(c, NULL, &set, &err), 0);
	assert_int_equal(set.items[0].fd, 3);
	assert_int_equal(port_of(3), ports[0]);
	pn_config_free(c);
	(void)unsetenv("LISTEN_PID");
	for (int i = 0; i < 2; i++) {
		(void)close(3 + i);
		if (saved[i] >= 0) {
			(void)dup2(saved[i], 3 + i);
			(void)close(saved[i]);
		}
	}
}

static void test_control_socket(void **state)
{
	(void)state;
	struct pn_error err = { { 0 } };
	char dir[] = "/tmp/postern-control-XXXXXX", path[64], longer[200];
	struct stat st;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/control", dir);
	int fd = pn_control_socket_open(path, (gid_t)-1, &err);
	assert_true(fd >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0660);
	/* Somebody serves it. */
	assert_true(pn_control_socket_open(path, (gid_t)-1, &err) < 0);
	assert_non_null(strstr(err.text, "another gateway"));
	(void)close(fd);
	/* Left over by one that died. */
	fd = pn_control_socket_open(path, (gid_t)-1, &err);
	assert_true(fd >= 0);
	(void)close(fd);
	(void)unlink(path);
	(void)rmdir(dir);
	assert_true(pn_control_socket_open(path, (gid_t)-1, &err) < 0);
	assert_non_null(strstr(err.text, "No such file"));
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_true(pn_control_socket_open(longer, (gid_t)-1, &err) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_busy_port_is_named),
		cmocka_unit_test(test_reuseport_has_one_for_each_loop),
		cmocka_unit_test(test_reload_keeps_what_is_open),
		cmocka_unit_test(test_systemd_sockets),
		cmocka_unit_test(test_control_socket),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
