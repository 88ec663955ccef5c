/* SPDX-License-Identifier: ISC */
/* Settings at a reload: what the relay may recognise as unchanged, and what it must not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"

static char directory[] = "/tmp/postern-settings-XXXXXX";

static void run(const char *format)
{
	char command[512];
	(void)snprintf(command, sizeof(command), format, directory);
	assert_int_equal(system(command), 0);
}

static int setup(void **state)
{
	char command[512];
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	(void)snprintf(
		command, sizeof(command),
		"for d in one two; do mkdir '%s'/$d && bash '%s/tests/support/make-certs' '%s'/$d "
		"mx.example.test >/dev/null 2>&1 || exit 1; done; echo secret > '%s/password'",
		directory, getenv("PN_SOURCE_DIR"), directory, directory);
	return system(command) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	run("rm -rf -- '%s'");
	return 0;
}

struct made {
	struct pn_config *config;
	struct pn_handover handover;
	struct pn_app_settings settings;
};

static void make(struct made *m, const char *verify, const struct made *before)
{
	char text[2048];
	struct pn_error err = { { 0 } };
	memset(m, 0, sizeof(*m));
	(void)snprintf(text, sizeof(text),
		       "hostname = \"mx.example.test\"\n"
		       "listener \"l\" { addresses = {\"127.0.0.1:1465\"} }\n"
		       "certificate \"c\" { chain_file = \"%s/one/ecdsa.pem\" key_file = "
		       "\"%s/one/ecdsa.key\" }\n"
		       "upstream \"a\" { hosts = {\"a.example:25\"} ca_file = \"%s/ca.pem\" "
		       "auth_user = \"me\" "
		       "auth_password_file = \"%s/password\" }\n"
		       "upstream \"b\" { hosts = {\"b.example:25\"} ca_file = \"%s/ca.pem\" verify "
		       "= %s domains = "
		       "{\"b.example\"} }\n",
		       directory, directory, directory, directory, directory, verify);
	m->config = pn_config_parse(text, "test.conf", stderr);
	assert_non_null(m->config);
	if (pn_handover_collect(&m->handover, m->config, &err) != 0 ||
	    pn_app_settings_make(&m->settings, m->config, &m->handover,
				 before ? &before->settings : NULL, &err) != 0)
		fail_msg("%s", err.text);
}

static void unmake(struct made *m)
{
	pn_app_settings_clear(&m->settings);
	pn_handover_clear(&m->handover);
	pn_config_free(m->config);
}

static void test_tls_context_lives_as_long_as_its_roots(void **state)
{
	struct made first, same, other_roots;
	(void)state;
	run("cp '%1$s/one/ca.pem' '%1$s/ca.pem'");
	make(&first, "yes", NULL);
	assert_non_null(first.settings.upstreams[0].tls_client);
	/* Shared by upstreams with the same roots. */
	assert_ptr_equal(first.settings.upstreams[0].tls_client,
			 first.settings.upstreams[1].tls_client);
	make(&same, "yes", &first);
	assert_ptr_equal(same.settings.upstreams[0].tls_client,
			 first.settings.upstreams[0].tls_client);
	assert_string_equal(same.settings.upstreams[0].auth_password, "secret");
	/* Another file under the same name. */
	run("cp '%1$s/two/ca.pem' '%1$s/ca.pem'");
	make(&other_roots, "yes", &same);
	assert_ptr_not_equal(other_roots.settings.upstreams[0].tls_client,
			     same.settings.upstreams[0].tls_client);
	unmake(&first);
	unmake(&other_roots);
	unmake(&same);
}

static void test_verification_is_part_of_it(void **state)
{
	struct made first, second;
	(void)state;
	run("cp '%1$s/one/ca.pem' '%1$s/ca.pem'");
	make(&first, "yes", NULL);
	make(&second, "no", &first);
	assert_ptr_equal(second.settings.upstreams[0].tls_client,
			 first.settings.upstreams[0].tls_client);
	assert_ptr_not_equal(second.settings.upstreams[1].tls_client,
			     first.settings.upstreams[1].tls_client);
	unmake(&first);
	unmake(&second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tls_context_lives_as_long_as_its_roots),
		cmocka_unit_test(test_verification_is_part_of_it),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
