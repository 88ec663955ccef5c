/* SPDX-License-Identifier: ISC */
/*
 * Received in all its forms, and the planned edits: applied, they add and remove what they should
 * and leave every other octet.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include <postern/base/prng.h>
#include <postern/smtp/content.h>

#define ID_TEXT   "aaaaaaaaaaaaaaaaaaaaaaaaaa" /* sixteen zero octets */
#define DATE_TEXT "Mon, 23 Nov 2026 15:45:00 +0000"
#define WALL_MS   1795448700000u

struct fixture {
	struct pn_arena arena;
	struct pn_envelope envelope;
	struct pn_trace trace;
	struct pn_content_scan scan;
	struct pn_edit_list edits;
};

static void fixture_init(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	pn_arena_init(&f->arena, 1024, 1 << 20);
	f->envelope.received_wall_ms = WALL_MS;
	f->envelope.user = PN_SLICE_LIT("demo");
	f->envelope.helo = PN_SLICE_LIT("helo.example");
	f->envelope.client_address = PN_SLICE_LIT("192.0.2.1");
	f->envelope.tls_suite = PN_SLICE_LIT("TLS_AES_128_GCM_SHA256");
	f->envelope.tls_version = 0x0304;
	f->trace = (struct pn_trace){ .hostname = "mx.example",
				      .envelope = &f->envelope,
				      .tls_group = "x25519",
				      .has_client_address = true,
				      .is_ehlo = true };
}

static void plan(struct fixture *f, struct pn_slice content)
{
	pn_content_scan_init(&f->scan, 0, 0, 0);
	pn_content_scan_feed(&f->scan, content);
	pn_content_scan_end(&f->scan);
	assert_int_equal(pn_content_plan_edits(&f->scan, &f->trace, &f->arena, &f->edits), 0);
}

/* Returns the edited message in the arena. */
static struct pn_slice apply(struct fixture *f, struct pn_slice content)
{
	uint64_t size = pn_edit_result_size(&f->edits, content.len), at = 0;
	uint8_t *out = pn_arena_alloc(&f->arena, size + 1);
	size_t len = 0;

	assert_non_null(out);
	for (const struct pn_edit *e = f->edits.first; e; e = e->next) {
		assert_true(e->at >= at && e->at + e->delete_len <= content.len);
		if (e->at != at)
			memcpy(out + len, content.ptr + at, e->at - at);
		len += e->at - at;
		if (e->insert.len != 0)
			memcpy(out + len, e->insert.ptr, e->insert.len);
		len += e->insert.len;
		at = e->at + e->delete_len;
	}
	if (at != content.len)
		memcpy(out + len, content.ptr + at, content.len - at);
	len += content.len - at;
	assert_int_equal(len, size);
	out[len] = 0;
	return pn_slice(out, len);
}

static const char *received(struct fixture *f)
{
	plan(f, PN_SLICE_LIT("Date: a\r\nMessage-ID: b\r\n\r\n"));
	assert_int_equal(f->edits.count, 1);
	assert_int_equal(f->edits.first->at, 0);
	assert_int_equal(f->edits.first->delete_len, 0);
	return (const char *)f->edits.first->insert.ptr; /* pn_arena_dup adds a NUL */
}

/* RFC 5321 4.4, RFC 8314 4.3 */
static void test_received_has_the_clauses_in_order(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	assert_string_equal(received(&f),
			    "Received: from helo.example ([192.0.2.1])\r\n\tby mx.example with "
			    "ESMTPSA id " ID_TEXT
			    "\r\n\ttls TLS_AES_128_GCM_SHA256 group x25519;\r\n\t" DATE_TEXT
			    "\r\n");
	f.trace.tls_group = "";
	f.envelope.client_address = PN_SLICE_LIT("2001:db8::1");
	f.envelope.is_smtputf8 = true;
	assert_string_equal(received(&f),
			    "Received: from helo.example ([IPv6:2001:db8::1])\r\n\tby mx.example "
			    "with UTF8SMTPSA id " ID_TEXT
			    "\r\n\ttls TLS_AES_128_GCM_SHA256;\r\n\t" DATE_TEXT "\r\n");
	f.envelope.tls_suite = PN_SLICE_NULL;
	f.envelope.tls_version = 0;
	f.envelope.client_address = PN_SLICE_LIT("::ffff:192.0.2.9");
	f.envelope.is_smtputf8 = false;
	assert_string_equal(received(&f),
			    "Received: from helo.example ([192.0.2.9])\r\n\tby mx.example with "
			    "ESMTPA id " ID_TEXT ";\r\n\t" DATE_TEXT "\r\n");
	f.trace.has_client_address = false;
	f.trace.is_ehlo = false;
	assert_string_equal(received(&f),
			    "Received: from helo.example\r\n\tby mx.example with SMTP id " ID_TEXT
			    ";\r\n\t" DATE_TEXT "\r\n");
	pn_arena_reset(&f.arena);
}

struct from_case {
	const char *helo, *address; /* address NULL: received_client_address = no */
	const char *want;
};

static void test_from_clause_is_always_legal(void **state)
{
	static const struct from_case cases[] = {
		{ "my_pc", "192.0.2.1", "from my-pc ([192.0.2.1])" },
		{ "evil)\r\nX: y", "192.0.2.1", "from evil---X--y ([192.0.2.1])" },
		{ "-x", "192.0.2.1", "from unknown ([192.0.2.1])" },
		{ "", "192.0.2.1", "from unknown ([192.0.2.1])" },
		{ "a..b", "192.0.2.1", "from unknown ([192.0.2.1])" },
		{ "a.b.", "192.0.2.1", "from unknown ([192.0.2.1])" },
		{ "m\xc3\xbcller.example", "192.0.2.1", "from m--ller.example ([192.0.2.1])" },
		{ "[192.168.1.5]", "192.0.2.1", "from [192.168.1.5] ([192.0.2.1])" },
		{ "[IPv6:fe80::1]", "192.0.2.1", "from [IPv6:fe80::1] ([192.0.2.1])" },
		{ "[192.168.1.5)]", "192.0.2.1", "from unknown ([192.0.2.1])" },
		/*
		 * RFC 5321 4.4: a literal needs TCP-info, and would tell the address that is to be
		 * hidden
		 */
		{ "[192.168.1.5]", NULL, "from unknown" },
		{ "host.example", NULL, "from host.example" },
		{ "host.example", "", "from host.example" },
		{ "host.example", "1.2.3.4)\r\n", "from host.example" },
	};
	struct fixture f;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
		const char *text;
		size_t n = strlen(cases[i].want);

		fixture_init(&f);
		f.envelope.helo = pn_slice_str(cases[i].helo);
		f.trace.has_client_address = cases[i].address != NULL;
		f.envelope.client_address = pn_slice_str(cases[i].address);
		text = received(&f) + strlen("Received: ");
		assert_memory_equal(text, cases[i].want, n);
		assert_memory_equal(text + n, "\r\n\tby ", 6);
		pn_arena_reset(&f.arena);
	}
}

static void test_long_names_are_folded_and_bounded(void **state)
{
	char helo[300], host[256], group[100];
	struct fixture f;
	const char *text, *line;

	(void)state;
	memset(helo, 'h', sizeof(helo) - 1);
	memset(host, 'm', sizeof(host) - 1);
	memset(group, 'g', sizeof(group) - 1);
	helo[sizeof(helo) - 1] = host[sizeof(host) - 1] = group[sizeof(group) - 1] = 0;
	fixture_init(&f);
	f.envelope.helo = pn_slice_str(helo);
	f.envelope.client_address = PN_SLICE_LIT("2001:0db8:0000:0000:0000:0000:192.168.111.222");
	f.trace.hostname = host;
	f.trace.tls_group = group; /* too long for a name: left out */
	text = received(&f);
	assert_null(strstr(text, "group"));
	assert_non_null(strstr(text, "\r\n\twith ESMTPSA id " ID_TEXT "\r\n\ttls "));
	for (line = text; *line; line = strstr(line, "\r\n") + 2) {
		size_t len = (size_t)(strstr(line, "\r\n") - line);

		assert_true(len <= 998);
		if (len > 78) /* only what cannot be folded */
			assert_null(memchr(line + 6, ' ', len - 6));
		assert_true(line == text || line[0] == '\t');
	}
	pn_arena_reset(&f.arena);
}

struct edit_case {
	const char *content;
	const char *want; /* behind the Received field */
};

static const struct edit_case edit_cases[] = {
	{ "Date: a\r\nMessage-ID: b\r\n\r\nx\r\n", "Date: a\r\nMessage-ID: b\r\n\r\nx\r\n" },
	{ "To: a\r\n\r\nx\r\n",
	  "To: a\r\nDate: " DATE_TEXT "\r\nMessage-ID: <" ID_TEXT "@mx.example>\r\n\r\nx\r\n" },
	{ "Date: a\r\n\r\n", "Date: a\r\nMessage-ID: <" ID_TEXT "@mx.example>\r\n\r\n" },
	{ "Bcc: c\r\nDate: a\r\nbcc: d,\r\n\te\r\nMessage-ID: b\r\nBcc:\r\n\r\nBcc: x\r\n",
	  "Date: a\r\nMessage-ID: b\r\n\r\nBcc: x\r\n" },
	{ "Message-ID: b\r\nBcc: c\r\n\r\nx", "Message-ID: b\r\nDate: " DATE_TEXT "\r\n\r\nx" },
	/* no header at all, or one that ends without an empty line */
	{ "hello\r\nworld\r\n",
	  "Date: " DATE_TEXT "\r\nMessage-ID: <" ID_TEXT "@mx.example>\r\n\r\nhello\r\nworld\r\n" },
	{ "", "Date: " DATE_TEXT "\r\nMessage-ID: <" ID_TEXT "@mx.example>\r\n\r\n" },
	{ "Date: a\r\nhello\r\n",
	  "Date: a\r\nMessage-ID: <" ID_TEXT "@mx.example>\r\n\r\nhello\r\n" },
	{ "Date: a\r\nMessage-ID: b\r\nhello\r\n", "Date: a\r\nMessage-ID: b\r\nhello\r\n" },
	/* header only; cut off by the end of a BDAT message */
	{ "Date: a\r\n", "Date: a\r\nMessage-ID: <" ID_TEXT "@mx.example>\r\n" },
	{ "Date: a", "Date: a\r\nMessage-ID: <" ID_TEXT "@mx.example>\r\n" },
	{ "Date: a\r\nBcc: x", "Date: a\r\nMessage-ID: <" ID_TEXT "@mx.example>\r\n" },
	{ "Bcc: x", "Date: " DATE_TEXT "\r\nMessage-ID: <" ID_TEXT "@mx.example>\r\n" },
	{ "Date: a\r\nMessage-ID: b", "Date: a\r\nMessage-ID: b" },
};

static void test_edits_add_what_is_missing_and_remove_bcc(void **state)
{
	struct fixture f;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(edit_cases); i++) {
		struct pn_slice content = pn_slice_str(edit_cases[i].content);
		const char *text;
		size_t trace_len;

		fixture_init(&f);
		trace_len = strlen(received(&f));
		plan(&f, content);
		text = (const char *)apply(&f, content).ptr;
		assert_memory_equal(text, "Received: from ", 15);
		assert_string_equal(text + trace_len, edit_cases[i].want);
		pn_arena_reset(&f.arena);
	}
}

/* ---- random messages ---- */

struct text {
	char octets[4096];
	size_t len;
};

static void add(struct text *t, const char *s, size_t len)
{
	memcpy(t->octets + t->len, s, len);
	t->len += len;
}

static void make_message(struct text *t, struct pn_prng *prng)
{
	static const char *const lines[] = {
		"Date: a\r\n",
		"Message-ID: b\r\n",
		"Bcc: c\r\n",
		"bcc : d\r\n",
		" folded\r\n",
		"\tfolded: too\r\n",
		"Resent-Bcc: e,\r\n",
		"To: f\r\n",
		"Subject: Bcc: no\r\n",
		"no field\r\n",
		"\r\n",
		"X: \xe4\r\n",
		".dot\r\n",
	};
	size_t count = pn_prng_below(prng, 12);

	t->len = 0;
	for (size_t i = 0; i < count; i++) {
		const char *line = lines[pn_prng_below(prng, PN_ARRAY_SIZE(lines))];

		add(t, line, strlen(line));
	}
	if (t->len != 0 && pn_prng_below(prng, 8) == 0)
		t->len -= 2; /* a BDAT message without a final CRLF */
}

/* The original without its Bcc lines, read line by line; *ret_header is where its header ends. */
static void without_bcc(const struct text *in, struct text *out, size_t *ret_header)
{
	bool is_header = true, is_bcc = false;

	out->len = 0;
	for (size_t at = 0; at < in->len;) {
		const char *line = in->octets + at, *lf = memchr(line, '\n', in->len - at);
		size_t n = lf ? (size_t)(lf - line) + 1 : in->len - at;
		struct pn_slice s = pn_slice(line, n);

		if (is_header && !(at != 0 && (line[0] == ' ' || line[0] == '\t'))) {
			is_header =
				memchr(line, ':', n) != NULL && line[0] != ' ' && line[0] != '\t';
			is_bcc = is_header &&
				 (pn_slice_starts_nocase(s, PN_SLICE_LIT("bcc:")) ||
				  pn_slice_starts_nocase(s, PN_SLICE_LIT("bcc :")) ||
				  pn_slice_starts_nocase(s, PN_SLICE_LIT("resent-bcc:")));
			if (!is_header)
				*ret_header = out->len;
		}
		if (!is_header || !is_bcc)
			add(out, line, n);
		at += n;
	}
	if (is_header)
		*ret_header = out->len;
}

/*
 * The octets that the edits keep are exactly the original without Bcc; what is inserted stands in
 * two places only.
 */
static void test_edits_keep_every_other_octet(void **state)
{
	struct pn_prng prng;
	struct fixture f;
	struct text in, want;

	(void)state;
	pn_prng_init(&prng, 6409);
	for (int round = 0; round < 20000; round++) {
		size_t header = 0, added, top;
		struct pn_slice content, got;

		make_message(&in, &prng);
		without_bcc(&in, &want, &header);
		fixture_init(&f);
		content = pn_slice(in.octets, in.len);
		plan(&f, content);
		got = apply(&f, content);
		top = f.edits.first->insert.len;
		assert_true(got.len >= top + want.len);
		added = got.len - top - want.len;
		assert_memory_equal(got.ptr + top, want.octets, header);
		assert_memory_equal(got.ptr + top + header + added, want.octets + header,
				    want.len - header);
		assert_int_equal(added != 0, !f.scan.has_date || !f.scan.has_message_id);
		/* And the result, read again, lacks nothing and betrays nothing. */
		pn_content_scan_init(&f.scan, 0, 0, 0);
		pn_content_scan_feed(&f.scan, got);
		pn_content_scan_end(&f.scan);
		assert_true(f.scan.has_date && f.scan.has_message_id);
		assert_int_equal(f.scan.bcc_count, 0);
		assert_true(f.scan.facts.received_count == 1);
		pn_arena_reset(&f.arena);
	}
}

static void test_plan_says_when_memory_is_short(void **state)
{
	struct fixture f;
	int rc = -1;

	(void)state;
	fixture_init(&f);
	pn_content_scan_init(&f.scan, 0, 0, 0);
	pn_content_scan_feed(&f.scan, PN_SLICE_LIT("Bcc: a\r\nTo: b\r\nBcc: c\r\n\r\n"));
	pn_content_scan_end(&f.scan);
	for (size_t max = 0; rc != 0; max += 64) {
		assert_true(max < 1 << 14);
		pn_arena_reset(&f.arena);
		pn_arena_init(&f.arena, 64, max);
		rc = pn_content_plan_edits(&f.scan, &f.trace, &f.arena, &f.edits);
		assert_true(rc == 0 || max < 8192);
	}
	assert_int_equal(f.edits.count, 4);
	pn_arena_reset(&f.arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_received_has_the_clauses_in_order),
		cmocka_unit_test(test_from_clause_is_always_legal),
		cmocka_unit_test(test_long_names_are_folded_and_bounded),
		cmocka_unit_test(test_edits_add_what_is_missing_and_remove_bcc),
		cmocka_unit_test(test_edits_keep_every_other_octet),
		cmocka_unit_test(test_plan_says_when_memory_is_short),
	};

	/* Dates are written in the local zone; the expectations want one zone. */
	setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
