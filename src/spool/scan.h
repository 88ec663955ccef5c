/* SPDX-License-Identifier: ISC */
/*
 * scan.h - finds the records in the octets of a segment or journal, over gaps. Pure; any thread.
 *
 *	struct pn_scan s;
 *	pn_scan_init(&s, data, len, id);
 *	while (pn_scan_next(&s, &item))
 *		...
 *
 * Items come in the order of their offsets. A gap is given only when it has an octet that is not zero.
 */
#ifndef PN_SPOOL_SCAN_H
#define PN_SPOOL_SCAN_H

#include <postern/base/common.h>
#include <postern/base/slice.h>

#include "spool/layout.h"

struct pn_scan {
	const uint8_t *data; /* the whole file, header first */
	size_t len;
	uint64_t file_id;
	size_t pos;
	bool has_record; /* `next` was found behind a gap and is given by the next call */
	struct pn_rec_head next;
};

struct pn_scan_item {
	bool is_record;
	uint64_t offset;
	uint64_t len;            /* of the record or of the gap */
	struct pn_rec_head head; /* of a record */
	struct pn_slice content;
	struct pn_slice commit;
};

void pn_scan_init(struct pn_scan *s, const uint8_t *data, size_t len, uint64_t file_id);
bool pn_scan_next(struct pn_scan *s, struct pn_scan_item *ret) PN_MUST_CHECK;

#endif
