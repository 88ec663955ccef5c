/* SPDX-License-Identifier: ISC */
/* check.c - the forms of strings: names, paths, addresses. Form only; whether they exist is for files.c and for use. */
#include <string.h>

#include "config/config_internal.h"

#define PN_SOCKET_PATH_MAX 107 /* sockaddr_un.sun_path without its NUL */

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Labels of letters, digits and inner hyphens (RFC 1123 2.1); with `has_utf8` also U-labels, octet by octet. */
static bool domain_check(const char *text, bool has_utf8)
{
	size_t total = strlen(text), label = 0;

	if (total == 0 || total > 253)
		return false;
	for (const char *p = text;; p++) {
		if (*p == '.' || *p == '\0') {
			if (label == 0 || label > 63 || p[-1] == '-')
				return false;
			if (*p == '\0')
				break;
			label = 0;
			continue;
		}
		bool is_inner = is_letter(*p) || is_digit(*p) || (has_utf8 && (unsigned char)*p >= 0x80);
		if (!is_inner && (*p != '-' || label == 0))
			return false;
		label++;
	}
	/* All digits and dots would be an address, or a broken one. */
	return strspn(text, "0123456789.") != total;
}

bool pn_config_hostname_check(const char *text)
{
	return domain_check(text, false);
}

/* RFC 5321 4.1.2: a dot-string and a domain. */
static bool mailbox_check(const char *text)
{
	const char *at = strrchr(text, '@');
	bool is_atom = false;

	if (at == NULL || at - text > 64)
		return false;
	for (const char *p = text; p < at; p++) {
		if (*p == '.' && !is_atom)
			return false;
		is_atom = *p != '.';
		if (*p != '.' && !is_letter(*p) && !is_digit(*p) && strchr("!#$%&'*+-/=?^_`{|}~", *p) == NULL)
			return false;
	}
	return is_atom && domain_check(at + 1, false);
}

static bool user_check(const char *text)
{
	if (strlen(text) > 32 || (!is_letter(text[0]) && text[0] != '_'))
		return false;
	for (const char *p = text; *p != '\0'; p++) {
		if (!is_letter(*p) && !is_digit(*p) && *p != '_' && *p != '-' && *p != '.')
			return false;
	}
	return true;
}

static bool name_check(const char *text)
{
	if (strlen(text) > 255)
		return false;
	for (const char *p = text; *p != '\0'; p++) {
		if (!is_letter(*p) && !is_digit(*p) && strchr("._-", *p) == NULL)
			return false;
	}
	return true;
}

/* The optional features of net (a test compares them with its list). */
static bool feature_check(const char *text)
{
	static const char *const features[] = { "single-issuer",  "defer-taskrun",     "coop-taskrun",
						"recv-multishot", "buffer-ring",       "msg-ring",
						"send-zc",        "registered-ring-fd", "accept-dontwait",
						"all" };

	for (size_t i = 0; i < PN_ARRAY_SIZE(features); i++) {
		if (strcmp(features[i], text) == 0)
			return true;
	}
	return false;
}

static bool text_check(const char *text)
{
	size_t len = 0;

	for (; text[len] != '\0'; len++) {
		if ((unsigned char)text[len] < ' ' || text[len] == 0x7f)
			return false;
	}
	return len <= PN_CONFIG_STRING_MAX_BYTES;
}

bool pn_config_text_check(enum pn_config_check check, const char *text)
{
	struct pn_config_address address;
	struct pn_config_host host;

	if (!text_check(text))
		return false;
	switch (check) {
	case PN_CHECK_TEXT:
		return true;
	case PN_CHECK_HOSTNAME_OR_NONE:
		return *text == '\0' || domain_check(text, false);
	case PN_CHECK_MAILBOX_OR_NONE:
		return *text == '\0' || mailbox_check(text);
	case PN_CHECK_USER_OR_NONE:
		return *text == '\0' || user_check(text);
	case PN_CHECK_NAME_OR_NONE:
		return *text == '\0' || name_check(text);
	case PN_CHECK_PATH:
		return *text == '/';
	case PN_CHECK_PATH_OR_NONE:
		return *text == '\0' || *text == '/';
	case PN_CHECK_SOCKET_PATH:
		return *text == '/' && strlen(text) <= PN_SOCKET_PATH_MAX;
	case PN_CHECK_LISTEN_ADDRESS:
		return pn_config_address_parse(text, &address);
	case PN_CHECK_UPSTREAM_HOST:
		return pn_config_host_parse(text, &host);
	case PN_CHECK_DOMAIN:
		return domain_check(*text == '.' ? text + 1 : text, true);
	case PN_CHECK_FEATURE:
		return feature_check(text);
	}
	return false;
}

const char *pn_config_check_text(enum pn_config_check check)
{
	static const char *const texts[] = {
#define X(name, text) text,
		PN_CONFIG_CHECKS(X)
#undef X
	};
	PN_ASSERT(check < PN_ARRAY_SIZE(texts));
	return texts[check];
}
