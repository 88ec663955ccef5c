/* SPDX-License-Identifier: ISC */
/* recover_files.c - messages in files of their own: header and end are checked, the content only when it is
 * read. README.md L1-L5. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <postern/base/codec.h>
#include <postern/base/log.h>

#include "spool/recover.h"
#include "spool/void.h"

static void set_aside(struct pn_recovery *r, const char *name)
{
	r->damaged++;
	pn_spool_count(r->spool, PN_SPOOL_C_damaged);
	pn_logf(PN_LOG_ERROR, "spool", "files/%s is damaged; it is moved to damaged/", name);
	int err = pn_damaged_move(r->spool, r->spool->files_fd, name);
	if (err < 0)
		pn_logf(PN_LOG_WARN, "spool", "files/%s stays where it is: %s", name,
			strerror(-err));
}

/* Reads exactly that much. 0 or -errno; -EBADMSG: the file is shorter. */
static int read_exact(int fd, uint8_t *out, size_t len, uint64_t offset)
{
	ptrdiff_t n = pn_io_read("spool.file.read", fd, out, len, offset);
	return n < 0 ? (int)n : (size_t)n == len ? 0 : -EBADMSG;
}

/* Header, head and commit of an open file. 0, -EBADMSG, -ENOTSUP (err set) or another -errno. */
static int check_file(struct pn_recovery *r, const char *name, int fd, uint64_t id)
{
	struct pn_rec_head head;
	struct pn_commit commit;
	struct stat st;
	uint64_t header_id;
	uint8_t *o = r->octets;

	uint64_t size = fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
	if (size < PN_FILE_HEADER_SIZE + PN_REC_HEAD_SIZE)
		return -EBADMSG;
	int err = read_exact(fd, o, PN_FILE_HEADER_SIZE, 0);
	if (err == 0)
		err = pn_recovery_header(r, name, PN_FILE_HEADER_SIZE, PN_FILE_LARGE, id,
					 &header_id);
	/* A damaged header alone loses nothing: head and commit name the file too. */
	if (err < 0 && err != -EBADMSG)
		return err;
	err = read_exact(fd, o, PN_REC_HEAD_SIZE, size - PN_REC_HEAD_SIZE);
	if (err < 0)
		return err;
	if (!pn_rec_head_decode(o, id, size - PN_REC_HEAD_SIZE, &head) ||
	    head.kind != PN_REC_MESSAGE || head.commit_len > PN_COMMIT_MAX_BYTES ||
	    head.content_len != size - PN_FILE_HEADER_SIZE - PN_REC_HEAD_SIZE - head.commit_len)
		return -EBADMSG;
	err = read_exact(fd, o, head.commit_len, PN_FILE_HEADER_SIZE + head.content_len);
	if (err == 0 && pn_crc32c(0, o, head.commit_len) != head.commit_crc)
		err = -EBADMSG;
	if (err == 0)
		err = pn_commit_decode(pn_slice(o, head.commit_len), head.content_len, &r->arena,
				       &commit);
	if (err == 0)
		err = pn_recovery_add(r, &r->spool->large, id, &head, &commit);
	pn_arena_reset(&r->arena);
	if (err == 0) {
		atomic_fetch_add_explicit(&r->spool->file_count, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&r->spool->disk_bytes, size, memory_order_relaxed);
	}
	return err;
}

/* A file that is void, by its name or by a slot. */
static void drop_void(struct pn_recovery *r, const char *name)
{
	int err = pn_io_unlink("spool.file.unlink_tmp", r->spool->files_fd, name);
	if (err < 0)
		pn_logf(PN_LOG_INFO, "spool", "files/%s stays until the next start: %s", name,
			strerror(-err));
}

static int recover_file(struct pn_recovery *r, const char *name)
{
	uint64_t id, from;
	bool is_msg = pn_file_name_parse(name, ".msg", &id);
	if (pn_file_name_parse(name, ".tmp", &id) ||
	    (is_msg && pn_void_slot_find(r->spool, id, &from))) {
		drop_void(r, name);
		return 0;
	}
	if (!is_msg)
		return 0;
	int fd = pn_recovery_open(r, "spool.file.open", r->spool->files_fd, name, O_RDONLY);
	if (fd < 0) {
		r->is_incomplete = true;
		return fd == -ENODATA ? 0 : fd;
	}
	int err = check_file(r, name, fd, id);
	close(fd);
	if (err == -EBADMSG) {
		set_aside(r, name);
	} else if (err == -ENOTSUP || err == -ENOMEM) {
		return err;
	} else if (err < 0) {
		r->damaged++;
		r->is_incomplete = true;
		pn_logf(PN_LOG_ERROR, "spool",
			"cannot read files/%s: %s; it stays where it is and waits for another "
			"start",
			name, strerror(-err));
	}
	return 0;
}

int pn_recover_files(struct pn_recovery *r)
{
	if (r->octets_cap < PN_COMMIT_MAX_BYTES) {
		uint8_t *more = realloc(r->octets, PN_COMMIT_MAX_BYTES);
		if (!more)
			return pn_recovery_no_memory(r);
		r->octets = more;
		r->octets_cap = PN_COMMIT_MAX_BYTES;
	}
	int err = pn_recovery_each(r, r->spool->files_fd, "files", recover_file);
	if (err == 0)
		pn_void_slots_prune(r->spool);
	return err;
}
