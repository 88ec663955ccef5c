/* SPDX-License-Identifier: ISC */
/* peer.c - see peer.h. */
#include "peer.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

int pn_bench_peer_listen(struct sockaddr_in *address, int backlog)
{
	socklen_t len = sizeof(*address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*address = (struct sockaddr_in){ .sin_family = AF_INET,
					 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (fd >= 0 && bind(fd, (const struct sockaddr *)address, len) == 0 &&
	    listen(fd, backlog) == 0 && getsockname(fd, (struct sockaddr *)address, &len) == 0)
		return fd;
	int code = errno;
	if (fd >= 0)
		(void)close(fd);
	return -code;
}

int pn_bench_peer_connect(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

int pn_bench_peer_start(struct pn_bench_peer *peer, uint64_t cpu, bool (*work)(void *arg),
			void *arg)
{
	struct pn_error err;
	pid_t parent = getpid();

	*peer = (struct pn_bench_peer){ .pid = fork() };
	if (peer->pid == 0) {
		bool ok = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent &&
			  pn_bench_pin(cpu, &err) == 0 && work(arg);
		_exit(ok ? 0 : 1);
	}
	return peer->pid < 0 ? -errno : 0;
}

static int verdict(int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ECONNABORTED;
}

int pn_bench_peer_check(struct pn_bench_peer *peer)
{
	int status;

	if (peer->is_gone || waitpid(peer->pid, &status, WNOHANG) != peer->pid)
		return 0;
	peer->is_gone = true;
	return verdict(status);
}

int pn_bench_peer_end(struct pn_bench_peer *peer, int r)
{
	int status = 0;

	if (peer->is_gone)
		return r;
	if (r != 0)
		(void)kill(peer->pid, SIGKILL);
	(void)waitpid(peer->pid, &status, 0);
	peer->is_gone = true;
	return r != 0 ? r : verdict(status);
}

int pn_bench_ring_init(struct io_uring *ring, unsigned entries)
{
	static const unsigned flags[] = { IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
					  IORING_SETUP_COOP_TASKRUN, 0 };
	int r = -EINVAL;

	for (size_t i = 0; i < PN_ARRAY_SIZE(flags) && r == -EINVAL; i++)
		r = io_uring_queue_init(entries, ring, flags[i]);
	return r;
}
