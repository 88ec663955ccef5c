/* SPDX-License-Identifier: ISC */
/*
 * measure.h - what the measurements inside this process share: CPU clocks, pinning, working folders, and the head of
 * their JSON.
 */
#ifndef PN_BENCH_MEASURE_H
#define PN_BENCH_MEASURE_H

#include <jansson.h>

#include <postern/base/common.h>

#define PN_BENCH_PATH_SIZE 4096

/* CPU used by the calling thread, and by all threads of the process (io_uring's kernel workers are among them). */
uint64_t pn_bench_thread_cpu_ns(void);
uint64_t pn_bench_process_cpu_ns(void);

/* The `index`-th of the CPUs that this process may use; the last one when there are fewer. */
uint64_t pn_bench_usable_cpu(size_t index);
/* Pins the calling process. 0 or -errno with err. */
int pn_bench_pin(uint64_t cpu, struct pn_error *err) PN_MUST_CHECK;

/* A new folder below `parent`; 0 or -errno with err. */
int pn_bench_folder_make(const char *parent, char out[PN_BENCH_PATH_SIZE],
			 struct pn_error *err) PN_MUST_CHECK;
/* Removes the folder and all in it. */
void pn_bench_folder_remove(const char *path);

/* command, arguments, started, machine: what every JSON of postern-bench begins with. NULL when out of memory. */
json_t *pn_bench_document_new(int argc, char **argv);
/* Takes `document`. False when it cannot be written, after saying so. */
bool pn_bench_document_write(json_t *document, const char *path);

#endif
