/* SPDX-License-Identifier: ISC */
/*
 * cross.c - what keys mean for each other.
 *
 * Follow-ups first: a default moves out of the way of what the file says, so that lowering sessions_max
 * does not demand a line for handshakes_max as well. What the file says itself is never changed: where two
 * of its values contradict each other it is a mistake. A key that was wrong by itself is left out of all
 * comparisons.
 */
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config/config_internal.h"

/* Envelope memory of one recipient at its longest: address 256, ORCPT 500 (RFC 3461 4.2), bookkeeping, rounded up. */
#define PN_RECIPIENT_MAX_BYTES 1024u
#define PN_TRANSACTION_BASE_BYTES 65536u /* everything else of an envelope, and the header edits */

static size_t section(const struct pn_config_build *b, enum pn_config_section s)
{
	return pn_config_instance_of(b, s, 0);
}

static bool is_set(const struct pn_config_build *b, enum pn_config_section s, const char *name)
{
	return pn_config_statement_of(b, section(b, s), name) != NULL;
}

/* Not set, or set to something that is right by itself. */
static bool is_sound(const struct pn_config_build *b, size_t instance, const char *name)
{
	const struct pn_config_statement *st = pn_config_statement_of(b, instance, name);
	return st == NULL || !st->is_wrong;
}

/* ---- follow-ups ---- */

/* Replaces the string that the file left empty. */
static void fill(struct pn_config_build *b, char **string, const char *prefix, const char *value)
{
	char *text = NULL;

	if (**string != '\0')
		return;
	size_t size = strlen(prefix) + strlen(value) + 1;
	text = malloc(size);
	if (text == NULL) {
		pn_config_memory_out(b);
		return;
	}
	snprintf(text, size, "%s%s", prefix, value);
	free(*string);
	*string = text;
}

static void limits_follow(const struct pn_config_build *b, struct pn_config *c)
{
	if (!is_set(b, PN_SECTION_LIMITS, "handshakes_max") && c->limits.handshakes_max > c->limits.sessions_max)
		c->limits.handshakes_max = c->limits.sessions_max;
	uint32_t needed = c->limits.recipients_max * PN_RECIPIENT_MAX_BYTES + PN_TRANSACTION_BASE_BYTES;
	if (!is_set(b, PN_SECTION_LIMITS, "transaction_memory_max_bytes") &&
	    c->limits.transaction_memory_max_bytes < needed)
		c->limits.transaction_memory_max_bytes = needed;
	if (!is_set(b, PN_SECTION_LIMITS, "header_size_max_bytes") &&
	    c->limits.header_size_max_bytes > c->limits.size_max_bytes)
		c->limits.header_size_max_bytes = (uint32_t)c->limits.size_max_bytes;
	if (!is_set(b, PN_SECTION_LIMITS, "session_timeout_s") &&
	    c->limits.session_timeout_s < c->tls.handshake_timeout_s)
		c->limits.session_timeout_s = c->tls.handshake_timeout_s;
	if (!is_set(b, PN_SECTION_TLS, "handshake_timeout_s") &&
	    c->tls.handshake_timeout_s > c->limits.session_timeout_s)
		c->tls.handshake_timeout_s = c->limits.session_timeout_s;
}

static void retry_follows(const struct pn_config_build *b, struct pn_config *c)
{
	if (!is_set(b, PN_SECTION_RETRY, "max_s") && c->retry.max_s < c->retry.first_s)
		c->retry.max_s = c->retry.first_s;
	if (!is_set(b, PN_SECTION_RETRY, "first_s") && c->retry.first_s > c->retry.max_s)
		c->retry.first_s = c->retry.max_s;
	if (!is_set(b, PN_SECTION_RETRY, "host_max_s") && c->retry.host_max_s < c->retry.host_first_s)
		c->retry.host_max_s = c->retry.host_first_s;
	if (!is_set(b, PN_SECTION_RETRY, "host_first_s") && c->retry.host_first_s > c->retry.host_max_s)
		c->retry.host_first_s = c->retry.host_max_s;
	if (!is_set(b, PN_SECTION_RETRY, "delay_notice_s") && c->retry.delay_notice_s >= c->retry.lifetime_s)
		c->retry.delay_notice_s = 0;
}

/* What was not set makes itself small enough for what was. */
static void inline_max_follows(const struct pn_config_build *b, struct pn_config *c)
{
	uint64_t most = c->spool.inline_max_bytes;
	if (is_set(b, PN_SECTION_SPOOL, "inline_max_bytes"))
		return;
	if (is_set(b, PN_SECTION_SPOOL, "memory_max_bytes") && most > c->spool.memory_max_bytes / 16)
		most = c->spool.memory_max_bytes / 16;
	if (is_set(b, PN_SECTION_SPOOL, "segment_size_bytes") && most > c->spool.segment_size_bytes / 4)
		most = c->spool.segment_size_bytes / 4;
	c->spool.inline_max_bytes = (uint32_t)most;
}

static void others_follow(const struct pn_config_build *b, struct pn_config *c)
{
	if (!is_set(b, PN_SECTION_AUTH, "failure_delay_max_ms") &&
	    c->auth.failure_delay_max_ms < c->auth.failure_delay_ms)
		c->auth.failure_delay_max_ms = c->auth.failure_delay_ms;
	if (!is_set(b, PN_SECTION_AUTH, "failure_delay_ms") && c->auth.failure_delay_ms > c->auth.failure_delay_max_ms)
		c->auth.failure_delay_ms = c->auth.failure_delay_max_ms;
	if (!is_set(b, PN_SECTION_IO_URING, "cq_entries") && c->io_uring.cq_entries < c->io_uring.sq_entries)
		c->io_uring.cq_entries = c->io_uring.sq_entries;
	if (!is_set(b, PN_SECTION_IO_URING, "sq_entries") && c->io_uring.sq_entries > c->io_uring.cq_entries)
		c->io_uring.sq_entries = c->io_uring.cq_entries;
	inline_max_follows(b, c);
	if (!is_set(b, PN_SECTION_SPOOL, "memory_max_bytes") &&
	    c->spool.memory_max_bytes < 16 * (uint64_t)c->spool.inline_max_bytes)
		c->spool.memory_max_bytes = 16 * (uint64_t)c->spool.inline_max_bytes;
	if (!is_set(b, PN_SECTION_SPOOL, "segment_size_bytes") &&
	    c->spool.segment_size_bytes < 4 * (uint64_t)c->spool.inline_max_bytes)
		c->spool.segment_size_bytes = 4 * (uint64_t)c->spool.inline_max_bytes;
}

/* The machine's full name. Only a reading of files asks the resolver for what is missing behind the first label. */
static void machine_name(const struct pn_config_build *b, char *out, size_t out_size)
{
	const struct addrinfo hints = { .ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM };
	struct addrinfo *found = NULL;

	if (gethostname(out, out_size - 1) != 0)
		out[0] = '\0';
	out[out_size - 1] = '\0';
	if (!b->has_includes || out[0] == '\0' || strchr(out, '.') != NULL)
		return;
	if (getaddrinfo(out, NULL, &hints, &found) != 0)
		return;
	if (found->ai_canonname != NULL && strchr(found->ai_canonname, '.') != NULL &&
	    pn_config_hostname_check(found->ai_canonname))
		snprintf(out, out_size, "%s", found->ai_canonname);
	freeaddrinfo(found);
}

static void hostname_follow(struct pn_config_build *b, struct pn_config *c)
{
	char machine[256] = "";

	if (*c->hostname == '\0' && is_sound(b, 0, "hostname")) {
		machine_name(b, machine, sizeof(machine));
		if (pn_config_hostname_check(machine))
			fill(b, &c->hostname, "", machine);
		else
			pn_config_mistake(b, pn_config_place_of(b, 0, "hostname"),
			                  "hostname is not set, and the machine's own name (%s) is no host name; "
			                  "write hostname = \"mail.example.org\"", machine);
	}
	if (is_sound(b, 0, "postmaster"))
		fill(b, &c->postmaster, "postmaster@", *c->hostname != '\0' ? c->hostname : "localhost");
}

void pn_config_follow_ups(struct pn_config_build *b)
{
	struct pn_config *c = b->config;

	limits_follow(b, c);
	retry_follows(b, c);
	others_follow(b, c);
	hostname_follow(b, c);
	for (size_t i = 0; i < c->listener_count; i++)
		fill(b, &c->listeners[i].systemd_name, "", c->listeners[i].name);
	for (size_t i = 0; i < c->upstream_count; i++) {
		size_t at = pn_config_instance_of(b, PN_SECTION_UPSTREAM, i);
		if (c->upstreams[i].kind == PN_CONFIG_UPSTREAM_MAILDIR && pn_config_statement_of(b, at, "tls") == NULL)
			c->upstreams[i].tls = PN_CONFIG_UPSTREAM_TLS_NONE;
	}
}

/* ---- numbers ---- */

/* Reports at `name` of section s unless `is_right`, or unless a key involved was wrong already. */
static void expect(struct pn_config_build *b, bool is_right, enum pn_config_section s, const char *name,
                   enum pn_config_section other_s, const char *other, const char *wrong, const char *right)
{
	size_t instance = section(b, s), other_instance = section(b, other_s);

	if (is_right || !is_sound(b, instance, name) || !is_sound(b, other_instance, other))
		return;
	bool is_here = pn_config_statement_of(b, instance, name) != NULL || other_instance == SIZE_MAX;
	pn_config_mistake(
		b, is_here ? pn_config_place_of(b, instance, name) : pn_config_place_of(b, other_instance, other),
		"%s.%s is %s %s.%s; %s", pn_config_section_name(s), name, wrong, pn_config_section_name(other_s),
		other, right);
}

static void limits_check(struct pn_config_build *b, const struct pn_config *c)
{
	enum pn_config_section s = PN_SECTION_LIMITS;
	uint32_t memory = c->limits.recipients_max * PN_RECIPIENT_MAX_BYTES + PN_TRANSACTION_BASE_BYTES;
	char right[128];

	expect(b, c->limits.handshakes_max <= c->limits.sessions_max, s, "handshakes_max", s, "sessions_max",
	       "more than", "every handshake is a session: lower the one or raise the other");
	snprintf(right, sizeof(right), "%u recipients of the longest kind take %u octets: write at least that",
	         c->limits.recipients_max, memory);
	expect(b, c->limits.transaction_memory_max_bytes >= memory, s, "transaction_memory_max_bytes", s,
	       "recipients_max", "too small for", right);
	expect(b, c->limits.header_size_max_bytes <= c->limits.size_max_bytes, s, "header_size_max_bytes", s,
	       "size_max_bytes", "more than", "the header is a part of the message: lower it");
	expect(b, c->limits.open_files_max == 0 || c->limits.open_files_max > c->limits.sessions_max, s,
	       "open_files_max", s, "sessions_max", "not more than",
	       "every session takes a descriptor: raise it, or write 0 for the hard limit");
	expect(b, c->tls.handshake_timeout_s <= c->limits.session_timeout_s, PN_SECTION_TLS, "handshake_timeout_s", s,
	       "session_timeout_s", "more than", "a session would end before its handshake: lower it");
}

static void others_check(struct pn_config_build *b, const struct pn_config *c)
{
	expect(b, c->retry.first_s <= c->retry.max_s, PN_SECTION_RETRY, "first_s", PN_SECTION_RETRY, "max_s",
	       "more than", "the first wait is the shortest: lower it");
	expect(b, c->retry.host_first_s <= c->retry.host_max_s, PN_SECTION_RETRY, "host_first_s", PN_SECTION_RETRY,
	       "host_max_s", "more than", "the first pause is the shortest: lower it");
	expect(b, c->retry.delay_notice_s < c->retry.lifetime_s, PN_SECTION_RETRY, "delay_notice_s", PN_SECTION_RETRY,
	       "lifetime_s", "not less than", "the message would have bounced: lower it, or write 0 for no notice");
	expect(b, c->auth.failure_delay_ms <= c->auth.failure_delay_max_ms, PN_SECTION_AUTH, "failure_delay_ms",
	       PN_SECTION_AUTH, "failure_delay_max_ms", "more than", "the first delay is the shortest: lower it");
	expect(b, c->io_uring.cq_entries >= c->io_uring.sq_entries, PN_SECTION_IO_URING, "cq_entries",
	       PN_SECTION_IO_URING, "sq_entries", "less than", "the kernel wants at least as many: raise it");
	expect(b, c->spool.memory_max_bytes >= 16 * (uint64_t)c->spool.inline_max_bytes, PN_SECTION_SPOOL,
	       "memory_max_bytes", PN_SECTION_SPOOL, "inline_max_bytes", "less than 16 times",
	       "a few messages would fill it: raise it");
	expect(b, c->spool.segment_size_bytes >= 4 * (uint64_t)c->spool.inline_max_bytes, PN_SECTION_SPOOL,
	       "segment_size_bytes", PN_SECTION_SPOOL, "inline_max_bytes", "less than 4 times",
	       "a segment is to hold several messages: raise it");
	size_t auth = section(b, PN_SECTION_AUTH);
	if (!c->auth.plain && !c->auth.login && c->auth.scram == PN_CONFIG_SCRAM_OFF && is_sound(b, auth, "plain") &&
	    is_sound(b, auth, "login") && is_sound(b, auth, "scram"))
		pn_config_mistake(b, pn_config_place_of(b, auth, "scram"),
		                  "plain, login and scram are all off, so nobody can log in; switch one of them on");
	if (strcmp(c->run_user, "root") == 0)
		pn_config_mistake(b, pn_config_place_of(b, 0, "run_user"),
		                  "run_user = root: the worker reads what strangers send; name an account of its own");
}

void pn_config_cross_check(struct pn_config_build *b)
{
	limits_check(b, b->config);
	others_check(b, b->config);
	pn_config_sections_check(b);
}
