/* SPDX-License-Identifier: ISC */
/*
 * canonical.c - a config as text, every key written out.
 *
 * Reading it back gives the same values: strings stand in double quotes with " \ and $ escaped (so ${ is
 * text), numbers without suffix. Goes by the table, so a new key is written without a change here.
 */
#include <stdlib.h>
#include <string.h>

#include <postern/base/buf.h>

#include "config/config_internal.h"

#define PN_CANONICAL_MAX_BYTES ((size_t)64 << 20)

struct writer {
	struct pn_buf buf;
	int error; /* the first */
};

static void put(struct writer *w, const char *text)
{
	if (w->error == 0)
		w->error = pn_buf_append_str(&w->buf, text);
}

static void put_quoted(struct writer *w, const char *text)
{
	char hex[8];

	put(w, "\"");
	for (const char *p = text; *p != '\0' && w->error == 0; p++) {
		unsigned char c = (unsigned char)*p;
		if (c < ' ' || c == 0x7f) {
			snprintf(hex, sizeof(hex), "\\x%02x", c);
			put(w, hex);
			continue;
		}
		if (c == '"' || c == '\\' || c == '$')
			put(w, "\\");
		if (w->error == 0)
			w->error = pn_buf_append(&w->buf, p, 1);
	}
	put(w, "\"");
}

static void put_list(struct writer *w, const struct pn_config_def *def, const void *base)
{
	char *const *items;
	size_t count;

	memcpy(&items, (const char *)base + def->offset, sizeof(items));
	memcpy(&count, (const char *)base + def->count_offset, sizeof(count));
	put(w, "{");
	for (size_t i = 0; i < count; i++) {
		put(w, i > 0 ? ", " : " ");
		put_quoted(w, items[i]);
	}
	put(w, count > 0 ? " }" : "}");
}

static void put_value(struct writer *w, const struct pn_config_def *def, const void *base)
{
	char text[64];
	char *string;

	switch (def->type) {
	case PN_TYPE_BOOL:
		put(w, pn_config_number_get(def, base) != 0 ? "yes" : "no");
		break;
	case PN_TYPE_INTEGER:
	case PN_TYPE_SIZE:
		snprintf(text, sizeof(text), "%llu", (unsigned long long)pn_config_number_get(def, base));
		put(w, text);
		break;
	case PN_TYPE_STRING:
		memcpy(&string, (const char *)base + def->offset, sizeof(string));
		put_quoted(w, string);
		break;
	case PN_TYPE_LIST:
		put_list(w, def, base);
		break;
	case PN_TYPE_ENUM: {
		const char *choice = def->choices;
		for (uint64_t n = pn_config_number_get(def, base); n > 0; n--)
			choice += strcspn(choice, "|") + 1;
		snprintf(text, sizeof(text), "%.*s", (int)strcspn(choice, "|"), choice);
		put(w, text);
		break;
	}
	}
}

static void put_keys(struct writer *w, enum pn_config_section section, const void *base)
{
	size_t first, count;

	pn_config_section_range(section, &first, &count);
	for (size_t i = first; i < first + count; i++) {
		put(w, section == PN_SECTION_TOP ? "" : "\t");
		put(w, pn_config_defs[i].name);
		put(w, " = ");
		put_value(w, &pn_config_defs[i], base);
		put(w, "\n");
	}
}

const char *pn_config_section_title(const struct pn_config *c, enum pn_config_section section, size_t index)
{
	if (section == PN_SECTION_LISTENER)
		return c->listeners[index].name;
	if (section == PN_SECTION_CERTIFICATE)
		return c->certificates[index].name;
	return c->upstreams[index].name;
}

char *pn_config_canonical(const struct pn_config *c)
{
	struct writer w = { 0 };

	pn_buf_init(&w.buf, PN_CANONICAL_MAX_BYTES);
	put_keys(&w, PN_SECTION_TOP, c);
	for (unsigned s = PN_SECTION_TOP + 1; s < PN_SECTION_COUNT; s++) {
		enum pn_config_section section = (enum pn_config_section)s;
		for (size_t i = 0; i < pn_config_section_instances(c, section); i++) {
			put(&w, pn_config_section_name(section));
			if (pn_config_section_has_title(section)) {
				put(&w, " ");
				put_quoted(&w, pn_config_section_title(c, section, i));
			}
			put(&w, " {\n");
			put_keys(&w, section, pn_config_section_base(c, section, i));
			put(&w, "}\n");
		}
	}
	if (w.error == 0)
		w.error = pn_buf_append(&w.buf, "", 1); /* the NUL */
	char *text = w.error == 0 ? strdup((const char *)pn_buf_ptr(&w.buf)) : NULL;
	pn_buf_free(&w.buf);
	return text;
}
