/* SPDX-License-Identifier: ISC */
/*
 * log.c - building one line on the caller's stack.
 *
 * Every value is written in pieces that are whole or absent (a character, an escape), with the room
 * for what must follow kept free; so a cut line is still valid logfmt or JSON, and says that it was
 * cut. One value takes at most VALUE_LEN_MAX octets, so that a long one from a peer does not push
 * the later keys out.
 *
 * Escapes: control characters (C1 too) and octets that are not UTF-8 become \xNN; in JSON control
 * characters are \u00NN, and octets that are not UTF-8 the four characters \xNN (JSON has no other
 * way to carry them).
 */
#include <postern/base/log.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/clock.h>
#include <postern/base/codec.h>

#include "base/log_internal.h"

/* Kept free for the mark of a cut line, the end of the object and the line end. */
#define TAIL_SIZE     24
#define VALUE_LEN_MAX ((size_t)1024)
#define UNIT_MAX      8

/* Set by one thread, read by all. */
static _Atomic int log_format = PN_LOG_LOGFMT;
static _Atomic int log_level_min = PN_LOG_INFO;

void pn_log_configure(const struct pn_log_settings *settings)
{
	/* relaxed: independent values; a line in the old format at that moment is right too */
	atomic_store_explicit(&log_format, (int)settings->format, memory_order_relaxed);
	atomic_store_explicit(&log_level_min, (int)settings->level_min, memory_order_relaxed);
}

static const char *level_name(enum pn_log_class class)
{
	switch (class) {
	case PN_LOG_DEBUG:
		return "debug";
	case PN_LOG_WARN:
		return "warn";
	case PN_LOG_ERROR:
		return "error";
	case PN_LOG_SESSION:
	case PN_LOG_INFO:
	case PN_LOG_MESSAGE:
	case PN_LOG_DELIVERY:
		break;
	}
	return "info";
}

/* SESSION stands below INFO for dropping, not for hiding. */
static bool is_hidden(enum pn_log_class class)
{
	enum pn_log_class level_min =
		(enum pn_log_class)atomic_load_explicit(&log_level_min, memory_order_relaxed);

	switch (class) {
	case PN_LOG_SESSION:
	case PN_LOG_MESSAGE:
	case PN_LOG_DELIVERY:
		return false;
	case PN_LOG_DEBUG:
	case PN_LOG_INFO:
	case PN_LOG_WARN:
	case PN_LOG_ERROR:
		break;
	}
	return class < level_min && level_min <= PN_LOG_ERROR;
}

static size_t room(const struct pn_log_line *l)
{
	return (size_t)PN_LOG_LINE_MAX - TAIL_SIZE - l->len;
}

static void put(struct pn_log_line *l, const char *text, size_t len)
{
	PN_ASSERT(len <= (size_t)PN_LOG_LINE_MAX - l->len);
	memcpy(l->text + l->len, text, len);
	l->len = (uint16_t)(l->len + len);
}

/* Begins `,"key":` or ` key=`; false (and the line is marked cut) when key and `value_len` octets
 * do not fit. */
static bool put_key(struct pn_log_line *l, const char *key, size_t value_len)
{
	size_t len = strlen(key);

	if (l->is_suppressed)
		return false;
	if (len > room(l) || room(l) - len < value_len + 4) {
		l->is_truncated = true;
		return false;
	}
	if (l->is_json) {
		put(l, ",\"", 2);
		put(l, key, len);
		put(l, "\":", 2);
	} else {
		put(l, " ", 1);
		put(l, key, len);
		put(l, "=", 1);
	}
	return true;
}

static bool is_control(struct pn_slice c)
{
	return c.ptr[0] < 0x20 || c.ptr[0] == 0x7f ||
	       (c.len == 2 && c.ptr[0] == 0xc2 && c.ptr[1] < 0xa0);
}

/* Writes the front of `value` as one unit of a quoted string; returns its length, *used = octets of
 * value. */
static size_t make_unit(char out[UNIT_MAX + 1], struct pn_slice value, bool is_json, size_t *used)
{
	size_t len = pn_utf8_next(value);
	struct pn_slice c = pn_slice(value.ptr, len);

	*used = pn_max_size(len, 1);
	if (len == 0)
		return (size_t)snprintf(out, UNIT_MAX + 1, is_json ? "\\\\x%02x" : "\\x%02x",
					value.ptr[0]);
	if (is_control(c)) {
		if (is_json)
			return (size_t)snprintf(out, UNIT_MAX + 1, "\\u00%02x", c.ptr[len - 1]);
		if (len == 1)
			return (size_t)snprintf(out, UNIT_MAX + 1, "\\x%02x", c.ptr[0]);
		return (size_t)snprintf(out, UNIT_MAX + 1, "\\x%02x\\x%02x", c.ptr[0], c.ptr[1]);
	}
	if (c.ptr[0] == '"' || c.ptr[0] == '\\') {
		out[0] = '\\';
		out[1] = (char)c.ptr[0];
		return 2;
	}
	memcpy(out, c.ptr, len);
	return len;
}

static bool needs_quotes(struct pn_slice value)
{
	if (value.len == 0)
		return true;
	for (size_t i = 0; i < value.len; i++) {
		uint8_t c = value.ptr[i];
		if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\')
			return true;
	}
	return false;
}

static void put_bare(struct pn_log_line *l, struct pn_slice value)
{
	size_t len = pn_min_size(value.len, pn_min_size(room(l), VALUE_LEN_MAX));

	put(l, (const char *)value.ptr, len);
	if (len != value.len)
		l->is_truncated = true;
}

static void put_quoted(struct pn_log_line *l, struct pn_slice value)
{
	char unit[UNIT_MAX + 1];
	size_t used, written = 0;

	put(l, "\"", 1);
	while (value.len != 0) {
		size_t len = make_unit(unit, value, l->is_json, &used);
		if (written + len > VALUE_LEN_MAX || len + 1 > room(l)) {
			l->is_truncated = true;
			break;
		}
		put(l, unit, len);
		written += len;
		pn_slice_advance(&value, used);
	}
	put(l, "\"", 1);
}

void pn_log_begin(struct pn_log_line *l, enum pn_log_class class, const char *event)
{
	char date[PN_DATE_RFC3339_SIZE];

	l->class = class;
	l->is_suppressed = is_hidden(class);
	l->is_truncated = false;
	l->len = 0;
	l->is_json = atomic_load_explicit(&log_format, memory_order_relaxed) == PN_LOG_JSON;
	if (l->is_suppressed)
		return;
	size_t date_len = pn_date_rfc3339(date, pn_clock_wall_ms());
	put(l, l->is_json ? "{\"time\":\"" : "time=", l->is_json ? 9 : 5);
	put(l, date, date_len);
	if (l->is_json)
		put(l, "\"", 1);
	pn_log_str(l, "level", level_name(class));
	pn_log_str(l, "event", event);
}

void pn_log_slice(struct pn_log_line *l, const char *key, struct pn_slice value)
{
	if (!put_key(l, key, 2))
		return;
	if (l->is_json || needs_quotes(value))
		put_quoted(l, value);
	else
		put_bare(l, value);
}

void pn_log_str(struct pn_log_line *l, const char *key, const char *value)
{
	pn_log_slice(l, key, pn_slice_str(value));
}

void pn_log_u64(struct pn_log_line *l, const char *key, uint64_t value)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);

	if (put_key(l, key, (size_t)len))
		put(l, digits, (size_t)len);
}

void pn_log_id(struct pn_log_line *l, const char *key, const struct pn_id *id)
{
	char text[PN_ID_TEXT_LEN + 1];

	if (l->is_suppressed)
		return;
	pn_id_format(text, id);
	pn_log_slice(l, key, pn_slice(text, PN_ID_TEXT_LEN));
}

void pn_log_finish(struct pn_log_line *l)
{
	if (l->is_truncated) {
		const char *mark = l->is_json ? ",\"truncated\":true" : " truncated=yes";
		put(l, mark, strlen(mark));
	}
	put(l, l->is_json ? "}\n" : "\n", l->is_json ? 2 : 1);
}

/* Without a writer thread: one write, and what does not go is lost, as with any program's stderr.
 */
static void write_directly(const char *text, size_t len)
{
	while (len != 0) {
		ssize_t n = TEMP_FAILURE_RETRY(write(STDERR_FILENO, text, len));
		if (n <= 0)
			return;
		text += n;
		len -= (size_t)n;
	}
}

void pn_log_end(struct pn_log_line *l)
{
	if (l->is_suppressed)
		return;
	pn_log_finish(l);
	l->is_suppressed = true; /* whatever comes now comes too late */
	if (!pn_log_writer_submit(l->class, l->text, l->len))
		write_directly(l->text, l->len);
}

void pn_logf(enum pn_log_class class, const char *event, const char *fmt, ...)
{
	struct pn_log_line l;
	char text[VALUE_LEN_MAX];
	va_list args;

	pn_log_begin(&l, class, event);
	if (l.is_suppressed)
		return;
	va_start(args, fmt);
	int len = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	pn_log_slice(&l, "msg",
		     pn_slice(text, len < 0 ? 0 : pn_min_size((size_t)len, sizeof(text) - 1)));
	if (len < 0 || (size_t)len >= sizeof(text))
		l.is_truncated = true;
	pn_log_end(&l);
}
