/* SPDX-License-Identifier: ISC */
/* Files: includes with their places, what check_files finds, the example in deploy/. */
#include <sys/stat.h>
#include <unistd.h>

#include "config_test.h"

static char dir[] = "/tmp/pn-test-config-XXXXXX";

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	char command[128];
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

static const char *path_of(const char *name)
{
	static char paths[8][128];
	static unsigned turn;
	char *path = paths[turn++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static void write_file(const char *name, mode_t mode, const char *text, size_t len)
{
	const char *path = path_of(name);

	unlink(path);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void put(const char *name, const char *text)
{
	write_file(name, 0600, text, strlen(text));
}

/* Loads dir/name; *ret_report has `dir` cut out of it. */
static struct pn_config *load(const char *name, bool check_files, char **ret_report)
{
	char *raw, *report;
	size_t size;
	FILE *f = open_memstream(&raw, &size);

	struct pn_config *c = pn_config_load(path_of(name), check_files, f);
	fclose(f);
	report = calloc(1, size + 1);
	char *out = report;
	for (const char *p = raw; *p != '\0';) {
		if (strncmp(p, dir, strlen(dir)) == 0)
			p += strlen(dir);
		else
			*out++ = *p++;
	}
	free(raw);
	*ret_report = report;
	return c;
}

static void load_reports(const char *name, bool check_files, const char *expected)
{
	char *report;
	struct pn_config *c = load(name, check_files, &report);

	if (strcmp(report, expected) != 0)
		fail_msg("gave\n%snot\n%s", report, expected);
	assert_true((c == NULL) == (*expected != '\0'));
	free(report);
	pn_config_free(c);
}

static void test_includes_have_their_own_lines(void **state)
{
	(void)state;
	char *report;
	mkdir(path_of("conf.d"), 0700);
	put("conf.d/limits.conf", "# one\n/* two\n three */\nsessions_max = 7\ninclude(\"more.conf\")");
	put("conf.d/more.conf", "idle_timeout_s = 9\n");
	put("conf.d/sections.conf", LEAST_SECTIONS "\n");
	put("main.conf", "hostname = a.example\nlimits {\n\tinclude(\"conf.d/limits.conf\")\n\tdata_timeout_s = 8\n}\n"
	                 "include ( 'conf.d/sections.conf' )\n");
	struct pn_config *c = load("main.conf", false, &report);
	assert_string_equal(report, "");
	assert_non_null(c);
	assert_int_equal(c->limits.sessions_max, 7);
	assert_int_equal(c->limits.idle_timeout_s, 9);
	assert_int_equal(c->limits.data_timeout_s, 8);
	assert_int_equal(c->listener_count, 1);
	free(report);
	pn_config_free(c);

	put("conf.d/more.conf", "\nidle_timeout = 9\nsessions_max = 8\n");
	put("conf.d/sections.conf", LEAST_SECTIONS "\nlog { level = 5 }\nlimits {\n\tdata_timeout_s = 8\n}\n");
	load_reports("main.conf", false,
	             "/conf.d/more.conf:2: unknown key 'idle_timeout' in limits; did you mean idle_timeout_s?\n"
	             "/conf.d/more.conf:3: limits.sessions_max is set already (/conf.d/limits.conf:4); set it once\n"
	             "/conf.d/sections.conf:4: limits.data_timeout_s is set already (/main.conf:4); set it once\n"
	             "/conf.d/sections.conf:2: log.level = 5 is not a choice; write one of debug/info/warn/error\n");
	/* The line behind an include is right again; a broken include ends the reading, and says where. */
	put("conf.d/more.conf", "} \n");
	load_reports("main.conf", false,
		     "/conf.d/more.conf:1: no section is open, but here is '}'; take the } out, or look for a { "
		     "that is missing\n");
	put("conf.d/more.conf", "log { level = info }\n");
	load_reports("main.conf", false,
	             "/conf.d/more.conf:1: the section 'log' begins inside of another one; close that with } first\n");
}

static void test_includes_are_bounded(void **state)
{
	(void)state;
	char name[32], text[64];
	put("self.conf", "node = 1\n\ninclude(\"self.conf\")\n");
	put("mutual.conf", LEAST "include(\"self2.conf\")\n");
	put("self2.conf", "include(\"mutual.conf\")\n");
	char *report;
	assert_null(load("self.conf", false, &report));
	assert_non_null(strstr(report, "/self.conf:3: /self.conf includes itself; take one of the includes out\n"));
	free(report);
	load_reports("mutual.conf", false,
		     "/self2.conf:1: /mutual.conf includes itself; take one of the includes out\n");
	for (unsigned i = 0; i <= PN_CONFIG_INCLUDE_DEPTH_MAX; i++) {
		snprintf(name, sizeof(name), "deep%u.conf", i);
		snprintf(text, sizeof(text), "include(\"deep%u.conf\")\n", i + 1);
		put(name, text);
	}
	put("deep0.conf", LEAST "include(\"deep1.conf\")\n");
	load_reports("deep0.conf", false,
		     "/deep10.conf:1: too many includes; at most 10 deep and 1000 files are read\n");
	put("odd.conf",
	    LEAST "include(\"\")\ninclude(\"$x\")\ninclude(\"a\\\\b\")\ninclude(\"none.conf\")\ninclude(\"/tmp\")\n"
		  "include(\"/dev/null\")\n");
	load_reports("odd.conf", false,
	             "/odd.conf:2: include takes a plain file name; write it without $ and \\\n"
	             "/odd.conf:3: include takes a plain file name; write it without $ and \\\n"
	             "/odd.conf:4: include takes a plain file name; write it without $ and \\\n"
	             "/odd.conf:5: cannot open /none.conf: No such file or directory; name a file that can be read\n"
	             "/odd.conf:6: /tmp is not a regular file; name a file\n"
	             "/odd.conf:7: /dev/null is not a regular file; name a file\n");
	char *longest = malloc(6000);
	memset(longest, 'x', 6000);
	memcpy(longest, "include(\"", 9);
	strcpy(longest + 5000, "\")\n");
	put("long.conf", longest);
	assert_null(load("long.conf", false, &report));
	assert_non_null(strstr(report, "/long.conf:1: the file name is too long; use a shorter path\n"));
	free(report);
	free(longest);
}

static void test_files_that_are_none(void **state)
{
	(void)state;
	load_reports("none.conf", false, "/none.conf:1: cannot open /none.conf: No such file or directory; "
	             "begin with postern.conf.example (postern.conf(5)), or name a file with -c\n");
	mkdir(path_of("folder"), 0700);
	load_reports("folder", false, "/folder:1: /folder is not a regular file; name a file\n");
	write_file("nul.conf", 0600, "node = 1\0\n", 10);
	load_reports("nul.conf", false, "/nul.conf:1: the file has NUL octets in it; write plain text (UTF-8)\n");
	char *big = malloc(PN_CONFIG_FILE_MAX_BYTES);
	memset(big, '\n', PN_CONFIG_FILE_MAX_BYTES);
	write_file("big.conf", 0600, big, PN_CONFIG_FILE_MAX_BYTES);
	load_reports(
		"big.conf", false,
		"/big.conf:1: cannot read /big.conf: File too large; a configuration file has at most 4 MiB\n");
	write_file("big.conf", 0600, big, PN_CONFIG_FILE_MAX_BYTES - 2);
	put("five.conf",
	    "include(\"big.conf\") include(\"big.conf\") include(\"big.conf\") include(\"big.conf\")\n" LEAST);
	load_reports("five.conf", false, "/five.conf:1: more than 16 MiB with all includes; make the files smaller\n");
	free(big);
}

static void test_a_pipe_is_read_to_its_end(void **state)
{
	(void)state;
	int fds[2];
	char path[32];
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], LEAST, strlen(LEAST)), strlen(LEAST));
	close(fds[1]);
	snprintf(path, sizeof(path), "/dev/fd/%d", fds[0]);
	struct pn_config *c = pn_config_load(path, false, stderr);
	close(fds[0]);
	assert_non_null(c);
	pn_config_free(c);
}

/* A config whose files are all below dir, some of them missing. */
static void put_checked(const char *more)
{
	char text[4096];
	snprintf(text, sizeof(text),
		 "hostname = mail.example.org\n"
		 "listener l { addresses = \"*:465\" }\n"
		 "certificate c { chain_file = \"%s/chain.pem\"\n key_file = \"%s/key.pem\" }\n"
		 "upstream u { hosts = mx ca_file = \"%s/ca.pem\" auth_user = x\n auth_password_file = "
		 "\"%s/password\" }\n"
		 "auth { user_file = \"%s/users\" }\n"
		 "spool { path = \"%s/spool\" }\n"
		 "%s",
		 dir, dir, dir, dir, dir, dir, more);
	put("checked.conf", text);
}

static void test_named_files_are_looked_at(void **state)
{
	(void)state;
	put_checked("");
	load_reports("checked.conf", false, "");
	load_reports("checked.conf", true,
	             "/checked.conf:3: chain_file /chain.pem cannot be read: No such file or directory; "
	             "name the PEM file of the certificate\n"
	             "/checked.conf:4: key_file /key.pem cannot be read: No such file or directory; "
	             "name the PEM file of the private key\n"
	             "/checked.conf:5: ca_file /ca.pem cannot be read: No such file or directory; "
	             "name the PEM file of the trusted roots, or \"\" for the system's\n"
	             "/checked.conf:6: auth_password_file /password cannot be read: No such file or directory; "
	             "write the password into its first line\n"
	             "/checked.conf:7: user_file /users cannot be read: No such file or directory; "
	             "make it with: postern user add NAME\n");
	put("chain.pem", "");
	put("key.pem", "");
	put("ca.pem", "");
	put("password", "");
	put("users", "");
	load_reports("checked.conf", true, ""); /* the spool folder is made by the gateway */
	mkdir(path_of("spool"), 0700);
	load_reports("checked.conf", true, "");
	/* Warnings do not refuse. */
	chmod(path_of("key.pem"), 0640);
	chmod(path_of("password"), 0604);
	chmod(path_of("users"), 0644);
	char *report;
	struct pn_config *c = load("checked.conf", true, &report);
	assert_non_null(c);
	assert_string_equal(
		report,
		"/checked.conf:4: warning: key_file /key.pem has mode 0640, so others than its owner can use it; "
		"chmod 600 /key.pem\n"
		"/checked.conf:6: warning: auth_password_file /password has mode 0604, so others than its owner "
		"can "
		"use it; chmod 600 /password\n"
		"/checked.conf:7: warning: user_file /users has mode 0644, so everybody can use it; "
		"chmod 640 /users\n");
	free(report);
	pn_config_free(c);
	chmod(path_of("key.pem"), 0600);
	chmod(path_of("password"), 0600);
	chmod(path_of("users"), 0600);
	unlink(path_of("users"));
	mkdir(path_of("users"), 0700);
	load_reports("checked.conf", true, "/checked.conf:7: user_file /users is not a regular file; name a file\n");
	rmdir(path_of("users"));
	put("users", "");
	unlink(path_of("users"));
}

static void test_named_folders_and_accounts_are_looked_at(void **state)
{
	(void)state;
	char text[512];
	put("users", "");
	mkdir(path_of("spool"), 0700);
	/* Folders that hold what is made later. */
	snprintf(text, sizeof(text), "upstream m { kind = maildir domains = d.example\nmaildir = \"%s/no/where/\" }\n"
	         "log { file = \"%s/users/log\" }\nrun_group = no-such-group\n", dir, dir);
	put_checked(text);
	load_reports("checked.conf", true,
	             "/checked.conf:12: there is no group no-such-group; make it: addgroup --system no-such-group\n"
	             "/checked.conf:10: maildir: the folder /no: No such file or directory; make it first\n"
	             "/checked.conf:11: log.file: /users is not a folder; choose another path\n"
	);
	put_checked("run_user = no-such-user\nupstream m { kind = maildir domains = d.example maildir = /Maildir }\n");
	load_reports(
		"checked.conf", true,
		"/checked.conf:9: there is no user no-such-user; make it: adduser --system --group no-such-user\n");
	snprintf(text, sizeof(text), "control_socket = \"%s/no/such/control\"\n", dir);
	put_checked(text);
	load_reports("checked.conf", true,
	             "/checked.conf:9: control_socket: the folder /no: No such file or directory; make it first\n");
	snprintf(text, sizeof(text), "control_socket = \"%s/new/control\"\n", dir); /* made by the gateway */
	put_checked(text);
	load_reports("checked.conf", true, "");
	if (geteuid() == 0) { /* then the worker becomes somebody else, who must be able to read the users */
		chmod(dir, 0711);
		chmod(path_of("users"), 0640);
		assert_int_equal(chown(path_of("spool"), 65534, 65534), 0);
		put_checked("run_user = nobody\n");
		load_reports("checked.conf", true,
		             "/checked.conf:7: user_file /users cannot be read by run_user nobody; "
		             "chgrp nogroup /users && chmod 640 /users\n");
		assert_int_equal(chown(path_of("users"), 0, 65534), 0);
		load_reports("checked.conf", true, "");
		assert_int_equal(chown(path_of("users"), 65534, 0), 0);
		load_reports("checked.conf", true, "");
	}
	rmdir(path_of("spool"));
	put("spool", "");
	put_checked("");
	load_reports("checked.conf", true, "/checked.conf:8: spool.path /spool is not a folder; name one\n");
	unlink(path_of("spool"));
}

static char *read_example(void)
{
	const char *source = getenv("PN_SOURCE_DIR");
	char path[4096];
	char *text = calloc(1, 65536);

	snprintf(path, sizeof(path), "%s/deploy/postern.conf.example", source != NULL ? source : ".");
	FILE *f = fopen(path, "r");
	if (f == NULL)
		fail_msg("%s: set PN_SOURCE_DIR", path);
	assert_in_range(fread(text, 1, 65535, f), 1000, 65534);
	fclose(f);
	return text;
}

static void test_the_example_is_fine(void **state)
{
	(void)state;
	char *text = read_example();
	struct pn_config *c = parse_fine(text);
	assert_int_equal(c->listener_count, 2);
	assert_int_equal(c->listeners[0].tls, PN_CONFIG_TLS_IMPLICIT);
	assert_int_equal(c->listeners[1].tls, PN_CONFIG_TLS_STARTTLS);
	assert_int_equal(c->certificate_count, 2);
	assert_int_equal(c->upstream_count, 1);
	assert_int_equal(c->upstreams[0].host_count, 2);
	pn_config_free(c);
	/* With every commented setting taken in ("# " is prose) it is the full example, and as good. */
	char *full = calloc(1, strlen(text) + 1), *out = full;
	bool is_line_start = true;
	for (const char *p = text; *p != '\0'; p++) {
		if (is_line_start && *p == '#' && p[1] != ' ')
			continue;
		is_line_start = *p == '\n' || (is_line_start && *p == '\t');
		*out++ = *p;
	}
	c = parse_fine(full);
	assert_int_equal(c->upstream_count, 2);
	assert_int_equal(c->upstreams[1].kind, PN_CONFIG_UPSTREAM_MAILDIR);
	pn_config_free(c);
	free(full);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_includes_have_their_own_lines),
		cmocka_unit_test(test_includes_are_bounded),
		cmocka_unit_test(test_files_that_are_none),
		cmocka_unit_test(test_a_pipe_is_read_to_its_end),
		cmocka_unit_test(test_named_files_are_looked_at),
		cmocka_unit_test(test_named_folders_and_accounts_are_looked_at),
		cmocka_unit_test(test_the_example_is_fine),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
