/* SPDX-License-Identifier: ISC */
/* test_params.c - parameters; the transcripts mail_parameters and rcpt_parameters have the long list of good
 * and bad values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <postern/smtp/params.h>

static const struct pn_param_offer all = { .has_smtputf8 = true,
					   .has_dsn = true,
					   .message_size_max_bytes = UINT64_MAX };

static enum pn_reply mail(const char *rest, struct pn_envelope *e)
{
	memset(e, 0, sizeof(*e));
	return pn_mail_params_parse(pn_slice_str(rest), &all, e);
}

static void test_all_mail_parameters_at_once(void **state PN_UNUSED)
{
	struct pn_envelope e;

	assert_int_equal(
		mail("  SIZE=18446744073709551615 body=8bitmime  smtputf8 AUTH=<> RET=full ENVID=a+3D ", &e),
		PN_REPLY_PARAM_SYNTAX);
	assert_int_equal(
		mail("  SIZE=18446744073709551615 body=8bitmime  smtputf8 AUTH=<> RET=full ENVID=a+3D", &e),
		PN_REPLY_NONE);
	assert_true(e.size_declared == UINT64_MAX);
	assert_int_equal(e.body, PN_BODY_8BITMIME);
	assert_true(e.is_smtputf8);
	assert_true(pn_slice_eq(e.auth_param, PN_SLICE_LIT("<>")));
	assert_int_equal(e.dsn_ret, PN_DSN_RET_FULL);
	assert_true(pn_slice_eq(e.dsn_envid, PN_SLICE_LIT("a+3D")));
}

static void test_nothing_is_fine(void **state PN_UNUSED)
{
	struct pn_envelope e;
	struct pn_recipient r = { 0 };

	assert_int_equal(mail("", &e), PN_REPLY_NONE);
	assert_int_equal(pn_rcpt_params_parse(PN_SLICE_NULL, &all, false, &r), PN_REPLY_NONE);
	assert_int_equal(e.size_declared, 0);
	assert_int_equal(r.notify, 0);
}

static void test_parameters_stand_apart_from_the_path(void **state PN_UNUSED)
{
	struct pn_envelope e;

	assert_int_equal(mail("SIZE=1", &e), PN_REPLY_PARAM_SYNTAX);
	assert_int_equal(mail("\tSIZE=1", &e), PN_REPLY_PARAM_SYNTAX);
}

static void test_utf8_orcpt_needs_smtputf8(void **state PN_UNUSED)
{
	struct pn_slice raw = PN_SLICE_LIT(" ORCPT=utf-8;\xc3\xbc@b.example");
	struct pn_recipient r = { 0 };

	assert_int_equal(pn_rcpt_params_parse(raw, &all, false, &r), PN_REPLY_PARAM_SYNTAX);
	assert_int_equal(pn_rcpt_params_parse(raw, &all, true, &r), PN_REPLY_NONE);
	assert_true(pn_slice_eq(r.orcpt, PN_SLICE_LIT("utf-8;\xc3\xbc@b.example")));
}

static void test_notify_lists(void **state PN_UNUSED)
{
	struct pn_recipient r = { 0 };

	assert_int_equal(pn_rcpt_params_parse(PN_SLICE_LIT(" NOTIFY=delay,SUCCESS"), &all, false, &r),
			 PN_REPLY_NONE);
	assert_int_equal(r.notify, PN_DSN_NOTIFY_DELAY | PN_DSN_NOTIFY_SUCCESS);
	assert_int_equal(pn_rcpt_params_parse(PN_SLICE_LIT(" NOTIFY=never"), &all, false, &r), PN_REPLY_NONE);
	assert_int_equal(r.notify, PN_DSN_NOTIFY_NEVER);
}

static void test_xtext(void **state PN_UNUSED)
{
	assert_true(pn_xtext_is_valid(PN_SLICE_LIT("a+2B+3Db~!")));
	assert_false(pn_xtext_is_valid(PN_SLICE_LIT("")));
	assert_false(pn_xtext_is_valid(PN_SLICE_LIT("+")));
	assert_false(pn_xtext_is_valid(PN_SLICE_LIT("a+2")));
	assert_false(pn_xtext_is_valid(PN_SLICE_LIT("a+2b")));
	assert_false(pn_xtext_is_valid(PN_SLICE_LIT("a=b")));
	assert_false(pn_xtext_is_valid(PN_SLICE_LIT("a b")));
	assert_false(pn_xtext_is_valid(PN_SLICE_LIT("a\x7f")));
	assert_false(pn_xtext_is_valid(PN_SLICE_LIT("a\xc3\xbc")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_mail_parameters_at_once),
		cmocka_unit_test(test_nothing_is_fine),
		cmocka_unit_test(test_parameters_stand_apart_from_the_path),
		cmocka_unit_test(test_utf8_orcpt_needs_smtputf8),
		cmocka_unit_test(test_notify_lists),
		cmocka_unit_test(test_xtext),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
