/* SPDX-License-Identifier: ISC */
/* Mistakes: each with its place, what is wrong, what would be right; all of them, not only the first. */
#include "config_test.h"

/* Line 1 is LEAST (or what stands in its place); `text` begins on line 2. The report is exactly `report`. */
static const struct {
	const char *least; /* NULL: LEAST */
	const char *text;
	const char *report;
} cases[] = {
	/* names */
	{ NULL, "nodes = 1", "test.conf:2: unknown key 'nodes' in the top level; did you mean node?\n" },
	{ NULL, "\n\nlimits {\n\n# x\nsession_max = 1\n}",
	  "test.conf:7: unknown key 'session_max' in limits; did you mean sessions_max?\n" },
	{ NULL, "limits { idle_timeout = 5 }",
	  "test.conf:2: unknown key 'idle_timeout' in limits; did you mean idle_timeout_s?\n" },
	{ NULL, "limits { user_file = /x }",
	  "test.conf:2: unknown key 'user_file' in limits; it belongs into the section auth\n" },
	{ NULL, "limits { hostname = a }",
	  "test.conf:2: unknown key 'hostname' in limits; it belongs outside of all sections\n" },
	{ NULL, "spool { zzzzzz = { 1, 2 } }",
	  "test.conf:2: unknown key 'zzzzzz' in spool; postern.conf(5) lists the keys of each section\n" },
	{ NULL, "limit {\nsessions_max = 0\nno_such = 1\n}",
	  "test.conf:2: unknown section 'limit'; did you mean limits?\n" },
	{ NULL, "lsitener x { a = 1 }", "test.conf:2: unknown section 'lsitener'; did you mean listener?\n" },
	{ NULL, "zebra { a = 1 }",
	  "test.conf:2: unknown section 'zebra'; there are listener, certificate, upstream, tls, auth, "
	  "spool, retry, limits, extensions, log, io_uring\n" },
	{ NULL, "listener { addresses = 1 }",
	  "test.conf:2: the section listener has no name; write: listener \"name\" { ... }\n" },
	{ NULL, "limits x { sessions_max = 0 }",
	  "test.conf:2: the section limits takes no name; write: limits { ... }\n"
	  "test.conf:2: limits.sessions_max = 0 is out of range; write a number of sessions from 1 to 1000000\n" },
	{ NULL, "upstream \"a b\" { hosts = 1 }",
	  "test.conf:2: \"a b\" is not a section's name; "
	  "write 1 to 64 letters, digits, '.', '-' and '_'\n" },
	{ NULL, "upstream \"\" { }",
	  "test.conf:2: \"\" is not a section's name; "
	  "write 1 to 64 letters, digits, '.', '-' and '_'\n" },
	{ NULL, "upstream ${HOME} { }",
	  "test.conf:2: ${HOME} is not a section's name; "
	  "write 1 to 64 letters, digits, '.', '-' and '_'\n" },
	{ NULL, "node = 1\nnode = 2", "test.conf:3: node is set already (test.conf:2); set it once\n" },
	{ NULL, "log { level = info }\nlog {\nlevel = warn }",
	  "test.conf:4: log.level is set already (test.conf:2); set it once\n" },
	{ NULL, "certificate c {\nchain_file = /x\nkey_file = y }",
	  "test.conf:2: certificate \"c\" is there already (test.conf:1); give each a name of its own\n"
	  "test.conf:4: certificate \"c\": key_file = y is not right here; write an absolute path\n" },
	/* values */
	{ NULL, "cpu_pinning = maybe",
	  "test.conf:2: cpu_pinning = maybe is neither yes nor no; write yes or no\n" },
	{ NULL, "node = 1.5", "test.conf:2: node = 1.5 is not a whole number; write a number from 0 to 65534\n" },
	{ NULL, "loops = -1",
	  "test.conf:2: loops = -1 is out of range; write a number of threads from 0 to 256\n" },
	{ NULL, "limits { idle_timeout_s = 5m }",
	  "test.conf:2: limits.idle_timeout_s = 5m is not a whole number; write a number of seconds from 1 to "
	  "3600\n" },
	{ NULL, "limits { header_size_max_bytes = 1MB }",
	  "test.conf:2: limits.header_size_max_bytes = 1MB is not a size; "
	  "write a size from 64K to 64M (octets, or with K, M, G or T)\n" },
	{ NULL, "limits { auth_line_max_bytes = 12287 }",
	  "test.conf:2: limits.auth_line_max_bytes = 12287 is out of range; "
	  "write a size from 12288 to 128K (octets, or with K, M, G or T)\n" },
	{ NULL, "log { ring_slots = 300 }",
	  "test.conf:2: log.ring_slots = 300 is not a power of two; "
	  "write a number of lines from 256 to 1048576 that is a power of two\n" },
	{ NULL, "log { level = warning }",
	  "test.conf:2: log.level = warning is not a choice; write one of debug/info/warn/error\n" },
	{ NULL, "log { format = jsno }",
	  "test.conf:2: log.format = jsno is not a choice; did you mean json? write one of logfmt/json\n" },
	{ NULL, "log { level = \"\" }",
	  "test.conf:2: log.level = \"\" is not a choice; write one of debug/info/warn/error\n" },
	{ NULL, "node = { 1 }", "test.conf:2: node takes one value, not a list; write it without { }\n" },
	{ NULL, "node = {}", "test.conf:2: node takes one value, not a list; write it without { }\n" },
	{ NULL, "spool { path = \"rel\\x07\" }",
	  "test.conf:2: spool.path = rel? has control characters; write an absolute path\n" },
	{ NULL, "run_user = \"a b\"",
	  "test.conf:2: run_user = a b is not right here; write a system account name such as postern, or \"\"\n" },
	{ NULL, "run_user = root",
	  "test.conf:2: run_user = root: the worker reads what strangers send; name an account of its own\n" },
	{ NULL, "node = \"${PN_TEST_UNSET}\"",
	  "test.conf:2: the environment variable PN_TEST_UNSET is not set; set it, "
	  "or write ${PN_TEST_UNSET:-text}\n"
	  "test.conf:2: node = \"\" is not a whole number; write a number from 0 to 65534\n" },
	{ NULL, "listener m {\naddresses = {\n\"*:587\",\n\"*:x\",\n\"y\" }\ntls = starttls }",
	  "test.conf:5: listener \"m\": addresses = *:x is not right here; write \"[::]:465\", \"192.0.2.1:465\" "
	  "or \"*:465\" "
	  "(a numeric address and a port)\n"
	  "test.conf:6: listener \"m\": addresses = y is not right here; write \"[::]:465\", \"192.0.2.1:465\" or "
	  "\"*:465\" "
	  "(a numeric address and a port)\n" },
	{ NULL, "listener m { addresses = {} }",
	  "test.conf:2: listener \"m\": addresses has 0 items; write 1 to 64 of them\n" },
	{ NULL, "io_uring { disable = send_zc }",
	  "test.conf:2: io_uring.disable = send_zc is not right here; "
	  "write one of the features that `postern --version` lists\n" },
	{ NULL, "certificate d { chain_file = \"\" key_file = /k }",
	  "test.conf:2: certificate \"d\": chain_file = \"\" is empty; write an absolute path\n" },
	/* missing */
	{ "hostname = a.example\n", "",
	  "test.conf:1: there is no listener; write listener \"submissions\" "
	  "{ addresses = { \"[::]:465\" } }\n"
	  "test.conf:1: there is no certificate; write certificate \"main\" { chain_file = \"/path/chain.pem\" "
	  "key_file = \"/path/key.pem\" }\n"
	  "test.conf:1: there is no upstream; write upstream \"mta\" { hosts = { \"mx.example.org:25\" } }\n" },
	{ NULL, "certificate d {\nkey_file = /k\n}\nlistener m {}",
	  "test.conf:2: certificate \"d\" has no chain_file; write an absolute path\n"
	  "test.conf:5: listener \"m\" has no addresses; write \"[::]:465\", \"192.0.2.1:465\" or \"*:465\" "
	  "(a numeric address and a port)\n" },
	/* one key against another */
	{ NULL, "limits {\nsessions_max = 100\nhandshakes_max = 200 }",
	  "test.conf:4: limits.handshakes_max is more than limits.sessions_max; "
	  "every handshake is a session: lower the one or raise the other\n" },
	{ NULL, "limits { handshakes_max = 20001 }",
	  "test.conf:2: limits.handshakes_max is more than limits.sessions_max; "
	  "every handshake is a session: lower the one or raise the other\n" },
	{ NULL, "limits { recipients_max = 5000\ntransaction_memory_max_bytes = 4M }",
	  "test.conf:3: limits.transaction_memory_max_bytes is too small for limits.recipients_max; "
	  "5000 recipients of the longest kind take 5185536 octets: write at least that\n" },
	{ NULL, "limits { size_max_bytes = 64K header_size_max_bytes = 64K\nopen_files_max = 16000 }",
	  "test.conf:3: limits.open_files_max is not more than limits.sessions_max; "
	  "every session takes a descriptor: raise it, or write 0 for the hard limit\n" },
	{ NULL, "limits { size_max_bytes = 65536\nheader_size_max_bytes = 65537 }",
	  "test.conf:3: limits.header_size_max_bytes is more than limits.size_max_bytes; "
	  "the header is a part of the message: lower it\n" },
	{ NULL, "tls { handshake_timeout_s = 20 }\nlimits { session_timeout_s = 10 }",
	  "test.conf:2: tls.handshake_timeout_s is more than limits.session_timeout_s; "
	  "a session would end before its handshake: lower it\n" },
	{ NULL, "retry { first_s = 10\nmax_s = 5 lifetime_s = 60 delay_notice_s = 60 }",
	  "test.conf:2: retry.first_s is more than retry.max_s; the first wait is the shortest: lower it\n"
	  "test.conf:3: retry.delay_notice_s is not less than retry.lifetime_s; "
	  "the message would have bounced: lower it, or write 0 for no notice\n" },
	{ NULL, "retry { host_first_s = 10 host_max_s = 5 }",
	  "test.conf:2: retry.host_first_s is more than retry.host_max_s; the first pause is the "
	  "shortest: lower it\n" },
	{ NULL, "limits { sessions_per_source_max = 65535 }",
	  "test.conf:2: limits.sessions_per_source_max = 65535 is out of range; write a number of sessions from 0 to "
	  "65534\n" },
	{ NULL, "auth { failure_delay_ms = 10 failure_delay_max_ms = 9 }",
	  "test.conf:2: auth.failure_delay_ms is more than auth.failure_delay_max_ms; the first delay is the "
	  "shortest: lower it\n" },
	{ NULL, "io_uring { sq_entries = 1024 cq_entries = 512 }",
	  "test.conf:2: io_uring.cq_entries is less than io_uring.sq_entries; the kernel wants at least as many: "
	  "raise it\n" },
	{ NULL, "spool { inline_max_bytes = 1M memory_max_bytes = 4M segment_size_bytes = 2M }",
	  "test.conf:2: spool.memory_max_bytes is less than 16 times spool.inline_max_bytes; a few messages would "
	  "fill it: raise it\n"
	  "test.conf:2: spool.segment_size_bytes is less than 4 times spool.inline_max_bytes; "
	  "a segment is to hold several messages: raise it\n" },
	{ NULL, "auth { plain = no login = no\nscram = off }",
	  "test.conf:3: plain, login and scram are all off, so nobody can log in; switch one of them on\n" },
	/* a key that is wrong by itself is not compared */
	{ NULL, "limits { sessions_max = 100 handshakes_max = x }",
	  "test.conf:2: limits.handshakes_max = x is not a whole number; write a number of handshakes from 1 to "
	  "1000000\n" },
	/* listeners */
	{ NULL, "listener m {\naddresses = { \"192.0.2.1:466\",\n\"192.0.2.1:465\", \"0.0.0.0:466\" } }",
	  "test.conf:4: listener \"m\": port 465 of this address is taken by listener \"l\" (test.conf:1); "
	  "give them different ports or addresses\n"
	  "test.conf:4: listener \"m\": port 466 of this address is taken by listener \"m\" (test.conf:3); "
	  "give them different ports or addresses\n" },
	{ NULL, "listener m { addresses = { \"[2001:db8::1]:25\", \"[2001:db8:0::1]:25\", \"192.0.2.1:25\" } }",
	  "test.conf:2: listener \"m\": port 25 of this address is taken by listener \"m\" (test.conf:2); "
	  "give them different ports or addresses\n" },
	/* upstreams */
	{ NULL, "upstream v { kind = maildir domains = d.example }",
	  "test.conf:2: upstream \"v\" has kind = maildir but no path; write maildir = \"/path/to/Maildir\"\n" },
	{ NULL,
	  "upstream v { kind = maildir maildir = /m domains = d.example\nhosts = mx\ntls = starttls\nauth_user = u "
	  "auth_password_file = /p }",
	  "test.conf:3: upstream \"v\": a Maildir has no hosts; take them out or change the kind\n"
	  "test.conf:4: upstream \"v\": a Maildir has no TLS; write tls = none or take it out\n"
	  "test.conf:5: upstream \"v\": a Maildir has no login; take auth_user out\n" },
	{ NULL, "upstream v { domains = d.example\nmaildir = /m }",
	  "test.conf:3: upstream \"v\": maildir is for kind = maildir; take it out or change the kind\n"
	  "test.conf:2: upstream \"v\" has no hosts; write hosts = { \"mx.example.org:25\" }\n" },
	{ NULL, "upstream v { domains = d.example hosts = mx\nauth_user = u }",
	  "test.conf:3: upstream \"v\": auth_user without auth_password_file; name the file with the password\n" },
	{ NULL, "upstream v { domains = d.example hosts = mx\nauth_password_file = /p }",
	  "test.conf:3: upstream \"v\": auth_password_file without auth_user; write the user's name\n" },
	{ NULL, "upstream v { domains = d.example hosts = mx tls = none auth_password_file = /p\nauth_user = u }",
	  "test.conf:3: upstream \"v\": the password would go over an open line (tls = none); use TLS, "
	  "or write auth_without_tls = yes\n" },
	{ NULL, "upstream v { domains = d.example kind = lmtp\nhosts = { \"mx:24\", \"mx:25\",\n\"MX:24\" } }",
	  "test.conf:3: upstream \"v\": LMTP must not use port 25; write the LMTP port, 24 is usual\n"
	  "test.conf:4: upstream \"v\": MX:24 is named twice; use weight=N for a larger share\n" },
	{ NULL,
	  "upstream v { domains = { d.example,\ne.example } hosts = mx }\nupstream w { domains = { f.example,\n "
	  "E.example } "
	  "hosts = mx }",
	  "test.conf:5: the domain E.example goes to upstream \"v\" already; name it once\n" },
	{ NULL, "upstream v { domains = { d.example,\nD.Example } hosts = mx }",
	  "test.conf:3: the domain D.Example goes to upstream \"v\" already; name it once\n" },
	{ NULL, "upstream v { hosts = mx }",
	  "test.conf:2: upstream \"v\" has no domains, and neither has \"u\"; "
	  "only one can take all the rest: write domains = { ... }\n" },
	{ "hostname = a.example listener l { addresses = \"*:465\" } certificate c { chain_file = /c key_file = /k "
	  "}\n",
	  "upstream v { hosts = mx domains = d.example }\n",
	  "test.conf:2: no upstream takes the mail for all other domains; leave domains out in one of them\n" },
	{ NULL, "include(\"x\")", "test.conf:2: include is possible in a file only; put its text here\n" },
	/* usual ports: a word, but no refusal */
	{ NULL, "listener m { addresses = \"*:587\" }",
	  "test.conf:2: warning: clients expect STARTTLS on port 587; tls = starttls is usual\n" },
	{ "hostname = a.example "
	  "certificate c { chain_file = /c key_file = /k } upstream u { hosts = mx }\n",
	  "listener m { tls = starttls\naddresses = \"*:465\" }",
	  "test.conf:3: warning: clients expect TLS from the first octet on port 465; tls = implicit is usual\n" },
};

static void test_each_mistake_has_its_words(void **state)
{
	(void)state;
	unsetenv("PN_TEST_UNSET");
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
		char *report, *text = NULL;
		assert_true(asprintf(&text, "%s%s", cases[i].least != NULL ? cases[i].least : LEAST,
				     cases[i].text) > 0);
		struct pn_config *c = parse_with_report(text, &report);
		if (strcmp(report, cases[i].report) != 0)
			fail_msg("%s\n-- gave --\n%s-- not --\n%s", text, report, cases[i].report);
		pn_config_free(c);
		free(report);
		free(text);
	}
}

/* Each list with one item more than its key takes. */
static void test_lists_have_their_lengths(void **state)
{
	(void)state;
	static const struct {
		const char *before, *head, *tail, *after, *expected;
		unsigned count;
	} lists[] = {
		{ "listener \"x\" { addresses = {", "\"127.0.0.1:", "\"", "} }",
		  "addresses has 65 items; write 1 to 64 of them", 65 },
		{ "upstream \"x\" { domains = { \"a.example\" } hosts = {", "\"h", ".example.org\"", "} }",
		  "hosts has 17 items; write 0 to 16 of them", 17 },
		{ "upstream \"x\" { hosts = { \"h\" } domains = {", "\"d", ".example.org\"", "} }",
		  "domains has 4097 items; write 0 to 4096 of them", 4097 },
		{ "io_uring { disable = {", "\"send-zc", NULL, "\" } }",
		  "disable has 17 items; write 0 to 16 of them", 17 },
	};

	for (size_t i = 0; i < PN_ARRAY_SIZE(lists); i++) {
		char *text = NULL, *report;
		size_t len = 0;
		FILE *out = open_memstream(&text, &len);
		fprintf(out, "%s", lists[i].before);
		for (unsigned n = 0; n < lists[i].count; n++) {
			fprintf(out, "%s%s", n > 0 ? ", " : "", lists[i].head);
			if (lists[i].tail)
				fprintf(out, "%u%s", 1000 + n, lists[i].tail);
			else if (n + 1 < lists[i].count)
				fputc('"', out);
		}
		fprintf(out, "%s\n", lists[i].after);
		(void)fclose(out);
		assert_null(parse_with_report(text, &report));
		if (!strstr(report, lists[i].expected))
			fail_msg("%s is not in: %s", lists[i].expected, report);
		free(report);
		free(text);
	}
}

static void test_every_mistake_is_reported(void **state)
{
	(void)state;
	char *report;
	assert_null(parse_with_report("hostname = \"a b\"\n"
	                              "nod = 1\n"
	                              "listener l { addresses = x }\n"
	                              "limits {\n"
	                              "  sessions_max = none\n"
	                              "  idle_timeout_s = 0\n"
	                              "  what = 1\n"
	                              "}\n"
	                              "upstream u { kind = maildir }\n"
	                              "retry { first_s = 9 max_s = 8 }\n",
	                              &report));
	static const char *const places[] = {
		"test.conf:1: hostname", "test.conf:2: ",  "test.conf:3: ",
		"test.conf:5: ",         "test.conf:6: ",  "test.conf:7: ",
		"test.conf:9: ",         "test.conf:10: ", "test.conf:1: there is no certificate"
	};
	size_t lines = 0;
	for (size_t i = 0; i < PN_ARRAY_SIZE(places); i++) {
		if (strstr(report, places[i]) == NULL)
			fail_msg("%s is not in\n%s", places[i], report);
	}
	for (const char *p = report; *p != '\0'; p++)
		lines += *p == '\n';
	assert_int_equal(lines, PN_ARRAY_SIZE(places));
	free(report);
}

static void test_the_report_has_an_end(void **state)
{
	(void)state;
	char *report, text[5000] = "";
	size_t lines = 0;
	for (unsigned i = 0; i < 2 * PN_CONFIG_MISTAKES_MAX; i++)
		strcat(text, "zzz = 1\n");
	assert_null(parse_with_report(text, &report));
	for (const char *p = report; *p != '\0'; p++)
		lines += *p == '\n';
	assert_int_equal(lines, PN_CONFIG_MISTAKES_MAX + 1);
	assert_non_null(strstr(report, "test.conf:200: more than 200 mistakes; the rest is not shown\n"));
	free(report);
	assert_null(pn_config_parse(text, "test.conf", NULL));
}

static void test_sections_and_strings_have_limits(void **state)
{
	(void)state;
	char *report, *text = malloc(400000), *p = text;
	p += sprintf(p, LEAST);
	for (unsigned i = 0; i < PN_CONFIG_UPSTREAMS_MAX; i++)
		p += sprintf(p, "upstream u%u { hosts = mx domains = d%u.example }\n", i, i);
	assert_null(parse_with_report(text, &report));
	assert_string_equal(report, "test.conf:257: more than 256 sections upstream; take some out\n");
	free(report);
	p = text + sprintf(text, LEAST "spool { path = \"/");
	memset(p, 'x', PN_CONFIG_STRING_MAX_BYTES);
	strcpy(p + PN_CONFIG_STRING_MAX_BYTES - 1, "\" }");
	pn_config_free(parse_fine(text));
	strcpy(p + PN_CONFIG_STRING_MAX_BYTES - 1, "x\" }");
	assert_null(parse_with_report(text, &report));
	assert_non_null(strstr(report, "test.conf:2: spool.path = /xxx"));
	assert_non_null(strstr(report, "... is too long; write an absolute path\n"));
	free(report);
	text = realloc(text, PN_CONFIG_TOTAL_MAX_BYTES + 2);
	memset(text, '\n', PN_CONFIG_TOTAL_MAX_BYTES + 1);
	text[PN_CONFIG_TOTAL_MAX_BYTES + 1] = '\0';
	assert_null(parse_with_report(text, &report));
	assert_string_equal(report, "test.conf:1: more than 16 MiB; make it smaller\n");
	free(report);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_mistake_has_its_words),
		cmocka_unit_test(test_lists_have_their_lengths),
		cmocka_unit_test(test_every_mistake_is_reported),
		cmocka_unit_test(test_the_report_has_an_end),
		cmocka_unit_test(test_sections_and_strings_have_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
