/* SPDX-License-Identifier: ISC */
/* run_options.c - the options that all load commands have, and what TLS and source addresses they ask for. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "run.h"

/* The groups, in their order; together PN_BENCH_RUN_ROW_COUNT. */
#define TARGET_ROWS 7
#define AMOUNT_ROWS 6
#define OPEN_ROWS   7
#define REPORT_ROWS 8

static void target_rows(struct pn_bench_run *run, struct pn_bench_option *rows)
{
	const struct pn_bench_option all[TARGET_ROWS] = {
		{ "host", "NAME", PN_BENCH_TEXT, &run->host, 0, 0,
		  "address or name of the server" },
		{ "port", "N", PN_BENCH_NUMBER, &run->port, 1, 65535, "its port" },
		{ "starttls", NULL, PN_BENCH_FLAG, &run->is_starttls, 0, 0,
		  "STARTTLS, not TLS from the first octet" },
		{ "tls-name", "NAME", PN_BENCH_TEXT, &run->tls_name, 0, 0,
		  "server name to ask for in TLS; the host otherwise" },
		{ "tls", "VERSION", PN_BENCH_TEXT, &run->tls_version, 0, 0,
		  "1.2 or 1.3 alone; otherwise both are offered" },
		{ "certificate", "KIND", PN_BENCH_TEXT, &run->certificate, 0, 0,
		  "ecdsa or rsa: offer only signatures of that kind" },
		{ "groups", "LIST", PN_BENCH_TEXT, &run->groups, 0, 0,
		  "key exchange groups, as x25519:secp256r1:secp384r1" },
	};

	memcpy(rows, all, sizeof(all));
}

static void amount_rows(struct pn_bench_run *run, const char *amount_name,
			struct pn_bench_option *rows)
{
	const struct pn_bench_option all[AMOUNT_ROWS] = {
		{ amount_name, "N", PN_BENCH_NUMBER, &run->operations_max, 1, UINT32_MAX,
		  "how many in all" },
		{ "duration", "S", PN_BENCH_SECONDS, &run->duration_ms, 0, 0,
		  "start nothing new after so many seconds" },
		{ "parallel", "N", PN_BENCH_NUMBER, &run->parallel, 1, 100000,
		  "connections at a time" },
		{ "timeout", "S", PN_BENCH_SECONDS, &run->timeout_ms, 0, 0,
		  "give up on a connection that makes no progress" },
		{ "failures-max", "N", PN_BENCH_NUMBER, &run->failures_max, 0, UINT32_MAX,
		  "stop after more failures than this" },
		{ "source-addresses", "RANGE", PN_BENCH_TEXT, &run->sources, 0, 0,
		  "connect from these in turn, as 127.0.1.1-127.0.1.9" },
	};

	memcpy(rows, all, sizeof(all));
}

static void open_rows(struct pn_bench_run *run, struct pn_bench_option *rows)
{
	const struct pn_bench_option all[OPEN_ROWS] = {
		{ "rate", "N", PN_BENCH_NUMBER, &run->rate, 1, PN_BENCH_RATE_MAX,
		  "so many become due in a second, whatever the server does" },
		{ "arrivals", "KIND", PN_BENCH_TEXT, &run->arrivals, 0, 0,
		  "of --rate: constant or poisson gaps" },
		{ "arrivals-max", "N", PN_BENCH_NUMBER, &run->due_max, 1, 10000000,
		  "due and without a free connection; more are dropped and counted" },
		{ "rate-sweep", "LOW-HIGH", PN_BENCH_TEXT, &run->rate_sweep, 0, 0,
		  "find the knee between these rates first, then measure at it" },
		{ "step", "S", PN_BENCH_SECONDS, &run->step_ms, 0, 0, "of the sweep: its length" },
		{ "p99-max-ms", "N", PN_BENCH_NUMBER, &run->p99_max_ms, 1, 600000,
		  "of the sweep: a step holds while its p99 is no longer" },
		{ "overload", "FACTOR", PN_BENCH_NUMBER, &run->overload, 1, 100,
		  "measure at so many times the rate; refusals are counted, not wrong" },
	};

	memcpy(rows, all, sizeof(all));
}

static void measurement_rows(struct pn_bench_run *run, struct pn_bench_option *rows)
{
	const struct pn_bench_option all[REPORT_ROWS] = {
		{ "seed", "N", PN_BENCH_NUMBER, &run->seed, 0, UINT64_MAX - 1,
		  "of content, sizes and arrivals; 0: a random one" },
		{ "cpu", "N", PN_BENCH_NUMBER, &run->cpu, 0, 1023, "run this program on one CPU" },
		{ "server-pid", "PID", PN_BENCH_NUMBER, &run->server_pid, 1, INT32_MAX,
		  "report what this process and its children use" },
		{ "server-cgroup", "PATH", PN_BENCH_TEXT, &run->server_cgroup, 0, 0,
		  "report what this cgroup uses" },
		{ "control-socket", "PATH", PN_BENCH_TEXT, &run->control_socket, 0, 0,
		  "of a postern: report its counters and how even its loops are" },
		{ "settle", "S", PN_BENCH_SECONDS, &run->settle_ms, 0, 0,
		  "wait so long before the server's cost is read" },
		{ "json", "FILE", PN_BENCH_TEXT, &run->json_path, 0, 0, "write the report there" },
		{ "progress", NULL, PN_BENCH_FLAG, &run->is_progress_wanted, 0, 0,
		  "a line each second (always on a terminal)" },
	};

	memcpy(rows, all, sizeof(all));
}

void pn_bench_run_options(struct pn_bench_run *run, const char *amount_name,
			  struct pn_bench_run_options *o,
			  struct pn_bench_option_group groups[PN_BENCH_RUN_GROUP_COUNT])
{
	struct pn_bench_option *amount = o->rows + TARGET_ROWS;
	struct pn_bench_option *open = amount + AMOUNT_ROWS;
	struct pn_bench_option *measurement = open + OPEN_ROWS;

	target_rows(run, o->rows);
	amount_rows(run, amount_name, amount);
	open_rows(run, open);
	measurement_rows(run, measurement);
	groups[0] = (struct pn_bench_option_group){ "Server", o->rows, TARGET_ROWS };
	groups[1] = (struct pn_bench_option_group){ "Amount", amount, AMOUNT_ROWS };
	groups[2] = (struct pn_bench_option_group){ "Open loop", open, OPEN_ROWS };
	groups[3] = (struct pn_bench_option_group){ "Measurement", measurement, REPORT_ROWS };
}

static bool is_word(const char *text, const char *word)
{
	return text && strcmp(text, word) == 0;
}

struct pn_tls_client *pn_bench_run_tls_client(const struct pn_bench_run *run, struct pn_error *err)
{
	struct pn_tls_client_settings settings = {
		.is_verify_required = false,
		.groups = run->groups,
		.sessions_max = (uint32_t)run->sessions_max,
	};

	if (run->tls_version) {
		settings.version = is_word(run->tls_version, "1.2")   ? 0x0303
				   : is_word(run->tls_version, "1.3") ? 0x0304
								      : 0;
		if (settings.version == 0) {
			(void)pn_error_set(err, "--tls takes 1.2 or 1.3");
			return NULL;
		}
	}
	if (run->certificate) {
		settings.key_wish = is_word(run->certificate, "rsa")     ? PN_TLS_WANT_RSA
				    : is_word(run->certificate, "ecdsa") ? PN_TLS_WANT_ECDSA
									 : PN_TLS_WANT_ANY_KEY;
		if (settings.key_wish == PN_TLS_WANT_ANY_KEY) {
			(void)pn_error_set(err, "--certificate takes ecdsa or rsa");
			return NULL;
		}
	}
	return pn_tls_client_new(&settings, err);
}

bool pn_bench_sources_parse(const char *text, uint32_t *ret_first, uint32_t *ret_count)
{
	char first[INET_ADDRSTRLEN];
	const char *dash = strchr(text, '-');
	size_t len = dash ? (size_t)(dash - text) : strlen(text);
	struct in_addr a, b;

	if (len >= sizeof(first))
		return false;
	memcpy(first, text, len);
	first[len] = '\0';
	if (inet_pton(AF_INET, first, &a) != 1 ||
	    inet_pton(AF_INET, dash ? dash + 1 : first, &b) != 1 ||
	    ntohl(b.s_addr) < ntohl(a.s_addr))
		return false;
	*ret_first = ntohl(a.s_addr);
	*ret_count = ntohl(b.s_addr) - ntohl(a.s_addr) + 1;
	return *ret_count <= 65536;
}
