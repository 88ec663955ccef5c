/* SPDX-License-Identifier: ISC */
/*
 * user_table.c - hash table of users, and the made-up parameters of users that do not exist.
 *
 * Lookup folds ASCII case, as Dovecot's default auth_username_format does: Tim@example.org and tim@example.org
 * are one user, and a file with both is refused. Only names from the file are in the table, so no client can
 * make its chains long.
 *
 * Unknown users pay for the hash (method and cost) that most users have, computed for real with that user's
 * setting, and are shown the SCRAM iteration count and salt length that most users have. Their salt comes from
 * the seed line of the file, which `postern user` writes: stable over restarts, reloads and edits. Without that
 * line it comes from all stored secrets together: stable until one of them changes, and nobody can compute it
 * who does not know them all.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <crypt.h>

#include <postern/base/secret.h>
#include <postern/tls/crypto.h>

#include "auth/user_table.h"

#define CLASSES_MAX 64 /* kinds of cost that are told apart; files have one or two */

static uint8_t fold(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

static size_t hash_name(struct pn_slice name)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < name.len; i++)
		h = (h ^ fold(name.ptr[i])) * 0x100000001b3u;
	return (size_t)(h ^ (h >> 32));
}

struct pn_user_table *pn_user_table_new(void)
{
	struct pn_user_table *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->mask = 15;
	t->slots = calloc(t->mask + 1, sizeof(struct pn_auth_user *));
	if (!t->slots) {
		free(t);
		return NULL;
	}
	return t;
}

void pn_user_table_free(struct pn_user_table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i <= t->mask; i++)
		pn_auth_user_unref(t->slots[i]);
	pn_auth_user_unref(t->dummy);
	free(t->slots);
	pn_wipe(t, sizeof(*t));
	free(t);
}

/* The slot of the name, or the empty one where it would go. */
static struct pn_auth_user **slot_of(struct pn_auth_user **slots, size_t mask, struct pn_slice name)
{
	size_t i = hash_name(name) & mask;

	while (slots[i] && !pn_user_name_eq(slots[i]->name, name))
		i = (i + 1) & mask;
	return &slots[i];
}

static int grow(struct pn_user_table *t)
{
	size_t mask = t->mask * 2 + 1;
	struct pn_auth_user **slots = calloc(mask + 1, sizeof(struct pn_auth_user *));

	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i <= t->mask; i++) {
		if (t->slots[i])
			*slot_of(slots, mask, t->slots[i]->name) = t->slots[i];
	}
	free(t->slots);
	t->slots = slots;
	t->mask = mask;
	return 0;
}

int pn_user_table_add(struct pn_user_table *t, struct pn_auth_user *u, const struct pn_auth_user **ret_other)
{
	struct pn_auth_user **slot = slot_of(t->slots, t->mask, u->name);

	if (*slot) {
		*ret_other = *slot;
		return -EEXIST;
	}
	if (t->count == PN_USERS_MAX)
		return -ENOSPC;
	if ((t->count + 1) * 2 > t->mask + 1) {
		int r = grow(t);
		if (r < 0)
			return r;
		slot = slot_of(t->slots, t->mask, u->name);
	}
	*slot = u;
	t->count++;
	t->enabled_count += u->kind != PN_PASSWORD_NONE;
	t->scram_count += u->has_scram;
	t->allow_nets_count += u->has_allow_nets;
	return 0;
}

struct pn_auth_user *pn_user_table_find(const struct pn_user_table *t, struct pn_slice name)
{
	return *slot_of(t->slots, t->mask, name);
}

/* A count of users that have something in common, and one of them. */
struct class {
	struct pn_auth_user *user;
	size_t count;
};

static void count_class(struct class classes[CLASSES_MAX], struct pn_auth_user *u,
                        bool (*is_same)(const struct pn_auth_user *, const struct pn_auth_user *))
{
	for (size_t i = 0; i < CLASSES_MAX; i++) {
		if (classes[i].user && !is_same(classes[i].user, u))
			continue;
		if (!classes[i].user)
			classes[i].user = u;
		classes[i].count++;
		return;
	}
}

static struct pn_auth_user *most_common(const struct class classes[CLASSES_MAX])
{
	struct class best = { NULL, 0 };

	for (size_t i = 0; i < CLASSES_MAX; i++) {
		if (classes[i].count > best.count)
			best = classes[i];
	}
	return best.user;
}

static bool has_same_cost(const struct pn_auth_user *a, const struct pn_auth_user *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == PN_PASSWORD_SCRAM)
		return a->scram.iterations == b->scram.iterations;
	return pn_slice_eq(pn_scheme_crypt_cost(a->stored), pn_scheme_crypt_cost(b->stored));
}

static bool has_same_scram(const struct pn_auth_user *a, const struct pn_auth_user *b)
{
	return a->scram.iterations == b->scram.iterations && a->scram.salt_len == b->scram.salt_len;
}

/* For a file in which nobody can log in: a yescrypt setting of our own with a digest that means nothing. */
static struct pn_auth_user *make_dummy(void)
{
	char setting[CRYPT_GENSALT_OUTPUT_SIZE];
	char line[CRYPT_GENSALT_OUTPUT_SIZE + 80];

	if (!crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof(setting)))
		return NULL;
	int len = snprintf(line, sizeof(line), "unknown:{CRYPT}%s$%043d", setting, 0);
	return pn_user_parse_line(pn_slice(line, (size_t)len), 0, NULL);
}

/* See the head of this file: the seed where the file has no line for it. */
static void derive_seed(struct pn_user_table *t)
{
	uint8_t sum[PN_SHA256_LEN] = { 0 };
	uint8_t one[PN_SHA256_LEN];

	/* The sum does not depend on the order of the users in the file or in the table. */
	for (size_t i = 0; i <= t->mask; i++) {
		const struct pn_auth_user *u = t->slots[i];
		if (!u)
			continue;
		pn_hmac_sha256(one, u->stored, pn_slice(u->scram.server_key, sizeof(u->scram.server_key)));
		for (size_t k = 0; k < sizeof(sum); k++)
			sum[k] ^= one[k];
	}
	pn_hmac_sha256(t->seed, pn_slice(sum, sizeof(sum)), PN_SLICE_LIT("postern scram seed"));
	pn_wipe(sum, sizeof(sum));
	pn_wipe(one, sizeof(one));
}

int pn_user_table_seal(struct pn_user_table *t)
{
	struct class by_cost[CLASSES_MAX] = { 0 }, by_scram[CLASSES_MAX] = { 0 };

	for (size_t i = 0; i <= t->mask; i++) {
		struct pn_auth_user *u = t->slots[i];
		if (u && u->kind != PN_PASSWORD_NONE)
			count_class(by_cost, u, has_same_cost);
		if (u && u->has_scram)
			count_class(by_scram, u, has_same_scram);
	}
	struct pn_auth_user *hashed = most_common(by_cost), *scrammed = most_common(by_scram);
	t->dummy = hashed ? pn_user_ref(hashed) : make_dummy();
	t->fake_iterations = scrammed ? scrammed->scram.iterations : PN_SCRAM_ITERATIONS_DEFAULT;
	t->fake_salt_len = scrammed ? scrammed->scram.salt_len : PN_SCRAM_SALT_LEN_DEFAULT;
	if (!t->has_seed)
		derive_seed(t);
	return t->dummy ? 0 : -ENOMEM;
}

/* One block that depends on seed, label and name in lower case. */
static void made_up_block(const struct pn_user_table *t, char label, struct pn_slice name, uint8_t out[PN_SHA256_LEN])
{
	uint8_t text[1 + PN_SASL_PREPARED_MAX];
	size_t len = pn_min_size(name.len, PN_SASL_PREPARED_MAX);

	text[0] = (uint8_t)label;
	for (size_t i = 0; i < len; i++)
		text[1 + i] = fold(name.ptr[i]);
	pn_hmac_sha256(out, pn_slice(t->seed, sizeof(t->seed)), pn_slice(text, 1 + len));
}

void pn_user_table_scram_key(const struct pn_user_table *t, struct pn_slice name, const struct pn_auth_user *u,
                             struct pn_sasl_scram_key *ret)
{
	*ret = (struct pn_sasl_scram_key){ .iterations = t->fake_iterations, .salt_len = t->fake_salt_len };
	_Static_assert(PN_SASL_SALT_MAX == 2 * PN_SHA256_LEN, "the made-up salt is two blocks");
	made_up_block(t, '0', name, ret->salt);
	made_up_block(t, '1', name, ret->salt + PN_SHA256_LEN);
	made_up_block(t, '2', name, ret->stored_key);
	made_up_block(t, '3', name, ret->server_key);
	if (u && u->has_scram)
		*ret = u->scram;
}
