/* SPDX-License-Identifier: ISC */
/* smtp.c - the scanners, parsers and the formatter of the protocol core. */
#include <stdlib.h>
#include <string.h>

#include <postern/smtp/address.h>
#include <postern/smtp/command.h>
#include <postern/smtp/content.h>
#include <postern/smtp/data.h>
#include <postern/smtp/reply.h>

#include "micro.h"

#define TEXT_SIZE 4096u

uint8_t *pn_bench_micro_text(size_t size, char line_start)
{
	static const char header[] = "From: Somebody <somebody@example.org>\r\n"
				     "To: Another <another@example.net>\r\n"
				     "Subject: what a scanner goes over\r\n"
				     "Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n"
				     "Message-ID: <1@example.org>\r\n\r\n";
	const size_t line = 78;
	uint8_t *text = malloc(size);

	PN_ASSERT(size > sizeof(header) + line);
	if (!text)
		return NULL;
	memset(text, 'm', size);
	memcpy(text, header, sizeof(header) - 1);
	for (size_t at = sizeof(header) - 1; at < size; at += line) {
		size_t end = pn_min_size(at + line, size);
		/* No rest too short for a line of its own. */
		if (size - end < 8)
			end = size;
		text[at] = (uint8_t)line_start;
		memcpy(text + end - 2, "\r\n", 2);
		if (end == size)
			break;
	}
	return text;
}

/* ---- data and content ---- */

enum data_kind { DATA_PLAIN, DATA_DOTS, DATA_CHUNK, DATA_PIECES };

struct data {
	uint8_t *text; /* as it comes over the wire */
	size_t len;
	size_t piece;        /* fed at a time */
	size_t content_size; /* what must come out */
	bool is_chunk;
};

static void data_close(void *state)
{
	struct data *d = state;

	free(d->text);
	free(d);
}

/* With the dots doubled and the final dot. */
static bool stuff(struct data *d, const uint8_t *text)
{
	uint8_t *out = malloc(2 * TEXT_SIZE + 3);

	d->text = out;
	if (!out)
		return false;
	for (size_t i = 0; i < TEXT_SIZE; i++) {
		if (text[i] == '.' && i > 0 && text[i - 1] == '\n' && !d->is_chunk)
			*out++ = '.';
		*out++ = text[i];
	}
	if (!d->is_chunk) {
		memcpy(out, ".\r\n", 3);
		out += 3;
	}
	d->len = (size_t)(out - d->text);
	return true;
}

static void *data_open(const struct pn_bench_micro *m, const char *dir, struct pn_error *err)
{
	struct data *d = calloc(1, sizeof(*d));
	uint8_t *text = pn_bench_micro_text(TEXT_SIZE, m->kind == DATA_DOTS ? '.' : 'm');

	(void)dir;
	if (d) {
		d->is_chunk = m->kind == DATA_CHUNK;
		d->content_size = TEXT_SIZE;
		if (!text || !stuff(d, text)) {
			data_close(d);
			d = NULL;
		} else {
			d->piece = m->kind == DATA_PIECES ? 97 : d->len;
		}
	}
	free(text);
	if (!d)
		(void)pn_error_set(err, "out of memory");
	return d;
}

static size_t scan_all(const struct data *d, struct pn_data_scanner *s)
{
	size_t got = 0;

	for (size_t at = 0; at < d->len; at += d->piece) {
		struct pn_slice in = pn_slice(d->text + at, pn_min_size(d->piece, d->len - at));
		struct pn_slice run;
		while (pn_data_scan(s, &in, &run) == PN_DATA_RUN)
			got += run.len;
	}
	return got;
}

static bool data_run(void *state, uint64_t iterations)
{
	const struct data *d = state;
	bool ok = true;

	for (uint64_t i = 0; i < iterations; i++) {
		struct pn_data_scanner s;
		pn_data_scanner_init(&s, PN_LINE_REJECT, d->is_chunk);
		size_t got = scan_all(d, &s);
		ok &= got == d->content_size && !pn_data_is_dirty(&s);
	}
	return ok;
}

static bool content_run(void *state, uint64_t iterations)
{
	const struct data *d = state;
	bool ok = true;

	for (uint64_t i = 0; i < iterations; i++) {
		struct pn_content_scan s;
		pn_content_scan_init(&s, 998, 65536, 100);
		pn_content_scan_feed(&s, pn_slice(d->text, TEXT_SIZE));
		pn_content_scan_end(&s);
		pn_bench_keep(&s);
		ok &= s.problem == PN_CONTENT_OK && s.has_date && s.facts.size_bytes == TEXT_SIZE;
	}
	return ok;
}

/* ---- commands, addresses, replies: a few in turn, as a session has them ---- */

static int nothing;

static void *nothing_open(const struct pn_bench_micro *m, const char *dir, struct pn_error *err)
{
	(void)m;
	(void)dir;
	(void)err;
	return &nothing;
}

static void nothing_close(void *state)
{
	(void)state;
}

static bool command_run(void *state, uint64_t iterations)
{
	static const char *const lines[] = {
		"EHLO client.example.org",
		"AUTH PLAIN AHVzZXJAZXhhbXBsZS5vcmcAYSBwYXNzd29yZA==",
		"MAIL FROM:<somebody@example.org> SIZE=4096 BODY=8BITMIME",
		"RCPT TO:<another@example.net> NOTIFY=FAILURE,DELAY",
		"DATA",
		"BDAT 4096 LAST",
		"NOOP",
		"QUIT",
	};
	struct pn_slice slices[PN_ARRAY_SIZE(lines)];
	uint64_t unknown = 0;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(lines); i++)
		slices[i] = pn_slice_str(lines[i]);
	for (uint64_t i = 0; i < iterations; i++) {
		struct pn_command c;
		pn_command_parse(slices[i % PN_ARRAY_SIZE(slices)], &c);
		pn_bench_keep(&c);
		unknown += c.verb == PN_VERB_UNKNOWN || c.has_bad_octet;
	}
	return unknown == 0;
}

static bool address_run(void *state, uint64_t iterations)
{
	static const char *const paths[] = {
		"<somebody@example.org> SIZE=4096",
		"<first.last+tag@mail.sub.example.co.uk>",
		"<\"quoted local\"@example.org>",
		"<user@[192.0.2.1]>",
	};
	struct pn_slice slices[PN_ARRAY_SIZE(paths)];
	uint64_t wrong = 0;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(paths); i++)
		slices[i] = pn_slice_str(paths[i]);
	for (uint64_t i = 0; i < iterations; i++) {
		struct pn_slice in = slices[i % PN_ARRAY_SIZE(slices)];
		struct pn_path path;
		wrong += pn_path_parse(&in, PN_PATH_FORWARD, &path) != PN_PATH_OK;
		pn_bench_keep(&path);
	}
	return wrong == 0;
}

static bool reply_run(void *state, uint64_t iterations)
{
	static const enum pn_reply replies[] = { PN_REPLY_OK_MAIL, PN_REPLY_OK_RCPT,
						 PN_REPLY_OK_DATA_GO, PN_REPLY_OK_QUEUED };
	struct pn_buf out;
	bool ok = true;

	(void)state;
	pn_buf_init(&out, 4096);
	for (uint64_t i = 0; i < iterations; i++) {
		size_t which = i % PN_ARRAY_SIZE(replies);
		/* The last one names a message, as every 250 after a message does. */
		struct pn_slice text =
			which == 3 ? PN_SLICE_LIT("OK aaaaaaaaaaaaaaaaaaaaaaaaaa") : PN_SLICE_NULL;
		ok &= pn_reply_format(replies[which], text, true, &out) == 0;
		if (which == 3) {
			pn_bench_keep(out.data);
			pn_buf_clear(&out);
		}
	}
	pn_buf_free(&out);
	return ok;
}

const struct pn_bench_micro pn_bench_micro_smtp[] = {
	{ "data_scan", "DATA of 4 KiB, lines of 76, whole", data_open, data_run, data_close,
	  TEXT_SIZE, DATA_PLAIN, 0, 0 },
	{ "data_scan_pieces", "the same in pieces of 97 octets", data_open, data_run, data_close,
	  TEXT_SIZE, DATA_PIECES, 0, 0 },
	{ "data_scan_dots", "the same, a stuffed dot on each line", data_open, data_run, data_close,
	  TEXT_SIZE, DATA_DOTS, 0, 0 },
	{ "data_scan_chunk", "BDAT of 4 KiB: no dot rule", data_open, data_run, data_close,
	  TEXT_SIZE, DATA_CHUNK, 0, 0 },
	{ "content_scan", "content of 4 KiB with five fields", data_open, content_run, data_close,
	  TEXT_SIZE, DATA_CHUNK, 0, 0 },
	{ "command_parse", "one command line", nothing_open, command_run, nothing_close, 0, 0, 0,
	  0 },
	{ "address_parse", "one path", nothing_open, address_run, nothing_close, 0, 0, 0, 0 },
	{ "reply_format", "one reply line", nothing_open, reply_run, nothing_close, 0, 0, 0, 0 },
	{ 0 },
};
