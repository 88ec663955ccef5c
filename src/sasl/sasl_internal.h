/* SPDX-License-Identifier: ISC */
/* sasl_internal.h - shared by the files of src/sasl only. */
#ifndef PN_SASL_INTERNAL_H
#define PN_SASL_INTERNAL_H

#include <postern/sasl/sasl.h>

/* What the next call may be. */
enum pn_sasl_state {
	PN_SASL_ST_START,          /* nothing seen; a first message without content draws a prompt */
	PN_SASL_ST_FIRST,          /* prompted, awaiting the first message */
	PN_SASL_ST_LOGIN_PASSWORD, /* LOGIN: the name is known */
	PN_SASL_ST_VERIFY,         /* the owner compares the password */
	PN_SASL_ST_SCRAM_KEY,      /* the owner looks up the key */
	PN_SASL_ST_SCRAM_FINAL,    /* awaiting client-final-message */
	PN_SASL_ST_SCRAM_ACK,      /* v= was sent; awaiting the empty response */
	PN_SASL_ST_DONE,
};

/* Each takes the message of its state and moves on. */
enum pn_sasl_status pn_sasl_plain_step(struct pn_sasl *s, struct pn_slice response);
enum pn_sasl_status pn_sasl_login_step(struct pn_sasl *s, struct pn_slice response, struct pn_slice *ret_data);
enum pn_sasl_status pn_sasl_scram_step(struct pn_sasl *s, struct pn_slice response, struct pn_slice *ret_data);

/* Prepare into s->name or s->password; false when that fails. */
bool pn_sasl_prepare_name(struct pn_sasl *s, struct pn_slice raw);
bool pn_sasl_prepare_password(struct pn_sasl *s, struct pn_slice raw);
/* Whether `raw`, prepared, is s->name. */
bool pn_sasl_is_own_name(const struct pn_sasl *s, struct pn_slice raw);

/*
 * The two client messages of SCRAM, taken apart (scram_parse.c). Slices lie in the message. On failure `error`
 * is the server-error of RFC 5802 7 and `status` what it amounts to.
 */
struct pn_scram_error {
	enum pn_sasl_status status;
	const char *text; /* "e=..." */
};

struct pn_scram_first {
	struct pn_slice gs2_header; /* flag, authzid and both commas */
	struct pn_slice bare;       /* client-first-message-bare */
	struct pn_slice nonce;
	bool has_authzid;
	uint8_t authzid_len;
	uint8_t name_len;
	char authzid[PN_SASL_NAME_MAX]; /* with =2C and =3D undone */
	char name[PN_SASL_NAME_MAX];
};

struct pn_scram_final {
	struct pn_slice without_proof;
	struct pn_slice nonce;
	size_t binding_len;
	uint8_t binding[PN_SASL_MESSAGE_MAX]; /* c=, decoded */
	uint8_t proof[PN_SASL_SHA256_LEN];
};

bool pn_scram_parse_first(struct pn_slice message, struct pn_scram_first *ret,
                          struct pn_scram_error *ret_error) PN_MUST_CHECK;
bool pn_scram_parse_final(struct pn_slice message, struct pn_scram_final *ret,
                          struct pn_scram_error *ret_error) PN_MUST_CHECK;

#endif
