/* SPDX-License-Identifier: ISC */
/*
 * cost.h - what a server has used so far, seen from outside: by process tree, by cgroup, and the whole machine.
 *
 * Two samples make a cost. The time of a process is its CPU clock, which counts threads that have ended and the
 * kernel's workers of its rings; the split into user and system comes from /proc in ticks and is coarser.
 */
#ifndef PN_BENCH_COST_H
#define PN_BENCH_COST_H

#include <postern/base/common.h>

struct pn_bench_cost {
	uint64_t wall_ns;
	/* of the process tree (when a pid is given) */
	uint64_t cpu_ns;
	uint64_t user_ms, system_ms;
	uint64_t switches_voluntary, switches_involuntary; /* of the threads that live */
	uint64_t rss_bytes, pss_bytes,
		private_bytes;            /* the last two: 0 where smaps_rollup is hidden */
	uint64_t read_calls, write_calls; /* read(2) and its kin, not io_uring's; 0 where hidden */
	uint32_t process_count, thread_count;
	/* of the cgroup (when one is given) */
	uint64_t cgroup_ns;
	/* of this process, and of everything on the machine */
	uint64_t own_ns;
	uint64_t machine_busy_ms, machine_idle_ms;
};

/* A process tree to look at often. Children that come later are not seen. */
#define PN_BENCH_WATCH_MAX 64
struct pn_bench_watch {
	uint64_t pids[PN_BENCH_WATCH_MAX];
	size_t count;
};

void pn_bench_watch_init(struct pn_bench_watch *w, uint64_t pid);
uint64_t pn_bench_watch_cpu_ns(const struct pn_bench_watch *w);
uint64_t pn_bench_watch_rss_bytes(const struct pn_bench_watch *w);
/* Of this process. */
uint64_t pn_bench_own_cpu_ns(void);

/* pid 0 and cgroup NULL: not asked for. 0, or -errno with err (no such process or cgroup). */
int pn_bench_cost_take(struct pn_bench_cost *ret, uint64_t pid, const char *cgroup,
		       struct pn_error *err) PN_MUST_CHECK;

#endif
