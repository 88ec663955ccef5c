/* SPDX-License-Identifier: ISC */
/* config.c - the reading of a configuration from end to end, and its release. */
#include <stdlib.h>
#include <string.h>

#include "config/config_internal.h"

static void build_free(struct pn_config_build *b)
{
	for (size_t i = 0; i < b->statement_count; i++) {
		for (size_t w = 0; w < b->statements[i].word_count; w++) {
			free(b->statements[i].words[w].raw);
			free(b->statements[i].words[w].text);
		}
		free(b->statements[i].words);
	}
	free(b->statements);
	free(b->instances);
	for (size_t i = 0; i < b->file_count; i++)
		free(b->files[i]);
	free(b->files);
}

/* From the text of the first file to a config without mistakes, or NULL. */
static struct pn_config *build(struct pn_config_build *b, struct pn_config_source *source, bool check_files)
{
	pn_config_statements_read(b, source);
	if (!b->is_memory_out && pn_config_decode(b)) {
		if (!pn_config_values_set(b))
			pn_config_memory_out(b);
		if (!b->is_memory_out)
			pn_config_follow_ups(b);
		if (!b->is_memory_out)
			pn_config_cross_check(b);
		if (!b->is_memory_out && check_files && !b->is_syntax_broken)
			pn_config_files_check(b);
	}
	if (b->mistakes == 0 && !b->is_syntax_broken)
		return b->config;
	pn_config_free(b->config);
	return NULL;
}

struct pn_config *pn_config_load(const char *path, bool check_files, FILE *report)
{
	struct pn_config_build b = { .report = report, .has_includes = true };
	struct pn_config_place begin = { 0, 1 };
	struct pn_config_source source;
	struct pn_config *config = NULL;

	/* The name is known before the file is open, for the message when it cannot be. */
	if (pn_config_file_add(&b, path) != UINT32_MAX && pn_config_source_read(&b, path, begin, NULL, &source)) {
		config = build(&b, &source, check_files);
		pn_config_source_free(&source);
	}
	build_free(&b);
	return config;
}

struct pn_config *pn_config_parse(const char *text, const char *name, FILE *report)
{
	struct pn_config_build b = { .report = report };
	struct pn_config_place begin = { 0, 1 };
	struct pn_config_source source = { .len = strlen(text) };
	struct pn_config *config = NULL;

	source.file = pn_config_file_add(&b, name);
	if (source.file != UINT32_MAX && source.len > PN_CONFIG_TOTAL_MAX_BYTES) {
		pn_config_mistake(&b, begin, "more than %u MiB; make it smaller", PN_CONFIG_TOTAL_MAX_BYTES >> 20);
	} else if (source.file != UINT32_MAX) {
		source.text = (char *)(uintptr_t)text; /* read only */
		config = build(&b, &source, false);
	}
	build_free(&b);
	return config;
}

static void member_free(const struct pn_config_def *def, void *base)
{
	void *at = (char *)base + def->offset;

	if (def->type == PN_TYPE_STRING) {
		char *string;
		memcpy(&string, at, sizeof(string));
		free(string);
	} else if (def->type == PN_TYPE_LIST) {
		char **items;
		size_t count;
		memcpy(&items, at, sizeof(items));
		memcpy(&count, (char *)base + def->count_offset, sizeof(count));
		for (size_t i = 0; i < count; i++)
			free(items[i]);
		free(items);
	}
}

void pn_config_free(struct pn_config *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < pn_config_def_count; i++) {
		const struct pn_config_def *def = &pn_config_defs[i];
		for (size_t n = 0; n < pn_config_section_instances(c, def->section); n++)
			member_free(def, pn_config_section_base(c, def->section, n));
	}
	for (size_t i = 0; i < c->listener_count; i++)
		free(c->listeners[i].name);
	for (size_t i = 0; i < c->certificate_count; i++)
		free(c->certificates[i].name);
	for (size_t i = 0; i < c->upstream_count; i++)
		free(c->upstreams[i].name);
	free(c->listeners);
	free(c->certificates);
	free(c->upstreams);
	free(c);
}
