/* SPDX-License-Identifier: ISC */
/*
 * message.h - the messages that are sent, and how the sink knows them again.
 *
 * All messages of a run have the same body; the header carries a unique id, and the CRC32C of the body so that the
 * sink sees whether it arrived whole:
 *
 *	X-Postern-Bench: <run, 16 hex>-<number, 8 hex> <crc32c of the body, 8 hex>
 *
 * The sink writes one line for each message into its ids file, always PN_BENCH_ID_LINE_LEN octets.
 */
#ifndef PN_BENCH_MESSAGE_H
#define PN_BENCH_MESSAGE_H

#include <postern/base/buf.h>
#include <postern/base/slice.h>

#include "id_set.h"

#define PN_BENCH_MESSAGE_HEADER_MAX 1024
#define PN_BENCH_MESSAGE_SIZE_MIN   1024

struct pn_bench_message {
	uint64_t run;
	char prefix[768]; /* From, To, Date, Subject: the same in all messages */
	uint8_t *body;
	size_t body_size_bytes;
	uint32_t body_crc32c;
};

/* size_bytes is the whole message's. 0, -EINVAL (addresses too long) or -ENOMEM. */
int pn_bench_message_init(struct pn_bench_message *m, uint64_t run, uint64_t seed, const char *from,
			  const char *to, size_t size_bytes) PN_MUST_CHECK;
void pn_bench_message_deinit(struct pn_bench_message *m);
/* Writes the header of message `number`, the empty line included; always of the same length, which is returned. */
size_t pn_bench_message_header(const struct pn_bench_message *m, uint32_t number,
			       char out[PN_BENCH_MESSAGE_HEADER_MAX]);
/* Finds the id in a header. */
bool pn_bench_message_parse(struct pn_slice header, struct pn_bench_id *ret_id,
			    uint32_t *ret_body_crc32c);

/* "run-number s\n"; s is '+' (whole) or '!' (its body has changed). */
#define PN_BENCH_ID_LINE_LEN 28
void pn_bench_id_line_format(char out[PN_BENCH_ID_LINE_LEN + 1], struct pn_bench_id id,
			     bool is_whole);
bool pn_bench_id_line_parse(const char line[PN_BENCH_ID_LINE_LEN], struct pn_bench_id *ret_id,
			    bool *ret_is_whole);

#endif
