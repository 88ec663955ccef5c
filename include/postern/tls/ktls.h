/* SPDX-License-Identifier: ISC */
/*
 * ktls.h - records protected by the kernel (kTLS): what this kernel offers, and what was made of it.
 *
 * A connection whose socket was named to its handshake (pn_tls_conn_set_socket()) moves to the
 * kernel's records at its first quiet point. One that cannot carries on in user space and is
 * counted with the reason. Code outside of src/tls sees nothing of this but the counters.
 */
#ifndef POSTERN_TLS_KTLS_H
#define POSTERN_TLS_KTLS_H

#include <postern/base/common.h>
#include <postern/base/counters.h>

enum pn_ktls_cipher {
	PN_KTLS_AES_128_GCM,
	PN_KTLS_AES_256_GCM,
	PN_KTLS_CHACHA20_POLY1305,
	PN_KTLS_CIPHER_COUNT,
};
/* "aes-128-gcm" */
const char *pn_ktls_cipher_name(enum pn_ktls_cipher cipher);

/* TLS 1.2 and 1.3 */
#define PN_KTLS_VERSION_COUNT 2

struct pn_ktls_ability {
	bool can_send;
	bool can_receive;
};

struct pn_ktls_support {
	int error; /* why there is no kTLS at all: errno of installing it on a socket; 0: there is */
	struct pn_ktls_ability ciphers[PN_KTLS_VERSION_COUNT][PN_KTLS_CIPHER_COUNT];
	bool has_no_pad; /* TLS_RX_EXPECT_NO_PAD: records decrypted straight into our buffers */
	bool has_rekey;  /* keys of TLS 1.3 can be changed (Linux 6.14) */
};

/* What the running kernel offers, found by sending a record of each kind over loopback. The first
 * call tries (a few milliseconds, blocking), later ones return the same. The first one comes before
 * there are threads. */
const struct pn_ktls_support *pn_ktls_probe(void);
/* Whether connections of some suite can move. */
bool pn_ktls_is_usable(const struct pn_ktls_support *s);
/* One line: "TLSv1.3 aes-128-gcm ..., no-pad, rekey", or why not and what to do. */
void pn_ktls_describe(const struct pn_ktls_support *s, char *ret, size_t size);

/* clang-format off */
#define PN_KTLS_COUNTERS(X)                                                                 \
	X(sessions) /* moved and still there */                                             \
	X(moved) X(moved_receive_only)                                                      \
	X(not_moved_no_ulp) X(not_moved_not_connected) X(not_moved_suite) X(not_moved_keys) \
	X(not_moved_never_quiet) X(not_moved_memory) X(not_moved_busy) X(not_moved_other)   \
	X(close_notify_received) X(close_notify_sent) X(alerts_received) X(alerts_sent)     \
	X(last_words_lost) X(key_updates_received) X(key_updates_sent)                      \
	X(rekeys_receive) X(rekeys_send) X(key_updates_refused)                             \
	X(tickets_skipped) X(unexpected_records) X(broken_records)
/* clang-format on */
enum pn_ktls_counter {
#define X(name) PN_KTLS_C_##name,
	PN_KTLS_COUNTERS(X)
#undef X
		PN_KTLS_COUNTER_COUNT
};
/* Registers the counters of the process (scope "ktls"); several threads write them, rarely. */
void pn_ktls_counters_register(void);
void pn_ktls_counters_unregister(void);
uint64_t pn_ktls_counter_get(enum pn_ktls_counter counter);

#endif
