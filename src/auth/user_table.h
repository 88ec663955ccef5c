/* SPDX-License-Identifier: ISC */
/*
 * user_table.h - all users of one reading of the user file, by name. Built by one thread, immutable afterwards.
 *
 * What must look the same for unknown users is decided here, once for each reading: which hash they are made to
 * pay for, and which SCRAM parameters they are shown.
 */
#ifndef PN_AUTH_USER_TABLE_H
#define PN_AUTH_USER_TABLE_H

#include "auth/user.h"

#define PN_USERS_MAX 1000000
#define PN_SCRAM_SEED_LEN 32
#define PN_SCRAM_SEED_PREFIX "#postern-scram-seed:"
#define PN_SCRAM_ITERATIONS_DEFAULT 10000
#define PN_SCRAM_SALT_LEN_DEFAULT 16

struct pn_user_table {
	struct pn_auth_user **slots; /* open addressing, at most half full */
	size_t mask;
	size_t count;
	size_t enabled_count;
	size_t scram_count;          /* enabled users that have a key */
	size_t allow_nets_count;
	struct pn_auth_user *dummy;  /* stands in for unknown users in the hashing; its verdict is ignored */
	bool has_seed;               /* the file has a seed line */
	uint8_t seed[PN_SCRAM_SEED_LEN];
	uint32_t fake_iterations;
	uint8_t fake_salt_len;
};

struct pn_user_table *pn_user_table_new(void); /* NULL: no memory */
void pn_user_table_free(struct pn_user_table *t); /* NULL is fine */
/*
 * Takes the reference of u. 0, -EEXIST (*ret_other: who has the name; u stays the caller's), -ENOSPC, -ENOMEM.
 */
int pn_user_table_add(struct pn_user_table *t, struct pn_auth_user *u,
                      const struct pn_auth_user **ret_other) PN_MUST_CHECK;
/* After the last add: decides about unknown users. 0 or -ENOMEM. */
int pn_user_table_seal(struct pn_user_table *t) PN_MUST_CHECK;
/* Borrowed from the table; NULL: unknown. `name` is prepared. */
struct pn_auth_user *pn_user_table_find(const struct pn_user_table *t, struct pn_slice name);
/*
 * The SCRAM key to use for a name: the user's own, or one made up of the seed and the name, the same at every
 * try. Either way the same work is done.
 */
void pn_user_table_scram_key(const struct pn_user_table *t, struct pn_slice name, const struct pn_auth_user *u,
                             struct pn_sasl_scram_key *ret);

#endif
