/* SPDX-License-Identifier: ISC */
/* client_offer.c - a client that offers less than the policy has: one version, one kind of key, some groups. */
#include "tls/client.h"

#include <errno.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/nid.h>

#define GROUPS_MAX 4

static const uint16_t ecdsa_algorithms[] = {
	SSL_SIGN_ECDSA_SECP256R1_SHA256,
	SSL_SIGN_ECDSA_SECP384R1_SHA384,
	SSL_SIGN_ECDSA_SECP521R1_SHA512,
};
static const uint16_t rsa_algorithms[] = {
	SSL_SIGN_RSA_PSS_RSAE_SHA256, SSL_SIGN_RSA_PKCS1_SHA256,    SSL_SIGN_RSA_PSS_RSAE_SHA384,
	SSL_SIGN_RSA_PKCS1_SHA384,    SSL_SIGN_RSA_PSS_RSAE_SHA512, SSL_SIGN_RSA_PKCS1_SHA512,
};

/* 0: no such group. */
static int group_nid(struct pn_slice name)
{
	static const struct {
		const char *name;
		int nid;
	} table[] = {
		{ "x25519", NID_X25519 },
		{ "secp256r1", NID_X9_62_prime256v1 },
		{ "secp384r1", NID_secp384r1 },
	};

	for (size_t i = 0; i < PN_ARRAY_SIZE(table); i++) {
		if (pn_slice_eq_nocase(name, pn_slice_str(table[i].name)))
			return table[i].nid;
	}
	return 0;
}

static int set_groups(SSL_CTX *ctx, const char *list, struct pn_error *err)
{
	int nids[GROUPS_MAX];
	size_t count = 0;

	for (const char *at = list; at; at = strchr(at, ':') ? strchr(at, ':') + 1 : NULL) {
		struct pn_slice name = pn_slice(at, strcspn(at, ":"));
		int nid = count < GROUPS_MAX ? group_nid(name) : 0;

		if (nid == 0) {
			(void)pn_error_set(err,
					   "groups: '%s' is not a list of x25519, secp256r1 and "
					   "secp384r1, separated by colons",
					   list);
			return -EINVAL;
		}
		nids[count++] = nid;
	}
	if (SSL_CTX_set1_curves(ctx, nids, count) == 1)
		return 0;
	ERR_clear_error();
	(void)pn_error_set(err, "out of memory");
	return -ENOMEM;
}

int pn_tls_client_narrow(SSL_CTX *ctx, const struct pn_tls_client_settings *settings,
			 struct pn_error *err)
{
	const uint16_t *algorithms =
		settings->key_wish == PN_TLS_WANT_RSA ? rsa_algorithms : ecdsa_algorithms;
	size_t count = settings->key_wish == PN_TLS_WANT_RSA ? PN_ARRAY_SIZE(rsa_algorithms)
							     : PN_ARRAY_SIZE(ecdsa_algorithms);

	if (settings->version != 0 && (!SSL_CTX_set_min_proto_version(ctx, settings->version) ||
				       !SSL_CTX_set_max_proto_version(ctx, settings->version))) {
		ERR_clear_error();
		(void)pn_error_set(err, "there is no such TLS version");
		return -EINVAL;
	}
	if (settings->key_wish != PN_TLS_WANT_ANY_KEY &&
	    !SSL_CTX_set_verify_algorithm_prefs(ctx, algorithms, count)) {
		ERR_clear_error();
		(void)pn_error_set(err, "out of memory");
		return -ENOMEM;
	}
	return settings->groups ? set_groups(ctx, settings->groups, err) : 0;
}
