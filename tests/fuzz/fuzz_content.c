/* SPDX-License-Identifier: ISC */
/*
 * The content scan and the edits. The first octet is the cut; the rest, with its line ends repaired
 * as the server does it, is the content. Any cut must give the same facts, with every variant of
 * the scan loops, and the edited message must have a Date and a Message-ID, no Bcc, and the size
 * that was foretold.
 */
#include "fuzz.h"

#include <stdlib.h>

#include <postern/smtp/content.h>
#include <postern/smtp/data.h>

#include "smtp/scan.h"

#define INPUT_MAX 8192

static size_t repair(uint8_t *out, const uint8_t *data, size_t size)
{
	struct pn_slice in = pn_slice(data, size), run;
	struct pn_data_scanner s;
	size_t len = 0;

	pn_data_scanner_init(&s, PN_LINE_NORMALIZE, true);
	while (pn_data_scan(&s, &in, &run) == PN_DATA_RUN) {
		memcpy(out + len, run.ptr, run.len);
		len += run.len;
	}
	if (pn_data_scan_finish(&s, &run)) {
		memcpy(out + len, run.ptr, run.len);
		len += run.len;
	}
	return len;
}

static void scan(struct pn_content_scan *s, struct pn_slice content, size_t step)
{
	pn_content_scan_init(s, 998, 2048, 5);
	while (content.len != 0) {
		size_t n = pn_min_size(step, content.len);

		pn_content_scan_feed(s, pn_slice(content.ptr, n));
		pn_slice_advance(&content, n);
	}
	pn_content_scan_end(s);
}

static void check_same(const struct pn_content_scan *a, const struct pn_content_scan *b)
{
	bool is_same = a->facts.size_bytes == b->facts.size_bytes &&
		       a->facts.header_size_bytes == b->facts.header_size_bytes &&
		       a->facts.line_max_bytes == b->facts.line_max_bytes &&
		       a->facts.received_count == b->facts.received_count &&
		       a->facts.has_8bit_header == b->facts.has_8bit_header &&
		       a->facts.has_8bit_body == b->facts.has_8bit_body &&
		       a->facts.has_final_crlf == b->facts.has_final_crlf &&
		       a->problem == b->problem && a->problem_at == b->problem_at &&
		       a->has_date == b->has_date && a->has_message_id == b->has_message_id &&
		       a->header_end == b->header_end && a->has_header_end == b->has_header_end &&
		       a->bcc_count == b->bcc_count;

	for (uint32_t i = 0; is_same && i < a->bcc_count; i++)
		is_same = a->bcc[i].at == b->bcc[i].at && a->bcc[i].len == b->bcc[i].len;
	if (!is_same)
		abort();
}

static size_t apply(uint8_t *out, const struct pn_edit_list *edits, struct pn_slice content)
{
	size_t at = 0, len = 0;

	for (const struct pn_edit *e = edits->first; e; e = e->next) {
		memcpy(out + len, content.ptr + at, e->at - at);
		len += e->at - at;
		memcpy(out + len, e->insert.ptr, e->insert.len);
		len += e->insert.len;
		at = e->at + e->delete_len;
	}
	memcpy(out + len, content.ptr + at, content.len - at);
	return len + content.len - at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t content[2 * INPUT_MAX], edited[2 * INPUT_MAX + 4096];
	static struct pn_content_scan whole, cut;
	struct pn_envelope envelope = { .helo = PN_SLICE_LIT("helo"),
					.client_address = PN_SLICE_LIT("192.0.2.1") };
	struct pn_trace trace = { .hostname = "mx.example",
				  .envelope = &envelope,
				  .tls_group = "",
				  .has_client_address = true,
				  .is_ehlo = true };
	struct pn_edit_list edits;
	struct pn_arena arena;
	size_t len;

	if (size == 0 || size > INPUT_MAX)
		return 0;
	len = repair(content, data + 1, size - 1);
	scan(&whole, pn_slice(content, len), SIZE_MAX);
	for (size_t i = 0; pn_scan_variant(i); i++) {
		pn_scan_best = pn_scan_variant(i);
		scan(&cut, pn_slice(content, len), 1 + (size_t)data[0]);
		check_same(&whole, &cut);
	}
	if (whole.problem == PN_CONTENT_TOO_MANY_BCC || whole.bcc_count == PN_CONTENT_BCC_MAX)
		return 0;
	envelope.helo = pn_slice(content, pn_min_size(len, 300)); /* anything at all */
	pn_arena_init(&arena, 4096, 1 << 20);
	if (pn_content_plan_edits(&whole, &trace, &arena, &edits))
		abort();
	if (apply(edited, &edits, pn_slice(content, len)) != pn_edit_result_size(&edits, len))
		abort();
	len = pn_edit_result_size(&edits, len);
	pn_arena_reset(&arena);
	scan(&cut, pn_slice(edited, len), SIZE_MAX);
	if (!cut.has_date || !cut.has_message_id || cut.bcc_count != 0 ||
	    cut.facts.received_count != whole.facts.received_count + 1)
		abort();
	return 0;
}
