/* SPDX-License-Identifier: ISC */
/* endpoint.c - sockets of an endpoint, with the local addresses in turn; names of the stages. */
#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "connection.h"

const char *pn_bench_stage_name(enum pn_smtp_stage stage)
{
	static const char *const stages[] = {
		[PN_STAGE_CONNECT] = "connect", [PN_STAGE_GREETING] = "greeting",
		[PN_STAGE_EHLO] = "EHLO",       [PN_STAGE_TLS] = "STARTTLS",
		[PN_STAGE_AUTH] = "AUTH",       [PN_STAGE_MAIL] = "MAIL",
		[PN_STAGE_RCPT] = "RCPT",       [PN_STAGE_DATA] = "DATA",
		[PN_STAGE_BODY] = "content",
	};

	return stages[stage];
}

/* Another local address for each connection: one has only some 28 000 ports. */
static int bind_source(struct pn_bench_endpoint *e, int fd)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	int one = 1;

	if (e->source_count == 0)
		return 0;
	in.sin_addr.s_addr = htonl(e->source_first + e->source_next);
	e->source_next = (e->source_next + 1) % e->source_count;
	/* The port is chosen at connect(), for this destination. */
	(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	return bind(fd, (struct sockaddr *)&in, sizeof(in)) == 0 ? 0 : -errno;
}

int pn_bench_endpoint_socket(struct pn_bench_endpoint *e)
{
	int fd = socket(e->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;
	int r;

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	r = bind_source(e, fd);
	if (r == 0)
		return fd;
	(void)close(fd);
	return r;
}
