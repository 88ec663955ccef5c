/* SPDX-License-Identifier: ISC */
/* test_certificate.c - which certificates a server takes, and what it says about the others. */
#include "tls_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <postern/base/clock.h>

#include "tls/certificate.h"

static const struct pn_tls_server_settings plain_settings = { .has_tls12 = true };

/* The error for one certificate, or "" when a server could be made. */
static const char *error_for(struct pn_tls_certificate_pem pem)
{
	static struct pn_error err;
	struct pn_tls_server_settings settings = plain_settings;
	struct pn_tls_server *s;

	settings.certificates = &pem;
	settings.certificate_count = 1;
	err.text[0] = '\0';
	s = pn_tls_server_new(&settings, &err);
	if (s)
		assert_string_equal(err.text, "");
	else
		assert_string_not_equal(err.text, "");
	pn_tls_server_unref(s);
	return err.text;
}

static void assert_error_has(const char *text, const char *first, const char *second)
{
	if (!strstr(text, first) || !strstr(text, second))
		fail_msg("error is \"%s\"", text);
}

static void test_good_certificates_are_taken(void **state)
{
	static const char *const types[] = { "p256", "p384", "p521", "rsa" };
	char options[64];

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(types); i++) {
		(void)snprintf(options, sizeof(options), "--type %s --out good", types[i]);
		tls_make(options, "mx.example.test");
		assert_string_equal(error_for(tls_pem("good")), "");
	}
	tls_make("--type rsa --out good --chain", "mx.example.test");
	assert_string_equal(error_for(tls_pem("good")), "");
	tls_make("--type p256 --out good --self-signed", "mx.example.test");
	assert_string_equal(error_for(tls_pem("good")), "");
}

/* RFC 9325 4.5 */
static void test_weak_certificates_are_refused(void **state)
{
	static const struct {
		const char *options;
		const char *says;
	} cases[] = {
		{ "--type rsa1024", "2048 bits" },
		{ "--type p224", "P-256" },
		{ "--type ed25519", "neither RSA nor ECDSA" },
		{ "--type p256 --sha1", "SHA-256" },
	};
	char options[64];

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
		(void)snprintf(options, sizeof(options), "%s --out weak", cases[i].options);
		tls_make(options, "mx.example.test");
		assert_error_has(error_for(tls_pem("weak")), "weak.pem", cases[i].says);
	}
}

static void test_key_of_another_certificate_is_refused(void **state)
{
	struct pn_tls_certificate_pem pem = tls_pem("ecdsa");

	(void)state;
	pem.key_pem = tls_file("wrong.key");
	pem.key_path = "wrong.key";
	assert_error_has(
		error_for(pem),
		"wrong.key: the private key does not belong to the certificate in ecdsa.pem", "");
	pem.key_pem = tls_file("rsa.key");
	pem.key_path = "rsa.key";
	assert_error_has(error_for(pem), "rsa.key", "does not belong");
}

static void test_expired_certificate_is_refused(void **state)
{
	(void)state;
	assert_error_has(error_for(tls_pem("expired")), "expired.pem", "expired");
}

static void test_dates(void **state)
{
	struct pn_tls_certificate c = { .not_before_s = 1000,
					.not_after_s = 1000 + 100 * 86400,
					.chain_path = strdup("x.pem") };
	struct pn_error err;

	(void)state;
	assert_int_equal(pn_tls_certificate_check_dates(&c, 999, &err), -1);
	assert_error_has(err.text, "x.pem", "not valid yet");
	assert_int_equal(pn_tls_certificate_check_dates(&c, 1000, &err), 0);
	assert_string_equal(c.warning, "");
	assert_int_equal(pn_tls_certificate_check_dates(&c, 1000 + 86 * 86400, &err), 0);
	assert_string_equal(c.warning, "");
	assert_int_equal(pn_tls_certificate_check_dates(&c, 1000 + 97 * 86400, &err), 0);
	assert_error_has(c.warning, "x.pem", "expires in 3 days");
	assert_int_equal(pn_tls_certificate_check_dates(&c, 1000 + 105 * 86400, &err), -1);
	assert_error_has(err.text, "expired 5 days ago", "renew");
	pn_tls_certificate_clear(&c);
}

static void test_broken_files_are_named(void **state)
{
	static const char broken[] =
		"-----BEGIN CERTIFICATE-----\nMIIB!!!!\n-----END CERTIFICATE-----\n";
	static const char nonsense[] =
		"-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
	struct pn_tls_certificate_pem pem;

	(void)state;
	pem = tls_pem("ecdsa");
	pem.chain_pem = PN_SLICE_NULL;
	assert_error_has(error_for(pem), "ecdsa.pem: no certificate found", "PEM");
	pem.chain_pem = tls_file("ecdsa.key");
	assert_error_has(error_for(pem), "ecdsa.pem: no certificate found", "PEM");
	pem.chain_pem = pn_slice_str(broken);
	assert_error_has(error_for(pem), "ecdsa.pem", "does not decode");
	pem.chain_pem = pn_slice_str(nonsense);
	assert_error_has(error_for(pem), "ecdsa.pem", "does not decode");

	pem = tls_pem("ecdsa");
	pem.key_pem = PN_SLICE_NULL;
	assert_error_has(error_for(pem), "ecdsa.key: no usable private key", "empty");
	pem.key_pem = tls_file("ca.pem");
	assert_error_has(error_for(pem), "ecdsa.key: no usable private key", "");
}

static void test_encrypted_key_is_explained(void **state)
{
	struct pn_tls_certificate_pem pem = tls_pem("ecdsa");
	char command[512];

	(void)state;
	tls_make("--type p256 --out locked", "mx.example.test");
	(void)snprintf(
		command, sizeof(command),
		"cd %s && openssl pkcs8 -topk8 -in locked.key -passout pass:x -out locked8.key "
		"2>/dev/null && "
		"openssl ec -in locked.key -aes128 -passout pass:x -out locked1.key 2>/dev/null",
		tls_folder());
	assert_int_equal(system(command), 0);
	pem.key_pem = tls_file("locked8.key");
	assert_error_has(error_for(pem), "ecdsa.key", "encrypted");
	pem.key_pem = tls_file("locked1.key");
	assert_error_has(error_for(pem), "ecdsa.key", "encrypted");
}

static struct pn_slice join(struct pn_slice a, struct pn_slice b, uint8_t *room, size_t size)
{
	assert_true(a.len + b.len <= size);
	memcpy(room, a.ptr, a.len);
	memcpy(room + a.len, b.ptr, b.len);
	return pn_slice(room, a.len + b.len);
}

static void test_key_and_chain_may_share_a_file(void **state)
{
	struct pn_tls_certificate_pem pem = tls_pem("ecdsa");
	uint8_t room[8192];

	(void)state;
	pem.chain_pem = join(pem.key_pem, pem.chain_pem, room, sizeof(room));
	pem.key_pem = pem.chain_pem;
	assert_string_equal(error_for(pem), "");
}

static void test_too_long_chain_is_refused(void **state)
{
	struct pn_tls_certificate_pem pem = tls_pem("ecdsa");
	static uint8_t room[32768];
	size_t len = 0;

	(void)state;
	for (size_t i = 0; i <= PN_TLS_CHAIN_MAX; i++) {
		assert_true(len + pem.chain_pem.len <= sizeof(room));
		memcpy(room + len, pem.chain_pem.ptr, pem.chain_pem.len);
		len += pem.chain_pem.len;
	}
	pem.chain_pem = pn_slice(room, len);
	assert_error_has(error_for(pem), "ecdsa.pem: more than 16", "chain");
}

static void check_info(struct pn_tls_certificate_pem pem, const char *kind, const char *name,
		       const char *warning)
{
	struct pn_tls_server_settings settings = plain_settings;
	struct pn_tls_certificate_info info;
	struct pn_tls_server *s;
	int64_t now_s = (int64_t)(pn_clock_wall_ms() / 1000);

	settings.certificates = &pem;
	settings.certificate_count = 1;
	s = pn_tls_server_new(&settings, NULL);
	assert_non_null(s);
	assert_int_equal(pn_tls_server_certificate_count(s), 1);
	pn_tls_server_certificate_info(s, 0, &info);
	assert_string_equal(info.path, pem.chain_path);
	assert_string_equal(info.key_kind, kind);
	assert_string_equal(info.first_name, name);
	assert_int_equal(info.name_count, name[0] ? 1 : 0);
	assert_true(info.not_after_s > now_s && info.not_after_s < now_s + 31 * 86400);
	if (warning[0])
		assert_error_has(info.warning, pem.chain_path, warning);
	else
		assert_string_equal(info.warning, "");
	pn_tls_server_unref(s);
}

static void test_info_and_warnings(void **state)
{
	struct pn_tls_certificate_pem pem;
	uint8_t room[8192];

	(void)state;
	check_info(tls_pem("ecdsa"), "ECDSA", "mx.example.test", "");
	check_info(tls_pem("rsa"), "RSA", "mx.example.test", "");
	tls_make("--type p256 --out soon --days 5", "mx.example.test");
	check_info(tls_pem("soon"), "ECDSA", "mx.example.test", "expires in ");
	tls_make("--type p256 --out nameless --no-san", "");
	check_info(tls_pem("nameless"), "ECDSA", "", "names no host");
	/* Certificates that do not belong together. */
	pem = tls_pem("ecdsa");
	pem.chain_pem = join(pem.chain_pem, tls_file("rsa.pem"), room, sizeof(room));
	check_info(pem, "ECDSA", "mx.example.test", "out of order");
}

static void test_no_certificate_is_an_error(void **state)
{
	struct pn_error err;

	(void)state;
	assert_null(pn_tls_server_new(&plain_settings, &err));
	assert_error_has(err.text, "no TLS certificate", "");
}

static void test_second_certificate_is_checked_too(void **state)
{
	struct pn_tls_certificate_pem pems[2] = { tls_pem("ecdsa"), tls_pem("expired") };
	struct pn_tls_server_settings settings = plain_settings;
	struct pn_error err;

	(void)state;
	settings.certificates = pems;
	settings.certificate_count = 2;
	assert_null(pn_tls_server_new(&settings, &err));
	assert_error_has(err.text, "expired.pem", "renew");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_certificates_are_taken),
		cmocka_unit_test(test_weak_certificates_are_refused),
		cmocka_unit_test(test_key_of_another_certificate_is_refused),
		cmocka_unit_test(test_expired_certificate_is_refused),
		cmocka_unit_test(test_dates),
		cmocka_unit_test(test_broken_files_are_named),
		cmocka_unit_test(test_encrypted_key_is_explained),
		cmocka_unit_test(test_key_and_chain_may_share_a_file),
		cmocka_unit_test(test_too_long_chain_is_refused),
		cmocka_unit_test(test_info_and_warnings),
		cmocka_unit_test(test_no_certificate_is_an_error),
		cmocka_unit_test(test_second_certificate_is_checked_too),
	};

	return cmocka_run_group_tests(tests, tls_setup, tls_teardown);
}
