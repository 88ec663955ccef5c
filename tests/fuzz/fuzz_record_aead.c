/* SPDX-License-Identifier: ISC */
/*
 * fuzz_record_aead.c - a client's records, wrong and right ones, to a server on our own records and to one on
 * BoringSSL's, under the same keys: both must give the same plaintext, end in the same way, and seal the same octets.
 *
 * The input is a list of operations (enum operation), each with a few octets; octet 0 chooses version and suite, octet
 * 1 how the stream is cut. The two differences that are meant stand in is_meant().
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/ec_key.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/x509.h>

#include "tls/conn.h"
#include "tls/record_aead.h"

#define OUT_MAX (1024 * 1024)

enum operation {
	OP_RECORD, /* type, length, content */
	OP_PADDED, /* the same with a number of zeros behind the type */
	OP_BIG,    /* two octets: a data record of that length, with zeros */
	OP_RAW,    /* length, octets that nothing protects */
	OP_FLIP,   /* two octets: one bit of the next record */
	OP_REPEAT, /* the last OP_RECORD that many times more */
	OP_UPDATE, /* a KeyUpdate with this request, and the key that goes with it */
	OP_ANSWER, /* the servers say that many octets */
	OP_COUNT,
};

struct side {
	struct pn_record *record;
	struct pn_buf out;
	struct pn_buf plain;
	enum pn_record_status status;
};

struct world {
	struct side ours, theirs;
	SSL *client;
	struct pn_tls_io client_io;
	struct pn_tls_keys keys; /* the client's */
	struct pn_buf stream;
	struct pn_slice in; /* the rest of the input */
	size_t chunk;
	int flip;  /* in the next record, or -1 */
	int alert; /* with which our side ended, once it was read; or -1 */
	bool has_empty_handshake;
	bool is_over;
	uint8_t last_type;
	struct pn_slice last;
};

static SSL_CTX *server_context, *client_context;

static const char *const suites_tls12[] = { "ECDHE-ECDSA-AES128-GCM-SHA256",
					    "ECDHE-ECDSA-AES256-GCM-SHA384",
					    "ECDHE-ECDSA-CHACHA20-POLY1305" };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	EC_KEY *ec = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);
	EVP_PKEY *key = EVP_PKEY_new();
	X509 *x = X509_new();

	(void)argc;
	(void)argv;
	PN_ASSERT(ec && key && x && EC_KEY_generate_key(ec) && EVP_PKEY_assign_EC_KEY(key, ec));
	PN_ASSERT(X509_gmtime_adj(X509_getm_notBefore(x), -60) &&
		  X509_gmtime_adj(X509_getm_notAfter(x), 30L * 86400));
	PN_ASSERT(X509_set_version(x, X509_VERSION_3) && X509_set_pubkey(x, key) &&
		  X509_sign(x, key, EVP_sha256()));
	server_context = SSL_CTX_new(TLS_method());
	client_context = SSL_CTX_new(TLS_method());
	PN_ASSERT(server_context && client_context);
	PN_ASSERT(SSL_CTX_use_certificate(server_context, x) &&
		  SSL_CTX_use_PrivateKey(server_context, key));
	SSL_CTX_set_verify(client_context, SSL_VERIFY_NONE, NULL);
	X509_free(x);
	EVP_PKEY_free(key);
	return 0;
}

/* ---- two servers under the same keys ---- */

static bool step(SSL *ssl, struct pn_tls_io *io, struct pn_buf *in, struct pn_buf *out)
{
	bool ok;

	io->in = pn_buf_slice(in);
	io->out = out;
	ok = SSL_do_handshake(ssl) == 1;
	pn_buf_consume(in, pn_buf_len(in) - io->in.len);
	io->in = PN_SLICE_NULL;
	io->out = NULL;
	ERR_clear_error();
	return ok;
}

static SSL *ssl_new(SSL_CTX *ctx, struct pn_tls_io *io, uint8_t how)
{
	uint16_t version = how & 1 ? TLS1_3_VERSION : TLS1_2_VERSION;
	SSL *ssl = SSL_new(ctx);

	PN_ASSERT(ssl && pn_tls_io_attach(io, ssl) == 0);
	PN_ASSERT(SSL_set_min_proto_version(ssl, version) &&
		  SSL_set_max_proto_version(ssl, version));
	PN_ASSERT(SSL_set_strict_cipher_list(
		ssl, suites_tls12[(how >> 1) % PN_ARRAY_SIZE(suites_tls12)]));
	return ssl;
}

static void side_init(struct side *s, struct pn_record *record)
{
	PN_ASSERT(record);
	s->record = record;
	s->status = PN_RECORD_WANT;
	pn_buf_init(&s->out, OUT_MAX);
	pn_buf_init(&s->plain, OUT_MAX);
}

static void side_free(struct side *s)
{
	pn_record_free(s->record);
	pn_buf_free(&s->out);
	pn_buf_free(&s->plain);
}

static void world_open(struct world *w, uint8_t how)
{
	struct pn_tls_io io = { .conn = NULL };
	SSL *server = ssl_new(server_context, &io, how);
	struct pn_tls_keys keys = { .is_server = true };
	struct pn_buf to_server, to_client;
	bool is_done = false;

	w->client = ssl_new(client_context, &w->client_io, how);
	SSL_set_connect_state(w->client);
	SSL_set_accept_state(server);
	pn_buf_init(&to_server, OUT_MAX);
	pn_buf_init(&to_client, OUT_MAX);
	for (int turn = 0; turn < 4 && !is_done; turn++) {
		bool is_client_done = step(w->client, &w->client_io, &to_client, &to_server);
		is_done = step(server, &io, &to_server, &to_client) && is_client_done;
	}
	is_done = is_done || step(w->client, &w->client_io, &to_client, &to_server);
	PN_ASSERT(is_done && pn_tls_suite_of(server, &keys.suite) &&
		  pn_tls_keys_of(server, &keys) == 0);
	side_init(&w->ours, pn_record_aead_new(&keys, server, &io));
	side_init(&w->theirs, pn_record_boringssl_new(server, &io));
	w->keys.is_server = false;
	w->keys.suite = keys.suite;
	PN_ASSERT(pn_tls_keys_of(w->client, &w->keys) == 0);
	pn_buf_free(&to_server);
	pn_buf_free(&to_client);
	/* The tickets, which BoringSSL has given to our side. */
	PN_ASSERT(pn_record_seal(w->ours.record, PN_SLICE_NULL, &w->ours.out) == PN_RECORD_OK);
	for (; pn_buf_len(&w->ours.out) > 0; w->keys.receive.sequence++) {
		const uint8_t *header = pn_buf_ptr(&w->ours.out);
		pn_buf_consume(&w->ours.out, 5 + ((size_t)header[3] << 8 | header[4]));
	}
}

static void world_close(struct world *w)
{
	side_free(&w->ours);
	side_free(&w->theirs);
	SSL_free(w->client);
	pn_buf_free(&w->stream);
}

/* ---- feeding and comparing ---- */

/* Each piece in an allocation of its own size. */
static void side_feed(struct side *s, const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len);
	struct pn_slice got;

	PN_ASSERT(copy);
	memcpy(copy, data, len);
	pn_record_input(s->record, copy, len);
	while ((s->status = pn_record_open(s->record, &got, &s->out)) == PN_RECORD_OK) {
		PN_ASSERT(got.len > 0 && got.len <= PN_AEAD_PLAIN_MAX);
		PN_ASSERT(pn_buf_append_slice(&s->plain, got) == 0);
	}
	PN_ASSERT(ERR_peek_error() == 0);
	free(copy);
}

/* Reads the alert with which our side ended, once. */
static void read_alert(struct world *w)
{
	uint8_t *record = w->ours.out.data + w->ours.out.head;
	size_t record_len = pn_buf_len(&w->ours.out);
	uint8_t *plain;
	size_t len;

	if (w->alert < 0 && record_len > 0 &&
	    pn_aead_open(&w->keys.suite, &w->keys.receive, record, record_len, &plain, &len) &&
	    len >= 2)
		w->alert = plain[1];
}

/* Where we end a connection and BoringSSL goes on: RFC 8446 5.2 has a shorter longest record than BoringSSL, which
 * looks at the length again when all of it has come; RFC 8446 5.4 refuses empty handshake records. */
static bool is_meant(struct world *w)
{
	if (w->ours.status != PN_RECORD_FAILED)
		return false;
	read_alert(w);
	return w->alert == PN_ALERT_RECORD_OVERFLOW ||
	       (w->alert == PN_ALERT_UNEXPECTED_MESSAGE && w->has_empty_handshake);
}

static void compare(struct world *w)
{
	size_t len = pn_buf_len(&w->ours.plain);

	/* Behind what we end, BoringSSL may go on with in the same piece. */
	PN_ASSERT(len == pn_buf_len(&w->theirs.plain) ||
		  (len < pn_buf_len(&w->theirs.plain) && is_meant(w)));
	PN_ASSERT(len == 0 ||
		  memcmp(pn_buf_ptr(&w->ours.plain), pn_buf_ptr(&w->theirs.plain), len) == 0);
	pn_buf_clear(&w->ours.plain);
	pn_buf_clear(&w->theirs.plain);
	w->is_over = w->ours.status != PN_RECORD_WANT;
	if (w->ours.status != w->theirs.status)
		PN_ASSERT(is_meant(w));
	else if (!w->is_over)
		PN_ASSERT(pn_record_pending(w->ours.record) == pn_record_pending(w->theirs.record));
}

/* What gathered in the stream goes to both; all of it, or what makes whole pieces. */
static void flow(struct world *w, bool is_all)
{
	while (!w->is_over && pn_buf_len(&w->stream) > 0 &&
	       (is_all || pn_buf_len(&w->stream) >= w->chunk)) {
		size_t n = pn_min_size(w->chunk, pn_buf_len(&w->stream));

		side_feed(&w->ours, pn_buf_ptr(&w->stream), n);
		side_feed(&w->theirs, pn_buf_ptr(&w->stream), n);
		pn_buf_consume(&w->stream, n);
		compare(w);
	}
}

/* ---- the operations ---- */

static uint8_t take_octet(struct world *w)
{
	uint8_t octet = w->in.len > 0 ? w->in.ptr[0] : 0;

	if (w->in.len > 0)
		pn_slice_advance(&w->in, 1);
	return octet;
}

static struct pn_slice take(struct world *w, size_t len)
{
	struct pn_slice got = pn_slice(w->in.ptr, pn_min_size(len, w->in.len));

	pn_slice_advance(&w->in, got.len);
	return got;
}

static void put_record(struct world *w, uint8_t type, struct pn_slice content, size_t zeros)
{
	bool is_tls13 = w->keys.suite.version == TLS1_3_VERSION;
	size_t inner = content.len + (is_tls13 ? zeros : 0);
	size_t size = inner + pn_aead_overhead(&w->keys.suite);
	bool is_padded = inner > content.len;
	uint8_t *plain = calloc(1, inner + 1);

	PN_ASSERT(plain);
	if (content.len > 0)
		memcpy(plain, content.ptr, content.len);
	/* The seal puts the last zero where it means to put the type. */
	if (is_padded)
		plain[content.len] = type;
	w->has_empty_handshake = w->has_empty_handshake ||
				 (is_tls13 && type == PN_TLS_TYPE_HANDSHAKE && content.len == 0);
	PN_ASSERT(pn_buf_reserve(&w->stream, size) == 0);
	PN_ASSERT(pn_aead_seal(&w->keys.suite, &w->keys.send, is_padded ? 0 : type,
			       pn_slice(plain, inner), pn_buf_tail(&w->stream)));
	if (w->flip >= 0)
		pn_buf_tail(&w->stream)[(size_t)w->flip / 8 % size] ^=
			(uint8_t)(1 << (w->flip % 8));
	w->flip = -1;
	pn_buf_commit(&w->stream, size);
	free(plain);
}

static void put_update(struct world *w, uint8_t request)
{
	const uint8_t message[] = { PN_TLS_HANDSHAKE_KEY_UPDATE, 0, 0, 1, request };

	put_record(w, PN_TLS_TYPE_HANDSHAKE, pn_slice(message, sizeof(message)), 0);
	if (w->keys.suite.version == TLS1_3_VERSION)
		PN_ASSERT(pn_tls_secret_update(&w->keys.suite, &w->keys.send) == 0);
}

/* Both seal the same. What the client would open counts on, so that an alert can be read. */
static void answer(struct world *w, size_t len)
{
	static const uint8_t text[256 * 100];
	struct pn_slice plain = pn_slice(text, len * 100);
	struct pn_buf *ours = &w->ours.out;

	flow(w, true);
	if (w->is_over)
		return;
	PN_ASSERT(pn_buf_len(ours) == 0 && pn_buf_len(&w->theirs.out) == 0);
	PN_ASSERT(pn_record_seal(w->ours.record, plain, ours) == PN_RECORD_OK);
	PN_ASSERT(pn_record_seal(w->theirs.record, plain, &w->theirs.out) == PN_RECORD_OK);
	PN_ASSERT(pn_buf_len(ours) == pn_buf_len(&w->theirs.out));
	PN_ASSERT(pn_buf_len(ours) == 0 ||
		  memcmp(pn_buf_ptr(ours), pn_buf_ptr(&w->theirs.out), pn_buf_len(ours)) == 0);
	while (pn_buf_len(ours) > 0) {
		uint8_t *record = ours->data + ours->head;
		size_t record_len = 5 + ((size_t)record[3] << 8 | record[4]);
		uint8_t *opened;
		size_t opened_len;

		PN_ASSERT(pn_aead_open(&w->keys.suite, &w->keys.receive, record, record_len,
				       &opened, &opened_len));
		if (w->keys.suite.version == TLS1_3_VERSION &&
		    opened[opened_len - 1] == PN_TLS_TYPE_HANDSHAKE)
			PN_ASSERT(pn_tls_secret_update(&w->keys.suite, &w->keys.receive) == 0);
		pn_buf_consume(ours, record_len);
	}
	pn_buf_clear(&w->theirs.out);
}

static void big(struct world *w)
{
	static const uint8_t zeros[65536];
	size_t len = (size_t)take_octet(w) << 8 | take_octet(w);

	put_record(w, PN_TLS_TYPE_DATA, pn_slice(zeros, len % (PN_AEAD_BODY_MAX + 100)), 0);
}

static void operate(struct world *w)
{
	uint8_t what = take_octet(w) % OP_COUNT;

	switch ((enum operation)what) {
	case OP_RECORD:
	case OP_PADDED:
		w->last_type = take_octet(w);
		w->last = take(w, take_octet(w));
		put_record(w, w->last_type, w->last, what == OP_PADDED ? take_octet(w) : 0);
		break;
	case OP_BIG:
		big(w);
		break;
	case OP_RAW: {
		struct pn_slice raw = take(w, take_octet(w));
		PN_ASSERT(pn_buf_append_slice(&w->stream, raw) == 0);
		break;
	}
	case OP_FLIP:
		w->flip = take_octet(w) << 8;
		w->flip |= take_octet(w);
		break;
	case OP_REPEAT:
		for (int i = take_octet(w) % 40; i > 0; i--)
			put_record(w, w->last_type, w->last, 0);
		break;
	case OP_UPDATE:
		put_update(w, take_octet(w));
		break;
	case OP_ANSWER:
		answer(w, take_octet(w));
		break;
	case OP_COUNT:
		break;
	}
	flow(w, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = { .flip = -1, .alert = -1, .last_type = PN_TLS_TYPE_DATA };

	if (size < 2)
		return 0;
	world_open(&w, data[0]);
	pn_buf_init(&w.stream, OUT_MAX);
	w.chunk = data[1] ? (size_t)data[1] * data[1] / 8 + 1 : OUT_MAX;
	w.in = pn_slice(data + 2, size - 2);
	/* Bounded, so that no input takes long. */
	for (int i = 0;
	     i < 200 && w.in.len > 0 && !w.is_over && pn_buf_len(&w.stream) < OUT_MAX / 8; i++)
		operate(&w);
	flow(&w, true);
	world_close(&w);
	return 0;
}
