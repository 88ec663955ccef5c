/* SPDX-License-Identifier: ISC */
/*
 * sni.c - which certificate a client gets: by the name it asks for (RFC 6066 3) and by what it can
 * verify.
 *
 * Runs inside of the ClientHello callback, before BoringSSL has chosen anything. ECDSA is preferred
 * (its signature costs a twentieth of RSA's); RSA is for clients that do not offer our ECDSA
 * algorithm. Each certificate has an SSL_CTX of its own, because this BoringSSL has one key per
 * SSL_CTX: SSL_set_SSL_CTX() copies a few references, while SSL_set_chain_and_key() would parse the
 * leaf and compare the keys in each handshake. Tickets and sessions stay with the first context
 * (BoringSSL keeps it as session_ctx), so the choice does not hinder resumption.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bytestring.h>

#include "tls/conn.h"
#include "tls/server.h"

/* What a ClientHello says about the certificates that its sender can use. Borrowed from the hello.
 */
struct client_offer {
	CBS algorithms; /* u16 each; empty when the extension is missing */
	CBS groups;     /* the same */
	CBS suites;
	bool has_groups;
	bool has_tls13;
};

static int entry_compare(const void *a, const void *b)
{
	return strcmp(((const struct pn_tls_sni_entry *)a)->name,
		      ((const struct pn_tls_sni_entry *)b)->name);
}

/* Sorts and makes one entry of those with the same name. */
static void table_finish(struct pn_tls_sni_table *t)
{
	size_t kept = 0;

	if (t->count == 0)
		return;
	/* Certificates were added in the order of the configuration; equal names may change places,
	 * so the kinds are merged by the position of the certificate in its array. */
	qsort(t->entries, t->count, sizeof(*t->entries), entry_compare);
	for (size_t i = 1; i < t->count; i++) {
		struct pn_tls_sni_entry *to = &t->entries[kept];
		const struct pn_tls_sni_entry *from = &t->entries[i];

		if (strcmp(to->name, from->name) != 0) {
			t->entries[++kept] = *from;
			continue;
		}
		for (size_t kind = 0; kind < PN_TLS_KEY_KIND_COUNT; kind++)
			if (from->by_kind[kind] &&
			    (!to->by_kind[kind] || from->by_kind[kind] < to->by_kind[kind]))
				to->by_kind[kind] = from->by_kind[kind];
	}
	t->count = kept + 1;
}

static void table_add(struct pn_tls_sni_table *t, const char *name,
		      const struct pn_tls_certificate *c)
{
	struct pn_tls_sni_entry *entry = &t->entries[t->count++];

	*entry = (struct pn_tls_sni_entry){ .name = name };
	entry->by_kind[c->kind] = c;
}

int pn_tls_sni_build(struct pn_tls_server *s)
{
	size_t names = 1; /* calloc of nothing may give NULL */

	for (size_t i = 0; i < s->certificate_count; i++)
		names += s->certificates[i].names.count;
	s->exact.entries = calloc(names, sizeof(*s->exact.entries));
	s->wildcards.entries = calloc(names, sizeof(*s->wildcards.entries));
	if (!s->exact.entries || !s->wildcards.entries)
		return -ENOMEM;
	s->defaults.name = "";
	for (size_t i = 0; i < s->certificate_count; i++) {
		const struct pn_tls_certificate *c = &s->certificates[i];

		if (!s->defaults.by_kind[c->kind])
			s->defaults.by_kind[c->kind] = c;
		for (size_t n = 0; n < c->names.count; n++) {
			if (c->names.list[n][0] == '*')
				table_add(&s->wildcards, c->names.list[n] + 2, c);
			else
				table_add(&s->exact, c->names.list[n], c);
		}
	}
	table_finish(&s->exact);
	table_finish(&s->wildcards);
	return 0;
}

void pn_tls_sni_clear(struct pn_tls_server *s)
{
	free(s->exact.entries);
	free(s->wildcards.entries);
}

static const struct pn_tls_sni_entry *table_find(const struct pn_tls_sni_table *t, const char *name)
{
	struct pn_tls_sni_entry key = { .name = name };

	return bsearch(&key, t->entries, t->count, sizeof(key), entry_compare);
}

/* The certificates for a name: its own, filled up with those of the wildcard above it. False when
 * there is neither. */
static bool sni_find(const struct pn_tls_server *s, const char *sni, struct pn_tls_sni_entry *ret)
{
	char name[PN_TLS_NAME_SIZE];
	const struct pn_tls_sni_entry *exact;
	const struct pn_tls_sni_entry *wild = NULL;
	const char *dot;

	/* A "*" label is no host name. */
	if (!pn_tls_name_normalize(name, sni, strlen(sni)) || name[0] == '*')
		return false;
	exact = table_find(&s->exact, name);
	dot = strchr(name, '.');
	if (dot)
		wild = table_find(&s->wildcards, dot + 1);
	if (!exact && !wild)
		return false;
	*ret = exact ? *exact : *wild;
	for (size_t kind = 0; wild && kind < PN_TLS_KEY_KIND_COUNT; kind++)
		if (!ret->by_kind[kind])
			ret->by_kind[kind] = wild->by_kind[kind];
	return true;
}

static bool list_has(CBS list, uint16_t wanted)
{
	uint16_t value;

	while (CBS_get_u16(&list, &value))
		if (value == wanted)
			return true;
	return false;
}

static bool list_has_any(CBS list, const uint16_t *wanted, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (list_has(list, wanted[i]))
			return true;
	return false;
}

/* The list in an extension; false when the extension is missing or broken (BoringSSL judges that
 * later). */
static bool offer_list(const SSL_CLIENT_HELLO *hello, uint16_t extension, bool has_short_length,
		       CBS *ret)
{
	const uint8_t *data;
	size_t len;
	CBS cbs;

	CBS_init(ret, NULL, 0);
	if (!SSL_early_callback_ctx_extension_get(hello, extension, &data, &len))
		return false;
	CBS_init(&cbs, data, len);
	return has_short_length ? CBS_get_u8_length_prefixed(&cbs, ret)
				: CBS_get_u16_length_prefixed(&cbs, ret);
}

static void offer_read(struct client_offer *offer, const SSL_CLIENT_HELLO *hello)
{
	CBS versions;

	(void)offer_list(hello, TLSEXT_TYPE_signature_algorithms, false, &offer->algorithms);
	offer->has_groups = offer_list(hello, TLSEXT_TYPE_supported_groups, false, &offer->groups);
	offer->has_tls13 = offer_list(hello, TLSEXT_TYPE_supported_versions, true, &versions) &&
			   list_has(versions, TLS1_3_VERSION);
	CBS_init(&offer->suites, hello->cipher_suites, hello->cipher_suites_len);
}

/* IANA numbers: ECDHE_ECDSA with AES-128-GCM, AES-256-GCM, ChaCha20; the same with RSA. */
static const uint16_t suites_ecdsa[] = { 0xc02b, 0xc02c, 0xcca9 };
static const uint16_t suites_rsa[] = { 0xc02f, 0xc030, 0xcca8 };
static const uint16_t algorithms_rsa13[] = {
	SSL_SIGN_RSA_PSS_RSAE_SHA256,
	SSL_SIGN_RSA_PSS_RSAE_SHA384,
	SSL_SIGN_RSA_PSS_RSAE_SHA512,
};
static const uint16_t algorithms_rsa12[] = {
	SSL_SIGN_RSA_PKCS1_SHA256,
	SSL_SIGN_RSA_PKCS1_SHA384,
	SSL_SIGN_RSA_PKCS1_SHA512,
};

static bool offer_accepts(const struct client_offer *offer, const struct pn_tls_certificate *c)
{
	if (c->kind == PN_TLS_KEY_ECDSA) {
		if (!list_has(offer->algorithms, c->ecdsa_algorithm))
			return false;
		/* RFC 8422 5.1: in TLS 1.2 the certificate's curve must be among the groups. */
		return offer->has_tls13 ||
		       (list_has_any(offer->suites, suites_ecdsa, PN_ARRAY_SIZE(suites_ecdsa)) &&
			(!offer->has_groups || list_has(offer->groups, c->ecdsa_group)));
	}
	if (list_has_any(offer->algorithms, algorithms_rsa13, PN_ARRAY_SIZE(algorithms_rsa13)) &&
	    offer->has_tls13)
		return true;
	return !offer->has_tls13 &&
	       list_has_any(offer->suites, suites_rsa, PN_ARRAY_SIZE(suites_rsa)) &&
	       (list_has_any(offer->algorithms, algorithms_rsa12,
			     PN_ARRAY_SIZE(algorithms_rsa12)) ||
		list_has_any(offer->algorithms, algorithms_rsa13, PN_ARRAY_SIZE(algorithms_rsa13)));
}

/* The first kind that the client can use; if none, any, so that BoringSSL fails with the alert that
 * fits. */
static const struct pn_tls_certificate *entry_choose(const struct pn_tls_sni_entry *entry,
						     const struct client_offer *offer)
{
	const struct pn_tls_certificate *any = NULL;

	for (size_t kind = 0; kind < PN_TLS_KEY_KIND_COUNT; kind++) {
		const struct pn_tls_certificate *c = entry->by_kind[kind];

		if (c && offer_accepts(offer, c))
			return c;
		if (c && !any)
			any = c;
	}
	return any;
}

static enum ssl_select_cert_result_t sni_select(const SSL_CLIENT_HELLO *hello)
{
	struct pn_tls_conn *conn = pn_tls_io_of(hello->ssl)->conn;
	const struct pn_tls_server *s = conn->server;
	const char *sni = SSL_get_servername(hello->ssl, TLSEXT_NAMETYPE_host_name);
	struct pn_tls_sni_entry entry = s->defaults;
	struct client_offer offer;
	const struct pn_tls_certificate *c;

	offer_read(&offer, hello);
	conn->is_sni_unknown = sni && !sni_find(s, sni, &entry);
	c = entry_choose(&entry, &offer);
	if (!SSL_set_SSL_CTX(hello->ssl, c->ctx))
		return ssl_select_cert_error;
	return ssl_select_cert_success;
}

/* The only place from which BoringSSL sends unrecognized_name (RFC 6066 3). */
static int sni_answer(SSL *ssl, int *alert, void *arg)
{
	const struct pn_tls_conn *conn = pn_tls_io_of(ssl)->conn;

	(void)arg;
	if (!conn->is_sni_unknown)
		return SSL_TLSEXT_ERR_OK;
	if (!conn->server->is_sni_strict)
		return SSL_TLSEXT_ERR_NOACK;
	*alert = SSL_AD_UNRECOGNIZED_NAME;
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

void pn_tls_sni_install(SSL_CTX *ctx)
{
	SSL_CTX_set_select_certificate_cb(ctx, sni_select);
	SSL_CTX_set_tlsext_servername_callback(ctx, sni_answer);
}
