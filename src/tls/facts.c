/* SPDX-License-Identifier: ISC */
/* facts.c - what outlives the handshake, as plain data. */
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>

#include "tls/conn.h"

/* IANA's names of the groups (RFC 8446 4.2.7), which BoringSSL calls otherwise. */
static const char *group_name(uint16_t id)
{
	switch (id) {
	case 23:
		return "secp256r1";
	case 24:
		return "secp384r1";
	case 25:
		return "secp521r1";
	case 29:
		return "x25519";
	case 0x11ec:
		return "X25519MLKEM768";
	default:
		return "";
	}
}

/* RFC 8314 4.3: the registered name, else "0x" and four hexadecimal digits. */
static void facts_set_suite(struct pn_tls_facts *ret, const SSL_CIPHER *suite)
{
	const char *name = SSL_CIPHER_standard_name(suite);

	ret->suite_id = SSL_CIPHER_get_protocol_id(suite);
	if (name && strlen(name) < sizeof(ret->suite))
		(void)snprintf(ret->suite, sizeof(ret->suite), "%s", name);
	else
		(void)snprintf(ret->suite, sizeof(ret->suite), "0x%04X", ret->suite_id);
}

/* RFC 9266 2: with an empty context. For TLS 1.2 the default of SCRAM stays tls-unique (RFC 9266
 * 3): none here. */
static void facts_set_exporter(struct pn_tls_facts *ret, SSL *ssl)
{
	static const char label[] = "EXPORTER-Channel-Binding";

	if (ret->version < TLS1_3_VERSION)
		return;
	ret->has_exporter = SSL_export_keying_material(ssl, ret->exporter, sizeof(ret->exporter),
						       label, sizeof(label) - 1, NULL, 0, 1) == 1;
	ERR_clear_error();
}

/* RFC 8446 4.2.3's name; BoringSSL knows the same. */
static void facts_set_signature(struct pn_tls_facts *ret, const struct pn_tls_conn *conn)
{
	uint16_t id = SSL_get_peer_signature_algorithm(conn->ssl);
	const char *name = id ? SSL_get_signature_algorithm_name(id, 1) : NULL;

	if (conn->client && !ret->is_resumed && name)
		(void)snprintf(ret->signature, sizeof(ret->signature), "%s", name);
}

void pn_tls_facts_fill(struct pn_tls_facts *ret, const struct pn_tls_conn *conn)
{
	SSL *ssl = conn->ssl;
	const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	*ret = (struct pn_tls_facts){
		.version = (uint16_t)SSL_version(ssl),
		.is_resumed = SSL_session_reused(ssl) == 1,
		.is_verified = conn->is_verified,
		.is_sni_unknown = conn->is_sni_unknown,
	};
	facts_set_suite(ret, SSL_get_current_cipher(ssl));
	(void)snprintf(ret->group, sizeof(ret->group), "%s", group_name(SSL_get_curve_id(ssl)));
	facts_set_signature(ret, conn);
	/* What is no host name does not belong into logs as one. */
	if (sni && !pn_tls_name_normalize(ret->sni, sni, strlen(sni)))
		ret->sni[0] = '\0';
	facts_set_exporter(ret, ssl);
}
