/* SPDX-License-Identifier: ISC */
/* tls_support.c - see tls_support.h. */
#include "tls_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>

#define FILES_MAX 1024

static char folder[64];
static uint8_t *files[FILES_MAX];
static size_t file_count;

const char *tls_folder(void)
{
	return folder;
}

void tls_make(const char *options, const char *names)
{
	const char *source = getenv("PN_SOURCE_DIR");
	char command[1024];

	(void)snprintf(command, sizeof(command), "%s/tests/support/make-certs %s %s %s",
		       source ? source : ".", options, folder, names);
	assert_int_equal(system(command), 0);
}

int tls_setup(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof(folder), "/tmp/postern-tls-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	tls_make("", "mx.example.test");
	return 0;
}

int tls_teardown(void **state)
{
	char command[128];

	(void)state;
	while (file_count > 0)
		free(files[--file_count]);
	(void)snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

struct pn_slice tls_file(const char *name)
{
	char path[256];
	uint8_t *data = malloc(65536);
	size_t len;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "rb");
	assert_non_null(f);
	assert_non_null(data);
	assert_true(file_count < FILES_MAX);
	files[file_count++] = data;
	len = fread(data, 1, 65536, f);
	fclose(f);
	assert_true(len > 0 && len < 65536);
	data = realloc(data, len);
	assert_non_null(data);
	files[file_count - 1] = data;
	return pn_slice(data, len);
}

struct pn_tls_certificate_pem tls_pem(const char *name)
{
	static char paths[16][2][64];
	static unsigned next;
	char(*path)[64] = paths[next++ % 16];

	(void)snprintf(path[0], sizeof(path[0]), "%s.pem", name);
	(void)snprintf(path[1], sizeof(path[1]), "%s.key", name);
	return (struct pn_tls_certificate_pem){ tls_file(path[0]), tls_file(path[1]), path[0],
						path[1] };
}

struct pn_tls_server *tls_server(const char *names, struct pn_tls_server_settings settings)
{
	struct pn_tls_certificate_pem pems[8];
	struct pn_error err = { "" };
	struct pn_tls_server *s;
	char copy[256];
	char *save;
	size_t count = 0;

	(void)snprintf(copy, sizeof(copy), "%s", names);
	for (char *name = strtok_r(copy, " ", &save); name; name = strtok_r(NULL, " ", &save))
		pems[count++] = tls_pem(name);
	settings.certificates = pems;
	settings.certificate_count = count;
	s = pn_tls_server_new(&settings, &err);
	if (!s)
		fail_msg("%s", err.text);
	return s;
}

struct pn_tls_client *tls_client(bool is_verify_required)
{
	struct pn_tls_client_settings settings = {
		.ca_pem = tls_file("ca.pem"),
		.ca_path = "ca.pem",
		.is_verify_required = is_verify_required,
	};
	struct pn_error err = { "" };
	struct pn_tls_client *c = pn_tls_client_new(&settings, &err);

	if (!c)
		fail_msg("%s", err.text);
	return c;
}

static void end_init(struct end *e)
{
	*e = (struct end){ .status = PN_RECORD_WANT };
	pn_buf_init(&e->in, OUT_MAX);
	pn_buf_init(&e->plain, OUT_MAX);
}

void end_init_server(struct end *e, struct pn_tls_server *s)
{
	end_init(e);
	e->conn = pn_tls_conn_new_server(s);
	assert_non_null(e->conn);
}

void end_init_client(struct end *e, struct pn_tls_client *c, const char *name)
{
	end_init(e);
	e->conn = pn_tls_conn_new_client(c, name);
	assert_non_null(e->conn);
}

void end_init_raw(struct end *e, SSL *ssl)
{
	end_init(e);
	assert_non_null(ssl);
	e->ssl = ssl;
	assert_int_equal(pn_tls_io_attach(&e->io, ssl), 0);
	SSL_set_connect_state(ssl);
}

void end_free(struct end *e)
{
	pn_tls_conn_free(e->conn);
	SSL_free(e->ssl);
	pn_record_free(e->record);
	pn_buf_free(&e->in);
	pn_buf_free(&e->plain);
}

static enum pn_record_status raw_handshake(struct end *e, struct pn_slice *in, struct pn_buf *out)
{
	int result;
	int error;

	e->io.in = *in;
	e->io.out = out;
	ERR_clear_error();
	result = SSL_do_handshake(e->ssl);
	error = SSL_get_error(e->ssl, result);
	*in = e->io.in;
	e->io.in = PN_SLICE_NULL;
	e->io.out = NULL;
	if (result == 1)
		return PN_RECORD_OK;
	if (error == SSL_ERROR_WANT_READ)
		return PN_RECORD_WANT;
	e->raw_error = ERR_reason_error_string(ERR_peek_error());
	ERR_clear_error();
	return PN_RECORD_FAILED;
}

/* One step of one end; the slice is a copy of its own so that a read behind its end is seen. True
 * when something moved. */
static bool end_step(struct end *e, struct end *peer, size_t chunk)
{
	size_t n = pn_min_size(chunk, pn_buf_len(&e->in));
	size_t sent = pn_buf_len(&peer->in);
	uint8_t *copy = malloc(n + 1);
	struct pn_slice in;

	assert_non_null(copy);
	if (n > 0)
		memcpy(copy, pn_buf_ptr(&e->in), n);
	copy = realloc(copy, n > 0 ? n : 1);
	in = pn_slice(copy, n);
	e->status = e->conn ? pn_tls_handshake(e->conn, &in, &peer->in)
			    : raw_handshake(e, &in, &peer->in);
	if (e->status == PN_RECORD_WANT)
		assert_int_equal(in.len, 0);
	free(copy);
	pn_buf_consume(&e->in, n - in.len);
	return n > in.len || pn_buf_len(&peer->in) > sent || e->status != PN_RECORD_WANT;
}

void shake(struct end *client, struct end *server, size_t chunk)
{
	bool moved = true;

	while (moved) {
		moved = false;
		if (client->status == PN_RECORD_WANT && (client->ssl || client->conn))
			moved = end_step(client, server, chunk);
		if (server->status == PN_RECORD_WANT && pn_buf_len(&server->in) > 0)
			moved = end_step(server, client, chunk) || moved;
	}
}

void end_finish(struct end *e, struct end *peer)
{
	assert_int_equal(e->status, PN_RECORD_OK);
	e->record = pn_tls_conn_finish(e->conn, &e->facts);
	assert_non_null(e->record);
	pn_tls_conn_free(e->conn);
	e->conn = NULL;
	(void)peer;
}

enum pn_record_status end_receive(struct end *e, struct end *peer, size_t chunk)
{
	enum pn_record_status status = PN_RECORD_WANT;

	while (pn_buf_len(&e->in) > 0 && status == PN_RECORD_WANT) {
		size_t n = pn_min_size(chunk, pn_buf_len(&e->in));
		uint8_t *copy = malloc(n);
		struct pn_slice got;

		assert_non_null(copy);
		memcpy(copy, pn_buf_ptr(&e->in), n);
		pn_buf_consume(&e->in, n);
		pn_record_input(e->record, copy, n);
		while ((status = pn_record_open(e->record, &got, &peer->in)) == PN_RECORD_OK) {
			assert_true(got.len > 0);
			assert_int_equal(pn_buf_append_slice(&e->plain, got), 0);
		}
		free(copy);
	}
	return status;
}

void end_send(struct end *e, struct end *peer, const void *data, size_t len)
{
	assert_int_equal(pn_record_seal(e->record, pn_slice(data, len), &peer->in), PN_RECORD_OK);
}

bool end_has_alert(const struct end *e, uint8_t description)
{
	const uint8_t *p = pn_buf_ptr(&e->in);

	return pn_buf_len(&e->in) == 7 && p[0] == 21 && p[3] == 0 && p[4] == 2 && p[5] == 2 &&
	       p[6] == description;
}

bool end_ends_with_alert(const struct end *e, uint8_t description)
{
	size_t len = pn_buf_len(&e->in);
	const uint8_t *p = pn_buf_ptr(&e->in);

	while (len > 7) {
		size_t record = 5 + (size_t)p[3] * 256 + p[4];

		assert_true(record < len);
		p += record;
		len -= record;
	}
	return len == 7 && p[0] == 21 && p[5] == 2 && p[6] == description;
}

SSL_CTX *raw_context(uint16_t min_version, uint16_t max_version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_method());

	assert_non_null(ctx);
	assert_int_equal(SSL_CTX_set_min_proto_version(ctx, min_version), 1);
	assert_int_equal(SSL_CTX_set_max_proto_version(ctx, max_version), 1);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
	return ctx;
}
