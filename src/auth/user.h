/* SPDX-License-Identifier: ISC */
/*
 * user.h - one user as read from the user file: immutable, in one allocation, reference-counted.
 *
 * A table holds one reference of each of its users; whoever logs in gets another. A reload makes new users, the
 * old ones live as long as somebody is logged in with them.
 */
#ifndef PN_AUTH_USER_H
#define PN_AUTH_USER_H

#include <stdatomic.h>

#include <postern/auth/auth.h>
#include <postern/sasl/sasl.h>

#include "auth/scheme.h"

#define PN_USER_LINE_MAX 16384 /* octets of a line of the user file */

struct pn_auth_user {
	_Atomic uint32_t refs;
	uint32_t line;                 /* where the user stands in the file */
	enum pn_password_kind kind;    /* NONE for disabled users, whatever the file has */
	bool has_scram;
	bool has_allow_nets;           /* Dovecot's allow_nets, which is not enforced here */
	struct pn_slice name;          /* prepared */
	struct pn_slice stored;        /* password field without scheme, NUL-terminated in memory; secret */
	struct pn_sasl_scram_key scram; /* secret */
	struct pn_slice *addresses;
	size_t address_count;
	struct pn_slice *domains;
	size_t domain_count;
	size_t size;                   /* of the allocation */
	struct pn_slice lists[];       /* addresses, domains; then the octets that all slices point to */
};

/* Parses one line (no LF). A new user with one reference; NULL with the mistake and its remedy in err. */
struct pn_auth_user *pn_user_parse_line(struct pn_slice line, uint32_t line_number, struct pn_error *err);

/*
 * The fields of a line that the command line tool rewrites; slices lie in the line. False: not a user's line.
 */
struct pn_user_fields {
	struct pn_slice name;
	struct pn_slice password;
	struct pn_slice middle; /* uid:gid:gecos:home:shell, as far as they are there */
	struct pn_slice extra;
	unsigned count;
};
bool pn_user_split_line(struct pn_slice line, struct pn_user_fields *ret);

struct pn_auth_user *pn_user_ref(struct pn_auth_user *u);
/* Names are equal without regard to the case of ASCII letters. */
bool pn_user_name_eq(struct pn_slice a, struct pn_slice b);
/* Whether text is local@domain, and whether it is a domain, as listed for a user. */
bool pn_user_is_address(struct pn_slice text);
bool pn_user_is_domain(struct pn_slice text);
/* Whether text is a comma-separated list of such items; counts them. */
bool pn_user_is_list(struct pn_slice text, bool (*is_item)(struct pn_slice), size_t *ret_count);

enum pn_verify_result { PN_VERIFY_RIGHT, PN_VERIFY_WRONG, PN_VERIFY_BROKEN };
struct crypt_data;
/*
 * Hashes `password` (NUL-terminated in memory) and compares in constant time. Slow: helpers only. `scratch` is
 * zeroed memory and is zeroed again. BROKEN: the hash could not be computed (no memory).
 */
enum pn_verify_result pn_user_verify(const struct pn_auth_user *u, struct pn_slice password,
                                     struct crypt_data *scratch);
/*
 * The SCRAM-SHA-256 key of a password with the salt and iterations that are set in *key. False: bad parameters.
 * Slow.
 */
bool pn_scram_derive(struct pn_sasl_scram_key *key, struct pn_slice password);

#endif
