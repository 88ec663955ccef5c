/* SPDX-License-Identifier: ISC */
/* keep.c - what a reload leaves as it is: the keys that keys.def names under PN_RESTART. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_internal.h"

static const struct {
	enum pn_config_section section;
	const char *name;
} kept[] = {
#define PN_BOOL(s, m, d, h)
#define PN_INT(s, m, d, lo, hi, u, h)
#define PN_POW2(s, m, d, lo, hi, u, h)
#define PN_SIZE(s, m, d, lo, hi, h)
#define PN_STRING(s, m, d, c, h)
#define PN_NEEDED(s, m, c, h)
#define PN_LIST(s, m, n, lo, hi, c, h)
#define PN_ENUM(s, m, d, n, h)
#define PN_RESTART(s, m) { PN_SECTION_##s, #m },
#include "config/keys.def"
#undef PN_BOOL
#undef PN_INT
#undef PN_POW2
#undef PN_SIZE
#undef PN_STRING
#undef PN_NEEDED
#undef PN_LIST
#undef PN_ENUM
#undef PN_RESTART
};

bool pn_config_key_needs_restart(const struct pn_config_key *key)
{
	for (size_t i = 0; i < PN_ARRAY_SIZE(kept); i++) {
		if (strcmp(pn_config_section_name(kept[i].section), key->section) == 0 &&
		    strcmp(kept[i].name, key->name) == 0)
			return true;
	}
	return false;
}

struct list {
	char **items;
	size_t count;
};

static struct list list_get(const struct pn_config_def *def, const void *base)
{
	struct list l;
	memcpy(&l.items, (const char *)base + def->offset, sizeof(l.items));
	memcpy(&l.count, (const char *)base + def->count_offset, sizeof(l.count));
	return l;
}

static char *string_get(const struct pn_config_def *def, const void *base)
{
	char *string;
	memcpy(&string, (const char *)base + def->offset, sizeof(string));
	return string;
}

static bool value_is_same(const struct pn_config_def *def, const void *a, const void *b)
{
	if (def->type == PN_TYPE_STRING)
		return strcmp(string_get(def, a), string_get(def, b)) == 0;
	if (def->type != PN_TYPE_LIST)
		return pn_config_number_get(def, a) == pn_config_number_get(def, b);
	struct list x = list_get(def, a), y = list_get(def, b);
	for (size_t i = 0; i < x.count && i < y.count; i++) {
		if (strcmp(x.items[i], y.items[i]) != 0)
			return false;
	}
	return x.count == y.count;
}

static int list_copy(const struct pn_config_def *def, void *to, const void *from)
{
	struct list old = list_get(def, to), l = list_get(def, from);
	char **items = calloc(l.count + 1, sizeof(char *));
	bool is_whole = items != NULL;
	for (size_t i = 0; is_whole && i < l.count; i++) {
		items[i] = strdup(l.items[i]);
		is_whole = items[i] != NULL;
	}
	if (!is_whole) {
		for (size_t i = 0; items && i < l.count; i++)
			free(items[i]);
		free(items);
		return -ENOMEM;
	}
	for (size_t i = 0; i < old.count; i++)
		free(old.items[i]);
	free(old.items);
	memcpy((char *)to + def->offset, &items, sizeof(items));
	memcpy((char *)to + def->count_offset, &l.count, sizeof(l.count));
	return 0;
}

static int value_copy(const struct pn_config_def *def, void *to, const void *from)
{
	if (def->type == PN_TYPE_LIST)
		return list_copy(def, to, from);
	if (def->type != PN_TYPE_STRING) {
		pn_config_number_set(def, to, pn_config_number_get(def, from));
		return 0;
	}
	char *copy = strdup(string_get(def, from));
	if (!copy)
		return -ENOMEM;
	free(string_get(def, to));
	memcpy((char *)to + def->offset, &copy, sizeof(copy));
	return 0;
}

/* The section of `running` with the title of the index-th of `c`; NULL: none. */
static const void *counterpart(const struct pn_config *c, const struct pn_config *running,
                               enum pn_config_section section, size_t index)
{
	if (!pn_config_section_has_title(section))
		return pn_config_section_base(running, section, 0);
	const char *title = pn_config_section_title(c, section, index);
	for (size_t i = 0; i < pn_config_section_instances(running, section); i++) {
		if (strcmp(pn_config_section_title(running, section, i), title) == 0)
			return pn_config_section_base(running, section, i);
	}
	return NULL;
}

static void label_write(const struct pn_config *c, enum pn_config_section section, size_t index, const char *name,
                        char out[PN_CONFIG_LABEL_BYTES])
{
	if (section == PN_SECTION_TOP)
		snprintf(out, PN_CONFIG_LABEL_BYTES, "%s", name);
	else if (pn_config_section_has_title(section))
		snprintf(out, PN_CONFIG_LABEL_BYTES, "%s \"%s\": %s", pn_config_section_name(section),
		         pn_config_section_title(c, section, index), name);
	else
		snprintf(out, PN_CONFIG_LABEL_BYTES, "%s.%s", pn_config_section_name(section), name);
}

int pn_config_keep(struct pn_config *c, const struct pn_config *running, void (*changed)(const char *label, void *ctx),
                   void *ctx)
{
	char label[PN_CONFIG_LABEL_BYTES];
	for (size_t k = 0; k < PN_ARRAY_SIZE(kept); k++) {
		enum pn_config_section section = kept[k].section;
		const struct pn_config_def *def = pn_config_def_find(section, kept[k].name);
		PN_ASSERT(def != NULL);
		for (size_t i = 0; i < pn_config_section_instances(c, section); i++) {
			void *to = pn_config_section_base(c, section, i);
			const void *from = counterpart(c, running, section, i);
			if (!from || value_is_same(def, to, from))
				continue;
			if (value_copy(def, to, from) < 0)
				return -ENOMEM;
			label_write(c, section, i, def->name, label);
			changed(label, ctx);
		}
	}
	return 0;
}
