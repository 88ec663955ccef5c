/* SPDX-License-Identifier: ISC */
/* reply.c - the reply table and how a reply becomes a line. Keeps no state. */
#include <postern/smtp/reply.h>

#include <stdio.h>

struct reply_row {
	uint16_t code;
	const char *enhanced;
	const char *text;
	const char *reason;
};

static const struct reply_row reply_rows[PN_REPLY_COUNT] = {
	[PN_REPLY_NONE] = { 0, "", "", "none" },
#define PN_REPLY_ROW(symbol, code, enhanced, text, reason) \
	[PN_REPLY_##symbol] = { code, enhanced, text, reason },
#include <postern/smtp/reply_table.def>
#undef PN_REPLY_ROW
};

static const struct reply_row *reply_row(enum pn_reply reply)
{
	PN_ASSERT((unsigned)reply < PN_REPLY_COUNT);
	return &reply_rows[reply];
}

unsigned pn_reply_code(enum pn_reply reply)
{
	return reply_row(reply)->code;
}

const char *pn_reply_enhanced(enum pn_reply reply)
{
	return reply_row(reply)->enhanced;
}

const char *pn_reply_text(enum pn_reply reply)
{
	return reply_row(reply)->text;
}

const char *pn_reply_reason(enum pn_reply reply)
{
	return reply_row(reply)->reason;
}

/* Copies as much of `text` as fits; whatever could break the line or the terminal of its reader becomes '?'. */
static size_t copy_clean(char *to, size_t room, struct pn_slice text)
{
	size_t n = pn_min_size(room, text.len);

	for (size_t i = 0; i < n; i++)
		to[i] = text.ptr[i] >= 0x20 && text.ptr[i] < 0x7f ? (char)text.ptr[i] : '?';
	return n;
}

static int format_line(unsigned code, const char *enhanced, struct pn_slice text, struct pn_buf *out)
{
	char line[PN_REPLY_LINE_MAX_BYTES];
	const char *gap = enhanced[0] && text.len ? " " : "";
	int head = snprintf(line, sizeof(line), "%u %s%s", code, enhanced, gap);

	PN_ASSERT(head > 0 && (size_t)head < 64);
	size_t len = (size_t)head;
	len += copy_clean(line + len, sizeof(line) - 2 - len, text);
	line[len++] = '\r';
	line[len++] = '\n';
	return pn_buf_append(out, line, len);
}

int pn_reply_format(enum pn_reply reply, struct pn_slice text, bool with_enhanced, struct pn_buf *out)
{
	const struct reply_row *row = reply_row(reply);

	if (text.len == 0)
		text = pn_slice_str(row->text);
	return format_line(row->code, with_enhanced ? row->enhanced : "", text, out);
}

int pn_reply_format_code(unsigned code, const uint16_t enhanced[3], struct pn_slice text, struct pn_buf *out)
{
	char xyz[24] = "";

	PN_ASSERT(code >= 200 && code <= 599);
	/* RFC 2034 4: the class of the enhanced code is the first digit of the reply; subject and detail have
	 * at most three digits. */
	if (enhanced[0] == code / 100 && enhanced[1] <= 999 && enhanced[2] <= 999)
		(void)snprintf(xyz, sizeof(xyz), "%u.%u.%u", (unsigned)enhanced[0], (unsigned)enhanced[1],
			       (unsigned)enhanced[2]);
	return format_line(code, xyz, text, out);
}
