/* SPDX-License-Identifier: ISC */
/* sink_content.c - finds the id in a message's header and checks its body against the CRC that stands there. */
#include <string.h>

#include <postern/base/codec.h>

#include "sink.h"

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)

void pn_bench_content_init(struct pn_bench_content *c)
{
	memset(c, 0, sizeof(*c));
	pn_buf_init(&c->header, PN_BENCH_SINK_REPORT_MAX);
}

void pn_bench_content_reset(struct pn_bench_content *c)
{
	pn_buf_clear(&c->header);
	c->is_body = c->is_broken = c->is_report = false;
	c->crc32c = 0;
	c->octets = 0;
}

void pn_bench_content_deinit(struct pn_bench_content *c)
{
	pn_buf_free(&c->header);
}

/* Takes what belongs to the header; what is left of `run` is body. */
static struct pn_slice add_header(struct pn_bench_content *c, struct pn_slice run)
{
	struct pn_buf *h = &c->header;
	size_t old_len = pn_buf_len(h);
	size_t take = pn_min_size(run.len, PN_BENCH_SINK_HEADER_MAX - old_len);

	if (take == 0 || pn_buf_append(h, run.ptr, take) != 0) {
		c->is_broken = true;
		return PN_SLICE_NULL;
	}
	/* The end may have begun in an earlier run. */
	size_t from = old_len > 3 ? old_len - 3 : 0;
	const uint8_t *end = memmem(pn_buf_ptr(h) + from, pn_buf_len(h) - from, "\r\n\r\n", 4);
	if (!end) {
		pn_slice_advance(&run, take);
		c->is_broken = run.len > 0;
		return PN_SLICE_NULL;
	}
	size_t header_len = (size_t)(end + 4 - pn_buf_ptr(h));
	h->tail = h->head + header_len;
	c->is_body = true;
	pn_slice_advance(&run, header_len - old_len);
	return run;
}

void pn_bench_content_add(struct pn_bench_content *c, struct pn_slice run)
{
	c->octets += run.len;
	if (c->is_report) {
		/* What a report says about us stands in front. */
		size_t room = PN_BENCH_SINK_REPORT_MAX - pn_buf_len(&c->header);
		if (pn_buf_append(&c->header, run.ptr, pn_min_size(run.len, room)) != 0)
			c->is_broken = true;
		return;
	}
	if (!c->is_body && !c->is_broken)
		run = add_header(c, run);
	if (c->is_body && run.len > 0)
		c->crc32c = pn_crc32c(c->crc32c, run.ptr, run.len);
}

static void write_line(struct pn_bench_sink *sink, const struct pn_bench_id_line *l)
{
	char line[PN_BENCH_ID_LINE_LEN + 1];

	if (sink->ids_fd < 0)
		return;
	pn_bench_id_line_format(line, l);
	if (pn_buf_append(&sink->id_lines, line, PN_BENCH_ID_LINE_LEN) != 0)
		sink->errors++;
}

static void count_id(struct pn_bench_sink *sink, const struct pn_bench_id_line *l)
{
	/* A gateway may send a message once for each group of recipients: that is no duplicate. */
	const struct pn_bench_id key = { .run = l->id.run + (uint64_t)l->recipient_sum * GOLDEN,
					 .number = l->id.number };
	uint32_t count = pn_bench_id_set_add(&sink->ids, key);

	if (count == 0)
		sink->errors++;
	if (count > 1)
		sink->duplicates++;
	if (l->status == '!')
		sink->corrupt++;
	write_line(sink, l);
}

/* Adds the recipients that the report says failed (RFC 3464 2.3). */
static void read_report(struct pn_slice text, struct pn_bench_id_line *l)
{
	static const char key[] = "\r\nFinal-Recipient: rfc822;", failed[] = "\r\nAction: failed";
	const uint8_t *end = text.ptr + text.len;
	const uint8_t *at = text.ptr;

	while ((at = memmem(at, (size_t)(end - at), key, sizeof(key) - 1)) != NULL) {
		at += sizeof(key) - 1;
		const uint8_t *group_end = memmem(at, (size_t)(end - at), "\r\n\r\n", 4);
		const uint8_t *line_end = memchr(at, '\r', (size_t)(end - at));
		if (!group_end || !line_end)
			return;
		while (at < line_end && *at == ' ')
			at++;
		if (!memmem(at, (size_t)(group_end - at), failed, sizeof(failed) - 1))
			continue;
		l->recipient_count++;
		l->recipient_sum += pn_bench_recipient_sum(pn_slice(at, (size_t)(line_end - at)));
	}
}

static void report_end(struct pn_bench_content *c, struct pn_bench_sink *sink)
{
	struct pn_bench_id_line l = { .status = 'b' };
	uint32_t crc32c;

	sink->reports++;
	if (!pn_bench_message_parse(pn_buf_slice(&c->header), &l.id, &crc32c))
		return;
	read_report(pn_buf_slice(&c->header), &l);
	if (l.recipient_count > 0)
		write_line(sink, &l);
}

void pn_bench_content_end(struct pn_bench_content *c, struct pn_bench_sink *sink, bool is_dirty,
			  uint16_t recipient_count, uint32_t recipient_sum)
{
	struct pn_bench_id_line l = { .recipient_count = recipient_count,
				      .recipient_sum = recipient_sum };
	uint32_t crc32c;

	sink->octets += c->octets;
	if (c->is_report) {
		report_end(c, sink);
	} else if (sink->forgotten < sink->lose_count) {
		sink->forgotten++;
	} else if (pn_bench_message_parse(pn_buf_slice(&c->header), &l.id, &crc32c)) {
		l.status = !is_dirty && c->is_body && crc32c == c->crc32c ? '+' : '!';
		sink->messages++;
		count_id(sink, &l);
		if (sink->duplicate_count > 0) {
			sink->duplicate_count--;
			count_id(sink, &l);
		}
	} else {
		sink->messages++;
		sink->strangers++;
	}
	pn_bench_content_reset(c);
}
