/* SPDX-License-Identifier: ISC */
/* test_record_plain.c - octets as they are behind the record interface. */
#include "tls_support.h"

static void test_plain_record(void **state)
{
	struct pn_record *r = pn_record_plain_new();
	uint8_t data[] = "EHLO x\r\n";
	struct pn_slice got;
	struct pn_buf out;

	(void)state;
	assert_non_null(r);
	assert_string_equal(r->ops->name, "plain");
	pn_buf_init(&out, 16);
	assert_int_equal(pn_record_open(r, &got, &out), PN_RECORD_WANT);
	pn_record_input(r, data, 8);
	assert_int_equal(pn_record_pending(r), 8);
	assert_int_equal(pn_record_open(r, &got, &out), PN_RECORD_OK);
	assert_ptr_equal(got.ptr, data);
	pn_record_input(r, data, 8);
	assert_int_equal(pn_record_take_back(r), 8);
	assert_int_equal(pn_record_pending(r), 0);
	assert_int_equal(got.len, 8);
	assert_int_equal(pn_record_pending(r), 0);
	assert_int_equal(pn_record_open(r, &got, &out), PN_RECORD_WANT);
	assert_int_equal(pn_buf_len(&out), 0);
	assert_int_equal(pn_record_seal(r, pn_slice(data, 8), &out), PN_RECORD_OK);
	assert_int_equal(pn_buf_len(&out), 8);
	assert_int_equal(pn_record_seal(r, PN_SLICE_LIT("123456789"), &out), PN_RECORD_FAILED);
	assert_int_equal(pn_buf_len(&out), 8);
	assert_int_equal(pn_record_rekey(r, &out), PN_RECORD_OK);
	assert_int_equal(pn_record_close(r, &out), PN_RECORD_OK);
	assert_int_equal(pn_buf_len(&out), 8);
	pn_record_idle(r);
	pn_record_free(r);
	pn_record_free(NULL);
	pn_buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
