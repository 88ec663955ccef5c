/* SPDX-License-Identifier: ISC */
/* reader.h - the reader's state, for reader.c (loading) and reader_pieces.c (content). One loop's. */
#ifndef PN_SPOOL_READER_H
#define PN_SPOOL_READER_H

#include "spool/blob.h"
#include "spool/internal.h"
#include "spool/record.h"

#define PN_STREAM_BYTES        65536u
#define PN_PROGRESS_READ_BYTES 1024u

/* Where the content is. */
/* From memory; a record of a segment, whole or, beyond PN_READER_WHOLE_MAX_BYTES, in pieces; a file of its own. */
enum pn_reader_source {
	PN_READER_NONE,
	PN_READER_BLOB,
	PN_READER_RECORD,
	PN_READER_FAR_RECORD,
	PN_READER_FILE
};
/* A message is loaded before it has a connection, so many may be at a time. */
#define PN_READER_WHOLE_MAX_BYTES (128u << 10)

/* Whether content comes from the disk piece by piece. */
static inline bool pn_reader_is_streamed(enum pn_reader_source source)
{
	return source == PN_READER_FAR_RECORD || source == PN_READER_FILE;
}

struct pn_spool_reader {
	struct pn_spool *spool;
	struct pn_loop *loop;
	struct pn_op op;
	bool is_busy;
	bool is_loaded;

	/* what of the entry is needed; the entry itself is not looked at after the load call */
	struct pn_id id;
	uint64_t size_bytes;
	uint64_t offset;
	uint64_t progress;
	uint32_t commit_len;
	struct pn_spool_file *file;    /* segment, with a reference */
	struct pn_spool_file *journal; /* of the progress, with a reference */
	struct pn_spool_blob *blob;    /* with a reference */
	int fd;                        /* of a large message */

	enum pn_reader_source source;
	struct pn_arena arena;
	struct pn_commit commit;
	struct pn_spool_message message;
	uint8_t *octets; /* record, or commit and head of a large message */
	size_t octets_len, octets_done;
	uint64_t octets_offset; /* in the file */
	uint8_t *progress_octets;
	size_t progress_len, progress_done;
	uint32_t content_crc; /* what it has to be */
	char name[PN_FILE_NAME_SIZE];

	pn_spool_load_fn load_fn;
	pn_spool_piece_fn piece_fn;
	void *ctx;

	/* content */
	bool as_stored;
	uint64_t pos;                 /* next octet of the stored content */
	const struct pn_edit *edit;   /* next one */
	bool is_inserted;             /* its text has been given */
	const struct pn_block *block; /* of the blob, with pos in or behind it */
	uint64_t block_start;
	bool is_piece_of_blob; /* the last one given */
	uint8_t *stream; /* of a large message */
	uint64_t stream_start;
	uint32_t stream_len, stream_want;
	uint32_t crc; /* over content in front of stream_start + stream_len */
};

/* Copies a record that failed its CRC (or links a large message's file) into damaged/, in the background.
 * `octets` may be NULL. */
void pn_reader_set_aside(struct pn_spool_reader *r);

#endif
