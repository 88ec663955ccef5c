/* SPDX-License-Identifier: ISC */
/* ktls.c - see ktls.h. */
#include "ktls.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer.h"

#ifndef TCP_ULP
#define TCP_ULP 31
#endif
#ifndef SOL_TLS
#define SOL_TLS 282
#endif

int pn_bench_ktls_install(int fd, int direction)
{
	static const char name[] = "tls";
	struct tls12_crypto_info_aes_gcm_128 info = {
		.info = { .version = TLS_1_3_VERSION, .cipher_type = TLS_CIPHER_AES_GCM_128 },
	};

	memset(info.key, 'k', sizeof(info.key));
	memset(info.salt, 's', sizeof(info.salt));
	memset(info.iv, 'i', sizeof(info.iv));
	/* A socket that has it already is to get the other direction, too. */
	if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, name, sizeof(name)) != 0 && errno != EEXIST)
		return -errno;
	return setsockopt(fd, SOL_TLS, direction, &info, sizeof(info)) == 0 ? 0 : -errno;
}

bool pn_bench_ktls_is_here(void)
{
	struct sockaddr_in address;
	int listener = pn_bench_peer_listen(&address, 1);
	int fd = listener >= 0 ? pn_bench_peer_connect(&address) : -1;
	bool is_here = fd >= 0 && pn_bench_ktls_install(fd, TLS_TX) == 0 &&
		       pn_bench_ktls_install(fd, TLS_RX) == 0;

	if (fd >= 0)
		(void)close(fd);
	if (listener >= 0)
		(void)close(listener);
	return is_here;
}
