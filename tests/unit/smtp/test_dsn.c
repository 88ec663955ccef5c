/* SPDX-License-Identifier: ISC */
/*
 * Reports: one whole one to the letter, the rest by their lines; who wants which; nothing of a peer
 * breaks out of its field.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include <postern/base/codec.h>
#include <postern/smtp/dsn.h>

#define ID_TEXT     "aaaaaaaaaaaaaaaaaaaaaaaaaa"
#define REPORT_TEXT "aaaaaaaaaaaaaaaaaaaaaaaaae"
#define WALL_MS     1795448700000u
#define L(s)                                        \
	{                                           \
		(const uint8_t *)(s), sizeof(s) - 1 \
	}

struct fixture {
	struct pn_envelope envelope;
	struct pn_recipient recipient[2];
	struct pn_dsn_recipient recipients[2];
	struct pn_dsn dsn;
	struct pn_buf out;
};

static void fixture_init(struct fixture *f)
{
	*f = (struct fixture){
		.envelope = { .received_wall_ms = WALL_MS - 60000,
			      .reverse_path = L("sender@x.example"),
			      .dsn_envid = L("QQ+2B31") },
		.recipient = { { .address = L("User@y.example"),
				 .orcpt = L("rfc822;Old+2BUser@y.example") },
			       { .address = L("b@z.example") } },
	};
	f->recipients[0] =
		(struct pn_dsn_recipient){ .recipient = &f->recipient[0],
					   .action = PN_DSN_FAILED,
					   .status = { 5, 1, 1 },
					   .remote_mta = PN_SLICE_LIT("mx.y.example"),
					   .reply = { .code = 550,
						      .enhanced = { 5, 1, 1 },
						      .text = PN_SLICE_LIT("No such user here") },
					   .last_attempt_wall_ms = WALL_MS };
	f->recipients[1] = (struct pn_dsn_recipient){
		.recipient = &f->recipient[1],
		.action = PN_DSN_FAILED,
		.status = { 5, 4, 7 },
		.reply = { .text = PN_SLICE_LIT("given up after 5 days: connection refused") },
		.last_attempt_wall_ms = WALL_MS
	};
	f->dsn = (struct pn_dsn){ .hostname = "mx.example",
				  .postmaster = "postmaster@mx.example",
				  .report_id = { .octets = { [15] = 1 } },
				  .now_wall_ms = WALL_MS,
				  .envelope = &f->envelope,
				  .recipients = f->recipients,
				  .recipient_count = 2,
				  .is_full_content = true };
	pn_buf_init(&f->out, 1 << 16);
}

/* The report with "ORIGINAL\r\n" returned, NUL-terminated. */
static const char *report(struct fixture *f)
{
	pn_buf_clear(&f->out);
	assert_int_equal(pn_dsn_begin(&f->dsn, &f->out), 0);
	assert_int_equal(pn_buf_append_str(&f->out, "ORIGINAL\r\n"), 0);
	assert_int_equal(pn_dsn_end(&f->dsn, &f->out), 0);
	assert_int_equal(pn_buf_append(&f->out, "", 1), 0);
	return (const char *)pn_buf_ptr(&f->out);
}

static const char failure_report[] =
	"Date: Mon, 23 Nov 2026 15:45:00 +0000\r\n"
	"From: Mail Delivery System <postmaster@mx.example>\r\n"
	"To: <sender@x.example>\r\n"
	"Subject: Undelivered mail returned to sender\r\n"
	"Message-ID: <" REPORT_TEXT "@mx.example>\r\n"
	"Auto-Submitted: auto-replied\r\n"
	"MIME-Version: 1.0\r\n"
	"Content-Type: multipart/report; report-type=delivery-status;\r\n"
	"\tboundary=\"=_postern_" REPORT_TEXT "\"\r\n"
	"\r\n"
	"This is a delivery status notification in MIME format.\r\n"
	"\r\n"
	"--=_postern_" REPORT_TEXT "\r\n"
	"Content-Type: text/plain; charset=us-ascii\r\n"
	"Content-Description: Notification\r\n"
	"\r\n"
	"This is the mail system at mx.example.\r\n"
	"\r\n"
	"Your message could not be delivered to the following recipients, and it will\r\n"
	"not be tried again. The reason stands below each address.\r\n"
	"\r\n"
	"<User@y.example>\r\n"
	"    mx.y.example said:\r\n"
	"    550 5.1.1 No such user here\r\n"
	"\r\n"
	"<b@z.example>\r\n"
	"    given up after 5 days: connection refused\r\n"
	"\r\n"
	"The message has the queue id " ID_TEXT ".\r\n"
	"\r\n"
	"--=_postern_" REPORT_TEXT "\r\n"
	"Content-Type: message/delivery-status\r\n"
	"Content-Description: Delivery report\r\n"
	"\r\n"
	"Original-Envelope-Id: QQ+31\r\n"
	"Reporting-MTA: dns; mx.example\r\n"
	"Arrival-Date: Mon, 23 Nov 2026 15:44:00 +0000\r\n"
	"\r\n"
	"Original-Recipient: rfc822;Old+User@y.example\r\n"
	"Final-Recipient: rfc822;User@y.example\r\n"
	"Action: failed\r\n"
	"Status: 5.1.1\r\n"
	"Remote-MTA: dns; mx.y.example\r\n"
	"Diagnostic-Code: smtp; 550 5.1.1 No such user here\r\n"
	"Last-Attempt-Date: Mon, 23 Nov 2026 15:45:00 +0000\r\n"
	"\r\n"
	"Final-Recipient: rfc822;b@z.example\r\n"
	"Action: failed\r\n"
	"Status: 5.4.7\r\n"
	"Diagnostic-Code: X-Postern; given up after 5 days: connection refused\r\n"
	"Last-Attempt-Date: Mon, 23 Nov 2026 15:45:00 +0000\r\n"
	"\r\n"
	"--=_postern_" REPORT_TEXT "\r\n"
	"Content-Type: message/rfc822\r\n"
	"Content-Description: Undelivered message\r\n"
	"\r\n"
	"ORIGINAL\r\n"
	"\r\n"
	"--=_postern_" REPORT_TEXT "--\r\n";

/* RFC 3464, RFC 6522 */
static void test_failure_report_to_the_letter(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	assert_string_equal(report(&f), failure_report);
	assert_false(pn_dsn_is_8bit(&f.dsn));
	pn_buf_free(&f.out);
}

static void assert_has(struct fixture *f, const char *line)
{
	if (!strstr(report(f), line))
		fail_msg("no \"%s\" in\n%s", line, report(f));
}

static void assert_lacks(struct fixture *f, const char *line)
{
	if (strstr(report(f), line))
		fail_msg("\"%s\" in\n%s", line, report(f));
}

static void test_each_action_has_its_words_and_fields(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	f.dsn.is_full_content = false;
	f.recipients[0].action = PN_DSN_DELAYED;
	f.recipients[0].status[0] = 4;
	f.recipients[0].will_retry_until_wall_ms = WALL_MS + 86400000;
	f.recipients[1].action = PN_DSN_RELAYED;
	assert_has(&f, "Subject: Delayed mail (still being tried)\r\n");
	assert_has(&f, "\r\nAction: delayed\r\nStatus: 4.1.1\r\n");
	assert_has(&f, "\r\nWill-Retry-Until: Tue, 24 Nov 2026 15:45:00 +0000\r\n");
	assert_has(&f, "\r\n    Will be tried until: Tue, 24 Nov 2026 15:45:00 +0000\r\n");
	assert_has(&f,
		   "still being tried; you need not send it again.\r\n\r\n<User@y.example>\r\n");
	assert_has(&f, "Action: relayed\r\n");
	assert_has(&f, "report the final delivery.\r\n\r\n<b@z.example>\r\n");
	assert_has(&f, "Content-Type: text/rfc822-headers\r\nContent-Description: Header of the "
		       "message\r\n\r\nORIGINAL\r\n");
	assert_lacks(&f, "could not be delivered");
	f.recipients[0].action = PN_DSN_DELIVERED;
	assert_has(&f, "Subject: Mail delivery report\r\n");
	assert_has(&f, "Action: delivered\r\n");
	assert_has(&f, "Your message was delivered to the following "
		       "recipients.\r\n\r\n<User@y.example>\r\n");
	assert_lacks(&f, "Will-Retry-Until");
	f.envelope.dsn_envid = PN_SLICE_NULL;
	assert_lacks(&f, "Original-Envelope-Id");
	pn_buf_free(&f.out);
}

/* RFC 6533, RFC 6532 3.7 */
static void test_international_addresses_make_an_international_report(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	f.recipient[0].address = PN_SLICE_LIT("us\xc3\xa9r@y.example");
	f.recipient[0].orcpt = PN_SLICE_LIT("utf-8;\\x{E4}l\\x{2B}t\\x{1F600}@y.example");
	f.recipients[0].reply.text = PN_SLICE_LIT("n\xc3\xa9 pas");
	assert_true(pn_dsn_is_8bit(&f.dsn));
	assert_has(&f,
		   "boundary=\"=_postern_" REPORT_TEXT "\"\r\nContent-Transfer-Encoding: 8bit\r\n");
	assert_has(&f, "Content-Type: text/plain; charset=utf-8\r\nContent-Description: "
		       "Notification\r\nContent-Transfer-Encoding: 8bit\r\n");
	assert_has(&f, "Content-Type: message/global-delivery-status\r\nContent-Description: "
		       "Delivery report\r\nContent-Transfer-Encoding: 8bit\r\n");
	assert_has(&f, "Original-Recipient: "
		       "utf-8;\xc3\xa4l+t\xf0\x9f\x98\x80@y.example\r\nFinal-Recipient: "
		       "utf-8;us\xc3\xa9r@y.example\r\n");
	assert_has(&f, "Diagnostic-Code: smtp; 550 5.1.1 n\xc3\xa9 pas\r\n");
	assert_has(&f, "Final-Recipient: rfc822;b@z.example\r\n");
	assert_has(
		&f,
		"Content-Type: message/global\r\nContent-Description: Undelivered message\r\n\r\n");
	f.dsn.is_full_content = false;
	assert_has(&f, "Content-Type: message/global-headers\r\n");
	/* not well-formed: copied without alteration */
	f.recipient[0].orcpt = PN_SLICE_LIT("utf-8;a\\x{D800}b");
	assert_has(&f, "Original-Recipient: utf-8;a\\x{D800}b\r\n");
	f.recipient[0].orcpt = PN_SLICE_LIT("utf-8;a\\x{0A}b\\x{zz}\\x{41");
	assert_has(&f, "Original-Recipient: utf-8;a\\x{0A}b\\x{zz}\\x{41\r\n");
	f.recipient[0].address = PN_SLICE_LIT("a@y");
	f.recipient[0].orcpt = PN_SLICE_LIT("utf-8;\\x{E4}@y");
	assert_false(pn_dsn_is_8bit(&f.dsn));
	assert_has(&f, "Original-Recipient: utf-8;\\x{E4}@y\r\nFinal-Recipient: rfc822;a@y\r\n");
	assert_has(&f, "Diagnostic-Code: smtp; 550 5.1.1 n?? pas\r\n");
	f.envelope.reverse_path = PN_SLICE_LIT("\xc3\xa4@x");
	assert_has(&f, "To: <\xc3\xa4@x>\r\n");
	assert_has(&f, "message/global-delivery-status");
	pn_buf_free(&f.out);
}

static void test_8bit_originals_are_labelled(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	f.dsn.has_8bit_body = true;
	assert_true(pn_dsn_is_8bit(&f.dsn));
	assert_has(&f, "\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\nThis is a");
	assert_has(&f, "Content-Type: message/rfc822\r\nContent-Description: Undelivered "
		       "message\r\nContent-Transfer-Encoding: 8bit\r\n\r\n");
	assert_has(&f, "Content-Type: message/delivery-status\r\nContent-Description: Delivery "
		       "report\r\n\r\n");
	f.dsn.is_full_content = false; /* the body does not come along */
	assert_false(pn_dsn_is_8bit(&f.dsn));
	assert_lacks(&f, "8bit");
	f.dsn.has_8bit_header = true;
	assert_has(&f, "Content-Type: message/global-headers\r\nContent-Description: Header of the "
		       "message\r\nContent-Transfer-Encoding: 8bit\r\n\r\n");
	pn_buf_free(&f.out);
}

/* Whatever a peer wrote, each of its texts stays inside its field, in ASCII, in lines under 998. */
static void test_peer_text_cannot_begin_a_line(void **state)
{
	static char text[513];
	struct fixture f;
	const char *line;

	(void)state;
	fixture_init(&f);
	memset(text, 'w', 512);
	memcpy(text + 20, "\r\nAction: delivered\r\n\r\n--=_postern_", 35);
	text[100] = ' ';
	f.recipients[0].reply.text = pn_slice(text, 512);
	f.recipients[0].remote_mta = PN_SLICE_LIT("mx\r\nAction: delivered");
	f.envelope.dsn_envid = PN_SLICE_LIT("a+0D+0AAction:+20delivered");
	f.recipient[0].orcpt = PN_SLICE_LIT("rfc822;a+0Ab+00c");
	f.recipient[0].address = PN_SLICE_LIT("a\r\nAction: delivered@y");
	f.envelope.reverse_path = PN_SLICE_LIT("a\r\nBcc: x@y");
	assert_lacks(&f, "\nAction: delivered");
	assert_lacks(&f, "\nBcc");
	assert_has(&f, "Original-Envelope-Id: a+0D+0AAction:+20delivered\r\n");
	assert_has(&f, "Original-Recipient: rfc822;a+0Ab+00c\r\n");
	assert_has(&f, "Remote-MTA: dns; mx??Action: delivered\r\n");
	assert_has(&f, "To: <a??Bcc: x@y>\r\n");
	for (line = report(&f); *line; line = strstr(line, "\r\n") + 2) {
		size_t len = (size_t)(strstr(line, "\r\n") - line);

		assert_true(len <= 998);
		assert_null(memchr(line, '\r', len));
		assert_null(memchr(line, '\n', len));
	}
	assert_false(pn_slice_has_8bit(pn_buf_slice(&f.out)));
	pn_buf_free(&f.out);
}

static void test_long_replies_are_folded(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	f.recipients[0].reply.text =
		PN_SLICE_LIT("The mailbox you wrote to does not exist any more, and it never will "
			     "exist again; please write to another one");
	assert_has(
		&f,
		"\r\nDiagnostic-Code: smtp; 550 5.1.1 The mailbox you wrote to does not exist\r\n "
		"any more, and it never will exist again; please write to another one\r\n");
	assert_has(&f, "    550 5.1.1 The mailbox you wrote to does not exist any more, and it\r\n "
		       "   never will exist again; please write to another one\r\n");
	pn_buf_free(&f.out);
}

static void test_a_full_buffer_is_left_as_it_was(void **state)
{
	struct fixture f;
	size_t max = 8;
	int rc;

	(void)state;
	fixture_init(&f);
	do {
		pn_buf_free(&f.out);
		pn_buf_init(&f.out, max++);
		assert_int_equal(pn_buf_append_str(&f.out, "before"), 0);
		rc = pn_dsn_begin(&f.dsn, &f.out);
		if (rc) {
			assert_int_equal(rc, -ENOBUFS);
			assert_true(pn_slice_eq(pn_buf_slice(&f.out), PN_SLICE_LIT("before")));
		}
	} while (rc && max < 10000);
	assert_int_equal(rc, 0);
	assert_int_equal(pn_dsn_end(&f.dsn, &f.out), -ENOBUFS);
	pn_buf_free(&f.out);
}

struct wanted_case {
	uint32_t notify;
	bool is_null_path;
	bool wants[4]; /* failed, delayed, delivered, relayed */
};

/* RFC 3461 4.1, 5.2 */
static void test_reports_go_to_those_who_want_them(void **state)
{
	static const struct wanted_case cases[] = {
		{ 0, false, { true, true, false, false } },
		{ PN_DSN_NOTIFY_NEVER, false, { false, false, false, false } },
		{ PN_DSN_NOTIFY_SUCCESS, false, { false, false, true, true } },
		{ PN_DSN_NOTIFY_FAILURE, false, { true, false, false, false } },
		{ PN_DSN_NOTIFY_DELAY, false, { false, true, false, false } },
		{ PN_DSN_NOTIFY_SUCCESS | PN_DSN_NOTIFY_FAILURE | PN_DSN_NOTIFY_DELAY,
		  false,
		  { true, true, true, true } },
		{ 0, true, { false, false, false, false } },
		{ PN_DSN_NOTIFY_SUCCESS | PN_DSN_NOTIFY_FAILURE,
		  true,
		  { false, false, false, false } },
	};

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
		struct pn_envelope e = { .reverse_path = PN_SLICE_LIT("s@x") };
		struct pn_recipient r = { .notify = cases[i].notify };

		if (cases[i].is_null_path)
			e.reverse_path = PN_SLICE_NULL;
		for (int action = PN_DSN_FAILED; action <= PN_DSN_RELAYED; action++)
			assert_int_equal(pn_dsn_is_wanted(&e, &r, (enum pn_dsn_action)action),
					 cases[i].wants[action]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failure_report_to_the_letter),
		cmocka_unit_test(test_each_action_has_its_words_and_fields),
		cmocka_unit_test(test_international_addresses_make_an_international_report),
		cmocka_unit_test(test_8bit_originals_are_labelled),
		cmocka_unit_test(test_peer_text_cannot_begin_a_line),
		cmocka_unit_test(test_long_replies_are_folded),
		cmocka_unit_test(test_a_full_buffer_is_left_as_it_was),
		cmocka_unit_test(test_reports_go_to_those_who_want_them),
	};

	setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
