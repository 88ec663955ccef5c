/* SPDX-License-Identifier: ISC */
/*
 * aead_control.c - alerts, KeyUpdates and tickets on our own records.
 *
 * The limits are BoringSSL's (4 warnings, 32 KeyUpdates in a row). Messages may be cut over records
 * (RFC 8446 5.1), so the few octets of a KeyUpdate are gathered; tickets are skipped.
 */
#include "tls/record_aead.h"

#define ALERTS_IN_A_ROW_MAX  4
#define UPDATES_IN_A_ROW_MAX 32
#define TICKET_MAX           16384

enum pn_record_status pn_aead_alert(struct pn_aead_record *a, struct pn_slice in,
				    struct pn_buf *out)
{
	if (in.len != 2)
		return pn_aead_fail(a, PN_ALERT_DECODE_ERROR, out);
	if (in.ptr[0] == PN_ALERT_LEVEL_FATAL) {
		a->is_failed = true; /* an alert is not answered by one */
		return PN_RECORD_FAILED;
	}
	if (in.ptr[0] != PN_ALERT_LEVEL_WARNING)
		return pn_aead_fail(a, PN_ALERT_ILLEGAL_PARAMETER, out);
	if (in.ptr[1] == PN_ALERT_CLOSE_NOTIFY) {
		a->is_peer_closed = true;
		return PN_RECORD_CLOSED;
	}
	/* RFC 8446 6.1 knows no other warning. */
	if (a->keys.suite.version == TLS1_3_VERSION && in.ptr[1] != PN_ALERT_USER_CANCELED)
		return pn_aead_fail(a, PN_ALERT_DECODE_ERROR, out);
	if (++a->alerts_in_a_row > ALERTS_IN_A_ROW_MAX)
		return pn_aead_fail(a, PN_ALERT_UNEXPECTED_MESSAGE, out);
	return PN_RECORD_WANT;
}

static enum pn_record_status update_received(struct pn_aead_record *a, struct pn_buf *out)
{
	uint8_t request = a->message[PN_TLS_HANDSHAKE_HEADER_LEN];

	if (++a->updates_in_a_row > UPDATES_IN_A_ROW_MAX)
		return pn_aead_fail(a, PN_ALERT_UNEXPECTED_MESSAGE, out);
	/* RFC 8446 4.6.3 */
	if (request != PN_TLS_KEY_UPDATE_NOT_REQUESTED && request != PN_TLS_KEY_UPDATE_REQUESTED)
		return pn_aead_fail(a, PN_ALERT_ILLEGAL_PARAMETER, out);
	pn_aead_forget(&a->keys.suite, &a->keys.receive);
	if (pn_tls_secret_update(&a->keys.suite, &a->keys.receive) != 0)
		return pn_aead_fail(a, PN_ALERT_INTERNAL_ERROR, out);
	/* Several requests before the answer get one. */
	if (request == PN_TLS_KEY_UPDATE_REQUESTED && !a->is_close_sent)
		a->is_update_owed = true;
	return PN_RECORD_WANT;
}

/* Takes from `in` what is missing of the first `need` octets of a message. False: more is to come. */
static bool message_fill(struct pn_aead_record *a, size_t need, struct pn_slice *in)
{
	size_t n = pn_min_size(need - a->message_len, in->len);

	memcpy(a->message + a->message_len, in->ptr, n);
	a->message_len = (uint8_t)(a->message_len + n);
	pn_slice_advance(in, n);
	return a->message_len == need;
}

/* A whole header: a ticket for a client is left out, anything longer than a KeyUpdate ends the
 * connection. True: the rest of the message, at most one octet, is to be gathered. */
static bool header_take(struct pn_aead_record *a, struct pn_buf *out)
{
	const uint8_t *m = a->message;
	uint32_t len = (uint32_t)m[1] << 16 | (uint32_t)m[2] << 8 | m[3];

	if (m[0] == PN_TLS_HANDSHAKE_TICKET && !a->keys.is_server && len <= TICKET_MAX) {
		a->skip = len;
		a->message_len = 0;
		a->updates_in_a_row = 0;
		return false;
	}
	if (PN_TLS_HANDSHAKE_HEADER_LEN + len <= sizeof(a->message))
		return true;
	(void)pn_aead_fail(a,
			   m[0] == PN_TLS_HANDSHAKE_KEY_UPDATE ? PN_ALERT_DECODE_ERROR
							       : PN_ALERT_UNEXPECTED_MESSAGE,
			   out);
	return false;
}

static enum pn_record_status message_take(struct pn_aead_record *a, struct pn_slice rest,
					  struct pn_buf *out)
{
	size_t len = a->message_len;

	a->message_len = 0;
	if (a->message[0] != PN_TLS_HANDSHAKE_KEY_UPDATE)
		return pn_aead_fail(a, PN_ALERT_UNEXPECTED_MESSAGE, out);
	if (len != PN_TLS_KEY_UPDATE_LEN)
		return pn_aead_fail(a, PN_ALERT_DECODE_ERROR, out);
	/* RFC 8446 5.1: nothing follows it in its record. */
	if (rest.len > 0)
		return pn_aead_fail(a, PN_ALERT_UNEXPECTED_MESSAGE, out);
	return update_received(a, out);
}

static enum pn_record_status messages_take(struct pn_aead_record *a, struct pn_slice in,
					   struct pn_buf *out)
{
	while (in.len > 0) {
		if (a->skip > 0) {
			size_t n = pn_min_size(a->skip, in.len);

			a->skip -= (uint32_t)n;
			pn_slice_advance(&in, n);
			continue;
		}
		if (a->message_len < PN_TLS_HANDSHAKE_HEADER_LEN &&
		    (!message_fill(a, PN_TLS_HANDSHAKE_HEADER_LEN, &in) || !header_take(a, out))) {
			if (a->is_failed)
				return PN_RECORD_FAILED;
			continue;
		}
		if (message_fill(a, PN_TLS_HANDSHAKE_HEADER_LEN + (size_t)a->message[3], &in)) {
			enum pn_record_status status = message_take(a, in, out);

			if (status != PN_RECORD_WANT)
				return status;
		}
	}
	return PN_RECORD_WANT;
}

enum pn_record_status pn_aead_handshake(struct pn_aead_record *a, struct pn_slice in,
					struct pn_buf *out)
{
	if (a->keys.suite.version == TLS1_3_VERSION)
		return in.len > 0 ? messages_take(a, in, out)
				  : pn_aead_fail(a, PN_ALERT_UNEXPECTED_MESSAGE,
						 out); /* RFC 8446 5.4 */
	/* RFC 9325 3.5: no renegotiation. */
	if (a->keys.is_server || (in.len > 0 && in.ptr[0] == PN_TLS_HANDSHAKE_HELLO_REQUEST))
		return pn_aead_fail(a, PN_ALERT_NO_RENEGOTIATION, out);
	return pn_aead_fail(a, PN_ALERT_UNEXPECTED_MESSAGE, out);
}
