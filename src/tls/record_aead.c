/* SPDX-License-Identifier: ISC */
/*
 * record_aead.c - our own records behind the record interface: BoringSSL's ciphers without its SSL object.
 *
 * A record that lies whole in the input is opened where it lies, or into memory that the owner lent, and its
 * plaintext handed on from there; only one that the end of an input cuts is gathered, in memory that goes when it is
 * used up or the connection idles.
 * Plaintext is sealed straight into the output. What was handed on is wiped as soon as the owner asks for
 * more or pauses (passwords are among it), unless the owner lent the memory for it.
 *
 * Alerts, limits and orders are BoringSSL's unless RFC 8446 names another alert. A KeyUpdate that the
 * peer asks for goes out in front of the next data (RFC 8446 4.6.3).
 */
#include "tls/record_aead.h"

#include <stdlib.h>

#include <openssl/err.h>

#include <postern/base/secret.h>

#include "tls/ktls.h"

#define EMPTY_IN_A_ROW_MAX 32
/* RFC 9325 4.4: at most 2^24.5 records under one key. TLS 1.3 changes keys well before that,
 * TLS 1.2 cannot: what is left then is room for close_notify. */
#define REKEY_AFTER (UINT64_C(1) << 23)
#define SEALED_MAX  (UINT64_C(1) << 24)
/* Quiet points with a record half received after which no more is hoped for. */
#define QUIET_TRIES_MAX 32
/* A server's tickets. */
#define HELD_MAX    65536
#define PARTIAL_MAX (PN_AEAD_HEADER_LEN + PN_AEAD_BODY_MAX)

#define NO_ALERT    (-1)

static bool is_tls13(const struct pn_aead_record *a)
{
	return a->keys.suite.version == TLS1_3_VERSION;
}

/* ---- out ---- */

/* Room for that much content, with what is held back and a KeyUpdate. */
static bool make_room(const struct pn_aead_record *a, size_t len, struct pn_buf *out)
{
	size_t more = (len / PN_AEAD_PLAIN_MAX + 2) * PN_AEAD_OVERHEAD_MAX + PN_TLS_KEY_UPDATE_LEN +
		      pn_buf_len(&a->held);

	return len <= SIZE_MAX - more && pn_buf_reserve(out, len + more) == 0;
}

/* One record, for which there is room. */
static bool put(struct pn_aead_record *a, uint8_t type, struct pn_slice plain, struct pn_buf *out)
{
	if (!pn_aead_seal(&a->keys.suite, &a->keys.send, type, plain, pn_buf_tail(out)))
		return false;
	pn_buf_commit(out, plain.len + pn_aead_overhead(&a->keys.suite));
	a->sealed++;
	return true;
}

static bool put_held(struct pn_aead_record *a, struct pn_buf *out)
{
	bool ok = pn_buf_append_slice(out, pn_buf_slice(&a->held)) == 0;

	pn_buf_free(&a->held);
	return ok;
}

/* The peer's receiving key changes with it. */
static bool put_update(struct pn_aead_record *a, struct pn_buf *out)
{
	static const uint8_t message[PN_TLS_KEY_UPDATE_LEN] = { PN_TLS_HANDSHAKE_KEY_UPDATE, 0, 0,
								1,
								PN_TLS_KEY_UPDATE_NOT_REQUESTED };

	a->is_update_owed = false;
	if (!put(a, PN_TLS_TYPE_HANDSHAKE, pn_slice(message, sizeof(message)), out))
		return false;
	pn_aead_forget(&a->keys.suite, &a->keys.send);
	a->sealed = 0;
	return pn_tls_secret_update(&a->keys.suite, &a->keys.send) == 0;
}

static bool put_alert(struct pn_aead_record *a, uint8_t level, uint8_t description,
		      struct pn_buf *out)
{
	const uint8_t alert[] = { level, description };

	return make_room(a, sizeof(alert), out) && put_held(a, out) &&
	       put(a, PN_TLS_TYPE_ALERT, pn_slice(alert, sizeof(alert)), out);
}

static bool put_data(struct pn_aead_record *a, struct pn_slice plain, struct pn_buf *out)
{
	bool ok = put_held(a, out);

	if (a->is_update_owed)
		ok = ok && put_update(a, out);
	while (ok && plain.len > 0) {
		struct pn_slice part =
			pn_slice(plain.ptr, pn_min_size(plain.len, PN_AEAD_PLAIN_MAX));

		if (a->sealed >= REKEY_AFTER && is_tls13(a))
			ok = put_update(a, out);
		ok = ok && put(a, PN_TLS_TYPE_DATA, part, out);
		pn_slice_advance(&plain, part.len);
	}
	return ok;
}

static enum pn_record_status aead_seal(struct pn_record *r, struct pn_slice plain,
				       struct pn_buf *out)
{
	struct pn_aead_record *a = pn_aead_record_of(r);
	uint64_t records = plain.len / PN_AEAD_PLAIN_MAX + 1;

	if (a->is_failed || a->is_close_sent)
		return PN_RECORD_FAILED;
	if (!is_tls13(a) && a->sealed + records > SEALED_MAX)
		return PN_RECORD_FAILED;
	if (plain.len == 0 && pn_buf_len(&a->held) == 0 && !a->is_update_owed)
		return PN_RECORD_OK;
	/* All the room before the first octet: without it nothing has been sealed, and close still works. */
	if (!make_room(a, plain.len, out))
		return PN_RECORD_FAILED;
	if (!put_data(a, plain, out)) {
		a->is_failed = true;
		return PN_RECORD_FAILED;
	}
	/* Not before: a server's tickets ride with its first words. */
	a->base.wants_quiet = a->base.wants_quiet || a->fd >= 0;
	return PN_RECORD_OK;
}

static enum pn_record_status aead_close(struct pn_record *r, struct pn_buf *out)
{
	struct pn_aead_record *a = pn_aead_record_of(r);

	if (a->is_close_sent)
		return PN_RECORD_OK;
	if (a->is_failed)
		return PN_RECORD_FAILED;
	a->is_close_sent = true;
	if (put_alert(a, PN_ALERT_LEVEL_WARNING, PN_ALERT_CLOSE_NOTIFY, out))
		return PN_RECORD_OK;
	a->is_failed = true;
	return PN_RECORD_FAILED;
}

static enum pn_record_status aead_rekey(struct pn_record *r, struct pn_buf *out)
{
	struct pn_aead_record *a = pn_aead_record_of(r);

	if (a->is_failed || a->is_close_sent)
		return PN_RECORD_FAILED;
	if (!is_tls13(a))
		return PN_RECORD_OK;
	if (make_room(a, 0, out) && put_held(a, out) && put_update(a, out))
		return PN_RECORD_OK;
	a->is_failed = true;
	return PN_RECORD_FAILED;
}

/* ---- in ---- */

/* The owner has done with what it was given last. */
static void take_given(struct pn_aead_record *a)
{
	/* Sealed octets are no secret, and of such records more come: the memory stays until the connection idles. */
	if (a->is_partial_done && a->is_given_elsewhere)
		pn_buf_clear(&a->partial);
	else if (a->is_partial_done)
		pn_buf_wipe(&a->partial);
	else if (a->given_len > 0)
		pn_wipe(a->given, a->given_len);
	a->is_partial_done = false;
	a->is_given_elsewhere = false;
	a->given_len = 0;
}

static void drop_input(struct pn_aead_record *a)
{
	a->in_len = 0;
	pn_buf_wipe(&a->partial);
	a->is_partial_done = false;
}

enum pn_record_status pn_aead_fail(struct pn_aead_record *a, uint8_t description,
				   struct pn_buf *out)
{
	ERR_clear_error();
	a->is_failed = true;
	if (!a->is_close_sent)
		(void)put_alert(a, PN_ALERT_LEVEL_FATAL, description, out);
	return PN_RECORD_FAILED;
}

static void aead_input(struct pn_record *r, uint8_t *data, size_t len)
{
	struct pn_aead_record *a = pn_aead_record_of(r);

	PN_ASSERT(a->in_len == 0);
	/* What follows close_notify or a broken record means nothing (RFC 8446 6.1). */
	if (a->is_peer_closed || a->is_failed)
		return;
	a->in = data;
	a->in_len = len;
	/* The memory it was given in may be anybody's by now. */
	if (!a->is_partial_done)
		a->given_len = 0;
}

static size_t record_len(const uint8_t *header)
{
	return PN_AEAD_HEADER_LEN + ((size_t)header[3] << 8 | header[4]);
}

/* NO_ALERT, or what a header is answered with. */
static int header_alert(const uint8_t *header)
{
	if (header[1] != 3 || header[2] != 3)
		return PN_ALERT_PROTOCOL_VERSION;
	return record_len(header) > PARTIAL_MAX ? PN_ALERT_RECORD_OVERFLOW : NO_ALERT;
}

/* Moves octets to the partial record until it has `len`. */
static bool gather(struct pn_aead_record *a, size_t len)
{
	size_t n = pn_min_size(len - pn_buf_len(&a->partial), a->in_len);

	if (pn_buf_append(&a->partial, a->in, n) != 0)
		return false;
	a->in += n;
	a->in_len -= n;
	return pn_buf_len(&a->partial) == len;
}

/* The next whole record: where it came in, or gathered. NULL: more is needed, or *alert. */
static uint8_t *next_record(struct pn_aead_record *a, int *alert)
{
	bool is_new = pn_buf_len(&a->partial) == 0;
	uint8_t *record = a->in;
	size_t len;

	if (a->in_len == 0)
		return NULL;
	/* A header in two pieces is put together first. */
	if (is_new ? a->in_len < PN_AEAD_HEADER_LEN
		   : pn_buf_len(&a->partial) < PN_AEAD_HEADER_LEN) {
		if (!gather(a, PN_AEAD_HEADER_LEN))
			return NULL;
		is_new = false;
	}
	if (!is_new)
		record = a->partial.data;
	len = record_len(record);
	*alert = header_alert(record);
	if (*alert != NO_ALERT)
		return NULL;
	if (is_new && a->in_len >= len) {
		a->in += len;
		a->in_len -= len;
		return record;
	}
	if (pn_buf_reserve(&a->partial, len - pn_buf_len(&a->partial)) != 0) {
		*alert = PN_ALERT_INTERNAL_ERROR;
		return NULL;
	}
	a->is_partial_done = gather(a, len);
	return a->is_partial_done ? a->partial.data : NULL;
}

/* TLS 1.3 hides the type behind the content, and zeros behind the type (RFC 8446 5.4). 0: there is none. */
static uint8_t inner_type(const uint8_t *plain, size_t *len)
{
	while (*len > 0) {
		if (plain[--*len] != 0)
			return plain[*len];
	}
	return 0;
}

/* An opened record. OK with *ret, or WANT: it had nothing for the owner. */
static enum pn_record_status content_take(struct pn_aead_record *a, uint8_t type,
					  struct pn_slice content, struct pn_buf *out)
{
	if (content.len > 0)
		a->empty_in_a_row = 0;
	else if (++a->empty_in_a_row > EMPTY_IN_A_ROW_MAX)
		return pn_aead_fail(a, PN_ALERT_UNEXPECTED_MESSAGE, out);
	if (type == PN_TLS_TYPE_ALERT)
		return pn_aead_alert(a, content, out);
	a->alerts_in_a_row = 0;
	if (type == PN_TLS_TYPE_HANDSHAKE)
		return pn_aead_handshake(a, content, out);
	/* Nothing comes between the pieces of a message (RFC 8446 5.1). */
	if (type != PN_TLS_TYPE_DATA || a->message_len > 0 || a->skip > 0)
		return pn_aead_fail(a, PN_ALERT_UNEXPECTED_MESSAGE, out);
	if (content.len == 0)
		return PN_RECORD_WANT;
	a->updates_in_a_row = 0;
	return PN_RECORD_OK;
}

static enum pn_record_status record_take(struct pn_aead_record *a, uint8_t *record,
					 struct pn_slice *ret, struct pn_buf *out)
{
	uint8_t type = record[0];
	uint8_t *plain;
	size_t len;
	enum pn_record_status status;

	/* RFC 8446 5: change_cipher_spec has its place in the handshake alone, where it is in the clear. */
	if (is_tls13(a) && type == PN_TLS_TYPE_CHANGE_CIPHER_SPEC)
		return pn_aead_fail(a, PN_ALERT_UNEXPECTED_MESSAGE, out);
	if (!pn_aead_open_into(&a->keys.suite, &a->keys.receive, record, record_len(record),
			       a->base.into, a->base.into_room, &plain, &len))
		return pn_aead_fail(a, PN_ALERT_BAD_RECORD_MAC, out);
	if (len > PN_AEAD_PLAIN_MAX + (is_tls13(a) ? 1u : 0u))
		return pn_aead_fail(a, PN_ALERT_RECORD_OVERFLOW, out);
	if (is_tls13(a)) {
		type = type == PN_TLS_TYPE_DATA ? inner_type(plain, &len) : 0;
		if (type == 0)
			return pn_aead_fail(a, PN_ALERT_UNEXPECTED_MESSAGE, out);
	}
	status = content_take(a, type, pn_slice(plain, len), out);
	if (status == PN_RECORD_OK) {
		*ret = pn_slice(plain, len);
		a->given = plain;
		a->is_given_elsewhere = a->base.into_room > 0 && plain == a->base.into;
		a->given_len = a->is_given_elsewhere ? 0 : len;
	}
	return status;
}

static enum pn_record_status aead_open(struct pn_record *r, struct pn_slice *ret,
				       struct pn_buf *out)
{
	struct pn_aead_record *a = pn_aead_record_of(r);
	enum pn_record_status status = PN_RECORD_WANT;
	int alert = NO_ALERT;

	*ret = PN_SLICE_NULL;
	take_given(a);
	if (a->is_failed)
		return PN_RECORD_FAILED;
	if (a->is_peer_closed)
		return PN_RECORD_CLOSED;
	while (status == PN_RECORD_WANT) {
		uint8_t *record = next_record(a, &alert);

		if (!record)
			break;
		status = record_take(a, record, ret, out);
		if (status != PN_RECORD_OK)
			take_given(a);
	}
	if (alert != NO_ALERT)
		status = pn_aead_fail(a, (uint8_t)alert, out);
	if (status == PN_RECORD_FAILED || status == PN_RECORD_CLOSED)
		drop_input(a);
	return status;
}

static size_t aead_pending(const struct pn_record *r)
{
	const struct pn_aead_record *a = pn_container_of(r, const struct pn_aead_record, base);

	return a->in_len + (a->is_partial_done ? 0 : pn_buf_len(&a->partial));
}

static size_t aead_take_back(struct pn_record *r)
{
	struct pn_aead_record *a = pn_aead_record_of(r);
	size_t rest = a->in_len;

	a->in_len = 0;
	take_given(a);
	return rest;
}

/* ---- life ---- */

/* The kernel takes over between two records, when nothing is held back (tickets, KeyUpdate). */
static struct pn_record *aead_quiet(struct pn_record *r, struct pn_buf *out)
{
	struct pn_aead_record *a = pn_aead_record_of(r);
	struct pn_record *moved;
	int fd = a->fd;

	if (!a->base.wants_quiet)
		return r;
	if (aead_pending(r) > 0) {
		if (++a->quiet_tries < QUIET_TRIES_MAX)
			return r;
		pn_ktls_count(PN_KTLS_C_not_moved_never_quiet);
	} else if (!a->is_failed && !a->is_peer_closed && !a->is_close_sent) {
		if (aead_seal(r, PN_SLICE_NULL, out) != PN_RECORD_OK || pn_buf_len(out) > 0)
			return r;
		a->fd = -1;
		a->base.wants_quiet = false;
		moved = pn_record_ktls_new(r, &a->keys, fd);
		return moved ? moved : r;
	}
	a->fd = -1;
	a->base.wants_quiet = false;
	return r;
}

/* What can be made again is made for each record, but for this. */
static void aead_idle(struct pn_record *r)
{
	struct pn_aead_record *a = pn_aead_record_of(r);

	if (pn_buf_len(&a->partial) == 0)
		pn_buf_wipe(&a->partial);
}

static void aead_free(struct pn_record *r)
{
	struct pn_aead_record *a = pn_aead_record_of(r);

	/* Not what was given: it may lie in memory that is somebody else's by now. */
	pn_aead_forget(&a->keys.suite, &a->keys.receive);
	pn_aead_forget(&a->keys.suite, &a->keys.send);
	pn_buf_wipe(&a->partial);
	pn_buf_free(&a->held);
	pn_wipe(a, sizeof(*a));
	free(a);
	pn_record_uncount(PN_RECORD_C_sessions_aead);
}

static const struct pn_record_ops aead_ops = {
	.name = "aead",
	.input = aead_input,
	.open = aead_open,
	.seal = aead_seal,
	.pending = aead_pending,
	.take_back = aead_take_back,
	.close = aead_close,
	.rekey = aead_rekey,
	.idle = aead_idle,
	.free = aead_free,
	.quiet = aead_quiet,
};

/* A server's tickets of TLS 1.3 wait in BoringSSL for its first write, and are sealed by it. */
static bool hold_tickets(struct pn_aead_record *a, SSL *ssl, struct pn_tls_io *io)
{
	bool ok;

	if (!is_tls13(a) || !a->keys.is_server)
		return true;
	io->out = &a->held;
	ok = SSL_write(ssl, "", 0) == 0 && !io->is_out_full;
	io->out = NULL;
	ERR_clear_error();
	return ok;
}

struct pn_record *pn_record_aead_new(const struct pn_tls_keys *keys, SSL *ssl, struct pn_tls_io *io)
{
	struct pn_aead_record *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->base.ops = &aead_ops;
	a->fd = -1;
	a->keys = *keys;
	pn_buf_init_secret(&a->partial, PARTIAL_MAX);
	pn_buf_init(&a->held, HELD_MAX);
	pn_record_count(PN_RECORD_C_sessions_aead);
	if (!hold_tickets(a, ssl, io)) {
		aead_free(&a->base);
		return NULL;
	}
	a->keys.send.sequence = SSL_get_write_sequence(ssl);
	a->sealed = a->keys.send.sequence;
	return &a->base;
}

void pn_record_aead_offer_kernel(struct pn_record *r, int fd)
{
	struct pn_aead_record *a = pn_aead_record_of(r);

	a->fd = fd;
	/* A client holds no tickets back. */
	a->base.wants_quiet = !a->keys.is_server;
}

void pn_record_aead_set_sealed(struct pn_record *r, uint64_t count)
{
	pn_aead_record_of(r)->sealed = count;
}
