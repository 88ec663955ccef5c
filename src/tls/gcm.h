/* SPDX-License-Identifier: ISC */
/*
 * gcm.h - AES-GCM of a record (RFC 5116 5.1, 5.2) by Intel's IPsec library, where the CPU has AVX-512 and
 * VAES. It takes a fifth of the time of BoringSSL's of 2022; elsewhere BoringSSL's stays in use.
 */
#ifndef TLS_GCM_H
#define TLS_GCM_H

#include <postern/base/slice.h>

#define PN_GCM_NONCE_LEN 12
#define PN_GCM_TAG_LEN   16
/* libipsec-mb 1.3 needs 1 008 octets, later ones 1 264. */
#define PN_GCM_KEY_SIZE 1280

/* What is made of a key. Secret: wipe it. */
struct pn_gcm_key {
	_Alignas(64) uint8_t octets[PN_GCM_KEY_SIZE];
	size_t key_len;
};

/*
 * Whether the functions below may be called. The first call asks CPU and library and compares its answers with
 * BoringSSL's (a few milliseconds); one that answers otherwise, or is another version than the one whose header this
 * was built with, is not used. Any thread.
 */
bool pn_gcm_is_usable(void);
/* "libipsec-mb 1.3.0", or NULL where it is not usable. Static. */
const char *pn_gcm_name(void);
/* key_len: 16 or 32 octets (AES-128, AES-256). */
void pn_gcm_key_make(struct pn_gcm_key *key, const uint8_t *from, size_t key_len);
/*
 * Opens `len` octets of `sealed`, of which the last PN_GCM_TAG_LEN are the tag, to `to`: the same memory, or memory
 * that does not overlap it. False: it was not sealed with this key, nonce and additional data, or it is shorter
 * than a tag; what was written is wiped.
 */
bool pn_gcm_open(const struct pn_gcm_key *key, uint8_t *to, const uint8_t *sealed, size_t len,
		 const uint8_t nonce[PN_GCM_NONCE_LEN], struct pn_slice ad) PN_MUST_CHECK;
/* Seals `plain` with `extra` behind it to `to`, which does not overlap them; the tag follows. */
void pn_gcm_seal(const struct pn_gcm_key *key, uint8_t *to, struct pn_slice plain,
		 struct pn_slice extra, const uint8_t nonce[PN_GCM_NONCE_LEN], struct pn_slice ad);

#endif
