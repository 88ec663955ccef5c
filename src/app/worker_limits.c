/* SPDX-License-Identifier: ISC */
/* worker_limits.c - the limits that `postern status` shows: set by the main thread, read by the admin thread. */
#include <string.h>

#include "worker.h"

size_t pn_worker_limits(void *ctx, struct pn_admin_limit *out, size_t max)
{
	struct worker *w = ctx;
	struct pn_spool_stats st;
	pn_spool_stats(w->spool, &st);
	uint64_t sessions = atomic_load_explicit(&w->shared.sessions, memory_order_relaxed);
	uint64_t handshakes = atomic_load_explicit(&w->shared.handshakes, memory_order_relaxed);
	const struct pn_admin_limit all[] = {
		{ "limits.sessions_max", w->live.sessions_max, sessions, "session",
		  "refused_sessions_max" },
		{ "limits.handshakes_max", w->live.handshakes_max, handshakes, "session",
		  "refused_handshakes_max" },
		{ "limits.sessions_per_source_max", w->live.sessions_per_source_max, 0, "session",
		  "refused_source_sessions" },
		{ "limits.connections_per_source_per_minute_max",
		  w->live.connections_per_minute_max, 0, "session", "refused_source_rate" },
		{ "limits.size_max_bytes", w->live.size_max_bytes, 0, "reply", "message-too-big" },
		{ "limits.header_size_max_bytes", w->live.header_size_max_bytes, 0, "reply",
		  "header-too-big" },
		{ "limits.text_line_max_bytes", w->live.text_line_max_bytes, 0, "reply",
		  "text-line-too-long" },
		{ "limits.command_line_max_bytes", w->live.command_line_max_bytes, 0, "reply",
		  "line-too-long" },
		{ "limits.auth_line_max_bytes", w->live.auth_line_max_bytes, 0, "reply",
		  "auth-line-too-long" },
		{ "limits.recipients_max", w->live.recipients_max, 0, "reply",
		  "too-many-recipients" },
		{ "limits.received_max", w->live.received_max, 0, "reply", "loop" },
		{ "limits.bad_commands_max", w->live.bad_commands_max, 0, "reply",
		  "too-many-errors" },
		{ "limits.commits_per_session_max", w->live.commits_max, 0, "session",
		  "commit_waits" },
		{ "limits.transaction_memory_max_bytes", w->live.transaction_memory_max_bytes, 0,
		  "reply", "memory" },
		{ "limits.output_buffer_max_bytes", w->live.output_buffer_max_bytes, 0, "session",
		  "output_stalls" },
		{ "auth.failures_max", w->live.auth_failures_max, 0, "reply", "auth-too-many" },
		{ "auth.helper_queue_max", w->live.auth_helper_queue_max, pn_auth_inflight(w->auth),
		  "auth", "queue_full" },
		{ "auth.cache_entries_max", w->live.auth_cache_entries_max, 0, "auth",
		  "cache_evictions" },
		{ "limits.sources_max", w->live.sources_max, 0, "session", "sources_untracked" },
		{ "limits.queue_ring_entries", w->live.queue_ring_entries, 0, "relay_queue",
		  "overflowed" },
		{ "limits.relay_jobs_max", w->live.relay_jobs_max, 0, "relay", "jobs_full" },
		{ "spool.queue_messages_max", w->live.queue_messages_max, st.messages, "reply",
		  "queue-full" },
		{ "spool.memory_max_bytes", w->live.memory_max_bytes, st.memory_bytes, NULL, NULL },
		{ "spool.free_space_min_bytes", w->live.free_space_min_bytes, st.free_bytes,
		  "reply", "storage-full" },
	};
	size_t count = PN_ARRAY_SIZE(all) < max ? PN_ARRAY_SIZE(all) : max;
	memcpy(out, all, count * sizeof(all[0]));
	return count;
}

void pn_worker_limits_set(struct worker *w)
{
	const struct pn_session_profile *p = w->profile;
	const struct pn_spool_settings *spool = &w->settings.spool;
	w->live.sessions_max = p->sessions_max;
	w->live.handshakes_max = p->handshakes_max;
	w->live.sessions_per_source_max = p->sessions_per_source_max;
	w->live.connections_per_minute_max = p->connections_per_source_per_minute_max;
	w->live.header_size_max_bytes = p->smtp.limits.header_size_max_bytes;
	w->live.text_line_max_bytes = p->smtp.limits.text_line_max_bytes;
	w->live.command_line_max_bytes = p->smtp.limits.command_line_max_bytes;
	w->live.auth_line_max_bytes = p->smtp.limits.auth_line_max_bytes;
	w->live.recipients_max = p->smtp.limits.recipients_max;
	w->live.received_max = p->smtp.limits.received_max;
	w->live.bad_commands_max = p->smtp.limits.bad_commands_max;
	w->live.transaction_memory_max_bytes = p->smtp.limits.transaction_memory_max_bytes;
	w->live.output_buffer_max_bytes = p->output_buffer_max_bytes;
	w->live.commits_max = p->commits_max;
	w->live.auth_failures_max = p->smtp.limits.auth_failures_max;
	w->live.size_max_bytes = p->smtp.limits.message_size_max_bytes;
	w->live.auth_helper_queue_max = w->settings.auth.helper_queue_max;
	w->live.auth_cache_entries_max = w->settings.auth.cache_entries_max;
	w->live.sources_max = w->config->limits.sources_max;
	w->live.queue_ring_entries = w->config->limits.queue_ring_entries;
	w->live.relay_jobs_max = w->settings.relay.jobs_max;
	w->live.queue_messages_max = spool->queue_messages_max;
	w->live.memory_max_bytes = spool->memory_max_bytes;
	w->live.free_space_min_bytes = spool->free_space_min_bytes;
}
