/* SPDX-License-Identifier: ISC */
/* sized.c - see sized.h. */
#include "sized.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <postern/base/fault.h>

#include "spool/writer.h"

/* ---- the way to the disk ---- */

static bool o_direct_works(const struct harness *h)
{
	char path[256];
	void *octets = NULL;
	struct stat st;
	snprintf(path, sizeof(path), "%s/tried", h->path);
	int fd = open(path, O_WRONLY | O_CREAT | O_DIRECT, 0600);
	if (fd < 0)
		return false;
	assert_int_equal(posix_memalign(&octets, PN_DIRECT_ALIGN, PN_DIRECT_ALIGN), 0);
	memset(octets, 1, PN_DIRECT_ALIGN);
	bool works = pwrite(fd, octets, PN_DIRECT_ALIGN, 0) == PN_DIRECT_ALIGN &&
		     fstat(fd, &st) == 0 && st.st_blksize <= PN_DIRECT_ALIGN;
	free(octets);
	close(fd);
	unlink(path);
	return works && PN_SYNC_LINKS;
}

bool s_writes_direct(const struct harness *h)
{
	const struct pn_spool_file *f = h->w->append.current;
	assert_non_null(f);
	assert_int_equal(fcntl(f->fd, F_GETFL) & O_DIRECT, 0);
	if (f->direct_fd < 0)
		return false;
	assert_true(h->spool->is_direct);
	assert_true((fcntl(f->direct_fd, F_GETFL) & O_DIRECT) != 0);
	return true;
}

void s_start(struct harness *h, const char *plan)
{
#ifdef PN_FAULT_INJECTION
	pn_fault_set_plan(plan);
#else
	assert_null(plan);
#endif
	/* On a disk: memory file systems do not all know O_DIRECT. */
	h_init(h, false);
	h->settings.segment_size_bytes = S_SEGMENT_BYTES;
	h->settings.inline_max_bytes = S_SEGMENT_BYTES / 2;
	h->settings.memory_max_bytes = 256u << 20;
	h_start(h);
	bool works = o_direct_works(h);
	assert_int_equal(h->spool->is_direct,
			 works && !(plan && strstr(plan, "spool.direct.probe")));
	assert_int_equal(s_writes_direct(h), works && !plan);
}

/* ---- messages ---- */

void s_expect_placed(const struct pn_spool_entry *e)
{
	uint64_t size = pn_rec_size(e->size_bytes, e->commit_len);
	assert_int_equal(e->file->kind, PN_FILE_SEGMENT);
	uint64_t align = pn_append_wants_whole(size) ? PN_DIRECT_ALIGN : PN_REC_ALIGN;
	assert_int_equal(e->offset % align, 0);
	assert_int_equal(size % align, 0);
}

void s_drop_from_memory(struct pn_spool_entry *e)
{
	pn_blob_unref(e->blob);
	e->blob = NULL;
}

void s_expect_readable(struct harness *h, const struct sized *m)
{
	struct pn_spool_entry *e = m->entry;
	assert_int_equal(e->size_bytes, m->size);
	for (int from_disk = 0; from_disk < 2; from_disk++) {
		if (from_disk)
			s_drop_from_memory(e);
		else
			assert_non_null(e->blob);
		assert_int_equal(h_check(h, e, m->n), 0);
		assert_int_equal(h_check_stored(h, e, m->n), 0);
	}
}

void s_expect_after_restart(struct harness *h, const struct sized *m, size_t count)
{
	h_stop(h);
	h_start(h);
	assert_int_equal(h->count, count);
	assert_int_equal(h_files(h, "damaged", ""), 0);
	for (size_t i = 0; i < count; i++) {
		int at = h_index(h, m[i].n);
		assert_true(at >= 0);
		assert_null(h->entries[at]->blob);
		assert_int_equal(h->entries[at]->size_bytes, m[i].size);
		assert_int_equal(h_check(h, h->entries[at], m[i].n), 0);
		assert_int_equal(h_check_stored(h, h->entries[at], m[i].n), 0);
	}
}

void s_finish_all(struct harness *h)
{
	while (h->count > 0)
		assert_int_equal(h_final(h, h->entries[--h->count]), 0);
	h_stop(h);
#ifdef PN_FAULT_INJECTION
	pn_fault_set_plan(NULL);
#endif
	h_deinit(h);
}

uint64_t s_commit_all(struct harness *h, struct sized *m, size_t count, bool is_together)
{
	struct h_commit c[S_MESSAGES_MAX];
	uint64_t before = h->w->append.batches;
	assert_true(count <= S_MESSAGES_MAX);
	for (size_t i = 0; i < count; i++) {
		h_commit_start(h, &c[i], m[i].n, m[i].size, i % 2 ? 4000 : 50000);
		if (!is_together)
			h_wait(h, &c[i].is_done);
	}
	for (size_t i = 0; i < count; i++) {
		h_wait(h, &c[i].is_done);
		assert_int_equal(c[i].result, 0);
		m[i].entry = h->entries[h->count++] = c[i].entry;
	}
	return h->w->append.batches - before;
}
