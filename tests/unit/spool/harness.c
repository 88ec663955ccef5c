/* SPDX-License-Identifier: ISC */
/* harness.c - see harness.h. */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <postern/base/clock.h>
#include <postern/base/fault.h>
#include <postern/base/log.h>

#define RCPTS(n) (1 + (n) % 3)

void h_init(struct harness *h, bool fast)
{
	memset(h, 0, sizeof(*h));
	/* What the injected failures say is not interesting. */
	pn_log_configure(&(struct pn_log_settings){
		.level_min = getenv("PN_TEST_LOG") ? PN_LOG_DEBUG : PN_LOG_ERROR });
	snprintf(h->path, sizeof(h->path), "%s/postern-spool.XXXXXX",
		 fast && access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(h->path));
	h->settings = (struct pn_spool_settings){
		.inline_max_bytes = 16384,
		.segment_size_bytes = 256u << 10,
		.memory_max_bytes = 8u << 20,
		.queue_messages_max = 100000,
		.outcome_sync_ms = 1,
		.node = 1,
	};
}

void h_collect(struct pn_spool_entry *e, void *ctx)
{
	struct harness *h = ctx;
	assert_true(h->count < H_ENTRIES_MAX);
	h->entries[h->count++] = e;
}

static void collect_orphan(struct pn_spool_entry *e, void *ctx)
{
	struct harness *h = ctx;
	h->orphans++;
	h_collect(e, ctx);
}

void h_start_bare(struct harness *h)
{
	struct pn_error err = { { 0 } };
	h->settings.path = h->path;
	if (pn_spool_open(&h->settings, &h->spool, &err) != 0)
		fail_msg("%s", err.text);
	if (pn_spool_recover(h->spool, h_collect, h, &err) != 0)
		fail_msg("%s", err.text);
}

void h_start(struct harness *h)
{
	struct pn_error err = { { 0 } };
	struct pn_loop_settings settings = {
		.name = "test", .sq_entries = 256, .cq_entries = 1024, .cpu = -1
	};
	h_start_bare(h);
	if (pn_loop_new(&settings, &h->loop, &err) != 0)
		fail_msg("%s", err.text);
	pn_spool_on_orphan(h->spool, collect_orphan, h);
	h->w = pn_spool_writer_new(h->spool, h->loop, "test", &err);
	if (!h->w)
		fail_msg("%s", err.text);
	h->j = pn_journal_new(h->spool, h->loop, "test", &err);
	if (!h->j)
		fail_msg("%s", err.text);
	h->r = pn_spool_reader_new(h->spool, h->loop);
	assert_non_null(h->r);
}

void h_run_until_idle(struct harness *h)
{
	uint64_t limit = pn_clock_mono_ms() + 60000;
	/* What was asked for outside of a callback starts with the hooks of this round. */
	assert_int_equal(pn_loop_run_once(h->loop, 0), 0);
	while (pn_spool_writer_is_busy(h->w) || pn_journal_is_busy(h->j)) {
		assert_int_equal(pn_loop_run_once(h->loop, 10), 0);
		assert_true(pn_clock_mono_ms() < limit);
	}
}

void h_stop(struct harness *h)
{
	if (h->loop) {
		h_run_until_idle(h);
		pn_spool_reader_free(h->r);
		pn_journal_free(h->j);
		pn_spool_writer_free(h->w);
	}
	for (size_t i = 0; i < h->count; i++)
		pn_spool_entry_free(h->spool, h->entries[i]);
	h->count = 0;
	pn_spool_close(h->spool);
	pn_loop_free(h->loop);
	h->loop = NULL;
	h->spool = NULL;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

void h_deinit(struct harness *h)
{
	assert_null(h->spool);
	nftw(h->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void h_wait(struct harness *h, const bool *flag)
{
	uint64_t limit = pn_clock_mono_ms() + 60000;
	/* What was asked for outside of a callback starts with the hooks of this round. */
	assert_int_equal(pn_loop_run_once(h->loop, 0), 0);
	while (!*flag) {
		assert_int_equal(pn_loop_run_once(h->loop, 10), 0);
		assert_true(pn_clock_mono_ms() < limit);
	}
}

void h_wait_int(struct harness *h, const int *value, int while_it_is)
{
	uint64_t limit = pn_clock_mono_ms() + 60000;
	/* What was asked for outside of a callback starts with the hooks of this round. */
	assert_int_equal(pn_loop_run_once(h->loop, 0), 0);
	while (*value == while_it_is) {
		assert_int_equal(pn_loop_run_once(h->loop, 10), 0);
		assert_true(pn_clock_mono_ms() < limit);
	}
}

/* ---- messages ---- */

struct pn_id h_id(uint32_t n)
{
	struct pn_id id = { { 'P', 'N', 'T', 'E', 'S', 'T' } };
	for (size_t i = 0; i < 4; i++)
		id.octets[12 + i] = (uint8_t)(n >> (24 - 8 * i));
	return id;
}

uint32_t h_number(const struct pn_id *id)
{
	uint32_t n = 0;
	for (size_t i = 0; i < 4; i++)
		n = n << 8 | id->octets[12 + i];
	struct pn_id same = h_id(n);
	return pn_id_eq(id, &same) ? n : UINT32_MAX;
}

uint8_t *h_content(uint32_t n, size_t size)
{
	uint8_t *c = malloc(size ? size : 1);
	struct pn_prng p;
	pn_prng_init(&p, n + 1);
	for (size_t i = 0; i < size; i++)
		c[i] = (uint8_t)('a' + (pn_prng_next(&p) >> 40) % 26);
	return c;
}

static struct pn_recipient recipients[3] = {
	{ .address = { (const uint8_t *)"one@example.org", 15 } },
	{ .address = { (const uint8_t *)"two@example.org", 15 } },
	{ .address = { (const uint8_t *)"three@example.org", 17 } },
};

struct pn_envelope h_envelope(uint32_t n)
{
	static _Thread_local struct pn_recipient r[3];
	struct pn_envelope e = {
		.id = h_id(n),
		.received_wall_ms = 1700000000000u + n,
		.user = PN_SLICE_LIT("demo@example.org"),
		.reverse_path = n % 5 == 4 ? PN_SLICE_NULL : PN_SLICE_LIT("demo@example.org"),
		.recipient_count = RCPTS(n),
		.recipients = r,
		.recipients_last = &r[RCPTS(n) - 1],
	};
	memcpy(r, recipients, sizeof(r));
	for (uint32_t i = 0; i + 1 < RCPTS(n); i++)
		r[i].next = &r[i + 1];
	return e;
}

/* Text on top, some octets left out in the middle, text at the end. */
static void make_edits(uint32_t n, size_t size, struct pn_edit edits[3], struct pn_edit_list *l)
{
	(void)n;
	edits[0] = (struct pn_edit){ .next = &edits[1],
				     .at = 0,
				     .insert = PN_SLICE_LIT("Received: on top\r\n") };
	edits[1] = (struct pn_edit){ .next = &edits[2], .at = size / 3, .delete_len = size / 7 };
	edits[2] = (struct pn_edit){ .at = size, .insert = PN_SLICE_LIT("tail\r\n") };
	*l = (struct pn_edit_list){ .first = &edits[0], .last = &edits[2], .count = 3 };
}

static void on_commit(void *ctx, int result, struct pn_spool_entry *entry)
{
	struct h_commit *c = ctx;
	assert_false(c->is_done);
	assert_true((result == 0) == (entry != NULL));
	c->is_done = true;
	c->result = result;
	c->entry = entry;
}

static void on_writable(struct pn_spool_txn *t, void *ctx)
{
	(void)t;
	*(bool *)ctx = true;
}

int h_feed(struct harness *h, struct pn_spool_txn *t, uint32_t n, size_t size, size_t piece)
{
	uint8_t *content = h_content(n, size);
	int res = 0;
	for (size_t at = 0; at < size && res >= 0; at += piece) {
		bool is_writable = false;
		pn_spool_txn_on_writable(t, on_writable, &is_writable);
		res = pn_spool_txn_write(t, pn_slice(content + at, pn_min_size(piece, size - at)));
		if (res == 1)
			h_wait(h, &is_writable);
		pn_spool_txn_on_writable(t, NULL, NULL);
	}
	free(content);
	return res < 0 ? res : 0;
}

void h_commit_txn(struct h_commit *c, size_t size)
{
	struct pn_envelope e = h_envelope(c->n);
	struct pn_content_facts f = { .size_bytes = size, .has_final_crlf = true };
	struct pn_edit edits[3];
	struct pn_edit_list l;
	make_edits(c->n, size, edits, &l);
	pn_spool_txn_commit(c->t, &e, &f, &l, on_commit, c);
	assert_false(c->is_done);
}

void h_commit_envelope(struct h_commit *c, const struct pn_envelope *e,
		       const struct pn_content_facts *f)
{
	pn_spool_txn_commit(c->t, e, f, NULL, on_commit, c);
	assert_false(c->is_done);
}

void h_commit_start(struct harness *h, struct h_commit *c, uint32_t n, size_t size, size_t piece)
{
	int err = 0;
	*c = (struct h_commit){ .h = h, .n = n };
	c->t = pn_spool_txn_begin(h->w, &err);
	if (c->t)
		err = h_feed(h, c->t, n, size, piece);
	if (err < 0) {
		if (c->t)
			pn_spool_txn_abort(c->t);
		c->is_done = true;
		c->result = err;
		return;
	}
	h_commit_txn(c, size);
}

void h_commit(struct harness *h, struct h_commit *c, uint32_t n, size_t size)
{
	h_commit_start(h, c, n, size, 4000);
	h_wait(h, &c->is_done);
}

/* ---- reading ---- */

struct load {
	bool is_done;
	int result;
	struct pn_spool_message *m;
	struct pn_slice piece;
};

static void on_load(void *ctx, int result, struct pn_spool_message *m)
{
	struct load *l = ctx;
	l->result = result;
	l->m = m;
	l->is_done = true;
}

static void on_piece(void *ctx, int result, struct pn_slice piece)
{
	struct load *l = ctx;
	l->result = result;
	l->piece = piece;
	l->is_done = true;
}

static void expect_envelope(const struct pn_spool_message *m, uint32_t n)
{
	struct pn_envelope e = h_envelope(n);
	assert_true(pn_id_eq(&m->envelope.id, &e.id));
	assert_int_equal(m->envelope.received_wall_ms, e.received_wall_ms);
	assert_int_equal(m->envelope.recipient_count, RCPTS(n));
	assert_true(pn_slice_eq(m->envelope.user, e.user));
	assert_true(pn_slice_eq(m->envelope.reverse_path, e.reverse_path));
	const struct pn_recipient *r = m->envelope.recipients;
	for (size_t i = 0; i < RCPTS(n); i++, r = r->next)
		assert_true(pn_slice_eq(r->address, recipients[i].address));
}

/* Reads all pieces into `out` (max octets). Octets or -errno. */
static ptrdiff_t read_all(struct harness *h, uint8_t *out, size_t max)
{
	size_t len = 0;
	for (;;) {
		struct load l = { 0 };
		pn_spool_reader_next(h->r, on_piece, &l);
		h_wait(h, &l.is_done);
		if (l.result <= 0)
			return l.result < 0 ? l.result : (ptrdiff_t)len;
		assert_int_equal(l.piece.len, l.result);
		assert_true(len + l.piece.len <= max);
		memcpy(out + len, l.piece.ptr, l.piece.len);
		len += l.piece.len;
	}
}

static size_t expected_octets(uint32_t n, size_t size, bool as_stored, uint8_t *out)
{
	uint8_t *content = h_content(n, size);
	size_t len = 0;
	if (as_stored) {
		memcpy(out, content, size);
		free(content);
		return size;
	}
	memcpy(out, "Received: on top\r\n", 18);
	len = 18;
	memcpy(out + len, content, size / 3);
	len += size / 3;
	size_t rest = size / 3 + size / 7;
	memcpy(out + len, content + rest, size - rest);
	len += size - rest;
	memcpy(out + len, "tail\r\n", 6);
	free(content);
	return len + 6;
}

static int check(struct harness *h, struct pn_spool_entry *e, uint32_t n, bool as_stored)
{
	size_t size = (size_t)e->size_bytes;
	struct load l = { 0 };
	pn_spool_reader_load(h->r, e, on_load, &l);
	h_wait(h, &l.is_done);
	if (l.result < 0)
		return l.result;
	expect_envelope(l.m, n);
	uint8_t *want = malloc(size + 64), *got = malloc(size + 64);
	size_t want_len = expected_octets(n, size, as_stored, want);
	if (!as_stored)
		assert_int_equal(l.m->size_bytes, want_len);
	/* Twice: rewinding in the middle starts anew. */
	for (int round = 0; round < 2 && l.result >= 0; round++) {
		pn_spool_reader_rewind(h->r, as_stored);
		ptrdiff_t len = read_all(h, got, size + 64);
		if (len < 0) {
			l.result = (int)len;
		} else {
			assert_int_equal(len, want_len);
			assert_memory_equal(got, want, want_len);
		}
	}
	pn_spool_reader_done(h->r);
	free(want);
	free(got);
	return l.result < 0 ? l.result : 0;
}

int h_check(struct harness *h, struct pn_spool_entry *e, uint32_t n)
{
	return check(h, e, n, false);
}

int h_check_stored(struct harness *h, struct pn_spool_entry *e, uint32_t n)
{
	return check(h, e, n, true);
}

int h_load_state(struct harness *h, struct pn_spool_entry *e, size_t rcpt, uint8_t *ret)
{
	struct load l = { 0 };
	pn_spool_reader_load(h->r, e, on_load, &l);
	h_wait(h, &l.is_done);
	if (l.result == 0) {
		*ret = l.m->rcpt_states[rcpt];
		pn_spool_reader_done(h->r);
	}
	return l.result;
}

uint8_t h_state_of(struct harness *h, struct pn_spool_entry *e, size_t rcpt)
{
	uint8_t state = 0;
	assert_int_equal(h_load_state(h, e, rcpt, &state), 0);
	return state;
}

void h_reply_of(struct harness *h, struct pn_spool_entry *e, char *out, size_t size)
{
	struct load l = { 0 };
	pn_spool_reader_load(h->r, e, on_load, &l);
	h_wait(h, &l.is_done);
	assert_int_equal(l.result, 0);
	snprintf(out, size, "%.*s", (int)l.m->last_reply.len, (const char *)l.m->last_reply.ptr);
	pn_spool_reader_done(h->r);
}

/* ---- outcomes ---- */

void h_on_recorded(void *ctx, int result)
{
	*(int *)ctx = result;
}

int h_final(struct harness *h, struct pn_spool_entry *e)
{
	int result = H_PENDING;
	struct pn_outcome o = { .entry = e, .is_final = true };
	pn_journal_record(h->j, &o, h_on_recorded, &result);
	h_wait_int(h, &result, H_PENDING);
	return result;
}

int h_defer(struct harness *h, struct pn_spool_entry *e, uint8_t state0, uint16_t attempts)
{
	uint8_t states[3] = { state0, PN_RCPT_PENDING, PN_RCPT_PENDING };
	int result = H_PENDING;
	struct pn_outcome o = {
		.entry = e,
		.rcpt_states = states,
		.recipient_count = RCPTS(h_number(&e->id)),
		.attempts = attempts,
		.next_attempt_wall_ms = 1000 + attempts,
		.last_reply = PN_SLICE_LIT("451 4.3.2 not now"),
	};
	pn_journal_record(h->j, &o, h_on_recorded, &result);
	h_wait_int(h, &result, H_PENDING);
	return result;
}

static void on_moved(void *ctx, int result, struct pn_spool_entry *e)
{
	(void)e;
	*(int *)ctx = result;
}

int h_move(struct harness *h, struct pn_spool_entry *e)
{
	int result = H_PENDING;
	pn_spool_entry_move(h->w, e, on_moved, &result);
	h_wait_int(h, &result, H_PENDING);
	return result;
}

/* ---- the directory ---- */

size_t h_files(struct harness *h, const char *folder, const char *suffix)
{
	char path[256];
	size_t count = 0;
	snprintf(path, sizeof(path), "%s/%s", h->path, folder);
	DIR *d = opendir(path);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		size_t len = strlen(e->d_name);
		count += e->d_name[0] != '.' && len >= strlen(suffix) &&
			 strcmp(e->d_name + len - strlen(suffix), suffix) == 0;
	}
	closedir(d);
	return count;
}

void h_find(struct harness *h, const char *folder, const char *suffix, char out[256])
{
	char path[160];
	out[0] = '\0';
	snprintf(path, sizeof(path), "%s/%s", h->path, folder);
	DIR *d = opendir(path);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		size_t len = strlen(e->d_name);
		if (e->d_name[0] != '.' && len >= strlen(suffix) && len < 64 &&
		    strcmp(e->d_name + len - strlen(suffix), suffix) == 0)
			snprintf(out, 256, "%s/%.64s", path, e->d_name);
	}
	closedir(d);
	assert_int_not_equal(out[0], '\0');
}

void h_wait_files(struct harness *h, const char *folder, const char *suffix, size_t count)
{
	for (int i = 0; i < 6000 && h_files(h, folder, suffix) != count; i++) {
		if (h->loop)
			assert_int_equal(pn_loop_run_once(h->loop, 1), 0);
		usleep(1000);
	}
	assert_int_equal(h_files(h, folder, suffix), count);
}

/* Holes are copied as zeros only where there are octets: segments are mostly empty. */
static void copy_file(const char *from, const char *to)
{
	static uint8_t buf[65536];
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	off_t at = 0;
	/* A removal may have come first. */
	if (in < 0) {
		close(out);
		unlink(to);
		return;
	}
	assert_true(out >= 0);
	for (ssize_t n; (n = pread(in, buf, sizeof(buf), at)) > 0; at += n) {
		if (buf[0] == 0 && memcmp(buf, buf + 1, (size_t)n - 1) == 0)
			continue;
		assert_int_equal(pwrite(out, buf, (size_t)n, at), n);
	}
	assert_int_equal(ftruncate(out, at), 0);
	close(in);
	close(out);
}

void h_copy(const struct harness *from, struct harness *to)
{
	static const char *const folders[] = { "segments", "files", "journals", "damaged" };
	char voids[2][160];
	h_init(to, true);
	to->settings = from->settings;
	snprintf(voids[0], sizeof(voids[0]), "%s/voids", from->path);
	snprintf(voids[1], sizeof(voids[1]), "%s/voids", to->path);
	copy_file(voids[0], voids[1]);
	for (size_t i = 0; i < PN_ARRAY_SIZE(folders); i++) {
		char a[512], b[512], path[256];
		snprintf(path, sizeof(path), "%s/%s", to->path, folders[i]);
		assert_int_equal(mkdir(path, 0700), 0);
		snprintf(a, sizeof(a), "%s/%s", from->path, folders[i]);
		DIR *d = opendir(a);
		assert_non_null(d);
		for (struct dirent *e; (e = readdir(d)) != NULL;) {
			if (e->d_name[0] == '.')
				continue;
			snprintf(a, sizeof(a), "%s/%s/%.100s", from->path, folders[i], e->d_name);
			snprintf(b, sizeof(b), "%s/%s/%.100s", to->path, folders[i], e->d_name);
			copy_file(a, b);
		}
		closedir(d);
	}
}

int h_index(struct harness *h, uint32_t n)
{
	int found = -1;
	for (size_t i = 0; i < h->count; i++) {
		if (h_number(&h->entries[i]->id) == n) {
			assert_int_equal(found, -1);
			found = (int)i;
		}
	}
	return found;
}
