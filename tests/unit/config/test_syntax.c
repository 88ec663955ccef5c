/* SPDX-License-Identifier: ISC */
/* Grammar: quoting, escapes, variables, comments, lists, sections, syntax errors with their lines. */
#include "config_test.h"

static void auth_user_is(const char *value, const char *expected)
{
	char text[1024];

	snprintf(text, sizeof(text), "hostname = h.example\n"
	         "listener l { addresses = \"*:465\" }\n"
	         "certificate c { chain_file = /c key_file = /k }\n"
	         "upstream u { hosts = mx auth_password_file = /p auth_user = %s }\n", value);
	struct pn_config *c = parse_fine(text);
	assert_string_equal(c->upstreams[0].auth_user, expected);
	pn_config_free(c);
}

static void test_strings(void **state)
{
	(void)state;
	setenv("PN_TEST_NAME", "from env", 1);
	setenv("PN_TEST_EMPTY", "", 1);
	unsetenv("PN_TEST_NONE");
	auth_user_is("bare", "bare");
	auth_user_is("a-b/c.d:e@f_g[h]//i", "a-b/c.d:e@f_g[h]//i");
	auth_user_is("\"two words\"", "two words");
	auth_user_is("'single $x \\n \"q\" \\\\ \\' ${PN_TEST_NAME}'", "single $x \\n \"q\" \\ ' ${PN_TEST_NAME}");
	auth_user_is("\"\\\"q\\\" \\\\ \\$ \\' \\x41\\x7e\"", "\"q\" \\ $ ' A~");
	auth_user_is("\"$ $x # // /* {}(),=;\"", "$ $x # // /* {}(),=;");
	auth_user_is("\"<${PN_TEST_NAME}>\"", "<from env>");
	auth_user_is("${PN_TEST_NAME}", "from env");
	auth_user_is("\"\\${PN_TEST_NAME}\"", "${PN_TEST_NAME}");
	auth_user_is("\"${PN_TEST_NONE:-else where}\"", "else where");
	auth_user_is("${PN_TEST_NONE:-else}", "else");
	auth_user_is("\"x${PN_TEST_EMPTY}\"", "x");
	auth_user_is("\"b\xc3\xbc""cher\"", "b\xc3\xbc""cher");
	auth_user_is("b\xc3\xbc""cher", "b\xc3\xbc""cher");
}

static void test_layout_is_free(void **state)
{
	(void)state;
	struct pn_config *c =
		parse_fine("# comment\r\n"
			   "hostname=h.example // \"c\n/* two { \nlines \" **/ node = 7 loops=\t3\n"
			   "listener\n\"l\"\n{\naddresses\n=\n{\n\"*:465\"\n,'*:466',\n}\n}\n"
			   "certificate c{chain_file=/c//d\n key_file=\"/k\"}upstream u{hosts={mx}domains={}}\n"
			   "#\n//\n# end");
	assert_string_equal(c->hostname, "h.example");
	assert_int_equal(c->node, 7);
	assert_int_equal(c->loops, 3);
	assert_int_equal(c->listeners[0].address_count, 2);
	assert_string_equal(c->listeners[0].addresses[1], "*:466");
	assert_string_equal(c->certificates[0].chain_file, "/c//d");
	pn_config_free(c);
}

static void test_parts_of_a_section_are_put_together(void **state)
{
	(void)state;
	struct pn_config *c = parse_fine(LEAST "limits { sessions_max = 5 }\nlog { level = warn }\n"
	                                 "limits { idle_timeout_s = 6 }\nlimits {}\nlog {}\n");
	assert_int_equal(c->limits.sessions_max, 5);
	assert_int_equal(c->limits.idle_timeout_s, 6);
	assert_int_equal(c->log.level, PN_CONFIG_LOG_WARN);
	pn_config_free(c);
}

/* What ends the reading: one line each, and its place. What stood before is checked all the same. */
static const struct {
	const char *text;
	const char *report;
} broken[] = {
	{ "node = \"1\n", "t:2: the string has no end on its line; close it with \"" },
	{ "node = '1\n'", "t:2: the string has no end on its line; close it with '" },
	{ "node = \"1", "t:2: the string has no end on its line; close it with \"" },
	{ "\n/* x\n\n", "t:3: the comment has no end; write */ behind it" },
	{ "node = 1;\n", "t:2: ';' has no meaning; a line end is enough" },
	{ "node += 1\n", "t:2: '+' cannot stand here; put the value in double quotes, and set keys with =" },
	{ "node = *:1\n", "t:2: '*' cannot stand here; put the value in double quotes, and set keys with =" },
	{ "node = a$b\n", "t:2: '$' cannot stand here; put the value in double quotes, and set keys with =" },
	{ "node = a\x01\n", "t:2: a control character (1); write plain text" },
	{ "node = \"\\q\"\n",
	  "t:2: \\ is followed by something that it does not go with; write \\\\ for a backslash, "
	  "\\\" for a quote, \\$ for a dollar sign, \\x41 for a character" },
	{ "node = \"\\x00\"\n", "t:2: \\ is followed by something" },
	{ "node = \"\\x4\"\n", "t:2: \\ is followed by something" },
	{ "node = \"\\\n1\"\n", "t:2: \\ is followed by something" },
	{ "node = \"${\"\n}",
	  "t:2: \"${\" begins the name of an environment variable; write ${NAME} or ${NAME:-text}, "
	  "and \\$ for a plain $" },
	{ "node = \"${A\"B}\"\n", "t:2: \"${\" begins the name" },
	{ "node = ${1A}\n", "t:2: \"${\" begins the name" },
	{ "node = ${}\n", "t:2: \"${\" begins the name" },
	{ "node = ${A\n}\n", "t:2: \"${\" begins the name" },
	{ "node = ${A:-x\n}\n", "t:2: \"${\" begins the name" },
	{ "node\n\n",
	  "t:4: = belongs behind the name of a key, but here is the end of the file; write name = value" },
	{ "node 1\n", "t:2: = belongs behind the name of a key, but here is '1'; write name = value" },
	{ "node ( 1 )\n", "t:2: = belongs behind the name of a key, but here is '('; write name = value" },
	{ "node =\nloops = 2\n",
	  "t:3: a value belongs behind the =, but here is 'loops'; write it on the same line, "
	  "\"\" for an empty one" },
	{ "node = = 1\n", "t:2: a value belongs behind the =, but here is '='; " },
	{ "node = ", "t:2: a value belongs behind the =, but here is the end of the file; " },
	{ "hostname = a b\n",
	  "t:2: one value is enough, but here is 'b'; put a text with blanks in double quotes" },
	{ "hostname = \"a\" \"b\"\n", "t:2: one value is enough, but here is '\"b\"'; " },
	{ "\"node\" = 1\n", "t:2: a key or a section begins with its name, but here is '\"node\"'; "
			    "write name = value, or name { ... }" },
	{ "= 1\n", "t:2: a key or a section begins with its name, but here is '='; " },
	{ "}\n", "t:2: no section is open, but here is '}'; take the } out, or look for a { that is missing" },
	{ "\nlimits {\nidle_timeout_s = 5\n",
	  "t:3: the section 'limits' is not closed; write } behind its last key" },
	{ "limits {\nlog {\n", "t:3: the section 'log' begins inside of another one; close that with } first" },
	{ "io_uring { disable = { \"send-zc\" \"msg-ring\" } }\n",
	  "t:2: the items of a list have commas between them, but here is '\"msg-ring\"'; write { \"one\", \"two\" "
	  "}" },
	{ "io_uring { disable = { , } }\n", "t:2: a list has items between its braces, but here is ','; " },
	{ "io_uring { disable = { \"send-zc\"\n",
	  "t:3: the items of a list have commas between them, but here is the end" },
	{ "include(x)\n", "t:2: include needs a file, but here is 'x'; write include(\"file\")" },
	{ "include(\"x\", \"y\")\n", "t:2: include takes one file, but here is ','; write include(\"file\")" },
	{ "include(${HOME})\n", "t:2: include needs a file, but here is '${HOME}'; " },
};

static void test_syntax_errors_have_their_line(void **state)
{
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(broken); i++) {
		char text[512], expected[512];
		char *report;
		snprintf(text, sizeof(text), "relay_workers = many\n%s", broken[i].text);
		size_t size;
		FILE *f = open_memstream(&report, &size);
		assert_null(pn_config_parse(text, "t", f));
		fclose(f);
		if (strstr(report, broken[i].report) == NULL)
			fail_msg("%s gave\n%s", broken[i].text, report);
		/* The mistake before it is found as well, and nothing is said about what was never reached. */
		snprintf(expected, sizeof(expected), "t:1: relay_workers = many is not a whole number; "
		         "write a number of threads from 0 to 64\n");
		assert_non_null(strstr(report, expected));
		assert_null(strstr(report, "there is no "));
		free(report);
	}
}

static void test_a_list_has_an_end(void **state)
{
	(void)state;
	char *report, *text = malloc(60000);
	char *p = text + sprintf(text, "io_uring { disable = { a");
	for (unsigned i = 0; i < PN_CONFIG_LIST_MAX; i++)
		p += sprintf(p, ",a");
	assert_null(parse_with_report(text, &report));
	assert_non_null(strstr(report, "test.conf:1: the list is too long, but here is 'a'; "));
	free(report);
	free(text);
}

static void test_reading_again_after_a_broken_file(void **state)
{
	(void)state;
	/* libConfuse's scanner has static state; nothing of one reading is left for the next. */
	for (size_t i = 0; i < PN_ARRAY_SIZE(broken); i++) {
		char text[512];
		snprintf(text, sizeof(text), LEAST "%s", broken[i].text);
		assert_null(pn_config_parse(text, "t", NULL));
		pn_config_free(parse_fine(LEAST "node = 5\n"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_layout_is_free),
		cmocka_unit_test(test_parts_of_a_section_are_put_together),
		cmocka_unit_test(test_syntax_errors_have_their_line),
		cmocka_unit_test(test_a_list_has_an_end),
		cmocka_unit_test(test_reading_again_after_a_broken_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
