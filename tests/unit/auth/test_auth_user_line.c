/* SPDX-License-Identifier: ISC */
/*
 * test_auth_user_line.c - one line of the user file: schemes, extra fields, mistakes; and what a user may send
 * as.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auth/user.h"

#define B43 "0123456789012345678901234567890123456789012"
#define B86 B43 B43
#define KEY32 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define SCRAM "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==," KEY32 "," KEY32
#define BCRYPT "$2b$05$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234"

static struct pn_auth_user *parse(const char *text, struct pn_error *err)
{
	/* An allocation of exactly its size, so that a read past the end is seen. */
	size_t len = strlen(text);
	char *line = malloc(len);
	assert_non_null(line);
	memcpy(line, text, len);
	struct pn_auth_user *u = pn_user_parse_line(pn_slice(line, len), 7, err);
	free(line);
	return u;
}

struct good_case {
	const char *line;
	const char *name;
	enum pn_password_kind kind;
	bool has_scram;
	size_t addresses, domains;
};

static const struct good_case good_cases[] = {
	{ "tim:{CRYPT}$y$j9T$salt$" B43, "tim", PN_PASSWORD_CRYPT, false, 0, 0 },
	{ "tim:$6$salt$" B86, "tim", PN_PASSWORD_CRYPT, false, 0, 0 },
	{ "tim:{SHA512-CRYPT}$6$rounds=5000$salt$" B86 ":1:2:g:h:s:", "tim", PN_PASSWORD_CRYPT, false, 0, 0 },
	{ "tim:{sha256-crypt}$5$salt$" B43, "tim", PN_PASSWORD_CRYPT, false, 0, 0 },
	{ "tim:{BLF-CRYPT}" BCRYPT, "tim", PN_PASSWORD_CRYPT, false, 0, 0 },
	{ "tim:{CRYPT}" BCRYPT, "tim", PN_PASSWORD_CRYPT, false, 0, 0 },
	{ "tim:{MD5-CRYPT}$1$salt$0123456789012345678901", "tim", PN_PASSWORD_CRYPT, false, 0, 0 },
	{ "tim:" SCRAM, "tim", PN_PASSWORD_SCRAM, true, 0, 0 },
	{ "T\xc2\xadim@Example.ORG:" SCRAM, "Tim@Example.ORG", PN_PASSWORD_SCRAM, true, 0, 0 },
	{ "tim:", "tim", PN_PASSWORD_NONE, false, 0, 0 },
	{ "tim:*", "tim", PN_PASSWORD_NONE, false, 0, 0 },
	{ "tim:!", "tim", PN_PASSWORD_NONE, false, 0, 0 },
	{ "tim:{CRYPT}!$6$salt$" B86, "tim", PN_PASSWORD_NONE, false, 0, 0 },
	{ "tim:{SCRAM-SHA-256}", "tim", PN_PASSWORD_NONE, false, 0, 0 },
	{ "tim:*:::::::postern_scram=" SCRAM, "tim", PN_PASSWORD_NONE, false, 0, 0 },
	{ "tim:" SCRAM "::::::nologin", "tim", PN_PASSWORD_NONE, false, 0, 0 },
	{ "tim:" SCRAM "::::::nologin=y", "tim", PN_PASSWORD_NONE, false, 0, 0 },
	{ "tim:" BCRYPT "::::::postern_scram=" SCRAM, "tim", PN_PASSWORD_CRYPT, true, 0, 0 },
	{ "tim:" BCRYPT "::::::postern_addresses=a@x.example,b@y.example postern_domains=z.example",
	  "tim", PN_PASSWORD_CRYPT, false, 2, 1 },
	{ "tim:" BCRYPT ":1000:1000:Tim, the user:/home/tim:/bin/sh:userdb_mail=maildir:~/Mail "
	  "postern_domains=a.example,b.example proxy",
	  "tim", PN_PASSWORD_CRYPT, false, 0, 2 },
	{ "tim:" BCRYPT "::::::  postern_domains=a.example  ", "tim", PN_PASSWORD_CRYPT, false, 0, 1 },
	{ "tim:" BCRYPT "::::::postern_addresses=\"a\\@b\"@x.example", "tim", PN_PASSWORD_CRYPT, false, 1, 0 },
};

static void test_good_lines(void **state)
{
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(good_cases); i++) {
		const struct good_case *c = &good_cases[i];
		struct pn_error err = { "" };
		struct pn_auth_user *u = parse(c->line, &err);

		if (!u)
			print_error("%s: %s\n", c->line, err.text);
		assert_non_null(u);
		assert_int_equal(u->name.len, strlen(c->name));
		assert_memory_equal(u->name.ptr, c->name, u->name.len);
		assert_int_equal(u->kind, c->kind);
		assert_int_equal(u->has_scram, c->has_scram);
		assert_int_equal(u->address_count, c->addresses);
		assert_int_equal(u->domain_count, c->domains);
		assert_int_equal(u->line, 7);
		pn_auth_user_unref(u);
	}
}

struct bad_case {
	const char *line;
	const char *words; /* of the mistake */
};

static const struct bad_case bad_cases[] = {
	{ "tim", "no password field" },
	{ ":x", "name is empty" },
	{ "t\x07m:*", "SASLprep" },
	{ "t\xffm:*", "UTF-8" },
	{ "\xc8\xa1:*", "SASLprep" }, /* unassigned code points are not stored */
	{ "\xc2\xad:*", "SASLprep" },
	{ "tim:*\r", "CR LF" },
	{ "tim:secret", "no password hash" },
	{ "tim:{PLAIN}secret", "{PLAIN} is not supported" },
	{ "tim:{SSHA}x", "{SSHA} is not supported" },
	{ "tim:{}x", "{} is not supported" },
	{ "tim:{CRYPT$6$salt$" B86, "closing brace" },
	{ "tim:{CRYPT}ab0123456789A", "no password hash" }, /* DES */
	{ "tim:{SHA256-CRYPT}$6$salt$" B86, "not of the scheme {SHA256-CRYPT}" },
	{ "tim:{BLF-CRYPT}$6$salt$" B86, "not of the scheme {BLF-CRYPT}" },
	{ "tim:$6$salt$" B43, "not whole" },
	{ "tim:$y$j9T$salt$", "not whole" },
	{ "tim:$y$j9T$salt", "not whole" },
	{ "tim:$6$" B86, "not whole" },
	{ "tim:$2b$99$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234", "libcrypt" },
	{ "tim:$2b$03$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234", "libcrypt" },
	{ "tim:$2b$xx$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234", "libcrypt" },
	{ "tim:$6$sa lt$" B86, "libcrypt" },
	{ "tim:$6$sa\\lt$" B86, "libcrypt" },
	{ "tim:$6$rounds=$salt$" B86, "libcrypt" },
	{ "tim:$6$rounds=12x4$salt$" B86, "libcrypt" },
	{ "tim:$6$rounds=999$salt$" B86, "libcrypt" },
	{ "tim:{SCRAM-SHA-256}4095,W22ZaJ0SNY7soEsUEjb6gQ==," KEY32 "," KEY32, "iteration count" },
	{ "tim:{SCRAM-SHA-256}10000001,W22ZaJ0SNY7soEsUEjb6gQ==," KEY32 "," KEY32, "iteration count" },
	{ "tim:{SCRAM-SHA-256}x,W22ZaJ0SNY7soEsUEjb6gQ==," KEY32 "," KEY32, "iteration count" },
	{ "tim:{SCRAM-SHA-256}4096", "base64" },
	{ "tim:{SCRAM-SHA-256}4096,AAAA," KEY32 "," KEY32, "base64" },
	{ "tim:{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==," KEY32, "base64" },
	{ "tim:{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==," KEY32 ",AAAA", "base64" },
	{ "tim:{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,!" KEY32 "," KEY32, "base64" },
	{ "tim:" SCRAM ",x", "base64" },
	{ "tim:" SCRAM "::::::postern_scram=" SCRAM, "second SCRAM-SHA-256 key" },
	{ "tim:*::::::postern_scram=" SCRAM " postern_scram=" SCRAM, "second SCRAM-SHA-256 key" },
	{ "tim:*::::::postern_scram=4096,x", "postern_scram is not" },
	{ "tim:*::::::postern_addresses=", "postern_addresses is not a list" },
	{ "tim:*::::::postern_addresses", "postern_addresses is not a list" },
	{ "tim:*::::::postern_addresses=a@x,", "postern_addresses is not a list" },
	{ "tim:*::::::postern_addresses=a@x,,b@y", "postern_addresses is not a list" },
	{ "tim:*::::::postern_addresses=x.example", "postern_addresses is not a list" },
	{ "tim:*::::::postern_addresses=*@x.example", "postern_addresses is not a list" },
	{ "tim:*::::::postern_addresses=<a@x.example>", "postern_addresses is not a list" },
	{ "tim:*::::::postern_addresses=\"a@x.example", "postern_addresses is not a list" },
	{ "tim:*::::::postern_addresses=a@x postern_addresses=b@x", "stands twice" },
	{ "tim:*::::::postern_domains=@x.example", "postern_domains is not a list" },
	{ "tim:*::::::postern_domains=.x.example", "postern_domains is not a list" },
	{ "tim:*::::::postern_domains=x.example.", "postern_domains is not a list" },
	{ "tim:*::::::postern_domains=", "postern_domains is not a list" },
	{ "tim:*::::::postern_domains=x postern_domains=y", "stands twice" },
	{ "tim:*::::::postern_adresses=a@x", "unknown extra field 'postern_adresses'" },
};

static void test_bad_lines(void **state)
{
	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(bad_cases); i++) {
		struct pn_error err = { "" };
		struct pn_auth_user *u = parse(bad_cases[i].line, &err);

		if (u || !strstr(err.text, bad_cases[i].words))
			print_error("%s: %s\n", bad_cases[i].line, err.text);
		assert_null(u);
		assert_non_null(strstr(err.text, bad_cases[i].words));
	}
}

static void test_nul_and_length(void **state)
{
	struct pn_error err;
	char line[1200];

	(void)state;
	assert_null(pn_user_parse_line(pn_slice("tim:*\0x", 7), 1, &err));
	assert_non_null(strstr(err.text, "NUL"));
	for (int len = 255; len <= 256; len++) {
		snprintf(line, sizeof(line), "%0*d:*", len, 1);
		struct pn_auth_user *u = parse(line, &err);
		assert_int_equal(u != NULL, len == 255);
		pn_auth_user_unref(u);
	}
	snprintf(line, sizeof(line), "tim:$6$salt$%0*d", 600, 1);
	assert_null(parse(line, &err));
}

static void test_allow_nets_is_noted(void **state)
{
	struct pn_error err;

	(void)state;
	struct pn_auth_user *u = parse("tim:" BCRYPT "::::::allow_nets=192.0.2.0/24", &err);
	assert_non_null(u);
	assert_true(u->has_allow_nets);
	pn_auth_user_unref(u);
}

static void test_secrets_are_wiped_with_the_last_reference(void **state)
{
	struct pn_error err;

	(void)state;
	struct pn_auth_user *u = parse("tim:" SCRAM, &err);
	assert_non_null(u);
	assert_ptr_equal(pn_user_ref(u), u);
	pn_auth_user_unref(u);
	assert_memory_equal(u->name.ptr, "tim", 3);
	pn_auth_user_unref(u);
	pn_auth_user_unref(NULL);
}

static void test_scram_text_goes_round(void **state)
{
	struct pn_error err;
	char text[PN_STORED_MAX + 1];
	struct pn_sasl_scram_key key;

	(void)state;
	struct pn_auth_user *u = parse("tim:" SCRAM, &err);
	assert_non_null(u);
	assert_int_equal(u->scram.iterations, 4096);
	assert_int_equal(u->scram.salt_len, 16);
	pn_scheme_format_scram(text, &u->scram);
	assert_string_equal(text, strchr(SCRAM, '}') + 1);
	assert_true(pn_scheme_parse_scram(pn_slice_str(text), &key, &err));
	pn_auth_user_unref(u);
	/* The longest salt and count fit. */
	key.iterations = PN_SCRAM_ITERATIONS_MAX;
	key.salt_len = PN_SASL_SALT_MAX;
	pn_scheme_format_scram(text, &key);
	assert_true(strlen(text) < sizeof(text));
	assert_true(pn_scheme_parse_scram(pn_slice_str(text), &key, &err));
	assert_int_equal(key.salt_len, PN_SASL_SALT_MAX);
}

static void test_cost_of_hashes(void **state)
{
	static const struct { const char *hash, *cost, *name; } costs[] = {
		{ "$y$j9T$salt$" B43, "$y$j9T$", "yescrypt" },
		{ "$gy$jCT$salt$" B43, "$gy$jCT$", "gost-yescrypt" },
		{ "$6$salt$" B86, "$6$", "sha512crypt" },
		{ "$6$rounds=9000$salt$" B86, "$6$rounds=9000$", "sha512crypt" },
		{ "$5$salt$" B43, "$5$", "sha256crypt" },
		{ BCRYPT, "$2b$05$", "bcrypt" },
		{ "$1$salt$0123456789012345678901", "$1$", "md5crypt" },
		{ "$7$CU..../....salt$" B43, "$7$CU..../....", "scrypt" },
	};

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(costs); i++) {
		struct pn_slice cost = pn_scheme_crypt_cost(pn_slice_str(costs[i].hash));
		assert_int_equal(cost.len, strlen(costs[i].cost));
		assert_memory_equal(cost.ptr, costs[i].cost, cost.len);
		assert_string_equal(pn_scheme_crypt_name(pn_slice_str(costs[i].hash)), costs[i].name);
	}
}

struct sender_case {
	const char *path;
	bool may;
};

static const struct sender_case sender_cases[] = {
	{ "tim@example.org", true },
	{ "TIM@EXAMPLE.org", true },
	{ "\"tim\"@example.org", true },
	{ "\"t\\im\"@example.org", true },
	{ "info@example.net", true },
	{ "Info@Example.Net", true },
	{ "o'neil+x@example.net", true },
	{ "anybody@all.example", true },
	{ "\"any@body\"@ALL.example", true },
	{ "tim@example.com", false },
	{ "timx@example.org", false },
	{ "ti@example.org", false },
	{ "tim@sub.example.org", false },
	{ "x@sub.all.example", false },
	{ "x@notall.example", false },
	{ "other@example.net", false },
	{ "x@all.example@evil.example", false },
	{ "tim@example.org@evil.example", false },
	{ "\"tim@example.org", false },
	{ "\"@example.org", false },
	{ "tim", false },
	{ "@all.example", false },
	{ "tim@", false },
	{ "", false },
};

static void test_may_send_as(void **state)
{
	struct pn_error err;

	(void)state;
	struct pn_auth_user *u = parse(
	    "tim@example.org:*::::::postern_addresses=info@example.net,O'Neil+x@example.net "
	    "postern_domains=all.example",
	    &err);
	assert_non_null(u);
	struct pn_auth_user *quoted = parse("bob:*::::::postern_addresses=\"a.b\"@quoted.example", &err);
	assert_non_null(quoted);
	for (size_t i = 0; i < PN_ARRAY_SIZE(sender_cases); i++) {
		if (pn_auth_user_may_send_as(u, pn_slice_str(sender_cases[i].path)) != sender_cases[i].may)
			fail_msg("%s", sender_cases[i].path);
	}
	assert_true(pn_auth_user_may_send_as(quoted, PN_SLICE_LIT("a.b@quoted.example")));
	assert_true(pn_auth_user_may_send_as(quoted, PN_SLICE_LIT("\"A.B\"@quoted.example")));
	/* A name without '@' is nobody's address. */
	assert_false(pn_auth_user_may_send_as(quoted, PN_SLICE_LIT("bob")));
	assert_false(pn_auth_user_may_send_as(quoted, PN_SLICE_LIT("bob@quoted.example")));
	pn_auth_user_unref(u);
	pn_auth_user_unref(quoted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_lines),
		cmocka_unit_test(test_bad_lines),
		cmocka_unit_test(test_nul_and_length),
		cmocka_unit_test(test_allow_nets_is_noted),
		cmocka_unit_test(test_secrets_are_wiped_with_the_last_reference),
		cmocka_unit_test(test_scram_text_goes_round),
		cmocka_unit_test(test_cost_of_hashes),
		cmocka_unit_test(test_may_send_as),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
