/* SPDX-License-Identifier: ISC */
/*
 * test_auth_cli.c - `postern user` in a temporary directory: what is written, what is kept, what is refused,
 * and the terminal.
 */
#include <crypt.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "auth/user_file.h"

#define MAX_ARGS 12

static char dir[64], users[96];
static char out_text[16384], err_text[4096];

static int make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/postern-cli-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(users, sizeof(users), "%s/users", dir);
	return 0;
}

static int remove_dir(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -r '%s'", dir);
	return system(command);
}

static void write_users(const char *text)
{
	FILE *f = fopen(users, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static char *read_path(const char *path, char *into, size_t size)
{
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	size_t len = fread(into, 1, size - 1, f);
	into[len] = '\0';
	fclose(f);
	return into;
}

static char *read_users(void)
{
	static char text[16384];
	return read_path(users, text, sizeof(text));
}

static int redirect(const char *name, int fd, int flags)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	int file = open(path, flags | O_CREAT, 0600);
	return file >= 0 && dup2(file, fd) >= 0 && close(file) == 0 ? 0 : -1;
}

static pid_t start_cli(const char *tag, const char *input, char *const *argv, int argc)
{
	char name[64], path[160];

	fflush(NULL);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	snprintf(path, sizeof(path), "%s/in%s", dir, tag);
	FILE *f = fopen(path, "w");
	if (!f || fputs(input, f) < 0 || fclose(f) != 0)
		_exit(99);
	snprintf(name, sizeof(name), "in%s", tag);
	int r = redirect(name, 0, O_RDONLY);
	snprintf(name, sizeof(name), "out%s", tag);
	r += redirect(name, 1, O_WRONLY | O_TRUNC);
	snprintf(name, sizeof(name), "err%s", tag);
	r += redirect(name, 2, O_WRONLY | O_TRUNC);
	int code = r == 0 ? pn_auth_cli(argc, (char **)argv, users) : 98;
	fflush(NULL);
	_exit(code);
}

static int exit_code(pid_t pid)
{
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* Runs `postern user ARGS...` with `input` on stdin; the arguments end with NULL. */
static int run(const char *input, ...)
{
	char *argv[MAX_ARGS + 1];
	char path[128];
	int argc = 0;
	va_list args;

	va_start(args, input);
	while ((argv[argc] = va_arg(args, char *)) != NULL) {
		argc++;
		assert_true(argc < MAX_ARGS);
	}
	va_end(args);
	int code = exit_code(start_cli("", input, argv, argc));
	snprintf(path, sizeof(path), "%s/out", dir);
	read_path(path, out_text, sizeof(out_text));
	snprintf(path, sizeof(path), "%s/err", dir);
	read_path(path, err_text, sizeof(err_text));
	return code;
}

static struct pn_user_table *load(void)
{
	struct pn_error err;
	struct pn_file_stamp stamp;
	struct pn_user_mistakes mistakes = { .path = users, .err = &err };
	struct pn_user_table *t = pn_user_file_read(users, false, &mistakes, &stamp);

	if (!t)
		fail_msg("%s", err.text);
	return t;
}

/* Whether both the hash and the SCRAM key of the user are those of the password. */
static void assert_password(const char *name, const char *password)
{
	struct pn_user_table *t = load();
	struct pn_auth_user *u = pn_user_table_find(t, pn_slice_str(name));
	struct crypt_data *scratch = calloc(1, sizeof(*scratch));

	assert_non_null(u);
	assert_non_null(scratch);
	assert_int_equal(u->kind, PN_PASSWORD_CRYPT);
	assert_memory_equal(u->stored.ptr, "$y$", 3);
	assert_int_equal(pn_user_verify(u, pn_slice_str(password), scratch), PN_VERIFY_RIGHT);
	assert_int_equal(pn_user_verify(u, PN_SLICE_LIT("wrong"), scratch), PN_VERIFY_WRONG);
	free(scratch);
	assert_true(u->has_scram);
	assert_true(u->scram.iterations >= 4096);
	struct pn_sasl_scram_key key = u->scram;
	assert_true(pn_scram_derive(&key, pn_slice_str(password)));
	assert_memory_equal(&key, &u->scram, sizeof(key));
	assert_true(t->has_seed);
	pn_user_table_free(t);
}

static void test_add_makes_a_file(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(run("s3cret pass\n", "add", "tim@example.org", "--addresses", "a@x.example,b@y.example",
	                     "--domains", "z.example", "--password-stdin", NULL),
	                 0);
	assert_string_equal(out_text, "");
	assert_int_equal(stat(users, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_password("tim@example.org", "s3cret pass");
	assert_null(strstr(read_users(), "s3cret"));
	struct pn_user_table *t = load();
	const struct pn_auth_user *u = pn_user_table_find(t, PN_SLICE_LIT("tim@example.org"));
	assert_true(pn_auth_user_may_send_as(u, PN_SLICE_LIT("tim@example.org")));
	assert_true(pn_auth_user_may_send_as(u, PN_SLICE_LIT("b@y.example")));
	assert_true(pn_auth_user_may_send_as(u, PN_SLICE_LIT("any@z.example")));
	assert_false(pn_auth_user_may_send_as(u, PN_SLICE_LIT("c@y.example")));
	pn_user_table_free(t);

	/* The second user keeps the seed; without --password-stdin stdin is read too when it is no terminal. */
	char seed[80];
	snprintf(seed, sizeof(seed), "%.*s", 64, strstr(read_users(), "#postern-scram-seed:"));
	assert_int_equal(run("other", "add", "bob", NULL), 0);
	assert_non_null(strstr(read_users(), seed));
	assert_password("bob", "other");
	assert_password("tim@example.org", "s3cret pass");
}

static void test_what_is_refused(void **state)
{
	static char long_password[300], long_name[300];

	(void)state;
	memset(long_password, 'p', 256);
	memset(long_name, 'n', 256);
	assert_int_equal(run("secret\n", "add", "tim", NULL), 0);
	char before[4096];
	snprintf(before, sizeof(before), "%s", read_users());

	static const struct { const char *input, *command, *name, *option, *value, *words; } cases[] = {
		{ "x\n", "add", "tim", NULL, NULL, "exists already" },
		{ "x\n", "add", "TIM", NULL, NULL, "exists already" },
		{ "x\n", "passwd", "bob", NULL, NULL, "there is no user bob" },
		{ "", "remove", "bob", NULL, NULL, "there is no user bob" },
		{ "", "add", "bob", NULL, NULL, "no password on standard input" },
		{ "\n", "add", "bob", NULL, NULL, "the password is empty" },
		{ long_password, "add", "bob", NULL, NULL, "longer than 255 octets" },
		{ "a\tb\n", "add", "bob", NULL, NULL, "SASLprep" },
		{ "a\r\n", "add", "bob", NULL, NULL, "SASLprep" },
		{ "a\xff\n", "add", "bob", NULL, NULL, "UTF-8" },
		{ "x\n", "add", "a:b", NULL, NULL, "no colon" },
		{ "x\n", "add", "a b", NULL, NULL, "no blank" },
		{ "x\n", "add", "#bob", NULL, NULL, "start with '#'" },
		{ "x\n", "add", "", NULL, NULL, "the name is empty" },
		{ "x\n", "add", "b\x07", NULL, NULL, "SASLprep" },
		{ "x\n", "add", "@example.org", NULL, NULL, "is an address" },
		{ "x\n", "add", "bob@", NULL, NULL, "is an address" },
		{ "x\n", "add", long_name, NULL, NULL, "longer than 255" },
		{ "x\n", "add", "bob", "--addresses", "x.example", "--addresses takes a list" },
		{ "x\n", "add", "bob", "--addresses", "a@x postern_domains=y", "--addresses takes a list" },
		{ "x\n", "add", "bob", "--domains", "@x.example", "--domains takes a list" },
		{ "x\n", "add", "bob", "--domains", "x.example\nroot:*", "--domains takes a list" },
		{ "x\n", "passwd", "tim", "--domains", "x,", "--domains takes a list" },
	};
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
		int code = run(cases[i].input, cases[i].command, cases[i].name, cases[i].option, cases[i].value,
		               NULL);
		if (code != 1 || !strstr(err_text, cases[i].words))
			fail_msg("case %zu: %d %s", i, code, err_text);
		assert_string_equal(read_users(), before);
	}
}

static void test_usage(void **state)
{
	(void)state;
	assert_int_equal(run("", NULL), 64);
	assert_non_null(strstr(err_text, "Usage:"));
	assert_int_equal(run("", "--help", NULL), 0);
	assert_non_null(strstr(out_text, "Usage: postern user add"));
	assert_string_equal(err_text, "");
	assert_int_equal(run("", "add", "--help", NULL), 0);
	assert_int_equal(run("", "frobnicate", NULL), 64);
	assert_int_equal(run("", "add", NULL), 64);
	assert_int_equal(run("", "add", "a", "b", NULL), 64);
	assert_int_equal(run("", "add", "a", "--frob", NULL), 64);
	assert_int_equal(run("", "add", "a", "--domains", NULL), 64);
	assert_int_equal(run("", "list", "a", NULL), 64);
	assert_int_equal(run("", "list", "--password-stdin", NULL), 64);
	assert_int_equal(run("", "remove", "a", "--domains", "x", NULL), 64);
	assert_int_equal(run("", "list", "-f", "", NULL), 64);
	char *argv[] = { (char *)"list", NULL };
	assert_int_equal(pn_auth_cli(1, argv, NULL), 64);
	assert_int_equal(access(users, F_OK), -1);
}

#define HEAD "# head: x\r\n\nnot a user\nold:{PLAIN}x\r\n"
#define MIDDLE \
	":1000:1001:Tim, him:/home/tim:/bin/sh:userdb_mail=mbox:~/m postern_domains=d.example  " \
	"postern_scram=junk proxy"
#define TAIL "\n# between\nzoe:*\n\xff\xfe\nlast:*"

static void test_all_else_stays_octet_for_octet(void **state)
{
	struct stat st;

	(void)state;
	write_users(HEAD "tim:{CRYPT}$1$salt$0123456789012345678901" MIDDLE TAIL);
	assert_int_equal(chmod(users, 0604), 0);
	if (geteuid() == 0)
		assert_int_equal(chown(users, 12345, 23456), 0);
	assert_int_equal(run("secret\n", "passwd", "tim", NULL), 0);
	const char *text = read_users();
	assert_memory_equal(text, HEAD "tim:{CRYPT}$y$", strlen(HEAD "tim:{CRYPT}$y$"));
	assert_non_null(strstr(text, ":1000:1001:Tim, him:/home/tim:/bin/sh:userdb_mail=mbox:~/m "
	                             "postern_domains=d.example  proxy postern_scram={SCRAM-SHA-256}10000,"));
	assert_null(strstr(text, "junk"));
	const char *tail = strstr(text, TAIL "\n#postern-scram-seed:");
	assert_non_null(tail);
	assert_int_equal(strlen(tail), strlen(TAIL "\n#postern-scram-seed:") + 45);
	assert_int_equal(stat(users, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0604);
	if (geteuid() == 0) {
		assert_int_equal(st.st_uid, 12345);
		assert_int_equal(st.st_gid, 23456);
	}

	/* Lists are changed when they are given, and removed when given empty. */
	assert_int_equal(
	    run("secret\n", "passwd", "TIM", "--domains", "e.example", "--addresses=a@x.example", NULL), 0);
	text = read_users();
	assert_null(strstr(text, "d.example"));
	assert_non_null(strstr(text, " postern_addresses=a@x.example postern_domains=e.example\n# between"));
	assert_int_equal(run("secret\n", "passwd", "tim", "--domains", "", NULL), 0);
	text = read_users();
	assert_null(strstr(text, "postern_domains"));
	assert_non_null(strstr(text, " postern_addresses=a@x.example postern_scram="));

	/* Away with it: what is left is what was there before and the seed. */
	assert_int_equal(run("", "remove", "tim", NULL), 0);
	text = read_users();
	assert_memory_equal(text, HEAD "# between\nzoe:*\n\xff\xfe\nlast:*\n#postern-scram-seed:",
	                    strlen(HEAD "# between\nzoe:*\n\xff\xfe\nlast:*\n#postern-scram-seed:"));
}

static void test_short_lines_and_open_ends(void **state)
{
	(void)state;
	write_users("tim:*");
	assert_int_equal(run("secret\n", "passwd", "tim", NULL), 0);
	assert_password("tim", "secret");
	assert_non_null(strstr(read_users(), "::::::postern_scram="));
	write_users("tim:*:7");
	assert_int_equal(run("secret\n", "passwd", "tim", NULL), 0);
	assert_password("tim", "secret");
	assert_non_null(strstr(read_users(), ":7:::::postern_scram="));
	write_users("zoe:*");
	assert_int_equal(run("secret\n", "add", "tim", NULL), 0);
	assert_memory_equal(read_users(), "zoe:*\n#postern", 14);
	assert_password("tim", "secret");
	write_users("zoe:*");
	assert_int_equal(run("", "remove", "zoe", NULL), 0);
	assert_string_equal(read_users(), "");
}

static void test_names_and_passwords_are_prepared(void **state)
{
	(void)state;
	assert_int_equal(run("pa\xc2\xadss\xe2\x85\xa8\n", "add", "t\xc2\xad\xc3\xa9@example.org", NULL), 0);
	assert_password("t\xc3\xa9@example.org", "passIX");
	assert_int_equal(run("x\n", "add", "te\xcc\x81@example.org", NULL), 1); /* the same in another form */
	assert_int_equal(run("", "remove", "te\xcc\x81@example.org", NULL), 0);
}

static void test_list(void **state)
{
	(void)state;
	assert_int_equal(run("", "list", NULL), 1);
	assert_non_null(strstr(err_text, "cannot open the user file"));
	assert_int_equal(run("secret\n", "add", "tim@example.org", "--addresses", "a@x.example,b@y.example",
	                     "--domains", "z.example,y.example", NULL),
	                 0);
	char text[8192];
	snprintf(text, sizeof(text), "%sout:!\n", read_users());
	write_users(text);
	assert_int_equal(run("", "list", NULL), 0);
	assert_string_equal(out_text, "tim@example.org\tschemes=yescrypt,scram-sha-256\taddresses=a@x.example,b@y."
	                              "example\tdomains=z.example,y.example\n"
	                              "out\tdisabled\n");
	/* Good users of a bad file are shown, the mistake too, and it is a failure. */
	snprintf(text, sizeof(text), "%sbad\n", read_users());
	write_users(text);
	assert_int_equal(run("", "list", "-f", users, NULL), 1);
	assert_non_null(strstr(out_text, "tim@example.org\t"));
	assert_non_null(strstr(err_text, "users:5: no password field"));
}

static void test_link_is_followed(void **state)
{
	char link_path[128];
	struct stat st;

	(void)state;
	write_users("zoe:*\n");
	snprintf(link_path, sizeof(link_path), "%s/link", dir);
	assert_int_equal(symlink("users", link_path), 0);
	assert_int_equal(run("secret\n", "add", "tim", "-f", link_path, NULL), 0);
	assert_int_equal(lstat(link_path, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_non_null(strstr(read_users(), "\ntim:{CRYPT}$y$"));
}

static void test_what_cannot_be_written(void **state)
{
	(void)state;
	assert_int_equal(run("x\n", "add", "tim", "-f", "/tmp/postern-no-such-dir/users", NULL), 1);
	assert_non_null(strstr(err_text, "directory cannot be used"));
	assert_int_equal(run("x\n", "passwd", "tim", NULL), 1);
	assert_non_null(strstr(err_text, "no such user file"));
	assert_int_equal(run("x\n", "add", "tim", "-f", dir, NULL), 1);
	assert_int_equal(run("", "remove", "tim", "-f", dir, NULL), 1);
	char lock[128];
	snprintf(lock, sizeof(lock), "%s.lock", dir);
	unlink(lock);
}

/* No temporary files are left behind. */
static void test_nothing_is_left(void **state)
{
	char command[160];

	(void)state;
	assert_int_equal(run("x\n", "add", "tim", NULL), 0);
	assert_int_equal(run("y\n", "passwd", "tim", NULL), 0);
	assert_int_equal(run("y\n", "add", "tim", NULL), 1);
	snprintf(command, sizeof(command), "test -z \"$(ls %s | grep new)\"", dir);
	assert_int_equal(system(command), 0);
}

static void test_many_at_once(void **state)
{
	enum { COUNT = 6 };
	pid_t pids[COUNT];

	(void)state;
	for (int i = 0; i < COUNT; i++) {
		char name[16], tag[16];
		snprintf(name, sizeof(name), "user%d", i);
		snprintf(tag, sizeof(tag), "%d", i);
		char *argv[] = { (char *)"add", name, NULL };
		pids[i] = start_cli(tag, "secret\n", argv, 2);
	}
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(exit_code(pids[i]), 0);
	struct pn_user_table *t = load();
	assert_int_equal(t->count, COUNT);
	pn_user_table_free(t);
}

/* Reads what the terminal shows until `words` have been seen; fails after ten seconds. */
static void wait_for(int master, char *seen, size_t size, const char *words)
{
	size_t len = strlen(seen);

	while (!strstr(seen, words)) {
		struct pollfd p = { .fd = master, .events = POLLIN };
		if (poll(&p, 1, 10000) != 1)
			fail_msg("waiting for '%s', seen: %s", words, seen);
		ssize_t n = read(master, seen + len, size - len - 1);
		if (n <= 0)
			fail_msg("terminal closed while waiting for '%s', seen: %s", words, seen);
		len += (size_t)n;
		seen[len] = '\0';
	}
}

static int run_on_terminal(const char *first, const char *second, char *seen, size_t size)
{
	int master;

	seen[0] = '\0';
	fflush(NULL);
	pid_t pid = forkpty(&master, NULL, NULL, NULL);
	assert_true(pid >= 0);
	if (pid == 0) {
		char *argv[] = { (char *)"add", (char *)"tim", NULL };
		int code = pn_auth_cli(2, argv, users);
		fprintf(stderr, "code %d", code);
		fflush(NULL);
		_exit(code);
	}
	wait_for(master, seen, size, "New password: ");
	assert_int_equal(write(master, first, strlen(first)), strlen(first));
	if (second) {
		wait_for(master, seen, size, "Again: ");
		assert_int_equal(write(master, second, strlen(second)), strlen(second));
		wait_for(master, seen, size, "code ");
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(master);
	return status;
}

static void test_terminal(void **state)
{
	char seen[4096];

	(void)state;
	int status = run_on_terminal("one\n", "two\n", seen, sizeof(seen));
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_non_null(strstr(seen, "the two passwords differ"));
	assert_int_equal(access(users, F_OK), -1);

	status = run_on_terminal("hunter2\n", "hunter2\n", seen, sizeof(seen));
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_null(strstr(seen, "hunter2")); /* no echo */
	assert_password("tim", "hunter2");

	/* Ctrl-C ends it. */
	status = run_on_terminal("\003", NULL, seen, sizeof(seen));
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGINT);
}

#define T(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_add_makes_a_file),
		T(test_what_is_refused),
		T(test_usage),
		T(test_all_else_stays_octet_for_octet),
		T(test_short_lines_and_open_ends),
		T(test_names_and_passwords_are_prepared),
		T(test_list),
		T(test_link_is_followed),
		T(test_what_cannot_be_written),
		T(test_nothing_is_left),
		T(test_many_at_once),
		T(test_terminal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
