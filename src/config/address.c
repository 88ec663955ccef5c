/* SPDX-License-Identifier: ISC */
/* address.c - listener addresses and upstream hosts, taken apart. Names are checked for their form, never looked up. */
#include <arpa/inet.h>
#include <string.h>

#include "config/config_internal.h"

/* Decimal digits only, up to `max`. */
static bool number_parse(const char *text, uint32_t min, uint32_t max, uint32_t *ret)
{
	uint64_t value;

	if (strlen(text) > 9 || !pn_config_number_parse(text, false, &value) || value < min || value > max)
		return false;
	*ret = (uint32_t)value;
	return true;
}

static bool is_address(int family, const char *text)
{
	struct in6_addr binary;
	return inet_pton(family, text, &binary) == 1;
}

/*
 * Cuts "host:port", "[host]:port" or either without the port. `*ret_port` is 0 without one. False: neither form.
 */
static bool split(const char *text, char *host, size_t host_size, bool *ret_bracketed, uint16_t *ret_port)
{
	const char *host_end, *port = NULL;
	uint32_t number = 0;

	*ret_bracketed = text[0] == '[';
	if (*ret_bracketed) {
		text++;
		host_end = strchr(text, ']');
		if (host_end == NULL || (host_end[1] != '\0' && host_end[1] != ':'))
			return false;
		if (host_end[1] == ':')
			port = host_end + 2;
	} else {
		host_end = text + strcspn(text, ":");
		if (*host_end == ':')
			port = host_end + 1;
	}
	size_t len = (size_t)(host_end - text);
	if (len == 0 || len >= host_size)
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	if (port != NULL && !number_parse(port, 1, 65535, &number))
		return false;
	*ret_port = (uint16_t)number;
	return true;
}

bool pn_config_address_parse(const char *text, struct pn_config_address *ret)
{
	bool is_bracketed;

	memset(ret, 0, sizeof(*ret));
	if (!split(text, ret->host, sizeof(ret->host), &is_bracketed, &ret->port) || ret->port == 0)
		return false;
	if (!is_bracketed && strcmp(ret->host, "*") == 0)
		snprintf(ret->host, sizeof(ret->host), "::");
	else if (!is_address(is_bracketed ? AF_INET6 : AF_INET, ret->host))
		return false;
	else if (!is_bracketed)
		return true;
	struct in6_addr binary;
	ret->is_ipv6 = true;
	inet_pton(AF_INET6, ret->host, &binary);
	/* Only the wildcard can take both families; one form of it, so that comparisons see the same address. */
	ret->is_dual_stack = memcmp(&binary, &in6addr_any, sizeof(binary)) == 0;
	inet_ntop(AF_INET6, &binary, ret->host, sizeof(ret->host));
	return true;
}

bool pn_config_host_parse(const char *text, struct pn_config_host *ret)
{
	static const char weight_key[] = "weight=";
	char place[300];
	size_t len = strcspn(text, " ");
	bool is_bracketed;

	memset(ret, 0, sizeof(*ret));
	ret->weight = 1;
	if (len >= sizeof(place))
		return false;
	memcpy(place, text, len);
	place[len] = '\0';
	if (!split(place, ret->host, sizeof(ret->host), &is_bracketed, &ret->port))
		return false;
	if (is_bracketed && !is_address(AF_INET6, ret->host))
		return false;
	ret->is_address = is_bracketed || is_address(AF_INET, ret->host);
	if (!ret->is_address && !pn_config_hostname_check(ret->host))
		return false;
	const char *rest = text + len + strspn(text + len, " ");
	if (*rest == '\0')
		return len == strlen(text);
	return strncmp(rest, weight_key, sizeof(weight_key) - 1) == 0 &&
	       number_parse(rest + sizeof(weight_key) - 1, 0, 1000, &ret->weight);
}
