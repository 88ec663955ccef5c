/* SPDX-License-Identifier: ISC */
/* test_address.c - paths and mailboxes; what transcripts cannot show: the parts, and what is left of the input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <postern/smtp/address.h>

static const struct path_case {
	const char *in;
	enum pn_path_kind kind;
	enum pn_path_error error;
	const char *local, *domain, *rest;
	bool is_literal, has_8bit, has_route;
} path_cases[] = {
	{ .in = "<>", .local = "", .domain = "", .rest = "" },
	{ .in = "<> SIZE=1", .local = "", .domain = "", .rest = " SIZE=1" },
	{ .in = "<>", .kind = PN_PATH_FORWARD, .error = PN_PATH_SYNTAX },
	{ .in = "<Postmaster>", .kind = PN_PATH_FORWARD, .local = "Postmaster", .domain = "", .rest = "" },
	{ .in = "<Postmaster>", .error = PN_PATH_SYNTAX },
	{ .in = "<a@b.example>x", .local = "a", .domain = "b.example", .rest = "x" },
	{ .in = "<A.b.C@B.Example>", .local = "A.b.C", .domain = "B.Example", .rest = "" },
	{ .in = "<\"a b\"@b.example>", .local = "\"a b\"", .domain = "b.example", .rest = "" },
	{ .in = "<\"a>b\"@b.example>", .local = "\"a>b\"", .domain = "b.example", .rest = "" },
	{ .in = "<a@[192.0.2.1]>", .local = "a", .domain = "[192.0.2.1]", .rest = "", .is_literal = true },
	{ .in = "<@r.example:a@b.example>",
	  .local = "a",
	  .domain = "b.example",
	  .rest = "",
	  .has_route = true },
	{ .in = "<@r,@s:a@b.example>", .local = "a", .domain = "b.example", .rest = "", .has_route = true },
	{ .in = "<\xc3\xbc@b.example>",
	  .local = "\xc3\xbc",
	  .domain = "b.example",
	  .rest = "",
	  .has_8bit = true },
	{ .in = "<a@\xc3\xbc.example>",
	  .local = "a",
	  .domain = "\xc3\xbc.example",
	  .rest = "",
	  .has_8bit = true },
	{ .in = "<a@b>", .error = PN_PATH_NOT_QUALIFIED },
	{ .in = "<a@b", .error = PN_PATH_SYNTAX },
	{ .in = "<a@b.1>", .error = PN_PATH_NOT_QUALIFIED },
	{ .in = "<a@b.1a>", .local = "a", .domain = "b.1a", .rest = "" },
	{ .in = "", .error = PN_PATH_SYNTAX },
	{ .in = "<", .error = PN_PATH_SYNTAX },
	{ .in = "<@", .error = PN_PATH_SYNTAX },
	{ .in = "<\"", .error = PN_PATH_SYNTAX },
	{ .in = "<\"\\", .error = PN_PATH_SYNTAX },
	{ .in = "<\"\\\xc3\xbc\"@b.example>", .error = PN_PATH_SYNTAX },
	{ .in = "<a@[", .error = PN_PATH_SYNTAX },
	{ .in = "<a@b.example\xc3>", .error = PN_PATH_SYNTAX },
};

static void test_paths(void **state PN_UNUSED)
{
	for (size_t i = 0; i < PN_ARRAY_SIZE(path_cases); i++) {
		const struct path_case *c = &path_cases[i];
		struct pn_slice in = pn_slice_str(c->in);
		struct pn_path p;
		print_message("%s\n", c->in);
		assert_int_equal(pn_path_parse(&in, c->kind, &p), c->error);
		if (c->error != PN_PATH_OK) {
			assert_int_equal(in.len, strlen(c->in));
			continue;
		}
		assert_true(pn_slice_eq(p.local, pn_slice_str(c->local)));
		assert_true(pn_slice_eq(p.domain, pn_slice_str(c->domain)));
		assert_true(pn_slice_eq(in, pn_slice_str(c->rest)));
		assert_int_equal(p.is_literal, c->is_literal);
		assert_int_equal(p.has_8bit, c->has_8bit);
		assert_int_equal(p.has_source_route, c->has_route);
		assert_int_equal(p.address.len, p.local.len + p.domain.len + (p.domain.len ? 1 : 0));
	}
}

/* An address cut short anywhere is never taken, and never read beyond its end (ASan watches). */
static void test_paths_cut_short_are_refused(void **state PN_UNUSED)
{
	static const char whole[] = "<@r.example,@s.example:\"q \\\" q\".x@[IPv6:2001:db8::1]>";
	static const char good[] = "<@r.example,@s.example:\"q \\\" q\"@[IPv6:2001:db8::1]>";
	struct pn_path p;
	struct pn_slice in = pn_slice_str(whole);

	assert_int_equal(pn_path_parse(&in, PN_PATH_FORWARD, &p), PN_PATH_SYNTAX);
	in = pn_slice_str(good);
	assert_int_equal(pn_path_parse(&in, PN_PATH_FORWARD, &p), PN_PATH_OK);
	for (size_t len = 0; len < sizeof(good) - 1; len++) {
		char *copy = test_malloc(len + 1);
		memcpy(copy, good, len);
		in = pn_slice(copy, len);
		assert_int_equal(pn_path_parse(&in, PN_PATH_FORWARD, &p), PN_PATH_SYNTAX);
		test_free(copy);
	}
}

/* RFC 5321 4.5.3.1.1 to .3: exactly the limits pass, one octet more does not. */
static void test_sizes(void **state PN_UNUSED)
{
	char text[600];
	struct pn_path p;

	for (size_t extra = 0; extra < 2; extra++) {
		memset(text, 'l', 64 + extra);
		memcpy(text + 64 + extra, "@b.example", 10);
		assert_int_equal(pn_mailbox_parse(pn_slice(text, 74 + extra), &p),
				 extra ? PN_PATH_TOO_LONG : PN_PATH_OK);
	}
	/* local@domain with <> is 256: 1 + "@" + 252 octets of domain */
	for (size_t extra = 0; extra < 2; extra++) {
		size_t len = 2;
		memcpy(text, "a@", 2);
		while (len + 62 < 254 + extra) {
			memset(text + len, 'd', 61);
			text[len + 61] = '.';
			len += 62;
		}
		memset(text + len, 'e', 254 + extra - len);
		assert_int_equal(pn_mailbox_parse(pn_slice(text, 254 + extra), &p),
				 extra ? PN_PATH_TOO_LONG : PN_PATH_OK);
	}
}

static void test_mailboxes_have_no_rest(void **state PN_UNUSED)
{
	struct pn_path p;

	assert_int_equal(pn_mailbox_parse(PN_SLICE_LIT("a@b.example"), &p), PN_PATH_OK);
	assert_int_equal(pn_mailbox_parse(PN_SLICE_LIT("a@b.example>"), &p), PN_PATH_SYNTAX);
	assert_int_equal(pn_mailbox_parse(PN_SLICE_LIT("a@b x"), &p), PN_PATH_SYNTAX);
	assert_int_equal(pn_mailbox_parse(PN_SLICE_LIT("postmaster"), &p), PN_PATH_SYNTAX);
	assert_int_equal(pn_mailbox_parse(PN_SLICE_LIT(""), &p), PN_PATH_SYNTAX);
	assert_int_equal(pn_mailbox_parse(PN_SLICE_NULL, &p), PN_PATH_SYNTAX);
	assert_int_equal(pn_mailbox_parse(PN_SLICE_LIT("a@b"), &p), PN_PATH_NOT_QUALIFIED);
}

static void test_address_literals(void **state PN_UNUSED)
{
	static const char *const good[] = {
		"[192.0.2.1]", "[0.0.0.0]",          "[255.255.255.255]",       "[001.2.3.4]",
		"[IPv6:::1]",  "[ipv6:2001:db8::1]", "[IPv6:::ffff:192.0.2.1]", "[tag:content]",
		"[a-b:!]"
	};
	static const char *const bad[] = { "",
					   "[",
					   "[]",
					   "[1]",
					   "[1.2.3]",
					   "[1.2.3.4",
					   "1.2.3.4]",
					   "[1.2.3.4.]",
					   "[.1.2.3.4]",
					   "[1..2.3]",
					   "[1.2.3.256]",
					   "[1.2.3.0004]",
					   "[IPv6:]",
					   "[IPv6:1]",
					   "[IPv6:g::]",
					   "[IPv6:1:2:3:4:5:6:7:8:9]",
					   "[:x]",
					   "[tag:]",
					   "[tag-:x]",
					   "[tag: ]",
					   "[t g:x]",
					   "[tag:\\]",
					   "[IPv6:11111111111111111111111111111111111111111111111111]" };

	for (size_t i = 0; i < PN_ARRAY_SIZE(good); i++)
		assert_true(pn_address_literal_is_valid(pn_slice_str(good[i])));
	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++)
		assert_false(pn_address_literal_is_valid(pn_slice_str(bad[i])));
	assert_false(pn_address_literal_is_valid(pn_slice("[IPv6:::1\0]", 11)));
}

static void test_helo_names(void **state PN_UNUSED)
{
	char name[256];

	memset(name, 'a', sizeof(name));
	assert_true(pn_helo_name_is_valid(pn_slice(name, 255)));
	assert_false(pn_helo_name_is_valid(pn_slice(name, 256)));
	assert_true(pn_helo_name_is_valid(PN_SLICE_LIT("my_host-1.example")));
	assert_true(pn_helo_name_is_valid(PN_SLICE_LIT("[IPv6:::1]")));
	assert_false(pn_helo_name_is_valid(PN_SLICE_LIT("")));
	assert_false(pn_helo_name_is_valid(PN_SLICE_LIT("a;b")));
	assert_false(pn_helo_name_is_valid(PN_SLICE_LIT("a(b)")));
	assert_false(pn_helo_name_is_valid(pn_slice("a\0b", 3)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_paths_cut_short_are_refused),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_mailboxes_have_no_rest),
		cmocka_unit_test(test_address_literals),
		cmocka_unit_test(test_helo_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
