/* SPDX-License-Identifier: ISC */
/*
 * store.c - storing 4 KiB in the spool the way a loop does: begin, write, commit, until the entry is there, with
 * several messages under way at a time. The fdatasync is real; its CPU counts, waiting for it does not.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/clock.h>
#include <postern/base/log.h>
#include <postern/spool/spool.h>

#include "measure.h"
#include "micro.h"

#define MESSAGE_SIZE   4096u
#define AT_A_TIME      16u
#define SEGMENT_BYTES  (16u << 20)
#define ITERATIONS_MAX 4000u /* a round leaves its octets on the disk until the end */
#define PATIENCE_MS    60000u

struct store {
	char folder[PN_BENCH_PATH_SIZE];
	struct pn_loop *loop;
	struct pn_spool *spool;
	struct pn_spool_writer *writer;
	struct pn_arena arena;
	struct pn_envelope envelope;
	struct pn_content_facts facts;
	struct pn_edit_list edits;
	uint8_t *text;
	uint64_t pending, stored, failed;
};

static void forget(struct pn_spool_entry *entry, void *ctx)
{
	struct store *s = ctx;

	pn_spool_entry_free(s->spool, entry);
}

static void store_close(void *state)
{
	struct store *s = state;

	if (s->writer)
		pn_spool_writer_free(s->writer);
	if (s->spool)
		pn_spool_close(s->spool);
	pn_loop_free(s->loop);
	if (s->folder[0])
		pn_bench_folder_remove(s->folder);
	pn_arena_reset(&s->arena);
	free(s->text);
	free(s);
}

static int start(struct store *s, const char *dir, struct pn_error *err)
{
	const struct pn_loop_settings loop = {
		.name = "micro", .sq_entries = 64, .cq_entries = 256, .cpu = -1
	};
	const struct pn_spool_settings settings = {
		.path = s->folder,
		.inline_max_bytes = 128u << 10,
		.segment_size_bytes = SEGMENT_BYTES,
		.memory_max_bytes = 64u << 20,
		.queue_messages_max = 1000000,
		.outcome_sync_ms = 10,
		.node = 1,
	};
	int r = pn_bench_folder_make(dir, s->folder, err);

	if (r != 0)
		s->folder[0] = '\0';
	if (r == 0)
		r = pn_loop_new(&loop, &s->loop, err);
	if (r == 0)
		r = pn_spool_open(&settings, &s->spool, err);
	if (r == 0)
		r = pn_spool_recover(s->spool, forget, s, err);
	if (r == 0) {
		s->writer = pn_spool_writer_new(s->spool, s->loop, "micro", err);
		r = s->writer ? 0 : -ENOMEM;
	}
	return r;
}

static int make_envelope(struct store *s)
{
	const struct pn_recipient to = { .address = PN_SLICE_LIT("another@example.net") };

	s->envelope = (struct pn_envelope){
		.received_wall_ms = pn_clock_wall_ms(),
		.user = PN_SLICE_LIT("somebody@example.org"),
		.client_address = PN_SLICE_LIT("192.0.2.1"),
		.helo = PN_SLICE_LIT("client.example.org"),
		.tls_suite = PN_SLICE_LIT("TLS_AES_128_GCM_SHA256"),
		.tls_version = 0x0304,
		.reverse_path = PN_SLICE_LIT("somebody@example.org"),
	};
	s->facts = (struct pn_content_facts){ .size_bytes = MESSAGE_SIZE,
					      .header_size_bytes = 180,
					      .line_max_bytes = 76,
					      .has_final_crlf = true };
	return pn_envelope_add_recipient(&s->envelope, &s->arena, &to);
}

static void *store_open(const struct pn_bench_micro *m, const char *dir, struct pn_error *err)
{
	struct store *s = calloc(1, sizeof(*s));

	(void)m;
	(void)pn_error_set(err, "out of memory");
	if (!s)
		return NULL;
	pn_arena_init(&s->arena, 4096, 65536);
	s->text = pn_bench_micro_text(MESSAGE_SIZE, 'm');
	if (s->text && make_envelope(s) == 0 && start(s, dir, err) == 0)
		return s;
	store_close(s);
	return NULL;
}

static void on_stored(void *ctx, int result, struct pn_spool_entry *entry)
{
	struct store *s = ctx;

	s->pending--;
	if (result != 0) {
		s->failed++;
		return;
	}
	s->stored++;
	pn_spool_entry_free(s->spool, entry);
}

static bool begin_one(struct store *s)
{
	int r = 0;
	struct pn_spool_txn *t = pn_spool_txn_begin(s->writer, &r);

	if (!t)
		return false;
	s->envelope.id = pn_id_make(1, pn_clock_wall_ms());
	if (pn_spool_txn_write(t, pn_slice(s->text, MESSAGE_SIZE)) < 0) {
		pn_spool_txn_abort(t);
		return false;
	}
	s->pending++;
	pn_spool_txn_commit(t, &s->envelope, &s->facts, &s->edits, on_stored, s);
	return true;
}

static bool store_run(void *state, uint64_t iterations)
{
	struct store *s = state;
	uint64_t started = 0;
	uint64_t before = s->stored;
	bool ok = true;

	while ((ok && started < iterations) || s->pending > 0) {
		while (ok && started < iterations && s->pending < AT_A_TIME) {
			ok = begin_one(s);
			started++;
		}
		/* What was begun outside of a callback starts with the hooks of a round that does not wait. */
		if (pn_loop_run_once(s->loop, 0) < 0 ||
		    (s->pending > 0 && pn_loop_run_once(s->loop, PATIENCE_MS) < 0))
			return false;
	}
	/* A segment that is full is reserved anew and the like: part of the price. */
	while (pn_spool_writer_is_busy(s->writer)) {
		if (pn_loop_run_once(s->loop, 10) < 0)
			return false;
	}
	return ok && s->failed == 0 && s->stored - before == iterations;
}

const struct pn_bench_micro pn_bench_micro_store[] = {
	{ "spool_append", "store 4 KiB, 16 at a time, durable", store_open, store_run, store_close,
	  MESSAGE_SIZE, 0, 0, ITERATIONS_MAX },
	{ 0 },
};
