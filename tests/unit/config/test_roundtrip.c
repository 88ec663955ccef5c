/* SPDX-License-Identifier: ISC */
/* Round trip: parse(canonical(c)) has the values of c; for the least config, and for random ones made by the table. */
#include <postern/base/prng.h>

#include "config_test.h"

static bool is_equal_member(const struct pn_config_def *def, const void *a, const void *b)
{
	const char *pa = (const char *)a + def->offset, *pb = (const char *)b + def->offset;

	if (def->type == PN_TYPE_STRING)
		return strcmp(*(char *const *)(const void *)pa, *(char *const *)(const void *)pb) == 0;
	if (def->type != PN_TYPE_LIST)
		return memcmp(pa, pb, def->width) == 0;
	size_t na, nb;
	memcpy(&na, (const char *)a + def->count_offset, sizeof(na));
	memcpy(&nb, (const char *)b + def->count_offset, sizeof(nb));
	char **ia = *(char **const *)(const void *)pa, **ib = *(char **const *)(const void *)pb;
	for (size_t i = 0; na == nb && i < na; i++) {
		if (strcmp(ia[i], ib[i]) != 0)
			return false;
	}
	return na == nb;
}

static void assert_equal_configs(const struct pn_config *a, const struct pn_config *b)
{
	for (size_t i = 0; i < pn_config_def_count; i++) {
		const struct pn_config_def *def = &pn_config_defs[i];
		size_t n = pn_config_section_instances(a, def->section);
		assert_int_equal(n, pn_config_section_instances(b, def->section));
		for (size_t k = 0; k < n; k++) {
			if (!is_equal_member(def, pn_config_section_base(a, def->section, k),
			                     pn_config_section_base(b, def->section, k)))
				fail_msg("%s %s differs", pn_config_section_name(def->section), def->name);
		}
	}
	for (size_t i = 0; i < a->upstream_count; i++)
		assert_string_equal(a->upstreams[i].name, b->upstreams[i].name);
	for (size_t i = 0; i < a->listener_count; i++)
		assert_string_equal(a->listeners[i].name, b->listeners[i].name);
	for (size_t i = 0; i < a->certificate_count; i++)
		assert_string_equal(a->certificates[i].name, b->certificates[i].name);
}

static void round_trip(const struct pn_config *c)
{
	char *report, *text = pn_config_canonical(c);

	assert_non_null(text);
	struct pn_config *again = parse_with_report(text, &report);
	if (again == NULL)
		fail_msg("%s\n%s", text, report);
	free(report);
	assert_equal_configs(c, again);
	char *text_again = pn_config_canonical(again);
	assert_string_equal(text, text_again);
	free(text_again);
	free(text);
	pn_config_free(again);
}

static void test_least_config(void **state)
{
	(void)state;
	struct pn_config *c = parse_fine(LEAST);
	round_trip(c);
	pn_config_free(c);
}

static void test_strings_that_need_quoting(void **state)
{
	(void)state;
	setenv("PN_TEST_X", "y", 1);
	struct pn_config *c = parse_fine(
		"hostname = a.example listener l { addresses = \"*:1\" }"
		"certificate c { chain_file = '/a\"b\\\\c${PN_TEST_X}$d\\e' key_file = \"/$\\${HOME} \xc3\xa9\" }"
		"upstream u-1.x_ { kind = maildir maildir = \"/${PN_TEST_X}/# // /* {}\" }");
	assert_string_equal(c->certificates[0].chain_file, "/a\"b\\c${PN_TEST_X}$d\\e");
	assert_string_equal(c->certificates[0].key_file, "/$${HOME} \xc3\xa9");
	assert_string_equal(c->upstreams[0].maildir, "/y/# // /* {}");
	round_trip(c);
	/* What no file can set is written so that nothing breaks out of its quotes. */
	free(c->upstreams[0].maildir);
	c->upstreams[0].maildir = strdup("/\n\x7f\"");
	char *text = pn_config_canonical(c), *report;
	assert_non_null(strstr(text, "maildir = \"/\\x0a\\x7f\\\"\"\n"));
	assert_null(parse_with_report(text, &report));
	assert_non_null(strstr(report, "maildir = /??\" has control characters"));
	free(report);
	free(text);
	pn_config_free(c);
}

/* ---- random configs ---- */

static struct pn_prng prng;

static unsigned pick(unsigned bound)
{
	return (unsigned)pn_prng_below(&prng, bound);
}

static void random_text(char *out, const char *prefix)
{
	static const char odd[] = "\"\\$${}'#/*=,();+ \t~`azAZ09\xc3\xa9";
	out += sprintf(out, "%s", prefix);
	for (unsigned n = pick(30); n > 0; n--) {
		char c = odd[pick(sizeof(odd) - 1)];
		*out++ = c == '\t' ? ' ' : c;
	}
	*out = '\0';
}

/* `serial` keeps addresses and domains apart. */
static void random_string(enum pn_config_check check, unsigned serial, char *out)
{
	static const char *const features[] = { "send-zc", "msg-ring", "single-issuer" };
	bool is_empty = pick(3) == 0;

	*out = '\0';
	switch (check) {
	case PN_CHECK_TEXT:
		random_text(out, "u");
		break;
	case PN_CHECK_HOSTNAME_OR_NONE:
		if (!is_empty)
			sprintf(out, "h%u.example", pick(1000));
		break;
	case PN_CHECK_MAILBOX_OR_NONE:
		if (!is_empty)
			sprintf(out, "p%u@e.example", pick(1000));
		break;
	case PN_CHECK_USER_OR_NONE:
	case PN_CHECK_NAME_OR_NONE:
		if (!is_empty)
			sprintf(out, "n%u", pick(1000));
		break;
	case PN_CHECK_PATH_OR_NONE:
	case PN_CHECK_PATH:
		random_text(out, "/");
		break;
	case PN_CHECK_SOCKET_PATH:
		sprintf(out, "/run/%u", pick(1000));
		break;
	case PN_CHECK_LISTEN_ADDRESS:
		sprintf(out, pick(2) ? "[2001:db8::%x]:%u" : "10.0.0.%u:%u", serial % 200 + 1, 1000 + serial);
		break;
	case PN_CHECK_UPSTREAM_HOST:
		sprintf(out, pick(2) ? "m%u.example:%u" : "m%u.example weight=%u", serial, 100 + pick(900));
		break;
	case PN_CHECK_DOMAIN:
		sprintf(out, "%sd%u.example", pick(2) ? "." : "", serial);
		break;
	case PN_CHECK_FEATURE:
		sprintf(out, "%s", features[pick(3)]);
		break;
	}
}

static unsigned serial;

/* Fills one member with something that is right by itself. */
static void random_member(const struct pn_config_def *def, void *base)
{
	char text[256];
	void *at = (char *)base + def->offset;

	if (def->type == PN_TYPE_STRING) {
		random_string(def->check, serial++, text);
		free(*(char **)at);
		*(char **)at = strdup(text);
	} else if (def->type == PN_TYPE_LIST) {
		size_t count = 1 + pick(4);
		char **items = calloc(count + 1, sizeof(*items));
		for (size_t i = 0; i < count; i++) {
			random_string(def->check, serial++, text);
			items[i] = strdup(text);
		}
		*(char ***)at = items;
		*(size_t *)(void *)((char *)base + def->count_offset) = count;
	} else if (def->type == PN_TYPE_BOOL || def->type == PN_TYPE_ENUM) {
		pn_config_number_set(def, base, pick(2));
	} else {
		uint64_t min = pn_config_def_min(def), max = pn_config_def_max(def);
		uint64_t value = min + pn_prng_below(&prng, max - min + 1);
		while (def->is_power_of_two && (value & (value - 1)) != 0)
			value &= value - 1;
		pn_config_number_set(def, base, value < min ? max : value);
	}
}

/* Makes what keys mean for each other right. */
static void settle(struct pn_config *c)
{
	if (c->limits.handshakes_max > c->limits.sessions_max)
		c->limits.handshakes_max = c->limits.sessions_max;
	c->limits.transaction_memory_max_bytes = c->limits.recipients_max * 1024 + 65536;
	if (c->limits.header_size_max_bytes > c->limits.size_max_bytes)
		c->limits.header_size_max_bytes = (uint32_t)c->limits.size_max_bytes;
	if (c->limits.open_files_max <= c->limits.sessions_max)
		c->limits.open_files_max = 0;
	if (c->tls.handshake_timeout_s > c->limits.session_timeout_s)
		c->tls.handshake_timeout_s = c->limits.session_timeout_s;
	if (c->retry.first_s > c->retry.max_s)
		c->retry.first_s = c->retry.max_s;
	if (c->retry.host_first_s > c->retry.host_max_s)
		c->retry.host_first_s = c->retry.host_max_s;
	if (c->retry.delay_notice_s >= c->retry.lifetime_s)
		c->retry.delay_notice_s = 0;
	if (c->auth.failure_delay_ms > c->auth.failure_delay_max_ms)
		c->auth.failure_delay_ms = c->auth.failure_delay_max_ms;
	if (c->io_uring.cq_entries < c->io_uring.sq_entries)
		c->io_uring.cq_entries = c->io_uring.sq_entries;
	c->auth.plain = true;
	c->spool.inline_max_bytes = 4096 + pick(200000);
	for (size_t i = 0; i < c->upstream_count; i++) {
		struct pn_config_upstream *u = &c->upstreams[i];
		*u->maildir = '\0';
		u->auth_without_tls = true;
		if (*u->auth_user == '\0' || *u->auth_password_file == '\0')
			*u->auth_user = *u->auth_password_file = '\0';
	}
	/* The first is the default. */
	for (size_t d = 0; d < c->upstreams[0].domain_count; d++)
		free(c->upstreams[0].domains[d]);
	c->upstreams[0].domain_count = 0;
	if (*c->hostname == '\0') {
		free(c->hostname);
		c->hostname = strdup("h.example");
	}
	if (*c->postmaster == '\0') {
		free(c->postmaster);
		c->postmaster = strdup("p@h.example");
	}
	for (size_t i = 0; i < c->listener_count; i++) {
		if (*c->listeners[i].systemd_name == '\0') {
			free(c->listeners[i].systemd_name);
			c->listeners[i].systemd_name = strdup("s");
		}
	}
}

static struct pn_config *random_config(void)
{
	struct pn_config *c = calloc(1, sizeof(*c));
	char name[32];

	serial = 0;
	c->listener_count = 1 + pick(4);
	c->certificate_count = 1 + pick(4);
	c->upstream_count = 1 + pick(6);
	c->listeners = calloc(c->listener_count, sizeof(*c->listeners));
	c->certificates = calloc(c->certificate_count, sizeof(*c->certificates));
	c->upstreams = calloc(c->upstream_count, sizeof(*c->upstreams));
	for (size_t i = 0; i < pn_config_def_count; i++) {
		const struct pn_config_def *def = &pn_config_defs[i];
		for (size_t k = 0; k < pn_config_section_instances(c, def->section); k++)
			random_member(def, pn_config_section_base(c, def->section, k));
	}
	for (size_t i = 0; i < c->listener_count; i++)
		snprintf(name, sizeof(name), "l%zu", i), c->listeners[i].name = strdup(name);
	for (size_t i = 0; i < c->certificate_count; i++)
		snprintf(name, sizeof(name), "c.%zu", i), c->certificates[i].name = strdup(name);
	for (size_t i = 0; i < c->upstream_count; i++)
		snprintf(name, sizeof(name), "u-%zu_", i), c->upstreams[i].name = strdup(name);
	settle(c);
	return c;
}

static void test_random_configs(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 200; seed++) {
		pn_prng_init(&prng, seed);
		struct pn_config *c = random_config();
		round_trip(c);
		pn_config_free(c);
	}
}

/* The comparison itself must see a difference in every key. */
static void test_every_key_is_written(void **state)
{
	(void)state;
	for (size_t i = 0; i < pn_config_def_count; i++) {
		const struct pn_config_def *def = &pn_config_defs[i];
		struct pn_config *c = parse_fine(LEAST);
		char *before = pn_config_canonical(c);
		void *base = pn_config_section_base(c, def->section, 0);
		if (def->type == PN_TYPE_STRING) {
			free(*(char **)(void *)((char *)base + def->offset));
			*(char **)(void *)((char *)base + def->offset) = strdup("other");
		} else if (def->type == PN_TYPE_LIST) {
			char **items = calloc(1, sizeof(*items));
			size_t *count = (size_t *)(void *)((char *)base + def->count_offset);
			char ***list = (char ***)(void *)((char *)base + def->offset);
			for (size_t k = 0; k < *count; k++)
				free((*list)[k]);
			free(*list);
			items[0] = strdup("other");
			*list = items;
			*count = 1;
		} else {
			uint64_t value = pn_config_number_get(def, base);
			pn_config_number_set(def, base, value > 0 ? value - 1 : value + 1);
		}
		char *after = pn_config_canonical(c);
		if (strcmp(before, after) == 0)
			fail_msg("%s is not written", def->name);
		free(before);
		free(after);
		pn_config_free(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_least_config),
		cmocka_unit_test(test_strings_that_need_quoting),
		cmocka_unit_test(test_random_configs),
		cmocka_unit_test(test_every_key_is_written),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
