/* SPDX-License-Identifier: ISC */
/* conn.c - one handshake over the caller's buffers. What comes after it are records. */
#include "tls/conn.h"

#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/err.h>

#include <postern/base/secret.h>

#include "tls/client.h"
#include "tls/gcm.h"
#include "tls/ktls.h"
#include "tls/policy.h"
#include "tls/record_aead.h"
#include "tls/server.h"

#define STRINGIFY_1(x) #x
#define STRINGIFY(x)   STRINGIFY_1(x)

static struct pn_tls_conn *conn_new(SSL_CTX *ctx)
{
	struct pn_tls_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return NULL;
	conn->fd = -1;
	conn->ssl = pn_tls_policy_ssl_new(ctx);
	if (!conn->ssl || pn_tls_io_attach(&conn->io, conn->ssl) != 0) {
		pn_tls_conn_free(conn);
		return NULL;
	}
	conn->io.conn = conn;
	return conn;
}

struct pn_tls_conn *pn_tls_conn_new_server(struct pn_tls_server *s)
{
	struct pn_tls_conn *conn = conn_new(pn_tls_server_context(s));

	if (!conn)
		return NULL;
	conn->server = pn_tls_server_ref(s);
	SSL_set_accept_state(conn->ssl);
	return conn;
}

struct pn_tls_conn *pn_tls_conn_new_client(struct pn_tls_client *c, const char *name)
{
	struct pn_tls_conn *conn = conn_new(pn_tls_client_context(c));

	if (!conn)
		return NULL;
	conn->client = pn_tls_client_ref(c);
	SSL_set_connect_state(conn->ssl);
	if (pn_tls_client_set_name(conn, name) != 0) {
		/* Shown by the first pn_tls_handshake(): a wrong name is the configuration's fault,
		 * not lack of memory. */
		conn->state = PN_TLS_CONN_FAILED;
		conn->error = "the configured name is neither a host name nor an address";
	}
	return conn;
}

void pn_tls_conn_set_socket(struct pn_tls_conn *conn, int fd, bool is_kernel_wanted)
{
	int result;

	if (!is_kernel_wanted || !pn_ktls_is_usable(pn_ktls_probe()))
		return;
	/* Now, while the peer is there for certain: on a socket that the peer has half closed it is
	 * too late. Until keys are set it changes nothing. */
	result = pn_ktls_socket_install(fd);
	if (result == 0)
		conn->fd = fd;
	else
		pn_ktls_count_not_moved(result);
}

void pn_tls_conn_keep_library(struct pn_tls_conn *conn)
{
	conn->is_library_kept = true;
}

void pn_tls_conn_free(struct pn_tls_conn *conn)
{
	if (!conn)
		return;
	SSL_free(conn->ssl);
	pn_tls_server_unref(conn->server);
	pn_tls_client_unref(conn->client);
	free(conn);
}

struct pn_tls_tickets *pn_tls_conn_tickets(const struct pn_tls_conn *conn)
{
	return conn->server->tickets;
}

static enum pn_record_status conn_fail(struct pn_tls_conn *conn)
{
	const char *reason = pn_tls_policy_reason("out of memory");

	conn->state = PN_TLS_CONN_FAILED;
	/* A verdict on the certificate says more than BoringSSL's CERTIFICATE_VERIFY_FAILED. */
	if (!conn->error)
		conn->error = conn->io.is_out_full ? "output buffer full" : reason;
	return PN_RECORD_FAILED;
}

enum pn_record_status pn_tls_handshake(struct pn_tls_conn *conn, struct pn_slice *in,
				       struct pn_buf *out)
{
	bool is_done;
	bool needs_input;
	int result;

	PN_ASSERT(conn->state != PN_TLS_CONN_HOLLOW);
	if (conn->state != PN_TLS_CONN_RUNNING)
		return conn->state == PN_TLS_CONN_DONE ? PN_RECORD_OK : PN_RECORD_FAILED;
	conn->io.in = *in;
	conn->io.out = out;
	ERR_clear_error();
	result = SSL_do_handshake(conn->ssl);
	is_done = result == 1;
	needs_input = !is_done && !conn->io.is_out_full &&
		      SSL_get_error(conn->ssl, result) == SSL_ERROR_WANT_READ;
	*in = conn->io.in;
	conn->io.in = PN_SLICE_NULL;
	conn->io.out = NULL;
	if (needs_input) {
		ERR_clear_error();
		return PN_RECORD_WANT;
	}
	if (!is_done)
		return conn_fail(conn);
	ERR_clear_error();
	conn->state = PN_TLS_CONN_DONE;
	return PN_RECORD_OK;
}

const char *pn_tls_conn_error(const struct pn_tls_conn *conn)
{
	return conn->error ? conn->error : "no error";
}

/* Our own records, or NULL: it stays on BoringSSL's, and why is counted. */
static struct pn_record *conn_own_record(struct pn_tls_conn *conn)
{
	struct pn_record *record = NULL;
	struct pn_tls_keys keys = { .is_server = conn->server != NULL };

	if (conn->is_library_kept)
		return NULL;
	if (!pn_tls_suite_of(conn->ssl, &keys.suite)) {
		pn_record_count(PN_RECORD_C_kept_suite);
	} else if (keys.suite.version == TLS1_3_VERSION && conn->client &&
		   conn->client->sessions_max > 0) {
		/* They come later (RFC 8446 4.6.1), and only BoringSSL makes sessions of them. */
		pn_record_count(PN_RECORD_C_kept_tickets);
	} else if (conn->io.record_have > 0 || pn_tls_keys_of(conn->ssl, &keys) != 0) {
		pn_record_count(PN_RECORD_C_kept_keys);
	} else {
		record = pn_record_aead_new(&keys, conn->ssl, &conn->io);
		if (!record)
			pn_record_count(PN_RECORD_C_kept_memory);
	}
	pn_wipe(&keys, sizeof(keys));
	return record;
}

/* What the kernel may take over later. */
static void conn_offer_kernel(const struct pn_tls_conn *conn, struct pn_record *own)
{
	struct pn_tls_suite suite;

	if (!own)
		pn_ktls_count(PN_KTLS_C_not_moved_keys);
	else if (pn_tls_suite_of(conn->ssl, &suite) && pn_ktls_suite_ability(&suite).can_receive)
		pn_record_aead_offer_kernel(own, conn->fd);
	else
		pn_ktls_count(PN_KTLS_C_not_moved_suite);
}

struct pn_record *pn_tls_conn_finish(struct pn_tls_conn *conn, struct pn_tls_facts *ret_facts)
{
	struct pn_record *record;

	PN_ASSERT(conn->state == PN_TLS_CONN_DONE);
	pn_tls_facts_fill(ret_facts, conn);
	record = conn_own_record(conn);
	if (conn->fd >= 0)
		conn_offer_kernel(conn, record);
	if (record)
		SSL_free(conn->ssl);
	else
		record = pn_record_boringssl_new(conn->ssl, &conn->io);
	if (!record)
		return NULL;
	conn->ssl = NULL;
	conn->state = PN_TLS_CONN_HOLLOW;
	return record;
}

const char *pn_tls_library_version(void)
{
	return "BoringSSL (API " STRINGIFY(BORINGSSL_API_VERSION) ")";
}

const char *pn_tls_gcm_library(void)
{
	return pn_gcm_is_usable() ? pn_gcm_name() : "BoringSSL";
}
