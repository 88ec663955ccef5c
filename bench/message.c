/* SPDX-License-Identifier: ISC */
/* message.c - see message.h. */
#include "message.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/clock.h>
#include <postern/base/codec.h>
#include <postern/base/prng.h>

#define LINE_OCTETS 76u
#define ID_HEADER   "\r\nX-Postern-Bench: "
/* "0123456789abcdef-01234567" and " 01234567" */
#define ID_LEN     25u
#define ID_CRC_LEN (ID_LEN + 9u)

/* Lines of letters and blanks, each ended by CRLF; the last takes what is left. */
static void fill_body(uint8_t *body, size_t size, uint64_t seed)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789";
	struct pn_prng prng;
	size_t column = 0;

	pn_prng_init(&prng, seed);
	for (size_t i = 0; i < size; i++) {
		size_t left = size - i;
		if (left == 2 || (column == LINE_OCTETS && left > 3)) {
			body[i] = '\r';
			body[++i] = '\n';
			column = 0;
		} else {
			body[i] = (uint8_t)letters[pn_prng_below(&prng, sizeof(letters) - 1)];
			column++;
		}
	}
}

int pn_bench_message_init(struct pn_bench_message *m, uint64_t run, uint64_t seed, const char *to,
			  size_t size_max_bytes)
{
	char date[PN_DATE_RFC5322_SIZE];

	memset(m, 0, sizeof(*m));
	m->run = run;
	m->size_max_bytes = size_max_bytes;
	(void)pn_date_rfc5322(date, pn_clock_wall_ms());
	int len = snprintf(m->prefix, sizeof(m->prefix),
			   "To: <%s>\r\nDate: %s\r\nSubject: a test of speed", to, date);
	if (len < 0 || (size_t)len >= sizeof(m->prefix))
		return -EINVAL;
	m->body = malloc(size_max_bytes);
	if (!m->body)
		return -ENOMEM;
	fill_body(m->body, size_max_bytes, seed);
	return 0;
}

void pn_bench_message_deinit(struct pn_bench_message *m)
{
	free(m->body);
	m->body = NULL;
}

/* The beginning of the common body, and an end that makes the last line whole. */
static void cut_body(struct pn_bench_message *m, size_t len, struct pn_slice pieces[2])
{
	size_t head = len - 2;

	/* Never between CR and LF. */
	if (m->body[head - 1] == '\r')
		head--;
	pieces[0] = pn_slice(m->body, head);
	pieces[1] = head == len - 2 ? PN_SLICE_LIT("\r\n") : PN_SLICE_LIT(".\r\n");
	if (m->crc_len == len)
		return;
	m->crc_len = len;
	m->crc = pn_crc32c(pn_crc32c(0, pieces[0].ptr, head), pieces[1].ptr, pieces[1].len);
}

static size_t print_header(const struct pn_bench_message *m, uint32_t number, const char *from,
			   char out[PN_BENCH_MESSAGE_HEADER_MAX])
{
	int len = snprintf(out, PN_BENCH_MESSAGE_HEADER_MAX,
			   "From: <%s>\r\n%s\r\nMessage-ID: <%016" PRIx64 "-%08" PRIx32
			   "@bench.invalid>" ID_HEADER "%016" PRIx64 "-%08" PRIx32 " %08" PRIx32
			   "\r\n\r\n",
			   from, m->prefix, m->run, number, m->run, number, m->crc);

	PN_ASSERT(len > 0 && len < PN_BENCH_MESSAGE_HEADER_MAX);
	return (size_t)len;
}

void pn_bench_message_make(struct pn_bench_message *m, uint32_t number, const char *from,
			   size_t size_bytes, struct pn_bench_content_pieces *ret)
{
	/* Its length depends on `from` alone, so the CRC can come afterwards. */
	size_t header_len = print_header(m, number, from, ret->header);

	PN_ASSERT(size_bytes <= m->size_max_bytes && size_bytes >= header_len + 4);
	cut_body(m, size_bytes - header_len, ret->pieces + 1);
	ret->pieces[0] = pn_slice(ret->header, print_header(m, number, from, ret->header));
}

static bool hex(const char *text, size_t len, uint64_t *ret)
{
	uint64_t value = 0;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (c >= '0' && c <= '9')
			value = value << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	*ret = value;
	return true;
}

/* ID_LEN octets. */
static bool id_parse(const char *text, struct pn_bench_id *ret)
{
	uint64_t number;

	if (!hex(text, 16, &ret->run) || text[16] != '-' || !hex(text + 17, 8, &number))
		return false;
	ret->number = (uint32_t)number;
	return true;
}

bool pn_bench_message_parse(struct pn_slice header, struct pn_bench_id *ret_id,
			    uint32_t *ret_body_crc32c)
{
	const char *at = header.len
				 ? memmem(header.ptr, header.len, ID_HEADER, sizeof(ID_HEADER) - 1)
				 : NULL;
	uint64_t crc;

	if (!at)
		return false;
	at += sizeof(ID_HEADER) - 1;
	if ((size_t)((const char *)header.ptr + header.len - at) < ID_CRC_LEN)
		return false;
	if (!id_parse(at, ret_id) || at[ID_LEN] != ' ' || !hex(at + ID_LEN + 1, 8, &crc))
		return false;
	*ret_body_crc32c = (uint32_t)crc;
	return true;
}

void pn_bench_id_line_format(char out[PN_BENCH_ID_LINE_LEN + 1], const struct pn_bench_id_line *l)
{
	(void)snprintf(out, PN_BENCH_ID_LINE_LEN + 1,
		       "%016" PRIx64 "-%08" PRIx32 " %c %04x %08" PRIx32 "\n", l->id.run,
		       l->id.number, l->status, l->recipient_count, l->recipient_sum);
}

bool pn_bench_id_line_parse(const char line[PN_BENCH_ID_LINE_LEN], struct pn_bench_id_line *ret)
{
	const char *count = line + ID_LEN + 3;
	uint64_t n, sum;

	ret->status = line[ID_LEN + 1];
	if (!id_parse(line, &ret->id) || !hex(count, 4, &n) || !hex(count + 5, 8, &sum))
		return false;
	ret->recipient_count = (uint16_t)n;
	ret->recipient_sum = (uint32_t)sum;
	return line[PN_BENCH_ID_LINE_LEN - 1] == '\n';
}

uint32_t pn_bench_recipient_sum(struct pn_slice address)
{
	return pn_crc32c(0, address.ptr, address.len) | 1;
}
