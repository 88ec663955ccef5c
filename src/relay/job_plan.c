/* SPDX-License-Identifier: ISC */
/*
 * job_plan.c - which recipients go where: the pending ones, grouped by upstream, in parts of one
 * transaction each.
 *
 * RFC 5321 4.5.4.1: one copy for all recipients of the same host. Parts are tried one after the
 * other (a job has one reader); those whose upstream has room first. When only full upstreams are
 * left the message goes on as a bare entry on the list of one of them.
 */
#include <errno.h>

#include "job.h"
#include "worker.h"

/* How many recipients this attempt passes over: with more than one attempt can take on, each takes the next
 * lot, so that those at the front who are deferred do not keep the others waiting. */
static uint32_t plan_skip(struct pn_job *job)
{
	const struct pn_spool_message *m = job->message;
	uint32_t pending = 0;
	for (uint32_t i = 0; i < m->envelope.recipient_count; i++)
		pending += m->rcpt_states[i] == PN_RCPT_PENDING;
	job->lot_count = pending <= PN_JOB_RCPTS_MAX ? 1 : (pending + PN_JOB_RCPTS_MAX - 1) / PN_JOB_RCPTS_MAX;
	return job->entry->attempts % job->lot_count * PN_JOB_RCPTS_MAX;
}

static void plan_collect(struct pn_job *job)
{
	const struct pn_spool_message *m = job->message;
	const struct pn_recipient *r = m->envelope.recipients;
	uint32_t index = 0, skip = plan_skip(job);
	for (; r && index < m->envelope.recipient_count; r = r->next, index++) {
		if (m->rcpt_states[index] != PN_RCPT_PENDING)
			continue;
		if (skip > 0) {
			skip--;
			continue;
		}
		if (job->rcpt_count == PN_JOB_RCPTS_MAX)
			return;
		size_t upstream = pn_route_find(&job->worker->setup->route, r->address);
		job->rcpts[job->rcpt_count++] = (struct pn_job_rcpt){
			.recipient = r,
			.index = index,
			.upstream = (uint16_t)upstream,
			.is_local = job->worker->pools[upstream]->settings->kind == PN_UPSTREAM_MAILDIR,
		};
	}
}

/* Stable counting sort by upstream: order within an upstream stays that of the envelope. */
static int plan_group(struct pn_job *job)
{
	size_t upstream_count = job->worker->pool_count;
	uint32_t starts[PN_RELAY_UPSTREAMS_MAX + 1] = {0};
	struct pn_job_rcpt *sorted = pn_arena_alloc(&job->arena, (job->rcpt_count + 1) * sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	for (uint32_t i = 0; i < job->rcpt_count; i++)
		starts[job->rcpts[i].upstream + 1]++;
	for (size_t u = 0; u < upstream_count; u++) {
		uint32_t max = job->worker->pools[u]->settings->recipients_per_transaction_max;
		job->part_count += (starts[u + 1] + max - 1) / max;
		starts[u + 1] += starts[u];
	}
	for (uint32_t i = 0; i < job->rcpt_count; i++)
		sorted[starts[job->rcpts[i].upstream]++] = job->rcpts[i];
	job->rcpts = sorted;
	return 0;
}

static void plan_parts(struct pn_job *job)
{
	uint32_t count = 0, i = 0;
	while (i < job->rcpt_count) {
		uint16_t upstream = job->rcpts[i].upstream;
		struct pn_pool *pool = job->worker->pools[upstream];
		uint32_t max = pool->settings->recipients_per_transaction_max;
		struct pn_part *part = &job->parts[count++];
		*part = (struct pn_part){.pool = pool, .serial = pool->upstream->serial, .first = i};
		while (i < job->rcpt_count && job->rcpts[i].upstream == upstream && part->count < max) {
			part->count++;
			i++;
		}
	}
	PN_ASSERT(count == job->part_count);
}

int pn_job_plan(struct pn_job *job)
{
	uint32_t max = job->message->envelope.recipient_count;
	if (max > PN_JOB_RCPTS_MAX)
		max = PN_JOB_RCPTS_MAX;
	job->rcpts = pn_arena_alloc(&job->arena, (max + 1) * sizeof(*job->rcpts));
	if (!job->rcpts)
		return -ENOMEM;
	plan_collect(job);
	if (plan_group(job) < 0)
		return -ENOMEM;
	job->parts = pn_arena_zalloc(&job->arena, (job->part_count + 1) * sizeof(*job->parts));
	if (!job->parts)
		return -ENOMEM;
	plan_parts(job);
	return 0;
}

struct pn_part *pn_job_reserved_part(struct pn_job *job)
{
	for (uint32_t i = 0; i < job->part_count; i++) {
		if (!job->parts[i].is_done && job->parts[i].pool == job->pool)
			return &job->parts[i];
	}
	return NULL;
}

/* Upstreams 64 apart are not told apart: both are left alone, or both tried again. A message of several lots is on
 * another one in each attempt. */
static uint64_t round_bit(const struct pn_job *job, const struct pn_part *part)
{
	return job->lot_count > 1 ? 0 : UINT64_C(1) << (part->pool->upstream->serial % 64);
}

void pn_job_round_end(struct pn_job *job)
{
	uint64_t tried = 0, left = 0;
	for (uint32_t i = 0; i < job->part_count; i++) {
		const struct pn_part *part = &job->parts[i];
		if (part->is_done)
			tried |= round_bit(job, part);
		else
			left |= round_bit(job, part);
	}
	job->entry->round = job->park ? job->entry->round | (tried & ~left) : 0;
}

struct pn_part *pn_job_next_part(struct pn_job *job)
{
	struct pn_part *left = NULL;
	for (uint32_t i = 0; i < job->part_count; i++) {
		struct pn_part *part = &job->parts[i];
		if (part->is_done || (job->entry->round & round_bit(job, part)))
			continue;
		if (pn_pool_enter(part->pool)) {
			job->pool = part->pool;
			return part;
		}
		left = left ? left : part;
	}
	job->park = left ? left->pool : NULL;
	return NULL;
}
