/* SPDX-License-Identifier: ISC */
/*
 * exchange.c - one AUTH: the SASL state machine, the look at the users, the way to a helper and back.
 *
 * Everything runs on the loop of the session. An unknown or disabled user takes the same way as a known one
 * with a wrong password: a hash of the usual cost, or SCRAM with made-up parameters. The callback is always the
 * last thing done, since the callee may free the exchange. Whatever the outcome, secrets are wiped before it is
 * reported.
 */
#include <stdlib.h>

#include <postern/base/clock.h>
#include <postern/base/prng.h>
#include <postern/base/secret.h>
#include <postern/tls/crypto.h>

#include "auth/auth_internal.h"
#include "auth/saslprep.h"

_Static_assert(PN_SASL_SHA256_LEN == PN_SHA256_LEN, "one length of SHA-256");

struct pn_auth_exchange {
	struct pn_auth *auth;
	struct pn_loop *loop;
	pn_auth_fn fn;
	void *ctx;
	struct pn_auth_user *user;  /* who it will be when all goes well; a reference */
	struct pn_auth_job *job;    /* while a helper works */
	bool is_awaiting_response;
	struct pn_sasl sasl;
};

static const struct pn_sasl_ops sasl_ops = { pn_sha256, pn_hmac_sha256, pn_random_bytes, pn_saslprep_query };

static void finish(struct pn_auth_exchange *ex, enum pn_auth_result result, struct pn_slice data)
{
	static const enum pn_auth_counter counter_of[] = {
		[PN_AUTH_OK] = PN_AUTH_C_ok,
		[PN_AUTH_BAD] = PN_AUTH_C_bad,
		[PN_AUTH_MALFORMED] = PN_AUTH_C_malformed,
		[PN_AUTH_UNSUPPORTED] = PN_AUTH_C_unsupported,
		[PN_AUTH_TEMPFAIL] = PN_AUTH_C_tempfail,
	};
	struct pn_auth_user *user = NULL;

	pn_auth_count(ex->auth, counter_of[result]);
	pn_sasl_deinit(&ex->sasl);
	if (result == PN_AUTH_OK) {
		user = ex->user;
		ex->user = NULL;
		PN_ASSERT(user);
	}
	ex->fn(ex->ctx, result, data, user);
}

/* A reference to the user of the name if there is one that can log in, and what to use for one that cannot. */
static struct pn_auth_user *find_user(struct pn_auth_exchange *ex, struct pn_auth_user **ret_stand_in,
                                      struct pn_sasl_scram_key *ret_key)
{
	unsigned slot;
	struct pn_slice name = pn_sasl_name(&ex->sasl);
	const struct pn_user_table *table = pn_user_live_enter(&ex->auth->users, &slot);
	struct pn_auth_user *user = pn_user_table_find(table, name);

	if (user && user->kind == PN_PASSWORD_NONE)
		user = NULL;
	if (user)
		pn_user_ref(user);
	if (ret_stand_in)
		*ret_stand_in = pn_user_ref(table->dummy);
	if (ret_key)
		pn_user_table_scram_key(table, name, user, ret_key);
	pn_user_live_leave(&ex->auth->users, slot);
	return user;
}

static enum pn_sasl_status give_scram_key(struct pn_auth_exchange *ex, struct pn_slice *ret_data)
{
	struct pn_sasl_scram_key key;

	ex->user = find_user(ex, NULL, &key);
	enum pn_sasl_status status = pn_sasl_scram_key(&ex->sasl, &key, ret_data);
	pn_wipe(&key, sizeof(key));
	return status;
}

static void password_checked(void *owner, enum pn_verify_result result)
{
	struct pn_auth_exchange *ex = owner;

	ex->job = NULL;
	if (result == PN_VERIFY_BROKEN) {
		finish(ex, PN_AUTH_TEMPFAIL, PN_SLICE_NULL);
		return;
	}
	enum pn_sasl_status status = pn_sasl_verified(&ex->sasl, result == PN_VERIFY_RIGHT);
	finish(ex, status == PN_SASL_OK ? PN_AUTH_OK : PN_AUTH_BAD, PN_SLICE_NULL);
}

/*
 * Computes the tag and looks it up, for unknown users (`user` stands in for them) as for others; only real ones
 * can be found.
 */
static bool is_cached(struct pn_auth_exchange *ex, const struct pn_auth_user *user, uint8_t tag[PN_CACHE_TAG_LEN])
{
	struct pn_auth *auth = ex->auth;
	struct pn_slice name = ex->user ? ex->user->name : pn_sasl_name(&ex->sasl);

	pn_cred_cache_tag(auth->cache, tag, name, user->stored, pn_sasl_password(&ex->sasl));
	bool is_hit = pn_cred_cache_has(auth->cache, tag, pn_clock_mono_ms()) && ex->user;
	pn_auth_count(auth, is_hit ? PN_AUTH_C_cache_hits : PN_AUTH_C_cache_misses);
	return is_hit;
}

static bool submit(struct pn_auth_exchange *ex, struct pn_auth_user *user, const uint8_t *tag)
{
	struct pn_job_request request = {
		.loop = ex->loop,
		.user = user,
		.can_match = ex->user != NULL,
		.cache_tag = tag,
		.password = pn_sasl_password(&ex->sasl),
		.done = password_checked,
		.owner = ex,
	};
	ex->job = pn_helpers_submit(ex->auth->helpers, &request);
	pn_sasl_forget_password(&ex->sasl);
	return ex->job != NULL;
}

/* Known from the cache, or to a helper. */
static void check_password(struct pn_auth_exchange *ex)
{
	struct pn_auth_user *stand_in;
	uint8_t tag[PN_CACHE_TAG_LEN];

	ex->user = find_user(ex, &stand_in, NULL);
	struct pn_auth_user *user = ex->user ? ex->user : stand_in;
	bool is_hit = ex->auth->cache && is_cached(ex, user, tag);
	bool is_sent = !is_hit && submit(ex, user, ex->auth->cache ? tag : NULL);
	pn_auth_user_unref(stand_in);
	pn_wipe(tag, sizeof(tag));
	if (is_hit)
		password_checked(ex, PN_VERIFY_RIGHT);
	else if (!is_sent)
		finish(ex, PN_AUTH_TEMPFAIL, PN_SLICE_NULL);
}

/* Acts on what the state machine said. The last thing that start and respond do. */
static void act(struct pn_auth_exchange *ex, enum pn_sasl_status status, struct pn_slice data)
{
	if (status == PN_SASL_NEED_SCRAM_KEY)
		status = give_scram_key(ex, &data);
	switch (status) {
	case PN_SASL_CHALLENGE:
		ex->is_awaiting_response = true;
		ex->fn(ex->ctx, PN_AUTH_CHALLENGE, data, NULL);
		return;
	case PN_SASL_NEED_VERIFY:
		check_password(ex);
		return;
	case PN_SASL_OK:
		finish(ex, PN_AUTH_OK, PN_SLICE_NULL);
		return;
	case PN_SASL_BAD:
		finish(ex, PN_AUTH_BAD, data);
		return;
	case PN_SASL_MALFORMED:
		finish(ex, PN_AUTH_MALFORMED, data);
		return;
	case PN_SASL_NO_MEMORY:
	case PN_SASL_NEED_SCRAM_KEY:
		break;
	}
	finish(ex, PN_AUTH_TEMPFAIL, PN_SLICE_NULL);
}

static bool is_offered(struct pn_auth *auth, enum pn_sasl_mechanism mechanism)
{
	/* relaxed: one word, nothing else is read because of it. */
	unsigned offered = atomic_load_explicit(&auth->offered, memory_order_relaxed);
	return mechanism != PN_SASL_MECHANISM_COUNT && (offered & (1u << mechanism)) != 0;
}

struct pn_auth_exchange *pn_auth_exchange_start(struct pn_auth *auth, struct pn_loop *loop, struct pn_slice mechanism,
                                                bool has_initial, struct pn_slice initial, pn_auth_fn fn, void *ctx)
{
	struct pn_auth_exchange *ex = calloc(1, sizeof(*ex));
	enum pn_sasl_mechanism index = pn_sasl_mechanism_find(mechanism);
	struct pn_slice data;

	if (!ex)
		return NULL;
	ex->auth = auth;
	ex->loop = loop;
	ex->fn = fn;
	ex->ctx = ctx;
	pn_auth_count(auth, PN_AUTH_C_exchanges);
	if (!is_offered(auth, index)) {
		finish(ex, PN_AUTH_UNSUPPORTED, PN_SLICE_NULL);
		return ex;
	}
	pn_sasl_init(&ex->sasl, index, &sasl_ops);
	enum pn_sasl_status status = pn_sasl_step(&ex->sasl, has_initial, initial, &data);
	act(ex, status, data);
	return ex;
}

void pn_auth_exchange_respond(struct pn_auth_exchange *ex, struct pn_slice response)
{
	struct pn_slice data;

	PN_ASSERT(ex->is_awaiting_response);
	ex->is_awaiting_response = false;
	enum pn_sasl_status status = pn_sasl_step(&ex->sasl, true, response, &data);
	act(ex, status, data);
}

void pn_auth_exchange_free(struct pn_auth_exchange *ex)
{
	if (!ex)
		return;
	if (ex->job) {
		pn_auth_count(ex->auth, PN_AUTH_C_cancelled);
		pn_helpers_cancel(ex->job);
	}
	pn_sasl_deinit(&ex->sasl);
	pn_auth_user_unref(ex->user);
	pn_wipe(ex, sizeof(*ex));
	free(ex);
}
