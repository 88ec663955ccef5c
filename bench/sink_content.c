/* SPDX-License-Identifier: ISC */
/* sink_content.c - finds the id in a message's header and checks its body against the CRC that stands there. */
#include <string.h>

#include <postern/base/codec.h>

#include "sink.h"

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)

void pn_bench_content_init(struct pn_bench_content *c)
{
	memset(c, 0, sizeof(*c));
	pn_buf_init(&c->header, PN_BENCH_SINK_HEADER_MAX);
}

void pn_bench_content_reset(struct pn_bench_content *c)
{
	pn_buf_clear(&c->header);
	c->is_body = c->is_broken = false;
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

void pn_bench_content_end(struct pn_bench_content *c, struct pn_bench_sink *sink, bool is_dirty,
			  uint16_t recipient_count, uint32_t recipient_sum)
{
	struct pn_bench_id_line l = { .recipient_count = recipient_count,
				      .recipient_sum = recipient_sum };
	uint32_t crc32c;

	sink->octets += c->octets;
	if (sink->forgotten < sink->lose_count) {
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
