/* SPDX-License-Identifier: ISC */
/* transcript.c - reads transcript files. */
#include "transcript.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define INPUT_MAX_BYTES ((size_t)64 << 20)

struct reader {
	struct transcript *t;
	FILE *file;
	unsigned line_number;
	long repeat_from; /* place in the file behind @repeat */
	unsigned repeat_line;
	unsigned long repeats_left;
};

static PN_NORETURN void bad(const struct reader *r, const char *what)
{
	(void)fprintf(stderr, "%s:%u: %s\n", r->t->path, r->line_number, what);
	exit(2);
}

static void *grow(void *array, size_t count, size_t item_size)
{
	/* room doubles at powers of two */
	if (count & (count - 1))
		return array;
	void *bigger = realloc(array, (count ? count * 2 : 1) * item_size);
	if (!bigger)
		abort();
	return bigger;
}

void transcript_escape(struct pn_buf *to, struct pn_slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.ptr[i];
		int e = c == '\\'               ? pn_buf_append_str(to, "\\\\")
			: c >= 0x20 && c < 0x7f ? pn_buf_append(to, &c, 1)
						: pn_buf_printf(to, "\\x%02x", c);
		if (e != 0)
			abort();
	}
}

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c | 0x20) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* Decodes escapes in place; returns the length. */
static size_t unescape(const struct reader *r, char *s)
{
	size_t len = 0;

	for (char *p = s; *p; p++) {
		if (*p != '\\') {
			s[len++] = *p;
			continue;
		}
		switch (*++p) {
		case 'r': s[len++] = '\r'; break;
		case 'n': s[len++] = '\n'; break;
		case 't': s[len++] = '\t'; break;
		case '0': s[len++] = '\0'; break;
		case '\\': s[len++] = '\\'; break;
		case 'x':
			if (hex_digit(p[1]) < 0 || hex_digit(p[2]) < 0)
				bad(r, "\\x wants two hex digits");
			s[len++] = (char)(hex_digit(p[1]) * 16 + hex_digit(p[2]));
			p += 2;
			break;
		default: bad(r, "unknown escape");
		}
	}
	return len;
}

static struct transcript_op *op_add(struct transcript *t, enum transcript_op_kind kind)
{
	t->ops = grow(t->ops, t->op_count, sizeof(*t->ops));
	struct transcript_op *op = &t->ops[t->op_count++];
	*op = (struct transcript_op){ .kind = kind };
	pn_buf_init(&op->input, INPUT_MAX_BYTES);
	return op;
}

static void input_add(struct transcript *t, const char *octets, size_t len)
{
	struct transcript_op *op = t->op_count ? &t->ops[t->op_count - 1] : NULL;

	if (!op || op->kind != OP_INPUT)
		op = op_add(t, OP_INPUT);
	if (pn_buf_append(&op->input, octets, len) != 0)
		abort();
}

static void expect_add(struct transcript *t, const char *line)
{
	t->expected = grow(t->expected, t->expected_count, sizeof(*t->expected));
	t->expected[t->expected_count] = strdup(line);
	if (!t->expected[t->expected_count++])
		abort();
}

enum pn_reply transcript_reply_by_name(const char *name)
{
	static const char *const names[PN_REPLY_COUNT] = {
#define PN_REPLY_ROW(symbol, code, enhanced, text, reason) [PN_REPLY_##symbol] = #symbol,
#include <postern/smtp/reply_table.def>
#undef PN_REPLY_ROW
	};

	for (unsigned i = 1; i < PN_REPLY_COUNT; i++)
		if (strcmp(names[i], name) == 0)
			return (enum pn_reply)i;
	return PN_REPLY_NONE;
}

/* Cuts the next word off *s. */
static char *word(char **s)
{
	char *start = *s + strspn(*s, " ");
	char *end = start + strcspn(start, " ");

	*s = *end ? end + 1 : end;
	*end = '\0';
	return start;
}

static void verdict_add(struct reader *r, char *text)
{
	struct transcript *t = r->t;
	struct transcript_verdict v = { 0 };

	v.verdict.reply = transcript_reply_by_name(word(&text));
	if (v.verdict.reply == PN_REPLY_NONE)
		bad(r, "no such reply");
	if (v.verdict.reply == PN_REPLY_FORWARDED) {
		v.verdict.forwarded_code = (uint16_t)atoi(word(&text));
		unsigned xyz[3] = { 0 };
		if (sscanf(word(&text), "%u.%u.%u", &xyz[0], &xyz[1], &xyz[2]) != 3)
			bad(r, "FORWARDED code x.y.z text");
		for (int i = 0; i < 3; i++)
			v.verdict.forwarded_enhanced[i] = (uint16_t)xyz[i];
	}
	v.arg = strdup(text);
	if (!v.arg)
		abort();
	v.arg_len = unescape(r, v.arg);
	t->verdicts = grow(t->verdicts, t->verdict_count, sizeof(*t->verdicts));
	t->verdicts[t->verdict_count++] = v;
}

static void set_limit(const struct reader *r, char *args)
{
	struct pn_smtp_limits *l = &r->t->settings.limits;
	const char *name = word(&args);
	uint64_t value = strtoull(args, NULL, 10);
	const struct {
		const char *name;
		uint32_t *where;
	} limits[] = {
		{ "command_line", &l->command_line_max_bytes }, { "auth_line", &l->auth_line_max_bytes },
		{ "text_line", &l->text_line_max_bytes },       { "recipients", &l->recipients_max },
		{ "header_size", &l->header_size_max_bytes },   { "received", &l->received_max },
		{ "bad_commands", &l->bad_commands_max },       { "auth_failures", &l->auth_failures_max },
		{ "memory", &l->transaction_memory_max_bytes },
	};

	if (strcmp(name, "message_size") == 0) {
		l->message_size_max_bytes = value;
		return;
	}
	for (size_t i = 0; i < PN_ARRAY_SIZE(limits); i++) {
		if (strcmp(limits[i].name, name) == 0) {
			*limits[i].where = (uint32_t)value;
			return;
		}
	}
	bad(r, "no such limit");
}

static void directive(struct reader *r, char *line)
{
	struct transcript *t = r->t;
	const char *name = word(&line);

	if (strcmp(name, "@tls") == 0) {
		t->is_tls = true;
	} else if (strcmp(name, "@login") == 0) {
		t->is_tls = true;
		free(t->login);
		t->login = strdup(line);
	} else if (strcmp(name, "@uncut") == 0) {
		t->is_uncut = true;
	} else if (strcmp(name, "@normalize") == 0) {
		t->settings.line_policy = PN_LINE_NORMALIZE;
	} else if (strcmp(name, "@without") == 0) {
		t->settings.has_chunking &= strcmp(line, "CHUNKING") != 0;
		t->settings.has_smtputf8 &= strcmp(line, "SMTPUTF8") != 0;
		t->settings.has_dsn &= strcmp(line, "DSN") != 0;
		if (strcmp(line, "AUTH") == 0)
			t->settings.auth_mechanisms = "";
	} else if (strcmp(name, "@limit") == 0) {
		set_limit(r, line);
	} else if (strcmp(name, "@handshake") == 0) {
		(void)op_add(t, OP_HANDSHAKE);
	} else if (strcmp(name, "@repeat") == 0) {
		r->repeats_left = strtoul(line, NULL, 10);
		r->repeat_from = ftell(r->file);
		r->repeat_line = r->line_number;
	} else if (strcmp(name, "@end") == 0) {
		if (r->repeats_left == 0)
			bad(r, "@end without @repeat");
		if (--r->repeats_left > 0 && fseek(r->file, r->repeat_from, SEEK_SET) == 0)
			r->line_number = r->repeat_line;
	} else if (strcmp(name, "@abort") == 0) {
		op_add(t, OP_ABORT)->reply = transcript_reply_by_name(line);
	} else {
		bad(r, "no such directive");
	}
}

/* "C: line", "C> octets", "S: line", "E: event", "D: content", "V: verdict", each also as "X*N: ..." for N times. */
static void read_line(struct reader *r, char *line)
{
	unsigned long times = 1;
	char *at = line + 1;

	if (*at == '*')
		times = strtoul(at + 1, &at, 10);
	if ((*at != ':' && *at != '>') || (at[1] != ' ' && at[1] != '\0') || times == 0)
		bad(r, "not a transcript line");
	bool is_raw = *at == '>';
	char *text = at[1] ? at + 2 : at + 1;
	char shown[4096];
	int shown_len = snprintf(shown, sizeof(shown), "%c: %s", line[0], text);
	if (shown_len < 0 || (size_t)shown_len >= sizeof(shown))
		bad(r, "line too long");
	size_t len = line[0] == 'C' ? unescape(r, text) : 0;
	for (; times > 0; times--) {
		switch (line[0]) {
		case 'C':
			input_add(r->t, text, len);
			if (!is_raw)
				input_add(r->t, "\r\n", 2);
			break;
		case 'S':
		case 'E':
		case 'D': expect_add(r->t, shown); break;
		case 'V': {
			char *copy = strdup(text);
			if (!copy)
				abort();
			verdict_add(r, copy);
			free(copy);
			break;
		}
		default: bad(r, "not a transcript line");
		}
	}
}

static void set_defaults(struct transcript *t, const char *path)
{
	memset(t, 0, sizeof(*t));
	t->path = strdup(path);
	t->settings = (struct pn_smtp_server_settings){
		.hostname = "mx.example.org",
		.limits = {
			.command_line_max_bytes = 4096,
			.auth_line_max_bytes = 12288,
			.text_line_max_bytes = 65536,
			.recipients_max = 1000,
			.message_size_max_bytes = 52428800,
			.header_size_max_bytes = 262144,
			.received_max = 100,
			.bad_commands_max = 20,
			.auth_failures_max = 3,
			.transaction_memory_max_bytes = 1 << 20,
		},
		.line_policy = PN_LINE_REJECT,
		.has_smtputf8 = true,
		.has_chunking = true,
		.has_dsn = true,
		.auth_mechanisms = "SCRAM-SHA-256 PLAIN LOGIN",
	};
}

void transcript_read(struct transcript *t, const char *path)
{
	struct reader r = { .t = t };
	char *line = NULL;
	size_t room = 0;
	ssize_t len;

	set_defaults(t, path);
	r.file = fopen(path, "r");
	if (!r.file)
		bad(&r, "cannot be opened");
	while ((len = getline(&line, &room, r.file)) > 0) {
		r.line_number++;
		if (line[len - 1] == '\n')
			line[--len] = '\0';
		if (len == 0 || line[0] == '#')
			continue;
		if (line[0] == '@')
			directive(&r, line);
		else
			read_line(&r, line);
	}
	free(line);
	(void)fclose(r.file);
	if (r.repeats_left > 0)
		bad(&r, "@repeat without @end");
	if (t->op_count == 0 || t->expected_count == 0)
		bad(&r, "nothing is sent, or nothing expected");
}

void transcript_free(struct transcript *t)
{
	for (size_t i = 0; i < t->op_count; i++)
		pn_buf_free(&t->ops[i].input);
	for (size_t i = 0; i < t->verdict_count; i++)
		free(t->verdicts[i].arg);
	for (size_t i = 0; i < t->expected_count; i++)
		free(t->expected[i]);
	free(t->ops);
	free(t->verdicts);
	free(t->expected);
	free(t->login);
	free(t->path);
}
