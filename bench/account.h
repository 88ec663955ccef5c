/* SPDX-License-Identifier: ISC */
/*
 * account.h - what became of each message of a run: what the server said, and how often the sink has seen it.
 *
 * A promise is kept when each recipient got the message, or the sender a report that says that this recipient did
 * not. Lost: a 250 was given and for some recipient the sink has neither. Duplicate: it has more than that.
 * Misdirected: as many as promised, but others. Unpromised: the server refused it and the sink has it all the same.
 * A message whose connection broke behind its last octet is in doubt: it may have arrived once. One thread.
 */
#ifndef PN_BENCH_ACCOUNT_H
#define PN_BENCH_ACCOUNT_H

#include <jansson.h>

#include <postern/base/common.h>
#include <postern/base/slice.h>

enum pn_bench_outcome {
	PN_BENCH_UNDECIDED,
	PN_BENCH_ACCEPTED, /* 250 */
	PN_BENCH_REFUSED,
	PN_BENCH_DOUBTFUL,
};

struct pn_bench_account_entry {
	uint64_t reply_hash; /* of the text of the 250, which names the server's own id */
	uint32_t sum;        /* of the recipients promised, less those that came or bounced */
	uint16_t expected, arrived, bounced; /* recipients */
	uint8_t outcome;
};

/* Zeroed = empty. */
struct pn_bench_account {
	uint64_t run;
	struct pn_bench_account_entry *entries;
	uint32_t count, size;
	uint32_t missing; /* accepted and not (yet) complete */
	int fd;           /* the sink's ids file; 0: not asked for */
	uint64_t offset;
	uint64_t strangers; /* messages of other runs in that file */
	uint64_t corrupt;   /* of ours, the body changed on the way */
};

struct pn_bench_account_sums {
	uint64_t sent, accepted, refused, doubtful;
	uint64_t distinct_replies; /* different texts among the 250s */
	bool has_sink;
	uint64_t received, bounced, lost, duplicated, misdirected, unpromised, corrupt;
};

/* The file is read from its present end on: earlier runs are none of ours. path NULL: no sink. 0 or -errno. */
int pn_bench_account_init(struct pn_bench_account *a, uint64_t run,
			  const char *sink_ids_path) PN_MUST_CHECK;
void pn_bench_account_deinit(struct pn_bench_account *a);
/* A number for the next message. 0 or -ENOMEM. */
int pn_bench_account_next(struct pn_bench_account *a, uint32_t *ret_number) PN_MUST_CHECK;
/* With the recipients that were accepted and their sum (message.h); both 0 when refused. */
void pn_bench_account_set(struct pn_bench_account *a, uint32_t number,
			  enum pn_bench_outcome outcome, struct pn_slice reply,
			  uint16_t recipient_count, uint32_t recipient_sum);
/* Reads what the sink has written meanwhile. 0 or -errno. */
int pn_bench_account_read(struct pn_bench_account *a) PN_MUST_CHECK;
void pn_bench_account_sum(const struct pn_bench_account *a, struct pn_bench_account_sums *ret);
/* Whether nothing was lost, doubled, changed or delivered against the server's word. */
bool pn_bench_account_is_clean(const struct pn_bench_account_sums *sums);

/* ---- account_report.c ---- */

/* A new reference. */
json_t *pn_bench_account_json(const struct pn_bench_account_sums *a);
void pn_bench_account_print(const struct pn_bench_account_sums *a);

#endif
