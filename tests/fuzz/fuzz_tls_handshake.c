/* SPDX-License-Identifier: ISC */
/*
 * fuzz_tls_handshake.c - whatever a peer sends first, to our server and to our client side.
 *
 * Octet 0: bit 0 chooses the side, bit 1 strict SNI, the rest how the input is cut (0: whole).
 * Found here would be: a crash, input left over although more was wanted, an output without bound,
 * an error queue that was not cleared.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/ec_key.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <postern/tls/tls.h>

#define OUT_MAX 65536

static struct pn_tls_server *servers[2]; /* lenient, strict */
static struct pn_tls_client *client;
static struct pn_tls_tickets *tickets;

static struct pn_slice bio_slice(BIO *bio)
{
	const uint8_t *data;
	size_t len;

	PN_ASSERT(BIO_mem_contents(bio, &data, &len));
	return pn_slice(data, len);
}

static void add_name(GENERAL_NAMES *names, const char *text)
{
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_IA5STRING *ia5 = ASN1_IA5STRING_new();

	PN_ASSERT(name && ia5 && ASN1_STRING_set(ia5, text, (int)strlen(text)));
	GENERAL_NAME_set0_value(name, GEN_DNS, ia5);
	PN_ASSERT(sk_GENERAL_NAME_push(names, name));
}

/* A self-signed P-256 certificate for two names. */
static X509 *make_certificate(EVP_PKEY *key)
{
	X509 *x = X509_new();
	GENERAL_NAMES *names = GENERAL_NAMES_new();

	PN_ASSERT(x && names && X509_set_version(x, X509_VERSION_3));
	add_name(names, "mx.example.test");
	add_name(names, "*.example.org");
	PN_ASSERT(X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT));
	GENERAL_NAMES_free(names);
	PN_ASSERT(ASN1_INTEGER_set(X509_get_serialNumber(x), 1));
	PN_ASSERT(X509_gmtime_adj(X509_getm_notBefore(x), -60));
	PN_ASSERT(X509_gmtime_adj(X509_getm_notAfter(x), 30L * 86400));
	PN_ASSERT(X509_set_pubkey(x, key) && X509_sign(x, key, EVP_sha256()));
	return x;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	EC_KEY *ec = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);
	EVP_PKEY *key = EVP_PKEY_new();
	BIO *chain_pem = BIO_new(BIO_s_mem());
	BIO *key_pem = BIO_new(BIO_s_mem());
	struct pn_tls_client_settings client_settings = { .ca_path = "roots" };
	struct pn_tls_certificate_pem pem = { .chain_path = "chain", .key_path = "key" };
	struct pn_tls_server_settings settings = { .certificates = &pem,
						   .certificate_count = 1,
						   .has_tls12 = true };
	X509 *x;

	(void)argc;
	(void)argv;
	PN_ASSERT(ec && key && EC_KEY_generate_key(ec) && EVP_PKEY_assign_EC_KEY(key, ec));
	x = make_certificate(key);
	PN_ASSERT(PEM_write_bio_X509(chain_pem, x) &&
		  PEM_write_bio_PrivateKey(key_pem, key, NULL, NULL, 0, NULL, NULL));
	pem.chain_pem = bio_slice(chain_pem);
	pem.key_pem = bio_slice(key_pem);
	client_settings.ca_pem = pem.chain_pem;
	client_settings.is_verify_required = true;
	tickets = pn_tls_tickets_new(3600);
	settings.has_tickets = true;
	settings.tickets = tickets;
	servers[0] = pn_tls_server_new(&settings, NULL);
	settings.sni_strict = true;
	servers[1] = pn_tls_server_new(&settings, NULL);
	client = pn_tls_client_new(&client_settings, NULL);
	PN_ASSERT(tickets && servers[0] && servers[1] && client);
	X509_free(x);
	EVP_PKEY_free(key);
	BIO_free(chain_pem);
	BIO_free(key_pem);
	return 0;
}

/* One piece, in an allocation of its own size. */
static enum pn_record_status feed(struct pn_tls_conn *conn, const uint8_t *data, size_t len,
				  struct pn_buf *out)
{
	uint8_t *copy = malloc(len + 1);
	enum pn_record_status status;
	struct pn_slice in;

	PN_ASSERT(copy);
	copy = realloc(copy, len ? len : 1);
	if (len > 0)
		memcpy(copy, data, len);
	in = pn_slice(copy, len);
	status = pn_tls_handshake(conn, &in, out);
	PN_ASSERT(status != PN_RECORD_WANT || in.len == 0);
	PN_ASSERT(in.len <= len && ERR_peek_error() == 0);
	PN_ASSERT(pn_tls_conn_error(conn)[0] != '\0');
	free(copy);
	return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum pn_record_status status = PN_RECORD_WANT;
	struct pn_tls_conn *conn;
	struct pn_buf out;
	size_t chunk;

	if (size < 1)
		return 0;
	conn = data[0] & 1 ? pn_tls_conn_new_client(client, "mx.example.test")
			   : pn_tls_conn_new_server(servers[data[0] >> 1 & 1]);
	chunk = data[0] >> 2 ? (size_t)(data[0] >> 2) : size;
	PN_ASSERT(conn);
	pn_buf_init(&out, OUT_MAX);
	if (data[0] & 1)
		status = feed(conn, NULL, 0, &out);
	for (size_t at = 1; at < size && status == PN_RECORD_WANT; at += chunk)
		status = feed(conn, data + at, pn_min_size(chunk, size - at), &out);
	pn_tls_conn_free(conn);
	pn_buf_free(&out);
	return 0;
}
