/* SPDX-License-Identifier: ISC */
/* ktls.c - which connections use the kernel's records: the configuration against what this kernel offers. */
#include <string.h>

#include <postern/base/log.h>

#include "app.h"

static enum pn_config_ktls mode_of(const struct pn_config *c, const struct pn_config_listener *l)
{
	switch (l->ktls) {
	case PN_CONFIG_LISTENER_KTLS_AUTO:
		return PN_CONFIG_KTLS_AUTO;
	case PN_CONFIG_LISTENER_KTLS_ON:
		return PN_CONFIG_KTLS_ON;
	case PN_CONFIG_LISTENER_KTLS_OFF:
		return PN_CONFIG_KTLS_OFF;
	case PN_CONFIG_LISTENER_KTLS_INHERIT:
		break;
	}
	return c->tls.ktls;
}

/* Whether any connection has this mode. */
static bool has_mode(const struct pn_config *c, enum pn_config_ktls mode)
{
	if (c->tls.ktls == mode)
		return true;
	for (size_t i = 0; i < c->listener_count; i++) {
		if (mode_of(c, &c->listeners[i]) == mode)
			return true;
	}
	return false;
}

const struct pn_ktls_support *pn_app_ktls_support(const struct pn_config *c)
{
	bool is_wanted = has_mode(c, PN_CONFIG_KTLS_AUTO) || has_mode(c, PN_CONFIG_KTLS_ON);

	return is_wanted ? pn_ktls_probe() : NULL;
}

int pn_app_ktls_check(const struct pn_config *c, struct pn_error *err)
{
	char text[256];

	if (!has_mode(c, PN_CONFIG_KTLS_ON) || pn_ktls_is_usable(pn_ktls_probe()))
		return 0;
	pn_ktls_describe(pn_ktls_probe(), text, sizeof(text));
	return pn_error_set(err, "ktls = on, but kernel TLS is %s; or set ktls = auto", text);
}

int pn_app_ktls_start(const struct pn_config *c, struct pn_error *err)
{
	const struct pn_ktls_support *support = pn_app_ktls_support(c);
	char text[256];

	pn_logf(PN_LOG_INFO, "tls", "AES-GCM records by %s", pn_tls_gcm_library());
	if (!support) {
		pn_logf(PN_LOG_INFO, "ktls", "switched off: records are protected in user space");
		return 0;
	}
	if (pn_app_ktls_check(c, err) != 0)
		return -1;
	pn_ktls_describe(support, text, sizeof(text));
	pn_logf(PN_LOG_INFO, "ktls", "kernel TLS: %s%s", text,
		pn_ktls_is_usable(support) ? "" : "; records are protected in user space");
	return 0;
}

static bool is_used(enum pn_config_ktls mode)
{
	return mode != PN_CONFIG_KTLS_OFF && pn_ktls_is_usable(pn_ktls_probe());
}

bool pn_app_ktls_of_listener(const struct pn_config *c, const struct pn_config_listener *l)
{
	return is_used(mode_of(c, l));
}

bool pn_app_ktls_of_upstreams(const struct pn_config *c)
{
	return is_used(c->tls.ktls);
}
