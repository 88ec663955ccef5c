/* SPDX-License-Identifier: ISC */
/*
 * ktls.h - the insides of the kernel's records, for the files ktls_*.c, record_ktls.c and their tests.
 *
 * All system calls go through pn_ktls_kernel, so that tests can stand in for the kernel. None of
 * them blocks.
 */
#ifndef TLS_KTLS_H
#define TLS_KTLS_H

#include <linux/tls.h>
#include <sys/socket.h>

#include <postern/tls/ktls.h>
#include <postern/tls/record.h>

#include "tls/keys.h"

struct pn_ktls_kernel {
	int (*setsockopt)(int fd, int level, int name, const void *value, socklen_t len);
	ssize_t (*sendmsg)(int fd, const struct msghdr *msg, int flags);
	ssize_t (*recvmsg)(int fd, struct msghdr *msg, int flags);
};
/* Replaced by tests only, before there are threads. */
extern const struct pn_ktls_kernel *pn_ktls_kernel;
/* For tests: what pn_ktls_probe() shall have found; NULL: forget it, so that the next call tries. */
void pn_ktls_probe_set(const struct pn_ktls_support *support);

union pn_ktls_crypto_info {
	struct tls_crypto_info info;
	struct tls12_crypto_info_aes_gcm_128 aes_128_gcm;
	struct tls12_crypto_info_aes_gcm_256 aes_256_gcm;
	struct tls12_crypto_info_chacha20_poly1305 chacha20_poly1305;
};

/* What this kernel can do with the suite (ktls_probe.c). */
struct pn_ktls_ability pn_ktls_suite_ability(const struct pn_tls_suite *suite);

/* ---- ktls_socket.c: the system calls ---- */

/* Installs the upper layer protocol. 0 or -errno. */
int pn_ktls_socket_install(int fd);
/* What setsockopt(TLS_TX or TLS_RX) wants. Returns its length. Secret. */
socklen_t pn_ktls_crypto_info_make(const struct pn_tls_suite *suite,
				   const struct pn_tls_secret *secret,
				   union pn_ktls_crypto_info *ret);
/* Sets the keys of a direction: TLS_RX or TLS_TX. 0 or -errno. */
int pn_ktls_socket_set(int fd, int direction, const struct pn_tls_suite *suite,
		       const struct pn_tls_secret *secret);
/* Asks for decryption straight into our buffers; no harm where the kernel cannot. */
void pn_ktls_socket_expect_no_pad(int fd);
/* Sends one record that is not data. 0 or -errno; -EAGAIN: the socket is full. */
int pn_ktls_socket_send_control(int fd, uint8_t type, const uint8_t *data, size_t len);
/* Takes the record that a receive stumbled over. Its length and *ret_type, or -errno. */
ssize_t pn_ktls_socket_receive_control(int fd, uint8_t *data, size_t size, uint8_t *ret_type);

/* ---- ktls_counters.c ---- */

void pn_ktls_count(enum pn_ktls_counter counter);
void pn_ktls_uncount(enum pn_ktls_counter counter);
/* Counts a connection that stays in user space, by what setsockopt answered (-errno). */
void pn_ktls_count_not_moved(int error);

/* ---- record_ktls.c ---- */

/*
 * Moves a connection whose ULP is installed and which is quiet; the keys are copied. Takes `from` when
 * it succeeds: frees it, or keeps it for sealing where the kernel took the receiving side only. NULL:
 * nothing has changed, the reason is counted.
 */
struct pn_record *pn_record_ktls_new(struct pn_record *from, const struct pn_tls_keys *keys,
				     int fd);
/* For tests: as if that many records had been sent under the current key. */
void pn_record_ktls_set_sent(struct pn_record *r, uint64_t count);

#endif
