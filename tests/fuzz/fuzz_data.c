/* SPDX-License-Identifier: ISC */
/*
 * The data scanner against the oracle. The first octet chooses policy, mode and cut; the rest is
 * what the client sent. Every variant of the scan loops that this CPU can run must pass.
 */
#include "fuzz.h"

#include <stdlib.h>

#include "data_oracle.h"
#include "smtp/scan.h"

#define INPUT_MAX 4096

static void check(const struct data_result *want, const uint8_t *data, size_t size,
		  enum pn_line_policy policy, bool is_chunk, size_t step)
{
	static uint8_t content[2 * INPUT_MAX];
	struct data_result got = { .content = content };
	struct pn_data_scanner s;

	pn_data_scanner_init(&s, policy, is_chunk);
	for (size_t at = 0; at < size; at += step) {
		if (!data_scan_piece(&s, &got, data, at, pn_min_size(size, at + step)))
			break;
	}
	data_take_flags(&got, &s);
	if (!data_result_eq(want, &got))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t want_content[2 * INPUT_MAX];
	struct data_result want = { .content = want_content };
	enum pn_line_policy policy;
	size_t step;
	bool is_chunk;

	if (size == 0 || size > INPUT_MAX)
		return 0;
	policy = data[0] & 1 ? PN_LINE_NORMALIZE : PN_LINE_REJECT;
	is_chunk = data[0] & 2;
	step = data[0] >> 2 ? (size_t)(data[0] >> 2) : INPUT_MAX;
	data++;
	size--;
	data_oracle(&want, data, size, policy, is_chunk);
	for (size_t i = 0; pn_scan_variant(i); i++) {
		pn_scan_best = pn_scan_variant(i);
		check(&want, data, size, policy, is_chunk, step);
	}
	return 0;
}
