/* SPDX-License-Identifier: ISC */
/*
 * records.c - sealing and opening through the record interface, over a TLS 1.3 connection in memory: by our own
 * records, and beside them by BoringSSL's.
 *
 * A record can be opened once only, in its turn; so the row for opening is sealing and opening, and the one for
 * sealing stands beside it to be taken off.
 */
#include <stdlib.h>
#include <string.h>

#include <postern/tls/tls.h>

#include "certificate.h"
#include "micro.h"

#define PLAIN_MAX 16384u
#define OUT_MAX   (256u * 1024)

enum kind { KIND_SEAL, KIND_SEAL_AND_OPEN, KIND_LIBRARY_SEAL, KIND_LIBRARY_SEAL_AND_OPEN };

struct records {
	struct pn_record *client, *server;
	struct pn_buf sealed, answer;
	bool is_opening, is_library;
	size_t size;
	uint8_t plain[PLAIN_MAX];
};

static void records_close(void *state)
{
	struct records *r = state;

	pn_record_free(r->client);
	pn_record_free(r->server);
	pn_buf_free(&r->sealed);
	pn_buf_free(&r->answer);
	free(r);
}

static struct pn_tls_server *make_server(struct pn_error *err)
{
	struct pn_bench_certificate c;
	struct pn_buf chain, key;
	struct pn_tls_server *server = NULL;

	if (!pn_bench_certificate_make(&c, false))
		return NULL;
	pn_buf_init(&chain, 65536);
	pn_buf_init_secret(&key, 65536);
	if (pn_bench_certificate_pem(&c, &chain, &key)) {
		struct pn_tls_certificate_pem pem = { pn_buf_slice(&chain), pn_buf_slice(&key),
						      "certificate", "key" };
		server = pn_tls_server_new(
			&(struct pn_tls_server_settings){ .certificates = &pem,
							  .certificate_count = 1 },
			err);
	}
	pn_bench_certificate_free(&c);
	pn_buf_free(&chain);
	pn_buf_wipe(&key);
	return server;
}

static enum pn_record_status step(struct pn_tls_conn *conn, struct pn_buf *in, struct pn_buf *out)
{
	struct pn_slice rest = pn_buf_slice(in);
	enum pn_record_status status = pn_tls_handshake(conn, &rest, out);

	pn_buf_consume(in, pn_buf_len(in) - rest.len);
	return status;
}

static bool shake(struct records *r, struct pn_tls_conn *client, struct pn_tls_conn *server)
{
	enum pn_record_status c = PN_RECORD_WANT;
	enum pn_record_status s = PN_RECORD_WANT;
	struct pn_tls_facts facts;

	for (int turn = 0; turn < 8 && (c == PN_RECORD_WANT || s == PN_RECORD_WANT); turn++) {
		if (c == PN_RECORD_WANT)
			c = step(client, &r->answer, &r->sealed);
		if (s == PN_RECORD_WANT)
			s = step(server, &r->sealed, &r->answer);
	}
	if (c != PN_RECORD_OK || s != PN_RECORD_OK)
		return false;
	if (r->is_library) {
		pn_tls_conn_keep_library(client);
		pn_tls_conn_keep_library(server);
	}
	r->client = pn_tls_conn_finish(client, &facts);
	r->server = pn_tls_conn_finish(server, &facts);
	return r->client && r->server;
}

static bool connect_both(struct records *r, struct pn_error *err)
{
	struct pn_tls_server *server = make_server(err);
	struct pn_tls_client *client = pn_tls_client_new(
		&(struct pn_tls_client_settings){ .is_verify_required = false }, err);
	struct pn_tls_conn *s = server ? pn_tls_conn_new_server(server) : NULL;
	struct pn_tls_conn *c = client ? pn_tls_conn_new_client(client, "localhost") : NULL;
	bool ok = s && c && shake(r, c, s);

	pn_tls_conn_free(c);
	pn_tls_conn_free(s);
	pn_tls_client_unref(client);
	pn_tls_server_unref(server);
	return ok;
}

static void *records_open(const struct pn_bench_micro *m, const char *dir, struct pn_error *err)
{
	struct records *r = calloc(1, sizeof(*r));

	(void)dir;
	(void)pn_error_set(err, "no handshake in memory");
	if (!r)
		return NULL;
	r->is_opening = m->kind == KIND_SEAL_AND_OPEN || m->kind == KIND_LIBRARY_SEAL_AND_OPEN;
	r->is_library = m->kind >= KIND_LIBRARY_SEAL;
	r->size = m->size_bytes;
	pn_buf_init(&r->sealed, OUT_MAX);
	pn_buf_init(&r->answer, OUT_MAX);
	memset(r->plain, 'm', sizeof(r->plain));
	if (!connect_both(r, err)) {
		records_close(r);
		return NULL;
	}
	pn_buf_clear(&r->sealed);
	return r;
}

static size_t open_all(struct records *r)
{
	struct pn_slice plain;
	size_t got = 0;

	pn_record_input(r->server, r->sealed.data + r->sealed.head, pn_buf_len(&r->sealed));
	while (pn_record_open(r->server, &plain, &r->answer) == PN_RECORD_OK)
		got += plain.len;
	return got;
}

static bool records_run(void *state, uint64_t iterations)
{
	struct records *r = state;
	struct pn_slice plain = pn_slice(r->plain, r->size);
	bool ok = true;

	for (uint64_t i = 0; i < iterations; i++) {
		ok &= pn_record_seal(r->client, plain, &r->sealed) == PN_RECORD_OK;
		if (r->is_opening)
			ok &= open_all(r) == r->size;
		pn_bench_keep(r->sealed.data);
		pn_buf_clear(&r->sealed);
		pn_buf_clear(&r->answer);
	}
	return ok;
}

#define ROW(name, what, size, kind)                                                    \
	{                                                                              \
		name, what, records_open, records_run, records_close, size, kind, 0, 0 \
	}

const struct pn_bench_micro pn_bench_micro_records[] = {
	ROW("record_seal", "seal 4 KiB, TLS 1.3", 4096, KIND_SEAL),
	ROW("record_seal_open", "seal and open 4 KiB, TLS 1.3", 4096, KIND_SEAL_AND_OPEN),
	ROW("record_seal_16k", "seal 16 KiB, TLS 1.3", PLAIN_MAX, KIND_SEAL),
	ROW("record_seal_open_16k", "seal and open 16 KiB, TLS 1.3", PLAIN_MAX, KIND_SEAL_AND_OPEN),
	ROW("boringssl_seal", "the same by BoringSSL's records", 4096, KIND_LIBRARY_SEAL),
	ROW("boringssl_seal_open", "the same by BoringSSL's records", 4096,
	    KIND_LIBRARY_SEAL_AND_OPEN),
	ROW("boringssl_seal_16k", "the same by BoringSSL's records", PLAIN_MAX, KIND_LIBRARY_SEAL),
	ROW("boringssl_seal_open_16k", "the same by BoringSSL's records", PLAIN_MAX,
	    KIND_LIBRARY_SEAL_AND_OPEN),
	{ 0 },
};
