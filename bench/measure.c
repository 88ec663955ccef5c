/* SPDX-License-Identifier: ISC */
/* measure.c - see measure.h. */
#include "measure.h"

#include <errno.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <postern/base/clock.h>

#include "machine.h"

static uint64_t read_clock(clockid_t id)
{
	struct timespec t;

	PN_ASSERT(clock_gettime(id, &t) == 0);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t pn_bench_thread_cpu_ns(void)
{
	return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t pn_bench_process_cpu_ns(void)
{
	return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t pn_bench_usable_cpu(size_t index)
{
	cpu_set_t set;
	uint64_t last = 0;

	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return 0;
	for (uint64_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &set))
			continue;
		last = cpu;
		if (index-- == 0)
			break;
	}
	return last;
}

int pn_bench_pin(uint64_t cpu, struct pn_error *err)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	if (cpu < CPU_SETSIZE)
		CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) == 0)
		return 0;
	int code = errno;
	(void)pn_error_set(err, "cannot run on CPU %llu: %s", (unsigned long long)cpu,
			   strerror(code));
	return -code;
}

int pn_bench_folder_make(const char *parent, char out[PN_BENCH_PATH_SIZE], struct pn_error *err)
{
	int n = snprintf(out, PN_BENCH_PATH_SIZE, "%s/postern-bench-XXXXXX", parent);

	if (n < 0 || n >= PN_BENCH_PATH_SIZE) {
		(void)pn_error_set(err, "%.64s...: too long a path", parent);
		return -ENAMETOOLONG;
	}
	if (mkdtemp(out))
		return 0;
	int code = errno;
	(void)pn_error_set(err, "cannot make a folder in %s: %s", parent, strerror(code));
	return -code;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

void pn_bench_folder_remove(const char *path)
{
	(void)nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

json_t *pn_bench_document_new(int argc, char **argv)
{
	json_t *o = json_object();
	json_t *arguments = json_array();
	char date[PN_DATE_RFC3339_SIZE];

	if (!o || !arguments)
		return NULL;
	(void)pn_date_rfc3339(date, pn_clock_wall_ms());
	for (int i = 0; i < argc; i++)
		(void)json_array_append_new(arguments, json_string(argv[i]));
	(void)json_object_set_new(o, "command", json_string(argv[0]));
	(void)json_object_set_new(o, "arguments", arguments);
	(void)json_object_set_new(o, "started", json_string(date));
	(void)json_object_set_new(o, "machine", pn_bench_machine_describe());
	return o;
}

bool pn_bench_document_write(json_t *document, const char *path)
{
	bool ok = document && json_dump_file(document, path, JSON_INDENT(2)) == 0;

	if (!ok)
		fprintf(stderr, "postern-bench: cannot write %s\n", path);
	json_decref(document);
	return ok;
}
