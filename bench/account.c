/* SPDX-License-Identifier: ISC */
/* account.c - see account.h. */
#include "account.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "message.h"

int pn_bench_account_init(struct pn_bench_account *a, uint64_t run, const char *sink_ids_path)
{
	struct stat st;

	memset(a, 0, sizeof(*a));
	a->run = run;
	if (!sink_ids_path)
		return 0;
	a->fd = open(sink_ids_path, O_RDONLY | O_CLOEXEC);
	if (a->fd < 0 || fstat(a->fd, &st) != 0) {
		int r = -errno;
		pn_bench_account_deinit(a);
		return r;
	}
	a->offset = (uint64_t)st.st_size / PN_BENCH_ID_LINE_LEN * PN_BENCH_ID_LINE_LEN;
	return 0;
}

void pn_bench_account_deinit(struct pn_bench_account *a)
{
	if (a->fd > 0)
		(void)close(a->fd);
	a->fd = 0;
	free(a->entries);
	a->entries = NULL;
	a->count = a->size = 0;
}

int pn_bench_account_next(struct pn_bench_account *a, uint32_t *ret_number)
{
	if (a->count == a->size) {
		uint32_t size = a->size ? a->size * 2 : 1024;
		struct pn_bench_account_entry *entries =
			size > a->size ? reallocarray(a->entries, size, sizeof(*entries)) : NULL;
		if (!entries)
			return -ENOMEM;
		a->entries = entries;
		a->size = size;
	}
	*ret_number = a->count;
	a->entries[a->count++] = (struct pn_bench_account_entry){ .outcome = PN_BENCH_UNDECIDED };
	return 0;
}

static uint64_t hash_text(struct pn_slice text)
{
	uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */

	for (size_t i = 0; i < text.len; i++)
		hash = (hash ^ text.ptr[i]) * 0x100000001b3u;
	return hash;
}

static bool is_complete(const struct pn_bench_account_entry *e)
{
	return e->arrived + e->bounced >= e->expected;
}

void pn_bench_account_set(struct pn_bench_account *a, uint32_t number,
			  enum pn_bench_outcome outcome, struct pn_slice reply,
			  uint16_t recipient_count, uint32_t recipient_sum)
{
	struct pn_bench_account_entry *e = &a->entries[number];

	PN_ASSERT(number < a->count && e->outcome == PN_BENCH_UNDECIDED);
	e->outcome = (uint8_t)outcome;
	e->reply_hash = hash_text(reply);
	e->expected = recipient_count;
	e->sum += recipient_sum;
	if (outcome == PN_BENCH_ACCEPTED && !is_complete(e))
		a->missing++;
}

static void take_line(struct pn_bench_account *a, const char *line)
{
	struct pn_bench_id_line l;

	if (!pn_bench_id_line_parse(line, &l) || l.id.run != a->run || l.id.number >= a->count) {
		a->strangers++;
		return;
	}
	struct pn_bench_account_entry *e = &a->entries[l.id.number];
	bool was_missing = e->outcome == PN_BENCH_ACCEPTED && !is_complete(e);
	uint16_t *count = l.status == 'b' ? &e->bounced : &e->arrived;
	*count = (uint16_t)(*count + l.recipient_count);
	e->sum -= l.recipient_sum;
	if (was_missing && is_complete(e))
		a->missing--;
	if (l.status == '!')
		a->corrupt++;
}

int pn_bench_account_read(struct pn_bench_account *a)
{
	char lines[PN_BENCH_ID_LINE_LEN * 512];

	if (a->fd <= 0)
		return 0;
	for (;;) {
		ssize_t n = pread(a->fd, lines, sizeof(lines), (off_t)a->offset);
		if (n < 0)
			return -errno;
		size_t whole = (size_t)n / PN_BENCH_ID_LINE_LEN;
		for (size_t i = 0; i < whole; i++)
			take_line(a, lines + i * PN_BENCH_ID_LINE_LEN);
		a->offset += whole * PN_BENCH_ID_LINE_LEN;
		if (whole == 0)
			return 0;
	}
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t count_distinct(const struct pn_bench_account *a)
{
	uint64_t *hashes = calloc((size_t)a->count + 1, sizeof(*hashes));
	size_t used = 0;
	uint64_t distinct = 0;

	if (!hashes)
		return 0;
	for (uint32_t i = 0; i < a->count; i++) {
		if (a->entries[i].outcome == PN_BENCH_ACCEPTED)
			hashes[used++] = a->entries[i].reply_hash;
	}
	qsort(hashes, used, sizeof(*hashes), compare_u64);
	for (size_t i = 0; i < used; i++)
		distinct += i == 0 || hashes[i] != hashes[i - 1];
	free(hashes);
	return distinct;
}

void pn_bench_account_sum(const struct pn_bench_account *a, struct pn_bench_account_sums *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->has_sink = a->fd > 0;
	ret->sent = a->count;
	ret->corrupt = a->corrupt;
	ret->lost = ret->has_sink ? a->missing : 0;
	ret->distinct_replies = count_distinct(a);
	for (uint32_t i = 0; i < a->count; i++) {
		const struct pn_bench_account_entry *e = &a->entries[i];
		ret->accepted += e->outcome == PN_BENCH_ACCEPTED;
		ret->refused += e->outcome == PN_BENCH_REFUSED;
		ret->doubtful +=
			e->outcome == PN_BENCH_DOUBTFUL || e->outcome == PN_BENCH_UNDECIDED;
		ret->received += e->arrived > 0;
		ret->bounced += e->bounced > 0;
		ret->duplicated +=
			e->outcome != PN_BENCH_REFUSED && e->arrived + e->bounced > e->expected;
		ret->misdirected += e->outcome == PN_BENCH_ACCEPTED && e->sum != 0 &&
				    e->arrived + e->bounced == e->expected;
		ret->unpromised += e->outcome == PN_BENCH_REFUSED && e->arrived > 0;
	}
}

bool pn_bench_account_is_clean(const struct pn_bench_account_sums *sums)
{
	return sums->lost == 0 && sums->duplicated == 0 && sums->misdirected == 0 &&
	       sums->unpromised == 0 && sums->corrupt == 0;
}
