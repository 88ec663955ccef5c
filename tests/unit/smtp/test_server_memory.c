/* SPDX-License-Identifier: ISC */
/*
 * test_server_memory.c - a session in which the first, second, third ... allocation fails, until one passes whole.
 *
 * Linked with malloc wrapped (see CMakeLists.txt). Whatever fails, the session answers or closes: no crash, no
 * leak, no command answered twice, and a message is promised only when its content was complete.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <postern/smtp/server_types.h>

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

static long fail_in; /* 0: never */
static unsigned failures;

void *__wrap_malloc(size_t size)
{
	if (fail_in > 0 && --fail_in == 0) {
		failures++;
		return NULL;
	}
	return __real_malloc(size);
}

static const char session[] = "EHLO c.example\r\n"
			      "AUTH PLAIN\r\nAGEAYg==\r\n"
			      "MAIL FROM:<a@example.org> ENVID=x\r\nRCPT TO:<b@example.net> "
			      "ORCPT=rfc822;b\r\nRCPT TO:<c@example.net>\r\n"
			      "DATA\r\nSubject: one\r\n\r\nbody\r\n.\r\n"
			      "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\n"
			      "BDAT 10\r\n12345678\r\nBDAT 4 LAST\r\nab\r\n"
			      "QUIT\r\n";

static const struct pn_smtp_server_settings settings = {
	.hostname = "mx.example.org",
	.limits = { .command_line_max_bytes = 4096,
		    .auth_line_max_bytes = 12288,
		    .text_line_max_bytes = 65536,
		    .recipients_max = 100,
		    .message_size_max_bytes = 1 << 20,
		    .header_size_max_bytes = 65536,
		    .received_max = 50,
		    .bad_commands_max = 50,
		    .auth_failures_max = 3,
		    .transaction_memory_max_bytes = 65536 },
	.has_smtputf8 = true,
	.has_chunking = true,
	.has_dsn = true,
	.auth_mechanisms = "PLAIN",
};

static struct pn_smtp_verdict verdict_for(const struct pn_smtp_event *ev)
{
	struct pn_smtp_verdict v = { 0 };

	switch (ev->type) {
	case PN_SMTP_EV_AUTH: v.reply = PN_REPLY_AUTH_CHALLENGE; break;
	case PN_SMTP_EV_AUTH_RESPONSE:
		v.reply = PN_REPLY_AUTH_OK;
		v.challenge = PN_SLICE_LIT("alice");
		break;
	case PN_SMTP_EV_MAIL: v.reply = PN_REPLY_OK_MAIL; break;
	case PN_SMTP_EV_RCPT: v.reply = PN_REPLY_OK_RCPT; break;
	case PN_SMTP_EV_DATA_BEGIN: v.reply = PN_REPLY_OK_DATA_GO; break;
	case PN_SMTP_EV_DATA_END: v.reply = PN_REPLY_OK_QUEUED; break;
	case PN_SMTP_EV_STARTTLS:
	case PN_SMTP_EV_AUTH_CANCEL:
	case PN_SMTP_EV_CONTENT:
	case PN_SMTP_EV_DATA_ABORT:
	case PN_SMTP_EV_RESET: break;
	}
	return v;
}

/* Feeds the session octet by octet (so that lines are buffered). Returns the number of messages committed. */
static unsigned play(struct pn_buf *out)
{
	struct pn_smtp_server s;
	unsigned messages = 0;
	bool is_closed = false;

	pn_smtp_server_init(&s, &settings, true);
	for (size_t i = 0; i < sizeof(session) - 1 && !is_closed; i++) {
		struct pn_slice in = pn_slice(session + i, 1);
		struct pn_smtp_event ev;
		enum pn_smtp_status status;
		while ((status = pn_smtp_server_step(&s, &in, &ev, out)) == PN_SMTP_EVENT) {
			struct pn_smtp_verdict v = verdict_for(&ev);
			if (ev.type == PN_SMTP_EV_DATA_END) {
				assert_non_null(pn_smtp_server_content_facts(&s));
				messages++;
			}
			if (ev.needs_verdict)
				assert_true(pn_smtp_server_resolve(&s, ev.token, &v, out));
		}
		assert_int_not_equal(status, PN_SMTP_WAIT);
		is_closed = status == PN_SMTP_CLOSE;
	}
	pn_smtp_server_deinit(&s);
	return messages;
}

static void test_every_allocation_may_fail(void **state PN_UNUSED)
{
	unsigned messages = 0, runs = 0;

	do {
		struct pn_buf out;
		/* the output buffer is the owner's: its memory is there before */
		pn_buf_init(&out, 65536);
		assert_int_equal(pn_buf_reserve(&out, 32768), 0);
		failures = 0;
		fail_in = ++runs;
		messages = play(&out);
		fail_in = 0;
		assert_true(pn_buf_len(&out) > 0);
		assert_memory_equal(pn_buf_ptr(&out) + pn_buf_len(&out) - 2, "\r\n", 2);
		pn_buf_free(&out);
		assert_true(runs < 1000);
	} while (failures > 0);
	assert_int_equal(messages, 2);
	assert_true(runs > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_every_allocation_may_fail) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
