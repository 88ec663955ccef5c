/* SPDX-License-Identifier: ISC */
/* scenario.c - see scenario.h. A table of keys, each with what it takes. */
#include "scenario.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "users.h"

#define LINE_MAX_BYTES 512

enum value_kind {
	VALUE_NUMBER,
	VALUE_PERCENT,
	VALUE_SECONDS, /* kept in ms */
	VALUE_OCTETS,
	VALUE_RATE,
	VALUE_SIZE,
	VALUE_YES_NO,
	VALUE_AUTH,
	VALUE_WORD,
};

struct key {
	const char *name;
	enum value_kind kind;
	size_t offset;
	double min, max;
	const char *words; /* VALUE_WORD: separated by blanks, in the order of the enum */
	const char *takes;
};

#define AT(member) offsetof(struct pn_bench_class, member)

static const struct key keys[] = {
	{ "kind", VALUE_WORD, AT(kind), 0, 0, "submit idle wrong-password hangup",
	  "submit, idle, wrong-password or hangup" },
	{ "rate", VALUE_RATE, AT(rate), 0, 100000, NULL, "sessions a second" },
	{ "count", VALUE_NUMBER, AT(count), 1, 100000, NULL, "sessions at a time" },
	{ "parallel-max", VALUE_NUMBER, AT(parallel_max), 1, 100000, NULL, "sessions at a time" },
	{ "messages", VALUE_NUMBER, AT(messages), 1, 1000000, NULL, "messages of a session" },
	{ "recipients", VALUE_NUMBER, AT(recipients), 1, 1000, NULL, "recipients, up to 1000" },
	{ "resume", VALUE_PERCENT, AT(resume_percent), 0, 100, NULL, "a percentage, as 70%" },
	{ "pause", VALUE_SECONDS, AT(pause_ms), 0, 86400, NULL, "seconds" },
	{ "write-rate", VALUE_OCTETS, AT(write_bytes_per_s), 10, 1e9, NULL, "octets a second" },
	{ "read-delay", VALUE_SECONDS, AT(read_delay_ms), 0, 60, NULL, "seconds" },
	{ "noop-interval", VALUE_SECONDS, AT(noop_ms), 0, 86400, NULL, "seconds" },
	{ "size", VALUE_SIZE, AT(size), 0, 0, NULL,
	  "as 4K, 1K-64K, lognormal:8K:1.2 or 2K*7,9K*3" },
	{ "auth", VALUE_AUTH, AT(auth), 0, 0, NULL, "any, plain, login or scram-sha-256" },
	{ "at", VALUE_WORD, AT(hangup_at), 0, 0, "greeting login data", "greeting, login or data" },
	{ "chunking", VALUE_YES_NO, AT(is_chunking_used), 0, 0, NULL, "yes or no" },
	{ "lock-step", VALUE_YES_NO, AT(is_lockstep), 0, 0, NULL, "yes or no" },
};

/* The how-manieth of `words` it is; -1: none. */
static int find_word(const char *words, const char *text)
{
	size_t len = strlen(text);

	for (int i = 0; *words; i++) {
		size_t n = strcspn(words, " ");
		if (n == len && memcmp(words, text, n) == 0)
			return i;
		words += n + (words[n] == ' ');
	}
	return -1;
}

static bool set_number(const struct key *k, void *value, const char *text)
{
	char *end;
	double n = strtod(text, &end);

	if (end == text || !isfinite(n) ||
	    (k->kind == VALUE_PERCENT ? strcmp(end, "%") != 0 : *end) || n < k->min || n > k->max ||
	    (k->kind == VALUE_RATE && n <= 0))
		return false;
	if (k->kind == VALUE_RATE)
		*(double *)value = n;
	else
		*(uint64_t *)value = (uint64_t)(k->kind == VALUE_SECONDS ? n * 1000 : n);
	return k->kind != VALUE_NUMBER || n == floor(n);
}

static bool set_octets(const struct key *k, uint64_t *value, const char *text)
{
	return pn_bench_size_parse(text, &text, value) && !*text && (double)*value >= k->min &&
	       (double)*value <= k->max;
}

static bool set_value(const struct key *k, struct pn_bench_class *c, const char *text)
{
	void *value = (char *)c + k->offset;
	int word;

	switch (k->kind) {
	case VALUE_NUMBER:
	case VALUE_PERCENT:
	case VALUE_SECONDS:
	case VALUE_RATE:
		return set_number(k, value, text);
	case VALUE_OCTETS:
		return set_octets(k, value, text);
	case VALUE_SIZE:
		return pn_bench_distribution_parse(value, text);
	case VALUE_AUTH:
		return pn_bench_auth_parse(text, value);
	case VALUE_YES_NO:
		word = find_word("no yes", text);
		*(bool *)value = word == 1;
		return word >= 0;
	case VALUE_WORD:
		word = find_word(k->words, text);
		*(int *)value = word;
		return word >= 0;
	}
	return false;
}

/* ---- lines ---- */

static char *trim(char *text)
{
	size_t len;

	text += strspn(text, " \t");
	len = strlen(text);
	while (len > 0 && strchr(" \t\r", text[len - 1]))
		text[--len] = '\0';
	return text;
}

static bool fail(struct pn_error *err, unsigned line, const char *what, const char *detail)
{
	(void)pn_error_set(err, "line %u: %s%s%s", line, what, *detail ? ": " : "", detail);
	return false;
}

static bool begin_class(struct pn_bench_scenario *s, char *text, unsigned line,
			struct pn_error *err)
{
	struct pn_bench_class *c = &s->classes[s->class_count];
	size_t len = strlen(text);

	if (text[len - 1] != ']' || len < 3 || len - 2 > PN_BENCH_CLASS_NAME_MAX)
		return fail(err, line, "not a [name]", text);
	if (s->class_count == PN_BENCH_CLASSES_MAX)
		return fail(err, line, "too many classes", "");
	*c = (struct pn_bench_class){
		.messages = 1, .recipients = 1, .parallel_max = 200, .noop_ms = 30000
	};
	memcpy(c->name, text + 1, len - 2);
	if (!pn_bench_distribution_parse(&c->size, "4K"))
		return fail(err, line, "no size", "");
	s->class_count++;
	return true;
}

static bool take_key(struct pn_bench_scenario *s, char *text, unsigned line, struct pn_error *err)
{
	char *equals = strchr(text, '=');

	if (!equals || s->class_count == 0)
		return fail(err, line, "not [name] and not key = value in a class", text);
	*equals = '\0';
	char *name = trim(text);
	for (size_t i = 0; i < PN_ARRAY_SIZE(keys); i++) {
		char detail[128];
		if (strcmp(keys[i].name, name) != 0)
			continue;
		if (set_value(&keys[i], &s->classes[s->class_count - 1], trim(equals + 1)))
			return true;
		(void)snprintf(detail, sizeof(detail), "%s takes %s", name, keys[i].takes);
		return fail(err, line, detail, "");
	}
	return fail(err, line, "there is no key", name);
}

/* A class has either a rate or a count. */
static bool check_classes(const struct pn_bench_scenario *s, struct pn_error *err)
{
	for (size_t i = 0; i < s->class_count; i++) {
		const struct pn_bench_class *c = &s->classes[i];
		if ((c->rate > 0) == (c->count > 0)) {
			(void)pn_error_set(err, "class %s: give either rate or count", c->name);
			return false;
		}
	}
	if (s->class_count == 0)
		(void)pn_error_set(err, "there is no class in it");
	return s->class_count > 0;
}

bool pn_bench_scenario_parse(struct pn_bench_scenario *ret, const char *text, struct pn_error *err)
{
	memset(ret, 0, sizeof(*ret));
	for (unsigned line = 1; *text; line++) {
		char copy[LINE_MAX_BYTES];
		size_t len = strcspn(text, "\n");
		if (len >= sizeof(copy))
			return fail(err, line, "too long", "");
		memcpy(copy, text, len);
		copy[len] = '\0';
		copy[strcspn(copy, "#")] = '\0';
		text += len + (text[len] == '\n');
		char *at = trim(copy);
		if (*at &&
		    !(*at == '[' ? begin_class(ret, at, line, err) : take_key(ret, at, line, err)))
			return false;
	}
	return check_classes(ret, err);
}
