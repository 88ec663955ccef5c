/* SPDX-License-Identifier: ISC */
/* records.c - see records.h. */
#include "records.h"

#include <stdio.h>
#include <string.h>

/* Of all instances of a scope. */
static uint64_t sum(const json_t *status, const char *scope, const char *name)
{
	json_int_t total = 0;
	const char *instance;
	json_t *values;

	json_object_foreach(json_object_get(json_object_get(status, "counters"), scope), instance,
			    values) total += json_integer_value(json_object_get(values, name));
	return total > 0 ? (uint64_t)total : 0;
}

static uint64_t grown(const json_t *before, const json_t *after, const char *scope,
		      const char *name)
{
	uint64_t b = sum(before, scope, name), a = sum(after, scope, name);

	return a > b ? a - b : 0;
}

bool pn_bench_records_of(const json_t *before, const json_t *after, struct pn_bench_records *ret)
{
	if (!before || !json_object_get(after, "ktls"))
		return false;
	ret->sessions = grown(before, after, "session", "handshakes_full") +
			grown(before, after, "session", "handshakes_resumed") +
			grown(before, after, "upstream", "tls_handshakes");
	uint64_t kernel = grown(before, after, "ktls", "moved");
	uint64_t receive = grown(before, after, "ktls", "moved_receive_only");
	ret->kernel = kernel;
	ret->kernel_receive = receive;
	/* A session that began before the run may have moved in it. */
	ret->user = ret->sessions > kernel + receive ? ret->sessions - kernel - receive : 0;
	return true;
}

json_t *pn_bench_records_json(const struct pn_bench_records *r)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "sessions", (json_int_t)r->sessions, "kernel",
			 (json_int_t)r->kernel, "kernel_receive_only",
			 (json_int_t)r->kernel_receive, "user_space", (json_int_t)r->user);
}

void pn_bench_records_text(const struct pn_bench_records *r, char *out, size_t size)
{
	int n = snprintf(out, size, "kernel TX+RX %llu of %llu sessions, user space %llu",
			 (unsigned long long)r->kernel, (unsigned long long)r->sessions,
			 (unsigned long long)r->user);

	if (r->kernel_receive > 0 && n > 0 && (size_t)n < size)
		(void)snprintf(out + n, size - (size_t)n, ", kernel RX alone %llu",
			       (unsigned long long)r->kernel_receive);
}
