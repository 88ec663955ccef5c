/* SPDX-License-Identifier: ISC */
/*
 * message.h - the messages that are sent, and how the sink knows them again.
 *
 * The bodies of a run begin alike and differ in length; the header carries a unique id, and the CRC32C of the body
 * so that the sink sees whether it arrived whole:
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
#define PN_BENCH_MESSAGE_PIECES     3

/* What all messages of a run have in common. */
struct pn_bench_message {
	uint64_t run;
	char prefix[512]; /* To, Date, Subject */
	uint8_t *body;    /* of the longest */
	size_t size_max_bytes;
	/* The last length and its CRC: most runs have one size. */
	size_t crc_len;
	uint32_t crc;
};

/* One message: header, most of the body, its end. Borrows from the message and from `header`. */
struct pn_bench_content_pieces {
	struct pn_slice pieces[PN_BENCH_MESSAGE_PIECES];
	char header[PN_BENCH_MESSAGE_HEADER_MAX];
};

/* No message is bigger than size_max_bytes. 0, -EINVAL (address too long) or -ENOMEM. */
int pn_bench_message_init(struct pn_bench_message *m, uint64_t run, uint64_t seed, const char *to,
			  size_t size_max_bytes) PN_MUST_CHECK;
void pn_bench_message_deinit(struct pn_bench_message *m);
/* Message `number`, of size_bytes octets, header included; `from` has at most 255 octets. */
void pn_bench_message_make(struct pn_bench_message *m, uint32_t number, const char *from,
			   size_t size_bytes, struct pn_bench_content_pieces *ret);
/* Finds the id in a header. */
bool pn_bench_message_parse(struct pn_slice header, struct pn_bench_id *ret_id,
			    uint32_t *ret_body_crc32c);

/* What the sink saw of a message: to how many recipients it came, or for how many a report says that it will not. */
struct pn_bench_id_line {
	struct pn_bench_id id;
	char status; /* '+': whole; '!': its body has changed; 'b': a report of failure (RFC 3464) */
	uint16_t recipient_count;
	uint32_t recipient_sum; /* of pn_bench_recipient_sum() */
};

/* "run-number s count sum\n" */
#define PN_BENCH_ID_LINE_LEN 42
void pn_bench_id_line_format(char out[PN_BENCH_ID_LINE_LEN + 1], const struct pn_bench_id_line *l);
bool pn_bench_id_line_parse(const char line[PN_BENCH_ID_LINE_LEN], struct pn_bench_id_line *ret);
/* A number for an address, so that sums tell whether the right ones got it. */
uint32_t pn_bench_recipient_sum(struct pn_slice address);

#endif
