/* SPDX-License-Identifier: ISC */
/*
 * test_auth_user_file.c - reading whole files: mistakes with their lines, limits, and what unknown users are
 * shown.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "auth/user_file.h"

#define B43 "0123456789012345678901234567890123456789012"
#define B86 B43 B43
#define KEY32 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define SCRAM(iterations) "{SCRAM-SHA-256}" iterations ",W22ZaJ0SNY7soEsUEjb6gQ==," KEY32 "," KEY32
#define SEED_LINE "#postern-scram-seed:" KEY32 "\n"

static char path[64];

static int make_path(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "/tmp/postern-users-XXXXXX");
	int fd = mkstemp(path);
	return fd >= 0 ? close(fd) : -1;
}

static int remove_path(void **state)
{
	(void)state;
	return unlink(path);
}

static void write_octets(const char *text, size_t len)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static struct pn_user_table *read_text(const char *text, size_t len, struct pn_error *err, size_t *ret_mistakes)
{
	struct pn_user_mistakes mistakes = { .path = "users", .err = err };
	struct pn_file_stamp stamp;

	write_octets(text, len);
	mistakes.path = path;
	struct pn_user_table *t = pn_user_file_read(path, false, &mistakes, &stamp);
	assert_true(stamp.inode != 0);
	if (ret_mistakes)
		*ret_mistakes = mistakes.count;
	return t;
}

static struct pn_user_table *read_good(const char *text)
{
	struct pn_error err;
	size_t mistakes;
	struct pn_user_table *t = read_text(text, strlen(text), &err, &mistakes);

	if (!t)
		print_error("%s\n", err.text);
	assert_non_null(t);
	assert_int_equal(mistakes, 0);
	return t;
}

static void test_good_file(void **state)
{
	(void)state;
	struct pn_user_table *t = read_good("# comment: with colons\n\ntim@example.org:$6$salt$" B86
	                                    "\n#bob:*\nBOB:" SCRAM("4096") "\nout:!");

	assert_int_equal(t->count, 3);
	assert_int_equal(t->enabled_count, 2);
	assert_int_equal(t->scram_count, 1);
	assert_int_equal(pn_user_table_find(t, PN_SLICE_LIT("tim@example.org"))->line, 3);
	assert_int_equal(pn_user_table_find(t, PN_SLICE_LIT("Tim@EXAMPLE.org"))->line, 3);
	assert_int_equal(pn_user_table_find(t, PN_SLICE_LIT("bob"))->line, 5);
	assert_int_equal(pn_user_table_find(t, PN_SLICE_LIT("out"))->line, 6);
	assert_null(pn_user_table_find(t, PN_SLICE_LIT("tim")));
	assert_null(pn_user_table_find(t, PN_SLICE_NULL));
	pn_user_table_free(t);
}

struct bad_file {
	const char *text;
	size_t mistakes;
	const char *first;  /* ":line: words" */
};

static const struct bad_file bad_files[] = {
	{ "tim\n", 1, ":1: no password field" },
	{ "\n\n# x\ntim:secret\n", 1, ":4: this is no password hash" },
	{ "a:*\nb:*\na:*\n", 1, ":3: the user stands in line 1 already" },
	{ "a:*\nA:*\n", 1, ":2: the user stands in line 1 already" },
	{ "a:*\n\xc2\xad""a:*\n", 1, ":2: the user stands in line 1 already" }, /* the same once prepared */
	{ "a:*\r\nb:*\r\n", 2, ":1: the line ends in CR LF" },
	{ "#postern-scram-seed:\n", 1, ":1: the SCRAM seed is not base64" },
	{ "#postern-scram-seed:AAAA\n", 1, ":1: the SCRAM seed is not base64" },
	{ SEED_LINE "a:*\n" SEED_LINE, 1, ":3: a second SCRAM seed" },
	{ "a:{X}y\nb\nc:{PLAIN}z", 3, ":1: the password scheme {X} is not supported" },
};

static void test_bad_files(void **state)
{
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(bad_files); i++) {
		struct pn_error err;
		size_t mistakes;
		struct pn_user_table *t = read_text(bad_files[i].text, strlen(bad_files[i].text), &err, &mistakes);

		assert_null(t);
		assert_int_equal(mistakes, bad_files[i].mistakes);
		if (strncmp(err.text, path, strlen(path)) != 0 ||
		    strncmp(err.text + strlen(path), bad_files[i].first, strlen(bad_files[i].first)) != 0)
			fail_msg("case %zu: %s", i, err.text);
	}
}

static void test_all_mistakes_are_counted(void **state)
{
	char text[4000] = "";
	struct pn_error err;
	size_t mistakes, len = 0;

	(void)state;
	for (int i = 0; i < 20; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "user%d\n", i);
	assert_null(read_text(text, len, &err, &mistakes));
	assert_int_equal(mistakes, 20);
	assert_non_null(strstr(err.text, ":1: no password"));
	assert_non_null(strstr(err.text, "\nand "));
	assert_non_null(strstr(err.text, " more mistakes"));
}

static void test_stream_gets_every_mistake(void **state)
{
	char *out = NULL;
	size_t len = 0, lines = 0;
	struct pn_file_stamp stamp;

	(void)state;
	write_octets("good:*\nbad\ngood:*\n", 18);
	FILE *stream = open_memstream(&out, &len);
	struct pn_user_mistakes mistakes = { .path = path, .stream = stream };
	struct pn_user_table *t = pn_user_file_read(path, true, &mistakes, &stamp);
	fclose(stream);
	assert_non_null(t);
	assert_int_equal(t->count, 1);
	pn_user_table_free(t);
	for (size_t i = 0; i < len; i++)
		lines += out[i] == '\n';
	assert_int_equal(lines, 2);
	assert_non_null(strstr(out, ":2: no password field"));
	assert_non_null(strstr(out, ":3: the user stands in line 1 already"));
	free(out);
}

static void test_line_limit(void **state)
{
	/* A line of the limit, one above it, and one of many buffers, each followed by a good one. */
	static const size_t lengths[] = { PN_USER_LINE_MAX, PN_USER_LINE_MAX + 1, 3 * PN_USER_LINE_MAX + 5 };
	char *text = malloc(4 * PN_USER_LINE_MAX);

	(void)state;
	assert_non_null(text);
	for (size_t i = 0; i < PN_ARRAY_SIZE(lengths); i++) {
		struct pn_error err;
		size_t mistakes, len = lengths[i];

		memset(text, 'x', len);
		memcpy(text, "tim:*::::::", 11);
		memcpy(text + len, "\nbob:*\nbad\n", 11);
		assert_null(read_text(text, len + 11, &err, &mistakes));
		assert_int_equal(mistakes, i == 0 ? 1 : 2);
		if (i > 0)
			assert_non_null(strstr(err.text, ":1: the line is longer than"));
		assert_non_null(strstr(err.text, ":3: no password field"));
	}
	free(text);
}

static void test_what_is_no_file(void **state)
{
	struct pn_error err;
	struct pn_file_stamp stamp;
	struct pn_user_mistakes mistakes = { .path = "/tmp/postern-no-such-dir/users", .err = &err };

	(void)state;
	assert_null(pn_user_file_read(mistakes.path, true, &mistakes, &stamp));
	assert_non_null(strstr(err.text, "cannot open"));
	assert_int_equal(stamp.inode, 0);
	mistakes.path = "/tmp";
	assert_null(pn_user_file_read(mistakes.path, true, &mistakes, &stamp));
	assert_non_null(strstr(err.text, "not a regular file"));
	assert_int_equal(mistakes.count, 1);
	/* A FIFO does not hang. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	mistakes.path = path;
	assert_null(pn_user_file_read(path, true, &mistakes, &stamp));
}

static void test_stamp_tells_versions(void **state)
{
	(void)state;
	write_octets("a:*\n", 4);
	struct pn_file_stamp one = pn_file_stamp_now(path), same = pn_file_stamp_now(path);
	assert_true(pn_file_stamp_eq(&one, &same));
	write_octets("a:*\nb:*\n", 8);
	struct pn_file_stamp two = pn_file_stamp_now(path);
	assert_false(pn_file_stamp_eq(&one, &two));
	unlink(path);
	struct pn_file_stamp none = pn_file_stamp_now(path);
	assert_int_equal(none.inode, 0);
	write_octets("", 0);
}

static void test_many_users(void **state)
{
	enum { COUNT = 5000 };
	char *text = malloc(COUNT * 16);
	size_t len = 0;
	struct pn_error err;

	(void)state;
	assert_non_null(text);
	for (int i = 0; i < COUNT; i++)
		len += (size_t)sprintf(text + len, "u%d:*\n", i);
	struct pn_user_table *t = read_text(text, len, &err, NULL);
	assert_non_null(t);
	assert_int_equal(t->count, COUNT);
	for (int i = 0; i < COUNT; i++) {
		char name[16];
		snprintf(name, sizeof(name), "u%d", i);
		assert_int_equal(pn_user_table_find(t, pn_slice_str(name))->line, i + 1);
	}
	pn_user_table_free(t);
	free(text);
}

/* What an unknown user is shown. */
static struct pn_sasl_scram_key fake(const struct pn_user_table *t, const char *name)
{
	struct pn_sasl_scram_key key;
	pn_user_table_scram_key(t, pn_slice_str(name), NULL, &key);
	return key;
}

static bool is_same_key(const struct pn_sasl_scram_key *a, const struct pn_sasl_scram_key *b)
{
	return a->iterations == b->iterations && a->salt_len == b->salt_len &&
	       memcmp(a->salt, b->salt, a->salt_len) == 0;
}

#define TWO_KEYS "a:" SCRAM("5000") "\nb:" SCRAM("5000") "\nc:" SCRAM("4096") "\n"

static void test_made_up_salts_are_stable(void **state)
{
	(void)state;
	struct pn_user_table *t = read_good(SEED_LINE TWO_KEYS);
	struct pn_sasl_scram_key nobody = fake(t, "nobody"), again = fake(t, "nobody"), upper = fake(t, "NoBody"),
				 other = fake(t, "nobodx");

	assert_int_equal(nobody.iterations, 5000); /* what most have */
	assert_int_equal(nobody.salt_len, 16);
	assert_false(nobody.is_real);
	assert_true(is_same_key(&nobody, &again));
	assert_true(is_same_key(&nobody, &upper)); /* one user by the rule of lookup, so one salt */
	assert_false(is_same_key(&nobody, &other));
	pn_user_table_free(t);

	/* With the seed line: over edits too. */
	t = read_good(TWO_KEYS "d:*\n" SEED_LINE);
	again = fake(t, "nobody");
	assert_true(is_same_key(&nobody, &again));
	pn_user_table_free(t);

	/* Without it: over restarts and reorderings, not over changes of keys. */
	t = read_good(TWO_KEYS);
	struct pn_sasl_scram_key derived = fake(t, "nobody");
	assert_false(is_same_key(&nobody, &derived));
	pn_user_table_free(t);
	t = read_good("c:" SCRAM("4096") "\nb:" SCRAM("5000") "\na:" SCRAM("5000") "\n");
	again = fake(t, "nobody");
	assert_true(is_same_key(&derived, &again));
	pn_user_table_free(t);
	t = read_good(TWO_KEYS "d:$6$salt$" B86 "\n");
	again = fake(t, "nobody");
	assert_false(is_same_key(&derived, &again));
	pn_user_table_free(t);
}

static void test_real_key_is_used_for_real_users_only(void **state)
{
	(void)state;
	struct pn_user_table *t = read_good(SEED_LINE TWO_KEYS "d:$6$salt$" B86 "\n");
	struct pn_sasl_scram_key key;

	pn_user_table_scram_key(t, PN_SLICE_LIT("c"), pn_user_table_find(t, PN_SLICE_LIT("c")), &key);
	assert_true(key.is_real);
	assert_int_equal(key.iterations, 4096);
	pn_user_table_scram_key(t, PN_SLICE_LIT("d"), pn_user_table_find(t, PN_SLICE_LIT("d")), &key);
	assert_false(key.is_real);
	assert_int_equal(key.iterations, 5000);
	pn_user_table_free(t);
}

static void test_unknown_users_cost_what_most_cost(void **state)
{
	(void)state;
	struct pn_user_table *t = read_good("a:$6$salt$" B86 "\nb:$5$salt$" B43 "\nc:$5$other$" B43
	                                    "\nd:$5$rounds=9999$other$" B43 "\ne:*\nf:*\ng:*\n");
	assert_int_equal(t->dummy->kind, PN_PASSWORD_CRYPT);
	assert_memory_equal(t->dummy->stored.ptr, "$5$", 3);
	assert_memory_not_equal(t->dummy->stored.ptr, "$5$rounds", 9);
	pn_user_table_free(t);

	t = read_good("a:$6$salt$" B86 "\n" "b:" SCRAM("4096") "\nc:" SCRAM("4096") "\n");
	assert_int_equal(t->dummy->kind, PN_PASSWORD_SCRAM);
	pn_user_table_free(t);

	/* Nobody can log in: a hash all the same. */
	t = read_good("a:*\n");
	assert_int_equal(t->dummy->kind, PN_PASSWORD_CRYPT);
	assert_memory_equal(t->dummy->stored.ptr, "$y$", 3);
	assert_int_equal(fake(t, "x").iterations, PN_SCRAM_ITERATIONS_DEFAULT);
	pn_user_table_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_good_file, make_path, remove_path),
		cmocka_unit_test_setup_teardown(test_bad_files, make_path, remove_path),
		cmocka_unit_test_setup_teardown(test_all_mistakes_are_counted, make_path, remove_path),
		cmocka_unit_test_setup_teardown(test_stream_gets_every_mistake, make_path, remove_path),
		cmocka_unit_test_setup_teardown(test_line_limit, make_path, remove_path),
		cmocka_unit_test_setup_teardown(test_what_is_no_file, make_path, remove_path),
		cmocka_unit_test_setup_teardown(test_stamp_tells_versions, make_path, remove_path),
		cmocka_unit_test_setup_teardown(test_many_users, make_path, remove_path),
		cmocka_unit_test_setup_teardown(test_made_up_salts_are_stable, make_path, remove_path),
		cmocka_unit_test_setup_teardown(test_real_key_is_used_for_real_users_only, make_path, remove_path),
		cmocka_unit_test_setup_teardown(test_unknown_users_cost_what_most_cost, make_path, remove_path),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
