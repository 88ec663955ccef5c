/* SPDX-License-Identifier: ISC */
/*
 * auth.h - who a client is and what it may send as: user file, SASL exchanges, hashing pool,
 * credential cache.
 *
 * Hashing never runs on the calling loop: it goes to a pool of helper threads through a bounded
 * lock-free queue
 * and the answer is posted back to the loop. When the queue is full the answer is TEMPFAIL (454
 * 4.7.0). Unknown
 * users cost the same work and give the same answer as wrong passwords.
 */
#ifndef POSTERN_AUTH_AUTH_H
#define POSTERN_AUTH_AUTH_H

#include <stdio.h>

#include <postern/base/common.h>
#include <postern/base/counters.h>
#include <postern/base/slice.h>
#include <postern/net/loop.h>

struct pn_auth;
struct pn_auth_exchange;
struct pn_auth_user; /* an entry of a snapshot of the user file, reference-counted */

struct pn_auth_settings {
	const char *user_file;           /* Dovecot passwd-file layout */
	uint32_t helper_threads;
	uint32_t helper_queue_max;
	uint32_t cache_entries_max;      /* 0: no cache */
	uint32_t cache_lifetime_s;
	bool has_plain, has_login;
	enum { PN_SCRAM_AUTO, PN_SCRAM_ON, PN_SCRAM_OFF } scram; /* AUTO: offered when every user has a key */
	uint32_t reload_check_s;         /* how often the user file is looked at for changes; 0 = never */
};

/*
 * Block of scope "auth". `users` is a gauge. hashes: password hashes computed, those for unknown
 * users
 * included.
 */
#define PN_AUTH_COUNTERS(X) \
	X(exchanges) \
	X(ok) X(bad) X(malformed) X(unsupported) X(tempfail) X(cancelled) X(hashes) X(queue_full) X(cache_hits) \
	    X(cache_misses) X(cache_evictions) X(reloads) X(reload_failures) X(users)
enum pn_auth_counter {
#define X(name) PN_AUTH_C_##name,
	PN_AUTH_COUNTERS(X)
#undef X
		PN_AUTH_COUNTER_COUNT
};

/* Reads the user file (every mistake named as file:line in err). Starts the helper threads. NULL
 * with err. */
struct pn_auth *pn_auth_new(const struct pn_auth_settings *settings, struct pn_error *err);
/*
 * Joins the helpers. No exchange may be alive; NULL is fine. A loop that exchanges ran on must
 * still be there,
 * or have run until pn_auth_inflight() was 0 after its last exchange was freed.
 */
void pn_auth_free(struct pn_auth *auth);
/*
 * Password checks at helpers or on the way back, those of freed exchanges included. At 0 no helper
 * touches any
 * loop. Any thread.
 */
size_t pn_auth_inflight(struct pn_auth *auth);
/*
 * Checks a user file: every mistake goes to `report` (may be NULL) as one line "file:line: what;
 * remedy"; that nobody can log in is a warning there.
 * Returns how many.
 */
int pn_auth_check_file(const char *path, FILE *report);
/*
 * Rereads the user file; a bad one changes nothing. Any thread but a loop's (it reads a file). 0
 * or -errno with
 * err.
 */
int pn_auth_reload(struct pn_auth *auth, struct pn_error *err) PN_MUST_CHECK;
/*
 * "SCRAM-SHA-256 PLAIN LOGIN" or less; valid for the life of auth; may change after a reload (call
 * it for each
 * EHLO). Any thread.
 */
const char *pn_auth_mechanisms(struct pn_auth *auth);

enum pn_auth_result {
	PN_AUTH_CHALLENGE,  /* send data, await a response */
	PN_AUTH_OK,         /* user is set */
	PN_AUTH_BAD,        /* wrong credentials or unknown user: 535 5.7.8 */
	PN_AUTH_MALFORMED,  /* the client broke the mechanism's syntax: 501 5.5.2 */
	PN_AUTH_UNSUPPORTED, /* mechanism not offered: 504 5.5.4 */
	PN_AUTH_TEMPFAIL,   /* helper queue full or backend out: 454 4.7.0 */
};

/*
 * Called on the loop, perhaps from inside start/respond. `data` is valid during the call: the
 * challenge; with
 * BAD and MALFORMED SCRAM's error ("e=invalid-proof") for the log, never sent. `user` (with OK): a
 * reference
 * that passes to the callee.
 */
typedef void (*pn_auth_fn)(void *ctx, enum pn_auth_result result, struct pn_slice data, struct pn_auth_user *user);

/*
 * Starts an exchange. `mechanism` upper case; `initial` as decoded (has_initial false: none). NULL
 * when out of
 * memory (454).
 */
struct pn_auth_exchange *pn_auth_exchange_start(struct pn_auth *auth, struct pn_loop *loop,
                                                struct pn_slice mechanism, bool has_initial,
                                                struct pn_slice initial, pn_auth_fn fn, void *ctx);
/* The client's next response (after CHALLENGE). */
void pn_auth_exchange_respond(struct pn_auth_exchange *ex, struct pn_slice response);
/*
 * Ends it at any time, also while a helper works on it (its answer is then dropped; fn is not
 * called any more).
 * Required after every result but CHALLENGE too. Secrets are wiped.
 */
void pn_auth_exchange_free(struct pn_auth_exchange *ex);

struct pn_slice pn_auth_user_name(const struct pn_auth_user *u);
/*
 * Whether the reverse-path (non-empty) belongs to the user: own name, listed addresses, listed
 * domains. ASCII
 * case-insensitive in the local part too, as providers deliver; "quoted"@d is quoted@d; a listed
 * domain does
 * not stand for its subdomains.
 */
bool pn_auth_user_may_send_as(const struct pn_auth_user *u, struct pn_slice reverse_path);
void pn_auth_user_unref(struct pn_auth_user *u); /* any thread; NULL is fine */

/*
 * `postern user add|passwd|list|remove`: argv after "user" (argv[0] = "add"). `default_user_file`
 * (may be NULL)
 * is used without -f. Exit code as main's: 0 done, 1 refused or failed, 64 wrong usage.
 */
int pn_auth_cli(int argc, char **argv, const char *default_user_file);

#endif
