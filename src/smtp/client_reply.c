/* SPDX-License-Identifier: ISC */
/*
 * client_reply.c - reads the replies of a server: strict about their form, bounded in all
 * directions.
 *
 * RFC 5321 4.2: three digits, the same on every line, "-" before the text of all lines but the
 * last. A bare LF as the end of a line is taken (it can end nothing but this line); everything else
 * is CLIENT_REPLY_BAD and the end of the session. Text is for people, logs and reports: it is
 * cleaned here, once, and has no other meaning.
 */
#include <postern/base/codec.h>

#include "client_internal.h"

#define LINE_MAX_DEFAULT  4096
#define LINES_MAX_DEFAULT 128

void pn_reply_parser_init(struct pn_reply_parser *p, uint32_t line_max_bytes, uint32_t lines_max)
{
	*p = (struct pn_reply_parser){
		.line_max_bytes = line_max_bytes ? line_max_bytes : LINE_MAX_DEFAULT,
		.lines_max = lines_max ? lines_max : LINES_MAX_DEFAULT,
		.is_complete = true,
	};
	pn_buf_init(&p->partial, p->line_max_bytes);
}

void pn_reply_parser_deinit(struct pn_reply_parser *p)
{
	pn_buf_free(&p->partial);
}

/* ---- text ---- */

/* The length of the UTF-8 sequence at the front of s, or 0. C1 controls are no text. */
static size_t utf8_sequence(struct pn_slice s)
{
	uint8_t lead = s.ptr[0];
	size_t n = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 0;

	if (n == 0 || n > s.len || !pn_utf8_is_valid(pn_slice(s.ptr, n)))
		return 0;
	if (lead == 0xc2 && s.ptr[1] < 0xa0)
		return 0;
	return n;
}

size_t pn_reply_text_clean(char out[PN_CLIENT_TEXT_MAX], size_t len, struct pn_slice text)
{
	while (text.len != 0) {
		uint8_t octet = text.ptr[0];
		size_t n = octet < 0x80 ? 1 : utf8_sequence(text);

		if (len + (n ? n : 1) > PN_CLIENT_TEXT_MAX)
			break;
		if (octet == '\t')
			out[len] = ' ';
		else if (n == 0 || octet < 0x20 || octet == 0x7f)
			out[len] = '?';
		else
			memcpy(out + len, text.ptr, n);
		len += n ? n : 1;
		pn_slice_advance(&text, n ? n : 1);
	}
	return len;
}

/* One to three digits. */
static bool take_number(struct pn_slice *s, uint16_t *ret)
{
	uint16_t value = 0;
	size_t n = 0;

	while (n < s->len && n < 3 && s->ptr[n] >= '0' && s->ptr[n] <= '9')
		value = (uint16_t)(value * 10 + (s->ptr[n++] - '0'));
	pn_slice_advance(s, n);
	*ret = value;
	return n != 0;
}

static bool take_octet(struct pn_slice *s, uint8_t octet)
{
	if (s->len == 0 || s->ptr[0] != octet)
		return false;
	pn_slice_advance(s, 1);
	return true;
}

/*
 * RFC 2034 4: a status code before the text, of the same class as the reply. Takes it off *text
 * when there is one.
 */
static bool take_enhanced(struct pn_slice *text, uint16_t code, uint16_t ret[3])
{
	struct pn_slice s = *text;

	if (!take_number(&s, &ret[0]) || !take_octet(&s, '.') || !take_number(&s, &ret[1]) ||
	    !take_octet(&s, '.') || !take_number(&s, &ret[2]))
		return false;
	if (ret[0] != code / 100 || ret[0] == 3 || (s.len != 0 && !take_octet(&s, ' ')))
		return false;
	*text = s;
	return true;
}

static void add_text(struct pn_reply_parser *p, struct pn_slice text)
{
	uint16_t enhanced[3];

	if (take_enhanced(&text, p->code, enhanced) && p->enhanced[0] == 0)
		memcpy(p->enhanced, enhanced, sizeof(enhanced));
	if (text.len == 0)
		return;
	if (p->text_len != 0 && p->text_len < PN_CLIENT_TEXT_MAX)
		p->text[p->text_len++] = ' ';
	p->text_len = pn_reply_text_clean(p->text, p->text_len, text);
}

/* ---- lines ---- */

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

/* `line` is one line without its end. */
static enum client_reply_status parse_line(struct pn_reply_parser *p, struct pn_slice line,
					   struct pn_slice *ret_text)
{
	bool goes_on = line.len > 3 && line.ptr[3] == '-';
	uint16_t code;

	if (line.len < 3 || line.ptr[0] < '2' || line.ptr[0] > '5' || !is_digit(line.ptr[1]) ||
	    !is_digit(line.ptr[2]))
		return CLIENT_REPLY_BAD;
	if (line.len > 3 && !goes_on && line.ptr[3] != ' ')
		return CLIENT_REPLY_BAD;
	code = (uint16_t)((line.ptr[0] - '0') * 100 + (line.ptr[1] - '0') * 10 +
			  (line.ptr[2] - '0'));
	if (p->is_complete) {
		p->is_complete = false;
		p->line_count = 0;
		p->code = code;
		p->text_len = 0;
		memset(p->enhanced, 0, sizeof(p->enhanced));
	}
	if (code != p->code || ++p->line_count > p->lines_max)
		return CLIENT_REPLY_BAD;
	pn_slice_advance(&line, pn_min_size(line.len, 4));
	*ret_text = line;
	add_text(p, line);
	p->is_complete = !goes_on;
	return goes_on ? CLIENT_REPLY_LINE : CLIENT_REPLY_LAST;
}

static struct pn_slice without_line_end(struct pn_slice line)
{
	line.len--;
	if (line.len != 0 && line.ptr[line.len - 1] == '\r')
		line.len--;
	return line;
}

enum client_reply_status pn_reply_parser_feed(struct pn_reply_parser *p, struct pn_slice *in,
					      struct pn_slice *ret_text)
{
	const uint8_t *lf;
	size_t n, held;

	*ret_text = PN_SLICE_NULL;
	/*
	 * A line that was cut stays in `partial` after it was given out, as the text points there;
	 * it goes with the next call.
	 */
	if (pn_buf_len(&p->partial) != 0 && pn_buf_tail(&p->partial)[-1] == '\n')
		pn_buf_free(&p->partial);
	if (in->len == 0)
		return CLIENT_REPLY_MORE;
	held = pn_buf_len(&p->partial);
	lf = memchr(in->ptr, '\n', in->len);
	n = lf ? (size_t)(lf - in->ptr) + 1 : in->len;
	if (held + n > p->line_max_bytes)
		return CLIENT_REPLY_BAD;
	if (held != 0 || !lf) {
		if (pn_buf_append(&p->partial, in->ptr, n))
			return CLIENT_REPLY_BAD;
	}
	struct pn_slice line = held ? pn_buf_slice(&p->partial) : pn_slice(in->ptr, n);

	pn_slice_advance(in, n);
	if (!lf)
		return CLIENT_REPLY_MORE;
	return parse_line(p, without_line_end(line), ret_text);
}

struct pn_smtp_reply_info pn_reply_parser_info(const struct pn_reply_parser *p)
{
	struct pn_smtp_reply_info info = { .code = p->code,
					   .text = pn_slice(p->text, p->text_len) };

	memcpy(info.enhanced, p->enhanced, sizeof(info.enhanced));
	return info;
}
