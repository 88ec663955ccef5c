/* SPDX-License-Identifier: ISC */
/*
 * run_json.c - the longer parts of a report: histogram, samples, what was negotiated, failures, the
 * gateway's own counters.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "records.h"
#include "run.h"

#define ANSWER_TIMEOUT_S 30

/* ---- the control socket ---- */

static size_t read_chunk(void *buffer, size_t size, void *ctx)
{
	ssize_t n;

	/* Completions of our ring interrupt a receive that has a time limit. */
	do
		n = recv(*(int *)ctx, buffer, size, 0);
	while (n < 0 && errno == EINTR);
	return n > 0 ? (size_t)n : 0;
}

json_t *pn_bench_gateway_status(const char *path)
{
	static const char request[] = "{\"command\":\"status\"}\n";
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	const struct timeval timeout = { .tv_sec = ANSWER_TIMEOUT_S };
	json_t *answer = NULL;
	json_error_t error = { .text = "" };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	if (fd >= 0) {
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
		if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0 &&
		    send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) > 0)
			answer = json_load_callback(read_chunk, &fd, 0, &error);
		(void)close(fd);
	}
	if (!answer)
		fprintf(stderr, "postern-bench: no gateway answers on the control socket %s: %s\n",
			path, error.text[0] ? error.text : strerror(errno));
	return answer;
}

static json_int_t difference(const json_t *before, const json_t *after, const char *key)
{
	return json_integer_value(json_object_get(after, key)) -
	       json_integer_value(json_object_get(before, key));
}

/* scope -> instance -> counter, after minus before. */
static json_t *counters_difference(const json_t *before, const json_t *after)
{
	json_t *out = json_object();
	const char *scope, *instance, *name;
	json_t *instances, *values, *value;

	json_object_foreach(json_object_get(after, "counters"), scope, instances)
	{
		const json_t *old = json_object_get(json_object_get(before, "counters"), scope);
		json_t *scope_out = json_object();
		json_object_foreach(instances, instance, values)
		{
			json_t *values_out = json_object();
			json_object_foreach(values, name, value)
			{
				json_int_t d =
					difference(json_object_get(old, instance), values, name);
				if (d != 0)
					(void)json_object_set_new(values_out, name,
								  json_integer(d));
			}
			(void)json_object_set_new(scope_out, instance, values_out);
		}
		(void)json_object_set_new(out, scope, scope_out);
	}
	return out;
}

/* One row for each loop, and how far the busiest stands over the mean (1: even). */
static void add_loops(json_t *o, const json_t *counters, uint64_t done)
{
	json_t *rows = json_array();
	const char *instance;
	json_t *session;
	json_int_t sum = 0, max = 0;
	double per_operation = done > 0 ? 1 / (double)done : 0;

	json_object_foreach(json_object_get(counters, "session"), instance, session)
	{
		const json_t *loop = json_object_get(json_object_get(counters, "loop"), instance);
		json_int_t handshakes =
			json_integer_value(json_object_get(session, "handshakes_full")) +
			json_integer_value(json_object_get(session, "handshakes_resumed"));
		json_int_t enters = json_integer_value(json_object_get(loop, "enters"));
		json_int_t cqes = json_integer_value(json_object_get(loop, "cqes"));
		sum += handshakes;
		max = handshakes > max ? handshakes : max;
		(void)json_array_append_new(
			rows, json_pack("{s:s, s:I, s:I, s:I, s:f, s:f}", "name", instance,
					"handshakes", handshakes, "enters", enters, "cqes", cqes,
					"enters_per_operation", (double)enters * per_operation,
					"cqes_per_operation", (double)cqes * per_operation));
	}
	if (sum > 0)
		(void)json_object_set_new(
			o, "loops_max_over_mean",
			json_real((double)max * (double)json_array_size(rows) / (double)sum));
	(void)json_object_set_new(o, "loops", rows);
}

/* ---- the rest ---- */

static json_t *histogram_json(const struct pn_bench_histogram *h)
{
	json_t *list = json_array();

	for (size_t i = 0; i < PN_BENCH_HISTOGRAM_BUCKETS; i++) {
		if (h->buckets[i] > 0)
			(void)json_array_append_new(
				list,
				json_pack("[f, I]", (double)pn_bench_histogram_bucket_end(i) / 1000,
					  (json_int_t)h->buckets[i]));
	}
	return list;
}

static void add_tls(const struct pn_bench_run *run, json_t *o)
{
	const struct pn_bench_negotiated *n = &run->negotiated;
	const struct pn_tls_facts none = { .version = 0 };
	const struct pn_tls_facts *most = &none;
	uint64_t count = 0;

	for (size_t i = 0; i < n->row_count; i++) {
		if (n->rows[i].count > count) {
			count = n->rows[i].count;
			most = &n->rows[i].facts;
		}
	}
	(void)json_object_set_new(
		o, "tls",
		json_pack("{s:i, s:s, s:s, s:s, s:b, s:I, s:I, s:o}", "version", most->version,
			  "suite", most->suite, "group", most->group, "signature", most->signature,
			  "resumed", most->is_resumed, "handshakes_full", (json_int_t)n->full,
			  "handshakes_resumed", (json_int_t)n->resumed, "negotiated",
			  pn_bench_negotiated_json(n)));
}

void pn_bench_run_add_json(const struct pn_bench_run *run, json_t *o)
{
	const struct pn_bench_open_loop *open = &run->open_loop;

	add_tls(run, o);
	(void)json_object_set_new(o, "latency_histogram", histogram_json(&run->latency));
	(void)json_object_set_new(o, "samples", pn_bench_samples_json(&run->samples));
	(void)json_object_set_new(o, "failures_by", pn_bench_failures_json(&run->failures));
	if (run->rate > 0)
		(void)json_object_set_new(
			o, "open_loop",
			json_pack("{s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:f}", "rate",
				  (json_int_t)run->rate, "arrivals", run->arrivals, "scheduled",
				  (json_int_t)open->scheduled, "started", (json_int_t)run->started,
				  "dropped", (json_int_t)open->due.dropped, "unstarted",
				  (json_int_t)open->unstarted, "due_longest",
				  (json_int_t)open->due.longest, "lateness_p50_us",
				  (double)pn_bench_histogram_quantile(&run->lateness, 0.5) / 1000,
				  "lateness_p99_us",
				  (double)pn_bench_histogram_quantile(&run->lateness, 0.99) /
					  1000));
	if (run->sweep_steps)
		(void)json_object_set_new(o, "sweep",
					  json_pack("{s:I, s:I, s:O}", "knee_rate",
						    (json_int_t)run->knee, "p99_max_ms",
						    (json_int_t)run->p99_max_ms, "steps",
						    run->sweep_steps));
	if (run->overload > 0)
		(void)json_object_set_new(o, "overload", json_integer((json_int_t)run->overload));
	if (run->gateway_before && run->gateway_after) {
		json_t *counters = counters_difference(run->gateway_before, run->gateway_after);
		add_loops(o, counters, run->done);
		(void)json_object_set_new(o, "gateway_counters", counters);
	}
	struct pn_bench_records records;
	if (pn_bench_records_of(run->gateway_before, run->gateway_after, &records))
		(void)json_object_set_new(o, "records", pn_bench_records_json(&records));
	(void)json_object_set_new(
		o, "config",
		json_pack("{s:s, s:I, s:b, s:I, s:I, s:I, s:s?, s:s?, s:s?}", "host", run->host,
			  "port", (json_int_t)run->port, "starttls", run->is_starttls, "parallel",
			  (json_int_t)run->parallel, "duration_ms", (json_int_t)run->duration_ms,
			  "rate", (json_int_t)run->rate, "tls", run->tls_version, "certificate",
			  run->certificate, "groups", run->groups));
}
