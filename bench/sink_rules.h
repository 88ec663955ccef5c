/* SPDX-License-Identifier: ISC */
/*
 * sink_rules.h - how a sink is to misbehave, as written on its command line: STAGE:ACTION:WHEN, separated by commas.
 *
 *	rcpt:reject:10%              every tenth RCPT, drawn with a seeded generator
 *	rcpt:defer:*@slow.example    recipients of that pattern (glob)
 *	data:hangup:1%               in the middle of the content
 *	dot:delay=200:100%           the reply to the content comes 200 ms later
 *
 * Stages: connect, mail, rcpt, data, dot. Actions: delay=MS, defer (4yz), reject (5yz), hangup. The first rule that
 * applies decides; a delay lets later ones be looked at. Pure; one thread.
 */
#ifndef PN_BENCH_SINK_RULES_H
#define PN_BENCH_SINK_RULES_H

#include <postern/base/common.h>
#include <postern/base/prng.h>
#include <postern/base/slice.h>

#define PN_BENCH_SINK_RULES_MAX   32
#define PN_BENCH_SINK_PATTERN_MAX 128

enum pn_bench_sink_stage {
	PN_BENCH_SINK_CONNECT,
	PN_BENCH_SINK_MAIL,
	PN_BENCH_SINK_RCPT,
	PN_BENCH_SINK_DATA,
	PN_BENCH_SINK_DOT,
	PN_BENCH_SINK_STAGE_COUNT,
};

enum pn_bench_sink_action {
	PN_BENCH_SINK_TAKE, /* behave */
	PN_BENCH_SINK_DELAY,
	PN_BENCH_SINK_DEFER,
	PN_BENCH_SINK_REJECT,
	PN_BENCH_SINK_HANGUP,
	PN_BENCH_SINK_ACTION_COUNT,
};

struct pn_bench_sink_rule {
	enum pn_bench_sink_stage stage;
	enum pn_bench_sink_action action;
	uint32_t delay_ms;
	double share;                                /* 0..1; not looked at with a pattern */
	char pattern[PN_BENCH_SINK_PATTERN_MAX + 1]; /* "": by share */
};

/* Zeroed = behaves. */
struct pn_bench_sink_rules {
	struct pn_bench_sink_rule list[PN_BENCH_SINK_RULES_MAX];
	size_t count;
	struct pn_prng prng;
	uint64_t done[PN_BENCH_SINK_STAGE_COUNT][PN_BENCH_SINK_ACTION_COUNT]; /* how often */
};

/* NULL: no rule. False with err: where and why it is wrong. */
bool pn_bench_sink_rules_parse(struct pn_bench_sink_rules *ret, const char *text, uint64_t seed,
			       struct pn_error *err) PN_MUST_CHECK;
/* What to do now. recipient: for RCPT and (LMTP) DOT, else empty. Adds delays to *delay_ms. */
enum pn_bench_sink_action pn_bench_sink_rules_apply(struct pn_bench_sink_rules *rules,
						    enum pn_bench_sink_stage stage,
						    struct pn_slice recipient, uint32_t *delay_ms);
const char *pn_bench_sink_stage_name(enum pn_bench_sink_stage stage);
const char *pn_bench_sink_action_name(enum pn_bench_sink_action action);

#endif
