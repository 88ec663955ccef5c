/* SPDX-License-Identifier: ISC */
/*
 * sasl.h - the server side of SASL mechanisms as challenge/response state machines, sans-I/O.
 *
 * PLAIN (RFC 4616), LOGIN (two prompts, never standardised, asked for by old clients),
 * SCRAM-SHA-256 (RFC 5802,
 * 7677; without channel binding). Messages are the octets themselves: base64 belongs to the
 * protocol around.
 *
 *	pn_sasl_init(&s, mechanism, &ops);
 *	status = pn_sasl_step(&s, has_initial, initial, &data);
 *	while (1) switch (status) {
 *	case PN_SASL_CHALLENGE:      send data; status = pn_sasl_step(&s, true, response, &data)
 * case PN_SASL_NEED_VERIFY:    compare name and password; status = pn_sasl_verified(&s, is_right)
 *	case PN_SASL_NEED_SCRAM_KEY: look the name up; status = pn_sasl_scram_key(&s, &key, &data)
 *	default:                     the end
 *	}
 *	pn_sasl_deinit(&s);
 *
 * Names and passwords are prepared (SASLprep) before the owner sees them. Every message has a
 * maximum; the only
 * memory on the heap is SCRAM's auth message. One thread; nothing is kept after deinit, and
 * everything is
 * wiped.
 */
#ifndef POSTERN_SASL_SASL_H
#define POSTERN_SASL_SASL_H

#include <postern/base/buf.h>
#include <postern/base/common.h>
#include <postern/base/slice.h>
#include <postern/sasl/crypto_ops.h>

#define PN_SASL_NAME_MAX 255       /* octets as received (RFC 4616 2) */
#define PN_SASL_PASSWORD_MAX 255   /* octets as received (RFC 4616 2) */
#define PN_SASL_PREPARED_MAX 511   /* octets after preparation; what crypt(3) takes */
#define PN_SASL_MESSAGE_MAX 4096   /* octets of one client message */
#define PN_SASL_SALT_MAX 64
#define PN_SASL_SCRAM_NONCE_LEN 30 /* characters that the server adds: 195 bits */

/* In the order in which they are offered. */
#define PN_SASL_MECHANISMS(X)                                                                      \
	X(SCRAM_SHA_256, "SCRAM-SHA-256")                                                          \
	X(PLAIN, "PLAIN")                                                                          \
	X(LOGIN, "LOGIN")
enum pn_sasl_mechanism {
#define X(sym, name) PN_SASL_##sym,
	PN_SASL_MECHANISMS(X)
#undef X
		PN_SASL_MECHANISM_COUNT
};

const char *pn_sasl_mechanism_name(enum pn_sasl_mechanism mechanism);
/* PN_SASL_MECHANISM_COUNT for an unknown name. ASCII case-insensitive (RFC 4954 8). */
enum pn_sasl_mechanism pn_sasl_mechanism_find(struct pn_slice name);

enum pn_sasl_status {
	PN_SASL_CHALLENGE,      /* send data, await a response */
	PN_SASL_NEED_VERIFY,    /* the owner compares name and password */
	PN_SASL_NEED_SCRAM_KEY, /* the owner looks up the key of the name */
	PN_SASL_OK,             /* pn_sasl_name() is authenticated */
	PN_SASL_BAD,            /* wrong credentials, or an identity that may not be assumed */
	PN_SASL_MALFORMED,      /* the client broke the mechanism's syntax */
	PN_SASL_NO_MEMORY,
};

/* What a server stores for SCRAM-SHA-256 (RFC 5802 3). */
struct pn_sasl_scram_key {
	uint32_t iterations;
	uint8_t salt_len;
	uint8_t salt[PN_SASL_SALT_MAX];
	uint8_t stored_key[PN_SASL_SHA256_LEN];
	uint8_t server_key[PN_SASL_SHA256_LEN];
	bool is_real; /* false: made up for an unknown user; same messages, same work, always BAD */
};

/* Embedded by its owner; all members are private. */
struct pn_sasl {
	const struct pn_sasl_ops *ops;
	enum pn_sasl_mechanism mechanism;
	uint8_t state;
	uint16_t name_len;
	uint16_t password_len;
	char name[PN_SASL_PREPARED_MAX + 1];
	char password[PN_SASL_PREPARED_MAX + 1];
	struct pn_buf text;   /* SCRAM: GS2 header, then the auth message as far as it is known */
	size_t gs2_len;       /* of the GS2 header at the front of text */
	size_t nonce_offset;  /* of the whole nonce within text */
	size_t nonce_len;
	struct pn_sasl_scram_key key;
	char server_final[64];
};

/* `ops` is borrowed and must outlive the exchange. */
void pn_sasl_init(struct pn_sasl *s, enum pn_sasl_mechanism mechanism, const struct pn_sasl_ops *ops);
/* Wipes and frees. Safe at any time and more than once. */
void pn_sasl_deinit(struct pn_sasl *s);

/*
 * The client's next message; has_response = false only in the first call, when there is no initial
 * response.
 * *ret_data: the challenge; with BAD and MALFORMED of SCRAM the RFC 5802 7 error
 * ("e=invalid-proof"), which
 * SMTP does not send (RFC 5802 5.1 lets a server end without it: no extra round trip, and a client
 * cannot
 * cancel its way around the count of failures). Valid until the next call.
 */
enum pn_sasl_status pn_sasl_step(struct pn_sasl *s, bool has_response, struct pn_slice response,
                                 struct pn_slice *ret_data) PN_MUST_CHECK;
/* The answer to NEED_VERIFY: OK or BAD. The password is wiped. */
enum pn_sasl_status pn_sasl_verified(struct pn_sasl *s, bool is_right) PN_MUST_CHECK;
/* The answer to NEED_SCRAM_KEY. The key is copied. */
enum pn_sasl_status pn_sasl_scram_key(struct pn_sasl *s, const struct pn_sasl_scram_key *key,
                                      struct pn_slice *ret_data) PN_MUST_CHECK;

/* The prepared name; set from NEED_VERIFY or NEED_SCRAM_KEY on. */
struct pn_slice pn_sasl_name(const struct pn_sasl *s);
/* The prepared password (secret); set at NEED_VERIFY, NUL-terminated in memory. */
struct pn_slice pn_sasl_password(const struct pn_sasl *s);
/* Overwrites the password, for owners that have passed a copy on. */
void pn_sasl_forget_password(struct pn_sasl *s);

#endif
