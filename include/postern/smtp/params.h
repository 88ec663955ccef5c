/* SPDX-License-Identifier: ISC */
/*
 * params.h - the parameters behind MAIL FROM:<> and RCPT TO:<> (RFC 5321 4.1.1.11 and the
 * extensions). Pure
 * functions, any thread.
 *
 * Values are checked and put into the envelope or the recipient as given (xtext is not decoded:
 * the next hop
 * gets it unchanged, RFC 3461 5.2.1). Slices borrow from the line.
 */
#ifndef POSTERN_SMTP_PARAMS_H
#define POSTERN_SMTP_PARAMS_H

#include <postern/base/common.h>
#include <postern/base/slice.h>
#include <postern/smtp/envelope.h>
#include <postern/smtp/reply.h>

#define PN_AUTH_PARAM_MAX_BYTES 500 /* RFC 4954 3 */
#define PN_ENVID_MAX_BYTES 100      /* RFC 3461 4.4 */
#define PN_ORCPT_MAX_BYTES 500      /* RFC 3461 4.2 */

/* What the session offers; a parameter of something not offered is unknown. */
struct pn_param_offer {
	bool has_smtputf8;
	bool has_dsn;
	uint64_t message_size_max_bytes;
};

/* `rest` is what follows the '>'. Sets size_declared, body, is_smtputf8, auth_param, dsn_ret and
 * dsn_envid of
 * *ret. PN_REPLY_NONE, or the reply to refuse with. */
enum pn_reply pn_mail_params_parse(struct pn_slice rest, const struct pn_param_offer *offer,
				   struct pn_envelope *ret) PN_MUST_CHECK;
/* Sets notify and orcpt of *ret. `is_smtputf8`: MAIL had SMTPUTF8. */
enum pn_reply pn_rcpt_params_parse(struct pn_slice rest, const struct pn_param_offer *offer, bool is_smtputf8,
				   struct pn_recipient *ret) PN_MUST_CHECK;

/* RFC 3461 4: xtext, not empty. */
bool pn_xtext_is_valid(struct pn_slice s);

#endif
