/* SPDX-License-Identifier: ISC */
/*
 * layout.h - the octets of file headers and record heads. Pure; any thread. README.md shows where they stand.
 */
#ifndef PN_SPOOL_LAYOUT_H
#define PN_SPOOL_LAYOUT_H

#include <postern/base/common.h>

#define PN_FILE_HEADER_SIZE 4096u
#define PN_FILE_VERSION     1u
#define PN_REC_HEAD_SIZE    64u
#define PN_REC_ALIGN        16u
/* What O_DIRECT wants of memory, offsets and lengths; ext4 goes a slow way when one of them is no multiple of its
 * block. */
#define PN_DIRECT_ALIGN 4096u
/* Of one commit record: an envelope with its recipients. */
#define PN_COMMIT_MAX_BYTES (16u << 20)

enum pn_file_kind { PN_FILE_SEGMENT = 1, PN_FILE_LARGE = 2, PN_FILE_JOURNAL = 3 };

struct pn_file_header {
	enum pn_file_kind kind;
	uint64_t id;
	uint64_t created_wall_ms;
};

void pn_file_header_encode(uint8_t out[PN_FILE_HEADER_SIZE], const struct pn_file_header *h);
/* 0; -EBADMSG: not a header; -ENOTSUP: a header of a newer format. */
int pn_file_header_decode(const uint8_t in[PN_FILE_HEADER_SIZE],
			  struct pn_file_header *ret) PN_MUST_CHECK;

/* Other kinds that pass their CRC are skipped. */
enum pn_rec_kind { PN_REC_MESSAGE = 1, PN_REC_OUTCOME = 2 };

struct pn_rec_head {
	uint16_t kind;
	uint32_t generation; /* of a message: how often it was copied forward */
	uint64_t offset;     /* of this head in its file */
	uint64_t content_len;
	uint32_t commit_len;
	uint32_t content_crc;
	uint32_t commit_crc;
	uint64_t
		synced_until; /* everything in front of this offset was durable when this record was written */
};

void pn_rec_head_encode(uint8_t out[PN_REC_HEAD_SIZE], const struct pn_rec_head *h,
			uint64_t file_id);
/* The head at `offset` of file `file_id`. False when it is not one. */
bool pn_rec_head_decode(const uint8_t in[PN_REC_HEAD_SIZE], uint64_t file_id, uint64_t offset,
			struct pn_rec_head *ret) PN_MUST_CHECK;
/* The first eight octets of each head of a file, as they lie on disk. */
uint64_t pn_rec_mark(uint64_t file_id);

/* Length of a whole record in a segment or journal. */
static inline uint64_t pn_rec_size(uint64_t content_len, uint64_t commit_len)
{
	return PN_REC_HEAD_SIZE + content_len + commit_len;
}

#endif
