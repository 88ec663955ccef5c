/* SPDX-License-Identifier: ISC */
/* fuzz_command.c - a command line to verb, arguments and parameters. The first octet chooses what is offered. */
#include <postern/base/codec.h>
#include <postern/smtp/command.h>
#include <postern/smtp/params.h>

#include "fuzz.h"

static bool is_inside(struct pn_slice part, const uint8_t *data, size_t size)
{
	return part.len == 0 || (part.ptr >= data && part.ptr + part.len <= data + size);
}

static void check_mail(struct pn_slice rest, const struct pn_param_offer *offer)
{
	struct pn_envelope e = { 0 };

	if (pn_mail_params_parse(rest, offer, &e) != PN_REPLY_NONE)
		return;
	PN_ASSERT(e.size_declared <= offer->message_size_max_bytes);
	PN_ASSERT(!e.is_smtputf8 || offer->has_smtputf8);
	PN_ASSERT(offer->has_dsn || (e.dsn_ret == PN_DSN_RET_UNSET && e.dsn_envid.len == 0));
	PN_ASSERT(e.auth_param.len == 0 || pn_xtext_is_valid(e.auth_param));
	PN_ASSERT(e.dsn_envid.len == 0 || pn_xtext_is_valid(e.dsn_envid));
	PN_ASSERT(is_inside(e.auth_param, rest.ptr, rest.len) && is_inside(e.dsn_envid, rest.ptr, rest.len));
}

static void check_rcpt(struct pn_slice rest, const struct pn_param_offer *offer, bool is_smtputf8)
{
	struct pn_recipient r = { 0 };

	if (pn_rcpt_params_parse(rest, offer, is_smtputf8, &r) != PN_REPLY_NONE)
		return;
	PN_ASSERT(offer->has_dsn || (r.notify == 0 && r.orcpt.len == 0));
	PN_ASSERT(!(r.notify & PN_DSN_NOTIFY_NEVER) || r.notify == PN_DSN_NOTIFY_NEVER);
	PN_ASSERT(r.orcpt.len <= PN_ORCPT_MAX_BYTES && is_inside(r.orcpt, rest.ptr, rest.len));
	PN_ASSERT(is_smtputf8 || !pn_slice_has_8bit(r.orcpt));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pn_command c;

	if (size == 0)
		return 0;
	const struct pn_param_offer offer = { data[0] & 1, data[0] & 2, data[0] & 4 ? 1000 : UINT64_MAX };
	struct pn_slice line = pn_slice(data + 1, size - 1);
	pn_command_parse(line, &c);
	PN_ASSERT(c.has_8bit == pn_slice_has_8bit(line) && is_inside(c.args, line.ptr, line.len));
	PN_ASSERT(c.args.len == 0 || (c.args.ptr[0] != ' ' && c.args.ptr[c.args.len - 1] != ' '));
	check_mail(c.args, &offer);
	check_mail(line, &offer);
	check_rcpt(c.args, &offer, data[0] & 8);
	check_rcpt(line, &offer, data[0] & 8);
	return 0;
}
