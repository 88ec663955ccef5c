/* SPDX-License-Identifier: ISC */
/*
 * Values: defaults, every type, every number at the ends of its range, names and addresses, what follows
 * from other keys.
 */
#include <postern/net/loop.h>

#include "config_test.h"

static void test_defaults_are_those_of_the_table(void **state)
{
	(void)state;
	struct pn_config *c = parse_fine(LEAST);
	assert_string_equal(c->hostname, "mail.example.org");
	assert_string_equal(c->postmaster, "postmaster@mail.example.org");
	assert_string_equal(c->run_user, "");
	assert_true(c->cpu_pinning);
	assert_int_equal(c->line_endings, PN_CONFIG_LINES_REJECT);
	assert_int_equal(c->listener_count, 1);
	assert_string_equal(c->listeners[0].name, "l");
	assert_string_equal(c->listeners[0].systemd_name, "l");
	assert_int_equal(c->listeners[0].address_count, 1);
	assert_string_equal(c->listeners[0].addresses[0], "[::]:465");
	assert_int_equal(c->listeners[0].tls, PN_CONFIG_TLS_IMPLICIT);
	assert_int_equal(c->upstreams[0].tls, PN_CONFIG_UPSTREAM_TLS_STARTTLS);
	assert_true(c->upstreams[0].verify);
	assert_int_equal(c->upstreams[0].domain_count, 0);
	assert_string_equal(c->upstreams[0].verify_name, "");
	assert_int_equal(c->upstreams[0].final_reply_timeout_s, 600);
	assert_int_equal(c->tls.ticket_key_lifetime_s, 43200);
	assert_int_equal(c->spool.inline_max_bytes, 2 << 20);
	assert_int_equal(c->spool.segment_size_bytes, 67108864);
	assert_int_equal(c->limits.size_max_bytes, 52428800);
	assert_int_equal(c->limits.auth_line_max_bytes, 16384);
	assert_int_equal(c->auth.scram, PN_CONFIG_SCRAM_AUTO);
	assert_int_equal(c->log.level, PN_CONFIG_LOG_INFO);
	assert_true(c->auth.plain && c->auth.login && c->extensions.dsn);
	assert_int_equal(c->io_uring.disable_count, 0);
	/* Each scalar of the table against its own text, through the writer. */
	char *text = pn_config_canonical(c);
	for (size_t i = 0; i < pn_config_def_count; i++) {
		const struct pn_config_def *def = &pn_config_defs[i];
		char line[256];
		uint64_t value;
		if (def->type == PN_TYPE_BOOL || def->type == PN_TYPE_ENUM)
			snprintf(line, sizeof(line), "%s = %s\n", def->name, def->default_text);
		else if (def->type == PN_TYPE_INTEGER || def->type == PN_TYPE_SIZE) {
			assert_true(pn_config_number_parse(def->default_text, def->type == PN_TYPE_SIZE, &value));
			snprintf(line, sizeof(line), "%s = %llu\n", def->name, (unsigned long long)value);
		} else
			continue;
		assert_non_null(strstr(text, line));
	}
	free(text);
	pn_config_free(c);
}

static void test_the_table_is_consistent(void **state)
{
	(void)state;
	size_t count, first, in_section, total = 0;
	const struct pn_config_key *keys = pn_config_keys(&count);
	assert_int_equal(count, pn_config_def_count);
	for (unsigned s = 0; s < PN_SECTION_COUNT; s++) {
		pn_config_section_range((enum pn_config_section)s, &first, &in_section);
		assert_in_range(in_section, 1, PN_CONFIG_SECTION_KEYS_MAX);
		total += in_section;
	}
	assert_int_equal(total, count); /* the keys of a section stand together */
	for (size_t i = 0; i < count; i++) {
		const struct pn_config_def *def = &pn_config_defs[i];
		uint64_t value = 0;
		assert_string_equal(keys[i].name, def->name);
		assert_string_equal(keys[i].section, pn_config_section_name(def->section));
		assert_ptr_equal(pn_config_def_find(def->section, def->name), def);
		if (def->type != PN_TYPE_INTEGER && def->type != PN_TYPE_SIZE)
			continue;
		bool is_size = def->type == PN_TYPE_SIZE;
		assert_true(pn_config_number_parse(def->default_text, is_size, &value));
		assert_in_range(value, pn_config_def_min(def), pn_config_def_max(def));
		assert_true(def->width == sizeof(uint32_t) || def->width == sizeof(uint64_t));
		if (def->width == sizeof(uint32_t) && pn_config_def_max(def) > UINT32_MAX)
			fail_msg("%s does not fit its member", def->name);
		if (def->is_power_of_two)
			assert_int_equal(value & (value - 1), 0);
	}
}

/* Sets one number in an otherwise least config and says whether the value itself was refused. */
static bool is_refused(const struct pn_config_def *def, const char *value)
{
	char text[1024], label[128];
	char *report;
	const char *section = pn_config_section_name(def->section);

	if (def->section == PN_SECTION_TOP) {
		snprintf(text, sizeof(text), LEAST "%s = %s\n", def->name, value);
		snprintf(label, sizeof(label), "test.conf:2: %s = %s is ", def->name, value);
	} else if (pn_config_section_has_title(def->section)) {
		snprintf(text, sizeof(text), LEAST "%s \"x\" {\n%s = %s }\n", section, def->name, value);
		snprintf(label, sizeof(label), "test.conf:3: %s \"x\": %s = %s is ", section, def->name, value);
	} else {
		snprintf(text, sizeof(text), LEAST "%s {\n%s = %s }\n", section, def->name, value);
		snprintf(label, sizeof(label), "test.conf:3: %s.%s = %s is ", section, def->name, value);
	}
	struct pn_config *c = parse_with_report(text, &report);
	bool is_named = strstr(report, label) != NULL;
	if (!pn_config_section_has_title(def->section) && !is_named && c == NULL &&
	    strstr(report, def->name) == NULL)
		fail_msg("%s = %s: %s", def->name, value, report);
	if (c != NULL && !is_named) {
		uint64_t wanted;
		assert_true(pn_config_number_parse(value, def->type == PN_TYPE_SIZE, &wanted));
		assert_int_equal(pn_config_number_get(def, pn_config_section_base(c, def->section, 0)), wanted);
	}
	free(report);
	pn_config_free(c);
	return is_named;
}

static void test_every_number_is_held_to_its_range(void **state)
{
	(void)state;
	size_t numbers = 0;
	for (size_t i = 0; i < pn_config_def_count; i++) {
		const struct pn_config_def *def = &pn_config_defs[i];
		char value[32];
		if (def->type != PN_TYPE_INTEGER && def->type != PN_TYPE_SIZE)
			continue;
		numbers++;
		uint64_t min = pn_config_def_min(def), max = pn_config_def_max(def);
		snprintf(value, sizeof(value), "%llu", (unsigned long long)min);
		assert_false(is_refused(def, value));
		snprintf(value, sizeof(value), "%llu", (unsigned long long)max);
		assert_false(is_refused(def, value));
		snprintf(value, sizeof(value), "%llu", (unsigned long long)max + 1);
		assert_true(is_refused(def, value));
		if (min > 0)
			snprintf(value, sizeof(value), "%llu", (unsigned long long)min - 1);
		else
			snprintf(value, sizeof(value), "-1");
		assert_true(is_refused(def, value));
		assert_true(is_refused(def, "99999999999999999999999"));
		assert_true(is_refused(def, "12x"));
		assert_true(is_refused(def, "\"\"") || is_refused(def, "ten"));
		if (def->is_power_of_two) {
			snprintf(value, sizeof(value), "%llu", (unsigned long long)min + 1);
			assert_true(is_refused(def, value));
		}
	}
	assert_in_range(numbers, 50, 200);
}

static void test_sizes_take_suffixes(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool is_size, is_fine;
		uint64_t value;
	} cases[] = {
		{ "0", false, true, 0 },
		{ "18446744073709551615", false, true, UINT64_MAX },
		{ "18446744073709551616", false, true, UINT64_MAX }, /* as large as it gets: no range takes it */
		{ "184467440737095516150000", false, true, UINT64_MAX },
		{ "5K", false, false, 0 },
		{ "5K", true, true, 5120 },
		{ "5k", true, true, 5120 },
		{ "3M", true, true, 3145728 },
		{ "2G", true, true, 2147483648 },
		{ "1T", true, true, 1099511627776 },
		{ "99999999999T", true, true, UINT64_MAX },
		{ "5KB", true, false, 0 },
		{ "5 K", true, false, 0 },
		{ "K", true, false, 0 },
		{ "", true, false, 0 },
		{ "-1", true, false, 0 },
		{ "0x10", false, false, 0 },
		{ "1.5M", true, false, 0 },
	};
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
		uint64_t value = 0;
		bool is_fine = pn_config_number_parse(cases[i].text, cases[i].is_size, &value);
		if (is_fine != cases[i].is_fine || (is_fine && value != cases[i].value))
			fail_msg("%s", cases[i].text);
	}
}

static void test_bools_and_enums(void **state)
{
	(void)state;
	static const char *const yes[] = { "yes", "on", "true", "Yes", "\"yes\"" }, *const no[] = { "no", "off",
												    "FALSE" };
	char text[512];
	for (size_t i = 0; i < PN_ARRAY_SIZE(yes); i++) {
		snprintf(text, sizeof(text), LEAST "listener \"r\" { addresses = \"*:1\" reuseport = %s }", yes[i]);
		struct pn_config *c = parse_fine(text);
		assert_true(c->listeners[1].reuseport);
		pn_config_free(c);
	}
	for (size_t i = 0; i < PN_ARRAY_SIZE(no); i++) {
		snprintf(text, sizeof(text), LEAST "tls { tickets = %s }", no[i]);
		struct pn_config *c = parse_fine(text);
		assert_false(c->tls.tickets);
		pn_config_free(c);
	}
	/* Each word of each enum gives its place in the C enum. */
	struct pn_config *c =
		parse_fine(LEAST "line_endings = normalize auth { scram = off } log { format = json level = error }"
				 "listener \"s\" { addresses = \"*:587\" tls = starttls }"
				 "upstream \"i\" { kind = lmtp tls = implicit hosts = a domains = d.example }"
				 "upstream \"o\" { kind = smtp tls = opportunistic hosts = a domains = e.example }"
				 "upstream \"n\" { tls = none hosts = a domains = f.example }"
				 "upstream \"m\" { kind = maildir maildir = /m domains = g.example }");
	assert_int_equal(c->line_endings, PN_CONFIG_LINES_NORMALIZE);
	assert_int_equal(c->auth.scram, PN_CONFIG_SCRAM_OFF);
	assert_int_equal(c->log.format, PN_CONFIG_LOG_JSON);
	assert_int_equal(c->log.level, PN_CONFIG_LOG_ERROR);
	assert_int_equal(c->listeners[1].tls, PN_CONFIG_TLS_STARTTLS);
	assert_int_equal(c->upstreams[1].kind, PN_CONFIG_UPSTREAM_LMTP);
	assert_int_equal(c->upstreams[1].tls, PN_CONFIG_UPSTREAM_TLS_IMPLICIT);
	assert_int_equal(c->upstreams[2].kind, PN_CONFIG_UPSTREAM_SMTP);
	assert_int_equal(c->upstreams[2].tls, PN_CONFIG_UPSTREAM_TLS_OPPORTUNISTIC);
	assert_int_equal(c->upstreams[3].tls, PN_CONFIG_UPSTREAM_TLS_NONE);
	assert_int_equal(c->upstreams[4].kind, PN_CONFIG_UPSTREAM_MAILDIR);
	assert_int_equal(c->upstreams[4].tls, PN_CONFIG_UPSTREAM_TLS_NONE);
	assert_string_equal(c->upstreams[4].maildir, "/m");
	pn_config_free(c);
	c = parse_fine(LEAST "auth { scram = on } log { level = debug }");
	assert_int_equal(c->auth.scram, PN_CONFIG_SCRAM_ON);
	assert_int_equal(c->log.level, PN_CONFIG_LOG_DEBUG);
	pn_config_free(c);
	c = parse_fine(LEAST "log { level = warn }");
	assert_int_equal(c->log.level, PN_CONFIG_LOG_WARN);
	pn_config_free(c);
}

static void test_defaults_follow_what_is_set(void **state)
{
	(void)state;
	struct pn_config *c = parse_fine(
		LEAST "limits { sessions_max = 100 recipients_max = 100000 size_max_bytes = 64K "
		      "session_timeout_s = 5 }"
		      "retry { lifetime_s = 60 max_s = 10 host_max_s = 3 } auth { failure_delay_max_ms = 5 }"
		      "io_uring { sq_entries = 32768 } spool { inline_max_bytes = 16M segment_size_bytes = 64M }");
	assert_int_equal(c->limits.handshakes_max, 100);
	assert_int_equal(c->limits.transaction_memory_max_bytes, 100000 * 1024 + 65536);
	assert_int_equal(c->limits.header_size_max_bytes, 65536);
	assert_int_equal(c->tls.handshake_timeout_s, 5);
	assert_int_equal(c->retry.delay_notice_s, 0);
	assert_int_equal(c->retry.first_s, 10);
	assert_int_equal(c->retry.host_first_s, 3);
	assert_int_equal(c->auth.failure_delay_ms, 5);
	assert_int_equal(c->io_uring.cq_entries, 32768);
	assert_int_equal(c->spool.memory_max_bytes, 268435456);
	pn_config_free(c);
	c = parse_fine(LEAST "spool { memory_max_bytes = 4M }");
	assert_int_equal(c->spool.inline_max_bytes, 256 << 10);
	pn_config_free(c);
	c = parse_fine(LEAST "spool { segment_size_bytes = 1M memory_max_bytes = 8M }");
	assert_int_equal(c->spool.inline_max_bytes, 256 << 10);
	pn_config_free(c);
	c = parse_fine(
		LEAST
		"tls { handshake_timeout_s = 300 } retry { first_s = 86400 host_first_s = 3600 }"
		"auth { failure_delay_ms = 60000 }"
		"io_uring { cq_entries = 128 } spool { inline_max_bytes = 16M segment_size_bytes = 64M }");
	assert_int_equal(c->limits.session_timeout_s, 600);
	assert_int_equal(c->retry.max_s, 86400);
	assert_int_equal(c->retry.host_max_s, 3600);
	assert_int_equal(c->auth.failure_delay_max_ms, 60000);
	assert_int_equal(c->io_uring.sq_entries, 128);
	pn_config_free(c);
	/* Without a hostname the machine's own is taken, which the build machine may or may not have in good order. */
	char *report;
	c = parse_with_report(LEAST_SECTIONS, &report);
	if (c != NULL)
		assert_true(pn_config_hostname_check(c->hostname) && strstr(c->postmaster, c->hostname) != NULL);
	else
		assert_non_null(strstr(report, "test.conf:1: hostname is not set, and the machine's own name"));
	free(report);
	pn_config_free(c);
}

static void test_listener_addresses(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		const char *host; /* NULL: refused */
		uint16_t port;
		bool is_ipv6, is_dual_stack;
	} cases[] = {
		{ "*:465", "::", 465, true, true },
		{ "[::]:465", "::", 465, true, true },
		{ "[0:0::0]:1", "::", 1, true, true },
		{ "[2001:DB8::1]:65535", "2001:db8::1", 65535, true, false },
		{ "192.0.2.1:587", "192.0.2.1", 587, false, false },
		{ "0.0.0.0:587", "0.0.0.0", 587, false, false },
		{ "*", NULL, 0, false, false },
		{ "*:", NULL, 0, false, false },
		{ "*:0", NULL, 0, false, false },
		{ "*:65536", NULL, 0, false, false },
		{ "*:465x", NULL, 0, false, false },
		{ "*:-1", NULL, 0, false, false },
		{ "*:00000000465", NULL, 0, false, false },
		{ "[*]:465", NULL, 0, false, false },
		{ "::465", NULL, 0, false, false },
		{ "2001:db8::1:465", NULL, 0, false, false },
		{ "[::1:465", NULL, 0, false, false },
		{ "[::1]465", NULL, 0, false, false },
		{ "[]:465", NULL, 0, false, false },
		{ "[192.0.2.1]:465", NULL, 0, false, false },
		{ "192.0.2.256:465", NULL, 0, false, false },
		{ "localhost:465", NULL, 0, false, false },
		{ ":465", NULL, 0, false, false },
		{ "465", NULL, 0, false, false },
		{ "", NULL, 0, false, false },
	};
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
		struct pn_config_address a;
		bool is_fine = pn_config_address_parse(cases[i].text, &a);
		if (is_fine != (cases[i].host != NULL))
			fail_msg("%s", cases[i].text);
		if (!is_fine)
			continue;
		assert_string_equal(a.host, cases[i].host);
		assert_int_equal(a.port, cases[i].port);
		assert_int_equal(a.is_ipv6, cases[i].is_ipv6);
		assert_int_equal(a.is_dual_stack, cases[i].is_dual_stack);
	}
}

static const struct {
	const char *text;
	const char *host; /* NULL: refused */
	uint16_t port;
	uint32_t weight;
	bool is_address;
} hosts[] = {
	{ "mx.example.org", "mx.example.org", 0, 1, false },
	{ "mx.example.org:25", "mx.example.org", 25, 1, false },
	{ "localhost:10025", "localhost", 10025, 1, false },
	{ "192.0.2.1", "192.0.2.1", 0, 1, true },
	{ "192.0.2.1:26", "192.0.2.1", 26, 1, true },
	{ "[2001:db8::1]", "2001:db8::1", 0, 1, true },
	{ "[2001:db8::1]:587 weight=0", "2001:db8::1", 587, 0, true },
	{ "mx:25  weight=1000", "mx", 25, 1000, false },
	{ "mx:25 weight=1001", NULL, 0, 0, false },
	{ "mx:25 weight=", NULL, 0, 0, false },
	{ "mx:25 weight=-1", NULL, 0, 0, false },
	{ "mx:25 wait=1", NULL, 0, 0, false },
	{ "mx:25 ", NULL, 0, 0, false },
	{ "mx:", NULL, 0, 0, false },
	{ "mx:0", NULL, 0, 0, false },
	{ "mx_1.example.org", NULL, 0, 0, false },
	{ "-mx.example.org", NULL, 0, 0, false },
	{ "mx-.example.org", NULL, 0, 0, false },
	{ "mx..example.org", NULL, 0, 0, false },
	{ ".example.org", NULL, 0, 0, false },
	{ "example.org.", NULL, 0, 0, false },
	{ "192.0.2", NULL, 0, 0, false },
	{ "192.0.2.300", NULL, 0, 0, false },
	{ "[192.0.2.1]", NULL, 0, 0, false },
	{ "[mx.example.org]:25", NULL, 0, 0, false },
	{ "2001:db8::1", NULL, 0, 0, false },
	{ "", NULL, 0, 0, false },
	{ " ", NULL, 0, 0, false },
};

static void test_upstream_hosts(void **state)
{
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(hosts); i++) {
		struct pn_config_host h;
		bool is_fine = pn_config_host_parse(hosts[i].text, &h);
		if (is_fine != (hosts[i].host != NULL))
			fail_msg("%s", hosts[i].text);
		if (!is_fine)
			continue;
		assert_string_equal(h.host, hosts[i].host);
		assert_int_equal(h.port, hosts[i].port);
		assert_int_equal(h.weight, hosts[i].weight);
		assert_int_equal(h.is_address, hosts[i].is_address);
	}
	struct pn_config_host h;
	char longest[400];
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_false(pn_config_host_parse(longest, &h));
	longest[64] = '.';
	longest[270] = '\0';
	assert_false(pn_config_host_parse(longest, &h));
}

static const struct {
	enum pn_config_check check;
	const char *text;
	bool is_fine;
} forms[] = {
	{ PN_CHECK_TEXT, "", true },
	{ PN_CHECK_TEXT, "a b \xc3\xa9", true },
	{ PN_CHECK_TEXT, "a\tb", false },
	{ PN_CHECK_TEXT, "a\x7f", false },
	{ PN_CHECK_HOSTNAME_OR_NONE, "", true },
	{ PN_CHECK_HOSTNAME_OR_NONE, "mail-1.example.org", true },
	{ PN_CHECK_HOSTNAME_OR_NONE, "localhost", true },
	{ PN_CHECK_HOSTNAME_OR_NONE, "127.0.0.1", false },
	{ PN_CHECK_HOSTNAME_OR_NONE, "m\xc3\xa9l.example", false },
	{ PN_CHECK_HOSTNAME_OR_NONE, "a b", false },
	{ PN_CHECK_MAILBOX_OR_NONE, "", true },
	{ PN_CHECK_MAILBOX_OR_NONE, "post.master+x@example.org", true },
	{ PN_CHECK_MAILBOX_OR_NONE, "postmaster", false },
	{ PN_CHECK_MAILBOX_OR_NONE, "@example.org", false },
	{ PN_CHECK_MAILBOX_OR_NONE, ".a@example.org", false },
	{ PN_CHECK_MAILBOX_OR_NONE, "a.@example.org", false },
	{ PN_CHECK_MAILBOX_OR_NONE, "a..b@example.org", false },
	{ PN_CHECK_MAILBOX_OR_NONE, "a b@example.org", false },
	{ PN_CHECK_MAILBOX_OR_NONE, "a@", false },
	{ PN_CHECK_MAILBOX_OR_NONE,
	  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@example.org", false },
	{ PN_CHECK_USER_OR_NONE, "", true },
	{ PN_CHECK_USER_OR_NONE, "_postern-1.x", true },
	{ PN_CHECK_USER_OR_NONE, "1postern", false },
	{ PN_CHECK_USER_OR_NONE, "post ern", false },
	{ PN_CHECK_USER_OR_NONE, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false },
	{ PN_CHECK_NAME_OR_NONE, "smtps.socket", true },
	{ PN_CHECK_NAME_OR_NONE, "", true },
	{ PN_CHECK_NAME_OR_NONE, "a:b", false },
	{ PN_CHECK_PATH, "/x", true },
	{ PN_CHECK_PATH, "x", false },
	{ PN_CHECK_PATH, "", false },
	{ PN_CHECK_PATH_OR_NONE, "", true },
	{ PN_CHECK_PATH_OR_NONE, "./x", false },
	{ PN_CHECK_SOCKET_PATH, "/run/postern/control", true },
	{ PN_CHECK_SOCKET_PATH, "run", false },
	{ PN_CHECK_DOMAIN, "example.org", true },
	{ PN_CHECK_DOMAIN, ".example.org", true },
	{ PN_CHECK_DOMAIN, "b\xc3\xbc""cher.example", true },
	{ PN_CHECK_DOMAIN, "..example.org", false },
	{ PN_CHECK_DOMAIN, "user@example.org", false },
	{ PN_CHECK_DOMAIN, "", false },
	{ PN_CHECK_FEATURE, "no-such-feature", false },
};

static void test_forms_of_strings(void **state)
{
	(void)state;
	char path[200];
	for (size_t i = 0; i < PN_ARRAY_SIZE(forms); i++) {
		if (pn_config_text_check(forms[i].check, forms[i].text) != forms[i].is_fine)
			fail_msg("%s", forms[i].text);
	}
	memset(path, '/', sizeof(path));
	path[107] = '\0';
	assert_true(pn_config_text_check(PN_CHECK_SOCKET_PATH, path));
	path[107] = '/';
	path[108] = '\0';
	assert_false(pn_config_text_check(PN_CHECK_SOCKET_PATH, path));
}

static void test_features_are_those_of_net(void **state)
{
	(void)state;
#define X(sym, name) assert_true(pn_config_text_check(PN_CHECK_FEATURE, name));
	PN_NET_FEATURES(X)
#undef X
#define X(sym, name) +1
	assert_int_equal(0 PN_NET_FEATURES(X), 9); /* check.c has as many */
#undef X
	struct pn_config *c = parse_fine(LEAST "io_uring { disable = { \"send-zc\", msg-ring } }");
	assert_int_equal(c->io_uring.disable_count, 2);
	assert_string_equal(c->io_uring.disable[1], "msg-ring");
	pn_config_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults_are_those_of_the_table),
		cmocka_unit_test(test_the_table_is_consistent),
		cmocka_unit_test(test_every_number_is_held_to_its_range),
		cmocka_unit_test(test_sizes_take_suffixes),
		cmocka_unit_test(test_bools_and_enums),
		cmocka_unit_test(test_defaults_follow_what_is_set),
		cmocka_unit_test(test_listener_addresses),
		cmocka_unit_test(test_upstream_hosts),
		cmocka_unit_test(test_forms_of_strings),
		cmocka_unit_test(test_features_are_those_of_net),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
