/* SPDX-License-Identifier: ISC */
/* auth_internal.h - the parts of struct pn_auth, shared by auth.c, exchange.c, helpers.c and reload.c. */
#ifndef PN_AUTH_INTERNAL_H
#define PN_AUTH_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <postern/auth/auth.h>

#include "auth/cache.h"
#include "auth/helpers.h"
#include "auth/user_file.h"
#include "auth/user_live.h"

struct pn_auth {
	struct pn_auth_settings settings; /* user_file is a copy of our own */
	char *user_file;
	struct pn_user_live users;
	_Atomic unsigned offered;         /* bit n: enum pn_sasl_mechanism n; changes with a reload */
	struct pn_cred_cache *cache;      /* NULL: none */
	struct pn_helpers *helpers;
	pn_counter counters[PN_AUTH_COUNTER_COUNT];
	struct pn_counter_block counter_block;

	/* reload.c */
	pthread_mutex_t reload_mutex;     /* one reload at a time; guards stamp */
	struct pn_file_stamp stamp;       /* of the version looked at last, good or bad */
	pthread_t watcher;
	bool has_watcher;
	pthread_mutex_t watcher_mutex;    /* guards is_stopping */
	pthread_cond_t watcher_cond;
	bool is_stopping;
};

static inline void pn_auth_count(struct pn_auth *auth, enum pn_auth_counter counter)
{
	/* Loops, helpers and the watcher all count here. */
	pn_counter_add_shared(&auth->counters[counter], 1);
}

/* Puts a sealed table in force (swap: false for the first) and works out what is offered. */
void pn_auth_use_table(struct pn_auth *auth, struct pn_user_table *table, bool is_first);

/* Reads the first table. 0 or -1 with err. */
int pn_auth_load_first(struct pn_auth *auth, struct pn_error *err) PN_MUST_CHECK;
/* The thread that looks for changes. 0 or -errno. */
int pn_auth_watcher_start(struct pn_auth *auth) PN_MUST_CHECK;
void pn_auth_watcher_stop(struct pn_auth *auth);

/* pthread_create with all signals blocked (they belong to the main thread) and a name. 0 or -errno. */
int pn_auth_thread_create(pthread_t *ret, const char *name, void *(*fn)(void *), void *ctx) PN_MUST_CHECK;

#endif
