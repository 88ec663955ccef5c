/* SPDX-License-Identifier: ISC */
/* recover_segment.c - segments and their void notes. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <postern/base/log.h>

#include "spool/recover.h"
#include "spool/void.h"

struct gap {
	uint64_t offset, len;
};

/* What the scan of one segment has found. */
struct segment_scan {
	struct pn_spool_file *file;
	uint64_t void_from;
	uint64_t synced;    /* everything in front of it was durable once */
	uint64_t valid_end; /* behind the last record that counts */
	size_t records;
	bool must_stay; /* something in it could not be saved */
	struct gap *gaps;
	size_t gaps_count, gaps_cap;
};

static int note_void(struct pn_recovery *r, const char *name)
{
	struct pn_found_void v;
	if (!pn_void_name_parse(name, &v.id, &v.from))
		return 0;
	if (pn_recovery_grow(&r->voids, &r->voids_cap, r->voids_count, sizeof(*r->voids)) < 0)
		return pn_recovery_no_memory(r);
	r->voids[r->voids_count++] = v;
	return 0;
}

static uint64_t void_from(const struct pn_recovery *r, uint64_t id)
{
	uint64_t from = UINT64_MAX;
	if (!pn_void_slot_find(r->spool, id, &from))
		from = UINT64_MAX;
	for (size_t i = 0; i < r->voids_count; i++) {
		if (r->voids[i].id == id && r->voids[i].from < from)
			from = r->voids[i].from;
	}
	return from;
}

/* One valid record. 0 or -errno (fatal). */
static int take_record(struct pn_recovery *r, struct segment_scan *s,
		       const struct pn_scan_item *item)
{
	struct pn_commit commit;
	if (item->head.synced_until > s->synced)
		s->synced = item->head.synced_until;
	if (item->offset >= s->void_from)
		return 0;
	s->valid_end = item->offset + item->len;
	s->records++;
	/* Of a kind that this version does not know: stays until a newer one looks at it. */
	if (item->head.kind != PN_REC_MESSAGE) {
		s->must_stay = true;
		return 0;
	}
	int err = pn_commit_decode(item->commit, item->head.content_len, &r->arena, &commit);
	if (err == 0)
		err = pn_recovery_add(r, s->file, item->offset, &item->head, &commit);
	else if (err == -ENOMEM)
		err = pn_recovery_no_memory(r);
	else if (!pn_recovery_save(r, s->file->id, item->offset, item->len, "unreadable envelope"))
		s->must_stay = true;
	pn_arena_reset(&r->arena);
	return err == -EBADMSG ? 0 : err;
}

static int note_gap(struct pn_recovery *r, struct segment_scan *s, const struct pn_scan_item *item)
{
	if (item->offset >= s->void_from)
		return 0;
	if (pn_recovery_grow(&s->gaps, &s->gaps_cap, s->gaps_count, sizeof(*s->gaps)) < 0)
		return pn_recovery_no_memory(r);
	s->gaps[s->gaps_count++] = (struct gap){ .offset = item->offset, .len = item->len };
	return 0;
}

static int scan_records(struct pn_recovery *r, struct segment_scan *s, size_t len)
{
	struct pn_scan scan;
	struct pn_scan_item item;
	int err = 0;
	pn_scan_init(&scan, r->octets, len, s->file->id);
	while (err == 0 && pn_scan_next(&scan, &item))
		err = item.is_record ? take_record(r, s, &item) : note_gap(r, s, &item);
	/* Only now it is known what was durable. */
	for (size_t i = 0; err == 0 && i < s->gaps_count; i++)
		s->must_stay |= !pn_recovery_gap(r, s->file->id, s->gaps[i].offset, s->gaps[i].len,
						 s->synced);
	return err;
}

/* Gives the disk back what lies behind the last record. Nothing depends on it, so it is not synced. */
static void cut(struct pn_recovery *r, struct segment_scan *s)
{
	struct pn_spool_file *f = s->file;
	if (s->records == 0 || s->valid_end >= f->size_bytes)
		return;
	if (ftruncate(f->fd, (off_t)s->valid_end) == 0) {
		atomic_fetch_sub_explicit(&r->spool->disk_bytes, f->size_bytes - s->valid_end,
					  memory_order_relaxed);
		f->size_bytes = s->valid_end;
	}
}

static bool is_zero(const uint8_t *data, size_t len)
{
	return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

/* No header and no record: never came to life (all zeros), or is beyond us. */
static void drop_unknown(struct pn_recovery *r, const char *name, size_t len)
{
	int err;
	if (is_zero(r->octets, len)) {
		err = pn_io_unlink("spool.segment.unlink", r->spool->segments_fd, name);
	} else {
		r->damaged++;
		pn_spool_count(r->spool, PN_SPOOL_C_damaged);
		pn_logf(PN_LOG_ERROR, "spool",
			"segments/%s is damaged from its header on; it is moved to damaged/", name);
		err = pn_damaged_move(r->spool, r->spool->segments_fd, name);
	}
	if (err < 0)
		pn_logf(PN_LOG_WARN, "spool", "segments/%s stays where it is: %s", name,
			strerror(-err));
}

static int scan_segment(struct pn_recovery *r, const char *name, int fd, size_t len,
			uint64_t name_id, size_t unreadable)
{
	struct segment_scan s = { .valid_end = PN_FILE_HEADER_SIZE, .must_stay = unreadable > 0 };
	uint64_t id = 0;
	int header = pn_recovery_header(r, name, len, PN_FILE_SEGMENT, name_id, &id);
	if (header == -ENOTSUP) {
		close(fd);
		return header;
	}
	if (id != name_id) {
		/* Records go by the header, removal by the name: read, but never removed. */
		pn_logf(PN_LOG_WARN, "spool", "segments/%s has another file's name", name);
		s.must_stay = true;
	}
	s.file = pn_file_new(r->spool, PN_FILE_SEGMENT, id, fd, len);
	if (!s.file) {
		close(fd);
		return pn_recovery_no_memory(r);
	}
	s.void_from = void_from(r, id);
	if (s.void_from != UINT64_MAX)
		atomic_store_explicit(&s.file->void_from, s.void_from, memory_order_relaxed);
	atomic_store_explicit(&s.file->is_closed, true, memory_order_relaxed);
	int err = scan_records(r, &s, len);
	free(s.gaps);
	if (err < 0)
		return err;
	if (header < 0 && s.records == 0 && !unreadable) {
		atomic_fetch_sub_explicit(&r->spool->segment_count, 1, memory_order_relaxed);
		atomic_fetch_sub_explicit(&r->spool->disk_bytes, s.file->size_bytes,
					  memory_order_relaxed);
		pn_file_free(s.file);
		drop_unknown(r, name, len);
		return 0;
	}
	if (header < 0)
		pn_logf(PN_LOG_WARN, "spool",
			"the header of segments/%s is damaged; %zu records in it are good", name,
			s.records);
	/* Without recovery's reference to give back the file stays for this life of the process. */
	if (s.must_stay)
		return 0;
	cut(r, &s);
	return pn_recovery_add_file(r, s.file);
}

static int recover_segment(struct pn_recovery *r, const char *name)
{
	uint64_t id;
	size_t unreadable;
	if (!pn_file_name_parse(name, ".seg", &id))
		return 0;
	int fd = pn_recovery_open(r, "spool.segment.open", r->spool->segments_fd, name, O_RDWR);
	if (fd < 0) {
		r->is_incomplete = true;
		return fd == -ENODATA ? 0 : fd;
	}
	ptrdiff_t len = pn_recovery_load(r, "spool.segment.read", fd, name, &unreadable);
	r->is_incomplete = r->is_incomplete || unreadable > 0;
	if (len < 0) {
		close(fd);
		return (int)len;
	}
	return scan_segment(r, name, fd, (size_t)len, id, unreadable);
}

/* A note whose segment is gone. */
static void drop_old_voids(struct pn_recovery *r)
{
	for (size_t i = 0; i < r->voids_count; i++) {
		char name[PN_FILE_NAME_SIZE];
		pn_file_name(name, PN_FILE_SEGMENT, r->voids[i].id);
		if (faccessat(r->spool->segments_fd, name, F_OK, 0) == 0 || errno != ENOENT)
			continue;
		pn_void_name(name, r->voids[i].id, r->voids[i].from);
		int err = pn_io_unlink("spool.void.unlink", r->spool->segments_fd, name);
		if (err < 0)
			pn_logf(PN_LOG_INFO, "spool", "segments/%s stays until the next start: %s",
				name, strerror(-err));
	}
}

int pn_recover_segments(struct pn_recovery *r)
{
	int err = pn_recovery_each(r, r->spool->segments_fd, "segments", note_void);
	if (err == 0)
		err = pn_recovery_each(r, r->spool->segments_fd, "segments", recover_segment);
	if (err == 0)
		drop_old_voids(r);
	return err;
}
