/* SPDX-License-Identifier: ISC */
/* certificate.c - see certificate.h. */
#include "tls/certificate.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/obj.h>
#include <openssl/pem.h>
#include <openssl/pool.h>
#include <openssl/x509v3.h>

#include "tls/policy.h"

#define DAY_S INT64_C(86400)

/* A read-only BIO over borrowed octets, or NULL. */
static BIO *pem_bio(struct pn_slice pem)
{
	if (pem.len == 0 || pem.len > INT_MAX)
		return NULL;
	return BIO_new_mem_buf(pem.ptr, (int)pem.len);
}

static bool pem_is_certificate(const char *name)
{
	return strcmp(name, PEM_STRING_X509) == 0 || strcmp(name, PEM_STRING_X509_OLD) == 0;
}

int pn_tls_pem_each(struct pn_slice pem, pn_tls_pem_fn fn, void *arg)
{
	BIO *bio = pem_bio(pem);
	int result = 0;
	char *name;
	char *header;
	uint8_t *data;
	long len;

	ERR_clear_error();
	while (bio && result == 0 && PEM_read_bio(bio, &name, &header, &data, &len)) {
		if (pem_is_certificate(name)) {
			CRYPTO_BUFFER *der = CRYPTO_BUFFER_new(data, (size_t)len, NULL);

			result = der ? fn(arg, der) : -ENOMEM;
			CRYPTO_BUFFER_free(der);
		}
		OPENSSL_free(name);
		OPENSSL_free(header);
		OPENSSL_free(data); /* wiped: it may be a key of the same file */
	}
	BIO_free(bio);
	/* The end of the text is NO_START_LINE; anything else is a block that does not decode. */
	if (result == 0 && ERR_peek_error() != 0 &&
	    ERR_GET_REASON(ERR_peek_error()) != PEM_R_NO_START_LINE)
		return -EBADMSG;
	if (result == 0)
		ERR_clear_error();
	return result;
}

/* The password callback: there is nobody to ask. */
static int pem_no_password(char *buf, int size, int rwflag, void *arg)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	*(bool *)arg = true;
	return 0;
}

static int certificate_load_key(struct pn_tls_certificate *c,
				const struct pn_tls_certificate_pem *pem, struct pn_error *err)
{
	BIO *bio = pem_bio(pem->key_pem);
	bool is_encrypted = false;

	if (bio)
		c->key = PEM_read_bio_PrivateKey(bio, NULL, pem_no_password, &is_encrypted);
	BIO_free(bio);
	if (c->key)
		return 0;
	if (is_encrypted)
		return pn_error_set(
			err,
			"%s: the private key is encrypted; write it without a pass phrase "
			"(openssl pkey -in FILE -out NEW) and protect it by its file mode",
			pem->key_path);
	bool is_none = ERR_GET_REASON(ERR_peek_error()) == PEM_R_NO_START_LINE;
	const char *reason = pn_tls_policy_reason("the file is empty");
	return pn_error_set(err,
			    "%s: no usable private key in PEM format (%s); name the file with BEGIN PRIVATE KEY that "
			    "was made together with the certificate",
			    pem->key_path, is_none ? "no such block is in it" : reason);
}

static int certificate_add_to_chain(void *arg, CRYPTO_BUFFER *der)
{
	struct pn_tls_certificate *c = arg;

	if (c->chain_count == PN_TLS_CHAIN_MAX)
		return -E2BIG;
	CRYPTO_BUFFER_up_ref(der);
	c->chain[c->chain_count++] = der;
	return 0;
}

static int certificate_load_chain(struct pn_tls_certificate *c,
				  const struct pn_tls_certificate_pem *pem, struct pn_error *err)
{
	int result = pn_tls_pem_each(pem->chain_pem, certificate_add_to_chain, c);

	if (result == -E2BIG)
		return pn_error_set(err,
				    "%s: more than %d certificates; this must be one server's "
				    "chain, not a list of roots",
				    c->chain_path, PN_TLS_CHAIN_MAX);
	if (result != 0)
		return pn_error_set(err, "%s: a certificate does not decode (%s)", c->chain_path,
				    pn_tls_policy_reason("out of memory"));
	if (c->chain_count == 0)
		return pn_error_set(err,
				    "%s: no certificate found; expected PEM, the server's "
				    "certificate first, then the "
				    "intermediate ones",
				    c->chain_path);
	return 0;
}

static void certificate_warn(struct pn_tls_certificate *c, const char *text)
{
	if (c->warning[0] == '\0')
		(void)snprintf(c->warning, sizeof(c->warning), "%s: %s", c->chain_path, text);
}

/* Key type, key size, and that key and certificate belong together (RFC 9325 4.5). */
static int certificate_check_key(struct pn_tls_certificate *c, EVP_PKEY *public_key,
				 const char *key_path, struct pn_error *err)
{
	const char *problem;

	if (!public_key)
		return pn_error_set(err, "%s: the public key cannot be read (%s)", c->chain_path,
				    pn_tls_policy_reason("unknown kind"));
	problem = pn_tls_policy_key_problem(public_key);
	if (problem)
		return pn_error_set(err,
				    "%s: this certificate cannot be used, %s; get one with an "
				    "ECDSA P-256 or an RSA 2048 "
				    "key",
				    c->chain_path, problem);
	if (EVP_PKEY_cmp(public_key, c->key) != 1) {
		ERR_clear_error();
		return pn_error_set(err,
				    "%s: the private key does not belong to the certificate in %s; "
				    "name the key that the "
				    "certificate was issued for",
				    key_path, c->chain_path);
	}
	c->kind = EVP_PKEY_id(public_key) == EVP_PKEY_RSA ? PN_TLS_KEY_RSA : PN_TLS_KEY_ECDSA;
	if (c->kind == PN_TLS_KEY_RSA)
		return 0;
	switch (EC_GROUP_get_curve_name(EC_KEY_get0_group(EVP_PKEY_get0_EC_KEY(public_key)))) {
	case NID_secp384r1:
		c->ecdsa_algorithm = SSL_SIGN_ECDSA_SECP384R1_SHA384;
		c->ecdsa_group = SSL_CURVE_SECP384R1;
		break;
	case NID_secp521r1:
		c->ecdsa_algorithm = SSL_SIGN_ECDSA_SECP521R1_SHA512;
		c->ecdsa_group = SSL_CURVE_SECP521R1;
		break;
	default:
		c->ecdsa_algorithm = SSL_SIGN_ECDSA_SECP256R1_SHA256;
		c->ecdsa_group = SSL_CURVE_SECP256R1;
		break;
	}
	return 0;
}

static int asn1_time_s(const ASN1_TIME *t, int64_t *ret)
{
	ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
	int days;
	int seconds;
	int ok = epoch && ASN1_TIME_diff(&days, &seconds, epoch, t);

	ASN1_TIME_free(epoch);
	if (!ok) {
		ERR_clear_error();
		return -1;
	}
	*ret = (int64_t)days * DAY_S + seconds;
	return 0;
}

int pn_tls_certificate_check_dates(struct pn_tls_certificate *c, int64_t now_s,
				   struct pn_error *err)
{
	char text[96];

	if (now_s < c->not_before_s)
		return pn_error_set(
			err,
			"%s: the certificate is not valid yet; check the clock of this machine",
			c->chain_path);
	if (now_s >= c->not_after_s)
		return pn_error_set(err,
				    "%s: the certificate expired %" PRId64 " days ago; renew it",
				    c->chain_path, (now_s - c->not_after_s) / DAY_S);
	if (c->not_after_s - now_s < PN_TLS_EXPIRY_WARNING_DAYS * DAY_S) {
		(void)snprintf(text, sizeof(text),
			       "the certificate expires in %" PRId64 " days; renew it",
			       (c->not_after_s - now_s) / DAY_S);
		certificate_warn(c, text);
	}
	return 0;
}

/* RFC 9325 4.5: neither SHA-1 nor MD5, except in a root's signature on itself, which nobody
 * verifies. */
static int certificate_check_signature(const struct pn_tls_certificate *c, X509 *x,
				       struct pn_error *err)
{
	if (X509_check_issued(x, x) == X509_V_OK ||
	    !pn_tls_policy_is_weak_signature(X509_get_signature_nid(x)))
		return 0;
	return pn_error_set(err,
			    "%s: a certificate in the chain is signed with SHA-1 or another broken "
			    "hash; have it issued "
			    "again with SHA-256",
			    c->chain_path);
}

/* Everything that concerns the certificates above the leaf. */
static int certificate_check_chain(struct pn_tls_certificate *c, X509 *leaf, struct pn_error *err)
{
	X509 *below = leaf;
	int result = certificate_check_signature(c, leaf, err);

	X509_up_ref(below);
	for (size_t i = 1; i < c->chain_count && result == 0; i++) {
		X509 *x = X509_parse_from_buffer(c->chain[i]);

		if (!x) {
			result = pn_error_set(
				err, "%s: certificate %zu of the chain does not decode (%s)",
				c->chain_path, i + 1, pn_tls_policy_reason("out of memory"));
			break;
		}
		result = certificate_check_signature(c, x, err);
		if (X509_check_issued(x, below) != X509_V_OK)
			certificate_warn(c, "the certificates are out of order or unrelated; the "
					    "server's must come first, each "
					    "followed by its issuer");
		X509_free(below);
		below = x;
	}
	X509_free(below);
	ERR_clear_error();
	return result;
}

static int certificate_check_leaf(struct pn_tls_certificate *c, X509 *leaf, int64_t now_s,
				  struct pn_error *err)
{
	if (asn1_time_s(X509_get0_notBefore(leaf), &c->not_before_s) != 0 ||
	    asn1_time_s(X509_get0_notAfter(leaf), &c->not_after_s) != 0)
		return pn_error_set(err, "%s: the certificate's dates cannot be read",
				    c->chain_path);
	if (pn_tls_certificate_check_dates(c, now_s, err) != 0)
		return -1;
	if (pn_tls_names_read(leaf, false, &c->names) != 0)
		return pn_error_set(err, "out of memory");
	if (c->names.count == 0)
		certificate_warn(c, "the certificate names no host (no DNS entry in "
				    "subjectAltName); clients will not trust it");
	return 0;
}

int pn_tls_certificate_load(struct pn_tls_certificate *ret,
			    const struct pn_tls_certificate_pem *pem, int64_t now_s,
			    struct pn_error *err)
{
	EVP_PKEY *public_key = NULL;
	X509 *leaf = NULL;
	int result = -1;

	*ret = (struct pn_tls_certificate){ .chain_path = strdup(pem->chain_path ? pem->chain_path
										 : "certificate") };
	ERR_clear_error();
	if (!ret->chain_path) {
		(void)pn_error_set(err, "out of memory");
		return -1;
	}
	if (certificate_load_chain(ret, pem, err) == 0 &&
	    certificate_load_key(ret, pem, err) == 0) {
		leaf = X509_parse_from_buffer(ret->chain[0]);
		public_key = leaf ? X509_get_pubkey(leaf) : NULL;
		if (!leaf)
			(void)pn_error_set(err, "%s: the certificate does not decode (%s)",
					   ret->chain_path, pn_tls_policy_reason("out of memory"));
		else if (certificate_check_key(ret, public_key, pem->key_path, err) == 0 &&
			 certificate_check_leaf(ret, leaf, now_s, err) == 0)
			result = certificate_check_chain(ret, leaf, err);
	}
	EVP_PKEY_free(public_key);
	X509_free(leaf);
	if (result != 0)
		pn_tls_certificate_clear(ret);
	ERR_clear_error();
	return result;
}

void pn_tls_certificate_clear(struct pn_tls_certificate *c)
{
	for (size_t i = 0; i < c->chain_count; i++)
		CRYPTO_BUFFER_free(c->chain[i]);
	EVP_PKEY_free(c->key);
	SSL_CTX_free(c->ctx);
	pn_tls_names_free(&c->names);
	free(c->chain_path);
	*c = (struct pn_tls_certificate){ .chain_count = 0 };
}

const char *pn_tls_key_kind_name(enum pn_tls_key_kind kind)
{
	return kind == PN_TLS_KEY_RSA ? "RSA" : "ECDSA";
}
