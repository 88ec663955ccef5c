/* SPDX-License-Identifier: ISC */
/* recipients.h - the recipients of messages: one address, and "local+N@domain" for the others. */
#ifndef PN_BENCH_RECIPIENTS_H
#define PN_BENCH_RECIPIENTS_H

#include <postern/smtp/envelope.h>

#define PN_BENCH_RECIPIENTS_MAX 1000u

/* Zeroed = none. */
struct pn_bench_recipients {
	struct pn_recipient *list;
	const struct pn_recipient **pointers;
	uint32_t *sums; /* message.h */
	size_t count;
};

/* 0, -EINVAL (not an address) or -ENOMEM. */
int pn_bench_recipients_make(struct pn_bench_recipients *r, const char *to,
			     size_t count) PN_MUST_CHECK;
void pn_bench_recipients_deinit(struct pn_bench_recipients *r);
/* Of the first `count`. */
uint32_t pn_bench_recipients_sum(const struct pn_bench_recipients *r, size_t count);

#endif
