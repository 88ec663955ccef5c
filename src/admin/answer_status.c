/* SPDX-License-Identifier: ISC */
/* answer_status.c - every counter of every thread, the spool, limits and memory, as one JSON
 * document. */
#include <string.h>
#include <unistd.h>

#include <postern/base/clock.h>
#include <postern/base/counters.h>

#include "admin_internal.h"

#define LIMITS_MAX 32

/* Weak: sanitizer builds have no jemalloc. */
int mallctl(const char *name, void *old, size_t *old_len, void *new, size_t new_len)
	__attribute__((weak));

static void add_block(const struct pn_counter_block *block, void *ctx)
{
	json_t *scopes = ctx;
	json_t *scope = json_object_get(scopes, block->scope);
	if (!scope) {
		scope = json_object();
		(void)json_object_set_new(scopes, block->scope, scope);
	}
	json_t *values = json_object();
	for (size_t i = 0; i < block->count; i++)
		(void)json_object_set_new(
			values, block->names[i],
			json_integer((json_int_t)pn_counter_get(&block->values[i])));
	(void)json_object_set_new(scope, block->instance, values);
}

static json_int_t counter_sum(const json_t *counters, const char *scope, const char *name)
{
	json_int_t sum = 0;
	const char *key;
	json_t *instance;
	json_object_foreach(json_object_get(counters, scope), key, instance) sum +=
		json_integer_value(json_object_get(instance, name));
	return sum;
}

static json_t *limits_of(const struct pn_admin *a, const json_t *counters)
{
	struct pn_admin_limit limits[LIMITS_MAX];
	size_t count = a->settings.limits
			       ? a->settings.limits(a->settings.limits_ctx, limits, LIMITS_MAX)
			       : 0;
	json_t *out = json_object();
	for (size_t i = 0; i < count; i++) {
		const struct pn_admin_limit *l = &limits[i];
		json_t *row = json_pack("{s:I,s:I}", "max", (json_int_t)l->max, "used",
					(json_int_t)l->used);
		if (l->counter_name)
			(void)json_object_set_new(
				row, "refused",
				json_integer(
					counter_sum(counters, l->counter_scope, l->counter_name)));
		(void)json_object_set_new(out, l->name, row);
	}
	return out;
}

static json_int_t malloc_stat(const char *name)
{
	size_t value = 0;
	size_t len = sizeof(value);
	return mallctl && mallctl(name, &value, &len, NULL, 0) == 0 ? (json_int_t)value : 0;
}

static json_t *memory_of(void)
{
	uint64_t epoch = 1;
	size_t len = sizeof(epoch);
	if (!mallctl || mallctl("epoch", &epoch, &len, &epoch, len) != 0)
		return json_object();
	return json_pack("{s:I,s:I,s:I}", "allocated_bytes", malloc_stat("stats.allocated"),
			 "active_bytes", malloc_stat("stats.active"), "resident_bytes",
			 malloc_stat("stats.resident"));
}

static json_t *features_of(const struct pn_admin *a)
{
	json_t *out = json_array();
	for (unsigned i = 0; i < PN_NET_FEATURE_COUNT; i++) {
		if (a->settings.features >> i & 1u)
			(void)json_array_append_new(out, json_string(pn_net_feature_name(
								 (enum pn_net_feature_index)i)));
	}
	return out;
}

static json_t *suites_of(const struct pn_ktls_support *s)
{
	static const char *const versions[PN_KTLS_VERSION_COUNT] = { "TLSv1.2", "TLSv1.3" };
	json_t *out = json_object();
	for (unsigned v = 0; v < PN_KTLS_VERSION_COUNT; v++) {
		json_t *ciphers = json_object();
		for (unsigned i = 0; i < PN_KTLS_CIPHER_COUNT; i++)
			(void)json_object_set_new(
				ciphers, pn_ktls_cipher_name((enum pn_ktls_cipher)i),
				json_pack("{s:b,s:b}", "send", s->ciphers[v][i].can_send, "receive",
					  s->ciphers[v][i].can_receive));
		(void)json_object_set_new(out, versions[v], ciphers);
	}
	return out;
}

/* What the kernel offers; what was made of it is in the counters. */
static json_t *ktls_of(const struct pn_admin *a)
{
	const struct pn_ktls_support *s = a->settings.ktls;
	char text[256];
	if (!s)
		return json_pack("{s:b,s:b,s:s}", "wanted", 0, "usable", 0, "text", "switched off");
	pn_ktls_describe(s, text, sizeof(text));
	return json_pack("{s:b,s:b,s:s,s:o,s:b,s:b}", "wanted", 1, "usable", pn_ktls_is_usable(s),
			 "text", text, "suites", suites_of(s), "no_pad", s->has_no_pad, "rekey",
			 s->has_rekey);
}

json_t *pn_admin_answer_status(const struct pn_admin *a)
{
	struct pn_spool_stats st;
	char hostname[256];
	pn_spool_stats(a->settings.spool, &st);
	a->settings.hostname(a->settings.hostname_ctx, hostname, sizeof(hostname));
	json_t *counters = json_object();
	pn_counters_for_each(add_block, counters);
	json_t *spool =
		json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "messages", (json_int_t)st.messages,
			  "segments", (json_int_t)st.segments, "files", (json_int_t)st.files,
			  "disk_bytes", (json_int_t)st.disk_bytes, "memory_bytes",
			  (json_int_t)st.memory_bytes, "free_bytes", (json_int_t)st.free_bytes);
	return json_pack("{s:b,s:s,s:s,s:i,s:I,s:o,s:o,s:o,s:o,s:o,s:o}", "ok", 1, "version",
			 a->settings.version, "hostname", hostname, "pid",
			 (int)getpid(), "uptime_s",
			 (json_int_t)((pn_clock_wall_ms() - a->settings.started_wall_ms) / 1000),
			 "io_uring", features_of(a), "ktls", ktls_of(a), "spool", spool, "limits",
			 limits_of(a, counters), "memory", memory_of(), "counters", counters);
}
