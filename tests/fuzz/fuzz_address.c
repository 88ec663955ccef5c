/* SPDX-License-Identifier: ISC */
/*
 * fuzz_address.c - paths, mailboxes and address literals.
 *
 * What is accepted must be accepted again in its canonical form, with the same parts; and must hold nothing
 * that could end a command or a path.
 */
#include <stdlib.h>

#include <postern/base/codec.h>
#include <postern/smtp/address.h>

#include "fuzz.h"

static void check_accepted(const struct pn_path *p)
{
	struct pn_path again;

	for (size_t i = 0; i < p->address.len; i++)
		PN_ASSERT(p->address.ptr[i] >= 0x20 && p->address.ptr[i] != 0x7f);
	PN_ASSERT(p->local.len <= PN_LOCAL_PART_MAX_BYTES + 2 && p->domain.len <= PN_DOMAIN_MAX_BYTES);
	PN_ASSERT(p->has_8bit == pn_slice_has_8bit(p->address) && pn_utf8_is_valid(p->address));
	if (p->domain.len == 0)
		return;
	PN_ASSERT(p->address.ptr[p->local.len] == '@');
	PN_ASSERT(pn_mailbox_parse(p->address, &again) == PN_PATH_OK);
	PN_ASSERT(pn_slice_eq(again.local, p->local) && pn_slice_eq(again.domain, p->domain));
	PN_ASSERT(again.is_literal == p->is_literal && !again.has_source_route);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int kind = PN_PATH_REVERSE; kind <= PN_PATH_FORWARD; kind++) {
		struct pn_slice in = pn_slice(data, size);
		struct pn_path path;
		if (pn_path_parse(&in, (enum pn_path_kind)kind, &path) != PN_PATH_OK) {
			PN_ASSERT(in.len == size);
			continue;
		}
		PN_ASSERT(in.len < size && in.ptr[-1] == '>');
		check_accepted(&path);
	}
	struct pn_path mailbox;
	if (pn_mailbox_parse(pn_slice(data, size), &mailbox) == PN_PATH_OK) {
		PN_ASSERT(mailbox.address.len == size);
		check_accepted(&mailbox);
	}
	(void)pn_address_literal_is_valid(pn_slice(data, size));
	if (pn_helo_name_is_valid(pn_slice(data, size)))
		PN_ASSERT(size > 0 && size <= PN_DOMAIN_MAX_BYTES && !pn_slice_has_8bit(pn_slice(data, size)));
	return 0;
}
