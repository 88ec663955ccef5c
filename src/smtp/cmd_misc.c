/* SPDX-License-Identifier: ISC */
/* cmd_misc.c - RSET NOOP VRFY EXPN HELP QUIT (RFC 5321 4.1.1.5 to 4.1.1.10). */
#include "server_internal.h"

bool pn_cmd_rset(struct pn_smtp_server *s, const struct pn_command *cmd PN_UNUSED, struct pn_smtp_step *st)
{
	pn_srv_accept(s, st->out, PN_REPLY_OK);
	return pn_srv_txn_drop(s, st);
}

/* RFC 5321 4.1.1.9: arguments are ignored */
bool pn_cmd_noop(struct pn_smtp_server *s, const struct pn_command *cmd PN_UNUSED, struct pn_smtp_step *st)
{
	pn_srv_accept(s, st->out, PN_REPLY_OK);
	return false;
}

/* RFC 5321 3.5.3: 252, for we do not look */
bool pn_cmd_vrfy(struct pn_smtp_server *s, const struct pn_command *cmd, struct pn_smtp_step *st)
{
	if (cmd->args.len == 0)
		pn_srv_refuse(s, st->out, PN_REPLY_ARGUMENT_MISSING, false);
	else
		pn_srv_accept(s, st->out, PN_REPLY_OK_VRFY);
	return false;
}

bool pn_cmd_expn(struct pn_smtp_server *s, const struct pn_command *cmd PN_UNUSED, struct pn_smtp_step *st)
{
	pn_srv_refuse(s, st->out, PN_REPLY_NOT_IMPLEMENTED, false);
	return false;
}

bool pn_cmd_help(struct pn_smtp_server *s, const struct pn_command *cmd PN_UNUSED, struct pn_smtp_step *st)
{
	pn_srv_accept(s, st->out, PN_REPLY_OK_HELP);
	return false;
}

/* An open transaction is dropped by the next step, before it says CLOSE. */
bool pn_cmd_quit(struct pn_smtp_server *s, const struct pn_command *cmd PN_UNUSED, struct pn_smtp_step *st)
{
	pn_srv_close(s, st->out, PN_SMTP_CLOSE_QUIT, PN_REPLY_GOODBYE);
	return false;
}
