/* SPDX-License-Identifier: ISC */
/*
 * statement.c - sections, keys and includes of a configuration, made of tokens.
 *
 * Knows from the table what may stand where; what does not belong is reported with the name that was
 * probably meant, and the reading goes on. Values stay as they were written. A syntax error ends it.
 */
#include <stdlib.h>
#include <string.h>

#include "config/config_internal.h"

#define PN_NOWHERE SIZE_MAX /* an unknown or surplus section: its keys are read and left out */

struct reader {
	struct pn_config_build *build;
	struct pn_config_source *source;
	struct pn_config_scanner scanner;
	struct pn_config_token token; /* the one to look at */
};

static void next(struct reader *r)
{
	r->token = pn_config_scan_next(&r->scanner);
}

static bool is_mark(const struct reader *r, char mark)
{
	return r->token.kind == PN_TOKEN_MARK && r->token.mark == mark;
}

static bool is_text(const struct reader *r)
{
	return r->token.kind == PN_TOKEN_WORD || r->token.kind == PN_TOKEN_STRING;
}

/* Reports "<wrong>, but here is <token>; <right>" and ends the reading. */
static bool fail(struct reader *r, const char *wrong, const char *right)
{
	char found[40];

	if (r->token.kind == PN_TOKEN_BROKEN) /* reported */
		return false;
	if (r->token.kind == PN_TOKEN_END)
		snprintf(found, sizeof(found), "the end of the file");
	else
		snprintf(found, sizeof(found), "'%.*s'", (int)(r->token.len > 30 ? 30 : r->token.len), r->token.start);
	pn_config_mistake(r->build, r->token.place, "%s, but here is %s; %s", wrong, found, right);
	r->build->is_syntax_broken = true;
	return false;
}

static char *token_dup(struct reader *r, const struct pn_config_token *t)
{
	char *copy = malloc(t->len + 1);

	if (copy == NULL) {
		pn_config_memory_out(r->build);
		return NULL;
	}
	memcpy(copy, t->start, t->len);
	copy[t->len] = '\0';
	return copy;
}

/* ---- instances ---- */

static size_t instance_add(struct pn_config_build *b, enum pn_config_section section, size_t index,
                           struct pn_config_place place)
{
	if (b->instance_count == b->instance_cap) {
		size_t cap = b->instance_cap == 0 ? 16 : b->instance_cap * 2;
		struct pn_config_instance *all = realloc(b->instances, cap * sizeof(*all));
		if (all == NULL) {
			pn_config_memory_out(b);
			return PN_NOWHERE;
		}
		b->instances = all;
		b->instance_cap = cap;
	}
	struct pn_config_instance *i = &b->instances[b->instance_count];
	memset(i, 0, sizeof(*i));
	i->section = section;
	i->index = index;
	i->place = place;
	return b->instance_count++;
}

size_t pn_config_instance_of(const struct pn_config_build *b, enum pn_config_section section, size_t index)
{
	for (size_t i = 0; i < b->instance_count; i++) {
		if (b->instances[i].section == section && b->instances[i].index == index)
			return i;
	}
	return SIZE_MAX;
}

/* Copies a title without its quotes. False: it is not a plain name, reported. */
static bool title_take(struct reader *r, const struct pn_config_token *t, char *out)
{
	const char *start = t->start;
	size_t len = t->len;

	if (t->kind == PN_TOKEN_STRING && len >= 2 && start[0] != '$') {
		start++;
		len -= 2;
	}
	bool is_good = len > 0 && len <= PN_CONFIG_TITLE_MAX;
	for (size_t i = 0; is_good && i < len; i++) {
		char c = start[i];
		is_good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		          (i > 0 && strchr("._-", c) != NULL);
	}
	if (!is_good) {
		pn_config_mistake(r->build, t->place, "%.*s is not a section's name; "
		                  "write 1 to %d letters, digits, '.', '-' and '_'",
		                  (int)(t->len > 80 ? 80 : t->len), t->start, PN_CONFIG_TITLE_MAX);
		return false;
	}
	memcpy(out, start, len);
	out[len] = '\0';
	return true;
}

static size_t instance_titled(struct reader *r, enum pn_config_section section, const struct pn_config_token *title,
                              struct pn_config_place place)
{
	struct pn_config_build *b = r->build;
	char name[PN_CONFIG_TITLE_MAX + 1];
	size_t count = 0;

	if (!title_take(r, title, name))
		return PN_NOWHERE;
	for (size_t i = 1; i < b->instance_count; i++) {
		const struct pn_config_instance *other = &b->instances[i];
		if (other->section != section)
			continue;
		count++;
		if (strcmp(other->title, name) == 0)
			pn_config_mistake(b, place, "%s \"%s\" is there already (%s:%u); give each a name of its own",
			                  pn_config_section_name(section), name, b->files[other->place.file],
			                  (unsigned)other->place.line);
	}
	if (count >= pn_config_section_max(section)) {
		pn_config_mistake(b, place, "more than %zu sections %s; take some out", pn_config_section_max(section),
		                  pn_config_section_name(section));
		return PN_NOWHERE;
	}
	size_t i = instance_add(b, section, count, place);
	if (i != PN_NOWHERE)
		memcpy(b->instances[i].title, name, sizeof(name));
	return i;
}

/* Which section is `name` (title NULL: none was written)? PN_NOWHERE: none that counts, reported. */
static size_t instance_open(struct reader *r, const char *name, const struct pn_config_token *title,
                            struct pn_config_place place)
{
	struct pn_config_build *b = r->build;

	for (unsigned s = PN_SECTION_TOP + 1; s < PN_SECTION_COUNT; s++) {
		enum pn_config_section section = (enum pn_config_section)s;
		if (strcmp(pn_config_section_name(section), name) != 0)
			continue;
		bool has_title = pn_config_section_has_title(section);
		if (has_title && title != NULL)
			return instance_titled(r, section, title, place);
		if (has_title) {
			pn_config_mistake(b, place, "the section %s has no name; write: %s \"name\" { ... }", name,
					  name);
			return PN_NOWHERE;
		}
		if (title != NULL)
			pn_config_mistake(b, place, "the section %s takes no name; write: %s { ... }", name, name);
		size_t i = pn_config_instance_of(b, section, 0);
		return i != SIZE_MAX ? i : instance_add(b, section, 0, place);
	}
	const char *nearest = pn_config_nearest_section(name);
	if (nearest != NULL)
		pn_config_mistake(b, place, "unknown section '%.40s'; did you mean %s?", name, nearest);
	else
		pn_config_mistake(b, place,
				  "unknown section '%.40s'; there are listener, certificate, upstream, tls, auth, "
				  "spool, retry, limits, extensions, log, io_uring",
				  name);
	return PN_NOWHERE;
}

/* ---- keys ---- */

static void words_free(struct pn_config_statement *st)
{
	for (size_t i = 0; i < st->word_count; i++) {
		free(st->words[i].raw);
		free(st->words[i].text);
	}
	free(st->words);
}

/* At a word or string: appends it. */
static bool word_take(struct reader *r, struct pn_config_statement *st)
{
	if (st->word_count >= PN_CONFIG_LIST_MAX)
		return fail(r, "the list is too long", "no list of postern.conf has that many items");
	if ((st->word_count & (st->word_count - 1)) == 0) { /* room doubles at the powers of two */
		size_t cap = st->word_count == 0 ? 1 : st->word_count * 2;
		struct pn_config_word *words = realloc(st->words, cap * sizeof(*words));
		if (words == NULL) {
			pn_config_memory_out(r->build);
			return false;
		}
		st->words = words;
	}
	struct pn_config_word *w = &st->words[st->word_count];
	w->text = NULL;
	w->place = r->token.place;
	w->raw = token_dup(r, &r->token);
	if (w->raw == NULL)
		return false;
	st->word_count++;
	next(r);
	return true;
}

/* At "{": goes behind "}". */
static bool list_take(struct reader *r, struct pn_config_statement *st)
{
	st->is_list = true;
	next(r);
	while (!is_mark(r, '}')) {
		if (!is_text(r))
			return fail(r, "a list has items between its braces", "write { \"one\", \"two\" }");
		if (!word_take(r, st))
			return false;
		if (is_mark(r, ','))
			next(r);
		else if (!is_mark(r, '}'))
			return fail(r, "the items of a list have commas between them", "write { \"one\", \"two\" }");
	}
	next(r);
	return true;
}

/* Behind a value, at a text on the same line: a second value, or the name of the next key or section? */
static bool is_second_value(const struct reader *r)
{
	const char *behind = r->scanner.at + strspn(r->scanner.at, " \t\r");

	return r->token.kind == PN_TOKEN_STRING ||
	       strchr("\n#}", *behind) != NULL; /* strchr finds the end of the text, too */
}

/* Behind "=". */
static bool value_take(struct reader *r, struct pn_config_statement *st)
{
	if (is_mark(r, '{'))
		return list_take(r, st);
	if (!is_text(r) || (r->token.kind == PN_TOKEN_WORD && r->token.place.line != st->place.line))
		return fail(r, "a value belongs behind the =", "write it on the same line, \"\" for an empty one");
	uint32_t line = r->token.place.line;
	if (!word_take(r, st))
		return false;
	if (is_text(r) && r->token.place.line == line && is_second_value(r))
		return fail(r, "one value is enough", "put a text with blanks in double quotes");
	return true;
}

static void unknown_key(struct reader *r, enum pn_config_section section, const char *name,
                        struct pn_config_place place)
{
	struct pn_config_build *b = r->build;
	const char *where = section == PN_SECTION_TOP ? "the top level" : pn_config_section_name(section);
	const char *nearest = pn_config_nearest_key(section, name);

	if (nearest == NULL) {
		for (unsigned s = 0; s < PN_SECTION_COUNT; s++) {
			if (pn_config_def_find((enum pn_config_section)s, name) == NULL)
				continue;
			pn_config_mistake(b, place, "unknown key '%.60s' in %s; it belongs %s%s", name, where,
			                  s == PN_SECTION_TOP ? "outside of all sections" : "into the section ",
			                  pn_config_section_name((enum pn_config_section)s));
			return;
		}
	}
	if (nearest != NULL)
		pn_config_mistake(b, place, "unknown key '%.60s' in %s; did you mean %s?", name, where, nearest);
	else
		pn_config_mistake(b, place,
				  "unknown key '%.60s' in %s; postern.conf(5) lists the keys of each section", name,
				  where);
}

/* Gives a complete statement to its section, or frees it. */
static void statement_keep(struct reader *r, size_t instance, const char *name, struct pn_config_statement *st)
{
	struct pn_config_build *b = r->build;
	size_t first, count;
	char label[PN_CONFIG_LABEL_BYTES];

	if (instance == PN_NOWHERE)
		goto drop;
	struct pn_config_instance *in = &b->instances[instance];
	st->def = pn_config_def_find(in->section, name);
	if (st->def == NULL) {
		unknown_key(r, in->section, name, st->place);
		goto drop;
	}
	pn_config_section_range(in->section, &first, &count);
	size_t slot = (size_t)(st->def - pn_config_defs) - first;
	if (in->statement[slot] != 0) {
		struct pn_config_place before = b->statements[in->statement[slot] - 1].place;
		pn_config_mistake(b, st->place, "%s is set already (%s:%u); set it once",
		                  pn_config_key_label(b, instance, name, label, sizeof(label)), b->files[before.file],
		                  (unsigned)before.line);
		goto drop;
	}
	if (b->statement_count == b->statement_cap) {
		size_t cap = b->statement_cap == 0 ? 64 : b->statement_cap * 2;
		struct pn_config_statement *all = realloc(b->statements, cap * sizeof(*all));
		if (all == NULL) {
			pn_config_memory_out(b);
			goto drop;
		}
		b->statements = all;
		b->statement_cap = cap;
	}
	st->instance = instance;
	b->statements[b->statement_count++] = *st;
	in->statement[slot] = (uint32_t)b->statement_count;
	return;
drop:
	words_free(st);
}

/* ---- the grammar ---- */

static bool body_read(struct reader *r, size_t instance, bool is_section);

/* Behind "include": ( "file" ). The name is taken as it stands. */
static bool include_read(struct reader *r, size_t instance, struct pn_config_place place)
{
	struct pn_config_build *b = r->build;
	struct pn_config_source included;
	char path[4096];

	next(r);
	if (r->token.kind != PN_TOKEN_STRING || r->token.start[0] == '$')
		return fail(r, "include needs a file", "write include(\"file\")");
	struct pn_config_token t = r->token;
	next(r);
	if (!is_mark(r, ')'))
		return fail(r, "include takes one file", "write include(\"file\")");
	next(r);
	if (!b->has_includes) {
		pn_config_mistake(b, place, "include is possible in a file only; put its text here");
		return true;
	}
	if (t.len <= 2 || memchr(t.start, '\\', t.len) != NULL || memchr(t.start, '$', t.len) != NULL) {
		pn_config_mistake(b, place, "include takes a plain file name; write it without $ and \\");
		return true;
	}
	if (r->source->depth >= PN_CONFIG_INCLUDE_DEPTH_MAX || b->file_count >= PN_CONFIG_INCLUDES_MAX) {
		pn_config_mistake(b, place, "too many includes; at most %d deep and %d files are read",
		                  PN_CONFIG_INCLUDE_DEPTH_MAX, PN_CONFIG_INCLUDES_MAX);
		return true;
	}
	/* Relative to the folder of the file that includes. */
	const char *base = b->files[r->source->file], *slash = strrchr(base, '/');
	bool is_relative = t.start[1] != '/' && slash != NULL;
	int n = snprintf(path, sizeof(path), "%.*s%.*s", is_relative ? (int)(slash - base + 1) : 0, base,
	                 (int)t.len - 2, t.start + 1);
	if (n < 0 || (size_t)n >= sizeof(path)) {
		pn_config_mistake(b, place, "the file name is too long; use a shorter path");
		return true;
	}
	if (!pn_config_source_read(b, path, place, r->source, &included))
		return true;
	struct reader inner = { .build = b, .source = &included };
	pn_config_scan_init(&inner.scanner, b, &included);
	next(&inner);
	bool is_fine = body_read(&inner, instance, false);
	pn_config_source_free(&included);
	return is_fine;
}

/* At "{" of a section. */
static bool section_read(struct reader *r, size_t outer, const char *name, const struct pn_config_token *title,
                         struct pn_config_place place)
{
	if (outer != 0) {
		pn_config_mistake(r->build, place,
				  "the section '%.40s' begins inside of another one; close that with } first",
				  name);
		r->build->is_syntax_broken = true;
		return false;
	}
	size_t instance = instance_open(r, name, title, place);
	next(r);
	if (!body_read(r, instance, true))
		return false;
	if (!is_mark(r, '}')) {
		pn_config_mistake(r->build, place, "the section '%.40s' is not closed; write } behind its last key",
				  name);
		r->build->is_syntax_broken = true;
		return false;
	}
	next(r);
	return true;
}

/* At the name that begins a statement. */
static bool statement_read(struct reader *r, size_t instance)
{
	struct pn_config_statement st = { .place = r->token.place };
	struct pn_config_token name_token = r->token;
	bool is_fine = false;

	if (r->token.kind != PN_TOKEN_WORD)
		return fail(r, "a key or a section begins with its name", "write name = value, or name { ... }");
	char *name = token_dup(r, &name_token);
	if (name == NULL)
		return false;
	next(r);
	if (is_mark(r, '=')) {
		next(r);
		is_fine = value_take(r, &st);
		if (is_fine)
			statement_keep(r, instance, name, &st);
		else
			words_free(&st);
	} else if (is_mark(r, '{')) {
		is_fine = section_read(r, instance, name, NULL, st.place);
	} else if (is_mark(r, '(') && strcmp(name, "include") == 0) {
		is_fine = include_read(r, instance, st.place);
	} else if (is_text(r)) {
		struct pn_config_token title = r->token;
		next(r);
		if (is_mark(r, '{'))
			is_fine = section_read(r, instance, name, &title, st.place);
		else {
			r->token = title;
			is_fine = fail(r, "= belongs behind the name of a key", "write name = value");
		}
	} else {
		is_fine = fail(r, "= belongs behind the name of a key", "write name = value");
	}
	free(name);
	return is_fine;
}

/* Statements up to the end of the file or the section. False: reading cannot go on. */
static bool body_read(struct reader *r, size_t instance, bool is_section)
{
	while (r->token.kind != PN_TOKEN_END) {
		if (is_mark(r, '}') && is_section)
			return true;
		if (is_mark(r, '}'))
			return fail(r, "no section is open", "take the } out, or look for a { that is missing");
		if (!statement_read(r, instance) || r->build->is_memory_out)
			return false;
	}
	return true;
}

void pn_config_statements_read(struct pn_config_build *b, struct pn_config_source *source)
{
	struct pn_config_place begin = { source->file, 1 };
	struct reader r = { .build = b, .source = source };

	if (instance_add(b, PN_SECTION_TOP, 0, begin) == PN_NOWHERE)
		return;
	pn_config_scan_init(&r.scanner, b, source);
	next(&r);
	body_read(&r, 0, false);
}

/* ---- looking back ---- */

const struct pn_config_statement *pn_config_statement_of(const struct pn_config_build *b, size_t instance,
                                                         const char *name)
{
	size_t first, count;

	if (instance == SIZE_MAX)
		return NULL;
	const struct pn_config_instance *in = &b->instances[instance];
	const struct pn_config_def *def = pn_config_def_find(in->section, name);
	PN_ASSERT(def != NULL);
	pn_config_section_range(in->section, &first, &count);
	uint32_t index = in->statement[(size_t)(def - pn_config_defs) - first];
	return index == 0 ? NULL : &b->statements[index - 1];
}

struct pn_config_place pn_config_place_of(const struct pn_config_build *b, size_t instance, const char *name)
{
	const struct pn_config_statement *st = pn_config_statement_of(b, instance, name);

	if (st != NULL)
		return st->place;
	return b->instances[instance == SIZE_MAX ? 0 : instance].place;
}
