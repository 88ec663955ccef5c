/* SPDX-License-Identifier: ISC */
/*
 * client_setup.c - from the greeting to READY: EHLO, LHLO or HELO, STARTTLS, AUTH.
 *
 * Nothing is pipelined here. A password goes out only inside TLS (or where the settings say
 * otherwise), and its encoded forms are wiped.
 */
#include <stdio.h>

#include <postern/base/codec.h>
#include <postern/base/secret.h>

#include "client_internal.h"

/* RFC 4616 2: each of the two up to 255 octets; with two NULs, in base64. */
#define AUTH_PART_MAX     255
#define AUTH_PLAIN_MAX    (2 * (AUTH_PART_MAX + 1))
#define AUTH_RESPONSE_MAX 1024
/*
 * RFC 5321 4.5.3.1.4, with CRLF; RFC 4954 4: an initial response that does not fit is sent as a
 * response.
 */
#define COMMAND_LINE_MAX 512

static void send_line(struct pn_smtp_client *c, struct pn_buf *out, enum client_phase next,
		      const char *verb, const char *argument)
{
	if (pn_buf_printf(out, "%s%s%s\r\n", verb, argument[0] ? " " : "", argument))
		pn_client_fail_local(c, "no room for a command");
	else
		c->phase = next;
}

void pn_client_send_ehlo(struct pn_smtp_client *c, struct pn_buf *out)
{
	c->caps = 0;
	c->size_max_bytes = 0;
	send_line(c, out, CLIENT_EHLO, c->settings->is_lmtp ? "LHLO" : "EHLO",
		  c->settings->helo_name);
}

/* ---- capabilities ---- */

/* Takes the next word off *s. */
static struct pn_slice take_word(struct pn_slice *s)
{
	size_t n = 0;
	struct pn_slice word;

	while (s->len != 0 && s->ptr[0] == ' ')
		pn_slice_advance(s, 1);
	while (n < s->len && s->ptr[n] != ' ')
		n++;
	word = pn_slice(s->ptr, n);
	pn_slice_advance(s, n);
	return word;
}

static void learn_auth(struct pn_smtp_client *c, struct pn_slice mechanisms)
{
	struct pn_slice word;

	while ((word = take_word(&mechanisms)).len != 0) {
		if (pn_slice_eq_nocase(word, PN_SLICE_LIT("PLAIN")))
			c->caps |= PN_CAP_AUTH_PLAIN;
		else if (pn_slice_eq_nocase(word, PN_SLICE_LIT("LOGIN")))
			c->caps |= PN_CAP_AUTH_LOGIN;
		else if (c->settings->sasl &&
			 pn_slice_eq_nocase(word, pn_slice_str(c->settings->sasl->mechanism)))
			c->caps |= PN_CAP_AUTH_SASL;
	}
}

void pn_client_ehlo_line(struct pn_smtp_client *c, struct pn_slice text)
{
	static const struct {
		const char *keyword;
		uint32_t cap;
	} table[] = {
		{ "PIPELINING", PN_CAP_PIPELINING },
		{ "8BITMIME", PN_CAP_8BITMIME },
		{ "SIZE", PN_CAP_SIZE },
		{ "CHUNKING", PN_CAP_CHUNKING },
		{ "DSN", PN_CAP_DSN },
		{ "SMTPUTF8", PN_CAP_SMTPUTF8 },
		{ "STARTTLS", PN_CAP_STARTTLS },
		{ "ENHANCEDSTATUSCODES", PN_CAP_ENHANCEDSTATUSCODES },
	};
	struct pn_slice word = take_word(&text);

	for (size_t i = 0; i < PN_ARRAY_SIZE(table); i++) {
		if (pn_slice_eq_nocase(word, pn_slice_str(table[i].keyword)))
			c->caps |= table[i].cap;
	}
	if (pn_slice_eq_nocase(word, PN_SLICE_LIT("SIZE"))) {
		if (!pn_slice_to_u64(take_word(&text), UINT64_MAX, &c->size_max_bytes))
			c->size_max_bytes = 0;
	} else if (pn_slice_eq_nocase(word, PN_SLICE_LIT("AUTH"))) {
		learn_auth(c, text);
	} else if (pn_slice_starts_nocase(word, PN_SLICE_LIT("AUTH="))) {
		/* The form before RFC 2554, still sent beside the proper one. */
		learn_auth(c, pn_slice(word.ptr + 5, word.len - 5));
		learn_auth(c, text);
	}
}

/* ---- AUTH ---- */

static void become_ready(struct pn_smtp_client *c)
{
	c->phase = CLIENT_READY;
	c->is_ready_due = true;
}

/* Appends prefix, base64 of data, CRLF. */
static void send_encoded(struct pn_smtp_client *c, struct pn_buf *out, const char *prefix,
			 struct pn_slice data)
{
	char text[PN_BASE64_ENCODED_SIZE(AUTH_RESPONSE_MAX) + 2];
	size_t n = pn_base64_encode(text, data), before = pn_buf_len(out);

	memcpy(text + n, "\r\n", 2);
	if (pn_buf_append_str(out, prefix) || pn_buf_append(out, text, n + 2)) {
		pn_client_out_rollback(out, before);
		pn_client_fail_local(c, "no room for a command");
	}
	pn_wipe(text, sizeof(text));
}

/* The message of RFC 4616 2, without an authorisation identity. */
static void send_plain(struct pn_smtp_client *c, struct pn_buf *out, bool is_initial)
{
	uint8_t message[AUTH_PLAIN_MAX];
	size_t user_len = strlen(c->settings->auth_user),
	       password_len = strlen(c->settings->auth_password);
	size_t len = user_len + password_len + 2;
	static const char verb[] = "AUTH PLAIN ";

	c->phase = CLIENT_AUTH;
	if (is_initial && sizeof(verb) - 1 + PN_BASE64_ENCODED_SIZE(len) + 2 > COMMAND_LINE_MAX) {
		c->auth = CLIENT_AUTH_PLAIN;
		send_line(c, out, CLIENT_AUTH, "AUTH", "PLAIN");
		return;
	}
	message[0] = 0;
	memcpy(message + 1, c->settings->auth_user, user_len);
	message[1 + user_len] = 0;
	memcpy(message + 2 + user_len, c->settings->auth_password, password_len);
	c->auth = CLIENT_AUTH_RESULT;
	send_encoded(c, out, is_initial ? verb : "", pn_slice(message, len));
	pn_wipe(message, sizeof(message));
}

/* challenge NULL: the first message, behind AUTH (RFC 4954 4). */
static void send_sasl(struct pn_smtp_client *c, struct pn_buf *out,
		      const struct pn_slice *challenge)
{
	const struct pn_smtp_client_sasl *sasl = c->settings->sasl;
	char prefix[64] = "";
	struct pn_buf response;

	c->phase = CLIENT_AUTH;
	c->auth = CLIENT_AUTH_SASL;
	if (!challenge)
		(void)snprintf(prefix, sizeof(prefix), "AUTH %s ", sasl->mechanism);
	pn_buf_init_secret(&response, AUTH_RESPONSE_MAX);
	if (sasl->respond(sasl->arg, challenge, &response) != 0)
		pn_client_fail_local(c, "the server's part of the SASL exchange is wrong");
	else if (!challenge && strlen(prefix) + PN_BASE64_ENCODED_SIZE(pn_buf_len(&response)) + 2 >
				       COMMAND_LINE_MAX)
		pn_client_fail_local(c, "the first SASL message does not fit into a command");
	else
		send_encoded(c, out, prefix, pn_buf_slice(&response));
	pn_buf_wipe(&response);
}

static void sasl_challenge(struct pn_smtp_client *c, struct pn_slice text, struct pn_buf *out)
{
	uint8_t octets[PN_BASE64_DECODED_SIZE_MAX(PN_CLIENT_TEXT_MAX) + 3];
	ptrdiff_t len = pn_base64_decode(octets, text);
	struct pn_slice challenge = pn_slice(octets, len > 0 ? (size_t)len : 0);

	if (len < 0)
		pn_client_fail_local(c, "the challenge is not base64");
	else
		send_sasl(c, out, &challenge);
}

/* ANY: PLAIN, else LOGIN. Zero: what is wanted is not offered. */
static uint32_t choose_mechanism(const struct pn_smtp_client *c)
{
	uint32_t wanted = PN_CAP_AUTH_PLAIN | PN_CAP_AUTH_LOGIN;

	if (c->settings->auth == PN_CLIENT_AUTH_PLAIN)
		wanted = PN_CAP_AUTH_PLAIN;
	else if (c->settings->auth == PN_CLIENT_AUTH_LOGIN)
		wanted = PN_CAP_AUTH_LOGIN;
	else if (c->settings->auth == PN_CLIENT_AUTH_SASL)
		wanted = PN_CAP_AUTH_SASL;
	wanted &= c->caps;
	return wanted & -wanted; /* the first of them */
}

static void begin_auth(struct pn_smtp_client *c, struct pn_buf *out)
{
	const struct pn_smtp_client_settings *s = c->settings;
	const char *password = s->auth_password ? s->auth_password : "";
	uint32_t mechanism = choose_mechanism(c);

	if (!s->auth_user) {
		become_ready(c);
		return;
	}
	c->phase = CLIENT_AUTH;
	if (!c->is_tls && !s->auth_without_tls) {
		pn_client_fail_local(c, "AUTH is wanted but there is no TLS");
	} else if (strlen(s->auth_user) > AUTH_PART_MAX || strlen(password) > AUTH_PART_MAX ||
		   !password[0]) {
		pn_client_fail_local(c, "user name or password for AUTH is empty or too long");
	} else if (mechanism == PN_CAP_AUTH_PLAIN) {
		send_plain(c, out, true);
	} else if (mechanism == PN_CAP_AUTH_SASL) {
		send_sasl(c, out, NULL);
	} else if (mechanism == PN_CAP_AUTH_LOGIN) {
		c->auth = CLIENT_AUTH_LOGIN_USER;
		send_line(c, out, CLIENT_AUTH, "AUTH", "LOGIN");
	} else {
		pn_client_fail_local(
			c, s->auth == PN_CLIENT_AUTH_ANY
				   ? "AUTH is wanted but neither PLAIN nor LOGIN is offered"
				   : "the mechanism that is wanted for AUTH is not offered");
	}
}

static void auth_reply(struct pn_smtp_client *c, const struct pn_smtp_reply_info *reply,
		       struct pn_buf *out)
{
	enum client_auth step = c->auth;

	if ((step == CLIENT_AUTH_RESULT || step == CLIENT_AUTH_SASL) && reply->code == 235) {
		c->is_authenticated = true;
		become_ready(c);
		return;
	}
	if (step == CLIENT_AUTH_RESULT || reply->code != 334) {
		if (reply->code >= 400)
			pn_client_fail(c, reply);
		else
			pn_client_fail_local(c, "unexpected reply to AUTH");
		return;
	}
	switch (step) {
	case CLIENT_AUTH_PLAIN:
		send_plain(c, out, false);
		break;
	case CLIENT_AUTH_LOGIN_USER:
		c->auth = CLIENT_AUTH_LOGIN_PASSWORD;
		send_encoded(c, out, "", pn_slice_str(c->settings->auth_user));
		break;
	case CLIENT_AUTH_LOGIN_PASSWORD:
		c->auth = CLIENT_AUTH_RESULT;
		send_encoded(c, out, "", pn_slice_str(c->settings->auth_password));
		break;
	case CLIENT_AUTH_SASL:
		sasl_challenge(c, reply->text, out);
		break;
	case CLIENT_AUTH_RESULT:
		break;
	}
}

/* ---- greeting, EHLO, STARTTLS ---- */

static void after_ehlo(struct pn_smtp_client *c, struct pn_buf *out)
{
	/* RFC 6531 3.2: worth nothing without 8BITMIME. */
	if (!(c->caps & PN_CAP_8BITMIME))
		c->caps &= ~PN_CAP_SMTPUTF8;
	if (c->settings->is_lockstep)
		c->caps &= ~PN_CAP_PIPELINING;
	if (c->is_tls || c->settings->tls == PN_CLIENT_TLS_NONE) {
		begin_auth(c, out);
	} else if (c->caps & PN_CAP_STARTTLS) {
		send_line(c, out, CLIENT_STARTTLS, "STARTTLS", "");
	} else if (c->settings->tls == PN_CLIENT_TLS_REQUIRED) {
		c->phase = CLIENT_STARTTLS;
		pn_client_fail_local(c, "TLS is required but STARTTLS is not offered");
	} else {
		begin_auth(c, out);
	}
}

static void ehlo_reply(struct pn_smtp_client *c, const struct pn_smtp_reply_info *reply,
		       struct pn_buf *out)
{
	const struct pn_smtp_client_settings *s = c->settings;
	bool may_helo =
		!s->is_lmtp && !s->auth_user && (c->is_tls || s->tls != PN_CLIENT_TLS_REQUIRED);

	if (reply->code == 250) {
		after_ehlo(c, out);
	} else if (reply->code >= 500 && may_helo) {
		/* RFC 5321 3.2: an old server */
		c->caps = 0;
		send_line(c, out, CLIENT_HELO, "HELO", s->helo_name);
	} else {
		pn_client_fail(c, reply);
	}
}

static void starttls_reply(struct pn_smtp_client *c, const struct pn_smtp_reply_info *reply,
			   struct pn_buf *out)
{
	if (reply->code == 220) {
		c->phase = CLIENT_TLS;
		c->is_ready_due = true;
	} else if (reply->code < 400) {
		pn_client_fail_local(c, "unexpected reply to STARTTLS");
	} else if (c->settings->tls == PN_CLIENT_TLS_REQUIRED) {
		pn_client_fail(c, reply);
	} else {
		begin_auth(c, out);
	}
}

void pn_client_setup_reply(struct pn_smtp_client *c, const struct pn_smtp_reply_info *reply,
			   struct pn_buf *out)
{
	bool is_as_wished = reply->code == (c->phase == CLIENT_GREETING ? 220 : 250);

	if (reply->code == 421) {
		pn_client_fail(c, reply);
	} else if (c->phase == CLIENT_AUTH) {
		auth_reply(c, reply, out);
	} else if (c->phase == CLIENT_STARTTLS) {
		starttls_reply(c, reply, out);
	} else if (!is_as_wished && reply->code < 400) {
		pn_client_fail_local(c, "unexpected reply");
	} else if (c->phase == CLIENT_EHLO) {
		ehlo_reply(c, reply, out);
	} else if (!is_as_wished) {
		pn_client_fail(c, reply);
	} else if (c->phase == CLIENT_GREETING) {
		pn_client_send_ehlo(c, out);
	} else {
		become_ready(c); /* HELO: no extension, and neither TLS nor AUTH is needed */
	}
}
