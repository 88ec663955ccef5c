/* SPDX-License-Identifier: ISC */
/* test_envelope.c - recipients in order, edits and their arithmetic, and arenas that are full. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <postern/smtp/envelope.h>

static void test_recipients_keep_their_order_and_are_copied(void **state PN_UNUSED)
{
	struct pn_envelope e = { 0 };
	struct pn_arena a;
	char text[8] = "a@b.c";

	pn_arena_init(&a, 1024, 65536);
	for (unsigned i = 0; i < 10; i++) {
		text[0] = (char)('a' + i);
		struct pn_recipient r = { .address = pn_slice_str(text),
					  .notify = i,
					  .orcpt = pn_slice_str("rfc822;x") };
		assert_int_equal(pn_envelope_add_recipient(&e, &a, &r), 0);
	}
	memset(text, '?', sizeof(text));
	unsigned n = 0;
	for (const struct pn_recipient *r = e.recipients; r; r = r->next, n++) {
		assert_int_equal(r->address.ptr[0], 'a' + n);
		assert_int_equal(r->notify, n);
		assert_true(pn_slice_eq(r->orcpt, PN_SLICE_LIT("rfc822;x")));
	}
	assert_int_equal(n, 10);
	assert_int_equal(e.recipient_count, 10);
	pn_arena_reset(&a);
}

static void test_recipients_end_with_the_arena(void **state PN_UNUSED)
{
	struct pn_envelope e = { 0 };
	struct pn_recipient r = { .address = PN_SLICE_LIT("someone@example.org"),
				  .orcpt = PN_SLICE_LIT("rfc822;someone") };
	struct pn_arena a;
	int result = 0;

	pn_arena_init(&a, 512, 2048);
	while (result == 0)
		result = pn_envelope_add_recipient(&e, &a, &r);
	assert_int_equal(result, -ENOMEM);
	unsigned n = 0;
	for (const struct pn_recipient *it = e.recipients; it; it = it->next)
		n++;
	assert_int_equal(n, e.recipient_count);
	assert_true(n > 0);
	pn_arena_reset(&a);
}

static void test_8bit_addresses_are_seen(void **state PN_UNUSED)
{
	struct pn_envelope e = { .reverse_path = PN_SLICE_LIT("a@b.c") };
	struct pn_recipient ascii = { .address = PN_SLICE_LIT("a@b.c") },
			    other = { .address = PN_SLICE_LIT("\xc3\xbc@b.c") };

	assert_false(pn_envelope_has_8bit_address(&e));
	pn_envelope_link_recipient(&e, &ascii);
	assert_false(pn_envelope_has_8bit_address(&e));
	pn_envelope_link_recipient(&e, &other);
	assert_true(pn_envelope_has_8bit_address(&e));
	e = (struct pn_envelope){ .reverse_path = PN_SLICE_LIT("\xc3\xbc@b.c") };
	assert_true(pn_envelope_has_8bit_address(&e));
}

static void test_edits_change_the_size(void **state PN_UNUSED)
{
	struct pn_edit_list l = { 0 };
	struct pn_arena a;

	pn_arena_init(&a, 1024, 65536);
	assert_int_equal(pn_edit_result_size(&l, 100), 100);
	assert_int_equal(pn_edit_insert(&l, &a, 0, PN_SLICE_LIT("Received\r\n")), 0);
	assert_int_equal(pn_edit_delete(&l, &a, 10, 20), 0);
	assert_int_equal(pn_edit_delete(&l, &a, 30, 5), 0);
	assert_int_equal(pn_edit_insert(&l, &a, 100, PN_SLICE_LIT("x")), 0);
	assert_int_equal(l.count, 4);
	assert_int_equal(pn_edit_result_size(&l, 100), 100 + 10 - 20 - 5 + 1);
	assert_true(pn_slice_eq(l.first->insert, PN_SLICE_LIT("Received\r\n")));
	assert_int_equal(l.last->at, 100);
	pn_arena_reset(&a);
}

static void test_edits_end_with_the_arena(void **state PN_UNUSED)
{
	struct pn_edit_list l = { 0 };
	struct pn_arena a;
	int result = 0;

	pn_arena_init(&a, 256, 512);
	while (result == 0)
		result = pn_edit_insert(&l, &a, l.count, PN_SLICE_LIT("0123456789"));
	assert_int_equal(result, -ENOMEM);
	unsigned n = 0;
	for (const struct pn_edit *e = l.first; e; e = e->next)
		n++;
	assert_int_equal(n, l.count);
	pn_arena_reset(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recipients_keep_their_order_and_are_copied),
		cmocka_unit_test(test_recipients_end_with_the_arena),
		cmocka_unit_test(test_8bit_addresses_are_seen),
		cmocka_unit_test(test_edits_change_the_size),
		cmocka_unit_test(test_edits_end_with_the_arena),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
