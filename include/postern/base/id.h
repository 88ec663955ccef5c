/* SPDX-License-Identifier: ISC */
/*
 * id.h - 128-bit message and session ids: 48-bit wall time in ms, 16-bit node, 64 bits
 * random/counter.
 *
 * The text form is 26 octets of lower-case base32 (RFC 4648 6 alphabet, no padding): the same in
 * Received, logs, queue and the 250. Sorting the octets sorts by time.
 */
#ifndef POSTERN_BASE_ID_H
#define POSTERN_BASE_ID_H

#include <string.h>

#include <postern/base/common.h>
#include <postern/base/slice.h>

#define PN_ID_TEXT_LEN 26

struct pn_id {
	uint8_t octets[16];
};

/* Makes a fresh id. Unique across threads and restarts. Any thread. */
struct pn_id pn_id_make(uint16_t node, uint64_t wall_ms);
/* Writes PN_ID_TEXT_LEN octets and a NUL. */
void pn_id_format(char out[PN_ID_TEXT_LEN + 1], const struct pn_id *id);
/* Exact text form only. Returns false on anything else. */
bool pn_id_parse(struct pn_slice text, struct pn_id *ret);
uint64_t pn_id_time_ms(const struct pn_id *id);

static inline bool pn_id_eq(const struct pn_id *a, const struct pn_id *b)
{
	return memcmp(a->octets, b->octets, sizeof(a->octets)) == 0;
}

#endif
