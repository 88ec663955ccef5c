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

int pn_bench_message_init(struct pn_bench_message *m, uint64_t run, uint64_t seed, const char *from,
			  const char *to, size_t size_bytes)
{
	char date[PN_DATE_RFC5322_SIZE];
	char header[PN_BENCH_MESSAGE_HEADER_MAX];

	memset(m, 0, sizeof(*m));
	m->run = run;
	(void)pn_date_rfc5322(date, pn_clock_wall_ms());
	int len = snprintf(m->prefix, sizeof(m->prefix),
			   "From: <%s>\r\nTo: <%s>\r\nDate: %s\r\nSubject: a test of speed", from,
			   to, date);
	if (len < 0 || (size_t)len >= sizeof(m->prefix))
		return -EINVAL;
	size_t header_size = pn_bench_message_header(m, 0, header);
	if (size_bytes < header_size + 4)
		return -EINVAL;
	m->body_size_bytes = size_bytes - header_size;
	m->body = malloc(m->body_size_bytes);
	if (!m->body)
		return -ENOMEM;
	fill_body(m->body, m->body_size_bytes, seed);
	m->body_crc32c = pn_crc32c(0, m->body, m->body_size_bytes);
	return 0;
}

void pn_bench_message_deinit(struct pn_bench_message *m)
{
	free(m->body);
	m->body = NULL;
}

size_t pn_bench_message_header(const struct pn_bench_message *m, uint32_t number,
			       char out[PN_BENCH_MESSAGE_HEADER_MAX])
{
	int len =
		snprintf(out, PN_BENCH_MESSAGE_HEADER_MAX,
			 "%s\r\nMessage-ID: <%016" PRIx64 "-%08" PRIx32 "@bench.invalid>" ID_HEADER
			 "%016" PRIx64 "-%08" PRIx32 " %08" PRIx32 "\r\n\r\n",
			 m->prefix, m->run, number, m->run, number, m->body_crc32c);

	PN_ASSERT(len > 0 && len < PN_BENCH_MESSAGE_HEADER_MAX);
	return (size_t)len;
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

void pn_bench_id_line_format(char out[PN_BENCH_ID_LINE_LEN + 1], struct pn_bench_id id,
			     bool is_whole)
{
	(void)snprintf(out, PN_BENCH_ID_LINE_LEN + 1, "%016" PRIx64 "-%08" PRIx32 " %c\n", id.run,
		       id.number, is_whole ? '+' : '!');
}

bool pn_bench_id_line_parse(const char line[PN_BENCH_ID_LINE_LEN], struct pn_bench_id *ret_id,
			    bool *ret_is_whole)
{
	*ret_is_whole = line[ID_LEN + 1] == '+';
	return id_parse(line, ret_id) && line[PN_BENCH_ID_LINE_LEN - 1] == '\n';
}
