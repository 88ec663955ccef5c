/* SPDX-License-Identifier: ISC */
/*
 * ktls_control.c - records that are not data: alerts, KeyUpdates, tickets, both ways.
 *
 * What the kernel's receive stumbles over is fetched with one recvmsg. The limits are BoringSSL's:
 * 32 of them in a row without data end the connection, and so does everything that has no business
 * after the handshake. Changing keys needs a kernel that can (has_rekey); with another one a
 * KeyUpdate of the peer ends the connection with an alert before anything more is read, because the
 * next record could not be opened.
 */
#include "tls/ktls_record.h"

#include <errno.h>

#include <postern/base/secret.h>

#define RECORD_PLAIN_MAX      16384
#define CONTROLS_IN_A_ROW_MAX 32

void pn_ktls_control_owe(struct pn_ktls_record *k, uint8_t description)
{
	k->has_last_words = true;
	/* RFC 8446 6: close_notify is a warning, in 1.2 as well (RFC 5246 7.2.1). */
	k->last_words[0] = description == PN_ALERT_CLOSE_NOTIFY ? PN_ALERT_LEVEL_WARNING
								: PN_ALERT_LEVEL_FATAL;
	k->last_words[1] = description;
}

void pn_ktls_control_last_words(struct pn_ktls_record *k)
{
	if (!k->has_last_words)
		return;
	k->has_last_words = false;
	if (pn_ktls_socket_send_control(k->fd, PN_TLS_TYPE_ALERT, k->last_words,
					sizeof(k->last_words)) != 0)
		pn_ktls_count(PN_KTLS_C_last_words_lost);
	else if (k->last_words[1] == PN_ALERT_CLOSE_NOTIFY)
		pn_ktls_count(PN_KTLS_C_close_notify_sent);
	else
		pn_ktls_count(PN_KTLS_C_alerts_sent);
}

/* Fails the connection with an alert; where BoringSSL seals, without one. */
static enum pn_record_status fail(struct pn_ktls_record *k, uint8_t description)
{
	k->is_failed = true;
	if (k->is_sending)
		pn_ktls_control_owe(k, description);
	return PN_RECORD_FAILED;
}

/* A socket that is full twice belongs to a peer that asks for new keys and does not read. */
bool pn_ktls_control_update(struct pn_ktls_record *k)
{
	static const uint8_t message[PN_TLS_KEY_UPDATE_LEN] = { PN_TLS_HANDSHAKE_KEY_UPDATE, 0, 0,
								1,
								PN_TLS_KEY_UPDATE_NOT_REQUESTED };
	bool was_owed = k->is_update_owed;
	int result =
		pn_ktls_socket_send_control(k->fd, PN_TLS_TYPE_HANDSHAKE, message, sizeof(message));

	if (result == -EAGAIN && !was_owed) {
		k->is_update_owed = true;
		return true;
	}
	k->is_update_owed = false;
	if (result != 0) {
		k->is_failed = true;
		return false;
	}
	pn_ktls_count(PN_KTLS_C_key_updates_sent);
	result = pn_tls_secret_update(&k->keys.suite, &k->keys.send);
	if (result == 0)
		result = pn_ktls_socket_set(k->fd, TLS_TX, &k->keys.suite, &k->keys.send);
	pn_wipe(k->keys.send.key, sizeof(k->keys.send.key));
	pn_wipe(k->keys.send.iv, sizeof(k->keys.send.iv));
	if (result != 0) {
		/* The peer expects the new key, so no alert could be read either. */
		k->is_failed = true;
		return false;
	}
	k->sent = 0;
	pn_ktls_count(PN_KTLS_C_rekeys_send);
	return true;
}

static enum pn_record_status update_received(struct pn_ktls_record *k, uint8_t request,
					     struct pn_buf *out)
{
	int result;

	pn_ktls_count(PN_KTLS_C_key_updates_received);
	if (request != PN_TLS_KEY_UPDATE_NOT_REQUESTED && request != PN_TLS_KEY_UPDATE_REQUESTED)
		return fail(k, PN_ALERT_ILLEGAL_PARAMETER);
	if (!k->has_rekey) {
		pn_ktls_count(PN_KTLS_C_key_updates_refused);
		return fail(k, PN_ALERT_UNEXPECTED_MESSAGE);
	}
	result = pn_tls_secret_update(&k->keys.suite, &k->keys.receive);
	if (result == 0)
		result = pn_ktls_socket_set(k->fd, TLS_RX, &k->keys.suite, &k->keys.receive);
	pn_wipe(k->keys.receive.key, sizeof(k->keys.receive.key));
	pn_wipe(k->keys.receive.iv, sizeof(k->keys.receive.iv));
	if (result != 0) {
		pn_ktls_count(PN_KTLS_C_key_updates_refused);
		return fail(k, PN_ALERT_INTERNAL_ERROR);
	}
	pn_ktls_count(PN_KTLS_C_rekeys_receive);
	/* Several requests before an answer get one (RFC 8446 4.6.3). */
	if (request == PN_TLS_KEY_UPDATE_NOT_REQUESTED || k->is_update_owed || k->is_close_asked)
		return PN_RECORD_OK;
	if (k->sealer ? pn_record_rekey(k->sealer, out) == PN_RECORD_OK : pn_ktls_control_update(k))
		return PN_RECORD_OK;
	k->is_failed = true;
	return PN_RECORD_FAILED;
}

/* TLS 1.3, after the handshake: KeyUpdate from both, tickets from servers (RFC 8446 4.6). */
static enum pn_record_status handshake_tls13(struct pn_ktls_record *k, struct pn_slice in,
					     struct pn_buf *out)
{
	while (in.len > 0) {
		size_t len;

		if (k->skip > 0) {
			len = pn_min_size(k->skip, in.len);
			k->skip -= (uint32_t)len;
			pn_slice_advance(&in, len);
			continue;
		}
		/* Nobody cuts a header in two; who does is not waited for. */
		if (in.len < PN_TLS_HANDSHAKE_HEADER_LEN)
			return fail(k, PN_ALERT_UNEXPECTED_MESSAGE);
		len = (size_t)in.ptr[1] << 16 | (size_t)in.ptr[2] << 8 | in.ptr[3];
		if (in.ptr[0] == PN_TLS_HANDSHAKE_KEY_UPDATE) {
			/* RFC 8446 5.1: nothing follows it in its record. */
			if (len != 1 || in.len != PN_TLS_KEY_UPDATE_LEN)
				return fail(k, in.len > PN_TLS_KEY_UPDATE_LEN
						       ? PN_ALERT_UNEXPECTED_MESSAGE
						       : PN_ALERT_DECODE_ERROR);
			return update_received(k, in.ptr[4], out);
		}
		if (in.ptr[0] != PN_TLS_HANDSHAKE_TICKET || k->keys.is_server)
			return fail(k, PN_ALERT_UNEXPECTED_MESSAGE);
		pn_ktls_count(PN_KTLS_C_tickets_skipped);
		k->skip = PN_TLS_HANDSHAKE_HEADER_LEN + (uint32_t)len;
	}
	return PN_RECORD_OK;
}

static enum pn_record_status handshake_received(struct pn_ktls_record *k, struct pn_slice in,
						struct pn_buf *out)
{
	enum pn_record_status status;

	if (k->keys.suite.version == TLS1_3_VERSION)
		status = handshake_tls13(k, in, out);
	else if (in.ptr[0] == (k->keys.is_server ? PN_TLS_HANDSHAKE_CLIENT_HELLO
						 : PN_TLS_HANDSHAKE_HELLO_REQUEST))
		status = fail(k, PN_ALERT_NO_RENEGOTIATION);
	else
		status = fail(k, PN_ALERT_UNEXPECTED_MESSAGE);
	if (status == PN_RECORD_FAILED && in.ptr[0] != PN_TLS_HANDSHAKE_KEY_UPDATE)
		pn_ktls_count(PN_KTLS_C_unexpected_records);
	return status;
}

static enum pn_record_status alert_received(struct pn_ktls_record *k, struct pn_slice in)
{
	if (in.len != 2) {
		pn_ktls_count(PN_KTLS_C_unexpected_records);
		return fail(k, PN_ALERT_DECODE_ERROR);
	}
	if (in.ptr[1] == PN_ALERT_CLOSE_NOTIFY) {
		pn_ktls_count(PN_KTLS_C_close_notify_received);
		k->is_peer_closed = true;
		return PN_RECORD_CLOSED;
	}
	pn_ktls_count(PN_KTLS_C_alerts_received);
	/* Warnings mean nothing in 1.2, and only user_canceled does in 1.3 (RFC 8446 6.1). */
	if (k->keys.suite.version == TLS1_3_VERSION ? in.ptr[1] == PN_ALERT_USER_CANCELED
						    : in.ptr[0] == PN_ALERT_LEVEL_WARNING)
		return PN_RECORD_OK;
	k->is_failed = true; /* an alert is not answered by one */
	return PN_RECORD_FAILED;
}

/* What a receive can fail with where the kernel opens records. */
static enum pn_record_status broken(struct pn_ktls_record *k, int error)
{
	uint8_t description;

	switch (-error) {
	case EBADMSG:
		description = PN_ALERT_BAD_RECORD_MAC;
		break;
	case EMSGSIZE:
		description = PN_ALERT_RECORD_OVERFLOW;
		break;
	case EINVAL:
		description = PN_ALERT_PROTOCOL_VERSION;
		break;
	case EKEYEXPIRED: /* a KeyUpdate that was not seen to */
	case EPROTO:
		description = PN_ALERT_INTERNAL_ERROR;
		break;
	default:
		return PN_RECORD_WANT;
	}
	pn_ktls_count(PN_KTLS_C_broken_records);
	return fail(k, description);
}

static enum pn_record_status fetch(struct pn_ktls_record *k, struct pn_buf *out)
{
	uint8_t data[RECORD_PLAIN_MAX + 1];
	uint8_t type;
	ssize_t n;

	if (++k->controls_in_a_row > CONTROLS_IN_A_ROW_MAX) {
		pn_ktls_count(PN_KTLS_C_unexpected_records);
		return fail(k, PN_ALERT_UNEXPECTED_MESSAGE);
	}
	n = pn_ktls_socket_receive_control(k->fd, data, sizeof(data), &type);
	/* Gone meanwhile, or the end of the stream: the next receive tells. */
	if (n == 0 || n == -EAGAIN || n == -EINTR)
		return PN_RECORD_OK;
	if (n < 0)
		return broken(k, (int)n);
	/* A ticket may span records, but nothing may come between them (RFC 8446 5.1). */
	if (type != PN_TLS_TYPE_HANDSHAKE && k->skip > 0)
		type = 0;
	if (type == PN_TLS_TYPE_ALERT)
		return alert_received(k, pn_slice(data, (size_t)n));
	if (type == PN_TLS_TYPE_HANDSHAKE)
		return handshake_received(k, pn_slice(data, (size_t)n), out);
	pn_ktls_count(PN_KTLS_C_unexpected_records);
	return fail(k, PN_ALERT_UNEXPECTED_MESSAGE);
}

enum pn_record_status pn_ktls_control_received(struct pn_record *r, int error, struct pn_buf *out)
{
	struct pn_ktls_record *k = pn_ktls_record_of(r);

	if (k->is_peer_closed)
		return PN_RECORD_CLOSED;
	if (k->is_failed)
		return PN_RECORD_FAILED;
	return error == -EIO ? fetch(k, out) : broken(k, error);
}
