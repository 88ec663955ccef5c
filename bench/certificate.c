/* SPDX-License-Identifier: ISC */
/* certificate.c - see certificate.h. */
#include "certificate.h"

#include <openssl/bn.h>
#include <openssl/ec_key.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

static bool make_rsa(EVP_PKEY *key)
{
	RSA *rsa = RSA_new();
	BIGNUM *exponent = BN_new();
	bool ok = rsa && exponent && BN_set_word(exponent, RSA_F4) &&
		  RSA_generate_key_ex(rsa, 2048, exponent, NULL) && EVP_PKEY_set1_RSA(key, rsa);

	BN_free(exponent);
	RSA_free(rsa);
	return ok;
}

static bool make_ec(EVP_PKEY *key)
{
	EC_KEY *ec = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);
	bool ok = ec && EC_KEY_generate_key(ec) && EVP_PKEY_set1_EC_KEY(key, ec);

	EC_KEY_free(ec);
	return ok;
}

static bool add_san(X509 *x)
{
	X509_EXTENSION *san =
		X509V3_EXT_nconf_nid(NULL, NULL, NID_subject_alt_name, "DNS:localhost");
	bool ok = san && X509_add_ext(x, san, -1);

	X509_EXTENSION_free(san);
	return ok;
}

static bool sign(X509 *x, EVP_PKEY *key)
{
	X509_NAME *name = X509_get_subject_name(x);

	return X509_set_version(x, X509_VERSION_3) &&
	       ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), 1) &&
	       X509_gmtime_adj(X509_getm_notBefore(x), -3600) &&
	       X509_gmtime_adj(X509_getm_notAfter(x), 30L * 86400) &&
	       X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"localhost",
					  -1, -1, 0) &&
	       X509_set_issuer_name(x, name) && X509_set_pubkey(x, key) && add_san(x) &&
	       X509_sign(x, key, EVP_sha256()) > 0;
}

bool pn_bench_certificate_make(struct pn_bench_certificate *c, bool is_rsa)
{
	c->key = EVP_PKEY_new();
	c->x509 = X509_new();
	if (c->key && c->x509 && (is_rsa ? make_rsa(c->key) : make_ec(c->key)) &&
	    sign(c->x509, c->key))
		return true;
	pn_bench_certificate_free(c);
	return false;
}

static bool take(BIO *bio, struct pn_buf *out)
{
	const uint8_t *data;
	size_t len;

	return BIO_mem_contents(bio, &data, &len) && pn_buf_append(out, data, len) == 0;
}

bool pn_bench_certificate_pem(const struct pn_bench_certificate *c, struct pn_buf *chain,
			      struct pn_buf *key)
{
	BIO *a = BIO_new(BIO_s_mem());
	BIO *b = BIO_new(BIO_s_mem());
	bool ok = a && b && PEM_write_bio_X509(a, c->x509) && take(a, chain) &&
		  PEM_write_bio_PrivateKey(b, c->key, NULL, NULL, 0, NULL, NULL) && take(b, key);

	BIO_free(a);
	BIO_free(b);
	return ok;
}

void pn_bench_certificate_free(struct pn_bench_certificate *c)
{
	EVP_PKEY_free(c->key);
	X509_free(c->x509);
	*c = (struct pn_bench_certificate){ 0 };
}
