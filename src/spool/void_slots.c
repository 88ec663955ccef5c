/* SPDX-License-Identifier: ISC */
/*
 * void_slots.c - notes of void records in a file that is there already, for when a note of its own cannot be made.
 * README.md V4-V6.
 *
 * Every octet of the file is written when it is made, so that a slot costs neither a block nor a change of the
 * file's length. One thread at a time: who opens and recovers the spool, then the helper.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/codec.h>
#include <postern/base/log.h>

#include "spool/octets.h"
#include "spool/void.h"

#define SLOT_BYTES 512u /* a sector: written whole or not at all */

enum { VS_MAGIC = 0, VS_ID = 8, VS_FROM = 16, VS_CRC = 24 };
static const uint8_t slot_magic[8] = { 'P', 'N', 'V', 'O', 'I', 'D', '1', '\n' };

static void slot_encode(uint8_t out[SLOT_BYTES], uint64_t id, uint64_t from)
{
	memset(out, 0, SLOT_BYTES);
	memcpy(out, slot_magic, sizeof(slot_magic));
	pn_put_u64(out + VS_ID, id);
	pn_put_u64(out + VS_FROM, from);
	pn_put_u32(out + VS_CRC, pn_crc32c(0, out, VS_CRC));
}

static struct pn_void_slot slot_decode(const uint8_t in[SLOT_BYTES])
{
	struct pn_void_slot slot = { 0 };
	if (memcmp(in, slot_magic, sizeof(slot_magic)) == 0 &&
	    pn_get_u32(in + VS_CRC) == pn_crc32c(0, in, VS_CRC)) {
		slot.id = pn_get_u64(in + VS_ID);
		slot.from = pn_get_u64(in + VS_FROM);
	}
	return slot;
}

/* What is missing at the end is written as zeros. 0 or -errno. */
static int fill(struct pn_spool *spool, int fd, uint64_t have)
{
	static const uint8_t zeros[SLOT_BYTES];
	int err = 0;
	for (uint64_t at = have / SLOT_BYTES * SLOT_BYTES;
	     err == 0 && at < PN_VOID_SLOTS * SLOT_BYTES; at += SLOT_BYTES)
		err = pn_io_write("spool.voids.fill", fd, zeros, sizeof(zeros), at);
	if (err == 0)
		err = pn_io_sync("spool.voids.fsync", fd, false);
	if (err == 0)
		err = pn_io_sync("spool.dir.fsync", spool->root_fd, false);
	return err;
}

int pn_void_slots_open(struct pn_spool *spool)
{
	struct pn_void_slots *v = &spool->void_slots;
	uint8_t *octets = malloc(PN_VOID_SLOTS * SLOT_BYTES);
	int err =
		octets ? pn_io_open("spool.voids.create", spool->root_fd, "voids", O_RDWR | O_CREAT)
		       : -ENOMEM;
	int fd = err;
	if (fd >= 0) {
		ptrdiff_t n =
			pn_io_read("spool.voids.read", fd, octets, PN_VOID_SLOTS * SLOT_BYTES, 0);
		for (ptrdiff_t i = 0; i < n / (ptrdiff_t)SLOT_BYTES; i++)
			v->at[i] = slot_decode(octets + (size_t)i * SLOT_BYTES);
		err = n < 0 ? (int)n : 0;
		if (err == 0 && n < (ptrdiff_t)(PN_VOID_SLOTS * SLOT_BYTES))
			err = fill(spool, fd, (uint64_t)n);
		if (err < 0)
			close(fd);
	}
	free(octets);
	v->fd = err < 0 ? -1 : fd;
	return err < 0 ? err : 0;
}

void pn_void_slots_close(struct pn_spool *spool)
{
	if (spool->void_slots.fd >= 0)
		close(spool->void_slots.fd);
	spool->void_slots.fd = -1;
}

int pn_void_slot_take(struct pn_spool *spool, uint64_t id, uint64_t from)
{
	struct pn_void_slots *v = &spool->void_slots;
	uint8_t octets[SLOT_BYTES];
	size_t i = 0;
	if (v->fd < 0)
		return -EBADF;
	while (i < PN_VOID_SLOTS && v->at[i].id != 0)
		i++;
	if (i == PN_VOID_SLOTS)
		return -ENOSPC;
	slot_encode(octets, id, from);
	int err = pn_io_write("spool.voids.write", v->fd, octets, sizeof(octets), i * SLOT_BYTES);
	if (err == 0)
		err = pn_io_sync("spool.voids.fdatasync", v->fd, true);
	if (err < 0)
		/* Not written or synced again. The slots in it count all the same, and so may this one. */
		pn_void_slots_close(spool);
	else
		v->at[i] = (struct pn_void_slot){ .id = id, .from = from };
	return err;
}

void pn_void_slot_free(struct pn_spool *spool, uint64_t id)
{
	for (size_t i = 0; i < PN_VOID_SLOTS; i++) {
		if (spool->void_slots.at[i].id == id)
			spool->void_slots.at[i] = (struct pn_void_slot){ 0 };
	}
}

bool pn_void_slot_find(const struct pn_spool *spool, uint64_t id, uint64_t *ret_from)
{
	for (size_t i = 0; i < PN_VOID_SLOTS; i++) {
		if (id != 0 && spool->void_slots.at[i].id == id) {
			*ret_from = spool->void_slots.at[i].from;
			return true;
		}
	}
	return false;
}

static bool is_gone(int dir_fd, enum pn_file_kind kind, uint64_t id)
{
	char name[PN_FILE_NAME_SIZE];
	pn_file_name(name, kind, id);
	return faccessat(dir_fd, name, F_OK, 0) < 0 && errno == ENOENT;
}

void pn_void_slots_prune(struct pn_spool *spool)
{
	/* Whoever has unlinked them did not perhaps see it become durable. */
	if (pn_io_sync("spool.segments.fsync", spool->segments_fd, false) < 0 ||
	    pn_io_sync("spool.files.fsync", spool->files_fd, false) < 0)
		return;
	for (size_t i = 0; i < PN_VOID_SLOTS; i++) {
		uint64_t id = spool->void_slots.at[i].id;
		if (id != 0 && is_gone(spool->segments_fd, PN_FILE_SEGMENT, id) &&
		    is_gone(spool->files_fd, PN_FILE_LARGE, id))
			spool->void_slots.at[i] = (struct pn_void_slot){ 0 };
	}
}
