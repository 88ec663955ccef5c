/* SPDX-License-Identifier: ISC */
/* ktls_socket.c - the system calls of the kernel's records, and the keys in the form that they want. */
#include "tls/ktls.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include <postern/base/secret.h>

#ifndef TCP_ULP
#define TCP_ULP 31
#endif
#ifndef SOL_TLS
#define SOL_TLS 282
#endif

static const struct pn_ktls_kernel the_kernel = {
	.setsockopt = setsockopt,
	.sendmsg = sendmsg,
	.recvmsg = recvmsg,
};

const struct pn_ktls_kernel *pn_ktls_kernel = &the_kernel;

/* A control message that carries one octet: the type of a record. */
union control {
	struct cmsghdr align;
	uint8_t octets[CMSG_SPACE(sizeof(uint8_t))];
};

int pn_ktls_socket_install(int fd)
{
	static const char name[] = "tls";

	return pn_ktls_kernel->setsockopt(fd, IPPROTO_TCP, TCP_ULP, name, sizeof(name)) == 0
		       ? 0
		       : -errno;
}

/* What the kernel calls salt and IV: 1.3 splits the IV; 1.2 has the fixed octets and sends the rest
 * with each record, for which the sequence number serves (RFC 5288 3), as in BoringSSL. */
static void put_gcm_nonce(const struct pn_tls_suite *suite, const struct pn_tls_secret *secret,
			  uint8_t salt[4], uint8_t iv[8])
{
	memcpy(salt, secret->iv, PN_TLS_GCM_FIXED_IV);
	if (suite->version == TLS1_3_VERSION)
		memcpy(iv, secret->iv + PN_TLS_GCM_FIXED_IV, 8);
	else
		pn_tls_put_sequence(iv, secret->sequence);
}

socklen_t pn_ktls_crypto_info_make(const struct pn_tls_suite *suite,
				   const struct pn_tls_secret *secret,
				   union pn_ktls_crypto_info *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->info.version = suite->version == TLS1_3_VERSION ? TLS_1_3_VERSION : TLS_1_2_VERSION;
	switch (suite->cipher) {
	case PN_KTLS_AES_128_GCM:
		ret->info.cipher_type = TLS_CIPHER_AES_GCM_128;
		memcpy(ret->aes_128_gcm.key, secret->key, sizeof(ret->aes_128_gcm.key));
		put_gcm_nonce(suite, secret, ret->aes_128_gcm.salt, ret->aes_128_gcm.iv);
		pn_tls_put_sequence(ret->aes_128_gcm.rec_seq, secret->sequence);
		return sizeof(ret->aes_128_gcm);
	case PN_KTLS_AES_256_GCM:
		ret->info.cipher_type = TLS_CIPHER_AES_GCM_256;
		memcpy(ret->aes_256_gcm.key, secret->key, sizeof(ret->aes_256_gcm.key));
		put_gcm_nonce(suite, secret, ret->aes_256_gcm.salt, ret->aes_256_gcm.iv);
		pn_tls_put_sequence(ret->aes_256_gcm.rec_seq, secret->sequence);
		return sizeof(ret->aes_256_gcm);
	case PN_KTLS_CHACHA20_POLY1305:
	case PN_KTLS_CIPHER_COUNT:
		break;
	}
	ret->info.cipher_type = TLS_CIPHER_CHACHA20_POLY1305;
	memcpy(ret->chacha20_poly1305.key, secret->key, sizeof(ret->chacha20_poly1305.key));
	memcpy(ret->chacha20_poly1305.iv, secret->iv, sizeof(ret->chacha20_poly1305.iv));
	pn_tls_put_sequence(ret->chacha20_poly1305.rec_seq, secret->sequence);
	return sizeof(ret->chacha20_poly1305);
}

int pn_ktls_socket_set(int fd, int direction, const struct pn_tls_suite *suite,
		       const struct pn_tls_secret *secret)
{
	union pn_ktls_crypto_info info;
	socklen_t len = pn_ktls_crypto_info_make(suite, secret, &info);
	int result =
		pn_ktls_kernel->setsockopt(fd, SOL_TLS, direction, &info, len) == 0 ? 0 : -errno;

	pn_wipe(&info, sizeof(info));
	return result;
}

void pn_ktls_socket_expect_no_pad(int fd)
{
	const unsigned one = 1;

	(void)pn_ktls_kernel->setsockopt(fd, SOL_TLS, TLS_RX_EXPECT_NO_PAD, &one, sizeof(one));
}

int pn_ktls_socket_send_control(int fd, uint8_t type, const uint8_t *data, size_t len)
{
	union control control;
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.octets,
			      .msg_controllen = sizeof(control.octets) };
	struct cmsghdr *cmsg;
	ssize_t n;

	memset(&control, 0, sizeof(control));
	cmsg = CMSG_FIRSTHDR(&msg);
	cmsg->cmsg_level = SOL_TLS;
	cmsg->cmsg_type = TLS_SET_RECORD_TYPE;
	cmsg->cmsg_len = CMSG_LEN(sizeof(type));
	*CMSG_DATA(cmsg) = type;
	n = pn_ktls_kernel->sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return -errno;
	/* Alerts and KeyUpdates have a few octets: part of one is of no use to anybody. */
	return (size_t)n == len ? 0 : -EIO;
}

ssize_t pn_ktls_socket_receive_control(int fd, uint8_t *data, size_t size, uint8_t *ret_type)
{
	union control control;
	struct iovec iov = { .iov_base = data, .iov_len = size };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.octets,
			      .msg_controllen = sizeof(control.octets) };
	const struct cmsghdr *cmsg;
	ssize_t n = pn_ktls_kernel->recvmsg(fd, &msg, MSG_DONTWAIT);

	if (n < 0)
		return -errno;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (n > 0 &&
	    (!cmsg || cmsg->cmsg_level != SOL_TLS || cmsg->cmsg_type != TLS_GET_RECORD_TYPE ||
	     cmsg->cmsg_len < CMSG_LEN(sizeof(uint8_t))))
		return -EPROTO;
	*ret_type = n > 0 ? *CMSG_DATA(cmsg) : 0;
	return n;
}
