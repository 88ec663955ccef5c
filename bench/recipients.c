/* SPDX-License-Identifier: ISC */
/* recipients.c - see recipients.h. */
#include "recipients.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"

int pn_bench_recipients_make(struct pn_bench_recipients *r, const char *to, size_t count)
{
	const char *at = strrchr(to, '@');
	char text[512];

	if (!at || at == to || !at[1] || strlen(to) > 255)
		return -EINVAL;
	r->list = calloc(count, sizeof(*r->list));
	r->pointers = calloc(count, sizeof(*r->pointers));
	r->sums = calloc(count, sizeof(*r->sums));
	if (!r->list || !r->pointers || !r->sums)
		return -ENOMEM;
	for (; r->count < count; r->count++) {
		size_t i = r->count;
		if (i == 0)
			(void)snprintf(text, sizeof(text), "%s", to);
		else
			(void)snprintf(text, sizeof(text), "%.*s+%zu%s", (int)(at - to), to, i, at);
		char *copy = strdup(text);
		if (!copy)
			return -ENOMEM;
		r->list[i].address = pn_slice_str(copy);
		r->pointers[i] = &r->list[i];
		r->sums[i] = pn_bench_recipient_sum(r->list[i].address);
	}
	return 0;
}

void pn_bench_recipients_deinit(struct pn_bench_recipients *r)
{
	for (size_t i = 0; i < r->count; i++)
		free((void *)(uintptr_t)r->list[i].address.ptr);
	free(r->list);
	free(r->pointers);
	free(r->sums);
	memset(r, 0, sizeof(*r));
}

uint32_t pn_bench_recipients_sum(const struct pn_bench_recipients *r, size_t count)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += r->sums[i];
	return sum;
}
