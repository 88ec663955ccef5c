/* SPDX-License-Identifier: ISC */
/*
 * record_ktls.c - the kernel's records behind the record interface: what is received is plaintext
 * already, what is sent is protected on its way out.
 *
 * Records that are not data do not come in with the data: a receive fails with -EIO in front of
 * one, and it is fetched on its own (ktls_control.c). None of ours goes out with the data either:
 * alerts and KeyUpdates are single sendmsg calls that never block, close_notify and fatal alerts
 * when all data has left (pn_record_flushed()).
 */
#include "tls/ktls_record.h"

#include <errno.h>
#include <stdlib.h>

#include <postern/base/secret.h>

#define RECORD_PLAIN_MAX 16384
/* As in record_aead.c (RFC 9325 4.4). The kernel cuts the records: short sends make more of
 * them than we count, by far less than the distance to 2^24.5. */
#define REKEY_AFTER (UINT64_C(1) << 23)
#define SENT_MAX    (UINT64_C(1) << 24)

static void ktls_input(struct pn_record *r, uint8_t *data, size_t len)
{
	struct pn_ktls_record *k = pn_ktls_record_of(r);

	PN_ASSERT(k->input_len == 0);
	if (k->is_peer_closed || k->is_failed)
		return;
	k->input = data;
	k->input_len = len;
	k->is_given = false;
}

static enum pn_record_status ktls_open(struct pn_record *r, struct pn_slice *ret,
				       struct pn_buf *out)
{
	struct pn_ktls_record *k = pn_ktls_record_of(r);

	(void)out;
	*ret = PN_SLICE_NULL;
	if (k->is_failed)
		return PN_RECORD_FAILED;
	if (k->is_peer_closed)
		return PN_RECORD_CLOSED;
	if (k->input_len > 0 && !k->is_given) {
		k->is_given = true;
		k->controls_in_a_row = 0;
		*ret = pn_slice(k->input, k->input_len);
		return PN_RECORD_OK;
	}
	/* Passwords pass through the receive buffers. */
	if (k->input_len > 0)
		pn_wipe(k->input, k->input_len);
	k->input_len = 0;
	return PN_RECORD_WANT;
}

static enum pn_record_status ktls_seal(struct pn_record *r, struct pn_slice plain,
				       struct pn_buf *out)
{
	struct pn_ktls_record *k = pn_ktls_record_of(r);

	if (k->is_failed || k->is_close_asked)
		return PN_RECORD_FAILED;
	if (k->sealer)
		return pn_record_seal(k->sealer, plain, out);
	/* RFC 8446 4.6.3: the answer to a KeyUpdate goes before more data. */
	if (k->is_update_owed && !pn_ktls_control_update(k))
		return PN_RECORD_FAILED;
	if (k->sent >= REKEY_AFTER && k->has_rekey && !pn_ktls_control_update(k))
		return PN_RECORD_FAILED;
	if (k->sent >= SENT_MAX)
		return PN_RECORD_FAILED;
	if (pn_buf_append_slice(out, plain) != 0)
		return PN_RECORD_FAILED;
	k->sent += plain.len / RECORD_PLAIN_MAX + 1;
	return PN_RECORD_OK;
}

static size_t ktls_pending(const struct pn_record *r)
{
	const struct pn_ktls_record *k = pn_container_of(r, const struct pn_ktls_record, base);

	return k->is_given ? 0 : k->input_len;
}

static size_t ktls_take_back(struct pn_record *r)
{
	struct pn_ktls_record *k = pn_ktls_record_of(r);
	size_t rest = ktls_pending(r);

	/* What was given is used up or copied by its user. */
	if (k->input_len > 0 && k->is_given)
		pn_wipe(k->input, k->input_len);
	k->input_len = 0;
	return rest;
}

static enum pn_record_status ktls_close(struct pn_record *r, struct pn_buf *out)
{
	struct pn_ktls_record *k = pn_ktls_record_of(r);

	if (k->is_close_asked)
		return PN_RECORD_OK;
	if (k->is_failed)
		return PN_RECORD_FAILED;
	k->is_close_asked = true;
	if (k->sealer)
		return pn_record_close(k->sealer, out);
	pn_ktls_control_owe(k, PN_ALERT_CLOSE_NOTIFY);
	return PN_RECORD_OK;
}

static enum pn_record_status ktls_rekey(struct pn_record *r, struct pn_buf *out)
{
	struct pn_ktls_record *k = pn_ktls_record_of(r);

	if (k->is_failed || k->is_close_asked)
		return PN_RECORD_FAILED;
	if (k->sealer)
		return pn_record_rekey(k->sealer, out);
	if (!k->has_rekey || pn_ktls_control_update(k))
		return PN_RECORD_OK;
	k->is_failed = true;
	return PN_RECORD_FAILED;
}

/* Nothing of ours is held between receives. */
static void ktls_idle(struct pn_record *r)
{
	(void)r;
}

static void ktls_flushed(struct pn_record *r)
{
	pn_ktls_control_last_words(pn_ktls_record_of(r));
}

static void ktls_free(struct pn_record *r)
{
	struct pn_ktls_record *k = pn_ktls_record_of(r);

	pn_ktls_uncount(PN_KTLS_C_sessions);
	pn_record_uncount(PN_RECORD_C_sessions_kernel);
	pn_record_free(k->sealer);
	pn_wipe(k, sizeof(*k));
	free(k);
}

static const struct pn_record_ops ktls_ops = {
	.name = "kernel",
	.input = ktls_input,
	.open = ktls_open,
	.seal = ktls_seal,
	.pending = ktls_pending,
	.take_back = ktls_take_back,
	.close = ktls_close,
	.rekey = ktls_rekey,
	.idle = ktls_idle,
	.free = ktls_free,
	.recv_failed = pn_ktls_control_received,
	.flushed = ktls_flushed,
};

/*
 * Receiving goes first: should the kernel then refuse the sending side, the record that was can go on
 * sealing on its own, while it could not go on opening without wanting to send.
 */
static bool ktls_take_over(struct pn_ktls_record *k)
{
	struct pn_ktls_ability ability = pn_ktls_suite_ability(&k->keys.suite);
	int result = ability.can_receive
			     ? pn_ktls_socket_set(k->fd, TLS_RX, &k->keys.suite, &k->keys.receive)
			     : -EOPNOTSUPP;

	if (result != 0) {
		pn_ktls_count_not_moved(result);
		return false;
	}
	if (k->keys.suite.version == TLS1_3_VERSION && pn_ktls_probe()->has_no_pad)
		pn_ktls_socket_expect_no_pad(k->fd);
	k->is_sending = ability.can_send &&
			pn_ktls_socket_set(k->fd, TLS_TX, &k->keys.suite, &k->keys.send) == 0;
	return true;
}

/* Secrets are kept only where the keys can change. */
static void ktls_forget(struct pn_ktls_record *k)
{
	pn_wipe(k->keys.receive.key, sizeof(k->keys.receive.key));
	pn_wipe(k->keys.receive.iv, sizeof(k->keys.receive.iv));
	pn_wipe(k->keys.send.key, sizeof(k->keys.send.key));
	pn_wipe(k->keys.send.iv, sizeof(k->keys.send.iv));
	if (!k->has_rekey)
		pn_wipe(k->keys.receive.data, sizeof(k->keys.receive.data));
	if (!k->has_rekey || !k->is_sending)
		pn_wipe(k->keys.send.data, sizeof(k->keys.send.data));
}

struct pn_record *pn_record_ktls_new(struct pn_record *from, const struct pn_tls_keys *keys, int fd)
{
	struct pn_ktls_record *k = calloc(1, sizeof(*k));

	if (!k) {
		pn_ktls_count(PN_KTLS_C_not_moved_memory);
		return NULL;
	}
	k->base.ops = &ktls_ops;
	k->fd = fd;
	k->keys = *keys;
	k->has_rekey = k->keys.suite.version == TLS1_3_VERSION && pn_ktls_probe()->has_rekey;
	k->sent = k->keys.send.sequence;
	if (!ktls_take_over(k)) {
		pn_wipe(k, sizeof(*k));
		free(k);
		return NULL;
	}
	ktls_forget(k);
	pn_ktls_count(PN_KTLS_C_sessions);
	pn_record_count(PN_RECORD_C_sessions_kernel);
	if (k->is_sending) {
		pn_ktls_count(PN_KTLS_C_moved);
		pn_record_free(from);
	} else {
		pn_ktls_count(PN_KTLS_C_moved_receive_only);
		k->sealer = from;
	}
	return &k->base;
}

void pn_record_ktls_set_sent(struct pn_record *r, uint64_t count)
{
	pn_ktls_record_of(r)->sent = count;
}
