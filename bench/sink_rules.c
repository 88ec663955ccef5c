/* SPDX-License-Identifier: ISC */
/* sink_rules.c - see sink_rules.h. */
#include "sink_rules.h"

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "distribution.h"

#define DELAY_MAX_MS 600000u
#define ADDRESS_MAX  512

static const char *const stage_names[] = { "connect", "mail", "rcpt", "data", "dot" };
static const char *const action_names[] = { "take", "delay", "defer", "reject", "hangup" };

const char *pn_bench_sink_stage_name(enum pn_bench_sink_stage stage)
{
	return stage_names[stage];
}

const char *pn_bench_sink_action_name(enum pn_bench_sink_action action)
{
	return action_names[action];
}

/* The index of the word text[0..len) in a list, or -1. */
static int find_word(const char *const *list, size_t count, const char *text, size_t len)
{
	for (size_t i = 0; i < count; i++) {
		if (strlen(list[i]) == len && memcmp(list[i], text, len) == 0)
			return (int)i;
	}
	return -1;
}

static bool parse_action(struct pn_bench_sink_rule *r, const char *text, size_t len)
{
	const char *equals = memchr(text, '=', len);
	int action = find_word(action_names, PN_ARRAY_SIZE(action_names), text,
			       equals ? (size_t)(equals - text) : len);

	if (action <= PN_BENCH_SINK_TAKE || (action == PN_BENCH_SINK_DELAY) != (equals != NULL))
		return false;
	r->action = (enum pn_bench_sink_action)action;
	if (equals) {
		uint64_t ms;
		if (!pn_slice_to_u64(pn_slice(equals + 1, len - (size_t)(equals + 1 - text)),
				     DELAY_MAX_MS, &ms))
			return false;
		r->delay_ms = (uint32_t)ms;
	}
	return true;
}

static bool parse_when(struct pn_bench_sink_rule *r, const char *text, size_t len)
{
	char copy[PN_BENCH_SINK_PATTERN_MAX + 1];
	char *end;

	if (len == 0 || len > PN_BENCH_SINK_PATTERN_MAX)
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (copy[len - 1] == '%') {
		r->share = strtod(copy, &end) / 100;
		return end == copy + len - 1 && isfinite(r->share) && r->share > 0 && r->share <= 1;
	}
	/* Only a recipient can be told by a pattern. */
	memcpy(r->pattern, copy, len + 1);
	return strchr(copy, '@') &&
	       (r->stage == PN_BENCH_SINK_RCPT || r->stage == PN_BENCH_SINK_DOT);
}

static bool parse_rule(struct pn_bench_sink_rule *r, const char *text, size_t len)
{
	const char *end = text + len;
	const char *first = memchr(text, ':', len);
	const char *second = first ? memchr(first + 1, ':', (size_t)(end - first - 1)) : NULL;

	if (!second)
		return false;
	int stage =
		find_word(stage_names, PN_ARRAY_SIZE(stage_names), text, (size_t)(first - text));
	if (stage < 0)
		return false;
	r->stage = (enum pn_bench_sink_stage)stage;
	return parse_action(r, first + 1, (size_t)(second - first - 1)) &&
	       parse_when(r, second + 1, (size_t)(end - second - 1));
}

bool pn_bench_sink_rules_parse(struct pn_bench_sink_rules *ret, const char *text, uint64_t seed,
			       struct pn_error *err)
{
	memset(ret, 0, sizeof(*ret));
	pn_prng_init(&ret->prng, seed);
	while (text) {
		size_t len = strcspn(text, ",");
		if (ret->count == PN_BENCH_SINK_RULES_MAX ||
		    !parse_rule(&ret->list[ret->count++], text, len)) {
			(void)pn_error_set(err,
					   "'%.*s' is not STAGE:ACTION:WHEN, as rcpt:reject:10%%, "
					   "dot:delay=200:100%% or rcpt:defer:*@slow.example",
					   (int)len, text);
			return false;
		}
		text = text[len] ? text + len + 1 : NULL;
	}
	return true;
}

static bool applies(struct pn_bench_sink_rules *rules, const struct pn_bench_sink_rule *r,
		    struct pn_slice recipient)
{
	char address[ADDRESS_MAX];

	if (!r->pattern[0])
		return pn_bench_unit_draw(&rules->prng) < r->share;
	(void)snprintf(address, sizeof(address), "%.*s", (int)recipient.len,
		       recipient.len ? (const char *)recipient.ptr : "");
	return recipient.len > 0 && fnmatch(r->pattern, address, FNM_CASEFOLD) == 0;
}

enum pn_bench_sink_action pn_bench_sink_rules_apply(struct pn_bench_sink_rules *rules,
						    enum pn_bench_sink_stage stage,
						    struct pn_slice recipient, uint32_t *delay_ms)
{
	for (size_t i = 0; i < rules->count; i++) {
		const struct pn_bench_sink_rule *r = &rules->list[i];
		if (r->stage != stage || !applies(rules, r, recipient))
			continue;
		rules->done[stage][r->action]++;
		if (r->action != PN_BENCH_SINK_DELAY)
			return r->action;
		*delay_ms += r->delay_ms;
	}
	return PN_BENCH_SINK_TAKE;
}
