/* SPDX-License-Identifier: ISC */
/* writer.c - life of a writer and admission. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spool/writer.h"

static const char *const counter_names[] = {
#define X(name) #name,
	PN_WRITER_COUNTERS(X)
#undef X
};

/* Whatever gathered in this round of the loop goes out as one batch. */
static void on_batch(struct pn_loop *loop, struct pn_batch_hook *hook)
{
	struct pn_spool_writer *w = pn_container_of(hook, struct pn_spool_writer, hook);
	(void)loop;
	pn_append_kick(&w->append);
	pn_counter_set(&w->counters[PN_WRITER_C_batches], w->append.batches);
	pn_counter_set(&w->counters[PN_WRITER_C_bytes], w->append.bytes);
	pn_counter_set(&w->counters[PN_WRITER_C_batch_failures], w->append.failures);
	pn_counter_set(&w->counters[PN_WRITER_C_segments], w->append.files);
}

/* Any writer's timer serves all: the pool keeps the time. */
static void on_trim(struct pn_timer *timer)
{
	struct pn_spool_writer *w = pn_container_of(timer, struct pn_spool_writer, trim_timer);
	bool has_more = pn_pool_trim(&w->spool->pool, pn_loop_now_ms(w->loop));
	/* One that is busy may yet take large blocks. */
	if (has_more || pn_spool_writer_is_busy(w))
		pn_loop_timer_set(w->loop, &w->trim_timer, PN_POOL_TRIM_MS);
}

void pn_writer_trim_later(struct pn_spool_writer *w)
{
	if (!pn_timer_is_armed(&w->trim_timer))
		pn_loop_timer_set(w->loop, &w->trim_timer, PN_POOL_TRIM_MS);
}

struct pn_spool_writer *pn_spool_writer_new(struct pn_spool *spool, struct pn_loop *loop,
					    const char *name, struct pn_error *err)
{
	struct pn_spool_writer *w = calloc(1, sizeof(*w));
	int res = w ? pn_helper_start(spool) : -ENOMEM;
	if (res == 0)
		res = pn_append_init(&w->append, spool, loop, PN_FILE_SEGMENT,
				     spool->settings.segment_size_bytes);
	if (res < 0) {
		pn_error_set(err, "spool %s: cannot make a segment of %llu octets for %s: %s",
			     spool->path, (unsigned long long)spool->settings.segment_size_bytes,
			     name, strerror(-res));
		free(w);
		return NULL;
	}
	w->spool = spool;
	w->loop = loop;
	pn_list_init(&w->names.waiting);
	pn_list_init(&w->names.flying);
	pn_timer_init(&w->trim_timer, on_trim);
	w->hook.fn = on_batch;
	pn_loop_hook_add(loop, &w->hook);
	w->counter_block.scope = "spool";
	snprintf(w->counter_block.instance, sizeof(w->counter_block.instance), "%s", name);
	w->counter_block.names = counter_names;
	w->counter_block.values = w->counters;
	w->counter_block.count = PN_WRITER_COUNTER_COUNT;
	pn_counters_register(&w->counter_block);
	return w;
}

void pn_spool_writer_free(struct pn_spool_writer *w)
{
	if (!w)
		return;
	PN_ASSERT(!pn_spool_writer_is_busy(w));
	pn_counters_unregister(&w->counter_block);
	pn_loop_hook_remove(w->loop, &w->hook);
	pn_loop_timer_cancel(w->loop, &w->trim_timer);
	pn_append_deinit(&w->append);
	free(w);
}

bool pn_spool_writer_is_busy(const struct pn_spool_writer *w)
{
	return w->txns > 0 || w->larges > 0 || w->moves > 0 || pn_append_is_busy(&w->append);
}

void pn_spool_writer_set_internal(struct pn_spool_writer *w)
{
	w->is_internal = true;
}

int pn_spool_admit(struct pn_spool_writer *w)
{
	struct pn_spool *s = w->spool;
	if (pn_append_state(&w->append) < 0)
		return -ENOSPC;
	if (w->is_internal)
		return 0;
	/* relaxed: the helper makes it again as soon as there is room */
	if (!atomic_load_explicit(&s->has_reserve, memory_order_relaxed))
		return -ENOSPC;
	/* relaxed: two numbers for a limit, each exact enough on its own */
	if (atomic_load_explicit(&s->free_bytes, memory_order_relaxed) <
	    atomic_load_explicit(&s->free_space_min_bytes, memory_order_relaxed))
		return -ENOSPC;
	if (atomic_load_explicit(&s->slots_used, memory_order_relaxed) >=
	    atomic_load_explicit(&s->queue_messages_max, memory_order_relaxed))
		return -EDQUOT;
	return 0;
}
