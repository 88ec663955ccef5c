/* SPDX-License-Identifier: ISC */
/*
 * confuse.c - has libConfuse read the statements: quoting, escapes, ${NAME}, lists, sections.
 *
 * It gets a text of ours with one statement on each line, in the order of the instances and with their
 * numbers as titles, so its only tasks are the ones it does well, and a line of its own leads back to the
 * statement. All values are strings to it; types and ranges are ours (value.c), so that each mistake is
 * reported with its place.
 */
#include <confuse.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/buf.h>

#include "config/config_internal.h"

/* libConfuse's error function has no pointer of ours; and its scanner is for one thread anyway. */
static struct decoding {
	struct pn_config_build *build;
	const uint32_t *lines; /* index of the statement on each line, from line 1 */
	size_t line_count;
	bool has_failed;
} decoding;

static void on_error(cfg_t *cfg, const char *fmt, va_list args)
{
	struct pn_config_place place = { 0, 1 };
	char text[256];
	size_t line = cfg->line > 0 ? (size_t)cfg->line : 1;

	vsnprintf(text, sizeof(text), fmt, args);
	if (line <= decoding.line_count && decoding.lines[line - 1] != UINT32_MAX)
		place = decoding.build->statements[decoding.lines[line - 1]].place;
	pn_config_mistake(decoding.build, place,
			  "libConfuse does not accept this: %s; put the value in double quotes", text);
	decoding.has_failed = true;
}

/* The text and its lines. */
struct text {
	struct pn_buf buf;
	uint32_t *lines;
	size_t line_count;
	int error;
};

static void put(struct text *t, const char *s)
{
	if (t->error == 0)
		t->error = pn_buf_append_str(&t->buf, s);
}

static void end_line(struct text *t, uint32_t statement)
{
	put(t, "\n");
	t->lines[t->line_count++] = statement;
}

static void put_statement(struct text *t, const struct pn_config_statement *st, uint32_t index)
{
	bool is_list = st->def->type == PN_TYPE_LIST;

	put(t, st->def->name);
	put(t, is_list ? " = {" : " = ");
	for (size_t i = 0; i < st->word_count; i++) {
		put(t, i > 0 ? "," : "");
		put(t, st->words[i].raw);
	}
	put(t, is_list ? "}" : "");
	end_line(t, index);
}

static void put_instance(struct text *t, const struct pn_config_build *b, const struct pn_config_instance *in)
{
	char head[64];

	if (in->section != PN_SECTION_TOP) {
		put(t, pn_config_section_name(in->section));
		snprintf(head, sizeof(head), " \"%zu\" {", in->index);
		put(t, pn_config_section_has_title(in->section) ? head : " {");
		end_line(t, UINT32_MAX);
	}
	for (size_t i = 0; i < PN_CONFIG_SECTION_KEYS_MAX; i++) {
		uint32_t index = in->statement[i];
		if (index != 0 && !b->statements[index - 1].is_wrong)
			put_statement(t, &b->statements[index - 1], index - 1);
	}
	if (in->section != PN_SECTION_TOP) {
		put(t, "}");
		end_line(t, UINT32_MAX);
	}
}

/* One value where one is due. What is wrong here is not shown to libConfuse. */
static void shapes_check(struct pn_config_build *b)
{
	char label[PN_CONFIG_LABEL_BYTES];

	for (size_t i = 0; i < b->statement_count; i++) {
		struct pn_config_statement *st = &b->statements[i];
		if (st->def->type == PN_TYPE_LIST || !st->is_list)
			continue;
		st->is_wrong = true;
		pn_config_mistake(b, st->place, "%s takes one value, not a list; write it without { }",
		                  pn_config_key_label(b, st->instance, st->def->name, label, sizeof(label)));
	}
}

static bool text_make(struct pn_config_build *b, struct text *t)
{
	size_t lines_max = b->statement_count + 2 * b->instance_count + 1;

	memset(t, 0, sizeof(*t));
	pn_buf_init(&t->buf, 4 * (size_t)PN_CONFIG_TOTAL_MAX_BYTES);
	t->lines = calloc(lines_max, sizeof(*t->lines));
	if (t->lines == NULL)
		return false;
	for (size_t i = 0; i < b->instance_count; i++)
		put_instance(t, b, &b->instances[i]);
	if (t->error == 0)
		t->error = pn_buf_append(&t->buf, "", 1); /* the NUL */
	return t->error == 0;
}

/* libConfuse's options of one section; ends with CFG_END. */
static void options_of(enum pn_config_section section, cfg_opt_t *out)
{
	const cfg_opt_t end = CFG_END();
	size_t first, count;

	pn_config_section_range(section, &first, &count);
	for (size_t i = first; i < first + count; i++) {
		const struct pn_config_def *def = &pn_config_defs[i];
		const cfg_opt_t single = CFG_STR(def->name, NULL, CFGF_NONE);
		const cfg_opt_t list = CFG_STR_LIST(def->name, NULL, CFGF_NONE);
		*out++ = def->type == PN_TYPE_LIST ? list : single;
	}
	*out = end;
}

static bool words_fetch(cfg_opt_t *opt, struct pn_config_statement *st)
{
	for (size_t i = 0; i < st->word_count; i++) {
		const char *text = cfg_opt_getnstr(opt, (unsigned)i);
		st->words[i].text = strdup(text != NULL ? text : "");
		if (st->words[i].text == NULL)
			return false;
	}
	return true;
}

static bool values_fetch(struct pn_config_build *b, cfg_t *cfg)
{
	for (size_t i = 0; i < b->statement_count; i++) {
		struct pn_config_statement *st = &b->statements[i];
		const struct pn_config_instance *in = &b->instances[st->instance];
		if (st->is_wrong)
			continue;
		cfg_t *section = cfg;
		if (in->section != PN_SECTION_TOP)
			section = cfg_opt_getnsec(cfg_getopt(cfg, pn_config_section_name(in->section)),
						  (unsigned)in->index);
		cfg_opt_t *opt = section != NULL ? cfg_getopt(section, st->def->name) : NULL;
		if (opt == NULL || !words_fetch(opt, st))
			return false;
	}
	return true;
}

static bool parse(struct pn_config_build *b, const struct text *t)
{
	cfg_opt_t options[PN_SECTION_COUNT][PN_CONFIG_SECTION_KEYS_MAX + 1];
	cfg_opt_t top[PN_CONFIG_SECTION_KEYS_MAX + PN_SECTION_COUNT + 1];
	const cfg_opt_t end = CFG_END();
	size_t at = 0;

	options_of(PN_SECTION_TOP, top);
	while (top[at].name != NULL)
		at++;
	for (unsigned s = PN_SECTION_TOP + 1; s < PN_SECTION_COUNT; s++) {
		enum pn_config_section section = (enum pn_config_section)s;
		options_of(section, options[s]);
		const cfg_opt_t opt = CFG_SEC(
			pn_config_section_name(section), options[s],
			pn_config_section_has_title(section) ? (cfg_flag_t)(CFGF_MULTI | CFGF_TITLE) : CFGF_NONE);
		top[at++] = opt;
	}
	top[at] = end;
	cfg_t *cfg = cfg_init(top, CFGF_NONE);
	if (cfg == NULL)
		return false;
	decoding = (struct decoding){ .build = b, .lines = t->lines, .line_count = t->line_count };
	cfg_set_error_function(cfg, on_error);
	int status = cfg_parse_buf(cfg, (const char *)pn_buf_ptr(&t->buf));
	bool has_failed = decoding.has_failed;
	decoding = (struct decoding){ 0 };
	bool is_fine = status == CFG_SUCCESS && !has_failed && values_fetch(b, cfg);
	cfg_free(cfg);
	return is_fine || has_failed;
}

bool pn_config_decode(struct pn_config_build *b)
{
	struct text t;

	shapes_check(b);
	bool is_fine = text_make(b, &t) && parse(b, &t);
	pn_buf_free(&t.buf);
	free(t.lines);
	if (!is_fine)
		pn_config_memory_out(b);
	/* What libConfuse refused has no values; the shapes are no reason to stop. */
	for (size_t i = 0; i < b->statement_count; i++) {
		const struct pn_config_statement *st = &b->statements[i];
		for (size_t w = 0; !st->is_wrong && w < st->word_count; w++)
			is_fine = is_fine && st->words[w].text != NULL;
	}
	return is_fine;
}
