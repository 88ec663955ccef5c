/* SPDX-License-Identifier: ISC */
/*
 * scram.h - the client side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding.
 *
 * The salted password costs thousands of hashes: it is kept with the user, as real clients do (RFC 5802 5.1), so
 * that the load generator does not spend more on a login than the server. One thread.
 */
#ifndef PN_BENCH_SCRAM_H
#define PN_BENCH_SCRAM_H

#include <postern/base/buf.h>
#include <postern/smtp/client.h>
#include <postern/tls/crypto.h>

#define PN_BENCH_SCRAM_NONCE_LEN 24
#define PN_BENCH_SCRAM_SALT_MAX  64

/* A user's keys for one salt. Zeroed = none. */
struct pn_bench_scram_keys {
	uint8_t salt[PN_BENCH_SCRAM_SALT_MAX];
	size_t salt_len;
	uint32_t iterations;
	uint8_t client_key[PN_SHA256_LEN], server_key[PN_SHA256_LEN];
};

/* One exchange, embedded in its connection's owner. */
struct pn_bench_scram {
	struct pn_smtp_client_sasl sasl; /* for the connection */
	const char *user, *password;
	struct pn_bench_scram_keys *keys;
	int step;
	char nonce[PN_BENCH_SCRAM_NONCE_LEN + 1];
	char first_bare[600];
	uint8_t server_signature[PN_SHA256_LEN];
};

/* Before each connection. Borrows all three; keys may be empty or of an earlier exchange. */
void pn_bench_scram_init(struct pn_bench_scram *s, const char *user, const char *password,
			 struct pn_bench_scram_keys *keys);

#endif
