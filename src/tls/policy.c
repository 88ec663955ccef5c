/* SPDX-License-Identifier: ISC */
/*
 * policy.c - what we are ready to negotiate.
 *
 * BoringSSL has no renegotiation as a server, no compression, no 0-RTT unless asked for, no
 * truncated HMAC, and always offers renegotiation_info and extended_master_secret (RFC
 * 9325 3.3, 3.5, 3.10, 4.6); of TLS 1.3 it knows only psk_dhe_ke (RFC 9325 3.4). So only the lists
 * stand here.
 */
#include "tls/policy.h"

#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/obj.h>
#include <openssl/rsa.h>

/* RFC 9325 4.2: ECDHE and AEAD only. Brackets: equal for us, the client's order counts (ChaCha20 on
 * small machines). */
static const char suites_tls12[] = "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]:"
				   "ECDHE-ECDSA-AES256-GCM-SHA384:"
				   "[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]:"
				   "ECDHE-RSA-AES256-GCM-SHA384";

/* RFC 9155 3, 4: neither offered nor used with SHA-1 or MD5. */
static const uint16_t signature_algorithms[] = {
	SSL_SIGN_ECDSA_SECP256R1_SHA256, SSL_SIGN_ECDSA_SECP384R1_SHA384,
	SSL_SIGN_ECDSA_SECP521R1_SHA512, SSL_SIGN_RSA_PSS_RSAE_SHA256,
	SSL_SIGN_RSA_PKCS1_SHA256,       SSL_SIGN_RSA_PSS_RSAE_SHA384,
	SSL_SIGN_RSA_PKCS1_SHA384,       SSL_SIGN_RSA_PSS_RSAE_SHA512,
	SSL_SIGN_RSA_PKCS1_SHA512,
};

static bool policy_set_groups(SSL_CTX *ctx)
{
#ifdef SSL_GROUP_X25519_MLKEM768
	static const uint16_t groups[] = {
		SSL_GROUP_X25519_MLKEM768,
		SSL_GROUP_X25519,
		SSL_GROUP_SECP256R1,
		SSL_GROUP_SECP384R1,
	};

	return SSL_CTX_set1_group_ids(ctx, groups, PN_ARRAY_SIZE(groups)) == 1;
#else
	static const int groups[] = { NID_X25519, NID_X9_62_prime256v1, NID_secp384r1 };

	return SSL_CTX_set1_curves(ctx, groups, PN_ARRAY_SIZE(groups)) == 1;
#endif
}

SSL_CTX *pn_tls_policy_context_new(bool has_tls12)
{
	/* The "with buffers" method parses no certificate on its own: a server needs none, a
	 * client's are in verify.c. */
	SSL_CTX *ctx = SSL_CTX_new(TLS_with_buffers_method());
	size_t count = PN_ARRAY_SIZE(signature_algorithms);

	if (!ctx)
		return NULL;
	/* RFC 8996 4, 5 and RFC 9325 3.1.1 */
	if (!SSL_CTX_set_min_proto_version(ctx, has_tls12 ? TLS1_2_VERSION : TLS1_3_VERSION) ||
	    !SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) ||
	    !SSL_CTX_set_strict_cipher_list(ctx, suites_tls12) || !policy_set_groups(ctx) ||
	    !SSL_CTX_set_signing_algorithm_prefs(ctx, signature_algorithms, count) ||
	    !SSL_CTX_set_verify_algorithm_prefs(ctx, signature_algorithms, count)) {
		SSL_CTX_free(ctx);
		ERR_clear_error();
		return NULL;
	}
	SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
	/* Resumption is by tickets alone: no state of past connections. */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	return ctx;
}

SSL *pn_tls_policy_ssl_new(SSL_CTX *ctx)
{
	SSL *ssl = SSL_new(ctx);

	if (!ssl) {
		ERR_clear_error();
		return NULL;
	}
	SSL_set_shed_handshake_config(ssl, 1);
	SSL_set_renegotiate_mode(ssl, ssl_renegotiate_never);
	return ssl;
}

bool pn_tls_policy_is_weak_signature(int signature_nid)
{
	int digest_nid;
	int key_nid;

	if (!OBJ_find_sigid_algs(signature_nid, &digest_nid, &key_nid))
		return true;
	return digest_nid == NID_md5 || digest_nid == NID_md4 || digest_nid == NID_sha1 ||
	       digest_nid == NID_md5_sha1;
}

const char *pn_tls_policy_key_problem(const EVP_PKEY *key)
{
	switch (EVP_PKEY_id(key)) {
	case EVP_PKEY_RSA:
		return EVP_PKEY_bits(key) < 2048 ? "its RSA key is shorter than 2048 bits" : NULL;
	case EVP_PKEY_EC:
		switch (EC_GROUP_get_curve_name(EC_KEY_get0_group(EVP_PKEY_get0_EC_KEY(key)))) {
		case NID_X9_62_prime256v1:
		case NID_secp384r1:
		case NID_secp521r1:
			return NULL;
		default:
			return "its curve is none of P-256, P-384, P-521";
		}
	default:
		return "its key is neither RSA nor ECDSA";
	}
}

const char *pn_tls_policy_reason(const char *fallback)
{
	uint32_t code = ERR_peek_error();
	const char *text = code ? ERR_reason_error_string(code) : NULL;

	ERR_clear_error();
	return text ? text : fallback;
}
