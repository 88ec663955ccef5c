/* SPDX-License-Identifier: ISC */
/*
 * floors.c - sums of bare parts, and the gateway's figures as multiples of them.
 *
 * A floor holds only what no gateway can leave out, each part at its cheapest; what is left out on purpose (parsing,
 * logging, relaying) is said in its text. So a gateway never reaches it, and the distance is what could be looked at.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "limit.h"
#include "results.h"

#define PARTS_MAX 5

enum floor_kind {
	FLOOR_HANDSHAKE,
	FLOOR_HANDSHAKE_RESUMED,
	FLOOR_MESSAGE,
	FLOOR_SESSION,
	FLOOR_COUNT
};

static const struct {
	const char *name, *what;
	const char *parts[PARTS_MAX];
} floors[FLOOR_COUNT] = {
	[FLOOR_HANDSHAKE] = { "handshake",
			      "full handshake and one connection with one exchange",
			      { "tls_full_ecdsa", "ring_connection" } },
	[FLOOR_HANDSHAKE_RESUMED] = { "handshake_resumed",
				      "the same, resumed",
				      { "tls_resumed", "ring_connection" } },
	[FLOOR_MESSAGE] = { "message_4k",
			    "4 KiB received, opened, stored in groups; not relayed",
			    { "ring_message", "open_aes128_4k", "sync_group" } },
	[FLOOR_SESSION] = { "session_4k",
			    "full handshake, one connection, one such message; not relayed",
			    { "tls_full_ecdsa", "ring_connection", "ring_message", "open_aes128_4k",
			      "sync_group" } },
};

static double floor_us(const struct pn_bench_limit_result *results, size_t count,
		       enum floor_kind kind)
{
	double sum = 0;

	for (size_t i = 0; i < PARTS_MAX && floors[kind].parts[i]; i++) {
		double part = pn_bench_limit_cpu_us(results, count, floors[kind].parts[i]);
		if (part <= 0)
			return 0;
		sum += part;
	}
	return sum;
}

void pn_bench_floors_report(const struct pn_bench_limit_result *results, size_t count,
			    json_t *document)
{
	json_t *array = json_array();

	for (size_t k = 0; k < FLOOR_COUNT; k++) {
		double us = floor_us(results, count, (enum floor_kind)k);
		json_t *parts = json_array();
		if (us > 0)
			printf("floor %-18s %9.2f us CPU = ", floors[k].name, us);
		for (size_t i = 0; i < PARTS_MAX && floors[k].parts[i]; i++) {
			if (us > 0)
				printf("%s%s", i > 0 ? " + " : "", floors[k].parts[i]);
			(void)json_array_append_new(parts, json_string(floors[k].parts[i]));
		}
		if (us > 0) {
			printf("  (%s)\n", floors[k].what);
			(void)json_array_append_new(array, json_pack("{s:s, s:s, s:f, s:O}", "name",
								     floors[k].name, "what",
								     floors[k].what, "cpu_us", us,
								     "parts", parts));
		}
		json_decref(parts);
	}
	if (document)
		(void)json_object_set(document, "floors", array);
	json_decref(array);
}

/* ---- the gateway's figures ---- */

/* Which floor a row of figures stands on; FLOOR_COUNT when none fits. */
static enum floor_kind floor_of(const json_t *result)
{
	const char *command = pn_bench_json_text(result, "command");

	if (strcmp(command, "handshake") == 0)
		return pn_bench_json_flag(pn_bench_json_at(result, "tls"), "resumed")
			       ? FLOOR_HANDSHAKE_RESUMED
			       : FLOOR_HANDSHAKE;
	if (strcmp(command, "submit") != 0)
		return FLOOR_COUNT;
	double messages = pn_bench_json_number(result, "operations", 0);
	double connections = pn_bench_json_number(result, "connections", 0);
	if (connections <= 0)
		return FLOOR_COUNT;
	return messages / connections < 2 ? FLOOR_SESSION : FLOOR_MESSAGE;
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
