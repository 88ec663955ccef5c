/* SPDX-License-Identifier: ISC */
/*
 * tickets.c - session tickets (RFC 5077, RFC 8446 4.6.1) under keys that rotate (RFC 9325 3.4).
 *
 * A key seals during the first half of its life and opens during all of it; a ticket lives half a
 * key's life. So every ticket can be opened as long as it lives, and at most two keys (three at the
 * moment of a change) exist. A key whose life is over is wiped at the next use, or by
 * pn_tls_tickets_rotate() from a timer.
 *
 * A ticket is: key name (16) | nonce (12) | AES-256-GCM-SIV(session) with the key name as
 * associated data. SIV, because the nonces are random and many machines may one day share a key: a
 * repeated nonce then costs next to nothing.
 *
 * Threads: a read-write lock around each seal and open, well under a microsecond beside a handshake
 * of a hundred. The time of the next change is an atomic, so that nobody takes the lock for writing
 * just to look.
 */
#include "tls/tickets.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <openssl/aead.h>
#include <openssl/err.h>
#include <openssl/rand.h>

#include <postern/base/clock.h>
#include <postern/base/secret.h>

#include "tls/conn.h"

#define KEY_NAME_LEN   16
#define KEY_LEN        32
#define NONCE_LEN      12
#define TAG_LEN        16
#define OVERHEAD       (KEY_NAME_LEN + NONCE_LEN + TAG_LEN)
#define KEYS_MAX       3
#define LIFETIME_MIN_S 2

struct ticket_key {
	uint8_t name[KEY_NAME_LEN]; /* public, random */
	EVP_AEAD_CTX aead;
	uint64_t seal_until_ms;
	uint64_t open_until_ms;
	bool is_live;
};

struct pn_tls_tickets {
	pthread_rwlock_t lock; /* guards keys and newest */
	struct ticket_key keys[KEYS_MAX];
	size_t newest;
	/* When a key must be made or wiped. Written under the lock, read without. */
	_Atomic uint64_t next_change_ms;
	uint64_t lifetime_ms;
	pn_tls_tickets_clock_fn now_ms;
	void *now_arg;
};

static uint64_t tickets_clock(void *arg)
{
	(void)arg;
	return pn_clock_mono_ms();
}

static void key_wipe(struct ticket_key *k)
{
	if (k->is_live)
		EVP_AEAD_CTX_cleanup(&k->aead);
	pn_wipe(k, sizeof(*k));
}

static bool key_init(struct ticket_key *k, uint64_t now_ms, uint64_t lifetime_ms)
{
	uint8_t secret[KEY_LEN];

	RAND_bytes(secret, sizeof(secret));
	RAND_bytes(k->name, sizeof(k->name));
	k->is_live = EVP_AEAD_CTX_init(&k->aead, EVP_aead_aes_256_gcm_siv(), secret, sizeof(secret),
				       TAG_LEN, NULL) == 1;
	pn_wipe(secret, sizeof(secret));
	k->seal_until_ms = now_ms + lifetime_ms / 2;
	k->open_until_ms = now_ms + lifetime_ms;
	return k->is_live;
}

/* Wipes what is over, makes a new key when the newest may seal no longer. Under the lock for
 * writing. */
static void tickets_change(struct pn_tls_tickets *t, uint64_t now_ms)
{
	uint64_t next_ms = UINT64_MAX;
	size_t room = KEYS_MAX;

	for (size_t i = 0; i < KEYS_MAX; i++) {
		if (t->keys[i].is_live && now_ms >= t->keys[i].open_until_ms)
			key_wipe(&t->keys[i]);
		if (!t->keys[i].is_live)
			room = i;
	}
	if (!t->keys[t->newest].is_live || now_ms >= t->keys[t->newest].seal_until_ms) {
		/* With lives of L and a new one each L/2, one of three places is always free. */
		PN_ASSERT(room < KEYS_MAX);
		if (key_init(&t->keys[room], now_ms, t->lifetime_ms))
			t->newest = room;
		else
			ERR_clear_error(); /* out of memory: sealing fails or goes on with the old
					      key until the next try */
	}
	for (size_t i = 0; i < KEYS_MAX; i++)
		if (t->keys[i].is_live && t->keys[i].open_until_ms < next_ms)
			next_ms = t->keys[i].open_until_ms;
	if (t->keys[t->newest].is_live && t->keys[t->newest].seal_until_ms < next_ms)
		next_ms = t->keys[t->newest].seal_until_ms;
	/* Release: pairs with the acquire in tickets_refresh(), although the keys themselves are
	 * read under the lock. */
	atomic_store_explicit(&t->next_change_ms, next_ms == UINT64_MAX ? 0 : next_ms,
			      memory_order_release);
}

static uint64_t tickets_refresh(struct pn_tls_tickets *t)
{
	uint64_t now_ms = t->now_ms(t->now_arg);

	/* Acquire: pairs with the release in tickets_change(). */
	if (now_ms < atomic_load_explicit(&t->next_change_ms, memory_order_acquire))
		return now_ms;
	pthread_rwlock_wrlock(&t->lock);
	/* Relaxed: written under the lock that we hold. Another thread may have been faster. */
	if (now_ms >= atomic_load_explicit(&t->next_change_ms, memory_order_relaxed))
		tickets_change(t, now_ms);
	pthread_rwlock_unlock(&t->lock);
	return now_ms;
}

struct pn_tls_tickets *pn_tls_tickets_new(uint32_t lifetime_s)
{
	struct pn_tls_tickets *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	if (pthread_rwlock_init(&t->lock, NULL) != 0) {
		free(t);
		return NULL;
	}
	t->lifetime_ms =
		1000 * (uint64_t)(lifetime_s < LIFETIME_MIN_S ? LIFETIME_MIN_S : lifetime_s);
	t->now_ms = tickets_clock;
	atomic_init(&t->next_change_ms, 0);
	return t;
}

void pn_tls_tickets_free(struct pn_tls_tickets *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < KEYS_MAX; i++)
		key_wipe(&t->keys[i]);
	pthread_rwlock_destroy(&t->lock);
	free(t);
}

void pn_tls_tickets_set_clock(struct pn_tls_tickets *t, pn_tls_tickets_clock_fn now_ms, void *arg)
{
	t->now_ms = now_ms;
	t->now_arg = arg;
}

void pn_tls_tickets_rotate(struct pn_tls_tickets *t)
{
	(void)tickets_refresh(t);
}

uint32_t pn_tls_tickets_ticket_lifetime_s(const struct pn_tls_tickets *t)
{
	return (uint32_t)(t->lifetime_ms / 2000);
}

size_t pn_tls_tickets_key_count(struct pn_tls_tickets *t)
{
	uint64_t now_ms = tickets_refresh(t);
	size_t count = 0;

	pthread_rwlock_rdlock(&t->lock);
	for (size_t i = 0; i < KEYS_MAX; i++)
		count += t->keys[i].is_live && now_ms < t->keys[i].open_until_ms;
	pthread_rwlock_unlock(&t->lock);
	return count;
}

static struct pn_tls_tickets *tickets_of(const SSL *ssl)
{
	return pn_tls_conn_tickets(pn_tls_io_of(ssl)->conn);
}

static size_t ticket_overhead(SSL *ssl)
{
	(void)ssl;
	return OVERHEAD;
}

static int ticket_seal(SSL *ssl, uint8_t *out, size_t *out_len, size_t max_out_len,
		       const uint8_t *in, size_t in_len)
{
	struct pn_tls_tickets *t = tickets_of(ssl);
	const struct ticket_key *k;
	uint8_t *nonce = out + KEY_NAME_LEN;
	size_t sealed_len = 0;
	int ok = 0;

	if (max_out_len < OVERHEAD || max_out_len - OVERHEAD < in_len)
		return 0;
	(void)tickets_refresh(t);
	pthread_rwlock_rdlock(&t->lock);
	k = &t->keys[t->newest];
	if (k->is_live) {
		memcpy(out, k->name, KEY_NAME_LEN);
		RAND_bytes(nonce, NONCE_LEN);
		ok = EVP_AEAD_CTX_seal(&k->aead, nonce + NONCE_LEN, &sealed_len, in_len + TAG_LEN,
				       nonce, NONCE_LEN, in, in_len, k->name, KEY_NAME_LEN);
	}
	pthread_rwlock_unlock(&t->lock);
	*out_len = KEY_NAME_LEN + NONCE_LEN + sealed_len;
	return ok;
}

/* The key of that name if its life is not over. Under the lock. */
static const struct ticket_key *ticket_find_key(const struct pn_tls_tickets *t, const uint8_t *name,
						uint64_t now_ms)
{
	for (size_t i = 0; i < KEYS_MAX; i++)
		if (t->keys[i].is_live && now_ms < t->keys[i].open_until_ms &&
		    memcmp(t->keys[i].name, name, KEY_NAME_LEN) == 0)
			return &t->keys[i];
	return NULL;
}

static enum ssl_ticket_aead_result_t ticket_open(SSL *ssl, uint8_t *out, size_t *out_len,
						 size_t max_out_len, const uint8_t *in,
						 size_t in_len)
{
	struct pn_tls_tickets *t = tickets_of(ssl);
	const struct ticket_key *k;
	const uint8_t *nonce = in + KEY_NAME_LEN;
	uint64_t now_ms;
	int ok = 0;

	if (in_len < OVERHEAD)
		return ssl_ticket_aead_ignore_ticket;
	now_ms = tickets_refresh(t);
	pthread_rwlock_rdlock(&t->lock);
	k = ticket_find_key(t, in, now_ms);
	if (k)
		ok = EVP_AEAD_CTX_open(&k->aead, out, out_len, max_out_len, nonce, NONCE_LEN,
				       nonce + NONCE_LEN, in_len - KEY_NAME_LEN - NONCE_LEN, in,
				       KEY_NAME_LEN);
	pthread_rwlock_unlock(&t->lock);
	if (ok)
		return ssl_ticket_aead_success;
	/* An old, foreign or forged ticket means a full handshake, not an error. */
	ERR_clear_error();
	return ssl_ticket_aead_ignore_ticket;
}

const SSL_TICKET_AEAD_METHOD pn_tls_ticket_method = {
	.max_overhead = ticket_overhead,
	.seal = ticket_seal,
	.open = ticket_open,
};
