/* SPDX-License-Identifier: ISC */
/*
 * features.c - what the running kernel offers, by trying it on a small ring.
 *
 * Nothing is concluded from version numbers (distributions backport), except in messages. Multishot
 * receive has no probe of its own; it came in the same release (6.0) as SINGLE_ISSUER, which has.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <postern/base/slice.h>

#include "net/loop_internal.h"

static const char *const feature_names[PN_NET_FEATURE_COUNT] = {
#define X(sym, name) [PN_NET_FEATURE_INDEX_##sym] = name,
	PN_NET_FEATURES(X)
#undef X
};

const char *pn_net_feature_name(enum pn_net_feature_index index)
{
	PN_ASSERT((unsigned)index < PN_NET_FEATURE_COUNT);
	return feature_names[index];
}

static bool parse_name(struct pn_slice name, uint32_t *mask)
{
	if (pn_slice_eq_nocase(name, PN_SLICE_LIT("all"))) {
		*mask |= (1u << PN_NET_FEATURE_COUNT) - 1;
		return true;
	}
	for (unsigned i = 0; i < PN_NET_FEATURE_COUNT; i++) {
		if (pn_slice_eq_nocase(name, pn_slice_str(feature_names[i]))) {
			*mask |= 1u << i;
			return true;
		}
	}
	return false;
}

int pn_net_features_parse(const char *list, uint32_t *ret_mask, struct pn_error *err)
{
	uint32_t mask = 0;

	while (list && *list != '\0') {
		size_t len = strcspn(list, ", \t");
		if (len != 0 && !parse_name(pn_slice(list, len), &mask)) {
			char known[256] = "all";
			for (unsigned i = 0; i < PN_NET_FEATURE_COUNT; i++) {
				size_t used = strlen(known);
				(void)snprintf(known + used, sizeof(known) - used, ", %s",
					       feature_names[i]);
			}
			pn_error_set(err, "unknown io_uring feature '%.*s'; known are: %s",
				     (int)pn_min_size(len, 64), list, known);
			return -EINVAL;
		}
		list += len;
		list += strspn(list, ", \t");
	}
	*ret_mask = mask;
	return 0;
}

static void explain_denied(int error, int sysctl_disabled, struct pn_error *err)
{
	if (sysctl_disabled == 2)
		pn_error_set(err, "io_uring is disabled (kernel.io_uring_disabled=2): sysctl "
				  "kernel.io_uring_disabled=0");
	else if (sysctl_disabled == 1)
		pn_error_set(err, "io_uring is disabled for ordinary users "
				  "(kernel.io_uring_disabled=1): sysctl "
				  "kernel.io_uring_disabled=0, or set kernel.io_uring_group to a "
				  "group of the service user");
	else
		pn_error_set(err,
			     "io_uring is denied (%s) by a seccomp profile or a security module: "
			     "allow io_uring_setup, "
			     "io_uring_enter and io_uring_register in the container's or service's "
			     "profile "
			     "(podman or docker: --security-opt seccomp=PROFILE)",
			     strerrordesc_np(error));
}

void pn_net_explain(int error, int sysctl_disabled, uint64_t memlock_bytes, struct pn_error *err)
{
	struct utsname name;

	switch (error) {
	case ENOSYS:
		if (uname(&name) < 0)
			(void)snprintf(name.release, sizeof(name.release), "unknown");
		pn_error_set(err,
			     "this kernel (%s) lacks io_uring, or a part of it that is needed, or "
			     "a seccomp profile hides it: "
			     "use Linux 6.1 or later with CONFIG_IO_URING, and allow "
			     "io_uring_setup, io_uring_enter "
			     "and io_uring_register in the container's profile",
			     name.release);
		break;
	case EPERM:
	case EACCES:
		explain_denied(error, sysctl_disabled, err);
		break;
	case ENOMEM:
		pn_error_set(err,
			     "no memory for io_uring (RLIMIT_MEMLOCK is %llu bytes): raise it "
			     "(ulimit -l, "
			     "LimitMEMLOCK=), or lower the ring and buffer sizes",
			     (unsigned long long)memlock_bytes);
		break;
	case EMFILE:
	case ENFILE:
		pn_error_set(err, "no file descriptor left for io_uring: raise RLIMIT_NOFILE "
				  "(ulimit -n, LimitNOFILE=)");
		break;
	default:
		pn_error_set(err, "io_uring cannot be set up: %s", strerrordesc_np(error));
		break;
	}
}

static int read_sysctl(void)
{
	char text[16] = "";
	int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	return n > 0 ? (int)strtol(text, NULL, 10) : -1;
}

void pn_net_explain_here(int error, struct pn_error *err)
{
	struct rlimit limit = { .rlim_cur = 0 };

	(void)getrlimit(RLIMIT_MEMLOCK, &limit);
	pn_net_explain(error, read_sysctl(), (uint64_t)limit.rlim_cur, err);
}

static bool can_set_up(unsigned flags)
{
	struct io_uring ring;

	if (io_uring_queue_init(2, &ring, flags) < 0)
		return false;
	io_uring_queue_exit(&ring);
	return true;
}

static bool can_register_buffer_ring(struct io_uring *ring)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return false;
	struct io_uring_buf_reg reg = { .ring_addr = (uint64_t)(uintptr_t)map, .ring_entries = 1 };
	bool is_there = io_uring_register_buf_ring(ring, &reg, 0) == 0;
	if (is_there)
		(void)io_uring_unregister_buf_ring(ring, 0);
	munmap(map, size);
	return is_there;
}

/* Flags are looked at first: where this one is known, the answer is that the descriptor is no socket. */
static bool can_accept_now(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;

	if (!sqe)
		return false;
	io_uring_prep_accept(sqe, ring->ring_fd, NULL, NULL, SOCK_CLOEXEC);
	sqe->ioprio = PN_ACCEPT_DONTWAIT;
	if (io_uring_submit_and_wait(ring, 1) < 0 || io_uring_wait_cqe(ring, &cqe) < 0)
		return false;
	bool is_there = cqe->res == -ENOTSOCK;
	io_uring_cqe_seen(ring, cqe);
	return is_there;
}

/* What no mask can take away, because there is no second way. */
static bool has_essentials(const struct io_uring *ring, const struct io_uring_probe *probe)
{
	static const uint8_t ops[] = {
		IORING_OP_ACCEPT,       IORING_OP_CONNECT,  IORING_OP_RECV,
		IORING_OP_SEND,         IORING_OP_SENDMSG,  IORING_OP_POLL_ADD,
		IORING_OP_SHUTDOWN,
		IORING_OP_ASYNC_CANCEL, IORING_OP_READ,     IORING_OP_WRITE,
		IORING_OP_FALLOCATE,    IORING_OP_OPENAT,   IORING_OP_RENAMEAT,
		IORING_OP_UNLINKAT,     IORING_OP_LINKAT,   IORING_OP_FSYNC,
		IORING_OP_CLOSE,        IORING_OP_WRITEV,   IORING_OP_PROVIDE_BUFFERS,
	};
	const unsigned features = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE |
				  IORING_FEAT_FAST_POLL | IORING_FEAT_EXT_ARG |
				  IORING_FEAT_CQE_SKIP;

	if ((ring->features & features) != features)
		return false;
	for (size_t i = 0; i < PN_ARRAY_SIZE(ops); i++) {
		if (!io_uring_opcode_supported(probe, ops[i]))
			return false;
	}
	return true;
}

static int probe_ring(struct io_uring *ring, uint32_t *ret_features)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	uint32_t features = 0;

	if (!probe || !has_essentials(ring, probe)) {
		io_uring_free_probe(probe);
		return -ENOSYS;
	}
	if (can_set_up(IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG))
		features |= PN_NET_FEATURE(COOP_TASKRUN);
	if (can_set_up(IORING_SETUP_SINGLE_ISSUER))
		features |= PN_NET_FEATURE(SINGLE_ISSUER) | PN_NET_FEATURE(RECV_MULTISHOT);
	if (can_set_up(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN))
		features |= PN_NET_FEATURE(DEFER_TASKRUN);
	if (can_register_buffer_ring(ring))
		features |= PN_NET_FEATURE(BUFFER_RING);
	if (io_uring_opcode_supported(probe, IORING_OP_MSG_RING))
		features |= PN_NET_FEATURE(MSG_RING);
	if (io_uring_opcode_supported(probe, IORING_OP_SEND_ZC))
		features |= PN_NET_FEATURE(SEND_ZC);
	if (can_accept_now(ring))
		features |= PN_NET_FEATURE(ACCEPT_DONTWAIT);
	if (io_uring_register_ring_fd(ring) == 1)
		features |= PN_NET_FEATURE(REGISTERED_RING_FD);
	io_uring_free_probe(probe);
	*ret_features = features;
	return 0;
}

int pn_net_probe(uint32_t *ret_features, struct pn_error *err)
{
	/* A kernel does not change: the first success is the answer for all. The top bit says that
	 * there is one. */
	static _Atomic uint32_t answer;
	const uint32_t is_known = UINT32_C(1) << 31;
	/* relaxed: the value is all there is to see */
	uint32_t known = atomic_load_explicit(&answer, memory_order_relaxed);
	struct io_uring ring;

	if (known != 0) {
		*ret_features = known & ~is_known;
		return 0;
	}
	int r = io_uring_queue_init(2, &ring, 0);
	if (r == 0) {
		r = probe_ring(&ring, ret_features);
		io_uring_queue_exit(&ring);
	}
	if (r < 0) {
		pn_net_explain_here(-r, err);
		return r;
	}
	atomic_store_explicit(&answer, *ret_features | is_known, memory_order_relaxed);
	return 0;
}
