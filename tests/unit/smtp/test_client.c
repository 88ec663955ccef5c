/* SPDX-License-Identifier: ISC */
/* The SMTP client against scripted servers: setting up the session, and which parameters go out. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "client_script.h"

static void run_all(const struct script *scripts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		script_run(&scripts[i]);
}

static const struct script session_is_set_up_scripts[] = {
	{ .name = "plain",
	  .steps = { "S:220-two", "S:220 lines", "C:EHLO me.example", "S:250 host", "E:READY", "Q",
		     "C:QUIT", "S:221 bye", "E:CLOSED" } },
	{ .name = "helo",
	  .steps = { "S:220 up", "C:EHLO me.example", "S:502 what", "C:HELO me.example",
		     "S:250 host", "E:READY" } },
	{ .name = "lmtp",
	  .settings = { .is_lmtp = true },
	  .steps = { "S:220 up", "C:LHLO me.example", "S:250 host", "E:READY" } },
	{ .name = "lmtp no helo",
	  .settings = { .is_lmtp = true },
	  .steps = { "S:220 up", "C:LHLO me.example", "S:500 what", "E:FAILED" },
	  .failure = "EHLO 500 what" },
	{ .name = "421 while idle",
	  .steps = { "S:220 up", "C:EHLO me.example", "S:250 host", "E:READY", "S:421 4.3.2 down",
		     "E:CLOSED" } },
	{ .name = "talk while idle",
	  .steps = { "S:220 up", "C:EHLO me.example", "S:250 host", "E:READY", "S:250 more",
		     "E:FAILED" },
	  .failure = "EHLO 0 reply out of turn" },
	{ .name = "greeting 554",
	  .steps = { "S:554 go away", "E:FAILED", "Q", "C:QUIT", "S:221 bye", "E:CLOSED" } },
	{ .name = "greeting 421",
	  .steps = { "S:421 busy", "E:FAILED", "Q" },
	  .failure = "GREETING 421 busy" },
	{ .name = "greeting 250",
	  .steps = { "S:250 up", "E:FAILED", "Q" },
	  .failure = "GREETING 0 unexpected reply" },
	{ .name = "ehlo 421",
	  .steps = { "S:220 up", "C:EHLO me.example", "S:421 4.3.0 later", "E:FAILED" },
	  .failure = "EHLO 421 later" },
	{ .name = "ehlo 451",
	  .steps = { "S:220 up", "C:EHLO me.example", "S:451 later", "E:FAILED" },
	  .failure = "EHLO 451 later" },
	{ .name = "helo refused",
	  .steps = { "S:220 up", "C:EHLO me.example", "S:500 no", "C:HELO me.example", "S:550 no",
		     "E:FAILED" },
	  .failure = "EHLO 550 no" },
	{ .name = "ehlo 354",
	  .steps = { "S:220 up", "C:EHLO me.example", "S:354 what", "E:FAILED" },
	  .failure = "EHLO 0 unexpected reply" },
	{ .name = "lost",
	  .steps = { "S:220 up", "C:EHLO me.example", "L", "E:FAILED" },
	  .failure = "EHLO 0 connection lost" },
};

static void test_session_is_set_up(void **state)
{
	(void)state;
	run_all(session_is_set_up_scripts, PN_ARRAY_SIZE(session_is_set_up_scripts));
}

#define TLS_HELLO "S:220 up", "C:EHLO me.example", "S:250-host", "S:250 STARTTLS", "C:STARTTLS"

static const struct script starttls_follows_the_policy_scripts[] = {
	{ .name = "required",
	  .settings = { .tls = PN_CLIENT_TLS_REQUIRED },
	  .steps = { TLS_HELLO, "S:220 go", "E:STARTTLS", "T", "C:EHLO me.example", "S:250 host",
		     "E:READY" } },
	{ .name = "required, not offered",
	  .settings = { .tls = PN_CLIENT_TLS_REQUIRED },
	  .steps = { "S:220 up", "C:EHLO me.example", "S:250 host", "E:FAILED" },
	  .failure = "TLS 0 TLS is required but STARTTLS is not offered" },
	{ .name = "required, no EHLO",
	  .settings = { .tls = PN_CLIENT_TLS_REQUIRED },
	  .steps = { "S:220 up", "C:EHLO me.example", "S:500 no", "E:FAILED" },
	  .failure = "EHLO 500 no" },
	{ .name = "required, 454",
	  .settings = { .tls = PN_CLIENT_TLS_REQUIRED },
	  .steps = { TLS_HELLO, "S:454 4.7.0 not now", "E:FAILED" },
	  .failure = "TLS 454 not now" },
	{ .name = "required, 250",
	  .settings = { .tls = PN_CLIENT_TLS_REQUIRED },
	  .steps = { TLS_HELLO, "S:250 what", "E:FAILED" },
	  .failure = "TLS 0 unexpected reply to STARTTLS" },
	{ .name = "required, HELO inside",
	  .settings = { .tls = PN_CLIENT_TLS_REQUIRED },
	  .steps = { TLS_HELLO, "S:220 go", "E:STARTTLS", "T", "C:EHLO me.example", "S:500 no",
		     "C:HELO me.example", "S:250 ok", "E:READY" } },
	{ .name = "opportunistic",
	  .settings = { .tls = PN_CLIENT_TLS_OPPORTUNISTIC },
	  .steps = { TLS_HELLO, "S:220 go", "E:STARTTLS", "T", "C:EHLO me.example", "S:250-host",
		     "S:250 STARTTLS", "E:READY" } },
	{ .name = "opportunistic, not offered",
	  .settings = { .tls = PN_CLIENT_TLS_OPPORTUNISTIC },
	  .steps = { "S:220 up", "C:EHLO me.example", "S:250 host", "E:READY" } },
	{ .name = "opportunistic, 454",
	  .settings = { .tls = PN_CLIENT_TLS_OPPORTUNISTIC },
	  .steps = { TLS_HELLO, "S:454 not now", "E:READY" } },
	{ .name = "none",
	  .steps = { "S:220 up", "C:EHLO me.example", "S:250-host", "S:250 STARTTLS", "E:READY" } },
	{ .name = "implicit",
	  .is_tls = true,
	  .settings = { .tls = PN_CLIENT_TLS_REQUIRED },
	  .steps = { "S:220 up", "C:EHLO me.example", "S:250-host", "S:250 STARTTLS", "E:READY" } },
};

static void test_starttls_follows_the_policy(void **state)
{
	(void)state;
	run_all(starttls_follows_the_policy_scripts,
		PN_ARRAY_SIZE(starttls_follows_the_policy_scripts));
}

#define READY_HELLO "S:220 up", "C:EHLO me.example", "S:250 host", "E:READY"

static const struct script noop_keeps_the_session_scripts[] = {
	{ .name = "answered",
	  .steps = { READY_HELLO, "N", "C:NOOP", "N", "Q", "S:250 ok", "E:READY", "N", "C:NOOP",
		     "S:250 ok", "E:READY", "Q", "C:QUIT", "S:221 bye", "E:CLOSED" } },
	{ .name = "the server is going down",
	  .steps = { READY_HELLO, "N", "C:NOOP", "S:421 4.3.2 down", "E:CLOSED" } },
	{ .name = "refused",
	  .steps = { READY_HELLO, "N", "C:NOOP", "S:500 what", "E:FAILED" },
	  .failure = "EHLO 500 what" },
	{ .name = "not while there is no session",
	  .steps = { "N", "S:220 up", "N", "C:EHLO me.example", "S:250 host", "E:READY" } },
};

static void test_noop_keeps_the_session(void **state)
{
	(void)state;
	run_all(noop_keeps_the_session_scripts, PN_ARRAY_SIZE(noop_keeps_the_session_scripts));
}

/* Says "first", then each challenge back; "bad" is not to be believed. */
static int respond(void *arg, const struct pn_slice *challenge, struct pn_buf *response)
{
	(void)arg;
	if (challenge && pn_slice_eq(*challenge, PN_SLICE_LIT("bad")))
		return -1;
	return pn_buf_append_slice(response, challenge ? *challenge : PN_SLICE_LIT("first"));
}

static const struct pn_smtp_client_sasl sasl = { .mechanism = "X-TEST", .respond = respond };

#define SASL_USER                                  \
	.settings = { .auth_user = "u",            \
		      .auth_password = "p",        \
		      .auth = PN_CLIENT_AUTH_SASL, \
		      .sasl = &sasl },             \
	.is_tls = true

#define AUTH_HELLO(mechanisms) \
	"S:220 up", "C:EHLO me.example", "S:250-host", "S:250 AUTH " mechanisms
#define USER .auth_user = "u", .auth_password = "p"

/* 256 octets: one more than RFC 4616 2 allows. */
static const char too_long[] =
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef01"
	"23456789abcdef0123456789abcdef0123456789abcdef"
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef01"
	"23456789abcdef0123456789abcdef0123456789abcdef";

static const struct script auth_plain_else_login_scripts[] = {
	{ .name = "plain",
	  .is_tls = true,
	  .settings = { USER },
	  .steps = { AUTH_HELLO("LOGIN plain"), "C:AUTH PLAIN AHUAcA==", "S:235 2.7.0 ok",
		     "E:READY" } },
	{ .name = "login",
	  .is_tls = true,
	  .settings = { USER },
	  .steps = { AUTH_HELLO("SCRAM-SHA-1 LOGIN"), "C:AUTH LOGIN", "S:334 VXNlcm5hbWU6",
		     "C:dQ==", "S:334 UGFzc3dvcmQ6", "C:cA==", "S:235 ok", "E:READY" } },
	{ .name = "old form",
	  .is_tls = true,
	  .settings = { USER },
	  .steps = { "S:220 up", "C:EHLO me.example", "S:250-host", "S:250 AUTH=LOGIN PLAIN",
		     "C:AUTH PLAIN AHUAcA==", "S:235 ok", "E:READY" } },
	{ .name = "no mechanism",
	  .is_tls = true,
	  .settings = { USER },
	  .steps = { AUTH_HELLO("GSSAPI"), "E:FAILED" },
	  .failure = "AUTH 0 AUTH is wanted but neither PLAIN nor LOGIN is offered" },
	{ .name = "no TLS",
	  .settings = { USER },
	  .steps = { AUTH_HELLO("PLAIN"), "E:FAILED" },
	  .failure = "AUTH 0 AUTH is wanted but there is no TLS" },
	{ .name = "no TLS allowed",
	  .settings = { USER, .auth_without_tls = true },
	  .steps = { AUTH_HELLO("PLAIN"), "C:AUTH PLAIN AHUAcA==", "S:235 ok", "E:READY" } },
	{ .name = "no HELO",
	  .is_tls = true,
	  .settings = { USER },
	  .steps = { "S:220 up", "C:EHLO me.example", "S:500 no", "E:FAILED" },
	  .failure = "EHLO 500 no" },
	{ .name = "refused",
	  .is_tls = true,
	  .settings = { USER },
	  .steps = { AUTH_HELLO("PLAIN"), "C:AUTH PLAIN AHUAcA==", "S:535 5.7.8 bad", "E:FAILED",
		     "Q", "C:QUIT" } },
	{ .name = "again",
	  .is_tls = true,
	  .settings = { USER },
	  .steps = { AUTH_HELLO("PLAIN"), "C:AUTH PLAIN AHUAcA==", "S:334 ", "E:FAILED" },
	  .failure = "AUTH 0 unexpected reply to AUTH" },
	{ .name = "login refused",
	  .is_tls = true,
	  .settings = { USER },
	  .steps = { AUTH_HELLO("LOGIN"), "C:AUTH LOGIN", "S:334 x", "C:dQ==", "S:535 no",
		     "E:FAILED" },
	  .failure = "AUTH 535 no" },
	{ .name = "login 235 too early",
	  .is_tls = true,
	  .settings = { USER },
	  .steps = { AUTH_HELLO("LOGIN"), "C:AUTH LOGIN", "S:235 ok", "E:FAILED" },
	  .failure = "AUTH 0 unexpected reply to AUTH" },
	{ .name = "a mechanism of the owner's",
	  SASL_USER,
	  .steps = { AUTH_HELLO("PLAIN x-test"), "C:AUTH X-TEST Zmlyc3Q=", "S:334 YWJj", "C:YWJj",
		     "S:334 ", "C:", "S:235 ok", "E:READY" } },
	{ .name = "its server is not to be believed",
	  SASL_USER,
	  .steps = { AUTH_HELLO("X-TEST"), "C:AUTH X-TEST Zmlyc3Q=", "S:334 YmFk", "E:FAILED" },
	  .failure = "AUTH 0 the server's part of the SASL exchange is wrong" },
	{ .name = "its challenge is not base64",
	  SASL_USER,
	  .steps = { AUTH_HELLO("X-TEST"), "C:AUTH X-TEST Zmlyc3Q=", "S:334 ***", "E:FAILED" },
	  .failure = "AUTH 0 the challenge is not base64" },
	{ .name = "it is not offered",
	  SASL_USER,
	  .steps = { AUTH_HELLO("PLAIN LOGIN"), "E:FAILED" },
	  .failure = "AUTH 0 the mechanism that is wanted for AUTH is not offered" },
	{ .name = "LOGIN is wanted, PLAIN is offered too",
	  .settings = { .auth_user = "u", .auth_password = "p", .auth = PN_CLIENT_AUTH_LOGIN },
	  .is_tls = true,
	  .steps = { AUTH_HELLO("PLAIN LOGIN"), "C:AUTH LOGIN", "S:334 x", "C:dQ==", "S:334 x",
		     "C:cA==", "S:235 ok", "E:READY" } },
	{ .name = "421",
	  .is_tls = true,
	  .settings = { USER },
	  .steps = { AUTH_HELLO("PLAIN"), "C:AUTH PLAIN AHUAcA==", "S:421 4.3.2 down", "E:FAILED" },
	  .failure = "AUTH 421 down" },
	{ .name = "empty password",
	  .is_tls = true,
	  .settings = { .auth_user = "u" },
	  .steps = { AUTH_HELLO("PLAIN"), "E:FAILED" },
	  .failure = "AUTH 0 user name or password for AUTH is empty or too long" },
	{ .name = "too long",
	  .is_tls = true,
	  .settings = { .auth_user = "u", .auth_password = too_long },
	  .steps = { AUTH_HELLO("PLAIN"), "E:FAILED" },
	  .failure = "AUTH 0 user name or password for AUTH is empty or too long" },
};

static void test_auth_plain_else_login(void **state)
{
	(void)state;
	assert_int_equal(strlen(too_long), 256);
	run_all(auth_plain_else_login_scripts, PN_ARRAY_SIZE(auth_plain_else_login_scripts));
}

/*
 * RFC 4954 4: an initial response that would make the command longer than 512 octets goes into a
 * line of its own.
 */
static void test_long_auth_plain_goes_in_two_lines(void **state)
{
	static char user[201], line[2 + 134 * 4 + 1];
	static struct script script = { .name = "long plain",
					.is_tls = true,
					.settings = { .auth_user = user, .auth_password = user },
					.steps = { AUTH_HELLO("PLAIN"), "C:AUTH PLAIN", "S:334 ",
						   line, "S:235 ok", "E:READY" } };

	(void)state;
	memset(user, 'a', sizeof(user) - 1);
	/*
	 * NUL a*200 NUL a*200: 134 groups of three octets, NULs at the front of the first and of
	 * number 67
	 */
	memcpy(line, "C:", 2);
	for (size_t i = 0; i < 134; i++)
		memcpy(line + 2 + 4 * i, i == 0 || i == 67 ? "AGFh" : "YWFh", 4);
	script_run(&script);
}

#define FULL_HELLO                                                                   \
	"S:220 up", "C:EHLO me.example", "S:250-host greets you", "S:250-SIZE 1000", \
		"S:250-8bitmime", "S:250-SMTPUTF8", "S:250-ENHANCEDSTATUSCODES", "S:250 DSN"
#define BARE_HELLO "S:220 up", "C:EHLO me.example", "S:250-host", "S:250 SIZE", "E:READY", "G"
#define DSN_RCPT                                                                 \
	.recipients = { { .address = L("a@y.example"),                           \
			  .notify = PN_DSN_NOTIFY_SUCCESS | PN_DSN_NOTIFY_DELAY, \
			  .orcpt = L("rfc822;a+2Bx@y") },                        \
			{ .address = L("b@z.example"), .notify = PN_DSN_NOTIFY_NEVER } }
#define DSN_MAIL                                        \
	.envelope = { .reverse_path = L("s@x.example"), \
		      .dsn_ret = PN_DSN_RET_HDRS,       \
		      .dsn_envid = L("id+2Bx"),         \
		      .auth_param = L("<>") }

static const struct script parameters_go_only_to_servers_that_offer_them_scripts[] = {
	{ .name = "all",
	  DSN_MAIL,
	  DSN_RCPT,
	  .transaction = { .size_bytes = 77, .has_8bit = true, .needs_smtputf8 = true },
	  .steps = { FULL_HELLO, "E:READY", "G",
		     "C:MAIL FROM:<s@x.example> SIZE=77 BODY=8BITMIME SMTPUTF8 RET=HDRS "
		     "ENVID=id+2Bx",
		     "S:250 ok",
		     "C:RCPT TO:<a@y.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bx@y",
		     "S:250 ok", "C:RCPT TO:<b@z.example> NOTIFY=NEVER" } },
	/* RFC 6531 3.2, RFC 6152: what nothing needs is not asked for */
	{ .name = "not needed",
	  FROM,
	  ONE,
	  .transaction = { .size_bytes = 77 },
	  .steps = { FULL_HELLO, "E:READY", "G", "C:MAIL FROM:<s@x.example> SIZE=77" } },
	{ .name = "utf8 by address",
	  FROM,
	  .recipients = { { .address = L("\xc3\xa4@y") } },
	  .steps = { FULL_HELLO, "E:READY", "G", "C:MAIL FROM:<s@x.example> SMTPUTF8", "S:250 ok",
		     "C:RCPT TO:<\xc3\xa4@y>" } },
	{ .name = "dsn dropped",
	  DSN_MAIL,
	  DSN_RCPT,
	  .is_dsn_dropped = true,
	  .transaction = { .size_bytes = 77 },
	  .steps = { BARE_HELLO, "C:MAIL FROM:<s@x.example> SIZE=77", "S:250 ok",
		     "C:RCPT TO:<a@y.example>" } },
	{ .name = "null reverse-path",
	  ONE,
	  .is_dsn_dropped = true,
	  .steps = { BARE_HELLO, "C:MAIL FROM:<>" } },
	/* RFC 4954 5 */
	{ .name = "auth",
	  DSN_MAIL,
	  ONE,
	  .is_tls = true,
	  .is_dsn_dropped = true,
	  .settings = { USER },
	  .steps = { AUTH_HELLO("PLAIN"), "C:AUTH PLAIN AHUAcA==", "S:235 ok", "E:READY", "G",
		     "C:MAIL FROM:<s@x.example> AUTH=<>" } },
	{ .name = "no 8bit",
	  FROM,
	  TWO,
	  .begin_rc = -EPROTONOSUPPORT,
	  .transaction = { .has_8bit = true },
	  .steps = { BARE_HELLO, "Q", "C:QUIT" },
	  .results = "EHLO 554 5.6.3 the next hop does not offer 8BITMIME|EHLO 554 5.6.3 "
		     "the next hop does not offer 8BITMIME" },
	{ .name = "no utf8",
	  FROM,
	  ONE,
	  .begin_rc = -EPROTONOSUPPORT,
	  .transaction = { .needs_smtputf8 = true },
	  .steps = { BARE_HELLO },
	  .results = "EHLO 553 5.6.7 the next hop does not offer SMTPUTF8" },
	{ .name = "no utf8 for the address",
	  .envelope = { .reverse_path = L("\xc3\xa4@y") },
	  ONE,
	  .begin_rc = -EPROTONOSUPPORT,
	  .steps = { BARE_HELLO },
	  .results = "EHLO 553 5.6.7 the next hop does not offer SMTPUTF8" },
	{ .name = "SMTPUTF8 without 8BITMIME",
	  FROM,
	  ONE,
	  .begin_rc = -EPROTONOSUPPORT,
	  .transaction = { .needs_smtputf8 = true },
	  .steps = { "S:220 up", "C:EHLO me.example", "S:250-host", "S:250 SMTPUTF8", "E:READY",
		     "G" },
	  .results = "EHLO 553 5.6.7 the next hop does not offer SMTPUTF8" },
	{ .name = "too big",
	  FROM,
	  ONE,
	  .begin_rc = -EPROTONOSUPPORT,
	  .transaction = { .size_bytes = 1001 },
	  .steps = { FULL_HELLO, "E:READY", "G" },
	  .results = "EHLO 552 5.3.4 the message is bigger than the next hop takes" },
	{ .name = "HELO has no extensions",
	  DSN_MAIL,
	  DSN_RCPT,
	  .is_dsn_dropped = true,
	  .transaction = { .size_bytes = 5 },
	  .steps = { "S:220 up", "C:EHLO me.example", "S:500-no", "S:500 SIZE", "C:HELO me.example",
		     "S:250-host", "S:250 SIZE", "E:READY", "G", MAIL_A } },
	{ .name = "injection",
	  FROM,
	  .recipients = { { .address = L("a@y\r\nQUIT") } },
	  .begin_rc = -EPROTONOSUPPORT,
	  .steps = { BARE_HELLO },
	  .results = "EHLO 553 5.1.3 an address or parameter cannot be sent" },
	{ .name = "injection by ENVID",
	  .envelope = { .dsn_envid = L("a b") },
	  ONE,
	  .begin_rc = -EPROTONOSUPPORT,
	  .steps = { BARE_HELLO },
	  .results = "EHLO 553 5.1.3 an address or parameter cannot be sent" },
};

static void test_parameters_go_only_to_servers_that_offer_them(void **state)
{
	(void)state;
	run_all(parameters_go_only_to_servers_that_offer_them_scripts,
		PN_ARRAY_SIZE(parameters_go_only_to_servers_that_offer_them_scripts));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_session_is_set_up),
		cmocka_unit_test(test_starttls_follows_the_policy),
		cmocka_unit_test(test_noop_keeps_the_session),
		cmocka_unit_test(test_auth_plain_else_login),
		cmocka_unit_test(test_long_auth_plain_goes_in_two_lines),
		cmocka_unit_test(test_parameters_go_only_to_servers_that_offer_them),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
