/* SPDX-License-Identifier: ISC */
/*
 * peer.h - the process at the other end of the sockets that are measured, and what the rows over sockets share.
 */
#ifndef PN_BENCH_PEER_H
#define PN_BENCH_PEER_H

#include <liburing.h>
#include <netinet/in.h>
#include <sys/types.h>

#include <postern/base/common.h>

#define PN_BENCH_REPLY_SIZE 64u

struct pn_bench_peer {
	pid_t pid;
	bool is_gone; /* and has been waited for */
};

/* A listener on any port of 127.0.0.1: its descriptor and *address, or -errno. */
int pn_bench_peer_listen(struct sockaddr_in *address, int backlog) PN_MUST_CHECK;
/* A blocking connection to it; -1 with errno. */
int pn_bench_peer_connect(const struct sockaddr_in *address);
/* Runs work(arg) in a process of its own on that CPU; it dies with this one. 0 or -errno. */
int pn_bench_peer_start(struct pn_bench_peer *peer, uint64_t cpu, bool (*work)(void *arg),
			void *arg) PN_MUST_CHECK;
/* -ECONNABORTED when it has ended and its work had failed: who serves it must not wait for more. Else 0. */
int pn_bench_peer_check(struct pn_bench_peer *peer) PN_MUST_CHECK;
/* Waits for its end; kills it first when r, what came of serving it, is not 0. Gives r, or -ECONNABORTED when its work
 * failed. */
int pn_bench_peer_end(struct pn_bench_peer *peer, int r) PN_MUST_CHECK;

/* A ring with the cheapest flags that the kernel knows. 0 or -errno. */
int pn_bench_ring_init(struct io_uring *ring, unsigned entries) PN_MUST_CHECK;

#endif
