/* SPDX-License-Identifier: ISC */
/* users.h - who logs in: one user, or the lines "user:password" of a file, taken in turn. */
#ifndef PN_BENCH_USERS_H
#define PN_BENCH_USERS_H

#include <postern/base/common.h>

#include "scram.h"

#define PN_BENCH_USER_NAME_MAX 255

struct pn_bench_user {
	char *name, *password;
	struct pn_bench_scram_keys keys;
};

/* Zeroed = nobody. */
struct pn_bench_users {
	struct pn_bench_user *list;
	size_t count, next;
};

/* A password's file has it in its first line. 0 or -errno after saying why on stderr. */
int pn_bench_users_one(struct pn_bench_users *u, const char *name,
		       const char *password_path) PN_MUST_CHECK;
int pn_bench_users_read(struct pn_bench_users *u, const char *path) PN_MUST_CHECK;
void pn_bench_users_deinit(struct pn_bench_users *u);
/* "any", "plain", "login" or "scram-sha-256". */
bool pn_bench_auth_parse(const char *text, enum pn_smtp_client_auth *ret) PN_MUST_CHECK;
/* The next one in turn; NULL: there is nobody. */
struct pn_bench_user *pn_bench_users_take(struct pn_bench_users *u);

#endif
