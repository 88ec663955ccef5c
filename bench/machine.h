/* SPDX-License-Identifier: ISC */
/* machine.h - the machine, the build and the kernel that a figure belongs to. */
#ifndef PN_BENCH_MACHINE_H
#define PN_BENCH_MACHINE_H

#include <jansson.h>

/* A new reference; NULL when out of memory. */
json_t *pn_bench_machine_describe(void);

#endif
