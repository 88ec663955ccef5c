/* SPDX-License-Identifier: ISC */
/* samples.c - see samples.h. */
#include "samples.h"

#include <stdlib.h>

void pn_bench_samples_begin(struct pn_bench_samples *s, uint64_t pid, uint64_t now_ms)
{
	s->count = 0;
	s->next_ms = now_ms + PN_BENCH_SAMPLE_MS;
	pn_bench_watch_init(&s->watch, pid);
	s->server_begin_ns = pn_bench_watch_cpu_ns(&s->watch);
	s->client_begin_ns = pn_bench_own_cpu_ns();
}

uint64_t pn_bench_samples_wait_ms(const struct pn_bench_samples *s, uint64_t now_ms)
{
	if (now_ms >= s->next_ms)
		return 0;
	return pn_min_size(s->next_ms - now_ms, PN_BENCH_SAMPLE_MS);
}

static bool make_room(struct pn_bench_samples *s)
{
	size_t size = s->size ? s->size * 2 : 256;
	struct pn_bench_sample *list;

	if (s->count < s->size)
		return true;
	if (s->count >= PN_BENCH_SAMPLES_MAX)
		return false;
	list = reallocarray(s->list, size, sizeof(*list));
	if (!list)
		return false;
	s->list = list;
	s->size = size;
	return true;
}

void pn_bench_samples_take(struct pn_bench_samples *s, uint64_t now_ms,
			   struct pn_bench_sample sample)
{
	if (now_ms < s->next_ms)
		return;
	while (s->next_ms <= now_ms)
		s->next_ms += PN_BENCH_SAMPLE_MS;
	if (!make_room(s))
		return;
	sample.server_cpu_us = (pn_bench_watch_cpu_ns(&s->watch) - s->server_begin_ns) / 1000;
	sample.server_rss_bytes = pn_bench_watch_rss_bytes(&s->watch);
	sample.client_cpu_us = (pn_bench_own_cpu_ns() - s->client_begin_ns) / 1000;
	s->list[s->count++] = sample;
}

void pn_bench_samples_deinit(struct pn_bench_samples *s)
{
	free(s->list);
	s->list = NULL;
	s->count = s->size = 0;
}

json_t *pn_bench_samples_json(const struct pn_bench_samples *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->count; i++) {
		const struct pn_bench_sample *p = &s->list[i];
		(void)json_array_append_new(
			list,
			json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "t_ms",
				  (json_int_t)p->t_ms, "done", (json_int_t)p->done, "failed",
				  (json_int_t)p->failed, "open", (json_int_t)p->open, "due",
				  (json_int_t)p->due, "server_cpu_us", (json_int_t)p->server_cpu_us,
				  "server_rss_bytes", (json_int_t)p->server_rss_bytes,
				  "client_cpu_us", (json_int_t)p->client_cpu_us));
	}
	return list;
}
