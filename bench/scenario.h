/* SPDX-License-Identifier: ISC */
/*
 * scenario.h - the file that says what a mix of clients is: sections of "key = value", one for each class of clients.
 *
 * The format is described in README.md, with examples in scenarios/. Pure; one thread.
 */
#ifndef PN_BENCH_SCENARIO_H
#define PN_BENCH_SCENARIO_H

#include <postern/base/common.h>
#include <postern/smtp/client.h>

#include "distribution.h"

#define PN_BENCH_CLASSES_MAX    16
#define PN_BENCH_CLASS_NAME_MAX 31

enum pn_bench_class_kind {
	PN_BENCH_CLASS_SUBMIT,
	PN_BENCH_CLASS_IDLE,           /* logs in and stays */
	PN_BENCH_CLASS_WRONG_PASSWORD, /* must be refused with 535 */
	PN_BENCH_CLASS_HANGUP,         /* goes away in the middle */
};

enum pn_bench_hangup_at { PN_BENCH_HANGUP_GREETING, PN_BENCH_HANGUP_LOGIN, PN_BENCH_HANGUP_DATA };

struct pn_bench_class {
	char name[PN_BENCH_CLASS_NAME_MAX + 1];
	enum pn_bench_class_kind kind;
	double rate;    /* sessions begun in a second, Poisson; or */
	uint64_t count; /* so many at any time: who has ended begins again */
	uint64_t parallel_max;
	uint64_t messages, recipients;
	uint64_t resume_percent;
	uint64_t pause_ms;          /* before each message */
	uint64_t write_bytes_per_s; /* 0: as fast as it goes */
	uint64_t read_delay_ms;     /* before each further read */
	uint64_t noop_ms;           /* of idle clients */
	struct pn_bench_distribution size;
	enum pn_smtp_client_auth auth;
	enum pn_bench_hangup_at hangup_at;
	bool is_chunking_used, is_lockstep;
};

struct pn_bench_scenario {
	struct pn_bench_class classes[PN_BENCH_CLASSES_MAX];
	size_t class_count;
};

/* text: the whole file. False with err, which names the line. */
bool pn_bench_scenario_parse(struct pn_bench_scenario *ret, const char *text,
			     struct pn_error *err) PN_MUST_CHECK;

#endif
