/* SPDX-License-Identifier: ISC */
/*
 * floors.c - sums of bare parts, and the gateway's figures as multiples of them.
 *
 * A floor holds only what no gateway can leave out, each part at its cheapest: parsing, logging, policy and the reading
 * back of what was stored are not in it. The distance is what could be looked at. Each message has a receive, a reply
 * and a send of its own: where messages follow each other without waiting, a gateway may share those.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "limit.h"
#include "results.h"

#define PARTS_MAX 6

enum floor_kind {
	FLOOR_HANDSHAKE,
	FLOOR_HANDSHAKE_RESUMED,
	FLOOR_STARTTLS,
	FLOOR_MESSAGE_4K,
	FLOOR_MESSAGE_64K,
	FLOOR_MESSAGE_1M,
	FLOOR_SESSION_4K,
	FLOOR_COUNT
};

static const struct {
	const char *name, *what;
	struct {
		const char *row;
		unsigned times;
	} parts[PARTS_MAX];
} floors[FLOOR_COUNT] = {
	[FLOOR_HANDSHAKE] = { "handshake",
			      "full handshake and one connection with one exchange",
			      { { "tls_full_ecdsa", 1 }, { "ring_connection", 1 } } },
	[FLOOR_HANDSHAKE_RESUMED] = { "handshake_resumed",
				      "the same, resumed",
				      { { "tls_resumed", 1 }, { "ring_connection", 1 } } },
	[FLOOR_STARTTLS] = { "starttls",
			     "full handshake, one connection, one exchange more",
			     { { "tls_full_ecdsa", 1 },
			       { "ring_connection", 1 },
			       { "ring_exchange", 1 } } },
	[FLOOR_MESSAGE_4K] = { "message_4k",
			       "4 KiB received, opened, stored in groups, sent on",
			       { { "ring_message", 1 },
				 { "open_aes128_4k", 1 },
				 { "sync_4k_group", 1 },
				 { "ring_send_4k", 1 } } },
	[FLOOR_MESSAGE_64K] = { "message_64k",
				"64 KiB received, opened, stored in groups, sent on",
				{ { "ring_receive_64k", 1 },
				  { "open_aes128_16k", 4 },
				  { "sync_64k_group", 1 },
				  { "ring_send_64k", 1 } } },
	[FLOOR_MESSAGE_1M] = { "message_1m",
			       "1 MiB received, opened, stored, sent on",
			       { { "ring_receive_1m", 1 },
				 { "open_aes128_16k", 64 },
				 { "sync_1m", 1 },
				 { "ring_send_1m", 1 } } },
	[FLOOR_SESSION_4K] = { "session_4k",
			       "full handshake, one connection, one such message of 4 KiB",
			       { { "tls_full_ecdsa", 1 },
				 { "ring_connection", 1 },
				 { "ring_message", 1 },
				 { "open_aes128_4k", 1 },
				 { "sync_4k_group", 1 },
				 { "ring_send_4k", 1 } } },
};

/* 0 when one of its parts was not measured. */
static double floor_us(const struct pn_bench_limit_result *results, size_t count,
		       enum floor_kind kind)
{
	double sum = 0;

	for (size_t i = 0; i < PARTS_MAX && floors[kind].parts[i].row; i++) {
		double part = pn_bench_limit_cpu_us(results, count, floors[kind].parts[i].row);
		if (part <= 0)
			return 0;
		sum += part * floors[kind].parts[i].times;
	}
	return sum;
}

static void report_floor(enum floor_kind kind, double us, json_t *array)
{
	json_t *parts = json_array();

	printf("floor %-18s %9.2f us CPU = ", floors[kind].name, us);
	for (size_t i = 0; i < PARTS_MAX && floors[kind].parts[i].row; i++) {
		unsigned times = floors[kind].parts[i].times;
		if (times > 1)
			printf("%s%u x %s", i > 0 ? " + " : "", times, floors[kind].parts[i].row);
		else
			printf("%s%s", i > 0 ? " + " : "", floors[kind].parts[i].row);
		(void)json_array_append_new(parts, json_pack("{s:s, s:i}", "row",
							     floors[kind].parts[i].row, "times",
							     (int)times));
	}
	printf("  (%s)\n", floors[kind].what);
	(void)json_array_append_new(array, json_pack("{s:s, s:s, s:f, s:o}", "name",
						     floors[kind].name, "what", floors[kind].what,
						     "cpu_us", us, "parts", parts));
}

void pn_bench_floors_report(const struct pn_bench_limit_result *results, size_t count,
			    json_t *document)
{
	json_t *array = json_array();

	for (int k = 0; k < FLOOR_COUNT; k++) {
		double us = floor_us(results, count, (enum floor_kind)k);
		if (us > 0)
			report_floor((enum floor_kind)k, us, array);
	}
	if (document)
		(void)json_object_set(document, "floors", array);
	json_decref(array);
}

/* ---- the gateway's figures ---- */

/* Of messages that are all of one size: any other has no floor. */
static enum floor_kind floor_of_messages(const json_t *result, double per_connection)
{
	static const struct {
		double size_bytes;
		enum floor_kind kind;
	} sizes[] = { { 4096, FLOOR_MESSAGE_4K },
		      { 65536, FLOOR_MESSAGE_64K },
		      { 1048576, FLOOR_MESSAGE_1M } };
	double size_bytes = pn_bench_json_number(result, "message_size_bytes", 0);
	enum floor_kind kind = FLOOR_COUNT;

	/* A range, a distribution, a mixture: the figure is of the greatest. */
	if (strpbrk(pn_bench_json_text(result, "size"), "-:,"))
		return FLOOR_COUNT;
	for (size_t i = 0; i < PN_ARRAY_SIZE(sizes); i++) {
		if (size_bytes == sizes[i].size_bytes)
			kind = sizes[i].kind;
	}
	if (per_connection >= 2)
		return kind;
	return kind == FLOOR_MESSAGE_4K ? FLOOR_SESSION_4K : FLOOR_COUNT;
}

/* Which floor a row of figures stands on; FLOOR_COUNT when none fits. */
static enum floor_kind floor_of(const json_t *result)
{
	const char *command = pn_bench_json_text(result, "command");
	double connections = pn_bench_json_number(result, "connections", 0);

	if (strcmp(command, "handshake") == 0) {
		bool is_resumed = pn_bench_json_flag(pn_bench_json_at(result, "tls"), "resumed");
		bool is_starttls =
			pn_bench_json_flag(pn_bench_json_at(result, "config"), "starttls");
		if (is_resumed)
			return is_starttls ? FLOOR_COUNT : FLOOR_HANDSHAKE_RESUMED;
		return is_starttls ? FLOOR_STARTTLS : FLOOR_HANDSHAKE;
	}
	if (strcmp(command, "submit") != 0 || connections <= 0)
		return FLOOR_COUNT;
	return floor_of_messages(result,
				 pn_bench_json_number(result, "operations", 0) / connections);
}

static void print_beside(const struct pn_bench_limit_result *results, size_t count,
			 const struct pn_bench_row *row, json_t *array)
{
	double values[PN_BENCH_ROUNDS_MAX];
	size_t n = pn_bench_row_values(row, pn_bench_metric_find("cpu"), values);
	enum floor_kind kind = n > 0 ? floor_of(row->rounds[0]) : FLOOR_COUNT;
	double figure = pn_bench_median(values, n);
	double least = kind < FLOOR_COUNT ? floor_us(results, count, kind) : 0;

	if (least <= 0 || figure <= 0) {
		printf("%-44s %9.1f us  no floor measured for it\n", row->name, figure);
		return;
	}
	printf("%-44s %9.1f us  floor %-18s %8.1f us  %3.0f %% of it is the floor (%.2f times)\n",
	       row->name, figure, floors[kind].name, least, least / figure * 100, figure / least);
	(void)json_array_append_new(array,
				    json_pack("{s:s, s:f, s:s, s:f, s:f}", "name", row->name,
					      "cpu_us", figure, "floor", floors[kind].name,
					      "floor_us", least, "floor_share", least / figure));
}

int pn_bench_floors_compare(const struct pn_bench_limit_result *results, size_t count,
			    const char *figures_path, json_t *document)
{
	struct pn_bench_results figures = { 0 };
	int r = pn_bench_results_load(&figures, figures_path);

	if (r == 0) {
		json_t *array = json_array();
		printf("\nthe gateway's figures of %s (server CPU, medians)\n", figures_path);
		for (size_t i = 0; i < figures.count; i++)
			print_beside(results, count, &figures.rows[i], array);
		if (document)
			(void)json_object_set(document, "gateway", array);
		json_decref(array);
	}
	pn_bench_results_free(&figures);
	return r;
}
