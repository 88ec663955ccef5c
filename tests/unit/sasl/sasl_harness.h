/* SPDX-License-Identifier: ISC */
/*
 * sasl_harness.h - functions that the SASL tests hand in: BoringSSL's hashes, randomness that the test chooses,
 * and a preparation that is easy to see: ASCII only, upper case letters fall, 0x01 is prohibited, '~'
 * disappears.
 */
#ifndef PN_TESTS_SASL_HARNESS_H
#define PN_TESTS_SASL_HARNESS_H

#include <postern/sasl/sasl.h>

extern const struct pn_sasl_ops harness_ops;
/* What random_bytes makes such that the server's nonce is this text (PN_SASL_SCRAM_NONCE_LEN characters). */
void harness_set_nonce(const char *text);

/* The key of a password (RFC 5802 3), with salt and iterations given. */
struct pn_sasl_scram_key harness_key(const char *password, struct pn_slice salt, uint32_t iterations);
/*
 * The client's proof in base64, NUL-terminated, over client-first-bare, server-first and
 * client-final-without-proof.
 */
void harness_proof(char out[64], const char *password, const struct pn_sasl_scram_key *key, const char *auth_message);

#endif
