/* SPDX-License-Identifier: ISC */
/*
 * The SMTP client where it meets limits and hostile servers: malformed replies, injection, full
 * buffers, long lists; and the dot-stuffing.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <postern/base/prng.h>
#include <postern/smtp/client.h>

struct fixture {
	struct pn_smtp_client_settings settings;
	struct pn_smtp_client *client;
	struct pn_envelope envelope;
	struct pn_recipient recipient;
	const struct pn_recipient *recipients[1];
	struct pn_smtp_rcpt_result results[1];
	struct pn_smtp_transaction t;
	struct pn_arena arena;
	struct pn_buf out;
	enum pn_smtp_client_event event;
};

static void fixture_init(struct fixture *f, size_t out_max)
{
	*f = (struct fixture){ .settings = { .helo_name = "me" },
			       .envelope = { .reverse_path = PN_SLICE_LIT("s@x") },
			       .recipient = { .address = PN_SLICE_LIT("r@y") } };
	f->client = pn_smtp_client_new(&f->settings, false);
	assert_non_null(f->client);
	f->recipients[0] = &f->recipient;
	f->t = (struct pn_smtp_transaction){ .envelope = &f->envelope,
					     .recipients = f->recipients,
					     .recipient_count = 1,
					     .results = f->results,
					     .arena = &f->arena };
	pn_arena_init(&f->arena, 1024, 1 << 16);
	pn_buf_init(&f->out, out_max);
}

static void fixture_deinit(struct fixture *f)
{
	pn_smtp_client_free(f->client);
	pn_arena_reset(&f->arena);
	pn_buf_free(&f->out);
}

/* Feeds `len` octets in pieces of `step`; returns whether an event came (in f->event). */
static bool feed(struct fixture *f, const char *octets, size_t len, size_t step)
{
	bool has_event = false;

	for (size_t at = 0; at < len && !has_event;) {
		struct pn_slice in = pn_slice(octets + at, pn_min_size(step, len - at));
		size_t n = in.len;

		has_event =
			pn_smtp_client_step(f->client, &in, &f->event, &f->out) == PN_CLIENT_EVENT;
		at += n - in.len;
	}
	return has_event;
}

static void assert_event(struct fixture *f, const char *octets, enum pn_smtp_client_event want)
{
	assert_true(feed(f, octets, strlen(octets), SIZE_MAX));
	assert_int_equal(f->event, want);
}

static void assert_event_now(struct fixture *f, enum pn_smtp_client_event want)
{
	struct pn_slice in = PN_SLICE_NULL;

	assert_int_equal(pn_smtp_client_step(f->client, &in, &f->event, &f->out), PN_CLIENT_EVENT);
	assert_int_equal(f->event, want);
}

static void become_ready(struct fixture *f, const char *capabilities)
{
	assert_false(feed(f, "220 up\r\n", 8, 1));
	assert_event(f, capabilities, PN_CLIENT_EV_READY);
	pn_buf_clear(&f->out);
}

/* RFC 5321 4.2: each of these, as a greeting, ends the session. */
static void test_malformed_replies_end_the_session(void **state)
{
	static const char *const greetings[] = {
		"\r\n",
		"\n",
		"22\r\n",
		"2 0 up\r\n",
		"hello\r\n",
		"120 up\r\n",
		"620 up\r\n",
		"220_up\r\n",
		"2200 up\r\n",
		"220-a\r\n221 b\r\n",
		"220-a\r\n\r\n",
		"\0\0\0\r\n",
		"SSH-2.0-OpenSSH\r\n",
	};

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(greetings); i++) {
		for (size_t step = 1; step < 4; step++) {
			struct fixture f;

			fixture_init(&f, 1 << 16);
			assert_true(feed(&f, greetings[i],
					 greetings[i][0] ? strlen(greetings[i]) : 5, step));
			assert_int_equal(f.event, PN_CLIENT_EV_FAILED);
			assert_int_equal(pn_smtp_client_failure(f.client)->code, 0);
			assert_int_equal(pn_smtp_client_stage(f.client), PN_STAGE_GREETING);
			assert_false(feed(&f, "220 up\r\n", 8,
					  step)); /* said once; nothing matters now */
			assert_int_equal(pn_buf_len(&f.out), 0);
			fixture_deinit(&f);
		}
	}
}

static void test_reply_lines_and_their_number_are_bounded(void **state)
{
	char line[5000];

	(void)state;
	memset(line, 'x', sizeof(line));
	memcpy(line, "220 ", 4);
	for (size_t step = 1; step <= 4096; step *= 16) {
		struct fixture f;

		/* 4096 octets with CRLF pass, one more does not, nor a line without an end */
		fixture_init(&f, 1 << 16);
		memcpy(line + 4094, "\r\n", 2);
		assert_false(feed(&f, line, 4096, step));
		assert_true(pn_buf_len(&f.out) != 0);
		fixture_deinit(&f);
		fixture_init(&f, 1 << 16);
		memcpy(line + 4094, "x\r\n", 3);
		assert_true(feed(&f, line, 4097, step));
		assert_int_equal(f.event, PN_CLIENT_EV_FAILED);
		fixture_deinit(&f);

		fixture_init(&f, 1 << 16);
		f.settings.reply_lines_max = 3;
		pn_smtp_client_free(f.client);
		f.client = pn_smtp_client_new(&f.settings, false);
		assert_false(feed(&f, "220-a\r\n220-b\r\n220 c\r\n", 21, step));
		assert_true(feed(&f, "250-a\r\n250-b\r\n250-c\r\n250 d\r\n", 28, step));
		assert_int_equal(f.event, PN_CLIENT_EV_FAILED);
		fixture_deinit(&f);
	}
}

struct text_case {
	const char *said;
	uint16_t code, enhanced[3];
	const char *text;
};

/* RFC 2034 4; and text is made harmless. */
static void test_reply_text_is_cleaned_and_enhanced_codes_taken_off(void **state)
{
	static const struct text_case cases[] = {
		{ "550 5.1.1 no such user\r\n", 550, { 5, 1, 1 }, "no such user" },
		{ "550-5.1.1 no such user\r\n550 5.1.1 here\r\n",
		  550,
		  { 5, 1, 1 },
		  "no such user here" },
		{ "550-first\r\n550-\r\n550\r\n", 550, { 0 }, "first" },
		{ "550 5.1.1\r\n", 550, { 5, 1, 1 }, "" },
		{ "550\r\n", 550, { 0 }, "" },
		{ "550 4.1.1 wrong class\r\n", 550, { 0 }, "4.1.1 wrong class" },
		{ "550 5.1 not one\r\n", 550, { 0 }, "5.1 not one" },
		{ "550 5.1.1234 nor this\r\n", 550, { 0 }, "5.1.1234 nor this" },
		{ "550 5.1.1x nor this\r\n", 550, { 0 }, "5.1.1x nor this" },
		{ "451 4.123.456 x\n", 451, { 4, 123, 456 }, "x" },
		{ "550 a\tb\x01\x7f\rc\r\n", 550, { 0 }, "a b???c" },
		{ "550 \xc3\xa4\xff\xc3 \xe2\x82\xac\xc2\x85\xf0\x9f\x98\x80\r\n",
		  550,
		  { 0 },
		  "\xc3\xa4?? \xe2\x82\xac??\xf0\x9f\x98\x80" },
	};

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
		for (size_t step = 1; step < 30; step += 7) {
			const struct pn_smtp_reply_info *got;
			struct fixture f;

			fixture_init(&f, 1 << 16);
			assert_true(feed(&f, cases[i].said, strlen(cases[i].said), step));
			assert_int_equal(f.event, PN_CLIENT_EV_FAILED);
			got = pn_smtp_client_failure(f.client);
			assert_int_equal(got->code, cases[i].code);
			assert_memory_equal(got->enhanced, cases[i].enhanced,
					    sizeof(got->enhanced));
			assert_true(pn_slice_eq(got->text, pn_slice_str(cases[i].text)));
			fixture_deinit(&f);
		}
	}
}

static void test_reply_text_is_cut_at_a_whole_character(void **state)
{
	char said[2000] = "554-";
	struct fixture f;
	size_t len = 4;

	(void)state;
	for (int i = 0; i < 511; i++)
		said[len++] = 'a';
	memcpy(said + len, "\xc3\xa4\r\n554 more\r\n", 15);
	fixture_init(&f, 1 << 16);
	assert_true(feed(&f, said, len + 14, SIZE_MAX));
	assert_int_equal(pn_smtp_client_failure(f.client)->text.len, 512);
	assert_int_equal(pn_smtp_client_failure(f.client)->text.ptr[511], ' ');
	fixture_deinit(&f);
}

/* RFC 3207 6, CVE-2011-0411: nothing said before TLS is taken for something said inside. */
static void test_octets_behind_the_220_of_starttls_end_the_session(void **state)
{
	static const char said[] = "220 go\r\n250 injected\r\n";

	(void)state;
	for (size_t step = 1; step < sizeof(said); step++) {
		struct fixture f;

		fixture_init(&f, 1 << 16);
		f.settings.tls = PN_CLIENT_TLS_REQUIRED;
		assert_false(feed(&f, "220 up\r\n250-h\r\n250 STARTTLS\r\n", 29, 1));
		assert_true(feed(&f, said, sizeof(said) - 1, step));
		if (f.event == PN_CLIENT_EV_STARTTLS)
			assert_true(feed(&f, said + 8, sizeof(said) - 9,
					 step)); /* they came in a read of their own */
		assert_int_equal(f.event, PN_CLIENT_EV_FAILED);
		fixture_deinit(&f);
	}
}

static void begin_body(struct fixture *f)
{
	become_ready(f, "250 h\r\n");
	assert_int_equal(pn_smtp_client_begin(f->client, &f->t, &f->out), 0);
	assert_event(f, "250 ok\r\n250 ok\r\n354 go\r\n", PN_CLIENT_EV_BODY);
	pn_buf_clear(&f->out);
}

/* RFC 5321 4.5.2 */
static void test_dot_stuffing_equals_an_octet_by_octet_one(void **state)
{
	static const char alphabet[] = "..a\r\n\n";
	struct pn_prng prng;

	(void)state;
	pn_prng_init(&prng, 452);
	for (int round = 0; round < 3000; round++) {
		char in[300], want[700];
		size_t len = pn_prng_below(&prng, sizeof(in)), n = 0, at = 0;
		uint64_t rarity = 1 + pn_prng_below(&prng, 12);
		struct fixture f;

		for (size_t i = 0; i < len; i++) {
			uint64_t pick = pn_prng_below(&prng, 6 * rarity);

			in[i] = pick < 6 ? alphabet[pick] : 'x';
			if (in[i] == '.' && (i == 0 || in[i - 1] == '\n'))
				want[n++] = '.';
			want[n++] = in[i];
		}
		if (len != 0 && in[len - 1] != '\n') {
			if (in[len - 1] != '\r')
				want[n++] = '\r';
			want[n++] = '\n';
		}
		memcpy(want + n, ".\r\n", 3);
		n += 3;
		fixture_init(&f, 1 << 16);
		begin_body(&f);
		while (at < len) {
			size_t piece = 1 + pn_prng_below(&prng, len - at);

			assert_int_equal(
				pn_smtp_client_body(f.client, pn_slice(in + at, piece), &f.out), 0);
			at += piece;
		}
		assert_int_equal(pn_smtp_client_body_end(f.client, &f.out), 0);
		assert_int_equal(pn_buf_len(&f.out), n);
		assert_memory_equal(pn_buf_ptr(&f.out), want, n);
		assert_true(pn_smtp_client_is_in_doubt(f.client));
		assert_event(&f, "250 ok\r\n", PN_CLIENT_EV_DONE);
		assert_false(pn_smtp_client_is_in_doubt(f.client));
		fixture_deinit(&f);
	}
}

static void test_full_output_takes_nothing_and_is_tried_again(void **state)
{
	char content[300], got[4096], want[4096] = "";
	size_t len = 0, full = 0, want_len = 0;
	struct fixture f;

	(void)state;
	for (size_t i = 0; i < sizeof(content); i += 3)
		memcpy(content + i, ".\r\n", 3);
	/* room for two stuffed pieces and one more as it is, but not stuffed: the third is taken back */
	fixture_init(&f, 1124);
	begin_body(&f);
	for (int piece = 0; piece < 6; piece++) {
		while (pn_smtp_client_body(f.client, pn_slice(content, sizeof(content)), &f.out) ==
		       -ENOBUFS) {
			full++;
			assert_true(pn_buf_len(&f.out) != 0);
			memcpy(got + len, pn_buf_ptr(&f.out), pn_buf_len(&f.out));
			len += pn_buf_len(&f.out);
			pn_buf_clear(&f.out);
		}
		for (size_t i = 0; i < sizeof(content); i += 3, want_len += 4)
			memcpy(want + want_len, "..\r\n", 4);
	}
	memcpy(got + len, pn_buf_ptr(&f.out), pn_buf_len(&f.out));
	len += pn_buf_len(&f.out);
	assert_true(full >= 2);
	assert_int_equal(len, want_len);
	assert_memory_equal(got, want, want_len);
	assert_int_equal(pn_buf_append(&f.out, got, 1122 - pn_buf_len(&f.out)), 0);
	assert_int_equal(pn_smtp_client_body_end(f.client, &f.out), -ENOBUFS);
	pn_buf_clear(&f.out);
	assert_int_equal(pn_smtp_client_body_end(f.client, &f.out), 0);
	assert_event(&f, "250 ok\r\n", PN_CLIENT_EV_DONE);
	fixture_deinit(&f);
}

static void begin_chunk(struct fixture *f, uint64_t size)
{
	f->settings.is_chunking_used = true;
	f->t.size_bytes = size;
	become_ready(f, "250-PIPELINING\r\n250-PIPELINING\r\n250 CHUNKING\r\n");
	assert_int_equal(pn_smtp_client_begin(f->client, &f->t, &f->out), 0);
	assert_event_now(f, PN_CLIENT_EV_BODY);
	pn_buf_clear(&f->out);
}

static void test_chunk_of_another_size_ends_the_session(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 1024);
	begin_chunk(&f, 3);
	assert_int_equal(pn_smtp_client_body(f.client, PN_SLICE_LIT("ab"), &f.out), 0);
	assert_int_equal(pn_smtp_client_body(f.client, PN_SLICE_LIT("cd"), &f.out), -EINVAL);
	assert_event_now(&f, PN_CLIENT_EV_FAILED);
	assert_int_equal(f.results[0].reply.code, 0);
	assert_false(pn_smtp_client_is_in_doubt(f.client));
	fixture_deinit(&f);

	fixture_init(&f, 1024);
	begin_chunk(&f, 3);
	assert_int_equal(pn_smtp_client_body(f.client, PN_SLICE_LIT("ab"), &f.out), 0);
	assert_int_equal(pn_smtp_client_body_end(f.client, &f.out), -EINVAL);
	assert_event_now(&f, PN_CLIENT_EV_FAILED);
	fixture_deinit(&f);

	/* no dot is doubled, and a missing line end stays missing */
	fixture_init(&f, 1024);
	begin_chunk(&f, 6);
	assert_int_equal(pn_smtp_client_body(f.client, PN_SLICE_LIT(".\r\n..a"), &f.out), 0);
	assert_int_equal(pn_smtp_client_body_end(f.client, &f.out), 0);
	assert_true(pn_slice_eq(pn_buf_slice(&f.out), PN_SLICE_LIT(".\r\n..a")));
	assert_event(&f, "250 ok\r\n250 ok\r\n250 2.0.0 ok\r\n", PN_CLIENT_EV_DONE);
	assert_int_equal(f.results[0].stage, PN_STAGE_BODY);
	fixture_deinit(&f);
}

#define MANY 3000

/* RFC 2920 3.1: a long list goes out in portions, so that `out` stays small. */
static void test_long_recipient_lists_need_little_output(void **state)
{
	static struct pn_recipient recipients[MANY];
	static const struct pn_recipient *list[MANY];
	static struct pn_smtp_rcpt_result results[MANY];
	static char addresses[MANY][32];
	size_t commands = 0, most = 0;
	struct fixture f;

	(void)state;
	fixture_init(&f, 16 * 1024);
	become_ready(&f, "250-h\r\n250 PIPELINING\r\n");
	for (size_t i = 0; i < MANY; i++) {
		int len = snprintf(addresses[i], sizeof(addresses[i]), "user%zu@example.org", i);

		recipients[i].address = pn_slice(addresses[i], (size_t)len);
		list[i] = &recipients[i];
	}
	f.t.recipients = list;
	f.t.results = results;
	f.t.recipient_count = MANY;
	assert_int_equal(pn_smtp_client_begin(f.client, &f.t, &f.out), 0);
	while (pn_buf_len(&f.out) != 0) {
		size_t lines = 0;

		most = pn_max_size(most, pn_buf_len(&f.out));
		for (size_t i = 0; i < pn_buf_len(&f.out); i++)
			lines += pn_buf_ptr(&f.out)[i] == '\n';
		pn_buf_clear(&f.out);
		for (size_t i = 0; i < lines; i++) {
			commands++;
			assert_false(commands < MANY + 2 && feed(&f, "250 ok\r\n", 8, 8));
		}
	}
	assert_int_equal(commands, MANY + 2);
	assert_true(most <= 13 * 1024);
	assert_event(&f, "354 go\r\n", PN_CLIENT_EV_BODY);
	assert_int_equal(pn_smtp_client_body_end(f.client, &f.out), 0);
	assert_event(&f, "250 done\r\n", PN_CLIENT_EV_DONE);
	for (size_t i = 0; i < MANY; i++)
		assert_true(results[i].stage == PN_STAGE_BODY && results[i].reply.code == 250 &&
			    results[i].reply.text.ptr == results[0].reply.text.ptr);
	fixture_deinit(&f);
}

static void test_no_room_for_a_command_ends_the_session(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 5);
	assert_event(&f, "220 up\r\n", PN_CLIENT_EV_FAILED);
	fixture_deinit(&f);

	fixture_init(&f, 12);
	f.settings.auth_user = f.settings.auth_password = "x";
	f.settings.auth_without_tls = true;
	assert_false(feed(&f, "220 up\r\n", 8, 8));
	pn_buf_clear(&f.out);
	assert_event(&f, "250-h\r\n250 AUTH PLAIN\r\n", PN_CLIENT_EV_FAILED);
	assert_int_equal(pn_buf_len(&f.out), 0);
	fixture_deinit(&f);

	fixture_init(&f, 16);
	become_ready(&f, "250 h\r\n");
	assert_int_equal(pn_smtp_client_begin(f.client, &f.t, &f.out), 0);
	assert_int_equal(pn_buf_len(&f.out), 0);
	assert_event_now(&f, PN_CLIENT_EV_FAILED);
	assert_int_equal(f.results[0].reply.code, 0);
	assert_true(f.results[0].reply.text.len != 0);
	fixture_deinit(&f);
}

static void test_capabilities_are_those_of_the_last_ehlo(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 1024);
	f.settings.tls = PN_CLIENT_TLS_REQUIRED;
	assert_false(feed(&f, "220 up\r\n250-PIPELINING\r\n250-DSN\r\n250 STARTTLS\r\n", 47, 1));
	assert_int_equal(pn_smtp_client_caps(f.client), PN_CAP_DSN | PN_CAP_STARTTLS);
	assert_event(&f, "220 go\r\n", PN_CLIENT_EV_STARTTLS);
	assert_int_equal(pn_smtp_client_stage(f.client), PN_STAGE_TLS);
	pn_smtp_client_tls_started(f.client, &f.out);
	assert_int_equal(pn_smtp_client_caps(f.client), 0);
	assert_event(
		&f,
		"250-h\r\n250-pipelining x\r\n250-SIZE\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
		"250-CHUNKING\r\n250-ENHANCEDSTATUSCODES\r\n250-AUTH LOGIN PLAIN\r\n250 SIZEX\r\n",
		PN_CLIENT_EV_READY);
	assert_int_equal(pn_smtp_client_caps(f.client),
			 PN_CAP_PIPELINING | PN_CAP_SIZE | PN_CAP_8BITMIME | PN_CAP_SMTPUTF8 |
				 PN_CAP_CHUNKING | PN_CAP_ENHANCEDSTATUSCODES | PN_CAP_AUTH_PLAIN |
				 PN_CAP_AUTH_LOGIN);
	fixture_deinit(&f);
	pn_smtp_client_free(NULL);
}

static void test_results_do_without_text_when_memory_is_short(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 1024);
	pn_arena_init(&f.arena, 64, 0);
	become_ready(&f, "250 h\r\n");
	assert_int_equal(pn_smtp_client_begin(f.client, &f.t, &f.out), 0);
	assert_event(&f, "550 5.7.1 a long story\r\n", PN_CLIENT_EV_DONE);
	assert_int_equal(f.results[0].reply.code, 550);
	assert_int_equal(f.results[0].reply.text.len, 0);
	fixture_deinit(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_malformed_replies_end_the_session),
		cmocka_unit_test(test_reply_lines_and_their_number_are_bounded),
		cmocka_unit_test(test_reply_text_is_cleaned_and_enhanced_codes_taken_off),
		cmocka_unit_test(test_reply_text_is_cut_at_a_whole_character),
		cmocka_unit_test(test_octets_behind_the_220_of_starttls_end_the_session),
		cmocka_unit_test(test_dot_stuffing_equals_an_octet_by_octet_one),
		cmocka_unit_test(test_full_output_takes_nothing_and_is_tried_again),
		cmocka_unit_test(test_chunk_of_another_size_ends_the_session),
		cmocka_unit_test(test_long_recipient_lists_need_little_output),
		cmocka_unit_test(test_no_room_for_a_command_ends_the_session),
		cmocka_unit_test(test_capabilities_are_those_of_the_last_ehlo),
		cmocka_unit_test(test_results_do_without_text_when_memory_is_short),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
