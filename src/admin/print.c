/* SPDX-License-Identifier: ISC */
/* print.c - the answers for people. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "admin_internal.h"

#define COLUMNS_MAX 64

static void time_text(char *out, size_t size, json_int_t ms)
{
	time_t t = (time_t)(ms / 1000);
	struct tm tm;
	if (ms == 0 || !localtime_r(&t, &tm) || strftime(out, size, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		(void)snprintf(out, size, "%s", ms == 0 ? "now" : "?");
}

static void size_text(char *out, size_t size, json_int_t bytes)
{
	if (bytes < 10 * 1024)
		(void)snprintf(out, size, "%" JSON_INTEGER_FORMAT " B", bytes);
	else if (bytes < 10 * 1024 * 1024)
		(void)snprintf(out, size, "%" JSON_INTEGER_FORMAT " KiB", bytes / 1024);
	else
		(void)snprintf(out, size, "%" JSON_INTEGER_FORMAT " MiB", bytes / (1024 * 1024));
}

static const char *first_key(const json_t *object)
{
	void *it = json_object_iter((json_t *)object);
	return it ? json_object_iter_key(it) : "";
}

/* Collects the instances whose counters start like those of `kind`; returns how many. */
static size_t columns_of(const json_t *instances, const char *kind, const char **columns)
{
	size_t count = 0;
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)instances, key, value)
	{
		if (count < COLUMNS_MAX && strcmp(first_key(value), kind) == 0)
			columns[count++] = key;
	}
	return count;
}

/* A row a counter, a column an instance. */
static void print_table(FILE *out, const char *scope, const json_t *instances,
			const char *const *columns, size_t count)
{
	const char *name;
	json_t *value;
	fprintf(out, "\n%s\n  %-46s", scope, "");
	for (size_t i = 0; i < count; i++)
		fprintf(out, " %12s", columns[i][0] != '\0' ? columns[i] : "all");
	fputc('\n', out);
	json_object_foreach(json_object_get(instances, columns[0]), name, value)
	{
		fprintf(out, "  %-46s", name);
		for (size_t i = 0; i < count; i++)
			fprintf(out, " %12" JSON_INTEGER_FORMAT,
				json_integer_value(json_object_get(
					json_object_get(instances, columns[i]), name)));
		fputc('\n', out);
	}
}

/* One table for each kind of counters in the scope (a scope may have its own and those of its
 * threads). */
static void print_scope(FILE *out, const char *scope, const json_t *instances)
{
	const char *kinds[COLUMNS_MAX];
	size_t kind_count = 0;
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)instances, key, value)
	{
		size_t i = 0;
		while (i < kind_count && strcmp(kinds[i], first_key(value)) != 0)
			i++;
		if (i < kind_count || kind_count == COLUMNS_MAX || json_object_size(value) == 0)
			continue;
		const char *columns[COLUMNS_MAX];
		kinds[kind_count++] = first_key(value);
		size_t count = columns_of(instances, first_key(value), columns);
		print_table(out, scope, instances, columns, count);
	}
}

static json_int_t integer(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static const char *string(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "";
}

/* What a client or a next hop chose: a control character, also of the upper half (U+0080 to U+009F), would be a
 * command to the terminal. */
static void print_peer_text(FILE *out, const char *s)
{
	for (; *s != '\0'; s++) {
		bool is_upper =
			(uint8_t)s[0] == 0xc2 && (uint8_t)s[1] >= 0x80 && (uint8_t)s[1] < 0xa0;
		bool is_control = (uint8_t)s[0] < 0x20 || s[0] == 0x7f;
		fputc(is_upper || is_control ? '?' : s[0], out);
		s += is_upper;
	}
}

static void print_bytes(FILE *out, const char *label, json_int_t bytes)
{
	char text[32];
	size_text(text, sizeof(text), bytes);
	fprintf(out, "  %-46s %12s\n", label, text);
}

void pn_admin_print_status(FILE *out, const json_t *a)
{
	json_int_t up = integer(a, "uptime_s");
	fprintf(out,
		"Postern %s on %s, worker pid %" JSON_INTEGER_FORMAT ", up %" JSON_INTEGER_FORMAT
		"d %02d:%02d:%02d\n",
		string(a, "version"), string(a, "hostname"), integer(a, "pid"), up / 86400,
		(int)(up / 3600 % 24), (int)(up / 60 % 60), (int)(up % 60));
	size_t i;
	json_t *v;
	const char *key;
	fputs("io_uring:", out);
	json_array_foreach(json_object_get(a, "io_uring"), i, v)
		fprintf(out, " %s", json_string_value(v));
	v = json_object_get(json_object_get(a, "ktls"), "text");
	fprintf(out, "\nkernel TLS: %s", v ? json_string_value(v) : "");
	const json_t *spool = json_object_get(a, "spool");
	fprintf(out,
		"\n\nspool\n  %-46s %12" JSON_INTEGER_FORMAT "\n  %-46s %12" JSON_INTEGER_FORMAT
		"\n  %-46s %12" JSON_INTEGER_FORMAT "\n",
		"messages", integer(spool, "messages"), "segments", integer(spool, "segments"),
		"files", integer(spool, "files"));
	print_bytes(out, "on disk", integer(spool, "disk_bytes"));
	print_bytes(out, "message octets in memory", integer(spool, "memory_bytes"));
	print_bytes(out, "free space", integer(spool, "free_bytes"));
	const json_t *memory = json_object_get(a, "memory");
	if (json_object_size(memory) > 0) {
		fputs("\nmemory\n", out);
		print_bytes(out, "allocated", integer(memory, "allocated_bytes"));
		print_bytes(out, "resident", integer(memory, "resident_bytes"));
	}
	fprintf(out, "\nlimits\n  %-46s %12s %12s %12s\n", "", "used", "max", "refused");
	json_object_foreach(json_object_get(a, "limits"), key, v)
		fprintf(out,
			"  %-46s %12" JSON_INTEGER_FORMAT " %12" JSON_INTEGER_FORMAT
			" %12" JSON_INTEGER_FORMAT "\n",
			key, integer(v, "used"), integer(v, "max"), integer(v, "refused"));
	json_object_foreach(json_object_get(a, "counters"), key, v) print_scope(out, key, v);
}

void pn_admin_print_list(FILE *out, const json_t *a)
{
	const json_t *messages = json_object_get(a, "messages");
	size_t i;
	json_t *m;
	if (json_array_size(messages) == 0) {
		fputs("The queue is empty.\n", out);
		return;
	}
	fprintf(out, "%-26s %-9s %9s %-19s %8s %-19s %s\n", "id", "state", "size", "received",
		"attempts", "next attempt", "upstream");
	json_array_foreach(messages, i, m)
	{
		char received[32], next[32], size[32];
		time_text(received, sizeof(received), integer(m, "received_ms"));
		time_text(next, sizeof(next), integer(m, "next_attempt_ms"));
		size_text(size, sizeof(size), integer(m, "size_bytes"));
		fprintf(out, "%-26s %-9s %9s %-19s %8" JSON_INTEGER_FORMAT " %-19s %s\n",
			string(m, "id"), string(m, "state"), size, received, integer(m, "attempts"),
			strcmp(string(m, "state"), "held") == 0 ? "-" : next,
			string(m, "upstream"));
	}
	json_int_t total = integer(a, "total");
	fprintf(out, "%" JSON_INTEGER_FORMAT " message%s", total, total == 1 ? "" : "s");
	if ((json_int_t)json_array_size(messages) < total)
		fprintf(out, ", the oldest %zu shown", json_array_size(messages));
	fputc('\n', out);
}

void pn_admin_print_show(FILE *out, const json_t *m)
{
	char text[32];
	size_t i;
	json_t *r;
	fprintf(out, "id            %s\nstate         %s\n", string(m, "id"), string(m, "state"));
	time_text(text, sizeof(text), integer(m, "received_ms"));
	fprintf(out, "received      %s\n", text);
	size_text(text, sizeof(text), integer(m, "size_bytes"));
	fprintf(out, "size          %s\nattempts      %" JSON_INTEGER_FORMAT "\n", text,
		integer(m, "attempts"));
	time_text(text, sizeof(text), integer(m, "next_attempt_ms"));
	if (strcmp(string(m, "state"), "held") != 0)
		fprintf(out, "next attempt  %s\n", text);
	fprintf(out, "upstream      %s\n", string(m, "upstream"));
	if (json_object_get(m, "unreadable"))
		fprintf(out, "reason        the message cannot be read: %s\n",
			string(m, "unreadable"));
	if (!json_object_get(m, "recipients")) {
		if (!json_object_get(m, "unreadable"))
			fputs("(an outcome is being recorded)\n", out);
		return;
	}
	static const struct {
		const char *label, *key, *end;
	} rows[] = {
		{ "from          <", "reverse_path", ">\n" },
		{ "user          ", "user", "\n" },
		{ "client        ", "client_address", "" },
		{ " (", "helo", ")\n" },
		{ "tls           ", "tls_suite", "\n" },
		{ "last reply    ", "last_reply", "\n" },
	};
	for (i = 0; i < PN_ARRAY_SIZE(rows); i++) {
		if (strcmp(rows[i].key, "last_reply") == 0 && string(m, "last_reply")[0] == '\0')
			continue;
		fputs(rows[i].label, out);
		print_peer_text(out, string(m, rows[i].key));
		fputs(rows[i].end, out);
	}
	json_array_foreach(json_object_get(m, "recipients"), i, r)
	{
		fputs("to            <", out);
		print_peer_text(out, string(r, "address"));
		fprintf(out, "> %s\n", string(r, "state"));
	}
}

void pn_admin_print_reload(FILE *out, const json_t *answer)
{
	const json_t *keys = json_object_get(answer, "needs_restart");
	size_t i;
	json_t *key;
	if (json_array_size(keys) == 0) {
		fputs("the new configuration is in force\n", out);
		return;
	}
	fputs("the new configuration is in force, except for what needs a restart:\n", out);
	json_array_foreach((json_t *)(uintptr_t)keys, i, key)
		fprintf(out, "  %s\n", json_string_value(key));
}
