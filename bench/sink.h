/* SPDX-License-Identifier: ISC */
/*
 * sink.h - the parts of the sink: a fast SMTP or LMTP server that takes everything, or misbehaves as it is told, and
 * knows what it took.
 *
 * One thread, one loop. It speaks plain SMTP or LMTP (PIPELINING, 8BITMIME, SMTPUTF8, SIZE, DSN, optionally
 * CHUNKING) to a relay that we trust: it is strict about line ends and bounded, but it is not a
 * server for the open network.
 */
#ifndef PN_BENCH_SINK_H
#define PN_BENCH_SINK_H

#include <postern/net/loop.h>
#include <postern/smtp/data.h>

#include "id_set.h"
#include "message.h"
#include "sink_rules.h"

#define PN_BENCH_SINK_HEADER_MAX 16384
#define PN_BENCH_SINK_REPORT_MAX 65536
#define PN_BENCH_SINK_LINE_MAX   4096

struct pn_bench_sink {
	struct pn_loop *loop;
	/* options */
	uint64_t lose_count;      /* answered 250 and forgotten */
	uint64_t duplicate_count; /* counted twice, as if they had come twice */
	bool is_chunking_offered, is_lmtp;
	struct pn_bench_sink_rules rules;
	/* what it knows */
	uint64_t connections, messages, octets, recipients, strangers, corrupt, duplicates,
		forgotten, errors, reports, receives, sends;
	struct pn_bench_id_set ids;
	/* lines for the ids file, written in the batch hook before any reply of the batch leaves */
	int ids_fd; /* -1: none */
	struct pn_buf id_lines;
	struct pn_list sessions;
	struct pn_list flush_list;
	struct pn_batch_hook hook;
};

/* ---- content: sink_content.c ---- */

/* The content of one message while it comes. */
struct pn_bench_content {
	struct pn_buf header; /* until the empty line; of a report, all of it */
	bool is_report;       /* its reverse-path is empty (RFC 3464 2) */
	bool is_body;
	bool is_broken; /* a header without end */
	uint32_t crc32c;
	uint64_t octets;
};

void pn_bench_content_init(struct pn_bench_content *c);
void pn_bench_content_add(struct pn_bench_content *c, struct pn_slice run);
/* The message is complete: counts it, with its id. Leaves the content empty for the next. */
void pn_bench_content_end(struct pn_bench_content *c, struct pn_bench_sink *sink, bool is_dirty,
			  uint16_t recipient_count, uint32_t recipient_sum);
void pn_bench_content_reset(struct pn_bench_content *c);
void pn_bench_content_deinit(struct pn_bench_content *c);

/* ---- sessions: sink_session.c ---- */

/* Takes the descriptor. 0 or -ENOMEM. */
int pn_bench_sink_session_new(struct pn_bench_sink *sink, int fd) PN_MUST_CHECK;
/* Sends the replies of this batch. */
void pn_bench_sink_sessions_flush(struct pn_bench_sink *sink);
/* Cancels all; they free themselves while the loop goes round. */
void pn_bench_sink_sessions_close(struct pn_bench_sink *sink);

#endif
