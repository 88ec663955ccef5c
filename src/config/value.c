/* SPDX-License-Identifier: ISC */
/* value.c - decoded texts into the members of the structs, by the table: defaults first, then what the file says. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/config_internal.h"

/* ---- numbers ---- */

bool pn_config_number_parse(const char *text, bool is_size, uint64_t *ret)
{
	uint64_t value = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
			value = UINT64_MAX; /* stays there: further digits overflow too, and no range has it */
	}
	if (p == text)
		return false;
	if (is_size && *p != '\0') {
		static const char units[] = "KMGT";
		const char *unit = strchr(units, *p >= 'a' && *p <= 'z' ? *p - 0x20 : *p);
		if (unit == NULL)
			return false;
		if (__builtin_mul_overflow(value, (uint64_t)1 << (10 * (unit - units + 1)), &value))
			value = UINT64_MAX;
		p++;
	}
	*ret = value;
	return *p == '\0';
}

static uint64_t number_of(const struct pn_config_def *def, const char *text)
{
	uint64_t value = 0;
	bool is_number = pn_config_number_parse(text, def->type == PN_TYPE_SIZE, &value);

	PN_ASSERT(is_number); /* the table's own text */
	return value;
}

uint64_t pn_config_def_min(const struct pn_config_def *def)
{
	return number_of(def, def->min_text);
}

uint64_t pn_config_def_max(const struct pn_config_def *def)
{
	return number_of(def, def->max_text);
}

uint64_t pn_config_number_get(const struct pn_config_def *def, const void *base)
{
	const void *at = (const char *)base + def->offset;
	uint64_t wide;
	uint32_t narrow;
	uint8_t octet;

	switch (def->width) {
	case sizeof(wide):
		memcpy(&wide, at, sizeof(wide));
		return wide;
	case sizeof(narrow):
		memcpy(&narrow, at, sizeof(narrow));
		return narrow;
	default:
		PN_ASSERT(def->width == sizeof(octet));
		memcpy(&octet, at, sizeof(octet));
		return octet;
	}
}

void pn_config_number_set(const struct pn_config_def *def, void *base, uint64_t value)
{
	void *at = (char *)base + def->offset;
	uint32_t narrow = (uint32_t)value;
	uint8_t octet = (uint8_t)value;

	switch (def->width) {
	case sizeof(value):
		memcpy(at, &value, sizeof(value));
		return;
	case sizeof(narrow):
		PN_ASSERT(value <= UINT32_MAX);
		memcpy(at, &narrow, sizeof(narrow));
		return;
	default:
		PN_ASSERT(def->width == sizeof(octet) && value <= 1);
		memcpy(at, &octet, sizeof(octet));
	}
}

const char *pn_config_expected(const struct pn_config_def *def, char *out, size_t out_size)
{
	switch (def->type) {
	case PN_TYPE_BOOL:
		snprintf(out, out_size, "write yes or no");
		break;
	case PN_TYPE_INTEGER:
		snprintf(out, out_size, "write %s%s from %s to %s%s",
			 strcmp(def->unit, "number") == 0 ? "a number" : "a number of ",
			 strcmp(def->unit, "number") == 0 ? "" : def->unit, def->min_text, def->max_text,
			 def->is_power_of_two ? " that is a power of two" : "");
		break;
	case PN_TYPE_SIZE:
		snprintf(out, out_size, "write a size from %s to %s (octets, or with K, M, G or T)", def->min_text,
		         def->max_text);
		break;
	case PN_TYPE_ENUM: {
		int n = snprintf(out, out_size, "write one of %s", def->choices);
		for (int i = 0; i < n && (size_t)i < out_size; i++)
			out[i] = out[i] == '|' ? '/' : out[i];
		break;
	}
	case PN_TYPE_STRING:
	case PN_TYPE_LIST:
		snprintf(out, out_size, "write %s", pn_config_check_text(def->check));
		break;
	}
	return out;
}

/* ---- one value ---- */

static bool bool_parse(const char *text, bool *ret)
{
	static const char *const words[] = { "no", "yes", "off", "on", "false", "true" };

	for (size_t i = 0; i < PN_ARRAY_SIZE(words); i++) {
		if (strcasecmp(words[i], text) == 0) {
			*ret = i % 2 == 1;
			return true;
		}
	}
	return false;
}

/* Place of `text` in "a|b|c"; -1: none. */
static int choice_index(const char *choices, const char *text)
{
	size_t len = strlen(text);
	int index = 0;

	for (const char *at = choices; *at != '\0'; index++) {
		size_t n = strcspn(at, "|");
		if (n == len && memcmp(at, text, n) == 0)
			return index;
		at += n + (at[n] == '|');
	}
	return -1;
}

/* NULL: fine, *ret set. Else what is wrong with it. */
static const char *scalar_parse(const struct pn_config_def *def, const char *text, uint64_t *ret)
{
	bool flag = false;

	if (def->type == PN_TYPE_BOOL) {
		if (!bool_parse(text, &flag))
			return "is neither yes nor no";
		*ret = flag;
		return NULL;
	}
	if (def->type == PN_TYPE_ENUM) {
		int index = choice_index(def->choices, text);
		*ret = (uint64_t)index;
		return index < 0 ? "is not a choice" : NULL;
	}
	const char *digits = *text == '-' ? text + 1 : text;
	if (!pn_config_number_parse(digits, def->type == PN_TYPE_SIZE, ret))
		return def->type == PN_TYPE_SIZE ? "is not a size" : "is not a whole number";
	if (digits != text || *ret < pn_config_def_min(def) || *ret > pn_config_def_max(def))
		return "is out of range";
	if (def->is_power_of_two && (*ret & (*ret - 1)) != 0)
		return "is not a power of two";
	return NULL;
}

static char **string_at(const struct pn_config_def *def, void *base)
{
	return (char **)(void *)((char *)base + def->offset);
}

static bool string_set(const struct pn_config_def *def, void *base, const char *text)
{
	char *copy = strdup(text);

	if (copy == NULL)
		return false;
	free(*string_at(def, base));
	*string_at(def, base) = copy;
	return true;
}

static bool list_set(const struct pn_config_def *def, void *base, const struct pn_config_statement *st)
{
	char ***items = (char ***)(void *)((char *)base + def->offset);
	size_t *count = (size_t *)(void *)((char *)base + def->count_offset);

	*items = calloc(st->word_count + 1, sizeof(**items));
	if (*items == NULL)
		return false;
	for (; *count < st->word_count; (*count)++) {
		(*items)[*count] = strdup(st->words[*count].text);
		if ((*items)[*count] == NULL)
			return false;
	}
	return true;
}

static bool default_set(const struct pn_config_def *def, void *base)
{
	uint64_t value = 0;

	if (def->type == PN_TYPE_LIST)
		return true;
	if (def->type == PN_TYPE_STRING)
		return string_set(def, base, def->default_text);
	const char *wrong = scalar_parse(def, def->default_text, &value);
	PN_ASSERT(wrong == NULL);
	pn_config_number_set(def, base, value);
	return true;
}

/* ---- statements ---- */

static void say_wrong(struct pn_config_build *b, struct pn_config_statement *st, const struct pn_config_word *word,
                      const char *wrong)
{
	char label[PN_CONFIG_LABEL_BYTES], shown[PN_CONFIG_SHOWN_BYTES], expected[256], near[64];
	const struct pn_config_def *def = st->def;

	st->is_wrong = true;
	pn_config_key_label(b, st->instance, def->name, label, sizeof(label));
	pn_config_shown(word->text, shown, sizeof(shown));
	pn_config_expected(def, expected, sizeof(expected));
	if (def->type == PN_TYPE_ENUM && pn_config_nearest_choice(def->choices, word->text, near, sizeof(near)) != NULL)
		pn_config_mistake(b, word->place, "%s = %s %s; did you mean %s? %s", label, shown, wrong, near,
				  expected);
	else
		pn_config_mistake(b, word->place, "%s = %s %s; %s", label, *shown != '\0' ? shown : "\"\"", wrong,
				  expected);
}

static const char *string_wrong(enum pn_config_check check, const char *text)
{
	if (strlen(text) > PN_CONFIG_STRING_MAX_BYTES)
		return "is too long";
	if (!pn_config_text_check(PN_CHECK_TEXT, text))
		return "has control characters";
	return pn_config_text_check(check, text) ? NULL : "is not right here";
}

static void list_check(struct pn_config_build *b, struct pn_config_statement *st)
{
	char label[PN_CONFIG_LABEL_BYTES];
	uint64_t min = pn_config_def_min(st->def), max = pn_config_def_max(st->def);

	pn_config_key_label(b, st->instance, st->def->name, label, sizeof(label));
	for (size_t i = 0; i < st->word_count; i++) {
		const char *wrong = string_wrong(st->def->check, st->words[i].text);
		if (wrong != NULL)
			say_wrong(b, st, &st->words[i], wrong);
	}
	if (st->word_count < min || st->word_count > max) {
		st->is_wrong = true;
		pn_config_mistake(b, st->place, "%s has %zu items; write %s to %s of them", label, st->word_count,
		                  st->def->min_text, st->def->max_text);
	}
}

static bool statement_set(struct pn_config_build *b, struct pn_config_statement *st)
{
	const struct pn_config_instance *in = &b->instances[st->instance];
	void *base = pn_config_section_base(b->config, in->section, in->index);
	const struct pn_config_def *def = st->def;
	const char *wrong;
	uint64_t value = 0;

	if (def->type == PN_TYPE_LIST) {
		list_check(b, st);
		return st->is_wrong || list_set(def, base, st);
	}
	const struct pn_config_word *word = &st->words[0];
	if (def->type == PN_TYPE_STRING)
		wrong = def->is_required && *word->text == '\0' ? "is empty" : string_wrong(def->check, word->text);
	else
		wrong = scalar_parse(def, word->text, &value);
	if (wrong != NULL) {
		say_wrong(b, st, word, wrong);
		return true;
	}
	if (def->type == PN_TYPE_STRING)
		return string_set(def, base, word->text);
	pn_config_number_set(def, base, value);
	return true;
}

/* ---- the whole ---- */

static size_t instances_count(const struct pn_config_build *b, enum pn_config_section section)
{
	size_t n = 0;
	for (size_t i = 0; i < b->instance_count; i++)
		n += b->instances[i].section == section;
	return n;
}

static bool defaults_set(struct pn_config *c)
{
	for (size_t i = 0; i < pn_config_def_count; i++) {
		const struct pn_config_def *def = &pn_config_defs[i];
		for (size_t n = 0; n < pn_config_section_instances(c, def->section); n++) {
			if (!default_set(def, pn_config_section_base(c, def->section, n)))
				return false;
		}
	}
	return true;
}

static bool names_set(struct pn_config_build *b)
{
	struct pn_config *c = b->config;

	for (size_t i = 0; i < b->instance_count; i++) {
		const struct pn_config_instance *in = &b->instances[i];
		char *name = pn_config_section_has_title(in->section) ? strdup(in->title) : NULL;
		if (in->section == PN_SECTION_LISTENER)
			c->listeners[in->index].name = name;
		else if (in->section == PN_SECTION_CERTIFICATE)
			c->certificates[in->index].name = name;
		else if (in->section == PN_SECTION_UPSTREAM)
			c->upstreams[in->index].name = name;
		if (pn_config_section_has_title(in->section) && name == NULL)
			return false;
	}
	return true;
}

static void required_check(struct pn_config_build *b, size_t instance)
{
	const struct pn_config_instance *in = &b->instances[instance];
	size_t first, count;
	char expected[256];

	pn_config_section_range(in->section, &first, &count);
	for (size_t i = first; i < first + count; i++) {
		if (!pn_config_defs[i].is_required || in->statement[i - first] != 0)
			continue;
		pn_config_mistake(b, in->place, "%s \"%s\" has no %s; %s", pn_config_section_name(in->section),
				  in->title, pn_config_defs[i].name,
				  pn_config_expected(&pn_config_defs[i], expected, sizeof(expected)));
	}
}

bool pn_config_values_set(struct pn_config_build *b)
{
	struct pn_config *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return false;
	b->config = c;
	c->listener_count = instances_count(b, PN_SECTION_LISTENER);
	c->certificate_count = instances_count(b, PN_SECTION_CERTIFICATE);
	c->upstream_count = instances_count(b, PN_SECTION_UPSTREAM);
	/* One more than needed: an empty array is no NULL. */
	c->listeners = calloc(c->listener_count + 1, sizeof(*c->listeners));
	c->certificates = calloc(c->certificate_count + 1, sizeof(*c->certificates));
	c->upstreams = calloc(c->upstream_count + 1, sizeof(*c->upstreams));
	if (c->listeners == NULL || c->certificates == NULL || c->upstreams == NULL) {
		c->listener_count = c->certificate_count = c->upstream_count = 0;
		return false;
	}
	if (!defaults_set(c) || !names_set(b))
		return false;
	for (size_t i = 0; i < b->statement_count; i++) {
		if (!b->statements[i].is_wrong && !statement_set(b, &b->statements[i]))
			return false;
	}
	for (size_t i = 0; i < b->instance_count && !b->is_syntax_broken; i++)
		required_check(b, i);
	return true;
}
