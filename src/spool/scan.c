/* SPDX-License-Identifier: ISC */
/* scan.c - see scan.h. */
#include "spool/scan.h"

#include <string.h>

#include <postern/base/codec.h>

void pn_scan_init(struct pn_scan *s, const uint8_t *data, size_t len, uint64_t file_id)
{
	*s = (struct pn_scan){ .data = data,
			       .len = len,
			       .file_id = file_id,
			       .pos = pn_min_size(PN_FILE_HEADER_SIZE, len) };
}

/* Whether a whole, valid record starts at `pos`. */
static bool is_record(const struct pn_scan *s, size_t pos, struct pn_rec_head *head)
{
	if (s->len - pos < PN_REC_HEAD_SIZE ||
	    !pn_rec_head_decode(s->data + pos, s->file_id, pos, head))
		return false;
	size_t rest = s->len - pos - PN_REC_HEAD_SIZE;
	if (head->content_len > rest || head->commit_len > rest - head->content_len)
		return false;
	const uint8_t *content = s->data + pos + PN_REC_HEAD_SIZE;
	return pn_crc32c(0, content, (size_t)head->content_len) == head->content_crc &&
	       pn_crc32c(0, content + head->content_len, head->commit_len) == head->commit_crc;
}

static bool is_zero(const uint8_t *data, size_t len)
{
	return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

/* First place at or behind `pos` where a record starts, or the end. */
static size_t find_record(const struct pn_scan *s, size_t pos, struct pn_rec_head *head)
{
	uint64_t mark = pn_rec_mark(s->file_id);
	pos = (pos + PN_REC_ALIGN - 1) / PN_REC_ALIGN * PN_REC_ALIGN;
	for (; pos < s->len && s->len - pos >= PN_REC_HEAD_SIZE; pos += PN_REC_ALIGN) {
		if (memcmp(s->data + pos, &mark, sizeof(mark)) == 0 && is_record(s, pos, head))
			return pos;
	}
	return s->len;
}

static void give_record(struct pn_scan *s, const struct pn_rec_head *head, struct pn_scan_item *ret)
{
	const uint8_t *content = s->data + s->pos + PN_REC_HEAD_SIZE;
	*ret = (struct pn_scan_item){
		.is_record = true,
		.offset = s->pos,
		.len = pn_rec_size(head->content_len, head->commit_len),
		.head = *head,
		.content = pn_slice(content, (size_t)head->content_len),
		.commit = pn_slice(content + head->content_len, head->commit_len),
	};
	s->pos += (size_t)ret->len;
	/* Written records are multiples of it; whatever else passes the CRC must not stall us. */
	s->pos = pn_min_size((s->pos + PN_REC_ALIGN - 1) / PN_REC_ALIGN * PN_REC_ALIGN, s->len);
}

bool pn_scan_next(struct pn_scan *s, struct pn_scan_item *ret)
{
	struct pn_rec_head head;
	if (s->has_record) {
		s->has_record = false;
		give_record(s, &s->next, ret);
		return true;
	}
	if (s->pos >= s->len)
		return false;
	size_t found = find_record(s, s->pos, &head);
	size_t start = s->pos;
	s->pos = found;
	if (!is_zero(s->data + start, found - start)) {
		s->has_record = found < s->len;
		s->next = head;
		*ret = (struct pn_scan_item){ .offset = start, .len = found - start };
		return true;
	}
	if (found == s->len)
		return false;
	give_record(s, &head, ret);
	return true;
}
