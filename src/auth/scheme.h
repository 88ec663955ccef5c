/* SPDX-License-Identifier: ISC */
/* scheme.h - the password schemes of the user file: which text is what, and whether it is whole. Any thread. */
#ifndef PN_AUTH_SCHEME_H
#define PN_AUTH_SCHEME_H

#include <postern/base/common.h>
#include <postern/base/slice.h>
#include <postern/sasl/sasl.h>

#define PN_STORED_MAX 511 /* octets of a password field without its scheme */
#define PN_SCRAM_ITERATIONS_MIN 4096     /* RFC 7677 4 */
#define PN_SCRAM_ITERATIONS_MAX 10000000 /* a client computes for seconds; beyond is a mistake */
#define PN_SCRAM_SALT_MIN 8

enum pn_password_kind {
	PN_PASSWORD_NONE,  /* empty, or locked with a leading '!' or '*': nothing matches */
	PN_PASSWORD_CRYPT, /* for crypt(3) */
	PN_PASSWORD_SCRAM, /* a SCRAM-SHA-256 key */
};

/*
 * Takes the password field apart: {SCHEME}text, or text alone for crypt. `stored` is what follows the scheme.
 * Returns false with a text that names the remedy.
 */
bool pn_scheme_parse(struct pn_slice field, enum pn_password_kind *ret_kind, struct pn_slice *ret_stored,
                     struct pn_error *err) PN_MUST_CHECK;
/* Whether `stored` is a whole hash of a method that crypt(3) has here. */
bool pn_scheme_check_crypt(struct pn_slice stored, struct pn_error *err) PN_MUST_CHECK;
/* Name of the method of a checked hash ("yescrypt"), for `postern user list`. */
const char *pn_scheme_crypt_name(struct pn_slice stored);
/* The front of a checked hash that decides what computing it costs: method and cost, no salt. */
struct pn_slice pn_scheme_crypt_cost(struct pn_slice stored);
/* "iterations,salt,stored_key,server_key" (the last three base64). */
bool pn_scheme_parse_scram(struct pn_slice text, struct pn_sasl_scram_key *ret, struct pn_error *err) PN_MUST_CHECK;
/* The same written; out holds PN_STORED_MAX + 1. */
void pn_scheme_format_scram(char *out, const struct pn_sasl_scram_key *key);

#endif
