/* SPDX-License-Identifier: ISC */
/* cost.c - see cost.h. Reads /proc and the cgroup file system. */
#include "cost.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <postern/base/clock.h>

#define PROCESSES_MAX 256u

/* Reads a small file whole and ends it with a NUL; false when it cannot. */
static bool read_text(const char *path, char *out, size_t size)
{
	FILE *f = fopen(path, "re");

	if (!f)
		return false;
	size_t len = fread(out, 1, size - 1, f);
	(void)fclose(f);
	out[len] = '\0';
	return len > 0;
}

static uint64_t number_behind(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	if (clock_gettime(id, &ts) != 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t ticks_to_ms(uint64_t ticks)
{
	return ticks * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
}

/* ---- processes ---- */

struct tree {
	uint64_t pids[PROCESSES_MAX];
	size_t count;
};

static void tree_add_children(struct tree *tree, const char *list)
{
	char *end;

	for (const char *at = list; *at; at = end) {
		unsigned long long pid = strtoull(at, &end, 10);
		if (end == at)
			return;
		if (tree->count < PROCESSES_MAX)
			tree->pids[tree->count++] = pid;
	}
}

/* One thread: its context switches, and the children that it started. */
static void add_thread(struct pn_bench_cost *c, struct tree *tree, uint64_t pid, const char *tid)
{
	char path[320];
	char text[8192];

	(void)snprintf(path, sizeof(path), "/proc/%llu/task/%s/status", (unsigned long long)pid,
		       tid);
	if (!read_text(path, text, sizeof(text)))
		return;
	c->thread_count++;
	c->switches_voluntary += number_behind(text, "\nvoluntary_ctxt_switches:");
	c->switches_involuntary += number_behind(text, "\nnonvoluntary_ctxt_switches:");
	(void)snprintf(path, sizeof(path), "/proc/%llu/task/%s/children", (unsigned long long)pid,
		       tid);
	if (read_text(path, text, sizeof(text)))
		tree_add_children(tree, text);
}

/* What stands in more files of the process; some of them only root may read. */
static void add_memory_and_calls(struct pn_bench_cost *c, uint64_t pid)
{
	char path[64];
	char text[8192];

	(void)snprintf(path, sizeof(path), "/proc/%llu/smaps_rollup", (unsigned long long)pid);
	if (read_text(path, text, sizeof(text))) {
		c->pss_bytes += number_behind(text, "\nPss:") * 1024;
		c->private_bytes += (number_behind(text, "\nPrivate_Clean:") +
				     number_behind(text, "\nPrivate_Dirty:")) *
				    1024;
	}
	(void)snprintf(path, sizeof(path), "/proc/%llu/io", (unsigned long long)pid);
	if (read_text(path, text, sizeof(text))) {
		c->read_calls += number_behind(text, "\nsyscr:");
		c->write_calls += number_behind(text, "\nsyscw:");
	}
}

static int add_process(struct pn_bench_cost *c, struct tree *tree, uint64_t pid)
{
	char path[64];
	char text[8192];
	clockid_t clock;
	unsigned long long user, system;

	(void)snprintf(path, sizeof(path), "/proc/%llu/stat", (unsigned long long)pid);
	if (clock_getcpuclockid((pid_t)pid, &clock) != 0 || !read_text(path, text, sizeof(text)))
		return -ESRCH;
	c->process_count++;
	c->cpu_ns += clock_ns(clock);
	/* The name may hold blanks and brackets: the fields count from the last bracket. utime and
	 * stime are 14 and 15. */
	const char *fields = strrchr(text, ')');
	if (fields && sscanf(fields + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
			     &user, &system) == 2) {
		c->user_ms += ticks_to_ms(user);
		c->system_ms += ticks_to_ms(system);
	}
	(void)snprintf(path, sizeof(path), "/proc/%llu/status", (unsigned long long)pid);
	if (read_text(path, text, sizeof(text)))
		c->rss_bytes += number_behind(text, "\nVmRSS:") * 1024;
	add_memory_and_calls(c, pid);
	(void)snprintf(path, sizeof(path), "/proc/%llu/task", (unsigned long long)pid);
	DIR *dir = opendir(path);
	if (!dir)
		return -ESRCH;
	for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
		if (e->d_name[0] != '.')
			add_thread(c, tree, pid, e->d_name);
	}
	(void)closedir(dir);
	return 0;
}

/* ---- looking often ---- */

void pn_bench_watch_init(struct pn_bench_watch *w, uint64_t pid)
{
	struct pn_bench_cost ignored = { .wall_ns = 0 };
	struct tree tree = { .count = 0 };

	w->count = 0;
	if (pid != 0)
		tree.pids[tree.count++] = pid;
	for (size_t i = 0; i < tree.count && w->count < PN_BENCH_WATCH_MAX; i++) {
		if (add_process(&ignored, &tree, tree.pids[i]) == 0)
			w->pids[w->count++] = tree.pids[i];
	}
}

uint64_t pn_bench_watch_cpu_ns(const struct pn_bench_watch *w)
{
	uint64_t sum_ns = 0;
	clockid_t clock;

	for (size_t i = 0; i < w->count; i++) {
		if (clock_getcpuclockid((pid_t)w->pids[i], &clock) == 0)
			sum_ns += clock_ns(clock);
	}
	return sum_ns;
}

uint64_t pn_bench_watch_rss_bytes(const struct pn_bench_watch *w)
{
	uint64_t pages = 0;
	char path[64];
	char text[256];

	for (size_t i = 0; i < w->count; i++) {
		(void)snprintf(path, sizeof(path), "/proc/%llu/statm",
			       (unsigned long long)w->pids[i]);
		if (read_text(path, text, sizeof(text)))
			pages += number_behind(text, " ");
	}
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t pn_bench_own_cpu_ns(void)
{
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

/* ---- the rest ---- */

static int add_cgroup(struct pn_bench_cost *c, const char *cgroup)
{
	char path[1024];
	char text[4096];

	(void)snprintf(path, sizeof(path), "%s/cpu.stat", cgroup);
	if (read_text(path, text, sizeof(text)) && strstr(text, "usage_usec ")) {
		c->cgroup_ns = number_behind(text, "usage_usec ") * 1000;
		return 0;
	}
	(void)snprintf(path, sizeof(path), "%s/cpuacct.usage", cgroup); /* version 1 */
	if (!read_text(path, text, sizeof(text)))
		return -ENOENT;
	c->cgroup_ns = strtoull(text, NULL, 10);
	return 0;
}

static void add_machine(struct pn_bench_cost *c)
{
	char text[512];
	unsigned long long v[8] = { 0 };

	if (!read_text("/proc/stat", text, sizeof(text)))
		return;
	/* user nice system idle iowait irq softirq steal */
	if (sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3],
		   &v[4], &v[5], &v[6], &v[7]) < 7)
		return;
	c->machine_busy_ms = ticks_to_ms(v[0] + v[1] + v[2] + v[5] + v[6]);
	c->machine_idle_ms = ticks_to_ms(v[3] + v[4]);
}

int pn_bench_cost_take(struct pn_bench_cost *ret, uint64_t pid, const char *cgroup,
		       struct pn_error *err)
{
	struct tree tree = { .count = 0 };

	memset(ret, 0, sizeof(*ret));
	ret->wall_ns = pn_clock_mono_ns();
	ret->own_ns = pn_bench_own_cpu_ns();
	add_machine(ret);
	if (cgroup && add_cgroup(ret, cgroup) != 0) {
		(void)pn_error_set(err,
				   "%s has neither cpu.stat nor cpuacct.usage: name a folder of "
				   "the cgroup file system",
				   cgroup);
		return -ENOENT;
	}
	if (pid == 0)
		return 0;
	tree.pids[tree.count++] = pid;
	for (size_t i = 0; i < tree.count; i++) {
		/* A child may have ended between the list and the look; the root may not. */
		if (add_process(ret, &tree, tree.pids[i]) != 0 && i == 0) {
			(void)pn_error_set(err, "there is no process %llu",
					   (unsigned long long)pid);
			return -ESRCH;
		}
	}
	return 0;
}
