/* SPDX-License-Identifier: ISC */
/*
 * scan.c - cuts a configuration into tokens and knows the line of each.
 *
 * The tokens are those of libConfuse, less what it would read in a surprising way: a string ends on its
 * line, the escapes in double quotes are \" \\ \$ \' and \xHH, ${NAME} and ${NAME:-text} are the only uses
 * of ${, and a character that libConfuse drops in silence is a mistake. What comes out of here can be given
 * to it as it stands.
 */
#include <stdlib.h>
#include <string.h>

#include "config/config_internal.h"

void pn_config_scan_init(struct pn_config_scanner *s, struct pn_config_build *b, const struct pn_config_source *source)
{
	s->build = b;
	s->at = source->text;
	s->end = source->text + source->len;
	s->place.file = source->file;
	s->place.line = 1;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Ends a bare word without being part of it. */
static bool is_word_end(char c)
{
	return c == '\0' || is_blank(c) || c == '\n' || strchr("#\"'{}()=,", c) != NULL;
}

static struct pn_config_token token(const struct pn_config_scanner *s, enum pn_config_token_kind kind,
				    const char *start)
{
	struct pn_config_token t = { kind, *start, start, (size_t)(s->at - start), s->place };
	return t;
}

static struct pn_config_token broken(struct pn_config_scanner *s)
{
	s->build->is_syntax_broken = true;
	return token(s, PN_TOKEN_BROKEN, s->at);
}

/* At blanks, line ends or a comment: goes behind them. False: an unclosed comment, reported. */
static bool skip_blank(struct pn_config_scanner *s)
{
	for (;;) {
		if (is_blank(*s->at)) {
			s->at++;
		} else if (*s->at == '\n') {
			s->at++;
			s->place.line++;
		} else if (*s->at == '#' || (s->at[0] == '/' && s->at[1] == '/')) {
			s->at += strcspn(s->at, "\n");
		} else if (s->at[0] == '/' && s->at[1] == '*') {
			const char *close = strstr(s->at + 2, "*/");
			if (close == NULL) {
				pn_config_mistake(s->build, s->place, "the comment has no end; write */ behind it");
				return false;
			}
			for (; s->at < close; s->at++)
				s->place.line += *s->at == '\n';
			s->at += 2;
		} else {
			return true;
		}
	}
}

static bool is_name_char(char c, bool is_first)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (!is_first && c >= '0' && c <= '9');
}

/* At "${": goes behind the "}". False: reported. */
static bool skip_variable(struct pn_config_scanner *s)
{
	const char *name = s->at + 2, *p = name;
	char variable[128];

	while (is_name_char(*p, p == name))
		p++;
	size_t len = (size_t)(p - name);
	bool has_default = p[0] == ':' && p[1] == '-';
	if (has_default)
		p += 2 + strcspn(p + 2, "}\"'\\\n");
	if (len == 0 || len >= sizeof(variable) || *p != '}') {
		pn_config_mistake(s->build, s->place, "\"${\" begins the name of an environment variable; "
		                  "write ${NAME} or ${NAME:-text}, and \\$ for a plain $");
		return false;
	}
	memcpy(variable, name, len);
	variable[len] = '\0';
	/* An unset variable that silently becomes "" is how configurations go wrong. */
	if (!has_default && getenv(variable) == NULL)
		pn_config_mistake(s->build, s->place,
				  "the environment variable %s is not set; set it, or write ${%s:-text}", variable,
				  variable);
	s->at = p + 1;
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
		return (c | 0x20) - 'a' + 10;
	return -1;
}

/* At a backslash in double quotes. False: reported. */
static bool skip_escape(struct pn_config_scanner *s)
{
	char c = s->at[1];

	if (c != '\0' && strchr("\"\\$'", c) != NULL) {
		s->at += 2;
		return true;
	}
	if (c == 'x' && hex_digit(s->at[2]) >= 0 && hex_digit(s->at[3]) >= 0 &&
	    hex_digit(s->at[2]) + hex_digit(s->at[3]) > 0) {
		s->at += 4;
		return true;
	}
	pn_config_mistake(s->build, s->place, "\\ is followed by something that it does not go with; "
	                  "write \\\\ for a backslash, \\\" for a quote, \\$ for a dollar sign, \\x41 for a character");
	return false;
}

/* At a quote. */
static struct pn_config_token scan_string(struct pn_config_scanner *s)
{
	const char *start = s->at;
	char quote = *s->at++;

	while (*s->at != quote) {
		if (*s->at == '\0' || *s->at == '\n') {
			pn_config_mistake(s->build, s->place, "the string has no end on its line; close it with %c",
					  quote);
			return broken(s);
		}
		if (quote == '"' && s->at[0] == '$' && s->at[1] == '{') {
			if (!skip_variable(s))
				return broken(s);
		} else if (quote == '"' && *s->at == '\\') {
			if (!skip_escape(s))
				return broken(s);
		} else {
			/* In single quotes a backslash stands for itself unless it is before a quote or another one. */
			bool is_pair = *s->at == '\\' && (s->at[1] == '\\' || s->at[1] == '\'');
			s->at += is_pair ? 2 : 1;
		}
	}
	s->at++;
	return token(s, PN_TOKEN_STRING, start);
}

static struct pn_config_token scan_word(struct pn_config_scanner *s)
{
	const char *start = s->at;

	while (!is_word_end(*s->at)) {
		unsigned char c = (unsigned char)*s->at;
		if (c < ' ' || c == 0x7f || strchr("*+$;`", c) != NULL) {
			if (c == ';')
				pn_config_mistake(s->build, s->place, "';' has no meaning; a line end is enough");
			else if (c < ' ' || c == 0x7f)
				pn_config_mistake(s->build, s->place, "a control character (%u); write plain text", c);
			else
				pn_config_mistake(s->build, s->place, "'%c' cannot stand here; "
				                  "put the value in double quotes, and set keys with =", c);
			return broken(s);
		}
		s->at++;
	}
	return token(s, PN_TOKEN_WORD, start);
}

struct pn_config_token pn_config_scan_next(struct pn_config_scanner *s)
{
	if (!skip_blank(s))
		return broken(s);
	const char *start = s->at;
	if (*start == '\0')
		return token(s, PN_TOKEN_END, start);
	if (strchr("{}()=,", *start) != NULL) {
		s->at++;
		return token(s, PN_TOKEN_MARK, start);
	}
	if (*start == '"' || *start == '\'')
		return scan_string(s);
	if (start[0] == '$' && start[1] == '{')
		return skip_variable(s) ? token(s, PN_TOKEN_STRING, start) : broken(s);
	return scan_word(s);
}
