/* SPDX-License-Identifier: ISC */
/* layout.c - see layout.h. All numbers little-endian; the file id seeds the CRC of every head. */
#include "spool/layout.h"

#include <errno.h>
#include <string.h>

#include <postern/base/codec.h>

#include "spool/octets.h"

static const uint8_t file_magic[8] = { 'P', 'N', 'S', 'P', 'O', 'O', 'L', '\n' };

/* Where the fields of a file header lie; the CRC covers everything in front of itself. */
enum {
	FH_VERSION = 8,
	FH_KIND = 12,
	FH_ID = 16,
	FH_CREATED = 24,
	FH_SIZE = 32,
	FH_CRC = 36,
	FH_END = 40
};
/* And of a record head; its CRC covers everything behind itself. */
enum {
	RH_MARK = 0,
	RH_CRC = 8,
	RH_KIND = 12,
	RH_RESERVED = 14,
	RH_OFFSET = 16,
	RH_CONTENT_LEN = 24,
	RH_COMMIT_LEN = 32,
	RH_CONTENT_CRC = 36,
	RH_COMMIT_CRC = 40,
	RH_GENERATION = 44,
	RH_SYNCED_UNTIL = 48,
	RH_RESERVED_2 = 56
};

void pn_file_header_encode(uint8_t out[PN_FILE_HEADER_SIZE], const struct pn_file_header *h)
{
	memset(out, 0, PN_FILE_HEADER_SIZE);
	memcpy(out, file_magic, sizeof(file_magic));
	pn_put_u32(out + FH_VERSION, PN_FILE_VERSION);
	pn_put_u32(out + FH_KIND, (uint32_t)h->kind);
	pn_put_u64(out + FH_ID, h->id);
	pn_put_u64(out + FH_CREATED, h->created_wall_ms);
	pn_put_u32(out + FH_SIZE, PN_FILE_HEADER_SIZE);
	pn_put_u32(out + FH_CRC, pn_crc32c(0, out, FH_CRC));
}

int pn_file_header_decode(const uint8_t in[PN_FILE_HEADER_SIZE], struct pn_file_header *ret)
{
	if (memcmp(in, file_magic, sizeof(file_magic)) != 0 ||
	    pn_get_u32(in + FH_CRC) != pn_crc32c(0, in, FH_CRC))
		return -EBADMSG;
	if (pn_get_u32(in + FH_VERSION) > PN_FILE_VERSION)
		return -ENOTSUP;
	uint32_t kind = pn_get_u32(in + FH_KIND);
	if (kind < PN_FILE_SEGMENT || kind > PN_FILE_JOURNAL ||
	    pn_get_u32(in + FH_SIZE) != PN_FILE_HEADER_SIZE)
		return -EBADMSG;
	ret->kind = (enum pn_file_kind)kind;
	ret->id = pn_get_u64(in + FH_ID);
	ret->created_wall_ms = pn_get_u64(in + FH_CREATED);
	return 0;
}

uint64_t pn_rec_mark(uint64_t file_id)
{
	uint8_t octets[8];
	uint64_t mark;
	pn_put_u64(octets, file_id ^ 0x9d5c61b2f04e8a37u);
	memcpy(&mark, octets, sizeof(mark));
	return mark;
}

static uint32_t head_crc(const uint8_t *head, uint64_t file_id)
{
	uint8_t id[8];
	pn_put_u64(id, file_id);
	return pn_crc32c(pn_crc32c(0, id, sizeof(id)), head + RH_KIND, PN_REC_HEAD_SIZE - RH_KIND);
}

void pn_rec_head_encode(uint8_t out[PN_REC_HEAD_SIZE], const struct pn_rec_head *h,
			uint64_t file_id)
{
	uint64_t mark = pn_rec_mark(file_id);
	memcpy(out + RH_MARK, &mark, sizeof(mark));
	pn_put_u16(out + RH_KIND, h->kind);
	pn_put_u16(out + RH_RESERVED, 0);
	pn_put_u64(out + RH_OFFSET, h->offset);
	pn_put_u64(out + RH_CONTENT_LEN, h->content_len);
	pn_put_u32(out + RH_COMMIT_LEN, h->commit_len);
	pn_put_u32(out + RH_CONTENT_CRC, h->content_crc);
	pn_put_u32(out + RH_COMMIT_CRC, h->commit_crc);
	pn_put_u32(out + RH_GENERATION, h->generation);
	pn_put_u64(out + RH_SYNCED_UNTIL, h->synced_until);
	pn_put_u64(out + RH_RESERVED_2, 0);
	pn_put_u32(out + RH_CRC, head_crc(out, file_id));
}

bool pn_rec_head_decode(const uint8_t in[PN_REC_HEAD_SIZE], uint64_t file_id, uint64_t offset,
			struct pn_rec_head *ret)
{
	uint64_t mark = pn_rec_mark(file_id);
	if (memcmp(in + RH_MARK, &mark, sizeof(mark)) != 0 ||
	    pn_get_u32(in + RH_CRC) != head_crc(in, file_id))
		return false;
	ret->kind = pn_get_u16(in + RH_KIND);
	ret->offset = pn_get_u64(in + RH_OFFSET);
	ret->content_len = pn_get_u64(in + RH_CONTENT_LEN);
	ret->commit_len = pn_get_u32(in + RH_COMMIT_LEN);
	ret->content_crc = pn_get_u32(in + RH_CONTENT_CRC);
	ret->commit_crc = pn_get_u32(in + RH_COMMIT_CRC);
	ret->generation = pn_get_u32(in + RH_GENERATION);
	ret->synced_until = pn_get_u64(in + RH_SYNCED_UNTIL);
	return ret->offset == offset;
}
